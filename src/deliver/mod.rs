//! The engine that rings: signed webhooks to endpoints, at least once, in order per subject.
//!
//! Decides who hears what, when an attempt is made and what follows from its outcome. Leaves
//! durability to [`crate::store`] and never speaks to the poller: they meet in the store, whose
//! position says that there is something to ring.
//!
//! | file | what it decides |
//! | --- | --- |
//! | `lane` | pure: one endpoint's view of one source: order per subject, parking, watermark |
//! | `queue` | pure: turns between an endpoint's lanes, bounds, what is settled together |
//! | `pace` | pure: how backlogs make room for fresh events |
//! | `verdict` | pure: what an answer means, when to try again |
//! | `valve` | pure: how much an endpoint bears: concurrency, breaker, rate, for how long it fails |
//! | `steady` | pure: the time by which retries are due, whatever is done to the clock |
//! | `attempt` | one POST |
//! | `enlist` | when the task of an endpoint begins and ends |
//! | `stored` | endpoints that callers of the API make, change and delete |
//! | `handshake` | whether an endpoint agrees to be rung |
//! | `steering` | what people ask of an endpoint: pause, replay, skip |
//! | `backfill` | whose turn it is of those that are told what there is |
//! | `trial` | one POST for a person who tries an endpoint |
//! | `worker` | the task of an endpoint, which carries the above out |

mod attempt;
mod backfill;
mod board;
mod enlist;
mod handshake;
mod lane;
mod pace;
mod queue;
mod steady;
mod steering;
mod stored;
#[cfg(test)]
mod tests;
mod trial;
mod valve;
mod verdict;
mod worker;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::task::TaskTracker;
use tracing::{error, info};
use url::Url;

use crate::client::Resolver;
use crate::clock::Clock;
use crate::config::{Endpoint, Live};
use crate::event::{Event, Kind, OPERATIONAL_SOURCE, Trial};
use crate::metrics::{DeliverMetrics, EndpointMetrics};
use crate::name::Name;
use crate::shutdown::{Phase, Shutdown};
use crate::store::{Failing, Fresh, Position, SourceId, Store, StoreError};
use crate::time::{Timestamp, as_text};

pub use board::Breaker;
pub use steering::{Backlog, REPLAY_MAX, Replayed, SteerError};
pub use stored::{ChangeError, Changed, OVERLAP, OVERLAP_MAX, STORED_MAX, adopt};
pub use trial::{Tried, try_endpoint};

use backfill::Teller;
use board::{Board, Inbox};
use lane::{Kinds, WAITING_MAX};
use pace::Pace;
use queue::Queue;
use worker::{Clients, Worker};

/// What the deliverer is built from.
#[derive(Debug)]
pub struct Parts {
    /// The configuration in force.
    pub live: Live,
    /// Where events are and outcomes go.
    pub store: Store,
    /// Names to addresses.
    pub resolver: Resolver,
    /// Its series.
    pub metrics: DeliverMetrics,
    /// Wall-clock time.
    pub clock: Clock,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// Why the deliverer does not start.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StartError {
    /// The store does not tell where deliveries stand.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The HTTP client cannot be built.
    #[error("webhooks cannot be sent: {0}")]
    Client(String),
}

/// The deliverer at work. Cheap to clone; dropping it stops nothing, [`Shutdown`] does.
#[derive(Clone, Debug)]
pub struct Deliverer {
    parts: Arc<Parts>,
    sources: Arc<[(Name, SourceId)]>,
    roster: Arc<Roster>,
    clients: Clients,
    pace: Arc<Pace>,
    /// Wakes who tells new endpoints what there is.
    backfilling: Arc<Notify>,
    /// Held by whoever changes which endpoints there are.
    shelf: Arc<tokio::sync::Mutex<()>>,
    tasks: TaskTracker,
}

