//! Who may ask an upstream, and when: the budget that polls and callers share, and its breaker.
//!
//! Pure: a point in time comes in as the duration since some beginning, nothing here waits. Leaves
//! waiting and waking to [`crate::upstream`], which answers are failures too.
//!
//! | module | what it decides |
//! | --- | --- |
//! | `bucket` | how many requests may be made now: refill, burst, what the upstream itself allows |
//! | `callers` | who of the waiting callers is next |
//! | `breaker` | whether an upstream is worth asking at all |
//!
//! # The order
//!
//! Polls as far as their floor goes (a share of what is refilled), then callers, then other polls.
//! Callers are served first come first served, but those of one identity (a client of a route) wait
//! in a line of their own, and the lines take turns: who asks a thousand times at once delays
//! others by one request a round, and itself by a thousand.

mod breaker;
mod bucket;
mod callers;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

pub use breaker::{Breaker, PROBE_EVERY, Pass};
pub use bucket::Quota;

use bucket::Bucket;
use callers::Callers;

/// A point in time: how long after the beginning.
pub type Moment = Duration;

/// Most callers that wait at once. What is waited for at most bounds them, too, but a second at a
/// million requests a second is a queue that nobody wants in memory.
pub const CALLERS_MAX: usize = 10_000;

/// The time over which callers' recent use is averaged.
const RECENT: Duration = Duration::from_mins(1);

/// What may be asked of an upstream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// So many requests…
    pub requests: u32,
    /// … in so much time, evenly.
    pub per: Duration,
    /// So many more at once, after a time in which less was asked.
    pub burst: u32,
    /// The share of it that polls get however many callers there are, 0 to 1.
    pub poll_floor: f64,
    /// The longest that a caller waits for its turn.
    pub wait: Duration,
    /// Whether the upstream does not count what it answers with 304.
    pub not_modified_free: bool,
}

impl Terms {
    /// Requests a second, in the long run.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        f64::from(self.requests) / self.per.as_secs_f64()
    }
}

/// Names one request. Later requests have greater ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A poll. It waits however long it takes.
    Poll,
    /// A poll that a person or a program asked for: ahead of other polls, and not held back by an
    /// upstream that asked to be left alone.
    Hand,
    /// A caller of this identity. It waits for [`Terms::wait`] at most.
    Caller(u64),
}

/// What is said to who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Granted(Ticket),
    /// Wait until [`Budget::grants`] names it, or [leave](Budget::leave).
    Waits(Ticket),
    /// It would wait longer than it may; it would not after this.
    Refused(Duration),
}

/// What of an answer concerns the budget.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// What it was.
    pub kind: Kind,
    /// What the upstream says that it allows from now on.
    pub quotas: Vec<Quota>,
}

/// What an answer was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// Neither of the others.
    #[default]
    Other,
    /// 304.
    NotModified,
    /// "Too many requests", and for how long to leave the upstream alone, if it said.
    Limited(Option<Duration>),
}

/// The budget of one upstream.
///
/// In any time of [`Terms::per`] the upstream sees at most `requests + burst` requests. What counts
/// is when a request reaches it, which is some time after it was granted: see `bucket`.
#[derive(Debug)]
pub struct Budget {
    terms: Terms,
    bucket: Bucket,
    callers: Callers,
    polls: VecDeque<Ticket>,
    by_hand: VecDeque<Ticket>,
    tickets: u64,
    /// Callers' requests a second, lately.
    recent: f64,
    recent_at: Moment,
}

impl Budget {
    /// A budget that begins now, without a burst: nobody knows what was asked before.
    #[must_use]
    pub fn new(terms: Terms, now: Moment) -> Self {
        Self {
            bucket: Bucket::new(&terms, now),
            terms,
            callers: Callers::default(),
            polls: VecDeque::new(),
            by_hand: VecDeque::new(),
            tickets: 0,
            recent: 0.0,
            recent_at: now,
        }
    }

    /// Its terms.
    #[must_use]
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Somebody wants to make a request.
    pub fn ask(&mut self, asker: Asker, now: Moment) -> Verdict {
        self.bucket.advance(now);
        let ticket = Ticket(self.tickets);
        self.tickets += 1;
        if self.is_next(asker) {
            self.grant(ticket, asker, now);
            return Verdict::Granted(ticket);
        }
        match asker {
            Asker::Poll => self.polls.push_back(ticket),
            Asker::Hand => self.by_hand.push_back(ticket),
            Asker::Caller(identity) => {
                let wait = self.wait_of(identity);
                if wait > self.terms.wait || self.callers.len() >= CALLERS_MAX {
                    return Verdict::Refused(wait);
                }
                self.callers.push(identity, ticket);
            }
        }
        Verdict::Waits(ticket)
    }

    /// Whoever of those who wait may go on now.
    pub fn grants(&mut self, now: Moment) -> Vec<Ticket> {
        self.bucket.advance(now);
        let mut granted = Vec::new();
        while let Some((ticket, asker)) = self.pop() {
            self.grant(ticket, asker, now);
            granted.push(ticket);
        }
        granted
    }

