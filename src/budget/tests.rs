//! What a budget promises, against upstreams and callers that are made up.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

const TERMS: Terms = Terms {
    requests: 100,
    per: Duration::from_secs(5),
    burst: 20,
    poll_floor: 0.1,
    wait: SECOND,
    not_modified_free: false,
};

/// What happens to a request once it was granted.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// From the grant until it is sent; `None`: it never is.
    held_up: Option<Duration>,
    /// From there to the upstream.
    travels: Duration,
    /// From there back.
    answered: Duration,
}

const AT_ONCE: Way = Way {
    held_up: Some(Duration::ZERO),
    travels: Duration::ZERO,
    answered: Duration::ZERO,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Comes(usize),
    Sends(u64, Duration, Duration),
    Arrives(u64),
    Answers(u64),
    Leaves(u64),
    Drops(u64),
    Wakes,
}

/// A budget between those who ask and an upstream that counts.
struct World {
    budget: Budget,
    events: BinaryHeap<Reverse<(Moment, u64, Event)>>,
    order: u64,
    asked: HashMap<u64, (Asker, Moment, Way)>,
    /// Who was granted, when it asked and when it was.
    granted: Vec<(Asker, Moment, Moment)>,
    refused: Vec<(Asker, Duration)>,
    /// When the upstream saw a request.
    seen: Vec<Moment>,
    now: Moment,
}

impl World {
    fn new(terms: Terms) -> Self {
        Self {
            budget: Budget::new(terms, Moment::ZERO),
            events: BinaryHeap::new(),
            order: 0,
            asked: HashMap::new(),
            granted: Vec::new(),
            refused: Vec::new(),
            seen: Vec::new(),
            now: Moment::ZERO,
        }
    }

    fn at(&mut self, at: Moment, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order, event)));
    }

    /// Lets everybody come, and time pass until nobody waits.
    fn run(&mut self, coming: &[(Moment, Asker, Way)]) {
        for (index, (at, ..)) in coming.iter().enumerate() {
            self.at(*at, Event::Comes(index));
        }
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            self.now = now;
            self.happen(event, coming);
            for ticket in self.budget.grants(now) {
                self.grant(ticket);
            }
            let wakes = self.budget.next();
            let planned = self.events.peek().map(|Reverse((at, ..))| *at);
            if let Some(at) = wakes
                && planned.is_none_or(|planned| at < planned)
            {
                assert!(at > now, "it wakes in vain");
                self.at(at, Event::Wakes);
            }
        }
        assert_eq!(self.budget.waiting(), (0, 0), "somebody waits for ever");
    }

    fn happen(&mut self, event: Event, coming: &[(Moment, Asker, Way)]) {
        let now = self.now;
        match event {
            Event::Comes(index) => {
                let (_, asker, way) = coming[index];
                match self.budget.ask(asker, now) {
                    Verdict::Granted(ticket) => {
                        self.asked.insert(ticket.0, (asker, now, way));
                        self.grant(ticket);
                    }
                    Verdict::Waits(ticket) => {
                        self.asked.insert(ticket.0, (asker, now, way));
                        if matches!(asker, Asker::Caller(_)) {
                            let at = now + self.budget.terms.wait;
                            self.at(at, Event::Leaves(ticket.0));
                        }
                    }
                    Verdict::Refused(wait) => self.refused.push((asker, wait)),
                }
            }
            Event::Sends(ticket, travels, answered) => {
                self.budget.sent(Ticket(ticket), now);
                self.at(now + travels, Event::Arrives(ticket));
                self.at(now + travels + answered, Event::Answers(ticket));
            }
            Event::Arrives(_) => self.seen.push(now),
            Event::Answers(ticket) => {
                self.budget
                    .answered(Ticket(ticket), &Answer::default(), now);
            }
            Event::Leaves(ticket) => {
                if self.budget.leave(Ticket(ticket)) {
                    let (asker, ..) = self.asked[&ticket];
                    self.refused.push((asker, Duration::ZERO));
                }
            }
            Event::Drops(ticket) => self.budget.unsent(Ticket(ticket), now),
            Event::Wakes => {}
        }
    }

    fn grant(&mut self, ticket: Ticket) {
        let (asker, since, way) = self.asked[&ticket.0];
        self.granted.push((asker, since, self.now));
        match way.held_up {
            None => self.at(self.now + MILLI * 30, Event::Drops(ticket.0)),
            Some(held_up) => {
                let sends = Event::Sends(ticket.0, way.travels, way.answered);
                self.at(self.now + held_up, sends);
            }
        }
    }

    /// The most that the upstream saw in any time of `per`.
    fn most_in_a_window(&self) -> usize {
        let mut seen = self.seen.clone();
        seen.sort_unstable();
        let per = self.budget.terms.per;
        let in_window = |from: &Moment| {
            let inside = |at: &&Moment| (*from..=*from + per).contains(*at);
            seen.iter().filter(inside).count()
        };
        seen.iter().map(in_window).max().unwrap_or(0)
    }

    fn granted_to(&self, who: impl Fn(&Asker) -> bool) -> usize {
        self.granted.iter().filter(|(asker, ..)| who(asker)).count()
    }
}

