//! One request that a route takes: whether it is admitted, and what it looks like to the upstream.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_LOCATION, HOST, LINK, LOCATION};
use http::{HeaderValue, StatusCode};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};

use super::forward::{self, Entry, Trust};
use super::joint::Observing;
use super::problem::{Problem, RATE_LIMIT, RATE_LIMIT_POLICY};
use super::repeats::Watched;
use super::table::{Route, Slot, Table};
use super::{limits, target};
use crate::metrics::InFlight;
use crate::upstream::{By, Credential, Permit, Shared, Writing};

/// A request that a route takes.
pub(super) struct Call {
    /// The route.
    pub(super) route: Arc<Route>,
    /// The generation that it is served under to its end.
    table: Arc<Table>,
    peer: IpAddr,
    pub(super) entry: Entry,
    /// Whether it goes with the caller's own credential, in place of ours.
    pub(super) is_own: bool,
    /// Ours, if it goes with that.
    credential: Option<Arc<Credential>>,
    /// Names the request in the logs of all that it passes.
    pub(super) request_id: HeaderValue,
    /// Value of `RateLimit` for the answer.
    standing: Option<HeaderValue>,
    /// Path and query for the upstream, without credential; empty where it is no text.
    pub(super) target: String,
    /// Sources whom it concerns: that ask for the same, or look where it writes.
    pub(super) shared: Vec<Arc<Shared>>,
    /// The answer as far as it came, where it counts as a poll.
    pub(super) observing: Option<Observing>,
    /// That it is on its way to where sources look.
    pub(super) writing: Option<Writing>,
    /// Bytes of its body seen so far.
    pub(super) body_bytes: u64,
    /// Which of the upstream's base URLs it goes to.
    pub(super) way: Option<usize>,
    /// When the upstream was asked for a connection, until it answered.
    pub(super) asked: Option<Instant>,
    /// Leave to ask the upstream, once it was given.
    pub(super) permit: Option<Permit>,
    /// What counts of it for coverage.
    pub(super) watched: Option<Watched>,
    _in_flight: InFlight,
    slot: Option<Slot>,
}

/// The parts of a request's target, which was found to have them when it was admitted.
pub(super) fn parts(request: &RequestHeader) -> target::Parts<'_> {
    target::split(request.raw_path()).unwrap_or(target::Parts {
        authority: None,
        path: b"/",
        query: None,
    })
}

impl Call {
    /// A request from `peer` that `route` of `table` takes.
    pub(super) fn new(
        route: Arc<Route>,
        table: Arc<Table>,
        peer: IpAddr,
        request_id: HeaderValue,
    ) -> Self {
        Self {
            _in_flight: route.metrics.begin(),
            entry: Entry::Refused,
            is_own: false,
            credential: None,
            standing: None,
            target: String::new(),
            shared: Vec::new(),
            observing: None,
            writing: None,
            body_bytes: 0,
            way: None,
            asked: None,
            permit: None,
            watched: None,
            slot: None,
            request_id,
            route,
            table,
            peer,
        }
    }

