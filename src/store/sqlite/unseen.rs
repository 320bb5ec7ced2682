//! Marks of items that walks lack.
//!
//! They stand beside the snapshot, under no generation: a mark says what a walk saw, whether or
//! not the poll that saw it is committed, so marks of a large poll may be visible before it is.

use rusqlite::{Connection, params};

use super::Sqlite;
use crate::store::{Mark, SnapshotId, StoreError, Unseen};
use crate::time::Timestamp;

impl Sqlite {
    pub(in crate::store) async fn unseen(
        &self,
        snapshot: SnapshotId,
    ) -> Result<Vec<Unseen>, StoreError> {
        self.read(move |connection| unseen(connection, snapshot))
            .await
    }
}

pub(super) fn unseen(
    connection: &Connection,
    snapshot: SnapshotId,
) -> Result<Vec<Unseen>, StoreError> {
    let sql = "SELECT subject, since FROM unseen WHERE snapshot = ?1 ORDER BY subject";
    let mut query = connection.prepare_cached(sql)?;
    let unseen = query.query_map([snapshot.0], |row| {
        let since = Timestamp::from_millis(row.get(1)?);
        Ok(Unseen {
            subject: row.get::<_, String>(0)?.into(),
            since: Some(since),
        })
    })?;
    Ok(unseen.collect::<Result<_, _>>()?)
}

/// Sets and clears marks.
pub(super) fn mark(
    connection: &Connection,
    snapshot: SnapshotId,
    marks: &[Mark],
) -> Result<(), StoreError> {
    let set = "INSERT OR REPLACE INTO unseen(snapshot, subject, since) VALUES (?1, ?2, ?3)";
    let clear = "DELETE FROM unseen WHERE snapshot = ?1 AND subject = ?2";
    for Mark { subject, since } in marks {
        if let Some(since) = since {
            let row = params![snapshot.0, subject, since.as_millis()];
            connection.prepare_cached(set)?.execute(row)?;
        } else {
            let row = params![snapshot.0, subject];
            connection.prepare_cached(clear)?.execute(row)?;
        }
    }
    Ok(())
}
