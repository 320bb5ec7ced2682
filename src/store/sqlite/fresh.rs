//! What a small commit tells the deliverer, so that a ring need not wait for two reads.
//!
//! Decides which commits are small enough, and puts their events together once they have numbers.
//! Leaves the moment of telling to [`super::writer`]: after the flush, before the position moves.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _};

use super::commit::Head;
use super::lanes;
use super::numbering::Sealed;
use crate::detect::Subject;
use crate::event::{Event, EventKey, Kind, ORDINAL_MAX};
use crate::store::{
    FRESH_MAX, Fresh, ItemChange, SCAN_INLINE_BYTES, Scanned, SourceId, StoreError,
};

/// Events that wait for their numbers, in order.
#[derive(Debug)]
pub(super) struct Unnumbered(Vec<(Kind, Subject, Box<str>)>);

impl Unnumbered {
    /// The events of these changes; `None`: there are none, or too much of them.
    pub(super) fn of(changes: &[ItemChange]) -> Option<Self> {
        let is_small = |change: &ItemChange| {
            let content = change.event.as_ref().map_or(0, |draft| draft.content.len());
            content <= SCAN_INLINE_BYTES
        };
        if changes.len() > FRESH_MAX || !changes.iter().all(is_small) {
            return None;
        }
        let events = changes.iter().filter_map(|change| {
            let draft = change.event.as_ref()?;
            Some((draft.kind, change.subject.clone(), draft.content.clone()))
        });
        let events: Vec<_> = events.collect();
        (!events.is_empty()).then_some(Self(events))
    }

    /// The events with the numbers that `sealed` gave them; `after` is [`newest`] from before.
    pub(super) fn numbered(
        &self,
        connection: &Connection,
        (head, after): (&Head, EventKey),
        sealed: &Sealed,
    ) -> Result<Fresh, StoreError> {
        let name: Arc<str> = lanes::source_name(connection, head.source)?.into();
        let numbers = sealed
            .committed
            .ids
            .iter()
            .zip(sealed.committed.first_sequence..);
        let events = self.0.iter().zip(numbers);
        let events = events.map(|((kind, subject, content), (id, sequence))| Scanned {
            key: id.key(),
            kind: *kind,
            subject: head.partition.line(subject).into(),
            at: head.at,
            event: Some(Event {
                id: *id,
                source: Arc::clone(&name),
                kind: *kind,
                subject: subject.clone(),
                sequence,
                at: head.at,
                cause: head.cause.clone(),
                partition: head.partition.clone(),
                content: content.clone(),
            }),
        });
        Ok(Fresh {
            position: sealed.position,
            source: head.source,
            after,
            events: events.collect(),
        })
    }
}

/// The newest visible event of a source.
pub(super) fn newest(connection: &Connection, source: SourceId) -> Result<EventKey, StoreError> {
    let sql = "SELECT generation, count FROM commits WHERE source = ?1
        ORDER BY generation DESC LIMIT 1";
    let newest: Option<(i64, i64)> = connection
        .prepare_cached(sql)?
        .query_one([source.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(newest.map_or(EventKey::START, |(generation, count)| {
        let ordinal = u32::try_from(count - 1).unwrap_or(ORDINAL_MAX);
        EventKey::new(generation, ordinal)
    }))
}
