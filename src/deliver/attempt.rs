//! One POST of one event to one endpoint, and what came of it.
//!
//! Decides headers, what of an answer is read, and the class of a failure. What the event looks like
//! is its endpoint's [`crate::event::Rendering`]'s question, what follows [`super::verdict`]'s.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method};

use crate::client::{self, PrivateAddress};
use crate::config::Endpoint;
use crate::event::{Event, RenderError, Rendered, Rendering};
use crate::signature::{self, GITHUB_HEADER};
use crate::store::UNWRITTEN;
use crate::time::Timestamp;

use super::handshake::{self, Consent, REQUEST_ORIGIN};
use super::verdict::{Answer, retry_after};

/// How much of an answer is kept.
const ANSWER_BYTES_MAX: usize = 1024;
/// How much of an accepted answer is read, so that its connection can be used again. A longer one
/// costs more to read than a new connection.
const DRAIN_BYTES_MAX: usize = 16 * 1024;
/// How long that may take: the webhook is accepted already, and its slot is wanted.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Largest event that is made into a tree on the thread of all endpoints; it takes about 1 ms.
const TREE_INLINE_BYTES: usize = 64 * 1024;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const X_HUB_SIGNATURE_256: HeaderName = HeaderName::from_static(GITHUB_HEADER);

/// Posts `event` at `now`. Never fails: a failure is an answer too.
pub(super) async fn post(
    client: &reqwest::Client,
    endpoint: &Endpoint,
    rendering: &Arc<Rendering>,
    event: &Event,
    now: Timestamp,
) -> Answer {
    let rendered = match render(rendering, event).await {
        Ok(rendered) => rendered,
        Err(error) => return unrendered(&error),
    };
    let Some(request) = request(endpoint, event, rendered, now) else {
        return failure("request");
    };
    match exchange(client, endpoint, request).await {
        Ok(response) => read(response, now).await,
        Err(failure) => failure,
    }
}

/// As [`post`], after the endpoint has agreed to be rung; its agreement.
pub(super) async fn ask_and_post(
    client: &reqwest::Client,
    endpoint: &Endpoint,
    rendering: &Arc<Rendering>,
    event: &Event,
    now: Timestamp,
) -> (Option<Consent>, Answer) {
    let consent = match &endpoint.handshake {
        None => None,
        Some(origin) => match handshake::ask(client, endpoint, origin, now).await {
            Ok(consent) => Some(consent),
            Err(answer) => return (None, answer),
        },
    };
    let answer = post(client, endpoint, rendering, event, now).await;
    (consent, answer)
}

/// Sends `request` where the endpoint may be; `client` guards names, this literal addresses.
pub(super) async fn exchange(
    client: &reqwest::Client,
    endpoint: &Endpoint,
    request: reqwest::Request,
) -> Result<reqwest::Response, Answer> {
    let within = client::literal_within(request.url(), &endpoint.allow_networks);
    if !endpoint.allow_private && within.is_err() {
        return Err(failure(PRIVATE_ADDRESS));
    }
    let response = client.execute(request).await;
    response.map_err(|error| failure(class(&error)))
}

const PRIVATE_ADDRESS: &str = "private_address";

fn failure(error: &'static str) -> Answer {
    Answer {
        error: Some(error),
        ..Answer::default()
    }
}

/// Whether the endpoint takes `event`, by what stands in it.
pub(super) async fn is_taken(endpoint: &Arc<Endpoint>, event: &Event) -> bool {
    if endpoint.filter.is_none() {
        return true;
    }
    let takes = |endpoint: &Endpoint, event: &Event| {
        let filter = endpoint.filter.as_ref();
        filter.is_none_or(|filter| filter.takes(event))
    };
    aside(endpoint, event, takes).await.unwrap_or(true)
}

pub(super) async fn render(
    rendering: &Arc<Rendering>,
    event: &Event,
) -> Result<Rendered, RenderError> {
    if rendering.is_cheap() {
        return rendering.render(event);
    }
    let rendered = aside(rendering, event, Rendering::render).await;
    rendered.unwrap_or(Err(RenderError::Content))
}

