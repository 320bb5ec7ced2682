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
    let between_news = other.totals.between_news().expect("there was news") / 86_400.0;
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

/// A pool of two of whom so much is known: the first changes every minute, the other never did.
fn acquainted(now: Timestamp) -> (Pool, [MemberId; 2]) {
    let mut pool = Pool::new(Tuning::default());
    pool.share(2.0 / HOUR.as_secs_f64());
    let often = Learnt {
        changes: 16.0,
        exposure: 960.0,
        ..Learnt::default()
    };
    let never = Learnt {
        exposure: 1e6,
        ..Learnt::default()
    };
    let members = [pool.join(0, often), pool.join(1, never)];
    for member in members {
        let look = Look {
            at: now.minus(MINUTE),
            not_before: now,
        };
        pool.resume(member, look, now);
    }
    (pool, members)
}

#[test]
fn who_was_looked_at_before_there_was_a_pool_is_due_as_what_was_learnt_says() {
    let now = Timestamp::from_millis(1_000_000_000);
    let (mut pool, [often, never]) = acquainted(now);
    let due = [often, never].map(|id| pool.due_at(id).expect("planned"));
    assert!(due[0].since(now) < HOUR, "{due:?}");
    assert!(due[1].since(now) > HOUR * 10, "{due:?}");
    let (changes, polls) = pool.rates(often);
    assert!((changes * 60.0 - 1.0).abs() < 0.1, "{changes}");
    assert!(polls > pool.rates(never).1 * 20.0);
    assert_eq!(pool.release(due[0]), Some(0));

    // After days without anybody, a change is what it is after so much time.
    let later = now.plus(HOUR * 100);
    let (mut pool, [often, _]) = acquainted(now);
    let sample = Sample {
        at: later,
        changed: true,
        not_before: later,
    };
    let foreseen = pool.foresee(often, sample);
    pool.sampled(often, sample);
    assert_eq!(pool.learnt(often), foreseen);
    assert!(foreseen.exposure > 960.0 + 3_600.0 * 50.0, "{foreseen:?}");
}

#[test]
fn what_is_looked_at_for_a_reason_of_its_own_teaches_nothing() {
    let now = Timestamp::from_millis(1_000_000_000);
    let (mut pool, [often, _]) = acquainted(now);
    let (before, due) = (pool.learnt(often), pool.due_at(often).expect("planned"));
    let at = now.plus(MINUTE * 10);
    pool.suspend(often);
    assert_eq!(pool.due_at(often), None);
    let look = Look { at, not_before: at };
    pool.looked(often, look);
    assert_eq!(pool.learnt(often), before);
    // It has seen all that there was, so there is less to wait for.
    let later = pool.due_at(often).expect("planned");
    assert!(later > due.plus(MINUTE * 5), "{due} {later}");
    // And the time before it counts for nothing either.
    let at = at.plus(MINUTE);
    let sample = Sample {
        at,
        changed: false,
        not_before: at,
    };
    let exposure = pool.foresee(often, sample).exposure - before.exposure;
    assert!((0.0..=60.0).contains(&exposure), "{exposure}");

    // One that came to nothing changes nothing but when it may be asked again.
    let (mut pool, [often, _]) = acquainted(now);
    pool.suspend(often);
    pool.go_on(often, now.plus(HOUR * 9));
    assert_eq!(pool.learnt(often), before);
    assert_eq!(pool.due_at(often), Some(now.plus(HOUR * 9)));
}

#[test]
fn all_are_planned_anew_when_there_is_much_more_to_share() {
    let now = Timestamp::from_millis(1_000_000_000);
    let (mut pool, [often, _]) = acquainted(now);
    let due = pool.due_at(often).expect("planned");
    pool.share(pool.rate * 100.0);
    let sooner = pool.next_release().expect("planned");
    assert!(sooner.since(now) < due.since(now) / 10, "{due} {sooner}");
}

#[test]
fn a_clock_that_is_set_back_keeps_nobody_waiting_for_the_old_time() {
    let now = Timestamp::from_millis(1_000_000_000_000);
    let (mut pool, [often, never]) = acquainted(now);
    let sample = Sample {
        at: now,
        changed: true,
        not_before: now.plus(MINUTE),
    };
    pool.sampled(often, sample);
    pool.leave(never);
    // Another thread's clock is a moment behind: no time has passed twice.
    let reading = pool.clock.reading();
    pool.spend(now.minus(Duration::from_millis(5)));
    pool.spend(now);
    assert!((pool.clock.reading() - reading).abs() < 1e-9);

    let back = now.minus(HOUR * 24 * 365);
    pool.share(1.0);
    assert_eq!(pool.release(back), None);
    assert_eq!(pool.release(back.plus(MINUTE)), Some(0));
}

#[test]
fn what_cannot_have_been_learnt_is_not_believed() {
    let mut pool = Pool::new(Tuning::default());
    for (changes, exposure) in [(f32::NAN, 1.0), (-1.0, 1.0), (1.0, f32::INFINITY)] {
        let learnt = Learnt {
            changes,
            exposure,
            ..Learnt::default()
        };
        let id = pool.join(0, learnt);
        assert_eq!(pool.learnt(id), Learnt::default());
    }
}

#[test]
fn who_is_looked_at_again_and_again_leaves_nothing_behind() {
    let (mut pool, [often, never]) = acquainted(Timestamp::from_millis(1_000_000_000));
    let mut at = Timestamp::from_millis(1_000_000_000);
    for _ in 0..10_000 {
        at = at.plus(HOUR * 200);
        let look = Look {
            at,
            not_before: at.plus(HOUR * 10_000),
        };
        pool.looked(often, look);
        pool.suspend(never);
        pool.go_on(never, look.not_before);
        assert_eq!(pool.release(at.plus(HOUR * 100)), None);
    }
    let (by_clock, early) = (pool.by_clock.len(), pool.early.len());
    assert!(by_clock + early <= 2 * 68, "{by_clock} {early}");
}
