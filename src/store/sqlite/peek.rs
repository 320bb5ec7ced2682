//! A look at a partition from beside the process that has the store: reads only, takes no lock.

use rusqlite::{OptionalExtension as _, params};

use super::packed::Unpacker;
use super::{schema, sources, unseen};
use crate::config;
use crate::event::Partition;
use crate::name::Name;
use crate::store::{Peek, SnapshotId, StoreError};

/// What is known of a partition of `source`; `None` where there is no store, or nothing of it.
pub(in crate::store) fn peek(
    settings: &config::Store,
    source: &Name,
    partition: &Partition,
) -> Result<Option<Peek>, StoreError> {
    if !settings.path.exists() {
        return Ok(None);
    }
    let mut connection = schema::open_reader(&settings.path)?;
    schema::refuse_others(&connection)?;
    // One view: a running doorbell goes on committing meanwhile.
    let connection = connection.transaction()?;
    let sql = "SELECT snapshots.id, memory, settled
        FROM snapshots JOIN sources ON sources.id = snapshots.source
        WHERE sources.name = ?1 AND snapshots.partition = ?2 AND left_at IS NULL";
    let found = connection
        .query_one(sql, params![source.as_str(), partition.as_str()], |row| {
            let memory: String = row.get(1)?;
            Ok((SnapshotId(row.get(0)?), memory, row.get::<_, bool>(2)?))
        })
        .optional()?;
    let Some((snapshot, memory, has_snapshot)) = found else {
        return Ok(None);
    };
    let memory = sources::remembered(&memory, source.as_str())?;
    if !has_snapshot {
        return Ok(Some(Peek {
            memory,
            ..Peek::default()
        }));
    }
    let items = sources::known(&connection, snapshot)?;
    let visible = sources::visible(&connection, snapshot)?;
    let mut unpacker = Unpacker::new();
    let bodies = items.iter().map(|item| {
        let place = (snapshot, visible);
        sources::body(&connection, place, &item.subject, &mut unpacker)
    });
    let bodies = bodies.collect::<Result<_, _>>()?;
    let unseen = unseen::unseen(&connection, snapshot)?;
    Ok(Some(Peek {
        memory,
        has_snapshot,
        items,
        bodies,
        unseen,
    }))
}
