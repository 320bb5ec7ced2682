//! Who is pulled forward, and what teaches that.

use super::*;
use crate::detect::{Held, Pending};
use crate::poll::conclude::{self, Trouble};
use crate::poll::tests::{digest, source, terms, unchanged};

const BOUNDS: Bounds = Bounds {
    min: Duration::from_secs(5),
    max: Duration::from_secs(500),
};
const WIDTH: usize = 16;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

/// The pools of one line, where a few are polled.
struct World {
    pools: Pools,
    now: Timestamp,
    /// When each must be polled at the latest.
    deadlines: Vec<Timestamp>,
    polls: Vec<u32>,
}

impl World {
    fn of(members: usize) -> Self {
        let mut pools = Pools::new([WIDTH]);
        let now = at(1_000_000);
        for index in 0..members {
            pools.join(index, 0, joining(None), now);
        }
        pools.share(0, None, 0.0);
        let mut world = Self {
            pools,
            now,
            deadlines: vec![now; members],
            polls: vec![0; members],
        };
        for index in 0..members {
            world.poll(index, false);
        }
        world
    }

    fn poll(&mut self, index: usize, changed: bool) {
        self.pools.begun(index);
        self.end(index, self.sampled(changed));
    }

    fn sampled(&self, changed: bool) -> Told {
        Told::Sampled(Sample {
            at: self.now,
            changed,
            not_before: self.now.plus(BOUNDS.min),
        })
    }

    fn end(&mut self, index: usize, told: Told) {
        let report = Report { told, requests: 1 };
        self.pools.ended(index, 0, report, self.now);
        self.deadlines[index] = self.now.plus(BOUNDS.max);
        self.polls[index] += 1;
    }

    /// A second goes by; who changes is told by `changes`.
    fn second(&mut self, changes: impl Fn(usize) -> bool) {
        self.now = self.now.plus(Duration::from_secs(1));
        for index in 0..self.deadlines.len() {
            if self.deadlines[index] <= self.now {
                self.poll(index, changes(index));
            }
        }
        while let Some(index) = self.pools.release(self.now) {
            self.poll(index, changes(index));
        }
    }

    fn learnt(&mut self, index: usize) -> Learnt {
        let now = self.now;
        let learnt = self.pools.foresee(index, Told::Nothing, now);
        learnt.expect("it takes part")
    }
}

fn joining(look: Option<Timestamp>) -> Joining {
    Joining {
        bounds: BOUNDS,
        learnt: Learnt::default(),
        look: look.map(|at| Look { at, not_before: at }),
        is_open: false,
    }
}

#[test]
fn who_changes_often_is_pulled_forward_and_all_share_what_there_is() {
    let mut world = World::of(4);
    for _ in 0..20_000 {
        world.second(|index| index == 0);
    }
    // Each for itself: one poll every 50 seconds, 400.
    let all: u32 = world.polls.iter().sum();
    assert!((1_500..=1_700).contains(&all), "{:?}", world.polls);
    let others = &world.polls[1..];
    assert!(world.polls[0] >= all * 3 / 5, "{:?}", world.polls);
    assert!(others.iter().all(|polls| *polls >= 40), "{others:?}");

    let (_, often) = world.pools.standing(0).expect("it takes part");
    let (_, never) = world.pools.standing(1).expect("it takes part");
    assert!(often.changes_per_hour > 20.0 * never.changes_per_hour);
    assert!(often.polls_per_hour > 3.0 * never.polls_per_hour);
    assert!((never.polls_per_hour) >= 7.2, "its max is kept");
}

#[test]
fn only_so_many_are_pulled_forward_at_once_and_each_that_ends_makes_room() {
    let mut world = World::of(100);
    world.now = world.now.plus(Duration::from_secs(400));
    let released = |world: &mut World| {
        let now = world.now;
        let released = std::iter::from_fn(|| world.pools.release(now));
        released.collect::<Vec<usize>>()
    };
    let first = released(&mut world);
    assert_eq!(first.len(), WIDTH / 2);
    assert_eq!(world.pools.next(), None, "nobody is asked who has no room");
    // One is polled, one has left, one was under way by itself.
    world.poll(first[0], false);
    world.pools.leave(first[1]);
    world.pools.missed(first[2]);
    assert_eq!(released(&mut world).len(), 3);

    // Where there is a budget, those who come after them do not wait for long.
    let left = |by_callers| {
        Some(Left {
            by_callers,
            floor: 0.1,
        })
    };
    for (left, steady, most) in [
        (left(0.7), 0.0, 7),
        (left(0.7), 0.2, 5),
        (left(0.01), 0.0, 4),
        (left(0.7), 100.0, 4),
        (left(100.0), 0.0, WIDTH / 2),
        (None, 100.0, WIDTH / 2),
    ] {
        let mut world = World::of(100);
        world.pools.share(0, left, steady);
        world.now = world.now.plus(Duration::from_hours(99));
        assert_eq!(released(&mut world).len(), most, "{left:?} {steady}");
    }
}

