//! The checked types that come out of a configuration file.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use url::Url;

use super::asking::{Cursor, Paginate, Request};
use super::each::Each;
use super::joint::Joint;
use super::tls::Tls;
use crate::budget::Terms;
use crate::detect::{Format, Rules};
use crate::event::{Filter, Glob, Rendering};
use crate::name::Name;
use crate::schedule::Cron;
use crate::schedule::adaptive::Bounds;
use crate::secret::Secret;
use crate::signature::{GithubKey, SigningKey};
use crate::time::Timestamp;

/// The generation in force. Readers take a snapshot per piece of work and keep it to its end; a
/// reload swaps the whole.
pub type Live = Arc<ArcSwap<Config>>;

/// One file, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[log]`.
    pub log: Log,
    /// `[store]`.
    pub store: Store,
    /// `[admin]`.
    pub admin: Admin,
    /// `[metrics]`.
    pub metrics: Metrics,
    /// `[proxy]`; `None` when absent, which means no proxy.
    pub proxy: Option<Proxy>,
    /// `[upstreams.*]`.
    pub upstreams: BTreeMap<Name, Arc<Upstream>>,
    /// `[sources.*]`.
    pub sources: BTreeMap<Name, Arc<Source>>,
    /// `[endpoints.*]`.
    pub endpoints: BTreeMap<Name, Arc<Endpoint>>,
    /// `[routes.*]`.
    pub routes: BTreeMap<Name, Arc<Route>>,
    /// What is legal but odd, in the order of the file.
    pub warnings: Vec<String>,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The least severe level that is shown.
    pub level: tracing::Level,
    /// How lines look; `None`: text on a terminal, else JSON.
    pub format: Option<LogFormat>,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[store]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Where the SQLite file is.
    pub path: PathBuf,
    /// How long delivered events and attempts are kept.
    pub retain: Duration,
    /// How long dead letters are kept.
    pub retain_dead: Duration,
}

/// `[admin]`.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The bearer token callers must show; always there when `listen` is not loopback.
    pub token: Option<Secret>,
    /// Whether `/metrics` wants the token too.
    pub metrics_token: bool,
    /// `Host` values allowed besides IP literals and `localhost`, lower-case, without port.
    pub hosts: Vec<String>,
    /// Where receivers of webhooks find it: the base of links in thin payloads.
    pub public_url: Option<Url>,
    /// Where endpoints made over the API may point besides public addresses.
    pub allow_networks: Arc<[IpNet]>,
}

/// `[metrics]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metrics {
    /// Whether each source has series of its own.
    pub per_source: PerSource,
}

/// Whether each source has series of its own; else those of one upstream share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PerSource {
    /// Up to [`Self::AUTO_MAX`] sources.
    #[default]
    Auto,
    /// However many there are.
    On,
    /// Never.
    Off,
}

impl PerSource {
    /// Most sources that have series of their own by themselves: each has some forty.
    pub const AUTO_MAX: usize = 1_000;
}

/// `[proxy]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Where it listens; never empty.
    pub listen: Vec<SocketAddr>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Most callers' connections at once.
    pub connections_max: usize,
    /// How long a drain goes on accepting, answering `Connection: close`.
    pub drain_delay: Duration,
    /// How long a drain may take in all.
    pub grace: Duration,
}

/// `[upstreams.NAME]`.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Its name.
    pub name: Name,
    /// Base URL: http or https, a host, no query, no fragment, no user. Paths are appended to it
    /// as text.
    pub url: Url,
    /// Other base URLs of the same API, of the same scheme.
    pub more_urls: Vec<Url>,
    /// Credentials that doorbell adds.
    pub auth: Option<Auth>,
    /// Through whom polls go: a URL of http with a host and perhaps user and password.
    pub egress_proxy: Option<Secret>,
    /// Certificates of its own.
    pub tls: Option<Arc<Tls>>,
    /// Headers of every request of ours.
    pub headers: HeaderMap,
    /// The longest whole exchange of a poll; of a proxied call the longest silence, because streams
    /// pass.
    pub timeout: Duration,
    /// The longest connect.
    pub connect_timeout: Duration,
    /// Most connections at once.
    pub connections_max: usize,
    /// Most redirects a poll follows.
    pub redirects: u32,
    /// What may be asked of it, by polls and callers together; `None`: anything.
    pub budget: Option<Terms>,
}

impl Upstream {
    /// All base URLs; the first names it.
    pub fn urls(&self) -> impl Iterator<Item = &Url> {
        std::iter::once(&self.url).chain(&self.more_urls)
    }
}

