//! `doorbell coverage`: asks a running doorbell what its callers repeat.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::CoverageArguments;
use super::paint::{Paint, clipped};
use crate::config::Config;

/// Longest that a doorbell may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Largest answer that is read.
const BYTES_MAX: usize = 4 << 20;

/// Most characters of a target.
const CHARACTERS_MAX: usize = 100;

/// Prints what callers of the doorbell that runs on `config` repeat, and the sources that would
/// ask in their place.
///
/// # Errors
/// No client can be built.
pub async fn coverage(config: &Config, arguments: &CoverageArguments) -> anyhow::Result<ExitCode> {
    let url = match &arguments.admin {
        Some(url) => url.clone(),
        None => Url::parse(&format!("http://{}", reachable(config.admin.listen)))?,
    };
    let answer = match ask(config, &url, arguments.limit).await? {
        Ok(answer) => answer,
        Err(why) => {
            eprintln!("doorbell: {why}");
            return Ok(ExitCode::FAILURE);
        }
    };
    if arguments.json {
        say!("{answer}");
    } else {
        for line in lines(&answer, Paint::stdout()) {
            say!("{line}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where one who listens at `address` is found from here.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn ask(config: &Config, url: &Url, limit: usize) -> anyhow::Result<Result<Value, String>> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .build()?;
    let base = url.as_str().trim_end_matches('/');
    let mut request = client.get(format!("{base}/api/v1/coverage?limit={limit}"));
    if let Some(token) = &config.admin.token {
        request = request.bearer_auth(token.expose());
    }
    let Ok(mut answer) = request.send().await else {
        return Ok(Err(format!(
            "no doorbell answers at {base}: is it running? `--admin URL` says where"
        )));
    };
    let status = answer.status();
    if !status.is_success() {
        return Ok(Err(format!(
            "the doorbell at {base} answers with status {status}"
        )));
    }
    let mut bytes = Vec::new();
    while let Ok(Some(piece)) = answer.chunk().await {
        bytes.extend_from_slice(&piece);
        if bytes.len() > BYTES_MAX {
            break;
        }
    }
    let read = serde_json::from_slice(&bytes);
    Ok(read.map_err(|_| format!("what answers at {base} is no doorbell")))
}

fn lines(answer: &Value, paint: Paint) -> Vec<String> {
    let gets = answer["gets"].as_array().map_or(&[][..], Vec::as_slice);
    if gets.is_empty() {
        return vec!["callers repeat no GET that a source could ask for in their place".to_owned()];
    }
    let saved: f64 = gets
        .iter()
        .filter_map(|get| get["saved_a_day"].as_f64())
        .sum();
    let mut lines = vec![
        format!(
            "callers repeat {} GETs; sources in their place would spare upstreams {} requests a day",
            answer["all"],
            paint.strong(format!("{saved:.0}"))
        ),
        String::new(),
        paint.faint(" calls a day  unchanged  saved a day"),
    ];
    lines.extend(gets.iter().map(|get| line(get, paint)));
    let tables = gets.iter().filter_map(|get| get["source"]["toml"].as_str());
    let tables: Vec<&str> = tables.collect();
    if !tables.is_empty() {
        lines.push(String::new());
        let comment = "# `doorbell poll NAME --suggest` then proposes `items`, `id` and the rest";
        lines.push(paint.faint(comment));
        for table in tables {
            let table = table.lines().map(|line| paint.good(clipped(line, 2_000)));
            lines.extend(table);
            lines.push(String::new());
        }
    }
    lines
}

fn line(get: &Value, paint: Paint) -> String {
    let number = |key: &str| get[key].as_f64().unwrap_or(0.0);
    let unchanged = get["unchanged_share"].as_f64();
    let unchanged = unchanged.map_or("?".to_owned(), |share| format!("{:.0} %", share * 100.0));
    let text = |key: &str| get[key].as_str().unwrap_or_default();
    let query = get["query"].as_str().map(|query| format!("?{query}"));
    let target = format!("{}{}", text("path"), query.unwrap_or_default());
    let target = paint.strong(clipped(&target, CHARACTERS_MAX));
    let covered = get["covered_by"].as_str();
    let how = match (covered, get["source"]["name"].as_str()) {
        (Some(source), _) => format!("already polled by source {source}"),
        (None, Some(name)) => format!("as source {name} every {}", text("every")),
        (None, None) => "no source would save anything".to_owned(),
    };
    format!(
        "{:>12.0}  {unchanged:>9}  {:>11.0}  {target} of {} {}",
        number("calls_a_day"),
        number("saved_a_day"),
        text("upstream"),
        paint.faint(how),
    )
}
