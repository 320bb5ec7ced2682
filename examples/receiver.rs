//! A receiver of webhooks in Rust: verifies, drops what it has seen, handles, and only then accepts.
//!
//! Decides what a receiver owes its sender. What is done with an event is `handle`'s.
//!
//! ```sh
//! DOORBELL_SECRET=whsec_… cargo run --example receiver
//! doorbell send-test ENDPOINT   # whose url is http://127.0.0.1:8787/
//! ```
//!
//! The secret may be `whsec_…`, shared with doorbell, or the public `whpk_…` of its `whsk_…`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example tells a person what it does"
)]

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use doorbell::secret::Secret;
use doorbell::signature::{Refused, Signed, VerifyingKey, verify};
use serde_json::Value;

/// What becomes of an event; an error has it rung again later.
pub(crate) type Handle = Box<dyn Fn(&Value) -> Result<(), String> + Send + Sync>;

/// Largest webhook that is read: doorbell's default is at most 256 KiB.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Most ids that are remembered. A webhook comes a second time when its acceptance got lost, which
/// is soon; a replay by hand days later is wanted.
const IDS_MAX: usize = 100_000;

/// A server for `POST /` that believes webhooks signed with any of `keys`.
pub(crate) fn receiver(keys: Vec<VerifyingKey>, handle: Handle) -> Router {
    let desk = Desk {
        keys,
        handle,
        seen: Mutex::default(),
    };
    Router::new()
        .route("/", post(receive))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::new(desk))
}

struct Desk {
    keys: Vec<VerifyingKey>,
    handle: Handle,
    seen: Mutex<Seen>,
}

/// Ids of events that were handled, and in which order.
#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

/// The body comes as bytes: read as JSON and written again it would be another one.
async fn receive(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let Some(signed) = signed(&headers) else {
        return (StatusCode::BAD_REQUEST, "not signed\n".to_owned());
    };
    if let Err(refused) = verify(&desk.keys, signed, &body, now()) {
        // Whoever rings without the secret learns nothing; whoever runs this reads the log.
        eprintln!("{}: {refused}", signed.id);
        return (status(refused), "not believed\n".to_owned());
    }
    let Ok(event) = serde_json::from_slice(&body) else {
        return (StatusCode::BAD_REQUEST, "not JSON\n".to_owned());
    };
    if desk.has_seen(signed.id) {
        return (StatusCode::OK, "known\n".to_owned());
    }
    match (desk.handle)(&event) {
        Ok(()) => {
            desk.remember(signed.id);
            (StatusCode::NO_CONTENT, String::new())
        }
        // Anything but 2xx has it rung again, and later events of its subject wait.
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, why),
    }
}

fn signed(headers: &HeaderMap) -> Option<Signed<'_>> {
    let header = |name| headers.get(name)?.to_str().ok();
    Some(Signed {
        id: header("webhook-id")?,
        timestamp: header("webhook-timestamp")?,
        signature: header("webhook-signature")?,
    })
}

fn status(refused: Refused) -> StatusCode {
    match refused {
        Refused::Timestamp => StatusCode::BAD_REQUEST,
        _ => StatusCode::UNAUTHORIZED,
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.unwrap_or_default().as_secs();
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

impl Desk {
    fn has_seen(&self, id: &str) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.ids.contains(id)
    }

    fn remember(&self, id: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.ids.insert(id.to_owned()) {
            seen.order.push_back(id.to_owned());
        }
        if seen.order.len() > IDS_MAX
            && let Some(oldest) = seen.order.pop_front()
        {
            seen.ids.remove(&oldest);
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let secret = std::env::var("DOORBELL_SECRET").map_err(|_| "DOORBELL_SECRET is not set")?;
    let keys = vec![VerifyingKey::parse(&Secret::new(secret))?];
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8787").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let handle = |event: &Value| {
        println!("{} {}", event["type"], event["data"]["subject"]);
        Ok(())
    };
    axum::serve(listener, receiver(keys, Box::new(handle))).await?;
    Ok(())
}
