//! The one thread that writes: group commit, savepoints, and the sweep in its spare time.
//!
//! Jobs that wait while a transaction flushes form the next one, so the flush, which costs more
//! than the rows, is shared. Each job has a savepoint: one that fails takes nobody with it.

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::checkpoint::{self, Checkpointer};
use super::line::Line;
use super::lock::Lock;
use super::{Files, fault, sweep};
use crate::metrics::StoreMetrics;
use crate::store::{Fresh, Position, StoreError};

/// Transactions between two sweeps under load, so that a sweep ends although jobs keep coming.
const SWEEP_EVERY: u32 = 8;

/// Something to write.
pub(super) struct Job {
    pub(super) rows: usize,
    work: Box<dyn Work>,
}

/// What the writer needs of a job: to do it, and later to tell its caller.
trait Work: Send {
    fn run(&mut self, connection: &Connection) -> Result<(), StoreError>;
    fn fresh(&mut self) -> Option<Fresh>;
    fn answer(self: Box<Self>, fate: Result<(), StoreError>);
}

struct Task<F, T> {
    work: Option<F>,
    value: Option<T>,
    fresh: Option<Fresh>,
    caller: oneshot::Sender<Result<T, StoreError>>,
}

impl Job {
    /// A job that writes about `rows` rows, and where its outcome will arrive, once on disk.
    pub(super) fn new<T, F>(
        rows: usize,
        work: F,
    ) -> (Self, oneshot::Receiver<Result<T, StoreError>>)
    where
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        Self::telling(rows, |connection, _| work(connection))
    }

    /// Like [`Self::new`]; the work may also leave what is told once it is visible.
    pub(super) fn telling<T, F>(
        rows: usize,
        work: F,
    ) -> (Self, oneshot::Receiver<Result<T, StoreError>>)
    where
        F: FnOnce(&Connection, &mut Option<Fresh>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let (caller, outcome) = oneshot::channel();
        let task = Task {
            work: Some(work),
            value: None,
            fresh: None,
            caller,
        };
        let work = Box::new(task);
        (Self { rows, work }, outcome)
    }
}

impl<T, F> Work for Task<F, T>
where
    F: FnOnce(&Connection, &mut Option<Fresh>) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let work = self.work.take().ok_or(StoreError::Closed)?;
        self.value = Some(work(connection, &mut self.fresh)?);
        Ok(())
    }

    fn fresh(&mut self) -> Option<Fresh> {
        // What failed was rolled back, whatever it had left.
        self.fresh.take().filter(|_| self.value.is_some())
    }

    fn answer(self: Box<Self>, fate: Result<(), StoreError>) {
        let Self { value, caller, .. } = *self;
        let outcome = fate.and_then(|()| value.ok_or(StoreError::Closed));
        // A caller that went away wants no answer; its work is on disk all the same.
        let _ = caller.send(outcome);
    }
}

/// The thread's state. Fields drop in this order: the lock outlives the connection.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) checkpointer: Checkpointer,
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) line: Line,
    pub(super) position: watch::Sender<Position>,
    pub(super) fresh: mpsc::Sender<Fresh>,
    pub(super) metrics: StoreMetrics,
    pub(super) files: Files,
    /// Open on the database until all connections are closed: see [`super::schema::open_file`].
    pub(super) file: Arc<File>,
    pub(super) lock: Lock,
}

impl Writer {
    /// Writes until every sender is gone and every job is done, then closes the database.
    pub(super) fn run(mut self) {
        let mut sweep_due = self.publish();
        let mut since_sweep = 0;
        let mut damage = None;
        loop {
            let is_open = self.line.fill(&mut self.jobs);
            let idle = self.line.is_empty();
            if !idle {
                let batch = self.line.next_batch();
                let fate = self.transact(batch, damage.as_ref());
                since_sweep += 1;
                match fate {
                    Ok(found) => sweep_due = found,
                    Err(error @ StoreError::Corrupt(_)) => damage = Some(error),
                    Err(_) => {}
                }
            } else if !is_open {
                // The sweep does not hold up closing; the next start goes on with it.
                break;
            } else if !sweep_due {
                match self.jobs.blocking_recv() {
                    Some(job) => self.line.take(job),
                    None => break,
                }
                continue;
            }
            if sweep_due && (idle || since_sweep >= SWEEP_EVERY) {
                since_sweep = 0;
                sweep_due = damage.is_none() && self.sweep();
            }
        }
        let Self {
            connection,
            checkpointer,
            file,
            lock,
            ..
        } = self;
        drop(checkpointer);
        checkpoint::whole(&connection);
        drop(connection);
        drop(file);
        drop(lock);
    }

