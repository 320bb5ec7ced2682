//! From a walk and a snapshot to what is committed. Pure.
//!
//! Decides which items ring, with what content, and what the snapshot holds afterwards. Leaves what
//! is believed to [`super::judge`] and the numbering to the store.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::judge::Believed;
use crate::config::{Baseline, Keep, Source};
use crate::detect::{self, Entry, Known, Subject, Unreadable, Walk};
use crate::digest::Digest;
use crate::event::{Content, Kind};
use crate::metrics::EventCounts;
use crate::store::{Draft, Form, ItemChange, Mark};

/// What a walk is compared with.
#[derive(Debug)]
pub(super) enum Basis {
    /// There is no snapshot: the walk becomes it, and rings as `baseline` says.
    First,
    /// The snapshot, made under the rules in force.
    Snapshot(Vec<Known>),
    /// The snapshot, made under other rules and brought under those in force.
    Redigested {
        /// With digests under the rules in force.
        known: Vec<Known>,
        /// With digests as the snapshot holds them, in the same order.
        stored: Vec<Digest>,
    },
    /// A snapshot that cannot be compared: the walk replaces it and rings nobody.
    Replaced(Vec<Known>),
}

/// What is committed of a walk.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// In the order of the events: deleted, updated, created; then what rings nobody.
    pub(super) items: Vec<ItemChange>,
    /// What is remembered of items that the walk lacks.
    pub(super) marks: Vec<Mark>,
    /// Events among them.
    pub(super) counts: EventCounts,
    /// Items in the snapshot afterwards.
    pub(super) items_after: u64,
    /// Whether the snapshot begins with them: what was before, if anything, is not comparable.
    pub(super) is_baseline: bool,
}

/// All that changes are drawn from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw<'a> {
    /// Its configuration.
    pub(super) source: &'a Source,
    /// What the walk was compared with.
    pub(super) basis: &'a Basis,
    /// What was seen.
    pub(super) walk: &'a Walk,
    /// The pages' bodies, into which the walk points.
    pub(super) bodies: &'a [Bytes],
    /// What of it is believed.
    pub(super) believed: &'a Believed,
    /// Stored bodies of the items that [`wanted`] named, as far as they are kept.
    pub(super) stored: &'a HashMap<Subject, Box<str>>,
}

impl Basis {
    /// What is compared, ascending by subject.
    pub(super) fn known(&self) -> &[Known] {
        match self {
            Self::First => &[],
            Self::Snapshot(known) | Self::Redigested { known, .. } | Self::Replaced(known) => known,
        }
    }

    /// Whether what is committed rings nobody.
    pub(super) fn is_silent(&self, source: &Source) -> bool {
        match self {
            Self::First => source.baseline == Baseline::Silent,
            Self::Replaced(_) => true,
            Self::Snapshot(_) | Self::Redigested { .. } => false,
        }
    }

    /// Items whose stored digest is of other rules, that the walk does not rewrite anyway.
    fn outdated<'a>(&'a self, believed: &Believed) -> Vec<&'a Known> {
        let Self::Redigested { known, stored } = self else {
            return Vec::new();
        };
        let mut rewritten = vec![false; known.len()];
        let updated = believed.updated.iter().map(|(at, _)| at);
        for &at in updated.chain(&believed.removed) {
            rewritten[at] = true;
        }
        let all = known.iter().zip(stored).zip(rewritten);
        all.filter(|((item, stored), rewritten)| item.digest != **stored && !rewritten)
            .map(|((item, _), _)| item)
            .collect()
    }
}

/// Items whose stored bodies [`changes`] needs.
pub(super) fn wanted(source: &Source, basis: &Basis, believed: &Believed) -> Vec<Subject> {
    if source.keep == Keep::Digests || basis.is_silent(source) {
        return Vec::new();
    }
    let known = basis.known();
    let updated = believed.updated.iter().map(|(before, _)| before);
    let outdated = basis.outdated(believed);
    believed
        .removed
        .iter()
        .chain(updated)
        .map(|&at| known[at].subject.clone())
        .chain(outdated.into_iter().map(|item| item.subject.clone()))
        .collect()
}

