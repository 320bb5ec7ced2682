//! One webhook for a person who wants to know what an endpoint says to it.
//!
//! The same client, guard, rendering and signatures as ever; nothing is kept, counted or tried
//! again.

use std::sync::Arc;
use std::time::Instant;

use crate::client::Resolver;
use crate::clock::Clock;
use crate::config::Endpoint;
use crate::event::Event;

use super::attempt;
use super::worker::Clients;

/// What an endpoint said to a webhook that somebody tried.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Tried {
    /// `webhook-id`.
    pub id: String,
    /// The event's type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The answer's status; absent: there was none.
    pub status: Option<u16>,
    /// Why it failed, as a class (`timeout`, `connect`, `status`, …); absent: it was accepted.
    pub error: Option<&'static str>,
    /// The first 1 KiB of an answer that is no acceptance, or why nothing could be sent.
    pub answer: Option<Box<str>>,
    /// How long it took.
    pub duration_ms: u64,
}

/// Sends `event` to `endpoint`, once.
///
/// Must be called inside a tokio runtime, after [`crate::client::install_crypto_provider`].
///
/// # Errors
/// A text when no client can be built.
pub async fn try_endpoint(
    endpoint: &Arc<Endpoint>,
    event: &Event,
    resolver: Resolver,
    clock: &Clock,
) -> Result<Tried, String> {
    let clients = Clients::new(resolver)?;
    Ok(send(endpoint, event, &clients, clock).await)
}

pub(super) async fn send(
    endpoint: &Arc<Endpoint>,
    event: &Event,
    clients: &Clients,
    clock: &Clock,
) -> Tried {
    let began = Instant::now();
    let (client, rendering) = (clients.of(endpoint), &endpoint.rendering);
    let now = clock.now();
    let (_, answer) = attempt::ask_and_post(&client, endpoint, rendering, event, now).await;
    Tried {
        id: event.id.to_string(),
        event_type: event.event_type(),
        status: answer.status,
        error: answer.error,
        answer: answer.body,
        duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}
