//! What is taken out of payloads before anyone gets them.
//!
//! Decides which nodes a path means. What is taken out of `current` is taken out of `previous`, and
//! of the patch between the two, as well: an operation that touches it goes, or its value loses it.

use serde_json::json;
use serde_json::value::RawValue;

use super::super::query::{DATA, Query, Step, member};
use super::data::{Cut, Data, member_without, value};
use crate::jsonpath::PathError;

/// The nodes that leave every payload of an endpoint.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Redaction(Vec<Nodes>);

#[derive(Debug, Clone, PartialEq)]
enum Nodes {
    /// Selected of the payload.
    OfPayload(Query),
    /// Selected of `current` and of `previous`, whichever the path names; with the text.
    OfItem(Box<str>, Query),
}

impl Redaction {
    /// Nothing is taken out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its paths, as they were written.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|nodes| match nodes {
            Nodes::OfPayload(query) => query.as_str(),
            Nodes::OfItem(text, _) => text,
        })
    }

    /// Adds a path (RFC 9535) over the payload.
    ///
    /// # Errors
    /// [`PathError`], also for paths that select nothing of any payload, or all of it.
    pub fn add(&mut self, path: &str) -> Result<(), PathError> {
        let query = Query::parse(path)?;
        let rest = &path[1..];
        let nodes = match member(rest) {
            None if rest.trim().is_empty() => {
                return Err(PathError::at(0, "`$` would leave nothing"));
            }
            None => Nodes::OfPayload(query),
            Some(("data", rest)) => nodes_of_data(query, rest)?,
            Some((name @ ("type" | "timestamp"), _)) => {
                let message = format!("every payload has its `{name}`");
                return Err(PathError::at(1, message));
            }
            Some((name, _)) => {
                let message = format!(
                    "a payload has `type`, `timestamp` and `data`, not `{}`: write \
                     `$.data.current.…`",
                    name.escape_debug()
                );
                return Err(PathError::at(1, message));
            }
        };
        self.0.push(nodes);
        Ok(())
    }

    /// Takes its nodes out of `data`.
    pub(super) fn apply(&self, data: &mut Data) {
        let [current, previous] = ITEMS.map(|name| data.get(name).map(value));
        // The payload's own words are there for paths that begin with a wildcard.
        let payload = json!({"type": "", "timestamp": "", "data": data.value()});
        let (mut cut, mut of_patch) = (Cut::default(), Cut::default());
        for nodes in &self.0 {
            match nodes {
                Nodes::OfPayload(query) => {
                    for steps in query.locate(&payload) {
                        add(&steps, &mut cut, &mut of_patch);
                    }
                }
                Nodes::OfItem(_, query) => {
                    for (name, item) in ITEMS.iter().zip([&current, &previous]) {
                        for steps in item.iter().flat_map(|item| query.locate(item)) {
                            let to_item = [Step::Name("data".into()), Step::Name((*name).into())];
                            let steps = [&to_item[..], &steps].concat();
                            add(&steps, &mut cut, &mut of_patch);
                        }
                    }
                }
            }
        }
        data.cut(&cut);
        if of_patch.here {
            data.remove("patch");
        } else if !of_patch.is_empty()
            && let Some(patch) = data.get("patch")
        {
            let patch = patched(patch, &of_patch);
            data.set("patch", patch);
        }
    }
}

/// The members of `data` that are forms of the item.
const ITEMS: [&str; 2] = ["current", "previous"];

/// What the rest of a path behind `$.data` means.
fn nodes_of_data(query: Query, rest: &str) -> Result<Nodes, PathError> {
    let position = query.as_str().len() - rest.len();
    if rest.trim().is_empty() {
        let message = "would leave nothing: name members, like `$.data.current.email`";
        return Err(PathError::at(position, message));
    }
    match member(rest) {
        Some((name, rest)) if ITEMS.contains(&name) => {
            let of_item = Query::parse(&format!("${rest}"))?;
            Ok(Nodes::OfItem(query.as_str().into(), of_item))
        }
        Some((name, _)) if !DATA.contains(&name) => {
            let message = format!(
                "`data` has no `{}`, but {}",
                name.escape_debug(),
                DATA.map(|name| format!("`{name}`")).join(", ")
            );
            Err(PathError::at(position, message))
        }
        _ => Ok(Nodes::OfPayload(query)),
    }
}

/// Notes a node of the payload. Its own members `type`, `timestamp` and `data` always stay.
fn add(steps: &[Step], cut: &mut Cut, of_patch: &mut Cut) {
    let Some((first, rest)) = steps.split_first() else {
        return;
    };
    let is_data = *first == Step::Name("data".into());
    let Some(Step::Name(name)) = rest.first().filter(|_| is_data) else {
        return;
    };
    cut.add(rest);
    if ITEMS.contains(&&**name) {
        // An index in the patch counts between two forms whose lists may be in another order.
        of_patch.add_anywhere(&rest[1..]);
    }
}

/// A patch without what `cut` names of the item.
fn patched(patch: &str, cut: &Cut) -> String {
    let Ok(operations) = serde_json::from_str::<Vec<&RawValue>>(patch) else {
        return patch.to_owned();
    };
    let kept = operations.into_iter().filter_map(|operation| {
        let text = operation.get();
        let read = value(text);
        match touched(read["path"].as_str().unwrap_or_default(), cut) {
            None => Some(text.to_owned()),
            Some(cut) if cut.here => None,
            Some(cut) => Some(member_without(text, "value", cut)),
        }
    });
    format!("[{}]", kept.collect::<Vec<_>>().join(","))
}

/// What of the value at `pointer` (RFC 6901) is to be taken out: all of it where it is, or is
/// inside, what `cut` names.
fn touched<'a>(pointer: &str, cut: &'a Cut) -> Option<&'a Cut> {
    let mut at = cut;
    for token in pointer.split('/').skip(1) {
        if at.here {
            return Some(at);
        }
        at = at.toward(&token.replace("~1", "/").replace("~0", "~"))?;
    }
    Some(at)
}
