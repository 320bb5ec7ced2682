//! `GET /events/stream`: the feed as server-sent events (WHATWG HTML, "Server-sent events").
//!
//! Decides where a stream begins and when it ends. An event's id is its `webhook-id`: a client that
//! comes back with `Last-Event-ID` goes on behind it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::answers::{Answer, EventsQuery, event_json};
use super::{Parts, Problem};
use crate::event::{Event, EventId, ORDINAL_MAX};
use crate::shutdown::Phase;
use crate::store::{Cursor, EventQuery, Position, StoreError};

/// Most streams at once: each may hold a page of the feed, which is at most some 8 MiB.
pub(super) const STREAMS_MAX: usize = 16;

/// Events that are read at once.
const PAGE: usize = 100;

/// How often a client hears that the stream still stands.
const ALIVE: Duration = Duration::from_secs(15);

/// Where one client's stream stands.
struct Feed {
    parts: Parts,
    query: EventQuery,
    waiting: VecDeque<Event>,
    news: watch::Receiver<Position>,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn stream(
    State(parts): State<Parts>,
    headers: HeaderMap,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let mut query = query.checked()?;
    query.limit = query.limit.min(PAGE);
    let place = std::sync::Arc::clone(&parts.streams).try_acquire_owned();
    let place = place.map_err(|_| {
        let told = format!("{STREAMS_MAX} streams are open, which is the most there may be");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, told)
    })?;
    // Taken before the first read: what is committed after that wakes the stream.
    let mut news = parts.store.position();
    let newest = *news.borrow_and_update();
    query.after = match headers.get("last-event-id") {
        Some(id) => {
            let id = id.to_str().ok().and_then(|id| id.parse::<EventId>().ok());
            let unknown = || Problem::bad_request("`Last-Event-ID` is the id of an event");
            let cursor = parts.store.cursor(id.ok_or_else(unknown)?).await?;
            Some(cursor)
        }
        None => query.after.or(Some(Cursor {
            position: newest,
            ordinal: i64::from(ORDINAL_MAX),
        })),
    };
    // The first page is read now, so that a cursor that is too old is answered with 410.
    let page = parts.store.events(query.clone()).await?;
    query.after = Some(page.next);
    let feed = Feed {
        parts,
        query,
        waiting: page.events.into(),
        news,
        _place: place,
    };
    let sent = stream::unfold(feed, |mut feed| async {
        let event = feed.next().await?;
        Some((Ok::<_, Infallible>(event), feed))
    });
    let alive = KeepAlive::new().interval(ALIVE);
    Ok(Sse::new(sent).keep_alive(alive).into_response())
}

impl Feed {
    /// The next event; `None` when doorbell drains, or when retention overtook the client, who
    /// learns that when it comes back.
    async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(sent(&event));
            }
            let page = match self.parts.store.events(self.query.clone()).await {
                Ok(page) => page,
                Err(StoreError::Gone(_)) => return None,
                Err(error) => {
                    tracing::error!(%error, "a stream of events ends");
                    return None;
                }
            };
            self.query.after = Some(page.next);
            self.waiting = page.events.into();
            if self.waiting.is_empty() {
                tokio::select! {
                    moved = self.news.changed() => moved.ok()?,
                    () = self.parts.shutdown.reached(Phase::Draining) => return None,
                }
            }
        }
    }
}

fn sent(event: &Event) -> Sent {
    let id = event.id.to_string();
    // Line ends of a body as it was received divide it into lines, which clients join again.
    let data = event_json(event).replace('\r', " ");
    Sent::default().id(id).event(event.event_type()).data(data)
}
