//! What a receiver was told of a source, held against the promises.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Ring;

/// The events of one source in their sequence, each once, and how they came.
pub(crate) struct Story {
    events: BTreeMap<u64, Ring>,
}

impl Story {
    /// Reads the rings of `source`, in the order they arrived.
    ///
    /// # Panics
    /// When a `webhook-id` came with two bodies, a sequence with two ids, a number is missing, an
    /// event was never accepted, or came before its subject's previous one was accepted.
    pub(crate) fn of(source: &str, rings: &[Ring]) -> Self {
        let mut events: BTreeMap<u64, Ring> = BTreeMap::new();
        let mut bodies: BTreeMap<&str, &[u8]> = BTreeMap::new();
        for ring in rings.iter().filter(|ring| ring.source() == source) {
            let body = bodies.entry(&ring.id).or_insert(&ring.body);
            assert_eq!(*body, &ring.body[..], "{} came with two bodies", ring.id);
            let known = events
                .entry(ring.sequence())
                .or_insert_with(|| ring.clone());
            assert_eq!(known.id, ring.id, "two ids for {}", ring.sequence());
            known.accepted = known.accepted.or(ring.accepted);
        }
        let story = Self { events };
        story.assert_no_gap();
        story.assert_order();
        story
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn ids(&self) -> BTreeSet<&str> {
        self.events.values().map(|ring| &*ring.id).collect()
    }

    /// The events, by sequence.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Ring> {
        self.events.values()
    }

    /// Tells the story to someone who knew `before`: what they know after it, by subject.
    ///
    /// # Panics
    /// When an event does not fit what came before it.
    pub(crate) fn told_to(&self, before: &[Value]) -> BTreeMap<String, Value> {
        let mut known = by_id(before);
        for ring in self.events.values() {
            let data = &ring.event["data"];
            let before = known.remove(ring.subject());
            assert_eq!(before.as_ref(), data.get("previous"), "at {}", ring.event);
            let is_created = ring.event_type().ends_with(".created");
            let is_deleted = ring.event_type().ends_with(".deleted");
            assert_eq!(is_created, before.is_none(), "at {}", ring.event);
            assert_eq!(
                is_deleted,
                data.get("current").is_none(),
                "at {}",
                ring.event
            );
            if let Some(current) = data.get("current") {
                assert_ne!(before.as_ref(), Some(current), "nothing changed");
                known.insert(ring.subject().to_owned(), current.clone());
            }
        }
        known
    }

    fn assert_no_gap(&self) {
        for (expected, (sequence, ring)) in (1..).zip(&self.events) {
            assert_eq!(*sequence, expected, "an event before it is missing");
            assert!(ring.accepted.is_some(), "{} was never accepted", ring.event);
        }
    }

    fn assert_order(&self) {
        let mut previous: BTreeMap<(String, &str), &Ring> = BTreeMap::new();
        for ring in self.events.values() {
            // Items of two partitions that share an id are two.
            let partition = ring.event["data"]["partition"].to_string();
            if let Some(previous) = previous.insert((partition, ring.subject()), ring) {
                let in_order = previous.accepted < Some(ring.arrived);
                assert!(in_order, "{} overtook {}", ring.event, previous.event);
            }
        }
    }
}

/// Items by their `id`, as subjects.
pub(crate) fn by_id(items: &[Value]) -> BTreeMap<String, Value> {
    let subject = |item: &Value| match &item["id"] {
        Value::String(id) => id.clone(),
        id => id.to_string(),
    };
    items
        .iter()
        .map(|item| (subject(item), item.clone()))
        .collect()
}

/// The checks themselves bite.
mod tests {
    use axum::body::Bytes;
    use axum::http::HeaderMap;
    use serde_json::json;

    use super::*;

    /// An accepted ring whose id and ticks follow from its sequence.
    fn ring(sequence: u64, subject: &str) -> Ring {
        let data = json!({"source": "s", "subject": subject, "sequence": sequence,
            "current": {"id": subject, "words": sequence}});
        let event = json!({"type": "s.created", "data": data});
        Ring {
            id: format!("evt_{sequence}"),
            body: Bytes::from(event.to_string()),
            event,
            path: String::new(),
            headers: HeaderMap::new(),
            arrived: sequence * 10,
            accepted: Some(sequence * 10 + 1),
            at: std::time::Instant::now(),
        }
    }

    #[test]
    fn a_good_story_is_believed() {
        let rings = [ring(2, "b"), ring(1, "a"), ring(2, "b")];
        let story = Story::of("s", &rings);
        assert_eq!(story.told_to(&[]).len(), 2);
    }

    #[test]
    #[should_panic(expected = "an event before it is missing")]
    fn a_gap_is_seen() {
        Story::of("s", &[ring(1, "a"), ring(3, "b")]);
    }

    #[test]
    #[should_panic(expected = "never accepted")]
    fn an_event_that_was_only_tried_is_seen() {
        let mut refused = ring(1, "a");
        refused.accepted = None;
        Story::of("s", &[refused]);
    }

    #[test]
    #[should_panic(expected = "came with two bodies")]
    fn an_id_with_two_bodies_is_seen() {
        let mut other = ring(1, "a");
        other.body = Bytes::from_static(b"{}");
        Story::of("s", &[ring(1, "a"), other]);
    }

    #[test]
    #[should_panic(expected = "two ids")]
    fn a_sequence_with_two_ids_is_seen() {
        let mut other = ring(1, "a");
        other.id = "evt_other".to_owned();
        Story::of("s", &[ring(1, "a"), other]);
    }

    #[test]
    #[should_panic(expected = "overtook")]
    fn an_event_that_overtook_is_seen() {
        let mut early = ring(2, "a");
        early.arrived = 10;
        Story::of("s", &[early, ring(1, "a")]);
    }

    #[test]
    #[should_panic(expected = "left == right")]
    fn a_lost_change_is_seen() {
        // Created twice: the deletion between is missing, though the numbers have no gap.
        Story::of("s", &[ring(1, "a"), ring(2, "a")]).told_to(&[]);
    }
}
