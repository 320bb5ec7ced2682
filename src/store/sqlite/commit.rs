//! One poll becomes rows: items and bodies in place, events behind one visible commit.
//!
//! Leaves polls of more than one chunk to [`super::large`], which shares the last step.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::packed::{Packed, Packer};
use super::{Sqlite, counted, unknown};
use crate::detect::Subject;
use crate::digest::Digest;
use crate::event::{Cause, EventId, EventKey, Kind, ORDINAL_MAX};
use crate::store::{
    Announcement, CHUNK_CHANGES, COMMITTED_IDS_MAX, Committed, ItemChange, PollCommit, SnapshotId,
    SourceId, StoreError,
};
use crate::time::Timestamp;

/// Bytes of a chunk: a few large items hold the writer as long as many small ones.
pub(super) const CHUNK_BYTES: usize = 2 * 1024 * 1024;

/// Bytes that are packed on the runtime's thread, in less than 0.2 ms; more go to a blocking one.
const PACK_BYTES_MAX: usize = 64 * 1024;

/// Bytes that weigh as much as a row, in the writer's measure of a job.
const ROW_BYTES: usize = 4 * 1024;

/// How many kinds a commit counts.
const KINDS: usize = Kind::ALL.len();

/// What a poll leaves besides its changes.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) source: SourceId,
    pub(super) snapshot: SnapshotId,
    at: Timestamp,
    cause: Cause,
    memory: String,
    settles: bool,
    announcements: Vec<Rung>,
}

/// An item's part in a poll, packed.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) subject: Subject,
    pub(super) now: Option<(Digest, Option<Packed>)>,
    event: Option<(Kind, Packed)>,
}

/// An operational event, packed.
#[derive(Debug)]
pub(super) struct Rung {
    kind: Kind,
    subject: Subject,
    content: Packed,
}

/// What the changes of a poll amount to.
#[derive(Debug, Default, Clone)]
pub(super) struct Tally {
    /// Events by [`Kind::number`].
    counts: [i64; KINDS],
    /// By how much the number of items grew.
    pub(super) grown: i64,
}

impl Sqlite {
    pub(in crate::store) async fn commit(
        self: &Arc<Self>,
        mut poll: PollCommit,
    ) -> Result<Committed, StoreError> {
        let changes = std::mem::take(&mut poll.changes);
        let bytes = changes.iter().map(bytes_of).sum::<usize>();
        let is_large = changes.len() > CHUNK_CHANGES || (changes.len() > 1 && bytes > CHUNK_BYTES);
        let head = Head::of(poll)?;
        if is_large {
            // A task of its own, so that a caller who goes away does not leave it half done.
            let large = tokio::spawn(Arc::clone(self).commit_large(head, changes));
            return large.await.unwrap_or(Err(StoreError::Closed));
        }
        let changes = pack(changes, bytes).await?;
        let poll = Arc::new((head, changes));
        if let Some(committed) = self.commit_small(&poll, bytes).await? {
            return Ok(committed);
        }
        // A large poll of this source is under way, or was left unfinished.
        let _turn = self.turns.take(poll.0.source).await;
        self.clean(poll.0.source).await?;
        let committed = self.commit_small(&poll, bytes).await?;
        committed.ok_or_else(|| StoreError::Database("the source is busy".to_owned()))
    }

    /// `None`: an unfinished poll of the source stands in the way.
    async fn commit_small(
        &self,
        poll: &Arc<(Head, Vec<Change>)>,
        bytes: usize,
    ) -> Result<Option<Committed>, StoreError> {
        let rows = weight(poll.1.len(), bytes);
        let poll = Arc::clone(poll);
        self.write(rows, move |connection| {
            let (head, changes) = &*poll;
            let sql = "SELECT 1 FROM unfinished WHERE source = ?1";
            if connection.prepare_cached(sql)?.exists([head.source.0])? {
                return Ok(None);
            }
            let mut tally = Tally::default();
            if changes.is_empty() {
                return head.finish(connection, None, &tally).map(Some);
            }
            let generation = next_generation(connection)?;
            for change in changes {
                tally.grown += replace(connection, head.snapshot, generation, change)?;
                tally.ring(connection, generation, change)?;
            }
            head.finish(connection, Some(generation), &tally).map(Some)
        })
        .await
    }
}

