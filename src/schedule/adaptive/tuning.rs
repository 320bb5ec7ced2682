//! The numbers of the rule, and those of a source.

use std::time::Duration;

/// The numbers of the rule that are not learnt. None is fitted to anything: the result changes by
/// less than a tenth if one of them is halved or doubled, as `examples/simulate.rs` shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuning {
    /// What is known of a source before its first poll, as a number of changes: as little as can
    /// be said. Half a change is what Jeffreys' rule gives for a rate.
    pub prior: f64,
    /// How many of its latest changes a source is judged by. Fewer say little: after 16 the error
    /// is a quarter, and the rate of polls goes with its root. More would be slow to notice that
    /// a source has become another.
    pub memory: f64,
    /// Over how much time the polls are as many as they should be: what a quiet night saves, a
    /// busy day may spend.
    pub horizon: Duration,
    /// Which share of changes is thought to come with news of others, before any was found: a
    /// quarter. Where it is most, a few changes show it; where it is none, only many do.
    pub together: f64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            prior: 0.5,
            memory: 16.0,
            horizon: Duration::from_hours(24),
            together: 0.25,
        }
    }
}

/// Between which times a source is polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Not sooner after the last poll.
    pub min: Duration,
    /// Not later, unless it fails.
    pub max: Duration,
}

impl Bounds {
    /// How long after the last poll the next one comes of a source of which nothing is known.
    #[must_use]
    pub fn middle(self) -> Duration {
        Duration::from_secs_f64(1.0 / self.middle_per_second())
    }

    /// How often a source is polled of which nothing is known: between its bounds, and as many
    /// times less often than `min` allows as more often than `max` asks for.
    #[must_use]
    pub fn middle_per_second(self) -> f64 {
        1.0 / (self.min.as_secs_f64() * self.max.as_secs_f64()).sqrt()
    }
}
