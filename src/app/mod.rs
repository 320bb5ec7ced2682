//! Builds every part from a configuration, starts them in order, and drains them.
//!
//! Decides what depends on what: listeners are bound first (a taken port must not leave a half
//! started process), then the store is locked, then the engines start. The engines meet only in
//! the store and the upstreams.

mod upkeep;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::admin;
use crate::client::Resolver;
use crate::clock::Clock;
use crate::config::{self, Config, PerSource};
use crate::coverage;
use crate::deliver::{self, Deliverer};
use crate::metrics::{
    DeliverMetrics, Metrics, PollMetrics, ProxyMetrics, SeriesBy, StoreMetrics, UpstreamMetrics,
};
use crate::name::Name;
use crate::poll::{self, Poller};
use crate::proxy::{self, Proxy};
use crate::shutdown::{self, Phase, Shutdown, Trigger};
use crate::store::{SourceId, Store};
use crate::upstream::{Upstream, Upstreams};

/// How long a drain may take without a `[proxy]` table to say so.
const GRACE: Duration = Duration::from_secs(20);

/// A doorbell at work.
#[derive(Debug)]
pub struct Doorbell {
    trigger: Trigger,
    store: Store,
    poller: Poller,
    deliverer: Deliverer,
    proxy: Option<Proxy>,
    admin: JoinHandle<()>,
    upkeep: JoinHandle<()>,
    admin_address: SocketAddr,
    metrics: Metrics,
    drain_delay: Duration,
    grace: Duration,
}

/// Starts everything that `config` asks for and returns once it listens.
///
/// # Errors
/// What could not be bound, opened or built, in words for a person.
pub async fn start(mut config: Config) -> anyhow::Result<Doorbell> {
    let admin_listener = bind(config.admin.listen)?;
    let admin_address = admin_listener.local_addr()?;
    let proxy_addresses = config.proxy.iter().flat_map(|proxy| proxy.listen.clone());
    let proxy_listeners = proxy_addresses
        .map(bind)
        .collect::<anyhow::Result<Vec<_>>>()?;
    let (drain_delay, grace) = match &config.proxy {
        Some(proxy) => (proxy.drain_delay, proxy.grace),
        None => (Duration::ZERO, GRACE),
    };

    let metrics = Metrics::new();
    let clock = Clock::system();
    let (trigger, shutdown) = shutdown::channel();
    let store = Store::open(&config.store, clock.clone(), StoreMetrics::new(&metrics)).await?;
    deliver::adopt(&mut config, &store).await?;
    let live: config::Live = Arc::new(ArcSwap::from_pointee(config));
    let build = Build {
        live,
        store,
        clock,
        metrics,
        coverage: coverage::Shared::default(),
        shutdown,
    };
    let sources = build.sources().await?;
    let upstreams = build.upstreams()?;
    let deliverer = build.deliverer(&sources).await?;
    let poller = build.poller(upstreams.clone()).await?;
    let proxy = if proxy_listeners.is_empty() {
        None
    } else {
        Some(build.proxy(upstreams.clone(), proxy_listeners)?)
    };
    let upkeep = tokio::spawn(upkeep::run(build.store.clone(), build.shutdown.clone()));
    let admin = build.admin(admin_listener, (&poller, &deliverer, upstreams), sources)?;

    tracing::info!(what = "admin", address = %admin_address, "listening");
    for address in proxy.iter().flat_map(Proxy::addresses) {
        tracing::info!(what = "proxy", %address, "listening");
    }
    let Build { store, metrics, .. } = build;
    Ok(Doorbell {
        trigger,
        store,
        poller,
        deliverer,
        proxy,
        admin,
        upkeep,
        admin_address,
        metrics,
        drain_delay,
        grace,
    })
}

impl Doorbell {
    /// Where the admin API listens.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Where the proxy listens; empty without one.
    #[must_use]
    pub fn proxy_addresses(&self) -> &[SocketAddr] {
        self.proxy.as_ref().map_or(&[], Proxy::addresses)
    }

    /// The scrape, for those in the same process.
    #[must_use]
    pub fn scrape(&self) -> String {
        self.metrics.scrape()
    }

