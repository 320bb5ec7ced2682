//! Series of the poller.

use std::time::Duration;

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts,
};

use super::Metrics;
use crate::name::Name;
use crate::time::Timestamp;

/// An exchange takes at most the upstream's `timeout`, 10 s unless configured.
const DURATION_BUCKETS: [f64; 11] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0];

/// From "as asked" to "this poller is overloaded".
const LAG_BUCKETS: [f64; 10] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0];

/// What the series of sources are labelled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesBy {
    /// `source`: each source has its own.
    Source,
    /// `upstream`: the sources of one share theirs. So many sources would be too many series.
    Upstream,
}

/// The families. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PollMetrics {
    by: SeriesBy,
    polls: IntCounterVec,
    errors: IntCounterVec,
    duration: HistogramVec,
    lag: Histogram,
    succeeded: GaugeVec,
    bytes: IntCounterVec,
    items: IntGaugeVec,
    partitions: IntGaugeVec,
    failing: IntGaugeVec,
    events: IntCounterVec,
}

/// The series of one source: handles looked up once.
#[derive(Clone, Debug)]
pub struct SourceSeries {
    name: Name,
    errors: IntCounterVec,
    changed: IntCounter,
    unchanged: IntCounter,
    not_modified: IntCounter,
    failed_polls: IntCounter,
    held: IntCounter,
    duration: Histogram,
    lag: Histogram,
    succeeded: Gauge,
    bytes: IntCounter,
    items: IntGauge,
    partitions: IntGauge,
    failing: IntGauge,
    created: IntCounter,
    updated: IntCounter,
    deleted: IntCounter,
    document: IntCounter,
}

/// How many events of a source were committed, by what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// `change="created"`.
    pub created: u64,
    /// `change="updated"`.
    pub updated: u64,
    /// `change="deleted"`.
    pub deleted: u64,
    /// `change="changed"`.
    pub changed: u64,
}

impl PollMetrics {
    /// Registers the families; once per registry.
    #[must_use]
    pub fn new(metrics: &Metrics, by: SeriesBy) -> Self {
        let label = match by {
            SeriesBy::Source => "source",
            SeriesBy::Upstream => "upstream",
        };
        let counter = |name: &str, help: &str, labels: &[&str]| {
            metrics.add(IntCounterVec::new(Opts::new(name, help), labels))
        };
        let by_label = &[label];
        let gauge = |name, help| metrics.add(IntGaugeVec::new(Opts::new(name, help), by_label));
        Self {
            by,
            polls: counter(
                "doorbell_polls_total",
                "Polls that ended, by outcome.",
                &[label, "outcome"],
            ),
            errors: counter(
                "doorbell_poll_errors_total",
                "Polls that failed, by reason.",
                &[label, "reason"],
            ),
            duration: metrics.add(HistogramVec::new(
                HistogramOpts::new(
                    "doorbell_poll_duration_seconds",
                    "From the start of a poll to its commit.",
                )
                .buckets(DURATION_BUCKETS.to_vec()),
                &["upstream"],
            )),
            lag: metrics.add(Histogram::with_opts(
                HistogramOpts::new(
                    "doorbell_poll_lag_seconds",
                    "From when a poll was due to when it began.",
                )
                .buckets(LAG_BUCKETS.to_vec()),
            )),
            succeeded: metrics.add(GaugeVec::new(
                Opts::new(
                    "doorbell_poll_last_success_timestamp_seconds",
                    "When the last believed poll ended; 0 before the first.",
                ),
                by_label,
            )),
            bytes: counter(
                "doorbell_poll_response_bytes_total",
                "Bytes of polls' bodies, decompressed.",
                by_label,
            ),
            items: gauge("doorbell_source_items", "Items in the snapshot."),
            partitions: gauge(
                "doorbell_source_partitions",
                "Partitions that are polled; 1 where the source is not divided.",
            ),
            failing: gauge(
                "doorbell_source_partitions_failing",
                "Partitions whose last poll failed.",
            ),
            events: counter(
                "doorbell_events_total",
                "Events committed, by what happened.",
                &[label, "change"],
            ),
        }
    }

    /// The series of `source` on `upstream`, which exist at 0 from now on; `reasons` are all
    /// values that the `reason` label can have.
    #[must_use]
    pub fn source(&self, source: &Name, upstream: &Name, reasons: &[&str]) -> SourceSeries {
        let source = match self.by {
            SeriesBy::Source => source,
            SeriesBy::Upstream => upstream,
        };
        let name = source.as_str();
        let polls = |outcome| self.polls.with_label_values(&[name, outcome]);
        let events = |change| self.events.with_label_values(&[name, change]);
        for reason in reasons {
            let _ = self.errors.with_label_values(&[name, reason]);
        }
        SourceSeries {
            name: source.clone(),
            errors: self.errors.clone(),
            changed: polls("changed"),
            unchanged: polls("unchanged"),
            not_modified: polls("not_modified"),
            failed_polls: polls("error"),
            held: polls("held"),
            duration: self.duration.with_label_values(&[upstream.as_str()]),
            lag: self.lag.clone(),
            succeeded: self.succeeded.with_label_values(&[name]),
            bytes: self.bytes.with_label_values(&[name]),
            items: self.items.with_label_values(&[name]),
            partitions: self.partitions.with_label_values(&[name]),
            failing: self.failing.with_label_values(&[name]),
            created: events("created"),
            updated: events("updated"),
            deleted: events("deleted"),
            document: events("changed"),
        }
    }
}

