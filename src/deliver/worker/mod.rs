//! The task of one endpoint: carries out what its [`Queue`] decides.
//!
//! Decides nothing about deliveries but when to pause: while draining, while the endpoint is switched
//! off or paused, while its [`Valve`] is shut, while somebody waits for it to rest, and while the
//! store does not take outcomes. All attempts of an endpoint run inside its one task: a webhook
//! costs no spawn and no message between threads.

mod bearing;
mod errands;
mod jobs;
mod outcomes;
mod words;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use ipnet::IpNet;
use parking_lot::Mutex;
use tracing::error;

use crate::client::{self, Resolver};
use crate::clock::Clock;
use crate::config::{Endpoint, Live};
use crate::metrics::EndpointMetrics;
use crate::shutdown::{Phase, Shutdown};
use crate::store::{DeliveryId, Failing, SourceId, Store, StoreError, Then};
use crate::time::Timestamp;

use super::board::{Board, Inbox, News};
use super::handshake::Consent;
use super::lane::{Kinds, Lag, Start};
use super::pace::{self, Gathering, Pace};
use super::queue::Queue;
use super::steady::Steady;
use super::valve::{Room, Standing, Valve};
pub(in crate::deliver) use errands::Errand;
use jobs::{Loaded, Report, reports};
use words::Speech;

/// How often gauges follow and idle watermarks are written, while there is anything to tell.
const BEAT: Duration = Duration::from_secs(1);
/// Every so many beats the backlog is counted anew.
const RECOUNT_BEATS: u32 = 5;
/// Counting takes at most one part in so many of the time: a backlog of a million commits costs
/// little while it waits.
const RECOUNT_SHARE: u32 = 200;
/// The longest sleep: the due times are wall-clock times, and the wall clock may jump.
const SLEEP_MAX: Duration = Duration::from_secs(30);

/// What a worker needs from outside.
pub(super) struct Worker {
    pub(super) endpoint: Arc<Endpoint>,
    /// What it hears of which source, a lane each.
    pub(super) heard: Vec<(SourceId, Kinds)>,
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

/// The clients that all endpoints share.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    /// Reaches public addresses only.
    guarded: reqwest::Client,
    /// Reaches every address.
    unguarded: reqwest::Client,
    /// Reaches public addresses and these networks.
    within: Arc<Mutex<Option<Within>>>,
    resolver: Resolver,
}

/// Networks, and the client that reaches them.
type Within = (Arc<[IpNet]>, reqwest::Client);

impl Clients {
    pub(super) fn new(resolver: Resolver) -> Result<Self, String> {
        Ok(Self {
            guarded: client::webhooks(false, resolver.clone())?,
            unguarded: client::webhooks(true, resolver.clone())?,
            within: Arc::default(),
            resolver,
        })
    }

    /// The one that reaches what `endpoint` may be at.
    pub(super) fn of(&self, endpoint: &Endpoint) -> reqwest::Client {
        let networks = &endpoint.allow_networks;
        if endpoint.allow_private {
            return self.unguarded.clone();
        }
        if networks.is_empty() {
            return self.guarded.clone();
        }
        // All endpoints that have networks have those of the configuration, so it is made once.
        let mut within = self.within.lock();
        if let Some((reached, client)) = &*within
            && reached == networks
        {
            return client.clone();
        }
        match client::webhooks_within(Arc::clone(networks), self.resolver.clone()) {
            Ok(client) => {
                *within = Some((Arc::clone(networks), client.clone()));
                client
            }
            Err(error) => {
                error!(%error, "a client for private networks cannot be made");
                self.guarded.clone()
            }
        }
    }
}

impl Worker {
    /// Rings what `queue` holds and what comes in, until a drain is done; the endpoint failed so
    /// before. Attempts in flight are heard out, each at most its timeout; whoever drains bounds how
    /// long that may take.
    pub(super) async fn run(self, queue: Queue, failing: Option<Failing>) {
        let now = Instant::now();
        let mut running = Running {
            valve: Valve::new(&self.endpoint, failing, now),
            shown: None,
            steady: Steady::new(self.clock.now(), now),
            was_enabled: self.board.is_enabled(),
            probe: None,
            speech: Speech::new(&self.endpoint.rendering),
            worker: self,
            queue,
            jobs: FuturesUnordered::new(),
            errands: Vec::new(),
            consent: Asked::Not,
            is_settling: false,
            gathering: Gathering::default(),
            refusals: 0,
            is_draining: false,
            beat: None,
            beats: 0,
            recounted: None,
        };
        running.work().await;
    }
}

/// Whether the endpoint was asked to be rung.
enum Asked {
    /// Not since the start, or since it was switched on.
    Not,
    /// In vain, the last time.
    Refused,
    /// It agreed.
    Agreed(Consent),
}