    /// Drains: not ready, still accepting for `drain_delay`, then nothing new; what is in flight
    /// finishes. True when all of it did within `grace`.
    pub async fn drain(self) -> bool {
        let deadline = Instant::now() + self.grace;
        tracing::info!(grace_seconds = self.grace.as_secs_f64(), "draining");
        self.trigger.enter(Phase::Draining);
        sleep(self.drain_delay.min(self.grace)).await;
        self.trigger.enter(Phase::Stopping);
        let callers = async {
            match &self.proxy {
                Some(proxy) => proxy.drained(deadline - Instant::now()).await,
                None => true,
            }
        };
        let engines = async {
            self.poller.drained().await;
            self.deliverer.drained().await;
        };
        let (callers, engines) = tokio::join!(callers, timeout_at(deadline, engines));
        let drained = callers && engines.is_ok();
        // The admin API answered until here, so that `/readyz` says 503 rather than nothing.
        let mut admin = self.admin;
        if timeout(LAST_WORDS, &mut admin).await.is_err() {
            tracing::warn!("an admin request did not end in time");
            admin.abort();
        }
        self.upkeep.abort();
        self.store.close().await;
        if !drained {
            tracing::warn!("the grace period ran out before everything in flight had ended");
        }
        drained
    }
}

/// What the admin API gets to end its answers in, once the engines have ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What most parts are built from.
struct Build {
    live: config::Live,
    store: Store,
    clock: Clock,
    metrics: Metrics,
    coverage: coverage::Shared,
    shutdown: Shutdown,
}

impl Build {
    async fn sources(&self) -> anyhow::Result<BTreeMap<Name, SourceId>> {
        let names: Vec<Name> = self.live.load().sources.keys().cloned().collect();
        let ids = self.store.register(&names).await?;
        Ok(names.into_iter().zip(ids).collect())
    }

    fn upstreams(&self) -> anyhow::Result<Upstreams> {
        let metrics = UpstreamMetrics::new(&self.metrics);
        let build = |(name, upstream): (&Name, &Arc<config::Upstream>)| {
            let built = Upstream::new(
                upstream.clone(),
                Resolver::system(),
                self.clock.clone(),
                &metrics,
            );
            let built = built.map_err(anyhow::Error::msg);
            Ok((
                name.clone(),
                Arc::new(built.with_context(|| format!("upstream {name}"))?),
            ))
        };
        let upstreams: anyhow::Result<_> = self.live.load().upstreams.iter().map(build).collect();
        Ok(Arc::new(upstreams?))
    }

    async fn deliverer(&self, sources: &BTreeMap<Name, SourceId>) -> anyhow::Result<Deliverer> {
        let parts = deliver::Parts {
            live: self.live.clone(),
            store: self.store.clone(),
            resolver: Resolver::system(),
            metrics: DeliverMetrics::new(&self.metrics),
            clock: self.clock.clone(),
            shutdown: self.shutdown.clone(),
        };
        let sources: Vec<_> = sources
            .iter()
            .map(|(name, id)| (name.clone(), *id))
            .collect();
        Ok(Deliverer::start(parts, &sources).await?)
    }

    async fn poller(&self, upstreams: Upstreams) -> anyhow::Result<Poller> {
        let parts = poll::Parts {
            live: self.live.clone(),
            store: self.store.clone(),
            upstreams,
            metrics: PollMetrics::new(&self.metrics, self.series_by()),
            clock: self.clock.clone(),
            shutdown: self.shutdown.clone(),
        };
        Ok(Poller::start(parts).await?)
    }

    /// How the series of sources are labelled: decided once, for a family's labels cannot change.
    fn series_by(&self) -> SeriesBy {
        let config = self.live.load();
        let per_source = match config.metrics.per_source {
            PerSource::On => true,
            PerSource::Off => false,
            PerSource::Auto => config.sources.len() <= PerSource::AUTO_MAX,
        };
        if per_source {
            SeriesBy::Source
        } else {
            SeriesBy::Upstream
        }
    }

    fn proxy(&self, upstreams: Upstreams, listeners: Vec<TcpListener>) -> anyhow::Result<Proxy> {
        let parts = proxy::Parts {
            live: self.live.clone(),
            upstreams,
            metrics: ProxyMetrics::new(&self.metrics),
            clock: self.clock.clone(),
            coverage: Arc::clone(&self.coverage),
            shutdown: self.shutdown.clone(),
        };
        Proxy::start(parts, listeners).context("the proxy does not start")
    }

    fn admin(
        &self,
        listener: TcpListener,
        (poller, deliverer, upstreams): (&Poller, &Deliverer, Upstreams),
        sources: BTreeMap<Name, SourceId>,
    ) -> anyhow::Result<JoinHandle<()>> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let parts = admin::Parts {
            live: self.live.clone(),
            store: self.store.clone(),
            poller: poller.clone(),
            deliverer: deliverer.clone(),
            upstreams,
            metrics: self.metrics.clone(),
            coverage: Arc::clone(&self.coverage),
            clock: self.clock.clone(),
            shutdown: self.shutdown.clone(),
            sources: Arc::new(sources),
            streams: admin::streams(),
        };
        Ok(tokio::spawn(admin::serve(listener, parts)))
    }
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .with_context(|| format!("cannot listen on {address}: is another process there?"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
