//! Where requests wait for leave: the budget and the breaker of an upstream, and who waits there.
//!
//! Who is granted, and when, [`crate::budget`] decides; this keeps its time, lets those wait whom
//! it tells to, and wakes them. One task per upstream with a budget sleeps until the next grant is
//! due, and for ever while nobody waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::{By, pacing};
use crate::budget::{Answer, Asker, Breaker, Budget, Kind, Moment, Pass, Terms, Ticket, Verdict};
use crate::metrics::UpstreamSeries;
use crate::time::Timestamp;

/// How often what remains is told to the metrics while it refills.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Why no request may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The budget is used up, and the caller would wait longer than it may: it would not after this.
    #[error("the budget of the upstream is used up")]
    Budget(Duration),
    /// The breaker is open; the next probe may go after this.
    #[error("the upstream is down, and asked no more than it takes to notice that it is back")]
    Down(Duration),
    /// The upstream has as many connections as it may.
    #[error("the upstream has as many connections as it may")]
    Crowded,
    /// doorbell is about to end, and the poll would have waited.
    #[error("doorbell is draining")]
    Draining,
}

/// How an upstream stands with its budget and its breaker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// How long its breaker has been open.
    pub down_for: Option<Duration>,
    /// What is left to be asked, where there is a budget.
    pub budget: Option<Left>,
}

/// What is left of a budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Left {
    /// Requests that may be made at once now.
    pub remaining: u32,
    /// How much longer the upstream is left alone, because it asked for it.
    pub held_for: Duration,
    /// Callers that wait.
    pub callers_waiting: usize,
    /// Polls that wait.
    pub polls_waiting: usize,
}

/// The gate of one upstream.
#[derive(Debug)]
pub(super) struct Gate {
    began: Instant,
    state: Mutex<State>,
    /// Rung when somebody waits, or may go sooner than was thought.
    wake: Notify,
    /// Counts recoveries.
    recovered: watch::Sender<u64>,
    series: UpstreamSeries,
}

#[derive(Debug)]
struct State {
    budget: Option<Budget>,
    breaker: Breaker,
    /// Those who wait for the budget, by their tickets.
    waiting: HashMap<Ticket, Waiting>,
    /// Whether polls wait no more.
    closed: bool,
}

#[derive(Debug)]
struct Waiting {
    is_poll: bool,
    granted: oneshot::Sender<()>,
}

/// Leave to make one request. Dropped before it was [sent](Self::sent), it counts as not made.
///
/// That of a caller also holds one of the upstream's `connections_max` places until it is dropped;
/// a poll takes its place when it is made.
#[derive(Debug)]
#[must_use = "leave that is not used is given back"]
pub struct Permit {
    gate: Arc<Gate>,
    by: By,
    /// None without a budget.
    ticket: Option<Ticket>,
    pass: Pass,
    stage: Stage,
    place: Option<OwnedSemaphorePermit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Granted,
    Sent,
    Over,
}

/// Wakes those who wait, as long as it lives.
#[derive(Debug)]
pub(super) struct Clerk(JoinHandle<()>);

impl Drop for Clerk {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Takes a place in the queue back if whoever waits goes away.
struct InQueue<'a> {
    gate: &'a Gate,
    ticket: Ticket,
    is_over: bool,
}

impl Drop for InQueue<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.gate.leaves(self.ticket);
        }
    }
}

impl Gate {
    /// A gate with what `terms` grant, if there are any, and the clerk it needs then. Must be
    /// called inside a tokio runtime.
    pub(super) fn new(terms: Option<Terms>, series: UpstreamSeries) -> (Arc<Self>, Option<Clerk>) {
        let budget = terms.map(|terms| Budget::new(terms, Duration::ZERO));
        let gate = Arc::new(Self {
            began: Instant::now(),
            state: Mutex::new(State {
                budget,
                breaker: Breaker::default(),
                waiting: HashMap::new(),
                closed: false,
            }),
            wake: Notify::new(),
            recovered: watch::channel(0).0,
            series,
        });
        gate.series.healthy(true);
        let clerk = terms.map(|_| Clerk(tokio::spawn(attend(Arc::clone(&gate)))));
        (gate, clerk)
    }

