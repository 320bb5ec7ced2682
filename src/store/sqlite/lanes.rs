//! What a deliverer reads: where its lanes stand, the events ahead, and what is parked.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::packed::Unpacker;
use super::{At, Sqlite, counted, fresh, impossible, numbering, stored};
use crate::detect::Subject;
use crate::event::{Cause, Event, EventId, EventKey, Kind, ORDINAL_MAX, Partition};
use crate::name::Name;
use crate::store::{
    Ahead, LaneId, LaneState, Parked, SCAN_INLINE_BYTES, SCAN_MAX, Scanned, SourceId, StoreError,
};
use crate::time::Timestamp;

/// Lanes that one job registers and one read tells of.
const LANES_MAX: usize = 256;

/// Most parked deliveries that one read tells of.
const WAITING_MAX: usize = 4_096;

impl Sqlite {
    pub(in crate::store) async fn lanes(
        &self,
        endpoint: &Name,
        sources: &[SourceId],
    ) -> Result<Vec<LaneState>, StoreError> {
        let mut states = Vec::with_capacity(sources.len());
        for chunk in sources.chunks(LANES_MAX) {
            let (name, wanted) = (endpoint.clone(), chunk.to_vec());
            let find = move |connection: &Connection| find_all(connection, &name, &wanted);
            let mut ids = self.read(find).await?;
            if ids.is_none() {
                let (name, wanted) = (endpoint.clone(), chunk.to_vec());
                let register = move |connection: &Connection| {
                    for source in &wanted {
                        register(connection, &name, *source)?;
                    }
                    find_all(connection, &name, &wanted)
                };
                ids = self.write(chunk.len(), register).await?;
            }
            let ids = ids.ok_or_else(|| impossible("a lane that is gone"))?;
            self.active.lock().extend(&ids);
            let state = move |connection: &Connection| {
                let states = ids.iter().map(|id| state(connection, *id));
                states.collect::<Result<Vec<_>, _>>()
            };
            states.extend(self.read(state).await?);
        }
        Ok(states)
    }

    pub(in crate::store) async fn scan(
        &self,
        (source, lane): (SourceId, Option<LaneId>),
        after: EventKey,
        limit: usize,
    ) -> Result<Vec<Scanned>, StoreError> {
        let limit = limit.min(SCAN_MAX);
        self.read(move |connection| scan(connection, (source, lane), after, limit))
            .await
    }

    pub(in crate::store) async fn load(
        &self,
        keys: Vec<EventKey>,
    ) -> Result<Vec<Option<Event>>, StoreError> {
        self.read(move |connection| {
            let mut unpacker = Unpacker::new();
            let events = keys.iter().map(|key| load(connection, *key, &mut unpacker));
            events.collect()
        })
        .await
    }

    pub(in crate::store) async fn waiting(
        &self,
        lane: LaneId,
        limit: usize,
    ) -> Result<Vec<Parked>, StoreError> {
        let now = self.clock.now();
        self.read(move |connection| {
            let sql = "SELECT event, kind, subject, committed_at, attempts, due, earlier,
                    (SELECT at FROM attempts WHERE attempts.lane = ?1
                        AND attempts.event = parked.event AND number = parked.attempts)
                FROM parked INDEXED BY parked_waiting
                WHERE lane = ?1 AND state = 0 ORDER BY due, event LIMIT ?2";
            let mut query = connection.prepare_cached(sql)?;
            let mut rows = query.query([lane.0, stored(limit.min(WAITING_MAX))])?;
            let mut parked = Vec::new();
            while let Some(row) = rows.next()? {
                let mut waiting = read_parked(row)?;
                let tried = row.get::<_, Option<At>>(7)?.map(|at| at.0);
                waiting.due = waiting.due.map(|due| due_by(now, tried, due));
                parked.push(waiting);
            }
            Ok(parked)
        })
        .await
    }

