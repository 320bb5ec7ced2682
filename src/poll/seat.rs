//! A source at the poller, and each of its partitions.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::alarms::Alarms;
use super::conclude::plan_of;
use super::hall::Standing;
use super::identity::Identity;
use super::notes::Desk;
use super::request;
use super::{
    FailingPartition, LastError, PartitionsStatus, SourceCondition, SourceStatus, reasons,
};
use crate::config::{self, Values};
use crate::event::Partition;
use crate::metrics::{PollMetrics, SourceSeries};
use crate::name::Name;
use crate::schedule::Plan;
use crate::store::{Memory, SnapshotId, SourceId, SourceState};
use crate::time::Timestamp;
use crate::upstream::{Reason, Request, Shared, Shelf, Upstream, Upstreams};

/// Failures of an upstream that is not there; what a gateway says in its place is a status.
const CUT_OFF: [Reason; 7] = [
    Reason::Dns,
    Reason::Connect,
    Reason::Tls,
    Reason::Timeout,
    Reason::Status,
    Reason::Unavailable,
    Reason::Body,
];

/// Most failing partitions that a status shows.
const SHOWN_MAX: usize = 10;

/// A source at the poller: what its partitions share.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) name: Name,
    pub(super) upstream: Name,
    /// Its place among the sources.
    pub(super) index: usize,
    /// The agenda's line of its upstream.
    pub(super) line: usize,
    pub(super) id: SourceId,
    pub(super) series: SourceSeries,
    /// Whether others have a partition for each of its items.
    pub(super) is_followed: bool,
    pub(super) alarms: Mutex<Alarms>,
    /// Its last answer, where it serves callers.
    pub(super) shelf: Arc<Shelf>,
    brief: ArcSwapOption<Brief>,
}

/// All that a poll takes from a configuration, looked up once for many polls.
#[derive(Debug)]
pub(super) struct Brief {
    pub(super) source: Arc<config::Source>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) identity: Identity,
    /// The request, if it is always the same.
    pub(super) request: Option<Request>,
    /// Its plan.
    plan: Plan,
    /// Of which configuration it is; weak, so that none outlives its time with a source that is
    /// never polled.
    config: Weak<config::Config>,
}

/// A partition of a source at the poller; the only one where the source is not divided.
///
/// There may be a hundred thousand of these: what they share stands in [`Watched`].
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) source: Arc<Watched>,
    pub(super) partition: Partition,
    pub(super) snapshot: SnapshotId,
    /// Changed by the one poll in flight; read by everyone.
    pub(super) mind: Mutex<Mind>,
}

/// Where a source stands among the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Its number.
    pub(super) index: usize,
    /// The agenda's line of its upstream.
    pub(super) line: usize,
    /// Whether others have a partition for each of its items.
    pub(super) is_followed: bool,
}

/// What a partition has in mind.
#[derive(Debug)]
pub(super) struct Mind {
    pub(super) memory: Arc<Memory>,
    pub(super) items: Option<u64>,
    /// When `memory` was last on disk.
    pub(super) written_at: Option<Timestamp>,
    /// Who brings `memory` to disk.
    pub(super) desk: Desk,
    /// When the last answer that was committed was whole.
    pub(super) fetched_at: Option<Instant>,
    /// Failures in a row of the store, which say nothing of the source.
    pub(super) store_failures: u32,
    pub(super) last_error: Option<Box<LastError>>,
}

impl Watched {
    /// A source as the store knows it, at `place`.
    pub(super) fn new(
        source: &config::Source,
        id: SourceId,
        place: Place,
        metrics: &PollMetrics,
    ) -> Self {
        Self {
            name: source.name.clone(),
            upstream: source.upstream.clone(),
            index: place.index,
            line: place.line,
            id,
            series: metrics.source(&source.name, &source.upstream, &reasons()),
            is_followed: place.is_followed,
            alarms: Mutex::default(),
            shelf: Arc::default(),
            brief: ArcSwapOption::empty(),
        }
    }

