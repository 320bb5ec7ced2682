//! A source as its pool knows it.

use super::learnt::Learnt;
use crate::time::Timestamp;

/// A member of a pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    /// What [`super::Pool::release`] gives back.
    pub(super) tag: u32,
    pub(super) learnt: Learnt,
    /// When it was polled last.
    pub(super) last: Option<Last>,
    pub(super) not_before: Timestamp,
    /// The root of its rate, as it is in the totals.
    pub(super) root: f64,
    /// Entries of the heaps with another number are void.
    pub(super) generation: u32,
    /// Whether one of the heaps has an entry of it.
    pub(super) is_planned: bool,
    /// Whether there is anybody.
    pub(super) is_in: bool,
}

/// When a source was polled, by all clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Last {
    pub(super) at: Timestamp,
    pub(super) reading: f64,
    pub(super) news: u32,
}

impl Member {
    pub(super) const fn nobody() -> Self {
        Self {
            tag: 0,
            learnt: Learnt {
                changes: 0.0,
                exposure: 0.0,
                joint: 0.0,
                news: 0.0,
            },
            last: None,
            not_before: Timestamp::from_millis(0),
            root: 0.0,
            generation: 0,
            is_planned: false,
            is_in: false,
        }
    }

    /// It is not planned any more.
    pub(super) fn unplan(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.is_planned = false;
    }
}
