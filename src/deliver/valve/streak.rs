//! For how long an endpoint has done nothing but fail, over restarts.
//!
//! Decides what of the clock is believed: within a process time is what the steady clock says, and
//! over a restart what the wall clock says, bounded. So a clock that jumps adds no years of failures
//! to an endpoint that failed once, and neither does a long time in which nothing was tried.

use std::time::{Duration, Instant};

use crate::store::Failing;
use crate::time::Timestamp;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Streak {
    failing: Option<Failing>,
    /// When it failed last, if this process saw it.
    seen: Option<Instant>,
}

impl Streak {
    /// As the store remembers it.
    pub(super) fn new(failing: Option<Failing>) -> Self {
        Self {
            failing,
            seen: None,
        }
    }

    /// What is known of the failures since the last success, if there are any.
    pub(super) fn failing(&self) -> Option<&Failing> {
        self.failing.as_ref()
    }

    /// An attempt failed. Between two failures at most `gap_max` counts.
    pub(super) fn failed(
        &mut self,
        (at, now): (Timestamp, Instant),
        gap_max: Duration,
    ) -> &Failing {
        let failing = self.failing.get_or_insert(Failing {
            since: at,
            last: at,
            spent: Duration::ZERO,
            failures: 0,
        });
        let gap = match self.seen {
            Some(seen) => now.saturating_duration_since(seen),
            None => at.since(failing.last),
        };
        failing.spent = failing.spent.saturating_add(gap.min(gap_max));
        failing.failures = failing.failures.saturating_add(1);
        failing.last = at;
        self.seen = Some(now);
        failing
    }

    /// An attempt was accepted. Whether that ended something.
    pub(super) fn accepted(&mut self) -> bool {
        self.seen = None;
        self.failing.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const MINUTE: Duration = Duration::from_mins(1);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn time_counts_from_the_first_failure_to_the_last() {
        let (mut streak, now) = (Streak::new(None), Instant::now());
        assert_eq!(streak.failed((at(5), now), DAY).spent, Duration::ZERO);
        let failing = streak.failed((at(60_005), now + MINUTE), DAY);
        assert_eq!((failing.spent, failing.failures), (MINUTE, 2));
        assert_eq!((failing.since, failing.last), (at(5), at(60_005)));
        assert!(streak.accepted() && streak.failing().is_none());
        assert!(!streak.accepted());
        let failing = streak.failed((at(90_000), now + MINUTE * 9), DAY);
        assert_eq!((failing.spent, failing.failures), (Duration::ZERO, 1));
    }

    #[test]
    fn it_goes_on_over_restarts() {
        let now = Instant::now();
        let mut streak = Streak::new(None);
        let mut kept = streak.failed((at(0), now), DAY).clone();
        for restart in 1..=100 {
            let mut streak = Streak::new(Some(kept));
            kept = streak.failed((at(60_000 * restart), now), DAY).clone();
        }
        assert_eq!((kept.spent, kept.failures), (MINUTE * 100, 101));
        assert_eq!(kept.since, at(0));
    }

    #[test]
    fn a_clock_that_jumps_adds_nothing_within_a_process_and_a_bounded_time_over_a_restart() {
        let (year, now) = (365 * 24 * 3_600_000, Instant::now());
        let mut streak = Streak::new(None);
        streak.failed((at(0), now), DAY);
        streak.failed((at(10 * year), now + MINUTE), DAY);
        let failing = streak.failed((at(-year), now + MINUTE * 2), DAY).clone();
        assert_eq!(failing.spent, MINUTE * 2);
        let mut streak = Streak::new(Some(failing.clone()));
        assert_eq!(
            streak.failed((at(10 * year), now), DAY).spent,
            MINUTE * 2 + DAY
        );
        let mut streak = Streak::new(Some(failing));
        assert_eq!(streak.failed((at(-2 * year), now), DAY).spent, MINUTE * 2);
    }
}