impl SourceSeries {
    /// A poll began, so long after it was due.
    pub fn began(&self, lag: Duration) {
        self.lag.observe(lag.as_secs_f64());
    }

    /// A body came, so many bytes of it.
    pub fn received(&self, bytes: usize) {
        self.bytes.inc_by(bytes as u64);
    }

    /// A poll ended and took so long.
    pub fn took(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
    }

    /// It rang.
    pub fn changed(&self, events: EventCounts) {
        self.changed.inc();
        self.created.inc_by(events.created);
        self.updated.inc_by(events.updated);
        self.deleted.inc_by(events.deleted);
        self.document.inc_by(events.changed);
    }

    /// It found nothing to ring.
    pub fn unchanged(&self) {
        self.unchanged.inc();
    }

    /// The upstream said that nothing changed.
    pub fn not_modified(&self) {
        self.not_modified.inc();
    }

    /// It is held.
    pub fn held(&self) {
        self.held.inc();
    }

    /// It failed; `reason` is one of those given to [`PollMetrics::source`].
    pub fn failed(&self, reason: &'static str) {
        self.failed_polls.inc();
        self.errors
            .with_label_values(&[self.name.as_str(), reason])
            .inc();
    }

    /// A partition is among those that are counted: its snapshot holds so many items, and it is
    /// failing or not.
    pub fn came(&self, items: Option<u64>, is_failing: bool) {
        self.moved(items, is_failing, 1);
    }

    /// What [`Self::came`] said holds no more.
    pub fn left(&self, items: Option<u64>, is_failing: bool) {
        self.moved(items, is_failing, -1);
    }

    fn moved(&self, items: Option<u64>, is_failing: bool, by: i64) {
        let items = i64::try_from(items.unwrap_or(0)).unwrap_or(i64::MAX);
        self.items.add(items.saturating_mul(by));
        self.partitions.add(by);
        self.failing.add(i64::from(is_failing) * by);
    }

    /// Its last success was then, if there was one.
    pub fn succeeded(&self, at: Option<Timestamp>) {
        let at = at.map_or(0.0, |at| at.as_millis() as f64 / 1000.0);
        // Of many partitions that are loaded in any order, the latest counts.
        if at > self.succeeded.get() {
            self.succeeded.set(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_of_a_source_exists_at_zero_from_load() {
        let metrics = Metrics::new();
        let name = |text| Name::parse(text).expect("a name");
        let families = PollMetrics::new(&metrics, SeriesBy::Source);
        let series = families.source(&name("issues"), &name("tracker"), &["timeout"]);
        let scrape = metrics.scrape();
        for line in [
            r#"doorbell_polls_total{outcome="held",source="issues"} 0"#,
            r#"doorbell_poll_errors_total{reason="timeout",source="issues"} 0"#,
            r#"doorbell_events_total{change="deleted",source="issues"} 0"#,
            r#"doorbell_poll_duration_seconds_count{upstream="tracker"} 0"#,
            r#"doorbell_source_items{source="issues"} 0"#,
        ] {
            assert!(scrape.contains(line), "{line} in {scrape}");
        }
        series.failed("timeout");
        let line = r#"doorbell_poll_errors_total{reason="timeout",source="issues"} 1"#;
        assert!(metrics.scrape().contains(line));
    }
    #[test]
    fn sources_of_one_upstream_can_share_their_series() {
        let metrics = Metrics::new();
        let name = |text| Name::parse(text).expect("a name");
        let families = PollMetrics::new(&metrics, SeriesBy::Upstream);
        let of = |source| families.source(&name(source), &name("tracker"), &["timeout"]);
        let (one, other) = (of("issues"), of("builds"));
        one.came(Some(3), true);
        other.came(Some(4), true);
        other.left(Some(4), true);
        other.came(Some(5), false);
        other.succeeded(Some(Timestamp::from_millis(2_000)));
        one.succeeded(Some(Timestamp::from_millis(1_000)));
        one.succeeded(None);
        one.unchanged();
        other.unchanged();
        let scrape = metrics.scrape();
        for line in [
            r#"doorbell_polls_total{outcome="unchanged",upstream="tracker"} 2"#,
            r#"doorbell_source_items{upstream="tracker"} 8"#,
            r#"doorbell_source_partitions{upstream="tracker"} 2"#,
            r#"doorbell_source_partitions_failing{upstream="tracker"} 1"#,
            r#"doorbell_poll_last_success_timestamp_seconds{upstream="tracker"} 2"#,
        ] {
            assert!(scrape.contains(line), "{line} in {scrape}");
        }
        assert!(!scrape.contains("source="), "{scrape}");
    }
}
