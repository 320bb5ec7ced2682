//! A look as a program reads it.

use serde_json::{Value, json};

use super::{Known, Report};
use crate::poll::{Against, Would};

/// One JSON object.
pub(super) fn json(report: &Report<'_>) -> Value {
    let look = report.look;
    let brought = look.brought.as_ref();
    let validators = |etag: Option<&String>, modified: Option<&String>| json!({ "etag": etag, "last_modified": modified });
    let received = brought.map(|brought| &brought.validators);
    let (items, against) = match look.against {
        Against::Nothing => (None, "nothing"),
        Against::Snapshot(items) => (Some(items), "snapshot"),
        Against::OtherRules(items) => (Some(items), "snapshot_under_other_rules"),
        Against::Replaced(items) => (Some(items), "snapshot_of_other_request"),
    };
    let source = report.source.name.as_str();
    let events = look.events.iter().map(|event| would(source, event));
    let hints = report
        .hints
        .iter()
        .map(|hint| json!({ "key": hint.key, "path": hint.path, "text": hint.text }));
    let unreadable = match report.known {
        Known::Unreadable(why) => Some(why),
        Known::Stored(_) | Known::Nothing => None,
    };
    json!({
        "source": source,
        "partition": (!report.partition.is_whole()).then(|| report.partition.values()),
        "request": {
            "method": look.method,
            "url": look.url,
            "validators": validators(
                look.sent.etag.as_ref(), look.sent.last_modified.as_ref()),
        },
        "answer": {
            "status": brought.map(|brought| brought.status)
                .or(look.failure.as_ref().and_then(|failure| failure.status))
                .or(look.failure.is_none().then_some(304)),
            "content_type": brought.and_then(|brought| brought.content_type.as_ref()),
            "bytes": brought.map(|brought| brought.bytes),
            "pages": brought.map(|brought| brought.bodies.len()),
            "items": brought.map(|brought| brought.walk.entries.len()),
            "validators": validators(
                received.and_then(|v| v.etag.as_ref()),
                received.and_then(|v| v.last_modified.as_ref())),
            "seconds": look.took.as_secs_f64(),
        },
        "outcome": look.outcome,
        "reason": look.reason,
        "error": look.failure.as_ref().map(|failure| &failure.message),
        "compared_with": against,
        "snapshot_items": items,
        "snapshot_error": unreadable,
        "events": events.collect::<Vec<_>>(),
        "waiting": {
            "created": look.waiting.created,
            "updated": look.waiting.updated,
            "deleted": look.waiting.deleted,
        },
        "operational": look.announced,
        "endpoints": report.heard_by(),
        "next": look.next.map(|next| next.to_string()),
        "asked_to_wait_seconds": look.wait.map(|wait| wait.as_secs_f64()),
        "hints": hints.collect::<Vec<_>>(),
    })
}

fn would(source: &str, event: &Would) -> Value {
    let member = |name: &str| event.data.get(name).cloned();
    json!({
        "type": event.kind.event_type(source),
        "subject": event.subject,
        "previous": member("previous"),
        "current": member("current"),
        "patch": member("patch"),
    })
}
