//! The poller: asks upstreams on schedule and commits what changed.
//!
//! One task keeps all schedules (`agenda`); a poll is a task of its own for as long as it lasts,
//! and they are bounded. An idle source costs some hundred bytes and no task. Leaves what differs
//! to [`crate::detect`], when to poll to [`crate::schedule`], and what is durable to
//! [`crate::store`]; the pure parts of what is left stand in `plan` and `conclude`.
//!
//! | module | what it decides |
//! | --- | --- |
//! | `seat` | what a source and each of its partitions know |
//! | `agenda` `hall` | who is polled next |
//! | `pools` `share` | who is polled before it must be, because it is likely to have changed |
//! | `heed` | what callers do that brings a poll about |
//! | `turn` | a poll from its begin to its commit and what everyone hears of it |
//! | `question` `attempt` `plan` `identity` `redigest` | what is asked, what came, what differs |
//! | `conclude` `alarms` | what follows from how it went, and what operators hear |
//! | `divide` `follow` | which partitions a source has, and when they come and go |
//! | `notes` | what reaches the disk a little later |
//! | `look` | a poll that leaves nothing behind |

mod agenda;
mod alarms;
mod attempt;
mod bench;
mod conclude;
mod divide;
mod follow;
mod forget;
mod hall;
mod heed;
mod identity;
mod judge;
mod look;
mod notes;
mod plan;
mod pools;
mod question;
mod redigest;
mod request;
mod seat;
mod share;
#[cfg(test)]
mod tests;
mod turn;
mod walk;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;

pub use look::{Again, Against, Brought, Look, LookError, Looker, Sample, Waiting, Would};
pub use pools::Rhythm;

use crate::clock::Clock;
use crate::config;
use crate::detect::Unreadable;
use crate::event::{EventId, Partition};
use crate::metrics::PollMetrics;
use crate::name::Name;
use crate::shutdown::{Phase, Shutdown};
use crate::store::{Store, StoreError};
use crate::time::{Timestamp, as_text};
use crate::upstream::{Reason, Upstream, Upstreams};

use agenda::Urge;
use bench::Bench;
use follow::Follow;
use hall::{Begun, Hall};
use heed::Heed;
use notes::Notes;
use seat::{Place, Watched};

/// Longest sleep of the scheduler, so that a step of the machine's clock is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Most detections of large bodies at once, if there are as many processors: what is left serves
/// callers.
const DETECTIONS_MAX: usize = 4;

const REASON_CONTENT_TYPE: &str = "content_type";
const REASON_STORE: &str = "store";
const REASON_INTERNAL: &str = "internal";
const REASON_GUARD: &str = "guard";
const REASON_CONFIRM: &str = "confirm";
const REASON_UNCHANGED: &str = "unchanged";
const REASON_PAGINATION: &str = "pagination";
const REASON_PAGES_MAX: &str = "pages_max";

/// What a poller is made of.
#[derive(Debug)]
pub struct Parts {
    /// The configuration. A poll reads its source there when it begins.
    pub live: config::Live,
    /// Where changes are committed.
    pub store: Store,
    /// Who is asked; holds every upstream that a source names.
    pub upstreams: Upstreams,
    /// Its series.
    pub metrics: PollMetrics,
    /// The present.
    pub clock: Clock,
    /// When to end.
    pub shutdown: Shutdown,
}

/// A poller at work. Cheap to clone; it ends with its [`Shutdown`].
#[derive(Clone, Debug)]
pub struct Poller {
    room: Arc<Room>,
    /// Closed when no poll is in flight and none will begin.
    ended: watch::Receiver<()>,
}

/// How a poll ended; also the `outcome` label. One of many partitions ends as the last of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// 304.
    NotModified,
    /// Nothing to ring: the same, or a silent baseline.
    Unchanged,
    /// It rang.
    Changed,
    /// It is not believed yet: the guard doubts it, or it was not seen often enough.
    Held,
    /// It came to nothing.
    Error,
}

/// What `POST …/poll` answers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Polled {
    /// How it ended.
    pub outcome: Outcome,
    /// Why, for errors and held polls: the `reason` label of the metrics; `guard` or `confirm`.
    pub reason: Option<String>,
    /// Events that it committed.
    pub events: u64,
    /// Their ids, the first [`crate::store::COMMITTED_IDS_MAX`].
    #[serde(serialize_with = "as_texts")]
    pub event_ids: Vec<EventId>,
}

