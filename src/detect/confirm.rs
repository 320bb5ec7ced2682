//! Doubts changes until several fetches have seen them.
//!
//! Decides whether a change was seen often enough. Leaves when to look again, and committing what
//! is believed, to [`crate::poll`].

use super::Subject;
use crate::digest::Digest;

/// Fetches that may see an item differ and never the same: with this one it is believed as it is.
/// An upstream that flaps longer than this would otherwise hide a change for ever.
pub const UNSETTLED_MAX: u32 = 10;

/// Changes that are not believed yet.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Pending {
    /// Identity of the request and rules under which they were seen.
    pub rules: Digest,
    /// One of each item that differs from the snapshot, ascending by subject.
    pub doubts: Vec<Doubt>,
}

/// A change that is not believed yet.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Doubt {
    /// The item.
    pub subject: Subject,
    /// What it was last seen as; `None`: deleted.
    pub digest: Option<Digest>,
    /// Fetches running that saw it so.
    pub seen: u32,
    /// Fetches running that saw it differ from the snapshot.
    pub fetches: u32,
}

/// What is made of a change that a fetch has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmation {
    /// It was seen in as many fetches running as were asked for.
    Confirmed,
    /// It was seen differently for [`UNSETTLED_MAX`] fetches.
    Unsettled,
    /// It waits.
    Doubted(Doubt),
}

impl Pending {
    /// The doubt about an item.
    #[must_use]
    pub fn of(&self, subject: &str) -> Option<&Doubt> {
        let found = self
            .doubts
            .binary_search_by(|doubt| (*doubt.subject).cmp(subject));
        found.ok().map(|at| &self.doubts[at])
    }
}

/// Judges that `subject` was seen as `digest`, which is not what the snapshot holds, given what
/// the last fetch left in doubt about it. `fetches` must see a change before it is believed.
#[must_use]
pub fn confirm(
    fetches: u32,
    before: Option<&Doubt>,
    subject: &Subject,
    digest: Option<Digest>,
) -> Confirmation {
    let seen_before = before.map_or(0, |doubt| {
        if doubt.digest == digest {
            doubt.seen
        } else {
            0
        }
    });
    let doubt = Doubt {
        subject: subject.clone(),
        digest,
        seen: seen_before.saturating_add(1),
        fetches: before.map_or(0, |doubt| doubt.fetches).saturating_add(1),
    };
    if doubt.seen >= fetches {
        Confirmation::Confirmed
    } else if doubt.fetches >= UNSETTLED_MAX {
        Confirmation::Unsettled
    } else {
        Confirmation::Doubted(doubt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a life of one item: `.` as the snapshot holds it, `x` deleted, else some form.
    fn life(fetches: u32, seen: &str) -> Vec<char> {
        let subject = Subject::from("1");
        let mut before: Option<Doubt> = None;
        let verdicts = seen.bytes().map(|byte| {
            if byte == b'.' {
                before = None;
                return ' ';
            }
            let digest = (byte != b'x').then(|| Digest::from_bytes([byte; 16]));
            match confirm(fetches, before.take().as_ref(), &subject, digest) {
                Confirmation::Confirmed => 'c',
                Confirmation::Unsettled => 'u',
                Confirmation::Doubted(doubt) => {
                    before = Some(doubt);
                    '?'
                }
            }
        });
        verdicts.collect()
    }

    fn assert_life(fetches: u32, seen: &str, expected: &str) {
        let verdicts: String = life(fetches, seen).into_iter().collect();
        assert_eq!(verdicts, expected, "{fetches} of {seen}");
    }

    #[test]
    fn a_change_is_believed_when_enough_fetches_running_have_seen_it() {
        assert_life(2, "aa", "?c");
        assert_life(3, "aaa", "??c");
        assert_life(2, "xx", "?c");
        assert_life(2, "abb", "??c");
        assert_life(2, "axx", "??c");
    }

    #[test]
    fn what_goes_back_was_no_change_and_begins_anew() {
        assert_life(2, "a.a.a.", "? ? ? ");
        assert_life(3, "aa.aaa", "?? ??c");
    }

    #[test]
    fn what_never_settles_is_believed_with_the_tenth_fetch() {
        assert_life(2, "abababababab", "?????????u??");
        assert_life(2, "abcdefghij", "?????????u");
        assert_life(2, "abcdefghii", "?????????c");
        assert_life(10, "aaaaaaaaaa", "?????????c");
    }
}
