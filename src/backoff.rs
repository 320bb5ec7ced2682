//! Delays that grow with consecutive failures.
//!
//! Pure: the randomness comes in as a number in `0.0..1.0`.

use std::time::Duration;

/// Exponential growth from `base` to `ceiling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest delay after the first failure.
    pub base: Duration,
    /// The longest delay ever.
    pub ceiling: Duration,
}

impl Backoff {
    /// The delay after `failures` failures in a row without jitter: `base`, doubled for each one
    /// after the first, at most `ceiling`. No failures, no delay.
    #[must_use]
    pub fn bound(&self, failures: u32) -> Duration {
        if failures == 0 {
            return Duration::ZERO;
        }
        // 2^31 times any base of a second or more is past every ceiling in use.
        let factor = 1_u32 << (failures - 1).min(31);
        self.base
            .checked_mul(factor)
            .map_or(self.ceiling, |delay| delay.min(self.ceiling))
    }

    /// A delay with full jitter: uniform in `0..bound`, so that many who failed together do not
    /// return together.
    #[must_use]
    pub fn jittered(&self, failures: u32, random: f64) -> Duration {
        self.bound(failures).mul_f64(random.clamp(0.0, 1.0))
    }
}

/// `delay` changed by at most ±20 %, uniformly.
#[must_use]
pub fn spread(delay: Duration, random: f64) -> Duration {
    delay.mul_f64(0.8 + 0.4 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLLS: Backoff = Backoff {
        base: Duration::from_secs(5),
        ceiling: Duration::from_mins(30),
    };

    #[test]
    fn doubles_up_to_the_ceiling() {
        let seconds: Vec<u64> = (0..12).map(|n| POLLS.bound(n).as_secs()).collect();
        assert_eq!(
            seconds,
            [0, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 1800, 1800]
        );
        assert_eq!(POLLS.bound(u32::MAX), POLLS.ceiling);
    }

    #[test]
    fn jitter_stays_inside_its_bounds() {
        assert_eq!(POLLS.jittered(3, 0.0), Duration::ZERO);
        assert_eq!(POLLS.jittered(3, 1.0), Duration::from_secs(20));
        assert_eq!(spread(Duration::from_secs(10), 0.0), Duration::from_secs(8));
        assert_eq!(
            spread(Duration::from_secs(10), 1.0),
            Duration::from_secs(12)
        );
    }
}