    /// Waits for leave to make one request.
    pub(super) async fn ask(self: &Arc<Self>, by: By) -> Result<Permit, Denied> {
        let pass = self.pass(by)?;
        let ticket = match self.granted(by).await {
            Ok(ticket) => ticket,
            Err(denied) => {
                self.gives_up(pass);
                return Err(denied);
            }
        };
        let mut permit = Permit {
            gate: Arc::clone(self),
            by,
            ticket,
            pass,
            stage: Stage::Granted,
            place: None,
        };
        // It may have gone down while this one waited.
        let is_late = pass == Pass::Go && self.state.lock().breaker.open_since().is_some();
        if is_late {
            permit.pass = self.pass(by)?;
        }
        Ok(permit)
    }

    /// Waits for leave to ask for a token, which the budget counts. The breaker is not asked: a
    /// probe of an upstream that is down needs a token, too.
    pub(super) async fn errand(self: &Arc<Self>, by: By) -> Result<Errand, Denied> {
        Ok(Errand {
            ticket: self.granted(by).await?,
            gate: Arc::clone(self),
            by,
            is_sent: false,
        })
    }

    /// Polls wait no more: those that do are denied, as those will be that would.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        // Whose sender is dropped leaves the queue by itself.
        state.waiting.retain(|_, waiting| !waiting.is_poll);
    }

    /// Tells how often the upstream has come back.
    pub(super) fn recoveries(&self) -> watch::Receiver<u64> {
        self.recovered.subscribe()
    }

    /// How it stands.
    pub(super) fn standing(&self) -> Standing {
        let now = self.now();
        let mut state = self.state.lock();
        let down_for = state.breaker.open_since();
        // Brings what is left up to date; whoever is granted by that is told.
        state.grant(now);
        Standing {
            down_for: down_for.map(|since| now.saturating_sub(since)),
            budget: state.budget.as_ref().map(|budget| {
                let (callers_waiting, polls_waiting) = budget.waiting();
                Left {
                    remaining: budget.remaining(),
                    held_for: budget.held_for(),
                    callers_waiting,
                    polls_waiting,
                }
            }),
        }
    }

    /// Whether the breaker is open.
    pub(super) fn is_down(&self) -> bool {
        self.state.lock().breaker.open_since().is_some()
    }

    /// Requests a second that callers leave to polls; `None` without a budget.
    pub(super) fn left_to_polls(&self) -> Option<f64> {
        let now = self.now();
        let state = self.state.lock();
        state
            .budget
            .as_ref()
            .map(|budget| budget.left_to_polls(now))
    }

    fn now(&self) -> Moment {
        self.began.elapsed()
    }

    /// What the breaker says. A poll by hand is always let through: it finds out.
    fn pass(&self, by: By) -> Result<Pass, Denied> {
        match self.state.lock().breaker.ask(self.now()) {
            Pass::No(_) if by == By::Hand => Ok(Pass::Probe),
            Pass::No(wait) => Err(Denied::Down(wait)),
            pass => Ok(pass),
        }
    }

    fn gives_up(&self, pass: Pass) {
        if pass == Pass::Probe {
            self.state.lock().breaker.gave_up(self.now());
        }
    }

    /// What the budget says; waits for it.
    async fn granted(&self, by: By) -> Result<Option<Ticket>, Denied> {
        let (ticket, granted, longest) = {
            let mut state = self.state.lock();
            let is_closed = state.closed;
            let Some(budget) = &mut state.budget else {
                return Ok(None);
            };
            let ticket = match budget.ask(by.into(), self.now()) {
                Verdict::Granted(ticket) => return Ok(Some(ticket)),
                Verdict::Refused(wait) => return Err(Denied::Budget(wait)),
                Verdict::Waits(ticket) => ticket,
            };
            let is_poll = by.is_poll();
            let longest = (!is_poll).then_some(budget.terms().wait);
            if is_closed && is_poll {
                budget.leave(ticket);
                return Err(Denied::Draining);
            }
            let (granted, hears) = oneshot::channel();
            state.waiting.insert(ticket, Waiting { is_poll, granted });
            (ticket, hears, longest)
        };
        let mut place = InQueue {
            gate: self,
            ticket,
            is_over: false,
        };
        self.wake.notify_one();
        let granted = async { granted.await.map_err(|_| Denied::Draining) };
        match longest {
            None => granted.await?,
            // It was told that it would wait less, but the upstream allows less since then.
            Some(longest) => match timeout(longest, granted).await {
                Ok(granted) => granted?,
                Err(_) => return Err(Denied::Budget(self.wait_of(by))),
            },
        }
        place.is_over = true;
        Ok(Some(ticket))
    }

    /// How long a caller would wait that asks now.
    fn wait_of(&self, by: By) -> Duration {
        let state = self.state.lock();
        match (&state.budget, by) {
            (Some(budget), By::Caller(identity)) => budget.wait_of(identity),
            _ => Duration::ZERO,
        }
    }

    /// Whoever waited went away.
    fn leaves(&self, ticket: Ticket) {
        self.with_budget(|budget, now| {
            if !budget.leave(ticket) {
                budget.unsent(ticket, now);
            }
        });
        self.state.lock().waiting.remove(&ticket);
    }

    /// Does something to the budget, and lets those go on who may because of it.
    fn with_budget(&self, change: impl FnOnce(&mut Budget, Moment)) {
        let now = self.now();
        let mut state = self.state.lock();
        let Some(budget) = &mut state.budget else {
            return;
        };
        change(budget, now);
        state.grant(now);
        if !state.waiting.is_empty() {
            self.wake.notify_one();
        }
    }

    fn count(&self, by: By) {
        match by {
            By::Poll | By::Hand => self.series.asked_by_poll(),
            By::Caller(_) => self.series.asked_by_caller(),
        }
    }

    fn succeeded(&self) {
        let mut state = self.state.lock();
        if state.breaker.is_at_ease() || !state.breaker.succeeded() {
            return;
        }
        drop(state);
        self.series.healthy(true);
        self.recovered.send_modify(|times| *times += 1);
        tracing::info!(upstream = self.series.name(), "the upstream is back");
    }

    fn failed(&self, pass: Pass) {
        let opened = self.state.lock().breaker.failed(pass, self.now());
        if opened {
            self.series.healthy(false);
            let upstream = self.series.name();
            tracing::warn!(
                upstream,
                "the upstream is down: it is probed until it is back"
            );
        }
    }
}

