//! `GET /api/v1/coverage`: what callers repeat, and the source that would ask in their place.
//!
//! Decides what such a source is called and how it is written: as text that the configuration
//! accepts, which is asked first. Leaves what is repeated to [`crate::coverage`].

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{Parts, Problem};
use crate::config::{self, Config, Source};
use crate::coverage::{Repeated, Shared};
use crate::detect::learn::quoted;
use crate::name::Name;

/// GETs that are told of when the caller names no limit, and the most there are.
const LIMIT: usize = 50;
const LIMIT_MAX: usize = 1_000;

/// Longest word of a name that is made up.
const WORD_CHARS_MAX: usize = 40;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CoverageQuery {
    limit: Option<usize>,
}

pub(super) async fn coverage(
    State(parts): State<Parts>,
    query: Result<Query<CoverageQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let limit = query.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("`limit` is 1 to {LIMIT_MAX}")));
    }
    let config = parts.live.load_full();
    let now = parts.clock.now();
    Ok(Json(answer(&config, &parts.coverage, now, limit)).into_response())
}

fn answer(config: &Config, coverage: &Shared, now: crate::time::Timestamp, limit: usize) -> Value {
    let mut repeated = coverage.lock().report(now);
    let all = repeated.len();
    repeated.truncate(limit);
    let mut names: BTreeSet<String> = config.sources.keys().map(ToString::to_string).collect();
    let gets = repeated.iter().map(|repeated| {
        let (path, query) = split(&repeated.target);
        let covered = covering(config, repeated);
        let proposed = match covered {
            None if repeated.saved_a_day() > 0.0 => proposed(config, repeated, &mut names),
            _ => None,
        };
        json!({
            "route": repeated.route.as_str(),
            "upstream": repeated.upstream.as_str(),
            "path": path,
            "query": query,
            "calls": repeated.calls,
            "calls_error": repeated.calls_error,
            "observed_seconds": repeated.observed.as_secs_f64(),
            "calls_a_day": rounded(repeated.calls_a_day),
            "unchanged_share": repeated.unchanged,
            "every": period(repeated),
            "polls_a_day": rounded(repeated.polls_a_day),
            "saved_a_day": rounded(repeated.saved_a_day().max(0.0)),
            "covered_by": covered.map(|source| source.name.as_str()),
            "source": proposed,
        })
    });
    let gets: Vec<Value> = gets.collect();
    json!({ "gets": gets, "all": all })
}

/// The table of a source that asks for it: its name and its text. `None` where no configuration
/// can say so.
fn proposed(config: &Config, repeated: &Repeated, names: &mut BTreeSet<String>) -> Option<Value> {
    let (path, query) = split(&repeated.target);
    let name = free(&word(path), names)?;
    let (upstream, every) = (&repeated.upstream, period(repeated));
    let mut toml = format!("[sources.{name}]\nupstream = \"{upstream}\"\n");
    let _ = writeln!(toml, "path = {}", quoted(path));
    if let Some(query) = query {
        let _ = writeln!(toml, "query = {{ {} }}", parameters(query));
    }
    let _ = writeln!(toml, "every = \"{every}\"");
    let asks = |source: &Source| asks_for(source, &repeated.target);
    let is_accepted = check(config, upstream, &toml).is_some_and(|source| asks(&source));
    if !is_accepted {
        return None;
    }
    names.insert(name.clone());
    Some(json!({ "name": name, "toml": toml }))
}

/// The source that this text makes beside the upstream that it names.
fn check(config: &Config, upstream: &Name, toml: &str) -> Option<Source> {
    let url = &config.upstreams.get(upstream)?.url;
    let text = format!(
        "[upstreams.{upstream}]\nurl = {}\n{toml}",
        quoted(url.as_str())
    );
    let parsed = config::parse(&text, Path::new("coverage"), &|_| None).ok()?;
    let source = parsed.sources.into_values().next()?;
    Some(Source::clone(&source))
}

