//! From how a poll went to what is remembered, announced and due. Pure: time and randomness are
//! arguments.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::client::Validators;
use crate::config::{Every, Source};
use crate::detect::{Format, Held, Mistyped, Pending, Progress, Unreadable};
use crate::digest::{Digest, RawDigest};
use crate::event::{self, Kind, Partition};
use crate::schedule::{self, FAILURES, Failed, Plan, Severity};
use crate::store::{Announcement, Memory, StoreError};
use crate::time::Timestamp;
use crate::upstream::{Failure, NOT_BEFORE_MAX, Pacing, Reason};

use super::identity::Identity;
use super::plan::Changes;
use super::{
    Outcome, REASON_CONFIRM, REASON_CONTENT_TYPE, REASON_GUARD, REASON_INTERNAL, REASON_STORE,
    REASON_UNCHANGED,
};

/// What is remembered may lag behind what is known by so much, so that a source that never changes
/// costs no write per poll. What is lost with a crash is one poll's validators, or so much of an
/// upstream's wish to be left alone.
pub(super) const WRITE_EVERY: Duration = Duration::from_mins(1);

/// What a believable answer came to.
#[derive(Debug)]
pub(super) struct Found {
    /// What it is.
    pub(super) what: What,
    /// What it says about the next request.
    pub(super) pacing: Pacing,
}

/// What a believable answer is.
#[derive(Debug)]
pub(super) enum What {
    /// What was committed last, as its validators or bytes or items say.
    Same(Outcome, Learnt),
    /// The guard does not believe it yet.
    Held(Held),
    /// Nothing of it was seen often enough yet.
    Pending(Pending),
    /// Something to commit, and what was not seen often enough yet.
    Changes(Changes, Learnt, Option<Pending>),
}

/// How to ask more cheaply next time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Learnt {
    /// Identity of request and rules.
    pub(super) identity: Identity,
    /// Identity of what was asked, where that differs from poll to poll.
    pub(super) asked: Option<Digest>,
    /// When the poll began.
    pub(super) began: Timestamp,
    /// How far the listing has come, if it is incremental.
    pub(super) progress: Option<Progress>,
    /// Digest of the body.
    pub(super) raw: Option<RawDigest>,
    /// Digest of the walk that it is.
    pub(super) walk: Option<Digest>,
    /// Validators of the body.
    pub(super) validators: Validators,
}

/// Why a poll came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The class, which is also the `reason` label.
    pub(super) reason: &'static str,
    /// For the log and the admin API.
    pub(super) message: String,
    /// The answer's status, where that is what is wrong.
    pub(super) status: Option<u16>,
    /// How bad it is.
    pub(super) severity: Severity,
    /// What the answer, if there was one, says about the next request.
    pub(super) pacing: Pacing,
}

/// Under what a poll is concluded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'a> {
    /// Its configuration.
    pub(super) source: &'a Source,
    /// When it is polled by itself.
    pub(super) plan: &'a Plan,
    /// What was remembered before it.
    pub(super) before: &'a Memory,
    /// When it began.
    pub(super) began: Timestamp,
    /// The present.
    pub(super) now: Timestamp,
    /// Whether somebody asked for it, which begins the back-off anew.
    pub(super) by_hand: bool,
    /// Uniform in `0.0..1.0`.
    pub(super) random: f64,
}

/// What follows from a poll.
#[derive(Debug)]
pub(super) struct Conclusion {
    /// How it is counted and answered.
    pub(super) outcome: Outcome,
    /// Why, if it is an error or held.
    pub(super) reason: Option<&'static str>,
    /// What to remember.
    pub(super) memory: Memory,
    /// What becomes of the snapshot, if anything.
    pub(super) changes: Option<Changes>,
    /// What operators hear.
    pub(super) announcements: Vec<Announcement>,
    /// When to poll next.
    pub(super) next: Option<Timestamp>,
}

