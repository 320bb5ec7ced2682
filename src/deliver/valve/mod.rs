//! How much may be sent to an endpoint now, and how it has been doing. Pure: the present is an
//! argument.
//!
//! | file | what it decides |
//! | --- | --- |
//! | `slots` | attempts at once: halved when the endpoint says that it is too much |
//! | `breaker` | whether it is worth trying at all, or only probing |
//! | `rate` | how often it may be rung |
//! | `streak` | for how long it has done nothing but fail |
//!
//! Leaves to [`crate::deliver::queue`] which deliveries make use of it.

mod breaker;
mod rate;
mod slots;
mod streak;

use std::time::{Duration, Instant};

use crate::backoff::spread;
use crate::config::{Endpoint, Rate};
use crate::store::Failing;
use crate::time::Timestamp;

use breaker::Breaker;
use rate::Bucket;
use slots::Slots;
use streak::Streak;

use super::verdict::RETRY_AFTER_MAX;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Valve {
    concurrency: usize,
    disable_after: Duration,
    /// The longest that two attempts of one delivery are apart.
    delay_max: Duration,
    slots: Slots,
    breaker: Breaker,
    bucket: Option<Bucket>,
    streak: Streak,
}

/// What may begin now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// So many attempts.
    For(usize),
    /// One, which finds out whether the endpoint is back.
    Probe,
}

/// How much it lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// Attempts at once, at most.
    pub(super) concurrency: usize,
    /// Since when the endpoint is only probed, if it is; after a restart, since that.
    pub(super) opened_at: Option<Instant>,
    /// When the next probe may go; `None`: it is not open, or one is on its way.
    pub(super) next_probe: Option<Instant>,
}

/// What a failure changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    /// All failures since the last success, to be kept.
    pub(super) failing: Failing,
    /// From now on the endpoint is only probed.
    pub(super) opened: bool,
    /// It has been failing for too long.
    pub(super) is_hopeless: bool,
}

/// The longest that two attempts of one delivery are apart: a later due time was written under a
/// clock that was ahead.
pub(super) fn delay_max(endpoint: &Endpoint) -> Duration {
    let longest = endpoint.retry.iter().max().copied().unwrap_or_default();
    spread(longest, 1.0).max(RETRY_AFTER_MAX)
}

impl Valve {
    /// Of an endpoint that failed so before the start.
    pub(super) fn new(endpoint: &Endpoint, failing: Option<Failing>, now: Instant) -> Self {
        Self {
            concurrency: endpoint.concurrency,
            disable_after: endpoint.disable_after,
            delay_max: delay_max(endpoint),
            slots: Slots::default(),
            breaker: Breaker::of(failing.as_ref(), now),
            bucket: endpoint.rate.map(|rate| Bucket::new(rate, now)),
            streak: Streak::new(failing),
        }
    }

    /// Follows the settings in force, and the rate that the endpoint bears.
    pub(super) fn follow(&mut self, endpoint: &Endpoint, rate: Option<Rate>, now: Instant) {
        self.concurrency = endpoint.concurrency;
        self.disable_after = endpoint.disable_after;
        self.delay_max = delay_max(endpoint);
        if self.bucket.as_ref().map(Bucket::rate) != rate {
            self.bucket = rate.map(|rate| Bucket::new(rate, now));
        }
    }

    /// What may begin beside `flying` attempts.
    pub(super) fn room(&mut self, flying: usize, now: Instant) -> Room {
        let held = match &mut self.bucket {
            Some(bucket) => bucket.holds(now),
            None => usize::MAX,
        };
        if self.breaker.is_open() {
            let may_probe = self.breaker.next_probe().is_some_and(|next| next <= now);
            return if may_probe && held > 0 {
                Room::Probe
            } else {
                Room::For(0)
            };
        }
        let free = self.slots.most(self.concurrency).saturating_sub(flying);
        Room::For(free.min(held))
    }

    /// When there is room again although no attempt ends; `None`: one must end.
    pub(super) fn next(&self, flying: usize, now: Instant) -> Option<Instant> {
        let rated = self.bucket.as_ref().map_or(now, Bucket::next);
        if self.breaker.is_open() {
            return self.breaker.next_probe().map(|next| next.max(rated));
        }
        (flying < self.slots.most(self.concurrency)).then_some(rated)
    }

    /// How much it lets through.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            concurrency: self.slots.most(self.concurrency),
            opened_at: self.breaker.opened_at(),
            next_probe: self.breaker.next_probe(),
        }
    }

    /// Whether it is only probed.
    pub(super) fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// So many attempts began.
    pub(super) fn began(&mut self, attempts: usize) {
        if let Some(bucket) = &mut self.bucket {
            bucket.take(u32::try_from(attempts).unwrap_or(u32::MAX));
        }
    }

    /// One of them is a probe.
    pub(super) fn probed(&mut self) {
        self.breaker.probed();
    }

    /// An attempt that began was not made after all.
    pub(super) fn unmade(&mut self) {
        if let Some(bucket) = &mut self.bucket {
            bucket.refund();
        }
    }

    /// The probe ended without finding out.
    pub(super) fn gave_up(&mut self, now: Instant) {
        self.breaker.gave_up(now);
    }

    /// There is nothing to probe with now.
    pub(super) fn put_off(&mut self, now: Instant) {
        self.breaker.put_off(now);
    }

    /// The probe failed; [`Self::failed`] is told besides.
    pub(super) fn probe_failed(&mut self, now: Instant) {
        self.breaker.probe_failed(now);
    }

    /// An attempt that began at `at` failed, with this status if it was answered.
    pub(super) fn failed(&mut self, status: Option<u16>, at: Timestamp, now: Instant) -> Failed {
        self.slots.failed(status, self.concurrency);
        let failing = self.streak.failed((at, now), self.delay_max).clone();
        Failed {
            opened: self.breaker.failed(&failing, now),
            is_hopeless: failing.spent >= self.disable_after,
            failing,
        }
    }

    /// An attempt was accepted. Whether that ended a series of failures, and whether the endpoint
    /// is not only probed any more.
    pub(super) fn accepted(&mut self) -> (bool, bool) {
        self.slots.accepted(self.concurrency);
        (self.streak.accepted(), self.breaker.accepted())
    }

    /// Failures since the last success, if there are any.
    pub(super) fn failing(&self) -> Option<&Failing> {
        self.streak.failing()
    }
}

#[cfg(test)]
mod tests;
