//! Where the task of an endpoint meets the rest: what it is told, and what it shows.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::worker::Errand;
use crate::store::Fresh;
use crate::time::Timestamp;

/// Most commits that wait in an inbox with their events; of those beyond only the lane is kept.
const FRESH_MAX: usize = 64;

/// Most errands that wait for an endpoint to rest; each is a request that somebody waits for.
const ERRANDS_MAX: usize = 64;

/// Lanes of one endpoint whose sources committed events. Holds each lane once, so it is bounded by
/// the number of sources.
#[derive(Default)]
pub(super) struct Inbox {
    news: Mutex<News>,
    notify: Notify,
    is_late: AtomicBool,
}

/// What an endpoint is told.
#[derive(Default)]
pub(super) struct News {
    /// Commits of lanes, with their events, in order.
    pub(super) fresh: Vec<(usize, Fresh)>,
    /// Lanes with something to read.
    pub(super) lanes: BTreeSet<usize>,
    /// What is to be done once the endpoint rests.
    pub(super) errands: Vec<Errand>,
    /// Whether the task is to end, and the endpoint is another's.
    pub(super) is_dismissed: bool,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inbox")
    }
}

impl Inbox {
    /// Adds lanes.
    pub(super) fn poke(&self, lanes: impl IntoIterator<Item = usize>) {
        self.news.lock().lanes.extend(lanes);
        self.notify.notify_one();
    }

    /// Adds a commit of a lane's source.
    pub(super) fn tell(&self, lane: usize, fresh: Fresh) {
        let mut news = self.news.lock();
        if news.fresh.len() < FRESH_MAX {
            news.fresh.push((lane, fresh));
        } else {
            news.lanes.insert(lane);
        }
        drop(news);
        self.notify.notify_one();
    }

    /// Whether others are told first: the endpoint is only probed, and has time.
    pub(super) fn be_late(&self, is_late: bool) {
        self.is_late.store(is_late, Ordering::Relaxed);
    }

    pub(super) fn is_late(&self) -> bool {
        self.is_late.load(Ordering::Relaxed)
    }

    /// Lets the endpoint's task end: nothing begins any more, attempts in flight are heard out.
    pub(super) fn dismiss(&self) {
        self.news.lock().is_dismissed = true;
        self.notify.notify_one();
    }

    /// Whether [`Self::dismiss`] was called and not heard yet.
    pub(super) fn is_dismissed(&self) -> bool {
        self.news.lock().is_dismissed
    }

    /// Asks for something to be done once the endpoint rests; whether there was room for that.
    pub(super) fn ask(&self, errand: Errand) -> bool {
        let mut news = self.news.lock();
        let has_room = news.errands.len() < ERRANDS_MAX;
        if has_room {
            news.errands.push(errand);
        }
        drop(news);
        self.notify.notify_one();
        has_room
    }

    /// What was told since the last call; waits for the first. Loses nothing when dropped: news
    /// are taken in the moment of returning.
    pub(super) async fn news(&self) -> News {
        loop {
            let news = std::mem::take(&mut *self.news.lock());
            let is_none = news.lanes.is_empty() && news.fresh.is_empty();
            if !is_none || !news.errands.is_empty() || news.is_dismissed {
                return news;
            }
            self.notify.notified().await;
        }
    }
}

/// Whether an endpoint is worth trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Breaker {
    /// It is.
    Closed,
    /// It only fails, and waits for its next probe.
    Open,
    /// A probe is on its way.
    HalfOpen,
}

/// How much an endpoint bears.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bearing {
    pub(super) breaker: Breaker,
    pub(super) opened_at: Option<Timestamp>,
    pub(super) next_probe: Option<Timestamp>,
    /// Attempts at once.
    pub(super) concurrency: usize,
}

/// How an endpoint stands, for those who ask.
#[derive(Debug)]
pub(super) struct Board {
    bearing: Mutex<Bearing>,
    is_enabled: AtomicBool,
    is_paused: AtomicBool,
    pending: AtomicU64,
    blocked: AtomicU64,
    /// Milliseconds since the epoch; [`NOTHING`]: nothing is pending.
    oldest: AtomicI64,
}

const NOTHING: i64 = i64::MIN;

// Each value stands for itself, so `Relaxed` is enough.
impl Board {
    /// Of an endpoint that bears so many attempts at once.
    pub(super) fn new((is_enabled, is_paused): (bool, bool), concurrency: usize) -> Self {
        Self {
            bearing: Mutex::new(Bearing {
                breaker: Breaker::Closed,
                opened_at: None,
                next_probe: None,
                concurrency,
            }),
            is_enabled: AtomicBool::new(is_enabled),
            is_paused: AtomicBool::new(is_paused),
            pending: AtomicU64::new(0),
            blocked: AtomicU64::new(0),
            oldest: AtomicI64::new(NOTHING),
        }
    }

    /// Switches the endpoint on or off; whether it was on.
    pub(super) fn switch(&self, is_enabled: bool) -> bool {
        self.is_enabled.swap(is_enabled, Ordering::Relaxed)
    }

    /// Pauses the endpoint or goes on with it.
    pub(super) fn pause(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::Relaxed);
    }

    pub(super) fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Relaxed)
    }

    /// Whether attempts are made.
    pub(super) fn is_rung(&self) -> bool {
        self.is_enabled() && !self.is_paused()
    }

    pub(super) fn bears(&self, bearing: Bearing) {
        *self.bearing.lock() = bearing;
    }

    pub(super) fn bearing(&self) -> Bearing {
        *self.bearing.lock()
    }

    pub(super) fn holds(&self, pending: u64, blocked: u64) {
        self.pending.store(pending, Ordering::Relaxed);
        self.blocked.store(blocked, Ordering::Relaxed);
    }

    pub(super) fn oldest(&self, at: Option<Timestamp>) {
        let millis = at.map_or(NOTHING, Timestamp::as_millis);
        self.oldest.store(millis, Ordering::Relaxed);
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.is_enabled.load(Ordering::Relaxed)
    }

    /// Pending deliveries and blocked subjects.
    pub(super) fn held(&self) -> (u64, u64) {
        let pending = self.pending.load(Ordering::Relaxed);
        (pending, self.blocked.load(Ordering::Relaxed))
    }

    /// When the oldest pending event was committed.
    pub(super) fn oldest_at(&self) -> Option<Timestamp> {
        let millis = self.oldest.load(Ordering::Relaxed);
        (millis != NOTHING).then(|| Timestamp::from_millis(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_poke_is_told_once_however_often_it_came() {
        let inbox = Inbox::default();
        inbox.poke([3, 1]);
        inbox.poke([3]);
        assert_eq!(inbox.news().await.lanes, BTreeSet::from([1, 3]));
        let later = async {
            tokio::task::yield_now().await;
            inbox.poke([2]);
        };
        let (news, ()) = tokio::join!(inbox.news(), later);
        assert_eq!(news.lanes, BTreeSet::from([2]));
    }
}
