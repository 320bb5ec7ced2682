//! Polls of many changes, in chunks that nobody sees until one small transaction says so.
//!
//! Rows of items are added beside the old ones under a generation that is newer than the
//! snapshot's, events under a generation that no commit has. An `unfinished` row stands until the
//! last transaction; whatever it names can be removed at any time. While it stands no other poll
//! of the source commits, so that keys of events ascend with their sequence.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::OwnedMutexGuard;

use super::commit::{self, CHUNK_BYTES, Change, Head};
use super::numbering::{self, Tally};
use super::{Sqlite, items, stored, unseen};
use crate::event::{EventKey, ORDINAL_MAX, Partition};
use crate::store::{CHUNK_CHANGES, Committed, ItemChange, Mark, SnapshotId, SourceId, StoreError};

/// Rows that one step of cleaning looks at.
const CLEAN_ROWS: usize = 128;

impl Sqlite {
    pub(super) async fn commit_large(
        self: Arc<Self>,
        head: Head,
        changes: Vec<ItemChange>,
    ) -> Result<Committed, StoreError> {
        let source = head.source;
        let _turn = self.turns.take(source).await;
        self.clean(source).await?;
        let outcome = self.write_large(head, changes).await;
        if outcome.is_err() {
            // If this fails too, the next commit of the source does it, or the next start.
            let _ = self.clean(source).await;
        }
        outcome
    }

    async fn write_large(
        &self,
        mut head: Head,
        changes: Vec<ItemChange>,
    ) -> Result<Committed, StoreError> {
        let (snapshot, mut marks) = (head.snapshot, std::mem::take(&mut head.marks).into_iter());
        loop {
            let chunk: Vec<Mark> = marks.by_ref().take(CHUNK_CHANGES).collect();
            if chunk.is_empty() {
                break;
            }
            let work = move |connection: &Connection| unseen::mark(connection, snapshot, &chunk);
            self.write(CHUNK_CHANGES, work).await?;
        }
        let generation = self.begin(head.source, snapshot).await?;
        let place = (snapshot, generation);
        let mut tally = Tally::default();
        let mut changes = changes.into_iter().peekable();
        while changes.peek().is_some() {
            let (chunk, bytes) = next_chunk(&mut changes);
            let chunk = commit::pack(chunk, bytes).await?;
            let first = tally.reserve(&chunk);
            let rows = commit::weight(chunk.len(), bytes);
            let partition = head.partition.clone();
            let work =
                move |connection: &Connection| add(connection, place, (&partition, first), &chunk);
            // One at a time: whoever else writes comes in between.
            tally.grown += self.write(rows, work).await?;
        }
        self.finish(head, generation, tally).await
    }

    /// Registers a large poll and takes its generation.
    pub(super) async fn begin(
        &self,
        source: SourceId,
        snapshot: SnapshotId,
    ) -> Result<i64, StoreError> {
        self.write(1, move |connection| {
            let generation = numbering::next_generation(connection)?;
            let sql = "INSERT INTO unfinished(generation, source, snapshot) VALUES (?1, ?2, ?3)";
            connection
                .prepare_cached(sql)?
                .execute([generation, source.0, snapshot.0])?;
            Ok(generation)
        })
        .await
    }

    /// The transaction that makes a large poll visible.
    pub(super) async fn finish(
        &self,
        head: Head,
        generation: i64,
        tally: Tally,
    ) -> Result<Committed, StoreError> {
        self.write(1, move |connection| {
            let sql = "DELETE FROM unfinished WHERE generation = ?1";
            connection.prepare_cached(sql)?.execute([generation])?;
            let sql = "INSERT INTO sweeps(generation, snapshot) VALUES (?1, ?2)";
            connection
                .prepare_cached(sql)?
                .execute([generation, head.snapshot.0])?;
            let sealed = head.finish(connection, Some(generation), &tally)?;
            Ok(sealed.committed)
        })
        .await
    }

    /// Removes what an unfinished poll of this source left. Only with the source's turn.
    pub(super) async fn clean(&self, source: SourceId) -> Result<(), StoreError> {
        let found = self
            .read(move |connection| {
                let sql = "SELECT generation, snapshot FROM unfinished WHERE source = ?1";
                let mut query = connection.prepare_cached(sql)?;
                Ok(query.query_one([source.0], Leftover::of).optional()?)
            })
            .await?;
        let mut next = found;
        while let Some(leftover) = next {
            let step = move |connection: &Connection| leftover.step(connection);
            next = self.write(CLEAN_ROWS, step).await?;
        }
        Ok(())
    }
}

