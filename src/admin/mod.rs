//! The admin API: health, metrics, sources, events, deliveries.
//!
//! Decides who may ask (token, `Host`, `Origin`) and how answers look on the wire. What is asked
//! for is known by the engines and the store.

mod answers;
mod gate;
mod problem;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;

pub use problem::Problem;

use crate::config;
use crate::deliver::Deliverer;
use crate::metrics::Metrics;
use crate::name::Name;
use crate::poll::Poller;
use crate::shutdown::{Phase, Shutdown};
use crate::store::{SourceId, Store};

/// Largest request body. No body of this API is read beyond a few fields.
const BODY_BYTES_MAX: usize = 64 * 1024;

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
    /// The scrape.
    pub metrics: Metrics,
    /// When to say "not ready" and when to stop.
    pub shutdown: Shutdown,
    /// Registered numbers of the configured sources, the operational one included.
    pub sources: Arc<BTreeMap<Name, SourceId>>,
}

/// Serves until the shutdown reaches [`Phase::Stopping`], then finishes what is in flight.
///
/// # Errors
/// What the listener says.
pub async fn serve(listener: TcpListener, parts: Parts) -> std::io::Result<()> {
    let shutdown = parts.shutdown.clone();
    axum::serve(listener, router(parts))
        .with_graceful_shutdown(async move { shutdown.reached(Phase::Stopping).await })
        .await
}

fn router(parts: Parts) -> Router {
    let api = Router::new()
        .route("/sources", get(answers::sources))
        .route("/sources/{name}", get(answers::source))
        .route("/sources/{name}/poll", post(answers::poll))
        .route("/endpoints", get(answers::endpoints))
        .route("/endpoints/{name}/enable", post(answers::enable))
        .route("/events", get(answers::events))
        .route("/events/{id}", get(answers::event))
        .route("/deliveries", get(answers::deliveries))
        .route("/deliveries/{id}", get(answers::delivery))
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
