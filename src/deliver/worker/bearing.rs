//! What others may see of how much an endpoint bears.

use std::time::Instant;

use super::Running;
use crate::deliver::board::{Bearing, Breaker};

impl Running {
    /// Shows it, where it has changed.
    pub(super) fn show_bearing(&mut self) {
        let standing = self.valve.standing();
        if self.shown == Some(standing) {
            return;
        }
        self.shown = Some(standing);
        // Who reads it knows the wall clock alone.
        let (wall, now) = (self.worker.clock.now(), Instant::now());
        let breaker = match (standing.opened_at, standing.next_probe) {
            (None, _) => Breaker::Closed,
            (Some(_), None) => Breaker::HalfOpen,
            (Some(_), Some(_)) => Breaker::Open,
        };
        let opened_at = standing.opened_at;
        let next_probe = standing.next_probe.filter(|_| breaker == Breaker::Open);
        let bearing = Bearing {
            breaker,
            opened_at: opened_at.map(|at| wall.minus(now.saturating_duration_since(at))),
            next_probe: next_probe.map(|at| wall.plus(at.saturating_duration_since(now))),
            concurrency: standing.concurrency,
        };
        let is_open = breaker != Breaker::Closed;
        self.worker.metrics.bears(bearing.concurrency, is_open);
        self.worker.inbox.be_late(is_open);
        self.worker.board.bears(bearing);
    }
}
