//! Rows of items, and the bodies that they keep.
//!
//! Small polls replace rows in place, large ones add rows under a newer generation.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::commit::Change;
use super::packed::Packed;
use crate::digest::Digest;
use crate::store::{SnapshotId, StoreError};

/// Puts what the snapshot holds of an item in the place of what it held, and says by how much the
/// number of items grew.
pub(super) fn replace(
    connection: &Connection,
    snapshot: SnapshotId,
    generation: i64,
    change: &Change,
) -> Result<i64, StoreError> {
    let (mut was, mut bodies) = (0, Vec::new());
    let mut is_known = false;
    {
        let sql = "SELECT digest IS NOT NULL, body FROM items
            WHERE snapshot = ?1 AND subject = ?2 ORDER BY generation";
        let mut query = connection.prepare_cached(sql)?;
        let mut rows = query.query(params![snapshot.0, change.subject])?;
        while let Some(row) = rows.next()? {
            is_known = true;
            was = row.get(0)?;
            bodies.extend(row.get::<_, Option<i64>>(1)?);
        }
    }
    if is_known {
        let sql = "DELETE FROM items WHERE snapshot = ?1 AND subject = ?2";
        connection
            .prepare_cached(sql)?
            .execute(params![snapshot.0, change.subject])?;
    }
    let kept = change.now.as_ref().and_then(|(_, body)| body.as_ref());
    let mut free = bodies.into_iter();
    let body = match kept {
        Some(body) => Some(put_body(connection, free.next(), body)?),
        None => None,
    };
    for id in free {
        delete_body(connection, id)?;
    }
    if let Some((digest, _)) = &change.now {
        insert_item(
            connection,
            (snapshot, generation),
            &change.subject,
            (Some(*digest), body),
        )?;
    }
    Ok(i64::from(change.now.is_some()) - was)
}

/// Inserts a row of an item; without a digest, a tombstone.
pub(super) fn insert_item(
    connection: &Connection,
    (snapshot, generation): (SnapshotId, i64),
    subject: &str,
    (digest, body): (Option<Digest>, Option<i64>),
) -> Result<(), StoreError> {
    let sql = "INSERT INTO items(snapshot, subject, generation, digest, body)
        VALUES (?1, ?2, ?3, ?4, ?5)";
    let digest = digest.as_ref().map(Digest::as_bytes);
    let digest = digest.map(|bytes| &bytes[..]);
    connection
        .prepare_cached(sql)?
        .execute(params![snapshot.0, subject, generation, digest, body])?;
    Ok(())
}

/// Writes a body over the one at `place`, or to a new place; where it is.
pub(super) fn put_body(
    connection: &Connection,
    place: Option<i64>,
    body: &Packed,
) -> Result<i64, StoreError> {
    let sql = match place {
        Some(_) => "UPDATE bodies SET form = ?2, digest = ?3, content = ?4 WHERE id = ?1",
        None => "INSERT INTO bodies(id, form, digest, content) VALUES (?1, ?2, ?3, ?4)",
    };
    let digest = body.digest.as_bytes();
    connection
        .prepare_cached(sql)?
        .execute(params![place, body.form, digest, body.bytes])?;
    Ok(place.unwrap_or_else(|| connection.last_insert_rowid()))
}

pub(super) fn delete_body(connection: &Connection, id: i64) -> Result<(), StoreError> {
    let sql = "DELETE FROM bodies WHERE id = ?1";
    connection.prepare_cached(sql)?.execute([id])?;
    Ok(())
}

/// Adds a row beside the visible one of an item; by how much the number of items will have grown.
pub(super) fn add(
    connection: &Connection,
    place: (SnapshotId, i64),
    change: &Change,
) -> Result<i64, StoreError> {
    let (snapshot, generation) = place;
    let sql = "SELECT digest IS NOT NULL FROM items
        WHERE snapshot = ?1 AND subject = ?2 AND generation < ?3
        ORDER BY generation DESC LIMIT 1";
    let older: Option<bool> = connection
        .prepare_cached(sql)?
        .query_one(params![snapshot.0, change.subject, generation], |row| {
            row.get(0)
        })
        .optional()?;
    let was = older.unwrap_or(false);
    if change.now.is_none() && !was {
        return Ok(0);
    }
    let body = change.now.as_ref().and_then(|(_, body)| body.as_ref());
    let body = match body {
        Some(body) => Some(put_body(connection, None, body)?),
        None => None,
    };
    let digest = change.now.as_ref().map(|(digest, _)| *digest);
    insert_item(connection, place, &change.subject, (digest, body))?;
    if older.is_some() {
        let sql = "INSERT INTO superseded(generation, subject) VALUES (?1, ?2)";
        connection
            .prepare_cached(sql)?
            .execute(params![generation, change.subject])?;
    }
    Ok(i64::from(change.now.is_some()) - i64::from(was))
}

/// Deletes one row of an item, and its body.
pub(super) fn delete(
    connection: &Connection,
    snapshot: i64,
    subject: &str,
    (generation, body): (i64, Option<i64>),
) -> Result<(), StoreError> {
    if let Some(body) = body {
        delete_body(connection, body)?;
    }
    let sql = "DELETE FROM items WHERE snapshot = ?1 AND subject = ?2 AND generation = ?3";
    connection
        .prepare_cached(sql)?
        .execute(params![snapshot, subject, generation])?;
    Ok(())
}
