//! What each resource of `/api/v1` answers.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{POLL_PATIENCE, Parts, Problem};
use crate::event::{Event, EventId, Kind, OPERATIONAL_SOURCE, Partition};
use crate::name::Name;
use crate::poll::PollRefused;
use crate::store::{
    Cursor, Delivery, DeliveryId, DeliveryQuery, DeliveryState, EventQuery, SourceId,
};

/// Entries of a page when the caller names no limit, and the most there are.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;

type Answer = Result<Response, Problem>;

pub(super) async fn sources(State(parts): State<Parts>) -> Answer {
    Ok(Json(json!({ "sources": parts.poller.sources() })).into_response())
}

pub(super) async fn source(State(parts): State<Parts>, Path(name): Path<String>) -> Answer {
    let found = parts.poller.source(&name).ok_or_else(|| no_source(&name))?;
    Ok(Json(found).into_response())
}

/// Answers 200 whatever the upstream did; see DESIGN §9. Of a source that is divided, parameters
/// name the one partition that is meant, `?repo=a/b`; without them all are.
pub(super) async fn poll(
    State(parts): State<Parts>,
    Path(name): Path<String>,
    values: Result<Query<BTreeMap<String, String>>, QueryRejection>,
) -> Answer {
    let Query(values) = values.map_err(|error| Problem::bad_request(error.body_text()))?;
    let partition = (!values.is_empty()).then(|| Partition::of(&values));
    let polling = parts.poller.poll_partitions(&name, partition.as_ref());
    let polled = tokio::time::timeout(POLL_PATIENCE, polling).await;
    let polled = polled.map_err(|_| {
        Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "the poll takes longer than 5 minutes",
        )
    })?;
    match polled {
        Ok(polled) => Ok(Json(polled).into_response()),
        Err(PollRefused::Unknown) => Err(no_source(&name)),
        Err(PollRefused::Draining) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining: no poll begins",
        )),
        Err(refused @ PollRefused::NoPartition) => Err(Problem::not_found(refused.to_string())),
        Err(refused @ PollRefused::TooMany(_)) => Err(Problem::bad_request(format!(
            "{refused}: name one, as in `?repo=a/b`"
        ))),
    }
}

/// How each upstream stands: whether it answers, and what is left of its budget.
pub(super) async fn upstreams(State(parts): State<Parts>) -> Answer {
    let all = parts.upstreams.iter().map(|(name, upstream)| {
        let standing = upstream.standing();
        let terms = upstream.config().budget;
        let budget = terms.zip(standing.budget).map(|(terms, left)| {
            json!({
                "requests": terms.requests,
                "per_seconds": terms.per.as_secs_f64(),
                "burst": terms.burst,
                "remaining": left.remaining,
                "held_for_seconds": left.held_for.as_secs_f64(),
                "callers_waiting": left.callers_waiting,
                "polls_waiting": left.polls_waiting,
            })
        });
        json!({
            "name": name.as_str(),
            "healthy": standing.down_for.is_none(),
            "down_for_seconds": standing.down_for.map(|time| time.as_secs_f64()),
            "budget": budget,
        })
    });
    let all: Vec<Value> = all.collect();
    Ok(Json(json!({ "upstreams": all })).into_response())
}

pub(super) async fn endpoints(State(parts): State<Parts>) -> Answer {
    Ok(Json(json!({ "endpoints": parts.deliverer.endpoints() })).into_response())
}

/// Rings an endpoint again that was switched off; 204 also when it was rung all along.
pub(super) async fn enable(State(parts): State<Parts>, Path(name): Path<String>) -> Answer {
    if parts.deliverer.enable(&name).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(Problem::not_found(format!("no endpoint is named {name:?}")))
    }
}

