//! What sources and events answer.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Named, POLL_PATIENCE, Parts, Problem};
use crate::event::{Event, EventId, Kind, Partition};
use crate::poll::PollRefused;
use crate::store::{Cursor, EventQuery};

/// Entries of a page when the caller names no limit, and the most there are.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;

pub(super) type Answer = Result<Response, Problem>;

pub(super) async fn sources(State(parts): State<Parts>) -> Answer {
    Ok(Json(json!({ "sources": parts.poller.sources() })).into_response())
}

pub(super) async fn source(State(parts): State<Parts>, Named(name): Named) -> Answer {
    let found = parts.poller.source(&name).ok_or_else(|| no_source(&name))?;
    Ok(Json(found).into_response())
}

/// Answers 200 whatever the upstream did; see DESIGN §9. Of a source that is divided, parameters
/// name the one partition that is meant, `?repo=a/b`; without them all are.
pub(super) async fn poll(
    State(parts): State<Parts>,
    Named(name): Named,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    source: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

impl EventsQuery {
    /// What it asks of the store.
    pub(super) fn checked(self) -> Result<EventQuery, Problem> {
        let (mut source, mut kind) = (self.source, None);
        if let Some(event_type) = self.event_type {
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
        let after = self.after.map(|text| text.parse::<Cursor>()).transpose();
        let after = after.map_err(|error| Problem::bad_request(error.to_string()))?;
        Ok(EventQuery {
            source,
            kind,
            after,
            limit: limit(self.limit)?,
        })
    }
}

pub(super) async fn events(
    State(parts): State<Parts>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let page = parts.store.events(query.checked()?).await?;
    let listed: Vec<String> = page.events.iter().map(event_json).collect();
    let body = format!(
        r#"{{"events":[{}],"next":"{}"}}"#,
        listed.join(","),
        page.next
    );
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

pub(super) async fn event(State(parts): State<Parts>, Named(id): Named) -> Answer {
    let id: EventId = id.parse().map_err(|_| no_event())?;
    let event = parts.store.event(id).await?.ok_or_else(no_event)?;
    Ok((
        [(header::CONTENT_TYPE, "application/json")],
        event_json(&event),
    )
        .into_response())
}

/// An event as listed: its body as it rings, with its id in front.
pub(super) fn event_json(event: &Event) -> String {
    let body = event.body();
    format!(r#"{{"id":"{}",{}"#, event.id, &body[1..])
}

pub(super) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
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
