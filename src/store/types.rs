//! The words that the store's verbs speak.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::DeliveryId;
use crate::client::Validators;
use crate::detect::{Held, Known, Pending, Progress, Subject};
use crate::digest::{Digest, RawDigest};
use crate::event::{Cause, Event, EventId, EventKey, Kind, ORDINAL_MAX, Partition};
use crate::name::Name;
use crate::schedule::adaptive::Learnt;
use crate::time::Timestamp;

/// Most changes that one transaction writes; more go in chunks, which only few polls need.
pub const LARGE_CHANGES: usize = 256;

/// Changes of a chunk. It holds the writer for less than 1 ms, half of that for the flush: what the
/// commit of another source may have to wait. Smaller ones would mostly flush.
pub const CHUNK_CHANGES: usize = 32;

/// A registered source. Numbers are never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SourceId(pub i64);

impl SourceId {
    /// The pseudo-source of operational events, [`crate::event::OPERATIONAL_SOURCE`]; always there.
    pub const OPERATIONAL: Self = Self(0);
}

/// A registered snapshot: one partition of one source.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SnapshotId(pub i64);

/// A registered pair of endpoint and source.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LaneId(pub i64);

/// Place of a commit in the order in which commits became visible; 0 is before all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Position(pub i64);

/// Why a verb failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("{path} is in use by process {holder}")]
    Locked {
        /// The store's file.
        path: PathBuf,
        /// Process id, as far as it is known.
        holder: String,
    },
    /// A newer doorbell wrote it.
    #[error(
        "the store has schema version {found}, this doorbell knows up to {known}: run the newer doorbell"
    )]
    Newer {
        /// Version in the file.
        found: i64,
        /// Newest version known here.
        known: i64,
    },
    /// Bytes read back are not the bytes stored.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// No space left.
    #[error("the disk is full")]
    Full,
    /// The cursor is older than what is retained; this is the oldest that works.
    #[error("the cursor is older than what is retained, the oldest is {0}")]
    Gone(Cursor),
    /// Closed, or its writer has stopped.
    #[error("the store is closed")]
    Closed,
    /// What the database says.
    #[error("{0}")]
    Database(String),
}

/// What a partition of a source remembers from poll to poll.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceState {
    /// The source.
    pub id: SourceId,
    /// The partition's snapshot.
    pub snapshot: SnapshotId,
    /// What it remembers; default for a source that was never polled.
    pub memory: Memory,
    /// Items in the snapshot; `None`: no snapshot yet, the next success is the baseline.
    pub items: Option<u64>,
}

/// A partition as [`super::Store::peek`] sees it.
#[derive(Debug, Clone, Default)]
pub struct Peek {
    /// What it remembers.
    pub memory: Memory,
    /// Whether it has a snapshot.
    pub has_snapshot: bool,
    /// The snapshot's items, ascending by subject.
    pub items: Vec<Known>,
    /// The body of each, where bodies are kept.
    pub bodies: Vec<Option<Box<str>>>,
    /// Items of the snapshot that walks lack, ascending by subject.
    pub unseen: Vec<Unseen>,
}

