//! Endpoints: what somebody wants of them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;

use super::answers::Answer;
use super::{Body, Named, Parts};
use crate::deliver::{Backlog, SteerError};

/// What becomes of what waited: `{"backlog": "send"}`, or `drop`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Begin {
    #[serde(default)]
    backlog: Backlog,
}

/// Rings an endpoint again that was switched off; 204 also when it was rung all along.
pub(super) async fn enable(State(parts): State<Parts>, Named(name): Named, body: Body) -> Answer {
    let Begin { backlog } = body.read_or_default()?;
    parts.deliverer.enable(&name, backlog).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Rings an endpoint no more; what happens meanwhile waits.
pub(super) async fn disable(State(parts): State<Parts>, Named(name): Named) -> Answer {
    parts.deliverer.disable(&name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Leaves an endpoint in peace for a while; what happens meanwhile waits.
pub(super) async fn pause(State(parts): State<Parts>, Named(name): Named) -> Answer {
    parts.deliverer.pause(&name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Goes on with a paused endpoint; 204 also when it was not.
pub(super) async fn resume(State(parts): State<Parts>, Named(name): Named, body: Body) -> Answer {
    let Begin { backlog } = body.read_or_default()?;
    parts.deliverer.resume(&name, backlog).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Sends a webhook that nothing happened for; 200 whatever the endpoint said, which the answer tells.
pub(super) async fn test(State(parts): State<Parts>, Named(name): Named) -> Answer {
    let tried = parts.deliverer.test(&name).await;
    let tried = tried.ok_or(SteerError::Unknown(name))?;
    Ok(Json(tried).into_response())
}
