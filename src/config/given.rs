//! URLs, secrets and headers: strings that may stand in the file, in the environment, or in a
//! file of their own, and that nobody is shown.
//!
//! Decides where such a string comes from and whether it fits where it will be sent. What it says
//! never enters a message, and what of it stands in the file is hidden.

use std::fs::File;
use std::io::Read as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::secret::Secret;

use super::reader::{Author, Keys};
use super::value::Value;
use super::words::shown;

/// Most bytes of a file that holds a URL or a secret; keys and tokens have some hundred.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Most headers of one table; servers begin to refuse at 100.
const HEADERS_MAX: usize = 64;

const ELSEWHERE: Keys = Keys {
    now: &["env", "file"],
    later: &[],
};

/// Headers that belong to one connection, or that the client writes itself.
///
/// Source: RFC 9110 section 7.6.1.
const OF_CONNECTION: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers of requests that change what the answer means; doorbell writes them where it wants.
const OF_CONDITION: [&str; 7] = [
    "accept-encoding",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "range",
];

/// Why a header may not be set here, if so.
pub(super) type Forbids = fn(&HeaderName) -> Option<&'static str>;

/// The text of a URL or secret; never empty.
pub(super) fn text(value: Value<'_>) -> Option<String> {
    value.hide();
    let is_of_file = value.context.author == Author::File;
    let text = if let Some(literal) = value.as_text() {
        literal.to_owned()
    } else if value.is_table() && !is_of_file {
        let message = format!(
            "`{}` is a string here: {{ env = … }} and {{ file = … }} are only read in the \
             configuration file",
            value.key
        );
        value.fault(message);
        return None;
    } else if value.is_table() {
        elsewhere(value)?
    } else {
        value.wrong_type(if is_of_file {
            "a string, { env = \"NAME\" } or { file = \"PATH\" }"
        } else {
            "a string"
        });
        return None;
    };
    if text.is_empty() {
        value.fault(format!("`{}` is empty", value.key));
        return None;
    }
    Some(text)
}

fn elsewhere(value: Value<'_>) -> Option<String> {
    let table = value.table(&ELSEWHERE)?;
    if table.has("env") == table.has("file") {
        let wanted = "{ env = \"NAME\" } or { file = \"PATH\" }";
        value.fault(format!("`{}` is a string, {wanted}", value.key));
        return None;
    }
    if let Some(env) = table.value("env") {
        let name = env.parsed("a name", Ok::<_, String>)?;
        let found = (value.context.environment)(name);
        if found.is_none() {
            let message = format!("the environment has no variable `{}`", shown(name));
            env.fault(message);
        }
        return found;
    }
    let path = table.value("file")?;
    let name = path.parsed("a path", Ok::<_, String>)?;
    read_file(value, name, FILE_BYTES_MAX)
        .map_err(|why| path.fault(format!("`{}` {why}", shown(name))))
        .ok()
}

/// The text of the file that `value` names, at most so many bytes.
pub(super) fn file(value: Value<'_>, bytes_max: u64) -> Option<String> {
    let name = value.parsed("a path", Ok::<_, String>)?;
    read_file(value, name, bytes_max)
        .map_err(|why| value.fault(format!("`{}` {why}", shown(name))))
        .ok()
}

fn read_file(value: Value<'_>, name: &str, bytes_max: u64) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let file = File::open(value.context.directory.join(name)).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("holds more than {bytes_max} bytes"));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| "is no UTF-8 text".to_owned())?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// A secret that goes into a header: visible ASCII without spaces.
pub(super) fn token(value: Value<'_>) -> Option<Secret> {
    let text = text(value)?;
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let key = value.key;
        value.fault(format!("`{key}` holds spaces or letters beyond ASCII"));
        return None;
    }
    Some(Secret::new(text))
}

/// A secret without control characters.
pub(super) fn secret(value: Value<'_>) -> Option<Secret> {
    let text = text(value)?;
    if text.chars().any(char::is_control) {
        value.fault(format!("`{}` holds control characters", value.key));
        return None;
    }
    Some(Secret::new(text))
}

/// An `http` or `https` URL with a host, without user and fragment.
pub(super) fn url(value: Value<'_>) -> Option<Url> {
    let text = text(value)?;
    let key = value.key;
    let wrong = |what: &str| {
        value.fault(format!("`{key}` {what}"));
        None
    };
    let Ok(url) = Url::parse(&text) else {
        return wrong("is no URL, write one like \"https://api.example\"");
    };
    // The parser takes `http:example` and `http:///example` for the same.
    let spelled = text.len() > url.scheme().len() + 3
        && text[url.scheme().len()..].starts_with("://")
        && !text[url.scheme().len() + 3..].starts_with('/');
    if !matches!(url.scheme(), "http" | "https") || !spelled || !url.has_host() {
        return wrong("begins with \"https://\" or \"http://\" and a host");
    }
    if text.trim() != text || text.contains(['\n', '\r', '\t']) {
        return wrong("holds spaces or line ends");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("holds no user or password, give them with `auth` or `headers`");
    }
    if url.fragment().is_some() {
        return wrong("holds no `#`, which is never sent");
    }
    Some(url)
}

/// A table of headers.
pub(super) fn headers(value: Value<'_>, forbids: Forbids) -> Option<HeaderMap> {
    value.hide();
    let entries = value.entries()?;
    if entries.len() > HEADERS_MAX {
        value.fault(format!("`{}` has at most {HEADERS_MAX}", value.key));
        return None;
    }
    let mut headers = HeaderMap::with_capacity(entries.len());
    for entry in entries {
        let name = match header_name(entry.name, forbids) {
            Ok(name) => name,
            Err(why) => {
                value.context.fault(entry.span, why);
                continue;
            }
        };
        let Some(text) = text(entry.value) else {
            continue;
        };
        let Some(content) = header_value(&text) else {
            let message = format!("the value of header `{name}` holds what no header may");
            entry.value.fault(message);
            continue;
        };
        if headers.insert(&name, content).is_some() {
            let message = format!("header `{name}` is given twice");
            value.context.fault(entry.span, message);
        }
    }
    Some(headers)
}

/// A header that may be set where `forbids` says.
pub(super) fn header_name(text: &str, forbids: Forbids) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| format!("\"{}\" is no header's name", shown(text)))?;
    match forbids(&name) {
        Some(why) => Err(format!("header `{name}` cannot be set: {why}")),
        None => Ok(name),
    }
}

/// Every configured value is taken for a secret: none is shown by `Debug`.
fn header_value(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    (text.trim() == text).then_some(value)
}

/// Whether a text can be a header's value as it is.
pub(super) fn fits_header(secret: &Secret) -> bool {
    header_value(secret.expose()).is_some()
}

/// What requests to an upstream may not set.
pub(super) fn forbidden_upstream(name: &HeaderName) -> Option<&'static str> {
    if OF_CONNECTION.contains(&name.as_str()) {
        return Some("it belongs to the connection");
    }
    OF_CONDITION
        .contains(&name.as_str())
        .then_some("doorbell asks for whole answers and compares them itself")
}

/// What webhooks may not set.
pub(super) fn forbidden_webhook(name: &HeaderName) -> Option<&'static str> {
    if OF_CONNECTION.contains(&name.as_str()) {
        return Some("it belongs to the connection");
    }
    let own = name.as_str().starts_with("webhook-") || name.as_str() == "content-type";
    own.then_some("Standard Webhooks says what it holds")
}
