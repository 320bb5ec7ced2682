//! Events in the order in which they became visible, and who has news.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _};

use super::lanes::{self, Visible};
use super::packed::Unpacker;
use super::{Sqlite, stored};
use crate::event::{Event, EventId, EventKey, Kind, ORDINAL_MAX};
use crate::store::{Cursor, EventPage, EventQuery, LISTED_MAX, Position, SourceId, StoreError};

/// Bytes of content after which a page ends, at whole events: what a reader may hold at once.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

impl Sqlite {
    pub(in crate::store) async fn news(
        &self,
        after: Position,
    ) -> Result<(BTreeSet<SourceId>, Position), StoreError> {
        self.read(move |connection| {
            let sql = "SELECT DISTINCT source FROM commits NOT INDEXED WHERE position > ?1";
            let sources = connection
                .prepare_cached(sql)?
                .query_map([after.0], |row| row.get(0).map(SourceId))?
                .collect::<Result<_, _>>()?;
            Ok((sources, newest(connection)?.max(after)))
        })
        .await
    }

    pub(in crate::store) async fn events(
        &self,
        query: EventQuery,
    ) -> Result<EventPage, StoreError> {
        self.read(move |connection| page(connection, &query)).await
    }

    pub(in crate::store) async fn cursor(&self, id: EventId) -> Result<Cursor, StoreError> {
        self.read(move |connection| {
            let sql = "SELECT position FROM commits WHERE generation = ?1 AND salt = ?2";
            let mut query = connection.prepare_cached(sql)?;
            let (key, salt) = (id.key(), id.salt().cast_signed());
            let position = query.query_one([key.generation(), salt], |row| row.get(0));
            match position.optional()? {
                Some(position) => Ok(Cursor {
                    position: Position(position),
                    ordinal: i64::from(key.ordinal()),
                }),
                None => Err(StoreError::Gone(oldest(connection)?)),
            }
        })
        .await
    }

    pub(in crate::store) async fn event(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        self.read(move |connection| {
            let found = lanes::load(connection, id.key(), &mut Unpacker::new())?;
            Ok(found.filter(|event| event.id == id))
        })
        .await
    }
}

fn newest(connection: &Connection) -> Result<Position, StoreError> {
    let sql = "SELECT position FROM meta";
    let newest = connection
        .prepare_cached(sql)?
        .query_one([], |row| row.get(0))?;
    Ok(Position(newest))
}

fn page(connection: &Connection, query: &EventQuery) -> Result<EventPage, StoreError> {
    let oldest = oldest(connection)?;
    // Without a cursor the page begins where one could have followed on: events that retention
    // spared before that point are found by their deliveries.
    let after = query.after.unwrap_or(oldest);
    if after < oldest {
        return Err(StoreError::Gone(oldest));
    }
    let newest = newest(connection)?;
    if after.position > newest.max(oldest.position) {
        // Given out by another history of this store, deleted or restored since.
        return Err(StoreError::Gone(oldest));
    }
    let mut page = Page {
        after,
        kind: query.kind,
        limit: query.limit.clamp(1, LISTED_MAX),
        bytes: 0,
        events: Vec::new(),
        next: after,
    };
    let source = match &query.source {
        Some(name) => match source_id(connection, name)? {
            Some(id) => Some(id),
            None => return Ok(page.end(newest)),
        },
        None => None,
    };
    let mut commits = connection.prepare_cached(&commits_after(source, query.kind))?;
    let mut commits = match source {
        Some(source) => commits.query([after.position.0, source])?,
        None => commits.query([after.position.0])?,
    };
    let mut unpacker = Unpacker::new();
    while let Some(row) = commits.next()? {
        let commit = Visible::of(row, &row.get::<_, String>(7)?.into())?;
        let position = Position(row.get(6)?);
        if !page.take(connection, position, &commit, &mut unpacker)? {
            return Ok(page.stop());
        }
    }
    Ok(page.end(newest))
}

