//! Which of many sources to poll next, so that changes are seen soon. Pure: the present is an
//! argument, and there is no randomness.
//!
//! Decides for the sources of one upstream, which share so many polls an hour. Leaves to others
//! that a source is polled at the latest after its `max`, and what failures and upstreams ask for.
//!
//! # The rule
//!
//! What counts is the mean time from a change to the poll that finds it. A source that changes at
//! rate λ and was polled a time `t` ago has collected an expected waiting of `λt²/2` since. It is
//! due when that reaches a price `w`, the same for all: after `T = √(2w/λ)`. So rates of polls go
//! with the square root of rates of change, which is the best there is for changes that come
//! independently; and the price is such that all polls together are as many as there are to share.
//!
//! # Changes come together
//!
//! The sources of one upstream seldom change independently: somebody works, and touches several of
//! them. So time is not what a clock of the wall shows, but that of the upstream, which goes on in
//! two ways, each on average as fast as the wall's:
//!
//! - evenly, by `1 - φ`;
//! - whenever a source is found changed that nothing else announced: by `φ` times the mean time
//!   between two such *news*, of late.
//!
//! `φ` is the share of changes that came with news of others, and is learnt: each change that is
//! found is put down to either way in proportion to what it brought since the last poll. Where all
//! sources change independently it becomes small, and the clock is that of the wall. Where it does
//! not, one source found changed moves forward all those that have not been looked at since, the
//! more the rarer there is news, and each by what it is worth: `λ` times the step of the clock is
//! how likely it changed, too. An earlier study kept the partners that each source often changed
//! with; that gained less, and took much more memory, for half of all sources change too seldom to
//! have any.
//!
//! # What is learnt of a source
//!
//! See [`Learnt`]: four numbers, from polls alone.

mod clock;
mod learnt;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use clock::Clock;
pub use learnt::Learnt;
use learnt::{Found, Prior, Seen};

use crate::time::Timestamp;

/// The numbers of the rule that are not learnt. None is fitted to anything: the result changes by
/// less than a tenth if one of them is halved or doubled, as `examples/simulate.rs` shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuning {
    /// What is known of a source before its first poll, as a number of changes: as little as can
    /// be said. Half a change is what Jeffreys' rule gives for a rate.
    pub prior: f64,
    /// How many of its latest changes a source is judged by. Fewer say little: after 16 the error
    /// is a quarter, and the rate of polls goes with its root. More would be slow to notice that
    /// a source has become another.
    pub memory: f64,
    /// Over how much time the polls are as many as they should be: what a quiet night saves, a
    /// busy day may spend.
    pub horizon: Duration,
    /// Which share of changes is thought to come with news of others, before any was found: a
    /// quarter. Where it is most, a few changes show it; where it is none, only many do.
    pub together: f64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            prior: 0.5,
            memory: 16.0,
            horizon: Duration::from_hours(24),
            together: 0.25,
        }
    }
}

/// How far the price may leave what it should be on average, as a power of e: a burst of changes
/// may cost polls that must be saved later, but never makes a source 20 times rarer or more
/// frequent than it should be.
const CORRECTION_MAX: f64 = 3.0;

/// A poll in thirty years: nothing is divided by less.
const RATE_MIN: f64 = 1e-9;

/// Between which times a source is polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Not sooner after the last poll.
    pub min: Duration,
    /// Not later, unless it fails.
    pub max: Duration,
}

impl Bounds {
    /// How often a source is polled of which nothing is known: between its bounds, and as many
    /// times less often than `min` allows as more often than `max` asks for.
    #[must_use]
    pub fn middle_per_second(self) -> f64 {
        1.0 / (self.min.as_secs_f64() * self.max.as_secs_f64()).sqrt()
    }
}

/// A poll that was believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When it began.
    pub at: Timestamp,
    /// Whether there was anything new since the last one.
    pub changed: bool,
    /// The next one must not be before this.
    pub not_before: Timestamp,
}

/// A source in its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemberId(u32);