/// Why there is no poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PollRefused {
    /// No source has this name.
    #[error("no source has this name")]
    Unknown,
    /// It has no such partition.
    #[error("the source has no such partition")]
    NoPartition,
    /// So many partitions are too many for one poll by hand.
    #[error("the source has {0} partitions, a poll by hand asks for at most {BY_HAND_MAX}")]
    TooMany(usize),
    /// doorbell is about to end.
    #[error("doorbell is draining")]
    Draining,
}

/// Most partitions that one poll by hand asks for: what is done before its caller loses patience.
pub const BY_HAND_MAX: usize = 1_000;

/// How a source stands.
#[derive(Debug, Clone, serde::Serialize)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// Its upstream's name.
    pub upstream: String,
    /// In one word.
    pub state: SourceCondition,
    /// Whether a poll is in flight.
    pub polling: bool,
    /// Items in the snapshot; absent before the first success.
    pub items: Option<u64>,
    /// When the last poll began.
    #[serde(serialize_with = "as_text")]
    pub last_poll: Option<Timestamp>,
    /// When the last believed poll ended.
    #[serde(serialize_with = "as_text")]
    pub last_success: Option<Timestamp>,
    /// When the next poll is due; absent for manual sources, and for adaptive ones as far as
    /// anyone knows.
    #[serde(serialize_with = "as_text")]
    pub next_due: Option<Timestamp>,
    /// Failures in a row.
    pub consecutive_failures: u32,
    /// The last error since the start, while it lasts.
    pub last_error: Option<LastError>,
    /// How often it changes and is polled because of that, where it is adaptive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<Rhythm>,
    /// How its partitions stand, where it is divided. What stands above is then the sum, the
    /// latest, the soonest or the worst of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<PartitionsStatus>,
}

/// How many partitions of a source stand how.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct PartitionsStatus {
    /// All of them.
    pub total: usize,
    /// [`SourceCondition::Failing`].
    pub failing: usize,
    /// [`SourceCondition::Held`].
    pub held: usize,
    /// [`SourceCondition::Waiting`].
    pub waiting: usize,
    /// The first few that fail.
    pub first_failing: Vec<FailingPartition>,
}

/// A partition that fails.
#[derive(Debug, Clone, serde::Serialize)]
pub struct FailingPartition {
    /// Its values by name.
    pub partition: BTreeMap<String, String>,
    /// Failures in a row.
    pub consecutive_failures: u32,
    /// The last error since the start.
    pub last_error: Option<LastError>,
}

/// How a source stands, in one word; of its partitions the last of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceCondition {
    /// It was not polled yet.
    Waiting,
    /// Its last poll was believed.
    Ok,
    /// Its last believable answer waits for confirmation.
    Held,
    /// Its last poll failed.
    Failing,
}

/// Why a poll failed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LastError {
    /// The class, which is also the `reason` label.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// What the handle, the scheduler and the polls share.
#[derive(Debug)]
struct Room {
    live: config::Live,
    store: Store,
    upstreams: Upstreams,
    clock: Clock,
    shutdown: Shutdown,
    /// In the order of their names.
    sources: Vec<Arc<Watched>>,
    by_name: HashMap<Name, usize>,
    hall: Mutex<Hall>,
    notes: Notes,
    follow: Follow,
    /// Rung when the hall has news for the scheduler.
    wake: Notify,
    bench: Bench,
}