fn is_poll(asker: &Asker) -> bool {
    !matches!(asker, Asker::Caller(_))
}

/// Callers of one identity and polls, so many of each a second, for so many seconds.
fn steady(seconds: u32, callers: u32, polls: u32, way: Way) -> Vec<(Moment, Asker, Way)> {
    let each = |count: u32, asker: Asker| {
        let all = 0..count * seconds;
        all.map(move |n| (SECOND * n / count, asker, way))
    };
    let mut coming: Vec<_> = each(callers, Asker::Caller(1)).collect();
    coming.extend(each(polls, Asker::Poll));
    coming.sort_by_key(|(at, ..)| *at);
    coming
}

fn asker() -> impl Strategy<Value = Asker> {
    prop_oneof![
        3 => Just(Asker::Poll),
        1 => Just(Asker::Hand),
        6 => (0..4_u64).prop_map(Asker::Caller),
    ]
}

fn terms() -> impl Strategy<Value = Terms> {
    (
        1..60_u32,
        100..3_000_u64,
        1..30_u32,
        0.0..=1.0,
        0..2_000_u64,
    )
        .prop_map(|(requests, per, burst, poll_floor, wait)| Terms {
            requests,
            per: MILLI * u32::try_from(per).expect("small"),
            burst,
            poll_floor,
            wait: Duration::from_millis(wait),
            not_modified_free: false,
        })
}

