//! JSONPath (RFC 9535) over payloads, as `filter` and `redact` write it.
//!
//! Decides how a path is read and what of its beginning is plain enough to be checked against the
//! members that a payload has.

use std::fmt;

use serde_json::Value;
use serde_json_path::{JsonPath, PathElement};

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

/// Most brackets and parentheses within one another. The reader of paths goes down into each, on the
/// stack that it is called on, and reads a filter within a filter several times over.
const NESTED_MAX: usize = 12;

/// Why a text is no path that can stand where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    /// Byte offset in the text.
    pub position: usize,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl QueryError {
    pub(super) fn at(position: usize, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { position, message }
    }
}

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
    pub(super) fn parse(text: &str) -> Result<Self, QueryError> {
        if !text.starts_with('$') {
            return Err(QueryError::at(0, "a JSONPath begins with `$`"));
        }
        if let Some(position) = too_deep(text) {
            let message = format!("a JSONPath has at most {NESTED_MAX} brackets in one another");
            return Err(QueryError::at(position, message));
        }
        let path = JsonPath::parse(text).map_err(|error| {
            let message = format!("no JSONPath (RFC 9535): {}", error.message());
            QueryError::at(error.position().min(text.len()), message)
        })?;
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

/// Where `text` is nested too deeply; brackets in strings are letters.
fn too_deep(text: &str) -> Option<usize> {
    let (mut open, mut quote) = (0_usize, None);
    let mut chars = text.char_indices();
    while let Some((position, char)) = chars.next() {
        match (quote, char) {
            (Some(_), '\\') => {
                chars.next();
            }
            (Some(_), _) if quote == Some(char) => quote = None,
            (None, '\'' | '"') => quote = Some(char),
            (None, '(' | '[') if open == NESTED_MAX => return Some(position),
            (None, '(' | '[') => open += 1,
            (None, ')' | ']') => open = open.saturating_sub(1),
            _ => {}
        }
    }
    None
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

    #[test]
    fn paths_that_are_nested_deeply_are_refused_before_they_are_read() {
        let in_another = |open: &str, times, middle: &str, close: &str| {
            format!("${}{middle}{}", open.repeat(times), close.repeat(times))
        };
        for (open, middle, close) in [("[?@.a", "", "]"), ("[?(@.a", " == 1", ")]")] {
            let most = in_another(
                open,
                NESTED_MAX / open.matches(['[', '(']).count(),
                middle,
                close,
            );
            Query::parse(&most).expect("it is not too deep");
            let refused = Query::parse(&in_another(open, 30_000, middle, close));
            let refused = refused.expect_err("the stack would end");
            assert!(refused.message.contains("in one another"), "{refused}");
        }
        let refused = Query::parse(&format!("$[?{}", "(".repeat(60_000))).expect_err("too deep");
        assert_eq!(refused.position, 2 + NESTED_MAX);
        let letters = "(".repeat(99);
        for right in [
            format!("$[?@.a == '{letters}\\'{letters}']"),
            format!("$['a']{}", "[0]".repeat(99)),
        ] {
            Query::parse(&right).expect("letters, and brackets beside each other");
        }
    }
}
