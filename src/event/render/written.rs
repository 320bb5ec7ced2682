//! A rendering as the store keeps it, so that an event which was attempted can be told in the same
//! words after the settings have changed.

use http::HeaderValue;
use serde::{Deserialize, Serialize};

use super::{Format, Payload, Redaction, Rendering, Template};
use crate::digest::{Context, Digest};

/// The settings of a rendering, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Identity of the text.
    pub digest: Digest,
    /// The settings.
    pub text: Box<str>,
}

/// The text's form. Never changed but by members that may be absent: stores hold it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    format: Word,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    template: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    content_type: Option<String>,
    payload: Amount,
    bytes_max: usize,
    redact: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    admin: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Standard,
    Cloudevents,
    CloudeventsBinary,
    Template,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Amount {
    Full,
    Patch,
    Thin,
}

impl Rendering {
    /// Its settings as text; `None` for the default, which needs none.
    #[must_use]
    #[expect(
        clippy::missing_panics_doc,
        reason = "texts and numbers are always JSON"
    )]
    pub fn written(&self) -> Option<Written> {
        if *self == Self::default() {
            return None;
        }
        let template = match &self.format {
            Format::Template(template) => Some(template),
            _ => None,
        };
        let content_type = template.and_then(|template| template.content_type().to_str().ok());
        let settings = Settings {
            format: match self.format {
                Format::Standard => Word::Standard,
                Format::CloudEvents => Word::Cloudevents,
                Format::CloudEventsBinary => Word::CloudeventsBinary,
                Format::Template(_) => Word::Template,
            },
            template: template.map(|template| template.source().to_owned()),
            content_type: content_type.map(str::to_owned),
            payload: match self.payload {
                Payload::Full => Amount::Full,
                Payload::Patch => Amount::Patch,
                Payload::Thin => Amount::Thin,
            },
            bytes_max: self.bytes_max,
            redact: self.redact.paths().map(str::to_owned).collect(),
            admin: self.admin.as_deref().map(str::to_owned),
        };
        let text = serde_json::to_string(&settings).expect("texts and numbers are JSON");
        Some(Written {
            digest: Context::new("doorbell 2026-11 rendering 1").digest(text.as_bytes()),
            text: text.into(),
        })
    }

    /// The rendering with these settings; `None` when they are none that this doorbell knows.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let settings: Settings = serde_json::from_str(text).ok()?;
        let mut redact = Redaction::default();
        for path in &settings.redact {
            redact.add(path).ok()?;
        }
        Some(Self {
            format: match settings.format {
                Word::Standard => Format::Standard,
                Word::Cloudevents => Format::CloudEvents,
                Word::CloudeventsBinary => Format::CloudEventsBinary,
                Word::Template => {
                    let content_type = HeaderValue::try_from(settings.content_type?).ok()?;
                    let template = Template::parse(&settings.template?, content_type);
                    Format::Template(template.ok()?)
                }
            },
            payload: match settings.payload {
                Amount::Full => Payload::Full,
                Amount::Patch => Payload::Patch,
                Amount::Thin => Payload::Thin,
            },
            bytes_max: settings.bytes_max,
            redact,
            admin: settings.admin.map(Into::into),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Format {
        let content_type = HeaderValue::from_static("application/json; charset=utf-8");
        let template = Template::parse("{\"a\": \"{{ id }}\"}\n", content_type);
        Format::Template(template.expect("a template"))
    }

    #[test]
    fn what_is_written_reads_back_and_has_a_digest_of_its_own() {
        let mut redact = Redaction::default();
        redact.add("$.data.current['é \"']").expect("a path");
        let usual = Rendering::default;
        let admin = Some("https://bell.example".into());
        let renderings = [
            Rendering {
                format: Format::CloudEvents,
                ..usual()
            },
            Rendering {
                format: Format::CloudEventsBinary,
                ..usual()
            },
            Rendering {
                format: template(),
                ..usual()
            },
            Rendering {
                payload: Payload::Patch,
                ..usual()
            },
            Rendering {
                payload: Payload::Thin,
                ..usual()
            },
            Rendering {
                bytes_max: 5,
                ..usual()
            },
            Rendering { redact, ..usual() },
            Rendering { admin, ..usual() },
        ];
        let mut digests = Vec::new();
        for rendering in renderings {
            let written = rendering.written().expect("it is not the default");
            assert_eq!(Rendering::read(&written.text), Some(rendering));
            digests.push(written.digest);
        }
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), 8);
        assert_eq!(usual().written(), None);
    }

    /// Stores hold this text: a later doorbell must read it.
    #[test]
    fn the_form_of_the_text_stays() {
        let text = r#"{"format":"template","template":"x","content_type":"text/plain","payload":"thin","bytes_max":9,"redact":["$.data.subject"],"admin":"https://b"}"#;
        let read = Rendering::read(text).expect("it is known");
        assert_eq!(
            read.written().map(|written| written.text),
            Some(text.into())
        );
        let least = r#"{"format":"cloudevents","payload":"full","bytes_max":9,"redact":[]}"#;
        assert!(Rendering::read(least).is_some());
        for unknown in [
            "",
            "{}",
            r#"{"format":"xml","payload":"full","bytes_max":9,"redact":[]}"#,
        ] {
            assert_eq!(Rendering::read(unknown), None, "{unknown}");
        }
    }
}
