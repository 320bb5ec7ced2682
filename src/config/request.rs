//! What a source asks for: method, path, query, headers, body, and how its pages are walked.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, Method};
use serde_json::{Map, Number, Value as Json};
use toml::de::DeValue;

use crate::detect::Path;

use super::reader::{Keys, Table};
use super::source::json_path;
use super::template::{self, Template, Variable};
use super::value::Value;
use super::words::{self, shown};
use super::{Cursor, PageAt, PageBy, Paginate, Parameter, Request, RequestBody, given};

/// Most query parameters.
const QUERY_MAX: usize = 64;

/// Most bytes of a body: a search has some hundred.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Deepest nesting of a body.
const BODY_DEPTH_MAX: usize = 32;

/// Pages of one walk; at ten a second the most take three hours.
const PAGES: RangeInclusive<u32> = 1..=100_000;

/// Numbers of pages and items.
const NUMBER: RangeInclusive<u64> = 0..=1_000_000_000;
const LIMIT: RangeInclusive<u64> = 1..=1_000_000;

/// Statuses that may say that there is no such page.
const END_STATUS: RangeInclusive<u16> = 400..=499;

const PAGINATE: Keys = Keys {
    now: &[
        "by",
        "at",
        "header",
        "param",
        "into",
        "start",
        "limit",
        "end_status",
        "more",
        "pages_max",
    ],
    later: &[],
};

const CURSOR: Keys = Keys {
    now: &["from", "param", "into", "initial", "lookback"],
    later: &[],
};

/// How far back a cursor may ask again.
const LOOKBACK: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(366 * 24);

/// Which keys belong to which way of paging.
const BELONG: [(&str, &[&str]); 5] = [
    ("link", &["by", "pages_max"]),
    ("next", &["by", "at", "header", "more", "pages_max"]),
    (
        "cursor",
        &["by", "at", "header", "param", "into", "more", "pages_max"],
    ),
    (
        "page",
        &[
            "by",
            "param",
            "into",
            "start",
            "end_status",
            "more",
            "pages_max",
        ],
    ),
    (
        "offset",
        &["by", "param", "into", "limit", "more", "pages_max"],
    ),
];

/// What variables a source's texts may hold.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    /// Those of its partitions; `None` where nobody knows them.
    pub(super) partition: Option<&'a [&'a str]>,
    /// Whether it has a cursor.
    pub(super) cursor: bool,
}

/// Reads the request of a source; `of_upstream` are the headers that it is sent with anyway.
pub(super) fn request(table: &Table<'_>, scope: Scope<'_>) -> Option<Request> {
    let method = table.or("method", Method::GET, |v| v.parsed("a method", method));
    let path = table.required("path", "\"/…\"", |v| path(v, scope));
    let query = table.or("query", Vec::new(), |v| query(v, scope));
    let (headers, templated_headers) = table.or("headers", Default::default(), |v| {
        let headers = given::headers(v, given::forbidden_upstream)?;
        templated(v, headers, scope)
    });
    let is_json = headers.get(CONTENT_TYPE).map(|value| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next();
        let essence = essence.unwrap_or_default().trim_ascii_end();
        essence.to_ascii_lowercase().ends_with(b"json")
    });
    let body = table.optional("body", |v| body(v, is_json, scope));
    if table.has("body") && method == Method::GET {
        let message = "a GET has no body, write `method = \"POST\"`";
        table.context.absent(table.place("body"), message);
    }
    let request = Request {
        method,
        path: path?,
        query,
        headers,
        templated_headers,
        body,
    };
    for name in scope.partition.into_iter().flatten() {
        if template::is_common(name) {
            let message = format!("name `{name}` of `each` is taken, every source has it");
            table.context.fault(table.place("each"), message);
            continue;
        }
        let is_it = |variable: &Variable| *variable == Variable::Partition((*name).into());
        if !request.templates().flat_map(Template::variables).any(is_it) {
            let message =
                format!("name `{name}` of `each` is not asked for, write `{{{{{name}}}}}`");
            table.context.fault(table.place("path"), message);
        }
    }
    Some(request)
}

