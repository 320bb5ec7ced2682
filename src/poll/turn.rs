//! A source's turn: the attempt, its conclusion, the one commit, and what everyone hears of it.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use parking_lot::Mutex;

use super::agenda::{Ticket, Urge};
use super::alarms::ALARMS_MAX;
use super::attempt::Attempt;
use super::conclude::{self, Conclusion, Found, Terms, Trouble, WRITE_EVERY, plan_of};
use super::hall::Begun;
use super::pools::{Report, Told};
use super::seat::Seat;
use super::walk::Trace;
use super::{LastError, Outcome, Polled, REASON_INTERNAL, REASON_STORE, Room};
use crate::config::{self, Every};
use crate::event::Cause;
use crate::metrics::EventCounts;
use crate::schedule::{FAILURES, Failed, Plan, Severity};
use crate::store::{COMMITTED_IDS_MAX, Committed, Memory, PollCommit, StoreError};
use crate::time::Timestamp;
use crate::upstream::{By, Observed, Reason};

/// How a turn ended.
struct Ended {
    polled: Polled,
    /// When the next one is due.
    next: Option<Timestamp>,
    /// What it says of how often its source changes.
    told: Told,
}

/// One poll at work.
struct Turn<'a> {
    room: &'a Room,
    /// The seat's place.
    index: usize,
    seat: &'a Arc<Seat>,
    source: Arc<config::Source>,
    began: Timestamp,
    /// Why it is looked.
    cause: Cause,
    /// Whether the memory goes to disk in any case.
    writes: bool,
}

/// Polls for `ticket` and gives its place back, whatever happens. Who is next, if somebody waits.
pub(super) async fn take(room: &Room, mut ticket: Ticket, seat: &Arc<Seat>) -> Option<Begun> {
    let series = &seat.source.series;
    let began = room.clock.now();
    if let Some(due) = ticket.due {
        series.began(began.since(due));
    }
    let (observed, cause) = match ticket.urge.take() {
        None => (None, Cause::Poll),
        Some(Urge::Written(request_id)) => (None, Cause::ProxiedWrite(request_id)),
        // Whoever asked for a poll gets one of its own.
        Some(Urge::Read(_)) if ticket.bell.is_some() => (None, Cause::Poll),
        Some(Urge::Read(observed)) => {
            let request_id = Arc::clone(&observed.request_id);
            (Some(*observed), Cause::ProxiedRead(request_id))
        }
    };
    let asked = (&ticket, observed, cause);
    let ended = {
        // In place: it is large to be moved.
        let poll = pin!(poll(room, asked, seat, began));
        AssertUnwindSafe(poll).catch_unwind().await
    };
    let (ended, requests) = ended.unwrap_or_else(|_| {
        let (source, partition) = (seat.source.name.as_str(), seat.told());
        tracing::error!(source, partition, "a poll panicked");
        series.failed(REASON_INTERNAL);
        let next = room.clock.now().plus(FAILURES.ceiling);
        (Ended::failed(REASON_INTERNAL, Some(next)), 1)
    });
    seat.mind.lock().desk.release();
    let now = room.clock.now();
    series.took(now.since(began));
    let Ended { polled, next, told } = ended;
    let (following, is_late) = {
        let mut hall = room.hall.lock();
        let (place, report) = ((ticket.index, seat.source.line), Report { told, requests });
        hall.finish(place, next, report, now);
        let following = hall.next(now);
        let is_late = hall.is_late(following.as_ref());
        (following, is_late)
    };
    if is_late {
        room.wake.notify_one();
    }
    if let Some(bell) = ticket.bell {
        bell.send_replace(Some(polled));
    }
    following
}

