//! From a response's bytes to what changed. Pure.
//!
//! Decides what an item is, when two spellings of it are the same, and what differs. Leaves
//! fetching to [`crate::poll`] and remembering to [`crate::store`].
//!
//! The way of a response: what is not JSON is made JSON ([`decode()`]); `serde_json` checks its syntax; `items` finds the items in the text and
//! their ids; `form` writes each item's canonical form, what does not count left out, into one
//! buffer, which is digested; [`diff()`] compares with the snapshot; [`Guard`] and [`confirm()`]
//! doubt. Only for
//! items that changed, [`patch()`] builds trees. What rules an answer suggests is [`learn`]'s.

mod confirm;
mod cursor;
mod decode;
mod diff;
mod filter;
mod form;
mod guard;
mod items;
pub mod learn;
mod locate;
mod number;
mod patch;
mod path;
mod plan;
mod progress;
mod rules;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod tree;

use std::ops::Range;

pub use confirm::{Confirmation, Doubt, Pending, UNSETTLED_MAX, confirm};
pub use decode::{Encoded, Format, Mistyped, Selector, decode};
pub use diff::diff;
pub use filter::Filter;
pub use guard::{Guard, Held, fingerprint};
pub use items::{Page, SUBJECT_BYTES_MAX, join, page, read, unite};
pub use locate::pick;
pub use patch::{PATCH_OPERATIONS_MAX, patch, projections};
pub use path::Path;
pub use progress::Progress;
pub use rules::{Fields, Rules};

use crate::digest::Digest;

/// The id of an item, as text: string ids as they are, integers as digits, composites as compact
/// JSON arrays; empty for a document.
pub type Subject = Box<str>;

/// One complete, well-shaped response, of one page or several.
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
    /// Which page of the walk it stands in.
    pub page: u32,
    /// Where it stands in that page, as received.
    pub range: Range<usize>,
    /// Whether the response says that it was deleted: it matches [`Rules::tombstone`].
    pub is_gone: bool,
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
    /// None of what the source's bodies are, or cut off, or beyond a bound.
    #[error("not {0}: {1}")]
    Malformed(Format, String),
    /// Bytes that are no text of their charset.
    #[error("no text: {0}")]
    Charset(String),
    /// More bytes than may become of a body when it is made JSON.
    #[error("as JSON more than {0} bytes: `body_bytes_max` allows more")]
    TooLarge(usize),
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
    /// All values of [`Self::reason`].
    pub const REASONS: [&str; 6] = ["parse", "charset", "too_large", "shape", "id", "items_max"];

    /// The `reason` label in metrics and events.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Json(_) | Self::Malformed(..) => "parse",
            Self::Charset(_) => "charset",
            Self::TooLarge(_) => "too_large",
            Self::Shape(_) => "shape",
            Self::Id(_) => "id",
            Self::TooMany(_) => "items_max",
        }
    }
}

/// What differs between a snapshot and a walk; indices into both, each ascending by subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// Indices into the walk of items that the snapshot does not hold, and that are not gone.
    pub created: Vec<usize>,
    /// Indices into (snapshot, walk) of items whose digests differ.
    pub updated: Vec<(usize, usize)>,
    /// Indices into the snapshot of items that the walk does not hold.
    pub missing: Vec<usize>,
    /// Indices into the snapshot of items that the walk holds as gone.
    pub buried: Vec<usize>,
}
