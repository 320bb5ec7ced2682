//! The one thread that writes: group commit, savepoints, and the sweep in its spare time.
//!
//! Jobs that wait while a transaction flushes form the next one, so the flush, which costs more
//! than the rows, is shared. Each job has a savepoint: one that fails takes nobody with it.

use std::fs::File;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::checkpoint::{self, Checkpointer};
use super::line::Line;
use super::lock::Lock;
use super::{Files, fault, schema, sweep};
use crate::metrics::StoreMetrics;
use crate::store::{Fresh, Position, StoreError};

/// Transactions between two sweeps under load, so that a sweep ends although jobs keep coming.
const SWEEP_EVERY: u32 = 2;

/// Between its steps, the sweep rests for so many times what the last one took: a commit that
/// comes meanwhile finds the writer and the disk at leisure.
const REST: u32 = 4;

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
    /// Whether the connection flushes what it commits.
    pub(super) flushes: bool,
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
            if !self.line.is_empty() {
                let batch = self.line.next_batch();
                let fate = self.transact(batch, damage.as_ref());
                since_sweep += 1;
                match fate {
                    Ok(found) => sweep_due = found,
                    Err(error @ StoreError::Corrupt(_)) => damage = Some(error),
                    Err(_) => {}
                }
                if sweep_due && since_sweep >= SWEEP_EVERY {
                    since_sweep = 0;
                    sweep_due = damage.is_none() && self.sweep();
                }
                continue;
            }
            // The sweep does not hold up closing; the next start goes on with it.
            let next = match (is_open, sweep_due) {
                (false, _) => break,
                (true, false) => Poll::Ready(self.jobs.blocking_recv()),
                (true, true) => {
                    let began = Instant::now();
                    sweep_due = damage.is_none() && self.sweep();
                    wait(&mut self.jobs, began.elapsed() * REST)
                }
            };
            match next {
                Poll::Ready(Some(job)) => self.line.take(job),
                Poll::Ready(None) => break,
                Poll::Pending => {}
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
        &mut self,
        batch: &mut [Job],
        outcomes: &mut Vec<Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        schema::flush(&self.connection, &mut self.flushes, true)?;
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

    /// One step of the sweep in its own transaction, a short one where a job waits; whether there is
    /// more to do now. After a failure there is not: the next successful transaction asks again.
    ///
    /// It is not flushed: what a crash undoes of it is swept again.
    fn sweep(&mut self) -> bool {
        let Self {
            connection,
            flushes,
            jobs,
            line,
            ..
        } = self;
        let mut step = || -> Result<bool, StoreError> {
            schema::flush(connection, flushes, false)?;
            let transaction = connection.transaction()?;
            let more = sweep::step(&transaction, || !jobs.is_empty() || !line.is_empty())?;
            transaction.commit()?;
            Ok(more)
        };
        step().unwrap_or(false)
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

/// Waits for a job, at most so long; `Pending` when none came.
fn wait(jobs: &mut mpsc::Receiver<Job>, limit: Duration) -> Poll<Option<Job>> {
    let end = Instant::now() + limit;
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        let next = jobs.poll_recv(&mut Context::from_waker(&waker));
        let left = end.saturating_duration_since(Instant::now());
        if next.is_ready() || left.is_zero() {
            return next;
        }
        thread::park_timeout(left);
    }
}

/// Wakes a thread that waits for a job.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventKey;
    use crate::store::SourceId;

    #[test]
    fn a_rest_ends_with_the_next_job_or_with_the_last_sender() {
        let (sender, mut jobs) = mpsc::channel(1);
        let short = Duration::from_millis(1);
        assert!(wait(&mut jobs, short).is_pending(), "nobody wrote");

        // Sent once the other thread may have gone to rest, or before: it is heard either way.
        let rest = Duration::from_hours(1);
        let resting = thread::spawn(move || {
            let heard = matches!(wait(&mut jobs, rest), Poll::Ready(Some(_)));
            heard && matches!(wait(&mut jobs, rest), Poll::Ready(None))
        });
        let (job, _) = Job::new(1, |_| Ok(()));
        sender.blocking_send(job).expect("it rests");
        drop(sender);
        assert!(resting.join().expect("it ends"), "a job, then the end");
    }

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
