//! `doorbell poll SOURCE`: what a poll would ring, without ringing anybody or keeping anything.
//!
//! Decides which partition is asked and whether a second look is worth a request. Leaves what
//! would ring to [`crate::poll`], and what differs by itself to [`crate::detect::learn`].

mod advice;
mod changes;
mod hints;
mod machine;
mod suggest;
mod text;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use url::Url;

use self::hints::Hint;
use super::paint::Paint;
use super::{BAD_CONFIG, PollArguments, read_config};
use crate::client::Resolver;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::event::Partition;
use crate::metrics::{Metrics, UpstreamMetrics};
use crate::name::Name;
use crate::poll::{Again, Look, Looker};
use crate::store::{Peek, Store};
use crate::time::Timestamp;
use crate::upstream::Upstream;

/// Between two looks: what differs after so short a time differs by itself.
const APART: Duration = Duration::from_secs(1);

/// A second look at more pages than this costs more than its hints are worth.
const PAGES_AGAIN_MAX: usize = 10;

/// All that is told.
struct Report<'a> {
    config: &'a Config,
    source: &'a config::Source,
    partition: &'a Partition,
    look: &'a Look,
    known: &'a Known,
    hints: &'a [Hint],
    now: Timestamp,
    /// Whether every event is shown.
    all: bool,
}

/// What there is to compare with.
enum Known {
    /// What the store knows.
    Stored(Box<Peek>),
    /// Nothing: there is no store, or nothing of this source in it.
    Nothing,
    /// The store could not be read.
    Unreadable(String),
}

/// Polls a source of the configuration at `path` and prints what was found, against the snapshot
/// if there is one; or what rules the answers suggest.
///
/// # Errors
/// The upstream's client cannot be built.
pub async fn look(path: &Path, arguments: &PollArguments) -> anyhow::Result<ExitCode> {
    if let Some(url) = &arguments.url {
        return suggest_for(url, arguments).await;
    }
    let config = match read_config(path) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let name = arguments.source.as_deref().unwrap_or_default();
    let Some(source) = config.sources.get(name) else {
        let names: Vec<&str> = config.sources.keys().map(Name::as_str).collect();
        let names = names.join(", ");
        return Ok(refused(&format!(
            "no source is named {name:?}; there are: {names}"
        )));
    };
    if arguments.suggest {
        let head = format!("# for [sources.{name}]");
        return suggest::suggest(&config, source, arguments, head).await;
    }
    show(&config, source, arguments).await
}

/// Learns rules for a URL that no configuration has yet.
async fn suggest_for(url: &Url, arguments: &PollArguments) -> anyhow::Result<ExitCode> {
    let has_credential = !url.username().is_empty() || url.password().is_some();
    if !matches!(url.scheme(), "http" | "https") || has_credential {
        let why = "`--url` wants a plain http or https URL; for what needs a credential, write the \
                   upstream with `auth` and the source, and poll that";
        return Ok(refused(why));
    }
    let (name, file) = suggest::file_for(url);
    let config = match config::parse(&file, Path::new("suggestion"), &|_| None) {
        Ok(config) => config,
        Err(faults) => return Ok(refused(&format!("this URL makes no source: {faults}"))),
    };
    let source = config.sources.get(name.as_str());
    let source = source.context("the file has this source")?;
    suggest::suggest(&config, source, arguments, file).await
}

fn refused(why: &str) -> ExitCode {
    eprintln!("doorbell: {why}");
    ExitCode::from(BAD_CONFIG)
}

async fn show(
    config: &Config,
    source: &Arc<config::Source>,
    arguments: &PollArguments,
) -> anyhow::Result<ExitCode> {
    let partition = match partition(source, &arguments.of) {
        Ok(partition) => partition,
        Err(why) => return Ok(refused(&why)),
    };
    let upstream = upstream(config, source)?;
    let known = match Store::peek(&config.store, &source.name, &partition).await {
        Ok(Some(peek)) => Known::Stored(Box::new(peek)),
        Ok(None) => Known::Nothing,
        Err(error) => Known::Unreadable(error.to_string()),
    };
    let now = Clock::system().now();
    let looker = Looker {
        source,
        upstream: &upstream,
        partition: &partition,
        now,
    };
    let look = looker.look(known.peek()).await;
    let again = if arguments.once {
        None
    } else {
        look_again(&looker, &look).await
    };
    let hints = hints::hints(source, &look, again.as_ref(), known.peek());
    let report = Report {
        config,
        source,
        partition: &partition,
        look: &look,
        known: &known,
        hints: &hints,
        now,
        all: arguments.all,
    };
    if arguments.json {
        say!("{}", machine::json(&report));
    } else {
        for line in text::lines(&report, Paint::stdout()) {
            say!("{line}");
        }
    }
    Ok(match look.failure {
        Some(_) => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    })
}

