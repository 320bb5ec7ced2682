//! The demo's upstream: a small ticket API that can only be polled.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing::get};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Tickets on the desk at once; the oldest are closed and taken away first.
const TICKETS_MAX: usize = 8;

/// The desk's tickets. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Tickets(Arc<Mutex<Desk>>);

#[derive(Debug)]
struct Desk {
    tickets: Vec<Value>,
    next_id: u64,
    changes: u64,
    views: u64,
}

/// Serves `GET /tickets` with an `ETag`, in the background.
pub(super) fn serve(listener: TcpListener) -> std::io::Result<(SocketAddr, Tickets)> {
    let address = listener.local_addr()?;
    let first = (1..=3).map(|id| ticket(id, "open")).collect();
    let desk = Desk {
        tickets: first,
        next_id: 4,
        changes: 0,
        views: 0,
    };
    let tickets = Tickets(Arc::new(Mutex::new(desk)));
    let router = Router::new()
        .route("/tickets", get(list))
        .with_state(tickets.clone());
    tokio::spawn(async move {
        // Serving ends with the process; accept errors are axum's to retry.
        let _ = axum::serve(listener, router).await;
    });
    Ok((address, tickets))
}

impl Tickets {
    /// One change: a ticket comes, moves on, or goes, in turn.
    pub(super) fn change(&self) {
        let mut desk = self.0.lock();
        desk.changes += 1;
        let full = desk.tickets.len() >= TICKETS_MAX;
        match desk.changes % 4 {
            0 if desk.tickets.len() > 2 => drop(desk.tickets.remove(0)),
            1 if !full => {
                let id = desk.next_id;
                desk.next_id += 1;
                desk.tickets.push(ticket(id, "open"));
            }
            turn => {
                let at = fastrand::usize(..desk.tickets.len());
                let state = &mut desk.tickets[at]["state"];
                let moved = match state.as_str() {
                    Some("open") => "in progress",
                    Some("in progress") if turn == 2 => "waiting",
                    Some("in progress" | "waiting") => "closed",
                    _ => "open",
                };
                *state = moved.into();
            }
        }
    }

    /// Changes made so far.
    pub(super) fn changes(&self) -> u64 {
        self.0.lock().changes
    }
}

async fn list(State(tickets): State<Tickets>, headers: HeaderMap) -> Response {
    let mut desk = tickets.0.lock();
    let etag = format!("\"{}\"", desk.changes);
    let known = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|value| *value == *etag);
    if known {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
    }
    // Differs on every look, and is ignored by the demo's source: it never rings.
    desk.views += 1;
    let viewed = desk.views;
    let tickets: Vec<Value> = desk
        .tickets
        .iter()
        .map(|ticket| {
            let mut ticket = ticket.clone();
            ticket["viewed"] = viewed.into();
            ticket
        })
        .collect();
    ([(header::ETAG, etag)], Json(json!({ "tickets": tickets }))).into_response()
}

fn ticket(id: u64, state: &str) -> Value {
    const TITLES: [&str; 6] = [
        "printer prints only on Tuesdays",
        "doorbell rings twice",
        "login page in Klingon",
        "coffee machine returns 418",
        "invoice from the year 1900",
        "dark mode too dark",
    ];
    let title = TITLES[usize::try_from(id).unwrap_or_default() % TITLES.len()];
    json!({ "id": id, "title": title, "state": state })
}