/// Packs a chunk, whose texts have so many bytes.
pub(super) async fn pack(
    changes: Vec<ItemChange>,
    bytes: usize,
) -> Result<Vec<Change>, StoreError> {
    let pack = move || {
        let mut packer = Packer::new();
        let packed = changes.into_iter().map(|change| {
            let mut pack = |text| packer.pack(text);
            Change {
                subject: change.subject,
                now: change
                    .now
                    .map(|form| (form.digest, form.body.map(&mut pack))),
                event: change.event.map(|draft| (draft.kind, pack(draft.content))),
            }
        });
        packed.collect()
    };
    if bytes <= PACK_BYTES_MAX {
        return Ok(pack());
    }
    let packing = tokio::task::spawn_blocking(pack).await;
    packing.map_err(|_| StoreError::Closed)
}

/// Bytes of a change's texts.
pub(super) fn bytes_of(change: &ItemChange) -> usize {
    let body = change.now.as_ref().and_then(|form| form.body.as_ref());
    let event = change.event.as_ref().map_or(0, |draft| draft.content.len());
    change.subject.len() + body.map_or(0, |body| body.len()) + event
}

impl Head {
    pub(super) fn of(poll: PollCommit) -> Result<Self, StoreError> {
        let memory = serde_json::to_string(&poll.memory)
            .map_err(|error| StoreError::Database(error.to_string()))?;
        Ok(Self {
            source: poll.source,
            snapshot: poll.snapshot,
            at: poll.at,
            cause: poll.cause,
            memory,
            settles: poll.settles_snapshot,
            announcements: pack_rungs(poll.announcements),
        })
    }

    /// The step that makes a poll visible: it numbers the events and moves the snapshot on.
    pub(super) fn finish(
        &self,
        connection: &Connection,
        generation: Option<i64>,
        tally: &Tally,
    ) -> Result<Committed, StoreError> {
        let sql = "UPDATE snapshots SET memory = ?3, settled = max(settled, ?4),
                generation = coalesce(?5, generation), items = items + ?6
            WHERE id = ?1 AND source = ?2";
        let moved = connection.prepare_cached(sql)?.execute(params![
            self.snapshot.0,
            self.source.0,
            self.memory,
            self.settles,
            generation,
            tally.grown
        ])?;
        if moved == 0 {
            return Err(unknown("snapshot"));
        }
        let mut committed = Committed::default();
        if let Some(generation) = generation.filter(|_| tally.events() > 0) {
            let seal = Seal {
                source: self.source,
                generation,
                at: self.at,
                cause: self.cause,
            };
            committed = seal.set(connection, tally)?;
        }
        announce(connection, self.at, &self.announcements)?;
        Ok(committed)
    }
}

impl Tally {
    /// Inserts the event of a change, if it rings.
    pub(super) fn ring(
        &mut self,
        connection: &Connection,
        generation: i64,
        change: &Change,
    ) -> Result<(), StoreError> {
        let Some((kind, content)) = &change.event else {
            return Ok(());
        };
        self.insert(connection, generation, (*kind, &change.subject, content))
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
    fn insert(
        &mut self,
        connection: &Connection,
        generation: i64,
        (kind, subject, content): (Kind, &str, &Packed),
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
            subject,
            content.form,
            content.digest.as_bytes(),
            content.bytes
        ])?;
        self.counts[kind as usize] += 1;
        Ok(())
    }

    fn events(&self) -> i64 {
        self.counts.iter().sum()
    }
}

/// What makes the events of a generation visible.
struct Seal {
    source: SourceId,
    generation: i64,
    at: Timestamp,
    cause: Cause,
}

impl Seal {
    fn set(&self, connection: &Connection, tally: &Tally) -> Result<Committed, StoreError> {
        let count = tally.events();
        let sql = "UPDATE sources SET sequence = sequence + ?2 WHERE id = ?1 RETURNING sequence";
        let last: Option<i64> = connection
            .prepare_cached(sql)?
            .query_one(params![self.source.0, count], |row| row.get(0))
            .optional()?;
        let first = last.ok_or_else(|| unknown("source"))? - count + 1;
        let sql = "UPDATE meta SET position = position + 1 RETURNING position";
        let position: i64 = connection
            .prepare_cached(sql)?
            .query_one([], |row| row.get(0))?;
        let salt = fastrand::u64(..);
        let by_kind = &tally.counts;
        let sql = "INSERT INTO commits(position, generation, source, salt, first_sequence, at,
                cause, count, created, updated, deleted, changed, failing, recovered, held,
                disabled, dead)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";
        connection.prepare_cached(sql)?.execute(params![
            position,
            self.generation,
            self.source.0,
            salt.cast_signed(),
            first,
            self.at.as_millis(),
            cause_number(self.cause),
            count,
            by_kind[0],
            by_kind[1],
            by_kind[2],
            by_kind[3],
            by_kind[4],
            by_kind[5],
            by_kind[6],
            by_kind[7],
            by_kind[8]
        ])?;
        let id = |ordinal| EventId::new(EventKey::new(self.generation, ordinal), salt);
        let ordinals = (0..=ORDINAL_MAX).zip(0..count);
        Ok(Committed {
            events: counted(count),
            ids: ordinals
                .take(COMMITTED_IDS_MAX)
                .map(|(ordinal, _)| id(ordinal))
                .collect(),
            first_sequence: counted(first),
        })
    }
}

