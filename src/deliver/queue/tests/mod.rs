//! The queue against a disk of the test's own that does what the store promises, driven through
//! random histories of commits, outcomes, settlings and crashes.

mod world;

use proptest::prelude::*;

use super::*;
use crate::deliver::lane::WAITING_MAX;
use crate::event::Kind;
use world::{LANES, Outcome, Step, Told, World, restored, steps};

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_subjects_keep_their_order(steps in steps()) {
        let mut world = World::new(Order::Subject);
        for step in steps {
            world.take(step);
        }
        world.finish_all();
    }

    #[test]
    fn nothing_is_lost_without_order(steps in steps()) {
        let mut world = World::new(Order::None);
        for step in steps {
            world.take(step);
        }
        world.finish_all();
    }

    #[test]
    fn nothing_is_lost_when_order_changes_between_runs(steps in steps()) {
        let mut world = World::new(Order::Subject);
        for step in steps {
            // Once order was not kept, its strict checks hold no more.
            let is_crash = matches!(step, Step::Crash { .. });
            world.order = Order::None;
            if is_crash && world.committed % 2 == 0 {
                world.settling = None;
                world.flying.clear();
                world.scans.clear();
                world.asks.clear();
                world.queue = restored(&world.disks, Order::Subject);
            } else {
                world.take(step);
            }
        }
        world.finish_all();
    }
}

#[test]
fn a_flood_of_one_source_delays_another_by_one_turn() {
    let mut world = World::with_events(Order::Subject, 20_000);
    world.commit(1, 1, 1);
    let mut turns = 0;
    while !world.flying.iter().any(|(lane, _)| *lane == 1) {
        world.finish(0, Outcome::Accept);
        world.pump();
        turns += 1;
    }
    assert!(turns <= 2, "{turns} slots became free before it had one");
}

#[test]
fn a_fresh_event_is_taken_in_without_a_read() {
    let mut world = World::new(Order::Subject);
    for told in [Told::Offered, Told::OfferedTwice] {
        world.take(Step::Commit {
            lane: 1,
            count: 2,
            subject: 0,
            spread: 2,
            kind: Kind::Created,
            told,
        });
        assert_eq!(world.flying.len(), 2);
        assert!(world.scans.is_empty(), "nothing is left to read");
        world.finish_all();
    }
}

#[test]
fn a_fresh_event_never_hides_those_before_it_that_were_not_read() {
    let mut world = World::new(Order::Subject);
    for told in [Told::Late, Told::Offered] {
        world.take(Step::Commit {
            lane: 1,
            count: 3,
            subject: 0,
            spread: 3,
            kind: Kind::Created,
            told,
        });
    }
    world.finish_all();
    assert_eq!(world.disks[1].done.len(), 6);
}

#[test]
fn a_backlog_that_is_held_up_keeps_its_turn_and_nobody_elses() {
    // Five of the backlog are in flight, and no more than five start by themselves.
    let mut world = World::with_events(Order::Subject, 200);
    world.commit(1, 1, 1);

    let mut fresh_alone = |lag| lag == Lag::Fresh;
    let started = world.queue.starts(world.now, 16, &mut fresh_alone);
    assert_eq!(
        started.iter().map(|(lane, _)| *lane).collect::<Vec<_>>(),
        [1]
    );
    assert!(world.queue.is_paced());
    let mut two = 2;
    let mut two_more = |_| {
        two -= 1;
        two >= 0
    };
    let started = world.queue.starts(world.now, 16, &mut two_more);
    assert_eq!(started.len(), 2, "as many as were granted");
    assert!(world.queue.is_paced());
    let started = world.queue.starts(world.now, 16, &mut |_| true);
    assert_eq!(started.len(), 8, "up to the concurrency");
    assert!(!world.queue.is_paced());
}