/// Removes what every unfinished poll left, before anyone else writes.
pub(super) fn clean_all(connection: &mut Connection) -> Result<(), StoreError> {
    let sql = "SELECT generation, snapshot FROM unfinished LIMIT 1";
    while let Some(found) = connection.query_one(sql, [], Leftover::of).optional()? {
        let mut next = Some(found);
        while let Some(leftover) = next {
            let transaction = connection.transaction()?;
            next = leftover.step(&transaction)?;
            transaction.commit()?;
        }
    }
    Ok(())
}

/// The changes that go into one transaction, and the bytes of their texts.
fn next_chunk(
    changes: &mut std::iter::Peekable<std::vec::IntoIter<ItemChange>>,
) -> (Vec<ItemChange>, usize) {
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    while chunk.len() < CHUNK_CHANGES && bytes < CHUNK_BYTES {
        let Some(change) = changes.next() else { break };
        bytes += commit::bytes_of(&change);
        chunk.push(change);
    }
    (chunk, bytes)
}

/// Adds the items of a chunk beside what is visible, and its events after those that `tally`
/// counts; by how much the number of items will have grown.
pub(super) fn add(
    connection: &Connection,
    place: (SnapshotId, i64),
    (partition, mut tally): (&Partition, Tally),
    chunk: &[Change],
) -> Result<i64, StoreError> {
    let before = tally.grown;
    for change in chunk {
        tally.grown += items::add(connection, place, change)?;
        tally.ring(connection, (place.1, partition), change)?;
    }
    Ok(tally.grown - before)
}

/// What is left of an unfinished poll, and how far its items were looked through.
struct Leftover {
    generation: i64,
    snapshot: i64,
    after: (String, i64),
}

impl Leftover {
    fn of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            generation: row.get(0)?,
            snapshot: row.get(1)?,
            after: (String::new(), -1),
        })
    }

    /// Removes a bounded part; `None`: that was all.
    fn step(mut self, connection: &Connection) -> Result<Option<Self>, StoreError> {
        let first = EventKey::new(self.generation, 0).number();
        let last = EventKey::new(self.generation, ORDINAL_MAX).number();
        let limit = stored(CLEAN_ROWS);
        let sql = "DELETE FROM events WHERE key IN
            (SELECT key FROM events WHERE key BETWEEN ?1 AND ?2 LIMIT ?3)";
        let events = connection
            .prepare_cached(sql)?
            .execute([first, last, limit])?;
        let sql = "DELETE FROM superseded WHERE generation = ?1 AND subject IN
            (SELECT subject FROM superseded WHERE generation = ?1 LIMIT ?2)";
        let superseded = connection
            .prepare_cached(sql)?
            .execute([self.generation, limit])?;
        let looked_through = self.remove_items(connection)?;
        if events == 0 && superseded == 0 && looked_through {
            let sql = "DELETE FROM unfinished WHERE generation = ?1";
            connection.prepare_cached(sql)?.execute([self.generation])?;
            return Ok(None);
        }
        Ok(Some(self))
    }

    /// Whether no items are left to look at.
    fn remove_items(&mut self, connection: &Connection) -> Result<bool, StoreError> {
        let sql = "SELECT subject, generation, body FROM items
            WHERE snapshot = ?1 AND (subject, generation) > (?2, ?3)
            ORDER BY subject, generation LIMIT ?4";
        let mut query = connection.prepare_cached(sql)?;
        let (subject, generation) = &self.after;
        let bounds = params![self.snapshot, subject, generation, stored(CLEAN_ROWS)];
        let found = query.query_map(bounds, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let found: Vec<(String, i64, Option<i64>)> = found.collect::<Result<_, _>>()?;
        let is_last = found.len() < CLEAN_ROWS;
        for (subject, generation, body) in found {
            if generation == self.generation {
                items::delete(connection, self.snapshot, &subject, (generation, body))?;
            }
            self.after = (subject, generation);
        }
        Ok(is_last)
    }
}

/// Who commits a large poll: one at a time for each source.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<SourceId, Arc<tokio::sync::Mutex<()>>>>);

/// A source's turn; it ends when this is dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    source: SourceId,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits until no other large poll of this source is under way.
    pub(super) async fn take(&self, source: SourceId) -> Turn<'_> {
        let turn = Arc::clone(self.0.lock().entry(source).or_default());
        Turn {
            turns: self,
            source,
            guard: Some(turn.lock_owned().await),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut turns = self.turns.0.lock();
        self.guard.take();
        // Whoever waits holds a clone; if nobody does, the map need not remember the source.
        let unused = turns
            .get(&self.source)
            .is_some_and(|turn| Arc::strong_count(turn) == 1);
        if unused {
            turns.remove(&self.source);
        }
    }
}
