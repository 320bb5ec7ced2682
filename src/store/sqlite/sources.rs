//! What sources remember: their registration, memory, items and kept bodies.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::packed::Unpacker;
use super::{Sqlite, counted, impossible};
use crate::detect::{Known, Subject};
use crate::digest::Digest;
use crate::name::Name;
use crate::store::{Memory, Note, SnapshotId, SourceId, SourceState, StoreError};

/// Sources that one job registers, so that a start with many does not hold the writer.
const SOURCES_MAX: usize = 256;

impl Sqlite {
    pub(in crate::store) async fn sources(
        &self,
        names: &[Name],
    ) -> Result<Vec<SourceState>, StoreError> {
        let mut states = Vec::with_capacity(names.len());
        for chunk in names.chunks(SOURCES_MAX) {
            let wanted = chunk.to_vec();
            let found = self
                .read(move |connection| find_all(connection, &wanted))
                .await?;
            if let Some(found) = found {
                states.extend(found);
                continue;
            }
            let wanted = chunk.to_vec();
            let register = move |connection: &Connection| {
                wanted
                    .iter()
                    .try_for_each(|name| register(connection, name))?;
                find_all(connection, &wanted)
            };
            let found = self.write(2 * chunk.len(), register).await?;
            states.extend(found.ok_or_else(|| impossible("a source without snapshot"))?);
        }
        Ok(states)
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
        self.read(move |connection| known(connection, snapshot))
            .await
    }

    pub(in crate::store) async fn bodies(
        &self,
        snapshot: SnapshotId,
        subjects: Vec<Subject>,
    ) -> Result<Vec<Option<Box<str>>>, StoreError> {
        self.read(move |connection| {
            let visible = visible(connection, snapshot)?;
            let mut unpacker = Unpacker::new();
            let bodies = subjects
                .iter()
                .map(|subject| body(connection, (snapshot, visible), subject, &mut unpacker));
            bodies.collect()
        })
        .await
    }
}

/// The states of these sources; `None`: not all are registered.
fn find_all(
    connection: &Connection,
    names: &[Name],
) -> Result<Option<Vec<SourceState>>, StoreError> {
    let sql = "SELECT sources.id, snapshots.id, memory, settled, items
        FROM sources JOIN snapshots ON snapshots.source = sources.id AND partition = ''
        WHERE name = ?1";
    let mut query = connection.prepare_cached(sql)?;
    let mut states = Vec::with_capacity(names.len());
    for name in names {
        let found = query.query_one([name.as_str()], |row| {
            let state = SourceState {
                id: SourceId(row.get(0)?),
                snapshot: SnapshotId(row.get(1)?),
                memory: Memory::default(),
                items: row.get::<_, bool>(3)?.then_some(counted(row.get(4)?)),
            };
            Ok((state, row.get::<_, String>(2)?))
        });
        let Some((mut state, memory)) = found.optional()? else {
            return Ok(None);
        };
        state.memory = serde_json::from_str(&memory)
            .map_err(|_| impossible(&format!("what source {name} remembers")))?;
        states.push(state);
    }
    Ok(Some(states))
}

/// What is remembered, as the store keeps it.
pub(super) fn written(memory: &Memory) -> Result<String, StoreError> {
    serde_json::to_string(memory).map_err(|error| StoreError::Database(error.to_string()))
}

fn register(connection: &Connection, name: &Name) -> Result<(), StoreError> {
    let sql = "INSERT INTO sources(name) VALUES (?1) ON CONFLICT DO NOTHING";
    connection.prepare_cached(sql)?.execute([name.as_str()])?;
    let sql = "INSERT INTO snapshots(source) SELECT id FROM sources WHERE name = ?1
        ON CONFLICT DO NOTHING";
    connection.prepare_cached(sql)?.execute([name.as_str()])?;
    Ok(())
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