impl State {
    /// Wakes whoever may go on. One that left meanwhile gives its grant back by itself.
    fn grant(&mut self, now: Moment) {
        let Some(budget) = &mut self.budget else {
            return;
        };
        for ticket in budget.grants(now) {
            if let Some(waiting) = self.waiting.remove(&ticket) {
                let _ = waiting.granted.send(());
            }
        }
    }
}

/// Wakes those who wait when it is their turn, and keeps the gauge of what remains.
async fn attend(gate: Arc<Gate>) {
    loop {
        let next = {
            let now = gate.now();
            let mut state = gate.state.lock();
            state.grant(now);
            let Some(budget) = &state.budget else { return };
            gate.series.remaining(budget.remaining());
            let tells = (!budget.is_full()).then(|| now + TELL_EVERY);
            budget.next().into_iter().chain(tells).min()
        };
        match next {
            None => gate.wake.notified().await,
            Some(next) => {
                tokio::select! {
                    () = gate.wake.notified() => {}
                    () = tokio::time::sleep_until(gate.began + next) => {}
                }
            }
        }
    }
}

impl Permit {
    /// Who has it.
    #[must_use]
    pub const fn by(&self) -> By {
        self.by
    }

    /// With a place among the connections.
    pub(super) fn with_place(mut self, place: OwnedSemaphorePermit) -> Self {
        self.place = Some(place);
        self
    }

    /// The request is on its way.
    pub fn sent(&mut self) {
        if self.stage != Stage::Granted {
            return;
        }
        self.stage = Stage::Sent;
        if let Some(ticket) = self.ticket {
            self.gate
                .with_budget(|budget, now| budget.sent(ticket, now));
        }
        self.gate.count(self.by);
    }

