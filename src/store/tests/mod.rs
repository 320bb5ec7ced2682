//! The store's promises, through its verbs alone: what another database must keep as well.

mod backfill;
mod commits;
mod deliveries;
mod endpoints;
mod feed;
mod opening;
mod partitions;
mod retention;
mod steering;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::*;
use crate::digest::{Context, Digest};
use crate::event::{Cause, Kind};
use crate::metrics::Metrics;
use crate::time::Timestamp;

pub(super) const DAY: Duration = Duration::from_hours(24);

/// A directory for one store, and the clock that it sees.
pub(super) struct Place {
    pub(super) directory: tempfile::TempDir,
    now: Arc<AtomicI64>,
}

impl Place {
    pub(super) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a temporary directory"),
            now: Arc::new(AtomicI64::new(1_795_456_800_000)),
        }
    }

    pub(super) fn settings(&self) -> config::Store {
        config::Store {
            path: self.directory.path().join("doorbell.db"),
            retain: 7 * DAY,
            retain_dead: 30 * DAY,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    pub(super) fn wait(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).expect("short");
        self.now.fetch_add(millis, Ordering::SeqCst);
    }

    pub(super) fn clock(&self) -> Clock {
        let now = Arc::clone(&self.now);
        Clock::from_fn(move || Timestamp::from_millis(now.load(Ordering::SeqCst)))
    }

    pub(super) async fn try_open(&self) -> Result<Store, StoreError> {
        let metrics = StoreMetrics::new(&Metrics::new());
        Store::open(&self.settings(), self.clock(), metrics).await
    }

    pub(super) async fn open(&self) -> Store {
        self.try_open().await.expect("the store opens")
    }

    /// A poll of `source` with these changes.
    pub(super) fn poll(&self, source: &SourceState, changes: Vec<ItemChange>) -> PollCommit {
        PollCommit {
            source: source.id,
            snapshot: source.snapshot,
            partition: Partition::default(),
            at: self.now(),
            cause: Cause::Poll,
            memory: Memory::default(),
            changes,
            settles_snapshot: true,
            marks: Vec::new(),
            announcements: Vec::new(),
        }
    }
}

pub(super) fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

pub(super) async fn source(store: &Store, text: &str) -> SourceState {
    let mut states = store.sources(&[name(text)]).await.expect("registers");
    states.remove(0)
}

pub(super) async fn lane(store: &Store, endpoint: &str, source: &SourceState) -> LaneState {
    let lanes = store.lanes(&name(endpoint), &[source.id]).await;
    lanes.expect("registers").remove(0)
}

/// What is ahead of a lane, by kind.
pub(super) fn counts(lane: &LaneState) -> Vec<(Kind, u64)> {
    let ahead = lane.ahead.iter();
    ahead.map(|ahead| (ahead.kind, ahead.count)).collect()
}

pub(super) fn digest(text: &str) -> Digest {
    Context::new("test").digest(text.as_bytes())
}

/// `subject` was created or updated to `body`.
pub(super) fn put(kind: Kind, subject: &str, body: &str) -> ItemChange {
    ItemChange {
        subject: subject.into(),
        now: Some(Form {
            digest: digest(body),
            body: Some(body.into()),
        }),
        event: Some(Draft {
            kind,
            content: format!(r#""current":{body}"#).into(),
        }),
    }
}

pub(super) fn created(subject: &str) -> ItemChange {
    put(Kind::Created, subject, &format!(r#"{{"id":"{subject}"}}"#))
}

pub(super) fn deleted(subject: &str) -> ItemChange {
    ItemChange {
        subject: subject.into(),
        now: None,
        event: Some(Draft {
            kind: Kind::Deleted,
            content: "".into(),
        }),
    }
}

/// `count` created items: `i00000`, `i00001`, ….
pub(super) fn many(count: usize) -> Vec<ItemChange> {
    (0..count).map(|n| created(&format!("i{n:05}"))).collect()
}

/// `event` behind an earlier one of its subject.
pub(super) fn blocked(event: &Scanned) -> Parked {
    Parked {
        event: event.key,
        kind: event.kind,
        subject: event.subject.clone(),
        at: event.at,
        attempts: 0,
        earlier: 0,
        due: None,
    }
}

pub(super) async fn subjects(store: &Store, source: &SourceState) -> Vec<String> {
    let known = store.known(source.snapshot).await.expect("reads");
    known.into_iter().map(|item| item.subject.into()).collect()
}

pub(super) async fn scan(store: &Store, source: &SourceState) -> Vec<Scanned> {
    let scanned = store
        .scan((source.id, None), EventKey::START, SCAN_MAX)
        .await;
    scanned.expect("scans")
}

/// All events of the feed, through pages of `limit`.
pub(super) async fn feed(store: &Store, limit: usize) -> Vec<Event> {
    let (mut events, mut after) = (Vec::new(), None);
    loop {
        let query = EventQuery {
            after,
            limit,
            ..EventQuery::default()
        };
        let page = store.events(query).await.expect("reads");
        if page.events.is_empty() {
            return events;
        }
        events.extend(page.events);
        after = Some(page.next);
    }
}

/// An outcome of the delivery of `event` on `lane`.
pub(super) fn settled(lane: &LaneState, event: &Scanned, number: u32, then: Then) -> Settled {
    let is_accepted = then == Then::Delivered;
    Settled {
        delivery: DeliveryId {
            lane: lane.id,
            event: event.key,
        },
        subject: event.subject.clone(),
        kind: event.kind,
        committed_at: event.at,
        attempt: Attempt {
            number,
            at: event.at,
            duration_ms: 12,
            status: Some(if is_accepted { 204 } else { 500 }),
            error: (!is_accepted).then(|| "status".to_owned()),
            answer: (!is_accepted).then(|| "no".into()),
            rendering: None,
        },
        then,
    }
}

pub(super) fn settling(attempts: Vec<Settled>) -> Settling {
    Settling {
        attempts,
        ..Settling::default()
    }
}

pub(super) fn up_to(lane: &LaneState, event: &Scanned) -> Settling {
    Settling {
        watermarks: vec![(lane.id, event.key)],
        ..Settling::default()
    }
}