    pub(in crate::store) async fn next_blocked(
        &self,
        lane: LaneId,
        subject: Subject,
    ) -> Result<Option<Parked>, StoreError> {
        self.read(move |connection| {
            let sql =
                "SELECT event, kind, subject, committed_at, attempts, NULL, earlier FROM parked
                INDEXED BY parked_blocked
                WHERE lane = ?1 AND subject = ?2 AND state = 1 ORDER BY event LIMIT 1";
            let mut query = connection.prepare_cached(sql)?;
            let mut rows = query.query(params![lane.0, subject])?;
            rows.next()?.map(read_parked).transpose()
        })
        .await
    }
}

/// The lanes of these sources; `None`: not all are registered.
fn find_all(
    connection: &Connection,
    endpoint: &Name,
    sources: &[SourceId],
) -> Result<Option<Vec<LaneId>>, StoreError> {
    let sql = "SELECT id FROM lanes WHERE endpoint = ?1 AND source = ?2";
    let mut query = connection.prepare_cached(sql)?;
    let ids = sources.iter().map(|source| {
        let id = query.query_one(params![endpoint.as_str(), source.0], |row| row.get(0));
        Ok(id.optional()?.map(LaneId))
    });
    ids.collect()
}

/// Registers a lane that begins after the source's newest visible event.
fn register(connection: &Connection, endpoint: &Name, source: SourceId) -> Result<(), StoreError> {
    let watermark = fresh::newest(connection, source)?;
    let sql = "INSERT INTO lanes(endpoint, source, watermark) VALUES (?1, ?2, ?3)
        ON CONFLICT DO NOTHING";
    connection.prepare_cached(sql)?.execute(params![
        endpoint.as_str(),
        source.0,
        watermark.number()
    ])?;
    Ok(())
}

