//! What a call shares with the sources of its upstream: it may be answered from a source's last
//! answer, count as its poll, or bring one about.
//!
//! Decides when a call concerns a source at all, and how an answer from the shelf looks. Which
//! request is a source's own, and how long its answer holds, [`crate::upstream`] knows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, IF_NONE_MATCH, LAST_MODIFIED, TRANSFER_ENCODING, UPGRADE, VARY,
};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};

use super::call::{Call, parts};
use super::forward;
use super::target;
use crate::metrics::SharedSeries;
use crate::upstream::{Found, Kept, Looking, Observed, Writing};

/// `Cache-Status` (RFC 9211).
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// Names the sources that a write will poll.
const WATCH: HeaderName = HeaderName::from_static("doorbell-watch");

/// An answer that counts as a poll, as far as it came.
pub(super) struct Observing {
    sent_at: Instant,
    head: Option<ResponseHeader>,
    body: BytesMut,
    /// Held as long as the body is.
    _looking: Looking,
}

/// An answer from the shelf.
pub(super) struct Shelved {
    kept: Arc<Kept>,
    age: Duration,
    /// How long it is fresh; negative where it is no more.
    ttl: i64,
    is_known: bool,
    is_fresh: bool,
    series: SharedSeries,
}

impl Call {
    /// Finds the sources that this request concerns.
    pub(super) fn relate(&mut self, request: &RequestHeader) {
        let parts = parts(request);
        let upstream = Arc::clone(&self.route.upstream);
        let auth = upstream.config().auth.as_ref();
        self.is_own = forward::brings_credential(&request.headers, parts.query, auth, self.entry);
        let target = target::rewrite(&parts, self.route.rules(), None);
        let Ok(target) = String::from_utf8(target) else {
            return;
        };
        if request.method == Method::GET {
            let is_plain = !self.is_own
                && !request.headers.contains_key(TRANSFER_ENCODING)
                && !request.headers.contains_key(UPGRADE);
            if is_plain {
                self.shared = upstream.shared(&target);
                self.shared
                    .retain(|shared| shared.is_same(&request.headers));
            }
        } else if !is_safe(&request.method) {
            let path = target.split('?').next().unwrap_or_default();
            let path = target::as_read(path.as_bytes());
            let path = String::from_utf8_lossy(&path);
            let path = path
                .strip_prefix(&*self.route.ways[0].base)
                .unwrap_or(&path);
            self.shared = upstream.concerned(path);
        }
        self.target = target;
    }

    /// The answer that a source has for this call: one that is fresh, or with `anything` one that
    /// is better than an error.
    pub(super) fn shelved(&self, request: &RequestHeader, anything: bool) -> Option<Shelved> {
        if request.method != Method::GET {
            return None;
        }
        let serving = self.shared.iter().find(|shared| shared.serve.is_some())?;
        let serve = serving.serve?;
        let (kept, age, is_fresh) = match serving.find(Instant::now()) {
            Found::Fresh(kept, age) => (kept, age, true),
            Found::Stale(kept, age) if anything => (kept, age, false),
            Found::Stale(..) | Found::Nothing => return None,
        };
        if !serving.may_serve(&kept, &request.headers) {
            return None;
        }
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        Some(Shelved {
            is_known: kept.is_known_to(&request.headers),
            ttl: seconds(serve.max_age) - seconds(age),
            series: serving.series.clone(),
            is_fresh,
            age,
            kept,
        })
    }

    /// It goes to the upstream although a source has asked for the same.
    pub(super) fn missed(&self, request: &RequestHeader) {
        if request.method == Method::GET
            && let Some(serving) = self.shared.iter().find(|shared| shared.serve.is_some())
        {
            serving.series.missed();
        }
    }

    /// It is about to be sent to the upstream as `upstream`.
    pub(super) fn departs(
        &mut self,
        request: &RequestHeader,
        upstream: &mut RequestHeader,
    ) -> Result<()> {
        if request.method != Method::GET {
            if !self.shared.is_empty() && self.writing.is_none() {
                self.writing = Some(Writing::to(&self.shared));
            }
            return Ok(());
        }
        let is_whole = !request.headers.contains_key(IF_NONE_MATCH);
        self.observing = None;
        let observing = self.shared.iter().find(|shared| shared.observe && is_whole);
        let looking = observing.and_then(|shared| Some((shared, shared.shelf.look_on()?)));
        if let Some((observing, looking)) = looking {
            // As a poll would ask, which any answer to this caller may be.
            upstream.insert_header(ACCEPT, observing.accept.clone())?;
            upstream.insert_header(ACCEPT_ENCODING, "identity")?;
            // What the caller wrote as its `Host` would stand in links, for everybody to follow.
            for name in forward::TOLD_OF_SERVER {
                upstream.remove_header(&name);
            }
            self.observing = Some(Observing {
                sent_at: Instant::now(),
                head: None,
                body: BytesMut::new(),
                _looking: looking,
            });
        }
        Ok(())
    }