/// What a source remembers between polls besides its items.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Identity of the request and rules under which the rest was learnt.
    pub rules: Option<Digest>,
    /// Identity of what brought the rest, of a request that differs from poll to poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<Digest>,
    /// When the last success began.
    pub asked_at: Option<Timestamp>,
    /// How far an incremental listing has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Digest of the last committed body.
    pub raw: Option<RawDigest>,
    /// Validators of the last committed body.
    pub validators: Validators,
    /// When the last fetch that counts began.
    pub polled_at: Option<Timestamp>,
    /// When the last success was.
    pub succeeded_at: Option<Timestamp>,
    /// Consecutive failures.
    pub failures: u32,
    /// Those of them that the back-off counts: it begins anew when somebody asks for a poll.
    pub retries: u32,
    /// Since when it fails.
    pub failing_since: Option<Timestamp>,
    /// Why it failed last: the `reason` label.
    pub failing_reason: Option<Box<str>>,
    /// Whether `doorbell.source.failing` has rung for these failures.
    pub failing_rung: bool,
    /// What else decided what became of that body: how items are deleted and forgotten.
    pub policy: Option<Digest>,
    /// Digest of the last committed walk, while the snapshot holds all of it.
    pub walk: Option<Digest>,
    /// A poll that the guard holds.
    pub held: Option<Held>,
    /// What was not seen often enough yet. More than [`PENDING_KEPT_MAX`] are forgotten with the
    /// process: the next poll sees them again, and counts from one.
    #[serde(with = "kept_pending")]
    pub pending: Option<Arc<Pending>>,
    /// Not polled before this: what the upstream asked for, or a back-off.
    pub not_before: Option<Timestamp>,
    /// When something new came last; before the first, when it was first polled.
    pub changed_at: Option<Timestamp>,
    /// Polls since that brought nothing new.
    pub quiet_polls: u32,
    /// Whether `doorbell.source.stale` has rung since.
    pub stale_rung: bool,
    /// How often it changes, where polls go by that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rhythm: Option<Box<Learnt>>,
}

/// What a snapshot remembers of a poll that changed nothing.
#[derive(Debug, Clone)]
pub struct Note {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// What to remember.
    pub memory: Arc<Memory>,
}

/// Most unconfirmed changes that are on disk, some 100 KiB: a source's memory is one row, written
/// whole.
pub const PENDING_KEPT_MAX: usize = 1_000;

/// How [`Memory::pending`] is on disk.
mod kept_pending {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::{Arc, PENDING_KEPT_MAX, Pending};

    #[expect(clippy::ref_option, reason = "serde gives it so")]
    pub(super) fn serialize<S: Serializer>(
        pending: &Option<Arc<Pending>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let pending = pending.as_deref();
        let kept = pending.filter(|pending| pending.doubts.len() <= PENDING_KEPT_MAX);
        kept.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Arc<Pending>>, D::Error> {
        Option::<Pending>::deserialize(deserializer).map(|pending| pending.map(Arc::new))
    }
}

/// Everything one poll leaves behind.
#[derive(Debug, Clone)]
pub struct PollCommit {
    /// The source.
    pub source: SourceId,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The partition of which that is.
    pub partition: Partition,
    /// When the changes were detected.
    pub at: Timestamp,
    /// Why doorbell looked.
    pub cause: Cause,
    /// What to remember.
    pub memory: Memory,
    /// What becomes of the snapshot and what rings, in the order of the events: deleted, updated,
    /// created, each ascending by subject.
    pub changes: Vec<ItemChange>,
    /// What becomes of the marks of unseen items.
    pub marks: Vec<Mark>,
    /// Whether the snapshot exists afterwards even if it has no items: false only for polls that
    /// failed or are held.
    pub settles_snapshot: bool,
    /// Operational events of this poll.
    pub announcements: Vec<Announcement>,
}

/// One item's part in a poll.
#[derive(Debug, Clone)]
pub struct ItemChange {
    /// The item.
    pub subject: Subject,
    /// What the snapshot holds afterwards; `None`: nothing.
    pub now: Option<Form>,
    /// What rings; `None`: nobody (a silent baseline).
    pub event: Option<Draft>,
}

/// An item of the snapshot that the last walk lacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseen {
    /// The item.
    pub subject: Subject,
    /// When a walk lacked it first; `None`: it is not to be relied on.
    pub since: Option<Timestamp>,
}

/// What is noted of an item that a walk lacked, or that came back. One is written when an item
/// goes and one when it returns, none while nothing changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The item.
    pub subject: Subject,
    /// Unseen since then; `None`: it is not unseen any more.
    pub since: Option<Timestamp>,
}

/// An item as the snapshot keeps it.
#[derive(Debug, Clone)]
pub struct Form {
    /// Digest of its canonical form.
    pub digest: Digest,
    /// Its body as received, where bodies are kept.
    pub body: Option<Box<str>>,
}

/// An event that has no number yet.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What happened.
    pub kind: Kind,
    /// [`crate::event::Content::members`].
    pub content: Box<str>,
}

