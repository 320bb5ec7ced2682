//! Differences and patches: applied to what was, they give what is.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Entry, Known, PATCH_OPERATIONS_MAX, Rules, diff, patch};
use super::reference::models;
use super::{document, form, ignoring, only, paths};
use crate::digest::Digest;

type Items = BTreeMap<u8, u8>;

fn known(items: &Items) -> Vec<Known> {
    let known = items.iter().map(|(id, digest)| Known {
        subject: format!("{id:03}").into(),
        digest: Digest::from_bytes([*digest; 16]),
    });
    known.collect()
}

fn entries(items: &Items) -> Vec<Entry> {
    let entries = known(items).into_iter().map(|known| Entry {
        subject: known.subject,
        digest: known.digest,
        page: 0,
        range: 0..0,
        is_gone: false,
    });
    entries.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn differences_applied_to_the_snapshot_give_the_walk(
        before in prop::collection::btree_map(0..30_u8, 0..3_u8, 0..20),
        after in prop::collection::btree_map(0..30_u8, 0..3_u8, 0..20),
    ) {
        let (before, after) = (known(&before), entries(&after));
        let differences = diff(&before, &after);
        let mut state: BTreeMap<&str, Digest> =
            before.iter().map(|known| (&*known.subject, known.digest)).collect();
        for &gone in &differences.missing {
            prop_assert!(state.remove(&*before[gone].subject).is_some());
        }
        for &(old, new) in &differences.updated {
            prop_assert_eq!(&before[old].subject, &after[new].subject);
            let digest = after[new].digest;
            prop_assert_ne!(state.insert(&after[new].subject, digest), Some(digest));
        }
        for &new in &differences.created {
            prop_assert!(state.insert(&after[new].subject, after[new].digest).is_none());
        }
        let wanted: BTreeMap<&str, Digest> =
            after.iter().map(|entry| (&*entry.subject, entry.digest)).collect();
        prop_assert_eq!(state, wanted);
        prop_assert!(differences.missing.is_sorted() && differences.created.is_sorted());
        prop_assert!(differences.updated.is_sorted());
    }

    #[test]
    fn a_patch_turns_what_counted_into_what_counts(
        before in models(), after in models(), seeds: (u64, u64), keeps: bool,
    ) {
        // Each side half of the other, so that much is common.
        let (before, after) = (before.spelling(seeds.0), after.spelling(seeds.1));
        let previous = format!(r#"{{"a":[{before},{after},{after}],"b":{{"c":{before}}}}}"#);
        let current = format!(r#"{{"b":{{"c":{after}}},"a":[{after},1,{before}]}}"#);
        let rules = Rules {
            unordered: paths(&["$.a", "$.b.*", "$.a[*].a"]),
            ..if keeps { ignoring(&["$.b.c.a", "$..b[0]"]) } else { only(&["$.a", "$..c", "$.b"]) }
        };
        // The patch is between projections without their order; so is this.
        let projected = |text: &str| {
            let all = Rules { unordered: Vec::new(), ..rules.clone() };
            serde_json::from_str::<Value>(&form(text, &all).unwrap()).unwrap()
        };
        let patched = |current: &str| {
            let patch = patch(&previous, current, &rules).unwrap();
            let patch: json_patch::Patch = serde_json::from_str(patch.get()).unwrap();
            let mut value = projected(&previous);
            json_patch::patch(&mut value, &patch).unwrap();
            value.to_string()
        };
        let unordered = Rules { unordered: rules.unordered.clone(), ..document() };
        let canonical = |text: &str| form(text, &unordered).unwrap();
        let wanted = projected(&current).to_string();
        prop_assert_eq!(canonical(&patched(&current)), canonical(&wanted));
        prop_assert_eq!(patched(&previous), projected(&previous).to_string());
    }
}

fn operations(previous: &str, current: &str, rules: &Rules) -> Value {
    let patch = patch(previous, current, rules).unwrap();
    serde_json::from_str(patch.get()).unwrap()
}

#[test]
fn a_patch_tells_of_what_counts_alone() {
    let previous = r#"{"id": 1, "state": "open", "score": 7, "price": 1.0}"#;
    let current = r#"{"score": 8, "state": "closed", "id": 1, "price": 1}"#;
    let state = json!([{"op": "replace", "path": "/state", "value": "closed"}]);
    assert_eq!(
        operations(previous, current, &ignoring(&["$.score"])),
        state
    );
    assert_eq!(operations(previous, current, &only(&["$.state"])), state);
    assert_eq!(operations(previous, current, &only(&["$.id"])), json!([]));
}

#[test]
fn a_patch_leaves_unordered_lists_in_their_previous_order() {
    let rules = Rules {
        unordered: paths(&["$.labels", "$.labels[*].of"]),
        ..document()
    };
    let list = |labels: Value| json!({"labels": labels}).to_string();
    let previous = list(json!(["bug", "p1", "ui", {"of": [1, 2]}]));
    let shuffled = list(json!([{"of": [2, 1]}, "ui", "bug", "p1"]));
    assert_eq!(operations(&previous, &shuffled, &rules), json!([]));

    let exchanged = list(json!(["ui", {"of": [2, 1]}, "feature", "p1"]));
    let exchange = json!([{"op": "replace", "path": "/labels/0", "value": "feature"}]);
    assert_eq!(operations(&previous, &exchanged, &rules), exchange);

    let added = list(json!(["new", "ui", {"of": [2, 1]}, "bug", "p1"]));
    let addition = json!([{"op": "add", "path": "/labels/4", "value": "new"}]);
    assert_eq!(operations(&previous, &added, &rules), addition);
}

#[test]
fn a_patch_that_would_be_long_or_wrong_is_none() {
    let list = |count: usize| serde_json::to_string(&vec![0; count]).unwrap();
    assert!(patch("[]", &list(PATCH_OPERATIONS_MAX), &document()).is_some());
    assert!(patch("[]", &list(PATCH_OPERATIONS_MAX + 1), &document()).is_none());
    for (previous, current) in [
        ("[18446744073709551616]", "[18446744073709551617]"),
        ("[1]", "[-9223372036854775809]"),
        ("[1]", "[1e400]"),
        ("[1]", "[1"),
        ("<html>", "[1]"),
    ] {
        assert!(patch(previous, current, &document()).is_none(), "{current}");
    }
}

#[test]
fn a_patch_keeps_numbers_as_they_came() {
    let operations = operations(
        r#"{"a": 1, "b": 1, "c": 1}"#,
        r#"{"a": 18446744073709551615, "b": 0.30000000000000004, "c": -9223372036854775808}"#,
        &document(),
    );
    let values: Vec<String> = operations
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["value"].to_string())
        .collect();
    assert_eq!(
        values,
        [
            "18446744073709551615",
            "0.30000000000000004",
            "-9223372036854775808"
        ]
    );
}
