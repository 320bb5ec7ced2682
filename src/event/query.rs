//! JSONPath (RFC 9535) over payloads, as `filter` and `redact` write it.
//!
//! Decides what members a payload has, and what of a path's beginning is plain enough to be checked
//! against them.

use std::fmt;

use serde_json::Value;
use serde_json_path::{JsonPath, PathElement};

use crate::jsonpath::{self, PathError};

/// Members of a payload.
pub(super) const PAYLOAD: [&str; 3] = ["type", "timestamp", "data"];

/// Members that a payload's `data` may have.
pub(super) const DATA: [&str; 17] = [
    "source",
    "subject",
    "sequence",
    "cause",
    "request_id",
    "partition",
    "current",
    "previous",
    "patch",
    "digest",
    "previous_digest",
    "link",
    "endpoint",
    "reason",
    "consecutive",
    "since",
    "damaged",
];

/// A path over a payload.
#[derive(Clone)]
pub(super) struct Query {
    text: Box<str>,
    path: JsonPath,
}

/// A step to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Name(Box<str>),
    Index(usize),
}

impl Query {
    pub(super) fn parse(text: &str) -> Result<Self, PathError> {
        if !text.starts_with('$') {
            return Err(PathError::at(0, "a JSONPath begins with `$`"));
        }
        let path = jsonpath::parse(text)?;
        Ok(Self {
            text: text.into(),
            path,
        })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it selects anything.
    pub(super) fn selects(&self, root: &Value) -> bool {
        !self.path.query(root).is_empty()
    }

    /// Where the nodes are that it selects.
    pub(super) fn locate(&self, root: &Value) -> Vec<Vec<Step>> {
        let nodes = self.path.query_located(root);
        let steps = nodes.locations().map(|location| {
            let step = |element: &PathElement<'_>| match element {
                PathElement::Name(name) => Step::Name((*name).into()),
                PathElement::Index(index) => Step::Index(*index),
            };
            location.iter().map(step).collect()
        });
        steps.collect()
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl PartialEq for Query {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// The member that `rest`, what follows a place in a valid path, names plainly (`.a`, `['a']`), and
/// what follows it. Names with escapes, wildcards and whatever selects more than one are none.
pub(super) fn member(rest: &str) -> Option<(&str, &str)> {
    let rest = rest.trim_start();
    if let Some(dotted) = rest.strip_prefix('.') {
        // Behind a name a path may end, and a condition go on.
        let is_end = |c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_';
        let (name, after) = dotted.split_at(dotted.find(is_end).unwrap_or(dotted.len()));
        return (!name.is_empty()).then_some((name, after));
    }
    let bracket = rest.strip_prefix('[')?.trim_start();
    let quote = bracket.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (name, after) = bracket[1..].split_once(quote)?;
    let after = after.trim_start().strip_prefix(']')?;
    (!name.contains('\\')).then_some((name, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_members_are_told_from_all_else() {
        for (rest, expected) in [
            (".a.b", Some(("a", ".b"))),
            (" .a [0]", Some(("a", " [0]"))),
            ("['a b'].c", Some(("a b", ".c"))),
            ("[ \"a\" ]", Some(("a", ""))),
            (".a == 1]", Some(("a", " == 1]"))),
            (".a]", Some(("a", "]"))),
            (".*", None),
            ("..a", None),
            ("[0]", None),
            ("['a','b']", None),
            ("['a\\u0062']", None),
            ("[?@.a]", None),
            ("", None),
        ] {
            assert_eq!(member(rest), expected, "{rest}");
        }
    }
}
