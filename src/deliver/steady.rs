//! The time by which retries are due. Pure: both clocks are arguments.
//!
//! Due times are wall-clock times, because they outlive the process. But a wall clock that is set
//! back would hold up whatever is due, so this one only goes on: with the wall clock, and where that
//! falls behind with the steady one.

use std::time::Instant;

use crate::time::Timestamp;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Steady {
    wall: Timestamp,
    steady: Instant,
}

impl Steady {
    pub(super) fn new(wall: Timestamp, steady: Instant) -> Self {
        Self { wall, steady }
    }

    /// The present, as both clocks tell it.
    pub(super) fn now(&mut self, wall: Timestamp, steady: Instant) -> Timestamp {
        let elapsed = steady.saturating_duration_since(self.steady);
        let now = self.wall.plus(elapsed);
        if wall > now {
            *self = Self::new(wall, steady);
            return wall;
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_goes_on_when_the_wall_clock_is_set_back_and_jumps_along_when_it_is_set_ahead() {
        let (start, at) = (Instant::now(), Timestamp::from_millis);
        let after = |millis| start + Duration::from_millis(millis);
        let mut steady = Steady::new(at(1_000), start);
        assert_eq!(steady.now(at(1_500), after(500)), at(1_500));
        assert_eq!(steady.now(at(-9_000), after(700)), at(1_700));
        assert_eq!(steady.now(at(-8_000), after(1_700)), at(2_700));
        assert_eq!(steady.now(at(90_000), after(1_800)), at(90_000));
        assert_eq!(steady.now(at(3_000), after(1_900)), at(90_100));
    }
}
