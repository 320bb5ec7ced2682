//! What sources and callers share: the last answer to a source's request, and what is learnt from
//! callers who make the same request or write where a source looks.
//!
//! Decides which request is the same, how long an answer serves, and that whoever wrote never reads
//! what was there before. The poller says what its sources ask for and brings the answers; the proxy
//! asks here before it asks the upstream.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, IF_NONE_MATCH,
    USER_AGENT, VARY, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Body;
use crate::config::{OnWrite, Serve};
use crate::digest::RawDigest;
use crate::metrics::SharedSeries;
use crate::name::Name;

/// Headers that say nothing about what is asked for, or by whom. Others that begin with
/// `x-forwarded-` may: proxies in front tell users and groups so.
const NEUTRAL: [HeaderName; 18] = [
    ACCEPT,
    ACCEPT_ENCODING,
    CONNECTION,
    FORWARDED,
    HOST,
    IF_NONE_MATCH,
    USER_AGENT,
    VIA,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("authorization"),
];

/// A source's request, and what callers have of it.
#[derive(Debug)]
pub struct Shared {
    /// The source.
    pub source: Name,
    /// Path and query of its request, as they are sent, without credential.
    pub target: Box<str>,
    /// Path of its request below the upstream's URL.
    pub path: Box<str>,
    /// What it accepts.
    pub accept: HeaderValue,
    /// Its headers beside the upstream's.
    pub headers: HeaderMap,
    /// Largest answer, in bytes.
    pub body_bytes_max: usize,
    /// Which writes poll it.
    pub on_write: Option<OnWrite>,
    /// Whether callers' reads count as polls.
    pub observe: bool,
    /// How long its last answer serves callers.
    pub serve: Option<Serve>,
    /// What is counted.
    pub series: SharedSeries,
    /// Its last answer.
    pub shelf: Arc<Shelf>,
}

/// Where a source's last answer lies. It outlives a change of the configuration.
#[derive(Debug, Default)]
pub struct Shelf(Mutex<OnShelf>, AtomicBool);

/// Leave to look on as one caller is answered, until it is dropped. One at a time: an answer is in
/// memory as long as it is looked at, and of several that overlap one counts.
#[derive(Debug)]
pub struct Looking(Arc<Shelf>);

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.1.store(false, Ordering::Release);
    }
}

#[derive(Debug, Default)]
struct OnShelf {
    kept: Option<Arc<Kept>>,
    /// Writes that may change it and are on their way.
    writing: usize,
    /// When the last of them ended.
    wrote_at: Option<Instant>,
}

/// An answer that was believed.
#[derive(Debug)]
pub struct Kept {
    /// 200 or 203.
    pub status: StatusCode,
    /// The body, decompressed.
    pub body: Bytes,
    /// `Content-Type`, as it came.
    pub content_type: Option<HeaderValue>,
    /// The upstream's, or one made of the body's digest.
    pub etag: HeaderValue,
    /// The upstream's.
    pub last_modified: Option<HeaderValue>,
    /// The upstream's.
    pub vary: Vec<HeaderValue>,
    /// When the request for it was sent; later where a 304 said that it still holds.
    sent_at: Instant,
}

/// What there is for a caller.
#[derive(Debug, Clone)]
pub enum Found {
    /// An answer that is fresh, and its age.
    Fresh(Arc<Kept>, Duration),
    /// One that is better than an error, and its age.
    Stale(Arc<Kept>, Duration),
    /// Nothing.
    Nothing,
}

/// Writes on their way to where sources look; over when dropped.
#[derive(Debug)]
pub struct Writing(Vec<Arc<Shelf>>);

/// A caller's answer that counts as a poll's.
#[derive(Debug)]
pub struct Observed {
    /// When its request was sent.
    pub sent_at: Instant,
    /// When it was whole.
    pub ended_at: Instant,
    /// The id of the caller's request.
    pub request_id: Arc<str>,
    /// What came.
    pub body: Box<Body>,
}

/// What callers did that sources want to hear of. However much it is, there is one of each for each
/// source.
#[derive(Debug, Default)]
pub struct Heard {
    /// The id of the last write, by source.
    pub writes: BTreeMap<Name, Arc<str>>,
    /// The last read.
    pub reads: BTreeMap<Name, Observed>,
}

/// All that an upstream's sources share.
#[derive(Debug, Default)]
pub(super) struct Shares {
    all: Vec<Arc<Shared>>,
    by_target: HashMap<Box<str>, Vec<Arc<Shared>>>,
}

