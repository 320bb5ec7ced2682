//! How many requests may be made now.
//!
//! A bucket of at most `burst` requests, refilled evenly. A request leaves it when it is granted,
//! but the upstream counts it when it arrives, some time later, and requests that were granted far
//! apart may arrive together. So as long as a request may not have arrived, what it took is not
//! refilled: at any time the requests on their way and those in the bucket are at most `burst`
//! together. What the upstream sees in any time of `per` is then at most `requests + burst`, however
//! long requests were on their way. A request that is not answered yet counts as arrived after
//! [`Bucket::travel`], so that slow answers cost no throughput.
//!
//! What the upstream says of itself counts too: where `remaining` requests are left until a reset,
//! refill is no faster than spreads them evenly over that time, and never more are granted.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use super::{Moment, Terms, Ticket};

/// Longest time that a request that was not answered counts as on its way: no connection takes
/// longer.
const TRAVEL_MAX: Duration = Duration::from_secs(10);

/// How long an upstream that was asked too often is left alone if it does not say, doubled each
/// time that it says so again, up to a minute.
const HOLD: Duration = Duration::from_secs(1);
const HOLD_DOUBLED_MAX: u32 = 6;
const HOLD_UNASKED_MAX: Duration = Duration::from_mins(1);

/// The longest it is left alone because it asked for it. One answer may speak for one of its
/// resources alone; one request an hour finds out.
const HOLD_MAX: Duration = Duration::from_hours(1);

/// Most quotas that one answer is believed to tell of.
const QUOTAS_MAX: usize = 8;

/// More than any budget has; what an upstream says beyond it is as good as nothing.
const REMAINING_MAX: u64 = 100_000_000;

/// Parts of one, in which the floor is counted.
const MILLION: u128 = 1_000_000;

/// What an upstream says that it allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// So many more requests…
    pub remaining: u64,
    /// … within so much time.
    pub reset: Duration,
}

/// See the [module](self). Amounts are in parts of a request: as many as `per` has nanoseconds, so
/// that each nanosecond refills a whole number of them and nothing is ever rounded.
#[derive(Debug)]
pub(super) struct Bucket {
    /// One request.
    unit: u128,
    /// What a nanosecond refills.
    rate: u128,
    burst: u128,
    level: u128,
    /// What polls may take ahead of callers.
    credit: u128,
    credit_max: u128,
    floor_millionths: u128,
    now: Moment,
    travel: Duration,
    /// Granted, and perhaps not arrived yet.
    travelling: HashSet<Ticket>,
    /// When those of them that were sent count as arrived, in that order.
    arrivals: VecDeque<(Moment, Ticket)>,
    /// Granted and not settled.
    unanswered: HashSet<Ticket>,
    /// What the upstream allows, and until when.
    quotas: Vec<Learnt>,
    /// The request whose answer said so.
    learnt_by: Option<Ticket>,
    held_until: Moment,
    /// How often running the upstream said that it was asked too often.
    strikes: u32,
    /// Requests before this were granted before it last said so.
    struck_before: Ticket,
}

#[derive(Debug, Clone, Copy)]
struct Learnt {
    left: u128,
    until: Moment,
}

impl Bucket {
    pub(super) fn new(terms: &Terms, now: Moment) -> Self {
        let unit = terms.per.as_nanos().max(1);
        let rate = u128::from(terms.requests.max(1));
        let burst = unit * u128::from(terms.burst.max(1));
        let floor_millionths = millionths(terms.poll_floor);
        let floor_of_burst = burst * floor_millionths / MILLION;
        let credit_max = if floor_millionths == 0 { 0 } else { unit };
        // Half of what refills while all but one are on their way; at a burst of 1 a quarter of
        // what one takes, which costs slow upstreams at most a fifth of the budget.
        let travel = ((burst - unit) / 2).max(unit / 4) / rate;
        let travel = Duration::from_nanos(u64::try_from(travel).unwrap_or(u64::MAX));
        Self {
            unit,
            rate,
            burst,
            level: 0,
            credit: 0,
            credit_max: floor_of_burst.max(credit_max),
            floor_millionths,
            now,
            travel: travel.min(TRAVEL_MAX),
            travelling: HashSet::new(),
            arrivals: VecDeque::new(),
            unanswered: HashSet::new(),
            quotas: Vec::new(),
            learnt_by: None,
            held_until: now,
            strikes: 0,
            struck_before: Ticket(0),
        }
    }