#[test]
fn who_begins_together_does_not_stay_together() {
    let mut world = World::of(1_000);
    world.pools.share(0, Some(PLENTY), 0.0);
    let (at, not_before) = (world.now, world.now);
    for index in 0..1_000 {
        world.pools.begun(index);
        world.end(index, Told::Renewed(Look { at, not_before }));
    }
    world.pools.share(0, None, 0.0);
    let polls = |world: &World| world.polls.iter().sum::<u32>();
    let (mut before, mut most) = (polls(&world), 0);
    for _ in 0..60 {
        world.second(|_| false);
        let now = polls(&world);
        most = most.max(now - before);
        before = now;
    }
    // Twenty a second are shared.
    assert!((5..=40).contains(&most), "{most} in a second");
}

const PLENTY: Left = Left {
    by_callers: 100.0,
    floor: 0.0,
};

#[test]
fn a_poll_of_many_pages_is_as_many_requests_of_the_budget() {
    let mut world = World::of(4);
    let left = Left {
        by_callers: 1.0,
        floor: 0.0,
    };
    world.pools.share(0, Some(left), 0.0);
    let polls = |world: &World| {
        let standing = |index| world.pools.standing(index).expect("it takes part");
        let rates = (0..4).map(|index| standing(index).1.polls_per_hour);
        rates.sum::<f64>()
    };
    assert!(
        (polls(&world) - 4.0 * 720.0).abs() < 1.0,
        "{}",
        polls(&world)
    );
    for _ in 0..1_000 {
        let (told, requests) = (Told::Nothing, 10);
        world
            .pools
            .ended(0, 0, Report { told, requests }, world.now);
        // Who does not take part counts for itself, and what cost nothing for nobody.
        let (told, requests) = (Told::Nothing, 0);
        world
            .pools
            .ended(0, 0, Report { told, requests }, world.now);
        let requests = 2;
        world
            .pools
            .ended(99, 0, Report { told, requests }, world.now);
    }
    world.pools.share(0, Some(left), 0.0);
    assert!((polls(&world) - 360.0).abs() < 1.0, "{}", polls(&world));
    world.pools.share(0, Some(left), 0.25);
    assert!((polls(&world) - 180.0).abs() < 1.0, "{}", polls(&world));
}

#[test]
fn what_is_no_sample_teaches_nothing_and_is_not_forgotten_when_it_is_settled() {
    let mut world = World::of(2);
    for _ in 0..1_000 {
        world.second(|index| index == 0);
    }
    let learnt = world.learnt(0);
    let later = |world: &mut World| world.now = world.now.plus(Duration::from_mins(1));
    for told in [
        Told::Nothing,
        Told::Untouched(world.now),
        Told::Undecided {
            rang: false,
            written: false,
        },
    ] {
        later(&mut world);
        world.pools.begun(0);
        world.end(0, told);
        assert_eq!(world.learnt(0), learnt, "{told:?}");
        // Who fails or is held is not pulled forward, whatever is known of it.
        let (due, _) = world.pools.standing(0).expect("it takes part");
        assert_eq!(
            due.is_some(),
            matches!(told, Told::Untouched(_)),
            "{told:?}"
        );
    }
    // Part of a change rang, the rest came to nothing: it changed.
    world.end(
        0,
        Told::Undecided {
            rang: true,
            written: false,
        },
    );
    later(&mut world);
    let quiet = world.sampled(false);
    let now = world.now;
    let foreseen = world.pools.foresee(0, quiet, now).expect("it takes part");
    assert!(foreseen.changes > learnt.changes * 15.0 / 16.0 + 0.9);
    world.end(0, quiet);
    assert_eq!(world.learnt(0), foreseen);
    let still = world.sampled(false);
    world.end(0, still);
    assert!(world.learnt(0).changes <= foreseen.changes);

    // What a write brought about says nothing, also where it must be seen twice.
    let learnt = world.learnt(0);
    world.end(
        0,
        Told::Undecided {
            rang: true,
            written: true,
        },
    );
    later(&mut world);
    let settled = world.sampled(true);
    world.end(0, settled);
    assert_eq!(world.learnt(0), learnt);

    // And what is something else begins anew.
    let (at, not_before) = (world.now, world.now);
    let look = Look { at, not_before };
    assert_eq!(
        world.pools.foresee(0, Told::Renewed(look), now),
        Some(Learnt::default())
    );
    world.end(0, Told::Renewed(look));
    assert_eq!(world.learnt(0), Learnt::default());
}

