//! Which adaptive sources are polled before they must be: a pool for each upstream. Pure.
//!
//! Decides what of a poll its pool hears, how many polls there are to share, and how many that
//! were pulled forward are at work at once. Leaves who is next to [`crate::schedule::adaptive`],
//! and that everybody is polled after its `max` to the agenda.
//!
//! # What is a sample
//!
//! Scheduled polls, polls by hand, and callers' reads that count as polls, if they were believed.
//! One that failed, is held, or waits for confirmation is none; the one that settles it is, and
//! tells of all that came since the last. What a caller's write brought about is none either: who
//! announces its changes need not be polled for them. It has been looked at, though, so the time
//! up to then is behind it. Where request or rules have changed, what was learnt is of something
//! else, and is forgotten.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Outcome;
use super::conclude::Conclusion;
use crate::config::Every;
use crate::schedule::adaptive::{Bounds, Learnt, Look, MemberId, Pool, Sample, Tuning};
use crate::store::Memory;
use crate::time::Timestamp;
use crate::upstream::NOT_BEFORE_MAX;

/// Of the places of an upstream, those that were pulled forward take at most this part: others
/// find one.
const PLACES_PART: usize = 2;

/// Where there is a budget, who was pulled forward waits for it at most so long, and with it who
/// comes after it, for its schedule.
const QUEUE: Duration = Duration::from_secs(10);

/// So many may be at work at once however small the budget is: what changes together is looked at
/// together.
const AT_WORK_LEAST: f64 = 4.0;

/// Over so many polls the requests of one are averaged.
const POLLS_REMEMBERED: f64 = 64.0;

/// All pools.
#[derive(Debug)]
pub(super) struct Pools {
    /// By the lines of the agenda.
    lines: Vec<Line>,
    /// Lines by when their pools may have somebody.
    due: BTreeSet<(Timestamp, usize)>,
    /// By the places of the agenda.
    partakers: Vec<Option<Partaker>>,
    /// The latest present that was told, to notice when the clock goes back.
    now: Timestamp,
}

/// The pool of one upstream.
#[derive(Debug)]
struct Line {
    /// `None` while it has never had a member.
    pool: Option<Pool>,
    /// Most polls of the upstream at once.
    width: usize,
    /// Polls a second that its members ask for, where nothing bounds them.
    wish: f64,
    /// Those that were pulled forward and are not over.
    at_work: usize,
    at_work_max: usize,
    /// Requests that a poll takes on average, of members and of others.
    cost: f64,
    cost_of_others: f64,
    /// As it is in [`Pools::due`].
    due: Option<Timestamp>,
}

/// Somebody in a pool.
#[derive(Debug, Clone, Copy)]
struct Partaker {
    line: usize,
    id: MemberId,
    bounds: Bounds,
    /// Whether it was pulled forward, and its poll is not over.
    is_pulled: bool,
    /// Of polls since the last sample that left something undecided: whether any rang, and whether
    /// any was brought about by a write.
    rang: bool,
    written: bool,
}

/// What is known of somebody who joins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Joining {
    bounds: Bounds,
    learnt: Learnt,
    /// When it was last believed.
    look: Option<Look>,
    /// Whether its last poll failed or left something undecided.
    is_open: bool,
}

/// What a poll says of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing: it failed.
    Nothing,
    /// Nothing, and nothing of what is known has changed; not before this.
    Untouched(Timestamp),
    /// Something is not believed yet.
    Undecided {
        /// Something else rang.
        rang: bool,
        /// A caller's write brought it about.
        written: bool,
    },
    /// It was looked at because of a caller's write.
    Looked(Look),
    /// Whether it has changed.
    Sampled(Sample),
    /// What is known from now on is of something else.
    Renewed(Look),
}

/// What a poll came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Report {
    pub(super) told: Told,
    /// Requests that it took, as far as they count.
    pub(super) requests: u32,
}

/// What an upstream's budget leaves, in requests a second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    /// By callers.
    pub(super) by_callers: f64,
    /// At least.
    pub(super) floor: f64,
}

/// How often somebody changes, as far as anyone knows, and is polled because of that.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Rhythm {
    /// Polls that find something new, an hour, if there were enough of them.
    pub changes_per_hour: f64,
    /// Polls an hour.
    pub polls_per_hour: f64,
}