impl Poller {
    /// Registers the configured sources in the store and begins to poll them.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not know or register them.
    ///
    /// # Panics
    /// Never: the upstreams are those of the configuration, which names no other.
    pub async fn start(parts: Parts) -> Result<Self, StoreError> {
        let config = parts.live.load_full();
        let names: Vec<Name> = config.sources.keys().cloned().collect();
        let ids = parts.store.register(&names).await?;
        let lines: HashMap<&Name, usize> = parts.upstreams.keys().zip(0..).collect();
        let width = |upstream: &Arc<Upstream>| upstream.config().connections_max;
        let mut hall = Hall::new(parts.upstreams.values().map(width), names.len());
        hall.agenda().advance(parts.clock.now());
        let all = config.sources.values();
        let followed: HashSet<&Name> = all
            .clone()
            .flat_map(|source| source.each.iter().flat_map(|each| each.followed.keys()))
            .collect();
        let watched = all.zip(ids).enumerate().map(|(index, (source, id))| {
            let line = lines.get(&source.upstream).copied();
            let place = Place {
                index,
                line: line.expect("a checked configuration names upstreams that exist"),
                is_followed: followed.contains(&source.name),
            };
            Arc::new(Watched::new(source, id, place, &parts.metrics))
        });
        let room = Arc::new(Room {
            sources: watched.collect(),
            live: parts.live,
            store: parts.store,
            upstreams: parts.upstreams,
            clock: parts.clock,
            shutdown: parts.shutdown,
            by_name: names.into_iter().zip(0..).collect(),
            hall: Mutex::new(hall),
            notes: Notes::default(),
            follow: Follow::default(),
            wake: Notify::new(),
            bench: Bench::with_room_for(detections_max()),
        });
        follow::begin(&room).await?;
        let (end, ended) = watch::channel(());
        tokio::spawn(notes::keep(Arc::clone(&room)));
        tokio::spawn(follow::keep(Arc::clone(&room)));
        for (upstream, line) in room.upstreams.values().zip(0..) {
            let recoveries = upstream.recoveries();
            tokio::spawn(pull_forward(Arc::clone(&room), line, recoveries));
            tokio::spawn(heed(Arc::clone(&room), Arc::clone(upstream), line));
        }
        tokio::spawn(schedule(Arc::clone(&room), end));
        Ok(Self { room, ended })
    }

    /// Polls a source now, all of its partitions: always a new fetch, also while it backs off or
    /// its upstream asked to be left alone. Waits for a poll in flight, which it never joins. The
    /// poll goes on if the caller leaves.
    ///
    /// # Errors
    /// [`PollRefused`].
    pub async fn poll_now(&self, source: &str) -> Result<Polled, PollRefused> {
        self.poll_partitions(source, None).await
    }

    /// As [`Self::poll_now`], but of this partition alone where one is named.
    ///
    /// # Errors
    /// [`PollRefused`].
    pub async fn poll_partitions(
        &self,
        source: &str,
        partition: Option<&Partition>,
    ) -> Result<Polled, PollRefused> {
        let index = self.room.by_name.get(source).copied();
        let source = &self.room.sources[index.ok_or(PollRefused::Unknown)?];
        let asked = self.room.hall.lock().ask(source, partition, BY_HAND_MAX);
        let heard = asked.map_err(PollRefused::TooMany)?;
        if heard.is_empty() && partition.is_some() {
            return Err(PollRefused::NoPartition);
        }
        self.room.wake.notify_one();
        let mut all = Polled::nothing();
        for heard in heard {
            let mut heard = heard.ok_or(PollRefused::Draining)?;
            let polled = heard.wait_for(Option::is_some).await.ok();
            let polled = polled.and_then(|polled| polled.clone());
            all.join(polled.ok_or(PollRefused::Draining)?);
        }
        Ok(all)
    }

    /// How every source stands, by name.
    #[must_use]
    pub fn sources(&self) -> Vec<SourceStatus> {
        let sources = self.room.sources.iter();
        sources.map(|source| self.status(source)).collect()
    }

    /// How the source called `name` stands.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<SourceStatus> {
        let index = self.room.by_name.get(name)?;
        Some(self.status(&self.room.sources[*index]))
    }

    fn status(&self, source: &Watched) -> SourceStatus {
        let standing = self.room.hall.lock().standing(source);
        source.status(&standing)
    }

    /// Waits until, after the shutdown began, no poll is in flight.
    pub async fn drained(&self) {
        let mut ended = self.ended.clone();
        // Nothing is ever sent: the channel closes.
        while ended.changed().await.is_ok() {}
    }
}