async fn poll(
    room: &Room,
    (ticket, observed, cause): (&Ticket, Option<Observed>, Cause),
    seat: &Arc<Seat>,
    began: Timestamp,
) -> (Ended, u32) {
    let Some(brief) = seat.source.brief(&room.live, &room.upstreams) else {
        // It has left the configuration, and is not polled again.
        return (Ended::failed(REASON_INTERNAL, None), 0);
    };
    let source = &brief.source;
    if let Some(observed) = &observed
        && !seat.mind.lock().is_news(observed.sent_at)
    {
        // It may be older than what is known.
        let memory = Arc::clone(&seat.mind.lock().memory);
        let plan = brief.plan_of(&seat.partition);
        return (left_alone(source, &plan, &memory, room.clock.now()), 0);
    }
    let is_observed = observed.is_some();
    let (memory, has_snapshot) = {
        let mind = seat.mind.lock();
        (Arc::clone(&mind.memory), mind.items.is_some())
    };
    let attempt = Attempt {
        room,
        seat,
        source: Arc::clone(source),
        upstream: &brief.upstream,
        memory: &memory,
        has_snapshot,
        began,
        by: if ticket.bell.is_some() {
            By::Hand
        } else {
            By::Poll
        },
        given: Mutex::new(observed),
        trace: Mutex::default(),
        identity: brief.identity,
        request: brief.request.as_ref(),
    };
    let found = attempt.find().await;
    let turn = Turn {
        room,
        index: ticket.index,
        seat,
        source: Arc::clone(source),
        began,
        cause,
        writes: ticket.doubtful,
    };
    let plan = brief.plan_of(&seat.partition);
    let terms = Terms {
        source,
        plan: &plan,
        before: &memory,
        began,
        now: room.clock.now(),
        by_hand: ticket.bell.is_some(),
        random: fastrand::f64(),
    };
    let trace = attempt.trace.into_inner();
    let requests = trace.requests;
    let ended = turn.conclude((found, trace), terms, is_observed).await;
    let budget = brief.upstream.config().budget;
    let is_free = ended.polled.outcome == Outcome::NotModified
        && budget.is_some_and(|terms| terms.not_modified_free);
    (ended, if is_free { 0 } else { requests })
}

/// A caller's answer that counts for nothing: all goes on as planned.
fn left_alone(source: &config::Source, plan: &Plan, memory: &Memory, now: Timestamp) -> Ended {
    let next = plan.next_since(memory.polled_at.unwrap_or(now), now);
    Ended {
        polled: Polled::nothing(),
        next: next.map(|next| plan.raised(next, memory.not_before)),
        told: Told::untouched(&source.every, memory),
    }
}

/// When to poll next after a caller did it for us: a whole period later, by whatever phase.
fn restarted(
    source: &config::Source,
    conclusion: &Conclusion,
    now: Timestamp,
) -> Option<Timestamp> {
    match source.every {
        Every::Fixed(period) if conclusion.memory.pending.is_none() => {
            Some(conclusion.next?.max(now.plus(period)))
        }
        _ => conclusion.next,
    }
}

