//! Endpoints that were made over the API, as rows, and what is left of those that were deleted.

use std::os::unix::fs::PermissionsExt as _;

use rusqlite::{Connection, params};

use super::{At, Sqlite, impossible, settle, stored};
use crate::name::Name;
use crate::secret::Secret;
use crate::store::{LaneId, SourceId, StoreError, StoredEndpoint, StoredSecret};
use crate::time::Timestamp;

/// What a group and all others may do with a file.
const OF_OTHERS: u32 = 0o077;

/// Lanes of deleted endpoints that one job deletes.
const ROWS: usize = 1_000;

impl Sqlite {
    pub(in crate::store) async fn endpoints(&self) -> Result<Vec<StoredEndpoint>, StoreError> {
        let now = self.clock.now();
        self.read(move |connection| {
            let sql =
                "SELECT name, definition, created_at, changed_at FROM endpoints ORDER BY name";
            let mut query = connection.prepare_cached(sql)?;
            let mut rows = query.query([])?;
            let mut endpoints = Vec::new();
            while let Some(row) = rows.next()? {
                let name: String = row.get(0)?;
                let name = Name::parse(&name).map_err(|_| impossible("an endpoint's name"))?;
                endpoints.push(StoredEndpoint {
                    secrets: secrets(connection, &name, now)?,
                    name,
                    definition: Secret::new(row.get(1)?),
                    created_at: row.get::<_, At>(2)?.0,
                    changed_at: row.get::<_, At>(3)?.0,
                });
            }
            Ok(endpoints)
        })
        .await
    }

    pub(in crate::store) fn is_private(&self) -> bool {
        let metadata = std::fs::metadata(&self.files.database);
        metadata.is_ok_and(|file| file.permissions().mode() & OF_OTHERS == 0)
    }

    pub(in crate::store) async fn keep_endpoint(
        &self,
        endpoint: StoredEndpoint,
    ) -> Result<(), StoreError> {
        let rows = 1 + endpoint.secrets.len();
        self.write(rows, move |connection| keep(connection, &endpoint))
            .await
    }

    pub(in crate::store) async fn delete_endpoint(&self, name: &Name) -> Result<(), StoreError> {
        let (name, now) = (name.clone(), self.clock.now());
        self.write(1, move |connection| {
            for sql in [
                "DELETE FROM endpoints WHERE name = ?1",
                "DELETE FROM endpoint_secrets WHERE endpoint = ?1",
                "DELETE FROM backfills WHERE lane IN (SELECT id FROM lanes WHERE endpoint = ?1)",
            ] {
                connection.prepare_cached(sql)?.execute([name.as_str()])?;
            }
            forget_standing(connection, &name)?;
            let sql = "INSERT OR REPLACE INTO deleted_endpoints(name, at) VALUES (?1, ?2)";
            let mut note = connection.prepare_cached(sql)?;
            note.execute(params![name.as_str(), now.as_millis()])?;
            Ok(())
        })
        .await
    }

    pub(in crate::store) async fn hear_only(
        &self,
        endpoint: &Name,
        sources: &[SourceId],
    ) -> Result<(), StoreError> {
        let (name, stay) = (endpoint.clone(), sources.to_vec());
        let others = self.read(move |connection| {
            let sql = "SELECT id, source FROM lanes WHERE endpoint = ?1";
            let mut query = connection.prepare_cached(sql)?;
            let lanes = query.query_map([name.as_str()], |row| {
                Ok((LaneId(row.get(0)?), SourceId(row.get(1)?)))
            })?;
            let lanes: Vec<_> = lanes.collect::<Result<_, _>>()?;
            let others = lanes
                .into_iter()
                .filter(|(_, source)| !stay.contains(source));
            Ok(others.map(|(lane, _)| lane).collect::<Vec<_>>())
        });
        let others = others.await?;
        let mut active = self.active.lock();
        for lane in others {
            active.remove(&lane);
        }
        Ok(())
    }

    /// Secrets that sign no more.
    pub(super) async fn forget_secrets(&self, now: Timestamp) -> Result<(), StoreError> {
        self.write(1, move |connection| {
            let sql = "DELETE FROM endpoint_secrets WHERE until <= ?1";
            connection.prepare_cached(sql)?.execute([now.as_millis()])?;
            Ok(())
        })
        .await
    }