    /// What the configuration in force says of it; `None` if it has left.
    pub(super) fn brief(&self, live: &config::Live, upstreams: &Upstreams) -> Option<Arc<Brief>> {
        let config = live.load();
        let known = self.brief.load_full();
        if let Some(brief) = known.filter(|brief| brief.config.as_ptr() == Arc::as_ptr(&config)) {
            return Some(brief);
        }
        let source = config.sources.get(&self.name)?;
        let upstream = upstreams.get(&self.upstream)?;
        let brief = Arc::new(Brief {
            request: unvarying(source, upstream),
            plan: plan_of(source, &Partition::default()),
            source: Arc::clone(source),
            upstream: Arc::clone(upstream),
            identity: Identity::of(upstream.config(), source),
            config: Arc::downgrade(&config),
        });
        self.brief.store(Some(Arc::clone(&brief)));
        Some(brief)
    }

    /// What it shares with callers, if anything.
    pub(super) fn shared(&self, brief: &Brief) -> Option<Shared> {
        let Brief {
            source, upstream, ..
        } = brief;
        let joint = &source.joint;
        if *joint == config::Joint::default() {
            return None;
        }
        let request = brief.request.as_ref();
        let url = request.map(|request| &request.url);
        let target = url.map(|url| &url[url::Position::BeforePath..url::Position::AfterQuery]);
        let path = url.map_or("", |url| url.path());
        let base = upstream.config().url.path().trim_end_matches('/');
        let headers = request.map(|request| request.headers.clone());
        let headers = headers.unwrap_or_default();
        Some(Shared {
            source: source.name.clone(),
            target: target.unwrap_or_default().into(),
            path: path.strip_prefix(base).unwrap_or(path).into(),
            accept: headers
                .get(http::header::ACCEPT)
                .cloned()
                .unwrap_or_else(|| upstream.accept()),
            headers,
            body_bytes_max: source.body_bytes_max,
            on_write: joint.on_write.clone(),
            observe: joint.observe,
            serve: joint.serve,
            series: upstream.shared_series(&source.name),
            shelf: Arc::clone(&self.shelf),
        })
    }

    /// How it stands, as its seats do.
    pub(super) fn status(&self, seats: &[Standing]) -> SourceStatus {
        let mut status = SourceStatus {
            name: self.name.to_string(),
            upstream: self.upstream.to_string(),
            state: SourceCondition::Waiting,
            polling: false,
            items: None,
            last_poll: None,
            last_success: None,
            next_due: None,
            consecutive_failures: 0,
            last_error: None,
            adaptive: None,
            partitions: None,
        };
        let mut partitions = PartitionsStatus::default();
        for standing in seats {
            let seat = &standing.seat;
            let mind = seat.mind.lock();
            let memory = &mind.memory;
            let condition = mind.condition();
            status.state = status.state.max(condition);
            status.polling |= standing.polling;
            status.adaptive = match (status.adaptive, standing.rhythm) {
                (Some(one), Some(other)) => Some(one.and(other)),
                (one, other) => one.or(other),
            };
            status.items = match (status.items, mind.items) {
                (Some(one), Some(other)) => Some(one + other),
                (one, other) => one.or(other),
            };
            status.last_poll = status.last_poll.max(memory.polled_at);
            status.last_success = status.last_success.max(memory.succeeded_at);
            let dues = status.next_due.into_iter().chain(standing.due);
            status.next_due = dues.min();
            if memory.failures >= status.consecutive_failures && mind.last_error.is_some() {
                status.last_error = mind.last_error.as_deref().cloned();
            }
            status.consecutive_failures = status.consecutive_failures.max(memory.failures);
            partitions.count(condition);
            if condition == SourceCondition::Failing && partitions.first_failing.len() < SHOWN_MAX {
                partitions.first_failing.push(FailingPartition {
                    partition: seat.partition.values(),
                    consecutive_failures: memory.failures,
                    last_error: mind.last_error.as_deref().cloned(),
                });
            }
        }
        let is_divided = seats.iter().any(|one| !one.seat.partition.is_whole());
        status.partitions = (is_divided || seats.is_empty()).then_some(partitions);
        status
    }
}