/// Sources of one upstream that share its polls.
#[derive(Debug)]
pub struct Pool {
    tuning: Tuning,
    /// Polls to share, per second.
    rate: f64,
    /// Polls that might have been made and were not; negative: too many were.
    saved: f64,
    /// What the price has learnt from that: a power of e.
    dearness: f64,
    now: Option<Timestamp>,
    clock: Clock,
    members: Vec<Member>,
    vacant: Vec<u32>,
    /// Members by the upstream's time, in microseconds, at which they are due.
    by_clock: BinaryHeap<Reverse<(i64, u32, u32)>>,
    /// Members that would be due, but must not be polled yet.
    early: BinaryHeap<Reverse<(Timestamp, u32, u32)>>,
    totals: Totals,
    /// The share of changes that come with news of others; before the first is found, what the
    /// members remember tells.
    together: Option<f64>,
    /// So many changes say so.
    found: f64,
    /// Samples since the totals were counted afresh.
    samples: usize,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    /// What [`Pool::release`] gives back.
    tag: u32,
    learnt: Learnt,
    /// When it was polled last.
    last: Option<Last>,
    not_before: Timestamp,
    /// The root of its rate, as it is in the totals.
    root: f64,
    /// Entries of the heaps with another number are void.
    generation: u32,
    /// Whether there is anybody.
    is_in: bool,
}

/// When a source was polled, by all clocks.
#[derive(Debug, Clone, Copy)]
struct Last {
    at: Timestamp,
    reading: f64,
    news: u32,
}

/// Sums over all members.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    members: f64,
    changes: f64,
    exposure: f64,
    joint: f64,
    news: f64,
    roots: f64,
    /// Of squares, for how much rates differ.
    changes_squared: f64,
    exposure_squared: f64,
    changes_by_exposure: f64,
}

impl Pool {
    /// A pool without members and without polls to share.
    #[must_use]
    pub fn new(tuning: Tuning) -> Self {
        Self {
            tuning,
            rate: 0.0,
            saved: 0.0,
            dearness: 0.0,
            now: None,
            clock: Clock::default(),
            members: Vec::new(),
            vacant: Vec::new(),
            by_clock: BinaryHeap::new(),
            early: BinaryHeap::new(),
            totals: Totals::default(),
            together: None,
            found: 0.0,
            samples: 0,
        }
    }

    /// From now on there are so many polls to share, per second.
    pub fn share(&mut self, rate: f64) {
        self.rate = rate.max(0.0);
    }

