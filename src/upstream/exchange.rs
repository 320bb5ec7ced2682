//! One poll's exchange: the request, its redirects, the bounded body, and why it failed.

use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, DATE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED, LOCATION, USER_AGENT as USER_AGENT_HEADER,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::time::{Instant, timeout};
use url::Url;

use super::{
    Answer, Body, Credential, Denied, Failure, Fetch, Pacing, Permit, Place, Quotas, Reason,
    Upstream, pacing,
};
use crate::client::{PrivateAddress, Validators};

/// `User-Agent` of every request of ours, unless the configuration names another.
pub const USER_AGENT: &str = concat!("doorbell/", env!("CARGO_PKG_VERSION"));

/// `Accept` unless the configuration names another.
pub(super) const ACCEPT_DEFAULT: &str = "application/json, */*;q=0.5";

/// Longest validator that is echoed. The HTTP servers in use refuse request heads of 8 KiB, and a
/// validator that is not sent costs no more than a whole answer.
const VALIDATOR_BYTES_MAX: usize = 1024;

/// Headers that most requests have at most: ours, a credential, two validators.
const HEADERS: usize = 8;

/// A `Last-Modified` younger than this may stand for two versions (RFC 9110 section 8.8.2.2).
const LAST_MODIFIED_AGE_MIN: Duration = Duration::from_secs(1);

/// What one request of an exchange brought.
enum Step {
    Answer(Answer),
    /// The token was not taken, and there may be another.
    Unauthorized(Failure),
    Redirect(Result<Hop, Failure>),
}

/// Where the exchange stands.
#[derive(Clone)]
pub(super) struct Hop {
    pub(super) place: Place,
    /// A redirect may make it GET; the body is sent only as long as it is not changed.
    pub(super) method: Method,
}

impl Upstream {
    /// Makes one poll's exchange: request, redirects, bounded body. Takes at most the upstream's
    /// `timeout` once a connection is free; what redirects wait for leave does not count.
    ///
    /// Redirects within the origin (scheme, host, port) keep credentials, headers and validators.
    /// Another origin gets none of them, even if it leads back; nobody is led from https to http, nor
    /// into a private network, except to another base URL of this upstream.
    ///
    /// # Errors
    /// [`Failure`] for everything that is not a believable answer.
    pub async fn fetch(&self, fetch: Fetch<'_>, permit: Permit) -> Result<Answer, Failure> {
        let mut hop = Hop {
            place: Place {
                url: fetch.request.url.clone(),
                home: fetch.request.home,
            },
            method: fetch.request.method.clone(),
        };
        let by = permit.by();
        let (mut credential, mut permit) = self.prepared(&hop.place, permit).await?;
        let mut visited = Vec::new();
        let (mut is_renewed, mut tried) = (false, Vec::new());
        let mut left = self.config.timeout;
        loop {
            let began = Instant::now();
            let step = {
                // In place: it is large to be moved.
                let step = pin!(self.step(&fetch, &hop, credential.as_ref(), &mut permit));
                timeout(left, step).await
            };
            let next = match step {
                Ok(Ok(Step::Answer(answer))) => return Ok(answer),
                Ok(Ok(Step::Redirect(next))) => next,
                Ok(Ok(Step::Unauthorized(failure))) if is_renewed => return Err(failure),
                Ok(Ok(Step::Unauthorized(_))) => {
                    is_renewed = true;
                    left = left.saturating_sub(began.elapsed());
                    credential = self.credential(by).await?;
                    permit = self.permit(by).await?;
                    continue;
                }
                Ok(Err(failure)) => {
                    // Nothing was sent, so another base URL may be asked the same.
                    let may_move = visited.is_empty() && hop.place.home && is_unsent(&failure);
                    if !may_move {
                        return Err(failure);
                    }
                    let other = self.bases.instead(&hop.place.url, &mut tried);
                    hop.place.url = other.ok_or(failure)?;
                    left = left.saturating_sub(began.elapsed());
                    permit = self.permit(by).await?;
                    continue;
                }
                Err(_) => {
                    permit.broke(false);
                    if hop.place.home {
                        self.bases.asked(&hop.place.url, None);
                    }
                    let limit = self.config.timeout;
                    let message = format!("no whole answer within {limit:?}");
                    return Err(failure(Reason::Timeout, message));
                }
            };
            left = left.saturating_sub(began.elapsed());
            if visited.len() >= self.config.redirects as usize {
                let limit = self.config.redirects;
                return Err(redirect(format!("more than {limit} redirects")));
            }
            visited.push(std::mem::replace(&mut hop, next?));
            let is_same =
                |before: &Hop| before.place.url == hop.place.url && before.method == hop.method;
            if visited.iter().any(is_same) {
                return Err(redirect("redirects in a loop".to_owned()));
            }
            permit = self.permit(by).await?;
        }
    }

