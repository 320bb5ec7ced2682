//! Deliveries: where they stand, what came of their attempts, and what somebody wants of them.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answers::{Answer, limit};
use super::{Body, Named, Parts, Problem};
use crate::deliver::SteerError;
use crate::event::{Glob, Kind, OPERATIONAL_SOURCE};
use crate::name::Name;
use crate::store::{
    Attempt, Deed, Delivery, DeliveryId, DeliveryQuery, DeliveryState, ReplayQuery, SourceId,
    Steered,
};
use crate::time::Timestamp;

/// Most globs of a replay, and most characters of one.
const TYPES_MAX: usize = 64;
const TYPE_BYTES_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveriesQuery {
    state: Option<String>,
    endpoint: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// The newest first. `next` is the `after` of the request that goes on; null: that was all.
pub(super) async fn deliveries(
    State(parts): State<Parts>,
    query: Result<Query<DeliveriesQuery>, QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let state = match query.state.as_deref() {
        None | Some("pending") => DeliveryState::Pending,
        Some("delivered") => DeliveryState::Delivered,
        Some("dead") => DeliveryState::Dead,
        Some(_) => {
            return Err(Problem::bad_request(
                "`state` is pending, delivered or dead",
            ));
        }
    };
    let (limit, after) = (limit(query.limit)?, delivery_id(query.after)?);
    let config = parts.live.load_full();
    let endpoints: Vec<&Name> = match &query.endpoint {
        Some(name) => match config.endpoints.get_key_value(name.as_str()) {
            Some((name, _)) => vec![name],
            None => return Err(Problem::not_found(format!("no endpoint is named {name:?}"))),
        },
        None => config.endpoints.keys().collect(),
    };
    let mut found = Vec::new();
    for endpoint in endpoints {
        let hears = hears(&parts, endpoint);
        let query = DeliveryQuery {
            state,
            endpoint: endpoint.clone(),
            hears,
            after,
            limit,
        };
        found.extend(parts.store.deliveries(query).await?);
        // The newest of all endpoints, so that none hides another; never more than two pages.
        found.sort_unstable_by_key(|delivery| delivery.id.newest_first());
        found.truncate(limit);
    }
    let listed: Vec<Value> = found.iter().map(delivery_json).collect();
    let last = found.last().filter(|_| found.len() == limit);
    let next = last.map(|last| last.id.to_string());
    Ok(Json(json!({ "deliveries": listed, "next": next })).into_response())
}

/// What is behind a page.
fn delivery_id(after: Option<String>) -> Result<Option<DeliveryId>, Problem> {
    let after = after.map(|text| text.parse::<DeliveryId>()).transpose();
    after.map_err(|_| Problem::bad_request("`after` is the `next` of another answer"))
}

/// Where one delivery stands, and its attempts, oldest first.
pub(super) async fn delivery(State(parts): State<Parts>, Named(id): Named) -> Answer {
    let delivery = found(&parts, &id).await?;
    Ok(Json(with_attempts(&parts, &delivery).await?).into_response())
}

/// Makes a delivery due: one that failed, at once; one that is settled, once more, under the same
/// id and with the same body.
pub(super) async fn retry(State(parts): State<Parts>, Named(id): Named) -> Answer {
    steer(&parts, &id, Deed::Retry).await
}

/// Gives a delivery up: nothing is sent, and its subject goes on.
pub(super) async fn skip(State(parts): State<Parts>, Named(id): Named) -> Answer {
    steer(&parts, &id, Deed::Skip).await
}

async fn steer(parts: &Parts, id: &str, deed: Deed) -> Answer {
    let delivery = found(parts, id).await?;
    let steered = parts
        .deliverer
        .steer(&delivery.endpoint, delivery.id, deed)
        .await;
    let steered = steered.map_err(|error| match error {
        SteerError::Unknown(name) => Problem::conflict(format!(
            "endpoint `{name}` is not configured any more, so nothing is sent to it"
        )),
        other => other.into(),
    })?;
    match steered {
        Steered::Done => {
            let now = found(parts, id).await?;
            let told = with_attempts(parts, &now).await?;
            Ok((StatusCode::ACCEPTED, Json(told)).into_response())
        }
        Steered::Blocked(head) => Err(Problem::conflict(format!(
            "{head} of the same item goes first: retry or skip that one"
        ))),
        Steered::Settled(state) => Err(Problem::conflict(format!(
            "it is {} already",
            state_word(state)
        ))),
        Steered::Gone => Err(Problem::new(
            StatusCode::GONE,
            "its event is no longer retained",
        )),
        Steered::Unknown => Err(unknown()),
    }
}

/// A body of `POST /replay`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    endpoint: String,
    since: Option<String>,
    until: Option<String>,
    types: Option<Vec<String>>,
    #[serde(default)]
    state: ReplayState,
    after: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum ReplayState {
    #[default]
    Dead,
    Delivered,
    Any,
}

/// Rings settled deliveries of an endpoint once more, under the same ids and with the same bodies:
/// some at a time. `next` is the `after` of the request that goes on.
pub(super) async fn replay(State(parts): State<Parts>, body: Body) -> Answer {
    let replay: Replay = body.read()?;
    let is_dry = replay.dry_run;
    let query = replay.query(&parts)?;
    if is_dry {
        let matching = parts.deliverer.replayable(query).await?;
        return Ok(Json(json!({ "matching": matching })).into_response());
    }
    let replayed = parts.deliverer.replay(query).await?;
    let next = replayed.next.map(|next| next.to_string());
    Ok(Json(json!({ "replayed": replayed.count, "next": next })).into_response())
}

impl Replay {
    fn query(self, parts: &Parts) -> Result<ReplayQuery, Problem> {
        let time = |name: &str, text: Option<String>, default: Timestamp| match text {
            None => Ok(default),
            Some(text) => Timestamp::parse(&text).ok_or_else(|| {
                Problem::bad_request(format!("`{name}` looks like 2026-11-23T18:00:00Z"))
            }),
        };
        let after = delivery_id(self.after)?;
        let config = parts.live.load();
        let Some((endpoint, _)) = config.endpoints.get_key_value(self.endpoint.as_str()) else {
            return Err(SteerError::Unknown(self.endpoint).into());
        };
        Ok(ReplayQuery {
            endpoint: endpoint.clone(),
            states: match self.state {
                ReplayState::Dead => vec![DeliveryState::Dead],
                ReplayState::Delivered => vec![DeliveryState::Delivered],
                ReplayState::Any => vec![DeliveryState::Dead, DeliveryState::Delivered],
            },
            kinds: types(parts, self.types)?.into_iter().collect(),
            since: time("since", self.since, Timestamp::from_millis(0))?,
            until: time("until", self.until, Timestamp::from_millis(i64::MAX))?,
            after,
            limit: usize::MAX,
        })
    }
}

/// The kinds that globs name; without any, all.
fn types(parts: &Parts, globs: Option<Vec<String>>) -> Result<Vec<(SourceId, Vec<Kind>)>, Problem> {
    let Some(globs) = globs else {
        return Ok(kinds(parts, |_| true));
    };
    let is_long = |glob: &String| glob.len() > TYPE_BYTES_MAX;
    if globs.len() > TYPES_MAX || globs.iter().any(is_long) {
        return Err(Problem::bad_request(format!(
            "`types` are at most {TYPES_MAX} globs of {TYPE_BYTES_MAX} bytes"
        )));
    }
    let globs: Vec<Glob> = globs.iter().map(|glob| Glob::new(glob)).collect();
    let wanted = kinds(parts, |event_type| {
        globs.iter().any(|glob| glob.matches(event_type))
    });
    if wanted.is_empty() {
        return Err(Problem::bad_request(
            "`types` match no event type, they look like issues.* or issues.updated",
        ));
    }
    Ok(wanted)
}

async fn found(parts: &Parts, id: &str) -> Result<Delivery, Problem> {
    let id: DeliveryId = id.parse().map_err(|_| unknown())?;
    let delivery = parts.store.delivery(id).await?.ok_or_else(unknown)?;
    if delivery.state == DeliveryState::Pending && delivery.attempts == 0 {
        // What is ahead of an endpoint is its delivery only if it hears it.
        let config = parts.live.load();
        let endpoint = config.endpoints.get(&delivery.endpoint);
        if !endpoint.is_some_and(|endpoint| endpoint.hears(&delivery.event_type)) {
            return Err(unknown());
        }
    }
    Ok(delivery)
}

async fn with_attempts(parts: &Parts, delivery: &Delivery) -> Result<Value, Problem> {
    let attempts = parts.store.attempts(delivery.id).await?;
    let mut told = delivery_json(delivery);
    told["attempts"] = attempts.iter().map(attempt_json).collect();
    Ok(told)
}

fn attempt_json(attempt: &Attempt) -> Value {
    json!({
        "number": attempt.number,
        "at": attempt.at.to_string(),
        "duration_ms": attempt.duration_ms,
        "status": attempt.status,
        "error": attempt.error,
        "answer": attempt.answer,
    })
}

/// Which kinds of which sources an endpoint hears, by the configuration in force.
fn hears(parts: &Parts, endpoint: &Name) -> Vec<(SourceId, Vec<Kind>)> {
    let config = parts.live.load();
    match config.endpoints.get(endpoint) {
        Some(endpoint) => kinds(parts, |event_type| endpoint.hears(event_type)),
        None => Vec::new(),
    }
}

/// The kinds of events by source whose types are wanted.
fn kinds(parts: &Parts, is_wanted: impl Fn(&str) -> bool) -> Vec<(SourceId, Vec<Kind>)> {
    let named = parts.sources.iter().map(|(name, id)| (name.as_str(), *id));
    let all = named.chain([(OPERATIONAL_SOURCE, SourceId::OPERATIONAL)]);
    all.map(|(name, id)| {
        let heard = Kind::ALL
            .into_iter()
            .filter(|kind| is_wanted(&kind.event_type(name)));
        (id, heard.collect::<Vec<_>>())
    })
    .filter(|(_, kinds)| !kinds.is_empty())
    .collect()
}

fn delivery_json(delivery: &Delivery) -> Value {
    let partition = &delivery.partition;
    let mut told = json!({
        "id": delivery.id.to_string(),
        "endpoint": delivery.endpoint.as_str(),
        "event": delivery.event.map(|id| id.to_string()),
        "type": delivery.event_type,
        "subject": delivery.subject,
        "state": state_word(delivery.state),
        "attempts": delivery.attempts,
        "due": delivery.due.map(|at| at.to_string()),
        "committed_at": delivery.committed_at.to_string(),
        "settled_at": delivery.settled_at.map(|at| at.to_string()),
    });
    if !partition.is_whole() {
        told["partition"] = json!(partition.values());
    }
    told
}

const fn state_word(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Pending => "pending",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Dead => "dead",
    }
}

fn unknown() -> Problem {
    Problem::not_found("no such delivery, or no attempt of it is retained")
}
