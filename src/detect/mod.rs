//! From a response's bytes to what changed. Pure.
//!
//! Decides what an item is, when two spellings of it are the same, and what differs. Leaves
//! fetching to [`crate::poll`] and remembering to [`crate::store`].

use std::ops::Range;

use serde_json::value::RawValue;

use crate::digest::Digest;

/// The id of an item, as text: string ids as they are, integers as digits, composites as compact
/// JSON arrays; empty for a document.
pub type Subject = Box<str>;

/// A JSONPath (RFC 9535) of the configuration, split into what streams and what needs a tree.
#[derive(Debug, Clone)]
pub struct Path {
    text: String,
}

/// Why a text is no JSONPath that can stand where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PathError {
    /// Byte offset in the text.
    pub position: usize,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn parse(text: &str) -> Result<Self, PathError> {
        Ok(Self {
            text: text.to_owned(),
        })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// How a source's response becomes items, and what of them counts.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Where the items are; `None`: the whole document is one item with subject `""`.
    pub items: Option<Path>,
    /// What identifies an item, relative to it; several make a composite. Never empty with `items`.
    pub id: Vec<Path>,
    /// What of an item counts.
    pub fields: Fields,
    /// Lists whose order never counts, relative to the item.
    pub unordered: Vec<Path>,
}

/// What of an item counts; paths are relative to the item.
#[derive(Debug, Clone)]
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
    /// rules are not comparable.
    #[must_use]
    pub fn digest(&self) -> Digest {
        todo!()
    }
}

/// One complete, well-shaped response.
#[derive(Debug, Clone)]
pub struct Walk {
    /// Its items, ascending by subject (bytewise), each subject once.
    pub entries: Vec<Entry>,
    /// Identity of the whole walk: of all subjects and digests. Equal walks would make the same
    /// snapshot.
    pub digest: Digest,
}

/// An item of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub subject: Subject,
    /// Digest of its canonical form, after projection.
    pub digest: Digest,
    /// Where it stands in the response, as received.
    pub range: Range<usize>,
}

/// An item of the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub subject: Subject,
    /// Digest of its canonical form when it was committed.
    pub digest: Digest,
}

/// Why a response is no walk. Nothing of it may count as a change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not JSON, or cut off, or nested too deeply.
    #[error("not JSON: {0}")]
    Json(String),
    /// What stands where the items should be is missing or no array.
    #[error("wrong shape: {0}")]
    Shape(String),
    /// An item without a usable id, or ids of mixed types that read the same.
    #[error("unusable id: {0}")]
    Id(String),
    /// More items than `items_max`.
    #[error("more than {0} items")]
    TooMany(usize),
}

impl Unreadable {
    /// The `reason` label in metrics and events.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Json(_) => "parse",
            Self::Shape(_) => "shape",
            Self::Id(_) => "id",
            Self::TooMany(_) => "items_max",
        }
    }
}

/// Reads a whole response.
///
/// # Errors
/// [`Unreadable`].
pub fn read(body: &[u8], rules: &Rules, items_max: usize) -> Result<Walk, Unreadable> {
    let _ = (body, rules, items_max);
    todo!()
}

/// What differs between a snapshot and a walk; indices into both, each ascending by subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// Indices into the walk of items that the snapshot does not hold.
    pub created: Vec<usize>,
    /// Indices into (snapshot, walk) of items whose digests differ.
    pub updated: Vec<(usize, usize)>,
    /// Indices into the snapshot of items that the walk does not hold.
    pub missing: Vec<usize>,
}

/// Lists the items that differ; both sides ascend by subject. `O(before + after)`.
#[must_use]
pub fn diff(before: &[Known], after: &[Entry]) -> Differences {
    let _ = (before, after);
    todo!()
}

/// The RFC 6902 patch between the projections of two forms of an item, unordered lists in the
/// previous one's order; `None` when it would have more than [`PATCH_OPERATIONS_MAX`] operations
/// or either side is no JSON.
#[must_use]
pub fn patch(previous: &str, current: &str, rules: &Rules) -> Option<Box<RawValue>> {
    let _ = (previous, current, rules);
    todo!()
}

/// Most operations of a patch; a longer one tells a receiver less than the item itself.
pub const PATCH_OPERATIONS_MAX: usize = 1_000;

/// Doubts mass deletions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guard {
    /// The largest share of the snapshot that may go at once.
    pub deletes_max_ratio: f64,
}

/// A poll that is held, and how often it was seen since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Held {
    /// [`Walk::digest`] of what was seen.
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
    #[must_use]
    pub fn judge(&self, known: usize, deletes: usize, walk: Digest, held: Option<Held>) -> Verdict {
        let _ = (known, deletes, walk, held);
        todo!()
    }
}
