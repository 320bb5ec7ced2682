//! Whose turn it is, and who goes first.

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn started(agenda: &mut Agenda, now: i64) -> Vec<usize> {
    agenda.advance(at(now));
    std::iter::from_fn(|| agenda.start(at(now)))
        .map(|ticket| ticket.index)
        .collect()
}

#[test]
fn who_is_urged_goes_first_and_once_more_after_its_poll_at_work() {
    let mut agenda = Agenda::new([1]);
    let [first, second, third] = [0, 1, 2].map(|source| agenda.add(0, source, Some(at(1))));
    assert_eq!(started(&mut agenda, 1), [first]);
    agenda.urge(third, Urge::Written("r".into()));
    agenda.urge(first, Urge::Written("r".into()));
    agenda.finish(first, Some(at(100)));
    let ticket = agenda.start(at(1)).expect("somebody is ready");
    assert_eq!(ticket.index, first);
    assert!(matches!(ticket.urge, Some(Urge::Written(_))));
    agenda.finish(first, Some(at(100)));
    assert_eq!(started(&mut agenda, 1), [third]);
    agenda.finish(third, Some(at(100)));
    assert_eq!(started(&mut agenda, 1), [second]);
    agenda.finish(second, None);
    assert_eq!(started(&mut agenda, 99), [0; 0]);
}

#[test]
fn who_is_hastened_is_due_sooner_and_nobody_later() {
    let mut agenda = Agenda::new([8]);
    let far = agenda.add(0, 0, Some(at(100)));
    let near = agenda.add(0, 1, Some(at(5)));
    let manual = agenda.add(0, 2, None);
    for index in [far, near, manual] {
        agenda.hasten(index, at(10));
    }
    assert_eq!(started(&mut agenda, 9), [near]);
    assert_eq!(started(&mut agenda, 10), [far]);
    assert_eq!(started(&mut agenda, 200), [0; 0]);
}

/// Adds so many to a line, all due at 1.
fn add(agenda: &mut Agenda, count: usize, line: usize) {
    for _ in 0..count {
        agenda.add(line, 0, Some(at(1)));
    }
}

#[test]
fn due_sources_begin_in_order_and_never_twice_at_once() {
    let mut agenda = Agenda::new([8]);
    for due in [30, 10, 20] {
        agenda.add(0, 0, Some(at(due)));
    }
    agenda.add(0, 0, None);
    assert_eq!(agenda.next_look(), Some(at(10)));
    assert_eq!(started(&mut agenda, 20), [1, 2]);
    assert_eq!(started(&mut agenda, 1_000), [0]);
    assert_eq!(started(&mut agenda, 2_000), [0; 0]);
    agenda.finish(1, Some(at(2_010)));
    assert_eq!(started(&mut agenda, 2_010), [1]);
}

#[test]
fn a_poll_by_hand_never_joins_the_one_in_flight() {
    let mut agenda = Agenda::new([8]);
    agenda.add(0, 0, Some(at(10)));
    agenda.advance(at(10));
    let first = agenda.start(at(10)).expect("due");
    assert!(first.bell.is_none() && first.due == Some(at(10)));
    let _heard = agenda.ask(0).expect("open");
    assert!(agenda.start(at(11)).is_none());
    agenda.finish(0, Some(at(40)));
    let second = agenda.start(at(11)).expect("asked for");
    assert!(second.bell.is_some() && second.due.is_none());
    agenda.finish(0, Some(at(40)));
    assert_eq!(started(&mut agenda, 39), [0; 0]);
    assert_eq!(started(&mut agenda, 40), [0]);
}

#[test]
fn a_manual_source_begins_only_when_asked() {
    let mut agenda = Agenda::new([8]);
    agenda.add(0, 0, None);
    assert_eq!(started(&mut agenda, 1_000_000), [0; 0]);
    let _heard = agenda.ask(0);
    assert_eq!(started(&mut agenda, 1_000_000), [0]);
}

#[test]
fn dead_upstreams_leave_places_to_others() {
    const DEAD: usize = 5;
    let mut agenda = Agenda::new([1000; DEAD + 1]);
    for line in 0..DEAD {
        add(&mut agenda, 500, line);
    }
    assert!(started(&mut agenda, 1).len() < POLLS_MAX);
    agenda.add(DEAD, 0, Some(at(2)));
    assert_eq!(started(&mut agenda, 2), [DEAD * 500]);
}

