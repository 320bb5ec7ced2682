//! What outcomes of attempts lead to: for the delivery, for the endpoint, and for those who are told.

use std::time::Instant;

use tracing::{debug, info, warn};

use super::jobs::Attempted;
use super::{Asked, Running};
use crate::deliver::handshake::{Consent, NOT_ALLOWED};
use crate::deliver::lane::Start;
use crate::deliver::verdict::{Answer, judge};
use crate::event::{self, Kind};
use crate::store::{Announcement, Attempt, DeliveryId, Then, UNWRITTEN};
use crate::time::Timestamp;

impl Running {
    /// An event that cannot be sent any more becomes a dead letter, so that its subject goes on.
    pub(super) fn lose(&mut self, lane: usize, start: &Start, reason: &'static str) {
        let attempt = Attempt {
            number: start.attempts + 1,
            at: self.worker.clock.now(),
            duration_ms: 0,
            status: None,
            error: Some(reason.to_owned()),
            answer: None,
            rendering: None,
        };
        self.unmade(start.delivery);
        self.bury(start, &attempt);
        self.queue
            .finished(lane, start.delivery.event, attempt, Then::Dead);
    }

    /// The endpoint does not take the event: it is settled in its turn, without an attempt.
    pub(super) fn pass_over(&mut self, lane: usize, start: &Start) {
        let none = Attempt {
            number: 0,
            at: self.worker.clock.now(),
            duration_ms: 0,
            status: None,
            error: None,
            answer: None,
            rendering: None,
        };
        self.unmade(start.delivery);
        self.queue
            .finished(lane, start.delivery.event, none, Then::Filtered);
    }

    /// No webhook was sent for this delivery after all.
    pub(super) fn unmade(&mut self, delivery: DeliveryId) {
        self.valve.unmade();
        if self.probe.take_if(|probe| *probe == delivery).is_some() {
            self.valve.gave_up(Instant::now());
        }
    }

    pub(super) fn attempted(&mut self, attempted: Attempted) {
        let Attempted {
            lane,
            start,
            at,
            took,
            rendering,
            answer,
            consent,
        } = attempted;
        self.hear_consent(consent, &answer);
        let (now, number) = (self.worker.clock.now(), start.attempts + 1);
        let due = self.steady();
        let retry = &self.worker.endpoint.retry;
        let verdict = judge(
            &answer,
            (number - start.earlier, retry),
            due,
            fastrand::f64(),
        );
        let attempt = Attempt {
            number,
            at,
            duration_ms: u32::try_from(took.as_millis()).unwrap_or(u32::MAX),
            status: answer.status,
            error: answer.error.map(str::to_owned),
            answer: answer.body,
            rendering,
        };
        if verdict.then == Then::Delivered {
            // Of what is replayed, the time since it happened tells nothing of how fast we are.
            let lag = (start.earlier == 0).then(|| now.since(start.at).as_secs_f64());
            self.worker.metrics.accepted(took.as_secs_f64(), lag);
        } else {
            self.worker.metrics.failed(took.as_secs_f64());
            let (endpoint, reason) = (&self.worker.endpoint.name, reason(&attempt));
            debug!(%endpoint, delivery = %start.delivery, number, reason, "attempt failed");
        }
        self.learn(&start, &attempt);
        if verdict.is_gone {
            self.disable("it answered 410");
        }
        if verdict.then == Then::Dead {
            self.bury(&start, &attempt);
        }
        self.queue
            .finished(lane, start.delivery.event, attempt, verdict.then);
    }

    /// Whether the endpoint has agreed to be rung, if it was asked.
    fn hear_consent(&mut self, consent: Option<Consent>, answer: &Answer) {
        let endpoint = &self.worker.endpoint.name;
        if let Some(consent) = consent {
            info!(%endpoint, "endpoint agrees to be rung");
            self.consent = Asked::Agreed(consent);
        } else if answer.error == Some(NOT_ALLOWED) && !matches!(self.consent, Asked::Refused) {
            warn!(%endpoint, status = answer.status, "endpoint does not agree to be rung, it is asked again");
            self.consent = Asked::Refused;
        }
    }

    /// What an attempt tells of the endpoint.
    fn learn(&mut self, start: &Start, attempt: &Attempt) {
        let endpoint = self.worker.endpoint.name.clone();
        let now = Instant::now();
        let probe = self.probe.take_if(|probe| *probe == start.delivery);
        if attempt.error.is_none() {
            let (failed_before, was_open) = self.valve.accepted();
            if failed_before {
                self.queue.note(endpoint.clone(), None);
            }
            if was_open {
                info!(%endpoint, "endpoint accepts webhooks again");
            }
            return;
        }
        if attempt.error.as_deref() == Some(UNWRITTEN) {
            // Not the endpoint's fault.
            if probe.is_some() {
                self.valve.gave_up(now);
            }
            return;
        }
        if probe.is_some() {
            self.valve.probe_failed(now);
        }
        let failed = self.valve.failed(attempt.status, attempt.at, now);
        let (failures, since) = (failed.failing.failures, failed.failing.since);
        if failed.opened {
            let reason = reason(attempt);
            warn!(%endpoint, failures, %since, reason, "endpoint only fails and is probed from now on");
        }
        self.queue.note(endpoint, Some(failed.failing));
        if failed.is_hopeless {
            self.disable("it did nothing but fail for too long");
        }
    }

    /// The endpoint is not rung any more, also after a restart, until somebody enables it; its
    /// deliveries stay.
    fn disable(&mut self, why: &str) {
        if !self.worker.board.switch(false) {
            return;
        }
        self.was_enabled = false;
        self.worker.metrics.enabled(false);
        let endpoint = &self.worker.endpoint.name;
        warn!(%endpoint, "{why}: the endpoint is switched off until somebody enables it");
        self.queue.switch(endpoint.clone(), false);
        let failures = self.valve.failing().map_or(0, |failing| failing.failures);
        self.announce(Kind::EndpointDisabled, why, failures);
    }

    /// Tells of a dead letter, unless it is itself operational: that would never end.
    fn bury(&mut self, start: &Start, attempt: &Attempt) {
        let (endpoint, delivery) = (&self.worker.endpoint.name, start.delivery);
        let reason = reason(attempt);
        warn!(%endpoint, %delivery, attempts = attempt.number, reason, "delivery is dead");
        if Kind::OF_SOURCES.contains(&start.kind) {
            let reason = dead(delivery, &reason);
            self.announce(Kind::DeliveryDead, &reason, attempt.number);
        }
    }

    fn announce(&mut self, kind: Kind, reason: &str, consecutive: u32) {
        let name = self.worker.endpoint.name.as_str();
        let now = self.worker.clock.now();
        let failing = self.valve.failing();
        let since: Timestamp = failing.map_or(now, |failing| failing.since);
        self.queue.announce(Announcement {
            kind,
            subject: format!("endpoint/{name}").into(),
            content: event::operational(("endpoint", name), reason, consecutive, since),
        });
    }
}

/// What a failed attempt failed for, in a few words.
fn reason(attempt: &Attempt) -> String {
    match (attempt.status, &attempt.error) {
        (Some(status), Some(error)) if error == NOT_ALLOWED => format!("{error}, status {status}"),
        (Some(status), _) => format!("status {status}"),
        (None, Some(error)) => error.clone(),
        (None, None) => String::new(),
    }
}

fn dead(delivery: DeliveryId, reason: &str) -> String {
    format!("{delivery} used up its attempts, the last: {reason}")
}
