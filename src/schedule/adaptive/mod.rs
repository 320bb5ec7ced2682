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
//! See [`Learnt`]: four numbers, from polls alone. They outlive the pool ([`Pool::foresee`],
//! [`Pool::join`], [`Pool::resume`]); what the clock and the price have learnt they tell a new one.

mod clock;
mod learnt;
mod member;
#[cfg(test)]
mod tests;
mod totals;
mod tuning;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use clock::Clock;
pub use learnt::Learnt;
use learnt::{Found, Seen};
use member::{Last, Member};
use totals::Totals;
pub use tuning::{Bounds, Tuning};

use crate::time::Timestamp;

/// How far the price may leave what it should be on average, as a power of e: a burst of changes
/// may cost polls that must be saved later, but never makes a source 20 times rarer or more
/// frequent than it should be.
const CORRECTION_MAX: f64 = 3.0;

/// A poll in thirty years: nothing is divided by less.
const RATE_MIN: f64 = 1e-9;

/// How much there must be more or less to share before all are planned anew.
const SHARE_CHANGE: f64 = 1.25;

/// A clock that goes back by less is that of another thread, which looked a moment ago.
const STEP_BACK: Duration = Duration::from_secs(1);

/// A poll that was believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When it was.
    pub at: Timestamp,
    /// Whether there was anything new since the last one.
    pub changed: bool,
    /// The next one must not be before this.
    pub not_before: Timestamp,
}

/// A look at a source that was believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// When it was.
    pub at: Timestamp,
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
    /// What it was when all were planned last.
    planned_rate: f64,
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