    /// The credential for `place`, and leave to go there.
    async fn prepared(
        &self,
        place: &Place,
        permit: Permit,
    ) -> Result<(Option<Arc<Credential>>, Permit), Failure> {
        let by = permit.by();
        if !place.home {
            return Ok((None, permit));
        }
        if self.credentials.are_at_hand() {
            return Ok((self.credential(by).await?, permit));
        }
        // What a request for a token waits for may be the very leave that is held here.
        drop(permit);
        let credential = self.credential(by).await?;
        Ok((credential, self.permit(by).await?))
    }

    /// The URL of `path` at the upstream, without credential: safe to show.
    ///
    /// # Errors
    /// [`Reason::Request`] when base and path make no URL.
    pub fn url(&self, path: &str) -> Result<Url, Failure> {
        let base = self.config.url.as_str();
        let base = if path.starts_with('/') {
            base.strip_suffix('/').unwrap_or(base)
        } else {
            base
        };
        Url::parse(&format!("{base}{path}"))
            .map_err(|error| failure(Reason::Request, format!("no URL: {error}")))
    }

    /// One request, and what came of it.
    async fn step(
        &self,
        fetch: &Fetch<'_>,
        hop: &Hop,
        credential: Option<&Arc<Credential>>,
        permit: &mut Permit,
    ) -> Result<Step, Failure> {
        let credential = credential.filter(|_| hop.place.home);
        let response = self.send(fetch, hop, credential, permit).await?;
        if !is_redirect(response.status()) {
            let is_unauthorized = response.status() == StatusCode::UNAUTHORIZED;
            let answer = self.answer(fetch, response, &hop.place).await;
            let refused = credential.filter(|_| is_unauthorized);
            return match answer {
                Err(failure) if refused.is_some_and(|refused| self.refused(refused)) => {
                    Ok(Step::Unauthorized(failure))
                }
                answer => answer.map(Step::Answer),
            };
        }
        let next = follow(hop, response.status(), response.headers());
        Ok(Step::Redirect(next))
    }

    async fn send(
        &self,
        fetch: &Fetch<'_>,
        hop: &Hop,
        credential: Option<&Arc<Credential>>,
        permit: &mut Permit,
    ) -> Result<reqwest::Response, Failure> {
        let Place { url, home } = &hop.place;
        let mut url = url.clone();
        let mut headers = HeaderMap::with_capacity(HEADERS);
        headers.insert(ACCEPT, HeaderValue::from_static(ACCEPT_DEFAULT));
        headers.insert(USER_AGENT_HEADER, HeaderValue::from_static(USER_AGENT));
        let codings = HeaderValue::from_static(super::body::ACCEPT_ENCODING);
        headers.insert(ACCEPT_ENCODING, codings);
        let sends_body = *home && hop.method == fetch.request.method;
        if *home {
            overlay(&mut headers, &self.config.headers);
            overlay(&mut headers, &fetch.request.headers);
            if !sends_body {
                headers.remove(CONTENT_TYPE);
            }
            if let Some(credential) = credential {
                authenticate(credential, &mut url, &mut headers);
            }
            condition(&mut headers, fetch.validators);
        }
        let client = if *home {
            self.clients.own()
        } else {
            self.elsewhere(&url)?
        };
        let mut request = reqwest::Request::new(hop.method.clone(), url);
        *request.headers_mut() = headers;
        if sends_body && !fetch.request.body.is_empty() {
            *request.body_mut() = Some(fetch.request.body.clone().into());
        }
        permit.sent();
        let response = match client.execute(request).await {
            Ok(response) => response,
            Err(error) => {
                if *home {
                    self.bases.asked(&hop.place.url, None);
                }
                permit.broke(error.is_connect());
                return Err(self.broken(&error));
            }
        };
        let quotas = if *home {
            Quotas::Ours(response.headers(), self.clock.now())
        } else {
            Quotas::Foreign
        };
        permit.answered(response.status(), quotas);
        if *home {
            self.bases.asked(&hop.place.url, Some(response.status()));
        }
        Ok(response)
    }