    /// The head of the upstream's answer came.
    pub(super) fn arrives(
        &mut self,
        request: &RequestHeader,
        answer: &mut ResponseHeader,
    ) -> Result<()> {
        if request.method != Method::GET {
            answer.remove_header(&WATCH);
            if is_success(answer.status) {
                self.tell_writes(answer)?;
            }
            return Ok(());
        }
        if let Some(observing) = &mut self.observing {
            let encoding = answer.headers.get(CONTENT_ENCODING);
            let is_framed = answer.headers.contains_key(CONTENT_LENGTH)
                || answer.headers.contains_key(TRANSFER_ENCODING);
            let counts = answer.status == StatusCode::OK
                && is_framed
                && encoding.is_none_or(|encoding| encoding == "identity")
                && !answer.headers.contains_key(CONTENT_RANGE);
            if counts {
                observing.head = Some(answer.clone());
            } else {
                self.observing = None;
            }
        }
        Ok(())
    }

    /// Sources hear of a write, and its caller of them.
    fn tell_writes(&self, answer: &mut ResponseHeader) -> Result<()> {
        let path = self.target.split('?').next().unwrap_or_default();
        let path = target::as_read(path.as_bytes());
        let path = String::from_utf8_lossy(&path);
        let path = path
            .strip_prefix(&*self.route.ways[0].base)
            .unwrap_or(&path);
        let id: Arc<str> = self.request_id.to_str().unwrap_or_default().into();
        let mut names = Vec::new();
        for shared in self.shared.iter().filter(|shared| shared.hears(path)) {
            self.route.upstream.written(&shared.source, &id);
            names.push(shared.source.as_str());
        }
        if !names.is_empty() {
            answer.insert_header(WATCH, names.join(", "))?;
        }
        Ok(())
    }

    /// A piece of the upstream's answer passes, perhaps the last one.
    pub(super) fn passes(&mut self, piece: Option<&Bytes>, is_last: bool) {
        let Some(observing) = &mut self.observing else {
            return;
        };
        let most = self.shared.iter().filter(|shared| shared.observe);
        let most = most.map(|shared| shared.body_bytes_max).max().unwrap_or(0);
        let piece = piece.map_or(&[][..], |piece| piece);
        if observing.head.is_none() || observing.body.len() + piece.len() > most {
            self.observing = None;
            return;
        }
        observing.body.extend_from_slice(piece);
        if is_last && let Some(observing) = self.observing.take() {
            self.observed(observing);
        }
    }

    fn observed(&self, observing: Observing) {
        let Some(head) = observing.head else { return };
        let length = head.headers.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length != observing.body.len()) {
            return;
        }
        let (upstream, bytes) = (&self.route.upstream, observing.body.freeze());
        let ended_at = Instant::now();
        let id: Arc<str> = self.request_id.to_str().unwrap_or_default().into();
        for shared in self.shared.iter().filter(|shared| shared.observe) {
            let headers = head.headers.clone();
            let body = upstream.as_polled(&self.target, headers, head.status, bytes.clone());
            let fits = bytes.len() <= shared.body_bytes_max;
            if let Some(body) = body.ok().filter(|_| fits) {
                let observed = Observed {
                    sent_at: observing.sent_at,
                    ended_at,
                    request_id: Arc::clone(&id),
                    body: Box::new(body),
                };
                upstream.observed(&shared.source, observed);
            }
        }
    }
}

impl Shelved {
    /// The head and the body of the answer, which counts.
    pub(super) fn answer(&self) -> Result<(ResponseHeader, Bytes)> {
        if self.is_fresh {
            self.series.hit();
        } else {
            self.series.stale();
        }
        let kept = &self.kept;
        let status = if self.is_known {
            StatusCode::NOT_MODIFIED
        } else {
            kept.status
        };
        let mut header = ResponseHeader::build(status, Some(8))?;
        let body = if self.is_known {
            Bytes::new()
        } else {
            if let Some(content_type) = &kept.content_type {
                header.insert_header(CONTENT_TYPE, content_type.clone())?;
            }
            header.insert_header(CONTENT_LENGTH, kept.body.len())?;
            kept.body.clone()
        };
        header.insert_header(ETAG, kept.etag.clone())?;
        if let Some(modified) = &kept.last_modified {
            header.insert_header(LAST_MODIFIED, modified.clone())?;
        }
        for vary in &kept.vary {
            header.append_header(VARY, vary.clone())?;
        }
        header.insert_header(AGE, self.age.as_secs())?;
        let status = format!("doorbell; hit; ttl={}", self.ttl);
        let status = HeaderValue::try_from(status).expect("ASCII");
        header.insert_header(CACHE_STATUS, status)?;
        Ok((header, body))
    }
}

/// RFC 9110 section 9.2.1.
fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method)
}

/// Whether a write was: a redirect to what it made counts, too.
fn is_success(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::SEE_OTHER
}
