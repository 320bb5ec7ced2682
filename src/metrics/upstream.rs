//! Series of what upstreams are asked.

use prometheus::{IntCounter, IntCounterVec, Opts};

use super::Metrics;
use crate::name::Name;

/// The families. Cheap to clone.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    requests: IntCounterVec,
}

/// The series of one upstream. Cheap to clone.
#[derive(Clone, Debug)]
pub struct UpstreamSeries {
    polls: IntCounter,
    callers: IntCounter,
}

impl UpstreamMetrics {
    /// Registers the families; once per registry.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            requests: metrics.add(IntCounterVec::new(
                Opts::new(
                    "doorbell_upstream_requests_total",
                    "Requests that an upstream was sent, redirects included.",
                ),
                &["upstream", "by"],
            )),
        }
    }

    /// The series of one upstream, which exist at 0 from now on.
    #[must_use]
    pub fn upstream(&self, name: &Name) -> UpstreamSeries {
        let by = |by| self.requests.with_label_values(&[name.as_str(), by]);
        UpstreamSeries {
            polls: by("poll"),
            callers: by("caller"),
        }
    }
}

impl UpstreamSeries {
    /// The poller asks.
    pub fn asked_by_poll(&self) {
        self.polls.inc();
    }

    /// A caller asks.
    pub fn asked_by_caller(&self) {
        self.callers.inc();
    }
}