/// Arrivals in clumps, as crowds come; `travels` is a share of what a request may be on its way.
fn crowd() -> impl Strategy<Value = Vec<(u64, Asker, Option<u64>, f64, u64)>> {
    let gap = prop_oneof![4 => Just(0_u64), 3 => 0..20_u64, 1 => 0..2_000_u64];
    let held_up =
        prop_oneof![1 => Just(None), 6 => Just(Some(0)), 3 => (0..900_u64).prop_map(Some)];
    let one = (gap, asker(), held_up, 0.0..1.0, 0..3_000_u64);
    proptest::collection::vec(one, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whoever asks whenever, however long requests are held up and travel: the promise holds where
    /// it counts, at the upstream, and no caller waits longer than it may.
    #[test]
    fn no_window_sees_more_than_it_may(terms in terms(), crowd in crowd()) {
        let mut world = World::new(terms);
        let travel = world.budget.bucket.travel();
        let mut at = Moment::ZERO;
        let coming = crowd.into_iter().map(|(gap, asker, held_up, travels, answered)| {
            at += Duration::from_millis(gap);
            let way = Way {
                held_up: held_up.map(Duration::from_millis),
                travels: travel.mul_f64(travels * 0.999),
                answered: Duration::from_millis(answered),
            };
            (at, asker, way)
        });
        let coming: Vec<_> = coming.collect();
        world.run(&coming);
        let most = (terms.requests + terms.burst) as usize;
        prop_assert!(world.most_in_a_window() <= most, "{} of {most}", world.most_in_a_window());
        for (asker, asked, granted) in &world.granted {
            let waited = granted.saturating_sub(*asked);
            prop_assert!(is_poll(asker) || waited <= terms.wait, "{asker:?} {waited:?}");
        }
        let polls = coming.iter().filter(|(_, asker, _)| is_poll(asker)).count();
        prop_assert_eq!(world.granted_to(is_poll), polls);
        prop_assert_eq!(world.granted.len() + world.refused.len(), coming.len());
    }

    /// Of what an upstream says is left until a reset, never more is asked until then.
    #[test]
    fn what_the_upstream_says_is_left_is_not_exceeded(
        remaining in 0..40_u64,
        reset in 1..4_000_u64,
        gaps in proptest::collection::vec(0..60_u64, 1..200),
    ) {
        let mut budget = Budget::new(TERMS, Moment::ZERO);
        let mut now = SECOND;
        let Verdict::Granted(first) = budget.ask(Asker::Poll, now) else {
            unreachable!("a second has refilled some")
        };
        let quotas = vec![Quota { remaining, reset: Duration::from_millis(reset) }];
        let until = now + Duration::from_millis(reset);
        budget.answered(first, &Answer { quotas, ..Answer::default() }, now);
        let mut granted = 0;
        for gap in gaps {
            now += Duration::from_millis(gap);
            if now >= until {
                break;
            }
            let asked = budget.ask(Asker::Caller(gap), now);
            granted += u64::from(matches!(asked, Verdict::Granted(_)));
            granted += budget.grants(now).len() as u64;
        }
        prop_assert!(granted <= remaining, "{granted}");
    }
}

#[test]
fn a_budget_begins_without_a_burst_and_uses_all_of_itself() {
    let mut world = World::new(TERMS);
    world.run(&steady(20, 60, 0, AT_ONCE));
    let first_second = world.seen.iter().filter(|at| **at < SECOND).count();
    assert!(first_second <= 20, "{first_second} in the first second");
    assert!(world.seen.len() >= 395, "{}", world.seen.len());
}

#[test]
fn slow_answers_cost_little() {
    for (burst, least) in [(1, 0.79), (2, 0.95), (20, 0.95)] {
        let mut world = World::new(Terms { burst, ..TERMS });
        let slow = Way {
            answered: SECOND * 3,
            ..AT_ONCE
        };
        world.run(&steady(20, 60, 0, slow));
        let share = world.seen.len() as f64 / 400.0;
        assert!(share >= least, "{share} at a burst of {burst}");
    }
}

#[test]
fn polls_have_their_floor_and_callers_the_rest() {
    let mut world = World::new(TERMS);
    world.run(&steady(30, 60, 10, AT_ONCE));
    let until_end = |who: fn(&Asker) -> bool| {
        let granted = world.granted.iter();
        granted
            .filter(|(asker, _, at)| who(asker) && *at < SECOND * 30)
            .count()
    };
    // Two a second are theirs, eighteen the callers'.
    assert!(
        (58..=62).contains(&until_end(is_poll)),
        "{}",
        until_end(is_poll)
    );
    let callers = until_end(|asker| !is_poll(asker));
    assert!((530..=542).contains(&callers), "{callers}");
}

#[test]
fn polls_without_a_floor_take_what_callers_leave() {
    let terms = Terms {
        poll_floor: 0.0,
        ..TERMS
    };
    let mut world = World::new(terms);
    world.run(&steady(10, 15, 30, AT_ONCE));
    let refused = world.refused.len();
    assert_eq!(refused, 0, "callers were refused though polls can wait");
    let polls = world
        .granted
        .iter()
        .filter(|(asker, _, at)| is_poll(asker) && *at < SECOND * 10);
    assert!(polls.count() >= 45);
}

/// One identity asks for five times what there is; another now and then for one.
#[test]
fn who_asks_a_thousand_times_does_not_shut_out_others() {
    let mut coming = steady(10, 100, 0, AT_ONCE);
    let modest = (1..10).map(|n| (SECOND * n + MILLI * 7, Asker::Caller(2), AT_ONCE));
    coming.extend(modest);
    coming.sort_by_key(|(at, ..)| *at);
    let mut world = World::new(TERMS);
    world.run(&coming);
    let modest = world
        .granted
        .iter()
        .filter(|(asker, ..)| *asker == Asker::Caller(2));
    let waits: Vec<Duration> = modest
        .map(|(_, asked, at)| at.saturating_sub(*asked))
        .collect();
    assert_eq!(waits.len(), 9, "one of nine was refused");
    assert!(waits.iter().all(|wait| *wait <= MILLI * 150), "{waits:?}");
}

#[test]
fn callers_of_one_identity_are_served_as_they_came() {
    let mut world = World::new(TERMS);
    world.run(&steady(3, 40, 0, AT_ONCE));
    assert!(world.granted.is_sorted_by_key(|(_, asked, _)| *asked));
}

#[test]
fn a_refused_caller_is_told_when_it_would_not_be() {
    let mut world = World::new(TERMS);
    // Nothing is left, and twenty wait for what a second refills.
    world.run(&[]);
    let waits = (0..40)
        .map(|_| world.budget.ask(Asker::Caller(1), MILLI * 3))
        .collect::<Vec<_>>();
    let waiting = waits
        .iter()
        .filter(|v| matches!(v, Verdict::Waits(_)))
        .count();
    assert_eq!(waiting, 20);
    let Verdict::Refused(wait) = waits[39] else {
        panic!("{:?}", waits[39])
    };
    assert_eq!(wait, MILLI * 1_047);
}

#[test]
fn what_was_never_sent_or_never_billed_comes_back() {
    for free in [false, true] {
        let terms = Terms {
            not_modified_free: free,
            ..TERMS
        };
        let mut budget = Budget::new(terms, Moment::ZERO);
        let now = SECOND;
        let [one, other] = [Asker::Poll; 2].map(|asker| match budget.ask(asker, now) {
            Verdict::Granted(ticket) => ticket,
            verdict => panic!("{verdict:?}"),
        });
        assert_eq!(budget.remaining(), 18);
        budget.unsent(one, now);
        assert_eq!(budget.remaining(), 19);
        let not_modified = Answer {
            kind: Kind::NotModified,
            ..Answer::default()
        };
        budget.sent(other, now);
        budget.answered(other, &not_modified, now);
        assert_eq!(budget.remaining(), 19 + u32::from(free));
    }
}

#[test]
fn too_many_requests_hold_both_sides_up_but_not_who_polls_by_hand() {
    let mut budget = Budget::new(TERMS, Moment::ZERO);
    let now = SECOND;
    let Verdict::Granted(ticket) = budget.ask(Asker::Caller(1), now) else {
        panic!("a second has refilled some");
    };
    let limited = Answer {
        kind: Kind::Limited(Some(SECOND * 30)),
        ..Answer::default()
    };
    budget.answered(ticket, &limited, now);
    assert_eq!(budget.held_for(), SECOND * 30);
    let Verdict::Refused(wait) = budget.ask(Asker::Caller(1), now) else {
        panic!("callers are held up");
    };
    assert_eq!(wait, SECOND * 30 + MILLI * 50);
    let Verdict::Waits(poll) = budget.ask(Asker::Poll, now) else {
        panic!("polls are held up");
    };
    let Verdict::Waits(hand) = budget.ask(Asker::Hand, now) else {
        panic!("the bucket is empty");
    };
    assert_eq!(budget.next(), Some(now + MILLI * 50));
    assert_eq!(budget.grants(now + SECOND), [hand]);
    assert_eq!(budget.grants(SECOND * 30), []);
    assert_eq!(budget.grants(SECOND * 31 + MILLI * 50), [poll]);
    assert!(
        budget.remaining() <= 1,
        "no burst meets who was just left alone"
    );
}

#[test]
fn without_a_word_the_hold_doubles_until_it_goes_well() {
    let mut budget = Budget::new(TERMS, Moment::ZERO);
    let mut now = SECOND;
    let limited = Answer {
        kind: Kind::Limited(None),
        ..Answer::default()
    };
    for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
        let both = [(); 2].map(|()| {
            loop {
                match budget.ask(Asker::Hand, now) {
                    Verdict::Granted(ticket) => break ticket,
                    Verdict::Waits(ticket) => budget.leave(ticket),
                    Verdict::Refused(_) => false,
                };
                now += MILLI * 50;
            }
        });
        for ticket in both {
            budget.answered(ticket, &limited, now);
        }
        assert_eq!(
            budget.held_for(),
            SECOND * expected,
            "those of one time count once"
        );
        now += SECOND * 61;
    }
    let Verdict::Granted(ticket) = budget.ask(Asker::Poll, now) else {
        panic!("the hold is over");
    };
    budget.answered(ticket, &Answer::default(), now);
    let Verdict::Granted(ticket) = budget.ask(Asker::Poll, now + SECOND) else {
        panic!("a second has refilled some");
    };
    budget.answered(ticket, &limited, now + SECOND);
    assert_eq!(budget.held_for(), SECOND);
}

