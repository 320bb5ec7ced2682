//! Endpoints that callers make, change and delete, and how endpoints are told of.
//!
//! Decides what of an endpoint anybody is told: no secret but one that doorbell has just made, and
//! of URLs, headers and templates, in which secrets may stand, only that they are there.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};
use url::Url;

use super::answers::Answer;
use super::once::Once;
use super::{Body, Named, Parts, Problem};
use crate::config::{self, MemberFault, Owner};
use crate::deliver::{ChangeError, Changed, OVERLAP, OVERLAP_MAX, SteerError};
use crate::name::Name;
use crate::secret::Secret;
use crate::store::{StoreError, StoredEndpoint};

/// What stands for what is not told.
const MASK: &str = "***";
/// As the end of a URL.
const MASKED_PATH: &str = "/***";

/// How all endpoints stand, and what those that were made over the API were given.
pub(super) async fn endpoints(State(parts): State<Parts>) -> Answer {
    let endpoints: Vec<Value> = told(&parts).await?.into_values().collect();
    Ok(Json(json!({ "endpoints": endpoints })).into_response())
}

pub(super) async fn endpoint(State(parts): State<Parts>, Named(name): Named) -> Answer {
    let found = told(&parts).await?.remove(&name);
    let found = found.ok_or(SteerError::Unknown(name))?;
    Ok(Json(found).into_response())
}

/// Makes an endpoint of the keys that `[endpoints.NAME]` of the file has, `name` beside them.
pub(super) async fn create(State(parts): State<Parts>, body: Body) -> Answer {
    let mut members = object(&body)?;
    let name = match members.remove("name") {
        Some(Value::String(name)) => Name::parse(&name).map_err(|error| error.to_string()),
        Some(_) => Err("a name is a string".to_owned()),
        None => Err("`name` is missing, write `\"name\": \"crm\"`".to_owned()),
    };
    let name = name.map_err(|detail| fault("/name", detail))?;
    refuse_masks(&members)?;
    let changed = parts.deliverer.create(name, members).await?;
    let location = format!("/api/v1/endpoints/{}", changed.name);
    let answer = answered(&parts, changed).await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], answer).into_response())
}

/// Changes the members that the body has; null takes one away.
pub(super) async fn change(State(parts): State<Parts>, Named(name): Named, body: Body) -> Answer {
    let members = object(&body)?;
    if members.contains_key("name") {
        let detail = "an endpoint keeps its name: make another, and delete this one";
        return Err(fault("/name", detail));
    }
    refuse_masks(&members)?;
    let changed = parts.deliverer.change(&name, members).await?;
    Ok(answered(&parts, changed).await?.into_response())
}

