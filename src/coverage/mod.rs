//! Which answers callers keep asking for, and what polling them in their place would save. Pure.
//!
//! Decides what is counted in bounded memory, and how often a source would have to poll. Leaves
//! which calls may be counted to the proxy: one that carries its caller's own credential, or is
//! for this caller alone, says nothing of what a source would get.
//!
//! The heaviest [`KEYS_MAX`] GETs are kept by the Space-Saving algorithm (Metwally, Agrawal and El
//! Abbadi 2005): a newcomer takes the place of the least, and inherits its count as the most by
//! which its own may be too high. Every call is counted; of bodies only some are digested, in
//! pairs of calls that follow each other, so that the share of unchanged answers is that of all.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::digest::Digest;
use crate::name::Name;
use crate::time::Timestamp;

/// GETs that are kept: an API that a service calls has some hundred, and so many take 1 MiB at
/// most.
pub const KEYS_MAX: usize = 1_000;

/// Longest path and query that is kept; longer ones are searches that nobody repeats.
pub const TARGET_BYTES_MAX: usize = 1_024;

/// The first answers of a GET are all digested, then one pair of so many.
const DIGESTED_FIRST: u64 = 64;
const PAIR_EVERY: u64 = 16;

/// What is older counts half as much: habits change.
const HALVED_AFTER: Duration = Duration::from_hours(48);

/// What was not asked for in so long is no habit any more.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(24);

/// Fewer calls are no habit yet.
const CALLS_MIN: u64 = 3;

/// Shorter times say nothing of a day.
const OBSERVED_MIN: Duration = Duration::from_secs(1);

/// A source polls so many times in the time between two changes: it then misses few of them, and
/// tells of each, on average, after an eighth of that time.
const POLLS_A_CHANGE: u32 = 4;

/// Periods that are proposed: those that a person would write.
const PERIODS: [Duration; 11] = [
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(15),
    Duration::from_secs(30),
    Duration::from_mins(1),
    Duration::from_mins(2),
    Duration::from_mins(5),
    Duration::from_mins(10),
    Duration::from_mins(15),
    Duration::from_mins(30),
    Duration::from_hours(1),
];

const DAY: Duration = Duration::from_hours(24);

/// Shared by those who count and those who ask.
pub type Shared = Arc<Mutex<Coverage>>;

/// A GET, as its upstream sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Get {
    /// The route that it came by.
    pub route: Name,
    /// The upstream that it went to.
    pub upstream: Name,
    /// Path and query after the upstream's URL, normalised.
    pub target: Box<str>,
    /// What else the answer depends on: its type and encoding.
    pub variant: u64,
}

/// What is kept of calls.
#[derive(Debug, Default)]
pub struct Coverage {
    kept: Vec<Kept>,
    places: HashMap<Arc<Get>, usize>,
    /// The least first: its count, and its place in `kept`.
    least: BTreeSet<(u64, usize)>,
}

#[derive(Debug)]
struct Kept {
    get: Arc<Get>,
    calls: u64,
    /// How many of them may be others'.
    error: u64,
    since: Timestamp,
    last: Timestamp,
    /// Calls since it is kept; never halved.
    number: u64,
    /// Answers compared with the one before, and those that were the same.
    compared: u64,
    unchanged: u64,
    /// Times that a digest was another than the last one, however many calls lay between.
    steps: u64,
    /// The last digest, and of which call it is.
    seen: Option<(u64, Digest)>,
}

/// A call that was counted.
#[derive(Debug, Clone)]
pub struct Counted {
    get: Arc<Get>,
    place: usize,
    number: u64,
    /// Whether a digest of its answer is wanted.
    pub wants_digest: bool,
}

/// A GET that callers repeat.
#[derive(Debug, Clone, PartialEq)]
pub struct Repeated {
    /// The route that it came by.
    pub route: Name,
    /// The upstream that it went to.
    pub upstream: Name,
    /// Path and query after the upstream's URL, normalised.
    pub target: Box<str>,
    /// Calls since it is watched.
    pub calls: u64,
    /// By how much that may be too high.
    pub calls_error: u64,
    /// How long it is watched.
    pub observed: Duration,
    /// Calls a day, at the rate so far.
    pub calls_a_day: f64,
    /// The share of answers that were the one before; `None` if none was compared.
    pub unchanged: Option<f64>,
    /// How often a source would poll it.
    pub every: Duration,
    /// How many polls a day that are.
    pub polls_a_day: f64,
}

impl Repeated {
    /// Requests a day that the upstream would not see.
    #[must_use]
    pub fn saved_a_day(&self) -> f64 {
        self.calls_a_day - self.polls_a_day
    }
}

impl Coverage {
    /// Counts a call that was answered well.
    pub fn count(&mut self, get: Get, now: Timestamp) -> Counted {
        let place = match self.places.get(&get) {
            Some(place) => *place,
            None => self.take_in(get, now),
        };
        let kept = &mut self.kept[place];
        self.least.remove(&(kept.calls, place));
        if now.since(kept.since) > HALVED_AFTER {
            kept.halve(now);
        }
        kept.calls += 1;
        kept.number += 1;
        kept.last = now;
        self.least.insert((kept.calls, place));
        Counted {
            get: Arc::clone(&kept.get),
            place,
            number: kept.number,
            wants_digest: kept.number <= DIGESTED_FIRST || kept.number % PAIR_EVERY <= 1,
        }
    }