    /// When somebody may go on at the soonest; `None` while nobody waits, or nothing but the end of
    /// a request can help.
    #[must_use]
    pub fn next(&self) -> Option<Moment> {
        if !self.by_hand.is_empty() {
            return self.bucket.next_of_any();
        }
        let waits = !self.polls.is_empty() || self.callers.len() > 0;
        waits.then(|| self.bucket.next()).flatten()
    }

    /// Somebody stops waiting. False: it does not wait, for it was granted.
    pub fn leave(&mut self, ticket: Ticket) -> bool {
        let queues = [&mut self.polls, &mut self.by_hand];
        for queue in queues {
            if let Ok(at) = queue.binary_search(&ticket) {
                queue.remove(at);
                return true;
            }
        }
        self.callers.remove(ticket)
    }

    /// What was granted is on its way.
    pub fn sent(&mut self, ticket: Ticket, now: Moment) {
        self.bucket.sent(ticket, now);
    }

    /// What was granted was never sent: it does not count.
    pub fn unsent(&mut self, ticket: Ticket, now: Moment) {
        self.bucket.settle(ticket, now);
        self.bucket.refund();
    }

    /// What became of it will never be known.
    pub fn lost(&mut self, ticket: Ticket, now: Moment) {
        self.bucket.settle(ticket, now);
    }

    /// The upstream has answered.
    pub fn answered(&mut self, ticket: Ticket, answer: &Answer, now: Moment) {
        self.bucket.settle(ticket, now);
        match answer.kind {
            Kind::Other => self.bucket.welcome(ticket),
            Kind::NotModified => {
                self.bucket.welcome(ticket);
                if self.terms.not_modified_free {
                    self.bucket.refund();
                }
            }
            Kind::Limited(wait) => self.bucket.limited(ticket, Ticket(self.tickets), wait),
        }
        if !answer.quotas.is_empty() {
            self.bucket.learn(ticket, &answer.quotas);
        }
    }

    /// How long a caller of this identity would wait, as far as anyone can tell now.
    #[must_use]
    pub fn wait_of(&self, identity: u64) -> Duration {
        let ahead = self.callers.ahead_of(identity);
        let polls = self.polls.len() + self.by_hand.len();
        self.bucket.wait_for(ahead, polls)
    }

    /// Requests that could be made at once now.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.bucket.remaining()
    }

    /// Whether as much remains as can.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bucket.is_full()
    }

    /// How much longer the upstream is left alone, as it asked for.
    #[must_use]
    pub fn held_for(&self) -> Duration {
        self.bucket.held_for()
    }

    /// Callers and polls that wait.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        let polls = self.polls.len() + self.by_hand.len();
        (self.callers.len(), polls)
    }

    /// Requests a second that callers leave to polls, as they asked lately; at least the floor.
    #[must_use]
    pub fn left_to_polls(&self, now: Moment) -> f64 {
        let rate = self.terms.per_second();
        let left = rate - self.recent * self.fade(now);
        left.max(rate * self.terms.poll_floor)
    }

    /// Whether who asks now goes ahead of all who wait, and may.
    fn is_next(&self, asker: Asker) -> bool {
        let hand_waits = !self.by_hand.is_empty();
        let poll_waits = !self.polls.is_empty();
        let caller_waits = self.callers.len() > 0;
        let poll_goes = poll_waits && self.bucket.has_credit();
        match asker {
            Asker::Hand if self.bucket.is_held() => !hand_waits && self.bucket.has_any(),
            Asker::Hand | Asker::Poll => {
                !hand_waits && !poll_waits && !caller_waits && self.bucket.has()
            }
            Asker::Caller(_) => !hand_waits && !caller_waits && !poll_goes && self.bucket.has(),
        }
    }

    /// The next one to go on, if it may.
    fn pop(&mut self) -> Option<(Ticket, Asker)> {
        if self.bucket.is_held() {
            let may = self.bucket.has_any();
            let ticket = may.then(|| self.by_hand.pop_front()).flatten()?;
            return Some((ticket, Asker::Hand));
        }
        if !self.bucket.has() {
            return None;
        }
        if self.bucket.has_credit()
            && let Some(poll) = self.pop_poll()
        {
            return Some(poll);
        }
        let caller = self.callers.pop();
        let caller = caller.map(|(ticket, identity)| (ticket, Asker::Caller(identity)));
        caller.or_else(|| self.pop_poll())
    }

    fn pop_poll(&mut self) -> Option<(Ticket, Asker)> {
        let by_hand = self.by_hand.pop_front().map(|ticket| (ticket, Asker::Hand));
        by_hand.or_else(|| Some((self.polls.pop_front()?, Asker::Poll)))
    }

    fn grant(&mut self, ticket: Ticket, asker: Asker, now: Moment) {
        self.bucket.take(ticket);
        match asker {
            Asker::Poll | Asker::Hand => self.bucket.take_credit(),
            Asker::Caller(_) => {
                let fade = self.fade(now);
                self.recent = self.recent.mul_add(fade, RECENT.as_secs_f64().recip());
                self.recent_at = now;
            }
        }
    }

    /// What has become of callers' recent use since it was last looked at.
    fn fade(&self, now: Moment) -> f64 {
        let since = now.saturating_sub(self.recent_at);
        (-since.as_secs_f64() / RECENT.as_secs_f64()).exp()
    }
}
