//! Doubts mass deletions.
//!
//! Decides whether a walk that would delete much is believed. Leaves holding it whole, and telling
//! of it, to [`crate::poll`].

use super::items::Chain;
use crate::digest::{Context, Digest};

/// Doubts mass deletions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guard {
    /// The largest share of the snapshot that may go at once, 0 to 1.
    pub deletes_max_ratio: f64,
}

/// Deletions that are held, and how often they were seen since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Held {
    /// [`fingerprint`] of what would be deleted.
    #[serde(alias = "walk")]
    pub deletions: Digest,
    /// Polls in a row that would have deleted the same, the first included.
    pub polls: u32,
}

impl Guard {
    /// Deletions that are never doubted.
    pub const DELETES_FREE: usize = 10;
    /// Polls that must see the same after the first one.
    pub const CONFIRMATIONS: u32 = 2;

    /// Whether a walk that would delete `deletes` of `known` items is to be doubted.
    #[must_use]
    pub fn doubts(&self, known: usize, deletes: usize) -> bool {
        let is_much = deletes as f64 > self.deletes_max_ratio * known as f64;
        deletes > Self::DELETES_FREE && is_much
    }

    /// Judges doubtful deletions, given what was held before: what to remember while they are
    /// held, or `None` once they are believed.
    ///
    /// They are held until [`Self::CONFIRMATIONS`] more polls in a row would have deleted the
    /// same items; what else differs does not matter, as a list that is busy elsewhere would
    /// never be believed. Others start anew: lists that lack now these, now those items come from
    /// an upstream that is not well. `held` must be what the last poll left: a walk that was not
    /// doubtful in between leaves nothing.
    #[must_use]
    pub fn hold(deletions: Digest, held: Option<Held>) -> Option<Held> {
        let seen_before = match held {
            Some(held) if held.deletions == deletions => held.polls,
            _ => 0,
        };
        (seen_before < Self::CONFIRMATIONS).then_some(Held {
            deletions,
            polls: seen_before.saturating_add(1),
        })
    }
}

/// Identity of a set of subjects, which are told in ascending order.
#[must_use]
pub fn fingerprint<'a>(subjects: impl Iterator<Item = &'a str>) -> Digest {
    let mut chain = Chain::new(Context::new("doorbell 2026-11 deletions 1"));
    for subject in subjects {
        chain.push_text(subject);
    }
    chain.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: Guard = Guard {
        deletes_max_ratio: 0.5,
    };

    fn deletions(byte: u8) -> Digest {
        Digest::from_bytes([byte; 16])
    }

    fn held(byte: u8, polls: u32) -> Held {
        let deletions = deletions(byte);
        Held { deletions, polls }
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
            let doubts = GUARD.doubts(known, deletes);
            assert_eq!(doubts, is_doubted, "{deletes} of {known}");
        }
    }

    #[test]
    fn doubtful_deletions_are_believed_when_the_next_two_polls_see_the_same() {
        let mut before = None;
        for polls in 1..=2 {
            before = Guard::hold(deletions(1), before);
            assert_eq!(before, Some(held(1, polls)));
        }
        assert_eq!(Guard::hold(deletions(1), before), None);
    }

    #[test]
    fn other_doubtful_deletions_start_anew() {
        assert_eq!(
            Guard::hold(deletions(2), Some(held(1, 2))),
            Some(held(2, 1))
        );
    }

    #[test]
    fn a_fingerprint_tells_sets_apart() {
        let of = |subjects: &[&str]| fingerprint(subjects.iter().copied());
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["a", "b"]), of(&["ab"]));
        assert_ne!(of(&["a", "b"]), of(&["a"]));
        assert_ne!(of(&["", "a"]), of(&["a", ""]));
    }

    /// A held poll of an older doorbell starts anew, and is no fault of the store.
    #[test]
    fn what_an_older_doorbell_held_is_readable() {
        let text = r#"{"walk":"01010101010101010101010101010101","polls":2}"#;
        let read: Held = serde_json::from_str(text).expect("a held poll");
        assert_eq!(read, held(1, 2));
    }
}