/// The plan of a source's partition: each has a phase of its own.
pub(super) fn plan_of(source: &Source, partition: &Partition) -> Plan {
    let key = phase_key(source, partition);
    match &source.every {
        Every::Fixed(period) => Plan::every(&key, *period),
        Every::Cron(cron) => Plan::cron(cron, Some(&*key).filter(|_| !partition.is_whole())),
        Every::Adaptive(bounds) => Plan::adaptive(&key, *bounds),
        Every::Manual => Plan::Manual,
    }
}

fn phase_key<'a>(source: &'a Source, partition: &Partition) -> Cow<'a, str> {
    let name = source.name.as_str();
    if partition.is_whole() {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(format!("{name}{partition}"))
    }
}

/// When a partition that was just loaded is polled first.
pub(super) fn first_poll(
    source: &Source,
    partition: &Partition,
    memory: &Memory,
    has_snapshot: bool,
    now: Timestamp,
) -> Option<Timestamp> {
    let plan = plan_of(source, partition);
    // A clock that was far ahead may have left a time that is far away.
    let bound = now.plus(NOT_BEFORE_MAX);
    let not_before = memory.not_before.map(|not_before| not_before.min(bound));
    if let Some(confirming) = confirming(source, memory, now) {
        return Some(confirming.max(not_before.unwrap_or(confirming)));
    }
    // Whose last poll said nothing has no interval to keep.
    let is_open = memory.failures > 0 || memory.held.is_some();
    let begins = !has_snapshot || (is_open && matches!(plan, Plan::Adaptive { .. }));
    let last = (!begins).then(|| memory.polled_at.unwrap_or(now));
    let first = plan.first(&phase_key(source, partition), last, now)?;
    Some(plan.raised(first, not_before))
}

/// Draws the conclusion of a poll that got a believable answer.
pub(super) fn success(terms: Terms<'_>, found: Found) -> Conclusion {
    let Terms { source, before, .. } = terms;
    let fresh_for = found.pacing.fresh_for.filter(|_| source.respect_cache);
    let wait = found.pacing.not_before.max(fresh_for);
    let wait = wait.map(|wait| terms.now.plus(wait));
    let mut memory = Memory {
        polled_at: Some(terms.began),
        failures: 0,
        retries: 0,
        failing_since: None,
        failing_reason: None,
        failing_rung: false,
        not_before: wait,
        ..before.clone()
    };
    let mut announcements = Vec::from_iter(recovered(terms));
    let (outcome, reason, changes) = match found.what {
        What::Held(held) => {
            if before.held.is_none() {
                let told = (REASON_GUARD, held.polls, terms.now);
                announcements.push(announcement(source, Kind::SourceHeld, told));
            }
            memory.held = Some(held);
            (Outcome::Held, Some(REASON_GUARD), None)
        }
        What::Pending(pending) => {
            memory.held = None;
            memory.pending = Some(Arc::new(pending));
            (Outcome::Held, Some(REASON_CONFIRM), None)
        }
        What::Same(outcome, learnt) => {
            learn(&mut memory, learnt, terms);
            (outcome, None, None)
        }
        What::Changes(changes, learnt, pending) => {
            learn(&mut memory, learnt, terms);
            if let Some(pending) = pending {
                // The same is to be asked for again, and the same answer to be looked at.
                memory.progress.clone_from(&before.progress);
                memory.asked_at = before.asked_at;
                (memory.raw, memory.walk) = (None, None);
                memory.validators = Validators::default();
                memory.pending = Some(Arc::new(pending));
            }
            let outcome = if changes.ring() {
                Outcome::Changed
            } else {
                Outcome::Unchanged
            };
            (outcome, None, Some(changes))
        }
    };
    let news = changes.as_ref();
    if news.is_some_and(|changes| changes.ring() || changes.is_baseline) {
        memory.changed_at = Some(terms.now);
        (memory.quiet_polls, memory.stale_rung) = (0, false);
    } else {
        let why = reason.unwrap_or(REASON_UNCHANGED);
        announcements.extend(stay_quiet(terms, &mut memory, why));
    }
    let next = follows(terms, &memory, wait);
    Conclusion {
        outcome,
        reason,
        memory,
        changes,
        announcements,
        next,
    }
}

