//! The series of the proxy.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};

use super::Metrics;

/// Buckets in seconds: a proxied call takes from a millisecond to the timeout of its upstream.
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// The `route` label of requests that no route takes; no route is called so.
const NO_ROUTE: &str = "none";

/// What the proxy counts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ProxyMetrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    upstream_duration: HistogramVec,
    rate_limited: IntCounterVec,
    inflight: IntGaugeVec,
}

/// The series of one route, found once. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RouteMetrics(Arc<Series>);

#[derive(Debug)]
struct Series {
    route: String,
    requests: IntCounterVec,
    /// Those of `requests` that were in use: at most 10 methods by 500 statuses.
    counters: RwLock<HashMap<(&'static str, u16), IntCounter>>,
    duration: Histogram,
    upstream_duration: Histogram,
    /// In the order of the route's limits.
    rate_limited: Vec<IntCounter>,
    inflight: IntGauge,
}

/// Counts a request in flight as long as it lives.
#[derive(Debug)]
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl ProxyMetrics {
    /// Registers the families.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let histogram = |name: &str, help: &str| {
            let opts = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
            metrics.add(HistogramVec::new(opts, &["route"]))
        };
        Self {
            requests: metrics.add(IntCounterVec::new(
                Opts::new(
                    "doorbell_proxy_requests_total",
                    "Requests of callers by route, method and status answered; \
                     499 when the caller left before an answer.",
                ),
                &["route", "method", "code"],
            )),
            duration: histogram(
                "doorbell_proxy_request_duration_seconds",
                "Time from a request's head to the end of its answer.",
            ),
            upstream_duration: histogram(
                "doorbell_proxy_upstream_duration_seconds",
                "Time from asking the upstream for a connection to the head of its answer.",
            ),
            rate_limited: metrics.add(IntCounterVec::new(
                Opts::new(
                    "doorbell_proxy_rate_limited_total",
                    "Requests over a limit of their route, enforced or not.",
                ),
                &["route", "limit"],
            )),
            inflight: metrics.add(IntGaugeVec::new(
                Opts::new(
                    "doorbell_proxy_inflight_requests",
                    "Requests of callers that are being served.",
                ),
                &["route"],
            )),
        }
    }

    /// The series of the route called `route` with limits labelled `limits`, in their order. They
    /// exist at 0 from here on.
    #[must_use]
    pub fn route(&self, route: &str, limits: &[&str]) -> RouteMetrics {
        let limited = |limit: &&str| self.rate_limited.with_label_values(&[route, *limit]);
        let series = RouteMetrics(Arc::new(Series {
            route: route.to_owned(),
            requests: self.requests.clone(),
            counters: RwLock::default(),
            duration: self.duration.with_label_values(&[route]),
            upstream_duration: self.upstream_duration.with_label_values(&[route]),
            rate_limited: limits.iter().map(limited).collect(),
            inflight: self.inflight.with_label_values(&[route]),
        }));
        series.counter("GET", 200);
        series
    }

    /// The series of requests that no route takes.
    #[must_use]
    pub fn no_route(&self) -> RouteMetrics {
        self.route(NO_ROUTE, &[])
    }
}

impl RouteMetrics {
    /// A request was answered with `status`, `took` after its head; `None`: its caller left first.
    pub fn answered(&self, method: &str, status: Option<u16>, took: Duration) {
        // What is no status of RFC 9110 section 15 counts as the server error it is taken for.
        let code = status.map_or(499, |status| status.clamp(100, 599));
        self.counter(method_label(method), code).inc();
        self.0.duration.observe(took.as_secs_f64());
    }

    /// The head of the upstream's answer came after `took`.
    pub fn upstream_answered(&self, took: Duration) {
        self.0.upstream_duration.observe(took.as_secs_f64());
    }

    /// A request was over the limit at `index` of the route.
    pub fn rate_limited(&self, index: usize) {
        if let Some(counter) = self.0.rate_limited.get(index) {
            counter.inc();
        }
    }

    /// A request begins; it is in flight until the guard goes.
    #[must_use]
    pub fn begin(&self) -> InFlight {
        self.0.inflight.inc();
        InFlight(self.0.inflight.clone())
    }

    fn counter(&self, method: &'static str, code: u16) -> IntCounter {
        if let Some(counter) = self.0.counters.read().get(&(method, code)) {
            return counter.clone();
        }
        let code_label = code.to_string();
        let labels = [&*self.0.route, method, &*code_label];
        let counter = self.0.requests.with_label_values(&labels);
        self.0
            .counters
            .write()
            .insert((method, code), counter.clone());
        counter
    }
}

/// The methods that have a series of their own; callers may invent any number of others.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE",
];

fn method_label(method: &str) -> &'static str {
    METHODS
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_routes_series_exist_before_its_first_request() {
        let metrics = Metrics::new();
        let _ = ProxyMetrics::new(&metrics).route("tracker", &["ip"]);
        let text = metrics.scrape();
        for line in [
            r#"doorbell_proxy_requests_total{code="200",method="GET",route="tracker"} 0"#,
            r#"doorbell_proxy_rate_limited_total{limit="ip",route="tracker"} 0"#,
            r#"doorbell_proxy_inflight_requests{route="tracker"} 0"#,
            r#"doorbell_proxy_request_duration_seconds_count{route="tracker"} 0"#,
            r#"doorbell_proxy_upstream_duration_seconds_count{route="tracker"} 0"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn no_caller_can_invent_a_label() {
        let metrics = Metrics::new();
        let route = ProxyMetrics::new(&metrics).route("tracker", &[]);
        route.answered("BREW", Some(999), Duration::ZERO);
        route.answered("get", None, Duration::ZERO);
        let text = metrics.scrape();
        for line in [
            r#"{code="599",method="OTHER",route="tracker"} 1"#,
            r#"{code="499",method="OTHER",route="tracker"} 1"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
