//! What a worker waits for: attempts, and reads and writes of the store. Each job ends in one
//! [`Report`]; one that failed pauses first, so that nothing is tried over and over at full speed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tracing::error;

use super::Running;
use super::words::{Former, Words};
use crate::backoff::Backoff;
use crate::config::Endpoint;
use crate::deliver::attempt;
use crate::deliver::handshake::Consent;
use crate::deliver::lane::Start;
use crate::deliver::queue::{AskJob, ScanJob};
use crate::deliver::verdict::Answer;
use crate::digest::Digest;
use crate::event::{Event, EventKey, Kind, Written};
use crate::store::{DeliveryId, LaneState, Parked, Scanned, Settling, Store, StoreError, Told};
use crate::time::Timestamp;

/// Pause after a read that failed.
const READ_PAUSE: Duration = Duration::from_secs(1);
/// Pauses between tries to settle: a disk that was full for a moment is noticed soon, one that
/// stays full is not asked all the time.
const SETTLE_PAUSE: Backoff = Backoff {
    base: Duration::from_millis(500),
    ceiling: Duration::from_secs(30),
};
/// Most lanes counted anew at a time.
const RECOUNT_LANES: usize = 64;
/// Most reports taken in before the queue is asked again what to do.
const REPORTS_MAX: usize = 64;

/// What a job found.
pub(super) enum Report {
    Attempted(Box<Attempted>),
    /// The endpoint does not take the event.
    Filtered(usize, Start),
    Loaded(Vec<(usize, Start, Loaded)>),
    Scanned(ScanJob, Result<Vec<Scanned>, StoreError>),
    Asked(AskJob, Result<Option<Parked>, StoreError>),
    Settled(Result<(), StoreError>),
    /// What is noted, and what was before.
    Noted(Option<Written>, Result<Vec<(EventKey, Told)>, StoreError>),
    /// And how long it took.
    Recounted(Vec<usize>, Vec<LaneState>, Duration),
}

pub(super) struct Attempted {
    pub(super) lane: usize,
    pub(super) start: Start,
    pub(super) at: Timestamp,
    pub(super) took: Duration,
    pub(super) rendering: Option<Digest>,
    pub(super) answer: Answer,
    /// The endpoint was asked for it and agreed.
    pub(super) consent: Option<Consent>,
}

/// What the store has of an event.
pub(super) enum Loaded {
    /// And the words in which it is told.
    Event(Event, Words),
    /// It can never be sent, for this reason.
    Lost(&'static str),
    /// The store could not tell now.
    Unknown,
}

impl Running {
    pub(super) fn load(&mut self, starts: Vec<(usize, Start)>) {
        let (store, now) = (self.worker.store.clone(), self.speech.now().clone());
        let former = self.speech.former();
        let load = async move { Report::Loaded(load(&store, (&now, &former), starts).await) };
        self.jobs.push(Box::pin(load));
    }

    /// Tells the store how webhooks are written from now on, once none that is written otherwise is
    /// in flight.
    pub(super) fn note_words(&mut self) {
        let is_at_rest = self.queue.flying() == 0 && !self.queue.is_unsettled();
        if !is_at_rest || self.speech.is_noting() {
            return;
        }
        let (is_spoken, written) = (self.speech.is_spoken(), self.speech.note());
        let (store, name) = (self.worker.store.clone(), self.worker.endpoint.name.clone());
        self.jobs.push(Box::pin(async move {
            let noted = async {
                if is_spoken {
                    store.hush(&name).await?;
                }
                store.speak(&name, written.clone()).await
            };
            let noted = noted.await;
            if noted.is_err() {
                tokio::time::sleep(READ_PAUSE).await;
            }
            Report::Noted(written, noted)
        }));
    }

    pub(super) fn attempt(&mut self, lane: usize, start: Start, event: Event, words: Words) {
        let endpoint = Arc::clone(&self.worker.endpoint);
        let clock = self.worker.clock.clone();
        let client = self.worker.clients.of(&endpoint);
        let awaits_consent = self.awaits_consent();
        self.jobs.push(Box::pin(async move {
            // Asked once, before the first attempt: from then on the event is the endpoint's.
            let is_new = start.attempts == 0;
            if is_new && (is_of(&endpoint, &event) || !attempt::is_taken(&endpoint, &event).await) {
                return Report::Filtered(lane, start);
            }
            let (at, began) = (clock.now(), Instant::now());
            let rendering = &words.rendering;
            let (consent, answer) = if awaits_consent {
                attempt::ask_and_post(&client, &endpoint, rendering, &event, at).await
            } else {
                let answer = attempt::post(&client, &endpoint, rendering, &event, at).await;
                (None, answer)
            };
            Report::Attempted(Box::new(Attempted {
                lane,
                start,
                at,
                took: began.elapsed(),
                rendering: words.digest,
                answer,
                consent,
            }))
        }));
    }

    pub(super) fn scan(&mut self, job: ScanJob) {
        let store = self.worker.store.clone();
        self.jobs.push(Box::pin(async move {
            let events = store
                .scan((job.source, Some(job.id)), job.after, job.limit)
                .await;
            if events.is_err() {
                tokio::time::sleep(READ_PAUSE).await;
            }
            Report::Scanned(job, events)
        }));
    }

