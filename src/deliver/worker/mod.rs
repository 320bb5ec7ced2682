//! The task of one endpoint: carries out what its [`Queue`] decides.
//!
//! Decides nothing about deliveries but when to pause: while draining, after a 410, and while the
//! store does not take outcomes. All attempts of an endpoint run inside its one task: a webhook
//! costs no spawn and no message between threads.

mod jobs;
mod words;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tracing::{debug, error, warn};

use crate::client::{self, Resolver};
use crate::clock::Clock;
use crate::config::{Endpoint, Live};
use crate::event::{self, Kind};
use crate::metrics::EndpointMetrics;
use crate::shutdown::{Phase, Shutdown};
use crate::store::{Announcement, Attempt, DeliveryId, Store, StoreError, Then};
use crate::time::Timestamp;

use super::board::{Board, Inbox, News};
use super::lane::{Lag, Start};
use super::pace::{self, Pace};
use super::queue::Queue;
use super::verdict::judge;
use jobs::{Attempted, Loaded, Report, reports};
use words::Speech;

/// How often gauges follow and idle watermarks are written, while there is anything to tell.
const BEAT: Duration = Duration::from_secs(1);
/// Every so many beats the backlog is counted anew.
const RECOUNT_BEATS: u32 = 10;
/// The longest sleep: the due times are wall-clock times, and the wall clock may jump.
const SLEEP_MAX: Duration = Duration::from_secs(30);

/// What a worker needs from outside.
pub(super) struct Worker {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) live: Live,
    pub(super) store: Store,
    pub(super) clients: Clients,
    pub(super) clock: Clock,
    pub(super) shutdown: Shutdown,
    pub(super) metrics: EndpointMetrics,
    pub(super) inbox: Arc<Inbox>,
    pub(super) board: Arc<Board>,
    pub(super) pace: Arc<Pace>,
}

/// The two clients that all endpoints share.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    /// Reaches public addresses only.
    pub(super) guarded: reqwest::Client,
    /// Reaches every address.
    pub(super) unguarded: reqwest::Client,
}

impl Clients {
    pub(super) fn new(resolver: Resolver) -> Result<Self, String> {
        Ok(Self {
            guarded: client::webhooks(false, resolver)?,
            unguarded: client::webhooks(true, resolver)?,
        })
    }

    /// The one that reaches what `endpoint` may be at.
    pub(super) fn of(&self, endpoint: &Endpoint) -> &reqwest::Client {
        if endpoint.allow_private {
            &self.unguarded
        } else {
            &self.guarded
        }
    }
}

impl Worker {
    /// Rings what `queue` holds and what comes in, until a drain is done. Attempts in flight are
    /// heard out, each at most its timeout; whoever drains bounds how long that may take.
    pub(super) async fn run(self, queue: Queue) {
        let mut running = Running {
            speech: Speech::new(&self.endpoint.rendering),
            worker: self,
            queue,
            jobs: FuturesUnordered::new(),
            is_settling: false,
            refusals: 0,
            is_draining: false,
            failures: 0,
            failing_since: None,
            beat: None,
            beats: 0,
        };
        running.work().await;
    }
}

struct Running {
    worker: Worker,
    speech: Speech,
    queue: Queue,
    jobs: FuturesUnordered<BoxFuture<'static, Report>>,
    is_settling: bool,
    /// How often in a row the store refused to settle.
    refusals: u32,
    is_draining: bool,
    /// Failed attempts in a row, of whatever delivery.
    failures: u32,
    failing_since: Option<Timestamp>,
    /// When gauges follow next; `None`: nothing to tell.
    beat: Option<Instant>,
    beats: u32,
}

impl Running {
    async fn work(&mut self) {
        let shutdown = self.worker.shutdown.clone();
        let inbox = Arc::clone(&self.worker.inbox);
        let mut drain = std::pin::pin!(shutdown.reached(Phase::Draining));
        loop {
            self.advance();
            if self.is_over() {
                return self.leave().await;
            }
            let pause = self.pause();
            tokio::select! {
                reports = reports(&mut self.jobs) => {
                    for report in reports {
                        self.take(report);
                    }
                }
                news = inbox.news() => self.hear(news),
                () = tokio::time::sleep(pause) => self.keep_time(),
                () = &mut drain, if !self.is_draining => self.is_draining = true,
            }
        }
    }

    /// Starts everything that may start now.
    fn advance(&mut self) {
        if self.may_start() {
            self.start_attempts();
            for job in self.queue.scans() {
                self.scan(job);
            }
        }
        for job in self.queue.asks() {
            self.ask(job);
        }
        if !self.is_settling
            && let Some(settling) = self.queue.batch()
        {
            self.settle(settling);
        }
        self.publish();
    }