/// Deletes an endpoint: nothing more is sent to it.
pub(super) async fn delete(State(parts): State<Parts>, Named(name): Named) -> Answer {
    parts.deliverer.delete(&name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Gives an endpoint a new secret, `{"secret": "whsec_…"}` or one that doorbell makes; those before
/// it sign on for `{"overlap": "24h"}`.
pub(super) async fn rotate_secret(
    State(parts): State<Parts>,
    Named(name): Named,
    body: Body,
) -> Answer {
    let members = if body.is_empty() {
        Map::new()
    } else {
        object(&body)?
    };
    let (mut secret, mut overlap) = (None, OVERLAP);
    for (key, value) in members {
        match (key.as_str(), value) {
            ("secret", Value::String(text)) => secret = Some(Secret::new(text)),
            ("overlap", Value::String(text)) => overlap = read_overlap(&text)?,
            ("secret" | "overlap", _) => {
                let detail = format!("`{key}` is a string");
                return Err(fault(&format!("/{key}"), detail));
            }
            _ => {
                let detail = "unknown key, known here: `secret`, `overlap`";
                return Err(fault("", detail));
            }
        }
    }
    let rotated = parts.deliverer.rotate_secret(&name, secret, overlap).await;
    let rotated = rotated.map_err(|error| match error {
        ChangeError::OfFile(name) => Problem::conflict(format!(
            "endpoint `{name}` is read-only here: put a second secret into its `secrets` in the \
             configuration file, in front of the old one, and take that out later"
        )),
        other => other.into(),
    })?;
    Ok(answered(&parts, rotated).await?.into_response())
}

fn read_overlap(text: &str) -> Result<Duration, Problem> {
    let overlap = config::duration(text).map_err(|detail| fault("/overlap", detail))?;
    if overlap > OVERLAP_MAX {
        let days = OVERLAP_MAX.as_secs() / 86_400;
        return Err(fault("/overlap", format!("`overlap` is at most {days}d")));
    }
    Ok(overlap)
}

/// The JSON object of a body. Read as what it is first, so that no message quotes what it says.
fn object(body: &Body) -> Result<Map<String, Value>, Problem> {
    let Once(value) = body.read()?;
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(fault("", "write an object, `{…}`".to_owned())),
    }
}

/// Who sends back what they were told would write it in place of what they were not.
fn refuse_masks(members: &Map<String, Value>) -> Result<(), Problem> {
    let is_masked = |(key, value): (&String, &Value)| match value {
        Value::Object(headers) => key == "headers" && headers.values().any(|text| text == MASK),
        Value::String(url) if key == "url" => url.ends_with(MASKED_PATH),
        value => value == MASK,
    };
    match members
        .iter()
        .find(|(key, value)| is_masked((*key, *value)))
    {
        None => Ok(()),
        Some((key, _)) => {
            let detail = format!(
                "`{MASK}` stands for what nobody is told: write all of it, or leave it out, which \
                 keeps it as it is"
            );
            Err(fault(&format!("/{key}"), detail))
        }
    }
}

fn fault(pointer: &str, detail: impl Into<String>) -> Problem {
    Problem::unprocessable(&[MemberFault::new(pointer, detail)])
}

/// An endpoint after a change, with what nobody is told again.
async fn answered(parts: &Parts, changed: Changed) -> Result<Json<Value>, Problem> {
    let mut told = told(parts).await?;
    let mut told = told.remove(changed.name.as_str()).unwrap_or_default();
    if let Some(secret) = &changed.secret {
        told["secret"] = json!(secret.expose());
    }
    if !changed.odd.is_empty() {
        told["warnings"] = json!(changed.odd);
    }
    Ok(Json(told))
}

/// All endpoints by name, as they are told of.
async fn told(parts: &Parts) -> Result<BTreeMap<String, Value>, StoreError> {
    let kept = parts.store.endpoints().await?;
    let config = parts.live.load_full();
    let of_file = |name: &str| {
        let endpoint = config.endpoints.get(name);
        endpoint.is_some_and(|endpoint| endpoint.owner == Owner::File)
    };
    let statuses = parts.deliverer.endpoints().into_iter();
    let mut told: BTreeMap<String, Value> = statuses
        .map(|status| {
            let mut told = json!(status);
            told["owner"] = json!(if of_file(&status.name) {
                Owner::File
            } else {
                Owner::Api
            });
            (status.name, told)
        })
        .collect();
    for stored in kept {
        let name = stored.name.as_str();
        if of_file(name) {
            continue;
        }
        // One that cannot be rung, for which the log has the reason, is told of all the same.
        let unusable =
            json!({"name": name, "owner": Owner::Api, "enabled": false, "unusable": true});
        let one = told.entry(name.to_owned()).or_insert(unusable);
        one["settings"] = settings(&stored);
        one["secrets"] = secrets(&stored);
        one["created_at"] = json!(stored.created_at.to_string());
        one["changed_at"] = json!(stored.changed_at.to_string());
    }
    Ok(told)
}

/// Until when each secret signs; null: until it is replaced.
fn secrets(stored: &StoredEndpoint) -> Value {
    let until = stored.secrets.iter().map(|secret| secret.until);
    let told = until.map(|until| json!({ "until": until.map(|until| until.to_string()) }));
    told.collect()
}

/// What an endpoint was given.
fn settings(stored: &StoredEndpoint) -> Value {
    let members: Map<String, Value> =
        serde_json::from_str(stored.definition.expose()).unwrap_or_default();
    let shown = members.into_iter().map(|(key, value)| {
        let shown = match (key.as_str(), &value) {
            ("url", Value::String(url)) => shown_url(url),
            ("headers", Value::Object(headers)) => {
                let masked = headers.keys().map(|name| (name.clone(), json!(MASK)));
                masked.collect()
            }
            ("template" | "headers" | "url" | "secrets", _) => json!(MASK),
            _ => value,
        };
        (key, shown)
    });
    shown.collect()
}

/// What of a URL holds no secret, so that it can be told from one that ends there.
fn shown_url(url: &str) -> Value {
    match Url::parse(url) {
        Ok(url) if url.path() == "/" && url.query().is_none() => json!(url.as_str()),
        Ok(url) => json!(url.origin().ascii_serialization() + MASKED_PATH),
        Err(_) => json!(MASK),
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Steer(error) => error.into(),
            ChangeError::Faults(faults) => Self::unprocessable(&faults),
            ChangeError::OfFile(_)
            | ChangeError::Taken(_)
            | ChangeError::Full
            | ChangeError::TooManySecrets => Self::conflict(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn what_may_hold_a_secret_is_not_told() {
        let definition = json!({
            "url": "https://crm.example:8443/telling?telling=1",
            "events": ["issues.*"],
            "headers": {"authorization": "telling"},
            "template": "telling",
            "rate": {"requests": 1, "per": "1s"},
        });
        let at = Timestamp::from_millis(0);
        let stored = StoredEndpoint {
            name: Name::parse("crm").expect("a name"),
            definition: Secret::new(definition.to_string()),
            secrets: Vec::new(),
            created_at: at,
            changed_at: at,
        };
        let told = settings(&stored);
        assert!(!told.to_string().contains("telling"), "{told}");
        assert_eq!(
            told,
            json!({
                "url": "https://crm.example:8443/***",
                "events": ["issues.*"],
                "headers": {"authorization": "***"},
                "template": "***",
                "rate": {"requests": 1, "per": "1s"},
            })
        );
        let bare = "https://crm.example/";
        assert_eq!(shown_url(bare), bare);
        for masked in ["url", "headers", "template"] {
            let sent = [(masked.to_owned(), told[masked].clone())];
            assert!(
                refuse_masks(&sent.into_iter().collect()).is_err(),
                "{masked}"
            );
        }
        let open = json!({"url": bare, "headers": {"x-a": "**"}, "events": ["***"], "rate": null});
        assert!(refuse_masks(open.as_object().expect("an object")).is_ok());
    }
}