impl Rhythm {
    /// That of both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            changes_per_hour: self.changes_per_hour + other.changes_per_hour,
            polls_per_hour: self.polls_per_hour + other.polls_per_hour,
        }
    }
}

impl Pools {
    /// A pool for each of these lines, of so many polls at once.
    pub(super) fn new(lines: impl IntoIterator<Item = usize>) -> Self {
        let line = |width| Line {
            pool: None,
            width,
            wish: 0.0,
            at_work: 0,
            at_work_max: 1,
            cost: 1.0,
            cost_of_others: 1.0,
            due: None,
        };
        Self {
            lines: lines.into_iter().map(line).collect(),
            due: BTreeSet::new(),
            partakers: Vec::new(),
            now: Timestamp::default(),
        }
    }

    /// Who has this place of this line takes part.
    pub(super) fn join(&mut self, index: usize, line: usize, joining: Joining, now: Timestamp) {
        let Joining {
            bounds,
            learnt,
            look,
            is_open,
        } = joining;
        let place = &mut self.lines[line];
        let pool = place
            .pool
            .get_or_insert_with(|| Pool::new(Tuning::default()));
        let id = pool.join(number(index), learnt);
        if let Some(look) = look {
            // A clock that was far ahead may have left times that are far away.
            let bound = now.plus(NOT_BEFORE_MAX.max(bounds.min));
            let look = Look {
                at: look.at.min(now),
                not_before: look.not_before.min(bound),
            };
            pool.resume(id, look, now);
        }
        if is_open {
            pool.suspend(id);
        }
        place.wish += bounds.middle_per_second();
        if self.partakers.len() <= index {
            self.partakers.resize(index + 1, None);
        }
        self.partakers[index] = Some(Partaker {
            line,
            id,
            bounds,
            is_pulled: false,
            rang: false,
            written: false,
        });
        self.file(line);
    }

    /// It does not take part any more.
    pub(super) fn leave(&mut self, index: usize) {
        let partaker = self.partakers.get_mut(index).and_then(Option::take);
        let Some(partaker) = partaker else { return };
        let line = &mut self.lines[partaker.line];
        line.wish = (line.wish - partaker.bounds.middle_per_second()).max(0.0);
        line.at_work -= usize::from(partaker.is_pulled);
        if let Some(pool) = &mut line.pool {
            pool.leave(partaker.id);
        }
        self.file(partaker.line);
    }

    /// A poll begins.
    pub(super) fn begun(&mut self, index: usize) {
        if let Some((partaker, pool)) = self.member(index) {
            pool.suspend(partaker.id);
            let line = partaker.line;
            self.file(line);
        }
    }

    /// What a poll would teach that says this, to be kept with what it leaves behind.
    pub(super) fn foresee(&mut self, index: usize, told: Told, now: Timestamp) -> Option<Learnt> {
        let (partaker, pool) = self.member(index)?;
        Some(match partaker.sums_up(told) {
            Told::Sampled(sample) => pool.foresee(partaker.id, Sample { at: now, ..sample }),
            Told::Renewed(_) => Learnt::default(),
            _ => pool.learnt(partaker.id),
        })
    }

    /// A poll on this line is over.
    pub(super) fn ended(&mut self, index: usize, line: usize, report: Report, now: Timestamp) {
        let Report { told, requests } = report;
        let place = &mut self.lines[line];
        let Some(pool) = &mut place.pool else { return };
        let partaker = self.partakers.get_mut(index).and_then(Option::as_mut);
        let Some(partaker) = partaker else {
            average(&mut place.cost_of_others, requests);
            return;
        };
        average(&mut place.cost, requests);
        if requests > 0 {
            pool.spend(now);
        }
        place.at_work -= usize::from(std::mem::take(&mut partaker.is_pulled));
        match partaker.sums_up(told) {
            Told::Nothing => {}
            Told::Untouched(not_before) => pool.go_on(partaker.id, not_before),
            Told::Undecided { rang, written } => {
                (partaker.rang, partaker.written) = (rang, written);
            }
            Told::Looked(look) => {
                partaker.settle();
                pool.looked(partaker.id, Look { at: now, ..look });
            }
            Told::Sampled(sample) => {
                partaker.settle();
                pool.sampled(partaker.id, Sample { at: now, ..sample });
            }
            Told::Renewed(look) => {
                partaker.settle();
                pool.leave(partaker.id);
                partaker.id = pool.join(number(index), Learnt::default());
                // Who begins together does not stay together: each as if it had been looked at
                // some time before. That is less than an interval, and is wrong once.
                let ago = partaker.bounds.middle().mul_f64(place_of(index));
                let at = now.minus(ago);
                pool.resume(partaker.id, Look { at, ..look }, now);
            }
        }
        self.file(line);
    }

