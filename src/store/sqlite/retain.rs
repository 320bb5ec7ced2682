//! Forgets what is older than its retention: reads what may go, deletes it in small jobs.
//!
//! Readers search, so that the writer only deletes by key. What was read may go for good: a commit
//! that has no pending delivery never gets one.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension as _};

use super::{Sqlite, counted, items, steer, stored};
use crate::event::{EventKey, ORDINAL_MAX};
use crate::store::{LaneId, Retained, StoreError};
use crate::time::Timestamp;

/// Rows that one job deletes, and commits that one read looks at.
const ROWS: usize = 1_000;

/// Pages that one job gives back to the disk, and jobs of one retention that do so.
const VACUUM_PAGES: i64 = 256;
const VACUUM_JOBS: usize = 16;

/// Given back when more than one page in so many is free; below, new rows use them.
const VACUUM_SHARE: i64 = 4;

/// A delivery, as the columns `lane` and `event`.
type Key = (i64, i64);

impl Sqlite {
    pub(in crate::store) async fn retain(&self) -> Result<Retained, StoreError> {
        let now = self.clock.now();
        let cutoff = now.minus(self.settings.retain);
        let dead = self
            .forget_dead(now.minus(self.settings.retain_dead))
            .await?;
        self.forget_failing(cutoff).await?;
        self.forget_left(now, cutoff).await?;
        self.forget_partitions(cutoff).await?;
        let events = self.forget_events(now, cutoff).await?;
        let attempts = self.forget_attempts(cutoff).await?;
        self.forget_secrets(now).await?;
        self.forget_deleted().await?;
        self.shrink().await?;
        Ok(Retained {
            events,
            attempts,
            dead,
        })
    }

    /// Dead letters, with their attempts.
    async fn forget_dead(&self, cutoff: Timestamp) -> Result<u64, StoreError> {
        let mut count = 0;
        loop {
            let deleted = self.write(ROWS, move |connection| {
                let sql = "SELECT lane, event FROM parked WHERE state = 2 AND settled_at < ?1
                    LIMIT ?2";
                let found = keys(connection, sql, &[cutoff.as_millis(), stored(ROWS)])?;
                delete_parked(connection, &found)?;
                // After a watermark, an attempt is what tells that the event is settled.
                let sql = "DELETE FROM attempts WHERE lane = ?1 AND event = ?2
                    AND event <= (SELECT watermark FROM lanes WHERE id = ?1)";
                let mut delete = connection.prepare_cached(sql)?;
                for (lane, event) in &found {
                    delete.execute([lane, event])?;
                }
                Ok(found.len())
            });
            let deleted = deleted.await?;
            count += counted(stored(deleted));
            if deleted < ROWS {
                return Ok(count);
            }
        }
    }

    /// Failures of endpoints that were not rung for so long.
    async fn forget_failing(&self, cutoff: Timestamp) -> Result<(), StoreError> {
        self.write(1, move |connection| {
            let sql = "DELETE FROM failing WHERE last < ?1";
            connection
                .prepare_cached(sql)?
                .execute([cutoff.as_millis()])?;
            Ok(())
        })
        .await
    }

    /// Parked deliveries of lanes that the configuration no longer has.
    async fn forget_left(&self, now: Timestamp, cutoff: Timestamp) -> Result<(), StoreError> {
        let sql = "SELECT id, id FROM lanes";
        let lanes = self
            .read(move |connection| keys(connection, sql, &[]))
            .await?;
        let left = lanes.into_iter().filter(|(lane, _)| !self.is_active(*lane));
        let left: Vec<i64> = left.map(|(lane, _)| lane).collect();
        for lane in left {
            self.write(1, move |connection| {
                let sql = "DELETE FROM backfills WHERE lane = ?1 AND since < ?2";
                connection
                    .prepare_cached(sql)?
                    .execute([lane, cutoff.as_millis()])?;
                Ok(())
            })
            .await?;
            loop {
                let sql = "SELECT lane, event FROM parked
                    WHERE lane = ?1 AND state < 2 AND committed_at < ?2 LIMIT ?3";
                let bounds = [lane, cutoff.as_millis(), stored(ROWS)];
                let read = move |connection: &Connection| keys(connection, sql, &bounds);
                let found = self.read(read).await?;
                if found.is_empty() {
                    break;
                }
                if self.is_active(lane) {
                    // It is heard again, and its deliverer knows of these rows.
                    break;
                }
                let forget =
                    move |connection: &Connection| forget_heads(connection, lane, &found, now);
                self.write(ROWS, forget).await?;
            }
        }
        Ok(())
    }