/// Begins polls when they are due, until the drain; then waits for those in flight.
async fn schedule(room: Arc<Room>, end: watch::Sender<()>) {
    let polls = TaskTracker::new();
    let mut shares_at = Instant::now();
    let draining = room.shutdown.clone();
    let draining = draining.reached(Phase::Draining);
    tokio::pin!(draining);
    loop {
        if shares_at <= Instant::now() {
            shares_at = Instant::now() + share::SHARE_EVERY;
            share::share(&room);
        }
        let now = room.clock.now();
        let sleep = {
            let mut hall = room.hall.lock();
            while let Some(begun) = hall.next(now) {
                polls.spawn(attend(Arc::clone(&room), begun));
            }
            let next_look = hall.next_look();
            let sleep = next_look.map_or(SLEEP_MAX, |look| look.since(now).min(SLEEP_MAX));
            hall.looks_at(now.plus(sleep));
            sleep
        };
        tokio::select! {
            () = &mut draining => break,
            () = room.wake.notified() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
    room.hall.lock().agenda().close();
    for upstream in room.upstreams.values() {
        upstream.release_polls();
    }
    polls.close();
    polls.wait().await;
    if let Err(error) = notes::write(&room).await {
        tracing::error!("what polls learnt could not be written: {error}");
    }
    drop(end);
}

/// Heeds what an upstream's callers do, as far as its sources want to hear of it.
async fn heed(room: Arc<Room>, upstream: Arc<Upstream>, line: usize) {
    let shared = |source: &Arc<Watched>| {
        let brief = source.brief(&room.live, &room.upstreams)?;
        source.shared(&brief)
    };
    let sources = || room.sources.iter().filter(|source| source.line == line);
    upstream.share(sources().filter_map(shared).collect());
    let mut heed = Heed::default();
    loop {
        let next = heed.next().unwrap_or_else(|| Instant::now() + SLEEP_MAX);
        tokio::select! {
            heard = upstream.heard() => {
                let now = Instant::now();
                for (name, request_id) in heard.writes {
                    let index = room.by_name.get(&name).copied();
                    let config = room.live.load();
                    let rules = config.sources.get(&name);
                    let rules = rules.and_then(|source| source.joint.on_write.as_ref());
                    if let Some((index, rules)) = index.zip(rules) {
                        heed.written(index, rules, request_id, now);
                    }
                }
                for (name, observed) in heard.reads {
                    if let Some(index) = room.by_name.get(&name) {
                        room.urge(*index, Urge::Read(Box::new(observed)));
                    }
                }
            }
            () = tokio::time::sleep_until(next.into()) => {}
            () = room.shutdown.reached(Phase::Draining) => return,
        }
        for (index, request_id) in heed.due(Instant::now()) {
            room.urge(index, Urge::Written(request_id));
        }
    }
}

impl Room {
    fn urge(&self, source: usize, urge: Urge) {
        self.hall.lock().urge(&self.sources[source], urge);
        self.wake.notify_one();
    }
}

/// Polls of an upstream that was down come forward when it is back.
async fn pull_forward(room: Arc<Room>, line: usize, mut recoveries: watch::Receiver<u64>) {
    loop {
        tokio::select! {
            changed = recoveries.changed() => if changed.is_err() { return },
            () = room.shutdown.reached(Phase::Draining) => return,
        }
        let now = room.clock.now();
        for source in room.sources.iter().filter(|source| source.line == line) {
            room.hall.lock().pull_forward(source, now);
        }
        room.wake.notify_one();
    }
}

/// Makes a poll, and as long as others wait for their turn, the next one: where there are many,
/// none of them costs the scheduler a look.
async fn attend(room: Arc<Room>, begun: Begun) {
    let mut begun = Some(begun);
    while let Some(Begun { ticket, seat }) = begun {
        begun = turn::take(&room, ticket, &seat).await;
    }
}

/// All values of the `reason` label.
fn reasons() -> Vec<&'static str> {
    let own = [
        REASON_CONTENT_TYPE,
        REASON_PAGINATION,
        REASON_PAGES_MAX,
        REASON_STORE,
        REASON_INTERNAL,
    ];
    let fetching = Reason::ALL.into_iter().map(Reason::label);
    let unreadable = Unreadable::REASONS;
    // A body may be too large as it comes, and as what is made of it.
    let mut all: Vec<_> = fetching.chain(unreadable).chain(own).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn detections_max() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    processors.saturating_sub(1).clamp(1, DETECTIONS_MAX)
}

fn as_texts<S: serde::Serializer>(ids: &[EventId], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ids.iter().map(ToString::to_string))
}