#[test]
fn an_endpoint_that_refuses_everything_is_read_no_further_than_the_bound() {
    let mut world = World::with_events(Order::Subject, 6_000);
    for _ in 0..100_000 {
        while !world.flying.is_empty() {
            world.finish(0, Outcome::Fail { millis: 1_000_000 });
        }
        world.take(Step::Settle { works: true });
        world.take(Step::Scan { works: true });
        if world.flying.is_empty() && world.settling.is_none() && world.scans.is_empty() {
            break;
        }
    }
    for (lane, _) in world.queue.behind(LANES) {
        let state = world.disks[lane].state(LaneId(0));
        world.queue.recount(lane, &state);
    }
    let load = world.queue.load();
    assert!(
        load.waiting < WAITING_MAX as u64 && load.waiting > 3_000,
        "{load:?}"
    );
    assert_eq!(load.pending(), 6_000);
    // A restart knows all of it, and what succeeds makes room again.
    world.crash(true);
    assert_eq!(world.queue.load().stuck, load.stuck);
    world.take(Step::Pass { millis: 1_000_000 });
    world.finish_all();
}

#[test]
fn the_age_of_what_waits_is_known_before_it_is_read() {
    let mut world = World::new(Order::Subject);
    for _ in 0..3 {
        world.committed += 1;
        let key = EventKey::new(world.committed, 0);
        let event = (Kind::Created, "a".into());
        world.disks[1].events.insert(key, event);
    }
    let at = |commit| Some(Timestamp::from_millis(EventKey::new(commit, 0).number()));
    world.queue = restored(&world.disks, Order::Subject);
    assert_eq!(world.queue.oldest(), at(1), "as at a start");
    world.pump();
    world.take(Step::Scan { works: true });
    for commit in 1..=3 {
        assert_eq!(world.queue.oldest(), at(commit));
        world.finish(0, Outcome::Accept);
        world.pump();
        world.take(Step::Settle { works: true });
    }
    assert_eq!(world.queue.oldest(), None);
}

#[test]
fn one_that_is_slow_holds_only_its_own_subject() {
    let mut world = World::with_events(Order::Subject, 2_000);
    let slow = world.flying[0].1.delivery;
    for _ in 0..100_000 {
        while world.flying.len() > 1 {
            let index = world
                .flying
                .iter()
                .position(|(_, start)| start.delivery != slow);
            world.finish(index.expect("another"), Outcome::Accept);
        }
        world.take(Step::Settle { works: true });
        world.take(Step::Scan { works: true });
        if world.disks[0].done.len() == 1_999 {
            break;
        }
    }
    assert_eq!(world.disks[0].done.len(), 1_999);
    assert_eq!(world.queue.load().pending(), 1);
    assert!(world.disks[0].watermark < slow.event);
    world.finish_all();
}

#[test]
fn outcomes_that_come_during_a_settling_make_the_next_one() {
    let mut world = World::with_events(Order::Subject, 20);
    world.finish(0, Outcome::Accept);
    world.pump();
    for _ in 0..4 {
        world.finish(0, Outcome::Accept);
    }
    assert!(world.queue.batch().is_none(), "one settling at a time");
    world.take(Step::Settle { works: true });
    let next = world.settling.as_ref().expect("the next settling");
    assert_eq!(next.attempts.len(), 4);
    assert_eq!(next.watermarks.len(), 1);
}

#[test]
fn events_that_nobody_hears_cost_no_transaction_of_their_own() {
    let mut world = World::new(Order::Subject);
    world.take(Step::Commit {
        lane: 0,
        count: 5,
        subject: 0,
        spread: 1,
        kind: Kind::Deleted,
        told: Told::Poked,
    });
    world.take(Step::Scan { works: true });
    assert!(world.settling.is_none() && world.flying.is_empty());
    assert_eq!(world.queue.load(), Load::default());
    let idle = world.queue.flush().expect("a watermark");
    assert_eq!(idle.watermarks, [(LaneId(0), EventKey::new(1, 4))]);
}

#[test]
fn the_oldest_that_may_be_attempted_is_found_whichever_lane_it_is_in() {
    let mut world = World::new(Order::Subject);
    world.take(Step::Probe { only: true });
    for lane in [2, 0, 1] {
        world.commit(lane, 2, 1);
    }
    world.commit(0, 1, 1);
    let mut attempted = Vec::new();
    while let Some((_, start)) = world.flying.first() {
        attempted.push(start.delivery.event);
        // It is due again later than all others.
        world.finish(0, Outcome::Fail { millis: 1_000 });
        world.take(Step::Settle { works: true });
    }
    // One of each lane: the others wait behind them.
    let firsts: Vec<EventKey> = (1..=3).map(|commit| EventKey::new(commit, 0)).collect();
    assert_eq!(attempted, firsts);
    assert!(!world.queue.is_ready());
}
