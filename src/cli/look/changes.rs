//! Would-be events as a diff.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cli::paint::{Paint, clipped};
use crate::event::Kind;
use crate::poll::Would;

/// Up to so many events are all shown; of more, so many of each kind.
const EVENTS_MAX: usize = 20;
const EVENTS_OF_A_KIND_MAX: usize = 6;

/// Most changes of one item that are shown, and widest path that the others line up with.
const OPERATIONS_MAX: usize = 8;
const PATH_WIDTH_MAX: usize = 32;

/// Most characters of an item, and of one side of a change.
const ITEM_CHARACTERS: usize = 100;
const VALUE_CHARACTERS: usize = 60;

/// The events of `source`, all or the first of each kind.
pub(super) fn lines(source: &str, events: &[Would], all: bool, paint: Paint) -> Vec<String> {
    let is_short = all || events.len() <= EVENTS_MAX;
    let of_kind = if is_short {
        usize::MAX
    } else {
        EVENTS_OF_A_KIND_MAX
    };
    let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
    for event in events {
        *counts.entry(event.kind).or_default() += 1;
    }
    let mut lines = Vec::new();
    let mut shown: BTreeMap<Kind, usize> = BTreeMap::new();
    for event in events {
        let number = shown.entry(event.kind).or_default();
        *number += 1;
        if *number <= of_kind {
            lines.extend(event_lines(source, event, paint));
        } else if *number == of_kind + 1 {
            let more = counts[&event.kind] - of_kind;
            let event_type = event.kind.event_type(source);
            let text = format!("… and {more} more {event_type}, `--all` shows them");
            lines.push(format!("  {}", paint.faint(text)));
        }
    }
    lines
}

/// `1 deleted, 2 updated`.
pub(super) fn counts(events: &[Would]) -> String {
    let count = |kind| events.iter().filter(|event| event.kind == kind).count();
    let kinds = [Kind::Deleted, Kind::Updated, Kind::Created, Kind::Changed];
    let counts = kinds.map(|kind| (count(kind), kind.suffix()));
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let texts: Vec<String> = counts.map(|(n, suffix)| format!("{n} {suffix}")).collect();
    texts.join(", ")
}

fn event_lines(source: &str, event: &Would, paint: Paint) -> Vec<String> {
    let event_type = event.kind.event_type(source);
    let subject = paint.strong(clipped(&event.subject, VALUE_CHARACTERS));
    let head = |sign: &str, painted: String| format!("  {sign} {painted} {subject}");
    let whole = |member: &str| {
        let body = event.data.get(member)?;
        Some(clipped(&body.to_string(), ITEM_CHARACTERS))
    };
    let (head, body) = match event.kind {
        Kind::Created => (
            head(&paint.good("+"), paint.good(event_type)),
            whole("current").map(|text| vec![paint.good(text)]),
        ),
        Kind::Deleted => (
            head(&paint.bad("-"), paint.bad(event_type)),
            whole("previous").map(|text| vec![paint.bad(text)]),
        ),
        _ => (
            head(&paint.fresh("~"), paint.fresh(event_type)),
            operations(&event.data, paint).or_else(|| {
                let text = whole("current")?;
                Some(vec![paint.fresh(text)])
            }),
        ),
    };
    let body = body.unwrap_or_default().into_iter();
    let body = body.map(|line| format!("      {line}"));
    std::iter::once(head).chain(body).collect()
}