/// The configured source that asks for the same.
fn covering<'a>(config: &'a Config, repeated: &Repeated) -> Option<&'a Source> {
    let of_upstream = |source: &&Source| source.upstream == repeated.upstream;
    let mut sources = config.sources.values().map(AsRef::as_ref);
    sources.find(|source| of_upstream(source) && asks_for(source, &repeated.target))
}

/// Whether a source always asks for this target, and nothing else.
fn asks_for(source: &Source, target: &str) -> bool {
    let request = &source.request;
    let has_more = request.variables().next().is_some() || source.cursor.is_some();
    if request.method != http::Method::GET || has_more || !request.headers.is_empty() {
        return false;
    }
    let pairs = |query: &str| {
        let pairs = form_urlencoded::parse(query.as_bytes()).into_owned();
        let mut pairs: Vec<(String, String)> = pairs.collect();
        pairs.sort_unstable();
        pairs
    };
    let (path, query) = split(target);
    let own = request.query.iter();
    let mut own: Vec<(String, String)> = own
        .map(|(name, value)| (name.clone(), value.as_str().to_owned()))
        .collect();
    own.sort_unstable();
    request.path.as_str() == path && own == pairs(query.unwrap_or_default())
}

fn split(target: &str) -> (&str, Option<&str>) {
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

/// `"state" = "open", "label" = ["a", "b"]`.
fn parameters(query: &str) -> String {
    let mut parameters: Vec<(String, Vec<String>)> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let value = quoted(&value);
        match parameters.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => parameters.push((name.into_owned(), vec![value])),
        }
    }
    let written = parameters
        .iter()
        .map(|(name, values)| match values.as_slice() {
            [one] => format!("{} = {one}", quoted(name)),
            several => format!("{} = [{}]", quoted(name), several.join(", ")),
        });
    written.collect::<Vec<_>>().join(", ")
}

/// A name for what stands at `path`: its last two segments.
fn word(path: &str) -> String {
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    let last = segments[segments.len().saturating_sub(2)..].join("_");
    let letters = last.trim_end_matches(".json").to_ascii_lowercase();
    let letters = letters.chars();
    let plain = letters.map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    let word: String = plain.take(WORD_CHARS_MAX).collect();
    let word = word.trim_matches('_');
    match word.chars().next() {
        Some('a'..='z') if word != "doorbell" => word.to_owned(),
        Some(_) => format!("get_{word}"),
        None => "root".to_owned(),
    }
}

/// `word`, or with a number where that is taken.
fn free(word: &str, names: &BTreeSet<String>) -> Option<String> {
    let numbered = (2..=LIMIT_MAX + 1).map(|number| format!("{word}_{number}"));
    let mut names_to_try = std::iter::once(word.to_owned()).chain(numbered);
    names_to_try.find(|name| !names.contains(name) && Name::parse(name).is_ok())
}

fn period(repeated: &Repeated) -> String {
    humantime::format_duration(repeated.every).to_string()
}

/// A tenth of a call a day is precise enough.
fn rounded(count: f64) -> f64 {
    (count * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_and_free() {
        for (path, expected) in [
            ("/issues", "issues"),
            ("/repos/a/b/issues", "b_issues"),
            ("/db/t.json", "db_t"),
            ("/", "root"),
            ("/2026/11", "get_2026_11"),
            ("/doorbell", "get_doorbell"),
            ("/%C3%BC", "c3_bc"),
        ] {
            assert_eq!(word(path), expected);
            assert!(Name::parse(&word(path)).is_ok());
        }
        let taken = ["issues".to_owned(), "issues_2".to_owned()];
        let taken = taken.into_iter().collect();
        assert_eq!(free("issues", &taken).as_deref(), Some("issues_3"));
        assert_eq!(free("builds", &taken).as_deref(), Some("builds"));
    }
}
