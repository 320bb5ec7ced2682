//! Endpoints come, change and go while others ring.
//!
//! Decides when the task of an endpoint begins and ends. Each endpoint has one seat, and only who
//! sits on it rings: a task that follows another waits until the attempts in flight of that have
//! been heard out, and reads its lanes only then, as after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tracing::{error, info};

use super::board::{Board, Inbox};
use super::queue::Queue;
use super::steering::REST_PATIENCE;
use super::worker::Worker;
use super::{Deliverer, Shown, SteerError, heard, restore};
use crate::config::Endpoint;
use crate::name::Name;
use crate::shutdown::Phase;
use crate::store::{Failing, SourceId, StoreError};

/// Pause after the store could not be read or written.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// The seats of endpoints.
pub(super) type Seats = BTreeMap<Name, Arc<Mutex<()>>>;

/// Who sits on one.
pub(super) type Seated = OwnedMutexGuard<()>;

impl Deliverer {
    /// Takes an endpoint into the roster; its task is still to be run.
    pub(super) fn enlist(&self, endpoint: &Arc<Endpoint>, board: Arc<Board>) -> Worker {
        let (parts, name) = (&self.parts, &endpoint.name);
        let inbox = Arc::new(Inbox::default());
        let metrics = parts.metrics.endpoint(name.as_str());
        metrics.enabled(board.is_rung());
        metrics.bears(endpoint.concurrency, false);
        let heard = heard(endpoint, &self.sources);
        let mut hearers = self.roster.hearers.write();
        for (lane, (source, _)) in heard.iter().enumerate() {
            let hearer = (Arc::clone(&inbox), lane);
            hearers.entry(*source).or_default().push(hearer);
        }
        drop(hearers);
        let shown = Arc::new(Shown {
            name: name.clone(),
            board: Arc::clone(&board),
            inbox: Arc::clone(&inbox),
            metrics: metrics.clone(),
        });
        self.roster.shown.write().insert(name.clone(), shown);
        Worker {
            endpoint: Arc::clone(endpoint),
            heard,
            live: Arc::clone(&parts.live),
            store: parts.store.clone(),
            clients: self.clients.clone(),
            clock: parts.clock.clone(),
            shutdown: parts.shutdown.clone(),
            metrics,
            inbox,
            board,
            pace: Arc::clone(&self.pace),
        }
    }

    /// Runs the task of an endpoint that was there at the start.
    pub(super) fn seat(&self, worker: Worker, queue: Queue, failing: Option<Failing>) {
        let seat = self.seat_of(&worker.endpoint.name);
        self.tasks.spawn(async move {
            let _seated = seat.lock_owned().await;
            worker.run(queue, failing).await;
        });
    }

    /// A seat for a new endpoint, once a deleted one of its name has left it.
    pub(super) async fn free_seat(&self, name: &Name) -> Result<Seated, SteerError> {
        let seat = self.seat_of(name).lock_owned();
        let seat = tokio::time::timeout(REST_PATIENCE, seat).await;
        seat.map_err(|_| SteerError::Busy)
    }

    /// A new endpoint begins to ring.
    pub(super) fn engage(&self, endpoint: &Arc<Endpoint>, board: Board, seated: Seated) {
        let worker = self.enlist(endpoint, Arc::new(board));
        let deliverer = self.clone();
        self.tasks.spawn(async move {
            let _seated = seated;
            deliverer.work(worker).await;
        });
    }

    /// Another task rings an endpoint from now on, which hears other events or in another order.
    pub(super) fn succeed(&self, endpoint: &Arc<Endpoint>) {
        let Ok(shown) = self.shown(endpoint.name.as_str()) else {
            return;
        };
        self.dismiss(&shown);
        let worker = self.enlist(endpoint, Arc::clone(&shown.board));
        let seat = self.seat_of(&endpoint.name);
        let (deliverer, shutdown) = (self.clone(), self.parts.shutdown.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                _seated = seat.lock_owned() => deliverer.work(worker).await,
                () = shutdown.reached(Phase::Draining) => {}
            }
        });
    }

    /// An endpoint is rung no more, and nobody sees it any more.
    pub(super) fn release(&self, name: &Name) {
        let shown = self.roster.shown.write().remove(name);
        let Some(shown) = shown else { return };
        self.dismiss(&shown);
        self.parts.metrics.forget(name.as_str());
        let (seat, deliverer, name) = (self.seat_of(name), self.clone(), name.clone());
        self.tasks.spawn(async move {
            let _seated = seat.lock_owned().await;
            if deliverer.shown(name.as_str()).is_ok() {
                // Another has its name by now.
                return;
            }
            // What the last attempt led to is written, so retention may have it.
            if let Err(error) = deliverer.parts.store.hear_only(&name, &[]).await {
                error!(endpoint = %name, %error, "what was pending is kept until a restart");
            }
        });
    }

    /// Ends the task behind `shown`, once its attempts in flight have ended.
    fn dismiss(&self, shown: &Shown) {
        for hearers in self.roster.hearers.write().values_mut() {
            hearers.retain(|(inbox, _)| !Arc::ptr_eq(inbox, &shown.inbox));
        }
        shown.inbox.dismiss();
    }

    fn seat_of(&self, name: &Name) -> Arc<Mutex<()>> {
        let mut seats = self.roster.seats.lock();
        // Of a name that nobody has or waits for, nobody needs the seat.
        seats.retain(|_, seat| Arc::strong_count(seat) > 1);
        Arc::clone(seats.entry(name.clone()).or_default())
    }

    async fn work(&self, worker: Worker) {
        while !worker.inbox.is_dismissed() && !worker.shutdown.is_draining() {
            match self.read_lanes(&worker).await {
                Ok((queue, failing)) => {
                    let (name, load) = (&worker.endpoint.name, queue.load());
                    info!(endpoint = %name, pending = load.pending(), stuck = load.stuck, "endpoint is up");
                    return worker.run(queue, failing).await;
                }
                Err(error) => {
                    let endpoint = &worker.endpoint.name;
                    error!(%endpoint, %error, "where deliveries stand cannot be read");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
        }
    }

    async fn read_lanes(&self, worker: &Worker) -> Result<(Queue, Option<Failing>), StoreError> {
        let (store, endpoint) = (&worker.store, &worker.endpoint);
        let sources: Vec<SourceId> = worker.heard.iter().map(|(source, _)| *source).collect();
        store.hear_only(&endpoint.name, &sources).await?;
        let failing = store.failing().await?.remove(endpoint.name.as_str());
        let now = worker.clock.now();
        let queue = restore((store, now), endpoint, worker.heard.clone()).await?;
        Ok((queue, failing))
    }
}
