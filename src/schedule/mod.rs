//! When a source is polled next. Pure: the present and randomness come in as arguments.
//!
//! Decides phases, the first poll, the next one after a success or a failure, and when a run of
//! failures is worth a ring. Leaves waiting to [`crate::poll`], and what an answer asks for to the
//! upstream.

pub mod adaptive;
mod cron;

use std::sync::Arc;
use std::time::Duration;

pub use cron::{Cron, CronError, SPREAD_MAX, Zone};

use adaptive::Bounds;

use crate::backoff::Backoff;
use crate::time::Timestamp;

/// The first poll of a source without a snapshot comes within this time, or its period if that is
/// shorter: soon enough to be "at once", and a start with many sources is no burst.
pub const FIRST_POLL_SPREAD: Duration = Duration::from_secs(10);

/// Delays between failed polls.
pub const FAILURES: Backoff = Backoff {
    base: Duration::from_secs(5),
    ceiling: Duration::from_mins(30),
};

/// Failed polls in a row that are retried even before the schedule.
pub const EARLY_RETRIES: u32 = 3;

/// Delays after failures that do not mend by themselves; the last one goes on.
pub const REFUSALS: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(30),
];

/// Refusals in a row that are retried even before the schedule: all delays but the last.
const REFUSALS_EARLY: u32 = 2;

/// Refusals in a row after which `doorbell.source.failing` rings.
pub const REFUSALS_RING: u32 = 2;

/// When a source is polled by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// At this period, at a phase that is the source's own.
    Every {
        /// The period; never zero.
        period: Duration,
        /// From the Unix epoch, below the period: see [`phase`].
        phase: Duration,
    },
    /// At these times.
    Cron {
        /// The times.
        cron: Arc<Cron>,
        /// How long after each of them; less than [`Cron::spread`].
        phase: Duration,
    },
    /// Within bounds, when [`adaptive`] says so. Planned is only when it is at the latest.
    Adaptive {
        /// The bounds.
        bounds: Bounds,
        /// At the latest so long after the last poll: see [`Plan::adaptive`].
        longest: Duration,
    },
    /// Never.
    Manual,
}

/// Sources that are polled as seldom as they may are polled sooner than that by up to this part,
/// each by a part of its own: those that began together do not stay together.
const APART: u32 = 10;

/// How bad a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It may mend by itself.
    Passing,
    /// 401, 403, 404, 410: somebody has to act.
    Refused,
}

/// A run of failures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Failed {
    /// How many; at least 1.
    pub failures: u32,
    /// How bad the last one was.
    pub severity: Severity,
    /// Uniform in `0.0..1.0`.
    pub random: f64,
}

impl Plan {
    /// The plan of the source called `name` with this period.
    #[must_use]
    pub fn every(name: &str, period: Duration) -> Self {
        // A period below a millisecond would have no next millisecond.
        let period = period.max(Duration::from_millis(1));
        Self::Every {
            period,
            phase: phase(name, period),
        }
    }

    /// The plan of something that is polled at these times; of the part called `name`, somewhat
    /// after them, each part at a moment of its own.
    #[must_use]
    pub fn cron(cron: &Arc<Cron>, name: Option<&str>) -> Self {
        Self::Cron {
            cron: Arc::clone(cron),
            phase: name.map_or(Duration::ZERO, |name| phase(name, cron.spread())),
        }
    }

    /// The plan of the source called `name` between these bounds.
    #[must_use]
    pub fn adaptive(name: &str, bounds: Bounds) -> Self {
        let sooner = phase(name, bounds.max / APART);
        Self::Adaptive {
            bounds,
            longest: bounds.max.saturating_sub(sooner).max(bounds.min),
        }
    }