    /// The client for another origin than the one that is asked.
    pub(super) fn elsewhere(&self, url: &Url) -> Result<&reqwest::Client, Failure> {
        let no_client = |message| failure(Reason::Tls, message);
        if self.bases.are_at(url) {
            return self.clients.named().map_err(no_client);
        }
        // Where names lead the proxy alone finds out, and it must guard itself; but what is its own
        // machine to us is not left to it.
        let by_proxy = self.config.egress_proxy.is_some();
        if by_proxy && url.domain().is_some_and(is_local) {
            return Err(redirect("leads to this machine".to_owned()));
        }
        // A literal address is never resolved, so the guarded client's resolver would not see it.
        crate::client::literal(url).map_err(|inside| led_inside(&inside))?;
        self.clients.led().map_err(no_client)
    }

    async fn answer(
        &self,
        fetch: &Fetch<'_>,
        response: reqwest::Response,
        place: &Place,
    ) -> Result<Answer, Failure> {
        let home = place.home;
        let status = response.status();
        let pacing = Pacing::read(response.headers(), self.clock.now());
        // Validators of a place that they are not sent to are of no use.
        let validators = if home {
            validators(response.headers())
        } else {
            Validators::default()
        };
        let conditional = home && *fetch.validators != Validators::default();
        match status.as_u16() {
            200 | 203 => {}
            304 if conditional => return Ok(Answer::NotModified { validators, pacing }),
            _ => {
                return Err(Failure {
                    reason: refusal(status, response.headers()),
                    message: format!("status {}", status.as_u16()),
                    pacing,
                    status: Some(status.as_u16()),
                });
            }
        }
        let content_type = response.headers().get(CONTENT_TYPE);
        let content_type =
            content_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let headers = response.headers().clone();
        let body = self.body(response, fetch.request.body_bytes_max).await;
        let body = body.map_err(|failure| Failure { pacing, ..failure })?;
        Ok(Answer::Body(Box::new(Body {
            status: status.as_u16(),
            bytes: body.bytes,
            raw: body.raw,
            is_open_ended: body.is_open_ended,
            place: place.clone(),
            headers,
            content_type,
            validators,
            pacing,
        })))
    }

    pub(super) fn broken(&self, error: &reqwest::Error) -> Failure {
        if let Some(inside) = find::<PrivateAddress>(error) {
            return led_inside(inside);
        }
        let limit = self.config.connect_timeout;
        match classify(error) {
            Reason::Timeout => failure(Reason::Timeout, format!("no connection within {limit:?}")),
            // The text of the outer error names the URL, and with it a credential in the query.
            reason => failure(reason, root_of(error)),
        }
    }
}

fn authenticate(credential: &Credential, url: &mut Url, headers: &mut HeaderMap) {
    match credential {
        Credential::Header(name, value) => {
            headers.insert(name, value.clone());
        }
        Credential::Query(name, value) => {
            let ours = format!("{name}={}", value.expose());
            let query = match url.query() {
                // A redirect may have kept it.
                Some(query) if query.split('&').any(|pair| pair == ours) => return,
                Some(query) if !query.is_empty() => format!("{query}&{ours}"),
                _ => ours,
            };
            url.set_query(Some(&query));
        }
    }
}

/// Where a redirect leads. As browsers have it, 303 asks there by GET, and 301 and 302 make GET of
/// POST (fetch.spec.whatwg.org, HTTP-redirect fetch, step 12).
pub(super) fn follow(hop: &Hop, status: StatusCode, headers: &HeaderMap) -> Result<Hop, Failure> {
    let location = headers
        .get(LOCATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| redirect("a redirect that names no place".to_owned()))?;
    let place = hop
        .place
        .leads_to(location)
        .map_err(|why| redirect(format!("a redirect {why}")))?;
    let becomes_get = match status.as_u16() {
        303 => true,
        301 | 302 => hop.method == Method::POST,
        _ => false,
    };
    let method = if becomes_get {
        Method::GET
    } else {
        hop.method.clone()
    };
    if !place.home && method != Method::GET {
        return Err(redirect(
            "a redirect would carry the request's body to another origin".to_owned(),
        ));
    }
    Ok(Hop { place, method })
}

impl Place {
    /// Where `reference`, found in what came from here, leads: a redirect's or a link's target,
    /// absolute or relative. Within the origin it stays at home; what left does not come home.
    ///
    /// # Errors
    /// A text that goes on after "a redirect" or "a link".
    pub fn leads_to(&self, reference: &str) -> Result<Self, String> {
        let mut url = self
            .url
            .join(reference)
            .map_err(|error| format!("to no URL: {error}"))?;
        url.set_fragment(None);
        let usable = matches!(url.scheme(), "http" | "https") && url.has_host();
        if !usable || !url.username().is_empty() || url.password().is_some() {
            return Err("to no plain http or https URL".to_owned());
        }
        if self.url.scheme() == "https" && url.scheme() == "http" {
            return Err("from https to http".to_owned());
        }
        let home = self.home && url.origin() == self.url.origin();
        Ok(Self { url, home })
    }
}

