//! The one client of an upstream, shared by polls and callers: address, credentials, connections,
//! and the seam where the budget grants requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::client::{Resolver, Validators};
use crate::config;

/// A configured upstream at work.
#[derive(Debug)]
pub struct Upstream {
    config: Arc<config::Upstream>,
}

/// Who asks the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The poller.
    Poll,
    /// A caller, through the proxy.
    Caller,
}

/// Leave to make one request. The budget will grant and refuse these; for now each is granted.
#[derive(Debug)]
#[must_use = "a request without a permit is not counted"]
pub struct Permit(());

/// One request of a poll.
#[derive(Debug, Clone)]
pub struct Fetch<'a> {
    /// What is asked for: method GET, path, query, headers, size bound.
    pub source: &'a config::Source,
    /// Validators to send; default: an unconditional request.
    pub validators: &'a Validators,
}

/// What came back, if it is to be believed: 200, 203, or 304 to validators that were sent.
#[derive(Debug)]
pub enum Answer {
    /// 304.
    NotModified {
        /// Refreshed validators, where the 304 carried any.
        validators: Validators,
        /// What it says about the next request.
        pacing: Pacing,
    },
    /// 200 or 203 with its whole body, decompressed.
    Body {
        /// The bytes.
        bytes: Bytes,
        /// `Content-Type`, as it came.
        content_type: Option<String>,
        /// For the next request.
        validators: Validators,
        /// What it says about the next request.
        pacing: Pacing,
    },
}

/// What an answer says about when to ask again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pacing {
    /// Not before this long: the greatest of `Retry-After` (capped at 24 h) and the like.
    pub not_before: Option<Duration>,
}

/// Why an exchange is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The class, which is also the `reason` label.
    pub reason: Reason,
    /// For the log and the admin API; holds neither body nor secret.
    pub message: String,
    /// What the answer, if there was one, says about when to ask again.
    pub pacing: Pacing,
}

/// The classes of failed exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The name did not resolve.
    Dns,
    /// No connection.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// Took longer than `timeout`.
    Timeout,
    /// 401, 403, 404 or 410: will not mend by itself.
    Refused,
    /// 429.
    RateLimited,
    /// Any other status than 200, 203 and an asked-for 304.
    Status,
    /// More redirects than allowed, a loop, or one that leads nowhere.
    Redirect,
    /// More bytes than `body_bytes_max` after decompression.
    TooLarge,
    /// The connection broke, or the body did not decode, before it was whole.
    Body,
}

impl Reason {
    /// All classes, for series that exist from load.
    pub const ALL: [Self; 10] = [
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Refused,
        Self::RateLimited,
        Self::Status,
        Self::Redirect,
        Self::TooLarge,
        Self::Body,
    ];

    /// The `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::RateLimited => "rate_limited",
            Self::Status => "status",
            Self::Redirect => "redirect",
            Self::TooLarge => "too_large",
            Self::Body => "body",
        }
    }
}

/// What doorbell adds to a request so that the upstream knows it.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A header; its value is marked sensitive.
    Header(HeaderName, HeaderValue),
    /// A query parameter, name and value already percent-encoded.
    Query(String, crate::secret::Secret),
}

impl Upstream {
    /// Builds the client of `config`. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// A text when the client cannot be built, for example because no CA certificates are found.
    pub fn new(config: Arc<config::Upstream>, resolver: Resolver) -> Result<Self, String> {
        let _ = (&config, resolver);
        todo!()
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &config::Upstream {
        &self.config
    }

    /// Leave to make one request now.
    ///
    /// The seam where the budget will stand: a poll will wait here, a caller will be told how long
    /// it would wait. Today every request is granted at once, and counted.
    pub async fn permit(&self, by: By) -> Permit {
        let _ = by;
        todo!()
    }

    /// Makes one poll's exchange: request, redirects, bounded body.
    ///
    /// # Errors
    /// [`Failure`] for everything that is not a believable answer.
    pub async fn fetch(&self, fetch: Fetch<'_>, permit: Permit) -> Result<Answer, Failure> {
        let _ = (fetch, permit);
        todo!()
    }

    /// A socket address to connect to now: resolved in the background, refreshed every 30 s, the
    /// last good ones kept, taken in turn. `None` while the name never resolved.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        todo!()
    }

    /// What authenticates us, if anything.
    #[must_use]
    pub fn credential(&self) -> Option<&Credential> {
        todo!()
    }

    /// Headers of every request of ours.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.config.headers
    }
}