/// Draws up what is committed.
///
/// # Errors
/// [`Unreadable::Json`] when the walk points at what is no text.
pub(super) fn changes(draw: Draw<'_>) -> Result<Changes, Unreadable> {
    let (known, believed) = (draw.basis.known(), draw.believed);
    let mut changes = Changes {
        items_after: (known.len() - believed.removed.len() + believed.created.len()) as u64,
        is_baseline: matches!(draw.basis, Basis::First | Basis::Replaced(_)),
        marks: believed.marks.clone(),
        ..Changes::default()
    };
    for &at in &believed.removed {
        let change = draw.deleted(&known[at]);
        changes.add(change);
    }
    for &(before, after) in &believed.updated {
        let change = draw.updated(&known[before], &draw.walk.entries[after])?;
        changes.add(change);
    }
    for &at in &believed.created {
        let change = draw.created(&draw.walk.entries[at])?;
        changes.add(change);
    }
    for item in draw.basis.outdated(believed) {
        changes.add(draw.rewritten(item));
    }
    for subject in &believed.forgotten {
        changes.add(ItemChange {
            subject: subject.clone(),
            now: None,
            event: None,
        });
    }
    Ok(changes)
}

impl Changes {
    /// Whether anything of them rings.
    pub(super) fn ring(&self) -> bool {
        self.items.iter().any(|item| item.event.is_some())
    }

    fn add(&mut self, change: ItemChange) {
        match change.event.as_ref().map(|draft| draft.kind) {
            Some(Kind::Created) => self.counts.created += 1,
            Some(Kind::Updated) => self.counts.updated += 1,
            Some(Kind::Deleted) => self.counts.deleted += 1,
            Some(_) => self.counts.changed += 1,
            None => {}
        }
        self.items.push(change);
    }
}

impl Draw<'_> {
    fn deleted(&self, item: &Known) -> ItemChange {
        let previous = self.previous(item);
        let content = Content {
            previous: previous.and_then(raw),
            previous_digest: Some(item.digest),
            ..Content::default()
        };
        ItemChange {
            subject: item.subject.clone(),
            now: None,
            event: self.rings(Kind::Deleted, content),
        }
    }

    fn updated(&self, before: &Known, after: &Entry) -> Result<ItemChange, Unreadable> {
        let current = self.current(after)?;
        let previous = self.previous(before);
        let patch = match (previous, current) {
            (Some(previous), Some(current)) if !self.basis.is_silent(self.source) => {
                detect::patch(previous, current, &self.source.rules)
            }
            _ => None,
        };
        let content = Content {
            current: current.and_then(raw),
            digest: Some(after.digest),
            previous: previous.and_then(raw),
            previous_digest: Some(before.digest),
            patch: patch.as_deref(),
        };
        Ok(ItemChange {
            subject: after.subject.clone(),
            now: Some(form(after.digest, current)),
            event: self.rings(Kind::Updated, content),
        })
    }

    fn created(&self, entry: &Entry) -> Result<ItemChange, Unreadable> {
        let current = self.current(entry)?;
        let content = Content {
            current: current.and_then(raw),
            digest: Some(entry.digest),
            ..Content::default()
        };
        Ok(ItemChange {
            subject: entry.subject.clone(),
            now: Some(form(entry.digest, current)),
            event: self.rings(Kind::Created, content),
        })
    }

    fn rewritten(&self, item: &Known) -> ItemChange {
        ItemChange {
            subject: item.subject.clone(),
            now: Some(form(item.digest, self.previous(item))),
            event: None,
        }
    }

    fn rings(&self, kind: Kind, content: Content<'_>) -> Option<Draft> {
        if self.basis.is_silent(self.source) {
            return None;
        }
        let is_document = self.source.rules.items.is_none();
        Some(Draft {
            kind: if is_document { Kind::Changed } else { kind },
            content: content.members(),
        })
    }

    fn previous(&self, item: &Known) -> Option<&str> {
        self.stored.get(&item.subject).map(AsRef::as_ref)
    }

    /// The item as received, where bodies are kept.
    fn current(&self, entry: &Entry) -> Result<Option<&str>, Unreadable> {
        if self.source.keep == Keep::Digests {
            return Ok(None);
        }
        let page = self.bodies.get(entry.page as usize);
        let bytes = page.and_then(|page| page.get(entry.range.clone()));
        let bytes = bytes.unwrap_or_default();
        let text = std::str::from_utf8(bytes);
        text.map(Some)
            .map_err(|error| Unreadable::Json(error.to_string()))
    }
}

fn form(digest: Digest, body: Option<&str>) -> Form {
    Form {
        digest,
        body: body.map(Into::into),
    }
}

/// A body as a member of an event; `None` for what is no JSON, which nothing stored is.
fn raw(body: &str) -> Option<&RawValue> {
    serde_json::from_str(body).ok()
}