#[test]
fn an_upstream_has_at_most_its_connections_at_work() {
    let mut agenda = Agenda::new([3]);
    add(&mut agenda, 10, 0);
    assert_eq!(started(&mut agenda, 1), [0, 1, 2]);
    agenda.finish(1, None);
    assert_eq!(started(&mut agenda, 1), [3]);
}

#[test]
fn neither_many_partitions_nor_their_first_polls_hold_up_others_of_their_upstream() {
    let mut agenda = Agenda::new([1]);
    add(&mut agenda, 100, 0);
    assert_eq!(started(&mut agenda, 1), [0]);
    agenda.add(0, 1, Some(at(2)));
    agenda.finish(0, Some(at(2)));
    // The first of many, which is due again, and another source are next in turn with those
    // that were never polled.
    let mut next = Vec::new();
    for _ in 0..6 {
        next.extend(started(&mut agenda, 2));
        agenda.finish(next[next.len() - 1], None);
    }
    assert_eq!(next, [1, 0, 100, 2, 3, 4]);
    // Who asks by hand goes first of all.
    let _heard = agenda.ask(100);
    let _heard = agenda.ask(0);
    assert_eq!(started(&mut agenda, 2), [0]);
    agenda.finish(0, None);
    assert_eq!(started(&mut agenda, 2), [100]);
}

#[test]
fn a_full_disk_pauses_all_then_one_finds_out() {
    let mut agenda = Agenda::new([8, 8]);
    add(&mut agenda, 2, 0);
    add(&mut agenda, 2, 1);
    agenda.pause(at(1));
    assert_eq!(started(&mut agenda, 1), [0; 0]);
    assert_eq!(agenda.next_look(), Some(at(11)));
    agenda.advance(at(11));
    let probe = agenda.start(at(11)).expect("a probe");
    assert!(probe.doubtful && agenda.start(at(11)).is_none());
    assert!(agenda.trust());
    assert_eq!(started(&mut agenda, 11).len(), 3);
}

#[test]
fn who_left_is_not_polled_and_its_place_is_taken_again() {
    let mut agenda = Agenda::new([1]);
    add(&mut agenda, 4, 0);
    assert_eq!(started(&mut agenda, 1), [0]);
    // One is at work, two are ready; the fourth goes on.
    (0..3).for_each(|index| agenda.remove(index));
    assert_eq!(agenda.vacated(), [0; 0]);
    assert!(agenda.ask(1).is_none());
    agenda.finish(0, Some(at(2)));
    assert_eq!(started(&mut agenda, 1), [3]);
    assert_eq!(agenda.vacated(), [0, 1, 2]);
    agenda.finish(3, Some(at(9)));
    assert_eq!(agenda.add(0, 0, Some(at(7))), 2);
    assert_eq!(started(&mut agenda, 6), [0; 0]);
    assert_eq!(started(&mut agenda, 7), [2]);
    agenda.remove(3);
    assert_eq!(agenda.vacated(), [3]);
    agenda.finish(2, None);
    assert_eq!(started(&mut agenda, 9), [0; 0]);
}

#[test]
fn nothing_begins_after_the_close() {
    let mut agenda = Agenda::new([8]);
    agenda.add(0, 0, Some(at(1)));
    let heard = agenda.ask(0).expect("open");
    agenda.close();
    assert_eq!(started(&mut agenda, 1), [0; 0]);
    assert!(agenda.ask(0).is_none());
    assert!(heard.has_changed().is_err());
}

#[test]
fn polls_by_hand_leave_no_heap_behind() {
    let mut agenda = Agenda::new([8]);
    agenda.add(0, 0, Some(at(1_000_000)));
    for n in 0..10_000 {
        let _heard = agenda.ask(0);
        assert_eq!(started(&mut agenda, 1), [0]);
        agenda.finish(0, Some(at(1_000_000 + n)));
    }
    assert!(agenda.heap.len() <= 66, "{}", agenda.heap.len());
}

#[test]
fn a_clock_that_steps_back_takes_the_times_along() {
    let mut agenda = Agenda::new([8]);
    agenda.advance(at(10_000));
    agenda.add(0, 0, Some(at(10_030)));
    assert_eq!(started(&mut agenda, 6_400), [0; 0]);
    assert_eq!(agenda.next_look(), Some(at(6_430)));
    assert_eq!(started(&mut agenda, 6_430), [0]);
}
