//! Changes that must be seen in several fetches running.

use super::life::{Life, Step};
use super::*;
use crate::config::Confirm;

const AFTER: Duration = Duration::from_secs(2);

fn confirming(polls: u32) -> Life {
    let mut life = Life::new();
    life.source.confirm = Some(Confirm {
        polls,
        after: AFTER,
    });
    life
}

/// A list of items by id and value.
fn list(items: &[(u32, &str)]) -> String {
    let item = |(id, value): &(u32, &str)| format!(r#"{{"id":{id},"v":"{value}"}}"#);
    let items: Vec<String> = items.iter().map(item).collect();
    format!("[{}]", items.join(","))
}

/// Waits, with the next fetch to come after [`AFTER`].
fn waits(step: &Step) -> bool {
    step.is_held("confirm") && step.next == Some(2) && step.announced.is_empty()
}

#[test]
fn a_change_is_believed_when_the_next_fetch_sees_it_too() {
    let mut life = confirming(2);
    assert!(
        life.poll(&list(&[(1, "a"), (2, "a")])).is_unchanged(),
        "a silent baseline waits for nothing"
    );
    let new = list(&[(1, "b"), (3, "a")]);
    assert!(waits(&life.poll(&new)));
    let before = life.memory.clone();
    let step = life.poll(&new);
    assert_eq!(step.rung, "-2 ~1 +3");
    assert_eq!((step.outcome, step.next), (Outcome::Changed, None));
    assert!(conclude::must_write(&before, &life.memory));
    assert!(life.poll(&new).is_unchanged());
}

#[test]
fn what_goes_back_while_it_waits_was_no_change() {
    let mut life = confirming(2);
    let old = list(&[(1, "a"), (2, "a")]);
    life.poll(&old);
    for glitch in [
        "[]",
        &list(&[(1, "b"), (2, "a")]),
        &list(&[(1, "a"), (2, "a"), (3, "a")]),
    ] {
        assert!(waits(&life.poll(glitch)), "{glitch}");
        let step = life.poll(&old);
        assert!(
            step.is_unchanged() && step.next.is_none(),
            "{glitch}: {step:?}"
        );
        assert_eq!(life.memory.pending, None);
    }
}

#[test]
fn an_item_that_flaps_holds_up_nobody_else_and_rings_with_the_tenth_fetch() {
    let mut life = confirming(2);
    let at = |n: usize, quiet: &str| list(&[(1, &format!("noise {n}")), (2, quiet)]);
    life.poll(&at(0, "a"));
    let mut rung = Vec::new();
    for n in 1..=10 {
        let step = life.poll(&at(n, "b"));
        rung.push(step.rung);
        assert_eq!(step.next, (n < 10).then_some(2), "{n}");
    }
    let mut expected = vec![""; 10];
    (expected[1], expected[9]) = ("~2", "~1");
    assert_eq!(rung, expected);
    let step = life.poll(&at(10, "b"));
    assert!(step.is_unchanged(), "{step:?}");
}

#[test]
fn what_waits_and_how_long_it_has_waited_outlive_a_restart() {
    let mut life = confirming(3);
    life.poll(&list(&[(1, "a")]));
    for _ in 0..2 {
        assert!(waits(&life.poll(&list(&[(1, "b")]))));
        life.restart();
        let again = first_poll(
            &life.source,
            &Partition::default(),
            &life.memory,
            true,
            at(life.now),
        );
        assert_eq!(
            again,
            Some(at(life.now + 2)),
            "also one that is polled by hand"
        );
    }
    assert_eq!(life.poll(&list(&[(1, "b")])).rung, "~1");
}

/// Too many to be kept are counted from one again; none is missed.
#[test]
fn what_is_too_much_to_be_kept_is_seen_again_after_a_restart() {
    let mut life = confirming(2);
    life.poll("[]");
    let ids: Vec<(u32, &str)> = (0..2_000).map(|id| (id, "a")).collect();
    assert!(waits(&life.poll(&list(&ids))));
    life.restart();
    assert_eq!(life.memory.pending, None);
    assert!(waits(&life.poll(&list(&ids))));
    assert_eq!(life.poll(&list(&ids)).rung.split(' ').count(), 2_000);
}

#[test]
fn a_failed_fetch_says_nothing_of_what_waits_and_is_made_up_for() {
    let mut life = confirming(2);
    life.poll(&list(&[(1, "a")]));
    assert!(waits(&life.poll(&list(&[(1, "b")]))));
    for body in ["<html>", "{}", "[{}]"] {
        let step = life.poll(body);
        assert_eq!(step.outcome, Outcome::Error, "{body}");
        assert!(step.next >= Some(2), "{body}: {step:?}");
    }
    assert_eq!(life.poll(&list(&[(1, "b")])).rung, "~1");
    assert_eq!(life.fail(&Trouble::passing("timeout", "slow")).next, None);
}

#[test]
fn nothing_that_says_the_same_is_remembered_of_what_waits() {
    let mut life = confirming(2);
    life.poll(&list(&[(1, "a"), (2, "a")]));
    let committed = (life.memory.raw, life.memory.walk);
    life.poll(&list(&[(1, "b"), (2, "a")]));
    assert_eq!((life.memory.raw, life.memory.walk), committed);
    // One of two is believed: what was committed is no answer that came.
    life.poll(&list(&[(1, "b"), (2, "b")]));
    assert_eq!((life.memory.raw, life.memory.walk), (None, None));
    assert_eq!(life.poll(&list(&[(1, "b"), (2, "b")])).rung, "~2");
    assert!(life.memory.raw.is_some() && life.memory.walk.is_some());
}

#[test]
fn an_emitted_baseline_is_seen_twice_too() {
    let mut life = confirming(2);
    life.source.baseline = Baseline::Emit;
    assert!(waits(&life.poll(&list(&[(1, "a"), (2, "a")]))));
    assert_eq!(life.snapshot, None);
    assert_eq!(life.poll(&list(&[(1, "a"), (2, "b")])).rung, "+1");
    assert_eq!(life.poll(&list(&[(1, "a"), (2, "b")])).rung, "+2");
}

#[test]
fn polls_that_the_guard_held_have_seen_deletions_often_enough() {
    let mut life = confirming(2);
    let many: Vec<(u32, &str)> = (0..40).map(|id| (id, "a")).collect();
    life.poll(&list(&many));
    for _ in 0..2 {
        let step = life.poll(&list(&[(99, "a")]));
        assert!(step.is_held("guard") && step.next.is_none(), "{step:?}");
    }
    let step = life.poll(&list(&[(99, "a")]));
    assert_eq!(step.rung.split(' ').count(), 40);
    assert_eq!(life.poll(&list(&[(99, "a")])).rung, "+99");
}

#[test]
fn other_rules_begin_to_count_anew() {
    let mut life = confirming(2);
    life.poll(&list(&[(1, "a")]));
    life.poll(&list(&[(1, "b")]));
    let rules = Arc::make_mut(&mut life.source.rules);
    rules.unordered = vec![Path::parse("$.x").expect("a path")];
    // Without the bodies of what is known it is a new baseline.
    assert!(life.poll(&list(&[(1, "b")])).is_unchanged());
    life.source.confirm = None;
    assert_eq!(
        life.poll(&list(&[(1, "c")])).rung,
        "~1",
        "what is not asked for is not done"
    );
}

/// What the guard doubts is not to be looked at again in a hurry, whatever else waits.
#[test]
fn a_held_poll_is_followed_by_the_next_scheduled_one() {
    let mut life = confirming(2);
    let many: Vec<(u32, &str)> = (0..40).map(|id| (id, "a")).collect();
    life.poll(&list(&many));
    let mut other = many.clone();
    other[0].1 = "b";
    assert!(waits(&life.poll(&list(&other))));
    let step = life.poll("[]");
    assert!(step.is_held("guard") && step.next.is_none(), "{step:?}");
    assert_eq!(life.poll(&list(&other)).rung, "~0");
}
