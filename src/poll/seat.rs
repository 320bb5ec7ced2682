//! A source at the poller, and each of its partitions.

use std::sync::Arc;

use parking_lot::Mutex;

use super::hall::Standing;
use super::notes::Desk;
use super::{LastError, SourceCondition, SourceStatus, reasons};
use crate::config;
use crate::event::Partition;
use crate::metrics::{PollMetrics, SourceSeries};
use crate::name::Name;
use crate::store::{Memory, SnapshotId, SourceId, SourceState};
use crate::time::Timestamp;

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

/// What a partition has in mind.
#[derive(Debug)]
pub(super) struct Mind {
    pub(super) memory: Memory,
    pub(super) items: Option<u64>,
    /// When `memory` was last on disk.
    pub(super) written_at: Option<Timestamp>,
    /// Who brings `memory` to disk.
    pub(super) desk: Desk,
    /// Failures in a row of the store, which say nothing of the source.
    pub(super) store_failures: u32,
    pub(super) last_error: Option<Box<LastError>>,
}

impl Watched {
    /// Number `index` of the sources, with polls on `line`.
    pub(super) fn new(
        source: &config::Source,
        id: SourceId,
        (index, line): (usize, usize),
        metrics: &PollMetrics,
    ) -> Self {
        Self {
            name: source.name.clone(),
            upstream: source.upstream.clone(),
            index,
            line,
            id,
            series: metrics.source(&source.name, &source.upstream, &reasons()),
        }
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
        };
        for (seat, next_due, polling) in seats {
            let mind = seat.mind.lock();
            let memory = &mind.memory;
            status.state = status.state.max(mind.condition());
            status.polling |= polling;
            status.items = match (status.items, mind.items) {
                (Some(one), Some(other)) => Some(one + other),
                (one, other) => one.or(other),
            };
            status.last_poll = status.last_poll.max(memory.polled_at);
            status.last_success = status.last_success.max(memory.succeeded_at);
            let dues = status.next_due.into_iter().chain(*next_due);
            status.next_due = dues.min();
            if memory.failures >= status.consecutive_failures && mind.last_error.is_some() {
                status.last_error = mind.last_error.as_deref().cloned();
            }
            status.consecutive_failures = status.consecutive_failures.max(memory.failures);
        }
        status
    }
}

impl Seat {
    /// A partition as the store remembers it.
    pub(super) fn new(source: &Arc<Watched>, partition: Partition, state: SourceState) -> Self {
        source.series.stands(state.items, state.memory.succeeded_at);
        Self {
            source: Arc::clone(source),
            partition,
            snapshot: state.snapshot,
            mind: Mutex::new(Mind {
                memory: state.memory,
                items: state.items,
                written_at: None,
                desk: Desk::Free,
                store_failures: 0,
                last_error: None,
            }),
        }
    }
}

impl Mind {
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