/// An operational event that has no number yet.
#[derive(Debug, Clone)]
pub struct Announcement {
    /// What happened.
    pub kind: Kind,
    /// What it is about: `source/issues`, `endpoint/ops`. Events of one subject keep their order.
    pub subject: Subject,
    /// [`crate::event::operational`].
    pub content: Box<str>,
}

/// What a commit made.
#[derive(Debug, Clone, Default)]
pub struct Committed {
    /// Events of the source, operational ones not counted.
    pub events: u64,
    /// Ids of the first of them, at most [`COMMITTED_IDS_MAX`].
    pub ids: Vec<EventId>,
    /// Sequence of the first; 0 without events.
    pub first_sequence: u64,
}

/// Most ids in [`Committed::ids`], what `POST …/poll` answers.
pub const COMMITTED_IDS_MAX: usize = 1_000;

/// Where one endpoint stands in one source's events.
#[derive(Debug, Clone)]
pub struct LaneState {
    /// The lane.
    pub id: LaneId,
    /// Its source.
    pub source: SourceId,
    /// Every event at or before it is settled or parked.
    pub watermark: EventKey,
    /// Events after the watermark that a scan is to pass over all the same, ascending: delivered,
    /// given up, or parked (those come back through `waiting` and `next_blocked`).
    pub settled: Vec<EventKey>,
    /// Visible events after the watermark: an upper bound of what is pending.
    pub ahead: Vec<Ahead>,
    /// Parked deliveries that wait or are blocked.
    pub parked: u64,
}

/// Events of one kind after a lane's watermark, one at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ahead {
    /// Their kind.
    pub kind: Kind,
    /// How many.
    pub count: u64,
    /// When the first of them was committed.
    pub first: Timestamp,
}

/// An event as a deliverer first meets it.
#[derive(Debug, Clone)]
pub struct Scanned {
    /// Where it stands.
    pub key: EventKey,
    /// What happened.
    pub kind: Kind,
    /// The line of the item's events, [`Partition::line`].
    pub subject: Subject,
    /// When it was committed.
    pub at: Timestamp,
    /// All of it, when it is at most [`SCAN_INLINE_BYTES`] large; else [`super::Store::load`] it.
    pub event: Option<Event>,
}

/// The events of a small commit, told to a deliverer in the moment they become visible, so that it
/// need not read them.
#[derive(Debug, Clone)]
pub struct Fresh {
    /// Where the commit stands.
    pub position: Position,
    /// Its source.
    pub source: SourceId,
    /// The source's newest event before.
    pub after: EventKey,
    /// All of its events, ascending, each with its content.
    pub events: Arc<[Scanned]>,
}

/// Most events that are told as [`Fresh`]; more are read.
pub const FRESH_MAX: usize = 32;

/// Largest content that a scan brings along, so that a window of 256 holds at most 1 MiB.
pub const SCAN_INLINE_BYTES: usize = 4 * 1024;

/// Most events that one scan brings, whatever it asks for.
pub const SCAN_MAX: usize = 4_096;

/// Most events or deliveries that one listing brings, whatever it asks for.
pub const LISTED_MAX: usize = 1_000;

/// A delivery that cannot go now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// The event.
    pub event: EventKey,
    /// What happened.
    pub kind: Kind,
    /// The line of the item's events, [`Partition::line`].
    pub subject: Subject,
    /// When the event was committed.
    pub at: Timestamp,
    /// Attempts made so far.
    pub attempts: u32,
    /// Those of them that were made before it was last replayed.
    pub earlier: u32,
    /// When it is due; `None`: it waits behind an earlier event of its subject.
    pub due: Option<Timestamp>,
}

