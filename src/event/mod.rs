//! What rings: the words of an event, who wants to hear it, and how it becomes a webhook.
//!
//! Decides types, ids and what is on the wire: Standard Webhooks 1.0, CloudEvents 1.0.2, templates.
//! Leaves what changed to [`crate::detect`], numbering and durability to the store, signing to
//! [`crate::signature`].

mod filter;
mod glob;
mod id;
mod partition;
mod query;
mod render;
mod trial;

use std::fmt::Write as _;

use serde_json::value::RawValue;

pub use filter::Filter;
pub use glob::Glob;
pub use id::{EventId, EventKey, ORDINAL_MAX};
pub use partition::Partition;
pub use render::{
    Format, Payload, Redaction, RenderError, Rendered, Rendering, Template, TemplateError, Written,
};
pub use trial::Trial;

use crate::digest::Digest;
use crate::time::Timestamp;

/// Name of the pseudo-source whose events are doorbell's own: `doorbell.source.failing`, ….
pub const OPERATIONAL_SOURCE: &str = "doorbell";

/// What happened. With its source's name it is the event's type.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// An item that was not in the snapshot.
    Created,
    /// An item whose digest differs from the snapshot's.
    Updated,
    /// An item that a complete walk no longer holds, or holds as gone.
    Deleted,
    /// A document source's document whose digest differs.
    Changed,
    /// Operational: a source failed `failing_after` times in a row.
    SourceFailing,
    /// Operational: a failing source answered again.
    SourceRecovered,
    /// Operational: a poll is held because its guard does not believe it.
    SourceHeld,
    /// Operational: an endpoint was switched off.
    EndpointDisabled,
    /// Operational: a delivery used up its attempts.
    DeliveryDead,
    /// Operational: a source brought nothing new for `stale_after`.
    SourceStale,
    /// Somebody tries an endpoint. Never stored, so it is not among [`Kind::ALL`].
    Test = 15,
}

impl Kind {
    /// Every kind, in the order of their stored numbers.
    pub const ALL: [Self; 10] = [
        Self::Created,
        Self::Updated,
        Self::Deleted,
        Self::Changed,
        Self::SourceFailing,
        Self::SourceRecovered,
        Self::SourceHeld,
        Self::EndpointDisabled,
        Self::DeliveryDead,
        Self::SourceStale,
    ];

    /// The kinds of source events, which carry a sequence.
    pub const OF_SOURCES: [Self; 4] = [Self::Created, Self::Updated, Self::Deleted, Self::Changed];

    /// What stands after the first dot of the event's type.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
            Self::Changed => "changed",
            Self::SourceFailing => "source.failing",
            Self::SourceRecovered => "source.recovered",
            Self::SourceHeld => "source.held",
            Self::EndpointDisabled => "endpoint.disabled",
            Self::DeliveryDead => "delivery.dead",
            Self::SourceStale => "source.stale",
            Self::Test => "test",
        }
    }

    /// The number that the store keeps; never reassigned.
    #[must_use]
    pub const fn number(self) -> i64 {
        self as i64
    }

    /// The kind with this stored number.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// A type's source and kind; [`Kind::ALL`] of the right source only.
    #[must_use]
    pub fn of_type(event_type: &str) -> Option<(&str, Self)> {
        let (source, suffix) = event_type.split_once('.')?;
        let kind = Self::ALL.into_iter().find(|kind| kind.suffix() == suffix)?;
        let is_own = !Self::OF_SOURCES.contains(&kind);
        (is_own == (source == OPERATIONAL_SOURCE)).then_some((source, kind))
    }

    /// The type of an event of this kind: `issues.updated`, `doorbell.source.failing`.
    #[must_use]
    pub fn event_type(self, source: &str) -> String {
        format!("{source}.{}", self.suffix())
    }
}

/// Why doorbell looked when it found the change.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Cause {
    /// A poll, by schedule or by hand.
    Poll,
    /// A caller's read through the proxy, which counted as a poll; the id of its request.
    ProxiedRead(std::sync::Arc<str>),
    /// A caller's write through the proxy, which brought a poll about; the id of its request.
    ProxiedWrite(std::sync::Arc<str>),
    /// It did not: the item is as the snapshot has it, and an endpoint is told that asked for all
    /// there is. Nothing need have happened to the item just now.
    Backfill,
}