/// When the poll after a believable answer is due. What is held waits for the schedule.
fn follows(terms: Terms<'_>, memory: &Memory, wait: Option<Timestamp>) -> Option<Timestamp> {
    if memory.held.is_none()
        && let Some(confirming) = confirming(terms.source, memory, terms.now)
    {
        return Some(confirming.max(wait.unwrap_or(confirming)));
    }
    let next = if memory.held.is_some() {
        terms.plan.next_doubted(terms.now)
    } else {
        terms.plan.next(terms.now)
    };
    Some(terms.plan.raised(next?, wait))
}

/// The end of a run of failures that was told of; its reason is that of the last one.
fn recovered(terms: Terms<'_>) -> Option<Announcement> {
    let Terms { source, before, .. } = terms;
    let since = before.failing_since.unwrap_or(terms.now);
    let reason = before.failing_reason.as_deref().unwrap_or_default();
    let told = (reason, before.failures, since);
    let rung = before.failing_rung;
    rung.then(|| announcement(source, Kind::SourceRecovered, told))
}

/// Draws the conclusion of a poll that got none. What was learnt before stands: snapshot,
/// validators and what is held.
pub(super) fn failure(terms: Terms<'_>, trouble: &Trouble) -> Conclusion {
    let Terms { source, before, .. } = terms;
    let failures = before.failures.saturating_add(1);
    let run = if terms.by_hand { 0 } else { before.retries };
    let retries = run.saturating_add(1);
    let since = before.failing_since.unwrap_or(terms.began);
    let rings = schedule::rings(failures, trouble.severity, source.failing_after);
    let mut announcements = Vec::new();
    if rings && !before.failing_rung {
        let told = (trouble.reason, failures, since);
        announcements.push(announcement(source, Kind::SourceFailing, told));
    }
    let wait = trouble.pacing.not_before.map(|wait| terms.now.plus(wait));
    let failed = Failed {
        failures: retries,
        severity: trouble.severity,
        random: terms.random,
    };
    let retry = terms.plan.retry(failed, wait, terms.now);
    let next = retry.or_else(|| {
        let delay = FAILURES.jittered(retries, terms.random);
        let confirming = confirming(source, before, terms.now);
        confirming.map(|at| at.max(terms.now.plus(delay)).max(wait.unwrap_or(at)))
    });
    let mut memory = Memory {
        polled_at: Some(terms.began),
        failures,
        retries,
        failing_since: Some(since),
        failing_reason: Some(trouble.reason.into()),
        failing_rung: before.failing_rung || rings,
        not_before: next.or(wait),
        ..before.clone()
    };
    announcements.extend(stay_quiet(terms, &mut memory, trouble.reason));
    Conclusion {
        outcome: Outcome::Error,
        reason: Some(trouble.reason),
        memory,
        changes: None,
        announcements,
        next,
    }
}

/// Whether a poll that commits nothing else must put its memory on disk at once: failures and
/// holds are never forgotten, the rest may wait for [`WRITE_EVERY`].
pub(super) fn must_write(before: &Memory, after: &Memory) -> bool {
    let trouble = |memory: &Memory| {
        let Memory {
            failures,
            failing_since,
            failing_rung,
            held,
            pending,
            rules,
            policy,
            changed_at,
            ..
        } = memory;
        let failing = (*failures, *failing_since, *failing_rung);
        (
            failing,
            *held,
            pending.clone(),
            *rules,
            *policy,
            *changed_at,
        )
    };
    let known = before.not_before.max(after.polled_at).unwrap_or_default();
    let asked_for_more = after
        .not_before
        .is_some_and(|wait| wait > known.plus(WRITE_EVERY));
    trouble(before) != trouble(after) || asked_for_more
}

