//! The embedded store: one `SQLite` file, one writing thread, a few reading connections.
//!
//! Decides how the verbs become rows; each group of verbs has its file here. A job for the writer
//! is a closure, so the writer knows no verb and a verb knows no transaction.

mod backfill;
mod checkpoint;
mod commit;
mod deliveries;
mod endpoints;
mod fault;
mod feed;
mod fresh;
mod items;
mod lanes;
mod large;
mod line;
mod lock;
mod numbering;
mod packed;
mod peek;
mod readers;
mod renderings;
mod retain;
mod rewind;
mod schema;
mod settle;
mod sources;
mod steer;
mod sweep;
mod switches;
#[cfg(test)]
mod tests;
mod unseen;
mod writer;

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, watch};

use super::{Fresh, LaneId, Position, StoreError};
use crate::clock::Clock;
use crate::config;
use crate::metrics::StoreMetrics;
pub(super) use peek::peek;

use checkpoint::Checkpointer;
use large::Turns;
use lock::Lock;
use readers::Readers;
use writer::{Job, Writer};

/// Jobs that may wait for the writer; a caller beyond waits for a place. Some four transactions.
const QUEUE_MAX: usize = 1_024;

/// Commits told and not taken in yet; what comes beyond is read. Some 4 MiB at their largest.
const FRESH_QUEUE_MAX: usize = 256;

/// An open database.
pub(super) struct Sqlite {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    readers: Readers,
    position: watch::Receiver<Position>,
    fresh: Mutex<Option<mpsc::Receiver<Fresh>>>,
    /// Lanes asked for since the store was opened: those that the configuration still has.
    active: Mutex<HashSet<LaneId>>,
    turns: Turns,
    files: Files,
    settings: config::Store,
    clock: Clock,
}

impl Sqlite {
    pub(in crate::store) async fn open(
        settings: &config::Store,
        clock: Clock,
        metrics: StoreMetrics,
    ) -> Result<Self, StoreError> {
        let settings = settings.clone();
        let opening = tokio::task::spawn_blocking(move || start(settings, clock, metrics));
        opening.await.unwrap_or(Err(StoreError::Closed))
    }

    pub(in crate::store) fn position(&self) -> watch::Receiver<Position> {
        self.position.clone()
    }

    pub(in crate::store) fn fresh(&self) -> Option<mpsc::Receiver<Fresh>> {
        self.fresh.lock().take()
    }

    pub(in crate::store) async fn size_bytes(&self) -> Result<u64, StoreError> {
        let files = self.files.clone();
        let size = tokio::task::spawn_blocking(move || files.size_bytes()).await;
        let size = size.map_err(|_| StoreError::Closed)?;
        size.map_err(|error| StoreError::Database(error.to_string()))
    }

    pub(in crate::store) async fn close(&self) {
        self.readers.close().await;
        self.jobs.lock().take();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // A writer that panicked has nothing left to wait for.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    /// Runs `work`, which writes about `rows` rows, within the next transaction; returns once that
    /// is on disk. If this future is dropped, the work is done all the same.
    async fn write<T, F>(&self, rows: usize, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let (job, outcome) = Job::new(rows, work);
        self.send(job).await?;
        outcome.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Like [`Self::write`] for work that makes events visible, which it may tell the deliverer of.
    async fn write_and_tell<T, F>(&self, rows: usize, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection, &mut Option<Fresh>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let (job, outcome) = Job::telling(rows, work);
        self.send(job).await?;
        outcome.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn send(&self, job: Job) -> Result<(), StoreError> {
        let jobs = self.jobs.lock().clone().ok_or(StoreError::Closed)?;
        jobs.send(job).await.map_err(|_| StoreError::Closed)
    }

    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.readers.read(work).await
    }

    /// Like [`Self::read`] for what takes long.
    async fn read_behind<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.readers.read_behind(work).await
    }
}

/// The last clone is gone: waits for what is queued. [`Sqlite::close`] does so without blocking.
impl Drop for Sqlite {
    fn drop(&mut self) {
        self.jobs.lock().take();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sqlite({})", self.files.database.display())
    }
}

fn start(
    settings: config::Store,
    clock: Clock,
    metrics: StoreMetrics,
) -> Result<Sqlite, StoreError> {
    let lock = Lock::take(&settings.path)?;
    let mut connection = schema::open_writer(&settings.path)?;
    large::clean_all(&mut connection)?;
    let readers = Readers::open(&settings.path)?;
    let files = Files::of(&settings.path);
    metrics.sized(files.size_bytes().unwrap_or(0));
    let newest = connection.query_one("SELECT position FROM meta", [], |row| row.get(0))?;
    let (jobs, queue) = mpsc::channel(QUEUE_MAX);
    let (sender, position) = watch::channel(Position(newest));
    let (teller, fresh) = mpsc::channel(FRESH_QUEUE_MAX);
    let file = schema::open_file(&settings.path)?;
    let writer = Writer {
        connection,
        flushes: true,
        checkpointer: Checkpointer::start(&settings.path, Arc::clone(&file))?,
        jobs: queue,
        line: line::Line::default(),
        position: sender,
        fresh: teller,
        metrics,
        files: files.clone(),
        file,
        lock,
    };
    let thread = std::thread::Builder::new()
        .name("store-writer".to_owned())
        .spawn(move || writer.run())
        .map_err(|error| StoreError::Database(error.to_string()))?;
    Ok(Sqlite {
        jobs: Mutex::new(Some(jobs)),
        thread: Mutex::new(Some(thread)),
        readers,
        position,
        fresh: Mutex::new(Some(fresh)),
        active: Mutex::default(),
        turns: Turns::default(),
        files,
        settings,
        clock,
    })
}

/// The files of one database.
#[derive(Debug, Clone)]
struct Files {
    database: PathBuf,
    journal: PathBuf,
}

impl Files {
    fn of(database: &Path) -> Self {
        let mut journal = OsString::from(database);
        journal.push("-wal");
        Self {
            database: database.to_owned(),
            journal: journal.into(),
        }
    }

    fn size_bytes(&self) -> std::io::Result<u64> {
        let database = std::fs::metadata(&self.database)?.len();
        // There is no journal before the first write.
        let journal = std::fs::metadata(&self.journal).map_or(0, |found| found.len());
        Ok(database + journal)
    }
}

/// A count as `SQLite` keeps it.
fn stored(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A stored count, which is never negative.
fn counted(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A time as `SQLite` keeps it.
#[derive(Clone, Copy)]
struct At(crate::time::Timestamp);

impl rusqlite::types::FromSql for At {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        value
            .as_i64()
            .map(crate::time::Timestamp::from_millis)
            .map(Self)
    }
}

/// What stands in a column that this program wrote, but never so.
fn impossible(what: &str) -> StoreError {
    StoreError::Corrupt(format!("{what} is not one that doorbell writes"))
}

/// Why a caller's numbers name nothing here.
fn unknown(what: &str) -> StoreError {
    StoreError::Database(format!("there is no such {what}"))
}