    pub(super) fn ask(&mut self, job: AskJob) {
        let store = self.worker.store.clone();
        self.jobs.push(Box::pin(async move {
            let next = store.next_blocked(job.id, job.subject.clone()).await;
            if next.is_err() {
                tokio::time::sleep(READ_PAUSE).await;
            }
            Report::Asked(job, next)
        }));
    }

    pub(super) fn settle(&mut self, settling: Settling) {
        let store = self.worker.store.clone();
        let pause = SETTLE_PAUSE.bound(self.refusals);
        self.is_settling = true;
        self.gathering.begin(Instant::now());
        self.jobs.push(Box::pin(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            Report::Settled(store.settle(settling).await)
        }));
    }

    pub(super) fn recount(&mut self) {
        let (lanes, sources): (Vec<_>, Vec<_>) =
            self.queue.behind(RECOUNT_LANES).into_iter().unzip();
        if lanes.is_empty() {
            return;
        }
        let (store, name) = (self.worker.store.clone(), self.worker.endpoint.name.clone());
        self.jobs.push(Box::pin(async move {
            let began = Instant::now();
            // A count that fails is made again by a later beat.
            let states = store.lanes(&name, &sources).await.unwrap_or_default();
            Report::Recounted(lanes, states, began.elapsed())
        }));
    }
}

/// Whether `event` tells the endpoint that it is switched off itself.
fn is_of(endpoint: &Endpoint, event: &Event) -> bool {
    event.kind == Kind::EndpointDisabled
        && event.subject.strip_prefix("endpoint/") == Some(endpoint.name.as_str())
}

/// Reports of jobs that have ended, at least one.
pub(super) async fn reports(
    jobs: &mut FuturesUnordered<BoxFuture<'static, Report>>,
) -> Vec<Report> {
    std::future::poll_fn(|context| {
        let mut reports = Vec::new();
        while reports.len() < REPORTS_MAX
            && let Poll::Ready(Some(report)) = jobs.poll_next_unpin(context)
        {
            reports.push(report);
        }
        // Without jobs there is nothing to wait for here.
        if reports.is_empty() {
            return Poll::Pending;
        }
        Poll::Ready(reports)
    })
    .await
}

/// Loads events, and how they were told before.
async fn load(
    store: &Store,
    (now, former): (&Words, &Former),
    starts: Vec<(usize, Start)>,
) -> Vec<(usize, Start, Loaded)> {
    let attempted = starts.iter().map(|(_, start)| start);
    let attempted = attempted.filter(|start| start.attempts > 0);
    let attempted: Vec<DeliveryId> = attempted.map(|start| start.delivery).collect();
    let told = match store.told(attempted.clone()).await {
        Ok(told) => told,
        Err(error) => {
            error!(%error, "how events were told cannot be read");
            tokio::time::sleep(READ_PAUSE).await;
            let unknown = |(lane, start)| (lane, start, Loaded::Unknown);
            return starts.into_iter().map(unknown).collect();
        }
    };
    let mut told: BTreeMap<DeliveryId, Option<Told>> = attempted.into_iter().zip(told).collect();
    let mut loaded = load_events(store, now, starts).await;
    for (_, start, loaded) in &mut loaded {
        let Loaded::Event(event, words) = loaded else {
            continue;
        };
        *words = match told.remove(&start.delivery).flatten() {
            Some(told) => Words::of(told, now),
            None => unknown(event, start.delivery.event, (now, former)).await,
        };
    }
    loaded
}

/// The words of an event of which no attempt is known. It was not told in those in which it cannot be.
async fn unknown(event: &Event, key: EventKey, (now, former): (&Words, &Former)) -> Words {
    for (_, words) in former.iter().filter(|(until, _)| key <= *until) {
        if attempt::render(&words.rendering, event).await.is_ok() {
            return words.clone();
        }
    }
    now.clone()
}

/// Loads events in one read; if one of them is damaged, each by itself.
async fn load_events(
    store: &Store,
    now: &Words,
    starts: Vec<(usize, Start)>,
) -> Vec<(usize, Start, Loaded)> {
    let keys = starts
        .iter()
        .map(|(_, start)| start.delivery.event)
        .collect();
    let mut loaded = Vec::with_capacity(starts.len());
    match store.load(keys).await {
        Ok(events) => {
            for ((lane, start), event) in starts.into_iter().zip(events) {
                loaded.push((lane, start, found(Ok(event), now)));
            }
        }
        Err(StoreError::Corrupt(_)) => {
            for (lane, start) in starts {
                let event = store.load(vec![start.delivery.event]).await;
                let event = event.map(|mut events| events.pop().flatten());
                loaded.push((lane, start, found(event, now)));
            }
        }
        Err(error) => {
            error!(%error, "events to deliver cannot be read");
            tokio::time::sleep(READ_PAUSE).await;
            let unknown = |(lane, start)| (lane, start, Loaded::Unknown);
            loaded.extend(starts.into_iter().map(unknown));
        }
    }
    loaded
}

fn found(event: Result<Option<Event>, StoreError>, now: &Words) -> Loaded {
    match event {
        Ok(Some(event)) => Loaded::Event(event, now.clone()),
        Ok(None) => Loaded::Lost("event_gone"),
        Err(StoreError::Corrupt(_)) => Loaded::Lost("event_damaged"),
        Err(_) => Loaded::Unknown,
    }
}