/// Sends a webhook that nothing happened for; 200 whatever the endpoint said, which the answer tells.
pub(super) async fn test(State(parts): State<Parts>, Path(name): Path<String>) -> Answer {
    match parts.deliverer.test(&name).await {
        Some(tried) => Ok(Json(tried).into_response()),
        None => Err(Problem::not_found(format!("no endpoint is named {name:?}"))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    source: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn events(
    State(parts): State<Parts>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let (mut source, mut kind) = (query.source, None);
    if let Some(event_type) = query.event_type {
        let (of, found) = Kind::of_type(&event_type).ok_or_else(|| {
            Problem::bad_request("`type` looks like issues.updated or doorbell.source.failing")
        })?;
        if source.as_ref().is_some_and(|source| source != of) {
            return Err(Problem::bad_request(
                "`type` and `source` name different sources",
            ));
        }
        (source, kind) = (Some(of.to_owned()), Some(found));
    }
    let after = query.after.map(|text| text.parse::<Cursor>()).transpose();
    let after = after.map_err(|error| Problem::bad_request(error.to_string()))?;
    let limit = limit(query.limit)?;
    let page = parts
        .store
        .events(EventQuery {
            source,
            kind,
            after,
            limit,
        })
        .await?;
    let listed: Vec<String> = page.events.iter().map(event_json).collect();
    let body = format!(
        r#"{{"events":[{}],"next":"{}"}}"#,
        listed.join(","),
        page.next
    );
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

pub(super) async fn event(State(parts): State<Parts>, Path(id): Path<String>) -> Answer {
    let id: EventId = id.parse().map_err(|_| no_event())?;
    let event = parts.store.event(id).await?.ok_or_else(no_event)?;
    Ok((
        [(header::CONTENT_TYPE, "application/json")],
        event_json(&event),
    )
        .into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveriesQuery {
    state: Option<String>,
    endpoint: Option<String>,
    limit: Option<usize>,
}

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
    let limit = limit(query.limit)?;
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
            limit,
        };
        found.extend(parts.store.deliveries(query).await?);
        // The newest of all endpoints, so that none hides another; never more than two pages.
        found.sort_unstable_by_key(|delivery| Reverse(delivery.id.event));
        found.truncate(limit);
    }
    let listed: Vec<Value> = found.iter().map(delivery_json).collect();
    Ok(Json(json!({ "deliveries": listed })).into_response())
}

pub(super) async fn delivery(State(parts): State<Parts>, Path(id): Path<String>) -> Answer {
    let unknown = || Problem::not_found("no such delivery, or no attempt of it is retained");
    let id: DeliveryId = id.parse().map_err(|_| unknown())?;
    let attempts = parts.store.attempts(id).await?;
    if attempts.is_empty() {
        return Err(unknown());
    }
    let attempts: Vec<Value> = attempts
        .iter()
        .map(|attempt| {
            json!({
                "number": attempt.number,
                "at": attempt.at.to_string(),
                "duration_ms": attempt.duration_ms,
                "status": attempt.status,
                "error": attempt.error,
                "answer": attempt.answer,
            })
        })
        .collect();
    Ok(Json(json!({ "id": id.to_string(), "attempts": attempts })).into_response())
}

/// Which kinds of which sources an endpoint hears, by the configuration in force.
fn hears(parts: &Parts, endpoint: &Name) -> Vec<(SourceId, Vec<Kind>)> {
    let config = parts.live.load();
    let Some(endpoint) = config.endpoints.get(endpoint) else {
        return Vec::new();
    };
    let named = parts.sources.iter().map(|(name, id)| (name.as_str(), *id));
    let all = named.chain([(OPERATIONAL_SOURCE, SourceId::OPERATIONAL)]);
    all.map(|(name, id)| {
        let heard = Kind::ALL
            .into_iter()
            .filter(|kind| endpoint.hears(&kind.event_type(name)));
        (id, heard.collect::<Vec<_>>())
    })
    .filter(|(_, kinds)| !kinds.is_empty())
    .collect()
}

/// An event as listed: its body as it rings, with its id in front.
fn event_json(event: &Event) -> String {
    let body = event.body();
    format!(r#"{{"id":"{}",{}"#, event.id, &body[1..])
}

fn delivery_json(delivery: &Delivery) -> Value {
    let partition = &delivery.partition;
    let mut told = json!({
        "id": delivery.id.to_string(),
        "endpoint": delivery.endpoint.as_str(),
        "event": delivery.event.map(|id| id.to_string()),
        "type": delivery.event_type,
        "subject": delivery.subject,
        "state": match delivery.state {
            DeliveryState::Pending => "pending",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Dead => "dead",
        },
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

fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(LIMIT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        _ => Err(Problem::bad_request(format!("`limit` is 1 to {LIMIT_MAX}"))),
    }
}

fn no_source(name: &str) -> Problem {
    Problem::not_found(format!("no source is named {name:?}"))
}

fn no_event() -> Problem {
    Problem::not_found("no such event, or it is no longer retained")
}