    /// Somebody of whom so much was learnt takes part. It is due by itself only after its first
    /// sample; `tag` is what [`Self::release`] will call it.
    pub fn join(&mut self, tag: u32, learnt: Learnt) -> MemberId {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.members.push(Member::nobody());
            number(self.members.len() - 1)
        });
        let member = &mut self.members[index as usize];
        *member = Member {
            tag,
            learnt,
            is_in: true,
            generation: member.generation.wrapping_add(1),
            ..Member::nobody()
        };
        self.totals.shift(member, 1.0);
        self.settle_root(index);
        MemberId(index)
    }

    /// It does not take part any more.
    pub fn leave(&mut self, MemberId(index): MemberId) {
        let member = &mut self.members[index as usize];
        self.totals.shift(member, -1.0);
        *member = Member {
            generation: member.generation.wrapping_add(1),
            ..Member::nobody()
        };
        self.vacant.push(index);
    }

    /// What was learnt of somebody.
    #[must_use]
    pub fn learnt(&self, MemberId(index): MemberId) -> Learnt {
        self.members[index as usize].learnt
    }

    /// A poll was made, whatever came of it.
    pub fn spend(&mut self, now: Timestamp) {
        self.advance(now);
        self.saved = (self.saved - 1.0).max(-self.saved_max());
    }

    /// Nothing moves this one forward until its next sample: a poll is at work, or it fails.
    pub fn suspend(&mut self, MemberId(index): MemberId) {
        let member = &mut self.members[index as usize];
        member.generation = member.generation.wrapping_add(1);
    }

    /// A poll found out whether somebody changed since its last sample. The first one after it
    /// joined only says from when on.
    pub fn sampled(&mut self, MemberId(index): MemberId, sample: Sample) {
        self.advance(sample.at);
        let member = self.members[index as usize];
        if let Some(last) = member.last {
            let found = sample.changed.then(|| self.found(&member, last, sample.at));
            let seen = Seen {
                exposure: self.clock.reading() - last.reading,
                found,
            };
            if let Some(found) = found {
                self.learn_together(found.joint);
            }
            if found.is_some_and(|found| found.is_news) {
                let (together, known) = (self.together(), self.known_between_news());
                let memory = self.tuning.memory;
                self.clock.news(sample.at, together, memory, known);
            }
            let member = &mut self.members[index as usize];
            self.totals.shift(member, -1.0);
            member.learnt.see(seen, &self.tuning);
            self.totals.shift(member, 1.0);
        }
        let member = &mut self.members[index as usize];
        member.last = Some(Last {
            at: sample.at,
            reading: self.clock.reading(),
            news: self.clock.news_count(),
        });
        member.not_before = sample.not_before;
        self.settle_root(index);
        self.recount();
        self.plan(index);
    }

    /// The next one that is due, by its tag. It is not due again before its next sample.
    pub fn release(&mut self, now: Timestamp) -> Option<u32> {
        self.advance(now);
        while let Some(&Reverse((at, index, generation))) = self.early.peek()
            && at <= now
        {
            self.early.pop();
            if self.members[index as usize].generation == generation {
                self.plan(index);
            }
        }
        let reading = micros(self.clock.reading());
        while let Some(&Reverse((due, index, generation))) = self.by_clock.peek()
            && due <= reading
        {
            self.by_clock.pop();
            let member = &self.members[index as usize];
            if member.generation != generation {
                continue;
            }
            if now < member.not_before {
                self.early
                    .push(Reverse((member.not_before, index, generation)));
                continue;
            }
            // The price may have risen since it was planned.
            let due = self.due(member);
            if due > reading {
                self.by_clock.push(Reverse((due, index, generation)));
                continue;
            }
            let member = &mut self.members[index as usize];
            member.generation = member.generation.wrapping_add(1);
            return Some(member.tag);
        }
        None
    }

    /// When [`Self::release`] may have somebody, if nothing happens before.
    #[must_use]
    pub fn next_release(&self) -> Option<Timestamp> {
        let early = self.early.peek().map(|Reverse((at, ..))| *at);
        let by_clock = self.by_clock.peek().and_then(|Reverse((due, ..))| {
            #[expect(clippy::cast_precision_loss, reason = "centuries fit")]
            let ahead = (*due as f64 / MICROS - self.clock.reading()).max(0.0);
            let wait = Duration::try_from_secs_f64(ahead / (1.0 - self.together())).ok()?;
            // Rounded up, so that nobody looks a moment too early, again and again.
            Some(
                self.now?
                    .plus(wait.saturating_add(Duration::from_millis(1))),
            )
        });
        early.into_iter().chain(by_clock).min()
    }

    fn advance(&mut self, now: Timestamp) {
        let even = 1.0 - self.together();
        self.clock.advance(now, even);
        let before = self.now.replace(now).unwrap_or(now);
        let seconds = now.since(before).as_secs_f64();
        // A controller of two parts, damped so that it just does not swing: what is saved now, and
        // a quarter of what was saved over time.
        let horizons = seconds / self.tuning.horizon.as_secs_f64();
        let dearness = self.dearness - self.saved_share() * horizons / 4.0;
        self.dearness = dearness.clamp(-CORRECTION_MAX, CORRECTION_MAX);
        self.saved = (self.saved + self.rate * seconds).min(self.saved_max());
    }

    /// What is saved, as a part of all polls in the horizon.
    fn saved_share(&self) -> f64 {
        self.saved / (self.rate.max(RATE_MIN) * self.tuning.horizon.as_secs_f64())
    }

    fn saved_max(&self) -> f64 {
        CORRECTION_MAX * self.rate * self.tuning.horizon.as_secs_f64()
    }

    /// What a change is that was found after `last`.
    fn found(&self, member: &Member, last: Last, at: Timestamp) -> Found {
        let news = f64::from(self.clock.news_count().wrapping_sub(last.news));
        let together = self.together() * news * self.clock.between_news();
        let even = (1.0 - self.together()) * at.since(last.at).as_secs_f64();
        Found {
            rate: member.rate(self),
            joint: if news > 0.0 {
                together / (together + even)
            } else {
                0.0
            },
            is_news: news == 0.0,
        }
    }

    /// The share of changes that come with news of others.
    fn together(&self) -> f64 {
        self.together.unwrap_or_else(|| {
            (self.totals.joint + self.tuning.together) / (self.totals.changes + 1.0)
        })
    }

    /// A change was found, and put down to news of others by so much.
    fn learn_together(&mut self, joint: f64) {
        let together = self.together();
        self.found = (self.found + 1.0).min(self.tuning.memory * self.tuning.memory);
        let step = 1.0 / (self.found + 1.0);
        self.together = Some(together + (joint - together) * step);
    }

    /// The mean time between news as the members remember it, in seconds: after a restart.
    fn known_between_news(&self) -> Option<f64> {
        let Totals {
            members,
            exposure,
            news,
            ..
        } = self.totals;
        (news >= 1.0).then(|| exposure / members / news)
    }

    /// What is known of a source before its first poll: the rate of all together, and as how many
    /// changes that counts. It counts more the less the others differ from it.
    fn prior(&self) -> Prior {
        let Totals {
            members,
            changes,
            exposure,
            changes_squared,
            exposure_squared,
            changes_by_exposure,
            ..
        } = self.totals;
        let least = self.tuning.prior;
        let wait = members.max(1.0) / self.rate.max(RATE_MIN);
        let usual = (changes + least) / (exposure + least * wait);
        // Rates of a gamma distribution of shape `a` scatter the numbers of changes by a part
        // `1/a` of the square of what was expected, beyond what chance does.
        let expected = usual * usual * exposure_squared;
        let scatter = changes_squared - 2.0 * usual * changes_by_exposure + expected;
        let beyond_chance = (scatter - usual * exposure).max(0.0);
        let spread = (beyond_chance + 1.0 / least) / (expected + 1.0);
        Prior {
            rate: usual,
            changes: (1.0 / spread).max(least),
        }
    }

    /// The upstream's time at which somebody is due who was polled.
    fn due(&self, member: &Member) -> i64 {
        let Some(last) = member.last else {
            return i64::MAX;
        };
        let dearness = self.dearness - self.saved_share();
        let dearness = dearness.clamp(-CORRECTION_MAX, CORRECTION_MAX);
        // The root of twice the price: with it, all polls together are those to share.
        let price = self.totals.roots / self.rate.max(RATE_MIN) * dearness.exp();
        micros(last.reading + price / member.root)
    }

    fn plan(&mut self, index: u32) {
        let member = &mut self.members[index as usize];
        member.generation = member.generation.wrapping_add(1);
        let generation = member.generation;
        let due = self.due(&self.members[index as usize]);
        self.by_clock.push(Reverse((due, index, generation)));
    }

    fn settle_root(&mut self, index: u32) {
        let member = self.members[index as usize];
        let root = member.rate(self).sqrt();
        self.totals.roots += root - member.root;
        self.members[index as usize].root = root;
    }

    /// Counts the totals afresh now and then: what a sum loses in rounding is lost for good. And
    /// clears the heaps of void entries.
    fn recount(&mut self) {
        self.samples += 1;
        if self.samples < self.members.len() {
            return;
        }
        self.samples = 0;
        let members = self.members.iter().filter(|member| member.is_in);
        let mut totals = Totals::default();
        for member in members {
            totals.shift(member, 1.0);
        }
        self.totals = totals;
        let members = &self.members;
        self.by_clock.retain(|Reverse((_, index, generation))| {
            members[*index as usize].generation == *generation
        });
    }
}

