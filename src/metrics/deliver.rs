//! Series of the deliverer.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};

use super::Metrics;

/// Families of the deliverer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DeliverMetrics {
    attempts: IntCounterVec,
    deliveries: IntCounterVec,
    duration: HistogramVec,
    lag: HistogramVec,
    pending: IntGaugeVec,
    blocked_subjects: IntGaugeVec,
    oldest_pending: IntGaugeVec,
    enabled: IntGaugeVec,
    breaker_open: IntGaugeVec,
    concurrency: IntGaugeVec,
}

/// Series of one endpoint, found once. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EndpointMetrics {
    delivered_attempts: IntCounter,
    failed_attempts: IntCounter,
    delivered: IntCounter,
    dead: IntCounter,
    filtered: IntCounter,
    duration: Histogram,
    lag: Histogram,
    pending: IntGauge,
    blocked_subjects: IntGauge,
    oldest_pending: IntGauge,
    enabled: IntGauge,
    breaker_open: IntGauge,
    concurrency: IntGauge,
}

/// One attempt: from a loopback receiver to the longest usual timeout.
const DURATION_BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0,
];
/// From committed to accepted: at once, or after retries of up to days.
const LAG_BUCKETS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0,
    21600.0, 86400.0,
];

impl DeliverMetrics {
    /// Registers the families. At most once for each `metrics`.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let counter = |name, help, labels: &[&str]| {
            metrics.add(IntCounterVec::new(Opts::new(name, help), labels))
        };
        let gauge =
            |name, help| metrics.add(IntGaugeVec::new(Opts::new(name, help), &["endpoint"]));
        let histogram = |name, help, buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            metrics.add(HistogramVec::new(options, &["endpoint"]))
        };
        Self {
            attempts: counter(
                "doorbell_delivery_attempts_total",
                "Webhooks posted, by what came of the attempt.",
                &["endpoint", "outcome"],
            ),
            deliveries: counter(
                "doorbell_deliveries_total",
                "Deliveries that came to an end.",
                &["endpoint", "outcome"],
            ),
            duration: histogram(
                "doorbell_delivery_duration_seconds",
                "How long attempts took.",
                &DURATION_BUCKETS,
            ),
            lag: histogram(
                "doorbell_delivery_lag_seconds",
                "From the commit of an event to its acceptance by the endpoint.",
                &LAG_BUCKETS,
            ),
            pending: gauge(
                "doorbell_delivery_pending",
                "Deliveries that have not come to an end.",
            ),
            blocked_subjects: gauge(
                "doorbell_delivery_blocked_subjects",
                "Subjects whose later events wait for a retry.",
            ),
            oldest_pending: gauge(
                "doorbell_delivery_oldest_pending_seconds",
                "Age of the oldest event that is still to be delivered.",
            ),
            enabled: gauge(
                "doorbell_endpoint_enabled",
                "Whether the endpoint is rung; 0 after it answered 410 or failed for too long, and while \
                 somebody has it paused or disabled.",
            ),
            breaker_open: gauge(
                "doorbell_endpoint_breaker_open",
                "Whether the endpoint only fails and is only probed, until it accepts something.",
            ),
            concurrency: gauge(
                "doorbell_endpoint_concurrency",
                "Attempts that the endpoint gets at once; fewer than configured after it answered 429, \
                 502, 503 or 504.",
            ),
        }
    }

    /// The series of one configured endpoint; they exist from now on.
    #[must_use]
    pub fn endpoint(&self, name: &str) -> EndpointMetrics {
        let delivery = |outcome| self.deliveries.with_label_values(&[name, outcome]);
        let series = EndpointMetrics {
            delivered_attempts: self.attempts.with_label_values(&[name, "delivered"]),
            failed_attempts: self.attempts.with_label_values(&[name, "failed"]),
            delivered: delivery("delivered"),
            dead: delivery("dead"),
            filtered: delivery("filtered"),
            duration: self.duration.with_label_values(&[name]),
            lag: self.lag.with_label_values(&[name]),
            pending: self.pending.with_label_values(&[name]),
            blocked_subjects: self.blocked_subjects.with_label_values(&[name]),
            oldest_pending: self.oldest_pending.with_label_values(&[name]),
            enabled: self.enabled.with_label_values(&[name]),
            breaker_open: self.breaker_open.with_label_values(&[name]),
            concurrency: self.concurrency.with_label_values(&[name]),
        };
        series.enabled.set(1);
        series
    }

    /// The series of an endpoint that there is no more; whoever still counts in them counts for
    /// nobody.
    pub fn forget(&self, name: &str) {
        // An error says that there is no such series.
        for outcome in ["delivered", "failed"] {
            let _ = self.attempts.remove_label_values(&[name, outcome]);
        }
        for outcome in ["delivered", "dead", "filtered"] {
            let _ = self.deliveries.remove_label_values(&[name, outcome]);
        }
        for histogram in [&self.duration, &self.lag] {
            let _ = histogram.remove_label_values(&[name]);
        }
        for gauge in [
            &self.pending,
            &self.blocked_subjects,
            &self.oldest_pending,
            &self.enabled,
            &self.breaker_open,
            &self.concurrency,
        ] {
            let _ = gauge.remove_label_values(&[name]);
        }
    }
}

