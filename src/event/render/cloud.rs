//! CloudEvents 1.0.2, structured and binary.
//!
//! Decides the attributes and how they are written. Their data is the payload's `data`.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::super::{Event, Kind};
use super::RenderError;

/// `Content-Type` of a structured event.
pub(super) const CONTENT_TYPE: HeaderValue =
    HeaderValue::from_static("application/cloudevents+json; charset=UTF-8");

/// Digits of `sequence`: those of the largest, so that texts sort as numbers do.
const SEQUENCE_DIGITS: usize = 20;

/// The attributes of an event, without `specversion`.
pub(super) struct Attributes {
    id: String,
    source: String,
    event_type: String,
    subject: Option<Box<str>>,
    time: String,
    sequence: Option<String>,
}

impl Attributes {
    /// The attributes of `event`, with `subject` unless it is redacted.
    ///
    /// An empty subject is none, and so is one with control characters, which CloudEvents do not
    /// allow; `data` tells it nevertheless.
    pub(super) fn of(event: &Event, subject: Option<&str>) -> Self {
        let is_string = |text: &&str| !text.is_empty() && !text.chars().any(is_disallowed);
        let is_of_source = Kind::OF_SOURCES.contains(&event.kind);
        let sequence = || format!("{:0width$}", event.sequence, width = SEQUENCE_DIGITS);
        Self {
            id: event.id.to_string(),
            source: format!("/sources/{}", event.source),
            event_type: event.event_type(),
            subject: subject.filter(is_string).map(Into::into),
            time: event.at.to_string(),
            sequence: is_of_source.then(sequence),
        }
    }

    fn each(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let given = [
            ("ce-id", Some(&*self.id)),
            ("ce-source", Some(&*self.source)),
            ("ce-type", Some(&*self.event_type)),
            ("ce-subject", self.subject.as_deref()),
            ("ce-time", Some(&*self.time)),
            ("ce-sequence", self.sequence.as_deref()),
        ];
        let given = given.into_iter();
        given.filter_map(|(name, value)| Some((name, value?)))
    }

    /// The whole event as one JSON object (JSON Event Format 1.0.2).
    pub(super) fn structured(&self, data: &str) -> String {
        let mut body = String::with_capacity(data.len() + 384);
        body.push_str(r#"{"specversion":"1.0""#);
        for (name, value) in self.each() {
            let _ = write!(body, r#","{}":{}"#, &name[3..], Value::from(value));
        }
        let _ = write!(
            body,
            r#","datacontenttype":"application/json","data":{data}}}"#
        );
        body
    }

    /// The attributes as headers (HTTP Protocol Binding 1.0.2); `data` is the body.
    pub(super) fn headers(&self) -> Result<HeaderMap, RenderError> {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert("ce-specversion", HeaderValue::from_static("1.0"));
        for (name, value) in self.each() {
            // Encoded values are visible ASCII.
            let value = HeaderValue::try_from(encoded(value)).map_err(|_| RenderError::Content)?;
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(headers)
    }
}

/// Control characters and noncharacters (CloudEvents 1.0.2, "Type System").
fn is_disallowed(c: char) -> bool {
    c.is_control() || (0xfdd0..=0xfdef).contains(&u32::from(c)) || u32::from(c) & 0xfffe == 0xfffe
}

/// A header's value: spaces, quotes, percent signs and everything beyond visible ASCII are
/// percent-encoded UTF-8 (HTTP Protocol Binding 1.0.2 section 3.1.3.2).
fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_graphic() && byte != b'"' && byte != b'%' {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}
