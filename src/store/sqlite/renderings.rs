//! How webhooks were written: settings by their digest, and which of them an event was told in.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::Sqlite;
use super::settle::PASSED_OVER;
use crate::digest::Digest;
use crate::event::{EventKey, ORDINAL_MAX, Written};
use crate::name::Name;
use crate::store::{DeliveryId, SKIPPED, StoreError, Told, UNWRITTEN};

/// Settings beyond so many are looked through for those that nothing refers to, which reads all
/// attempts: far more than anybody changes them within a week.
const RENDERINGS_MAX: i64 = 1_000;

impl Sqlite {
    pub(in crate::store) async fn told(
        &self,
        deliveries: Vec<DeliveryId>,
    ) -> Result<Vec<Option<Told>>, StoreError> {
        self.read(move |connection| {
            let told = deliveries.iter().map(|id| told(connection, *id));
            told.collect()
        })
        .await
    }

    pub(in crate::store) async fn speak(
        &self,
        endpoint: &Name,
        written: Option<Written>,
    ) -> Result<Vec<(EventKey, Told)>, StoreError> {
        let name = endpoint.clone();
        self.write(1, move |connection| {
            if let Some(written) = &written {
                keep(connection, written)?;
            }
            let digest = written.as_ref().map(|written| *written.digest.as_bytes());
            former(connection, name.as_str(), digest)
        })
        .await
    }

    pub(in crate::store) async fn hush(&self, endpoint: &Name) -> Result<(), StoreError> {
        let name = endpoint.clone();
        self.write(1, move |connection| hush(connection, name.as_str()))
            .await
    }
}

/// Has `endpoint` speak in these words, and tells in which others it may have spoken.
fn former(
    connection: &Connection,
    endpoint: &str,
    digest: Option<[u8; 16]>,
) -> Result<Vec<(EventKey, Told)>, StoreError> {
    let sql = "UPDATE spoken SET until = (SELECT generation FROM meta)
        WHERE endpoint = ?1 AND until IS NULL AND rendering IS NOT ?2";
    connection
        .prepare_cached(sql)?
        .execute(params![endpoint, digest])?;
    hush(connection, endpoint)?;
    // Of no event that is still there.
    let oldest: Option<i64> =
        connection.query_one("SELECT min(key) FROM events", [], |row| row.get(0))?;
    let oldest = oldest.map_or(i64::MAX, |key| EventKey::from_number(key).generation());
    let sql = "DELETE FROM spoken WHERE endpoint = ?1 AND until < ?2";
    connection
        .prepare_cached(sql)?
        .execute(params![endpoint, oldest])?;
    let sql = "INSERT INTO spoken(endpoint, rendering) VALUES (?1, ?2)";
    connection
        .prepare_cached(sql)?
        .execute(params![endpoint, digest])?;
    let sql = "SELECT rendering, settings, until FROM spoken
        LEFT JOIN renderings ON digest = rendering
        WHERE endpoint = ?1 AND until IS NOT NULL ORDER BY place";
    let mut query = connection.prepare_cached(sql)?;
    let rows = query.query_map([endpoint], |row| {
        Ok((EventKey::new(row.get(2)?, ORDINAL_MAX), words(row)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn hush(connection: &Connection, endpoint: &str) -> Result<(), StoreError> {
    let sql = "DELETE FROM spoken WHERE endpoint = ?1 AND until IS NULL";
    connection.prepare_cached(sql)?.execute([endpoint])?;
    Ok(())
}

/// A digest and its settings.
fn words(row: &Row<'_>) -> rusqlite::Result<Told> {
    Ok(Told {
        digest: row.get::<_, Option<[u8; 16]>>(0)?.map(Digest::from_bytes),
        settings: row.get::<_, Option<String>>(1)?.map(Into::into),
    })
}

fn told(connection: &Connection, delivery: DeliveryId) -> Result<Option<Told>, StoreError> {
    let sql = "SELECT rendering, settings FROM attempts
        LEFT JOIN renderings ON digest = rendering
        WHERE lane = ?1 AND event = ?2 AND outcome <> ?3 AND error IS NOT ?4
            AND error IS NOT ?5
        ORDER BY number LIMIT 1";
    let mut query = connection.prepare_cached(sql)?;
    let (lane, event) = (delivery.lane.0, delivery.event.number());
    let row = query
        .query_one(params![lane, event, PASSED_OVER, UNWRITTEN, SKIPPED], words)
        .optional()?;
    Ok(row)
}

/// Keeps settings. May be repeated.
fn keep(connection: &Connection, written: &Written) -> Result<(), StoreError> {
    let sql = "INSERT OR IGNORE INTO renderings(digest, settings) VALUES (?1, ?2)";
    let kept = connection
        .prepare_cached(sql)?
        .execute(params![written.digest.as_bytes(), written.text])?;
    let count: i64 =
        connection.query_one("SELECT count(*) FROM renderings", [], |row| row.get(0))?;
    if kept > 0 && count > RENDERINGS_MAX {
        let sql = "DELETE FROM renderings WHERE digest <> ?1 AND digest NOT IN
            (SELECT rendering FROM attempts WHERE rendering IS NOT NULL
            UNION SELECT rendering FROM spoken WHERE rendering IS NOT NULL)";
        connection.execute(sql, [written.digest.as_bytes()])?;
    }
    Ok(())
}
