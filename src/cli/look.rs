//! `doorbell poll SOURCE`: what a poll would ring, without ringing anybody or keeping anything.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::BAD_CONFIG;
use super::paint::Paint;
use super::receiver::{patch, shortened};
use crate::client::Resolver;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::detect;
use crate::metrics::{Metrics, UpstreamMetrics};
use crate::name::Name;
use crate::poll::{self, Look};
use crate::store::{Peek, Store};
use crate::upstream::Upstream;

/// Most items or changes that are shown to a person.
const SHOWN: usize = 20;

/// Polls `source` of `config` once and prints what was found, against the snapshot if there is one.
///
/// # Errors
/// No such source, no upstream, or a store that cannot be read.
pub async fn look(config: &Config, source: &str, json: bool) -> anyhow::Result<ExitCode> {
    let Some(source) = config.sources.get(source) else {
        let names: Vec<&str> = config.sources.keys().map(Name::as_str).collect();
        eprintln!(
            "doorbell: no source is named {source:?}; there are: {}",
            names.join(", ")
        );
        return Ok(ExitCode::from(BAD_CONFIG));
    };
    let settings = config
        .upstreams
        .get(&source.upstream)
        .context("the upstream is configured")?;
    let metrics = UpstreamMetrics::new(&Metrics::new());
    let upstream = Upstream::new(
        settings.clone(),
        Resolver::system(),
        Clock::system(),
        &metrics,
    );
    let upstream = upstream.map_err(anyhow::Error::msg)?;
    let known = Store::peek(&config.store, &source.name).await?;
    let paint = Paint::stdout();
    match poll::look(source, &upstream, Clock::system().now()).await {
        Ok(look) if json => say!("{}", as_json(source, &look, known.as_ref())),
        Ok(look) => print(source, &look, known.as_ref(), paint),
        Err(error) if json => {
            say!(
                "{}",
                json!({ "source": source.name.as_str(), "error": error.to_string() })
            );
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => {
            say!("{} {error}", paint.bad("failed:"));
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One event that a poll would make.
struct Would<'a> {
    event_type: String,
    subject: &'a str,
    previous: Value,
    current: Value,
    patch: Vec<Value>,
}

/// What would ring: all of it, in the order of a poll.
fn would<'a>(source: &config::Source, look: &'a Look, known: &'a Peek) -> Vec<Would<'a>> {
    let entries = &look.walk.entries;
    let differences = detect::diff(&known.items, entries);
    let document = source.rules.items.is_none();
    let suffix = |of_item| if document { "changed" } else { of_item };
    let event_type = |of_item| format!("{}.{}", source.name, suffix(of_item));
    let before = |at: usize| parsed(known.bodies.get(at).and_then(Option::as_deref));
    let mut removed = differences.buried;
    if source.deletes == config::Deletes::Full {
        removed.extend(differences.missing);
        removed.sort_unstable();
    }
    let deleted = removed.into_iter().map(|at| Would {
        event_type: event_type("deleted"),
        subject: &known.items[at].subject,
        previous: before(at),
        current: Value::Null,
        patch: Vec::new(),
    });
    let mut all: Vec<Would<'_>> = deleted.collect();
    all.extend(differences.updated.iter().map(|&(old, new)| {
        let previous = known
            .bodies
            .get(old)
            .and_then(Option::as_deref)
            .unwrap_or("null");
        let current = look.received(&entries[new]);
        let patch = detect::patch(previous, current, &source.rules);
        let patch = patch.and_then(|patch| serde_json::from_str(patch.get()).ok());
        Would {
            event_type: event_type("updated"),
            subject: &entries[new].subject,
            previous: parsed(Some(previous)),
            current: parsed(Some(current)),
            patch: patch.unwrap_or_default(),
        }
    }));
    all.extend(differences.created.iter().map(|&at| Would {
        event_type: event_type("created"),
        subject: &entries[at].subject,
        previous: Value::Null,
        current: parsed(Some(look.received(&entries[at]))),
        patch: Vec::new(),
    }));
    all
}

fn print(source: &config::Source, look: &Look, known: Option<&Peek>, paint: Paint) {
    say!("{} {}", paint.strong(&look.method), look.url);
    let content_type = look.content_type.as_deref().unwrap_or("no content type");
    let pages = match look.bodies.len() {
        1 => String::new(),
        several => format!(" in {several} pages"),
    };
    say!("answer    {} bytes of {content_type}{pages}", look.bytes());
    let validators = [
        ("ETag", &look.validators.etag),
        ("Last-Modified", &look.validators.last_modified),
    ];
    let shown = validators
        .iter()
        .filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let shown: Vec<String> = shown
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    let none = || paint.faint("none: every poll transfers the whole answer");
    say!(
        "validator {}",
        if shown.is_empty() {
            none()
        } else {
            shown.join("  ")
        }
    );
    say!("items     {}", look.walk.entries.len());
    let Some(known) = known else {
        let baseline = match source.baseline {
            config::Baseline::Silent => "the first poll rings nobody, it remembers:",
            config::Baseline::Emit => "the first poll rings each of these as created:",
        };
        say!("snapshot  {} {baseline}\n", paint.fresh("none yet;"));
        for entry in look.walk.entries.iter().take(SHOWN) {
            let body = paint.faint(shortened(look.received(entry)));
            say!("  {} {body}", paint.strong(shortened(&entry.subject)));
        }
        return more(look.walk.entries.len());
    };
    say!("snapshot  {} items\n", known.items.len());
    let would = would(source, look, known);
    if would.is_empty() {
        return say!("{}", paint.good("nothing changed: nobody would be rung"));
    }
    for event in would.iter().take(SHOWN) {
        say!("  {}", line(event, paint));
    }
    more(would.len());
}

fn line(event: &Would<'_>, paint: Paint) -> String {
    let subject = paint.strong(shortened(event.subject));
    match (&event.previous, &event.current) {
        (previous, Value::Null) => {
            let body = paint.bad(shortened(&previous.to_string()));
            format!("{} {subject}  {body}", paint.bad(&event.event_type))
        }
        (Value::Null, current) => {
            let body = paint.good(shortened(&current.to_string()));
            format!("{} {subject}  {body}", paint.good(&event.event_type))
        }
        (previous, _) => {
            let changes = patch(&event.patch, previous, paint);
            format!("{} {subject}  {changes}", paint.fresh(&event.event_type))
        }
    }
}

fn more(all: usize) {
    if all > SHOWN {
        say!("  … and {} more", all - SHOWN);
    }
}

fn as_json(source: &config::Source, look: &Look, known: Option<&Peek>) -> Value {
    let nothing = Peek::default();
    let events = would(source, look, known.unwrap_or(&nothing))
        .into_iter()
        .map(|event| {
            json!({
                "type": event.event_type, "subject": event.subject,
                "previous": event.previous, "current": event.current, "patch": event.patch,
            })
        });
    json!({
        "source": source.name.as_str(),
        "method": look.method,
        "url": look.url,
        "content_type": look.content_type,
        "bytes": look.bytes(),
        "pages": look.bodies.len(),
        "etag": look.validators.etag,
        "last_modified": look.validators.last_modified,
        "items": look.walk.entries.len(),
        "snapshot": known.map(|known| known.items.len()),
        "would_ring": known.is_some() || source.baseline == config::Baseline::Emit,
        "events": events.collect::<Vec<_>>(),
    })
}

fn parsed(body: Option<&str>) -> Value {
    body.and_then(|body| serde_json::from_str(body).ok())
        .unwrap_or_default()
}
