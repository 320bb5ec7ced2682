//! Outcomes of deliveries become rows. All of it may be repeated: the caller does so after an
//! error, not knowing what of it was written.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::{At, Sqlite, counted, numbering, switches};
use crate::digest::Digest;
use crate::name::Name;
use crate::store::{Failing, LaneId, Parked, Settled, Settling, StoreError, Then};
use crate::time::Timestamp;

/// Stored numbers of `parked.state`.
pub(super) const WAITING: i64 = 0;
pub(super) const BLOCKED: i64 = 1;
pub(super) const DEAD: i64 = 2;

/// Stored numbers of `attempts.outcome`. What is passed over has a row, without an attempt's
/// number, only as long as the watermark is not past it.
pub(super) const RETRIED: i64 = 0;
pub(super) const ACCEPTED: i64 = 1;
pub(super) const GIVEN_UP: i64 = 2;
pub(super) const PASSED_OVER: i64 = 3;

impl Sqlite {
    pub(in crate::store) async fn settle(&self, settling: Settling) -> Result<(), StoreError> {
        let rows = settling.attempts.len() + settling.parked.len() + settling.watermarks.len();
        let rungs = numbering::pack(settling.announcements);
        let now = self.clock.now();
        self.write(1 + rows, move |connection| {
            for settled in &settling.attempts {
                if settled.then != Then::Filtered {
                    insert_attempt(connection, settled)?;
                }
                follow(connection, settled)?;
            }
            for (lane, parked) in &settling.parked {
                let state = match parked.due {
                    Some(_) => WAITING,
                    None => BLOCKED,
                };
                park(connection, *lane, parked, (state, None))?;
            }
            let sql = "UPDATE lanes SET watermark = max(watermark, ?2) WHERE id = ?1";
            let mut raise = connection.prepare_cached(sql)?;
            for (lane, watermark) in &settling.watermarks {
                raise.execute([lane.0, watermark.number()])?;
            }
            for settled in &settling.attempts {
                if settled.then == Then::Filtered {
                    pass_over(connection, settled)?;
                }
            }
            match &settling.switched {
                Some((endpoint, true)) => switches::enable(connection, endpoint)?,
                Some((endpoint, false)) => switches::disable(connection, endpoint, now)?,
                None => {}
            }
            if let Some((endpoint, failing)) = &settling.health {
                note(connection, endpoint, failing.as_ref())?;
            }
            numbering::announce(connection, now, &rungs)
        })
        .await
    }

    pub(in crate::store) async fn failing(&self) -> Result<BTreeMap<String, Failing>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT endpoint, since, last, spent_ms, failures FROM failing";
            let mut query = connection.prepare_cached(sql)?;
            let rows = query.query_map([], |row| {
                let failing = Failing {
                    since: row.get::<_, At>(1)?.0,
                    last: row.get::<_, At>(2)?.0,
                    spent: Duration::from_millis(counted(row.get(3)?)),
                    failures: row.get(4)?,
                };
                Ok((row.get(0)?, failing))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// Keeps how an endpoint does.
pub(super) fn note(
    connection: &Connection,
    endpoint: &Name,
    failing: Option<&Failing>,
) -> Result<(), StoreError> {
    let Some(failing) = failing else {
        let sql = "DELETE FROM failing WHERE endpoint = ?1";
        let mut forget = connection.prepare_cached(sql)?;
        forget.execute([endpoint.as_str()])?;
        return Ok(());
    };
    let sql = "INSERT OR REPLACE INTO failing(endpoint, since, last, spent_ms, failures)
        VALUES (?1, ?2, ?3, ?4, ?5)";
    connection.prepare_cached(sql)?.execute(params![
        endpoint.as_str(),
        failing.since.as_millis(),
        failing.last.as_millis(),
        i64::try_from(failing.spent.as_millis()).unwrap_or(i64::MAX),
        failing.failures
    ])?;
    Ok(())
}

fn insert_attempt(connection: &Connection, settled: &Settled) -> Result<(), StoreError> {
    let (delivery, attempt) = (settled.delivery, &settled.attempt);
    let outcome = match settled.then {
        Then::Retry(_) => RETRIED,
        Then::Delivered => ACCEPTED,
        Then::Dead => GIVEN_UP,
        Then::Filtered => PASSED_OVER,
    };
    // A dead or waiting delivery has its event's words in its parked row.
    let words = (outcome == ACCEPTED).then_some(settled);
    let sql = "INSERT OR REPLACE INTO attempts(lane, event, number, outcome, at, duration_ms,
            status, error, answer, kind, subject, committed_at, rendering)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    connection.prepare_cached(sql)?.execute(params![
        delivery.lane.0,
        delivery.event.number(),
        attempt.number,
        outcome,
        attempt.at.as_millis(),
        attempt.duration_ms,
        attempt.status,
        attempt.error,
        attempt.answer,
        words.map(|settled| settled.kind.number()),
        words.map(|settled| &settled.subject),
        words.map(|settled| settled.committed_at.as_millis()),
        attempt.rendering.as_ref().map(Digest::as_bytes)
    ])?;
    Ok(())
}

/// Keeps that an event is passed over, while the watermark is not past it: whatever the filter is
/// after a restart, what came later of its subject may have been delivered.
fn pass_over(connection: &Connection, settled: &Settled) -> Result<(), StoreError> {
    let sql = "INSERT OR REPLACE INTO attempts(lane, event, number, outcome, at, duration_ms)
        SELECT ?1, ?2, 0, ?3, ?4, 0
        WHERE ?2 > (SELECT watermark FROM lanes WHERE id = ?1)";
    connection.prepare_cached(sql)?.execute([
        settled.delivery.lane.0,
        settled.delivery.event.number(),
        PASSED_OVER,
        settled.attempt.at.as_millis(),
    ])?;
    Ok(())
}

fn follow(connection: &Connection, settled: &Settled) -> Result<(), StoreError> {
    let delivery = settled.delivery;
    let attempt = &settled.attempt;
    let mut parked = Parked {
        event: delivery.event,
        kind: settled.kind,
        subject: settled.subject.clone(),
        at: settled.committed_at,
        attempts: attempt.number,
        earlier: 0,
        due: None,
    };
    match settled.then {
        Then::Delivered | Then::Filtered => {
            let sql = "DELETE FROM parked WHERE lane = ?1 AND event = ?2";
            connection
                .prepare_cached(sql)?
                .execute([delivery.lane.0, delivery.event.number()])?;
            Ok(())
        }
        Then::Retry(due) => {
            parked.due = Some(due);
            park(connection, delivery.lane, &parked, (WAITING, None))
        }
        Then::Dead => {
            let ended = attempt.at.as_millis() + i64::from(attempt.duration_ms);
            park(connection, delivery.lane, &parked, (DEAD, Some(ended)))
        }
    }
}

fn park(
    connection: &Connection,
    lane: LaneId,
    parked: &Parked,
    (state, settled_at): (i64, Option<i64>),
) -> Result<(), StoreError> {
    // What was made earlier is only changed by a replay.
    let sql = "INSERT INTO parked(lane, event, state, kind, subject, committed_at, attempts, due,
            settled_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
        ON CONFLICT DO UPDATE SET state = ?3, attempts = ?7, due = ?8, settled_at = ?9";
    connection.prepare_cached(sql)?.execute(params![
        lane.0,
        parked.event.number(),
        state,
        parked.kind.number(),
        parked.subject,
        parked.at.as_millis(),
        parked.attempts,
        parked.due.map(Timestamp::as_millis),
        settled_at
    ])?;
    Ok(())
}
