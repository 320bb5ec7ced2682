//! Bodies that people write themselves: minijinja templates, for Slack, Teams, Discord and others.
//!
//! Decides what a template knows (`id`, and the payload's `type`, `timestamp`, `data`), how values
//! are written into it, and how much work one may make. The templates are the operator's, what they
//! are filled with is a stranger's: a value can never end the string it stands in.

use std::sync::Arc;
use std::{fmt, io};

use http::HeaderValue;
use minijinja::value::{Kwargs, Serde, Value as Filling};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::RenderError;

/// Most work of one rendering: 64 bytes of output or one step each. Writing out an item of 1 MiB
/// takes 262,144.
const FUEL: u64 = 1_000_000;

/// Most bytes of one value as JSON: as many as the largest body. A list may hold another many times
/// over, and that a third: only as text it is large.
const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most bytes of a template: one that makes a page of text has some thousand.
const SOURCE_BYTES_MAX: usize = 64 * 1024;

/// What a template knows beside what it sets itself.
const KNOWN: [&str; 4] = ["id", "type", "timestamp", "data"];

/// The one template of an environment.
const NAME: &str = "template";

/// A template, compiled.
#[derive(Clone)]
pub struct Template {
    source: Arc<str>,
    content_type: HeaderValue,
    environment: Arc<Environment<'static>>,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

/// How a value is written, by what the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    Json,
    Html,
    Other,
}

impl Template {
    /// Compiles a template for bodies of `content_type`.
    ///
    /// Where that is JSON, strings and numbers are written so that they can stand inside quotes,
    /// `"text": "{{ data.subject }} is {{ data.current.state }}"`, and `tojson` writes whole
    /// values, quotes included. Where it is HTML, values are escaped for it. Else they are as they
    /// are.
    ///
    /// # Errors
    /// [`TemplateError`]: what does not parse, and names of filters, tests, functions and variables
    /// that there are not, as far as can be told without an event.
    pub fn parse(source: &str, content_type: HeaderValue) -> Result<Self, TemplateError> {
        if source.len() > SOURCE_BYTES_MAX {
            let message = format!("a template has at most {SOURCE_BYTES_MAX} bytes");
            return Err(TemplateError(message));
        }
        let body = Body::of(&content_type);
        let template = Self {
            source: source.into(),
            content_type,
            environment: Arc::new(environment(source, body)?),
        };
        template.rehearse(body)?;
        Ok(template)
    }

    /// The `Content-Type` of its bodies.
    #[must_use]
    pub fn content_type(&self) -> &HeaderValue {
        &self.content_type
    }

    /// As it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The body of the event called `id` with this payload.
    pub(super) fn render(&self, id: &str, mut payload: Value) -> Result<String, RenderError> {
        payload["id"] = Value::from(id);
        let failed = |error: Error| RenderError::Template(told(&error));
        let template = self.environment.get_template(NAME).map_err(failed)?;
        let filling = Filling::from(Serde(&payload));
        let text = template.render(filling).map_err(failed)?;
        if Body::of(&self.content_type) == Body::Json {
            serde_json::from_str::<IgnoredAny>(&text)
                .map_err(|error| RenderError::NotJson(error.to_string()))?;
        }
        Ok(text)
    }

    /// Looks for names that there are not, with made-up events that have everything: whatever is
    /// asked of them is simply empty.
    fn rehearse(&self, body: Body) -> Result<(), TemplateError> {
        let template = self.environment.get_template(NAME);
        let template = template.map_err(|error| TemplateError(told(&error)))?;
        let mut unknown: Vec<String> = template.undeclared_variables(false).into_iter().collect();
        unknown.retain(|name| {
            let is_global = self.environment.globals().any(|(global, _)| global == name);
            !is_global && !KNOWN.contains(&name.as_str())
        });
        unknown.sort_unstable();
        if let Some(name) = unknown.first() {
            let message = format!("it knows `id`, `type`, `timestamp` and `data`, not `{name}`");
            return Err(TemplateError(message));
        }
        let mut lenient = environment(&self.source, body)?;
        lenient.set_undefined_behavior(UndefinedBehavior::Chainable);
        let lenient = lenient.get_template(NAME);
        let lenient = lenient.map_err(|error| TemplateError(told(&error)))?;
        for kind in ["created", "updated", "deleted", "changed"] {
            let payload = json!({ "id": "", "type": format!("rehearsal.{kind}"), "timestamp": "",
                "data": { "source": "rehearsal", "subject": "", "sequence": 1, "cause": "poll" }});
            let Err(error) = lenient.render(Filling::from(Serde(&payload))) else {
                continue;
            };
            if is_of_the_template(error.kind()) {
                return Err(TemplateError(told(&error)));
            }
        }
        Ok(())
    }
}

