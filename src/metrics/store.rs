//! What the store shows of itself.

use std::time::Duration;

use prometheus::{Gauge, Histogram, HistogramOpts};

use super::Metrics;

/// Seconds; a commit is one flush of the disk (some 0.5 ms) and up to a thousand rows.
const COMMIT_BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// Series of the store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    size_bytes: Gauge,
    commit_duration_seconds: Histogram,
}

impl StoreMetrics {
    /// Registers the series.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            size_bytes: metrics.add(Gauge::new(
                "doorbell_store_size_bytes",
                "Bytes that the store takes on disk, journal included.",
            )),
            commit_duration_seconds: metrics.add(Histogram::with_opts(
                HistogramOpts::new(
                    "doorbell_store_commit_duration_seconds",
                    "How long one transaction of the store took, from its begin until on disk.",
                )
                .buckets(COMMIT_BUCKETS.to_vec()),
            )),
        }
    }

    /// A transaction is on disk.
    pub fn committed(&self, took: Duration) {
        self.commit_duration_seconds.observe(took.as_secs_f64());
    }

    /// The store takes so many bytes.
    pub fn sized(&self, bytes: u64) {
        self.size_bytes.set(bytes as f64);
    }
}
