//! From a source's request, as it is configured, to what is asked now. Pure.
//!
//! Decides how a variable's value is escaped where it stands, so that no value of an upstream can
//! change what else is asked.

use std::fmt::Write as _;

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde_json::Value;
use url::{Url, form_urlencoded};

use crate::config::{self, Cursor, Parameter, RequestBody, Template, Values, Variable};
use crate::detect::Progress;
use crate::time::Timestamp;
use crate::upstream::{Failure, Reason, Request, Upstream};

/// What `{{last_success}}` is before the first success where it cannot be left out: in a path or
/// a body.
const NEVER: Timestamp = Timestamp::from_millis(0);

/// The request of `source` with `values`.
///
/// A query parameter or header whose variable has no value yet is left out; in a path or a body,
/// `{{last_success}}` is then 1970.
///
/// # Errors
/// [`Reason::Request`] when a value makes a path of other segments than were written, or what no
/// header may hold.
pub(super) fn render(
    upstream: &Upstream,
    source: &config::Source,
    values: &Values<'_>,
) -> Result<Request, Failure> {
    let asked = &source.request;
    let mut url = upstream.url(&path(&asked.path, values)?)?;
    let encoded =
        |template: &Template| template.render(values, |_, value, out| out.push_str(value));
    let mut query = asked.query.iter().peekable();
    if query.peek().is_some() {
        let pairs = query.filter_map(|(name, template)| Some((name, encoded(template)?)));
        url.query_pairs_mut().extend_pairs(pairs);
        if url.query() == Some("") {
            url.set_query(None);
        }
    }
    let mut headers = asked.headers.clone();
    for (name, template) in &asked.templated_headers {
        let Some(text) = encoded(template) else {
            continue;
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            unfit(format!(
                "the value of header {name} holds what no header may"
            ))
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let body = asked.body.as_ref().map(|body| text(body, values));
    let body = body.transpose()?.unwrap_or_default();
    if matches!(asked.body, Some(RequestBody::Json(_))) && !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let request = Request {
        method: asked.method.clone(),
        url,
        home: true,
        headers,
        body: Bytes::from(body),
        body_bytes_max: source.body_bytes_max,
    };
    let parameter = source
        .cursor
        .as_ref()
        .and_then(|cursor| cursor.parameter.as_ref());
    match parameter.zip(values.cursor) {
        Some((parameter, cursor)) => with(&request, parameter, &cursor.into())
            .map_err(|why| unfit(format!("the cursor is {why}"))),
        None => Ok(request),
    }
}

/// Where an incremental listing begins.
pub(super) fn initial(cursor: &Cursor, values: &Values<'_>) -> Option<Progress> {
    let initial = cursor.initial.as_ref()?;
    let text = initial.render(values, |_, value, out| out.push_str(value))?;
    Some(Progress {
        text: text.into(),
        is_initial: true,
    })
}

/// Values stay within their segment, but for those of partitions: their slashes are meant.
fn path(template: &Template, values: &Values<'_>) -> Result<String, Failure> {
    let values = with_past(values);
    let path = template.render(&values, |variable, value, out| match variable {
        Variable::Partition(_) => percent_encode(value, "/", out),
        _ => percent_encode(value, "", out),
    });
    let path = path.ok_or_else(|| unfit("a variable of the path has no value".to_owned()))?;
    let is_dots = |segment: &str| matches!(segment, "." | "..");
    let is_written = template.variables().next().is_none();
    if !is_written && path.split('/').any(is_dots) {
        let message = "a variable makes the path lead elsewhere: it is `.` or `..`";
        return Err(unfit(message.to_owned()));
    }
    Ok(path)
}

fn text(body: &RequestBody, values: &Values<'_>) -> Result<String, Failure> {
    let values = with_past(values);
    let text = match body {
        RequestBody::Json(template) => template.render(&values, |_, value, out| {
            let literal = Value::from(value).to_string();
            out.push_str(&literal[1..literal.len() - 1]);
        }),
        RequestBody::Text(template) => template.render(&values, |_, value, out| {
            out.push_str(value);
        }),
    };
    text.ok_or_else(|| unfit("a variable of the body has no value".to_owned()))
}

fn with_past<'a>(values: &Values<'a>) -> Values<'a> {
    Values {
        last_success: values.last_success.or(Some(NEVER)),
        ..*values
    }
}

/// All but the unreserved characters of RFC 3986 section 2.3, and those in `also`, as `%XY`.
fn percent_encode(text: &str, also: &str, out: &mut String) {
    for byte in text.bytes() {
        let is_plain = byte.is_ascii_alphanumeric()
            || b"-._~".contains(&byte)
            || also.as_bytes().contains(&byte);
        if is_plain {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

fn unfit(message: String) -> Failure {
    Failure::new(Reason::Request, message)
}

/// `request` with `name` as `parameter`.
///
/// # Errors
/// What `name` or the body is that it cannot be.
pub(super) fn with(
    request: &Request,
    parameter: &Parameter,
    name: &Value,
) -> Result<Request, &'static str> {
    let mut request = request.clone();
    match parameter {
        Parameter::Query(parameter) => {
            let text = match name {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                other => return Err(kind(other)),
            };
            set_query(&mut request.url, parameter, &text);
        }
        Parameter::Body(path) => {
            let body: Value =
                serde_json::from_slice(&request.body).map_err(|_| "for a body that is no JSON")?;
            let body = set_member(body, path, name).ok_or("for a body that has no such place")?;
            request.body = Bytes::from(body.to_string());
        }
    }
    Ok(request)
}

/// Sets a query parameter; all others stay as they are spelled.
fn set_query(url: &mut Url, name: &str, value: &str) {
    let is_other = |pair: &&str| {
        let mut parsed = form_urlencoded::parse(pair.as_bytes());
        !pair.is_empty() && parsed.next().is_none_or(|(known, _)| known != name)
    };
    let query = url.query().unwrap_or_default();
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(is_other)
        .map(str::to_owned)
        .collect();
    let ours = form_urlencoded::Serializer::new(String::new())
        .append_pair(name, value)
        .finish();
    pairs.push(ours);
    url.set_query(Some(&pairs.join("&")));
}

/// Sets a member of objects within objects; `None` when one of them is no object.
fn set_member(mut body: Value, path: &[String], value: &Value) -> Option<Value> {
    let mut at = &mut body;
    for name in path {
        at = at
            .as_object_mut()?
            .entry(name)
            .or_insert_with(|| Value::Object(serde_json::Map::new()));
    }
    *at = value.clone();
    Some(body)
}

/// What kind of value it is.
pub(super) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
