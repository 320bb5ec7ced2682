//! The one client of an upstream, shared by polls and callers: address, credentials, connections,
//! the budget that grants requests, and the breaker that spares an upstream that is down.
//!
//! Decides how a poll's request looks, which redirects are followed with what, and which answers
//! are believed. Leaves when to ask and what an answer means to [`crate::poll`], and callers'
//! requests to the proxy.

mod addresses;
mod bases;
mod body;
mod clients;
mod credential;
mod exchange;
mod gate;
mod pacing;
mod shared;
#[cfg(test)]
mod tests;
mod token;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::sync::{Semaphore, watch};
use url::Url;

use crate::client::{Resolver, Validators};
use crate::clock::Clock;
use crate::config;
use crate::digest::RawDigest;
use crate::metrics::{SharedSeries, UpstreamMetrics};
use crate::name::Name;

use bases::Bases;
use clients::Clients;
pub use credential::Credential;
use credential::Credentials;
pub use exchange::USER_AGENT;
use gate::{Clerk, Gate};
pub use gate::{Denied, Left, Permit, Quotas, Standing};
pub use pacing::NOT_BEFORE_MAX;
pub use shared::{Found, Heard, Kept, Looking, Observed, Shared, Shelf, Writing};
use shared::{Hearsay, Shares};

/// All upstreams of a configuration.
pub type Upstreams = Arc<BTreeMap<Name, Arc<Upstream>>>;

/// A configured upstream at work.
#[derive(Debug)]
pub struct Upstream {
    config: Arc<config::Upstream>,
    credentials: Credentials,
    clients: Clients,
    bases: Bases,
    connections: Arc<Semaphore>,
    clock: Clock,
    shares: ArcSwap<Shares>,
    hearsay: Hearsay,
    metrics: UpstreamMetrics,
    gate: Arc<Gate>,
    _clerk: Option<Clerk>,
}

/// Who asks the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The poller, by its schedule.
    Poll,
    /// The poller, because somebody asked for a poll.
    Hand,
    /// A caller, through the proxy: callers of one identity share a turn.
    Caller(u64),
}

/// What a poll asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// GET, POST or QUERY.
    pub method: Method,
    /// The whole URL, without credential: safe to show.
    pub url: Url,
    /// Whether it goes to the upstream itself. If not, nothing of ours goes with it: neither
    /// credential nor headers, validators or body.
    pub home: bool,
    /// Headers beside the upstream's.
    pub headers: HeaderMap,
    /// What is sent.
    pub body: Bytes,
    /// Largest answer, in bytes after decompression.
    pub body_bytes_max: usize,
}

/// One request of a poll.
#[derive(Debug, Clone)]
pub struct Fetch<'a> {
    /// What is asked for.
    pub request: &'a Request,
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
    /// 200 or 203 with its whole body.
    Body(Box<Body>),
}

/// What a 200 or 203 brought.
#[derive(Debug)]
pub struct Body {
    /// 200 or 203.
    pub status: u16,
    /// The bytes, decompressed.
    pub bytes: Bytes,
    /// Their digest.
    pub raw: RawDigest,
    /// Whether nothing but the end of the connection told theirs, as in HTTP/1.0: if it broke, they
    /// are cut, and nobody knows.
    pub is_open_ended: bool,
    /// Where they came from, after redirects.
    pub place: Place,
    /// All headers.
    pub headers: HeaderMap,
    /// `Content-Type`, as it came.
    pub content_type: Option<String>,
    /// For the next request.
    pub validators: Validators,
    /// What it says about the next request.
    pub pacing: Pacing,
}

/// Where an answer came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The URL, without credential.
    pub url: Url,
    /// Whether that is the upstream itself. What left it does not come home.
    pub home: bool,
}

/// What an answer says about when to ask again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pacing {
    /// Not before this long: the greatest of `Retry-After` (capped at 24 h) and the like.
    pub not_before: Option<Duration>,
    /// How long it is the same to private caches (RFC 9111 section 4.2), at most 24 h.
    pub fresh_for: Option<Duration>,
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
    /// The answer's status, if there was one that is no success.
    pub status: Option<u16>,
}