/// Does what makes a tree of `event`; of a large one where it holds nobody up. `None` only when
/// the process is about to end.
async fn aside<S: Send + Sync + 'static, T: Send + 'static>(
    settings: &Arc<S>,
    event: &Event,
    work: impl FnOnce(&S, &Event) -> T + Send + 'static,
) -> Option<T> {
    if event.content.len() <= TREE_INLINE_BYTES {
        return Some(work(settings, event));
    }
    let (settings, event) = (Arc::clone(settings), event.clone());
    let working = tokio::task::spawn_blocking(move || work(&settings, &event));
    working.await.ok()
}

/// A webhook that cannot be written is a failed attempt, whose answer tells why.
fn unrendered(error: &RenderError) -> Answer {
    let mut told = error.to_string();
    told.truncate(told.floor_char_boundary(ANSWER_BYTES_MAX));
    Answer {
        body: Some(told.into()),
        ..failure(UNWRITTEN)
    }
}

/// The request, or `None` when a header value cannot be written, which ids, numbers and base64
/// always can.
fn request(
    endpoint: &Endpoint,
    event: &Event,
    rendered: Rendered,
    now: Timestamp,
) -> Option<reqwest::Request> {
    let (body, id) = (rendered.body, event.id.to_string());
    let signed_at = now.as_seconds();
    let retiring = endpoint.retiring.iter().filter(|old| old.until > now);
    let keys = endpoint.secrets.iter().chain(retiring.map(|old| &old.key));
    let signature = signature::sign(keys, &id, signed_at, body.as_bytes());
    let mut request = reqwest::Request::new(Method::POST, endpoint.url.clone());
    *request.timeout_mut() = Some(endpoint.timeout);
    // The endpoint's own headers come first: they never replace those that receivers verify.
    let headers = request.headers_mut();
    headers.clone_from(&endpoint.headers);
    headers.extend(rendered.headers);
    headers.insert(CONTENT_TYPE, rendered.content_type);
    if let Some(origin) = &endpoint.handshake {
        headers.insert(REQUEST_ORIGIN, origin.clone());
    }
    headers.insert(WEBHOOK_ID, HeaderValue::try_from(id).ok()?);
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(signed_at));
    headers.insert(WEBHOOK_SIGNATURE, HeaderValue::try_from(signature).ok()?);
    if let Some(github) = &endpoint.github {
        let signature = HeaderValue::try_from(github.sign(body.as_bytes())).ok()?;
        headers.insert(X_HUB_SIGNATURE_256, signature);
    }
    *request.body_mut() = Some(body.into());
    Some(request)
}

async fn read(mut response: reqwest::Response, now: Timestamp) -> Answer {
    let status = response.status();
    if status.is_success() {
        let drained = beginning(&mut response, DRAIN_BYTES_MAX);
        let drained = tokio::time::timeout(DRAIN_TIMEOUT, drained).await;
        let mut body = drained.unwrap_or_default();
        body.truncate(ANSWER_BYTES_MAX);
        return Answer {
            status: Some(status.as_u16()),
            body: (!body.is_empty()).then(|| String::from_utf8_lossy(&body).into()),
            ..Answer::default()
        };
    }
    read_failed(response, now).await
}

/// What a failed answer says, whatever its status.
pub(super) async fn read_failed(mut response: reqwest::Response, now: Timestamp) -> Answer {
    let status = response.status();
    let asked = response.headers().get(RETRY_AFTER);
    let retry_after = asked.and_then(|value| retry_after(value, now));
    let body = beginning(&mut response, ANSWER_BYTES_MAX).await;
    Answer {
        status: Some(status.as_u16()),
        error: Some("status"),
        body: Some(String::from_utf8_lossy(&body).into()),
        retry_after,
    }
}

/// The first `limit` bytes of a body, or what came before it broke off. The request's timeout
/// bounds the time.
async fn beginning(response: &mut reqwest::Response, limit: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = limit - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            break;
        }
    }
    body
}

/// The class of an exchange without an answer.
fn class(error: &reqwest::Error) -> &'static str {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.is::<PrivateAddress>() {
            return PRIVATE_ADDRESS;
        }
        cause = inner.source();
    }
    if error.is_timeout() {
        "timeout"
    } else if error.is_connect() {
        "connect"
    } else {
        "exchange"
    }
}
