//! What the policy does in worlds whose changes are known.

use std::time::Duration;

use super::*;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// A pool of sources, polled whenever it says so, in a world whose changes a test decides.
struct World {
    pool: Pool,
    members: Vec<MemberId>,
    now: Timestamp,
    changed: Vec<bool>,
    polls: Vec<u32>,
    /// Who was polled, in order.
    order: Vec<u32>,
}

impl World {
    /// `sources` that share one poll an hour each.
    fn of(sources: u32) -> Self {
        let mut pool = Pool::new(Tuning::default());
        pool.share(f64::from(sources) / HOUR.as_secs_f64());
        let members = (0..sources).map(|tag| pool.join(tag, Learnt::default()));
        let members: Vec<MemberId> = members.collect();
        let mut world = Self {
            pool,
            members,
            now: Timestamp::from_millis(1_000_000_000),
            changed: vec![false; sources as usize],
            polls: vec![0; sources as usize],
            order: Vec::new(),
        };
        for tag in 0..sources {
            world.poll(tag);
        }
        world
    }

    fn poll(&mut self, tag: u32) {
        let at = self.now;
        let changed = std::mem::take(&mut self.changed[tag as usize]);
        self.pool.spend(at);
        let not_before = at.plus(MINUTE);
        self.pool.sampled(
            self.members[tag as usize],
            Sample {
                at,
                changed,
                not_before,
            },
        );
        self.polls[tag as usize] += 1;
        self.order.push(tag);
    }

    /// Makes all polls of a minute, and lets sources change meanwhile.
    fn minute(&mut self, change: impl Fn(usize) -> bool) {
        self.now = self.now.plus(MINUTE);
        for (tag, changed) in self.changed.iter_mut().enumerate() {
            *changed |= change(tag);
        }
        while let Some(tag) = self.pool.release(self.now) {
            self.poll(tag);
        }
    }
}

#[test]
fn polls_go_with_the_root_of_rates_and_are_as_many_as_there_are_to_share() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut world = World::of(40);
    let hours = 24 * 60;
    for _ in 0..hours * 60 {
        // The first half changes a hundred times as often as the other, independently.
        let draws: Vec<f64> = (0..40).map(|_| random.f64()).collect();
        let chance = |tag| {
            if tag < 20 {
                1.0 / 240.0
            } else {
                1.0 / 24_000.0
            }
        };
        world.minute(|tag| draws[tag] < chance(tag));
    }
    let often: u32 = world.polls[..20].iter().sum();
    let seldom: u32 = world.polls[20..].iter().sum();
    let ratio = f64::from(often) / f64::from(seldom);
    assert!((6.0..14.0).contains(&ratio), "{ratio}");
    let due = 40.0 * f64::from(hours);
    let off = f64::from(often + seldom) / due - 1.0;
    assert!(off.abs() < 0.01, "{off:+.3}");
    assert!(world.pool.together() < 0.2, "{}", world.pool.together());
}

#[test]
fn one_that_changed_moves_the_others_forward_where_they_change_together() {
    let mut world = World::of(20);
    let together = |minute: u32| minute % 1_440 == 600;
    for minute in 0..40 * 1_440 {
        world.minute(|_| together(minute));
    }
    assert!(world.pool.together() > 0.7, "{}", world.pool.together());
    // Another pool is told so by what these have learnt.
    let mut other = Pool::new(Tuning::default());
    for member in &world.members {
        other.join(0, world.pool.learnt(*member));
    }
    assert!(other.together() > 0.5, "{}", other.together());
    let between_news = other.known_between_news().expect("there was news") / 86_400.0;
    assert!((0.5..2.0).contains(&between_news), "{between_news} days");

    // The next time, all are polled within two minutes of the first of them.
    world.order.clear();
    for minute in 0..601 {
        world.minute(|_| together(minute));
    }
    while world.changed.iter().all(|changed| *changed) {
        world.minute(|_| false);
    }
    world.minute(|_| false);
    world.minute(|_| false);
    let unseen = world.changed.iter().filter(|changed| **changed).count();
    assert_eq!(unseen, 0);
}

#[test]
fn nobody_is_due_before_it_may_be_nor_while_its_poll_is_at_work_nor_after_it_left() {
    let mut world = World::of(2);
    let (first, second) = (world.members[0], world.members[1]);
    let later = world.now.plus(HOUR * 10);
    let sample = Sample {
        at: world.now,
        changed: false,
        not_before: later,
    };
    world.pool.sampled(first, sample);
    world.pool.suspend(second);
    assert_eq!(world.pool.release(later.minus(MINUTE)), None);
    assert_eq!(world.pool.next_release(), Some(later));
    assert_eq!(world.pool.release(later), Some(0));
    assert_eq!(world.pool.release(later), None);

    world.pool.sampled(
        second,
        Sample {
            at: later,
            ..sample
        },
    );
    world.pool.leave(second);
    assert_eq!(world.pool.release(later.plus(HOUR * 99)), None);
    let third = world.pool.join(7, Learnt::default());
    assert_eq!(third, second);
    world.pool.sampled(
        third,
        Sample {
            at: later,
            ..sample
        },
    );
    assert_eq!(world.pool.release(later.plus(HOUR * 99)), Some(7));
}

#[test]
fn what_was_learnt_is_worth_as_much_to_another_pool() {
    let mut world = World::of(10);
    for minute in 0..10 * 1_440_u32 {
        world.minute(|tag| tag == 3 && minute % 120 == 0);
    }
    let mut pool = Pool::new(Tuning::default());
    pool.share(world.pool.rate);
    let learnt: Vec<Learnt> = world
        .members
        .iter()
        .map(|id| world.pool.learnt(*id))
        .collect();
    let ids: Vec<MemberId> = (0..)
        .zip(&learnt)
        .map(|(tag, learnt)| pool.join(tag, *learnt))
        .collect();
    for id in ids {
        pool.sampled(
            id,
            Sample {
                at: world.now,
                changed: false,
                not_before: world.now,
            },
        );
    }
    let minutes = |minutes: u32| world.now.plus(MINUTE * minutes);
    let first = (1..600).find_map(|minute| pool.release(minutes(minute)));
    assert_eq!(first, Some(3));
}

#[test]
fn who_is_due_as_polls_become_dearer_waits_on() {
    let mut world = World::of(10);
    world.minute(|_| false);
    let due = world.pool.next_release().expect("all are planned");
    world.pool.share(world.pool.rate / 10.0);
    assert_eq!(world.pool.release(due), None);
}

#[test]
fn a_clock_that_goes_back_and_a_share_of_nothing_do_no_harm() {
    let mut world = World::of(3);
    world.now = world.now.minus(HOUR * 5);
    world.minute(|_| true);
    world.poll(1);
    world.pool.share(0.0);
    for _ in 0..100 {
        world.minute(|_| true);
        assert!(world.pool.next_release().is_none_or(|at| at > world.now));
    }
}

/// What a hundred thousand partitions cost: some 10 MB.
#[test]
fn a_member_is_small() {
    let bytes = size_of::<Member>() + size_of::<Reverse<(i64, u32, u32)>>();
    assert!(bytes <= 112, "{bytes}");
}