impl Failure {
    /// A failure without an answer.
    #[must_use]
    pub fn new(reason: Reason, message: String) -> Self {
        Self {
            reason,
            message,
            pacing: Pacing::default(),
            status: None,
        }
    }
}

/// The classes of failed exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// What was to be asked makes no request.
    Request,
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
    /// The breaker is open: nothing was asked.
    Unavailable,
    /// There is no token to ask with: the token endpoint gave none.
    Auth,
    /// doorbell ends: nothing was asked, and nothing is to be concluded from that.
    Draining,
    /// The connection broke, or the body did not decode, before it was whole.
    Body,
}

impl Reason {
    /// All classes that are counted, for series that exist from load.
    pub const ALL: [Self; 13] = [
        Self::Request,
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Refused,
        Self::RateLimited,
        Self::Status,
        Self::Redirect,
        Self::TooLarge,
        Self::Unavailable,
        Self::Auth,
        Self::Body,
    ];

    /// The `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::RateLimited => "rate_limited",
            Self::Status => "status",
            Self::Redirect => "redirect",
            Self::TooLarge => "too_large",
            Self::Unavailable => "unavailable",
            Self::Auth => "auth",
            Self::Draining => "draining",
            Self::Body => "body",
        }
    }
}

impl Upstream {
    /// Builds the client of `config`. Must be called inside a tokio runtime, where it keeps a task
    /// that resolves the host until it is dropped.
    ///
    /// # Errors
    /// A text when the client cannot be built, for example because no CA certificates are found.
    pub fn new(
        config: Arc<config::Upstream>,
        resolver: Resolver,
        clock: Clock,
        metrics: &UpstreamMetrics,
    ) -> Result<Self, String> {
        let (gate, clerk) = Gate::new(
            config.budget,
            metrics.upstream(&config.name, config.budget.is_some()),
        );
        let bases = Bases::of(&config, &resolver);
        let clients = Clients::of(&config, resolver)?;
        Ok(Self {
            credentials: Credentials::of(&config, (&clients, &bases), &gate, &clock)?,
            clients,
            bases,
            connections: Arc::new(Semaphore::new(config.connections_max)),
            clock,
            shares: ArcSwap::default(),
            hearsay: Hearsay::default(),
            metrics: metrics.clone(),
            gate,
            _clerk: clerk,
            config,
        })
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &config::Upstream {
        &self.config
    }

    /// Leave to make one request now, as the budget grants it. A poll waits for it however long it
    /// takes; a caller no longer than the budget's `wait`, and then for a place among the
    /// connections no longer than a connection may take.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn permit(&self, by: By) -> Result<Permit, Denied> {
        let permit = self.gate.ask(by).await?;
        if by.is_poll() {
            return Ok(permit);
        }
        let place = self.connections.clone().acquire_owned();
        let place = tokio::time::timeout(self.config.connect_timeout, place).await;
        match place {
            Ok(Ok(place)) => Ok(permit.with_place(place)),
            _ => Err(Denied::Crowded),
        }
    }

    /// Lets go of the polls that wait for leave: doorbell ends.
    pub fn release_polls(&self) {
        self.gate.close();
    }

    /// Changes each time that the upstream has come back after it was down.
    #[must_use]
    pub fn recoveries(&self) -> watch::Receiver<u64> {
        self.gate.recoveries()
    }