struct Running {
    worker: Worker,
    speech: Speech,
    queue: Queue,
    jobs: FuturesUnordered<BoxFuture<'static, Report>>,
    /// What is to be done once it rests.
    errands: Vec<Errand>,
    consent: Asked,
    is_settling: bool,
    gathering: Gathering,
    /// How often in a row the store refused to settle.
    refusals: u32,
    is_draining: bool,
    /// What the endpoint bears.
    valve: Valve,
    /// What others see of that.
    shown: Option<Standing>,
    /// The delivery that finds out whether the endpoint is back.
    probe: Option<DeliveryId>,
    steady: Steady,
    was_enabled: bool,
    /// When gauges follow next; `None`: nothing to tell.
    beat: Option<Instant>,
    beats: u32,
    /// When a count ended, and how long it took.
    recounted: Option<(Instant, Duration)>,
}

impl Running {
    async fn work(&mut self) {
        let shutdown = self.worker.shutdown.clone();
        let inbox = Arc::clone(&self.worker.inbox);
        let mut drain = std::pin::pin!(shutdown.reached(Phase::Draining));
        loop {
            self.advance();
            if self.is_at_rest() {
                self.run_errands().await;
                continue;
            }
            if self.is_over() {
                self.leave().await;
                return self.hush().await;
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
                () = &mut drain, if !self.is_draining => {
                    self.is_draining = true;
                    // Who waits for them is told so.
                    self.errands.clear();
                }
            }
        }
    }

    /// Starts everything that may start now.
    fn advance(&mut self) {
        self.enable();
        if self.may_start() {
            self.start_attempts();
            if self.may_read() {
                for job in self.queue.scans() {
                    self.scan(job);
                }
            }
        }
        for job in self.queue.asks() {
            self.ask(job);
        }
        if self.settles_in().is_some_and(|wait| wait.is_zero())
            && let Some(settling) = self.queue.batch()
        {
            self.settle(settling);
        }
        self.publish();
        self.show_bearing();
    }

