//! The admin API: health, metrics, sources, events, deliveries.
//!
//! Decides who may ask (token, `Host`, `Origin`) and how answers look on the wire. What is asked
//! for is known by the engines and the store.

mod answers;
mod backfill;
mod deliveries;
mod endpoints;
mod gate;
mod once;
mod patient;
mod problem;
mod repeated;
mod stored;
mod stream;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Request, State};
use axum::http::{StatusCode, header, request};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::de::DeserializeOwned;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use problem::Problem;

use patient::Patient;

use crate::clock::Clock;
use crate::config;
use crate::coverage;
use crate::deliver::Deliverer;
use crate::metrics::Metrics;
use crate::name::Name;
use crate::poll::Poller;
use crate::shutdown::{Phase, Shutdown};
use crate::store::{SourceId, Store};
use crate::upstream::Upstreams;

/// Largest request body. The largest is an endpoint with its template.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The longest that a request's body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answer may lie unread: longer than a stream of events is silent.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// What the API shows and steers.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The configuration in force.
    pub live: config::Live,
    /// Events and deliveries.
    pub store: Store,
    /// Polls by hand.
    pub poller: Poller,
    /// Endpoints' state.
    pub deliverer: Deliverer,
    /// Their budgets and their health.
    pub upstreams: Upstreams,
    /// The scrape.
    pub metrics: Metrics,
    /// What callers repeat.
    pub coverage: coverage::Shared,
    /// The present.
    pub clock: Clock,
    /// When to say "not ready" and when to stop.
    pub shutdown: Shutdown,
    /// Registered numbers of the configured sources, the operational one included.
    pub sources: Arc<BTreeMap<Name, SourceId>>,
    /// Places for streams of events: [`streams`].
    pub streams: Arc<Semaphore>,
}

/// The places that streams of events share.
#[must_use]
pub fn streams() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(stream::STREAMS_MAX))
}

/// Most connections at once; more wait in the listener's queue. Scrapers and people are few, and
/// what strangers open here must not take descriptors from the proxy.
const CONNECTIONS_MAX: usize = 256;

/// Longest that a request's head may take, and a kept connection may idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after an accept that failed, as it does without free descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until the shutdown reaches [`Phase::Stopping`], then finishes what is in flight. Dropped
/// earlier, it cuts that off.
pub async fn serve(listener: TcpListener, parts: Parts) {
    let shutdown = parts.shutdown.clone();
    let router = router(parts);
    let mut connections = JoinSet::new();
    loop {
        let has_place = connections.len() < CONNECTIONS_MAX;
        tokio::select! {
            accepted = listener.accept(), if has_place => match accepted {
                Ok((stream, _)) => {
                    let serving = connection(stream, router.clone(), shutdown.clone());
                    connections.spawn(serving);
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
            () = shutdown.reached(Phase::Stopping) => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, router: Router, shutdown: Shutdown) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    let service = TowerToHyperService::new(router);
    let stream = TokioIo::new(Patient::new(stream, ANSWER_PATIENCE));
    let mut serving = pin!(http.serve_connection(stream, service));
    // An error is a caller that went away or sent what is no HTTP: nobody is left to tell.
    tokio::select! {
        _ = serving.as_mut() => return,
        () = shutdown.reached(Phase::Stopping) => serving.as_mut().graceful_shutdown(),
    }
    let _ = serving.await;
}

fn router(parts: Parts) -> Router {
    let api = Router::new()
        .route("/sources", get(answers::sources))
        .route("/sources/{name}", get(answers::source))
        .route("/sources/{name}/poll", post(answers::poll))
        .route("/upstreams", get(answers::upstreams))
        .route("/coverage", get(repeated::coverage))
        .route("/endpoints", get(stored::endpoints).post(stored::create))
        .route(
            "/endpoints/{name}",
            get(stored::endpoint)
                .patch(stored::change)
                .delete(stored::delete),
        )
        .route(
            "/endpoints/{name}/rotate-secret",
            post(stored::rotate_secret),
        )
        .route("/endpoints/{name}/enable", post(endpoints::enable))
        .route("/endpoints/{name}/disable", post(endpoints::disable))
        .route("/endpoints/{name}/pause", post(endpoints::pause))
        .route("/endpoints/{name}/resume", post(endpoints::resume))
        .route(
            "/endpoints/{name}/backfill",
            get(backfill::progress)
                .post(backfill::backfill)
                .delete(backfill::stop),
        )
        .route("/endpoints/{name}/test", post(endpoints::test))
        .route("/events", get(answers::events))
        .route("/events/stream", get(stream::stream))
        .route("/events/{id}", get(answers::event))
        .route("/deliveries", get(deliveries::deliveries))
        .route("/deliveries/{id}", get(deliveries::delivery))
        .route("/deliveries/{id}/retry", post(deliveries::retry))
        .route("/deliveries/{id}/skip", post(deliveries::skip))
        .route("/replay", post(deliveries::replay))
        .layer(middleware::from_fn(gate::mutations))
        .layer(middleware::from_fn_with_state(parts.clone(), gate::token));
    let metrics =
        Router::new()
            .route("/metrics", get(scrape))
            .layer(middleware::from_fn_with_state(
                parts.clone(),
                gate::metrics_token,
            ));
    Router::new()
        .nest("/api/v1", api)
        .merge(metrics)
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "no such resource") })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this resource knows other methods",
            )
        })
        .layer(middleware::from_fn_with_state(parts.clone(), gate::host))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(parts)
}

/// A request's body, at most [`BODY_BYTES_MAX`].
struct Body(Bytes);

impl Body {
    /// What its JSON says.
    fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let read = serde_json::from_slice(&self.0);
        read.map_err(|error| Problem::bad_request(format!("body: {error}")))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As [`Self::read`]; the default of an empty one.
    fn read_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        if self.0.is_empty() {
            return Ok(T::default());
        }
        self.read()
    }
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = timeout(BODY_TIMEOUT, Bytes::from_request(request, state)).await;
        let Ok(body) = body else {
            let message = format!("the body did not come within {BODY_TIMEOUT:?}");
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, message));
        };
        body.map(Self)
            .map_err(|error| Problem::new(error.status(), error.body_text()))
    }
}

/// The name or id in a request's path.
struct Named(String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, Problem> {
        let name = Path::from_request_parts(parts, state).await;
        name.map(|Path(name)| Self(name))
            .map_err(|error| Problem::bad_request(format!("path: {}", error.body_text())))
    }
}

/// 200 until a drain begins. That the store is open and the configuration loaded is true once
/// this is served at all; polls are not waited for.
async fn ready(State(parts): State<Parts>) -> Response {
    if parts.shutdown.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    "ready\n".into_response()
}

async fn scrape(State(parts): State<Parts>) -> Response {
    let text = parts.metrics.scrape();
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
        .into_response()
}

/// Longest that a poll by hand may take before the caller is told to look later: more than any
/// `timeout` makes sense for, less than callers' own patience.
const POLL_PATIENCE: Duration = Duration::from_mins(5);