#[test]
fn a_lower_quota_is_spread_over_its_time() {
    let mut budget = Budget::new(TERMS, Moment::ZERO);
    let mut now = SECOND * 10;
    let Verdict::Granted(ticket) = budget.ask(Asker::Poll, now) else {
        panic!("some are left");
    };
    let quotas = vec![
        Quota {
            remaining: 50,
            reset: SECOND * 10,
        },
        Quota {
            remaining: 1_000,
            reset: SECOND * 20,
        },
    ];
    budget.answered(
        ticket,
        &Answer {
            quotas,
            ..Answer::default()
        },
        now,
    );
    let mut granted = Vec::new();
    while now < SECOND * 20 {
        now += MILLI * 10;
        let asked = match budget.ask(Asker::Hand, now) {
            Verdict::Granted(ticket) => Some(ticket),
            _ => None,
        };
        for ticket in asked.into_iter().chain(budget.grants(now)) {
            budget.lost(ticket, now);
            granted.push(now);
        }
    }
    let late = granted.iter().filter(|at| **at > SECOND * 15).count();
    assert!((47..=50).contains(&granted.len()), "{}", granted.len());
    assert!(late >= 12, "{late} in the second half");
}

#[test]
fn what_callers_use_is_not_left_to_polls() {
    let mut world = World::new(TERMS);
    world.run(&steady(300, 5, 0, AT_ONCE));
    let left = world.budget.left_to_polls(SECOND * 300);
    assert!((14.5..15.5).contains(&left), "{left}");
    let later = world.budget.left_to_polls(SECOND * 900);
    assert!((19.9..=20.0).contains(&later), "{later}");
    world.run(&[]);
    let mut busy = World::new(TERMS);
    busy.run(&steady(300, 30, 0, AT_ONCE));
    let floor = busy.budget.left_to_polls(SECOND * 300);
    assert!((2.0..2.01).contains(&floor), "{floor}");
}

