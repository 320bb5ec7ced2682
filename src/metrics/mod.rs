//! The Prometheus series, one struct for each engine with one typed method per event.
//!
//! Decides names, labels and buckets; label values are configured names or enum labels only, and
//! every series of a configured name exists at 0 from load. Nothing outside this room names
//! `prometheus`.

mod deliver;
mod poll;
mod proxy;
mod store;
mod upstream;

use prometheus::core::Collector;
use prometheus::{Encoder as _, IntGauge, Opts, Registry, TextEncoder};

pub use deliver::{DeliverMetrics, EndpointMetrics};
pub use poll::{EventCounts, PollMetrics, SeriesBy, SourceSeries};
pub use proxy::{InFlight, ProxyMetrics, RouteMetrics};
pub use store::StoreMetrics;
pub use upstream::{SharedSeries, UpstreamMetrics, UpstreamSeries};

/// An own registry: two doorbells in one process do not share series. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// A registry with the series of the process and of the build.
    ///
    /// # Panics
    /// Never: a fresh registry takes the process collector.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::new(),
        };
        metrics.register(prometheus::process_collector::ProcessCollector::for_self());
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let build = Opts::new("doorbell_build_info", "1, labelled with what was built.");
        let build = build.const_labels(version.map(|(k, v)| (k.into(), v.into())).into());
        metrics.add(IntGauge::with_opts(build)).set(1);
        let help = "Whether the last configuration that was read is in force.";
        let loaded = Opts::new("doorbell_config_last_reload_successful", help);
        // A process whose first configuration is wrong never gets here.
        metrics.add(IntGauge::with_opts(loaded)).set(1);
        metrics
    }

    /// Adds a family and gives it back.
    fn add<C: Collector + Clone + 'static>(&self, family: prometheus::Result<C>) -> C {
        let family = family.expect("a family's name, help and labels are constants that fit");
        self.register(family.clone());
        family
    }

    fn register(&self, collector: impl Collector + 'static) {
        self.registry
            .register(Box::new(collector))
            .expect("each family is registered once per registry");
    }

    /// The exposition, in text format 0.0.4.
    #[must_use]
    pub fn scrape(&self) -> String {
        let mut text = Vec::new();
        // The encoder fails only on a family without series, which gather leaves out.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
