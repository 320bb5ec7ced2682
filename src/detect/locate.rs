//! Finds, in the text, what a path selects.
//!
//! Decides which shapes an `items` path with filters may meet. Of `items`, only paths that do not
//! stream come here; the others are followed by [`super::items`].

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

use super::cursor::Cursor;
use super::plan::{End, Listed, Plan, Step};
use super::tree::Tree;
use super::{Path, Unreadable};

/// Where the nodes stand that `path` selects of the value at `cursor`, in the text's order.
///
/// What stands before the first segment that does not stream must be there, and must be an array
/// where that segment selects elements. After it, nodes are taken as they are found: a filter
/// that matches nothing is no fault.
///
/// # Errors
/// [`Unreadable::Shape`], [`Unreadable::Json`], [`Unreadable::TooMany`].
pub(super) fn items(
    cursor: &Cursor<'_>,
    path: &Path,
    items_max: usize,
) -> Result<Vec<Range<usize>>, Unreadable> {
    let root = Tree::read(&mut cursor.clone())?.into_value();
    let (prefix, wants_array) = path.prefix();
    check(&root, prefix, wants_array)
        .map_err(|fault| Unreadable::Shape(format!("what `{path}` begins with {fault}")))?;

    let places = path.locate(&root);
    drop(root);
    if places.len() > items_max {
        return Err(Unreadable::TooMany(items_max));
    }
    let mut plan = Plan::new(Listed::Only, 0);
    for steps in &places {
        plan.add(steps, End::Listed);
    }
    let mut ranges = Vec::with_capacity(places.len());
    find(&mut cursor.clone(), &plan, Plan::ROOT, &mut ranges)?;
    ranges.sort_unstable_by_key(|range| (range.start, Reverse(range.end)));
    Ok(ranges)
}

/// The one value that `path` selects of a body, as it is spelled there; `None` when it is not
/// there, wherever the way to it ends.
///
/// # Errors
/// [`Unreadable::Json`]; [`Unreadable::Shape`] for several values.
pub fn pick(body: &[u8], path: &Path) -> Result<Option<String>, Unreadable> {
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let text = str::from_utf8(text).map_err(|error| Unreadable::Json(error.to_string()))?;
    let picked = pick_in(&mut Cursor::checked(text)?, path)?;
    Ok(picked.map(|picked| String::from_utf8_lossy(picked).into_owned()))
}

/// The same, of the value at `cursor`, which is known to be JSON.
pub(super) fn pick_in<'a>(
    cursor: &mut Cursor<'a>,
    path: &Path,
) -> Result<Option<&'a [u8]>, Unreadable> {
    let mut plan = Plan::new(Listed::Only, 0);
    if let Some(steps) = path.simple() {
        plan.add(steps, End::Listed);
    } else {
        let root = Tree::read(&mut cursor.clone())?.into_value();
        let places = path.locate(&root);
        if places.is_empty() {
            return Ok(None);
        }
        for steps in &places {
            plan.add(steps, End::Listed);
        }
    }
    let text = cursor.text();
    let mut ranges = Vec::new();
    find(cursor, &plan, Plan::ROOT, &mut ranges)?;
    match ranges.as_slice() {
        [] => Ok(None),
        [range] => Ok(Some(&text[range.clone()])),
        several => {
            let message = format!("`{path}` selects {} values, not one", several.len());
            Err(Unreadable::Shape(message))
        }
    }
}

/// Follows steps as strictly as [`super::items`] does: each must lead somewhere.
fn check(value: &Value, steps: &[Step], wants_array: bool) -> Result<(), &'static str> {
    let Some((step, rest)) = steps.split_first() else {
        let is_fit = !wants_array || value.is_array();
        return is_fit.then_some(()).ok_or("is no array");
    };
    match (step, value) {
        (Step::Member(_), Value::Object(members)) => {
            let of_name = |(name, _): &(&String, _)| Step::member(name) == *step;
            let member = members.iter().find(of_name).ok_or("is missing")?;
            check(member.1, rest, wants_array)
        }
        (Step::Index(index), Value::Array(elements)) => {
            check(elements.get(*index).ok_or("is missing")?, rest, wants_array)
        }
        (Step::Each, Value::Array(elements)) => elements
            .iter()
            .try_for_each(|element| check(element, rest, wants_array)),
        (Step::Member(_), _) => Err("is missing"),
        (Step::Index(_) | Step::Each, _) => Err("is no array"),
    }
}

/// Collects the ranges of listed nodes. Goes over a text once for each level that leads on: of
/// members with one name, the last must be known before any is entered.
fn find(
    cursor: &mut Cursor<'_>,
    plan: &Plan,
    number: u32,
    ranges: &mut Vec<Range<usize>>,
) -> Result<(), Unreadable> {
    let node = plan.node(number);
    let start = cursor.start();
    match cursor.peek() {
        b'{' if node.has_children() => {
            let mut last = BTreeMap::new();
            let mut name = Vec::new();
            cursor.open()?;
            while cursor.more(b'}')? {
                name.clear();
                cursor.key()?.spell(&mut name)?;
                if let Some(child) = node.member(&name[1..name.len() - 1]) {
                    last.insert(child, cursor.clone());
                }
                cursor.skip()?;
            }
            for (child, mut cursor) in last {
                find(&mut cursor, plan, child, ranges)?;
            }
        }
        b'[' if node.has_children() => {
            let mut index = 0;
            cursor.open()?;
            while cursor.more(b']')? {
                match node.element(index) {
                    Some(child) => find(cursor, plan, child, ranges)?,
                    None => cursor.skip()?,
                }
                index += 1;
            }
        }
        _ => cursor.skip()?,
    }
    if node.is_listed {
        ranges.push(start..cursor.end());
    }
    Ok(())
}