impl Cause {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::ProxiedRead(_) => "proxied_read",
            Self::ProxiedWrite(_) => "proxied_write",
            Self::Backfill => "backfill",
        }
    }

    /// The id of the caller's request, if there is one behind it.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Poll | Self::Backfill => None,
            Self::ProxiedRead(id) | Self::ProxiedWrite(id) => Some(id),
        }
    }
}

/// A numbered, committed event, as everyone who rings or lists it sees it.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its identity on the wire and in the store.
    pub id: EventId,
    /// Name of its source; [`OPERATIONAL_SOURCE`] for doorbell's own.
    pub source: std::sync::Arc<str>,
    /// What happened.
    pub kind: Kind,
    /// Which part of its source the item is in.
    pub partition: Partition,
    /// The item it happened to; empty for documents.
    pub subject: Box<str>,
    /// Its number within the source, from 1, without gaps; of a [`Cause::Backfill`] that of the
    /// source's newest event then, 0: there was none.
    pub sequence: u64,
    /// When it was detected.
    pub at: Timestamp,
    /// Why doorbell looked.
    pub cause: Cause,
    /// The members of `data` that depend on the change: see [`Content::members`].
    pub content: Box<str>,
}

impl Event {
    /// The event's type.
    #[must_use]
    pub fn event_type(&self) -> String {
        self.kind.event_type(&self.source)
    }

    /// The webhook's body, all of it: the same bytes for the same event, whenever it is asked for.
    ///
    /// Source: Standard Webhooks 1.0, "Payload structure".
    #[must_use]
    pub fn body(&self) -> String {
        let mut body = String::with_capacity(self.content.len() + 256);
        self.write_head(&mut body);
        body.push('{');
        self.write_data(&mut body);
        body.push_str("}}");
        body
    }

    /// The webhook's body with another `data`, a JSON object.
    fn body_with(&self, data: &str) -> String {
        let mut body = String::with_capacity(data.len() + 128);
        self.write_head(&mut body);
        body.push_str(data);
        body.push('}');
        body
    }

    /// What stands before the payload's `data`.
    fn write_head(&self, body: &mut String) {
        let _ = write!(
            body,
            r#"{{"type":"{}.{}","timestamp":"{}","data":"#,
            self.source,
            self.kind.suffix(),
            self.at
        );
    }

