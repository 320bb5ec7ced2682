//! The names a configuration gives to its upstreams, sources, endpoints and routes.
//!
//! Decides which spellings are names. Names become event types and metric labels, so they are
//! short, lower-case and free of the separators of both.

use std::fmt;
use std::sync::Arc;

/// A configured name: `[a-z][a-z0-9_]{0,62}`, never `doorbell`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, or longer than 63 bytes.
    #[error("a name has 1 to 63 characters")]
    Length,
    /// A character other than `a-z`, `0-9` and `_`, or a first one that is not a letter.
    #[error("a name is written with a-z, 0-9 and _, and begins with a letter")]
    Spelling,
    /// The word `doorbell`, which names the operational events.
    #[error("`doorbell` is taken: it names the operational events")]
    Taken,
}

impl Name {
    /// Longest name in bytes; the length of a DNS label, so that names also fit host names.
    pub const LENGTH_MAX: usize = 63;

    /// Checks `text`.
    ///
    /// # Errors
    /// [`NameError`] when `text` is not spelled as a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > Self::LENGTH_MAX {
            return Err(NameError::Length);
        }
        let starts_right = text.as_bytes()[0].is_ascii_lowercase();
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if !starts_right || !text.bytes().all(word) {
            return Err(NameError::Spelling);
        }
        if text == "doorbell" {
            return Err(NameError::Taken);
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_that_fit_event_types_and_labels() {
        for good in ["a", "issues", "github_issues_2", &"x".repeat(63)] {
            assert_eq!(
                Name::parse(good).map(|n| n.to_string()),
                Ok(good.to_owned())
            );
        }
        for (bad, why) in [
            ("", NameError::Length),
            (&*"x".repeat(64), NameError::Length),
            ("Issues", NameError::Spelling),
            ("2issues", NameError::Spelling),
            ("_a", NameError::Spelling),
            ("a.b", NameError::Spelling),
            ("é", NameError::Spelling),
            ("doorbell", NameError::Taken),
        ] {
            assert_eq!(Name::parse(bad), Err(why), "{bad:?}");
        }
    }
}