/// Credentials of an upstream.
#[derive(Debug, Clone)]
pub enum Auth {
    /// `Authorization: Bearer …`.
    Bearer(Secret),
    /// `Authorization: Basic …`.
    Basic {
        /// User id; holds no colon (RFC 7617 section 2).
        user: String,
        /// Password.
        password: Secret,
    },
    /// A header of the upstream's own, `X-Api-Key: …`.
    Header {
        /// Its name.
        name: HeaderName,
        /// Its value; fit for a header.
        value: Secret,
    },
    /// A query parameter, `?api_key=…`.
    Query {
        /// Its name.
        name: String,
        /// Its value.
        value: Secret,
    },
    /// `Authorization: Bearer …` with a token that is fetched.
    OAuth2(OAuth2),
}

/// OAuth 2 client credentials (RFC 6749 section 4.4).
#[derive(Debug, Clone)]
pub struct OAuth2 {
    /// Where tokens are had.
    pub token_url: Url,
    /// Who we are there.
    pub client_id: Secret,
    /// What proves it.
    pub client_secret: Secret,
    /// What is asked for; empty: what the server gives by itself.
    pub scopes: Vec<String>,
}

/// `[sources.NAME]`.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name.
    pub name: Name,
    /// The upstream it is on.
    pub upstream: Name,
    /// What divides it; `None`: it is one whole.
    pub each: Option<Each>,
    /// What it asks for.
    pub request: Request,
    /// Where its listing goes on; `None`: it is listed whole.
    pub cursor: Option<Cursor>,
    /// How its pages are walked; `None`: its answer is whole.
    pub paginate: Option<Paginate>,
    /// When it is polled.
    pub every: Every,
    /// Whether it is left alone as long as its answer is fresh to caches.
    pub respect_cache: bool,
    /// What its bodies are; `None`: what `Content-Type` says, and the first poll found.
    pub format: Option<Format>,
    /// How items are found, identified and compared.
    pub rules: Arc<Rules>,
    /// What says that an item was deleted.
    pub deletes: Deletes,
    /// How long an item that walks lack stays in the snapshot; `None`: for ever.
    pub forget: Option<Duration>,
    /// What it shares with those who call its upstream.
    pub joint: Joint,
    /// Most items of one walk.
    pub items_max: usize,
    /// What the first poll rings.
    pub baseline: Baseline,
    /// How often a change must be seen; `None`: once.
    pub confirm: Option<Confirm>,
    /// A poll that would delete a larger share than this, and more than
    /// [`crate::detect::Guard::DELETES_FREE`] items, is held.
    pub deletes_max_ratio: f64,
    /// How long nothing new may come before `doorbell.source.stale`; `None`: for ever.
    pub stale_after: Option<Duration>,
    /// Consecutive failures before `doorbell.source.failing`.
    pub failing_after: u32,
    /// Whether bodies of items are kept.
    pub keep: Keep,
    /// Largest body, in bytes after decompression.
    pub body_bytes_max: usize,
}

/// When a source is polled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Every {
    /// At this period.
    Fixed(Duration),
    /// At these times.
    Cron(Arc<Cron>),
    /// Within these bounds, as often as it changes.
    Adaptive(Bounds),
    /// Only by hand.
    Manual,
}

impl Every {
    /// The longest time between two polls, where that is always the same.
    #[must_use]
    pub const fn longest(&self) -> Option<Duration> {
        match self {
            Self::Fixed(period) => Some(*period),
            Self::Adaptive(bounds) => Some(bounds.max),
            Self::Cron(_) | Self::Manual => None,
        }
    }

    /// Polls an hour: at least and at most.
    #[must_use]
    pub fn per_hour(&self) -> RangeInclusive<f64> {
        let per_hour = |period: Duration| 3_600.0 / period.as_secs_f64();
        let always = |rate: f64| rate..=rate;
        match self {
            Self::Fixed(period) => always(per_hour(*period)),
            Self::Cron(cron) => always(cron.per_hour()),
            Self::Adaptive(bounds) => per_hour(bounds.max)..=per_hour(bounds.min),
            Self::Manual => always(0.0),
        }
    }
}

/// What says that an item was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletes {
    /// Nothing.
    Never,
    /// Its id is missing from a complete walk.
    Full,
    /// The item itself, by [`Rules::tombstone`].
    Tombstone,
}

/// How often a change must be seen before it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirm {
    /// Fetches running that must see it.
    pub polls: u32,
    /// How long after one the next comes.
    pub after: Duration,
}

/// What the first poll rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baseline {
    /// Nothing.
    Silent,
    /// Every item, as created.
    Emit,
}

