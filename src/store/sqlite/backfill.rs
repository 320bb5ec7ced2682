//! A new endpoint is told what there is: the items of snapshots, as events that it alone hears.
//!
//! They stand in the log beside the others, under commits that name their lane. So whatever delivers,
//! lists and forgets events does so with them: an id has one body, and what changes an item later has
//! a later key. They take no number of their source: the feed is as without them.
//!
//! A reader prepares a chunk, and the writer takes what of it still stands in the snapshot. The place
//! moves on in the same transaction, so that a process that dies goes on where it was.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::value::RawValue;

use super::commit::{CHUNK_BYTES, weight};
use super::lanes::kind_of;
use super::numbering::{self, Seal, Tally};
use super::packed::{Packed, Packer, Unpacker};
use super::{At, Sqlite, counted, sources, stored};
use crate::digest::Digest;
use crate::event::{Cause, Content, EventKey, Kind, Partition};
use crate::name::Name;
use crate::store::{
    Backfill, BackfillStep, Backfillable, CHUNK_CHANGES, LaneId, SnapshotId, SourceId, StoreError,
};
use crate::time::Timestamp;

/// Events of one lane that may be ahead of its watermark: what keeps a fast endpoint busy for half
/// a second. One that takes nothing has no more of the snapshot copied for it.
const AHEAD_MAX: i64 = 4_096;

/// Snapshots that one read looks at: a source may be divided into many that are empty.
const SNAPSHOTS_MAX: usize = 256;

impl Sqlite {
    pub(in crate::store) async fn begin_backfills(
        &self,
        endpoint: &Name,
        wanted: Vec<(SourceId, Kind)>,
    ) -> Result<Backfillable, StoreError> {
        let (endpoint, now) = (endpoint.clone(), self.clock.now());
        self.write(wanted.len(), move |connection| {
            begin(connection, (&endpoint, &wanted), now)
        })
        .await
    }

    pub(in crate::store) async fn backfills(&self) -> Result<Vec<Backfill>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT lane, endpoint, source, name, told, items, since
                FROM backfills JOIN lanes ON lanes.id = lane JOIN sources ON sources.id = source
                ORDER BY lane";
            let mut query = connection.prepare_cached(sql)?;
            let rows = query.query_map([], |row| {
                Ok(Backfill {
                    lane: LaneId(row.get(0)?),
                    endpoint: row.get(1)?,
                    source: SourceId(row.get(2)?),
                    source_name: row.get(3)?,
                    told: counted(row.get(4)?),
                    items: counted(row.get(5)?),
                    since: row.get::<_, At>(6)?.0,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    pub(in crate::store) async fn end_backfills(&self, endpoint: &Name) -> Result<u64, StoreError> {
        let endpoint = endpoint.clone();
        self.write(1, move |connection| {
            let sql = "DELETE FROM backfills
                WHERE lane IN (SELECT id FROM lanes WHERE endpoint = ?1)";
            let mut end = connection.prepare_cached(sql)?;
            Ok(counted(stored(end.execute([endpoint.as_str()])?)))
        })
        .await
    }

    pub(in crate::store) async fn backfill(
        &self,
        lane: LaneId,
    ) -> Result<BackfillStep, StoreError> {
        let chunk = match self
            .read_behind(move |connection| read(connection, lane))
            .await?
        {
            Ok(chunk) => Arc::new(chunk),
            Err(step) => return Ok(step),
        };
        let (rows, now) = (weight(chunk.items.len(), chunk.bytes), self.clock.now());
        self.write(rows, move |connection| chunk.write(connection, now))
            .await
    }
}

fn begin(
    connection: &Connection,
    (endpoint, wanted): (&Name, &[(SourceId, Kind)]),
    now: Timestamp,
) -> Result<Backfillable, StoreError> {
    let mut lanes = Vec::with_capacity(wanted.len());
    for (source, _) in wanted {
        let sql = "SELECT id, backfills.lane IS NOT NULL FROM lanes
            LEFT JOIN backfills ON backfills.lane = id WHERE endpoint = ?1 AND source = ?2";
        let mut query = connection.prepare_cached(sql)?;
        let lane = query.query_one(params![endpoint.as_str(), source.0], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?))
        });
        match lane.optional()? {
            None => return Ok(Backfillable::Unheard(*source)),
            Some((_, true)) => return Ok(Backfillable::Running(*source)),
            Some((lane, false)) => lanes.push(lane),
        }
    }
    for (lane, (source, kind)) in lanes.into_iter().zip(wanted) {
        let sql = "INSERT INTO backfills(lane, kind, items, since)
            SELECT ?1, ?2, coalesce(sum(items), 0), ?4 FROM snapshots
            WHERE source = ?3 AND settled = 1 AND left_at IS NULL";
        let row = [lane, kind.number(), source.0, now.as_millis()];
        connection.prepare_cached(sql)?.execute(row)?;
    }
    Ok(Backfillable::Begun)
}

/// Up to where a lane was told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// Snapshots before this one are done.
    snapshot: i64,
    /// The last item of it that was told.
    subject: Option<String>,
}

