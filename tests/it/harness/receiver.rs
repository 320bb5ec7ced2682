//! Who opens the door: a receiver that believes only what is signed, and remembers all of it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use doorbell::clock::Clock;
use doorbell::secret::Secret;
use doorbell::signature::{self, Signed, VerifyingKey};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use super::{DEADLINE, SECRET, Server};

/// Verifies, records and answers webhooks at any path.
pub(crate) struct Receiver {
    server: Server,
    state: Arc<Shared>,
}

/// How it answers what it believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// 204.
    Accepting,
    /// 500.
    Refusing,
    /// 500 to each n-th, 204 to the others.
    RefusingEach(usize),
    /// 500 to half of them, drawn from the seed; 204 to the others.
    RefusingHalf,
    /// No answer until it behaves otherwise.
    Stalling,
    /// Drawn from the seed: 204 to a half; to the others 500, 429, no answer, or a connection that
    /// is lost, with or without having accepted the webhook.
    Stormy,
    /// This status, with this `Retry-After` in seconds.
    Answering(u16, u32),
}

/// A webhook that arrived, believed.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    /// `webhook-id`.
    pub(crate) id: String,
    pub(crate) body: Bytes,
    /// The body, read.
    pub(crate) event: Value,
    /// The path it was posted to.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// When it came and when it was accepted, on one clock that ticks with either.
    pub(crate) arrived: u64,
    pub(crate) accepted: Option<u64>,
    /// When it came.
    pub(crate) at: Instant,
}

impl Ring {
    pub(crate) fn event_type(&self) -> &str {
        self.event["type"].as_str().expect("an event has a type")
    }

    pub(crate) fn source(&self) -> &str {
        self.event["data"]["source"].as_str().unwrap_or_default()
    }

    pub(crate) fn subject(&self) -> &str {
        let subject = self.event["data"]["subject"].as_str();
        subject.expect("a source event has a subject")
    }

    pub(crate) fn sequence(&self) -> u64 {
        let sequence = self.event["data"]["sequence"].as_u64();
        sequence.expect("a source event has a sequence")
    }
}

struct Shared {
    keys: [VerifyingKey; 1],
    clock: Clock,
    behaviour: watch::Sender<Behaviour>,
    book: watch::Sender<Book>,
    random: Mutex<fastrand::Rng>,
}

#[derive(Default)]
struct Book {
    rings: Vec<Ring>,
    /// Ids that were accepted.
    accepted: BTreeSet<String>,
    /// Why webhooks were not believed.
    doubts: Vec<String>,
    ticks: u64,
}

impl Receiver {
    pub(crate) async fn accepting() -> Self {
        Self::behaving(Behaviour::Accepting, 0).await
    }

    pub(crate) async fn refusing() -> Self {
        Self::behaving(Behaviour::Refusing, 0).await
    }

    /// Behaves so; what it draws comes from `seed`.
    pub(crate) async fn behaving(behaviour: Behaviour, seed: u64) -> Self {
        let key = VerifyingKey::parse(&Secret::new(SECRET.to_owned()));
        let state = Arc::new(Shared {
            keys: [key.expect("the secret is well-formed")],
            clock: Clock::system(),
            behaviour: watch::Sender::new(behaviour),
            book: watch::Sender::new(Book::default()),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
        });
        let router = Router::new()
            .fallback(receive)
            .with_state(Arc::clone(&state));
        Self {
            server: Server::serving(router).await,
            state,
        }
    }

    /// Behaves so from now on.
    pub(crate) fn now(&self, behaviour: Behaviour) {
        self.state.behaviour.send_replace(behaviour);
    }

    /// What arrived, in order.
    ///
    /// # Panics
    /// When a webhook came that could not be believed.
    pub(crate) fn rings(&self) -> Vec<Ring> {
        let book = self.state.book.borrow();
        assert!(book.doubts.is_empty(), "{:?}", book.doubts);
        book.rings.clone()
    }

