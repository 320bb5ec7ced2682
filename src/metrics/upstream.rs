//! Series of what upstreams are asked.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

use super::Metrics;
use crate::name::Name;

/// The families. Cheap to clone.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    requests: IntCounterVec,
    remaining: IntGaugeVec,
    healthy: IntGaugeVec,
    shared: IntCounterVec,
}

/// The series of one upstream. Cheap to clone.
#[derive(Clone, Debug)]
pub struct UpstreamSeries {
    name: Name,
    polls: IntCounter,
    callers: IntCounter,
    remaining: Option<IntGauge>,
    healthy: IntGauge,
}

impl UpstreamMetrics {
    /// Registers the families; once per registry.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let gauge = |name: &str, help: &str| {
            metrics.add(IntGaugeVec::new(Opts::new(name, help), &["upstream"]))
        };
        Self {
            requests: metrics.add(IntCounterVec::new(
                Opts::new(
                    "doorbell_upstream_requests_total",
                    "Requests that an upstream was sent, redirects included.",
                ),
                &["upstream", "by"],
            )),
            remaining: gauge(
                "doorbell_upstream_budget_remaining",
                "Requests that may be made at once now, of upstreams with a budget.",
            ),
            shared: metrics.add(IntCounterVec::new(
                Opts::new(
                    "doorbell_snapshot_answers_total",
                    "Callers' requests that were a source's own: answered from its last answer, \
                     from one that is only better than an error, or by the upstream.",
                ),
                &["source", "result"],
            )),
            healthy: gauge(
                "doorbell_upstream_healthy",
                "1 while the upstream answers, 0 while it is only probed.",
            ),
        }
    }

    /// The series of a source that serves callers, which exist at 0 from now on.
    #[must_use]
    pub fn shared(&self, source: &Name) -> SharedSeries {
        let result = |result| self.shared.with_label_values(&[source.as_str(), result]);
        SharedSeries {
            hits: result("hit"),
            stale: result("stale"),
            misses: result("miss"),
        }
    }

    /// The series of one upstream, with a budget or without, which exist from now on.
    #[must_use]
    pub fn upstream(&self, name: &Name, has_budget: bool) -> UpstreamSeries {
        let gauge = |family: &IntGaugeVec| family.with_label_values(&[name.as_str()]);
        let by = |by| self.requests.with_label_values(&[name.as_str(), by]);
        UpstreamSeries {
            name: name.clone(),
            remaining: has_budget.then(|| gauge(&self.remaining)),
            healthy: gauge(&self.healthy),
            polls: by("poll"),
            callers: by("caller"),
        }
    }
}

/// What callers were answered who asked for what a source asks for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SharedSeries {
    hits: IntCounter,
    stale: IntCounter,
    misses: IntCounter,
}

impl SharedSeries {
    /// The source's last answer was fresh.
    pub fn hit(&self) {
        self.hits.inc();
    }

    /// It was not, and better than an error.
    pub fn stale(&self) {
        self.stale.inc();
    }

    /// The upstream was asked.
    pub fn missed(&self) {
        self.misses.inc();
    }
}

impl UpstreamSeries {
    /// The upstream's name, for the log.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// So many requests may be made at once.
    pub fn remaining(&self, requests: u32) {
        if let Some(remaining) = &self.remaining {
            remaining.set(i64::from(requests));
        }
    }

    /// Whether it answers.
    pub fn healthy(&self, is_healthy: bool) {
        self.healthy.set(i64::from(is_healthy));
    }

    /// The poller asks.
    pub fn asked_by_poll(&self) {
        self.polls.inc();
    }

    /// A caller asks.
    pub fn asked_by_caller(&self) {
        self.callers.inc();
    }
}
