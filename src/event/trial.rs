//! Events that never happened, for a person who tries an endpoint.

use serde_json::value::RawValue;

use super::{Cause, Content, Event, EventId, EventKey, Kind, OPERATIONAL_SOURCE, Partition};
use crate::time::Timestamp;

/// What a person's event looks like.
#[derive(Debug, Clone, Copy)]
pub enum Trial<'a> {
    /// `doorbell.test`, which no source and nothing of doorbell's own ever rings: a receiver that
    /// acts on what it hears does nothing.
    Own,
    /// An event of this source and kind about this item, as templates and receivers may want it.
    Like {
        /// The source's name.
        source: &'a str,
        /// One of [`Kind::OF_SOURCES`].
        kind: Kind,
        /// The item; before and after an update it is the same.
        item: &'a RawValue,
    },
}

impl Event {
    /// An event that never happened, sent at `at` to `endpoint`; `salt` makes its id its own. No
    /// store has it: its sequence is 0.
    #[must_use]
    pub fn trial(trial: Trial<'_>, endpoint: &str, at: Timestamp, salt: u64) -> Self {
        let (source, kind, content) = match trial {
            Trial::Own => {
                let content = format!(r#""endpoint":"{endpoint}","reason":"somebody tries it""#);
                (OPERATIONAL_SOURCE, Kind::Test, content.into())
            }
            Trial::Like { source, kind, item } => {
                let content = Content {
                    current: Some(item).filter(|_| kind != Kind::Deleted),
                    previous: Some(item).filter(|_| kind != Kind::Created),
                    ..Content::default()
                };
                (source, kind, content.members())
            }
        };
        Self {
            id: EventId::new(EventKey::START, salt),
            source: source.into(),
            kind,
            partition: Partition::default(),
            subject: "test".into(),
            sequence: 0,
            at,
            cause: Cause::Poll,
            content,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn body(trial: Trial<'_>) -> Value {
        let event = Event::trial(trial, "ops", Timestamp::from_millis(0), 7);
        serde_json::from_str(&event.body()).expect("JSON")
    }

    #[test]
    fn a_trial_is_of_a_type_that_nothing_rings() {
        let body = body(Trial::Own);
        assert_eq!(body["type"], "doorbell.test");
        let data = json!({"endpoint": "ops", "reason": "somebody tries it"});
        assert_eq!(body["data"], data);
        assert!(
            !Kind::ALL.contains(&Kind::Test),
            "the store never holds one"
        );
    }

    #[test]
    fn a_trial_may_look_like_an_event_of_a_source() {
        let item = RawValue::from_string("{\"a\":1}".to_owned()).expect("JSON");
        for (kind, has) in [
            (Kind::Created, (true, false)),
            (Kind::Updated, (true, true)),
            (Kind::Deleted, (false, true)),
        ] {
            let source = "issues";
            let body = body(Trial::Like {
                source,
                kind,
                item: &item,
            });
            assert_eq!(body["type"], kind.event_type("issues"));
            let data = &body["data"];
            let told = (
                data.get("current").is_some(),
                data.get("previous").is_some(),
            );
            assert_eq!((told, &data["sequence"]), (has, &json!(0)));
        }
    }
}
