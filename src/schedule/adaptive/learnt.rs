//! How often a source changes, as polls tell it.
//!
//! A poll tells whether anything changed since the last one, not how often nor when. For changes
//! that come at rate λ, a poll after an exposure `x` that finds something has found
//! `λx / (1 - exp(-λx))` of them on average. With that in the place of what cannot be seen, a rate
//! is a number of changes by an exposure (expectation maximisation, one step a poll).

use super::tuning::Tuning;

/// What polls told of a source. All of it is forgotten a little with each change that is found, so
/// that it is about the latest [`Tuning::memory`] of them, however long that takes.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Learnt {
    /// Changes that there were.
    pub changes: f32,
    /// Seconds of the upstream's time in which there were so many.
    pub exposure: f32,
    /// Those of the changes that came with news of others.
    pub joint: f32,
    /// Those of the changes that were news.
    pub news: f32,
}

/// What is known of a source before its first poll.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prior {
    /// Its rate.
    pub(super) rate: f64,
    /// As how many changes that counts.
    pub(super) changes: f64,
}

/// What one poll brought.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Seconds of the upstream's time since the last poll.
    pub(super) exposure: f64,
    /// Expected changes in that time, if there were any.
    pub(super) found: Option<Found>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// What was thought of its rate.
    pub(super) rate: f64,
    /// How likely it came with news of others.
    pub(super) joint: f64,
    pub(super) is_news: bool,
}

impl Learnt {
    /// Itself, or nothing if it cannot be what polls told.
    pub(super) fn if_sound(self) -> Self {
        let numbers = [self.changes, self.exposure, self.joint, self.news];
        let is_sound = |number: &f32| number.is_finite() && *number >= 0.0;
        Some(self)
            .filter(|_| numbers.iter().all(is_sound))
            .unwrap_or_default()
    }

    /// Takes in what a poll brought.
    pub(super) fn see(&mut self, seen: Seen, tuning: &Tuning) {
        let keep = if seen.found.is_some() {
            1.0 - 1.0 / tuning.memory
        } else {
            1.0
        };
        let add = |to: &mut f32, what: f64| {
            #[expect(clippy::cast_possible_truncation, reason = "seven digits are plenty")]
            let sum = (f64::from(*to) * keep + what) as f32;
            *to = sum;
        };
        add(&mut self.exposure, seen.exposure);
        let Some(found) = seen.found else { return };
        let count = expected_changes(found.rate * seen.exposure);
        add(&mut self.changes, count);
        add(&mut self.joint, count * found.joint);
        add(&mut self.news, f64::from(u8::from(found.is_news)));
    }

    /// Its rate per second of the upstream's time.
    ///
    /// What is wanted is the mean of the root, squared: that of a gamma distribution of shape `k` is
    /// `k² / (k + 1/4)`, to two hundredths.
    pub(super) fn rate(&self, prior: Prior) -> f64 {
        let shape = f64::from(self.changes) + prior.changes;
        let squared_root = shape * shape / (shape + 0.25);
        squared_root / (f64::from(self.exposure) + prior.changes / prior.rate)
    }
}

/// How many changes there were where `expected` were to be expected, and at least one came.
fn expected_changes(expected: f64) -> f64 {
    if expected < 1e-9 {
        1.0
    } else {
        expected / -(-expected).exp_m1()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unseen_changes_count_as_much_as_is_likely() {
        for (expected, count) in [(0.0, 1.0), (1e-12, 1.0), (1.0, 1.582), (20.0, 20.0)] {
            assert!(
                (expected_changes(expected) - count).abs() < 1e-3,
                "{expected}"
            );
        }
    }
}