    /// The digest of a counted call's answer; of those who ask at once, whose comes first counts
    /// as first.
    pub fn saw(&mut self, counted: &Counted, digest: Digest) {
        let Some(kept) = self.kept_of(counted) else {
            return;
        };
        if let Some((number, before)) = kept.seen {
            if counted.number <= number {
                return;
            }
            if counted.number == number + 1 {
                kept.compared += 1;
                kept.unchanged += u64::from(digest == before);
            }
            kept.steps += u64::from(digest != before);
        }
        kept.seen = Some((counted.number, digest));
    }

    /// A counted call's answer was 304: the caller has it already.
    pub fn was_known(&mut self, counted: &Counted) {
        let Some(kept) = self.kept_of(counted) else {
            return;
        };
        kept.compared += 1;
        kept.unchanged += 1;
        if let Some((number, digest)) = kept.seen
            && counted.number == number + 1
        {
            kept.seen = Some((counted.number, digest));
        }
    }

    /// What callers repeat, what saves most first.
    #[must_use]
    pub fn report(&self, now: Timestamp) -> Vec<Repeated> {
        let mut targets: BTreeMap<(&Name, &Name, &str), Sum> = BTreeMap::new();
        for kept in &self.kept {
            if now.since(kept.last) > FORGOTTEN_AFTER {
                continue;
            }
            let key = (&kept.get.route, &kept.get.upstream, &*kept.get.target);
            targets.entry(key).or_default().add(kept);
        }
        let repeated = targets
            .into_iter()
            .filter_map(|(key, sum)| sum.told(key, now));
        let mut repeated: Vec<Repeated> = repeated.collect();
        repeated.sort_by(|a, b| b.saved_a_day().total_cmp(&a.saved_a_day()));
        repeated
    }

    /// The place of a newcomer: a free one, or the least's.
    fn take_in(&mut self, get: Get, now: Timestamp) -> usize {
        let get = Arc::new(get);
        let mut kept = Kept {
            get: Arc::clone(&get),
            calls: 0,
            error: 0,
            since: now,
            last: now,
            number: 0,
            compared: 0,
            unchanged: 0,
            steps: 0,
            seen: None,
        };
        let place = match self.least.first().copied() {
            Some(least @ (calls, place)) if self.kept.len() >= KEYS_MAX => {
                self.least.remove(&least);
                self.places.remove(&self.kept[place].get);
                (kept.calls, kept.error) = (calls, calls);
                self.kept[place] = kept;
                place
            }
            _ => {
                self.kept.push(kept);
                self.kept.len() - 1
            }
        };
        self.places.insert(get, place);
        place
    }

    /// What is kept of the GET that was counted, if it still is.
    fn kept_of(&mut self, counted: &Counted) -> Option<&mut Kept> {
        let kept = self.kept.get_mut(counted.place)?;
        Arc::ptr_eq(&kept.get, &counted.get).then_some(kept)
    }
}

impl Kept {
    fn halve(&mut self, now: Timestamp) {
        for count in [
            &mut self.calls,
            &mut self.error,
            &mut self.compared,
            &mut self.unchanged,
            &mut self.steps,
        ] {
            *count /= 2;
        }
        self.since = now.minus(now.since(self.since) / 2);
    }
}

/// All variants of one target.
#[derive(Default)]
struct Sum {
    calls: u64,
    error: u64,
    since: Option<Timestamp>,
    compared: u64,
    unchanged: u64,
    steps: u64,
}

impl Sum {
    fn add(&mut self, kept: &Kept) {
        self.calls += kept.calls;
        self.error += kept.error;
        let since = self.since.map_or(kept.since, |since| since.min(kept.since));
        self.since = Some(since);
        self.compared += kept.compared;
        self.unchanged += kept.unchanged;
        self.steps = self.steps.max(kept.steps);
    }

    /// `None` for what is no habit.
    fn told(&self, key: (&Name, &Name, &str), now: Timestamp) -> Option<Repeated> {
        let observed = now.since(self.since?);
        let own = self.calls - self.error;
        if own < CALLS_MIN || observed < OBSERVED_MIN {
            return None;
        }
        let days = observed.as_secs_f64() / DAY.as_secs_f64();
        // The first call begins the time that is watched.
        let calls_a_day = (own - 1) as f64 / days;
        let unchanged = self.unchanged as f64 / self.compared as f64;
        let every = self.every(own, observed);
        let (route, upstream, target) = key;
        Some(Repeated {
            route: route.clone(),
            upstream: upstream.clone(),
            target: target.into(),
            calls: self.calls,
            calls_error: self.error,
            observed,
            calls_a_day,
            unchanged: (self.compared > 0).then_some(unchanged),
            every,
            polls_a_day: DAY.as_secs_f64() / every.as_secs_f64(),
        })
    }

    /// How often a source would poll: [`POLLS_A_CHANGE`] times between two changes. Of those there
    /// were at least as many as digests differed; where answers change faster than they are
    /// digested, the pairs tell how many more. Where none was seen, one is expected now.
    fn every(&self, calls: u64, observed: Duration) -> Duration {
        let others = self.compared - self.unchanged;
        let share = others as f64 / self.compared.max(1) as f64;
        let changes = (share * calls as f64).max(self.steps.max(1) as f64);
        let between = observed.as_secs_f64() / changes;
        let wanted = Duration::try_from_secs_f64(between).unwrap_or(Duration::MAX) / POLLS_A_CHANGE;
        let fitting = PERIODS.iter().rev().find(|period| **period <= wanted);
        fitting.copied().unwrap_or(PERIODS[0])
    }
}
