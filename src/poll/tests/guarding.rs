//! Mass deletions: held whole, and confirmed by the next two polls.

use super::life::Life;
use super::*;

fn list(ids: std::ops::Range<u32>, value: &str) -> String {
    let items: Vec<String> = ids
        .map(|id| format!(r#"{{"id":{id},"v":"{value}"}}"#))
        .collect();
    format!("[{}]", items.join(","))
}

fn guarded() -> Life {
    let mut life = Life::new();
    life.poll(&list(0..40, "a"));
    life
}

#[test]
fn a_mass_deletion_is_held_whole_told_once_and_believed_with_the_third_poll() {
    let mut life = guarded();
    let other = list(30..50, "a");
    let first = life.poll(&other);
    assert!(first.is_held("guard"), "creations too: {first:?}");
    assert_eq!(first.announced, [Kind::SourceHeld]);
    assert!(
        life.fail(&Trouble::passing("timeout", "slow"))
            .announced
            .is_empty()
    );
    life.restart();
    let second = life.poll(&other);
    assert!(
        second.is_held("guard") && second.announced.is_empty(),
        "{second:?}"
    );
    let third = life.poll(&other);
    assert_eq!(third.rung.matches('-').count(), 30);
    assert_eq!(third.rung.matches('+').count(), 10);
}

#[test]
fn a_glitch_is_forgotten_with_the_next_whole_walk() {
    let mut life = guarded();
    for _ in 0..5 {
        let step = life.poll("[]");
        assert!(step.is_held("guard"), "{step:?}");
        assert_eq!(step.announced, [Kind::SourceHeld], "a new run each time");
        assert!(life.poll(&list(0..40, "a")).is_unchanged());
    }
}

/// A list that is busy elsewhere must not keep its deletions from being believed.
#[test]
fn what_changes_besides_does_not_matter() {
    let mut life = guarded();
    assert!(life.poll(&list(0..15, "b")).is_held("guard"));
    assert!(life.poll(&list(0..15, "c")).is_held("guard"));
    let step = life.poll(&list(0..15, "d"));
    assert_eq!(step.rung.matches('-').count(), 25);
    assert_eq!(step.rung.matches('~').count(), 15);
}

#[test]
fn lists_that_lack_now_these_now_those_items_are_never_believed() {
    let mut life = guarded();
    for round in 0..20 {
        let from = round % 7;
        let step = life.poll(&list(from..from + 10, "a"));
        assert!(step.is_held("guard"), "{round}: {step:?}");
    }
    assert!(life.poll(&list(0..40, "a")).is_unchanged());
}

#[test]
fn only_complete_walks_confirm() {
    let mut life = guarded();
    for body in ["[]", "[", "", "{}", "<html>", "[{}]"]
        .into_iter()
        .cycle()
        .take(5)
    {
        let step = life.poll(body);
        assert!(step.rung.is_empty(), "{body}: {step:?}");
    }
    assert!(life.poll(&list(0..40, "a")).is_unchanged());
}

/// A glitch of an empty list must not empty a snapshot that is being replaced: the next poll would
/// ring everything as created.
#[test]
fn a_replaced_snapshot_is_guarded_too() {
    let mut life = guarded();
    life.source.deletes = Deletes::Never;
    assert!(life.poll("[]").is_unchanged(), "nothing is deleted");
    life.source.request.path = config::Template::literal("/other");
    assert!(life.poll("[]").is_held("guard"));
    assert!(
        life.poll(&list(0..40, "b")).is_unchanged(),
        "a new baseline is silent"
    );
    assert_eq!(life.poll(&list(0..40, "c")).rung.matches('~').count(), 40);
}

/// Switching deletions on must not wait for the body to change.
#[test]
fn another_policy_looks_at_the_same_bytes_again() {
    let mut life = guarded();
    life.source.deletes = Deletes::Never;
    life.poll(&list(0..39, "a"));
    assert!(life.poll(&list(0..39, "a")).is_unchanged());
    life.source.deletes = Deletes::Full;
    assert_eq!(life.poll(&list(0..39, "a")).rung, "-39");
    assert!(life.poll(&list(0..39, "a")).is_unchanged());
}