    /// The first planned time after `now`, when it was polled. Times that passed are not caught up
    /// with.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let (period, phase) = match self {
            Self::Every { period, phase } => (millis(*period), millis(*phase)),
            Self::Cron { cron, phase } => {
                return Some(cron.after(now.minus(*phase))?.plus(*phase));
            }
            Self::Adaptive { longest, .. } => return Some(now.plus(*longest)),
            Self::Manual => return None,
        };
        let periods = now.as_millis().saturating_sub(phase).div_euclid(period);
        let next = periods
            .saturating_add(1)
            .saturating_mul(period)
            .saturating_add(phase);
        Some(Timestamp::from_millis(next))
    }

    /// As [`Self::next`], but the last poll was at `last`.
    #[must_use]
    pub fn next_since(&self, last: Timestamp, now: Timestamp) -> Option<Timestamp> {
        match self {
            // It is not to come from a clock that was ahead.
            Self::Adaptive { .. } => self.next(last.min(now)),
            Self::Every { .. } | Self::Cron { .. } | Self::Manual => self.next(now),
        }
    }

    /// The first poll after a start: nearly at once, or as planned for a source that has a
    /// snapshot, of `last`. What is overdue then is spread over the time in which all of its kind
    /// are polled once.
    #[must_use]
    pub fn first(&self, name: &str, last: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        if let Some(last) = last {
            let next = self.next_since(last, now)?;
            return match self {
                Self::Adaptive { bounds, .. } if next <= now => {
                    Some(now.plus(phase(name, bounds.middle())))
                }
                _ => Some(next),
            };
        }
        let spread = match self {
            Self::Every { period, .. } => FIRST_POLL_SPREAD.min(*period),
            Self::Adaptive { bounds, .. } => FIRST_POLL_SPREAD.min(bounds.max),
            Self::Cron { .. } => FIRST_POLL_SPREAD,
            Self::Manual => return None,
        };
        Some(now.plus(phase(name, spread)))
    }

    /// When to look again at what is not believed yet: where the plan says no more than when it is
    /// at the latest, as if nothing were known.
    #[must_use]
    pub fn next_doubted(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Adaptive { bounds, .. } => Some(now.plus(bounds.middle())),
            Self::Every { .. } | Self::Cron { .. } | Self::Manual => self.next(now),
        }
    }

    /// When what was planned for `planned` comes, if the upstream wants to be left alone until
    /// `not_before`: where times of the day are planned, at the first of them that it allows.
    #[must_use]
    pub fn raised(&self, planned: Timestamp, not_before: Option<Timestamp>) -> Timestamp {
        let Some(not_before) = not_before.filter(|not_before| *not_before > planned) else {
            return planned;
        };
        match self {
            Self::Cron { .. } => {
                let just_before = not_before.minus(Duration::from_millis(1));
                self.next(just_before).unwrap_or(not_before)
            }
            Self::Every { .. } | Self::Adaptive { .. } | Self::Manual => not_before,
        }
    }

    /// The next poll after `failures` failures in a row, the last of which was `severity`:
    /// [`EARLY_RETRIES`] times by the back-off alone, then not before the schedule either.
    ///
    /// None comes while the upstream wants to be left alone, until `not_before`.
    #[must_use]
    pub fn retry(
        &self,
        failed: Failed,
        not_before: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let scheduled = match self {
            // It waits for `max` because nothing happens, not because nobody knows.
            Self::Adaptive { bounds, .. } => now.plus(bounds.min),
            Self::Every { .. } | Self::Cron { .. } | Self::Manual => self.next(now)?,
        };
        let Failed {
            failures, severity, ..
        } = failed;
        let (delay, early) = match severity {
            Severity::Passing => (FAILURES.jittered(failures, failed.random), EARLY_RETRIES),
            Severity::Refused => {
                let place = failures.saturating_sub(1).min(REFUSALS_EARLY);
                (REFUSALS[place as usize], REFUSALS_EARLY)
            }
        };
        let retry = now.plus(delay);
        let retry = not_before.map_or(retry, |not_before| not_before.max(retry));
        if failures <= early {
            Some(retry)
        } else {
            Some(self.raised(scheduled, Some(retry)))
        }
    }
}

/// Where in its period the source called `name` is polled: spread evenly over all names, and the
/// same after every restart.
#[must_use]
pub fn phase(name: &str, period: Duration) -> Duration {
    let hash = blake3::hash(name.as_bytes());
    let (head, _) = hash.as_bytes().split_at(8);
    let number = head
        .iter()
        .fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
    Duration::from_millis(number % millis(period).max(1).unsigned_abs())
}