/// The request of a source, if no value of the moment or of a partition stands in it.
fn unvarying(source: &config::Source, upstream: &Upstream) -> Option<Request> {
    if source.cursor.is_some() || source.request.variables().next().is_some() {
        return None;
    }
    let values = Values {
        cursor: None,
        now: Timestamp::default(),
        last_success: None,
        partition: &BTreeMap::new(),
    };
    // One that cannot be made is made again, and found wrong, by each poll.
    request::render(upstream, source, &values).ok()
}

impl Brief {
    /// The plan of a partition.
    pub(super) fn plan_of(&self, partition: &Partition) -> Plan {
        if partition.is_whole() {
            self.plan.clone()
        } else {
            plan_of(&self.source, partition)
        }
    }
}

impl Seat {
    /// A partition as the store remembers it.
    pub(super) fn new(source: &Arc<Watched>, partition: Partition, state: SourceState) -> Self {
        let SourceState { memory, items, .. } = state;
        let series = &source.series;
        series.came(items, memory.failures > 0);
        series.succeeded(memory.succeeded_at);
        source.alarms.lock().shift(&Memory::default(), &memory);
        Self {
            source: Arc::clone(source),
            partition,
            snapshot: state.snapshot,
            mind: Mutex::new(Mind {
                memory: Arc::new(memory),
                items,
                written_at: None,
                desk: Desk::Free,
                fetched_at: None,
                store_failures: 0,
                last_error: None,
            }),
        }
    }

    /// It was the last one to hear of this partition.
    pub(super) fn leave(&self) {
        let mind = self.mind.lock();
        self.source
            .series
            .left(mind.items, mind.memory.failures > 0);
        let mut alarms = self.source.alarms.lock();
        alarms.shift(&mind.memory, &Memory::default());
    }

    /// The partition, for the log: nothing where the source is not divided.
    pub(super) fn told(&self) -> Option<&str> {
        Some(self.partition.as_str()).filter(|text| !text.is_empty())
    }
}

impl PartitionsStatus {
    fn count(&mut self, condition: SourceCondition) {
        self.total += 1;
        match condition {
            SourceCondition::Failing => self.failing += 1,
            SourceCondition::Held => self.held += 1,
            SourceCondition::Waiting => self.waiting += 1,
            SourceCondition::Ok => {}
        }
    }
}

impl Mind {
    /// Whether an answer to a request sent then cannot be older than what is known.
    pub(super) fn is_news(&self, sent_at: Instant) -> bool {
        self.fetched_at
            .is_none_or(|fetched_at| sent_at > fetched_at)
    }

    /// Whether the last poll failed because the upstream was not there, rather than because of what
    /// it answered.
    pub(super) fn was_cut_off(&self) -> bool {
        let reason = self.memory.failing_reason.as_deref();
        reason.is_some_and(|reason| CUT_OFF.iter().any(|cut_off| cut_off.label() == reason))
    }

    fn condition(&self) -> SourceCondition {
        let memory = &self.memory;
        if memory.failures > 0 || self.store_failures > 0 {
            SourceCondition::Failing
        } else if memory.held.is_some() || memory.pending.is_some() {
            SourceCondition::Held
        } else if memory.polled_at.is_none() {
            SourceCondition::Waiting
        } else {
            SourceCondition::Ok
        }
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    /// What an idle partition costs beside its texts (its values, a validator): a hundred thousand
    /// take some 50 MB.
    #[test]
    fn an_idle_partition_is_small() {
        let bytes = size_of::<Seat>() + size_of::<Memory>();
        assert!(bytes <= 456, "{bytes} bytes");
    }
}