fn method(text: &str) -> Result<Method, String> {
    match words::method(text)?.as_str() {
        "GET" => Ok(Method::GET),
        "POST" => Ok(Method::POST),
        "QUERY" => Method::from_bytes(b"QUERY").map_err(|error| error.to_string()),
        other => Err(format!(
            "a poll asks and changes nothing, {other} may: write \"GET\", \"POST\" or \"QUERY\""
        )),
    }
}

fn templated_text(value: Value<'_>, scope: Scope<'_>) -> Option<Template> {
    let text = value.as_word()?;
    let Some(partition) = scope.partition else {
        return Some(Template::literal(&text));
    };
    let template = Template::parse(&text, partition)
        .map_err(|error| value.fault_at(error.position, format!("`{}`: {error}", value.key)))
        .ok()?;
    if !scope.cursor && template.variables().any(|v| *v == Variable::Cursor) {
        value.fault("`{{cursor}}` has no value, add `cursor = { from = \"$.…\" }`");
        return None;
    }
    Some(template)
}

fn path(value: Value<'_>, scope: Scope<'_>) -> Option<Template> {
    if value.as_text().is_none() {
        value.wrong_type("a path like \"/issues\"");
        return None;
    }
    let template = templated_text(value, scope)?;
    let plain = template.with("x");
    if plain.is_empty() || scope.partition.is_none() {
        return Some(template);
    }
    let checked = words::path(&plain).map_err(|why| {
        if plain.contains('?') {
            format!("{why}, write `query = {{ NAME = \"VALUE\" }}`")
        } else {
            why
        }
    });
    checked
        .map(|_| template)
        .map_err(|why| value.fault(format!("`{}`: {why}", value.key)))
        .ok()
}

/// Parameters in the order of the file; a list repeats its name.
fn query(value: Value<'_>, scope: Scope<'_>) -> Option<Vec<(String, Template)>> {
    value.hide();
    let mut query = Vec::new();
    for entry in value.entries()? {
        let values = if entry.value.is_list() {
            entry.value.list("a list", QUERY_MAX)?
        } else {
            vec![entry.value]
        };
        for value in values {
            query.push((entry.name.to_owned(), templated_text(value, scope)?));
        }
    }
    if query.len() > QUERY_MAX {
        value.fault(format!("`query` has at most {QUERY_MAX} parameters"));
    }
    Some(query)
}

/// Takes the headers with variables out of `headers`. Only what stands in the file itself has any:
/// a secret from elsewhere means what it says.
fn templated(
    value: Value<'_>,
    mut headers: HeaderMap,
    scope: Scope<'_>,
) -> Option<(HeaderMap, Vec<(HeaderName, Template)>)> {
    let mut templated = Vec::new();
    for entry in value.entries()? {
        let holds = |text: &str| text.contains("{{");
        let name = HeaderName::from_bytes(entry.name.as_bytes());
        if let (true, Ok(name)) = (entry.value.as_text().is_some_and(holds), name) {
            headers.remove(&name);
            templated.push((name, templated_text(entry.value, scope)?));
        }
    }
    Some((headers, templated))
}

/// A text, or a table that is sent as JSON. `is_json`: what the content type says, if there is one.
fn body(value: Value<'_>, is_json: Option<bool>, scope: Scope<'_>) -> Option<RequestBody> {
    value.hide();
    if value.is_table() {
        if is_json == Some(false) {
            value.fault("a table is sent as JSON, header `content-type` says otherwise");
            return None;
        }
        let text = json(value, 0)?.to_string();
        return bounded(value, &text, scope).map(RequestBody::Json);
    }
    let Some(text) = value.as_text() else {
        value.wrong_type("a string or a table");
        return None;
    };
    let looks_like_json = text.trim_start().starts_with(['{', '[']);
    let template = bounded(value, text, scope)?;
    match is_json {
        Some(false) => Some(RequestBody::Text(template)),
        None if !looks_like_json => {
            value.fault("a body has a type, add `headers = { content-type = \"…\" }`");
            None
        }
        Some(true) | None => {
            // With numbers for variables: where a string stands, digits may stand too.
            if let Err(error) = serde_json::from_str::<Json>(&template.with("0")) {
                value.fault(format!("`body` is no JSON: {error}"));
                return None;
            }
            Some(RequestBody::Json(template))
        }
    }
}

