//! What differs between a snapshot and a walk.
//!
//! Decides nothing: whether so many deletions are believable is [`super::Guard`]'s question.

use std::cmp::Ordering;

use super::{Differences, Entry, Known};

/// Lists the items that differ; both sides ascend by subject. `O(before + after)`.
///
/// Pure: same arguments, same result. Allocates for the items that differ alone.
#[must_use]
pub fn diff(before: &[Known], after: &[Entry]) -> Differences {
    let mut differences = Differences::default();
    let (mut b, mut a) = (0, 0);
    while let (Some(known), Some(entry)) = (before.get(b), after.get(a)) {
        match known.subject.cmp(&entry.subject) {
            Ordering::Less => {
                differences.missing.push(b);
                b += 1;
            }
            Ordering::Greater => {
                if !entry.is_gone {
                    differences.created.push(a);
                }
                a += 1;
            }
            Ordering::Equal => {
                if entry.is_gone {
                    differences.buried.push(b);
                } else if known.digest != entry.digest {
                    differences.updated.push((b, a));
                }
                (b, a) = (b + 1, a + 1);
            }
        }
    }
    differences.missing.extend(b..before.len());
    let rest = (a..after.len()).filter(|&a| !after[a].is_gone);
    differences.created.extend(rest);
    differences
}