    /// The refusals of a route, cheapest first. Keys come before limits, so that strangers do not
    /// spend what the callers of a route share.
    pub(super) fn admit(&mut self, request: &RequestHeader) -> std::result::Result<(), Problem> {
        self.entry = forward::entry(&self.route.config.auth, &request.headers);
        if self.entry == Entry::Refused {
            return Err(Problem::unauthorized());
        }
        let length = request.headers.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.route.config.body_bytes_max) {
            return Err(Problem::too_large());
        }
        self.ask_limits(request)?;
        let slot = self.route.enter().ok_or_else(Problem::busy)?;
        self.slot = Some(slot);
        self.relate(request);
        Ok(())
    }

    fn ask_limits(&mut self, request: &RequestHeader) -> std::result::Result<(), Problem> {
        let proxy = self.table.config.proxy.as_ref();
        let client = forward::client(self.peer, &request.headers, proxy);
        let verdict = self.route.limits.ask(client, &request.headers);
        if let Some(refusal) = &verdict.refusal {
            self.route.metrics.rate_limited(refusal.index);
        }
        if self.route.config.shadow {
            return Ok(());
        }
        self.standing = verdict.standing;
        match verdict.refusal {
            None => Ok(()),
            Some(refusal) => {
                let name = self.route.limits.names().get(refusal.index);
                let name = name.map_or("", String::as_str);
                Err(Problem::limited(name, refusal.wait))
            }
        }
    }

    /// Who shares a turn at the upstream's budget: the bearer of one of the route's keys, or an
    /// address.
    pub(super) fn identity(&self, request: &RequestHeader) -> u64 {
        let mut hasher = DefaultHasher::new();
        match request.headers.get(AUTHORIZATION) {
            Some(key) if self.entry == Entry::Key => key.as_bytes().hash(&mut hasher),
            _ => {
                let proxy = self.table.config.proxy.as_ref();
                let client = forward::client(self.peer, &request.headers, proxy);
                limits::address_key(client).hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    /// The head of the upstream's answer came.
    pub(super) fn answered(&mut self, answer: &ResponseHeader) {
        if let Some(permit) = &mut self.permit {
            let upstream = &self.route.upstream;
            upstream.answered_caller(permit, answer.status, &answer.headers, self.is_own);
        }
        if let Some(way) = self.way {
            self.route.upstream.reached(way, Some(answer.status));
        }
        // The body is gone, so this call cannot be made again; the next one has another token.
        let refused = answer.status == StatusCode::UNAUTHORIZED;
        if let Some(credential) = self.credential.as_ref().filter(|_| refused) {
            self.route.upstream.refused(credential);
        }
    }

    /// No connection to the upstream came about.
    pub(super) fn unreached(&mut self) {
        if let Some(way) = self.way {
            self.route.upstream.reached(way, None);
        }
        if let Some(permit) = &mut self.permit {
            permit.broke(true);
        }
    }

    /// The exchange with the upstream broke.
    pub(super) fn broke(&mut self) {
        if let Some(way) = self.way.filter(|_| self.asked.is_some()) {
            // Not even the head of an answer came.
            self.route.upstream.reached(way, None);
        }
        if let Some(permit) = &mut self.permit {
            permit.broke(false);
        }
    }

    /// Finds out whose credential the request goes with, and has ours ready.
    pub(super) async fn identify(
        &mut self,
        request: &RequestHeader,
    ) -> std::result::Result<(), Problem> {
        let query = target::split(request.raw_path()).and_then(|parts| parts.query);
        let upstream = &self.route.upstream;
        let auth = upstream.config().auth.as_ref();
        self.is_own = forward::brings_credential(&request.headers, query, auth, self.entry);
        self.credential = if self.is_own {
            None
        } else {
            let by = By::Caller(self.identity(request));
            let credential = upstream.credential(by).await;
            credential.map_err(|failure| Problem::no_token(failure.pacing))?
        };
        Ok(())
    }

    /// Adds what the limits have to say to an answer. The upstream may have limits of its own, and
    /// both are lists, so ours stand beside them.
    pub(super) fn tell_limits(&self, header: &mut ResponseHeader) -> Result<()> {
        let (Some(standing), Some(policy)) = (&self.standing, self.route.limits.policy()) else {
            return Ok(());
        };
        header.append_header(RATE_LIMIT_POLICY, policy)?;
        header.append_header(RATE_LIMIT, standing)?;
        Ok(())
    }

    /// Takes our credential out of what the upstream tells of its own URLs, if it stood in the query:
    /// redirects and links repeat what was asked.
    pub(super) fn keep_secret(&self, answer: &mut ResponseHeader) -> Result<()> {
        let Some(Credential::Query(name, value)) = self.credential.as_deref() else {
            return Ok(());
        };
        let ours = format!("{name}={}", value.expose());
        for header in [LOCATION, CONTENT_LOCATION, LINK] {
            let values: Vec<_> = answer.headers.get_all(&header).iter().cloned().collect();
            let is_telling = |value: &http::HeaderValue| {
                let told = String::from_utf8_lossy(value.as_bytes());
                told.contains(&ours)
            };
            if !values.iter().any(is_telling) {
                continue;
            }
            answer.remove_header(&header);
            for value in values {
                let told = String::from_utf8_lossy(value.as_bytes());
                let told = told.replace(&format!("&{ours}"), "");
                let told = told.replace(&format!("?{ours}&"), "?");
                let told = told.replace(&format!("?{ours}"), "");
                answer.append_header(header.clone(), told)?;
            }
        }
        Ok(())
    }

    /// Makes the caller's request ours.
    pub(super) fn rewrite(
        &mut self,
        request: &RequestHeader,
        upstream: &mut RequestHeader,
    ) -> Result<()> {
        let parts = parts(request);
        let route = &*self.route;
        let own = self.is_own;
        self.watched = (!own).then(|| self.watch(request, &parts)).flatten();
        if self.entry == Entry::Key {
            upstream.remove_header(&AUTHORIZATION);
        }
        let mut parameter = None;
        match self.credential.as_deref() {
            Some(Credential::Header(name, value)) => upstream.insert_header(name.clone(), value)?,
            Some(Credential::Query(name, value)) => parameter = Some((&**name, value.expose())),
            None => {}
        }
        if !own {
            for name in route.upstream.headers().keys() {
                if !upstream.headers.contains_key(name) {
                    for value in route.upstream.headers().get_all(name) {
                        upstream.append_header(name.clone(), value)?;
                    }
                }
            }
        }
        let way = &route.ways[self.way.unwrap_or(0)];
        let rewritten = target::rewrite(&parts, route.rules_at(way), parameter);
        upstream.set_raw_path(&rewritten)?;
        upstream.insert_header(HOST, way.authority.clone())?;
        self.introduce(request, upstream)
    }

    /// The call as coverage counts it, if it does.
    fn watch(&self, request: &RequestHeader, parts: &target::Parts<'_>) -> Option<Watched> {
        let config = &self.route.config;
        let strip = if config.strip_prefix {
            &*config.path
        } else {
            ""
        };
        let place = (&config.name, &config.upstream, strip);
        Watched::of(&request.method, &request.headers, parts, place)
    }

    /// Says who called.
    fn introduce(&self, request: &RequestHeader, upstream: &mut RequestHeader) -> Result<()> {
        let trust = forward::trust(self.peer, self.table.config.proxy.as_ref());
        let forwarded_for = forward::forwarded_for(self.peer, &request.headers, trust);
        if trust == Trust::Peer {
            // `_` becomes `-` where an upstream makes variables of names (RFC 3875 section 4.1.18).
            let invented = |name: &&http::HeaderName| {
                let read = name.as_str().replace('_', "-");
                read.starts_with(forward::FORWARDED_PREFIX)
                    || forward::FORWARDED_ALIASES
                        .iter()
                        .any(|alias| *alias == *read)
            };
            let invented: Vec<_> = request.headers.keys().filter(invented).cloned().collect();
            for name in &invented {
                upstream.remove_header(name);
            }
        }
        upstream.insert_header(forward::FORWARDED_FOR, forwarded_for)?;
        if !upstream.headers.contains_key(forward::FORWARDED_PROTO) {
            upstream.insert_header(forward::FORWARDED_PROTO, "http")?;
        }
        let host = request.headers.get(HOST);
        if let Some(host) = host.filter(|_| !upstream.headers.contains_key(forward::FORWARDED_HOST))
        {
            upstream.insert_header(forward::FORWARDED_HOST, host)?;
        }
        upstream.insert_header(forward::REQUEST_ID, self.request_id.clone())?;
        Ok(())
    }
}
