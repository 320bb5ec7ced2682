//! A lane begins further back: an endpoint gets what it has not had of a source's events.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Sqlite, counted, stored};
use crate::event::EventKey;
use crate::name::Name;
use crate::store::{DeliveryId, LaneId, Rewound, SourceId, StoreError};

/// Most deliveries after the new beginning that the endpoint has had: its lane remembers each of
/// them until it has come past it, some 5 MiB.
const KNOWN_MAX: usize = 100_000;

impl Sqlite {
    pub(in crate::store) async fn rewind(
        &self,
        endpoint: &Name,
        source: SourceId,
        sequence: u64,
    ) -> Result<Rewound, StoreError> {
        let wanted = i64::try_from(sequence).unwrap_or(i64::MAX);
        let find = move |connection: &Connection| find(connection, source, wanted);
        let first = match self.read_behind(find).await? {
            Ok(first) => first,
            Err(why) => return Ok(why),
        };
        let name = endpoint.clone();
        let overtaken =
            move |connection: &Connection| overtaken(connection, (&name, source), first);
        if let Some(waiting) = self.read_behind(overtaken).await? {
            return Ok(Rewound::Waiting(waiting));
        }
        let endpoint = endpoint.clone();
        self.write(1, move |connection| {
            rewind(connection, (&endpoint, source), first)
        })
        .await
    }
}

/// The event with this sequence.
fn find(
    connection: &Connection,
    source: SourceId,
    sequence: i64,
) -> Result<Result<EventKey, Rewound>, StoreError> {
    let sql = "SELECT generation, first_sequence FROM commits INDEXED BY commits_of_source
        WHERE source = ?1 AND first_sequence + count > ?2 AND lane IS NULL
        ORDER BY generation LIMIT 1";
    let mut query = connection.prepare_cached(sql)?;
    let commit = query.query_one([source.0, sequence], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
    });
    let Some((generation, first)) = commit.optional()? else {
        let sql = "SELECT sequence FROM sources WHERE id = ?1";
        let mut query = connection.prepare_cached(sql)?;
        let newest = query.query_one([source.0], |row| row.get(0)).optional()?;
        return Ok(Err(Rewound::Ahead(counted(newest.unwrap_or(0)))));
    };
    let start = EventKey::new(generation, 0).number();
    let key = start + (sequence - first).max(0);
    // Retention may have taken a part of a commit, from its beginning.
    let sql = "SELECT min(key) FROM events WHERE key >= ?1";
    let mut query = connection.prepare_cached(sql)?;
    let oldest: Option<i64> = query.query_one([key], |row| row.get(0))?;
    Ok(match oldest {
        Some(oldest) if oldest == key && sequence >= first => Ok(EventKey::from_number(key)),
        Some(oldest) => Err(Rewound::Gone(counted(first + oldest - start))),
        None => Err(Rewound::Ahead(0)),
    })
}

/// A delivery that waits for its retry and would overtake what its subject is to be sent from
/// `first` on.
fn overtaken(
    connection: &Connection,
    (endpoint, source): (&Name, SourceId),
    first: EventKey,
) -> Result<Option<DeliveryId>, StoreError> {
    let sql = "SELECT lanes.id, event, subject FROM lanes
        CROSS JOIN parked INDEXED BY parked_waiting ON parked.lane = lanes.id AND state = 0
        WHERE endpoint = ?1 AND source = ?2 AND event > ?3";
    let mut query = connection.prepare_cached(sql)?;
    let mut rows = query.query(params![endpoint.as_str(), source.0, first.number()])?;
    let (mut lane, mut waiting) = (0, HashMap::<String, i64>::new());
    while let Some(row) = rows.next()? {
        lane = row.get(0)?;
        let (event, subject) = (row.get(1)?, row.get(2)?);
        let latest = waiting.entry(subject).or_insert(event);
        *latest = event.max(*latest);
    }
    let Some(end) = waiting.values().max() else {
        return Ok(None);
    };
    let sql = "SELECT key, subject FROM commits INDEXED BY commits_of_source
        CROSS JOIN events ON key BETWEEN generation * ?4 AND generation * ?4 + ?4 - 1
        WHERE source = ?1 AND generation BETWEEN ?2 / ?4 AND ?3 / ?4
            AND commits.lane IS NULL AND key BETWEEN ?2 AND ?3
            AND NOT EXISTS (SELECT 1 FROM attempts
                WHERE lane = ?5 AND event = key AND outcome <> 0)";
    let mut query = connection.prepare_cached(sql)?;
    let keys = EventKey::new(1, 0).number();
    let mut rows = query.query([source.0, first.number(), *end, keys, lane])?;
    while let Some(row) = rows.next()? {
        let key: i64 = row.get(0)?;
        let subject = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        if let Some(event) = waiting.get(subject).filter(|event| key < **event) {
            let event = EventKey::from_number(*event);
            return Ok(Some(DeliveryId {
                lane: LaneId(lane),
                event,
            }));
        }
    }
    Ok(None)
}

fn rewind(
    connection: &Connection,
    (endpoint, source): (&Name, SourceId),
    first: EventKey,
) -> Result<Rewound, StoreError> {
    let sql = "SELECT id FROM lanes WHERE endpoint = ?1 AND source = ?2";
    let mut query = connection.prepare_cached(sql)?;
    let lane = query.query_one(params![endpoint.as_str(), source.0], |row| row.get(0));
    let Some(lane): Option<i64> = lane.optional()? else {
        return Ok(Rewound::Unheard);
    };
    let before = first.number() - 1;
    let sql = "SELECT count(*) FROM (SELECT 1 FROM attempts
        WHERE lane = ?1 AND event > ?2 AND outcome <> 0 LIMIT ?3)";
    let mut query = connection.prepare_cached(sql)?;
    let known: i64 = query.query_one([lane, before, stored(KNOWN_MAX + 1)], |row| row.get(0))?;
    if known > stored(KNOWN_MAX) {
        return Ok(Rewound::TooMany(counted(known)));
    }
    let sql = "UPDATE lanes SET watermark = min(watermark, ?2) WHERE id = ?1";
    connection.prepare_cached(sql)?.execute([lane, before])?;
    Ok(Rewound::Done)
}
