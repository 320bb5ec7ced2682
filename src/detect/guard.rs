//! Doubts mass deletions.
//!
//! Decides whether a walk that would delete much is believed. Leaves holding it, and telling of
//! it, to [`crate::poll`].

use crate::digest::Digest;

/// Doubts mass deletions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guard {
    /// The largest share of the snapshot that may go at once, 0 to 1.
    pub deletes_max_ratio: f64,
}

/// A poll that is held, and how often it was seen since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Held {
    /// [`super::Walk::digest`] of what was seen.
    pub walk: Digest,
    /// Polls in a row that saw it, the first included.
    pub polls: u32,
}

/// What the guard says of a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Believed: commit it.
    Believed,
    /// Held, with what to remember.
    Hold(Held),
}

impl Guard {
    /// Deletions that are never doubted.
    pub const DELETES_FREE: usize = 10;
    /// Polls that must see the same after the first one.
    pub const CONFIRMATIONS: u32 = 2;

    /// Judges a walk that would delete `deletes` of `known` items, given what was held before.
    ///
    /// A doubtful walk is held until [`Self::CONFIRMATIONS`] more polls in a row have seen the
    /// same; one that differs starts anew. `held` must be what the last poll left: a walk that was
    /// not doubtful in between leaves nothing.
    #[must_use]
    pub fn judge(&self, known: usize, deletes: usize, walk: Digest, held: Option<Held>) -> Verdict {
        let is_much = deletes as f64 > self.deletes_max_ratio * known as f64;
        if deletes <= Self::DELETES_FREE || !is_much {
            return Verdict::Believed;
        }
        let seen_before = match held {
            Some(held) if held.walk == walk => held.polls,
            _ => 0,
        };
        if seen_before >= Self::CONFIRMATIONS {
            return Verdict::Believed;
        }
        Verdict::Hold(Held {
            walk,
            polls: seen_before + 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: Guard = Guard {
        deletes_max_ratio: 0.5,
    };

    fn walk(byte: u8) -> Digest {
        Digest::from_bytes([byte; 16])
    }

    fn hold(byte: u8, polls: u32) -> Verdict {
        let walk = walk(byte);
        Verdict::Hold(Held { walk, polls })
    }

    #[test]
    fn only_more_than_the_share_and_more_than_ten_deletions_are_doubted() {
        for (known, deletes, is_doubted) in [
            (0, 0, false),
            (10, 10, false),
            (11, 11, true),
            (20, 11, true),
            (22, 11, false),
            (23, 12, true),
            (1_000, 500, false),
            (1_000, 501, true),
        ] {
            let verdict = GUARD.judge(known, deletes, walk(1), None);
            assert_eq!(
                verdict != Verdict::Believed,
                is_doubted,
                "{deletes} of {known}"
            );
        }
    }

    #[test]
    fn a_doubtful_walk_is_believed_when_the_next_two_polls_see_the_same() {
        let mut held = None;
        for polls in 1..=2 {
            let verdict = GUARD.judge(100, 100, walk(1), held);
            assert_eq!(verdict, hold(1, polls));
            held = match verdict {
                Verdict::Hold(held) => Some(held),
                Verdict::Believed => None,
            };
        }
        assert_eq!(GUARD.judge(100, 100, walk(1), held), Verdict::Believed);
    }

    #[test]
    fn another_doubtful_walk_starts_anew() {
        let held = Some(Held {
            walk: walk(1),
            polls: 2,
        });
        assert_eq!(GUARD.judge(100, 99, walk(2), held), hold(2, 1));
        assert_eq!(GUARD.judge(100, 9, walk(2), held), Verdict::Believed);
    }
}
