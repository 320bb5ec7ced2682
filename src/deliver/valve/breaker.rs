//! Whether an endpoint is worth trying. It opens when nothing but failures came for a while; then
//! one attempt at a time finds out whether the endpoint is back, ever less often.
//!
//! Decides when that attempt may be made. Which delivery makes it is [`crate::deliver::queue`]'s
//! question; the others wait, and their attempts are not counted.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::store::Failing;

/// So many failures in a row open it…
const FAILURES_MIN: u32 = 20;
/// … if they came over so long: an endpoint that restarts is not given up.
const FAILING_MIN: Duration = Duration::from_secs(10);

/// Pauses before the first and later probes. Five minutes are what a receiver that came back may
/// wait at most, and 300 attempts a day are what one that never does costs.
const PROBE: Backoff = Backoff {
    base: Duration::from_secs(1),
    ceiling: Duration::from_mins(5),
};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// `Some`: it is open.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    /// Probes that failed, and the failure that opened it.
    failures: u32,
    /// When the next may go; `None`: one is on its way.
    next: Option<Instant>,
}

impl Breaker {
    /// Of an endpoint that failed so before the start. If that was enough to open it, it is open,
    /// and the first thing that is sent is a probe: a start does not rain on an endpoint that is
    /// down.
    pub(super) fn of(failing: Option<&Failing>, now: Instant) -> Self {
        let open = failing.is_some_and(is_enough).then_some(Open {
            since: now,
            failures: 0,
            next: Some(now),
        });
        Self { open }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Since when it is open, if it is: in this process.
    pub(super) fn opened_at(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.since)
    }

    /// When the next probe may go, if it is open and none is on its way.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        self.open.as_ref().and_then(|open| open.next)
    }

    /// A probe is on its way.
    pub(super) fn probed(&mut self) {
        if let Some(open) = &mut self.open {
            open.next = None;
        }
    }

    /// The probe ended without finding out.
    pub(super) fn gave_up(&mut self, now: Instant) {
        if let Some(open) = &mut self.open {
            open.next.get_or_insert(now);
        }
    }

    /// There is nothing to probe with now: it is looked for again when the next probe would be due.
    pub(super) fn put_off(&mut self, now: Instant) {
        if let Some(open) = &mut self.open
            && let Some(next) = &mut open.next
        {
            *next = (*next).max(now + PROBE.bound(open.failures.max(1)));
        }
    }

    /// An attempt failed; since the last success the endpoint does so like this. Whether that
    /// opened it.
    pub(super) fn failed(&mut self, failing: &Failing, now: Instant) -> bool {
        if self.open.is_some() || !is_enough(failing) {
            return false;
        }
        self.open = Some(Open {
            since: now,
            failures: 1,
            next: Some(now + PROBE.bound(1)),
        });
        true
    }

    /// The probe failed.
    pub(super) fn probe_failed(&mut self, now: Instant) {
        if let Some(open) = &mut self.open {
            open.failures = open.failures.saturating_add(1);
            open.next = Some(now + PROBE.bound(open.failures));
        }
    }

    /// An attempt was accepted, whichever. Whether that closed it.
    pub(super) fn accepted(&mut self) -> bool {
        self.open.take().is_some()
    }
}

fn is_enough(failing: &Failing) -> bool {
    failing.failures >= FAILURES_MIN && failing.spent >= FAILING_MIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn failing(failures: u32, seconds: u64) -> Failing {
        Failing {
            since: Timestamp::from_millis(0),
            last: Timestamp::from_millis(0),
            spent: Duration::from_secs(seconds),
            failures,
        }
    }

    #[test]
    fn it_opens_after_enough_failures_over_enough_time() {
        let now = Instant::now();
        for (failures, seconds, opens) in [
            (1, 0, false),
            (1_000, 9, false),
            (19, 100, false),
            (20, 10, true),
            (5_000, 10, true),
            (20, 1_000_000, true),
        ] {
            let mut breaker = Breaker::default();
            assert_eq!(breaker.failed(&failing(failures, seconds), now), opens);
            assert_eq!(breaker.is_open(), opens, "{failures} over {seconds} s");
            let again = Breaker::of(Some(&failing(failures, seconds)), now);
            assert_eq!(again.is_open(), opens, "after a restart");
        }
        assert!(!Breaker::of(None, now).is_open());
    }

    #[test]
    fn probes_go_after_a_second_and_then_half_as_often_down_to_five_minutes() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        assert!(breaker.failed(&failing(20, 10), now));
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let next = breaker.next_probe().expect("it is open");
            pauses.push((next - now).as_secs());
            breaker.probed();
            assert_eq!(breaker.next_probe(), None, "one at a time");
            // The probe takes its time, which does not count.
            now = next + Duration::from_secs(15);
            breaker.probe_failed(now);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    }

    #[test]
    fn failures_of_attempts_that_were_on_their_way_delay_no_probe() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        breaker.failed(&failing(20, 10), now);
        let next = breaker.next_probe();
        assert!(!breaker.failed(&failing(21, 11), now + Duration::from_secs(1)));
        assert_eq!(breaker.next_probe(), next);
    }

    #[test]
    fn any_acceptance_closes_it() {
        let now = Instant::now();
        let mut breaker = Breaker::of(Some(&failing(20, 10)), now);
        assert_eq!(breaker.next_probe(), Some(now), "at once after a start");
        assert!(breaker.accepted() && !breaker.is_open());
        assert!(!breaker.accepted());
        // And it begins anew.
        breaker.failed(&failing(20, 10), now);
        assert_eq!(breaker.next_probe(), Some(now + Duration::from_secs(1)));
    }

    #[test]
    fn without_anything_to_probe_with_it_is_looked_for_as_seldom_as_probes_go() {
        let now = Instant::now();
        let mut breaker = Breaker::of(Some(&failing(20, 10)), now);
        breaker.put_off(now);
        let second = Duration::from_secs(1);
        assert_eq!(breaker.next_probe(), Some(now + second));
        breaker.put_off(now + second);
        assert_eq!(breaker.next_probe(), Some(now + second * 2));
        breaker.probed();
        breaker.put_off(now + second * 2);
        assert_eq!(breaker.next_probe(), None, "one is on its way");
        breaker.probe_failed(now);
        breaker.probe_failed(now);
        breaker.put_off(now + second * 9);
        assert_eq!(breaker.next_probe(), Some(now + second * 11));
    }

    #[test]
    fn a_probe_that_found_nothing_out_is_followed_by_another_at_once() {
        let now = Instant::now();
        let mut breaker = Breaker::of(Some(&failing(20, 10)), now);
        breaker.probed();
        breaker.gave_up(now);
        assert_eq!(breaker.next_probe(), Some(now));
    }
}