impl Pool {
    /// A pool without members and without polls to share.
    #[must_use]
    pub fn new(tuning: Tuning) -> Self {
        Self {
            tuning,
            rate: 0.0,
            planned_rate: 0.0,
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
        let (least, most) = (
            self.planned_rate.min(self.rate),
            self.planned_rate.max(self.rate),
        );
        if most > least * SHARE_CHANGE {
            self.plan_all();
        }
    }

    /// Somebody of whom so much was learnt takes part. It is due by itself only after its first
    /// sample, or when it is [resumed](Self::resume); `tag` is what [`Self::release`] will call it.
    pub fn join(&mut self, tag: u32, learnt: Learnt) -> MemberId {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.members.push(Member::nobody());
            number(self.members.len() - 1)
        });
        let member = &mut self.members[index as usize];
        *member = Member {
            tag,
            learnt: learnt.if_sound(),
            is_in: true,
            generation: member.generation.wrapping_add(1),
            ..Member::nobody()
        };
        self.totals.shift(member.learnt, 0.0, 1.0);
        self.settle_root(index);
        MemberId(index)
    }

    /// Somebody who joined was looked at before, and since then time went on as it does on
    /// average.
    pub fn resume(&mut self, MemberId(index): MemberId, look: Look, now: Timestamp) {
        self.advance(now);
        let passed = now.since(look.at).as_secs_f64();
        let last = Last {
            at: look.at,
            reading: self.clock.reading() - passed,
            news: self.clock.news_count(),
        };
        self.look(index, last, look.not_before);
    }

    /// It does not take part any more.
    pub fn leave(&mut self, MemberId(index): MemberId) {
        let member = &mut self.members[index as usize];
        self.totals.shift(member.learnt, member.root, -1.0);
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

    /// It is now.
    pub fn pass(&mut self, now: Timestamp) {
        self.advance(now);
    }

    /// A poll was made, whatever came of it.
    pub fn spend(&mut self, now: Timestamp) {
        self.advance(now);
        self.saved = (self.saved - 1.0).max(-self.saved_max());
    }

    /// Nothing moves this one forward until its next look: a poll is at work, or it fails.
    pub fn suspend(&mut self, MemberId(index): MemberId) {
        self.members[index as usize].unplan();
    }

    /// As before it was [suspended](Self::suspend), but not before this: a poll came to nothing.
    pub fn go_on(&mut self, MemberId(index): MemberId, not_before: Timestamp) {
        let member = &mut self.members[index as usize];
        if member.last.is_some() {
            member.not_before = member.not_before.max(not_before);
            self.plan(index);
        }
    }

    /// Somebody was looked at for a reason of its own, as after a write: what there was until then
    /// is known, and says nothing of how often it changes.
    pub fn looked(&mut self, MemberId(index): MemberId, look: Look) {
        self.advance(look.at);
        let last = self.last(look.at);
        self.look(index, last, look.not_before);
    }

    /// What [`Self::sampled`] would make of what was learnt of somebody.
    #[must_use]
    pub fn foresee(&self, MemberId(index): MemberId, sample: Sample) -> Learnt {
        let member = self.members[index as usize];
        let mut clock = self.clock;
        clock.advance(sample.at, 1.0 - self.together());
        let mut learnt = member.learnt;
        if let Some(seen) = self.seen(&member, sample, clock) {
            learnt.see(seen, &self.tuning);
        }
        learnt
    }

    /// A poll found out whether somebody changed since its last sample. The first one after it
    /// joined only says from when on.
    pub fn sampled(&mut self, MemberId(index): MemberId, sample: Sample) {
        self.advance(sample.at);
        let member = self.members[index as usize];
        if let Some(seen) = self.seen(&member, sample, self.clock) {
            if let Some(found) = seen.found {
                self.learn_together(found.joint);
            }
            if seen.found.is_some_and(|found| found.is_news) {
                let (together, known) = (self.together(), self.totals.between_news());
                let memory = self.tuning.memory;
                self.clock.news(sample.at, together, memory, known);
            }
            let member = &mut self.members[index as usize];
            self.totals.shift(member.learnt, member.root, -1.0);
            member.learnt.see(seen, &self.tuning);
            self.totals.shift(member.learnt, member.root, 1.0);
        }
        let last = self.last(sample.at);
        self.settle_root(index);
        self.recount();
        self.look(index, last, sample.not_before);
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
            member.unplan();
            return Some(member.tag);
        }
        None
    }

    /// When [`Self::release`] may have somebody, if nothing happens before.
    #[must_use]
    pub fn next_release(&self) -> Option<Timestamp> {
        let early = self.early.peek().map(|Reverse((at, ..))| *at);
        let by_clock = self.by_clock.peek();
        let by_clock = by_clock.and_then(|Reverse((due, ..))| self.shows(*due));
        early.into_iter().chain(by_clock).min()
    }

    /// When somebody will be due, if nothing happens before.
    #[must_use]
    pub fn due_at(&self, MemberId(index): MemberId) -> Option<Timestamp> {
        let member = self.members[index as usize];
        let due = self.shows(self.due(&member)).filter(|_| member.is_planned);
        due.map(|due| due.max(member.not_before))
    }

    /// How often somebody changes, as far as anyone knows, and how often it is polled because of
    /// that; per second.
    #[must_use]
    pub fn rates(&self, MemberId(index): MemberId) -> (f64, f64) {
        let member = self.members[index as usize];
        let share = member.root / self.totals.roots.max(member.root);
        (member.root * member.root, self.rate * share)
    }

    /// When the clock shows this, if there is no news before.
    fn shows(&self, reading: i64) -> Option<Timestamp> {
        // In the words of `release`, so that what it leaves is never due at once.
        if reading <= micros(self.clock.reading()) {
            return self.now;
        }
        #[expect(clippy::cast_precision_loss, reason = "centuries fit")]
        let ahead = (reading as f64 / MICROS - self.clock.reading()).max(0.0);
        let wait = Duration::try_from_secs_f64(ahead / (1.0 - self.together())).ok()?;
        // Rounded up, so that nobody looks a moment too early, again and again.
        let wait = wait.saturating_add(Duration::from_millis(1));
        Some(self.now?.plus(wait))
    }

    fn advance(&mut self, now: Timestamp) {
        let before = self.now.unwrap_or(now);
        let back = before.since(now);
        if back >= STEP_BACK {
            self.step_back(back);
        } else if back > Duration::ZERO {
            return;
        }
        let even = 1.0 - self.together();
        self.clock.advance(now, even);
        self.now = Some(now);
        let seconds = now.since(before).as_secs_f64();
        // A controller of two parts, damped so that it just does not swing: what is saved now, and
        // a quarter of what was saved over time.
        let horizons = seconds / self.tuning.horizon.as_secs_f64();
        let dearness = self.dearness - self.saved_share() * horizons / 4.0;
        self.dearness = dearness.clamp(-CORRECTION_MAX, CORRECTION_MAX);
        self.saved = (self.saved + self.rate * seconds).min(self.saved_max());
    }

    /// The machine's clock was set back: all times go with it.
    fn step_back(&mut self, back: Duration) {
        self.clock.step_back(back);
        for member in &mut self.members {
            member.not_before = member.not_before.minus(back);
            if let Some(last) = &mut member.last {
                last.at = last.at.minus(back);
            }
        }
        let early = std::mem::take(&mut self.early).into_iter();
        self.early = early
            .map(|Reverse((at, index, generation))| Reverse((at.minus(back), index, generation)))
            .collect();
    }

    /// What is saved, as a part of all polls in the horizon.
    fn saved_share(&self) -> f64 {
        self.saved / (self.rate.max(RATE_MIN) * self.tuning.horizon.as_secs_f64())
    }

    fn saved_max(&self) -> f64 {
        CORRECTION_MAX * self.rate * self.tuning.horizon.as_secs_f64()
    }

    /// What a poll brings of somebody, if there was one before it.
    fn seen(&self, member: &Member, sample: Sample, clock: Clock) -> Option<Seen> {
        let last = member.last?;
        Some(Seen {
            exposure: clock.reading() - last.reading,
            found: sample.changed.then(|| self.found(member, last, sample.at)),
        })
    }

    /// What a change is that was found after `last`.
    fn found(&self, member: &Member, last: Last, at: Timestamp) -> Found {
        let news = f64::from(self.clock.news_count().wrapping_sub(last.news));
        let together = self.together() * news * self.clock.between_news();
        let even = (1.0 - self.together()) * at.since(last.at).as_secs_f64();
        Found {
            rate: member
                .learnt
                .rate(self.totals.prior(&self.tuning, self.rate)),
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

    /// A look at this time, by all clocks.
    const fn last(&self, at: Timestamp) -> Last {
        Last {
            at,
            reading: self.clock.reading(),
            news: self.clock.news_count(),
        }
    }

    fn look(&mut self, index: u32, last: Last, not_before: Timestamp) {
        let member = &mut self.members[index as usize];
        (member.last, member.not_before) = (Some(last), not_before);
        self.plan(index);
    }

    fn plan(&mut self, index: u32) {
        let member = &mut self.members[index as usize];
        member.unplan();
        member.is_planned = true;
        let generation = member.generation;
        let due = self.due(&self.members[index as usize]);
        self.by_clock.push(Reverse((due, index, generation)));
        // Who is looked at again and again leaves void entries behind; they may not outgrow the
        // members.
        let most = 2 * self.members.len() + 64;
        let members = &self.members;
        let stands = |index: u32, generation| members[index as usize].generation == generation;
        if self.by_clock.len() > most {
            let stands = |Reverse((_, index, of)): &Reverse<(_, u32, u32)>| stands(*index, *of);
            self.by_clock.retain(stands);
        }
        if self.early.len() > most {
            let stands = |Reverse((_, index, of)): &Reverse<(_, u32, u32)>| stands(*index, *of);
            self.early.retain(stands);
        }
    }

    /// Plans all anew who are planned: the price has changed.
    fn plan_all(&mut self) {
        self.planned_rate = self.rate;
        self.by_clock.clear();
        self.early.clear();
        for index in 0..number(self.members.len()) {
            if self.members[index as usize].is_in {
                self.settle_root(index);
            }
        }
        for index in 0..number(self.members.len()) {
            if self.members[index as usize].is_planned {
                self.plan(index);
            }
        }
    }

    fn settle_root(&mut self, index: u32) {
        let prior = self.totals.prior(&self.tuning, self.rate);
        let member = &mut self.members[index as usize];
        let root = member.learnt.rate(prior).sqrt();
        self.totals.roots += root - member.root;
        member.root = root;
    }

    /// Counts the totals afresh now and then: what a sum loses in rounding is lost for good.
    fn recount(&mut self) {
        self.samples += 1;
        if self.samples < self.members.len() {
            return;
        }
        self.samples = 0;
        let members = self.members.iter().filter(|member| member.is_in);
        let mut totals = Totals::default();
        for member in members {
            totals.shift(member.learnt, member.root, 1.0);
        }
        self.totals = totals;
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