    /// How it stands with its budget and its breaker.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.gate.standing()
    }

    /// Requests a second that callers leave to polls; `None` without a budget.
    #[must_use]
    pub fn left_to_polls(&self) -> Option<f64> {
        self.gate.left_to_polls()
    }

    /// From now on these sources share with callers.
    pub fn share(&self, shared: Vec<Shared>) {
        self.shares.store(Arc::new(Shares::new(shared)));
    }

    /// What is counted of callers who ask for what `source` asks for.
    #[must_use]
    pub fn shared_series(&self, source: &Name) -> SharedSeries {
        self.metrics.shared(source)
    }

    /// The sources whose request has this path and query, without credential.
    #[must_use]
    pub fn shared(&self, target: &str) -> Vec<Arc<Shared>> {
        self.shares.load().at(target)
    }

    /// The sources whom a write to this path, below the upstream's URL, concerns.
    #[must_use]
    pub fn concerned(&self, path: &str) -> Vec<Arc<Shared>> {
        self.shares.load().written(path)
    }

    /// A caller wrote where `source` looks.
    pub fn written(&self, source: &Name, request_id: &Arc<str>) {
        self.hearsay.write(source, request_id);
    }

    /// A caller read what `source` asks for.
    pub fn observed(&self, source: &Name, observed: Observed) {
        self.hearsay.read(source, observed);
    }

    /// Waits until callers did what sources want to hear of.
    pub async fn heard(&self) -> Heard {
        self.hearsay.heard().await
    }

    /// Whether its breaker is open.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.gate.is_down()
    }

    /// What polls accept unless their source says otherwise.
    #[must_use]
    pub fn accept(&self) -> HeaderValue {
        let own = self.config.headers.get(ACCEPT).cloned();
        own.unwrap_or(HeaderValue::from_static(exchange::ACCEPT_DEFAULT))
    }

    /// A caller's answer as a poll would have it: from the upstream itself, whole.
    ///
    /// # Errors
    /// [`Failure`] when `target` makes no URL.
    pub fn as_polled(
        &self,
        target: &str,
        headers: HeaderMap,
        status: StatusCode,
        bytes: Bytes,
    ) -> Result<Body, Failure> {
        let base = self.config.url.path().trim_end_matches('/');
        let url = self.url(target.strip_prefix(base).unwrap_or(target))?;
        let content_type = headers.get(http::header::CONTENT_TYPE);
        let content_type =
            content_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Ok(Body {
            status: status.as_u16(),
            raw: RawDigest::of(&bytes),
            bytes,
            is_open_ended: false,
            place: Place { url, home: true },
            content_type,
            validators: exchange::validators(&headers),
            pacing: Pacing::read(&headers, self.clock.now()),
            headers,
        })
    }

    /// A caller was answered, with its own credential or with ours.
    pub fn answered_caller(
        &self,
        permit: &mut Permit,
        status: StatusCode,
        headers: &HeaderMap,
        is_own: bool,
    ) {
        let quotas = if is_own {
            Quotas::Foreign
        } else {
            Quotas::Ours(headers, self.clock.now())
        };
        permit.answered(status, quotas);
    }

    /// The base URL whose turn it is, as its place in [`config::Upstream::urls`], if possible
    /// another than `without`, and a socket address of it to connect to now: resolved in the
    /// background, refreshed every 30 s, the last good ones kept, taken in turn. `None` while no
    /// name ever resolved.
    #[must_use]
    pub fn door(&self, without: Option<usize>) -> Option<(usize, SocketAddr)> {
        self.bases.door(without)
    }

    /// What came of connecting to the base URL at `index`: a status, or nothing.
    pub fn reached(&self, index: usize, status: Option<StatusCode>) {
        self.bases.heard(index, status);
    }

    /// `request` at the base URL whose turn it is. All that follows from its answer, pages and
    /// redirects, goes on there.
    #[must_use]
    pub fn spread<'r>(&self, request: &'r Request) -> Cow<'r, Request> {
        match self.bases.spread(&request.url).filter(|_| request.home) {
            None => Cow::Borrowed(request),
            Some(url) => Cow::Owned(Request {
                url,
                ..request.clone()
            }),
        }
    }

    /// What authenticates us, if anything, for a request of this kind. A token is fetched where
    /// there is none that lasts: one at a time, however many ask, and not by those alone who wait
    /// for it.
    ///
    /// # Errors
    /// [`Reason::Auth`]: there is no token. The failure tells when there may be one. Others when the
    /// budget had no leave to ask for one.
    pub async fn credential(&self, by: By) -> Result<Option<Arc<Credential>>, Failure> {
        self.credentials.current(by).await
    }

    /// The upstream said 401 to `credential`. Whether there may be another: a token that was
    /// refused is not used again, unless its predecessor was refused only just now.
    pub fn refused(&self, credential: &Arc<Credential>) -> bool {
        self.credentials.refused(credential)
    }

    /// Headers of every request of ours.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.config.headers
    }
}
