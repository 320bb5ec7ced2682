//! Durable verbs: what doorbell must not forget.
//!
//! One transaction makes the snapshot, memory, events of a poll visible together. Nothing here
//! knows HTTP or configuration files; nothing outside this room knows a database. The verbs are
//! the seam where a database server will stand beside the embedded `SQLite`.
//!
//! # How deliveries are kept
//!
//! Events are an append-only log. A *lane* is one endpoint's view of one source's events: it has a
//! *watermark*, and every event at or before it is settled or *parked*. Events after the
//! watermark are pending unless an attempt row says that they were delivered. So a new event costs
//! no row per endpoint, a claim costs no write, and a delivered webhook costs one appended row.
//! What cannot be delivered now is parked: one row with the attempt count and the time of the next
//! attempt, or as waiting behind an earlier event of its subject, or as a dead letter.
//!
//! A commit may name one lane: then no other, and no reader of the feed, sees its events, and they take
//! no number. So an endpoint is told all there is by the same means as what happens.

mod backfill;
mod endpoints;
mod listed;
mod sqlite;
#[cfg(test)]
mod tests;
mod types;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

pub use backfill::*;
pub use endpoints::*;
pub use listed::*;
pub use types::*;

use crate::clock::Clock;
use crate::config;
use crate::detect::{Known, Subject};
use crate::event::{Event, EventId, EventKey, Kind, Partition};
use crate::metrics::StoreMetrics;
use crate::name::Name;
use sqlite::Sqlite;

/// A store at work. Cheap to clone; the last clone dropped closes it, and blocks until what is
/// queued is on disk: prefer [`Store::close`].
#[derive(Clone, Debug)]
pub struct Store {
    backend: Backend,
}

/// What does the work.
#[derive(Clone, Debug)]
enum Backend {
    Sqlite(Arc<Sqlite>),
}

impl Store {
    /// Opens or creates the store, takes its exclusive lock, migrates it, and removes what an
    /// unfinished large poll left behind.
    ///
    /// # Errors
    /// [`StoreError::Locked`] naming the holder, [`StoreError::Newer`] when a newer doorbell wrote
    /// it, or what the database says.
    pub async fn open(
        settings: &config::Store,
        clock: Clock,
        metrics: StoreMetrics,
    ) -> Result<Self, StoreError> {
        let sqlite = Sqlite::open(settings, clock, metrics).await?;
        let backend = Backend::Sqlite(Arc::new(sqlite));
        Ok(Self { backend })
    }