impl Member {
    const fn nobody() -> Self {
        Self {
            tag: 0,
            learnt: Learnt {
                changes: 0.0,
                exposure: 0.0,
                joint: 0.0,
                news: 0.0,
            },
            last: None,
            not_before: Timestamp::from_millis(0),
            root: 0.0,
            generation: 0,
            is_in: false,
        }
    }

    fn rate(&self, pool: &Pool) -> f64 {
        self.learnt.rate(pool.prior())
    }
}

impl Totals {
    fn shift(&mut self, member: &Member, sign: f64) {
        let Learnt {
            changes,
            exposure,
            joint,
            news,
        } = member.learnt;
        self.members += sign;
        let (changes, exposure) = (f64::from(changes), f64::from(exposure));
        self.changes += sign * changes;
        self.exposure += sign * exposure;
        self.changes_squared += sign * changes * changes;
        self.exposure_squared += sign * exposure * exposure;
        self.changes_by_exposure += sign * changes * exposure;
        self.joint += sign * f64::from(joint);
        self.news += sign * f64::from(news);
        self.roots += sign * member.root;
    }
}

const MICROS: f64 = 1e6;

#[expect(clippy::cast_possible_truncation, reason = "saturates")]
fn micros(seconds: f64) -> i64 {
    (seconds * MICROS) as i64
}

/// Indices fit 32 bits: so many sources fit no memory.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
