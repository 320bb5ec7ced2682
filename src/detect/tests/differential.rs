//! The form that streams is the form that a tree would give, whatever the spelling and the rules.

use proptest::prelude::*;

use super::super::{Fields, Rules};
use super::reference::{self, Model, NAMES, models};
use super::{document, form, ignoring, items, paths, walk};

/// Paths as a configuration might hold them, most of them streaming.
fn path_texts() -> impl Strategy<Value = String> {
    let name = || prop::sample::select(&NAMES[..]).prop_map(|name| format!("['{name}']"));
    let segment = || {
        prop_oneof![
            6 => name(),
            2 => Just("[*]".to_owned()),
            1 => (0..3_usize).prop_map(|index| format!("[{index}]")),
        ]
    };
    let streaming = prop::collection::vec(segment(), 1..4).prop_map(|s| format!("${}", s.concat()));
    let loose = (
        name(),
        prop::sample::select(vec!["..a", "..[*]", "[?@.a]", "[?@ > 0]", "[1:]", "[-1]"]),
    );
    prop_oneof![
        8 => streaming,
        1 => loose.prop_map(|(name, tail)| format!("${name}{tail}")),
        1 => Just("$".to_owned()),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    let some_paths = || prop::collection::vec(path_texts(), 0..4);
    (any::<bool>(), some_paths(), some_paths()).prop_map(|(ignores, listed, unordered)| {
        let all = |texts: &[String]| paths(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        Rules {
            fields: if ignores {
                Fields::Ignore(all(&listed))
            } else {
                Fields::Only(all(&listed))
            },
            unordered: all(&unordered),
            ..Rules::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_form_that_streams_is_that_of_a_tree(model in models(), seed: u64) {
        let text = model.spelling(seed);
        prop_assert_eq!(form(&text, &document()).unwrap(), reference::form(&text, &document()));
    }

    #[test]
    fn projections_that_stream_are_those_of_a_tree(
        model in models(), seed: u64, rules in rules(),
    ) {
        let text = model.spelling(seed);
        prop_assert_eq!(form(&text, &rules).unwrap(), reference::form(&text, &rules));
    }

    #[test]
    fn respelling_is_no_change(model in models(), seeds: (u64, u64), rules in rules()) {
        let one = walk(&model.spelling(seeds.0), &rules).unwrap();
        let other = walk(&model.spelling(seeds.1), &rules).unwrap();
        prop_assert_eq!(one.digest, other.digest);
        prop_assert_eq!(one.entries[0].digest, other.entries[0].digest);
    }

    #[test]
    fn any_changed_leaf_is_a_change(
        model in models(), leaf: prop::sample::Index, seeds: (u64, u64),
    ) {
        let changed = model.with_leaf_changed(&mut leaf.index(model.leaves()));
        let before = walk(&model.spelling(seeds.0), &document()).unwrap();
        let after = walk(&changed.spelling(seeds.1), &document()).unwrap();
        prop_assert_ne!(before.digest, after.digest);
        prop_assert_ne!(before.entries[0].digest, after.entries[0].digest);
    }

    #[test]
    fn a_changed_leaf_counts_unless_it_is_ignored(
        model in models(), leaf: prop::sample::Index, ignored: bool,
    ) {
        let wrap = |inner: Model| {
            let members = [("kept".to_owned(), Model::Null), ("item".to_owned(), inner)];
            Model::Object(members.into())
        };
        let rules = if ignored { ignoring(&["$.item"]) } else { ignoring(&["$.kept"]) };
        let changed = model.with_leaf_changed(&mut leaf.index(model.leaves()));
        let before = walk(&wrap(model).spelling(1), &rules).unwrap();
        let after = walk(&wrap(changed).spelling(2), &rules).unwrap();
        prop_assert_eq!(before.digest == after.digest, ignored);
    }

    #[test]
    fn items_found_by_streaming_are_those_found_in_a_tree(
        models in prop::collection::vec(models(), 0..6), seed: u64,
    ) {
        let member = |(index, model): (usize, Model)| {
            let id = ("id".to_owned(), Model::Unsigned(index as u64));
            Model::Object([id, ("a".to_owned(), model)].into())
        };
        let list = Model::List(models.into_iter().enumerate().map(member).collect());
        let text = Model::Object([("a".to_owned(), list)].into()).spelling(seed);
        let streamed = walk(&text, &items("$.a[*]", &["$.id"])).unwrap();
        let selected = walk(&text, &items("$['a','none'][:]", &["$['id','none']"])).unwrap();
        prop_assert_eq!(streamed.digest, selected.digest);
        prop_assert_eq!(&streamed.entries, &selected.entries);
        for entry in &streamed.entries {
            let item = &text[entry.range.clone()];
            prop_assert_eq!(entry.digest, walk(item, &document()).unwrap().entries[0].digest);
        }
    }

    #[test]
    fn what_serde_json_refuses_is_refused_and_nothing_panics(
        model in models(), seed: u64, rules in rules(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut: prop::sample::Index,
    ) {
        let mut bytes = model.spelling(seed).into_bytes();
        for (index, byte) in &edits {
            let at = index.index(bytes.len());
            bytes[at] = *byte;
        }
        if edits.len() == 2 {
            bytes.truncate(cut.index(bytes.len()));
        }
        let expected = serde_json::from_slice::<serde_json::Value>(&bytes);
        // A number beyond all doubles is one all the same.
        let is_out_of_range = |error: &serde_json::Error| error.to_string().contains("range");
        let is_out_of_range = expected.as_ref().is_err_and(is_out_of_range);
        let ours = super::read(&bytes, &rules, super::ITEMS_MAX);
        prop_assert!(
            ours.is_ok() == expected.is_ok() || is_out_of_range,
            "{ours:?} {expected:?}"
        );
    }
}
