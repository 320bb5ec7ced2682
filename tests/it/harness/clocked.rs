//! An API whose items say when they changed, by a clock that the test sets, and that lists what
//! changed since.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::Server;

/// How the upstream compares `since` with an item's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparing {
    /// Items of that time are listed.
    Inclusive,
    /// They are not.
    Exclusive,
}

/// What a clock shows: it counts seconds, and items carry what it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Showing {
    /// RFC 3339 with milliseconds.
    Millis,
    /// RFC 3339 with seconds.
    Seconds,
    /// RFC 3339 whose seconds are always 00.
    Minutes,
    /// Seconds since the epoch, as a number.
    Epoch,
    /// A date and a time without zone.
    Plain,
}

/// Lists items changed since, in order of their times, in pages of 3 with an opaque cursor.
pub(crate) struct Clocked {
    server: Server,
    state: Arc<Shared>,
}

struct Shared {
    showing: Showing,
    comparing: Comparing,
    /// Milliseconds since the epoch.
    now: Mutex<i64>,
    /// In order of their times.
    items: Mutex<Vec<(i64, Value)>>,
    /// Every `since` that was asked for.
    asked: Mutex<Vec<Option<String>>>,
    /// How many times more the oldest item listed is written anew before a page that is no first.
    moves: Mutex<usize>,
}

const PAGE: usize = 3;

/// 2026-01-05T10:00:00Z.
const BEGIN: i64 = 1_767_607_200_000;

impl Clocked {
    pub(crate) async fn showing(showing: Showing, comparing: Comparing) -> Self {
        let state = Arc::new(Shared {
            showing,
            comparing,
            now: Mutex::new(BEGIN),
            items: Mutex::default(),
            asked: Mutex::default(),
            moves: Mutex::default(),
        });
        let router = Router::new().fallback(list).with_state(Arc::clone(&state));
        Self {
            server: Server::serving(router).await,
            state,
        }
    }

    /// Lets so much time pass.
    pub(crate) fn pass(&self, millis: i64) {
        *self.state.now.lock() += millis;
    }

    /// Writes an item now.
    pub(crate) fn write(&self, id: u64, words: u64) {
        let now = *self.state.now.lock();
        self.write_late(id, words, now);
    }

    /// An item that was written so long ago appears now.
    pub(crate) fn appears(&self, id: u64, words: u64, millis_ago: i64) {
        let now = *self.state.now.lock();
        self.write_late(id, words, now - millis_ago);
    }

    fn write_late(&self, id: u64, words: u64, at: i64) {
        self.state
            .write(&mut self.state.items.lock(), (id, words), at);
    }

    /// While pages are read, so many times the oldest item of a listing is written anew, which
    /// moves it behind all others.
    pub(crate) fn moves_while_read(&self, times: usize) {
        *self.state.moves.lock() = times;
    }

    /// All items.
    pub(crate) fn items(&self) -> Vec<Value> {
        let items = self.state.items.lock();
        items.iter().map(|(_, item)| item.clone()).collect()
    }

    /// Every `since` that was asked for, page by page.
    pub(crate) fn asked(&self) -> Vec<Option<String>> {
        self.state.asked.lock().clone()
    }
}

impl fmt::Display for Clocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.server.url)
    }
}

impl Shared {
    fn write(&self, items: &mut Vec<(i64, Value)>, (id, words): (u64, u64), at: i64) {
        items.retain(|(_, item)| item["id"] != id);
        let shown = self.shown(at);
        items.push((at, json!({"id": id, "words": words, "updated_at": shown})));
        items.sort_by_key(|(at, item)| (*at, item["id"].as_u64()));
    }

    fn shown(&self, at: i64) -> Value {
        let time = chrono::DateTime::from_timestamp_millis(at).expect("a time");
        match self.showing {
            Showing::Millis => time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string().into(),
            Showing::Seconds => time.format("%Y-%m-%dT%H:%M:%SZ").to_string().into(),
            Showing::Minutes => time.format("%Y-%m-%dT%H:%M:00Z").to_string().into(),
            Showing::Plain => time.format("%Y-%m-%d %H:%M:%S").to_string().into(),
            Showing::Epoch => (at / 1000).into(),
        }
    }

    /// Whether an item that shows `shown` is listed since `since`; in this clock's spelling, both
    /// order as texts.
    fn is_listed(&self, shown: &Value, since: &str) -> bool {
        let text = |value: &Value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        };
        match self.comparing {
            Comparing::Inclusive => *text(shown) >= *since,
            Comparing::Exclusive => *text(shown) > *since,
        }
    }
}

async fn list(State(state): State<Arc<Shared>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let text = |name: &str| {
        let pair = pairs.iter().find(|(known, _)| known == name);
        pair.map(|(_, value)| value.clone())
    };
    let since = text("since");
    state.asked.lock().push(since.clone());
    let mut items = state.items.lock();
    let mut moves = state.moves.lock();
    if text("page").is_some() && *moves > 0 {
        *moves -= 1;
        let mut now = state.now.lock();
        *now += 60_000;
        let oldest = items[0].1["id"].as_u64().expect("an id");
        state.write(&mut items, (oldest, now.unsigned_abs()), *now);
    }
    let listed = |(_, item): &&(i64, Value)| {
        since
            .as_deref()
            .is_none_or(|since| state.is_listed(&item["updated_at"], since))
    };
    let listed: Vec<&Value> = items.iter().filter(listed).map(|(_, item)| item).collect();
    let from: usize = text("page").and_then(|page| page.parse().ok()).unwrap_or(0);
    let rows: Vec<&Value> = listed.iter().skip(from).take(PAGE).copied().collect();
    let next = from + rows.len();
    let next = (next < listed.len()).then(|| next.to_string());
    let body = json!({"data": rows, "next": next});
    Response::builder()
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .expect("a response")
}
