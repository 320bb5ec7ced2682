//! What people do to deliveries: try them again, give them up, replay them, drop a backlog.
//!
//! All of it changes rows that an endpoint's deliverer remembers, so it must rest meanwhile and
//! read its lanes anew afterwards. What is written here keeps what that reading relies on: a
//! subject with blocked rows has a waiting one. Of several waiting rows of a subject the earliest
//! goes first; the deliverer sees to that.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::lanes::kind_of;
use super::settle::{ACCEPTED, BLOCKED, DEAD, GIVEN_UP, PASSED_OVER, RETRIED, WAITING};
use super::{At, Sqlite, counted, fresh, stored};
use crate::event::EventKey;
use crate::name::Name;
use crate::store::{
    CHUNK_CHANGES, Deed, DeliveryId, DeliveryState, LaneId, ReplayQuery, SKIPPED, SourceId,
    Steered, StoreError,
};
use crate::time::Timestamp;

/// Rows of a backlog that one job drops.
const ROWS: usize = 1_000;

impl Sqlite {
    pub(in crate::store) async fn steer(
        &self,
        deliveries: Vec<DeliveryId>,
        deed: Deed,
    ) -> Result<Vec<Steered>, StoreError> {
        let now = self.clock.now();
        let mut steered = Vec::with_capacity(deliveries.len());
        for chunk in deliveries.chunks(CHUNK_CHANGES) {
            let chunk = chunk.to_vec();
            let steer = move |connection: &Connection| {
                let one = |id: &DeliveryId| match deed {
                    Deed::Retry => retry(connection, *id, now),
                    Deed::Skip => skip(connection, *id, now),
                };
                chunk.iter().map(one).collect::<Result<Vec<_>, _>>()
            };
            steered.extend(self.write(CHUNK_CHANGES, steer).await?);
        }
        Ok(steered)
    }

    pub(in crate::store) async fn replayable(
        &self,
        query: ReplayQuery,
    ) -> Result<Vec<DeliveryId>, StoreError> {
        self.read_behind(move |connection| {
            let mut found = Vec::new();
            for (lane, source) in lanes(connection, &query.endpoint)? {
                if query.after.is_none_or(|after| after.lane <= lane) {
                    replayable(connection, &query, (lane, source), &mut found)?;
                }
                if found.len() >= query.limit {
                    break;
                }
            }
            Ok(found)
        })
        .await
    }

    pub(in crate::store) async fn waiting_count(&self, endpoint: &Name) -> Result<u64, StoreError> {
        let endpoint = endpoint.clone();
        let counts = self.read(move |connection| {
            let sql = "SELECT lanes.id, count(*) FROM lanes
                CROSS JOIN parked INDEXED BY parked_waiting
                    ON parked.lane = lanes.id AND parked.state = 0
                WHERE endpoint = ?1 GROUP BY lanes.id";
            let mut query = connection.prepare_cached(sql)?;
            let counts = query.query_map([endpoint.as_str()], |row| {
                Ok((row.get::<_, i64>(0)?, counted(row.get(1)?)))
            })?;
            Ok(counts.collect::<Result<Vec<_>, _>>()?)
        });
        // What waits in a lane that is not heard any more waits for nobody.
        let counts = counts.await?;
        let heard = counts.iter().filter(|(lane, _)| self.is_active(*lane));
        Ok(heard.map(|(_, count)| count).sum())
    }

    pub(in crate::store) async fn drop_backlog(&self, endpoint: &Name) -> Result<u64, StoreError> {
        let name = endpoint.clone();
        let skip_ahead = move |connection: &Connection| {
            // It is there, or is about to be made: its lanes stay.
            let sql = "DELETE FROM deleted_endpoints WHERE name = ?1";
            connection.prepare_cached(sql)?.execute([name.as_str()])?;
            let lanes = lanes(connection, &name)?;
            for (lane, source) in &lanes {
                let newest = fresh::newest(connection, *source)?;
                let sql = "UPDATE lanes SET watermark = max(watermark, ?2) WHERE id = ?1";
                let mut raise = connection.prepare_cached(sql)?;
                raise.execute([lane.0, newest.number()])?;
                let sql = "DELETE FROM backfills WHERE lane = ?1";
                connection.prepare_cached(sql)?.execute([lane.0])?;
            }
            Ok(lanes)
        };
        let lanes = self.write(1, skip_ahead).await?;
        let mut dropped = 0;
        // The blocked first: none of them may be left without a waiting one before it.
        for state in [BLOCKED, WAITING] {
            for (lane, _) in &lanes {
                let lane = lane.0;
                let drop = move |connection: &Connection| {
                    let sql = "DELETE FROM parked WHERE lane = ?1 AND event IN
                        (SELECT event FROM parked WHERE lane = ?1 AND state = ?2 LIMIT ?3)";
                    let mut drop = connection.prepare_cached(sql)?;
                    Ok(drop.execute([lane, state, stored(ROWS)])?)
                };
                loop {
                    let count = self.write(ROWS, drop).await?;
                    dropped += counted(stored(count));
                    if count < ROWS {
                        break;
                    }
                }
            }
        }
        Ok(dropped)
    }