    /// Snapshots of partitions that the configuration no longer has.
    async fn forget_partitions(&self, cutoff: Timestamp) -> Result<(), StoreError> {
        let forget = move |connection: &Connection| forget_partitions(connection, cutoff);
        while self.write(ROWS, forget).await? {}
        Ok(())
    }

    async fn forget_events(&self, now: Timestamp, cutoff: Timestamp) -> Result<u64, StoreError> {
        let active = self.active.lock().clone();
        let mut search = Search {
            now: now.as_millis(),
            cutoff: cutoff.as_millis(),
            floors: self
                .read(move |connection| Floors::read(connection, &active))
                .await?,
            from: 0,
            expired: Vec::new(),
            is_done: false,
        };
        let mut count = 0;
        while !search.is_done {
            search = self
                .read(move |connection| {
                    search.step(connection)?;
                    Ok(search)
                })
                .await?;
            let expired = std::mem::take(&mut search.expired);
            if !expired.is_empty() {
                let delete = move |connection: &Connection| delete_events(connection, &expired);
                count += self.write(ROWS, delete).await?;
            }
        }
        Ok(count)
    }

    /// Attempts of deliveries that are settled and not kept as dead letters.
    async fn forget_attempts(&self, cutoff: Timestamp) -> Result<u64, StoreError> {
        let mut count = 0;
        let mut after = (0, 0);
        loop {
            let search = move |connection: &Connection| old_attempts(connection, cutoff, after);
            let found = self.read(search).await?;
            let Some(last) = found.last() else {
                return Ok(count);
            };
            after = *last;
            let is_last = found.len() < ROWS;
            count += self
                .write(ROWS, move |connection| {
                    let sql = "DELETE FROM attempts WHERE lane = ?1 AND event = ?2 AND at < ?3";
                    let mut delete = connection.prepare_cached(sql)?;
                    let mut count = 0;
                    for (lane, event) in found {
                        count += delete.execute([lane, event, cutoff.as_millis()])?;
                    }
                    Ok(counted(stored(count)))
                })
                .await?;
            if is_last {
                return Ok(count);
            }
        }
    }