/// What one endpoint's deliverer wants on disk.
#[derive(Debug, Clone, Default)]
pub struct Settling {
    /// Attempts made, each with what follows.
    pub attempts: Vec<Settled>,
    /// Deliveries to park without an attempt: blocked ones.
    pub parked: Vec<(LaneId, Parked)>,
    /// New watermarks; never lower than before.
    pub watermarks: Vec<(LaneId, EventKey)>,
    /// Operational events.
    pub announcements: Vec<Announcement>,
    /// Whether the endpoint is rung, also after a restart, where that changed.
    pub switched: Option<(Name, bool)>,
    /// How the endpoint does, where that changed; `None` within: it does not fail.
    pub health: Option<(Name, Option<Failing>)>,
}

/// How an endpoint has failed since it last accepted something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// When the first of these attempts began.
    pub since: Timestamp,
    /// When the last did.
    pub last: Timestamp,
    /// How much time has passed between them, by clocks that do not jump.
    pub spent: Duration,
    /// How many there were.
    pub failures: u32,
}

/// An attempt and what follows from it; or that none is made.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The line of the item's events, [`Partition::line`].
    pub subject: Subject,
    /// The event's kind.
    pub kind: Kind,
    /// When the event was committed.
    pub committed_at: Timestamp,
    /// The attempt; number 0 where none was made.
    pub attempt: Attempt,
    /// What follows.
    pub then: Then,
}

/// What follows from an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Accepted; a parked row goes away.
    Delivered,
    /// Parked until then.
    Retry(Timestamp),
    /// Kept as a dead letter; the subject goes on.
    Dead,
    /// Not for this endpoint, by what stands in the event: no attempt was made, and none is kept.
    Filtered,
}

/// One POST and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its number for this delivery, from 1.
    pub number: u32,
    /// When it began.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// The answer's status; `None`: there was none.
    pub status: Option<u16>,
    /// Why it failed, as a class (`timeout`, `connect`, `status`, …); `None`: it was accepted.
    pub error: Option<String>,
    /// The first 1 KiB of the answer; `None` for accepted ones.
    pub answer: Option<Box<str>>,
    /// How the webhook was written: the digest of its [`crate::event::Written`]; `None`: the usual
    /// way, or not at all ([`UNWRITTEN`]).
    pub rendering: Option<Digest>,
}

/// [`Attempt::error`] of an attempt without a webhook, because none could be written.
pub const UNWRITTEN: &str = "render";

/// [`Attempt::error`] of a delivery that somebody gave up: no webhook was sent.
pub const SKIPPED: &str = "skipped";

/// Where a reader of the feed stands: after this event of this commit. Opaque to clients: the
/// order in which commits became visible, so that a late commit is never skipped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Cursor {
    /// The commit.
    pub position: Position,
    /// The event's place in it; -1: before its first.
    pub ordinal: i64,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "c{:x}.{:x}", self.position.0, self.ordinal + 1)
    }
}

/// The text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not one that this API gave out")]
pub struct NoCursor;

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let parts = text.strip_prefix('c').and_then(|rest| rest.split_once('.'));
        let (position, ordinal) = parts.ok_or(NoCursor)?;
        let number = |digits: &str| {
            // `from_str_radix` takes a sign, too.
            let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
            let digits = Some(digits).filter(|_| is_hex).ok_or(NoCursor)?;
            i64::from_str_radix(digits, 16).map_err(|_| NoCursor)
        };
        let ordinal = number(ordinal)? - 1;
        if ordinal > i64::from(ORDINAL_MAX) {
            return Err(NoCursor);
        }
        Ok(Self {
            position: Position(number(position)?),
            ordinal,
        })
    }
}

/// Which events to list.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Only of this source; `"doorbell"` names the operational ones.
    pub source: Option<String>,
    /// Only of this kind.
    pub kind: Option<Kind>,
    /// After this cursor; `None`: from the oldest retained.
    pub after: Option<Cursor>,
    /// At most so many.
    pub limit: usize,
}

/// A page of the feed.
#[derive(Debug, Clone)]
pub struct EventPage {
    /// Events, oldest first.
    pub events: Vec<Event>,
    /// Where to go on from, also when the page is empty.
    pub next: Cursor,
}

/// What retention deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retained {
    /// Events.
    pub events: u64,
    /// Attempts.
    pub attempts: u64,
    /// Dead letters.
    pub dead: u64,
}
