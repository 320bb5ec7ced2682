//! `doorbell send-test ENDPOINT`: one webhook, as it would be sent, and what came back.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::value::RawValue;

use super::paint::Paint;
use super::receiver::shortened;
use super::{BAD_CONFIG, SendTestArguments};
use crate::client::Resolver;
use crate::clock::Clock;
use crate::config::{Config, Endpoint};
use crate::deliver::{self, Tried};
use crate::event::{Event, Kind, Trial};
use crate::name::Name;

/// Sends a webhook to an endpoint of `config` and prints what it said.
///
/// # Errors
/// An item that cannot be read, or no client.
pub async fn send_test(config: &Config, arguments: &SendTestArguments) -> anyhow::Result<ExitCode> {
    let refuse = |why: String| {
        eprintln!("doorbell: {why}");
        Ok(ExitCode::from(BAD_CONFIG))
    };
    let name = &arguments.endpoint;
    let Some(endpoint) = config.endpoints.get(name.as_str()) else {
        let names: Vec<&str> = config.endpoints.keys().map(Name::as_str).collect();
        return refuse(format!(
            "no endpoint is named {name:?}; there are: {}",
            names.join(", ")
        ));
    };
    let item = match &arguments.item {
        Some(file) => {
            let text = super::verify::read(file)?;
            let item = serde_json::from_slice::<Box<RawValue>>(&text);
            Some(item.with_context(|| file.display().to_string())?)
        }
        None => None,
    };
    let empty = RawValue::from_string("{}".to_owned())?;
    let trial = match &arguments.event_type {
        None => Trial::Own,
        Some(event_type) => match Kind::of_type(event_type) {
            Some((source, kind)) if Kind::OF_SOURCES.contains(&kind) => Trial::Like {
                source,
                kind,
                item: item.as_deref().unwrap_or(&empty),
            },
            _ => return refuse(format!("no type like issues.updated: {event_type:?}")),
        },
    };
    let clock = Clock::system();
    let event = Event::trial(trial, name, clock.now(), fastrand::u64(..));
    let tried = deliver::try_endpoint(endpoint, &event, Resolver::system(), &clock).await;
    let tried = tried.map_err(anyhow::Error::msg)?;
    if arguments.json {
        say!("{}", serde_json::to_string(&tried)?);
    } else {
        print(endpoint, &tried, Paint::stdout());
    }
    Ok(if tried.error.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(endpoint: &Arc<Endpoint>, tried: &Tried, paint: Paint) {
    let Tried {
        id,
        event_type,
        duration_ms,
        ..
    } = tried;
    // Paths and queries of webhooks are often secrets.
    let origin = endpoint.url.origin().ascii_serialization();
    let answered = match (tried.status, tried.error) {
        (Some(status), None) => paint.good(format!("accepted: {status}")),
        (Some(status), Some(_)) => paint.bad(format!("refused: {status}")),
        (None, error) => paint.bad(format!("no answer: {}", error.unwrap_or("unknown"))),
    };
    say!(
        "{event_type} to {origin}  {answered}  {}",
        paint.faint(format!("{duration_ms} ms, {id}"))
    );
    for line in tried
        .answer
        .iter()
        .flat_map(|answer| answer.lines())
        .take(LINES_SHOWN)
    {
        say!("  {}", shortened(line));
    }
    if let Some(hint) = tried.error.and_then(hint) {
        say!("  {} {hint}", paint.fresh("hint:"));
    }
}

/// Most lines of an answer that are shown.
const LINES_SHOWN: usize = 10;

/// What may help.
fn hint(error: &str) -> Option<&'static str> {
    Some(match error {
        "private_address" => "it is no public address; `allow_private = true` would allow it",
        "connect" => "nobody listens there, its name is unknown, or its certificate is not trusted",
        "timeout" => "`timeout` is how long an answer may take",
        "render" => "a template may want an event like yours: --type issues.updated --item FILE",
        "status" => "3xx is not followed; `doorbell verify` tells why a signature is refused",
        _ => return None,
    })
}