/// The cursor before which retention took something.
fn oldest(connection: &Connection) -> Result<Cursor, StoreError> {
    let sql = "SELECT gone_position, gone_ordinal FROM meta";
    let oldest = connection.prepare_cached(sql)?.query_one([], |row| {
        Ok(Cursor {
            position: Position(row.get(0)?),
            ordinal: row.get(1)?,
        })
    })?;
    Ok(oldest)
}

fn source_id(connection: &Connection, name: &str) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT id FROM sources WHERE name = ?1";
    let mut query = connection.prepare_cached(sql)?;
    Ok(query.query_one([name], |row| row.get(0)).optional()?)
}

/// Commits from a position on. Those of one source ascend by generation as they do by position,
/// so that its index serves.
fn commits_after(source: Option<i64>, kind: Option<Kind>) -> String {
    let (index, of_source, order) = match source {
        Some(_) => (
            "INDEXED BY commits_of_source",
            " AND source = ?2",
            "generation",
        ),
        None => ("NOT INDEXED", "", "position"),
    };
    let of_kind = match kind {
        Some(Kind::Created) => " AND created > 0",
        Some(Kind::Updated) => " AND updated > 0",
        Some(Kind::Deleted) => " AND deleted > 0",
        Some(Kind::Changed) => " AND changed > 0",
        Some(Kind::SourceFailing) => " AND failing > 0",
        Some(Kind::SourceRecovered) => " AND recovered > 0",
        Some(Kind::SourceHeld) => " AND held > 0",
        Some(Kind::EndpointDisabled) => " AND disabled > 0",
        Some(Kind::DeliveryDead) => " AND dead > 0",
        Some(Kind::SourceStale) => " AND stale > 0",
        // None is ever stored.
        Some(Kind::Test) => " AND FALSE",
        None => "",
    };
    format!(
        "SELECT generation, salt, first_sequence, at, cause, request_id, position, name
        FROM commits {index} JOIN sources ON sources.id = source
        WHERE position >= ?1 AND lane IS NULL{of_source}{of_kind} ORDER BY {order}"
    )
}

/// A page that fills.
struct Page {
    after: Cursor,
    kind: Option<Kind>,
    limit: usize,
    bytes: usize,
    events: Vec<Event>,
    next: Cursor,
}

impl Page {
    /// Takes the events of a commit; whether there is room for another one's.
    fn take(
        &mut self,
        connection: &Connection,
        position: Position,
        commit: &Visible,
        unpacker: &mut Unpacker,
    ) -> Result<bool, StoreError> {
        let passed = if position == self.after.position {
            self.after.ordinal
        } else {
            -1
        };
        let first = EventKey::new(commit.generation, 0).number();
        let last = EventKey::new(commit.generation, ORDINAL_MAX).number();
        let sql = "SELECT key, kind, subject, form, digest, content FROM events
            WHERE key > ?1 AND key <= ?2 AND (?3 IS NULL OR kind = ?3) ORDER BY key LIMIT ?4";
        let mut query = connection.prepare_cached(sql)?;
        let room = stored(self.limit - self.events.len());
        let kind = self.kind.map(Kind::number);
        let mut rows = query.query(rusqlite::params![first + passed, last, kind, room])?;
        while let Some(row) = rows.next()? {
            let event = match commit.event(row, unpacker) {
                // Shown without its content, so that the feed goes on behind it.
                Err(StoreError::Corrupt(_)) => commit.damaged(row)?,
                event => event?,
            };
            self.next = Cursor {
                position,
                ordinal: i64::from(event.id.key().ordinal()),
            };
            self.bytes += event.content.len();
            self.events.push(event);
            if self.events.len() == self.limit || self.bytes >= PAGE_BYTES_MAX {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The page is full.
    fn stop(self) -> EventPage {
        EventPage {
            events: self.events,
            next: self.next,
        }
    }

    /// There is nothing more: a reader goes on after the newest commit.
    fn end(self, newest: Position) -> EventPage {
        let after_newest = Cursor {
            position: newest,
            ordinal: i64::from(ORDINAL_MAX),
        };
        EventPage {
            events: self.events,
            next: after_newest.max(self.next),
        }
    }
}