/// Packs operational events, which are small and few.
pub(super) fn pack_rungs(announcements: Vec<Announcement>) -> Vec<Rung> {
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

/// Puts what the snapshot holds of an item in the place of what it held, and says by how much the
/// number of items grew.
fn replace(
    connection: &Connection,
    snapshot: SnapshotId,
    generation: i64,
    change: &Change,
) -> Result<i64, StoreError> {
    let (mut was, mut bodies) = (0, Vec::new());
    let mut is_known = false;
    {
        let sql = "SELECT digest IS NOT NULL, body FROM items
            WHERE snapshot = ?1 AND subject = ?2 ORDER BY generation";
        let mut query = connection.prepare_cached(sql)?;
        let mut rows = query.query(params![snapshot.0, change.subject])?;
        while let Some(row) = rows.next()? {
            is_known = true;
            was = row.get(0)?;
            bodies.extend(row.get::<_, Option<i64>>(1)?);
        }
    }
    if is_known {
        let sql = "DELETE FROM items WHERE snapshot = ?1 AND subject = ?2";
        connection
            .prepare_cached(sql)?
            .execute(params![snapshot.0, change.subject])?;
    }
    let kept = change.now.as_ref().and_then(|(_, body)| body.as_ref());
    let mut free = bodies.into_iter();
    let body = match kept {
        Some(body) => Some(put_body(connection, free.next(), body)?),
        None => None,
    };
    for id in free {
        delete_body(connection, id)?;
    }
    if let Some((digest, _)) = &change.now {
        insert_item(
            connection,
            (snapshot, generation),
            &change.subject,
            (Some(*digest), body),
        )?;
    }
    Ok(i64::from(change.now.is_some()) - was)
}

/// Inserts a row of an item; without a digest, a tombstone.
pub(super) fn insert_item(
    connection: &Connection,
    (snapshot, generation): (SnapshotId, i64),
    subject: &str,
    (digest, body): (Option<Digest>, Option<i64>),
) -> Result<(), StoreError> {
    let sql = "INSERT INTO items(snapshot, subject, generation, digest, body)
        VALUES (?1, ?2, ?3, ?4, ?5)";
    let digest = digest.as_ref().map(Digest::as_bytes);
    let digest = digest.map(|bytes| &bytes[..]);
    connection
        .prepare_cached(sql)?
        .execute(params![snapshot.0, subject, generation, digest, body])?;
    Ok(())
}

/// Writes a body over the one at `place`, or to a new place; where it is.
pub(super) fn put_body(
    connection: &Connection,
    place: Option<i64>,
    body: &Packed,
) -> Result<i64, StoreError> {
    let sql = match place {
        Some(_) => "UPDATE bodies SET form = ?2, digest = ?3, content = ?4 WHERE id = ?1",
        None => "INSERT INTO bodies(id, form, digest, content) VALUES (?1, ?2, ?3, ?4)",
    };
    let digest = body.digest.as_bytes();
    connection
        .prepare_cached(sql)?
        .execute(params![place, body.form, digest, body.bytes])?;
    Ok(place.unwrap_or_else(|| connection.last_insert_rowid()))
}

pub(super) fn delete_body(connection: &Connection, id: i64) -> Result<(), StoreError> {
    let sql = "DELETE FROM bodies WHERE id = ?1";
    connection.prepare_cached(sql)?.execute([id])?;
    Ok(())
}

/// The number that the store keeps for a cause; never reassigned.
const fn cause_number(cause: Cause) -> i64 {
    match cause {
        Cause::Poll => 0,
    }
}

/// The cause with this stored number.
pub(super) const fn cause_of(number: i64) -> Option<Cause> {
    match number {
        0 => Some(Cause::Poll),
        _ => None,
    }
}

/// About how many rows a chunk of so many changes and bytes is worth.
pub(super) fn weight(changes: usize, bytes: usize) -> usize {
    1 + changes + bytes / ROW_BYTES
}