    pub(in crate::store) async fn begin_anew(&self, endpoint: &Name) -> Result<(), StoreError> {
        self.drop_backlog(endpoint).await?;
        let name = endpoint.clone();
        let lanes = self
            .read(move |connection| lanes(connection, &name))
            .await?;
        for (lane, _) in lanes {
            // Dead letters before the attempts that tell of them.
            for sql in [
                "DELETE FROM parked WHERE lane = ?1 AND event IN
                    (SELECT event FROM parked WHERE lane = ?1 LIMIT ?2)",
                "DELETE FROM attempts WHERE lane = ?1 AND event IN
                    (SELECT event FROM attempts WHERE lane = ?1 LIMIT ?2)",
            ] {
                let delete = move |connection: &Connection| {
                    let mut delete = connection.prepare_cached(sql)?;
                    Ok(delete.execute([lane.0, stored(ROWS)])?)
                };
                while self.write(ROWS, delete).await? > 0 {}
            }
        }
        let name = endpoint.clone();
        self.write(1, move |connection| {
            let sql = "DELETE FROM spoken WHERE endpoint = ?1";
            connection.prepare_cached(sql)?.execute([name.as_str()])?;
            Ok(())
        })
        .await
    }
}

/// The lanes of an endpoint, with their sources.
fn lanes(connection: &Connection, endpoint: &Name) -> Result<Vec<(LaneId, SourceId)>, StoreError> {
    let sql = "SELECT id, source FROM lanes WHERE endpoint = ?1 ORDER BY id";
    let mut query = connection.prepare_cached(sql)?;
    let rows = query.query_map([endpoint.as_str()], |row| {
        Ok((LaneId(row.get(0)?), SourceId(row.get(1)?)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds what of a lane can be replayed, ascending, until `query.limit` is reached.
fn replayable(
    connection: &Connection,
    query: &ReplayQuery,
    (lane, source): (LaneId, SourceId),
    found: &mut Vec<DeliveryId>,
) -> Result<(), StoreError> {
    let kinds = query.kinds.get(&source).into_iter().flatten();
    let kinds = kinds.fold(0_i64, |bits, kind| bits | 1 << kind.number());
    let after = query.after.filter(|after| after.lane == lane);
    let after = after.map_or(EventKey::START, |after| after.event);
    let mut keys = Vec::new();
    for state in &query.states {
        let sql = match state {
            DeliveryState::Dead => {
                "SELECT event FROM parked INDEXED BY parked_dead
                WHERE lane = ?1 AND state = 2 AND event > ?2 AND (?3 >> kind) & 1
                    AND committed_at BETWEEN ?4 AND ?5
                    AND EXISTS (SELECT 1 FROM events WHERE key = event)
                ORDER BY event LIMIT ?6"
            }
            DeliveryState::Delivered => {
                "SELECT event FROM attempts
                WHERE lane = ?1 AND event > ?2 AND outcome = 1 AND (?3 >> kind) & 1
                    AND committed_at BETWEEN ?4 AND ?5
                    AND EXISTS (SELECT 1 FROM events WHERE key = event)
                ORDER BY event LIMIT ?6"
            }
            DeliveryState::Pending => continue,
        };
        let mut statement = connection.prepare_cached(sql)?;
        let (since, until) = (query.since.as_millis(), query.until.as_millis());
        let room = stored(query.limit - found.len());
        let bounds = [lane.0, after.number(), kinds, since, until, room];
        let events = statement.query_map(bounds, |row| row.get(0).map(EventKey::from_number))?;
        for event in events {
            keys.push(event?);
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys.truncate(query.limit - found.len());
    found.extend(keys.into_iter().map(|event| DeliveryId { lane, event }));
    Ok(())
}

/// How a delivery stands in `parked`.
struct Standing {
    state: i64,
    subject: String,
    attempts: i64,
}

fn standing(connection: &Connection, id: DeliveryId) -> Result<Option<Standing>, StoreError> {
    let sql = "SELECT state, subject, attempts FROM parked WHERE lane = ?1 AND event = ?2";
    let mut query = connection.prepare_cached(sql)?;
    let found = query
        .query_one([id.lane.0, id.event.number()], |row| {
            Ok(Standing {
                state: row.get(0)?,
                subject: row.get(1)?,
                attempts: row.get(2)?,
            })
        })
        .optional()?;
    Ok(found)
}

/// Makes a delivery due: one that waits, at once; one that is settled, once more.
fn retry(connection: &Connection, id: DeliveryId, now: Timestamp) -> Result<Steered, StoreError> {
    let Some(standing) = standing(connection, id)? else {
        return again(connection, id, now);
    };
    match standing.state {
        WAITING => hasten(connection, id, now),
        BLOCKED => match head(connection, id.lane, &standing.subject)? {
            Some(event) => Ok(Steered::Blocked(DeliveryId { event, ..id })),
            // Nobody is before it after all.
            None => hasten(connection, id, now),
        },
        _ if !is_kept(connection, id.event)? => Ok(Steered::Gone),
        _ => {
            let sql = "UPDATE parked SET state = ?3, due = ?4, earlier = attempts,
                    settled_at = NULL
                WHERE lane = ?1 AND event = ?2";
            let mut revive = connection.prepare_cached(sql)?;
            let now = now.as_millis();
            revive.execute([id.lane.0, id.event.number(), WAITING, now])?;
            reopen(connection, id)?;
            Ok(Steered::Done)
        }
    }
}

/// Makes a parked delivery wait for nothing.
fn hasten(connection: &Connection, id: DeliveryId, now: Timestamp) -> Result<Steered, StoreError> {
    let sql = "UPDATE parked SET state = ?3, due = ?4 WHERE lane = ?1 AND event = ?2";
    let mut hasten = connection.prepare_cached(sql)?;
    let now = now.as_millis();
    hasten.execute([id.lane.0, id.event.number(), WAITING, now])?;
    Ok(Steered::Done)
}

/// Sends once more what was accepted.
fn again(connection: &Connection, id: DeliveryId, now: Timestamp) -> Result<Steered, StoreError> {
    let (lane, event) = (id.lane.0, id.event.number());
    let sql = "SELECT max(number) FROM attempts
        WHERE lane = ?1 AND event = ?2 AND outcome = ?3";
    let last: Option<i64> = connection
        .prepare_cached(sql)?
        .query_one([lane, event, ACCEPTED], |row| row.get(0))?;
    let Some(last) = last else {
        let is_ahead = ahead(connection, id)?.is_some();
        return Ok(if is_ahead {
            Steered::Done
        } else {
            Steered::Unknown
        });
    };
    if !is_kept(connection, id.event)? {
        return Ok(Steered::Gone);
    }
    let sql = "INSERT INTO parked(lane, event, state, kind, subject, committed_at, attempts,
            earlier, due)
        SELECT lane, event, ?4, kind, subject, committed_at, number, number, ?5 FROM attempts
        WHERE lane = ?1 AND event = ?2 AND number = ?3";
    let now = now.as_millis();
    connection
        .prepare_cached(sql)?
        .execute([lane, event, last, WAITING, now])?;
    reopen(connection, id)?;
    Ok(Steered::Done)
}

/// Its attempts settled nothing after all.
fn reopen(connection: &Connection, id: DeliveryId) -> Result<(), StoreError> {
    let sql = "UPDATE attempts SET outcome = ?3 WHERE lane = ?1 AND event = ?2";
    let mut reopen = connection.prepare_cached(sql)?;
    reopen.execute([id.lane.0, id.event.number(), RETRIED])?;
    Ok(())
}

/// Gives a delivery up, so that its subject goes on.
fn skip(connection: &Connection, id: DeliveryId, now: Timestamp) -> Result<Steered, StoreError> {
    let (lane, event) = (id.lane.0, id.event.number());
    let number = match standing(connection, id)? {
        Some(Standing { state: DEAD, .. }) => return Ok(Steered::Settled(DeliveryState::Dead)),
        Some(standing) => {
            let sql = "UPDATE parked SET state = ?3, attempts = attempts + 1, due = NULL,
                    settled_at = ?4
                WHERE lane = ?1 AND event = ?2";
            let mut bury = connection.prepare_cached(sql)?;
            bury.execute([lane, event, DEAD, now.as_millis()])?;
            lead(connection, (id.lane, &standing.subject), now)?;
            standing.attempts + 1
        }
        None => {
            let Some((kind, subject, at)) = ahead(connection, id)? else {
                let sql = "SELECT EXISTS (SELECT 1 FROM attempts
                    WHERE lane = ?1 AND event = ?2 AND outcome = ?3)";
                let is_accepted = connection
                    .prepare_cached(sql)?
                    .query_one([lane, event, ACCEPTED], |row| row.get(0))?;
                return Ok(if is_accepted {
                    Steered::Settled(DeliveryState::Delivered)
                } else {
                    Steered::Unknown
                });
            };
            let sql = "INSERT INTO parked(lane, event, state, kind, subject, committed_at,
                    attempts, settled_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7)";
            let (at, now) = (at.as_millis(), now.as_millis());
            connection
                .prepare_cached(sql)?
                .execute(params![lane, event, DEAD, kind, subject, at, now])?;
            1
        }
    };
    let sql = "INSERT OR REPLACE INTO attempts(lane, event, number, outcome, at, duration_ms,
            error)
        VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6)";
    let at = now.as_millis();
    connection
        .prepare_cached(sql)?
        .execute(params![lane, event, number, GIVEN_UP, at, SKIPPED])?;
    Ok(Steered::Done)
}

/// The earliest waiting delivery of a subject.
fn head(
    connection: &Connection,
    lane: LaneId,
    subject: &str,
) -> Result<Option<EventKey>, StoreError> {
    let sql = "SELECT event FROM parked INDEXED BY parked_waiting
        WHERE lane = ?1 AND state = 0 AND subject = ?2 ORDER BY event LIMIT 1";
    let mut query = connection.prepare_cached(sql)?;
    let head = query.query_one(params![lane.0, subject], |row| row.get(0));
    Ok(head.optional()?.map(EventKey::from_number))
}

/// Sees to it that a subject with blocked deliveries has a waiting one.
pub(super) fn lead(
    connection: &Connection,
    (lane, subject): (LaneId, &str),
    now: Timestamp,
) -> Result<(), StoreError> {
    match head(connection, lane, subject)? {
        Some(_) => Ok(()),
        None => promote(connection, (lane, subject), now),
    }
}

/// Lets the earliest blocked delivery of a subject wait for nobody.
fn promote(
    connection: &Connection,
    (lane, subject): (LaneId, &str),
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE parked SET state = 0, due = ?3 WHERE lane = ?1 AND event =
        (SELECT event FROM parked INDEXED BY parked_blocked
            WHERE lane = ?1 AND subject = ?2 AND state = 1 ORDER BY event LIMIT 1)";
    let mut promote = connection.prepare_cached(sql)?;
    promote.execute(params![lane.0, subject, now.as_millis()])?;
    Ok(())
}

fn is_kept(connection: &Connection, event: EventKey) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM events WHERE key = ?1)";
    let mut query = connection.prepare_cached(sql)?;
    Ok(query.query_one([event.number()], |row| row.get(0))?)
}

/// Kind, line and time of a visible event that the lane has not come to yet.
pub(super) fn ahead(
    connection: &Connection,
    id: DeliveryId,
) -> Result<Option<(i64, String, Timestamp)>, StoreError> {
    let sql = "SELECT kind, subject, at FROM lanes
            JOIN commits ON commits.generation = ?3 AND commits.source = lanes.source
                AND (commits.lane IS NULL OR commits.lane = lanes.id)
            JOIN events ON key = ?2
        WHERE lanes.id = ?1 AND key > watermark AND NOT EXISTS
            (SELECT 1 FROM attempts WHERE lane = ?1 AND event = ?2 AND outcome IN (?4, ?5, ?6))";
    let mut query = connection.prepare_cached(sql)?;
    let (lane, event, generation) = (id.lane.0, id.event.number(), id.event.generation());
    let bounds = [lane, event, generation, ACCEPTED, GIVEN_UP, PASSED_OVER];
    let found = query
        .query_one(bounds, |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, At>(2)?.0))
        })
        .optional()?;
    if let Some((kind, ..)) = &found {
        kind_of(*kind)?;
    }
    Ok(found)
}