    /// What is known of one partition of a source, read from beside the process that has the
    /// store, which is not disturbed; `None` where there is no store yet, or nothing of it there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn peek(
        settings: &config::Store,
        source: &Name,
        partition: &Partition,
    ) -> Result<Option<Peek>, StoreError> {
        let (settings, source) = (settings.clone(), source.clone());
        let partition = partition.clone();
        let read = move || sqlite::peek(&settings, &source, &partition);
        let reading = tokio::task::spawn_blocking(read);
        reading.await.unwrap_or(Err(StoreError::Closed))
    }

    /// The numbers of these sources, in their order; unknown ones are registered.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn register(&self, names: &[Name]) -> Result<Vec<SourceId>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.register(names).await
    }

    /// The durable state of these partitions of sources, in their order; unknown ones are
    /// registered, and those that had left are back.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn partitions(
        &self,
        wanted: Vec<(SourceId, Partition)>,
    ) -> Result<Vec<SourceState>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.partitions(wanted).await
    }

    /// The durable state of these sources, none of them divided, in their order; unknown ones are
    /// registered.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sources(&self, names: &[Name]) -> Result<Vec<SourceState>, StoreError> {
        let ids = self.register(names).await?.into_iter();
        let wholes = ids.map(|id| (id, Partition::default()));
        self.partitions(wholes.collect()).await
    }

    /// These snapshots are of partitions that are not polled any more: they are deleted after
    /// `retain`, unless the partition is back by then.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn leave(&self, snapshots: Vec<SnapshotId>) -> Result<(), StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.leave(snapshots).await
    }

    /// As [`Self::leave`], for all snapshots but these.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn leave_others(&self, stay: HashSet<SnapshotId>) -> Result<(), StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.leave_others(stay).await
    }

    /// The snapshot's items, ascending by subject (bytewise).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn known(&self, snapshot: SnapshotId) -> Result<Vec<Known>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.known(snapshot).await
    }

    /// Items of the snapshot that walks lack, ascending by subject (bytewise).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unseen(&self, snapshot: SnapshotId) -> Result<Vec<Unseen>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.unseen(snapshot).await
    }

    /// These items with their kept bodies, in their order; `None` where none is kept.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Corrupt`] when a body is not what was stored.
    pub async fn bodies(
        &self,
        snapshot: SnapshotId,
        subjects: Vec<Subject>,
    ) -> Result<Vec<(Subject, Option<Box<str>>)>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.bodies(snapshot, subjects).await
    }

    /// Commits one poll: all of it is visible and durable when this returns, or none of it.
    ///
    /// More than [`LARGE_CHANGES`] changes are written in chunks that nobody sees, then made
    /// visible by one small transaction, so that other commits get their turn in between.
    ///
    /// # Errors
    /// [`StoreError`]; nothing of the poll is visible then.
    pub async fn commit(&self, poll: PollCommit) -> Result<Committed, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.commit(poll).await
    }

    /// Writes what these snapshots remember, all or nothing, and changes nothing else of them. Only
    /// for what was learnt after the last commit of each: it must not run beside one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note(&self, notes: Vec<Note>) -> Result<(), StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.note(notes).await
    }

    /// The newest visible commit, as a number that grows: changes when there is something to ring.
    #[must_use]
    pub fn position(&self) -> tokio::sync::watch::Receiver<Position> {
        let Backend::Sqlite(store) = &self.backend;
        store.position()
    }

    /// Small commits as they become visible, each before [`Self::position`] moves to it. For one
    /// taker: a second one gets `None`. What does not fit the queue is left out, so a gap between
    /// positions means that there is something to read.
    #[must_use]
    pub fn fresh(&self) -> Option<tokio::sync::mpsc::Receiver<Fresh>> {
        let Backend::Sqlite(store) = &self.backend;
        store.fresh()
    }

    /// Which sources committed events after `after`, and up to which position this holds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn news(
        &self,
        after: Position,
    ) -> Result<(BTreeSet<SourceId>, Position), StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.news(after).await
    }

    /// The lanes of an endpoint for these sources, in their order; a lane that does not exist
    /// begins after the newest visible event of its source, so a new endpoint gets no history.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lanes(
        &self,
        endpoint: &Name,
        sources: &[SourceId],
    ) -> Result<Vec<LaneState>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.lanes(endpoint, sources).await
    }

    /// Visible events of a source after `after`, ascending, at most `limit`: those that all hear,
    /// and those that only `lane` does.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn scan(
        &self,
        source: (SourceId, Option<LaneId>),
        after: EventKey,
        limit: usize,
    ) -> Result<Vec<Scanned>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.scan(source, after, limit).await
    }

    /// Whole events, in the order of `keys`; `None` for those that retention took.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Corrupt`] when a body is not what was stored.
    pub async fn load(&self, keys: Vec<EventKey>) -> Result<Vec<Option<Event>>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.load(keys).await
    }

    /// Parked deliveries of a lane that wait for a retry, by due time, at most `limit`. Of those tried
    /// under a clock that was ahead, the due time is as far from now as it was from then.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn waiting(&self, lane: LaneId, limit: usize) -> Result<Vec<Parked>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.waiting(lane, limit).await
    }

    /// The earliest parked delivery of a lane that waits behind this subject.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn next_blocked(
        &self,
        lane: LaneId,
        subject: Subject,
    ) -> Result<Option<Parked>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.next_blocked(lane, subject).await
    }

    /// Makes outcomes of attempts, parkings and watermarks durable, in one transaction together
    /// with those of others (group commit).
    ///
    /// # Errors
    /// [`StoreError`]; the caller keeps what it wanted to settle and tries again.
    pub async fn settle(&self, settling: Settling) -> Result<(), StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.settle(settling).await
    }

    /// Endpoints that were switched off, until [`Self::enable`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn disabled(&self) -> Result<BTreeSet<String>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.disabled().await
    }

    /// Switches an endpoint off, until [`Self::enable`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn disable(&self, endpoint: &Name) -> Result<(), StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.disable(endpoint).await
    }

    /// Endpoints that are paused, until [`Self::resume`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn paused(&self) -> Result<BTreeSet<String>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.paused().await
    }

    /// Remembers that an endpoint is paused.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn pause(&self, endpoint: &Name) -> Result<(), StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.pause(endpoint).await
    }

    /// Forgets that an endpoint was paused.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn resume(&self, endpoint: &Name) -> Result<(), StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.resume(endpoint).await
    }

    /// How endpoints have failed since they last accepted something, those that have.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn failing(&self) -> Result<BTreeMap<String, Failing>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.failing().await
    }

    /// Forgets that an endpoint was switched off, and how it failed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn enable(&self, endpoint: &Name) -> Result<(), StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.enable(endpoint).await
    }

    /// Events in the order in which they became visible.
    ///
    /// # Errors
    /// [`StoreError::Gone`] when the cursor is older than what is retained.
    pub async fn events(&self, query: EventQuery) -> Result<EventPage, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.events(query).await
    }

    /// Where a reader of the feed stands who has read up to this event.
    ///
    /// # Errors
    /// [`StoreError::Gone`] when it is not there, or not any more.
    pub async fn cursor(&self, id: EventId) -> Result<Cursor, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.cursor(id).await
    }

    /// One event by id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn event(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.event(id).await
    }

    /// Deliveries, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn deliveries(&self, query: DeliveryQuery) -> Result<Vec<Delivery>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.deliveries(query).await
    }

    /// One delivery; whether the endpoint hears it is for the caller to tell, as in
    /// [`DeliveryQuery::hears`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.delivery(id).await
    }

    /// Does something to deliveries of one endpoint; what came of each. Its deliverer rests
    /// meanwhile, and reads its lanes anew.
    ///
    /// # Errors
    /// [`StoreError`]; those before may be done.
    pub async fn steer(
        &self,
        deliveries: Vec<DeliveryId>,
        deed: Deed,
    ) -> Result<Vec<Steered>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.steer(deliveries, deed).await
    }

    /// Makes an endpoint's view of a source begin at `sequence` again: what came since and the
    /// endpoint has not had is pending. Its deliverer rests meanwhile, and reads its lanes anew.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rewind(
        &self,
        endpoint: &Name,
        source: SourceId,
        sequence: u64,
    ) -> Result<Rewound, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.rewind(endpoint, source, sequence).await
    }

    /// Begins to tell an endpoint the items of the snapshots of these sources, as events of these
    /// kinds that nobody else hears. [`Self::backfill`] does it.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has begun then.
    pub async fn begin_backfills(
        &self,
        endpoint: &Name,
        sources: Vec<(SourceId, Kind)>,
    ) -> Result<Backfillable, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.begin_backfills(endpoint, sources).await
    }

    /// Which lanes are being told what there is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn backfills(&self) -> Result<Vec<Backfill>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.backfills().await
    }

    /// Tells a lane some more items: what a process that dies has told it is not told again.
    ///
    /// # Errors
    /// [`StoreError`]; nothing more was told then.
    pub async fn backfill(&self, lane: LaneId) -> Result<BackfillStep, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.backfill(lane).await
    }

    /// Tells an endpoint no more of what there is; of how many sources it was being told.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_backfills(&self, endpoint: &Name) -> Result<u64, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.end_backfills(endpoint).await
    }

    /// Settled deliveries whose events are still there, in the order of their ids.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn replayable(&self, query: ReplayQuery) -> Result<Vec<DeliveryId>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.replayable(query).await
    }

    /// Parked deliveries of an endpoint that wait for a retry.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn waiting_count(&self, endpoint: &Name) -> Result<u64, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.waiting_count(endpoint).await
    }

    /// Forgets everything that an endpoint was still to be sent; how many deliveries had been
    /// tried or were blocked. Its deliverer rests meanwhile, and reads its lanes anew.
    ///
    /// # Errors
    /// [`StoreError`]; a part may be forgotten.
    pub async fn drop_backlog(&self, endpoint: &Name) -> Result<u64, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.drop_backlog(endpoint).await
    }

    /// Forgets what an endpoint of this name was still to be sent and all that it was ever sent, for
    /// another one gets the name. No task of it runs meanwhile.
    ///
    /// # Errors
    /// [`StoreError`]; a part may be forgotten.
    pub async fn begin_anew(&self, endpoint: &Name) -> Result<(), StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.begin_anew(endpoint).await
    }

    /// Attempts of one delivery, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn attempts(&self, delivery: DeliveryId) -> Result<Vec<Attempt>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.attempts(delivery).await
    }

    /// Deletes what is older than its retention, a bounded chunk at a time. An event with a pending
    /// delivery stays, unless the delivery's lane was not asked for since the store was opened:
    /// then its endpoint or source has left the configuration, and the delivery waits for `retain`.
    /// So nobody may call this before every endpoint has asked for its lanes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn retain(&self) -> Result<Retained, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.retain().await
    }

    /// Bytes on disk, journal included.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn size_bytes(&self) -> Result<u64, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.size_bytes().await
    }

    /// Waits until everything handed in is on disk and closes the database; other clones get
    /// [`StoreError::Closed`] from then on.
    pub async fn close(self) {
        let Backend::Sqlite(store) = &self.backend;
        store.close().await;
    }
}