    /// The members of the payload's `data`, without its braces.
    fn write_data(&self, body: &mut String) {
        if Kind::OF_SOURCES.contains(&self.kind) {
            let _ = write!(body, r#""source":"{}","#, self.source);
            if !self.partition.is_whole() {
                let _ = write!(body, r#""partition":{},"#, self.partition);
            }
            let _ = write!(
                body,
                r#""subject":{},"sequence":{},"cause":"{}","#,
                serde_json::Value::from(&*self.subject),
                self.sequence,
                self.cause.as_str()
            );
            if let Some(id) = self.cause.request_id() {
                let id = serde_json::Value::from(id);
                let _ = write!(body, r#""request_id":{id},"#);
            }
        }
        body.push_str(&self.content);
    }
}

/// What a source event tells of its item, before and after.
#[derive(Clone, Copy, Debug, Default)]
pub struct Content<'a> {
    /// The item as received, and the digest of its canonical form; absent when it was deleted.
    pub current: Option<&'a RawValue>,
    /// The digest of the current form; absent when the item was deleted.
    pub digest: Option<Digest>,
    /// The item as it was received before; absent when it was created or bodies are not kept.
    pub previous: Option<&'a RawValue>,
    /// The digest of the previous form; absent when the item was created.
    pub previous_digest: Option<Digest>,
    /// An RFC 6902 patch between the projections.
    pub patch: Option<&'a RawValue>,
}

impl Content<'_> {
    /// The members of `data` that [`Event::content`] keeps: a JSON object without its braces.
    #[must_use]
    pub fn members(&self) -> Box<str> {
        let mut members = String::new();
        let mut add = |key: &str, value: &str| {
            let comma = if members.is_empty() { "" } else { "," };
            let _ = write!(members, r#"{comma}"{key}":{value}"#);
        };
        if let Some(current) = self.current {
            add("current", current.get());
        }
        if let Some(previous) = self.previous {
            add("previous", previous.get());
        }
        if let Some(patch) = self.patch {
            add("patch", patch.get());
        }
        if let Some(digest) = self.digest {
            add("digest", &format!("\"{digest}\""));
        }
        if let Some(digest) = self.previous_digest {
            add("previous_digest", &format!("\"{digest}\""));
        }
        members.into()
    }
}

/// The members of an operational event's `data`.
///
/// `about` is what it tells of: `("source", "issues")` or `("endpoint", "ops")`.
#[must_use]
pub fn operational(
    about: (&str, &str),
    reason: &str,
    consecutive: u32,
    since: Timestamp,
) -> Box<str> {
    let (what, name) = about;
    format!(
        r#""{what}":"{name}","reason":{},"consecutive":{consecutive},"since":"{since}""#,
        serde_json::Value::from(reason)
    )
    .into()
}

/// The members of an operational event's `data` that tells of one partition alone.
#[must_use]
pub fn of_partition(content: &str, partition: &Partition) -> Box<str> {
    if partition.is_whole() {
        return content.into();
    }
    format!(r#"{content},"partition":{partition}"#).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_is_json_of_the_documented_shape() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).expect("valid JSON");
        let (current, patch) = (raw(r#"{"id":42}"#), raw("[]"));
        let content = Content {
            current: Some(&current),
            digest: Some(Digest::from_bytes([1; 16])),
            patch: Some(&patch),
            ..Content::default()
        };
        let event = Event {
            id: EventId::new(EventKey::new(3, 0), 7),
            source: "issues".into(),
            kind: Kind::Updated,
            partition: Partition::default(),
            subject: "a\"b".into(),
            sequence: 1007,
            at: Timestamp::from_millis(0),
            cause: Cause::Poll,
            content: content.members(),
        };
        let body: serde_json::Value = serde_json::from_str(&event.body()).expect("JSON");
        assert_eq!(
            body,
            serde_json::json!({
                "type": "issues.updated", "timestamp": "1970-01-01T00:00:00.000Z",
                "data": { "source": "issues", "subject": "a\"b", "sequence": 1007, "cause": "poll",
                    "current": {"id": 42}, "patch": [],
                    "digest": "01010101010101010101010101010101" }
            })
        );
    }

    #[test]
    fn an_event_of_a_divided_source_tells_its_partition() {
        let values = [("repo".to_owned(), "a/b".to_owned())];
        let event = Event {
            id: EventId::new(EventKey::new(3, 0), 7),
            source: "issues".into(),
            kind: Kind::Deleted,
            partition: Partition::of(&values.into()),
            subject: "1".into(),
            sequence: 1,
            at: Timestamp::from_millis(0),
            cause: Cause::Poll,
            content: Content {
                previous_digest: Some(Digest::from_bytes([1; 16])),
                ..Content::default()
            }
            .members(),
        };
        let body = event.body();
        assert!(
            body.contains(r#""source":"issues","partition":{"repo":"a/b"},"subject":"1","#),
            "{body}"
        );
    }

    #[test]
    fn operational_body_has_no_sequence() {
        let event = Event {
            id: EventId::new(EventKey::new(3, 0), 7),
            source: OPERATIONAL_SOURCE.into(),
            kind: Kind::SourceFailing,
            partition: Partition::default(),
            subject: "source/issues".into(),
            sequence: 9,
            at: Timestamp::from_millis(0),
            cause: Cause::Poll,
            content: operational(("source", "issues"), "status", 3, Timestamp::from_millis(0)),
        };
        let body: serde_json::Value = serde_json::from_str(&event.body()).expect("JSON");
        assert_eq!(body["type"], "doorbell.source.failing");
        assert_eq!(
            body["data"],
            serde_json::json!({"source": "issues", "reason": "status", "consecutive": 3,
                "since": "1970-01-01T00:00:00.000Z"})
        );
    }

    #[test]
    fn stored_numbers_name_their_kind() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(kind.number()), Some(kind));
        }
        assert_eq!(Kind::from_number(99), None);
    }
}
