//! Which route takes a request, and what a route keeps at hand for its requests.
//!
//! Decides by the longest prefix. Built once per generation of the configuration, so that a
//! request looks nothing up twice.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderValue, Method};
use parking_lot::Mutex;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::pki_types::CertificateDer;
use url::{Host, Url};

use super::limits::Limits;
use super::target::Rewrite;
use crate::config::{self, Config};
use crate::metrics::{ProxyMetrics, RouteMetrics};
use crate::upstream::{Upstream, Upstreams};

/// How long an unused connection to an upstream is kept: below the 60 s after which most servers
/// close theirs, so that a request seldom meets a closing one.
const POOL_IDLE: Duration = Duration::from_secs(50);

/// The longest silence on an upgraded connection. `timeout` is for exchanges that have an end.
pub(super) const UPGRADED_IDLE: Duration = Duration::from_mins(5);

/// The routes of one configuration.
#[derive(Debug)]
pub(super) struct Table {
    /// The generation they are of.
    pub(super) config: Arc<Config>,
    /// Longest prefix first; of equal ones, those for one host first.
    routes: Vec<Arc<Route>>,
}

/// The table of the configuration in force, whichever that is.
#[derive(Debug)]
pub(super) struct Tables {
    live: config::Live,
    upstreams: Upstreams,
    metrics: ProxyMetrics,
    table: ArcSwap<Table>,
    /// Held while a table is built, so that a new configuration builds one.
    building: Mutex<()>,
}

/// A route at work.
#[derive(Debug)]
pub(super) struct Route {
    /// What the file says.
    pub(super) config: Arc<config::Route>,
    /// Where its requests go.
    pub(super) upstream: Arc<Upstream>,
    /// Where that is, in the order of the upstream's base URLs.
    pub(super) ways: Vec<Way>,
    /// What its callers may ask.
    pub(super) limits: Limits,
    /// Its series.
    pub(super) metrics: RouteMetrics,
    /// Requests in flight, counted on across reloads.
    in_flight: Arc<AtomicUsize>,
}

/// One of the upstream's base URLs.
#[derive(Debug)]
pub(super) struct Way {
    /// Its path without a trailing slash.
    pub(super) base: String,
    /// `Host` for it.
    pub(super) authority: HeaderValue,
    peer: HttpPeer,
}

/// A place among the requests in flight of a route.
#[derive(Debug)]
pub(super) struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who takes a request.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// This route.
    Route(&'a Arc<Route>),
    /// These routes would, were the method one of theirs; the value of `Allow`.
    WrongMethod(&'a Arc<Route>, String),
    /// Nobody.
    Nowhere,
}

impl Found<'_> {
    /// Whether both are of one route, or of none.
    pub(super) fn same_route(&self, other: &Self) -> bool {
        match (self.route(), other.route()) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }

    const fn route(&self) -> Option<&Arc<Route>> {
        match self {
            Self::Route(route) | Self::WrongMethod(route, _) => Some(route),
            Self::Nowhere => None,
        }
    }
}

impl Tables {
    /// Begins with the configuration in force.
    pub(super) fn new(live: config::Live, upstreams: Upstreams, metrics: ProxyMetrics) -> Self {
        let table = Table::new(live.load_full(), &upstreams, &metrics, None);
        Self {
            live,
            upstreams,
            metrics,
            table: ArcSwap::from_pointee(table),
            building: Mutex::new(()),
        }
    }

    /// The table in force. The first request of a new configuration builds its table.
    pub(super) fn current(&self) -> Arc<Table> {
        let table = self.table.load_full();
        if Arc::ptr_eq(&table.config, &self.live.load()) {
            return table;
        }
        let _building = self.building.lock();
        let before = self.table.load_full();
        let config = self.live.load_full();
        if Arc::ptr_eq(&before.config, &config) {
            return before;
        }
        let table = Table::new(config, &self.upstreams, &self.metrics, Some(&before));
        let table = Arc::new(table);
        self.table.store(table.clone());
        table
    }
}

impl Table {
    /// The routes of `config`. What `before` counts, and this keeps unchanged, counts on.
    pub(super) fn new(
        config: Arc<Config>,
        upstreams: &Upstreams,
        metrics: &ProxyMetrics,
        before: Option<&Self>,
    ) -> Self {
        let mut routes: Vec<_> = config
            .routes
            .values()
            .filter_map(|route| {
                let Some(upstream) = upstreams.get(&route.upstream) else {
                    tracing::error!(route = %route.name, upstream = %route.upstream,
                        "the route is left out: its upstream is not running");
                    return None;
                };
                let same = |known: &&Arc<Route>| known.config.name == route.name;
                let before = before.and_then(|before| before.routes.iter().find(same));
                let before = before.map(|known| &**known);
                let ways = upstream.config().urls();
                let ways: Option<Vec<Way>> =
                    ways.map(|url| Way::of(upstream.config(), url)).collect();
                let Some(ways) = ways else {
                    tracing::error!(route = %route.name, upstream = %route.upstream,
                        "the route is left out: a certificate of its upstream is beyond pingora");
                    return None;
                };
                Some(Arc::new(Route::new(
                    route,
                    upstream,
                    ways,
                    (metrics, before),
                )))
            })
            .collect();
        routes.sort_by_key(|route| {
            let any_host = route.config.host.is_none();
            (std::cmp::Reverse(route.config.path.len()), any_host)
        });
        Self { config, routes }
    }