fn is_local(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether no connection came about.
fn is_unsent(failure: &Failure) -> bool {
    let classes = [Reason::Dns, Reason::Connect, Reason::Tls, Reason::Timeout];
    classes.contains(&failure.reason)
}

/// 301, 302, 303, 307 and 308 lead on; 300 offers a choice, which nobody is there to make.
fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The class of a status that is no success.
fn refusal(status: StatusCode, headers: &HeaderMap) -> Reason {
    match status.as_u16() {
        429 => Reason::RateLimited,
        403 if pacing::is_rate_limit(headers) => Reason::RateLimited,
        401 | 403 | 404 | 410 => Reason::Refused,
        _ => Reason::Status,
    }
}

pub(super) fn classify(error: &reqwest::Error) -> Reason {
    if find::<PrivateAddress>(error).is_some() {
        Reason::Redirect
    } else if error.is_timeout() {
        Reason::Timeout
    } else if error.is_dns() {
        Reason::Dns
    } else if find::<rustls::Error>(error).is_some() {
        Reason::Tls
    } else if error.is_connect() {
        Reason::Connect
    } else {
        Reason::Body
    }
}

/// The error of type `E` among the causes of `error`. What an [`io::Error`] wraps is not its source
/// but itself in other clothes, so it is looked at apart.
fn find<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        let found = error.downcast_ref::<E>();
        let found = found.or_else(|| inner.and_then(|inner| find::<E>(inner)));
        if found.is_some() {
            return found;
        }
        next = error.source();
    }
    None
}

pub(super) fn root_of(error: &reqwest::Error) -> String {
    let mut root: &dyn Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    if root.is::<reqwest::Error>() {
        "the exchange broke".to_owned()
    } else {
        root.to_string()
    }
}

/// Replaces what `over` names.
fn overlay(headers: &mut HeaderMap, over: &HeaderMap) {
    for name in over.keys() {
        headers.remove(name);
        for value in over.get_all(name) {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// Adds the validators. Both: some servers know only one.
fn condition(headers: &mut HeaderMap, validators: &Validators) {
    let pairs = [
        (IF_NONE_MATCH, &validators.etag),
        (IF_MODIFIED_SINCE, &validators.last_modified),
    ];
    for (name, validator) in pairs {
        if let Some(value) = validator.as_deref().and_then(to_header) {
            headers.insert(name, value);
        }
    }
}

/// The validators of an answer, to be echoed byte for byte.
pub(super) fn validators(headers: &HeaderMap) -> Validators {
    Validators {
        etag: from_header(headers, &ETAG),
        last_modified: from_header(headers, &LAST_MODIFIED).filter(|_| !modified_just_now(headers)),
    }
}

/// Whether `Last-Modified` is too young to tell two versions apart.
fn modified_just_now(headers: &HeaderMap) -> bool {
    let seconds = |name: &HeaderName| {
        let date = httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()?;
        date.duration_since(UNIX_EPOCH).ok()
    };
    match (seconds(&DATE), seconds(&LAST_MODIFIED)) {
        (Some(date), Some(modified)) => date.saturating_sub(modified) < LAST_MODIFIED_AGE_MIN,
        _ => false,
    }
}

/// A header's bytes as a text of as many characters, which loses nothing: some servers send
/// validators that are no UTF-8.
fn from_header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let bytes = headers.get(name)?.as_bytes();
    (!bytes.is_empty() && bytes.len() <= VALIDATOR_BYTES_MAX)
        .then(|| bytes.iter().copied().map(char::from).collect())
}

fn to_header(validator: &str) -> Option<HeaderValue> {
    let bytes: Result<Vec<u8>, _> = validator.chars().map(u8::try_from).collect();
    HeaderValue::from_bytes(&bytes.ok()?).ok()
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        let reason = match denied {
            Denied::Budget(_) => Reason::RateLimited,
            Denied::Down(_) => Reason::Unavailable,
            Denied::Crowded => Reason::Connect,
            Denied::Draining => Reason::Draining,
        };
        failure(reason, denied.to_string())
    }
}

/// An answer names a place that it must not lead to.
fn led_inside(PrivateAddress { host }: &PrivateAddress) -> Failure {
    redirect(format!(
        "leads to {host}, which is no public address and none of the upstream's `urls`"
    ))
}

fn redirect(message: String) -> Failure {
    failure(Reason::Redirect, message)
}

pub(super) fn failure(reason: Reason, message: String) -> Failure {
    Failure::new(reason, message)
}
