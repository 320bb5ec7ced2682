//! Events get their keys, and commits make them visible with their sequence.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::commit::Change;
use super::packed::{Packed, Packer};
use super::{counted, unknown};
use crate::detect::Subject;
use crate::event::{Cause, EventId, EventKey, Kind, ORDINAL_MAX, Partition};
use crate::store::{
    Announcement, COMMITTED_IDS_MAX, Committed, LaneId, Position, SourceId, StoreError,
};
use crate::time::Timestamp;

/// How many kinds a commit counts.
const KINDS: usize = Kind::ALL.len();

/// What the changes of a poll amount to.
#[derive(Debug, Default, Clone)]
pub(super) struct Tally {
    /// Events by [`Kind::number`].
    counts: [i64; KINDS],
    /// By how much the number of items grew.
    pub(super) grown: i64,
}

/// An operational event, packed.
#[derive(Debug)]
pub(super) struct Rung {
    kind: Kind,
    subject: Subject,
    content: Packed,
}

impl Tally {
    /// Inserts the event of a change, if it rings.
    pub(super) fn ring(
        &mut self,
        connection: &Connection,
        (generation, partition): (i64, &Partition),
        change: &Change,
    ) -> Result<(), StoreError> {
        let Some((kind, content)) = &change.event else {
            return Ok(());
        };
        let line = partition.line(&change.subject);
        self.insert(connection, generation, (*kind, &line, content))
    }

    /// Sets apart the numbers of a chunk's events; what was counted before them.
    pub(super) fn reserve(&mut self, chunk: &[Change]) -> Self {
        let before = self.clone();
        for (kind, _) in chunk.iter().filter_map(|change| change.event.as_ref()) {
            self.counts[*kind as usize] += 1;
        }
        before
    }

    /// Inserts the next event of this generation and counts it.
    pub(super) fn insert(
        &mut self,
        connection: &Connection,
        generation: i64,
        (kind, line, content): (Kind, &str, &Packed),
    ) -> Result<(), StoreError> {
        let ordinal = u32::try_from(self.events())
            .ok()
            .filter(|ordinal| *ordinal <= ORDINAL_MAX)
            .ok_or_else(|| StoreError::Database("too many events in one poll".to_owned()))?;
        let sql = "INSERT INTO events(key, kind, subject, form, digest, content)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        connection.prepare_cached(sql)?.execute(params![
            EventKey::new(generation, ordinal).number(),
            kind.number(),
            line,
            content.form,
            content.digest.as_bytes(),
            content.bytes
        ])?;
        self.counts[kind as usize] += 1;
        Ok(())
    }

    /// Events so far.
    pub(super) fn events(&self) -> i64 {
        self.counts.iter().sum()
    }
}

/// What makes the events of a generation visible.
pub(super) struct Seal {
    pub(super) source: SourceId,
    pub(super) generation: i64,
    pub(super) at: Timestamp,
    pub(super) cause: Cause,
    /// Who alone hears the events; they have no numbers of their own then, but that of the source's
    /// newest event.
    pub(super) lane: Option<LaneId>,
}

impl Seal {
    /// Takes the sequence and the position, and writes the commit that shows the events.
    pub(super) fn set(&self, connection: &Connection, tally: &Tally) -> Result<Sealed, StoreError> {
        let count = tally.events();
        let numbers = if self.lane.is_some() { 0 } else { count };
        let sql = "UPDATE sources SET sequence = sequence + ?2 WHERE id = ?1 RETURNING sequence";
        let last: Option<i64> = connection
            .prepare_cached(sql)?
            .query_one(params![self.source.0, numbers], |row| row.get(0))
            .optional()?;
        let last = last.ok_or_else(|| unknown("source"))?;
        let first = match self.lane {
            Some(_) => last,
            None => last - count + 1,
        };
        let sql = "UPDATE meta SET position = position + 1 RETURNING position";
        let position: i64 = connection
            .prepare_cached(sql)?
            .query_one([], |row| row.get(0))?;
        let salt = fastrand::u64(..);
        let by_kind = &tally.counts;
        let sql = "INSERT INTO commits(position, generation, source, salt, first_sequence, at,
                cause, count, created, updated, deleted, changed, failing, recovered, held,
                disabled, dead, stale, request_id, lane)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                ?18, ?19, ?20)";
        connection.prepare_cached(sql)?.execute(params![
            position,
            self.generation,
            self.source.0,
            salt.cast_signed(),
            first,
            self.at.as_millis(),
            cause_number(&self.cause),
            count,
            by_kind[0],
            by_kind[1],
            by_kind[2],
            by_kind[3],
            by_kind[4],
            by_kind[5],
            by_kind[6],
            by_kind[7],
            by_kind[8],
            by_kind[9],
            self.cause.request_id(),
            self.lane.map(|lane| lane.0)
        ])?;
        let id = |ordinal| EventId::new(EventKey::new(self.generation, ordinal), salt);
        let ordinals = (0..=ORDINAL_MAX).zip(0..count);
        let committed = Committed {
            events: counted(count),
            ids: ordinals
                .take(COMMITTED_IDS_MAX)
                .map(|(ordinal, _)| id(ordinal))
                .collect(),
            first_sequence: counted(first),
        };
        Ok(Sealed {
            position: Position(position),
            committed,
        })
    }
}

/// What a seal made.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    pub(super) position: Position,
    pub(super) committed: Committed,
}

/// Packs operational events, which are small and few.
pub(super) fn pack(announcements: Vec<Announcement>) -> Vec<Rung> {
    let mut packer = Packer::new();
    let rungs = announcements.into_iter().map(|announcement| Rung {
        kind: announcement.kind,
        subject: announcement.subject,
        content: packer.pack(announcement.content),
    });
    rungs.collect()
}

/// Commits operational events under a generation of their own.
pub(super) fn announce(
    connection: &Connection,
    at: Timestamp,
    rungs: &[Rung],
) -> Result<(), StoreError> {
    if rungs.is_empty() {
        return Ok(());
    }
    let generation = next_generation(connection)?;
    let mut tally = Tally::default();
    for rung in rungs {
        let event = (rung.kind, &*rung.subject, &rung.content);
        tally.insert(connection, generation, event)?;
    }
    let seal = Seal {
        source: SourceId::OPERATIONAL,
        generation,
        at,
        cause: Cause::Poll,
        lane: None,
    };
    seal.set(connection, &tally).map(drop)
}

/// Takes the next generation.
pub(super) fn next_generation(connection: &Connection) -> Result<i64, StoreError> {
    let sql = "UPDATE meta SET generation = generation + 1 RETURNING generation";
    let generation = connection
        .prepare_cached(sql)?
        .query_one([], |row| row.get(0))?;
    Ok(generation)
}

/// The number that the store keeps for a cause; never reassigned.
const fn cause_number(cause: &Cause) -> i64 {
    match cause {
        Cause::Poll => 0,
        Cause::ProxiedRead(_) => 1,
        Cause::ProxiedWrite(_) => 2,
        Cause::Backfill => 3,
    }
}

/// The cause with this stored number and request.
pub(super) fn cause_of(number: i64, request_id: Option<String>) -> Option<Cause> {
    let request_id = request_id.map(Into::into);
    match number {
        0 => Some(Cause::Poll),
        1 => request_id.map(Cause::ProxiedRead),
        2 => request_id.map(Cause::ProxiedWrite),
        3 => Some(Cause::Backfill),
        _ => None,
    }
}