/// When something that waits to be seen again is looked for: also where polls come only by hand,
/// because one of those has begun it.
fn confirming(source: &Source, memory: &Memory, now: Timestamp) -> Option<Timestamp> {
    let confirm = source.confirm.filter(|_| memory.pending.is_some());
    confirm.map(|confirm| now.plus(confirm.after))
}

/// Counts a poll that brought nothing new, and tells once when there was nothing for so long.
///
/// Whatever a poll came to, nothing new came of it: a source that fails, is held, or is unchanged
/// grows stale alike, and `reason` tells which. Only a poll can tell, so a source that is polled
/// less often than `stale_after` is told of at its next poll.
fn stay_quiet(terms: Terms<'_>, memory: &mut Memory, reason: &str) -> Option<Announcement> {
    memory.quiet_polls = memory.quiet_polls.saturating_add(1);
    let since = *memory.changed_at.get_or_insert(terms.now);
    let stale_after = terms.source.stale_after?;
    if memory.stale_rung || terms.now.since(since) < stale_after {
        return None;
    }
    memory.stale_rung = true;
    let told = (reason, memory.quiet_polls, since);
    Some(announcement(terms.source, Kind::SourceStale, told))
}

fn learn(memory: &mut Memory, learnt: Learnt, terms: Terms<'_>) {
    memory.rules = Some(learnt.identity.rules);
    memory.policy = Some(learnt.identity.policy);
    memory.asked = learnt.asked;
    memory.asked_at = Some(learnt.began);
    memory.progress = learnt.progress;
    memory.raw = learnt.raw;
    memory.walk = learnt.walk;
    memory.validators = learnt.validators;
    memory.succeeded_at = Some(terms.now);
    memory.held = None;
    memory.pending = None;
}

fn announcement(source: &Source, kind: Kind, told: (&str, u32, Timestamp)) -> Announcement {
    let (reason, consecutive, since) = told;
    let name = source.name.as_str();
    Announcement {
        kind,
        subject: format!("source/{name}").into(),
        content: event::operational(("source", name), reason, consecutive, since),
    }
}

impl Trouble {
    /// Of a class that mends by itself.
    pub(super) fn passing(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            status: None,
            severity: Severity::Passing,
            pacing: Pacing::default(),
        }
    }

    /// A body that is not of the source's format.
    pub(super) fn content_type(mistyped: Mistyped, content_type: &str) -> Self {
        // What an upstream says of itself is shown only as far as a type is long.
        let shown: String = content_type.chars().take(64).collect();
        let advice = match mistyped {
            Mistyped::Page => "is a page, which `format = \"html\"` alone reads".to_owned(),
            Mistyped::Unknown => {
                let known = Format::ALL.map(|format| format!("\"{}\"", format.label()));
                format!(
                    "tells no format: write `format`, one of {}",
                    known.join(", ")
                )
            }
            Mistyped::Other { learnt, said } => {
                let (learnt, said) = (learnt.label(), said.label());
                format!(
                    "is {said}, and it was {learnt} before: `format = \"{said}\"` begins a new \
                     baseline"
                )
            }
        };
        Self::passing(REASON_CONTENT_TYPE, format!("{shown:?} {advice}"))
    }

    /// A defect of doorbell.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::passing(REASON_INTERNAL, message)
    }

    /// With what the answer says about the next request.
    pub(super) fn paced(self, pacing: Pacing) -> Self {
        Self { pacing, ..self }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        let severity = match failure.reason {
            Reason::Refused => Severity::Refused,
            _ => Severity::Passing,
        };
        Self {
            reason: failure.reason.label(),
            message: failure.message,
            status: failure.status,
            severity,
            pacing: failure.pacing,
        }
    }
}

impl From<Unreadable> for Trouble {
    fn from(unreadable: Unreadable) -> Self {
        Self::passing(unreadable.reason(), unreadable.to_string())
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::passing(REASON_STORE, error.to_string())
    }
}
