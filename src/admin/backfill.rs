//! What an endpoint missed because it was not there: events from a sequence on, or all there is.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answers::Answer;
use super::{Body, Named, Parts, Problem};
use crate::deliver::SteerError;
use crate::event::Kind;
use crate::name::Name;
use crate::store::{Backfillable, Rewound, SourceId};

/// What is asked for: `source` and `from_sequence`, or `from` and perhaps `sources`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    source: Option<String>,
    from_sequence: Option<u64>,
    from: Option<Origin>,
    sources: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Origin {
    Snapshot,
}

/// Sends an endpoint what it has not had.
pub(super) async fn backfill(State(parts): State<Parts>, Named(name): Named, body: Body) -> Answer {
    let ask: Ask = body.read()?;
    match (ask.source, ask.from_sequence, ask.from) {
        (Some(source), Some(sequence), None) if ask.sources.is_none() => {
            from_sequence(&parts, &name, &source, sequence).await
        }
        (None, None, Some(Origin::Snapshot)) => from_snapshot(&parts, &name, ask.sources).await,
        _ => Err(Problem::bad_request(
            "name `source` and `from_sequence`, or `from` as \"snapshot\" and perhaps `sources`",
        )),
    }
}

/// The events of a source that came before the endpoint was there, from a sequence on: in order,
/// before those to come, and none that it has had.
async fn from_sequence(parts: &Parts, name: &str, source: &str, sequence: u64) -> Answer {
    let (_, id) = known(parts, source)?;
    let rewound = parts.deliverer.backfill(name, id, sequence).await?;
    let conflict = |told: String| Err(Problem::conflict(told));
    match rewound {
        Rewound::Done => {
            let told = json!({ "source": source, "from_sequence": sequence });
            Ok((StatusCode::ACCEPTED, Json(told)).into_response())
        }
        Rewound::Unheard => conflict(format!(
            "endpoint `{name}` hears nothing of `{source}`: see its `events`"
        )),
        Rewound::Ahead(newest) => {
            conflict(format!("the newest event of `{source}` is number {newest}"))
        }
        Rewound::Gone(oldest) => Err(Problem::new(
            StatusCode::GONE,
            format!("that event is no longer retained, the oldest is number {oldest}"),
        )),
        Rewound::Waiting(id) => conflict(format!(
            "delivery {id} to `{name}` waits for its retry and would come before earlier ones of \
             its subject: wait until it is accepted, or skip it"
        )),
        Rewound::TooMany(count) => conflict(format!(
            "`{name}` has had {count} or more of these: begin later, or replay what it has had"
        )),
    }
}

/// Each item as it is, as `created` (a document as `changed`) with the cause `backfill`, to this
/// endpoint alone. `progress` tells how far that is.
async fn from_snapshot(parts: &Parts, name: &str, sources: Option<Vec<String>>) -> Answer {
    let config = parts.live.load_full();
    let endpoint = config.endpoints.get(name);
    let endpoint = endpoint.ok_or_else(|| SteerError::Unknown(name.to_owned()))?;
    let kind = |source: &Name| match config.sources.get(source) {
        Some(source) if source.rules.items.is_none() => Kind::Changed,
        _ => Kind::Created,
    };
    let hears = |source: &Name| endpoint.hears(&kind(source).event_type(source.as_str()));
    let mut wanted: BTreeMap<&Name, SourceId> = BTreeMap::new();
    if let Some(named) = &sources {
        for source in named {
            wanted.extend([known(parts, source)?]);
        }
    } else {
        let all = parts.sources.iter().filter(|(source, _)| hears(source));
        wanted.extend(all.map(|(source, id)| (source, *id)));
    }
    let unheard = |source: &Name| {
        let event_type = kind(source).event_type(source.as_str());
        let told = format!("endpoint `{name}` does not hear `{event_type}`: see its `events`");
        Err(Problem::conflict(told))
    };
    if let Some(source) = wanted.keys().find(|source| !hears(source)) {
        return unheard(source);
    }
    if wanted.is_empty() {
        let told = format!("endpoint `{name}` hears of no source what there is: see its `events`");
        return Err(Problem::conflict(told));
    }
    let kinds = wanted.iter().map(|(source, id)| (*id, kind(source)));
    let begun = parts.deliverer.begin_backfills(name, kinds.collect());
    let named = |id: SourceId| wanted.iter().find(|(_, other)| **other == id);
    match begun.await? {
        Backfillable::Begun => {
            let told = progress_of(parts, name).await?;
            Ok((StatusCode::ACCEPTED, Json(told)).into_response())
        }
        Backfillable::Unheard(id) => match named(id) {
            Some((source, _)) => unheard(source),
            None => Err(SteerError::Unknown(name.to_owned()).into()),
        },
        Backfillable::Running(id) => {
            let source = named(id).map_or("it", |(source, _)| source.as_str());
            Err(Problem::conflict(format!(
                "endpoint `{name}` is being told of `{source}` already"
            )))
        }
    }
}

/// How far an endpoint has been told what there is; nothing of what has come to its end.
pub(super) async fn progress(State(parts): State<Parts>, Named(name): Named) -> Answer {
    Ok(Json(progress_of(&parts, &name).await?).into_response())
}

/// Tells an endpoint no more of what there is; 204 also when it was told nothing.
pub(super) async fn stop(State(parts): State<Parts>, Named(name): Named) -> Answer {
    parts.deliverer.end_backfills(&name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn progress_of(parts: &Parts, endpoint: &str) -> Result<Value, Problem> {
    let backfills = parts.deliverer.backfills(endpoint).await?;
    let told = backfills.iter().map(|backfill| {
        json!({
            "source": backfill.source_name,
            "told": backfill.told,
            "items": backfill.items,
            "since": backfill.since.to_string(),
        })
    });
    let told: Vec<Value> = told.collect();
    Ok(json!({ "backfills": told }))
}

fn known<'a>(parts: &'a Parts, source: &str) -> Result<(&'a Name, SourceId), Problem> {
    let found = parts.sources.get_key_value(source);
    let (name, id) =
        found.ok_or_else(|| Problem::not_found(format!("no source is named {source:?}")))?;
    Ok((name, *id))
}