#[test]
fn what_a_poll_says_depends_on_whether_it_was_believed_and_why_it_was_made() {
    let mut source = source();
    source.every = Every::Adaptive(BOUNDS);
    let known = Memory {
        rules: Some(digest(5)),
        ..Memory::default()
    };
    let look = Look {
        at: at(999),
        not_before: at(1_004),
    };
    let sampled = |changed| {
        Told::Sampled(Sample {
            at: look.at,
            changed,
            not_before: look.not_before,
        })
    };
    let told = |before: &Memory, is_written, change: fn(&mut Conclusion)| {
        let mut conclusion = conclude::success(terms(&source, before), unchanged());
        change(&mut conclusion);
        Told::of(&source.every, (before, &conclusion), (at(999), is_written))
    };
    let undecided = |rang, written| Told::Undecided { rang, written };
    assert_eq!(told(&known, false, |_| {}), sampled(false));
    let rings = |conclusion: &mut Conclusion| conclusion.outcome = Outcome::Changed;
    assert_eq!(told(&known, false, rings), sampled(true));
    assert_eq!(told(&known, true, rings), Told::Looked(look));
    let unsure = |conclusion: &mut Conclusion| {
        conclusion.outcome = Outcome::Changed;
        let (rules, doubts) = (digest(5), Vec::new());
        conclusion.memory.pending = Some(Pending { rules, doubts }.into());
    };
    assert_eq!(told(&known, true, unsure), undecided(true, true));
    let holds = |conclusion: &mut Conclusion| {
        conclusion.outcome = Outcome::Held;
        conclusion.memory.held = Some(Held {
            deletions: digest(1),
            polls: 1,
        });
    };
    assert_eq!(told(&known, false, holds), undecided(false, false));
    let other = Memory {
        rules: Some(digest(9)),
        ..Memory::default()
    };
    assert_eq!(told(&other, false, rings), Told::Renewed(look));
    let asked = |conclusion: &mut Conclusion| conclusion.memory.not_before = Some(at(5_000));
    let Told::Sampled(sample) = told(&known, false, asked) else {
        panic!("it was believed");
    };
    assert_eq!(sample.not_before, at(5_000), "what the upstream asks for");

    let failed = conclude::failure(terms(&source, &known), &Trouble::passing("timeout", "slow"));
    let of_failed = Told::of(&source.every, (&known, &failed), (at(999), false));
    assert_eq!(of_failed, Told::Nothing);
    let every = Every::Fixed(BOUNDS.min);
    let conclusion = conclude::success(terms(&source, &known), unchanged());
    let of_fixed = Told::of(&every, (&known, &conclusion), (at(999), false));
    assert_eq!(of_fixed, Told::Nothing);
}

#[test]
fn what_was_learnt_is_remembered_and_goes_on_after_a_restart() {
    let mut world = World::of(2);
    for _ in 0..2_000 {
        world.second(|index| index == 0);
    }
    let rhythm = Some(Box::new(world.learnt(0)));
    let memory = Memory {
        asked_at: Some(world.now.minus(Duration::from_mins(1))),
        rhythm: rhythm.clone(),
        ..Memory::default()
    };
    let json = serde_json::to_string(&memory).expect("serializable");
    let memory: Memory = serde_json::from_str(&json).expect("what was written");
    assert_eq!(memory.rhythm, rhythm);
    let before: Memory = serde_json::from_str("{}").expect("what others have written");
    assert_eq!(before.rhythm, None);

    let every = Every::Adaptive(BOUNDS);
    let mut pools = Pools::new([WIDTH]);
    let joining = |memory: &Memory| Joining::of(&every, memory).expect("it is adaptive");
    pools.join(0, 0, joining(&memory), world.now);
    let cold = Memory {
        rhythm: Some(Box::new(world.learnt(1))),
        ..memory.clone()
    };
    pools.join(1, 0, joining(&cold), world.now);
    let failing = Memory {
        failures: 1,
        ..memory
    };
    pools.join(2, 0, joining(&failing), world.now);
    assert!(Joining::of(&Every::Manual, &cold).is_none());
    pools.share(0, None, 0.0);
    // It was not looked at for longer than it is left alone.
    let soon = world.now.plus(Duration::from_secs(2));
    assert_eq!(pools.release(soon), Some(0));
    assert_eq!(pools.release(soon), None);
    let insane = Memory {
        asked_at: Some(at(i64::MAX / 1000)),
        ..cold
    };
    pools.join(3, 0, joining(&insane), world.now);
    let (due, _) = pools.standing(3).expect("it takes part");
    assert!(due.expect("planned").since(world.now) <= Duration::from_hours(24));
    assert_eq!(pools.standing(2).expect("it takes part").0, None);
}

#[test]
fn a_clock_that_is_set_back_is_noticed() {
    let mut world = World::of(2);
    for _ in 0..1_000 {
        world.second(|index| index == 0);
    }
    let back = world.now.minus(Duration::from_hours(24 * 365));
    assert_eq!(world.pools.release(back), None);
    let next = world.pools.next().expect("somebody is planned");
    assert!(next.since(back) < BOUNDS.max, "{next}");
}