impl Turn<'_> {
    /// Ends it, whatever came.
    async fn conclude(
        &self,
        (found, trace): (Result<Found, Trouble>, Trace),
        terms: Terms<'_>,
        is_observed: bool,
    ) -> Ended {
        match found {
            Ok(found) => {
                let mut conclusion = conclude::success(terms, found);
                if is_observed {
                    conclusion.next = restarted(terms.source, &conclusion, terms.now);
                }
                let ended = self.end(conclusion, None).await;
                self.share(ended.polled.outcome, trace);
                ended
            }
            // What a caller was answered is none of our failures.
            Err(_) if is_observed => left_alone(terms.source, terms.plan, terms.before, terms.now),
            // It was not made, and says nothing.
            Err(trouble) if trouble.reason == Reason::Draining.label() => {
                Ended::failed(trouble.reason, None)
            }
            Err(trouble) if trouble.reason == REASON_STORE => self.store_failed(&trouble, None),
            Err(trouble) => {
                let conclusion = conclude::failure(terms, &trouble);
                self.end(conclusion, Some(trouble)).await
            }
        }
    }

    /// What was committed is what callers are served, and what they are answered is measured by.
    fn share(&self, outcome: Outcome, trace: Trace) {
        let is_committed = !matches!(outcome, Outcome::Error | Outcome::Held);
        let (Some(sent_at), true) = (trace.sent_at, is_committed) else {
            return;
        };
        self.seat.mind.lock().fetched_at = trace.ended_at;
        let place = &self.seat.source.shelf;
        match trace.kept {
            Some(kept) => place.keep(kept),
            None if outcome == Outcome::NotModified && self.source.joint.serve.is_some() => {
                place.still(sent_at);
            }
            None => {}
        }
    }

    /// Commits the conclusion and makes it known. What could not be committed did not happen.
    async fn end(&self, mut conclusion: Conclusion, trouble: Option<Trouble>) -> Ended {
        let seat = self.seat;
        let told = self.tell_pool(&mut conclusion);
        if !seat.partition.is_whole() {
            let before = &seat.mind.lock().memory;
            let mut alarms = seat.source.alarms.lock();
            alarms.temper(&mut conclusion, before, &seat.partition);
        }
        let Conclusion {
            outcome,
            reason,
            memory,
            changes,
            announcements,
            next,
        } = conclusion;
        let counts = changes.as_ref().map(|changes| changes.counts);
        let items = changes.as_ref().map(|changes| changes.items_after);
        let news = changes.is_some() || !announcements.is_empty();
        let (changes, marks) = changes
            .map(|changes| (changes.items, changes.marks))
            .unwrap_or_default();
        let mut committed = Committed::default();
        if news || self.must_write(&memory) {
            self.room.notes.claim(self.seat).await;
            let commit = PollCommit {
                source: self.seat.source.id,
                snapshot: self.seat.snapshot,
                partition: self.seat.partition.clone(),
                at: self.room.clock.now(),
                cause: self.cause.clone(),
                memory: memory.clone(),
                settles_snapshot: !matches!(outcome, Outcome::Error | Outcome::Held),
                changes,
                marks,
                announcements,
            };
            committed = match self.room.store.commit(commit).await {
                Ok(committed) => committed,
                Err(error) => {
                    self.take_back(&memory);
                    return self.store_failed(&error.clone().into(), Some(&error));
                }
            };
            self.seat.mind.lock().written_at = Some(self.began);
            if self.room.hall.lock().agenda().trust() {
                self.room.wake.notify_one();
            }
        }
        if items.is_some() && seat.source.is_followed {
            self.room.follow.moved(seat.source.index);
        }
        self.remember(memory, items, trouble);
        self.count(outcome, reason, counts.unwrap_or_default());
        let polled = Polled {
            outcome,
            reason: reason.map(str::to_owned),
            events: committed.events,
            event_ids: committed.ids,
        };
        Ended { polled, next, told }
    }

    /// What its pool will hear, which remembers what that teaches.
    fn tell_pool(&self, conclusion: &mut Conclusion) -> Told {
        let before = Arc::clone(&self.seat.mind.lock().memory);
        let is_written = matches!(self.cause, Cause::ProxiedWrite(_));
        let poll = (self.began, is_written);
        let told = Told::of(&self.source.every, (&before, conclusion), poll);
        if matches!(self.source.every, Every::Adaptive(_)) {
            let now = self.room.clock.now();
            let learnt = self.room.hall.lock().foresee(self.index, told, now);
            // Who has left meanwhile remembers what it knew.
            if let Some(learnt) = learnt {
                conclusion.memory.rhythm = Some(Box::new(learnt));
            }
        }
        told
    }

    fn must_write(&self, memory: &Memory) -> bool {
        self.writes || conclude::must_write(&self.seat.mind.lock().memory, memory)
    }

    /// What was to be remembered is not.
    fn take_back(&self, memory: &Memory) {
        if !self.seat.partition.is_whole() {
            let mind = self.seat.mind.lock();
            let mut alarms = self.seat.source.alarms.lock();
            alarms.shift(memory, &mind.memory);
        }
    }

    fn remember(&self, memory: Memory, items: Option<u64>, trouble: Option<Trouble>) {
        let mut mind = self.seat.mind.lock();
        self.tell(&mind.memory, &memory, trouble.as_ref());
        let series = &self.seat.source.series;
        let before = (mind.items, mind.memory.failures > 0);
        mind.items = items.or(mind.items);
        mind.memory = Arc::new(memory);
        let after = (mind.items, mind.memory.failures > 0);
        if after != before {
            series.left(before.0, before.1);
            series.came(after.0, after.1);
        }
        series.succeeded(mind.memory.succeeded_at);
        mind.store_failures = 0;
        mind.last_error = trouble.map(|trouble| {
            Box::new(LastError {
                reason: trouble.reason,
                message: trouble.message,
            })
        });
        let fresh = mind.written_at.map(|written| self.began.since(written));
        if fresh.is_none_or(|age| age >= WRITE_EVERY) {
            self.room.notes.take(self.seat, &mut mind);
        }
    }

    /// Tells the log of a first failure and a recovery; of one partition among many that fail
    /// only who asks for it.
    fn tell(&self, before: &Memory, after: &Memory, trouble: Option<&Trouble>) {
        if before.failures == 0 && trouble.is_none() {
            return;
        }
        let (source, partition) = (self.seat.source.name.as_str(), self.seat.told());
        let is_one_of_many = self.seat.source.alarms.lock().failing > ALARMS_MAX;
        match trouble {
            Some(Trouble {
                reason, message, ..
            }) if before.failures == 0 && !is_one_of_many => {
                tracing::warn!(source, partition, reason, "a poll failed: {message}");
            }
            Some(Trouble {
                reason, message, ..
            }) => {
                let failures = after.failures;
                tracing::debug!(
                    source,
                    partition,
                    reason,
                    failures,
                    "a poll failed: {message}"
                );
            }
            None if before.failures > 0 && !is_one_of_many => {
                tracing::info!(source, partition, "polls succeed again");
            }
            None => {}
        }
    }

    fn count(&self, outcome: Outcome, reason: Option<&'static str>, counts: EventCounts) {
        let series = &self.seat.source.series;
        match outcome {
            Outcome::Changed => series.changed(counts),
            Outcome::Unchanged => series.unchanged(),
            Outcome::NotModified => series.not_modified(),
            Outcome::Held => series.held(),
            Outcome::Error => series.failed(reason.unwrap_or(REASON_INTERNAL)),
        }
    }

    /// The store failed: what was known before stands, in memory as on disk, and the next poll
    /// sees again what this one saw.
    fn store_failed(&self, trouble: &Trouble, error: Option<&StoreError>) -> Ended {
        let now = self.room.clock.now();
        if matches!(error, Some(StoreError::Full)) {
            self.room.hall.lock().agenda().pause(now);
        }
        let mut mind = self.seat.mind.lock();
        mind.store_failures = mind.store_failures.saturating_add(1);
        let failures = mind.store_failures;
        if failures == 1 {
            let (source, partition) = (self.seat.source.name.as_str(), self.seat.told());
            let message = &trouble.message;
            tracing::error!(
                source,
                partition,
                "a poll could not be committed: {message}"
            );
        }
        mind.last_error = Some(Box::new(LastError {
            reason: REASON_STORE,
            message: trouble.message.clone(),
        }));
        self.seat.source.series.failed(REASON_STORE);
        let failed = Failed {
            failures,
            severity: Severity::Passing,
            random: fastrand::f64(),
        };
        let plan = plan_of(&self.source, &self.seat.partition);
        Ended::failed(REASON_STORE, plan.retry(failed, None, now))
    }
}

impl Ended {
    /// It came to nothing.
    fn failed(reason: &str, next: Option<Timestamp>) -> Self {
        Self {
            polled: Polled::error(reason),
            next,
            told: Told::Nothing,
        }
    }
}

impl Polled {
    fn error(reason: &str) -> Self {
        Self {
            outcome: Outcome::Error,
            reason: Some(reason.to_owned()),
            ..Self::nothing()
        }
    }

    /// A poll of no partition.
    pub(super) fn nothing() -> Self {
        Self {
            outcome: Outcome::NotModified,
            reason: None,
            events: 0,
            event_ids: Vec::new(),
        }
    }

    /// Makes it one of another partition, too: it came to the worse of both.
    pub(super) fn join(&mut self, other: Self) {
        if other.outcome > self.outcome {
            (self.outcome, self.reason) = (other.outcome, other.reason);
        }
        self.events += other.events;
        let room = COMMITTED_IDS_MAX.saturating_sub(self.event_ids.len());
        self.event_ids
            .extend(other.event_ids.into_iter().take(room));
    }
}