/// An item as it was read.
struct Item {
    snapshot: i64,
    subject: String,
    /// Of its row, which any change replaces.
    generation: i64,
    line: String,
    content: Packed,
}

/// What is to be told next.
struct Chunk {
    lane: LaneId,
    source: SourceId,
    kind: Kind,
    before: Place,
    items: Vec<Item>,
    bytes: usize,
    /// Where the lane is once it was told all of them; `None`: at the end.
    after: Option<Place>,
}

/// The next chunk of a lane; `Err`: there is none now.
fn read(connection: &Connection, lane: LaneId) -> Result<Result<Chunk, BackfillStep>, StoreError> {
    let sql = "SELECT source, kind, snapshot, subject, watermark
        FROM backfills JOIN lanes ON lanes.id = lane WHERE lane = ?1";
    let mut query = connection.prepare_cached(sql)?;
    let found = query.query_one([lane.0], |row| {
        let before = Place {
            snapshot: row.get(2)?,
            subject: row.get(3)?,
        };
        let watermark = EventKey::from_number(row.get(4)?);
        Ok((SourceId(row.get(0)?), row.get(1)?, before, watermark))
    });
    let Some((source, kind, before, watermark)) = found.optional()? else {
        return Ok(Err(BackfillStep::Stopped));
    };
    let sql = "SELECT coalesce(sum(count), 0) FROM commits INDEXED BY commits_of_lane
        WHERE lane = ?1 AND generation > ?2";
    let mut query = connection.prepare_cached(sql)?;
    let ahead: i64 = query.query_one([lane.0, watermark.generation()], |row| row.get(0))?;
    if ahead >= AHEAD_MAX {
        return Ok(Err(BackfillStep::Waits));
    }
    let mut chunk = Chunk {
        lane,
        source,
        kind: kind_of(kind)?,
        before,
        items: Vec::new(),
        bytes: 0,
        after: None,
    };
    chunk.fill(connection)?;
    Ok(Ok(chunk))
}

