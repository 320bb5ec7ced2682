//! The answers of doorbell's own to callers: `application/problem+json` (RFC 9457).

use std::borrow::Cow;
use std::time::Duration;

use http::header::{ALLOW, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use super::{head, limits};
use crate::upstream::{Denied, Pacing};

/// `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11).
pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// `RateLimit-Policy` (the same draft).
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The type of a refusal by a limit, registered by the same draft.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// Methods that are not refused whatever the route says.
const METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// One answer of our own.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    /// Its status.
    pub(super) status: StatusCode,
    /// Header fields besides type and length of the body.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    detail: Cow<'static, str>,
    violated: Option<String>,
}

#[derive(serde::Serialize)]
struct Body<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    violated: Option<[&'a str; 1]>,
}

impl Problem {
    /// `status` with words for the caller.
    pub(super) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            detail: detail.into(),
            violated: None,
        }
    }

    /// No route takes the request.
    pub(super) fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no route matches this path and host")
    }

    /// The path leads to one route as it is written and to another as others may read it.
    pub(super) fn ambiguous() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "the path leads elsewhere once its escapes and repeated slashes are resolved",
        )
    }

    /// The upstream may not be asked now.
    pub(super) fn denied(denied: Denied) -> Self {
        let (status, wait) = match denied {
            Denied::Budget(wait) => (StatusCode::TOO_MANY_REQUESTS, wait),
            Denied::Down(wait) => (StatusCode::SERVICE_UNAVAILABLE, wait),
            Denied::Crowded | Denied::Draining => (StatusCode::SERVICE_UNAVAILABLE, Duration::ZERO),
        };
        let mut problem = Self::new(status, denied.to_string());
        if let Denied::Budget(_) = denied {
            problem.violated = Some("budget".to_owned());
        }
        problem.retry_after(limits::ceil_seconds(wait))
    }

    /// There is no token to ask the upstream with, and may be one after a while.
    pub(super) fn no_token(pacing: Pacing) -> Self {
        let detail = "doorbell has no token for the upstream";
        let wait = pacing.not_before.unwrap_or_default();
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(limits::ceil_seconds(wait))
    }

    /// A route takes the request, but not its method.
    pub(super) fn method(allow: &str) -> Self {
        let mut problem = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "the route does not take this method",
        );
        problem.headers.extend(header(ALLOW, allow));
        problem
    }

    /// The caller did not show a key of the route.
    pub(super) fn unauthorized() -> Self {
        let mut problem = Self::new(
            StatusCode::UNAUTHORIZED,
            "the route wants one of its keys as bearer token",
        );
        let challenge = HeaderValue::from_static("Bearer");
        problem.headers.push((WWW_AUTHENTICATE, challenge));
        problem
    }

    /// The request's body is larger than the route takes.
    pub(super) fn too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the request body is larger than the route takes",
        )
    }

    /// The limit called `label` refused; try again after `wait`.
    pub(super) fn limited(label: &str, wait: Duration) -> Self {
        let mut problem = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            format!("the limit \"{label}\" of this route is used up"),
        );
        problem.violated = Some(label.to_owned());
        problem.retry_after(limits::ceil_seconds(wait))
    }

    /// The route has as many requests in flight as it may.
    pub(super) fn busy() -> Self {
        let detail = "the route has as many requests in flight as it may";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(1)
    }

    /// The upstream has no address yet.
    pub(super) fn unresolved() -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "upstream name does not resolve")
    }

    /// A head that may not be served.
    pub(super) fn refused(refusal: head::Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
        let mut problem = Self::new(status, refusal.to_string());
        if refusal == head::Refusal::Method {
            problem.headers.push((ALLOW, METHODS));
        }
        problem
    }

    fn retry_after(mut self, seconds: u64) -> Self {
        self.headers.push((RETRY_AFTER, HeaderValue::from(seconds)));
        self
    }

    /// The body.
    pub(super) fn body(&self) -> Vec<u8> {
        let violated = self.violated.as_deref();
        let body = Body {
            r#type: violated.map_or("about:blank", |_| QUOTA_EXCEEDED),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            violated: violated.map(|label| [label]),
        };
        serde_json::to_vec(&body).expect("strings and a number serialize")
    }

    /// The whole answer as bytes, for a connection that no parser serves any more. It closes.
    pub(super) fn to_wire(&self) -> Vec<u8> {
        let body = self.body();
        let status = self.status.as_u16();
        let reason = self.status.canonical_reason().unwrap_or("Error");
        let mut wire = format!("HTTP/1.1 {status} {reason}\r\n").into_bytes();
        for (name, value) in &self.headers {
            wire.extend_from_slice(name.as_str().as_bytes());
            wire.extend_from_slice(b": ");
            wire.extend_from_slice(value.as_bytes());
            wire.extend_from_slice(b"\r\n");
        }
        let rest = format!(
            "content-type: application/problem+json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            body.len()
        );
        wire.extend_from_slice(rest.as_bytes());
        wire.extend_from_slice(&body);
        wire
    }
}

fn header(name: HeaderName, value: &str) -> Option<(HeaderName, HeaderValue)> {
    Some((name, HeaderValue::try_from(value).ok()?))
}
