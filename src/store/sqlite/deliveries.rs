//! Deliveries as a person lists them: put together from parked rows, attempts, and what lies
//! ahead of the watermarks.

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::lanes::{kind_of, source_name};
use super::settle::{ACCEPTED, DEAD, PASSED_OVER};
use super::{At, Sqlite, impossible, steer, stored};
use crate::digest::Digest;
use crate::event::{EventId, EventKey, Kind, ORDINAL_MAX, Partition};
use crate::name::Name;
use crate::store::{
    Attempt, Delivery, DeliveryId, DeliveryQuery, DeliveryState, LISTED_MAX, LaneId, SourceId,
    StoreError,
};
use crate::time::Timestamp;

/// Most attempts shown of one delivery; a retry schedule has ten.
const ATTEMPTS_MAX: i64 = 1_000;

impl Sqlite {
    pub(in crate::store) async fn deliveries(
        &self,
        query: DeliveryQuery,
    ) -> Result<Vec<Delivery>, StoreError> {
        self.read(move |connection| list(connection, &query)).await
    }

    pub(in crate::store) async fn delivery(
        &self,
        id: DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        self.read(move |connection| one(connection, id)).await
    }

    pub(in crate::store) async fn attempts(
        &self,
        delivery: DeliveryId,
    ) -> Result<Vec<Attempt>, StoreError> {
        self.read(move |connection| {
            let sql =
                "SELECT number, at, duration_ms, status, error, answer, rendering FROM attempts
                WHERE lane = ?1 AND event = ?2 AND outcome <> ?3 ORDER BY number LIMIT ?4";
            let mut query = connection.prepare_cached(sql)?;
            let (lane, event) = (delivery.lane.0, delivery.event.number());
            let bounds = [lane, event, PASSED_OVER, ATTEMPTS_MAX];
            let attempts = query.query_map(bounds, |row| {
                Ok(Attempt {
                    number: row.get(0)?,
                    at: row.get::<_, At>(1)?.0,
                    duration_ms: row.get(2)?,
                    status: row.get(3)?,
                    error: row.get(4)?,
                    answer: row.get::<_, Option<String>>(5)?.map(Into::into),
                    rendering: row.get::<_, Option<[u8; 16]>>(6)?.map(Digest::from_bytes),
                })
            })?;
            Ok(attempts.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// A lane whose deliveries are listed, and what its endpoint hears of it.
struct Lane {
    id: LaneId,
    source: SourceId,
    watermark: EventKey,
    /// Bits by [`Kind::number`].
    hears: i64,
}

impl Lane {
    /// Reads `id, source, watermark`; it hears nothing yet.
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: LaneId(row.get(0)?),
            source: SourceId(row.get(1)?),
            watermark: EventKey::from_number(row.get(2)?),
            hears: 0,
        })
    }
}

/// A delivery before its names are looked up.
struct Found {
    id: DeliveryId,
    source: SourceId,
    kind: Kind,
    line: String,
    attempts: u32,
    due: Option<Timestamp>,
    committed_at: Timestamp,
    settled_at: Option<Timestamp>,
}

/// A part of one lane's deliveries.
#[derive(Clone, Copy)]
struct Page {
    /// The newest event that may be among them.
    newest: i64,
    limit: i64,
}

impl Page {
    /// What of a lane stands behind `after` in the order of all lanes.
    fn of(after: Option<DeliveryId>, lane: &Lane, limit: usize) -> Self {
        let newest = after.map_or(i64::MAX, |after| {
            let is_behind = lane.id < after.lane;
            after.event.number() - i64::from(!is_behind)
        });
        Self {
            newest,
            limit: stored(limit),
        }
    }
}

fn list(connection: &Connection, query: &DeliveryQuery) -> Result<Vec<Delivery>, StoreError> {
    let limit = query.limit.clamp(1, LISTED_MAX);
    let mut found = Vec::new();
    for lane in lanes(connection, query)? {
        let page = Page::of(query.after, &lane, limit);
        match query.state {
            DeliveryState::Dead => parked(connection, (&lane, page), [DEAD; 2], &mut found)?,
            DeliveryState::Delivered => delivered(connection, (&lane, page), &mut found)?,
            DeliveryState::Pending => {
                parked(connection, (&lane, page), [0, 1], &mut found)?;
                ahead(connection, (&lane, page), &mut found)?;
            }
        }
        // Of many lanes only the newest are kept.
        if found.len() > limit {
            found.sort_unstable_by_key(|delivery: &Found| delivery.id.newest_first());
            found.truncate(limit);
        }
    }
    found.sort_unstable_by_key(|delivery| delivery.id.newest_first());
    let named = found
        .into_iter()
        .map(|found| found.named(connection, &query.endpoint, query.state));
    named.collect()
}

fn one(connection: &Connection, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
    let sql = "SELECT id, source, watermark, endpoint FROM lanes WHERE id = ?1";
    let lane = connection
        .prepare_cached(sql)?
        .query_one([id.lane.0], |row| {
            Ok((Lane::of(row)?, row.get::<_, String>(3)?))
        })
        .optional()?;
    let Some((lane, endpoint)) = lane else {
        return Ok(None);
    };
    let endpoint = Name::parse(&endpoint).map_err(|_| impossible("an endpoint's name"))?;
    let key = [id.lane.0, id.event.number()];
    let sql = "SELECT event, kind, subject, attempts, due, committed_at, settled_at, state
        FROM parked WHERE lane = ?1 AND event = ?2";
    let mut query = connection.prepare_cached(sql)?;
    let mut rows = query.query(key)?;
    if let Some(row) = rows.next()? {
        let state = match row.get(7)? {
            DEAD => DeliveryState::Dead,
            _ => DeliveryState::Pending,
        };
        let found = Found::of(row, &lane)?;
        return found.named(connection, &endpoint, state).map(Some);
    }
    let sql = "SELECT event, kind, subject, number, NULL, committed_at, at + duration_ms
        FROM attempts WHERE lane = ?1 AND event = ?2 AND outcome = 1 LIMIT 1";
    let mut query = connection.prepare_cached(sql)?;
    let mut rows = query.query(key)?;
    if let Some(row) = rows.next()? {
        let found = Found::of(row, &lane)?;
        let state = DeliveryState::Delivered;
        return found.named(connection, &endpoint, state).map(Some);
    }
    let Some((kind, words, committed_at)) = steer::ahead(connection, id)? else {
        return Ok(None);
    };
    let found = Found {
        id,
        source: lane.source,
        kind: kind_of(kind)?,
        line: words,
        attempts: 0,
        due: None,
        committed_at,
        settled_at: None,
    };
    let state = DeliveryState::Pending;
    found.named(connection, &endpoint, state).map(Some)
}

/// The endpoint's lanes; for pending deliveries those of which it still hears something.
fn lanes(connection: &Connection, query: &DeliveryQuery) -> Result<Vec<Lane>, StoreError> {
    let sql = "SELECT id, source, watermark FROM lanes WHERE endpoint = ?1";
    let mut lanes = connection
        .prepare_cached(sql)?
        .query_map([query.endpoint.as_str()], Lane::of)?
        .collect::<Result<Vec<_>, _>>()?;
    let heard: std::collections::HashMap<_, _> = query
        .hears
        .iter()
        .map(|(source, kinds)| (*source, kinds))
        .collect();
    for lane in &mut lanes {
        let kinds = heard.get(&lane.source).into_iter().copied().flatten();
        lane.hears = kinds.fold(0, |bits, kind| bits | 1 << kind.number());
    }
    if query.state == DeliveryState::Pending {
        lanes.retain(|lane| lane.hears != 0);
    }
    Ok(lanes)
}

/// Adds the newest parked deliveries in these states.
fn parked(
    connection: &Connection,
    (lane, page): (&Lane, Page),
    states: [i64; 2],
    found: &mut Vec<Found>,
) -> Result<(), StoreError> {
    // The dead have an index of their own, which only their number written out selects.
    let sql = match states {
        [DEAD, DEAD] => {
            "SELECT event, kind, subject, attempts, due, committed_at, settled_at FROM parked
            INDEXED BY parked_dead WHERE lane = ?1 AND state = 2 AND event <= ?3
            ORDER BY event DESC LIMIT ?2"
        }
        _ => {
            "SELECT event, kind, subject, attempts, due, committed_at, settled_at FROM parked
            WHERE lane = ?1 AND state IN (0, 1) AND event <= ?3 ORDER BY event DESC LIMIT ?2"
        }
    };
    let mut query = connection.prepare_cached(sql)?;
    let mut rows = query.query([lane.id.0, page.limit, page.newest])?;
    while let Some(row) = rows.next()? {
        found.push(Found::of(row, lane)?);
    }
    Ok(())
}

/// Adds the newest deliveries that were accepted.
fn delivered(
    connection: &Connection,
    (lane, page): (&Lane, Page),
    found: &mut Vec<Found>,
) -> Result<(), StoreError> {
    let sql = "SELECT event, kind, subject, number, NULL, committed_at, at + duration_ms
        FROM attempts WHERE lane = ?1 AND outcome = ?2 AND event <= ?4
        ORDER BY event DESC LIMIT ?3";
    let mut query = connection.prepare_cached(sql)?;
    let mut rows = query.query([lane.id.0, ACCEPTED, page.limit, page.newest])?;
    while let Some(row) = rows.next()? {
        found.push(Found::of(row, lane)?);
    }
    Ok(())
}

/// Adds the newest events after the watermark that are neither settled nor parked.
fn ahead(
    connection: &Connection,
    (lane, page): (&Lane, Page),
    found: &mut Vec<Found>,
) -> Result<(), StoreError> {
    let sql = "SELECT generation, at FROM commits WHERE source = ?1 AND generation >= ?2
            AND (lane IS NULL OR lane = ?3) AND generation <= ?4
        ORDER BY generation DESC";
    let mut commits = connection.prepare_cached(sql)?;
    let (oldest, newest) = (lane.watermark, EventKey::from_number(page.newest));
    let (oldest, newest) = (oldest.generation(), newest.generation());
    let bounds = [lane.source.0, oldest, lane.id.0, newest];
    let mut commits = commits.query(bounds)?;
    let mut room = page.limit;
    while room > 0
        && let Some(row) = commits.next()?
    {
        let (generation, at): (i64, i64) = (row.get(0)?, row.get(1)?);
        let first = EventKey::new(generation, 0).number();
        let last = EventKey::new(generation, ORDINAL_MAX).number();
        let last = last.min(page.newest);
        let sql = "SELECT key, kind, subject, 0, NULL, ?6, NULL FROM events
            WHERE key > ?2 AND key <= ?3 AND (?4 >> kind) & 1
                AND NOT EXISTS (SELECT 1 FROM attempts
                    WHERE lane = ?1 AND event = key AND outcome <> 0)
                AND NOT EXISTS (SELECT 1 FROM parked WHERE lane = ?1 AND event = key)
            ORDER BY key DESC LIMIT ?5";
        let mut query = connection.prepare_cached(sql)?;
        let after = lane.watermark.number().max(first - 1);
        let bounds = [lane.id.0, after, last, lane.hears, room, at];
        let mut rows = query.query(bounds)?;
        while let Some(row) = rows.next()? {
            found.push(Found::of(row, lane)?);
            room -= 1;
        }
    }
    Ok(())
}

impl Found {
    /// Reads `event, kind, subject, attempts, due, committed_at, settled_at`.
    fn of(row: &Row<'_>, lane: &Lane) -> Result<Self, StoreError> {
        let event = EventKey::from_number(row.get(0)?);
        Ok(Self {
            id: DeliveryId {
                lane: lane.id,
                event,
            },
            source: lane.source,
            kind: kind_of(row.get(1)?)?,
            line: row.get(2)?,
            attempts: row.get(3)?,
            due: row.get::<_, Option<At>>(4)?.map(|at| at.0),
            committed_at: row.get::<_, At>(5)?.0,
            settled_at: row.get::<_, Option<At>>(6)?.map(|at| at.0),
        })
    }

    fn named(
        self,
        connection: &Connection,
        endpoint: &Name,
        state: DeliveryState,
    ) -> Result<Delivery, StoreError> {
        let key = self.id.event;
        let sql = "SELECT salt FROM commits WHERE generation = ?1
            AND EXISTS (SELECT 1 FROM events WHERE key = ?2)";
        let salt: Option<i64> = connection
            .prepare_cached(sql)?
            .query_one([key.generation(), key.number()], |row| row.get(0))
            .optional()?;
        let source = source_name(connection, self.source)
            .map_err(|_| impossible("a lane of an unknown source"))?;
        let (partition, subject) = Partition::of_line(&self.line);
        Ok(Delivery {
            id: self.id,
            endpoint: endpoint.clone(),
            event: salt.map(|salt| EventId::new(key, salt.cast_unsigned())),
            event_type: self.kind.event_type(&source),
            partition,
            subject: subject.into(),
            state,
            attempts: self.attempts,
            due: self.due,
            committed_at: self.committed_at,
            settled_at: self.settled_at,
        })
    }
}
