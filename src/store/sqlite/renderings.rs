//! How webhooks were written: settings by their digest, and which of them an event was told in.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::Sqlite;
use super::settle::PASSED_OVER;
use crate::digest::Digest;
use crate::event::Written;
use crate::store::{DeliveryId, SKIPPED, StoreError, Told, UNWRITTEN};

/// Settings beyond so many are looked through for those that no attempt refers to, which reads all
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
        .query_one(
            params![lane, event, PASSED_OVER, UNWRITTEN, SKIPPED],
            |row| {
                Ok(Told {
                    digest: row.get::<_, Option<[u8; 16]>>(0)?.map(Digest::from_bytes),
                    settings: row.get::<_, Option<String>>(1)?.map(Into::into),
                })
            },
        )
        .optional()?;
    Ok(row)
}

/// Keeps settings. May be repeated.
pub(super) fn keep(connection: &Connection, written: &Written) -> Result<(), StoreError> {
    let sql = "INSERT OR IGNORE INTO renderings(digest, settings) VALUES (?1, ?2)";
    let kept = connection
        .prepare_cached(sql)?
        .execute(params![written.digest.as_bytes(), written.text])?;
    let count: i64 =
        connection.query_one("SELECT count(*) FROM renderings", [], |row| row.get(0))?;
    if kept > 0 && count > RENDERINGS_MAX {
        let sql = "DELETE FROM renderings WHERE digest <> ?1 AND digest NOT IN
            (SELECT rendering FROM attempts WHERE rendering IS NOT NULL)";
        connection.execute(sql, [written.digest.as_bytes()])?;
    }
    Ok(())
}
