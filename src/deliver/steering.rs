//! What people ask of an endpoint: to be paused, switched, and given its deliveries again.
//!
//! Decides how much of that is done at a time. What becomes of the rows is the store's question,
//! when the endpoint rests its worker's.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tracing::info;

use super::{Deliverer, Shown};
use crate::name::Name;
use crate::store::{Deed, DeliveryId, ReplayQuery, Rewound, SourceId, Steered, Store, StoreError};

/// How long an endpoint may take to come to rest: longer than most attempts may.
pub(super) const REST_PATIENCE: Duration = Duration::from_secs(30);

/// Most deliveries that one request replays: some 30 ms of writing, in chunks.
pub const REPLAY_MAX: usize = 512;

/// Waiting deliveries of an endpoint beyond which nothing is replayed: half of what one of its
/// lanes may know, so that new events find room beside them.
const REPLAYED_MAX: u64 = 2_048;

/// Deliveries that one read counts, so that other reads get their turn.
const COUNTED_AT_ONCE: usize = 10_000;

/// How often it is asked whether there is room for more, and how long.
const ROOM_PAUSE: Duration = Duration::from_millis(50);
const ROOM_PATIENCE: Duration = Duration::from_secs(20);

/// Why something is not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SteerError {
    /// No endpoint has this name.
    #[error("no endpoint is named {0:?}")]
    Unknown(String),
    /// Its attempts in flight take too long.
    #[error("attempts are in flight that take long: try again in a moment")]
    Busy,
    /// So much waits to be sent to it already that nothing is replayed beside it.
    #[error("too many deliveries wait for the endpoint: try again when it has taken some")]
    Crowded,
    /// It is being ended.
    #[error("draining")]
    Draining,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What becomes of deliveries that waited while an endpoint was not rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backlog {
    /// They ring now, in order.
    #[default]
    Send,
    /// Nobody hears of them.
    Drop,
}

/// What one step of a replay did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// Deliveries that ring once more.
    pub count: usize,
    /// Where to go on; `None`: that was all.
    pub next: Option<DeliveryId>,
}

impl Deliverer {
    /// Rings an endpoint again that was switched off.
    ///
    /// # Errors
    /// [`SteerError`]; the endpoint stays as it was, but a part of its backlog may be dropped.
    pub async fn enable(&self, endpoint: &str, backlog: Backlog) -> Result<(), SteerError> {
        let shown = self.shown(endpoint)?;
        self.drop_backlog(&shown.name, backlog).await?;
        self.parts.store.enable(&shown.name).await?;
        shown.board.switch(true);
        shown.follow();
        Ok(())
    }

    /// Rings an endpoint no more, until somebody enables it.
    ///
    /// # Errors
    /// [`SteerError`]; the endpoint stays as it was.
    pub async fn disable(&self, endpoint: &str) -> Result<(), SteerError> {
        let shown = self.shown(endpoint)?;
        self.parts.store.disable(&shown.name).await?;
        shown.board.switch(false);
        shown.follow();
        info!(endpoint = %shown.name, "endpoint is switched off by hand");
        Ok(())
    }

    /// Leaves an endpoint in peace for a while.
    ///
    /// # Errors
    /// [`SteerError`]; the endpoint stays as it was.
    pub async fn pause(&self, endpoint: &str) -> Result<(), SteerError> {
        let shown = self.shown(endpoint)?;
        self.parts.store.pause(&shown.name).await?;
        shown.board.pause(true);
        shown.follow();
        Ok(())
    }

    /// Goes on with an endpoint that was paused.
    ///
    /// # Errors
    /// [`SteerError`]; the endpoint stays as it was, but a part of its backlog may be dropped.
    pub async fn resume(&self, endpoint: &str, backlog: Backlog) -> Result<(), SteerError> {
        let shown = self.shown(endpoint)?;
        self.drop_backlog(&shown.name, backlog).await?;
        self.parts.store.resume(&shown.name).await?;
        shown.board.pause(false);
        shown.follow();
        Ok(())
    }

    async fn drop_backlog(&self, endpoint: &Name, backlog: Backlog) -> Result<(), SteerError> {
        if backlog == Backlog::Send {
            return Ok(());
        }
        let name = endpoint.clone();
        let drop = async move |store: Store| store.drop_backlog(&name).await;
        self.at_rest(endpoint.as_str(), drop).await?;
        info!(%endpoint, "what waited for the endpoint is dropped");
        Ok(())
    }