impl Chunk {
    fn fill(&mut self, connection: &Connection) -> Result<(), StoreError> {
        // By their numbers: those of a divided source by its index would be sorted each time.
        let sql = "SELECT id, partition, generation FROM snapshots NOT INDEXED
            WHERE id >= ?1 AND source = ?2 AND settled = 1 AND left_at IS NULL
            ORDER BY id LIMIT 1";
        let mut next = connection.prepare_cached(sql)?;
        let (mut unpacker, mut packer) = (Unpacker::new(), Packer::new());
        let mut place = self.before.clone();
        for _ in 0..SNAPSHOTS_MAX {
            let found = next.query_one([place.snapshot, self.source.0], |row| {
                Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?))
            });
            let Some((snapshot, partition, visible)) = found.optional()? else {
                self.after = None;
                return Ok(());
            };
            if snapshot != place.snapshot {
                place = Place {
                    snapshot,
                    subject: None,
                };
            }
            let partition = Partition::from_stored(&partition);
            for (subject, generation, digest) in self.rows(connection, &place, visible)? {
                let of = (SnapshotId(snapshot), visible);
                let body = match sources::body(connection, of, &subject, &mut unpacker) {
                    // What cannot be read any more is told by its digest.
                    Err(StoreError::Corrupt(_)) => None,
                    body => body?,
                };
                let content = content(body.as_deref(), digest);
                self.bytes += content.len();
                self.items.push(Item {
                    snapshot,
                    generation,
                    line: partition.line(&subject).into_owned(),
                    content: packer.pack(content),
                    subject: subject.clone(),
                });
                place.subject = Some(subject);
                if self.is_full() {
                    self.after = Some(place);
                    return Ok(());
                }
            }
            place = Place {
                snapshot: snapshot + 1,
                subject: None,
            };
        }
        self.after = Some(place);
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.items.len() >= CHUNK_CHANGES || self.bytes >= CHUNK_BYTES
    }

    /// The next items of a snapshot as its row `visible` shows them: at least as many as there is
    /// room for, if there are.
    fn rows(
        &self,
        connection: &Connection,
        place: &Place,
        visible: i64,
    ) -> Result<Vec<(String, i64, Digest)>, StoreError> {
        // The subject of a document is empty, and so greater than none.
        let sql = match place.subject {
            Some(_) => {
                "SELECT subject, generation, digest FROM items
                WHERE snapshot = ?1 AND subject > ?2 AND generation <= ?3
                ORDER BY subject, generation"
            }
            None => {
                "SELECT subject, generation, digest FROM items
                WHERE snapshot = ?1 AND subject >= ?2 AND generation <= ?3
                ORDER BY subject, generation"
            }
        };
        let mut query = connection.prepare_cached(sql)?;
        let after = place.subject.as_deref().unwrap_or_default();
        let mut rows = query.query(params![place.snapshot, after, visible])?;
        let (mut items, room) = (Vec::new(), CHUNK_CHANGES - self.items.len());
        // Rows of one subject follow each other, the newest last.
        let mut newest: Option<(String, i64, Option<Digest>)> = None;
        while items.len() < room {
            let row = match rows.next()? {
                Some(row) => {
                    let digest: Option<[u8; 16]> = row.get(2)?;
                    let digest = digest.map(Digest::from_bytes);
                    Some((row.get::<_, String>(0)?, row.get(1)?, digest))
                }
                None => None,
            };
            let is_same = row.as_ref().zip(newest.as_ref());
            let is_same = is_same.is_some_and(|(row, newest)| row.0 == newest.0);
            let is_end = row.is_none();
            let before = std::mem::replace(&mut newest, row);
            if let Some((subject, generation, Some(digest))) = before.filter(|_| !is_same) {
                items.push((subject, generation, digest));
            }
            if is_end {
                break;
            }
        }
        Ok(items)
    }

    /// Tells what of it still stands in its snapshot, up to the first that does not.
    fn write(&self, connection: &Connection, now: Timestamp) -> Result<BackfillStep, StoreError> {
        let sql = "SELECT 1 FROM unfinished WHERE source = ?1";
        if connection.prepare_cached(sql)?.exists([self.source.0])? {
            // Its events have lower keys than these would, and tell of later.
            return Ok(BackfillStep::Waits);
        }
        let sql = "SELECT snapshot, subject, told FROM backfills WHERE lane = ?1";
        let mut query = connection.prepare_cached(sql)?;
        let place = query.query_one([self.lane.0], |row| {
            let (snapshot, subject) = (row.get(0)?, row.get(1)?);
            Ok((Place { snapshot, subject }, row.get::<_, i64>(2)?))
        });
        let told = match place.optional()? {
            None => return Ok(BackfillStep::Stopped),
            Some((place, _)) if place != self.before => return Ok(BackfillStep::Told(0)),
            Some((_, told)) => told,
        };
        let items = self.standing(connection)?;
        if !items.is_empty() {
            self.ring(connection, items, now)?;
        }
        let count = stored(items.len());
        let place = match items.last() {
            Some(last) if items.len() < self.items.len() => Some(Place {
                snapshot: last.snapshot,
                subject: Some(last.subject.clone()),
            }),
            None if !self.items.is_empty() => Some(self.before.clone()),
            _ => self.after.clone(),
        };
        let Some(place) = place else {
            let sql = "DELETE FROM backfills WHERE lane = ?1";
            connection.prepare_cached(sql)?.execute([self.lane.0])?;
            return Ok(BackfillStep::Ended(counted(told + count)));
        };
        let sql = "UPDATE backfills SET snapshot = ?2, subject = ?3, told = told + ?4
            WHERE lane = ?1";
        let row = params![self.lane.0, place.snapshot, place.subject, count];
        connection.prepare_cached(sql)?.execute(row)?;
        Ok(BackfillStep::Told(counted(count)))
    }

    /// The items before the first that is not what was read.
    fn standing(&self, connection: &Connection) -> Result<&[Item], StoreError> {
        let sql = "SELECT generation FROM items WHERE snapshot = ?1 AND subject = ?2
                AND generation <= (SELECT generation FROM snapshots WHERE id = ?1)
            ORDER BY generation DESC LIMIT 1";
        let mut query = connection.prepare_cached(sql)?;
        for (at, item) in self.items.iter().enumerate() {
            let now = query.query_one(params![item.snapshot, item.subject], |row| row.get(0));
            let now: Option<i64> = now.optional()?;
            if now != Some(item.generation) {
                return Ok(&self.items[..at]);
            }
        }
        Ok(&self.items)
    }

    fn ring(
        &self,
        connection: &Connection,
        items: &[Item],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let generation = numbering::next_generation(connection)?;
        let mut tally = Tally::default();
        for item in items {
            let event = (self.kind, &*item.line, &item.content);
            tally.insert(connection, generation, event)?;
        }
        let seal = Seal {
            source: self.source,
            generation,
            at: now,
            cause: Cause::Backfill,
            lane: Some(self.lane),
        };
        seal.set(connection, &tally).map(drop)
    }
}