/// Whether `failures` failures in a row, the last of which was `severity`, are worth a ring.
#[must_use]
pub fn rings(failures: u32, severity: Severity, failing_after: u32) -> bool {
    failures >= failing_after || (severity == Severity::Refused && failures >= REFUSALS_RING)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn plan(period: u64, phase: u64) -> Plan {
        Plan::Every {
            period: SECOND * u32::try_from(period).expect("small"),
            phase: SECOND * u32::try_from(phase).expect("small"),
        }
    }

    #[test]
    fn next_poll_is_the_first_planned_time_after_now() {
        for (period, phase, now, expected) in [
            (30, 7, 0, 7),
            (30, 7, 7, 37),
            (30, 7, 8, 37),
            (30, 7, 36, 37),
            // An hour of sleep: one poll follows, not 120.
            (30, 7, 3_700, 3_727),
            (30, 0, -1, 0),
        ] {
            assert_eq!(
                plan(period, phase).next(at(now)),
                Some(at(expected)),
                "{now}"
            );
        }
        assert_eq!(Plan::Manual.next(at(0)), None);
    }

    #[test]
    fn phases_fill_the_period_and_stay_the_same() {
        let period = SECOND * 100;
        let mut tenths = [0_u32; 10];
        for n in 0..1_000 {
            let phase = phase(&format!("source_{n}"), period);
            assert!(phase < period);
            tenths[usize::try_from(phase.as_secs() / 10).expect("small")] += 1;
        }
        assert!(
            tenths.iter().all(|&n| (60..=140).contains(&n)),
            "{tenths:?}"
        );
        assert_eq!(phase("issues", period), phase("issues", period));
    }

    #[test]
    fn first_poll_is_soon_without_a_snapshot_and_at_the_phase_with_one() {
        let now = at(1_000_000);
        for (name, period) in [("a", 3600), ("b", 3600), ("c", 2)] {
            let plan = Plan::every(name, SECOND * period);
            let first = plan.first(name, None, now).expect("scheduled");
            let bound = FIRST_POLL_SPREAD.min(SECOND * period);
            assert!(first >= now && first.since(now) < bound, "{name}");
            assert_eq!(plan.first(name, Some(at(7)), now), plan.next(now), "{name}");
        }
        assert_eq!(Plan::Manual.first("a", None, now), None);
    }

    #[test]
    fn failures_are_retried_early_three_times_then_with_the_schedule() {
        use Severity::{Passing, Refused};
        let hourly = plan(3600, 0);
        let quick = plan(1, 0);
        let now = at(10);
        for (plan, failures, severity, random, expected) in [
            (&hourly, 1, Passing, 1.0, 15),
            (&hourly, 1, Passing, 0.0, 10),
            (&hourly, 3, Passing, 1.0, 30),
            (&hourly, 4, Passing, 1.0, 3600),
            (&quick, 2, Passing, 0.5, 15),
            (&quick, 5, Passing, 1.0, 90),
            (&quick, 50, Passing, 1.0, 1810),
            // Never sooner than the schedule once the early retries are used up.
            (&quick, 5, Passing, 0.0, 11),
            (&hourly, 1, Refused, 0.0, 15),
            (&hourly, 2, Refused, 0.0, 40),
            (&hourly, 3, Refused, 0.0, 3600),
            (&quick, 3, Refused, 0.0, 1810),
            (&quick, 99, Refused, 0.0, 1810),
        ] {
            let failed = Failed {
                failures,
                severity,
                random,
            };
            assert_eq!(
                plan.retry(failed, None, now),
                Some(at(expected)),
                "{failures} {severity:?} {random}"
            );
        }
        let failed = Failed {
            failures: 1,
            severity: Passing,
            random: 0.5,
        };
        assert_eq!(Plan::Manual.retry(failed, None, now), None);
    }

    #[test]
    fn times_of_the_day_are_kept_whatever_the_upstream_asks_for() {
        use Severity::{Passing, Refused};
        let cron = Cron::parse("0 8-10 * * *", Zone::UTC).expect("an expression");
        let plan = Plan::cron(&Arc::new(cron), None);
        let hour = |hour: i64| at(hour * 3600);
        assert_eq!(plan.next(hour(8)), Some(hour(9)));
        // A night of sleep: one poll follows, at its time.
        assert_eq!(plan.next(hour(24 + 7)), Some(hour(24 + 8)));
        for (not_before, expected) in [
            (None, hour(9)),
            (Some(hour(8)), hour(9)),
            (Some(hour(9)), hour(9)),
            (Some(at(9 * 3600 + 1)), hour(10)),
            (Some(hour(11)), hour(24 + 8)),
        ] {
            assert_eq!(plan.raised(hour(9), not_before), expected);
        }
        for (failures, severity, not_before, expected) in [
            (1, Passing, None, at(8 * 3600 + 5)),
            (1, Passing, Some(at(8 * 3600 + 120)), at(8 * 3600 + 120)),
            (4, Passing, None, hour(9)),
            (4, Passing, Some(at(9 * 3600 + 1)), hour(10)),
            (3, Refused, None, hour(9)),
            (3, Refused, Some(hour(10)), hour(10)),
            (3, Refused, Some(hour(12)), hour(24 + 8)),
        ] {
            let failed = Failed {
                failures,
                severity,
                random: 1.0,
            };
            let retry = plan.retry(failed, not_before, hour(8));
            assert_eq!(retry, Some(expected), "{failures} {severity:?}");
        }
        let first = plan.first("a", None, hour(20)).expect("at once");
        assert!(first.since(hour(20)) < FIRST_POLL_SPREAD);
        assert_eq!(plan.first("a", Some(hour(1)), hour(20)), Some(hour(24 + 8)));
    }

    #[test]
    fn an_adaptive_source_is_polled_at_the_latest_after_its_max_and_not_all_at_once() {
        let bounds = Bounds {
            min: SECOND * 5,
            max: SECOND * 1_000,
        };
        let (now, mut tenths) = (at(1_000_000), [0_u32; 10]);
        for n in 0..1_000 {
            let name = format!("source_{n}");
            let plan = Plan::adaptive(&name, bounds);
            let next = plan.next(now).expect("a time").since(now);
            assert!(next > SECOND * 900 && next <= SECOND * 1_000, "{next:?}");
            tenths[usize::try_from((next.as_secs() - 900) / 10).map_or(9, |n| n.min(9))] += 1;
            // Once it waits for others, for as long after the last poll, whatever is asked between.
            let last = now.minus(SECOND * 100);
            assert_eq!(plan.next_since(last, now), Some(last.plus(next)));
            assert_eq!(plan.first(&name, Some(last), now), Some(last.plus(next)));
            let ahead = now.plus(SECOND * 9_999);
            assert_eq!(plan.next_since(ahead, now), plan.next(now));
            // After a long time without anybody, all are polled within the middle of the bounds.
            let overdue = plan.first(&name, Some(at(0)), now).expect("a time");
            assert!(
                overdue >= now && overdue.since(now) < SECOND * 71,
                "{overdue}"
            );
            let first = plan.first(&name, None, now).expect("a time");
            assert!(first >= now && first.since(now) < FIRST_POLL_SPREAD);
            assert_eq!(plan.next_doubted(now), Some(now.plus(bounds.middle())));
        }
        assert!(
            tenths.iter().all(|&n| (60..=140).contains(&n)),
            "{tenths:?}"
        );
    }

    #[test]
    fn an_adaptive_source_that_fails_waits_for_the_back_off_and_not_for_its_max() {
        let bounds = Bounds {
            min: SECOND * 60,
            max: SECOND * 86_400,
        };
        let (plan, now) = (Plan::adaptive("a", bounds), at(0));
        for (failures, severity, not_before, expected) in [
            (1, Severity::Passing, None, 5),
            (4, Severity::Passing, None, 60),
            (5, Severity::Passing, None, 80),
            (50, Severity::Passing, None, 1_800),
            (4, Severity::Passing, Some(at(7_200)), 7_200),
            (3, Severity::Refused, None, 1_800),
        ] {
            let failed = Failed {
                failures,
                severity,
                random: 1.0,
            };
            let retry = plan.retry(failed, not_before, now);
            assert_eq!(retry, Some(at(expected)), "{failures} {severity:?}");
        }
    }

    #[test]
    fn ten_thousand_partitions_do_not_begin_in_one_instant() {
        let cron = Cron::parse("*/5 * * * *", Zone::UTC).expect("an expression");
        let cron = Arc::new(cron);
        let mut seconds = [0_u32; 300];
        for n in 0..10_000 {
            let plan = Plan::cron(&cron, Some(&format!("repository-{n}")));
            let first = plan.next(at(0)).expect("a time");
            seconds[usize::try_from(first.as_seconds()).expect("positive") % 300] += 1;
            let mut times = std::iter::successors(Some(first), |at| plan.next(*at));
            // None is left out, and none comes twice.
            assert_eq!(times.nth(3), Some(first.plus(SECOND * 900)));
        }
        let most = seconds.iter().max();
        assert!(most < Some(&70), "{most:?} of 10,000 in one second");
    }

    #[test]
    fn refusals_ring_at_the_second_others_when_configured() {
        for (failures, severity, expected) in [
            (2, Severity::Passing, false),
            (3, Severity::Passing, true),
            (1, Severity::Refused, false),
            (2, Severity::Refused, true),
        ] {
            assert_eq!(rings(failures, severity, 3), expected, "{failures}");
        }
        assert!(rings(1, Severity::Refused, 1));
    }
}
