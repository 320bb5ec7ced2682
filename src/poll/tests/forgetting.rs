//! Items that nobody has seen for long leave the snapshot silently.

use super::life::Life;
use super::*;

const DAY: i64 = 24 * 3_600;

fn forgetful() -> Life {
    let mut life = Life::new();
    life.source.deletes = Deletes::Never;
    life.source.forget = Some(Duration::from_hours(90 * 24));
    life
}

/// A feed that holds these ids; `salt` makes its bytes others.
fn feed(ids: std::ops::Range<u32>, salt: i64) -> String {
    let items: Vec<String> = ids.map(|id| format!(r#"{{"id":{id}}}"#)).collect();
    format!(
        "{}[{}]",
        " ".repeat(usize::try_from(salt).expect("small")),
        items.join(",")
    )
}

#[test]
fn what_is_unseen_so_long_leaves_and_rings_nobody() {
    let mut life = forgetful();
    life.poll(&feed(1..3, 0));
    life.now = DAY;
    assert_eq!(life.poll(&feed(2..4, 0)).rung, "+3");
    life.now = 91 * DAY - 1;
    assert!(life.poll(&feed(2..4, 1)).is_unchanged());
    assert_eq!(life.subjects(), ["1", "2", "3"]);
    life.now = 91 * DAY;
    let step = life.poll(&feed(2..4, 2));
    assert!(step.is_unchanged(), "{step:?}");
    assert_eq!((life.subjects(), life.marks.len()), (vec!["2", "3"], 0));
    // Back after all that time it is new.
    assert_eq!(life.poll(&feed(1..4, 0)).rung, "+1");
}

/// The same bytes for long are no reason to remember what they lack.
#[test]
fn what_is_back_after_so_long_is_new_also_if_no_poll_came_by_in_between() {
    for confirms in [false, true] {
        let mut life = forgetful();
        let (polls, after) = (2, Duration::from_secs(2));
        life.source.confirm = confirms.then_some(config::Confirm { polls, after });
        life.poll(&feed(1..4, 0));
        life.poll(&feed(3..4, 0));
        life.now += 90 * DAY;
        assert_eq!(life.poll(&feed(3..4, 0)).writes, 0, "the same bytes");
        let step = life.poll(&feed(2..4, 0));
        if confirms {
            assert!(step.is_held("confirm"), "{step:?}");
            assert_eq!(life.subjects(), ["1", "2", "3"]);
            assert_eq!(life.poll(&feed(2..4, 0)).rung, "+2");
        } else {
            assert_eq!(step.rung, "+2");
        }
        assert_eq!((life.subjects(), life.marks.len()), (vec!["2", "3"], 0));
    }
}

#[test]
fn an_item_that_is_seen_in_between_begins_anew() {
    let mut life = forgetful();
    life.poll(&feed(1..3, 0));
    for (day, from) in [(1, 2), (89, 1), (90, 2), (100, 2), (179, 2)] {
        life.now = day * DAY;
        life.poll(&feed(from..3, day));
        assert_eq!(life.subjects(), ["1", "2"], "day {day}");
    }
    life.now = 180 * DAY;
    life.poll(&feed(2..3, 0));
    assert_eq!(life.subjects(), ["2"]);
}

#[test]
fn one_row_is_written_when_an_item_goes_and_none_while_it_is_gone() {
    let mut life = forgetful();
    life.poll(&feed(0..100, 0));
    let mut writes = Vec::new();
    for (day, first) in [(1, 0), (2, 1), (3, 1), (4, 1), (5, 0), (6, 0)] {
        life.now = day * DAY;
        writes.push(life.poll(&feed(first..100, day)).writes);
    }
    assert_eq!(writes, [0, 1, 0, 0, 1, 0]);
}

#[test]
fn answers_that_are_no_walks_leave_no_marks() {
    let mut life = forgetful();
    life.poll(&feed(0..3, 0));
    for body in ["", "<html>", "{}", "[{}]"] {
        assert_eq!(life.poll(body).outcome, Outcome::Error);
    }
    assert!(life.marks.is_empty());
}

/// While nothing is forgotten, nothing is marked: what is left from before must not count.
#[test]
fn marks_from_before_a_pause_of_forgetting_are_void() {
    let mut life = forgetful();
    life.poll(&feed(0..3, 0));
    life.poll(&feed(1..3, 0));
    assert_eq!(life.marks.len(), 1);
    let forget = life.source.forget.take();
    life.now += DAY;
    life.poll(&feed(0..3, 0));
    life.source.forget = forget;
    life.now += 1_000 * DAY;
    life.poll(&feed(1..3, 0));
    assert_eq!(life.subjects(), ["0", "1", "2"]);
    assert_eq!(life.marks["0"], at(life.now));
}

#[test]
fn a_tombstone_takes_the_mark_along() {
    let mut life = forgetful();
    life.source.deletes = Deletes::Tombstone;
    let filter = detect::Filter::parse("$[?@.gone]").expect("a filter");
    Arc::make_mut(&mut life.source.rules).tombstone = Some(filter);
    life.poll(r#"[{"id":1},{"id":2}]"#);
    life.poll(r#"[{"id":2}]"#);
    assert_eq!(life.marks.len(), 1);
    assert_eq!(life.poll(r#"[{"id":1,"gone":1},{"id":2}]"#).rung, "-1");
    assert!(life.marks.is_empty());
}

#[test]
fn a_new_baseline_has_no_marks() {
    let mut life = forgetful();
    life.poll(&feed(0..3, 0));
    life.poll(&feed(1..3, 0));
    life.source.request.path = config::Template::literal("/other");
    life.poll(&feed(2..3, 0));
    assert_eq!((life.subjects(), life.marks.len()), (vec!["2"], 0));
}
