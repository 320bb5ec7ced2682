//! JSONPath (RFC 9535) as the configuration writes it.
//!
//! Decides what a path is, where it may stand, and how much of it can be followed while a
//! response streams by. Leaves following it to [`super::items`] and [`super::form`].

use serde_json::Value;
use serde_json_path::{JsonPath, PathElement};

use super::plan::Step;
use crate::jsonpath::{self, PathError};

/// A JSONPath (RFC 9535) of the configuration, split into what streams and what needs a tree.
///
/// A path of member names, indices and wildcards streams: it is followed in the text, and no tree
/// is built. Any other (filters, slices, descendants, several selectors in one bracket, escapes or
/// negative indices) is asked of a tree, which costs some three times as much and gives the same.
#[derive(Debug, Clone)]
pub struct Path {
    text: String,
    query: JsonPath,
    /// The steps before the first segment that does not stream.
    prefix: Vec<Step>,
    rest: Rest,
}

/// What follows the steps that stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Nothing: the whole path streams.
    Nothing,
    /// A segment that selects elements: a filter, a slice, an index.
    Elements,
    /// Another segment: a descendant, several names.
    Other,
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if !text.starts_with('$') {
            let rest = text.trim_start_matches('.');
            let message = format!("a JSONPath begins with `$`: write `$.{rest}`");
            return Err(PathError::at(0, message));
        }
        let query = jsonpath::parse(text)?;
        let (prefix, rest) = split(text);
        Ok(Self {
            text: text.to_owned(),
            query,
            prefix,
            rest,
        })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is `$`, all of what it is relative to.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.prefix.is_empty() && self.rest == Rest::Nothing
    }

    /// Whether it may stand as `items`: it must select elements, not the array that holds them.
    ///
    /// # Errors
    /// [`PathError`] for a path of names and indices alone, which is one node.
    pub fn check_items(&self) -> Result<(), PathError> {
        match self.simple() {
            Some(steps) if !steps.contains(&Step::Each) => Err(PathError {
                position: self.text.len(),
                message: format!(
                    "selects the array, not its elements: write `{}[*]`",
                    self.text
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Whether it may stand as `id`: it must be able to select exactly one value of each item.
    ///
    /// # Errors
    /// [`PathError`] for a path with a wildcard.
    pub fn check_id(&self) -> Result<(), PathError> {
        if !self.prefix.contains(&Step::Each) {
            return Ok(());
        }
        let message = "selects every element, not one value: write a path without `*`, \
                       or a list of paths";
        Err(PathError {
            position: self.text.find('*').unwrap_or(0),
            message: message.to_owned(),
        })
    }

    /// Whether it may stand in `ignore`: something must be left.
    ///
    /// # Errors
    /// [`PathError`] for `$`.
    pub fn check_ignore(&self) -> Result<(), PathError> {
        if !self.is_root() {
            return Ok(());
        }
        Err(PathError {
            position: 0,
            message: "would leave nothing: name members, like `$.fetched_at`".to_owned(),
        })
    }

    /// All of it, if it streams.
    pub(super) fn simple(&self) -> Option<&[Step]> {
        (self.rest == Rest::Nothing).then_some(&self.prefix)
    }

    /// The steps before what does not stream, and whether they must lead to an array.
    pub(super) fn prefix(&self) -> (&[Step], bool) {
        (&self.prefix, self.rest == Rest::Elements)
    }

    /// Where the nodes are that it selects of `root`, each once, as steps of names and indices.
    pub(super) fn locate(&self, root: &Value) -> Vec<Vec<Step>> {
        let nodes = self.query.query_located(root);
        let steps = nodes.locations().map(|location| {
            let step = |element: &PathElement<'_>| match element {
                PathElement::Name(name) => Step::member(name),
                PathElement::Index(index) => Step::Index(*index),
            };
            location.iter().map(step).collect()
        });
        steps.collect()
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Path {}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Step {
    /// The step to the member called `name`.
    pub(super) fn member(name: &str) -> Self {
        let quoted = Value::from(name).to_string();
        Self::Member(quoted.as_bytes()[1..quoted.len() - 1].into())
    }
}

/// Splits a valid path behind its last leading segment that streams.
fn split(text: &str) -> (Vec<Step>, Rest) {
    let mut steps = Vec::new();
    let mut rest = text.get(1..).unwrap_or_default();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return (steps, Rest::Nothing);
        }
        let Some((step, after)) = segment(rest) else {
            return (steps, kind(rest));
        };
        steps.push(step);
        rest = after;
    }
}

/// The first segment of `rest` as a step, and what follows it.
fn segment(rest: &str) -> Option<(Step, &str)> {
    if let Some(dotted) = rest.strip_prefix('.') {
        if let Some(after) = dotted.strip_prefix('*') {
            return Some((Step::Each, after));
        }
        let is_end = |c: char| c == '.' || c == '[' || c.is_ascii_whitespace();
        let (name, after) = dotted.split_at(dotted.find(is_end).unwrap_or(dotted.len()));
        return (!name.is_empty()).then(|| (Step::member(name), after));
    }
    let bracket = rest.strip_prefix('[')?.trim_start();
    let close = |after: &'_ str| -> Option<usize> {
        let inner = after.trim_start();
        inner.starts_with(']').then(|| rest.len() - inner.len() + 1)
    };
    let (step, end) = match bracket.chars().next()? {
        '*' => (Step::Each, close(&bracket[1..])?),
        quote @ ('\'' | '"') => {
            let (name, after) = bracket[1..].split_once(quote)?;
            let is_plain = !name.contains('\\');
            (is_plain.then(|| Step::member(name))?, close(after)?)
        }
        '0'..='9' => {
            let is_end = |c: char| !c.is_ascii_digit();
            let (digits, after) = bracket.split_at(bracket.find(is_end)?);
            (Step::Index(digits.parse().ok()?), close(after)?)
        }
        _ => return None,
    };
    Some((step, &rest[end..]))
}

/// What kind of segment the rest begins with.
fn kind(rest: &str) -> Rest {
    let selector = rest.strip_prefix('[').map(str::trim_start);
    match selector.and_then(|selector| selector.chars().next()) {
        Some('\'' | '"') | None => Rest::Other,
        Some(_) => Rest::Elements,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        Path::parse(text).unwrap()
    }

    #[test]
    fn plain_paths_stream() {
        let name = Step::member;
        for (text, steps) in [
            ("$", vec![]),
            ("$.a.b", vec![name("a"), name("b")]),
            ("$['a b']", vec![name("a b")]),
            ("$[\"it's\"]", vec![name("it's")]),
            ("$['say \"hi\"']", vec![name("say \"hi\"")]),
            ("$[*]", vec![Step::Each]),
            ("$.*", vec![Step::Each]),
            ("$.a.b[*]", vec![name("a"), name("b"), Step::Each]),
            (
                "$ .a [ 'b' ] [ 3 ]",
                vec![name("a"), name("b"), Step::Index(3)],
            ),
            ("$.é_1['']", vec![name("é_1"), name("")]),
        ] {
            assert_eq!(path(text).simple(), Some(&steps[..]), "{text}");
        }
    }

    #[test]
    fn other_paths_keep_the_steps_before() {
        let name = Step::member;
        for (text, steps, wants_array) in [
            ("$..a", vec![], false),
            ("$.a..b[*]", vec![name("a")], false),
            ("$.a[?@.b == 'c'][*]", vec![name("a")], true),
            ("$.a[1:]", vec![name("a")], true),
            ("$.a[-1]", vec![name("a")], true),
            ("$.a[0,1]", vec![name("a")], true),
            ("$['a','b']", vec![], false),
            ("$['a\\u0062']", vec![], false),
            ("$['it\\'s']", vec![], false),
        ] {
            assert_eq!(path(text).simple(), None, "{text}");
            assert_eq!(path(text).prefix(), (&steps[..], wants_array), "{text}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused_with_its_place() {
        assert!(
            Path::parse("issues")
                .unwrap_err()
                .message
                .contains("write `$.issues`")
        );
        assert_eq!(Path::parse("$.a.b[").unwrap_err().position, 5);
        for text in [
            "",
            "$.",
            "$.a b",
            "$[",
            "$[?]",
            "$.a[01]",
            "$ ",
            "$['a\\ud800']",
            &"$[?(".repeat(30_000),
        ] {
            let error = Path::parse(text).unwrap_err();
            assert!(error.position <= text.len(), "{text}: {error:?}");
        }
    }

    #[test]
    fn a_place_takes_only_paths_that_make_sense_there() {
        for (text, items, id, ignore) in [
            ("$", false, true, false),
            ("$.issues", false, true, true),
            ("$.issues[*]", true, false, true),
            ("$.issues[*].a", true, false, true),
            ("$.issues[?@.open]", true, true, true),
            ("$..issue", true, true, true),
        ] {
            let path = path(text);
            assert_eq!(path.check_items().is_ok(), items, "{text}");
            assert_eq!(path.check_id().is_ok(), id, "{text}");
            assert_eq!(path.check_ignore().is_ok(), ignore, "{text}");
        }
    }
}