fn bounded(value: Value<'_>, text: &str, scope: Scope<'_>) -> Option<Template> {
    if text.len() > BODY_BYTES_MAX {
        value.fault(format!("`body` has at most {BODY_BYTES_MAX} bytes"));
        return None;
    }
    let Some(partition) = scope.partition else {
        return Some(Template::literal(text));
    };
    let template = Template::parse(text, partition)
        .map_err(|error| value.fault(format!("`body`: {error}")))
        .ok()?;
    if !scope.cursor && template.variables().any(|v| *v == Variable::Cursor) {
        value.fault("`{{cursor}}` has no value, add `cursor = { from = \"$.…\" }`");
        return None;
    }
    Some(template)
}

fn json(value: Value<'_>, depth: usize) -> Option<Json> {
    if depth > BODY_DEPTH_MAX {
        value.fault(format!("`body` is nested deeper than {BODY_DEPTH_MAX}"));
        return None;
    }
    match value.spanned.get_ref() {
        DeValue::String(text) => Some(Json::String(text.to_string())),
        DeValue::Boolean(boolean) => Some(Json::Bool(*boolean)),
        DeValue::Integer(_) => value
            .integer(&(i64::MIN..=i64::MAX))
            .map(|integer| Json::Number(Number::from(integer))),
        DeValue::Float(float) => {
            let number = float.as_str().parse().ok().and_then(Number::from_f64);
            if number.is_none() {
                value.fault("JSON has no such number");
            }
            number.map(Json::Number)
        }
        DeValue::Datetime(_) => {
            value.fault("JSON has no dates, write a string");
            None
        }
        DeValue::Array(_) => {
            let elements = value.list("a list", BODY_BYTES_MAX)?.into_iter();
            let elements: Option<Vec<Json>> = elements.map(|v| json(v, depth + 1)).collect();
            elements.map(Json::Array)
        }
        DeValue::Table(_) => {
            let entries = value.entries()?.into_iter();
            let members: Option<Map<String, Json>> = entries
                .map(|entry| Some((entry.name.to_owned(), json(entry.value, depth + 1)?)))
                .collect();
            members.map(Json::Object)
        }
    }
}

/// Reads where a listing goes on, for a source with `request`.
pub(super) fn cursor(
    value: Value<'_>,
    request: Option<&Request>,
    scope: Scope<'_>,
) -> Option<Cursor> {
    let table = value.table(&CURSOR)?;
    let from = table.required("from", "\"$.updated_at\"", one_value);
    let initial = table.optional("initial", |v| {
        let alone = Scope {
            cursor: false,
            ..scope
        };
        let template = templated_text(v, alone)?;
        let waits = |v: &Variable| matches!(v, Variable::LastSuccess | Variable::LastSuccessUnix);
        if template.variables().any(waits) {
            v.fault("there is no last success when `initial` is asked for, write `{{now}}`");
            return None;
        }
        Some(template)
    });
    let request = request?;
    let holds = |template: &Template| template.variables().any(|v| *v == Variable::Cursor);
    let parameter = if table.has("param") {
        if request.templates().any(holds) {
            let message = "`param` sends the cursor, `{{cursor}}` would send it twice";
            table.context.fault(table.place("param"), message);
            return None;
        }
        Some(parameter(&table, "\"since\"", Some(request))?)
    } else if request.templates().any(holds) {
        None
    } else {
        let message = "nobody is told how far it is: add `param = \"since\"`, or write \
                       `{{cursor}}` in the request";
        table.context.absent(table.home.clone(), message);
        return None;
    };
    // A query parameter or header can be left out, these cannot.
    let body = request.body.as_ref().map(RequestBody::template);
    let must_have = std::iter::once(&request.path).chain(body);
    if !table.has("initial") && must_have.into_iter().any(holds) {
        let message = "`{{cursor}}` has no value at first, add `initial = \"…\"`";
        table.context.absent(table.home.clone(), message);
    }
    Some(Cursor {
        from: from?,
        parameter,
        initial,
        lookback: table.optional("lookback", |v| v.duration(&LOOKBACK)),
    })
}

