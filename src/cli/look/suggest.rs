//! `doorbell poll SOURCE --suggest`: rules learnt from a few answers, as TOML, and tried.
//!
//! Decides how often is asked, and tries what is suggested before it is shown. Leaves what answers
//! suggest to [`crate::detect::learn`].

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{PollArguments, partition, refused, upstream};
use crate::cli::paint::{Paint, clipped};
use crate::clock::Clock;
use crate::config::{self, Config, RequestBody, Source};
use crate::detect::learn::{Answer, Asked, Learnt, Line, learn, list};
use crate::detect::{Fields, Rules};
use crate::poll::{Looker, Sample};

/// A trial reads no more pages than it takes to see that they follow each other.
const TRIAL_PAGES_MAX: u32 = 3;

/// Most characters of a remark.
const CHARACTERS_MAX: usize = 500;

/// What is suggested, and how it came to be.
struct Suggestion {
    /// What stands before the keys, as TOML.
    head: String,
    lines: Vec<Line>,
    remarks: Vec<String>,
    asked: String,
    answers: usize,
    trial: Trial,
}

/// How a poll with the suggested rules went.
enum Trial {
    Read {
        items: usize,
        pages: usize,
    },
    /// It read as many pages as it may.
    ReadSome,
    Failed(String),
}