/// The endpoints there are.
#[derive(Debug, Default)]
struct Roster {
    shown: RwLock<BTreeMap<Name, Arc<Shown>>>,
    hearers: RwLock<Hearers>,
    seats: Mutex<enlist::Seats>,
}

/// An endpoint as others may see it.
#[derive(Debug)]
struct Shown {
    name: Name,
    board: Arc<Board>,
    inbox: Arc<Inbox>,
    metrics: EndpointMetrics,
}

/// How an endpoint stands.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct EndpointStatus {
    /// Its name.
    pub name: String,
    /// Scheme, host and port of its URL: paths and queries of webhooks are often secrets.
    pub url: String,
    /// Whether it is rung; false after it answered 410, failed for `disable_after`, or was switched
    /// off by somebody.
    pub enabled: bool,
    /// Whether somebody has paused it.
    pub paused: bool,
    /// Deliveries that have not come to an end. Counted to the last one when the endpoint is up to
    /// date, else every few seconds.
    pub pending: u64,
    /// Age of the oldest of them in seconds, a second old at most; absent: there is none.
    pub oldest_pending_seconds: Option<u64>,
    /// Subjects whose later events wait for a retry.
    pub blocked_subjects: u64,
    /// Attempts that it gets at once: fewer than configured after it asked for less, until it takes
    /// what it gets.
    pub concurrency: usize,
    /// Whether it is worth trying.
    pub breaker: Breaker,
    /// Since when it is only probed; absent: it is not. After a restart it is as if then.
    #[serde(serialize_with = "as_text")]
    pub opened_at: Option<Timestamp>,
    /// When the next probe may go, if none is on its way.
    #[serde(serialize_with = "as_text")]
    pub next_probe: Option<Timestamp>,
}

/// Where pokes of a source go: inboxes of endpoints and the lane in each.
type Hearers = HashMap<SourceId, Vec<Hearer>>;

/// An endpoint, and which of its lanes a source is.
type Hearer = (Arc<Inbox>, usize);

impl Deliverer {
    /// Takes up deliveries where they were left, and new ones from now on. `sources` are the
    /// configured ones; the operational pseudo-source is added here.
    ///
    /// Must be called inside a tokio runtime, after [`crate::client::install_crypto_provider`].
    ///
    /// # Errors
    /// [`StartError`]; nothing is running then.
    pub async fn start(parts: Parts, sources: &[(Name, SourceId)]) -> Result<Self, StartError> {
        let clients = Clients::new(parts.resolver.clone()).map_err(StartError::Client)?;
        // Taken before the lanes are read: what is committed in between is told twice, not never.
        let fresh = parts.store.fresh();
        let news = parts.store.position();
        let after = *news.borrow();
        let deliverer = Self {
            parts: Arc::new(parts),
            sources: sources.into(),
            roster: Arc::default(),
            clients,
            pace: Arc::default(),
            backfilling: Arc::default(),
            shelf: Arc::default(),
            tasks: TaskTracker::new(),
        };
        let config = deliverer.parts.live.load_full();
        let switches = Switches::read(&deliverer.parts.store).await?;
        let mut ready = Vec::new();
        for endpoint in config.endpoints.values() {
            ready.push(deliverer.admit(endpoint, &switches).await?);
        }
        for (worker, queue, failing) in ready {
            deliverer.seat(worker, queue, failing);
        }
        let (store, shutdown) = (
            deliverer.parts.store.clone(),
            deliverer.parts.shutdown.clone(),
        );
        let tell = tell(store, (fresh, news, after), Arc::clone(&deliverer.roster));
        let teller = Teller {
            store: deliverer.parts.store.clone(),
            roster: Arc::clone(&deliverer.roster),
            sources: sources.iter().map(|(_, id)| *id).collect(),
            begun: Arc::clone(&deliverer.backfilling),
        };
        deliverer.tasks.spawn(async move {
            tokio::select! {
                () = tell => {}
                () = teller.run() => {}
                () = shutdown.reached(Phase::Draining) => {}
            }
        });
        deliverer.tasks.close();
        Ok(deliverer)
    }