    /// How long a request that was not answered counts as on its way.
    #[cfg(test)]
    pub(super) const fn travel(&self) -> Duration {
        self.travel
    }

    /// Refills up to `now`.
    pub(super) fn advance(&mut self, now: Moment) {
        while self.now < now {
            // Between these points everything is even.
            let arrival = self.arrivals.front().map(|(at, _)| *at);
            let resets = self.quotas.iter().map(|quota| quota.until);
            let turns = resets.chain(arrival).chain([self.held_until, now]);
            let to = turns.filter(|at| *at > self.now).min().unwrap_or(now);
            self.refill(to.saturating_sub(self.now));
            self.now = to;
            self.forget();
        }
    }

    /// Whether a request may be made.
    pub(super) fn has(&self) -> bool {
        !self.is_held() && self.has_any()
    }

    /// Whether one may be made by who need not leave the upstream alone.
    pub(super) fn has_any(&self) -> bool {
        self.level >= self.unit && self.quotas.iter().all(|quota| quota.left >= self.unit)
    }

    /// Whether polls may go ahead of callers.
    pub(super) fn has_credit(&self) -> bool {
        self.credit >= self.unit
    }

    /// Whether the upstream asked to be left alone.
    pub(super) fn is_held(&self) -> bool {
        self.now < self.held_until
    }

    pub(super) fn held_for(&self) -> Duration {
        self.held_until.saturating_sub(self.now)
    }

    /// Grants `ticket` a request, which there must be.
    pub(super) fn take(&mut self, ticket: Ticket) {
        self.level -= self.unit;
        for quota in &mut self.quotas {
            quota.left -= self.unit;
        }
        self.travelling.insert(ticket);
        self.unanswered.insert(ticket);
    }

    /// A poll was granted one.
    pub(super) fn take_credit(&mut self) {
        self.credit = self.credit.saturating_sub(self.unit);
    }

    /// It is on its way.
    pub(super) fn sent(&mut self, ticket: Ticket, now: Moment) {
        self.advance(now);
        if self.travelling.contains(&ticket) {
            self.arrivals.push_back((self.now + self.travel, ticket));
        }
    }

    /// It is not on its way any more.
    pub(super) fn settle(&mut self, ticket: Ticket, now: Moment) {
        self.advance(now);
        self.travelling.remove(&ticket);
        self.unanswered.remove(&ticket);
    }

    /// A request that was granted counts as not made.
    pub(super) fn refund(&mut self) {
        self.level = self.filled(self.unit);
        for quota in &mut self.quotas {
            quota.left += self.unit;
        }
    }

    /// What the answer to `ticket` says of the upstream's own quotas. It may not have counted those
    /// that are unanswered; that others use it up, too, the next answer will tell.
    pub(super) fn learn(&mut self, ticket: Ticket, quotas: &[Quota]) {
        if self.learnt_by.is_some_and(|newer| newer > ticket) {
            return;
        }
        self.learnt_by = Some(ticket);
        let unanswered = self.unanswered.len() as u64;
        let learnt = quotas.iter().take(QUOTAS_MAX).map(|quota| Learnt {
            left: u128::from(
                quota
                    .remaining
                    .min(REMAINING_MAX)
                    .saturating_sub(unanswered),
            ) * self.unit,
            until: self.now + quota.reset,
        });
        self.quotas = learnt.filter(|quota| quota.until > self.now).collect();
        let least = self.quotas.iter().map(|quota| quota.left).min();
        self.level = self.level.min(least.unwrap_or(self.level));
    }

    /// The answer to `ticket` was "too many requests". Of those that were granted together the
    /// first one to say so counts; `next` is the ticket of the next request.
    pub(super) fn limited(&mut self, ticket: Ticket, next: Ticket, wait: Option<Duration>) {
        let is_new = ticket >= self.struck_before;
        if is_new {
            self.struck_before = next;
            self.strikes = self.strikes.saturating_add(1);
            self.level = 0;
        }
        let unasked = || {
            let doubled = self.strikes.saturating_sub(1).min(HOLD_DOUBLED_MAX);
            (HOLD * 2_u32.pow(doubled)).min(HOLD_UNASKED_MAX)
        };
        let wait = wait.or_else(|| is_new.then(unasked)).unwrap_or_default();
        let until = self.now + wait.min(HOLD_MAX);
        self.held_until = self.held_until.max(until);
    }