#[test]
fn a_breaker_opens_after_a_run_of_failures_and_probes_one_at_a_time() {
    let mut breaker = Breaker::default();
    let at = |millis: u32| MILLI * millis;
    for millis in [0, 100, 200, 300, 400, 450] {
        assert!(!breaker.failed(Pass::Go, at(millis)));
        assert_eq!(breaker.ask(at(millis)), Pass::Go);
    }
    assert!(breaker.failed(Pass::Go, at(500)), "five and half a second");
    assert_eq!(breaker.ask(at(600)), Pass::No(at(400)));
    assert_eq!(breaker.ask(at(1_000)), Pass::Probe);
    assert_eq!(breaker.ask(at(1_001)), Pass::No(at(999)), "one at a time");
    // Those that were on their way when it opened tell nothing of the probe.
    breaker.failed(Pass::Go, at(1_002));
    assert_eq!(breaker.ask(at(1_900)), Pass::No(at(100)));
    breaker.failed(Pass::Probe, at(1_950));
    assert_eq!(breaker.ask(at(2_000)), Pass::No(at(450)));
    assert_eq!(breaker.ask(at(2_450)), Pass::Probe);
    breaker.gave_up(at(2_460));
    assert_eq!(breaker.ask(at(2_460)), Pass::Probe);
    assert_eq!(
        breaker.ask(at(3_460)),
        Pass::Probe,
        "a silent one holds up nobody"
    );
    assert_eq!(breaker.open_since(), Some(at(500)));
    assert!(breaker.succeeded());
    assert!(breaker.is_at_ease());
    assert_eq!(breaker.ask(at(3_470)), Pass::Go);
    assert!(!breaker.succeeded());
}