/// Reads how pages are walked, for a source with `request`.
pub(super) fn paginate(value: Value<'_>, request: Option<&Request>) -> Option<Paginate> {
    let table = value.table(&PAGINATE)?;
    let ways = BELONG.map(|(way, _)| (way, way));
    let by = table.required("by", "\"link\"", |v| v.one_of(&ways, &[]))?;
    let keys = BELONG.iter().find(|(way, _)| *way == by);
    let keys = keys.map_or(&[][..], |(_, keys)| keys);
    for key in PAGINATE.now {
        if table.has(key) && !keys.contains(key) {
            let message = format!("`{key}` is not for `by = \"{by}\"`");
            table.context.fault(table.place(key), message);
        }
    }
    let parameter = |example| parameter(&table, example, request);
    let by = match by {
        "link" => Some(PageBy::Link),
        "next" => at(&table).map(PageBy::Next),
        "cursor" => {
            let (at, parameter) = (at(&table), parameter("\"cursor\""));
            at.zip(parameter)
                .map(|(at, parameter)| PageBy::Cursor(at, parameter))
        }
        "page" => parameter("\"page\"").map(|parameter| PageBy::Page {
            parameter,
            start: table.or("start", 1, |v| v.integer(&NUMBER)),
            end_status: table.optional("end_status", |v| v.integer(&END_STATUS)),
        }),
        _ => {
            let limit = table.required("limit", "100", |v| v.integer(&LIMIT));
            let parameter = parameter("\"offset\"");
            parameter
                .zip(limit)
                .map(|(parameter, limit)| PageBy::Offset { parameter, limit })
        }
    };
    Some(Paginate {
        by: by?,
        more: table.optional("more", one_value),
        pages_max: table.or("pages_max", 100, |v| v.integer(&PAGES)),
    })
}

/// Where the next page is named: `at` or `header`.
fn at(table: &Table<'_>) -> Option<PageAt> {
    if table.has("at") == table.has("header") {
        let message = "needs where the next page is named: `at = \"$.…\"` or `header = \"…\"`";
        table.context.absent(table.home.clone(), message);
        return None;
    }
    let header = |v: Value<'_>| {
        v.parsed("a header's name", |text| {
            given::header_name(text, |_| None).map(PageAt::Header)
        })
    };
    table
        .optional("at", |v| one_value(v).map(PageAt::Body))
        .or_else(|| table.optional("header", header))
}

fn one_value(value: Value<'_>) -> Option<Path> {
    let path = json_path(value)?;
    if path.check_id().is_err() {
        let key = value.key;
        value.fault(format!(
            "`{key}` selects every element, not one value: write a path without `*`"
        ));
        return None;
    }
    Some(path)
}

/// What of the request names the page. It stands there once.
fn parameter(table: &Table<'_>, example: &str, request: Option<&Request>) -> Option<Parameter> {
    let into_body = table.or("into", false, |v| {
        v.one_of(&[("query", false), ("body", true)], &[])
    });
    let name = table.required("param", example, |v| {
        v.parsed("a parameter's name", |text| {
            let lacks_name = text.is_empty() || (into_body && text.split('.').any(str::is_empty));
            (!lacks_name)
                .then(|| text.to_owned())
                .ok_or("a parameter has a name")
        })
    })?;
    let request = request?;
    if into_body {
        if !matches!(request.body, Some(RequestBody::Json(_))) {
            let message = "`into = \"body\"` needs a JSON body, add `method` and `body = {}`";
            table.context.absent(table.place("into"), message);
            return None;
        }
        let names = name.split('.').map(str::to_owned);
        return Some(Parameter::Body(names.collect()));
    }
    if request.query.iter().any(|(known, _)| *known == name) {
        let message = format!("`{}` is given twice, here and by `query`", shown(&name));
        table.context.fault(table.place("param"), message);
        return None;
    }
    Some(Parameter::Query(name))
}