    /// Takes an endpoint into the roster; what carries it out is still to be run.
    async fn admit(
        &self,
        endpoint: &Arc<Endpoint>,
        switches: &Switches,
    ) -> Result<(Worker, Queue, Option<Failing>), StoreError> {
        let board = Arc::new(switches.board(endpoint));
        let worker = self.enlist(endpoint, board);
        let now = self.parts.clock.now();
        let queue = restore((&self.parts.store, now), endpoint, worker.heard.clone()).await?;
        let (name, load) = (&endpoint.name, queue.load());
        info!(endpoint = %name, pending = load.pending(), stuck = load.stuck, "endpoint is up");
        Ok((
            worker,
            queue,
            switches.failing.get(endpoint.name.as_str()).cloned(),
        ))
    }

    /// How each endpoint stands, by name.
    #[must_use]
    pub fn endpoints(&self) -> Vec<EndpointStatus> {
        let (now, config) = (self.parts.clock.now(), self.parts.live.load());
        let status = |shown: &Arc<Shown>| {
            let (pending, blocked_subjects) = shown.board.held();
            let url = config
                .endpoints
                .get(&shown.name)
                .map(|endpoint| &endpoint.url);
            let oldest = shown.board.oldest_at().filter(|_| pending > 0);
            let bearing = shown.board.bearing();
            EndpointStatus {
                name: shown.name.to_string(),
                url: url
                    .map(Url::origin)
                    .map_or_else(String::new, |url| url.ascii_serialization()),
                enabled: shown.board.is_enabled(),
                paused: shown.board.is_paused(),
                pending,
                oldest_pending_seconds: oldest.map(|at| now.since(at).as_secs()),
                blocked_subjects,
                concurrency: bearing.concurrency,
                breaker: bearing.breaker,
                opened_at: bearing.opened_at,
                next_probe: bearing.next_probe,
            }
        };
        self.roster.shown.read().values().map(status).collect()
    }

    fn shown(&self, endpoint: &str) -> Result<Arc<Shown>, SteerError> {
        let roster = self.roster.shown.read();
        let shown = roster.get(endpoint).cloned();
        shown.ok_or_else(|| SteerError::Unknown(endpoint.to_owned()))
    }

    /// Sends an endpoint one webhook that nothing happened for; `None` when none has this name.
    pub async fn test(&self, endpoint: &str) -> Option<Tried> {
        let endpoint = Arc::clone(self.parts.live.load().endpoints.get(endpoint)?);
        let (now, salt) = (self.parts.clock.now(), fastrand::u64(..));
        let event = Event::trial(Trial::Own, endpoint.name.as_str(), now, salt);
        Some(trial::send(&endpoint, &event, &self.clients, &self.parts.clock).await)
    }

    /// Resolves once a drain is done: attempts in flight have ended, their outcomes are on disk.
    pub async fn drained(&self) {
        self.tasks.wait().await;
    }
}

/// What the store remembers of endpoints.
struct Switches {
    disabled: BTreeSet<String>,
    paused: BTreeSet<String>,
    failing: BTreeMap<String, Failing>,
}

impl Switches {
    async fn read(store: &Store) -> Result<Self, StoreError> {
        Ok(Self {
            disabled: store.disabled().await?,
            paused: store.paused().await?,
            failing: store.failing().await?,
        })
    }

    fn board(&self, endpoint: &Endpoint) -> Board {
        let name = endpoint.name.as_str();
        let is_enabled = !self.disabled.contains(name);
        let is_paused = self.paused.contains(name);
        Board::new((is_enabled, is_paused), endpoint.concurrency)
    }
}