    /// The route that takes `method` of `path` on `host`, which is lower-case and without port.
    ///
    /// A prefix is text: `/a` also takes `/ab`, as the file says it. The longest one that matches
    /// decides, whatever the methods of shorter ones.
    pub(super) fn find(&self, method: &Method, path: &[u8], host: &str) -> Found<'_> {
        let rank = |route: &Route| (route.config.path.len(), route.config.host.is_some());
        let mut matching = self.routes.iter().filter(|route| {
            let wanted = route.config.host.as_deref();
            path.starts_with(route.config.path.as_bytes()) && wanted.is_none_or(|w| w == host)
        });
        let Some(first) = matching.next() else {
            return Found::Nowhere;
        };
        let mut allow: Vec<&str> = Vec::new();
        let same_rank = matching.take_while(|route| rank(route) == rank(first));
        for route in std::iter::once(first).chain(same_rank) {
            match &route.config.methods {
                None => return Found::Route(route),
                Some(methods) if methods.contains(method) => return Found::Route(route),
                Some(methods) => allow.extend(methods.iter().map(Method::as_str)),
            }
        }
        Found::WrongMethod(first, allow.join(", "))
    }

    /// Forgets callers whose counts are as good as new.
    pub(super) fn forget_idle(&self) {
        for route in &self.routes {
            route.limits.forget_idle();
        }
    }
}

impl Route {
    fn new(
        config: &Arc<config::Route>,
        upstream: &Arc<Upstream>,
        ways: Vec<Way>,
        (metrics, before): (&ProxyMetrics, Option<&Self>),
    ) -> Self {
        let limits = Limits::new(&config.limits, before.map(|before| &before.limits));
        let mut labels = limits.labels();
        // Last, so that the limits keep their indices.
        let has_budget = upstream.config().budget.is_some();
        labels.extend(has_budget.then_some("budget"));
        Self {
            ways,
            metrics: metrics.route(config.name.as_str(), &labels),
            in_flight: before.map_or_else(Arc::default, |before| before.in_flight.clone()),
            config: config.clone(),
            upstream: upstream.clone(),
            limits,
        }
    }

    /// A place among the requests in flight; `None` when there are as many as may be.
    pub(super) fn enter(&self) -> Option<Slot> {
        let count = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let slot = Slot(self.in_flight.clone());
        (count < self.config.concurrency).then_some(slot)
    }

    /// How its paths become the upstream's.
    pub(super) fn rules(&self) -> Rewrite<'_> {
        self.rules_at(&self.ways[0])
    }

    /// The same at one of the upstream's base URLs.
    pub(super) fn rules_at<'a>(&'a self, way: &'a Way) -> Rewrite<'a> {
        let strip = if self.config.strip_prefix {
            &*self.config.path
        } else {
            ""
        };
        Rewrite {
            base: &way.base,
            strip,
        }
    }

    /// A caller was told to come again because of the upstream's budget.
    pub(super) fn over_budget(&self) {
        self.metrics.rate_limited(self.limits.names().len());
    }
}

impl Way {
    /// The way to `url` of `upstream`; `None` when pingora cannot read its certificates.
    fn of(upstream: &config::Upstream, url: &Url) -> Option<Self> {
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        Some(Self {
            base: url.path().trim_end_matches('/').to_owned(),
            authority: HeaderValue::try_from(authority)
                .expect("the authority of a parsed URL is printable ASCII"),
            peer: peer(upstream, url)?,
        })
    }

    /// The upstream at `address`, for a request that wants to change protocols or not.
    pub(super) fn peer_at(&self, address: SocketAddr, upgrade: Upgrade) -> Box<HttpPeer> {
        let mut peer = Box::new(self.peer.clone());
        peer._address = pingora::protocols::l4::socket::SocketAddr::Inet(address);
        if matches!(upgrade, Upgrade::Wanted) {
            peer.options.read_timeout = Some(UPGRADED_IDLE);
        }
        peer
    }
}

/// Whether a request wants to change protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upgrade {
    /// It does.
    Wanted,
    /// It does not.
    No,
}

/// What pingora connects to for `url` of `upstream`, but for the address; `None` when it cannot read a
/// certificate: its reader panics then, and ours is not as strict.
///
/// Over TLS the name to verify is never empty, for pingora switches verification off then; for an
/// address in place of a name it is that address, which rustls checks against the certificate's
/// addresses.
fn peer(upstream: &config::Upstream, url: &Url) -> Option<HttpPeer> {
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let tls = url.scheme() == "https";
    let name = match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        None => String::new(),
    };
    assert!(!name.is_empty(), "the URL of an upstream has a host");
    let mut peer = HttpPeer::new(nowhere, tls, if tls { name } else { String::new() });
    peer.options.connection_timeout = Some(upstream.connect_timeout);
    peer.options.total_connection_timeout = Some(upstream.connect_timeout);
    peer.options.read_timeout = Some(upstream.timeout);
    peer.options.write_timeout = Some(upstream.timeout);
    peer.options.idle_timeout = Some(POOL_IDLE);
    if let Some(tls) = &upstream.tls {
        let certify = AssertUnwindSafe(|| certify(&mut peer, tls));
        catch_unwind(certify).ok()?;
    }
    Some(peer)
}

/// Makes `peer` one of these authorities and with this identity. Its connections are used for no
/// peer of others, which pingora does not tell apart by itself.
fn certify(peer: &mut HttpPeer, tls: &config::Tls) {
    let mut hasher = DefaultHasher::new();
    if let Some(authorities) = &tls.authorities {
        let read = |der: &CertificateDer<'_>| WrappedX509::new(der.to_vec(), parse_x509);
        peer.options.ca = Some(authorities.iter().map(read).collect());
        authorities.hash(&mut hasher);
    }
    if let Some(identity) = &tls.identity {
        let chain = identity.chain.iter().map(|der| der.to_vec()).collect();
        let key = identity.key.secret_der().to_vec();
        peer.client_cert_key = Some(Arc::new(CertKey::new(chain, key)));
        identity.chain.hash(&mut hasher);
    }
    peer.group_key = hasher.finish();
}
