//! A look at a snapshot from beside the process that has the store: reads only, takes no lock.

use rusqlite::OptionalExtension as _;

use super::packed::Unpacker;
use super::{schema, sources};
use crate::config;
use crate::name::Name;
use crate::store::{Peek, SnapshotId, StoreError};

/// The snapshot of `source`; `None` where there is no store, or no snapshot in it yet.
pub(in crate::store) fn peek(
    settings: &config::Store,
    source: &Name,
) -> Result<Option<Peek>, StoreError> {
    if !settings.path.exists() {
        return Ok(None);
    }
    let mut connection = schema::open_reader(&settings.path)?;
    schema::refuse_others(&connection)?;
    // One view: a running doorbell goes on committing meanwhile.
    let connection = connection.transaction()?;
    let sql = "SELECT snapshots.id FROM snapshots JOIN sources ON sources.id = snapshots.source
        WHERE sources.name = ?1 AND snapshots.partition = '' AND snapshots.settled";
    let found = connection
        .query_one(sql, [source.as_str()], |row| row.get(0))
        .optional()?;
    let Some(snapshot) = found.map(SnapshotId) else {
        return Ok(None);
    };
    let items = sources::known(&connection, snapshot)?;
    let visible = sources::visible(&connection, snapshot)?;
    let mut unpacker = Unpacker::new();
    let bodies = items.iter().map(|item| {
        sources::body(
            &connection,
            (snapshot, visible),
            &item.subject,
            &mut unpacker,
        )
    });
    let bodies = bodies.collect::<Result<_, _>>()?;
    Ok(Some(Peek { items, bodies }))
}