    /// An answer to `ticket` that was another.
    pub(super) fn welcome(&mut self, ticket: Ticket) {
        if ticket >= self.struck_before {
            self.strikes = 0;
        }
    }

    /// When there will be a request; `None` if only the end of one that is on its way can help.
    pub(super) fn next(&self) -> Option<Moment> {
        self.next_of_any().map(|next| next.max(self.held_until))
    }

    /// [`Self::next`] for who need not leave the upstream alone.
    pub(super) fn next_of_any(&self) -> Option<Moment> {
        if self.has_any() {
            return Some(self.now);
        }
        if self.level_max() < self.unit {
            return self.arrivals.front().map(|(at, _)| *at);
        }
        Some(self.now + self.refilled_in(self.unit, self.now))
    }

    /// How long a caller would wait behind `callers` others, and behind polls.
    pub(super) fn wait_for(&self, callers: usize, polls: usize) -> Duration {
        let whole = |count: usize| self.unit * (count as u128);
        let ahead_of_all = self.credit.min(whole(polls));
        let ahead = whole(callers) + ahead_of_all;
        let least = self.unit + ahead;
        let from = self.now.max(self.held_until);
        let mut wait = from.saturating_sub(self.now) + self.refilled_in(least, from);
        let later_polls = whole(polls) - ahead_of_all;
        if later_polls > 0 && self.floor_millionths > 0 {
            // Meanwhile some of those that wait get their share.
            let rest = MILLION.saturating_sub(self.floor_millionths).max(1);
            let stretched = (wait.as_nanos()).saturating_mul(MILLION) / rest;
            let all = wait + nanos(later_polls / self.rate);
            wait = nanos(stretched).min(all);
        }
        wait
    }

    pub(super) fn remaining(&self) -> u32 {
        let quotas = self.quotas.iter().map(|quota| quota.left);
        let least = quotas.chain([self.level]).min().unwrap_or(0);
        let held = self.is_held();
        let least = if held { 0 } else { least / self.unit };
        u32::try_from(least).unwrap_or(u32::MAX)
    }

    pub(super) fn is_full(&self) -> bool {
        self.level >= self.level_max() && self.quotas.is_empty() && !self.is_held()
    }

    /// What the bucket may hold now. While the upstream is left alone it is no more than one, for
    /// who need not do so; afterwards it is not met with a burst.
    fn level_max(&self) -> u128 {
        let travelling = self.unit * (self.travelling.len() as u128);
        let most = self.burst.saturating_sub(travelling);
        if self.is_held() {
            most.min(self.unit)
        } else {
            most
        }
    }

    /// The level with `more` added, as far as it may.
    fn filled(&self, more: u128) -> u128 {
        let filled = (self.level + more).min(self.level_max());
        filled.max(self.level)
    }

    fn refill(&mut self, time: Duration) {
        let time = time.as_nanos();
        let mut gain = self.rate * time;
        for quota in &self.quotas {
            let span = quota.until.saturating_sub(self.now).as_nanos();
            gain = gain.min(quota.left.saturating_sub(self.level) * time / span);
        }
        self.level = self.filled(gain);
        let credit = self.credit + gain * self.floor_millionths / MILLION;
        self.credit = credit.min(self.credit_max);
    }

    /// Lets go of what has passed.
    fn forget(&mut self) {
        while let Some(&(at, ticket)) = self.arrivals.front() {
            if at > self.now {
                break;
            }
            self.arrivals.pop_front();
            self.travelling.remove(&ticket);
        }
        let now = self.now;
        self.quotas.retain(|quota| quota.until > now);
    }

    /// How long after `from` the level has come to `wanted`, if nobody takes anything.
    fn refilled_in(&self, wanted: u128, from: Moment) -> Duration {
        let missing = wanted.saturating_sub(self.level);
        let alone = |missing: u128| missing.div_ceil(self.rate);
        let quotas = self.quotas.iter().map(|quota| {
            let gain = quota.left.saturating_sub(self.level);
            let span = quota.until.saturating_sub(from).as_nanos();
            if missing <= gain && gain > 0 {
                (missing * span).div_ceil(gain)
            } else {
                span + alone(missing - gain)
            }
        });
        nanos(quotas.fold(alone(missing), u128::max))
    }
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share is 0 to 1"
)]
fn millionths(share: f64) -> u128 {
    (share.clamp(0.0, 1.0) * MILLION as f64).round() as u128
}