    fn hear(&mut self, news: News) {
        for (lane, fresh) in news.fresh {
            if self.may_start() {
                self.queue.offer(lane, &fresh);
            } else {
                self.queue.poke(lane);
            }
        }
        for lane in news.lanes {
            self.queue.poke(lane);
        }
    }

    fn may_start(&self) -> bool {
        self.worker.board.is_enabled() && !self.is_draining && self.refusals == 0
    }

    fn start_attempts(&mut self) {
        let config = self.worker.live.load();
        if let Some(endpoint) = config.endpoints.get(&self.worker.endpoint.name) {
            self.worker.endpoint = Arc::clone(endpoint);
            self.speech.follow(&endpoint.rendering);
        }
        let concurrency = self.worker.endpoint.concurrency;
        let (now, pace) = (Instant::now(), Arc::clone(&self.worker.pace));
        let mut grant = |lag| match lag {
            Lag::Backlog => pace.grant(now),
            Lag::Fresh => {
                pace.fresh(now);
                true
            }
        };
        let mut unloaded = Vec::new();
        let starts = self
            .queue
            .starts(self.worker.clock.now(), concurrency, &mut grant);
        if !starts.is_empty()
            && let Some(written) = self.speech.unkept()
        {
            self.queue.keep(written);
        }
        for (lane, mut start) in starts {
            match start.event.take() {
                Some(event) => {
                    let words = self.speech.now().clone();
                    self.attempt(lane, start, event, words);
                }
                None => unloaded.push((lane, start)),
            }
        }
        if !unloaded.is_empty() {
            self.load(unloaded);
        }
    }

    fn take(&mut self, report: Report) {
        let endpoint = &self.worker.endpoint.name;
        match report {
            Report::Attempted(attempted) => self.attempted(*attempted),
            Report::Filtered(lane, start) => self.pass_over(lane, &start),
            Report::Loaded(loaded) => self.loaded(loaded),
            Report::Scanned(job, events) => {
                if let Err(error) = &events {
                    error!(%endpoint, %error, "events to deliver cannot be read");
                }
                // What is read during a drain is read again after the restart.
                let events = events.ok().filter(|_| !self.is_draining);
                self.queue.scanned(job, events);
            }
            Report::Asked(job, Ok(next)) => {
                let now = self.worker.clock.now();
                self.queue.answered(&job, next, now);
            }
            Report::Asked(job, Err(error)) => {
                error!(%endpoint, %error, "blocked deliveries cannot be read");
                self.queue.unanswered(&job);
            }
            Report::Settled(result) => self.settled(result),
            Report::Recounted(lanes, states) => {
                for (lane, state) in lanes.into_iter().zip(&states) {
                    self.queue.recount(lane, state);
                }
            }
        }
    }

    fn loaded(&mut self, loaded: Vec<(usize, Start, Loaded)>) {
        for (lane, start, loaded) in loaded {
            match loaded {
                Loaded::Event(event, words) if !self.is_draining => {
                    self.attempt(lane, start, event, words);
                }
                Loaded::Event(..) | Loaded::Unknown => self.queue.unstart(lane, start),
                Loaded::Lost(reason) => self.lose(lane, &start, reason),
            }
        }
    }

    /// An event that cannot be sent any more becomes a dead letter, so that its subject goes on.
    fn lose(&mut self, lane: usize, start: &Start, reason: &'static str) {
        let attempt = Attempt {
            number: start.attempts + 1,
            at: self.worker.clock.now(),
            duration_ms: 0,
            status: None,
            error: Some(reason.to_owned()),
            answer: None,
            rendering: None,
        };
        self.bury(start, &attempt);
        self.queue
            .finished(lane, start.delivery.event, attempt, Then::Dead);
    }

    /// The endpoint does not take the event: it is settled in its turn, without an attempt.
    fn pass_over(&mut self, lane: usize, start: &Start) {
        let none = Attempt {
            number: 0,
            at: self.worker.clock.now(),
            duration_ms: 0,
            status: None,
            error: None,
            answer: None,
            rendering: None,
        };
        self.queue
            .finished(lane, start.delivery.event, none, Then::Filtered);
    }