impl EndpointMetrics {
    /// An attempt was accepted, `lag_seconds` after its event was committed, if that counts.
    pub fn accepted(&self, duration_seconds: f64, lag_seconds: Option<f64>) {
        self.delivered_attempts.inc();
        self.duration.observe(duration_seconds);
        if let Some(lag_seconds) = lag_seconds {
            self.lag.observe(lag_seconds);
        }
    }

    /// An attempt failed.
    pub fn failed(&self, duration_seconds: f64) {
        self.failed_attempts.inc();
        self.duration.observe(duration_seconds);
    }

    /// An acceptance is on disk.
    pub fn delivered(&self) {
        self.delivered.inc();
    }

    /// A dead letter is on disk.
    pub fn dead(&self) {
        self.dead.inc();
    }

    /// It is on disk that an event is not for this endpoint.
    pub fn filtered(&self) {
        self.filtered.inc();
    }

    /// How much is to be delivered, and how many subjects wait for a retry.
    pub fn holds(&self, pending: u64, blocked_subjects: u64) {
        self.pending.set(gauged(pending));
        self.blocked_subjects.set(gauged(blocked_subjects));
    }

    /// Age of the oldest event to be delivered; 0: there is none.
    pub fn oldest(&self, seconds: u64) {
        self.oldest_pending.set(gauged(seconds));
    }

    /// Whether the endpoint is rung.
    pub fn enabled(&self, is_enabled: bool) {
        self.enabled.set(i64::from(is_enabled));
    }

    /// How many attempts at once the endpoint bears, and whether it is only probed.
    pub fn bears(&self, concurrency: usize, is_open: bool) {
        self.concurrency.set(gauged(concurrency as u64));
        self.breaker_open.set(i64::from(is_open));
    }
}

fn gauged(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_of_an_endpoint_exists_from_the_start() {
        let metrics = Metrics::new();
        let _ = DeliverMetrics::new(&metrics).endpoint("ops");
        let scrape = metrics.scrape();
        for line in [
            r#"doorbell_delivery_attempts_total{endpoint="ops",outcome="delivered"} 0"#,
            r#"doorbell_delivery_attempts_total{endpoint="ops",outcome="failed"} 0"#,
            r#"doorbell_deliveries_total{endpoint="ops",outcome="delivered"} 0"#,
            r#"doorbell_deliveries_total{endpoint="ops",outcome="dead"} 0"#,
            r#"doorbell_deliveries_total{endpoint="ops",outcome="filtered"} 0"#,
            r#"doorbell_delivery_duration_seconds_count{endpoint="ops"} 0"#,
            r#"doorbell_delivery_lag_seconds_count{endpoint="ops"} 0"#,
            r#"doorbell_delivery_pending{endpoint="ops"} 0"#,
            r#"doorbell_delivery_blocked_subjects{endpoint="ops"} 0"#,
            r#"doorbell_delivery_oldest_pending_seconds{endpoint="ops"} 0"#,
            r#"doorbell_endpoint_enabled{endpoint="ops"} 1"#,
            r#"doorbell_endpoint_breaker_open{endpoint="ops"} 0"#,
            r#"doorbell_endpoint_concurrency{endpoint="ops"} 0"#,
        ] {
            assert!(scrape.contains(line), "{line} is missing in:\n{scrape}");
        }
    }

    #[test]
    fn no_series_is_left_of_an_endpoint_that_is_forgotten() {
        let metrics = Metrics::new();
        let families = DeliverMetrics::new(&metrics);
        let (gone, _stays) = (families.endpoint("gone"), families.endpoint("stays"));
        families.forget("gone");
        gone.delivered();
        let scrape = metrics.scrape();
        assert!(!scrape.contains("\"gone\""), "{scrape}");
        let again = DeliverMetrics::endpoint(&families, "gone");
        again.enabled(true);
        let line = r#"doorbell_deliveries_total{endpoint="gone",outcome="delivered"} 0"#;
        assert!(metrics.scrape().contains(line));
    }
}