/// Where callers' doings wait to be heard of.
#[derive(Debug, Default)]
pub(super) struct Hearsay {
    heard: Mutex<Heard>,
    wake: Notify,
}

impl Shares {
    pub(super) fn new(shared: Vec<Shared>) -> Self {
        let all: Vec<Arc<Shared>> = shared.into_iter().map(Arc::new).collect();
        let mut by_target: HashMap<Box<str>, Vec<Arc<Shared>>> = HashMap::new();
        for shared in all.iter().filter(|shared| shared.is_read()) {
            let same = by_target.entry(shared.target.clone()).or_default();
            same.push(Arc::clone(shared));
        }
        Self { all, by_target }
    }

    /// Those whose request has this target.
    pub(super) fn at(&self, target: &str) -> Vec<Arc<Shared>> {
        self.by_target.get(target).cloned().unwrap_or_default()
    }

    /// Those whom a write to this path, below the upstream's URL, concerns.
    pub(super) fn written(&self, path: &str) -> Vec<Arc<Shared>> {
        let concerned = |shared: &&Arc<Shared>| &*shared.path == path || shared.hears(path);
        self.all.iter().filter(concerned).cloned().collect()
    }
}

impl Hearsay {
    pub(super) fn write(&self, source: &Name, request_id: &Arc<str>) {
        let mut heard = self.heard.lock();
        heard.writes.insert(source.clone(), Arc::clone(request_id));
        drop(heard);
        self.wake.notify_one();
    }

    pub(super) fn read(&self, source: &Name, observed: Observed) {
        self.heard.lock().reads.insert(source.clone(), observed);
        self.wake.notify_one();
    }

    /// Waits until there is something to hear.
    pub(super) async fn heard(&self) -> Heard {
        loop {
            let heard = std::mem::take(&mut *self.heard.lock());
            if !heard.writes.is_empty() || !heard.reads.is_empty() {
                return heard;
            }
            self.wake.notified().await;
        }
    }
}

impl Shared {
    /// Whether callers' reads concern it.
    fn is_read(&self) -> bool {
        self.observe || self.serve.is_some()
    }

    /// Whether a write to this path polls it.
    #[must_use]
    pub fn hears(&self, path: &str) -> bool {
        self.on_write
            .as_ref()
            .is_some_and(|rules| rules.hears(path))
    }

    /// Whether a GET of its target with these headers, and no credential of the caller's own, is its
    /// request. `Authorization` is none where it is a key of the route.
    #[must_use]
    pub fn is_same(&self, headers: &HeaderMap) -> bool {
        let takes_any = |accept: &HeaderValue| accept == "*/*" || *accept == self.accept;
        if !headers.get_all(ACCEPT).iter().all(takes_any) {
            return false;
        }
        let has_body = headers
            .get(CONTENT_LENGTH)
            .is_some_and(|length| length != "0");
        let others = headers
            .keys()
            .filter(|name| !NEUTRAL.contains(name) && **name != CONTENT_LENGTH);
        let values = |headers: &HeaderMap, name: &HeaderName| -> Vec<HeaderValue> {
            headers.get_all(name).iter().cloned().collect()
        };
        let mut count = 0;
        for name in others {
            count += 1;
            if values(headers, name) != values(&self.headers, name) {
                return false;
            }
        }
        let own = self.headers.keys().filter(|name| **name != ACCEPT);
        !has_body && count == own.count()
    }

    /// Whether `answer` may serve a request with these headers, as far as its `Vary` goes (RFC 9111
    /// section 4.1). What we send of these headers is always the same, so whoever sends another one
    /// is served by the upstream.
    #[must_use]
    pub fn may_serve(&self, answer: &Kept, headers: &HeaderMap) -> bool {
        let lists = answer
            .vary
            .iter()
            .map(|value| value.to_str().unwrap_or("*"));
        let mut names = lists.flat_map(|list| list.split(',')).map(str::trim);
        names.all(|name| {
            // The body is kept as it is without an encoding, which everybody reads.
            let is_met =
                name.eq_ignore_ascii_case("accept-encoding") || name.eq_ignore_ascii_case("accept");
            is_met || (name != "*" && !headers.contains_key(name))
        })
    }

