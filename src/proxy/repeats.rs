//! Which calls count for coverage, and the digests of their answers.
//!
//! Decides whether a call asks for what a source would get: a GET without a credential of the
//! caller's own and without anything that makes its answer this caller's. Leaves counting to
//! [`crate::coverage`].

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ALT_SVC, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, ETAG, FORWARDED,
    HOST, IF_MODIFIED_SINCE, IF_NONE_MATCH, PRAGMA, USER_AGENT, VIA,
};
use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::{forward, target};
use crate::coverage::{Counted, Get, Shared, TARGET_BYTES_MAX};
use crate::digest::{Context, Digest, RawHasher};
use crate::name::Name;
use crate::time::Timestamp;

/// Headers that change nothing about what is asked for. Any other may name a tenant or a user.
const NEUTRAL: [HeaderName; 13] = [
    ACCEPT,
    ACCEPT_ENCODING,
    ALT_SVC,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_LENGTH,
    FORWARDED,
    HOST,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    PRAGMA,
    USER_AGENT,
    VIA,
];

/// The same, by what they begin with.
const NEUTRAL_PREFIXES: [&str; 5] = ["x-forwarded-", "x-request-id", "x-real-ip", "trace", "b3"];

/// What parameters are called that hold a secret, or a place in a walk that nobody repeats.
const TELLING: [&str; 12] = [
    "token",
    "secret",
    "passw",
    "signature",
    "auth",
    "session",
    "credential",
    "api_key",
    "apikey",
    "access_key",
    "jwt",
    "sig",
];

/// Names the kind of digests below.
const ANSWER_FORM: &str = "doorbell 2026-11 answer to a caller 1";

/// A call that may count.
#[derive(Debug)]
pub(super) struct Watched {
    get: Get,
    counted: Option<Counted>,
    hasher: Option<RawHasher>,
}

impl Watched {
    /// The GET that the caller makes by `route` to `upstream`, if it counts: `strip` is cut off
    /// its path. Its own credential was looked for before.
    pub(super) fn of(
        method: &Method,
        headers: &HeaderMap,
        parts: &target::Parts<'_>,
        (route, upstream, strip): (&Name, &Name, &str),
    ) -> Option<Self> {
        let is_plain = |name: &HeaderName| {
            let text = name.as_str();
            NEUTRAL.contains(name) || NEUTRAL_PREFIXES.iter().any(|start| text.starts_with(start))
        };
        // A key of the route ends here, so `Authorization` that is left is one.
        let is_key = |name: &HeaderName| *name == http::header::AUTHORIZATION;
        let is_neutral = headers.keys().all(|name| is_plain(name) || is_key(name));
        if *method != Method::GET || !is_neutral || forward::has_body(headers) {
            return None;
        }
        let mut variant = DefaultHasher::new();
        for name in [ACCEPT, ACCEPT_ENCODING] {
            headers
                .get(name)
                .map(http::HeaderValue::as_bytes)
                .hash(&mut variant);
        }
        let target = target(parts, strip)?;
        Some(Self {
            get: Get {
                route: route.clone(),
                upstream: upstream.clone(),
                target: target.into(),
                variant: variant.finish(),
            },
            counted: None,
            hasher: None,
        })
    }

    /// The head of its answer came.
    pub(super) fn answered(
        &mut self,
        (status, headers): (StatusCode, &HeaderMap),
        coverage: &Shared,
        now: Timestamp,
    ) {
        if !matches!(status.as_u16(), 200 | 203 | 304) || self.counted.is_some() {
            return;
        }
        let mut coverage = coverage.lock();
        let counted = coverage.count(self.get.clone(), now);
        if status == StatusCode::NOT_MODIFIED {
            coverage.was_known(&counted);
        } else if counted.wants_digest {
            match headers.get(ETAG) {
                Some(etag) => coverage.saw(&counted, digest(etag.as_bytes())),
                None => self.hasher = Some(RawHasher::default()),
            }
        }
        self.counted = Some(counted);
    }

