//! Items that walks lack: when they count as forgotten, and what is noted of them. Pure.
//!
//! An item is marked when a walk lacks it first, and its mark goes when it is back. Once a mark is
//! older than `forget`, the item was never known: it leaves the snapshot, or if it is in the walk
//! at hand, it is new there. So it does not matter whether a poll came by in between, which one
//! that brought the same bytes again does not count as.

use std::time::Duration;

use super::plan::Basis;
use crate::detect::{Known, Subject};
use crate::store::{Mark, Unseen};
use crate::time::Timestamp;

/// Takes out of `basis` what was unseen for `forget`; which these are, ascending.
pub(super) fn forget(
    basis: &mut Basis,
    unseen: &[Unseen],
    forget: Duration,
    now: Timestamp,
) -> Vec<Subject> {
    let is_over = |unseen: &&Unseen| unseen.since.is_some_and(|since| now.since(since) >= forget);
    let over = unseen.iter().filter(is_over);
    let over: Vec<Subject> = over.map(|unseen| unseen.subject.clone()).collect();
    if over.is_empty() {
        return over;
    }
    let stays = |item: &Known| over.binary_search(&item.subject).is_err();
    match basis {
        Basis::First => {}
        Basis::Snapshot(known) | Basis::Replaced(known) => known.retain(stays),
        Basis::Redigested { known, stored } => {
            let mut items = known.iter();
            stored.retain(|_| items.next().is_some_and(stays));
            known.retain(stays);
        }
    }
    over
}

/// What is noted of a walk that lacks `missing`, ascending, when these were `unseen` before it.
pub(super) fn marks<'a>(
    missing: impl Iterator<Item = &'a Subject>,
    unseen: &[Unseen],
    now: Timestamp,
) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut marked = unseen.iter().peekable();
    let clear = |unseen: &Unseen| Mark {
        subject: unseen.subject.clone(),
        since: None,
    };
    for subject in missing {
        while let Some(back) = marked.next_if(|unseen| unseen.subject < *subject) {
            marks.push(clear(back));
        }
        let known = marked.next_if(|unseen| unseen.subject == *subject);
        if known.and_then(|unseen| unseen.since).is_none() {
            marks.push(Mark {
                subject: subject.clone(),
                since: Some(now),
            });
        }
    }
    marks.extend(marked.map(clear));
    marks
}