    fn hear(&mut self, news: News) {
        if news.is_dismissed {
            self.is_draining = true;
            self.errands.clear();
        }
        if !self.is_draining {
            self.errands.extend(news.errands);
        }
        for (lane, fresh) in news.fresh {
            if self.may_start() && self.may_read() {
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
        let is_wanted = self.worker.board.is_rung() && self.errands.is_empty();
        is_wanted && !self.is_draining && self.refusals == 0
    }

    /// Whether new events are read. Those of an endpoint that is only probed stay where they are, where
    /// they cost nothing, until there is nothing else to probe with.
    fn may_read(&mut self) -> bool {
        if !self.valve.is_open() {
            return true;
        }
        let room = self.valve.room(self.queue.flying(), Instant::now());
        room == Room::Probe && !self.queue.is_ready()
    }

    /// Begins anew with an endpoint that somebody has switched on again. What outcomes led to may be
    /// written after what somebody wrote, so what is seen here is written once more, after both.
    fn enable(&mut self) {
        let is_enabled = self.worker.board.is_enabled();
        if is_enabled == self.was_enabled {
            return;
        }
        let name = self.worker.endpoint.name.clone();
        if is_enabled {
            self.valve = Valve::new(&self.worker.endpoint, None, Instant::now());
            self.probe = None;
            self.consent = Asked::Not;
            self.queue.note(name.clone(), None);
        }
        self.queue.switch(name, is_enabled);
        self.was_enabled = is_enabled;
    }

    /// The time by which deliveries are due.
    fn steady(&mut self) -> Timestamp {
        self.steady.now(self.worker.clock.now(), Instant::now())
    }

    fn start_attempts(&mut self) {
        let config = self.worker.live.load();
        if let Some(endpoint) = config.endpoints.get(&self.worker.endpoint.name) {
            self.worker.endpoint = Arc::clone(endpoint);
            self.speech.follow(&endpoint.rendering);
            let rate = match &self.consent {
                Asked::Agreed(consent) => consent.rate(endpoint.rate),
                Asked::Not | Asked::Refused => endpoint.rate,
            };
            self.valve.follow(endpoint, rate, Instant::now());
        }
        if !self.speech.is_noted() {
            return self.note_words();
        }
        let mut unloaded = Vec::new();
        for (lane, mut start) in self.starts() {
            let is_former = self.speech.is_former(start.delivery.event);
            match start.event.take().filter(|_| !is_former) {
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

    /// Whether the endpoint is to be asked before it is rung.
    fn awaits_consent(&self) -> bool {
        let endpoint = &self.worker.endpoint;
        let agreed = match &self.consent {
            Asked::Agreed(consent) => consent.is_of(endpoint),
            Asked::Not | Asked::Refused => false,
        };
        endpoint.handshake.is_some() && !agreed
    }

    /// What may begin now.
    fn starts(&mut self) -> Vec<(usize, Start)> {
        let flying = self.queue.flying();
        let due = self.steady();
        let starts = match self.valve.room(flying, Instant::now()) {
            Room::Probe => {
                let probe = self.queue.start_oldest(due);
                if let Some((_, start)) = &probe {
                    self.probe = Some(start.delivery);
                    self.valve.probed();
                }
                Vec::from_iter(probe)
            }
            // One at a time, which asks.
            Room::For(more) if self.awaits_consent() => self.starts_of(due, more.min(1)),
            Room::For(more) => self.starts_of(due, flying + more),
        };
        self.valve.began(starts.len());
        starts
    }

    /// What may begin now until `most` attempts are in flight, beside those of other endpoints.
    fn starts_of(&mut self, due: Timestamp, most: usize) -> Vec<(usize, Start)> {
        let (now, pace) = (Instant::now(), Arc::clone(&self.worker.pace));
        let mut grant = |lag| match lag {
            Lag::Backlog => pace.grant(now),
            Lag::Fresh => {
                pace.fresh(now);
                true
            }
        };
        self.queue.starts(due, most, &mut grant)
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
                if !self.queue.is_ready() {
                    // What was read waits behind what was tried: enough for one probe.
                    self.valve.put_off(Instant::now());
                }
            }
            Report::Asked(job, Ok(next)) => {
                let now = self.steady();
                self.queue.answered(&job, next, now);
            }
            Report::Asked(job, Err(error)) => {
                error!(%endpoint, %error, "blocked deliveries cannot be read");
                self.queue.unanswered(&job);
            }
            Report::Settled(result) => self.settled(result),
            Report::Noted(written, Ok(former)) => self.speech.noted(written.as_ref(), former),
            Report::Noted(_, Err(error)) => {
                error!(%endpoint, %error, "nothing can be noted, deliveries pause");
                self.speech.not_noted();
            }
            Report::Recounted(lanes, states, took) => {
                self.recounted = Some((Instant::now(), took));
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
                Loaded::Event(..) | Loaded::Unknown => {
                    self.unmade(start.delivery);
                    self.queue.unstart(lane, start);
                }
                Loaded::Lost(reason) => self.lose(lane, &start, reason),
            }
        }
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

    /// How much longer outcomes gather before they are settled; `None`: until others are.
    fn settles_in(&self) -> Option<Duration> {
        let more = self.queue.flying() > 0 || self.queue.is_ready();
        let is_alone = !more || self.is_draining;
        (!self.is_settling).then(|| self.gathering.left(is_alone, Instant::now()))
    }

    /// How long nothing needs to be done unless something happens.
    fn pause(&mut self) -> Duration {
        let now = Instant::now();
        let start = if self.may_start() {
            self.next_start(now)
        } else {
            None
        };
        let beat = self.beat.map(|beat| beat.saturating_duration_since(now));
        let settles = self.settles_in().filter(|_| self.queue.is_drafted());
        let next = start.into_iter().chain(beat).chain(settles).min();
        next.unwrap_or(SLEEP_MAX).min(SLEEP_MAX)
    }

    /// When an attempt can begin although none has ended.
    fn next_start(&mut self, now: Instant) -> Option<Duration> {
        let awaits_outcome = self.awaits_consent() && self.queue.flying() > 0;
        if awaits_outcome || !self.speech.is_noted() {
            return None;
        }
        let room = self.valve.next(self.queue.flying(), now)?;
        let room = room.saturating_duration_since(now);
        if self.queue.is_paced() {
            return Some(room.max(pace::TICK));
        }
        if self.queue.is_ready() {
            return Some(room);
        }
        let due = self.queue.next_due();
        let due = due.map(|due| due.since(self.steady()));
        // An endpoint that is only probed is read on when a probe is due.
        let read = self.queue.wants_to_read().then_some(Duration::ZERO);
        due.into_iter().chain(read).min().map(|wait| room.max(wait))
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
        let is_there_more = pending > 0 || self.queue.is_dirty() || self.queue.is_hungry();
        if self.beat.is_none() && is_there_more {
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
        let rests = self
            .recounted
            .is_some_and(|(at, took)| at.elapsed() < took * RECOUNT_SHARE);
        if self.beats.is_multiple_of(RECOUNT_BEATS) && !rests && !self.is_draining {
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

    /// Nothing is in flight, so nothing may have been told in words of now. Not noting it costs only
    /// that other words are used for new events alone, as after a crash.
    async fn hush(&mut self) {
        if self.speech.is_spoken() {
            let _ = self.worker.store.hush(&self.worker.endpoint.name).await;
        }
    }
}