    /// The next one that is to be polled before it must be, by its place.
    pub(super) fn release(&mut self, now: Timestamp) -> Option<usize> {
        let back = self.now.since(now);
        self.now = now;
        if back >= Duration::from_secs(1) {
            for number in 0..self.lines.len() {
                if let Some(pool) = &mut self.lines[number].pool {
                    pool.pass(now);
                    self.file(number);
                }
            }
        }
        while let Some(&(at, number)) = self.due.first()
            && at <= now
        {
            let line = &mut self.lines[number];
            let has_room = line.at_work < line.at_work_max;
            let pool = line.pool.as_mut().filter(|_| has_room);
            let tag = pool.and_then(|pool| pool.release(now));
            let Some(tag) = tag else {
                self.file(number);
                continue;
            };
            line.at_work += 1;
            let index = tag as usize;
            if let Some(Some(partaker)) = self.partakers.get_mut(index) {
                partaker.is_pulled = true;
            }
            // As long as there is room, the pool is asked for the next one at once.
            if self.lines[number].at_work >= self.lines[number].at_work_max {
                self.file(number);
            }
            return Some(index);
        }
        None
    }

    /// Who was released is not polled because of that.
    pub(super) fn missed(&mut self, index: usize) {
        if let Some(Some(partaker)) = self.partakers.get_mut(index)
            && std::mem::take(&mut partaker.is_pulled)
        {
            let line = partaker.line;
            self.lines[line].at_work -= 1;
            self.file(line);
        }
    }

    /// When [`Self::release`] may have somebody, if nothing happens before.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Lines on which polls are shared.
    pub(super) fn shared(&self) -> impl Iterator<Item = usize> {
        let lines = self.lines.iter().enumerate();
        lines
            .filter(|(_, line)| line.pool.is_some())
            .map(|(number, _)| number)
    }

    /// From now on so much is `left` on a line by a budget, or there is none; `steady` polls a
    /// second are made there whatever happens.
    pub(super) fn share(&mut self, line: usize, left: Option<Left>, steady: f64) {
        let place = &mut self.lines[line];
        let Some(pool) = &mut place.pool else { return };
        let part = (place.width / PLACES_PART).max(1);
        match left {
            None => {
                pool.share(place.wish);
                place.at_work_max = part;
            }
            Some(Left { by_callers, floor }) => {
                let requests = by_callers - steady * place.cost_of_others;
                let polls = requests.max(floor) / place.cost;
                pool.share(polls);
                let queue = (polls * QUEUE.as_secs_f64()).ceil().max(AT_WORK_LEAST);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "saturates"
                )]
                let queue = queue as usize;
                place.at_work_max = part.min(queue);
            }
        }
        self.file(line);
    }

    /// When somebody will be pulled forward if nothing happens before, and how often it is.
    pub(super) fn standing(&self, index: usize) -> Option<(Option<Timestamp>, Rhythm)> {
        let partaker = self.partakers.get(index)?.as_ref()?;
        let pool = self.lines[partaker.line].pool.as_ref()?;
        let (changes, polls) = pool.rates(partaker.id);
        let (least, most) = (
            1.0 / partaker.bounds.max.as_secs_f64(),
            1.0 / partaker.bounds.min.as_secs_f64(),
        );
        let rhythm = Rhythm {
            changes_per_hour: changes * 3_600.0,
            polls_per_hour: polls.clamp(least, most) * 3_600.0,
        };
        Some((pool.due_at(partaker.id), rhythm))
    }

    fn member(&mut self, index: usize) -> Option<(Partaker, &mut Pool)> {
        let partaker = (*self.partakers.get(index)?)?;
        let pool = self.lines[partaker.line].pool.as_mut()?;
        Some((partaker, pool))
    }

    /// Notes when a line's pool is to be asked.
    fn file(&mut self, number: usize) {
        let line = &mut self.lines[number];
        let has_room = line.at_work < line.at_work_max;
        let pool = line.pool.as_ref().filter(|_| has_room);
        let due = pool.and_then(Pool::next_release);
        if due == line.due {
            return;
        }
        if let Some(before) = std::mem::replace(&mut line.due, due) {
            self.due.remove(&(before, number));
        }
        if let Some(due) = due {
            self.due.insert((due, number));
        }
    }
}

