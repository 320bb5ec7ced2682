//! Removes the rows of items that a large poll made superfluous, a bounded step at a time.
//!
//! Readers are right before, during and after: of each subject they take the newest visible row.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::items;
use crate::store::StoreError;

/// Items that one step sweeps: some 3 ms of the writer.
const ITEMS: i64 = 64;

/// Sweeps a few items; whether there are more.
pub(super) fn step(connection: &Connection) -> Result<bool, StoreError> {
    let sql = "SELECT generation, snapshot FROM sweeps ORDER BY generation LIMIT 1";
    let next: Option<(i64, i64)> = connection
        .prepare_cached(sql)?
        .query_one([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((generation, snapshot)) = next else {
        return Ok(false);
    };
    let sql = "SELECT subject FROM superseded WHERE generation = ?1 LIMIT ?2";
    let subjects: Vec<String> = connection
        .prepare_cached(sql)?
        .query_map([generation, ITEMS], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for subject in &subjects {
        sweep(connection, (snapshot, generation), subject)?;
    }
    if subjects.is_empty() {
        let sql = "DELETE FROM sweeps WHERE generation = ?1";
        connection.prepare_cached(sql)?.execute([generation])?;
    }
    Ok(true)
}

/// Removes the item's rows older than `generation`, and that generation's if it is a tombstone.
fn sweep(
    connection: &Connection,
    (snapshot, generation): (i64, i64),
    subject: &str,
) -> Result<(), StoreError> {
    let sql = "SELECT generation, body FROM items WHERE snapshot = ?1 AND subject = ?2
        AND (generation < ?3 OR generation = ?3 AND digest IS NULL)";
    let superfluous: Vec<(i64, Option<i64>)> = connection
        .prepare_cached(sql)?
        .query_map(params![snapshot, subject, generation], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    for row in superfluous {
        items::delete(connection, snapshot, subject, row)?;
    }
    let sql = "DELETE FROM superseded WHERE generation = ?1 AND subject = ?2";
    connection
        .prepare_cached(sql)?
        .execute(params![generation, subject])?;
    Ok(())
}