    /// Does something to one delivery of `endpoint`.
    ///
    /// # Errors
    /// [`SteerError`]; nothing is done then.
    pub async fn steer(
        &self,
        endpoint: &Name,
        delivery: DeliveryId,
        deed: Deed,
    ) -> Result<Steered, SteerError> {
        if deed == Deed::Retry && self.parts.store.waiting_count(endpoint).await? >= REPLAYED_MAX {
            return Err(SteerError::Crowded);
        }
        let steer = async move |store: Store| store.steer(vec![delivery], deed).await;
        let steered = self.at_rest(endpoint.as_str(), steer).await?;
        let steered = steered.first().copied().unwrap_or(Steered::Unknown);
        if (deed, steered) == (Deed::Skip, Steered::Done) {
            self.shown(endpoint.as_str())?.metrics.dead();
        }
        Ok(steered)
    }

    /// Sends `endpoint` what it has not had of a source's events, from `sequence` on.
    ///
    /// # Errors
    /// [`SteerError`]; nothing is done then.
    pub async fn backfill(
        &self,
        endpoint: &str,
        source: SourceId,
        sequence: u64,
    ) -> Result<Rewound, SteerError> {
        let shown = self.shown(endpoint)?;
        let rewind = async move |store: Store| store.rewind(&shown.name, source, sequence).await;
        self.at_rest(endpoint, rewind).await
    }

    /// Rings some of what `query` finds once more, at most [`REPLAY_MAX`]: under the same ids, with
    /// the same bodies. Waits for room first.
    ///
    /// # Errors
    /// [`SteerError`]; a part may be done then, and asking again does no harm.
    pub async fn replay(&self, mut query: ReplayQuery) -> Result<Replayed, SteerError> {
        let endpoint = query.endpoint.clone();
        self.shown(endpoint.as_str())?;
        let room = self.room(&endpoint).await?;
        if room == 0 {
            // Without a place to go on from, nothing would tell this from a replay that is done.
            let next = query.after.ok_or(SteerError::Crowded)?;
            return Ok(Replayed {
                count: 0,
                next: Some(next),
            });
        }
        query.limit = query.limit.min(REPLAY_MAX).min(room);
        let limit = query.limit;
        let found = self.parts.store.replayable(query).await?;
        let next = found.last().copied().filter(|_| found.len() == limit);
        if found.is_empty() {
            return Ok(Replayed { count: 0, next });
        }
        let steer = async move |store: Store| store.steer(found, Deed::Retry).await;
        let steered = self.at_rest(endpoint.as_str(), steer).await?;
        let done = steered.iter().filter(|steered| **steered == Steered::Done);
        let count = done.count();
        Ok(Replayed { count, next })
    }

    /// How many deliveries `query` finds in all.
    ///
    /// # Errors
    /// [`SteerError`].
    pub async fn replayable(&self, mut query: ReplayQuery) -> Result<u64, SteerError> {
        self.shown(query.endpoint.as_str())?;
        query.limit = COUNTED_AT_ONCE;
        let mut count = 0;
        loop {
            let found = self.parts.store.replayable(query.clone()).await?;
            count += found.len() as u64;
            match found.last() {
                Some(last) if found.len() == COUNTED_AT_ONCE => query.after = Some(*last),
                _ => return Ok(count),
            }
        }
    }

    /// How many more deliveries of `endpoint` may be replayed now; 0 when that stays so.
    async fn room(&self, endpoint: &Name) -> Result<usize, SteerError> {
        let deadline = Instant::now() + ROOM_PATIENCE;
        loop {
            let waiting = self.parts.store.waiting_count(endpoint).await?;
            let room = REPLAYED_MAX.saturating_sub(waiting);
            if room > 0 || Instant::now() > deadline || self.parts.shutdown.is_draining() {
                return Ok(usize::try_from(room).unwrap_or(usize::MAX));
            }
            sleep(ROOM_PAUSE).await;
        }
    }

    /// Lets `act` change rows of an endpoint while it rests.
    pub(super) async fn at_rest<T: Send + 'static, A>(
        &self,
        endpoint: &str,
        act: impl FnOnce(Store) -> A + Send + 'static,
    ) -> Result<T, SteerError>
    where
        A: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let shown = self.shown(endpoint)?;
        let (done, answer) = oneshot::channel();
        let store = self.parts.store.clone();
        let errand = move || {
            let errand = async move {
                // Nobody waits any more: it would be done behind their back.
                if !done.is_closed() {
                    let _ = done.send(act(store).await);
                }
            };
            Box::pin(errand) as _
        };
        if !shown.inbox.ask(Box::new(errand)) {
            return Err(SteerError::Busy);
        }
        match timeout(REST_PATIENCE, answer).await {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(_)) if self.parts.shutdown.is_draining() => Err(SteerError::Draining),
            // It was changed or deleted in this moment.
            Ok(Err(_)) | Err(_) => Err(SteerError::Busy),
        }
    }
}

impl Shown {
    /// Makes the worker and the series follow the board.
    pub(super) fn follow(&self) {
        self.metrics.enabled(self.board.is_rung());
        // An endpoint hears something, so it has a first lane; the poke makes it look around.
        self.inbox.poke([0]);
    }
}
