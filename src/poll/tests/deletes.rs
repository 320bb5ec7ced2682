//! What leaves a snapshot, and who hears of it.

use super::*;
use crate::detect::{self, Filter};

fn burying() -> config::Source {
    let mut source = source();
    source.deletes = Deletes::Tombstone;
    let rules = Arc::make_mut(&mut source.rules);
    rules.tombstone = Some(Filter::parse("$[?@.gone == true]").expect("a filter"));
    source
}

fn read(source: &config::Source, text: &str) -> Walk {
    detect::read(text.as_bytes(), &source.rules, 1_000).expect("a walk")
}

/// The items that a walk leaves in a snapshot.
fn left(walk: &Walk) -> Vec<Known> {
    let entries = walk.entries.iter().filter(|entry| !entry.is_gone);
    entries
        .map(|entry| Known {
            subject: entry.subject.clone(),
            digest: entry.digest,
        })
        .collect()
}

/// What `text` makes of a snapshot of `before`: kinds by subject.
fn told(source: &config::Source, before: &str, text: &str) -> Vec<(Kind, String)> {
    let (before, walk) = (read(source, before), read(source, text));
    let basis = Basis::Snapshot(left(&before));
    let differences = match plan::judge(source, &basis, &walk, None) {
        plan::Judgement::Same => return Vec::new(),
        plan::Judgement::Differs(differences) => differences,
        plan::Judgement::Held(held) => panic!("{held:?}"),
    };
    let changes = plan::changes(Draw {
        source,
        basis: &basis,
        walk: &walk,
        body: text.as_bytes(),
        differences: &differences,
        stored: &HashMap::new(),
    });
    let changes = changes.expect("the body is text");
    assert_eq!(changes.items_after, expected_items(&basis, &walk));
    let told = changes.items.into_iter().map(|item| {
        let event = item.event.expect("it rings");
        assert_eq!(event.kind == Kind::Deleted, item.now.is_none());
        (event.kind, item.subject.into())
    });
    told.collect()
}

/// Subjects known before or alive in the walk, less those that it buries.
fn expected_items(basis: &Basis, walk: &Walk) -> u64 {
    let mut subjects: std::collections::BTreeSet<&str> =
        basis.known().iter().map(|item| &*item.subject).collect();
    for entry in &walk.entries {
        if entry.is_gone {
            subjects.remove(&*entry.subject);
        } else {
            subjects.insert(&entry.subject);
        }
    }
    subjects.len() as u64
}

#[test]
fn an_item_that_says_that_it_is_gone_was_deleted_and_a_missing_one_was_not() {
    let source = burying();
    let two = r#"[{"id":1},{"id":2}]"#;
    let deleted = |id: &str| (Kind::Deleted, id.to_owned());
    for (before, after, expected) in [
        (
            two,
            r#"[{"id":1,"gone":true},{"id":2}]"#,
            vec![deleted("1")],
        ),
        (two, r#"[{"id":1,"gone":true}]"#, vec![deleted("1")]),
        (two, "[]", vec![]),
        // A tombstone that nobody knew alive rings nothing.
        (two, r#"[{"id":1},{"id":2},{"id":3,"gone":true}]"#, vec![]),
        // Told once: the snapshot holds it no more.
        (
            r#"[{"id":1,"gone":true},{"id":2}]"#,
            r#"[{"id":1,"gone":true,"x":5}]"#,
            vec![],
        ),
        (
            r#"[{"id":1,"gone":true}]"#,
            r#"[{"id":1,"gone":false}]"#,
            vec![(Kind::Created, "1".to_owned())],
        ),
        (
            two,
            r#"[{"id":2,"gone":"true"}]"#,
            vec![(Kind::Updated, "2".to_owned())],
        ),
        // Of two items with one id the last counts, dead or alive.
        (two, r#"[{"id":2,"gone":true},{"id":2}]"#, vec![]),
        (
            two,
            r#"[{"id":2},{"id":2,"gone":true}]"#,
            vec![deleted("2")],
        ),
    ] {
        assert_eq!(
            told(&source, before, after),
            expected,
            "{before} then {after}"
        );
    }
}

#[test]
fn tombstones_are_looked_for_in_all_of_an_item_also_in_what_does_not_count() {
    let mut source = burying();
    let path = Path::parse("$.gone").expect("a path");
    Arc::make_mut(&mut source.rules).fields = crate::detect::Fields::Ignore(vec![path]);
    let deleted = vec![(Kind::Deleted, "1".to_owned())];
    assert_eq!(
        told(&source, r#"[{"id":1}]"#, r#"[{"id":1,"gone":true}]"#),
        deleted
    );
    let alive = read(&source, r#"[{"id":1,"gone":false}]"#);
    let gone = read(&source, r#"[{"id":1,"gone":true}]"#);
    assert_eq!(alive.entries[0].digest, gone.entries[0].digest);
    assert_ne!(
        alive.digest, gone.digest,
        "they would make different snapshots"
    );
}

#[test]
fn many_tombstones_at_once_are_doubted_as_many_missing_items_are() {
    let source = burying();
    let list = |gone: bool| {
        let items: Vec<String> = (0..40)
            .map(|id| format!(r#"{{"id":{id},"gone":{gone}}}"#))
            .collect();
        format!("[{}]", items.join(","))
    };
    let basis = Basis::Snapshot(left(&read(&source, &list(false))));
    let judged = plan::judge(&source, &basis, &read(&source, &list(true)), None);
    assert!(matches!(judged, plan::Judgement::Held(_)), "{judged:?}");
}

#[test]
fn a_baseline_holds_what_lives() {
    let mut source = burying();
    source.baseline = Baseline::Emit;
    let text = r#"[{"id":1,"gone":true},{"id":2}]"#;
    let walk = read(&source, text);
    let differences = detect::diff(&[], &walk.entries);
    let changes = plan::changes(Draw {
        source: &source,
        basis: &Basis::First,
        walk: &walk,
        body: text.as_bytes(),
        differences: &differences,
        stored: &HashMap::new(),
    });
    let changes = changes.expect("the body is text");
    assert_eq!(shape(&changes), [("2", true, Some(Kind::Created))]);
    assert_eq!(changes.items_after, 1);
}
