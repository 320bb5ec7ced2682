//! What leaves a snapshot by its tombstone, and who hears of it.

use super::life::Life;
use super::*;
use crate::detect::Filter;

/// A life of a source whose items say when they are gone.
fn burying() -> Life {
    let mut life = Life::new();
    life.source.deletes = Deletes::Tombstone;
    let rules = Arc::make_mut(&mut life.source.rules);
    rules.tombstone = Some(Filter::parse("$[?@.gone == true]").expect("a filter"));
    life
}

#[test]
fn an_item_that_says_that_it_is_gone_was_deleted_and_a_missing_one_was_not() {
    let two = r#"[{"id":1},{"id":2}]"#;
    for (before, after, expected) in [
        (two, r#"[{"id":1,"gone":true},{"id":2}]"#, "-1"),
        (two, r#"[{"id":1,"gone":true}]"#, "-1"),
        (two, "[]", ""),
        // A tombstone that nobody knew alive rings nothing.
        (two, r#"[{"id":1},{"id":2},{"id":3,"gone":true}]"#, ""),
        // Told once: the snapshot holds it no more.
        (
            r#"[{"id":1,"gone":true}]"#,
            r#"[{"id":1,"gone":true,"x":5}]"#,
            "",
        ),
        (
            r#"[{"id":1,"gone":true}]"#,
            r#"[{"id":1,"gone":false}]"#,
            "+1",
        ),
        (two, r#"[{"id":2,"gone":"true"}]"#, "~2"),
        // Of two items with one id the last counts, dead or alive.
        (two, r#"[{"id":2,"gone":true},{"id":2}]"#, ""),
        (two, r#"[{"id":2},{"id":2,"gone":true}]"#, "-2"),
    ] {
        let mut life = burying();
        life.poll(before);
        assert_eq!(life.poll(after).rung, expected, "{before} then {after}");
    }
}

#[test]
fn tombstones_are_looked_for_in_all_of_an_item_also_in_what_does_not_count() {
    let mut life = burying();
    let path = Path::parse("$.gone").expect("a path");
    Arc::make_mut(&mut life.source.rules).fields = detect::Fields::Ignore(vec![path]);
    life.poll(r#"[{"id":1,"gone":false}]"#);
    assert_eq!(life.poll(r#"[{"id":1,"gone":true}]"#).rung, "-1");
    assert_eq!(life.poll(r#"[{"id":1,"gone":false}]"#).rung, "+1");
}

#[test]
fn many_tombstones_at_once_are_doubted_as_many_missing_items_are() {
    let list = |gone: bool| {
        let item = |id| format!(r#"{{"id":{id},"gone":{gone}}}"#);
        let items: Vec<String> = (0..40).map(item).collect();
        format!("[{}]", items.join(","))
    };
    let mut life = burying();
    life.poll(&list(false));
    for _ in 0..2 {
        assert!(life.poll(&list(true)).is_held("guard"));
    }
    assert_eq!(life.poll(&list(true)).rung.split(' ').count(), 40);
}

#[test]
fn a_baseline_holds_what_lives() {
    let mut life = burying();
    life.source.baseline = Baseline::Emit;
    assert_eq!(life.poll(r#"[{"id":1,"gone":true},{"id":2}]"#).rung, "+2");
    assert_eq!(life.subjects(), ["2"]);
}