/// What an event tells of an item as it is.
fn content(body: Option<&str>, digest: Digest) -> Box<str> {
    let current: Option<&RawValue> = body.and_then(|body| serde_json::from_str(body).ok());
    let content = Content {
        current,
        digest: Some(digest),
        ..Content::default()
    };
    content.members()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{Place, created, lane, many, name, put, source};
    use crate::store::{Backend, Store};

    fn sqlite(store: &Store) -> &Arc<Sqlite> {
        let Backend::Sqlite(sqlite) = &store.backend;
        sqlite
    }

    async fn begun(store: &Store, source: SourceId) {
        let (late, wanted) = (name("late"), vec![(source, Kind::Created)]);
        let begun = store.begin_backfills(&late, wanted);
        assert_eq!(begun.await.expect("writes"), Backfillable::Begun);
    }

    /// Method: a chunk is read, then one of its items changes, then the chunk is written.
    #[tokio::test]
    async fn what_changed_after_it_was_read_is_told_as_it_is_or_not_at_all() {
        let place = Place::new();
        let store = place.open().await;
        let issues = source(&store, "issues").await;
        let commit = async |changes| {
            let poll = place.poll(&issues, changes);
            store.commit(poll).await.expect("commits");
        };
        commit(many(5)).await;
        let late = lane(&store, "late", &issues).await.id;
        begun(&store, issues.id).await;
        let read = async || {
            let read = move |connection: &Connection| read(connection, late);
            let chunk = sqlite(&store).read(read).await.expect("reads");
            chunk.expect("there is one")
        };
        let write = async |chunk: Chunk| {
            let now = place.now();
            let write = move |connection: &Connection| chunk.write(connection, now);
            sqlite(&store).write(5, write).await.expect("writes")
        };
        let stale = read().await;
        commit(vec![put(Kind::Updated, "i00002", "{}")]).await;
        assert_eq!(write(stale).await, BackfillStep::Told(2));
        let again = read().await;
        assert_eq!(again.items.len(), 3);
        let same = read().await;
        assert_eq!(write(again).await, BackfillStep::Ended(5));
        assert_eq!(
            write(same).await,
            BackfillStep::Stopped,
            "it is not told twice"
        );

        begun(&store, issues.id).await;
        let (first, second) = (read().await, read().await);
        commit(vec![put(Kind::Updated, "i00000", "[]")]).await;
        assert_eq!(write(first).await, BackfillStep::Told(0));
        assert_eq!(write(second).await, BackfillStep::Told(0));
        assert_eq!(write(read().await).await, BackfillStep::Ended(5));
    }

    #[tokio::test]
    async fn nothing_is_told_while_a_large_poll_is_under_way() {
        let place = Place::new();
        let store = place.open().await;
        let issues = source(&store, "issues").await;
        let poll = place.poll(&issues, vec![created("a")]);
        store.commit(poll).await.expect("commits");
        let late = lane(&store, "late", &issues).await.id;
        begun(&store, issues.id).await;
        let begin = sqlite(&store).begin(issues.id, issues.snapshot);
        begin.await.expect("begins");
        let step = async || store.backfill(late).await.expect("steps");
        assert_eq!(step().await, BackfillStep::Waits);
        sqlite(&store).clean(issues.id).await.expect("cleans");
        assert_eq!(step().await, BackfillStep::Ended(1));
    }
}
