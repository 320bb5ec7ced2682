//! What sources remember: their registration, memory, items and kept bodies.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::packed::Unpacker;
use super::{Sqlite, counted, impossible};
use crate::detect::{Known, Subject};
use crate::digest::Digest;
use crate::event::Partition;
use crate::name::Name;
use crate::store::{Memory, Note, SnapshotId, SourceId, SourceState, StoreError};

/// Rows that one job registers: some 10 ms of the writer's time.
const ROWS: usize = 1_024;

impl Sqlite {
    pub(in crate::store) async fn register(
        &self,
        names: &[Name],
    ) -> Result<Vec<SourceId>, StoreError> {
        let mut ids = Vec::with_capacity(names.len());
        for chunk in names.chunks(ROWS) {
            let wanted = chunk.to_vec();
            let found = self.read(move |connection| ids_of(connection, &wanted));
            if let Some(found) = found.await? {
                ids.extend(found);
                continue;
            }
            let wanted = chunk.to_vec();
            let register = move |connection: &Connection| {
                let sql = "INSERT INTO sources(name) VALUES (?1) ON CONFLICT DO NOTHING";
                let mut insert = connection.prepare_cached(sql)?;
                for name in &wanted {
                    insert.execute([name.as_str()])?;
                }
                ids_of(connection, &wanted)
            };
            let found = self.write(chunk.len(), register).await?;
            ids.extend(found.ok_or_else(|| impossible("a source without number"))?);
        }
        Ok(ids)
    }

    pub(in crate::store) async fn partitions(
        &self,
        wanted: Vec<(SourceId, Partition)>,
    ) -> Result<Vec<SourceState>, StoreError> {
        let mut states = Vec::with_capacity(wanted.len());
        for chunk in wanted.chunks(ROWS) {
            let wanted = chunk.to_vec();
            let found = self.read(move |connection| states_of(connection, &wanted));
            if let Some(found) = found.await? {
                states.extend(found);
                continue;
            }
            let wanted = chunk.to_vec();
            let register = move |connection: &Connection| {
                let sql = "INSERT INTO snapshots(source, partition) VALUES (?1, ?2)
                    ON CONFLICT DO UPDATE SET left_at = NULL";
                let mut insert = connection.prepare_cached(sql)?;
                for (source, partition) in &wanted {
                    insert.execute(params![source.0, partition.as_str()])?;
                }
                states_of(connection, &wanted)
            };
            let found = self.write(chunk.len(), register).await?;
            states.extend(found.ok_or_else(|| impossible("a source without snapshot"))?);
        }
        Ok(states)
    }

    pub(in crate::store) async fn leave(
        &self,
        snapshots: Vec<SnapshotId>,
    ) -> Result<(), StoreError> {
        let now = self.clock.now().as_millis();
        for chunk in snapshots.chunks(ROWS) {
            let chunk = chunk.to_vec();
            let leave = move |connection: &Connection| {
                let sql = "UPDATE snapshots SET left_at = ?2 WHERE id = ?1 AND left_at IS NULL";
                let mut update = connection.prepare_cached(sql)?;
                for snapshot in &chunk {
                    update.execute([snapshot.0, now])?;
                }
                Ok(())
            };
            self.write(ROWS, leave).await?;
        }
        Ok(())
    }

    pub(in crate::store) async fn leave_others(
        &self,
        stay: HashSet<SnapshotId>,
    ) -> Result<(), StoreError> {
        let others = self.read(move |connection| {
            let sql = "SELECT id FROM snapshots WHERE left_at IS NULL";
            let mut query = connection.prepare_cached(sql)?;
            let mut rows = query.query([])?;
            let mut others = Vec::new();
            while let Some(row) = rows.next()? {
                let snapshot = SnapshotId(row.get(0)?);
                others.extend((!stay.contains(&snapshot)).then_some(snapshot));
            }
            Ok(others)
        });
        self.leave(others.await?).await
    }

    pub(in crate::store) async fn note(&self, notes: Vec<Note>) -> Result<(), StoreError> {
        let texts = notes.into_iter().map(|note| {
            let text = written(&note.memory)?;
            Ok((note.snapshot.0, text))
        });
        let texts = texts.collect::<Result<Vec<_>, StoreError>>()?;
        if texts.is_empty() {
            return Ok(());
        }
        self.write(texts.len(), move |connection| {
            let sql = "UPDATE snapshots SET memory = ?2 WHERE id = ?1";
            let mut update = connection.prepare_cached(sql)?;
            for (snapshot, text) in &texts {
                // One that is gone has nothing to remember.
                update.execute(params![snapshot, text])?;
            }
            Ok(())
        })
        .await
    }

    pub(in crate::store) async fn known(
        &self,
        snapshot: SnapshotId,
    ) -> Result<Vec<Known>, StoreError> {
        let read = move |connection: &Connection| {
            let sql = "SELECT items FROM snapshots WHERE id = ?1";
            let mut query = connection.prepare_cached(sql)?;
            let items = query.query_one([snapshot.0], |row| row.get(0)).optional()?;
            let is_short = counted(items.unwrap_or(0)) <= SHORT_ITEMS_MAX;
            is_short.then(|| known(connection, snapshot)).transpose()
        };
        if let Some(items) = self.read(read).await? {
            return Ok(items);
        }
        self.read_behind(move |connection| known(connection, snapshot))
            .await
    }

