//! How a source's response becomes items, and what of them counts.
//!
//! Decides when two sets of rules are the same, and folds their paths into a [`Plan`]. Leaves
//! following it to [`super::items`].

use std::borrow::Cow;

use super::cursor::Cursor;
use super::form::ITEM_FORM;
use super::plan::{End, Listed, Plan};
use super::tree::Tree;
use super::{Filter, Path, Selector, Unreadable};
use crate::digest::{Context, Digest};

/// How a source's response becomes items, and what of them counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Where the items are; `None`: the whole document is one item with subject `""`.
    pub items: Option<Path>,
    /// What identifies an item, relative to it; several make a composite. Never empty with `items`.
    pub id: Vec<Path>,
    /// What of a page are the items, where bodies are pages; `items` is all of that, then.
    pub selector: Option<Selector>,
    /// What of an item counts.
    pub fields: Fields,
    /// Lists whose order never counts, relative to the item.
    pub unordered: Vec<Path>,
    /// What an item says of itself when it was deleted; asked of all of it, whatever counts.
    pub tombstone: Option<Filter>,
}

/// What of an item counts; paths are relative to the item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fields {
    /// All but these.
    Ignore(Vec<Path>),
    /// Only these.
    Only(Vec<Path>),
}

impl Default for Fields {
    fn default() -> Self {
        Self::Ignore(Vec::new())
    }
}

impl Rules {
    /// Identity of the rules and of the canonical form's version: digests made under different
    /// rules are not comparable. The order of paths counts in `id` alone.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut text = Vec::from(ITEM_FORM);
        let mut put = |what: &str, paths: &[&str]| {
            text.extend_from_slice(what.as_bytes());
            text.extend_from_slice(&(paths.len() as u64).to_be_bytes());
            for path in paths {
                text.extend_from_slice(&(path.len() as u64).to_be_bytes());
                text.extend_from_slice(path.as_bytes());
            }
        };
        let (fields, paths) = match &self.fields {
            Fields::Ignore(paths) => ("ignore", paths),
            Fields::Only(paths) => ("only", paths),
        };
        let items: Vec<&str> = self.items.iter().map(Path::as_str).collect();
        let id: Vec<&str> = self.id.iter().map(Path::as_str).collect();
        put("items", &items);
        put("id", &id);
        put(fields, &sorted(paths));
        put("unordered", &sorted(&self.unordered));
        if let Some(tombstone) = &self.tombstone {
            put("tombstone", &[tombstone.as_str()]);
        }
        if let Some(selector) = &self.selector {
            put("selector", &[selector.as_str()]);
        }
        Context::new("doorbell 2026-11 detection rules 1").digest(&text)
    }
}

fn sorted(paths: &[Path]) -> Vec<&str> {
    let mut texts: Vec<&str> = paths.iter().map(Path::as_str).collect();
    texts.sort_unstable();
    texts.dedup();
    texts
}

/// The rules for one item as a plan: paths that stream once for all, the others for each item.
pub(super) struct Selection<'a> {
    plan: Plan,
    loose: Vec<(&'a Path, End)>,
}

impl<'a> Selection<'a> {
    /// Folds `rules` and what identifies an item.
    pub(super) fn new(rules: &'a Rules, id: &'a [Path]) -> Self {
        let (listed_are, listed) = match &rules.fields {
            Fields::Ignore(paths) => (Listed::Ignored, paths),
            Fields::Only(paths) => (Listed::Only, paths),
        };
        let listed = listed.iter().map(|path| (path, End::Listed));
        let unordered = rules.unordered.iter().map(|path| (path, End::Unordered));
        let parts = id.iter().enumerate();
        let parts = parts.map(|(part, path)| (path, End::Id(part)));

        let mut plan = Plan::new(listed_are, id.len());
        let mut loose = Vec::new();
        for (path, end) in listed.chain(unordered).chain(parts) {
            let is_each = path.check_id().is_err();
            match path.simple() {
                Some(steps) if !is_each || !matches!(end, End::Id(_)) => plan.add(steps, end),
                _ => loose.push((path, end)),
            }
        }
        Self { plan, loose }
    }

    /// The plan, if it is the same for every item.
    #[inline]
    pub(super) fn fixed(&self) -> Option<&Plan> {
        self.loose.is_empty().then_some(&self.plan)
    }

    /// The plan for `item`, which is known to be JSON.
    ///
    /// # Errors
    /// [`Unreadable::Id`] if a part of the id is several values; [`Unreadable::Json`].
    pub(super) fn plan_for(&self, item: &[u8]) -> Result<Cow<'_, Plan>, Unreadable> {
        if let Some(plan) = self.fixed() {
            return Ok(Cow::Borrowed(plan));
        }
        let mut plan = self.plan.clone();
        let root = Tree::read(&mut Cursor::over(item))?.into_value();
        for &(path, end) in &self.loose {
            let places = path.locate(&root);
            if matches!(end, End::Id(_)) && places.len() > 1 {
                let message = format!("`{path}` selects {} values of one item", places.len());
                return Err(Unreadable::Id(message));
            }
            for steps in &places {
                plan.add(steps, end);
            }
        }
        Ok(Cow::Owned(plan))
    }
}