    /// How many different webhooks were accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.state.book.borrow().accepted.len()
    }

    /// Waits until `count` different webhooks were accepted, however long that takes.
    pub(crate) async fn until_all(&self, count: usize) {
        let mut book = self.state.book.subscribe();
        let all = book.wait_for(|book| !book.doubts.is_empty() || book.accepted.len() >= count);
        all.await.map(drop).expect("the receiver lives");
    }

    /// Waits until `count` different webhooks were accepted; what arrived.
    pub(crate) async fn until_accepted(&self, count: usize) -> Vec<Ring> {
        self.until_within(DEADLINE, count).await
    }

    /// [`Self::until_accepted`] with a deadline of its own.
    pub(crate) async fn until_within(&self, deadline: Duration, count: usize) -> Vec<Ring> {
        self.until(deadline, |book| book.accepted.len() >= count)
            .await
    }

    /// Waits until each of these webhooks was accepted; what arrived. A backlog in front of them may
    /// take longer than the deadline; what may not is that it stands still.
    pub(crate) async fn until_all_accepted(&self, ids: &BTreeSet<String>) -> Vec<Ring> {
        let mut book = self.state.book.subscribe();
        loop {
            let accepted = book.borrow().accepted.len();
            let moved = |book: &Book| book.accepted.len() > accepted || !book.doubts.is_empty();
            let all = |book: &Book| ids.is_subset(&book.accepted);
            let waiting = book.wait_for(|book| moved(book) || all(book));
            let in_time = tokio::time::timeout(DEADLINE, waiting).await.is_ok();
            assert!(in_time, "webhooks stand still after {accepted}");
            let has_ended = all(&book.borrow()) || !book.borrow().doubts.is_empty();
            if has_ended {
                return self.rings();
            }
        }
    }

    /// Waits until `count` webhooks have arrived, whatever came of them.
    pub(crate) async fn until_arrived(&self, count: usize) -> Vec<Ring> {
        self.until(DEADLINE, |book| book.rings.len() >= count).await
    }

    async fn until(&self, deadline: Duration, mut done: impl FnMut(&Book) -> bool) -> Vec<Ring> {
        let mut book = self.state.book.subscribe();
        let waiting = book.wait_for(|book| !book.doubts.is_empty() || done(book));
        let in_time = tokio::time::timeout(deadline, waiting).await.is_ok();
        let rings = self.rings();
        assert!(in_time, "in vain waited for webhooks; {} came", rings.len());
        rings
    }
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.server.url)
    }
}

async fn receive(
    State(state): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("")
    };
    let signed = Signed {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
    };
    let now = state.clock.now().as_seconds();
    let verified = signature::verify(&state.keys, signed, &body, now);
    let event: Result<Value, String> = verified
        .map_err(|refused| refused.to_string())
        .and_then(|()| serde_json::from_slice(&body).map_err(|error| error.to_string()));
    let ring = event.map(|event| Ring {
        id: signed.id.to_owned(),
        body: body.clone(),
        event,
        path: uri.path().to_owned(),
        headers: headers.clone(),
        arrived: 0,
        accepted: None,
        at: Instant::now(),
    });
    match ring {
        Ok(ring) => answer(&state, ring).await,
        Err(doubt) => {
            state.book.send_modify(|book| book.doubts.push(doubt));
            with_status(401)
        }
    }
}

async fn answer(state: &Shared, mut ring: Ring) -> Response {
    // How it behaves when the webhook comes, not when a test has seen it come.
    let mut behaviour = *state.behaviour.borrow();
    let mut at = 0;
    state.book.send_modify(|book| {
        book.ticks += 1;
        ring.arrived = book.ticks;
        at = book.rings.len();
        book.rings.push(ring);
    });
    if behaviour == Behaviour::Stalling {
        let mut changes = state.behaviour.subscribe();
        let behaves = changes.wait_for(|now| *now != Behaviour::Stalling).await;
        behaviour = *behaves.expect("the receiver outlives its webhooks");
    }
    let storm = match behaviour {
        Behaviour::Stormy => state.random.lock().u8(..100),
        _ => 0,
    };
    if (50..53).contains(&storm) {
        // Until the client has had enough.
        std::future::pending::<()>().await;
    }
    let status = match behaviour {
        Behaviour::Stormy if (53..60).contains(&storm) => 429,
        Behaviour::Stormy if (60..80).contains(&storm) => 500,
        Behaviour::Stormy if (80..90).contains(&storm) => return lost(),
        Behaviour::Refusing => 500,
        Behaviour::RefusingEach(n) if (at + 1).is_multiple_of(n) => 500,
        Behaviour::RefusingHalf if state.random.lock().bool() => 500,
        Behaviour::Answering(status, _) => status,
        _ => 204,
    };
    if (200..300).contains(&status) {
        state.book.send_modify(|book| {
            book.ticks += 1;
            book.rings[at].accepted = Some(book.ticks);
            let id = book.rings[at].id.clone();
            book.accepted.insert(id);
        });
    }
    if storm >= 90 {
        return lost();
    }
    let mut response = with_status(status);
    if let Behaviour::Answering(_, retry_after) = behaviour {
        response
            .headers_mut()
            .insert("retry-after", retry_after.into());
    }
    response
}

/// No answer: the connection is closed instead.
fn lost() -> Response {
    let lost = std::io::Error::other("the connection is lost");
    let body = futures_util::stream::iter([Err::<Bytes, _>(lost)]);
    Response::new(Body::from_stream(body))
}

fn with_status(status: u16) -> Response {
    let response = Response::builder().status(status).body(Body::empty());
    response.expect("a status is all it needs")
}