    /// The head of an answer came. What its headers say of quotas counts if they are those of our
    /// own credential: a caller's own one has quotas of its own.
    pub fn answered(&mut self, status: StatusCode, headers: Quotas<'_>) {
        if self.stage == Stage::Over {
            return;
        }
        self.stage = Stage::Over;
        if is_failure(status) {
            self.gate.failed(self.pass);
        } else {
            self.gate.succeeded();
        }
        let Some(ticket) = self.ticket else { return };
        let answer = match headers {
            Quotas::Ours(headers, now) => Answer {
                kind: kind(status, headers, now),
                quotas: pacing::quotas(headers, now),
            },
            Quotas::Foreign => Answer::default(),
        };
        self.gate
            .with_budget(|budget, now| budget.answered(ticket, &answer, now));
    }

    /// No answer came. Where no connection came about, nothing was sent either.
    pub fn broke(&mut self, is_unsent: bool) {
        if self.stage == Stage::Over {
            return;
        }
        self.gate.failed(self.pass);
        self.stage = Stage::Over;
        if let Some(ticket) = self.ticket {
            self.gate.with_budget(|budget, now| {
                if is_unsent {
                    budget.unsent(ticket, now);
                } else {
                    budget.lost(ticket, now);
                }
            });
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Who waits for a place need not wait for the rest.
        drop(self.place.take());
        if self.stage == Stage::Over {
            return;
        }
        self.gate.gives_up(self.pass);
        let Some(ticket) = self.ticket else { return };
        match self.stage {
            Stage::Granted => self
                .gate
                .with_budget(|budget, now| budget.unsent(ticket, now)),
            Stage::Sent | Stage::Over => self
                .gate
                .with_budget(|budget, now| budget.lost(ticket, now)),
        }
    }
}

/// Leave to ask for a token. Dropped before it was [sent](Self::sent), it counts as not made.
#[derive(Debug)]
pub(super) struct Errand {
    gate: Arc<Gate>,
    by: By,
    /// None without a budget, and when it is over.
    ticket: Option<Ticket>,
    is_sent: bool,
}

impl Errand {
    /// The request is on its way.
    pub(super) fn sent(&mut self) {
        self.is_sent = true;
        if let Some(ticket) = self.ticket {
            self.gate
                .with_budget(|budget, now| budget.sent(ticket, now));
        }
        self.gate.count(self.by);
    }

    /// The head of an answer came, or none ever will. What it says of quotas may be those of the
    /// endpoint alone.
    pub(super) fn ended(mut self, is_unsent: bool) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        self.gate.with_budget(|budget, now| {
            if is_unsent {
                budget.unsent(ticket, now);
            } else {
                budget.answered(ticket, &Answer::default(), now);
            }
        });
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let is_sent = self.is_sent;
        self.gate.with_budget(|budget, now| {
            if is_sent {
                budget.lost(ticket, now);
            } else {
                budget.unsent(ticket, now);
            }
        });
    }
}

/// Whose quotas the headers of an answer speak of.
#[derive(Debug, Clone, Copy)]
pub enum Quotas<'a> {
    /// Those of our credential; read at this time.
    Ours(&'a HeaderMap, Timestamp),
    /// Another one's.
    Foreign,
}

/// What an answer was to the budget.
fn kind(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Kind {
    match status {
        StatusCode::NOT_MODIFIED => Kind::NotModified,
        StatusCode::TOO_MANY_REQUESTS => Kind::Limited(pacing::retry_after(headers, now)),
        StatusCode::FORBIDDEN if pacing::is_rate_limit(headers) => {
            Kind::Limited(pacing::retry_after(headers, now))
        }
        _ => Kind::Other,
    }
}

/// Whether an answer says that the upstream is not there: a gateway in front of it says so. A 500
/// is an answer of its own, and may be that of one path alone.
fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 502..=504)
}

impl By {
    /// Whether it is the poller.
    #[must_use]
    pub const fn is_poll(self) -> bool {
        matches!(self, Self::Poll | Self::Hand)
    }
}

impl From<By> for Asker {
    fn from(by: By) -> Self {
        match by {
            By::Poll => Self::Poll,
            By::Hand => Self::Hand,
            By::Caller(identity) => Self::Caller(identity),
        }
    }
}
