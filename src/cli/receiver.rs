//! A receiver of webhooks as every receiver should be: verify first, then read.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::paint::{Paint, clipped};
use crate::clock::Clock;
use crate::signature::{Signed, VerifyingKey, verify};

/// Largest webhook that is read: far above what any sender should post.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Rings that wait to be shown; a sender waits for its answer when a terminal is slower.
const WAITING_MAX: usize = 256;

/// A webhook that was believed.
#[derive(Debug, Clone)]
pub(super) struct Ring {
    /// `webhook-id`.
    pub(super) id: String,
    /// The payload.
    pub(super) payload: Value,
}

/// What came to the receiver's door.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A webhook that was verified.
    Ring(Ring),
    /// One that was not believed, and why.
    Refused(String),
}

/// Serves on `listener` in the background; what arrives comes out of the channel.
pub(super) fn serve(
    listener: TcpListener,
    key: VerifyingKey,
) -> std::io::Result<(SocketAddr, mpsc::Receiver<Arrival>)> {
    let address = listener.local_addr()?;
    let (sender, arrivals) = mpsc::channel(WAITING_MAX);
    let door = Arc::new(Door {
        key,
        sender,
        clock: Clock::system(),
    });
    let router = Router::new()
        .fallback(axum::routing::post(receive))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(door);
    tokio::spawn(async move {
        // Serving ends with the process; accept errors are axum's to retry.
        let _ = axum::serve(listener, router).await;
    });
    Ok((address, arrivals))
}

struct Door {
    key: VerifyingKey,
    sender: mpsc::Sender<Arrival>,
    clock: Clock,
}

async fn receive(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let (arrival, answer) = match door.believe(&headers, &body) {
        Ok(ring) => (Arrival::Ring(ring), (StatusCode::NO_CONTENT, "")),
        Err(why) => (
            Arrival::Refused(why),
            (StatusCode::BAD_REQUEST, "not believed\n"),
        ),
    };
    match door.sender.send(arrival).await {
        Ok(()) => answer,
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "closing\n"),
    }
}

impl Door {
    fn believe(&self, headers: &HeaderMap, body: &[u8]) -> Result<Ring, String> {
        let header = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.ok_or_else(|| format!("no {name}"))
        };
        let signed = Signed {
            id: header("webhook-id")?,
            timestamp: header("webhook-timestamp")?,
            signature: header("webhook-signature")?,
        };
        let now = self.clock.now().as_seconds();
        let key = std::slice::from_ref(&self.key);
        verify(key, signed, body, now).map_err(|refused| refused.to_string())?;
        let payload = serde_json::from_slice(body).map_err(|_| "not JSON".to_owned())?;
        Ok(Ring {
            id: signed.id.to_owned(),
            payload,
        })
    }
}

/// One line for a person: type, subject, and what changed.
pub(super) fn line(ring: &Ring, paint: Paint) -> String {
    let payload = &ring.payload;
    let event_type = &*shortened(payload["type"].as_str().unwrap_or("?"));
    let data = &payload["data"];
    let painted = match event_type.rsplit('.').next() {
        Some("created") => paint.good(event_type),
        Some("deleted" | "failing" | "dead" | "disabled") => paint.bad(event_type),
        _ => paint.fresh(event_type),
    };
    let subject = match data["subject"].as_str() {
        Some("") | None => String::new(),
        Some(subject) => format!(" {}", paint.strong(shortened(subject))),
    };
    let what = match (data.get("patch"), data.get("current"), data.get("reason")) {
        (Some(Value::Array(operations)), ..) => patch(operations, &data["previous"], paint),
        (_, Some(current), _) => paint.faint(shortened(&current.to_string())),
        (.., Some(reason)) => shortened(reason.as_str().unwrap_or_default()),
        _ => String::new(),
    };
    let sequence = data["sequence"]
        .as_u64()
        .map(|n| format!("#{n} "))
        .unwrap_or_default();
    format!("{}{painted}{subject}  {what}", paint.faint(sequence))
}

/// `/state "open" → "closed"`, for each operation.
pub(super) fn patch(operations: &[Value], previous: &Value, paint: Paint) -> String {
    let shown = operations.iter().take(OPERATIONS_SHOWN).map(|operation| {
        let path = operation["path"].as_str().unwrap_or_default();
        let before = previous
            .pointer(path)
            .map(|value| shortened(&value.to_string()));
        let after = operation
            .get("value")
            .map(|value| shortened(&value.to_string()));
        let before = before.map(|text| paint.bad(text));
        let after = after.map(|text| paint.good(text));
        let sides: Vec<String> = before.into_iter().chain(after).collect();
        format!("{} {}", shortened(path), sides.join(" → "))
    });
    let mut shown: Vec<String> = shown.collect();
    if operations.len() > OPERATIONS_SHOWN {
        shown.push(format!("and {} more", operations.len() - OPERATIONS_SHOWN));
    }
    shown.join(", ")
}

/// Most operations of a patch on one line.
const OPERATIONS_SHOWN: usize = 4;

/// At most 60 characters of `text`, see [`clipped`].
pub(super) fn shortened(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    clipped(text, CHARACTERS_MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What upstreams write must not move a person's cursor or rename a window.
    #[test]
    fn control_characters_of_strangers_stay_out_of_the_terminal() {
        let evil = "a\u{1b}[31m\u{1b}]0;title\u{7}";
        for payload in [
            json!({"type": evil, "data": {"subject": evil, "current": {evil: evil}}}),
            json!({"type": "a.updated", "data": {"subject": "1", "previous": {evil: 1},
                "patch": [{"op": "replace", "path": format!("/{evil}"), "value": evil}]}}),
            json!({"type": "doorbell.source.failing", "data": {"reason": evil}}),
        ] {
            let ring = Ring {
                id: String::new(),
                payload,
            };
            let shown = line(&ring, Paint::plain());
            assert!(!shown.chars().any(char::is_control), "{shown:?}");
        }
    }
}
