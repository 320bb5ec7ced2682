//! How often an endpoint may be rung: a bucket that is refilled evenly and holds no more than
//! `requests`.
//!
//! In any time of `per` the endpoint so sees at most `requests` and what was left from before, which
//! is no more than `requests` again. A start begins with one: restarts add no bursts.

use std::time::{Duration, Instant};

use crate::config::Rate;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Bucket {
    rate: Rate,
    /// From when on credit counts.
    since: Instant,
}

impl Bucket {
    /// With one attempt in it.
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        let each = each(rate);
        Self {
            rate,
            since: now.checked_sub(each).unwrap_or(now),
        }
    }

    /// What it was filled at.
    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// Attempts that may begin now.
    pub(super) fn holds(&mut self, now: Instant) -> usize {
        let (each, most) = (each(self.rate), self.rate.requests.get());
        let earliest = now.checked_sub(each * most).unwrap_or(now);
        self.since = self.since.max(earliest);
        let credit = now.saturating_duration_since(self.since);
        usize::try_from(credit.as_nanos() / each.as_nanos()).unwrap_or(usize::MAX)
    }

    /// When there is one.
    pub(super) fn next(&self) -> Instant {
        self.since + each(self.rate)
    }

    /// So many began.
    pub(super) fn take(&mut self, attempts: u32) {
        self.since += each(self.rate) * attempts;
    }

    /// One that began was not made after all.
    pub(super) fn refund(&mut self) {
        let each = each(self.rate);
        self.since = self.since.checked_sub(each).unwrap_or(self.since);
    }
}

/// How long one takes to be refilled, rounded up: never faster than configured.
fn each(rate: Rate) -> Duration {
    let nanos = rate.per.as_nanos().div_ceil(rate.requests.get().into());
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn rate(requests: u32, per: Duration) -> Rate {
        let requests = NonZeroU32::new(requests).expect("some");
        Rate { requests, per }
    }

    /// Begins all that it may.
    fn begun(bucket: &mut Bucket, now: Instant) -> usize {
        let holds = bucket.holds(now);
        bucket.take(u32::try_from(holds).expect("few"));
        holds
    }

    #[test]
    fn a_start_has_one_and_is_refilled_evenly() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut bucket = Bucket::new(rate(10, second), start);
        assert_eq!(begun(&mut bucket, start), 1);
        for step in 1..=100 {
            let due = start + Duration::from_millis(100) * step;
            let just_before = start + Duration::from_millis(100 * u64::from(step) - 1);
            assert_eq!(bucket.next(), due);
            assert_eq!(begun(&mut bucket, just_before), 0);
            assert_eq!(begun(&mut bucket, due), 1);
        }
    }

    #[test]
    fn what_is_not_used_piles_up_to_requests_and_no_further() {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate(10, Duration::from_secs(1)), start);
        assert_eq!(bucket.holds(start + Duration::from_millis(450)), 5);
        let late = start + Duration::from_hours(24);
        assert_eq!(begun(&mut bucket, late), 10);
        assert_eq!(bucket.holds(late), 0);
        assert_eq!(bucket.next(), late + Duration::from_millis(100));
    }

    #[test]
    fn no_time_of_per_sees_more_than_twice_requests_whatever_is_asked() {
        let (start, per) = (Instant::now(), Duration::from_millis(700));
        let mut bucket = Bucket::new(rate(7, per), start);
        let mut begins: Vec<Instant> = Vec::new();
        let mut now = start;
        for _ in 0..10_000 {
            now += Duration::from_micros(fastrand::u64(..200_000));
            let wanted = fastrand::usize(..12).min(bucket.holds(now));
            bucket.take(u32::try_from(wanted).expect("few"));
            begins.extend(vec![now; wanted]);
        }
        for (at, first) in begins.iter().enumerate() {
            let within = begins[at..]
                .iter()
                .take_while(|begin| **begin - *first < per);
            assert!(within.count() <= 14);
        }
    }

    #[test]
    fn what_was_not_made_after_all_does_not_count() {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate(1, Duration::from_hours(1)), start);
        assert_eq!(begun(&mut bucket, start), 1);
        bucket.refund();
        assert_eq!(begun(&mut bucket, start), 1);
        assert_eq!(begun(&mut bucket, start), 0);
    }

    #[test]
    fn the_fastest_and_the_slowest_rate_are_kept() {
        let start = Instant::now();
        let mut fast = Bucket::new(rate(1_000_000, Duration::from_millis(1)), start);
        fast.take(1);
        assert_eq!(fast.holds(start + Duration::from_micros(1)), 1_000);
        let mut slow = Bucket::new(rate(1, Duration::from_hours(24)), start);
        slow.take(1);
        assert_eq!(slow.holds(start + Duration::from_hours(23)), 0);
        assert_eq!(slow.holds(start + Duration::from_hours(24)), 1);
    }
}
