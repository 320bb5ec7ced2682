//! Endpoints that are made over the admin API: who receives for them, and who makes them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use doorbell::clock::Clock;
use doorbell::secret::Secret;
use doorbell::signature::{self, Signed, VerifyingKey};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Corpse, DEADLINE, Doorbell, Receiver, Server, Upstream, client, tickets};

/// A request that came to a [`Hook`].
#[derive(Clone, Debug)]
pub(crate) struct Came {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) at: Instant,
}

impl Came {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }

    /// Whether a receiver that knows only `secret` believes it.
    pub(crate) fn is_signed_by(&self, secret: &str) -> bool {
        let key = VerifyingKey::parse(&Secret::new(secret.to_owned())).expect("a secret");
        let signed = Signed {
            id: self.header("webhook-id"),
            timestamp: self.header("webhook-timestamp"),
            signature: self.header("webhook-signature"),
        };
        let now = Clock::system().now().as_seconds();
        signature::verify(&[key], signed, &self.body, now).is_ok()
    }

    pub(crate) fn sequence(&self) -> Option<u64> {
        let event: Value = serde_json::from_slice(&self.body).expect("JSON");
        event["data"]["sequence"].as_u64()
    }
}

/// What it says to OPTIONS: the names and values of headers.
pub(crate) type Consent = &'static [(&'static str, &'static str)];

/// A receiver of endpoints that were made: takes what comes, and answers OPTIONS as it is told.
pub(crate) struct Hook {
    server: Server,
    desk: Arc<Desk>,
}

struct Desk {
    came: watch::Sender<Vec<Came>>,
    /// Whether POSTs are answered.
    answers: watch::Sender<bool>,
    consent: Mutex<Consent>,
}

impl Hook {
    pub(crate) async fn open() -> Self {
        let desk = Arc::new(Desk {
            came: watch::Sender::new(Vec::new()),
            answers: watch::Sender::new(true),
            consent: Mutex::new(&[]),
        });
        let router = Router::new()
            .fallback(receive)
            .with_state(Arc::clone(&desk));
        let server = Server::serving(router).await;
        Self { server, desk }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url)
    }

    pub(crate) fn of(&self, method: &Method) -> Vec<Came> {
        let came = self.desk.came.borrow();
        came.iter()
            .filter(|came| came.method == method)
            .cloned()
            .collect()
    }

    pub(crate) fn rings(&self) -> Vec<Came> {
        self.of(&Method::POST)
    }

    /// Whether it answers webhooks from now on.
    pub(crate) fn answers(&self, answers: bool) {
        self.desk.answers.send_replace(answers);
    }

    /// What it says to OPTIONS from now on.
    pub(crate) fn agrees(&self, consent: Consent) {
        *self.desk.consent.lock() = consent;
    }

    /// Waits for the event of this number. At least once: it may have come before others again.
    pub(crate) async fn told(&self, sequence: u64) -> Came {
        let mut came = self.desk.came.subscribe();
        let is_it = |one: &Came| one.method == Method::POST && one.sequence() == Some(sequence);
        let find = |all: &Vec<Came>| all.iter().rfind(|one| is_it(one)).cloned();
        let waiting = async {
            let all = came.wait_for(|all| find(all).is_some()).await;
            find(&all.expect("the hook lives"))
        };
        let told = tokio::time::timeout(DEADLINE, waiting).await;
        let told = told.ok().flatten();
        told.unwrap_or_else(|| panic!("in vain waited for event {sequence}"))
    }

    /// The numbers of the events that came, ascending, each once.
    pub(crate) fn sequences(&self) -> Vec<u64> {
        let rings = self.rings();
        let numbers: BTreeSet<u64> = rings.iter().filter_map(Came::sequence).collect();
        numbers.into_iter().collect()
    }

    /// Waits until so many webhooks have come.
    pub(crate) async fn until(&self, count: usize) -> Vec<Came> {
        let mut came = self.desk.came.subscribe();
        let posts = |came: &Came| came.method == Method::POST;
        let waiting = came.wait_for(|all| all.iter().filter(|one| posts(one)).count() >= count);
        let waited = tokio::time::timeout(DEADLINE, waiting).await.is_ok();
        assert!(waited, "{} of {count} webhooks came", self.rings().len());
        self.rings()
    }
}

async fn receive(
    State(desk): State<Arc<Desk>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let is_question = method == Method::OPTIONS;
    desk.came.send_modify(|came| {
        came.push(Came {
            method,
            path: uri.path().to_owned(),
            headers,
            body,
            at: Instant::now(),
        });
    });
    let mut response = Response::builder().status(204);
    if is_question {
        for (name, value) in *desk.consent.lock() {
            response = response.header(*name, *value);
        }
    } else {
        let mut answers = desk.answers.subscribe();
        let _ = answers.wait_for(|answers| *answers).await;
    }
    response.body(Body::empty()).expect("fit for headers")
}

/// A doorbell with the list `/tickets`, whose callers may make endpoints on loopback.
pub(crate) async fn started(upstream: &Upstream, receiver: &Receiver) -> Doorbell {
    let allowed = "[admin]\nallow_networks = [\"127.0.0.0/8\"]\n";
    let corpse = Corpse::new(&tickets(upstream, receiver, "")).with("[admin]\n", allowed);
    let doorbell = corpse.restart().await;
    doorbell.poll("tickets").await;
    doorbell
}

pub(crate) async fn send(
    doorbell: &Doorbell,
    method: &str,
    path: &str,
    body: &Value,
) -> (u16, Value) {
    send_text(doorbell, method, path, body.to_string()).await
}

/// As [`send`], whatever the body is.
pub(crate) async fn send_text(
    doorbell: &Doorbell,
    method: &str,
    path: &str,
    body: String,
) -> (u16, Value) {
    let url = format!("{}/api/v1/{path}", doorbell.admin_url());
    let method = method.parse().expect("a method");
    let request = client().request(method, url);
    let request = request.header("content-type", "application/json");
    let answer = request.body(body).send().await;
    let answer = answer.expect("an answer");
    let status = answer.status().as_u16();
    let body = answer.bytes().await.expect("a body");
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

pub(crate) async fn made(doorbell: &Doorbell, body: &Value) -> Value {
    let (status, told) = send(doorbell, "POST", "endpoints", body).await;
    assert_eq!(status, 201, "{told}");
    told
}

/// Item 1 is new or another, which rings.
pub(crate) async fn change(upstream: &Upstream, doorbell: &Doorbell, words: &str) {
    let item = json!({"id": 1, "title": words});
    upstream.change("/tickets", |list| *list = vec![item]);
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["events"], 1, "{polled}");
}