impl Body {
    fn of(content_type: &HeaderValue) -> Self {
        let text = content_type.to_str().unwrap_or_default();
        let essence = text.split(';').next().unwrap_or_default().trim();
        let essence = essence.to_ascii_lowercase();
        if essence == "application/json" || essence.ends_with("+json") {
            Self::Json
        } else if essence == "text/html" {
            Self::Html
        } else {
            Self::Other
        }
    }
}

fn environment(source: &str, body: Body) -> Result<Environment<'static>, TemplateError> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    // So that a fault names the expression that is not there.
    environment.set_debug(true);
    // `{% if data.current %}` may ask whether something is there; writing what is not is an error.
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    let escapes = match body {
        Body::Html => AutoEscape::Html,
        Body::Json | Body::Other => AutoEscape::None,
    };
    environment.set_auto_escape_callback(move |_| escapes.clone());
    environment.add_filter("tojson", tojson);
    if body == Body::Json {
        environment.set_formatter(write_inside_quotes);
        for name in ["e", "escape"] {
            environment.add_filter(name, escaped);
        }
    }
    let added = environment.add_template_owned(NAME, source.to_owned());
    added.map_err(|error| TemplateError(told(&error)))?;
    Ok(environment)
}

/// Writes a value so that it can stand between the quotes of a JSON string.
fn write_inside_quotes(
    out: &mut Output<'_>,
    _: &mut State<'_, '_>,
    value: &Filling,
) -> Result<(), Error> {
    if value.is_safe() {
        return write!(out, "{value}").map_err(Error::from);
    }
    let quoted = Value::from(text_of(value)?).to_string();
    out.write_str(&quoted[1..quoted.len() - 1])
        .map_err(Error::from)
}

/// A string as it is, nothing for what is not there, any other value as JSON.
fn text_of(value: &Filling) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.to_owned());
    }
    if value.is_undefined() {
        return Ok(String::new());
    }
    let mut room = Room(Vec::new());
    match serde_json::to_writer(&mut room, value) {
        Ok(()) => Ok(String::from_utf8_lossy(&room.0).into_owned()),
        Err(error) => {
            let detail = format!("a value cannot be written: {error}");
            Err(Error::new(ErrorKind::InvalidOperation, detail))
        }
    }
}

/// A value with its quotes. The engine's own filter writes all of it before it looks how much that is.
fn tojson(
    state: &State<'_, '_>,
    value: &Filling,
    indent: Option<Filling>,
    named: Kwargs,
) -> Result<Filling, Error> {
    let bytes = text_of(value)?.len() as u64;
    state.consume_fuel(bytes / 64)?;
    minijinja::filters::tojson(value, indent, named)
}

/// At most [`VALUE_BYTES_MAX`].
struct Room(Vec<u8>);

impl io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > VALUE_BYTES_MAX {
            return Err(io::Error::other("it is too large"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `&`, `<` and `>` as entities: what chats take for markup. The engine's own filter would vouch
/// for the result, and backslashes would get past [`write_inside_quotes`].
fn escaped(value: &Filling) -> Result<String, Error> {
    if value.is_undefined() {
        let detail = "what is to be escaped is not there";
        return Err(Error::new(ErrorKind::UndefinedError, detail));
    }
    let text = text_of(value)?;
    let text = text.replace('&', "&amp;");
    Ok(text.replace('<', "&lt;").replace('>', "&gt;"))
}

/// Whether a failed rehearsal tells of the template, whatever it is filled with.
fn is_of_the_template(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnknownFilter
            | ErrorKind::UnknownFunction
            | ErrorKind::UnknownTest
            | ErrorKind::TemplateNotFound
            | ErrorKind::SyntaxError
            | ErrorKind::TooManyArguments
            | ErrorKind::MissingArgument
    )
}

/// What went wrong, and in which line.
fn told(error: &Error) -> String {
    let what = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    match error.line() {
        Some(line) => format!("line {line}: {what}"),
        None => what,
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Template");
        shown.field("source", &self.source);
        shown.field("content_type", &self.content_type);
        shown.finish_non_exhaustive()
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.content_type == other.content_type
    }
}