    /// What there is for a caller now.
    #[must_use]
    pub fn find(&self, now: Instant) -> Found {
        let Some(serve) = self.serve else {
            return Found::Nothing;
        };
        let lying = self.shelf.0.lock();
        let Some(kept) = lying.kept.as_ref().filter(|_| lying.writing == 0) else {
            return Found::Nothing;
        };
        if lying.wrote_at.is_some_and(|wrote| kept.sent_at <= wrote) {
            return Found::Nothing;
        }
        let age = now.saturating_duration_since(kept.sent_at);
        if age <= serve.max_age {
            Found::Fresh(Arc::clone(kept), age)
        } else if age <= serve.max_age + serve.stale_if_error {
            Found::Stale(Arc::clone(kept), age)
        } else {
            Found::Nothing
        }
    }
}

impl Shelf {
    /// A poll has committed what this answer brought.
    pub fn keep(&self, kept: Kept) {
        let mut lying = self.0.lock();
        let is_newer = |known: &Arc<Kept>| known.sent_at <= kept.sent_at;
        if lying.kept.as_ref().is_none_or(is_newer) {
            lying.kept = Some(Arc::new(kept));
        }
    }

    /// A request sent then was answered by 304.
    pub fn still(&self, sent_at: Instant) {
        let mut lying = self.0.lock();
        if let Some(kept) = lying.kept.take() {
            let sent_at = sent_at.max(kept.sent_at);
            lying.kept = Some(Arc::new(Kept {
                sent_at,
                body: kept.body.clone(),
                content_type: kept.content_type.clone(),
                etag: kept.etag.clone(),
                last_modified: kept.last_modified.clone(),
                vary: kept.vary.clone(),
                status: kept.status,
            }));
        }
    }

    /// Leave to look on as a caller is answered; `None` while another one is.
    #[must_use]
    pub fn look_on(self: &Arc<Self>) -> Option<Looking> {
        let is_taken = self.1.swap(true, Ordering::AcqRel);
        (!is_taken).then(|| Looking(Arc::clone(self)))
    }

    /// Whether there is an answer.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.0.lock().kept.is_some()
    }
}

impl Writing {
    /// A write begins that concerns these.
    #[must_use]
    pub fn to(shared: &[Arc<Shared>]) -> Self {
        let shelves: Vec<_> = shared.iter().map(|s| Arc::clone(&s.shelf)).collect();
        for place in &shelves {
            place.0.lock().writing += 1;
        }
        Self(shelves)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        for place in &self.0 {
            let mut lying = place.0.lock();
            lying.writing -= 1;
            lying.wrote_at = Some(Instant::now());
        }
    }
}

impl Kept {
    /// The answer to a request that was sent then.
    #[must_use]
    pub fn of(body: &Body, sent_at: Instant) -> Self {
        let header = |name| body.headers.get(name).cloned();
        let etag = header(http::header::ETAG).unwrap_or_else(|| synthesised(&body.raw));
        Self {
            status: StatusCode::from_u16(body.status).unwrap_or(StatusCode::OK),
            body: body.bytes.clone(),
            content_type: header(http::header::CONTENT_TYPE),
            etag,
            last_modified: header(http::header::LAST_MODIFIED),
            vary: body.headers.get_all(VARY).iter().cloned().collect(),
            sent_at,
        }
    }

    /// Whether `If-None-Match` names it (RFC 9110 section 13.1.2: compared weakly).
    #[must_use]
    pub fn is_known_to(&self, headers: &HeaderMap) -> bool {
        let opaque = |etag: &str| etag.trim().trim_start_matches("W/").to_owned();
        let Ok(own) = self.etag.to_str().map(opaque) else {
            return false;
        };
        let lists = headers.get_all(IF_NONE_MATCH).iter();
        let mut known = lists.filter_map(|list| list.to_str().ok());
        known.any(|list| list.trim() == "*" || etags(list).any(|etag| opaque(etag) == own))
    }
}

/// The entity tags of a list; a comma inside quotes parts none.
fn etags(list: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    list.split(move |c| {
        is_quoted ^= c == '"';
        c == ',' && !is_quoted
    })
}

/// An entity tag for a body without one: equal bodies have equal ones.
fn synthesised(raw: &RawDigest) -> HeaderValue {
    use std::fmt::Write as _;
    let mut etag = String::from("\"");
    for byte in raw.as_bytes().iter().take(16) {
        let _ = write!(etag, "{byte:02x}");
    }
    etag.push('"');
    HeaderValue::try_from(etag).expect("hexadecimal digits in quotes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_at_a_time_is_looked_at() {
        let shelf = Arc::<Shelf>::default();
        let first = shelf.look_on();
        assert!(first.is_some() && shelf.look_on().is_none());
        drop(first);
        assert!(shelf.look_on().is_some());
    }
}
