//! Where the items of an answer are.
//!
//! Decides among the arrays that stand outside of others: those of objects, or of rows.

use serde_json::Value;

use super::{plain, step};

/// How deep a list may stand: `$.data.repository.issues.nodes` is as deep as they come.
const DEPTH_MAX: usize = 4;

/// Most members that are looked at.
const MEMBERS_MAX: usize = 1_000;

/// Names that lists of items have.
const LIKELY: [&str; 21] = [
    "data",
    "items",
    "results",
    "result",
    "records",
    "value",
    "values",
    "entries",
    "objects",
    "rows",
    "nodes",
    "edges",
    "hits",
    "list",
    "elements",
    "content",
    "docs",
    "documents",
    "resources",
    "members",
    "hydramember",
];

/// Names of lists that go with one of items.
const COMPANIONS: [&str; 14] = [
    "included",
    "errors",
    "warnings",
    "links",
    "meta",
    "facets",
    "filters",
    "columns",
    "fields",
    "aggregations",
    "sort",
    "tags",
    "breadcrumbs",
    "primarykeys",
];

/// A list in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Names of the members that lead to it.
    names: Vec<String>,
    /// What its elements are.
    pub kind: Kind,
    /// Names of a row's columns, where the answer tells them.
    pub(super) columns: Vec<String>,
}

/// What the elements of a list are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// There are none.
    Nothing,
    /// Arrays of one length.
    Rows,
    /// Objects.
    Objects,
}

impl List {
    /// The path to the array.
    #[must_use]
    pub fn path(&self) -> String {
        let steps = self.names.iter().map(|name| step(name));
        std::iter::once("$".to_owned()).chain(steps).collect()
    }

    /// The path to its elements, as `items` wants it.
    #[must_use]
    pub fn items(&self) -> String {
        format!("{}[*]", self.path())
    }

    /// Its elements in `body`, if they are what they were.
    #[must_use]
    pub fn of<'a>(&self, body: &'a Value) -> Option<&'a [Value]> {
        let mut at = body;
        for name in &self.names {
            at = at.get(name)?;
        }
        let elements = at.as_array()?;
        let kind = kind(elements)?;
        let is_it = kind == self.kind || kind == Kind::Nothing || self.kind == Kind::Nothing;
        is_it.then_some(elements)
    }

    /// Its own name; none at the root.
    pub(super) fn name(&self) -> &str {
        self.names.last().map_or("", String::as_str)
    }
}

/// The list that `body` is about, if it is about one: not empty rather than empty, under a name
/// that lists have, the longest, the outermost.
#[must_use]
pub fn list(body: &Value) -> Option<List> {
    let mut found = Vec::new();
    collect(body, &mut Vec::new(), &mut found, &mut MEMBERS_MAX.clone());
    let best = found.into_iter().max_by_key(|(names, elements)| {
        let kind = kind(elements).unwrap_or(Kind::Nothing);
        let name = plain(names.last().map_or("", String::as_str));
        let is_companion = COMPANIONS.contains(&name.as_str());
        let is_likely = names.is_empty() || LIKELY.contains(&name.as_str());
        let depth = DEPTH_MAX - names.len();
        (
            kind != Kind::Nothing,
            !is_companion,
            is_likely,
            elements.len(),
            kind,
            depth,
        )
    });
    let (names, elements) = best?;
    let kind = kind(elements)?;
    let mut list = List {
        names,
        kind,
        columns: Vec::new(),
    };
    if kind == Kind::Rows {
        list.columns = columns(body, elements);
    }
    Some(list)
}

fn collect<'a>(
    value: &'a Value,
    names: &mut Vec<String>,
    found: &mut Vec<(Vec<String>, &'a [Value])>,
    members_left: &mut usize,
) {
    match value {
        Value::Array(elements) if kind(elements).is_some() => {
            found.push((names.clone(), elements));
        }
        Value::Object(members) if names.len() < DEPTH_MAX => {
            for (name, value) in members {
                if *members_left == 0 {
                    return;
                }
                *members_left -= 1;
                names.push(name.clone());
                collect(value, names, found, members_left);
                names.pop();
            }
        }
        _ => {}
    }
}

/// What the elements are; `None`: nothing that has an id.
fn kind(elements: &[Value]) -> Option<Kind> {
    if elements.is_empty() {
        return Some(Kind::Nothing);
    }
    if elements.iter().all(Value::is_object) {
        return Some(Kind::Objects);
    }
    let length = |element: &Value| element.as_array().map(Vec::len);
    let first = length(&elements[0]).filter(|length| *length > 1)?;
    let are_rows = elements.iter().all(|row| length(row) == Some(first));
    are_rows.then_some(Kind::Rows)
}

/// What the document calls the columns of `rows`.
fn columns(body: &Value, rows: &[Value]) -> Vec<String> {
    let width = rows[0].as_array().map_or(0, Vec::len);
    let names = body.get("columns").and_then(Value::as_array);
    let names = names
        .filter(|names| names.len() == width)
        .into_iter()
        .flatten();
    let names = names.map(|name| name.as_str().unwrap_or_default().to_owned());
    names.collect()
}
