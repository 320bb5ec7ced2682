//! Removes the rows of items that a large poll made superfluous, a bounded step at a time.
//!
//! Readers are right before, during and after: of each subject they take the newest visible row.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{items, stored};
use crate::store::StoreError;

/// Most items that one step sweeps: some 3 ms of the writer.
const ITEMS: usize = 64;

/// Items after which a step ends where somebody waits for the writer.
const ITEMS_SHORT: usize = 16;

/// Sweeps a few items, fewer when somebody `waits` for the writer; whether there are more.
pub(super) fn step(connection: &Connection, waits: impl Fn() -> bool) -> Result<bool, StoreError> {
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
        .query_map([generation, stored(ITEMS)], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for (done, subject) in subjects.iter().enumerate() {
        if done >= ITEMS_SHORT && waits() {
            break;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::schema;

    #[test]
    fn step_is_short_where_somebody_waits() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("doorbell.db");
        let connection = schema::open_writer(&path).expect("opens");
        let sql = "INSERT INTO sweeps(generation, snapshot) VALUES (1, 1);
            INSERT INTO superseded(generation, subject)
            WITH RECURSIVE up(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM up WHERE n < 200)
            SELECT 1, n FROM up";
        connection.execute_batch(sql).expect("writes");
        let left = || -> usize {
            let sql = "SELECT count(*) FROM superseded";
            let left: i64 = connection
                .query_one(sql, [], |row| row.get(0))
                .expect("reads");
            usize::try_from(left).expect("a count")
        };
        for (waits, swept) in [(true, ITEMS_SHORT), (false, ITEMS)] {
            let before = left();
            assert!(
                step(&connection, || waits).expect("sweeps"),
                "there is more"
            );
            assert_eq!(before - left(), swept);
        }
    }
}
