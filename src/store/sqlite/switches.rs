//! Which endpoints are not rung: switched off, by themselves or by somebody, or paused.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use super::{Sqlite, settle};
use crate::name::Name;
use crate::store::StoreError;
use crate::time::Timestamp;

impl Sqlite {
    pub(in crate::store) async fn disabled(&self) -> Result<BTreeSet<String>, StoreError> {
        self.read(|connection| endpoints(connection, "SELECT endpoint FROM disabled"))
            .await
    }

    pub(in crate::store) async fn disable(&self, endpoint: &Name) -> Result<(), StoreError> {
        let (endpoint, now) = (endpoint.clone(), self.clock.now());
        self.write(1, move |connection| disable(connection, &endpoint, now))
            .await
    }

    pub(in crate::store) async fn enable(&self, endpoint: &Name) -> Result<(), StoreError> {
        let endpoint = endpoint.clone();
        self.write(1, move |connection| {
            enable(connection, &endpoint)?;
            settle::note(connection, &endpoint, None)
        })
        .await
    }

    pub(in crate::store) async fn paused(&self) -> Result<BTreeSet<String>, StoreError> {
        self.read(|connection| endpoints(connection, "SELECT endpoint FROM paused"))
            .await
    }

    pub(in crate::store) async fn pause(&self, endpoint: &Name) -> Result<(), StoreError> {
        let (endpoint, now) = (endpoint.clone(), self.clock.now());
        self.write(1, move |connection| {
            let sql = "INSERT OR IGNORE INTO paused(endpoint, at) VALUES (?1, ?2)";
            let mut pause = connection.prepare_cached(sql)?;
            pause.execute(params![endpoint.as_str(), now.as_millis()])?;
            Ok(())
        })
        .await
    }

    pub(in crate::store) async fn resume(&self, endpoint: &Name) -> Result<(), StoreError> {
        let endpoint = endpoint.clone();
        self.write(1, move |connection| {
            let sql = "DELETE FROM paused WHERE endpoint = ?1";
            let mut resume = connection.prepare_cached(sql)?;
            resume.execute([endpoint.as_str()])?;
            Ok(())
        })
        .await
    }
}

pub(super) fn disable(
    connection: &Connection,
    endpoint: &Name,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "INSERT OR IGNORE INTO disabled(endpoint, at) VALUES (?1, ?2)";
    let mut disable = connection.prepare_cached(sql)?;
    disable.execute(params![endpoint.as_str(), now.as_millis()])?;
    Ok(())
}

pub(super) fn enable(connection: &Connection, endpoint: &Name) -> Result<(), StoreError> {
    let sql = "DELETE FROM disabled WHERE endpoint = ?1";
    let mut enable = connection.prepare_cached(sql)?;
    enable.execute([endpoint.as_str()])?;
    Ok(())
}

fn endpoints(connection: &Connection, sql: &str) -> Result<BTreeSet<String>, StoreError> {
    let mut query = connection.prepare_cached(sql)?;
    let names = query.query_map([], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}