fn state(connection: &Connection, id: LaneId) -> Result<LaneState, StoreError> {
    let sql = "SELECT source, watermark FROM lanes WHERE id = ?1";
    let (source, watermark) = connection.prepare_cached(sql)?.query_one([id.0], |row| {
        Ok((SourceId(row.get(0)?), EventKey::from_number(row.get(1)?)))
    })?;
    let sql = "SELECT event FROM attempts WHERE lane = ?1 AND event > ?2 AND outcome <> 0
        UNION SELECT event FROM parked WHERE lane = ?1 AND event > ?2
        ORDER BY 1";
    let settled = connection
        .prepare_cached(sql)?
        .query_map([id.0, watermark.number()], |row| {
            row.get(0).map(EventKey::from_number)
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let sql = "SELECT
        (SELECT count(*) FROM parked INDEXED BY parked_waiting WHERE lane = ?1 AND state = 0) +
        (SELECT count(*) FROM parked INDEXED BY parked_blocked WHERE lane = ?1 AND state = 1)";
    let parked: i64 = connection
        .prepare_cached(sql)?
        .query_one([id.0], |row| row.get(0))?;
    Ok(LaneState {
        id,
        source,
        watermark,
        settled,
        ahead: ahead(connection, (source, id), watermark)?,
        parked: counted(parked),
    })
}

/// Visible events after `watermark` by kind, and when the first of each was committed: whole
/// commits by their counts, the one that the watermark divides by its events.
fn ahead(
    connection: &Connection,
    (source, lane): (SourceId, LaneId),
    watermark: EventKey,
) -> Result<Vec<Ahead>, StoreError> {
    let sql = "SELECT sum(created), sum(updated), sum(deleted), sum(changed), sum(failing),
            sum(recovered), sum(held), sum(disabled), sum(dead), sum(stale),
            min(iif(created, at, NULL)), min(iif(updated, at, NULL)), min(iif(deleted, at, NULL)),
            min(iif(changed, at, NULL)), min(iif(failing, at, NULL)), min(iif(recovered, at, NULL)),
            min(iif(held, at, NULL)), min(iif(disabled, at, NULL)), min(iif(dead, at, NULL)),
            min(iif(stale, at, NULL))
        FROM commits WHERE source = ?1 AND generation > ?2 AND (lane IS NULL OR lane = ?3)";
    let bounds = [source.0, watermark.generation(), lane.0];
    let mut found = connection.prepare_cached(sql)?.query_one(bounds, |row| {
        let mut found = [(0_i64, None::<At>); Kind::ALL.len()];
        for (index, (count, first)) in found.iter_mut().enumerate() {
            *count = row.get::<_, Option<i64>>(index)?.unwrap_or(0);
            *first = row.get(Kind::ALL.len() + index)?;
        }
        Ok(found)
    })?;
    let sql = "SELECT kind, count(*), at FROM events JOIN commits ON generation = ?3
        WHERE key > ?1 AND key <= ?2 AND (lane IS NULL OR lane = ?4) GROUP BY kind";
    let mut query = connection.prepare_cached(sql)?;
    let generation = watermark.generation();
    let last = EventKey::new(generation, ORDINAL_MAX);
    let bounds = [watermark.number(), last.number(), generation, lane.0];
    let mut rows = query.query(bounds)?;
    while let Some(row) = rows.next()? {
        let (count, first) = &mut found[kind_of(row.get(0)?)? as usize];
        *count += row.get::<_, i64>(1)?;
        *first = row.get(2)?;
    }
    let by_kind = Kind::ALL.into_iter().zip(found);
    let ahead = by_kind.filter_map(|(kind, (count, first))| {
        Some(Ahead {
            kind,
            count: counted(count),
            first: first?.0,
        })
    });
    Ok(ahead.collect())
}

fn scan(
    connection: &Connection,
    (source, lane): (SourceId, Option<LaneId>),
    after: EventKey,
    limit: usize,
) -> Result<Vec<Scanned>, StoreError> {
    let name: Arc<str> = source_name(connection, source)?.into();
    let sql = "SELECT generation, salt, first_sequence, at, cause, request_id FROM commits
        WHERE source = ?1 AND generation >= ?2 AND (lane IS NULL OR lane = ?3)
        ORDER BY generation";
    let mut commits = connection.prepare_cached(sql)?;
    let lane = lane.map(|lane| lane.0);
    let mut commits = commits.query(params![source.0, after.generation(), lane])?;
    let mut scanned = Vec::new();
    let mut unpacker = Unpacker::new();
    while scanned.len() < limit
        && let Some(row) = commits.next()?
    {
        let commit = Visible::of(row, &name)?;
        let from = after
            .number()
            .max(EventKey::new(commit.generation, 0).number() - 1);
        let sql = "SELECT key, kind, subject, form, digest,
                CASE WHEN iif(form = 0, length(content), form) <= ?4 THEN content END
            FROM events WHERE key > ?1 AND key <= ?2 ORDER BY key LIMIT ?3";
        let mut events = connection.prepare_cached(sql)?;
        let mut events = events.query([
            from,
            EventKey::new(commit.generation, ORDINAL_MAX).number(),
            stored(limit - scanned.len()),
            stored(SCAN_INLINE_BYTES),
        ])?;
        while let Some(row) = events.next()? {
            scanned.push(commit.scanned(row, &mut unpacker)?);
        }
    }
    Ok(scanned)
}

/// A visible commit, as far as its events need it.
pub(super) struct Visible {
    pub(super) generation: i64,
    salt: u64,
    first_sequence: i64,
    at: crate::time::Timestamp,
    cause: Cause,
    source: Arc<str>,
}

impl Visible {
    /// Reads `generation, salt, first_sequence, at, cause, request_id`.
    pub(super) fn of(row: &Row<'_>, source: &Arc<str>) -> Result<Self, StoreError> {
        Ok(Self {
            generation: row.get(0)?,
            salt: row.get::<_, i64>(1)?.cast_unsigned(),
            first_sequence: row.get(2)?,
            at: row.get::<_, At>(3)?.0,
            cause: numbering::cause_of(row.get(4)?, row.get(5)?)
                .ok_or_else(|| impossible("a cause"))?,
            source: Arc::clone(source),
        })
    }

    /// Reads `key, kind, subject, form, digest, content`, where the content may be left out.
    fn scanned(&self, row: &Row<'_>, unpacker: &mut Unpacker) -> Result<Scanned, StoreError> {
        let is_inline = row.get_ref(5)? != rusqlite::types::ValueRef::Null;
        let event = match is_inline.then(|| self.event(row, unpacker)) {
            // Left to whoever loads it, so that it does not stop those behind it.
            None | Some(Err(StoreError::Corrupt(_))) => None,
            Some(event) => Some(event?),
        };
        Ok(Scanned {
            key: EventKey::from_number(row.get(0)?),
            kind: kind_of(row.get(1)?)?,
            subject: row.get::<_, String>(2)?.into(),
            at: self.at,
            event,
        })
    }

    /// Reads `key, kind, subject, form, digest, content`.
    pub(super) fn event(
        &self,
        row: &Row<'_>,
        unpacker: &mut Unpacker,
    ) -> Result<Event, StoreError> {
        let digest: Vec<u8> = row.get(4)?;
        let content = unpacker.unpack(row.get(3)?, &digest, row.get(5)?)?;
        self.told(row, content)
    }

    /// An event whose stored content is not what was stored.
    pub(super) fn damaged(&self, row: &Row<'_>) -> Result<Event, StoreError> {
        self.told(row, r#""damaged":true"#.into())
    }

    fn told(&self, row: &Row<'_>, content: Box<str>) -> Result<Event, StoreError> {
        let key = EventKey::from_number(row.get(0)?);
        let line = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
        let (partition, subject) = Partition::of_line(line);
        let nth = match self.cause {
            // As of the source's newest event, all of them.
            Cause::Backfill => 0,
            _ => key.ordinal(),
        };
        Ok(Event {
            id: EventId::new(key, self.salt),
            source: Arc::clone(&self.source),
            kind: kind_of(row.get(1)?)?,
            partition,
            subject: subject.into(),
            sequence: counted(self.first_sequence + i64::from(nth)),
            at: self.at,
            cause: self.cause.clone(),
            content,
        })
    }
}

/// The event at `key`, if it is visible.
pub(super) fn load(
    connection: &Connection,
    key: EventKey,
    unpacker: &mut Unpacker,
) -> Result<Option<Event>, StoreError> {
    let sql = "SELECT generation, salt, first_sequence, at, cause, request_id, name
        FROM commits JOIN sources ON sources.id = source WHERE generation = ?1";
    let mut commits = connection.prepare_cached(sql)?;
    let mut commits = commits.query([key.generation()])?;
    let Some(row) = commits.next()? else {
        return Ok(None);
    };
    let commit = Visible::of(row, &row.get::<_, String>(6)?.into())?;
    let sql = "SELECT key, kind, subject, form, digest, content FROM events WHERE key = ?1";
    let mut events = connection.prepare_cached(sql)?;
    let mut events = events.query([key.number()])?;
    let row = events.next()?;
    row.map(|row| commit.event(row, unpacker)).transpose()
}

pub(super) fn source_name(connection: &Connection, source: SourceId) -> Result<String, StoreError> {
    let sql = "SELECT name FROM sources WHERE id = ?1";
    let name = connection
        .prepare_cached(sql)?
        .query_one([source.0], |row| row.get(0))
        .optional()?;
    name.ok_or_else(|| super::unknown("source"))
}

pub(super) fn kind_of(number: i64) -> Result<Kind, StoreError> {
    Kind::from_number(number).ok_or_else(|| impossible("a kind of event"))
}

/// When what was tried at `tried` is due: an attempt of the future was made under a clock that was
/// ahead, by which its due time was written too.
fn due_by(now: Timestamp, tried: Option<Timestamp>, due: Timestamp) -> Timestamp {
    match tried {
        Some(tried) if tried > now && due >= tried => now.plus(due.since(tried)),
        _ => due,
    }
}

/// Reads `event, kind, subject, committed_at, attempts, due, earlier`.
fn read_parked(row: &Row<'_>) -> Result<Parked, StoreError> {
    Ok(Parked {
        event: EventKey::from_number(row.get(0)?),
        kind: kind_of(row.get(1)?)?,
        subject: row.get::<_, String>(2)?.into(),
        at: row.get::<_, At>(3)?.0,
        attempts: row.get(4)?,
        earlier: row.get(6)?,
        due: row.get::<_, Option<At>>(5)?.map(|at| at.0),
    })
}