    /// Gives free pages back to the disk, when there are many.
    async fn shrink(&self) -> Result<(), StoreError> {
        for _ in 0..VACUUM_JOBS {
            let shrunk = self.write(ROWS, |connection| {
                let number = |name| connection.pragma_query_value(None, name, |row| row.get(0));
                let free: i64 = number("freelist_count")?;
                let all: i64 = number("page_count")?;
                if free < VACUUM_PAGES || free * VACUUM_SHARE < all {
                    return Ok(false);
                }
                // It frees one page a row.
                let sql = format!("PRAGMA incremental_vacuum({VACUUM_PAGES})");
                let mut vacuum = connection.prepare(&sql)?;
                let mut rows = vacuum.query([])?;
                while rows.next()?.is_some() {}
                Ok(true)
            });
            if !shrunk.await? {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn is_active(&self, lane: i64) -> bool {
        self.active.lock().contains(&LaneId(lane))
    }
}

/// Deletes some rows of snapshots that left before `cutoff`; whether there may be more.
fn forget_partitions(connection: &Connection, cutoff: Timestamp) -> Result<bool, StoreError> {
    let sql = "SELECT id, 0 FROM snapshots INDEXED BY snapshots_left WHERE left_at < ?1 LIMIT ?2";
    let left = keys(connection, sql, &[cutoff.as_millis(), stored(ROWS)])?;
    let mut room = ROWS;
    for (snapshot, _) in &left {
        let sql = "SELECT subject, generation, body FROM items WHERE snapshot = ?1 LIMIT ?2";
        let mut query = connection.prepare_cached(sql)?;
        let rows = query.query_map([*snapshot, stored(room)], |row| {
            Ok((row.get::<_, String>(0)?, (row.get(1)?, row.get(2)?)))
        })?;
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        for (subject, row) in &rows {
            items::delete(connection, *snapshot, subject, *row)?;
        }
        room = room.saturating_sub(rows.len() + 1);
        if room == 0 {
            return Ok(true);
        }
        for sql in [
            "DELETE FROM unseen WHERE snapshot = ?1",
            "DELETE FROM snapshots WHERE id = ?1",
        ] {
            connection.prepare_cached(sql)?.execute([snapshot])?;
        }
    }
    Ok(left.len() == ROWS)
}

/// Where active lanes stand: events after that are pending.
struct Floors {
    /// By source, the lowest watermark.
    of_all: HashMap<i64, i64>,
    /// Each watermark.
    of_one: HashMap<i64, i64>,
}

impl Floors {
    fn read(connection: &Connection, active: &HashSet<LaneId>) -> Result<Self, StoreError> {
        let sql = "SELECT id, source, watermark FROM lanes";
        let mut query = connection.prepare_cached(sql)?;
        let mut rows = query.query([])?;
        let (mut of_all, mut of_one) = (HashMap::new(), HashMap::new());
        while let Some(row) = rows.next()? {
            let lane: i64 = row.get(0)?;
            if active.contains(&LaneId(lane)) {
                let watermark: i64 = row.get(2)?;
                let floor = of_all.entry(row.get(1)?).or_insert(watermark);
                *floor = watermark.min(*floor);
                of_one.insert(lane, watermark);
            }
        }
        Ok(Self { of_all, of_one })
    }

    /// Of the events of a source that all lanes hear, or this one alone.
    fn of(&self, source: i64, lane: Option<i64>) -> i64 {
        let floor = match lane {
            Some(lane) => self.of_one.get(&lane),
            None => self.of_all.get(&source),
        };
        floor.copied().unwrap_or(i64::MAX)
    }
}

/// An event that may go.
struct Expired {
    position: i64,
    key: i64,
    /// Whether a reader of the feed had it to read.
    is_in_feed: bool,
}

/// Looks for events that may go, commit by commit from the oldest.
struct Search {
    now: i64,
    cutoff: i64,
    floors: Floors,
    /// Position of the first commit not looked at.
    from: i64,
    expired: Vec<Expired>,
    is_done: bool,
}

impl Search {
    /// Looks at some commits and finds at most [`ROWS`] events.
    fn step(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let sql = "SELECT position, generation, source, count, at, lane FROM commits NOT INDEXED
            WHERE position >= ?1 ORDER BY position LIMIT ?2";
        let mut query = connection.prepare_cached(sql)?;
        let mut rows = query.query([self.from, stored(ROWS)])?;
        let mut commits = 0;
        while let Some(row) = rows.next()? {
            commits += 1;
            self.from = row.get(0)?;
            let at: i64 = row.get(4)?;
            // Commits ascend by time, but for those made while the clock was ahead of itself.
            if (self.cutoff..=self.now).contains(&at) {
                self.is_done = true;
                return Ok(());
            }
            if at < self.cutoff {
                let heard_by = (row.get(2)?, row.get(5)?);
                self.expire(connection, (row.get(1)?, row.get(3)?), heard_by)?;
                if self.expired.len() >= ROWS {
                    // The rest of this commit is for the next step.
                    return Ok(());
                }
            }
            self.from += 1;
        }
        self.is_done = commits < ROWS;
        Ok(())
    }

    /// Finds the events of a commit at or before every active watermark that nothing parked needs.
    fn expire(
        &mut self,
        connection: &Connection,
        (generation, count): (i64, i64),
        (source, lane): (i64, Option<i64>),
    ) -> Result<(), StoreError> {
        let first = EventKey::new(generation, 0).number();
        let last = self.floors.of(source, lane).min(first + count - 1);
        let sql = "SELECT key FROM events WHERE key BETWEEN ?1 AND ?2
                AND NOT EXISTS (SELECT 1 FROM lanes CROSS JOIN parked
                    ON parked.lane = lanes.id AND parked.event = events.key
                    WHERE lanes.source = ?3)
            ORDER BY key LIMIT ?4";
        let mut query = connection.prepare_cached(sql)?;
        let room = ROWS - self.expired.len();
        let keys = query.query_map([first, last, source, stored(room)], |row| row.get(0))?;
        for key in keys {
            self.expired.push(Expired {
                position: self.from,
                key: key?,
                is_in_feed: lane.is_none(),
            });
        }
        Ok(())
    }
}

/// Deletes events, commits that have none left, and moves the oldest cursor of the feed.
fn delete_events(connection: &Connection, expired: &[Expired]) -> Result<u64, StoreError> {
    let sql = "DELETE FROM events WHERE key = ?1";
    let mut delete = connection.prepare_cached(sql)?;
    let mut commits = HashSet::new();
    let mut count = 0;
    for Expired { position, key, .. } in expired {
        count += delete.execute([key])?;
        commits.insert((position, EventKey::from_number(*key).generation()));
    }
    let sql = "DELETE FROM commits WHERE position = ?1
        AND NOT EXISTS (SELECT 1 FROM events WHERE key BETWEEN ?2 AND ?3)";
    let mut delete = connection.prepare_cached(sql)?;
    for (position, generation) in commits {
        let first = EventKey::new(generation, 0).number();
        let last = EventKey::new(generation, ORDINAL_MAX).number();
        delete.execute([*position, first, last])?;
    }
    let of_feed = expired.iter().filter(|expired| expired.is_in_feed);
    let of_feed = of_feed.map(|expired| (expired.position, expired.key));
    if let Some((position, key)) = of_feed.max() {
        let sql = "UPDATE meta SET gone_position = ?1, gone_ordinal = ?2
            WHERE (gone_position, gone_ordinal) < (?1, ?2)";
        let ordinal = i64::from(EventKey::from_number(key).ordinal());
        connection
            .prepare_cached(sql)?
            .execute([position, ordinal])?;
    }
    Ok(counted(stored(count)))
}

/// Deliveries after `after` with attempts that may go.
///
/// Events newer than every expired commit have no attempts that old, so the search ends there.
fn old_attempts(
    connection: &Connection,
    cutoff: Timestamp,
    after: Key,
) -> Result<Vec<Key>, StoreError> {
    let sql = "SELECT generation FROM commits NOT INDEXED WHERE at >= ?1 ORDER BY position LIMIT 1";
    let fresh: Option<i64> = connection
        .prepare_cached(sql)?
        .query_one([cutoff.as_millis()], |row| row.get(0))
        .optional()?;
    let until = fresh.map_or(i64::MAX, |generation| EventKey::new(generation, 0).number());
    let sql = "SELECT id, watermark FROM lanes WHERE id >= ?1 ORDER BY id";
    let lanes = keys(connection, sql, &[after.0])?;
    let mut found = Vec::new();
    for (lane, watermark) in lanes {
        let from = if lane == after.0 { after.1 } else { 0 };
        let room = stored(ROWS - found.len());
        let sql = "SELECT DISTINCT lane, event FROM attempts
            WHERE lane = ?1 AND event > ?2 AND event < ?3 AND at < ?4
                AND (event <= ?5 OR NOT EXISTS (SELECT 1 FROM events WHERE key = event))
                AND NOT EXISTS (SELECT 1 FROM parked
                    WHERE parked.lane = ?1 AND parked.event = attempts.event)
            ORDER BY event LIMIT ?6";
        let bounds = [lane, from, until, cutoff.as_millis(), watermark, room];
        found.extend(keys(connection, sql, &bounds)?);
        if found.len() >= ROWS {
            break;
        }
    }
    Ok(found)
}

/// Deletes parked deliveries of a lane; what was blocked behind one of them, and stays, is led by the
/// earliest of it.
fn forget_heads(
    connection: &Connection,
    lane: i64,
    found: &[Key],
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "SELECT subject FROM parked WHERE lane = ?1 AND event = ?2";
    let mut query = connection.prepare_cached(sql)?;
    let mut subjects = HashSet::new();
    for key in found {
        let subject = query.query_one([key.0, key.1], |row| row.get::<_, String>(0));
        subjects.extend(subject.optional()?);
    }
    delete_parked(connection, found)?;
    for subject in subjects {
        steer::lead(connection, (LaneId(lane), &subject), now)?;
    }
    Ok(())
}

fn delete_parked(connection: &Connection, keys: &[Key]) -> Result<(), StoreError> {
    let sql = "DELETE FROM parked WHERE lane = ?1 AND event = ?2";
    let mut delete = connection.prepare_cached(sql)?;
    for (lane, event) in keys {
        delete.execute([lane, event])?;
    }
    Ok(())
}

/// Rows of two numbers.
fn keys(connection: &Connection, sql: &str, bounds: &[i64]) -> Result<Vec<Key>, StoreError> {
    let mut query = connection.prepare_cached(sql)?;
    let bounds = rusqlite::params_from_iter(bounds);
    let rows = query.query_map(bounds, |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
