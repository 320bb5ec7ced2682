//! Brings the journal's pages into the database beside the writer, so that no commit waits for it.
//!
//! A checkpoint copies megabytes and flushes them; done by the writer, as `SQLite` does by itself,
//! every commit behind it waits for that. A passive one from another connection goes on beside
//! commits. It cannot bring in what they add meanwhile, and only what brings in everything flushes
//! the database and lets the journal begin anew. So the flush is done here by hand, and then the
//! writer brings in the little that is left.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::schema;
use crate::store::StoreError;

/// Rows after which the journal is brought in: some 1 to 4 MiB of it, so little that its flush
/// holds up those of the commits beside it only for a moment.
const ROWS: usize = 256;

/// Checkpoints rest for so many times what they took, so that a slow disk is left to the commits.
const REST: u32 = 4;

/// The longest rest; whoever closes the store may have to wait for it.
const REST_MAX: Duration = Duration::from_millis(100);

/// The thread that checkpoints. Ends with its owner, the writer.
pub(super) struct Checkpointer {
    wake: Option<SyncSender<()>>,
    /// Set when a checkpoint has ended and the writer has not brought in the rest.
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    rows: usize,
}

impl Checkpointer {
    /// Checkpoints the database at `path`, which `file` is open on.
    pub(super) fn start(path: &Path, file: Arc<File>) -> Result<Self, StoreError> {
        let connection = schema::open_checkpointer(path)?;
        // One place: a wake while a checkpoint runs asks for the next one.
        let (wake, woken) = sync_channel(1);
        let ended = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&ended);
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || {
                while woken.recv().is_ok() {
                    let began = Instant::now();
                    passive(&connection);
                    // If it fails, the writer's own flush will, or take longer.
                    let _ = file.sync_data();
                    done.store(true, Ordering::Release);
                    std::thread::sleep((began.elapsed() * REST).min(REST_MAX));
                }
            })
            .map_err(|error| StoreError::Database(error.to_string()))?;
        Ok(Self {
            wake: Some(wake),
            ended,
            thread: Some(thread),
            rows: 0,
        })
    }

    /// Tells that `writer` committed about so many rows; brings in the rest where it is time to.
    pub(super) fn committed(&mut self, rows: usize, writer: &Connection) {
        self.rows += rows;
        if self.ended.swap(false, Ordering::Acquire) {
            passive(writer);
        }
        if self.rows >= ROWS {
            self.rows = 0;
            // A full channel holds a wake that was not taken yet.
            let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        drop(self.wake.take());
        // A thread that panicked has nothing left to wait for.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Copies what can be copied without waiting for anybody. What fails or is left over is read from
/// the journal as before, and comes in with the next one.
fn passive(connection: &Connection) {
    let _ = run(connection, "PRAGMA wal_checkpoint(PASSIVE)");
}

/// Brings in everything and empties the journal, once nobody else reads or writes. Best effort, as
/// above.
pub(super) fn whole(connection: &Connection) {
    let _ = run(connection, "PRAGMA wal_checkpoint(TRUNCATE)");
}

/// As a statement: `pragma_query` takes a name alone and refuses one with an argument.
fn run(connection: &Connection, pragma: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(pragma)?.query_one([], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_committed_comes_into_the_database() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("doorbell.db");
        let writer = schema::open_writer(&path).expect("opens");
        let checkpointer = schema::open_checkpointer(&path).expect("opens");
        let size = || std::fs::metadata(&path).expect("a file").len();
        let insert = |table: &str| {
            let sql = format!("CREATE TABLE {table} AS SELECT randomblob(100000)");
            writer.execute_batch(&sql).expect("writes");
        };

        insert("one");
        let before = size();
        passive(&checkpointer);
        assert!(size() >= before + 100_000, "the thread's connection");

        insert("two");
        let before = size();
        whole(&writer);
        assert!(size() >= before + 100_000, "the writer's, at the end");
        let journal = folder.path().join("doorbell.db-wal");
        assert_eq!(std::fs::metadata(journal).expect("a file").len(), 0);
    }
}