/// What is kept of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Its body: events carry current, previous and patch.
    Bodies,
    /// Only its digest: events are thin.
    Digests,
}

/// `[endpoints.NAME]`.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Its name.
    pub name: Name,
    /// Where webhooks are posted: http or https, no user, no fragment.
    pub url: Url,
    /// Who changes it.
    pub owner: Owner,
    /// Keys that sign, newest first; never empty.
    pub secrets: Vec<SigningKey>,
    /// Keys that sign besides for some time, after a rotation.
    pub retiring: Vec<Retiring>,
    /// What signs GitHub's way, too.
    pub github: Option<GithubKey>,
    /// Event types it hears; an event is heard when any matches.
    pub events: Vec<Glob>,
    /// What an event must have in it to be delivered.
    pub filter: Option<Filter>,
    /// How webhooks are written.
    pub rendering: Arc<Rendering>,
    /// The longest attempt.
    pub timeout: Duration,
    /// Delays between attempts; with n entries there are n + 1 attempts.
    pub retry: Vec<Duration>,
    /// Most attempts in flight.
    pub concurrency: usize,
    /// How often attempts may begin; `None`: as often as there is something to ring.
    pub rate: Option<Rate>,
    /// What order means.
    pub order: Order,
    /// How long it may do nothing but fail before it is not rung any more.
    pub disable_after: Duration,
    /// Whether private and loopback addresses may be connected to.
    pub allow_private: bool,
    /// Networks that may be connected to although they are private.
    pub allow_networks: Arc<[IpNet]>,
    /// Under which name it is asked for permission before it is rung (CloudEvents web hooks);
    /// `None`: it is not asked.
    pub handshake: Option<HeaderValue>,
    /// Headers of every webhook, besides those of Standard Webhooks.
    pub headers: HeaderMap,
}

impl Endpoint {
    /// Whether it hears events of `event_type`.
    #[must_use]
    pub fn hears(&self, event_type: &str) -> bool {
        self.events.iter().any(|glob| glob.matches(event_type))
    }
}

/// Who changes an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// Whoever writes the file.
    File,
    /// Callers of the admin API.
    Api,
}

/// A key that was replaced and signs for a while yet, so that receivers have time to follow.
#[derive(Debug, Clone)]
pub struct Retiring {
    /// The key.
    pub key: SigningKey,
    /// Until then.
    pub until: Timestamp,
}

/// How often an endpoint may be rung: evenly refilled, at most `requests` at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Attempts per `per`.
    pub requests: NonZeroU32,
    /// The period.
    pub per: Duration,
}

/// What order an endpoint's events keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The events of one subject arrive in sequence.
    Subject,
    /// Any.
    None,
}

/// `[routes.NAME]`.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name.
    pub name: Name,
    /// Prefix of the request's path, begins with `/`.
    pub path: String,
    /// The only `Host` it answers to, lower-case without port; `None`: any.
    pub host: Option<String>,
    /// The only methods it passes; `None`: any.
    pub methods: Option<Vec<Method>>,
    /// Where requests go.
    pub upstream: Name,
    /// Whether `path` is cut from the request's path; one slash stays.
    pub strip_prefix: bool,
    /// Callers' limits; all must let a request pass.
    pub limits: Vec<Limit>,
    /// Whether limits are only counted.
    pub shadow: bool,
    /// Who may call.
    pub auth: RouteAuth,
    /// Largest request body in bytes.
    pub body_bytes_max: u64,
    /// Most requests in flight.
    pub concurrency: usize,
}

/// Who may call a route.
#[derive(Debug, Clone)]
pub enum RouteAuth {
    /// Everyone who reaches the listener.
    Open,
    /// Bearers of one of these keys.
    Keys(Vec<Secret>),
}

/// What callers of a route may ask of us: GCRA, `requests` per `per`, at most `burst` at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// What is counted apart.
    pub by: LimitBy,
    /// Requests per `per`.
    pub requests: NonZeroU32,
    /// The period.
    pub per: Duration,
    /// Requests at once; `requests` when absent in the file.
    pub burst: NonZeroU32,
}

/// What a limit counts apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitBy {
    /// Each caller's address; IPv6 by /64.
    Ip,
    /// Each value of a header; requests without it share one count.
    Header(HeaderName),
    /// Nothing: all callers together.
    Route,
}

impl LimitBy {
    /// As it is written in the file, and in the metrics' `limit` label.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Ip => "ip".to_owned(),
            Self::Header(name) => format!("header:{name}"),
            Self::Route => "route".to_owned(),
        }
    }
}

impl Proxy {
    /// Whether `peer` is a proxy whose word on the caller's address is believed.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }
}