    /// A piece of the body passes; `is_end`: no more follow.
    pub(super) fn passes(&mut self, piece: Option<&[u8]>, is_end: bool, coverage: &Shared) {
        let Some(hasher) = &mut self.hasher else {
            return;
        };
        if let Some(piece) = piece {
            hasher.update(piece);
        }
        if is_end && let Some(counted) = &self.counted {
            let raw = hasher.finish();
            coverage.lock().saw(counted, digest(raw.as_bytes()));
            self.hasher = None;
        }
    }
}

fn digest(text: &[u8]) -> Digest {
    Context::new(ANSWER_FORM).digest(text)
}

/// Path and query as the upstream gets them after its own URL, normalised: the same spelling for
/// the same thing. `None` for what is too long, or what holds a secret.
fn target(parts: &target::Parts<'_>, strip: &str) -> Option<String> {
    let path = target::Parts {
        query: None,
        ..*parts
    };
    let rules = target::Rewrite { base: "", strip };
    let mut target = target::normalised(&target::rewrite(&path, rules, None));
    let mut pairs: Vec<&[u8]> = parts
        .query
        .into_iter()
        .flat_map(|query| query.split(|byte| *byte == b'&'))
        .filter(|pair| !pair.is_empty())
        .collect();
    if pairs.iter().any(|pair| is_telling(pair)) {
        return None;
    }
    pairs.sort_unstable();
    for (pair, mark) in pairs
        .iter()
        .zip(std::iter::once(b'?').chain(std::iter::repeat(b'&')))
    {
        target.push(mark);
        target.extend_from_slice(pair);
    }
    (target.len() <= TARGET_BYTES_MAX).then(|| String::from_utf8(target).ok())?
}

fn is_telling(pair: &[u8]) -> bool {
    let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
    let name = String::from_utf8_lossy(&target::decode(name)).to_ascii_lowercase();
    TELLING.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn watched(method: &Method, target: &str, headers: &[(&str, &str)]) -> Option<String> {
        let headers = headers.iter().map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            (name, HeaderValue::from_str(value).expect("a value"))
        });
        let headers: HeaderMap = headers.collect();
        let parts = target::split(target.as_bytes()).expect("a target");
        let name = Name::parse("tracker").expect("a name");
        let watched = Watched::of(method, &headers, &parts, (&name, &name, "/tracker/"));
        watched.map(|watched| watched.get.target.into())
    }

    #[test]
    fn spellings_of_one_thing_are_one_thing() {
        for (target, expected) in [
            ("/tracker/issues", "/issues"),
            ("/tracker//issues", "/issues"),
            ("/tracker/%69ssues?b=2&a=1", "/issues?a=1&b=2"),
            ("/tracker/issues?", "/issues"),
            ("/tracker/a%2Fb?&x", "/a%2Fb?x"),
            ("http://here/tracker/issues", "/issues"),
        ] {
            let found = watched(
                &Method::GET,
                target,
                &[("user-agent", "x"), ("accept", "*/*")],
            );
            assert_eq!(found.as_deref(), Some(expected), "{target}");
        }
    }

    #[test]
    fn what_is_one_callers_own_does_not_count() {
        let issues = "/tracker/issues";
        assert_eq!(watched(&Method::HEAD, issues, &[]), None);
        assert_eq!(watched(&Method::POST, issues, &[]), None);
        for header in [
            ("x-tenant", "a"),
            ("range", "bytes=0-1"),
            ("accept-language", "de"),
            ("x-http-method-override", "DELETE"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
        ] {
            assert_eq!(watched(&Method::GET, issues, &[header]), None, "{header:?}");
        }
        for query in [
            "token=x",
            "a=1&Api%5FKey=x",
            "page_token=x",
            "X-Amz-Signature=x",
        ] {
            let target = format!("{issues}?{query}");
            assert_eq!(watched(&Method::GET, &target, &[]), None, "{query}");
        }
        let long = format!("{issues}?q={}", "x".repeat(TARGET_BYTES_MAX));
        assert_eq!(watched(&Method::GET, &long, &[]), None);
    }
}
