//! What of `[endpoints.NAME]` says how webhooks are written: `format`, `template`, `payload`,
//! `redact`, and what `filter` leaves out.
//!
//! Decides which of these keys belong together. What they mean is [`crate::event`]'s.

use std::ops::RangeInclusive;

use http::HeaderValue;
use url::Url;

use crate::event::{Filter, Format, Payload, Redaction, Rendering, Template};
use crate::jsonpath::PathError;

use super::reader::Table;
use super::value::Value;
use super::words::shown;

/// Largest body: from what every thin payload fits into, to what some receiver may still take.
const PAYLOAD_BYTES: RangeInclusive<u64> = 4 * 1024..=16 * 1024 * 1024;

/// Most paths of `redact`, each asked of every payload.
const REDACTED_MAX: usize = 64;

/// The formats as they are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Standard,
    CloudEvents,
    CloudEventsBinary,
    Template,
}

/// How the endpoint's webhooks are written; `None` when the faults tell.
pub(super) fn rendering(table: &Table<'_>, public_url: Option<&Url>) -> Option<Rendering> {
    let words = [
        ("standard", Word::Standard),
        ("cloudevents", Word::CloudEvents),
        ("cloudevents_binary", Word::CloudEventsBinary),
        ("template", Word::Template),
    ];
    let word = table.or("format", Word::Standard, |v| v.one_of(&words, &[]));
    let template = template(table, word);
    let payloads = [
        ("full", Payload::Full),
        ("patch", Payload::Patch),
        ("thin", Payload::Thin),
    ];
    let bytes_max = table.optional("payload_bytes_max", |v| v.size(&PAYLOAD_BYTES));
    let bytes_max = bytes_max.and_then(|bytes| usize::try_from(bytes).ok());
    Some(Rendering {
        format: match word {
            Word::Standard => Format::Standard,
            Word::CloudEvents => Format::CloudEvents,
            Word::CloudEventsBinary => Format::CloudEventsBinary,
            Word::Template => Format::Template(template?),
        },
        payload: table.or("payload", Payload::Full, |v| v.one_of(&payloads, &[])),
        bytes_max: bytes_max.unwrap_or(Rendering::BYTES_MAX),
        redact: table.or("redact", Redaction::default(), redaction),
        admin: public_url.map(|url| url.as_str().trim_end_matches('/').into()),
    })
}

fn template(table: &Table<'_>, word: Word) -> Option<Template> {
    let json = HeaderValue::from_static("application/json");
    let content_type = table.or("content_type", json, |v| {
        v.parsed("a media type like \"application/json\"", content_type)
    });
    let read = |v: Value<'_>| {
        // Somebody may well write a token of the receiver's into it.
        v.hide();
        v.parsed("a minijinja template", |text| {
            Template::parse(text, content_type)
        })
    };
    if word == Word::Template {
        return table.required("template", "'''…'''", read);
    }
    for key in ["template", "content_type"] {
        if let Some(value) = table.value(key) {
            let message = format!("`{key}` does nothing without `format = \"template\"`");
            value.absent(message);
        }
    }
    table.optional("template", read);
    None
}

/// A media type with its parameters (RFC 9110 section 8.3.1), as far as one can go wrong.
fn content_type(text: &str) -> Result<HeaderValue, String> {
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    let is_token = |part: &str| {
        let is_char = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
        !part.is_empty() && part.bytes().all(is_char)
    };
    let is_type = essence
        .split_once('/')
        .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    let value = HeaderValue::from_str(text).ok();
    value.filter(|_| is_type && text.is_ascii()).ok_or_else(|| {
        format!(
            "\"{}\" is no media type, write one like \"application/json\"",
            shown(text)
        )
    })
}

fn redaction(value: Value<'_>) -> Option<Redaction> {
    let paths = value.each("a list of JSONPaths", REDACTED_MAX, |v| {
        Some((v, v.parsed("a JSONPath", Ok::<_, String>)?))
    })?;
    let mut redaction = Redaction::default();
    for (value, path) in paths {
        // The fault refuses the file, so it does not matter that the path is missing.
        if let Err(error) = redaction.add(path) {
            told(value, &error);
        }
    }
    Some(redaction)
}

/// Which events the endpoint takes, by what stands in them.
pub(super) fn filter(value: Value<'_>) -> Option<Filter> {
    let text = value.parsed("a JSONPath like \"$[?@.data.…]\"", Ok::<_, String>)?;
    let filter = Filter::parse(text);
    filter.map_err(|error| told(value, &error)).ok()
}

fn told(value: Value<'_>, error: &PathError) {
    let message = format!("`{}`: {error}", value.key);
    value.fault_at(error.position, message);
}
