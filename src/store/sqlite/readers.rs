//! Connections that read, on tokio's blocking threads.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::schema;
use crate::store::StoreError;
use crate::threads;

/// Readers at once. Reads are short; more would only compete for the cores.
const READERS: u32 = 3;

/// A pool of reading connections.
pub(super) struct Readers {
    free: Arc<Mutex<Vec<Connection>>>,
    turns: Arc<Semaphore>,
    /// All but one: short reads never wait for long ones alone.
    heavy: Semaphore,
}

impl Readers {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let free = (0..READERS)
            .map(|_| schema::open_reader(path))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            free: Arc::new(Mutex::new(free)),
            turns: Arc::new(Semaphore::new(READERS as usize)),
            heavy: Semaphore::new(READERS as usize - 1),
        })
    }

    /// Runs `work` on one consistent view of the database.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let reading = tokio::task::spawn_blocking(self.reading(work).await?);
        // The task is never cancelled; it ends early only by a panic or with the runtime.
        reading.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Like [`Self::read`] for what takes long: it runs after everybody else's work.
    pub(super) async fn read_behind<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let _heavy = self.heavy.acquire().await.map_err(|_| StoreError::Closed)?;
        let reading = self.reading(work).await?;
        let read = threads::behind("store-reader", reading).await;
        read.unwrap_or_else(|| Err(StoreError::Database("no thread for a read".to_owned())))
    }

    /// `work` with a connection, once one is free.
    async fn reading<T, F>(
        &self,
        work: F,
    ) -> Result<impl FnOnce() -> Result<T, StoreError> + Send + 'static, StoreError>
    where
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| StoreError::Closed)?;
        let free = Arc::clone(&self.free);
        Ok(move || {
            let connection = free.lock().pop().ok_or(StoreError::Closed)?;
            // A read that panics must not take its connection along: after three nobody could
            // read any more.
            let work = std::panic::AssertUnwindSafe(|| view(&connection, work));
            let outcome = std::panic::catch_unwind(work);
            if outcome.is_err() && !connection.is_autocommit() {
                let _ = connection.execute_batch("ROLLBACK");
            }
            free.lock().push(connection);
            drop(turn);
            outcome.unwrap_or_else(|_| Err(StoreError::Database("a read panicked".to_owned())))
        })
    }

    /// Waits for the reads that run, then closes the connections.
    pub(super) async fn close(&self) {
        let all = self.turns.acquire_many(READERS).await;
        self.turns.close();
        drop(all);
        self.free.lock().clear();
    }
}

fn view<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let run = |sql| connection.prepare_cached(sql)?.execute([]).map(drop);
    run("BEGIN")?;
    let outcome = work(connection);
    run("ROLLBACK")?;
    outcome
}