    /// Runs the jobs in one transaction and answers them once it is on disk, or is not. A damaged
    /// database is not written to any more. Whether there is something to sweep.
    fn transact(
        &mut self,
        mut batch: Vec<Job>,
        damage: Option<&StoreError>,
    ) -> Result<bool, StoreError> {
        let started = Instant::now();
        let mut outcomes = Vec::with_capacity(batch.len());
        let fate = match damage {
            Some(error) => Err(error.clone()),
            None => self.attempt(&mut batch, &mut outcomes),
        };
        if fate.is_err() && !self.connection.is_autocommit() {
            // Fails only if the database rolled back already.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        let mut sweep_due = false;
        let rows = batch.iter().map(|job| job.rows).sum();
        if fate.is_ok() {
            self.metrics.committed(started.elapsed());
            self.metrics.sized(self.files.size_bytes().unwrap_or(0));
            for fresh in batch.iter_mut().filter_map(|job| job.work.fresh()) {
                // Without room, or without a deliverer, the position alone tells of it.
                let _ = self.fresh.try_send(fresh);
            }
            // Before the answers, so that whoever got one finds the position moved.
            sweep_due = self.publish();
        }
        for (index, job) in batch.into_iter().enumerate() {
            let own = outcomes.get(index).cloned().unwrap_or(Ok(()));
            job.work.answer(fate.clone().and(own));
        }
        if fate.is_ok() {
            // After the answers: it is nobody's to wait for.
            self.checkpointer.committed(rows, &self.connection);
        }
        fate.map(|()| sweep_due)
    }

    fn attempt(
        &self,
        batch: &mut [Job],
        outcomes: &mut Vec<Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        let run = |sql| self.connection.prepare_cached(sql)?.execute([]).map(drop);
        run("BEGIN IMMEDIATE")?;
        for job in batch {
            run("SAVEPOINT job")?;
            let outcome = job.work.run(&self.connection);
            if let Err(error) = &outcome {
                let lost = fault::ends_transaction(error) || self.connection.is_autocommit();
                if lost {
                    return Err(error.clone());
                }
                run("ROLLBACK TO job")?;
            }
            run("RELEASE job")?;
            outcomes.push(outcome);
        }
        run("COMMIT")?;
        Ok(())
    }

    /// One step of the sweep in its own transaction; whether there is more to do now. After a
    /// failure there is not: the next successful transaction asks again.
    fn sweep(&mut self) -> bool {
        let step = |connection: &mut Connection| -> Result<bool, StoreError> {
            let transaction = connection.transaction()?;
            let more = sweep::step(&transaction)?;
            transaction.commit()?;
            Ok(more)
        };
        step(&mut self.connection).unwrap_or(false)
    }

    /// Tells the newest visible commit; whether there is something to sweep.
    fn publish(&self) -> bool {
        let sql = "SELECT position, EXISTS (SELECT 1 FROM sweeps) FROM meta";
        let read = self.connection.prepare_cached(sql).and_then(|mut query| {
            query.query_one([], |row| Ok((Position(row.get(0)?), row.get(1)?)))
        });
        let Ok((newest, sweep_due)) = read else {
            return false;
        };
        self.position.send_if_modified(|position| {
            let moved = *position != newest;
            *position = newest;
            moved
        });
        sweep_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventKey;
    use crate::store::SourceId;

    #[test]
    fn work_that_failed_has_nothing_to_tell() {
        let connection = Connection::open_in_memory().expect("opens");
        let told = || Fresh {
            position: Position(1),
            source: SourceId(1),
            after: EventKey::START,
            events: [].into(),
        };
        for (outcome, tells) in [(Ok(()), true), (Err(StoreError::Full), false)] {
            let (mut job, _) = Job::telling(1, move |_, fresh| {
                *fresh = Some(told());
                outcome
            });
            assert_eq!(job.work.run(&connection).is_ok(), tells);
            assert_eq!(job.work.fresh().is_some(), tells);
        }
    }
}
