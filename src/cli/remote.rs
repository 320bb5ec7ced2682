//! The commands that ask a doorbell at work: `sources`, `endpoints`, `events`, `deliveries`, `replay`.
//!
//! Decides how answers of its admin API look to a person. Where that listens and what opens it
//! stands in the configuration file.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::paint::{self, Paint};
use super::receiver::{self, Ring, shortened};
use super::{DeliveriesArguments, EventsArguments, RemoteArguments, ReplayArguments};
use crate::client::{self, Resolver};
use crate::clock::Clock;
use crate::config::Config;
use crate::secret::Secret;

/// Longest that an answer may take: a step of a replay may wait for room and for attempts.
const TIMEOUT: Duration = Duration::from_mins(2);
/// Pause before a stream that broke off is taken up again.
const RECONNECT: Duration = Duration::from_secs(1);
/// Most bytes of one event of a stream.
const EVENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A doorbell's admin API.
struct Api {
    client: reqwest::Client,
    base: Url,
    token: Option<Secret>,
}

impl Api {
    fn of(config: &Config, arguments: &RemoteArguments) -> anyhow::Result<Self> {
        let mut listen = config.admin.listen;
        if listen.ip().is_unspecified() {
            listen.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        let base = match &arguments.url {
            Some(url) => url.clone(),
            None if listen.port() == 0 => {
                bail!("admin.listen takes any free port, so say which: --url http://127.0.0.1:PORT")
            }
            None => Url::parse(&format!("http://{listen}"))?,
        };
        let client = client::webhooks(true, Resolver::system()).map_err(anyhow::Error::msg)?;
        let token = config.admin.token.clone();
        Ok(Self {
            client,
            base,
            token,
        })
    }

    fn url(&self, path: &str, query: &[(&str, Option<String>)]) -> anyhow::Result<Url> {
        let base = self.base.as_str().trim_end_matches('/');
        let mut url = Url::parse(&format!("{base}/api/v1/{path}"))?;
        for (name, value) in query {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        Ok(url)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Response> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        };
        let origin = self.base.origin().ascii_serialization();
        let answer = request.send().await.map_err(reqwest::Error::without_url);
        let answer = answer.with_context(|| format!("no doorbell answers at {origin}"))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let problem = answer.bytes().await.unwrap_or_default();
        let problem: Value = serde_json::from_slice(&problem).unwrap_or_default();
        let detail = problem["detail"].as_str().map(shortened_detail);
        let hint = match status {
            StatusCode::UNAUTHORIZED => " (the token is `admin.token` of the configuration)",
            _ => "",
        };
        bail!("{}{hint}", detail.unwrap_or_else(|| status.to_string()))
    }

    async fn get(&self, path: &str, query: &[(&str, Option<String>)]) -> anyhow::Result<Value> {
        let request = self.client.request(Method::GET, self.url(path, query)?);
        let answer = self.send(request.timeout(TIMEOUT)).await?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self
            .client
            .post(self.url(path, &[])?)
            .body(body.to_string());
        let request = request.header("content-type", "application/json");
        let answer = self.send(request.timeout(TIMEOUT)).await?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }
}

/// What the API says, without what would move a person's cursor.
fn shortened_detail(detail: &str) -> String {
    detail.chars().filter(|c| !c.is_control()).collect()
}

/// Shows how the sources of a doorbell stand.
///
/// # Errors
/// What keeps it from answering.
pub async fn sources(config: &Config, arguments: &RemoteArguments) -> anyhow::Result<ExitCode> {
    let api = Api::of(config, arguments)?;
    let answer = api.get("sources", &[]).await?;
    if arguments.json {
        say!("{answer}");
        return Ok(ExitCode::SUCCESS);
    }
    let paint = Paint::stdout();
    for source in list(&answer, "sources") {
        let state = word(source, "state");
        let painted = match state.as_str() {
            "ok" => paint.good(&state),
            "failing" | "held" => paint.bad(&state),
            _ => paint.fresh(&state),
        };
        let items = source["items"].as_u64();
        let items = items.map_or("no snapshot yet".to_owned(), |n| format!("{n} items"));
        let next = source["next_due"].as_str();
        let next = next.map_or(String::new(), |at| format!(", next {at}"));
        let error = match &source["last_error"] {
            Value::Null => String::new(),
            error => format!("  {}", paint.bad(shortened(&error.to_string()))),
        };
        let name = paint.strong(word(source, "name"));
        say!(
            "{name}  {painted}  {}{error}",
            paint.faint(format!("{items}{next}"))
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows how the endpoints of a doorbell stand.
///
/// # Errors
/// What keeps it from answering.
pub async fn endpoints(config: &Config, arguments: &RemoteArguments) -> anyhow::Result<ExitCode> {
    let api = Api::of(config, arguments)?;
    let answer = api.get("endpoints", &[]).await?;
    if arguments.json {
        say!("{answer}");
        return Ok(ExitCode::SUCCESS);
    }
    let paint = Paint::stdout();
    for endpoint in list(&answer, "endpoints") {
        let is = |key: &str| endpoint[key] == json!(true);
        let state = if is("unusable") {
            paint.bad("unusable")
        } else if !is("enabled") {
            paint.bad("off")
        } else if is("paused") {
            paint.fresh("paused")
        } else {
            paint.good("on")
        };
        let pending = endpoint["pending"].as_u64().unwrap_or_default();
        let oldest = endpoint["oldest_pending_seconds"].as_u64();
        let oldest = oldest.map(|age| format!(", the oldest for {age} s"));
        let oldest = oldest.unwrap_or_default();
        let owner = match endpoint["owner"].as_str() {
            Some("api") => ", made over the API",
            _ => "",
        };
        say!(
            "{}  {state}  {}  {}",
            paint.strong(word(endpoint, "name")),
            word(endpoint, "url"),
            paint.faint(format!("{pending} pending{oldest}{owner}")),
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows events, and those to come.
///
/// # Errors
/// What keeps the doorbell from answering.
pub async fn events(config: &Config, arguments: &EventsArguments) -> anyhow::Result<ExitCode> {
    let api = Api::of(config, &arguments.remote)?;
    let shown = |event: &Value| {
        if arguments.remote.json {
            say!("{event}");
            return;
        }
        let ring = Ring {
            id: word(event, "id"),
            payload: event.clone(),
        };
        let at = shortened(event["timestamp"].as_str().unwrap_or_default());
        let paint = Paint::stdout();
        say!("{}  {}", paint.faint(at), receiver::line(&ring, paint));
    };
    let (source, event_type) = (arguments.source.clone(), arguments.event_type.clone());
    let mut after = arguments.after.clone();
    if !arguments.follow || after.is_some() {
        let mut left = arguments.limit;
        while left > 0 {
            let limit = left.min(1_000);
            let query = [
                ("source", source.clone()),
                ("type", event_type.clone()),
                ("after", after.clone()),
                ("limit", Some(limit.to_string())),
            ];
            let page = api.get("events", &query).await?;
            let events = list(&page, "events");
            events.iter().for_each(shown);
            after = Some(word(&page, "next"));
            if events.is_empty() {
                break;
            }
            left -= events.len().min(left);
        }
    }
    if arguments.follow {
        let query = [("source", source), ("type", event_type), ("after", after)];
        return follow(&api, &query, shown).await;
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows events as they happen, until somebody ends it. A doorbell that restarts is waited for.
async fn follow(
    api: &Api,
    query: &[(&str, Option<String>)],
    shown: impl Fn(&Value),
) -> anyhow::Result<ExitCode> {
    let (url, mut last) = (api.url("events/stream", query)?, None);
    loop {
        let mut request = api.client.get(url.clone());
        if let Some(last) = &last {
            request = request.header("last-event-id", last);
        }
        let mut answer = match api.send(request).await {
            Ok(answer) => answer,
            // One that never answered is none; one that did is coming back.
            Err(error) if last.is_none() => return Err(error),
            Err(_) => {
                tokio::time::sleep(RECONNECT).await;
                continue;
            }
        };
        let mut text = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            text.extend_from_slice(&chunk);
            while let Some(end) = text.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = text.drain(..end + 2).collect();
                if let Some(event) = event_of(&String::from_utf8_lossy(&block)) {
                    last = event["id"].as_str().map(str::to_owned).or(last);
                    shown(&event);
                }
            }
            if text.len() > EVENT_BYTES_MAX {
                bail!("an event of the stream is larger than {EVENT_BYTES_MAX} bytes");
            }
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// The event of one block of a stream; `None`: it has none, as those that keep it alive.
fn event_of(block: &str) -> Option<Value> {
    let lines = block.lines().filter_map(|line| line.strip_prefix("data:"));
    let lines = lines.map(|line| line.strip_prefix(' ').unwrap_or(line));
    let data: Vec<&str> = lines.collect();
    serde_json::from_str(&data.join("\n")).ok()
}

/// Shows deliveries.
///
/// # Errors
/// What keeps the doorbell from answering.
pub async fn deliveries(
    config: &Config,
    arguments: &DeliveriesArguments,
) -> anyhow::Result<ExitCode> {
    let api = Api::of(config, &arguments.remote)?;
    let (mut deliveries, mut after) = (Vec::new(), None);
    while deliveries.len() < arguments.limit {
        let limit = (arguments.limit - deliveries.len()).min(1_000);
        let query = [
            ("state", Some(arguments.state.clone())),
            ("endpoint", arguments.endpoint.clone()),
            ("after", after),
            ("limit", Some(limit.to_string())),
        ];
        let page = api.get("deliveries", &query).await?;
        deliveries.extend_from_slice(list(&page, "deliveries"));
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    if arguments.remote.json {
        say!("{}", json!({ "deliveries": deliveries, "next": after }));
        return Ok(ExitCode::SUCCESS);
    }
    let paint = Paint::stdout();
    for delivery in &deliveries {
        let state = word(delivery, "state");
        let painted = match state.as_str() {
            "delivered" => paint.good(&state),
            "dead" => paint.bad(&state),
            _ => paint.fresh(&state),
        };
        let attempts = delivery["attempts"].as_u64().unwrap_or_default();
        let due = delivery["due"].as_str();
        let due = due.map_or(String::new(), |at| format!(", next {at}"));
        say!(
            "{}  {}  {} {}  {painted}  {}",
            word(delivery, "id"),
            word(delivery, "endpoint"),
            word(delivery, "type"),
            paint.strong(word(delivery, "subject")),
            paint.faint(format!("{attempts} attempts{due}")),
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Rings settled deliveries once more, until all that were asked for are under way.
///
/// # Errors
/// What keeps the doorbell from answering, or a time that is none.
pub async fn replay(config: &Config, arguments: &ReplayArguments) -> anyhow::Result<ExitCode> {
    let api = Api::of(config, &arguments.remote)?;
    let mut ask = json!({ "endpoint": arguments.endpoint, "state": arguments.state });
    if !arguments.types.is_empty() {
        ask["types"] = json!(arguments.types);
    }
    for (key, text) in [("since", &arguments.since), ("until", &arguments.until)] {
        if let Some(text) = text {
            ask[key] = json!(moment(text).with_context(|| format!("--{key} {text}"))?);
        }
    }
    ask["dry_run"] = json!(true);
    let matching = api.post("replay", &ask).await?["matching"].clone();
    let matching = matching.as_u64().unwrap_or_default();
    let mut count = 0;
    if !arguments.dry_run {
        let progress = paint::to_terminal(&std::io::stderr());
        ask["dry_run"] = json!(false);
        loop {
            let told = api.post("replay", &ask).await?;
            count += told["replayed"].as_u64().unwrap_or_default();
            if progress {
                // Nobody is left to see it when that fails.
                let _ = write!(std::io::stderr(), "\r{count} of {matching} replayed");
            }
            if told["next"].is_null() {
                break;
            }
            ask["after"] = told["next"].clone();
        }
        if progress {
            let _ = writeln!(std::io::stderr());
        }
    }
    match (arguments.remote.json, arguments.dry_run) {
        (true, true) => say!("{}", json!({ "matching": matching })),
        (true, false) => say!("{}", json!({ "matching": matching, "replayed": count })),
        (false, true) => say!("{matching} deliveries would ring once more"),
        (false, false) => say!("{count} deliveries ring once more"),
    }
    Ok(ExitCode::SUCCESS)
}

/// A time as it is written, or so long ago.
fn moment(text: &str) -> anyhow::Result<String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(Clock::system().now().minus(ago).to_string());
    }
    let is_time = crate::time::Timestamp::parse(text).is_some();
    if !is_time {
        bail!("is no time like 2026-11-23T18:00:00Z, and no duration like 2h");
    }
    Ok(text.to_owned())
}

fn list<'a>(answer: &'a Value, key: &str) -> &'a [Value] {
    answer[key].as_array().map_or(&[], Vec::as_slice)
}

/// A string of an answer, fit for a terminal.
fn word(value: &Value, key: &str) -> String {
    paint::clipped(value[key].as_str().unwrap_or_default(), 120)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_read_block_by_block() {
        let block = "id: evt_1\nevent: a.created\ndata: {\"id\":\"evt_1\",\ndata: \"data\":{}}\n\n";
        assert_eq!(event_of(block), Some(json!({"id": "evt_1", "data": {}})));
        assert_eq!(event_of(": alive\n\n"), None);
    }

    #[test]
    fn a_moment_is_a_time_or_so_long_ago() {
        let time = "2026-11-23T18:00:00Z";
        assert_eq!(moment(time).expect("a time"), time);
        assert!(moment("2h").is_ok_and(|text| text.ends_with('Z')));
        assert!(moment("yesterday").is_err());
    }
}