/// The sources of which an endpoint hears anything, with the kinds that it hears.
fn heard(endpoint: &Endpoint, sources: &[(Name, SourceId)]) -> Vec<(SourceId, Kinds)> {
    let of_sources = Kind::OF_SOURCES;
    let operational = Kind::ALL
        .into_iter()
        .filter(|kind| !of_sources.contains(kind));
    let operational: Vec<Kind> = operational.collect();
    let hears = |name: &str, kinds: &[Kind]| -> Kinds {
        let kinds = kinds.iter().copied();
        kinds
            .filter(|kind| endpoint.hears(&kind.event_type(name)))
            .collect()
    };
    let own = (
        SourceId::OPERATIONAL,
        hears(OPERATIONAL_SOURCE, &operational),
    );
    let configured = sources
        .iter()
        .map(|(name, id)| (*id, hears(name.as_str(), &of_sources)));
    let all = std::iter::once(own).chain(configured);
    all.filter(|(_, kinds)| !kinds.is_empty()).collect()
}

/// An endpoint's queue as the store remembers it.
async fn restore(
    (store, now): (&Store, Timestamp),
    endpoint: &Endpoint,
    heard: Vec<(SourceId, Kinds)>,
) -> Result<Queue, StoreError> {
    let sources: Vec<SourceId> = heard.iter().map(|(source, _)| *source).collect();
    let states = store.lanes(&endpoint.name, &sources).await?;
    let latest = now.plus(valve::delay_max(endpoint));
    let mut waiting = Vec::new();
    for (lane, state) in states.iter().enumerate() {
        if state.parked > 0 {
            let mut parked = store.waiting(state.id, WAITING_MAX).await?;
            for row in &mut parked {
                row.due = row.due.map(|due| due.min(latest));
            }
            waiting.push((lane, parked));
        }
    }
    let kinds = heard.into_iter().map(|(_, kinds)| kinds);
    let mut queue = Queue::new(states.into_iter().zip(kinds).collect(), endpoint.order);
    for (lane, parked) in waiting {
        queue.restore(lane, parked);
    }
    Ok(queue)
}

/// Pause after the news could not be read.
const NEWS_PAUSE: Duration = Duration::from_secs(1);

/// Tells those who hear a source whenever it commits: of small commits the events, of others that
/// there is something to read. Ends with the store.
async fn tell(
    store: Store,
    (mut fresh, mut news, mut after): (
        Option<mpsc::Receiver<Fresh>>,
        watch::Receiver<Position>,
        Position,
    ),
    roster: Arc<Roster>,
) {
    loop {
        let next = async {
            match &mut fresh {
                Some(fresh) => fresh.recv().await,
                None => None,
            }
        };
        tokio::select! {
            // What became fresh is told before the position says so: once there is none left, the
            // position tells of what was not.
            biased;
            Some(told) = next => {
                if told.position == Position(after.0 + 1) {
                    after = told.position;
                    let hearers = roster.hearers.read();
                    for (inbox, lane) in in_turn(hearers.get(&told.source)) {
                        inbox.tell(*lane, told.clone());
                    }
                    continue;
                }
                if told.position <= after {
                    continue;
                }
            }
            moved = news.wait_for(|position| *position > after) => {
                if moved.is_err() {
                    return;
                }
            }
        }
        match store.news(after).await {
            Ok((sources, position)) => {
                after = position;
                let hearers = roster.hearers.read();
                let told = sources.iter().filter_map(|source| hearers.get(source));
                for (inbox, lane) in told.flatten() {
                    inbox.poke([*lane]);
                }
            }
            Err(error) => {
                error!(%error, "what is to be rung cannot be read");
                tokio::time::sleep(NEWS_PAUSE).await;
            }
        }
    }
}

/// Those who hear a source: first who rings at once, then who is only probed.
fn in_turn(hearers: Option<&Vec<Hearer>>) -> impl Iterator<Item = &Hearer> {
    let hearers = hearers.into_iter().flatten();
    let (late, prompt): (Vec<_>, Vec<_>) = hearers.partition(|(inbox, _)| inbox.is_late());
    prompt.into_iter().chain(late)
}