    pub(in crate::store) async fn bodies(
        &self,
        snapshot: SnapshotId,
        subjects: Vec<Subject>,
    ) -> Result<Vec<(Subject, Option<Box<str>>)>, StoreError> {
        let is_short = subjects.len() as u64 <= SHORT_ITEMS_MAX;
        let read = move |connection: &Connection| {
            let visible = visible(connection, snapshot)?;
            let mut unpacker = Unpacker::new();
            let bodies = subjects.into_iter().map(|subject| {
                let body = body(connection, (snapshot, visible), &subject, &mut unpacker)?;
                Ok((subject, body))
            });
            bodies.collect()
        };
        if is_short {
            return self.read(read).await;
        }
        self.read_behind(read).await
    }
}

/// Items that are read in a few milliseconds; more are read behind everybody else.
const SHORT_ITEMS_MAX: u64 = 1_000;

/// The numbers of these sources; `None`: not all are registered.
fn ids_of(connection: &Connection, names: &[Name]) -> Result<Option<Vec<SourceId>>, StoreError> {
    let mut query = connection.prepare_cached("SELECT id FROM sources WHERE name = ?1")?;
    let ids = names.iter().map(|name| {
        let id = query.query_one([name.as_str()], |row| row.get(0));
        Ok(id.optional()?.map(SourceId))
    });
    ids.collect()
}

/// The states of these partitions; `None`: not all are registered, or some had left.
fn states_of(
    connection: &Connection,
    wanted: &[(SourceId, Partition)],
) -> Result<Option<Vec<SourceState>>, StoreError> {
    let sql = "SELECT id, memory, settled, items FROM snapshots
        WHERE source = ?1 AND partition = ?2 AND left_at IS NULL";
    let mut query = connection.prepare_cached(sql)?;
    let mut states = Vec::with_capacity(wanted.len());
    for (source, partition) in wanted {
        let mut rows = query.query(params![source.0, partition.as_str()])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let memory = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        let memory = remembered(memory, &source.0.to_string())?;
        states.push(SourceState {
            id: *source,
            snapshot: SnapshotId(row.get(0)?),
            memory,
            items: row.get::<_, bool>(2)?.then_some(counted(row.get(3)?)),
        });
    }
    Ok(Some(states))
}

/// What `source` remembers, read back.
pub(super) fn remembered(text: &str, source: &str) -> Result<Memory, StoreError> {
    let what = || impossible(&format!("what source {source} remembers"));
    serde_json::from_str(text).map_err(|_| what())
}

/// What is remembered, as the store keeps it.
pub(super) fn written(memory: &Memory) -> Result<String, StoreError> {
    serde_json::to_string(memory).map_err(|error| StoreError::Database(error.to_string()))
}

/// The generation up to which rows of items count.
pub(super) fn visible(connection: &Connection, snapshot: SnapshotId) -> Result<i64, StoreError> {
    let sql = "SELECT generation FROM snapshots WHERE id = ?1";
    let found: Option<i64> = connection
        .prepare_cached(sql)?
        .query_one([snapshot.0], |row| row.get(0))
        .optional()?;
    found.ok_or_else(|| super::unknown("snapshot"))
}

pub(super) fn known(
    connection: &Connection,
    snapshot: SnapshotId,
) -> Result<Vec<Known>, StoreError> {
    let visible = visible(connection, snapshot)?;
    let sql = "SELECT subject, digest FROM items
        WHERE snapshot = ?1 AND generation <= ?2 ORDER BY subject, generation";
    let mut query = connection.prepare_cached(sql)?;
    let mut rows = query.query([snapshot.0, visible])?;
    let mut items: Vec<Known> = Vec::new();
    // Rows of one subject follow each other, the newest last; it replaces the older ones.
    let mut was_item = false;
    let mut subject = String::new();
    while let Some(row) = rows.next()? {
        let found = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        if was_item && subject == found {
            items.pop();
        }
        found.clone_into(&mut subject);
        let digest: Option<[u8; 16]> = row.get(1)?;
        was_item = digest.is_some();
        items.extend(digest.map(|bytes| Known {
            subject: subject.as_str().into(),
            digest: Digest::from_bytes(bytes),
        }));
    }
    Ok(items)
}

pub(super) fn body(
    connection: &Connection,
    (snapshot, visible): (SnapshotId, i64),
    subject: &str,
    unpacker: &mut Unpacker,
) -> Result<Option<Box<str>>, StoreError> {
    let sql = "SELECT body FROM items WHERE snapshot = ?1 AND subject = ?2 AND generation <= ?3
        ORDER BY generation DESC LIMIT 1";
    let place: Option<Option<i64>> = connection
        .prepare_cached(sql)?
        .query_one(params![snapshot.0, subject, visible], |row| row.get(0))
        .optional()?;
    let Some(place) = place.flatten() else {
        return Ok(None);
    };
    let sql = "SELECT form, digest, content FROM bodies WHERE id = ?1";
    let found: Option<(i64, Vec<u8>, Vec<u8>)> = connection
        .prepare_cached(sql)?
        .query_one([place], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let (form, digest, content) = found.ok_or_else(|| impossible("an item without its body"))?;
    unpacker.unpack(form, &digest, content).map(Some)
}