/// Learns rules for `source` of `config`; `head` is what stands before them.
///
/// # Errors
/// The upstream's client cannot be built.
pub(super) async fn suggest(
    config: &Config,
    source: &Arc<Source>,
    arguments: &PollArguments,
    head: String,
) -> anyhow::Result<ExitCode> {
    let part = match partition(source, &arguments.of) {
        Ok(part) => part,
        Err(why) => return Ok(refused(&why)),
    };
    let upstream = upstream(config, source)?;
    let looker = Looker {
        source,
        upstream: &upstream,
        partition: &part,
        now: Clock::system().now(),
    };
    let (samples, mut remarks) = match sample(&looker, arguments).await {
        Ok(sampled) => sampled,
        Err(why) if arguments.json => {
            say!(
                "{}",
                json!({ "source": source.name.as_str(), "error": why })
            );
            return Ok(ExitCode::FAILURE);
        }
        Err(why) => {
            let paint = Paint::stdout();
            let why = clipped(&why, CHARACTERS_MAX);
            say!("{} {why}", paint.bad("# nothing to learn from:"));
            return Ok(ExitCode::FAILURE);
        }
    };
    let learnt = learn_of(&samples);
    remarks.extend(learnt.remarks.iter().cloned());
    let mut lines = learnt.lines();
    if matches!(source.rules.fields, Fields::Only(_)) {
        lines.retain(|line| line.key != "ignore");
    }
    let mut trial = try_out(&looker, &lines).await;
    if let (Trial::Failed(why), true) = (&trial, learnt.paging.is_some()) {
        remarks.push(format!("`paginate` was tried and left out: {why}"));
        lines.retain(|line| line.key != "paginate");
        trial = try_out(&looker, &lines).await;
    }
    let suggestion = Suggestion {
        head,
        lines,
        remarks,
        asked: asked(&samples[0], &learnt),
        answers: samples.len(),
        trial,
    };
    if arguments.json {
        say!("{}", suggestion.json(source));
    } else {
        say!("{}", suggestion.text(Paint::stdout()).trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

/// A file with a source that asks for `url`, without rules: the name of the source, and the TOML.
pub(super) fn file_for(url: &url::Url) -> (String, String) {
    let word = |text: &str| {
        let letters = text.to_ascii_lowercase();
        let letters = letters
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
        let word: String = letters
            .collect::<String>()
            .trim_matches('_')
            .chars()
            .take(40)
            .collect();
        match word.chars().next() {
            Some('a'..='z') if word != "doorbell" => word,
            Some(_) => format!("api_{word}"),
            None => "api".to_owned(),
        }
    };
    let quoted = crate::detect::learn::quoted;
    let host = word(url.host_str().unwrap_or_default());
    let last = url
        .path_segments()
        .and_then(|mut segments| segments.rfind(|s| !s.is_empty()));
    let name = word(last.unwrap_or("items").trim_end_matches(".json"));
    let origin = url.origin().ascii_serialization();
    let mut file = format!(
        "[upstreams.{host}]\nurl = {}\n\n[sources.{name}]\nupstream = \"{host}\"\npath = {}\n",
        quoted(&origin),
        quoted(url.path()),
    );
    let mut query: Vec<(String, Vec<String>)> = Vec::new();
    for (key, value) in url.query_pairs() {
        let value = quoted(&value);
        match query.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) => values.push(value),
            None => query.push((key.into_owned(), vec![value])),
        }
    }
    if !query.is_empty() {
        let pairs = query.iter().map(|(key, values)| match values.as_slice() {
            [one] => format!("{} = {one}", quoted(key)),
            several => format!("{} = [{}]", quoted(key), several.join(", ")),
        });
        let pairs: Vec<String> = pairs.collect();
        let _ = writeln!(file, "query = {{ {} }}", pairs.join(", "));
    }
    file.push_str("every = \"5m\"\n");
    (name, file)
}

/// A few answers, and what kept them from being more.
async fn sample(
    looker: &Looker<'_>,
    arguments: &PollArguments,
) -> Result<(Vec<Sample>, Vec<String>), String> {
    let first = looker.sample().await.map_err(|error| error.to_string())?;
    let mut samples = vec![first];
    let mut remarks = Vec::new();
    for _ in 1..arguments.polls {
        let wait = samples.iter().filter_map(|sample| sample.wait).max();
        if let Some(wait) = wait.filter(|wait| *wait > arguments.apart) {
            let wait = humantime::format_duration(wait);
            remarks.push(format!(
                "the upstream asks for {wait} of peace, so no more was asked"
            ));
            break;
        }
        tokio::time::sleep(arguments.apart).await;
        match looker.sample().await {
            Ok(sample) => samples.push(sample),
            Err(error) => {
                remarks.push(format!("an answer was none: {error}"));
                break;
            }
        }
    }
    if samples.len() == 1 {
        remarks.push("one answer alone does not show what differs by itself".to_owned());
    }
    Ok((samples, remarks))
}

fn learn_of(samples: &[Sample]) -> Learnt {
    let answers: Vec<Answer<'_>> = samples
        .iter()
        .map(|sample| Answer {
            body: &sample.body,
            guide: &sample.guide,
        })
        .collect();
    let asked = Asked {
        query: &samples[0].query,
        sends_json: samples[0].sends_json,
    };
    learn(&answers, asked)
}

/// `GET https://…: 57 objects at $.issues, 12345 bytes`.
fn asked(sample: &Sample, learnt: &Learnt) -> String {
    let count = list(&sample.body).and_then(|list| Some(list.of(&sample.body)?.len()));
    let what = match (&learnt.list, count) {
        (Some(list), Some(count)) => format!("{count} elements at {}", list.path()),
        _ => "a document".to_owned(),
    };
    let (method, url) = (&sample.method, clipped(&sample.url, 1_000));
    format!("{method} {url}: {what}, {} bytes", sample.bytes)
}

/// Polls with these rules.
async fn try_out(looker: &Looker<'_>, lines: &[Line]) -> Trial {
    let source = match with(looker.source, lines) {
        Ok(source) => Arc::new(source),
        Err(why) => return Trial::Failed(why),
    };
    let looker = Looker {
        source: &source,
        ..*looker
    };
    let look = looker.look(None).await;
    match (look.brought, look.reason, look.failure) {
        (Some(brought), ..) => Trial::Read {
            items: brought.walk.entries.len(),
            pages: brought.bodies.len(),
        },
        (_, Some("pages_max"), _) => Trial::ReadSome,
        (.., failure) => Trial::Failed(failure.map_or_else(String::new, |why| why.to_string())),
    }
}

/// `source` with these rules in place of its own.
fn with(source: &Source, lines: &[Line]) -> Result<Source, String> {
    let sends_json = matches!(source.request.body, Some(RequestBody::Json(_)));
    let body = if sends_json {
        "method = \"POST\"\nbody = {}\n"
    } else {
        ""
    };
    let rules: Vec<String> = lines.iter().map(Line::rule).collect();
    let rules = rules.join("\n");
    let text = format!(
        "[upstreams.a]\nurl = \"http://a.invalid\"\n[sources.a]\nupstream = \"a\"\npath = \"\"\n\
         every = \"manual\"\n{body}{rules}"
    );
    let parsed = config::parse(&text, Path::new("suggestion"), &|_| None);
    let parsed = parsed.map_err(|faults| faults.to_string())?;
    let parsed = parsed.sources.values().next().ok_or("no source")?;
    let mut paginate = parsed.paginate.clone();
    if let Some(paginate) = &mut paginate {
        paginate.pages_max = TRIAL_PAGES_MAX;
    }
    let fields = match &source.rules.fields {
        only @ Fields::Only(_) => only.clone(),
        Fields::Ignore(_) => parsed.rules.fields.clone(),
    };
    Ok(Source {
        rules: Arc::new(Rules {
            fields,
            tombstone: source.rules.tombstone.clone(),
            ..Rules::clone(&parsed.rules)
        }),
        paginate,
        ..source.clone()
    })
}

impl Suggestion {
    /// TOML: all that is no rule is a comment.
    fn text(&self, paint: Paint) -> String {
        let comment = |text: &str| paint.faint(format!("# {}", clipped(text, CHARACTERS_MAX)));
        let mut text = String::new();
        let plural = if self.answers == 1 { "" } else { "s" };
        let learnt = format!(
            "learnt from {} answer{plural} to {}",
            self.answers, self.asked
        );
        let _ = writeln!(text, "{}", comment(&learnt));
        for remark in &self.remarks {
            let _ = writeln!(
                text,
                "{}",
                paint.fresh(format!("# {}", clipped(remark, CHARACTERS_MAX)))
            );
        }
        let _ = writeln!(text, "\n{}", self.head.trim_end());
        let rules: Vec<String> = self.lines.iter().map(Line::rule).collect();
        for (line, rule) in self.lines.iter().zip(rules) {
            let _ = writeln!(text, "{}", comment(&line.why));
            let _ = writeln!(text, "{}", paint.good(rule));
        }
        let tried = match &self.trial {
            Trial::Read { items, pages: 1 } => {
                format!("tried: a poll with this reads {items} items")
            }
            Trial::Read { items, pages } => {
                format!("tried: a poll with this reads {items} items on {pages} pages")
            }
            Trial::ReadSome => {
                format!("tried: a poll with this reads {TRIAL_PAGES_MAX} pages, and there are more")
            }
            Trial::Failed(why) => format!("tried: a poll with this fails: {why}"),
        };
        let _ = writeln!(text, "\n{}", comment(&tried));
        text
    }

    fn json(&self, source: &Source) -> Value {
        let toml: Vec<String> = self.lines.iter().map(Line::rule).collect();
        let toml = toml.join("\n");
        let rules: toml::Table = toml.parse().unwrap_or_default();
        let trial = match &self.trial {
            Trial::Read { items, pages } => {
                json!({ "items": items, "pages": pages, "whole": true })
            }
            Trial::ReadSome => json!({ "pages": TRIAL_PAGES_MAX, "whole": false }),
            Trial::Failed(why) => json!({ "error": why }),
        };
        let why = self
            .lines
            .iter()
            .map(|line| (line.key.to_owned(), Value::from(&*line.why)));
        json!({
            "source": source.name.as_str(),
            "answers": self.answers,
            "toml": format!("{}\n{toml}\n", self.head.trim_end()),
            "rules": rules,
            "why": why.collect::<serde_json::Map<_, _>>(),
            "remarks": self.remarks,
            "tried": trial,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_becomes_a_file_that_is_accepted_and_asks_for_it() {
        for (url, name) in [
            (
                "https://api.github.com/repos/a/b/issues?state=all&labels=x&labels=y%20z",
                "issues",
            ),
            (
                "http://127.0.0.1:8001/db/tickets.json?_shape=array",
                "tickets",
            ),
            ("https://doorbell.example/", "items"),
            ("https://example.com/2026/%C3%BC", "c3_bc"),
            ("https://example.com/doorbell", "api_doorbell"),
            ("https://example.com/\u{7f}a?q=\"x\"&a.b=1", "api_7fa"),
        ] {
            let url = url::Url::parse(url).expect("a URL");
            let (found, file) = file_for(&url);
            assert_eq!(found, name, "{url}");
            let config = config::parse(&file, Path::new("doorbell.toml"), &|_| None);
            let config = config.unwrap_or_else(|faults| panic!("{file}\n{faults}"));
            let source = config.sources.values().next().expect("a source");
            let upstream = config.upstreams.values().next().expect("an upstream");
            let mut asked = upstream
                .url
                .join(source.request.path.as_str())
                .expect("a URL");
            let query = source.request.query.iter();
            let query: Vec<(&str, &str)> = query.map(|(n, v)| (n.as_str(), v.as_str())).collect();
            if !query.is_empty() {
                asked.query_pairs_mut().extend_pairs(&query);
            }
            let pairs = |url: &url::Url| url.query_pairs().into_owned().collect::<Vec<_>>();
            assert_eq!(
                (asked.path(), pairs(&asked)),
                (url.path(), pairs(&url)),
                "{file}"
            );
        }
    }
}
