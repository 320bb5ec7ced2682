//! Who is next at the writer: small jobs before large ones, so that the commit of one change does
//! not wait for a poll of twenty thousand; but never so that the large ones wait for ever.
//!
//! Order among jobs that wait together carries no meaning: whoever needs one job to follow another
//! waits for the answer in between.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::writer::Job;
use crate::store::CHUNK_CHANGES;

/// Most rows of a small job: one poll with a few changes, a few settled deliveries. What comes in
/// chunks is large.
const SMALL_ROWS: usize = CHUNK_CHANGES - 1;

/// Most jobs that share a transaction; beyond, a flush is no longer what a job costs. Also the
/// most that wait here; the rest waits in the channel.
const JOBS_MAX: usize = 256;

/// Rows after which a transaction takes no further job: some 10 ms of work, what a job may have to
/// wait before its own transaction begins.
const ROWS_MAX: usize = 256;

/// Transactions of small jobs that a large one lets pass.
const PASSING_MAX: u32 = 4;

/// Jobs taken from the channel.
#[derive(Default)]
pub(super) struct Line {
    small: VecDeque<Job>,
    large: VecDeque<Job>,
    passing: u32,
}

impl Line {
    /// Takes what waits in the channel; false once that is closed and empty.
    pub(super) fn fill(&mut self, jobs: &mut mpsc::Receiver<Job>) -> bool {
        while self.small.len() + self.large.len() < JOBS_MAX {
            match jobs.try_recv() {
                Ok(job) => self.take(job),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        true
    }

    pub(super) fn take(&mut self, job: Job) {
        if job.rows <= SMALL_ROWS {
            self.small.push_back(job);
        } else {
            self.large.push_back(job);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty()
    }

    /// The jobs of the next transaction, at least one of those that wait.
    pub(super) fn next_batch(&mut self) -> Vec<Job> {
        let is_turn_of_large = self.small.is_empty() || self.passing >= PASSING_MAX;
        let queue = if is_turn_of_large && !self.large.is_empty() {
            self.passing = 0;
            &mut self.large
        } else {
            self.passing += u32::from(!self.large.is_empty());
            &mut self.small
        };
        let (mut rows, mut batch) = (0, Vec::new());
        while rows < ROWS_MAX
            && let Some(job) = queue.pop_front()
        {
            rows += job.rows;
            batch.push(job);
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(rows: usize) -> Job {
        Job::new(rows, |_| Ok(())).0
    }

    fn rows(batch: &[Job]) -> Vec<usize> {
        batch.iter().map(|job| job.rows).collect()
    }

    #[test]
    fn small_jobs_pass_large_ones_a_few_times() {
        let mut line = Line::default();
        for rows in [200, 100, 100, 1, 2] {
            line.take(job(rows));
        }
        assert_eq!(rows(&line.next_batch()), [1, 2]);
        assert_eq!(rows(&line.next_batch()), [200, 100]);
        for round in 1..=PASSING_MAX {
            line.take(job(3));
            assert_eq!(rows(&line.next_batch()), [3], "round {round}");
        }
        line.take(job(3));
        assert_eq!(rows(&line.next_batch()), [100], "its turn has come");
        assert_eq!(rows(&line.next_batch()), [3]);
        assert!(line.is_empty());
    }

    #[test]
    fn what_comes_in_chunks_lets_others_pass() {
        let mut line = Line::default();
        line.take(job(CHUNK_CHANGES));
        line.take(job(1));
        assert_eq!(rows(&line.next_batch()), [1]);
        assert_eq!(rows(&line.next_batch()), [CHUNK_CHANGES]);
    }
}
