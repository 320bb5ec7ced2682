//! An API that only has a phone: JSON lists that change when a test says so.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::stream::{self, StreamExt as _};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use super::{Server, TICK};

/// Largest request body that it echoes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Serves documents at paths; echoes bodies under `/echo/`, and under `/held/` once released.
pub(crate) struct Upstream {
    server: Server,
    state: Arc<Shared>,
}

/// How a document is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answering {
    /// 200 with the document.
    Well,
    /// The same with an `ETag`, and 304 to who sends it back.
    WithEtag,
    /// This status, with the document nevertheless.
    Status(u16),
    /// 200, and the connection is lost half-way through the document.
    Torn,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) path: String,
    pub(crate) at: Instant,
    pub(crate) headers: axum::http::HeaderMap,
}

struct Shared {
    documents: Mutex<BTreeMap<String, Document>>,
    arrivals: Mutex<Vec<Arrival>>,
    released: watch::Sender<bool>,
}

struct Document {
    list: Vec<Value>,
    /// What is sent instead of the list.
    raw: Option<(String, String)>,
    version: u64,
    answering: Answering,
}

impl Upstream {
    /// Serves `list` at `path`.
    pub(crate) async fn serving(path: &str, list: Vec<Value>) -> Self {
        let state = Arc::new(Shared {
            documents: Mutex::default(),
            arrivals: Mutex::default(),
            released: watch::Sender::new(false),
        });
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&state));
        let upstream = Self {
            server: Server::serving(router).await,
            state,
        };
        upstream.also_serving(path, list);
        upstream
    }

    /// Serves `list` at `path`, too.
    pub(crate) fn also_serving(&self, path: &str, list: Vec<Value>) {
        let document = Document {
            list,
            raw: None,
            version: 0,
            answering: Answering::Well,
        };
        self.state
            .documents
            .lock()
            .insert(path.to_owned(), document);
    }

    /// Changes the list at `path`.
    pub(crate) fn change(&self, path: &str, change: impl FnOnce(&mut Vec<Value>)) {
        self.document(path, |document| change(&mut document.list));
    }

    /// Sends `text` at `path` as `content_type`, whatever the list is.
    pub(crate) fn send_raw(&self, path: &str, content_type: &str, text: &str) {
        let raw = Some((content_type.to_owned(), text.to_owned()));
        self.document(path, |document| document.raw = raw);
    }

    /// Sends the list at `path` again.
    pub(crate) fn send_list(&self, path: &str) {
        self.document(path, |document| document.raw = None);
    }

    /// Changes how the document at `path` is answered.
    pub(crate) fn answer(&self, path: &str, answering: Answering) {
        self.document(path, |document| document.answering = answering);
    }

    fn document(&self, path: &str, change: impl FnOnce(&mut Document)) {
        let mut documents = self.state.documents.lock();
        let document = documents.get_mut(path).expect("it serves this path");
        document.version += 1;
        change(document);
    }

    /// The list at `path`.
    pub(crate) fn list(&self, path: &str) -> Vec<Value> {
        self.state.documents.lock()[path].list.clone()
    }

    /// Requests whose path begins with `prefix`, in the order they came.
    pub(crate) fn arrivals(&self, prefix: &str) -> Vec<Arrival> {
        let arrivals = self.state.arrivals.lock();
        let under = arrivals.iter().filter(|a| a.path.starts_with(prefix));
        under.cloned().collect()
    }

    /// Lets go of the requests under `/held/`.
    pub(crate) fn release(&self) {
        self.state.released.send_replace(true);
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.server.url)
    }
}

async fn answer(State(state): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    state.arrivals.lock().push(Arrival {
        path: path.clone(),
        at: Instant::now(),
        headers: request.headers().clone(),
    });
    if path.starts_with("/held/") {
        let mut released = state.released.subscribe();
        let _ = released.wait_for(|released| *released).await.map(|_| ());
    }
    if path.starts_with("/held/") || path.starts_with("/echo/") {
        return echo(request).await;
    }
    let etag = request.headers().get("if-none-match").cloned();
    let documents = state.documents.lock();
    match documents.get(&path) {
        Some(document) => document.answer(etag.as_ref().and_then(|etag| etag.to_str().ok())),
        None => with_status(404, Body::empty()),
    }
}

async fn echo(request: Request) -> Response {
    let body = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await;
    match body {
        Ok(body) => with_status(200, Body::from(body)),
        Err(_) => with_status(400, Body::empty()),
    }
}

impl Document {
    fn answer(&self, if_none_match: Option<&str>) -> Response {
        let (content_type, text) = self.raw.clone().unwrap_or_else(|| {
            let list = serde_json::to_string(&self.list);
            (
                "application/json".to_owned(),
                list.expect("values are JSON"),
            )
        });
        let etag = format!("\"v{}\"", self.version);
        let mut response = match self.answering {
            Answering::WithEtag if if_none_match == Some(&etag) => with_status(304, Body::empty()),
            Answering::Well | Answering::WithEtag => with_status(200, Body::from(text)),
            Answering::Status(status) => with_status(status, Body::from(text)),
            Answering::Torn => with_status(200, torn(&text)),
        };
        let headers = response.headers_mut();
        let header = |value: &str| value.parse().expect("fit for a header");
        headers.insert("content-type", header(&content_type));
        if self.answering == Answering::WithEtag {
            headers.insert("etag", header(&etag));
        }
        response
    }
}

fn with_status(status: u16, body: Body) -> Response {
    let response = Response::builder().status(status).body(body);
    response.expect("a status is all it needs")
}

/// The first half, and an error once it is on the wire: the server writes nothing of an answer
/// whose body fails at once.
fn torn(text: &str) -> Body {
    let half = Bytes::copy_from_slice(&text.as_bytes()[..text.len() / 2]);
    let tear = async {
        tokio::time::sleep(TICK).await;
        Err(std::io::Error::other("the connection is lost"))
    };
    Body::from_stream(stream::iter([Ok(half)]).chain(stream::once(tear)))
}
