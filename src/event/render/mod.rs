//! How an event becomes the webhook of one endpoint.
//!
//! Decides formats, how much of an item is told, what is left out, and when a payload is too large.
//! A rendering is a pure function of the stored event and of these settings: the same bytes for
//! every attempt, also after a restart. Leaves ids, signing and sending to the deliverer.
//!
//! | file | what it decides |
//! | --- | --- |
//! | `cloud` | CloudEvents |
//! | `template` | bodies that people write themselves |
//! | `redact` | which nodes leave the payload |
//! | `written` | how the store keeps these settings |
//! | `data` | how members and nodes are taken out of JSON text |

mod cloud;
mod data;
mod redact;
mod template;
#[cfg(test)]
mod tests;
mod written;

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

pub use redact::Redaction;
pub use template::{Template, TemplateError};
pub use written::Written;

use super::{Event, Kind};
use cloud::Attributes;
use data::Data;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How the webhooks of an endpoint are written.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendering {
    /// What they look like.
    pub format: Format,
    /// How much of an item they tell.
    pub payload: Payload,
    /// Largest body; one that would be larger tells as little as [`Payload::Thin`].
    pub bytes_max: usize,
    /// What leaves the payload.
    pub redact: Redaction,
    /// Where this doorbell's admin API is for receivers, without a slash at its end; thin payloads
    /// link there.
    pub admin: Option<Box<str>>,
}

/// What a webhook looks like.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// Standard Webhooks: `type`, `timestamp`, `data`.
    Standard,
    /// CloudEvents, each in one JSON object, whose `data` is the payload's.
    CloudEvents,
    /// CloudEvents whose attributes are headers, and whose bodies are the payload's `data`. The
    /// signature does not cover those headers.
    CloudEventsBinary,
    /// What a template makes of it.
    Template(Template),
}

/// How much of an item is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// `current`, `previous` and `patch`.
    Full,
    /// `patch`; where there is none, because the item is new or differs in too much, `current`.
    Patch,
    /// None of them, and a link to where they are.
    Thin,
}

/// A webhook without its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// `Content-Type`.
    pub content_type: HeaderValue,
    /// Headers of the format.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
}

/// Why an event cannot be rendered. Trying again helps only with other settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The template cannot be filled.
    #[error("the template fails: {0}")]
    Template(String),
    /// The template's `Content-Type` is JSON, and what it wrote is none.
    #[error("the template wrote no JSON: {0}")]
    NotJson(String),
    /// The template wrote too much, also of a thin payload.
    #[error("the template wrote {0} bytes, more than `payload_bytes_max`")]
    TooLarge(usize),
    /// The stored event is no JSON.
    #[error("the stored event cannot be read")]
    Content,
}

impl Default for Rendering {
    fn default() -> Self {
        Self {
            format: Format::Standard,
            payload: Payload::Full,
            bytes_max: Self::BYTES_MAX,
            redact: Redaction::default(),
            admin: None,
        }
    }
}

impl Rendering {
    /// The default of [`Rendering::bytes_max`]: what the receivers of the large providers take.
    pub const BYTES_MAX: usize = 256 * 1024;

    /// The webhook that `event` is.
    ///
    /// # Errors
    /// [`RenderError`]; of formats other than templates only for events that a damaged store holds.
    pub fn render(&self, event: &Event) -> Result<Rendered, RenderError> {
        let rendered = self.at_most(event, self.payload)?;
        if rendered.body.len() <= self.bytes_max || self.payload == Payload::Thin {
            return self.fits(rendered);
        }
        self.fits(self.at_most(event, Payload::Thin)?)
    }

    /// Whether rendering takes no more than copying text.
    #[must_use]
    pub fn is_cheap(&self) -> bool {
        let is_text = !matches!(self.format, Format::Template(_)) && self.redact.is_empty();
        is_text && self.payload == Payload::Full
    }

    /// A thin payload has a bound of its own; what a template makes of it may have none.
    fn fits(&self, rendered: Rendered) -> Result<Rendered, RenderError> {
        let is_bounded = !matches!(self.format, Format::Template(_));
        if is_bounded || rendered.body.len() <= self.bytes_max {
            return Ok(rendered);
        }
        Err(RenderError::TooLarge(rendered.body.len()))
    }

    /// The webhook with no more than `payload` of the item.
    fn at_most(&self, event: &Event, payload: Payload) -> Result<Rendered, RenderError> {
        let is_whole = payload == Payload::Full && self.redact.is_empty();
        let (content_type, headers, body) = match &self.format {
            Format::Standard if is_whole => (JSON, HeaderMap::new(), event.body()),
            Format::Standard => {
                let data = self.data(event, payload)?.text();
                (JSON, HeaderMap::new(), event.body_with(&data))
            }
            Format::CloudEvents | Format::CloudEventsBinary => {
                let (subject, data) = self.subject_and_data(event, payload)?;
                let attributes = Attributes::of(event, subject.as_deref());
                if self.format == Format::CloudEvents {
                    let body = attributes.structured(&data);
                    (cloud::CONTENT_TYPE, HeaderMap::new(), body)
                } else {
                    (JSON, attributes.headers()?, data)
                }
            }
            Format::Template(template) => {
                let data = self.data(event, payload)?;
                let body = template.render(&event.id.to_string(), tree(event, &data))?;
                (template.content_type().clone(), HeaderMap::new(), body)
            }
        };
        Ok(Rendered {
            content_type,
            headers,
            body,
        })
    }

    /// What CloudEvents show: the subject unless it is redacted, and `data` as text.
    fn subject_and_data<'a>(
        &self,
        event: &'a Event,
        payload: Payload,
    ) -> Result<(Option<Cow<'a, str>>, String), RenderError> {
        let subject = Cow::Borrowed(&*event.subject);
        if payload == Payload::Full && self.redact.is_empty() {
            let mut data = String::with_capacity(event.content.len() + 160);
            data.push('{');
            event.write_data(&mut data);
            data.push('}');
            return Ok((Some(subject), data));
        }
        let data = self.data(event, payload)?;
        let is_shown = data.get("subject").is_some() || !Kind::OF_SOURCES.contains(&event.kind);
        Ok((is_shown.then_some(subject), data.text()))
    }

    /// `data` with no more than `payload` of the item, and without what is redacted.
    fn data(&self, event: &Event, payload: Payload) -> Result<Data, RenderError> {
        let mut data = Data::of(event)?;
        match payload {
            Payload::Full => {}
            Payload::Patch => {
                if data.get("patch").is_some() {
                    data.remove("current");
                }
                data.remove("previous");
            }
            Payload::Thin => {
                for name in ["current", "previous", "patch"] {
                    data.remove(name);
                }
                if let Some(admin) = &self.admin {
                    let link = format!("{admin}/api/v1/events/{}", event.id);
                    data.set("link", Value::from(link).to_string());
                }
            }
        }
        if !self.redact.is_empty() {
            self.redact.apply(&mut data);
        }
        Ok(data)
    }
}

/// The full payload as a tree.
pub(super) fn payload(event: &Event) -> Result<Value, RenderError> {
    Ok(tree(event, &Data::of(event)?))
}

fn tree(event: &Event, data: &Data) -> Value {
    json!({
        "type": event.event_type(),
        "timestamp": event.at.to_string(),
        "data": data.value(),
    })
}