impl Partaker {
    /// What a poll says together with those before it that left something undecided.
    fn sums_up(&self, told: Told) -> Told {
        match told {
            Told::Undecided { rang, written } => Told::Undecided {
                rang: rang || self.rang,
                written: written || self.written,
            },
            Told::Sampled(sample) if self.written => Told::Looked(Look {
                at: sample.at,
                not_before: sample.not_before,
            }),
            Told::Sampled(sample) => Told::Sampled(Sample {
                changed: sample.changed || self.rang,
                ..sample
            }),
            told => told,
        }
    }

    /// Nothing is undecided any more.
    const fn settle(&mut self) {
        (self.rang, self.written) = (false, false);
    }
}

impl Joining {
    /// Somebody as the store remembers it, if it is adaptive.
    pub(super) fn of(every: &Every, memory: &Memory) -> Option<Self> {
        let Every::Adaptive(bounds) = *every else {
            return None;
        };
        let look = |at: Timestamp| Look {
            at,
            not_before: not_before(bounds, at, memory),
        };
        Some(Self {
            bounds,
            learnt: memory.rhythm.as_deref().copied().unwrap_or_default(),
            look: memory.asked_at.map(look),
            is_open: is_open(memory),
        })
    }
}

impl Told {
    /// What a poll says that began then and came to this.
    pub(super) fn of(
        every: &Every,
        (before, conclusion): (&Memory, &Conclusion),
        (began, is_written): (Timestamp, bool),
    ) -> Self {
        let Every::Adaptive(bounds) = *every else {
            return Self::Nothing;
        };
        let memory = &conclusion.memory;
        let rang = conclusion.outcome == Outcome::Changed;
        let look = Look {
            at: began,
            not_before: not_before(bounds, began, memory),
        };
        let changes = conclusion.changes.as_ref();
        let begins_anew = changes.is_some_and(|changes| changes.is_baseline);
        if conclusion.outcome == Outcome::Error {
            Self::Nothing
        } else if is_open(memory) {
            Self::Undecided {
                rang,
                written: is_written,
            }
        } else if begins_anew || before.rules != memory.rules {
            Self::Renewed(look)
        } else if is_written {
            Self::Looked(look)
        } else {
            Self::Sampled(Sample {
                at: look.at,
                changed: rang,
                not_before: look.not_before,
            })
        }
    }

    /// What a caller's answer says that counts for nothing.
    pub(super) fn untouched(every: &Every, memory: &Memory) -> Self {
        match (every, memory.polled_at) {
            (Every::Adaptive(bounds), Some(at)) if !is_open(memory) => {
                Self::Untouched(not_before(*bounds, at, memory))
            }
            _ => Self::Nothing,
        }
    }
}

/// When somebody may be polled again who was polled then.
fn not_before(bounds: Bounds, at: Timestamp, memory: &Memory) -> Timestamp {
    let earliest = at.plus(bounds.min);
    memory.not_before.map_or(earliest, |at| at.max(earliest))
}

/// Whether the last poll failed or left something undecided.
fn is_open(memory: &Memory) -> bool {
    memory.failures > 0 || memory.held.is_some() || memory.pending.is_some()
}

/// Places from 0 to 1, evenly, whatever part of them is taken: steps of the golden ratio.
fn place_of(index: usize) -> f64 {
    (index as f64 * 0.618_033_988_749_895).fract()
}

fn average(cost: &mut f64, requests: u32) {
    if requests > 0 {
        *cost += (f64::from(requests) - *cost) / POLLS_REMEMBERED;
    }
}

/// Indices fit 32 bits: so many seats fit no memory.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