/// One line for each operation of a patch, previous → current.
fn operations(data: &Value, paint: Paint) -> Option<Vec<String>> {
    let operations = data.get("patch")?.as_array()?;
    // Each operation speaks of what those before it left.
    let mut state = data.get("previous").cloned().unwrap_or_default();
    let mut sides = Vec::new();
    for operation in operations {
        let path = operation["path"].as_str().unwrap_or_default();
        let before = state.pointer(path).cloned();
        let before = before.filter(|_| operation["op"] != "add");
        let after = operation.get("value").cloned();
        sides.push((clipped(path, VALUE_CHARACTERS), before, after));
        if let Ok(step) = serde_json::from_value::<json_patch::PatchOperation>(operation.clone()) {
            // What the patch leaves out of account may lie elsewhere: then it is shown as it is.
            let _ = json_patch::patch(&mut state, &[step]);
        }
    }
    let shown = &sides[..sides.len().min(OPERATIONS_MAX)];
    let widths = shown.iter().map(|(path, ..)| path.chars().count());
    let width = widths.max().unwrap_or(0).min(PATH_WIDTH_MAX);
    let value = |value: &Value| clipped(&value.to_string(), VALUE_CHARACTERS);
    let line = |(path, before, after): &(String, Option<Value>, Option<Value>)| {
        let change = match (before, after) {
            (Some(before), Some(after)) => {
                let (before, after) = (paint.bad(value(before)), paint.good(value(after)));
                format!("{before} → {after}")
            }
            (None, Some(after)) => paint.good(format!("+ {}", value(after))),
            (Some(before), None) => paint.bad(format!("- {}", value(before))),
            (None, None) => paint.bad("-"),
        };
        format!("{path:width$}  {change}")
    };
    let mut lines: Vec<String> = shown.iter().map(line).collect();
    if sides.len() > OPERATIONS_MAX {
        let more = sides.len() - OPERATIONS_MAX;
        lines.push(paint.faint(format!("… and {more} more changes")));
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn updated(subject: &str, previous: &Value, patch: &Value) -> Would {
        Would {
            kind: Kind::Updated,
            subject: subject.into(),
            data: json!({"previous": previous, "patch": patch}),
        }
    }

    fn created(number: usize) -> Would {
        Would {
            kind: Kind::Created,
            subject: number.to_string().into(),
            data: json!({"current": {"id": number}}),
        }
    }

    #[test]
    fn a_change_is_shown_before_and_after_also_where_elements_move() {
        let previous = json!({"state": "open", "labels": ["a", "b", "c"], "gone": 1});
        let patch = json!([
            {"op": "remove", "path": "/gone"},
            {"op": "remove", "path": "/labels/0"},
            {"op": "replace", "path": "/labels/0", "value": "B"},
            {"op": "replace", "path": "/state", "value": "closed"},
            {"op": "add", "path": "/new", "value": {"x": 1}},
        ]);
        let events = [updated("42", &previous, &patch)];
        let shown = lines("issues", &events, false, Paint::plain());
        assert_eq!(
            shown,
            [
                "  ~ issues.updated 42",
                "      /gone      - 1",
                "      /labels/0  - \"a\"",
                "      /labels/0  \"b\" → \"B\"",
                "      /state     \"open\" → \"closed\"",
                "      /new       + {\"x\":1}",
            ]
        );
        let coloured = lines("issues", &events, false, Paint::bright()).join("\n");
        assert!(
            coloured.contains("\u{1b}[31m\"open\"\u{1b}[0m"),
            "{coloured}"
        );
        assert!(
            coloured.contains("\u{1b}[32m\"closed\"\u{1b}[0m"),
            "{coloured}"
        );
    }

    #[test]
    fn many_events_are_shown_in_part_and_counted_whole() {
        let mut events: Vec<Would> = (0..100).map(created).collect();
        events.insert(0, updated("7", &json!({"a": 1}), &json!([])));
        let shown = lines("issues", &events, false, Paint::plain());
        let heads = |shown: &[String]| shown.iter().filter(|l| l.starts_with("  + ")).count();
        assert_eq!(heads(&shown), EVENTS_OF_A_KIND_MAX);
        assert!(
            shown
                .iter()
                .any(|line| line.contains("and 94 more issues.created"))
        );
        assert!(shown[0].contains("issues.updated 7"));
        assert_eq!(heads(&lines("issues", &events, true, Paint::plain())), 100);
        assert_eq!(
            heads(&lines("issues", &events[1..21], false, Paint::plain())),
            20
        );
        assert_eq!(counts(&events), "1 updated, 100 created");
    }

    #[test]
    fn long_items_and_patches_are_clipped_and_strangers_move_no_cursor() {
        let evil = "a\u{1b}[31m".repeat(100);
        let operations =
            (0..30).map(|n| json!({"op": "add", "path": format!("/{evil}{n}"), "value": evil}));
        let patch = Value::Array(operations.collect());
        let event = updated(&evil, &json!({}), &patch);
        let shown = lines("issues", &[event, created(1)], false, Paint::plain());
        assert_eq!(shown.len(), 1 + OPERATIONS_MAX + 1 + 2);
        for line in &shown {
            assert!(line.chars().count() < 160, "{line}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }
}
