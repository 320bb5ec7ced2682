//! How a backlog makes room: while fresh events ring beside it, it rings at a bounded rate, and its
//! outcomes are written together. Pure: the present is an argument.
//!
//! A flood at full speed takes all processors, and every hop of a fresh event waits for one. While
//! nothing else rings, nobody waits, and a backlog goes as fast as it can.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long after a fresh event backlogs make room: what rings every second keeps its lag, and a
/// backlog that is alone is soon at full speed.
const ROOM_FOR: Duration = Duration::from_secs(1);

/// Webhooks a second that backlogs together may begin beside fresh events. At some 50 µs each,
/// less than half of one processor.
const BESIDE_PER_SECOND: u32 = 8_000;

/// Most that may begin at once, which is also what one tick of the runtime's timer is worth: some
/// 0.4 ms of one processor.
const BURST: u32 = BESIDE_PER_SECOND / 1_000;

/// What all endpoints of a process share.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    fresh_at: Option<Instant>,
    /// From when on credit counts; never more than a burst's time ago.
    since: Option<Instant>,
}

impl Pace {
    /// An event without a backlog before it begins to ring.
    pub(super) fn fresh(&self, now: Instant) {
        self.0.lock().fresh_at = Some(now);
    }

    /// Whether an event of a backlog may begin to ring now.
    pub(super) fn grant(&self, now: Instant) -> bool {
        let mut state = self.0.lock();
        let is_alone = state
            .fresh_at
            .is_none_or(|fresh| now.saturating_duration_since(fresh) > ROOM_FOR);
        if is_alone {
            state.since = None;
            return true;
        }
        let each = Duration::from_secs(1) / BESIDE_PER_SECOND;
        let earliest = now.checked_sub(each * BURST).unwrap_or(now);
        let since = state.since.map_or(earliest, |since| since.max(earliest));
        let is_granted = since + each <= now;
        state.since = Some(if is_granted { since + each } else { since });
        is_granted
    }
}

/// When a backlog that was granted nothing asks again.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// How long outcomes gather while more are on their way: a flush costs the same for one as for a
/// hundred, and whoever else writes waits for it.
const GATHER: Duration = Duration::from_millis(5);

/// When an endpoint's outcomes are settled.
#[derive(Debug, Default)]
pub(super) struct Gathering(Option<Instant>);

impl Gathering {
    /// What has gathered is being settled.
    pub(super) fn begin(&mut self, now: Instant) {
        self.0 = Some(now);
    }

    /// How long outcomes are still to gather; those that are alone wait for no others.
    pub(super) fn left(&self, is_alone: bool, now: Instant) -> Duration {
        match self.0 {
            Some(began) if !is_alone => (began + GATHER).saturating_duration_since(now),
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `wanted` begin.
    fn begun(pace: &Pace, now: Instant, wanted: usize) -> usize {
        (0..wanted).take_while(|_| pace.grant(now)).count()
    }

    #[test]
    fn a_backlog_alone_is_not_held_up() {
        let (pace, now) = (Pace::default(), Instant::now());
        assert_eq!(begun(&pace, now, 1_000), 1_000);
        pace.fresh(now);
        let later = now + ROOM_FOR + Duration::from_millis(1);
        assert_eq!(begun(&pace, later, 1_000), 1_000);
    }

    #[test]
    fn beside_fresh_events_backlogs_together_keep_the_rate() {
        let (pace, start) = (Pace::default(), Instant::now());
        let mut all = 0;
        for step in 0..10_000 {
            let now = start + Duration::from_micros(100) * step;
            pace.fresh(now);
            // Two endpoints ask in turn.
            all += begun(&pace, now, 3) + begun(&pace, now, 5);
        }
        let most = (BESIDE_PER_SECOND + BURST) as usize;
        assert!((most - 100..=most).contains(&all), "{all}");
    }

    #[test]
    fn outcomes_gather_while_more_are_on_their_way() {
        let (mut gathering, start) = (Gathering::default(), Instant::now());
        assert_eq!(gathering.left(false, start), Duration::ZERO, "the first");
        gathering.begin(start);
        let later = start + Duration::from_millis(2);
        assert_eq!(gathering.left(false, later), Duration::from_millis(3));
        assert_eq!(gathering.left(true, later), Duration::ZERO, "alone");
        assert_eq!(gathering.left(false, start + GATHER), Duration::ZERO);
    }

    #[test]
    fn what_was_not_used_does_not_pile_up() {
        let (pace, start) = (Pace::default(), Instant::now());
        pace.fresh(start);
        assert_eq!(begun(&pace, start, 100), BURST as usize);
        let later = start + Duration::from_millis(500);
        assert_eq!(begun(&pace, later, 100), BURST as usize);
        assert_eq!(begun(&pace, later, 100), 0);
    }
}