/// The upstream of `source`, asked by nobody else.
fn upstream(config: &Config, source: &config::Source) -> anyhow::Result<Upstream> {
    let settings = config.upstreams.get(&source.upstream);
    let settings = settings.context("the upstream is configured")?;
    // A budget begins without burst: a person would wait for what a running doorbell has.
    let settings = Arc::new(config::Upstream {
        budget: None,
        ..config::Upstream::clone(settings)
    });
    let metrics = UpstreamMetrics::new(&Metrics::new());
    let (resolver, clock) = (Resolver::system(), Clock::system());
    Upstream::new(settings, resolver, clock, &metrics).map_err(anyhow::Error::msg)
}

/// A second look, where one may tell something and the upstream has not asked for peace.
async fn look_again(looker: &Looker<'_>, look: &Look) -> Option<Again> {
    let brought = look.brought.as_ref()?;
    let asks_for_peace = look.wait.is_some_and(|wait| wait > APART);
    if asks_for_peace || brought.bodies.len() > PAGES_AGAIN_MAX {
        return None;
    }
    tokio::time::sleep(APART).await;
    looker.again(look).await
}

/// The partition that `of`, each `NAME=VALUE`, names; of names that it leaves out, the first value
/// of the configuration.
fn partition(source: &config::Source, of: &[String]) -> Result<Partition, String> {
    let name = &source.name;
    let Some(each) = &source.each else {
        return match of {
            [] => Ok(Partition::default()),
            _ => Err(format!("source {name} is not divided, leave `--of` out")),
        };
    };
    let mut values = BTreeMap::new();
    for pair in of {
        let parts = pair
            .split_once('=')
            .filter(|(known, _)| each.names().any(|n| n == *known));
        let Some((key, value)) = parts else {
            let names: Vec<String> = each.names().map(|n| format!("`--of {n}=…`")).collect();
            let names = names.join(" and ");
            return Err(format!(
                "{pair:?} names no part of source {name}: write {names}"
            ));
        };
        config::fit_partition(value).map_err(|why| format!("`--of {key}=…`: {why}"))?;
        let listed = each.listed.get(key);
        if listed.is_some_and(|listed| !listed.iter().any(|known| **known == *value)) {
            return Err(format!(
                "source {name} has no partition with {key} = {value:?}"
            ));
        }
        values.insert(key.to_owned(), value.to_owned());
    }
    for (key, listed) in &each.listed {
        if let Some(first) = listed.first() {
            values
                .entry(key.clone())
                .or_insert_with(|| first.to_string());
        }
    }
    match each.names().find(|key| !values.contains_key(*key)) {
        Some(key) => Err(format!(
            "source {name} has a partition for each {key}: say which, `--of {key}=…`"
        )),
        None => Ok(Partition::of(&values)),
    }
}

impl Known {
    fn peek(&self) -> Option<&Peek> {
        match self {
            Self::Stored(peek) => Some(peek),
            Self::Nothing | Self::Unreadable(_) => None,
        }
    }
}

impl Report<'_> {
    /// The endpoints that would hear any of what would ring.
    fn heard_by(&self) -> Vec<&str> {
        let source = self.source.name.as_str();
        let kinds = self
            .look
            .events
            .iter()
            .map(|event| event.kind.event_type(source));
        let mut types: Vec<String> = kinds.chain(self.look.announced.iter().cloned()).collect();
        types.sort_unstable();
        types.dedup();
        let endpoints = self.config.endpoints.values();
        endpoints
            .filter(|endpoint| types.iter().any(|of_event| endpoint.hears(of_event)))
            .map(|endpoint| endpoint.name.as_str())
            .collect()
    }
}
