//! What of a walk is believed. Pure.
//!
//! Decides what leaves the snapshot, and which differences wait for another look. Leaves the comparison to [`crate::detect`] and what rings to
//! [`super::plan`].

use std::sync::Arc;

use super::forget;
use super::plan::Basis;
use crate::config::{Confirm, Deletes, Source};
use crate::detect::{self, Confirmation, Differences, Doubt, Guard, Held, Pending, Subject, Walk};
use crate::digest::Digest;
use crate::store::{Mark, Unseen};
use crate::time::Timestamp;

/// A walk before its judges.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case<'a> {
    /// The source's configuration.
    pub(super) source: &'a Source,
    /// What the walk is compared with, without what is forgotten.
    pub(super) basis: &'a Basis,
    /// What was seen.
    pub(super) walk: &'a Walk,
    /// Identity of the request and rules in force.
    pub(super) rules: Digest,
    /// What earlier polls left undecided.
    pub(super) open: &'a Open,
    /// What [`forget::forget`] took out of the snapshot.
    pub(super) forgotten: &'a [Subject],
    /// The present.
    pub(super) now: Timestamp,
}

/// What earlier polls left undecided.
#[derive(Debug, Clone, Default)]
pub(super) struct Open {
    /// What the guard holds.
    pub(super) held: Option<Held>,
    /// What waits to be seen again; of the request and rules in force.
    pub(super) pending: Option<Arc<Pending>>,
    /// Items that the last walk lacked, ascending by subject; none unless the source forgets.
    pub(super) unseen: Vec<Unseen>,
}

/// What is to be made of a walk.
#[derive(Debug)]
pub(super) enum Judgement {
    /// It is the snapshot.
    Same,
    /// The guard does not believe it yet.
    Held(Held),
    /// Nothing of it was seen often enough yet.
    Pending(Pending),
    /// So much of it becomes the snapshot; the rest, if any, was not seen often enough yet.
    Differs(Believed, Option<Pending>),
}

/// What of a walk is believed; indices into snapshot and walk, each ascending by subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Believed {
    /// Indices into the walk.
    pub(super) created: Vec<usize>,
    /// Indices into (snapshot, walk).
    pub(super) updated: Vec<(usize, usize)>,
    /// Indices into the snapshot.
    pub(super) removed: Vec<usize>,
    /// Items that leave the snapshot and ring nobody; those that are created anew are not among
    /// them.
    pub(super) forgotten: Vec<Subject>,
    /// What is to be remembered of items that the walk lacks.
    pub(super) marks: Vec<Mark>,
    /// Items among them that were never seen twice the same.
    pub(super) unsettled: usize,
}

/// Judges a walk.
pub(super) fn judge(case: Case<'_>) -> Judgement {
    let Case { source, basis, .. } = case;
    let known = basis.known();
    let differences = detect::diff(known, &case.walk.entries);
    let mut believed = Believed::all(case, &differences);
    let guard = Guard {
        deletes_max_ratio: source.deletes_max_ratio,
    };
    let mut guarded = Vec::new();
    if guard.doubts(known.len(), believed.removed.len()) {
        let removed = believed.removed.iter().map(|&at| &*known[at].subject);
        if let Some(held) = Guard::hold(detect::fingerprint(removed), case.open.held) {
            return Judgement::Held(held);
        }
        // Polls that are further apart than `confirm` asks for have seen the same.
        guarded = std::mem::take(&mut believed.removed);
    }
    let doubts = match source.confirm {
        Some(confirm) if !basis.is_silent(source) => sift(case, confirm, &mut believed),
        _ => Vec::new(),
    };
    if !guarded.is_empty() {
        believed.removed = guarded;
    }
    believed.forgotten = case.forgotten(&believed);
    let pending = (!doubts.is_empty()).then_some(Pending {
        rules: case.rules,
        doubts,
    });
    match (basis, pending) {
        (Basis::Snapshot(_) | Basis::First, Some(pending)) if !believed.differs() => {
            Judgement::Pending(pending)
        }
        (Basis::Snapshot(_), None) if !believed.leaves_a_trace() => Judgement::Same,
        (_, pending) => Judgement::Differs(believed, pending),
    }
}

/// Takes out of `believed` what was not seen often enough, as doubts.
fn sift(case: Case<'_>, confirm: Confirm, believed: &mut Believed) -> Vec<Doubt> {
    let (known, entries) = (case.basis.known(), &case.walk.entries);
    let before = case.open.pending.as_deref();
    let (mut doubts, mut unsettled) = (Vec::new(), 0);
    let mut is_believed = |subject: &Subject, digest: Option<Digest>| {
        let doubt = before.and_then(|pending| pending.of(subject));
        match detect::confirm(confirm.polls, doubt, subject, digest) {
            Confirmation::Confirmed => true,
            Confirmation::Unsettled => {
                unsettled += 1;
                true
            }
            Confirmation::Doubted(doubt) => {
                doubts.push(doubt);
                false
            }
        }
    };
    let mut is_seen = |at: usize| is_believed(&entries[at].subject, Some(entries[at].digest));
    believed.created.retain(|&at| is_seen(at));
    believed.updated.retain(|&(_, at)| is_seen(at));
    let removed = &mut believed.removed;
    removed.retain(|&at| is_believed(&known[at].subject, None));
    believed.unsettled = unsettled;
    doubts.sort_unstable_by(|a, b| a.subject.cmp(&b.subject));
    doubts
}

impl Believed {
    /// All that differs, and what is noted of what the walk lacks.
    pub(super) fn all(case: Case<'_>, differences: &Differences) -> Self {
        let (removed, missing) = case.removed(differences);
        let mut believed = Self {
            created: differences.created.clone(),
            updated: differences.updated.clone(),
            removed,
            ..Self::default()
        };
        if case.source.forget.is_some() {
            let known = case.basis.known();
            let missing = missing.iter().map(|&at| &known[at].subject);
            believed.marks = forget::marks(missing, &case.open.unseen, case.now);
        }
        believed
    }

    /// Whether anything of it may ring.
    fn differs(&self) -> bool {
        !(self.created.is_empty() && self.updated.is_empty() && self.removed.is_empty())
    }

    /// Whether anything of it is to be written.
    fn leaves_a_trace(&self) -> bool {
        self.differs() || !self.forgotten.is_empty() || !self.marks.is_empty()
    }
}

impl Case<'_> {
    /// What was forgotten and does not begin anew.
    fn forgotten(&self, believed: &Believed) -> Vec<Subject> {
        let entries = &self.walk.entries;
        let begins = |subject: &Subject| {
            let created = &believed.created;
            created
                .binary_search_by(|&at| entries[at].subject.cmp(subject))
                .is_ok()
        };
        let forgotten = self.forgotten.iter().filter(|subject| !begins(subject));
        forgotten.cloned().collect()
    }

    /// Indices of items that the walk takes out of the snapshot, and of those that it lacks and
    /// leaves there. What is replaced loses every item that the walk lacks, whatever `deletes`
    /// says: the next walk would ring it.
    fn removed(&self, differences: &Differences) -> (Vec<usize>, Vec<usize>) {
        let counts_missing = match self.basis {
            Basis::First => false,
            Basis::Replaced(_) => true,
            Basis::Snapshot(_) | Basis::Redigested { .. } => self.source.deletes == Deletes::Full,
        };
        let (mut removed, missing) = (differences.buried.clone(), &differences.missing);
        if !counts_missing {
            return (removed, missing.clone());
        }
        removed.extend(missing);
        removed.sort_unstable();
        (removed, Vec::new())
    }
}