    /// Lanes of deleted endpoints of which nothing else is kept, for another lane gets the number: who
    /// makes and deletes endpoints under ever new names must not fill the store.
    pub(super) async fn forget_deleted(&self) -> Result<(), StoreError> {
        let sql = "SELECT lanes.id FROM deleted_endpoints JOIN lanes ON endpoint = name
            WHERE NOT EXISTS (SELECT 1 FROM parked WHERE lane = lanes.id)
                AND NOT EXISTS (SELECT 1 FROM attempts WHERE lane = lanes.id)
                AND NOT EXISTS (SELECT 1 FROM commits WHERE lane = lanes.id)
            LIMIT ?1";
        let empty = self.read(move |connection| {
            let mut query = connection.prepare_cached(sql)?;
            let lanes = query.query_map([stored(ROWS)], |row| row.get(0))?;
            Ok(lanes.collect::<Result<Vec<i64>, _>>()?)
        });
        // One whose last attempt is still under way is asked for until it ends.
        let mut empty = empty.await?;
        empty.retain(|lane| !self.is_active(*lane));
        self.write(1 + empty.len(), move |connection| {
            let sql = "DELETE FROM lanes WHERE id = ?1
                AND endpoint IN (SELECT name FROM deleted_endpoints)";
            let mut delete = connection.prepare_cached(sql)?;
            for lane in &empty {
                delete.execute([lane])?;
            }
            // Begun at the moment in which the endpoint was deleted.
            let sql = "DELETE FROM backfills WHERE lane NOT IN (SELECT id FROM lanes)";
            connection.prepare_cached(sql)?.execute([])?;
            let sql = "DELETE FROM deleted_endpoints
                WHERE NOT EXISTS (SELECT 1 FROM lanes WHERE endpoint = name)";
            connection.prepare_cached(sql)?.execute([])?;
            Ok(())
        })
        .await
    }
}

fn secrets(
    connection: &Connection,
    endpoint: &Name,
    now: Timestamp,
) -> Result<Vec<StoredSecret>, StoreError> {
    let sql = "SELECT secret, until FROM endpoint_secrets
        WHERE endpoint = ?1 AND (until IS NULL OR until > ?2) ORDER BY place";
    let mut query = connection.prepare_cached(sql)?;
    let rows = query.query_map(params![endpoint.as_str(), now.as_millis()], |row| {
        Ok(StoredSecret {
            secret: Secret::new(row.get(0)?),
            until: row.get::<_, Option<At>>(1)?.map(|at| at.0),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn keep(connection: &Connection, endpoint: &StoredEndpoint) -> Result<(), StoreError> {
    let name = endpoint.name.as_str();
    let sql = "UPDATE endpoints SET definition = ?2, created_at = ?3, changed_at = ?4
        WHERE name = ?1";
    let row = params![
        name,
        endpoint.definition.expose(),
        endpoint.created_at.as_millis(),
        endpoint.changed_at.as_millis()
    ];
    if connection.prepare_cached(sql)?.execute(row)? == 0 {
        let sql = "INSERT INTO endpoints(name, definition, created_at, changed_at)
            VALUES (?1, ?2, ?3, ?4)";
        connection.prepare_cached(sql)?.execute(row)?;
        forget_standing(connection, &endpoint.name)?;
        let sql = "DELETE FROM deleted_endpoints WHERE name = ?1";
        connection.prepare_cached(sql)?.execute([name])?;
    }
    let sql = "DELETE FROM endpoint_secrets WHERE endpoint = ?1";
    connection.prepare_cached(sql)?.execute([name])?;
    let sql =
        "INSERT INTO endpoint_secrets(endpoint, place, secret, until) VALUES (?1, ?2, ?3, ?4)";
    let mut insert = connection.prepare_cached(sql)?;
    for (place, secret) in endpoint.secrets.iter().enumerate() {
        let until = secret.until.map(Timestamp::as_millis);
        insert.execute(params![name, stored(place), secret.secret.expose(), until])?;
    }
    Ok(())
}

/// Forgets whether it was rung, and how it failed.
fn forget_standing(connection: &Connection, endpoint: &Name) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM disabled WHERE endpoint = ?1",
        "DELETE FROM paused WHERE endpoint = ?1",
    ] {
        connection
            .prepare_cached(sql)?
            .execute([endpoint.as_str()])?;
    }
    settle::note(connection, endpoint, None)
}