    fn attempted(&mut self, attempted: Attempted) {
        let Attempted {
            lane,
            start,
            at,
            took,
            rendering,
            answer,
        } = attempted;
        let (now, number) = (self.worker.clock.now(), start.attempts + 1);
        let retry = &self.worker.endpoint.retry;
        let verdict = judge(&answer, (number, retry), now, fastrand::f64());
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
            (self.failures, self.failing_since) = (0, None);
            let lag = now.since(start.at).as_secs_f64();
            self.worker.metrics.accepted(took.as_secs_f64(), lag);
        } else {
            self.failures = self.failures.saturating_add(1);
            self.failing_since.get_or_insert(at);
            self.worker.metrics.failed(took.as_secs_f64());
            let (endpoint, reason) = (&self.worker.endpoint.name, reason(&attempt));
            debug!(%endpoint, delivery = %start.delivery, number, reason, "attempt failed");
        }
        if verdict.is_gone {
            self.disable();
        }
        if verdict.then == Then::Dead {
            self.bury(&start, &attempt);
        }
        self.queue
            .finished(lane, start.delivery.event, attempt, verdict.then);
    }

    /// The endpoint answered 410: it is not rung any more, also after a restart, until somebody
    /// enables it; its deliveries stay.
    fn disable(&mut self) {
        if !self.worker.board.switch(false) {
            return;
        }
        self.worker.metrics.enabled(false);
        let endpoint = &self.worker.endpoint.name;
        warn!(%endpoint, "endpoint answered 410 and is switched off until somebody enables it");
        self.queue.disable(endpoint.clone());
        self.announce(Kind::EndpointDisabled, "it answered 410", self.failures);
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
        let since = self.failing_since.unwrap_or(now);
        self.queue.announce(Announcement {
            kind,
            subject: format!("endpoint/{name}").into(),
            content: event::operational(("endpoint", name), reason, consecutive, since),
        });
    }

    fn settled(&mut self, result: Result<(), StoreError>) {
        let endpoint = &self.worker.endpoint.name;
        self.is_settling = false;
        match result {
            Ok(()) => {
                self.refusals = 0;
                for row in self.queue.committed() {
                    match row.then {
                        Then::Delivered => self.worker.metrics.delivered(),
                        Then::Dead => self.worker.metrics.dead(),
                        Then::Filtered => self.worker.metrics.filtered(),
                        Then::Retry(_) => {}
                    }
                }
            }
            Err(error) => {
                self.refusals = self.refusals.saturating_add(1);
                error!(%endpoint, %error, "outcomes cannot be saved, deliveries pause");
                if let Some(settling) = self.queue.again() {
                    self.settle(settling);
                }
            }
        }
    }

    /// How long nothing needs to be done unless something happens.
    fn pause(&self) -> Duration {
        let due = self.queue.next_due().filter(|_| self.may_start());
        // A due delivery without a free slot is started when an attempt ends.
        let is_free = self.queue.flying() < self.worker.endpoint.concurrency;
        let paced = (is_free && self.queue.is_paced() && self.may_start()).then_some(pace::TICK);
        let due = due.filter(|_| is_free);
        let due = due.map(|due| due.since(self.worker.clock.now()));
        let beat = self
            .beat
            .map(|beat| beat.saturating_duration_since(Instant::now()));
        due.into_iter()
            .chain(beat)
            .chain(paced)
            .min()
            .unwrap_or(SLEEP_MAX)
            .min(SLEEP_MAX)
    }

    /// Shows how much there is to do, and sees to it that time is kept while there is.
    fn publish(&mut self) {
        let load = self.queue.load();
        let pending = load.pending();
        self.worker.metrics.holds(pending, load.stuck);
        self.worker.board.holds(pending, load.stuck);
        if pending == 0 {
            self.worker.metrics.oldest(0);
            self.worker.board.oldest(None);
        }
        if self.beat.is_none() && (pending > 0 || self.queue.is_dirty()) {
            self.beat = Some(Instant::now() + BEAT);
        }
    }

    fn keep_time(&mut self) {
        if self.beat.is_none_or(|beat| beat > Instant::now()) {
            return;
        }
        self.beat = None;
        self.beats = self.beats.wrapping_add(1);
        if let Some(oldest) = self.queue.oldest() {
            let age = self.worker.clock.now().since(oldest);
            self.worker.metrics.oldest(age.as_secs());
            self.worker.board.oldest(Some(oldest));
        }
        if !self.is_settling
            && let Some(settling) = self.queue.flush()
        {
            self.settle(settling);
        }
        if self.beats.is_multiple_of(RECOUNT_BEATS) {
            self.recount();
        }
    }

    /// Whether a drain is done: nothing in flight, every outcome on disk.
    fn is_over(&self) -> bool {
        self.is_draining && self.queue.flying() == 0 && !self.queue.is_unsettled()
    }

    /// Leaves the watermarks where the next start finds its way soonest. Not doing so costs only
    /// that start a moment.
    async fn leave(&mut self) {
        if let Some(settling) = self.queue.flush() {
            let _ = self.worker.store.settle(settling).await;
        }
    }
}

/// What a failed attempt failed for, in a few words.
fn reason(attempt: &Attempt) -> String {
    match (attempt.status, &attempt.error) {
        (Some(status), _) => format!("status {status}"),
        (None, Some(error)) => error.clone(),
        (None, None) => String::new(),
    }
}

fn dead(delivery: DeliveryId, reason: &str) -> String {
    format!("{delivery} used up its attempts, the last: {reason}")
}
