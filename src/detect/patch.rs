//! The RFC 6902 patch between two forms of an item.
//!
//! Decides when a patch tells a receiver more than the item itself. Leaves what counts to
//! [`super::form`].

use serde_json::Value;
use serde_json::value::RawValue;

use super::Rules;
use super::cursor::Cursor;
use super::form::{Spelling, Writer};
use super::rules::Selection;
use super::tree::Tree;

/// Most operations of a patch; a longer one tells a receiver less than the item itself.
pub const PATCH_OPERATIONS_MAX: usize = 1_000;

/// The RFC 6902 patch between the projections of two forms of an item, unordered lists in the
/// previous one's order; `None` when it would have more than [`PATCH_OPERATIONS_MAX`] operations
/// or either side is no JSON.
///
/// Also `None` when either side holds an integer beyond 64 bits or a number beyond all doubles:
/// no patch is better than one with wrong digits. In an unordered list a new element takes the
/// place of one that is gone, so that exchanging one is one operation.
#[must_use]
pub fn patch(previous: &str, current: &str, rules: &Rules) -> Option<Box<RawValue>> {
    let (before, after) = projections(previous, current, rules)?;
    count(&before, &after, PATCH_OPERATIONS_MAX)?;
    let patch = json_patch::diff(&before, &after);
    serde_json::value::to_raw_value(&patch).ok()
}

/// What counts of two forms of an item, unordered lists in the previous one's order; `None` when
/// either side is no JSON, or holds a number that no [`Value`] does.
#[must_use]
pub fn projections(previous: &str, current: &str, rules: &Rules) -> Option<(Value, Value)> {
    let before = projection(previous, rules)?;
    let mut after = projection(current, rules)?;
    after.align(&before);
    Some((before.into_value(), after.into_value()))
}

/// What counts of an item.
fn projection(item: &str, rules: &Rules) -> Option<Tree> {
    let mut cursor = Cursor::checked(item).ok()?;
    let selection = Selection::new(rules, &[]);
    let plan = selection.plan_for(item.as_bytes()).ok()?;
    let mut writer = Writer::new(Spelling::Marked);
    writer.write(&mut cursor, &plan).ok()?;
    let tree = Tree::read(&mut Cursor::over(writer.form())).ok()?;
    tree.is_exact().then_some(tree)
}

/// What is left of `budget` after the operations that [`json_patch::diff`] would make; `None` if
/// they are more. Asked first, because that one makes all of them, however many.
fn count(before: &Value, after: &Value, mut budget: usize) -> Option<usize> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (name, after) in after {
                budget = match before.get(name) {
                    Some(before) => count(before, after, budget)?,
                    None => budget.checked_sub(1)?,
                };
            }
            let gone = before.keys().filter(|name| !after.contains_key(*name));
            budget.checked_sub(gone.count())
        }
        (Value::Array(before), Value::Array(after)) => {
            for (before, after) in before.iter().zip(after) {
                budget = count(before, after, budget)?;
            }
            budget.checked_sub(before.len().abs_diff(after.len()))
        }
        _ => budget.checked_sub(usize::from(before != after)),
    }
}
