//! A look as a person reads it.

use std::path::Path;
use std::time::Duration;

use super::advice::advice;
use super::{Known, Report, changes};
use crate::cli::paint::{Paint, clipped};
use crate::client::Validators;
use crate::config::Every;
use crate::poll::{Against, Outcome};

/// Items of a baseline that are shown.
const BASELINE_SHOWN: usize = 5;

/// Most characters of what an upstream says in a line.
const CHARACTERS_MAX: usize = 100;

/// The lines, without their ends.
pub(super) fn lines(report: &Report<'_>, paint: Paint) -> Vec<String> {
    let look = report.look;
    let url = clipped(&look.url, 1_000);
    let mut lines = vec![format!("{} {url}", paint.strong(&look.method))];
    let mut tell = |what: &str, text: String| lines.push(format!("  {what:<11} {text}"));
    if !report.partition.is_whole() {
        tell(
            "partition",
            clipped(report.partition.as_str(), CHARACTERS_MAX),
        );
    }
    if let Some(sent) = shown(&look.sent, ["If-None-Match", "If-Modified-Since"]) {
        tell("sent", sent);
    }
    tell("answer", answer(report, paint));
    if let Some(brought) = &look.brought {
        let none = || paint.faint("none: every poll transfers the whole answer");
        let received = shown(&brought.validators, ["ETag", "Last-Modified"]);
        tell("validators", received.unwrap_or_else(none));
        if report.source.rules.items.is_some() {
            tell("items", brought.walk.entries.len().to_string());
        }
    }
    tell("snapshot", snapshot(report, paint));
    lines.push(String::new());
    lines.extend(verdict(report, paint));
    lines.push(String::new());
    let mut tell = |what: &str, text: String| lines.push(format!("  {what:<11} {text}"));
    tell("next", next(report));
    for hint in report.hints {
        tell(&paint.fresh("hint       "), clipped(&hint.text, 400));
    }
    lines
}

fn answer(report: &Report<'_>, paint: Paint) -> String {
    let look = report.look;
    let took = time_text(look.took);
    if let Some(failure) = &look.failure {
        let reason = look.reason.unwrap_or_default();
        let message = clipped(&failure.message, 400);
        return paint.bad(format!("{message} ({reason})"));
    }
    let Some(brought) = &look.brought else {
        return format!("{}, nothing transferred, {took}", paint.good("304"));
    };
    let status = paint.good(brought.status);
    let content_type = brought.content_type.as_deref().unwrap_or("no content type");
    let content_type = clipped(content_type, CHARACTERS_MAX);
    let pages = match brought.bodies.len() {
        1 => String::new(),
        several => format!(" in {several} pages"),
    };
    let bytes = bytes_text(brought.bytes);
    format!("{status}, {bytes} of {content_type}{pages}, {took}")
}

fn snapshot(report: &Report<'_>, paint: Paint) -> String {
    let store = clipped(&file_name(&report.config.store.path), CHARACTERS_MAX);
    let peek = match report.known {
        Known::Unreadable(why) => {
            let why = clipped(why, CHARACTERS_MAX);
            return paint.bad(format!(
                "{store} could not be read, so nothing is compared: {why}"
            ));
        }
        Known::Nothing => return format!("none in {store}"),
        Known::Stored(peek) if !peek.has_snapshot => {
            return format!("none in {store}, no poll has succeeded yet");
        }
        Known::Stored(peek) => peek,
    };
    let age = peek.memory.succeeded_at.map(|at| report.now.since(at));
    let age = age.map_or_else(String::new, |age| {
        format!(", polled {} ago", time_text(age))
    });
    let items = match report.look.against {
        Against::Nothing => 0,
        Against::Snapshot(items) | Against::OtherRules(items) | Against::Replaced(items) => items,
    };
    let what = if report.source.rules.items.is_some() {
        counted(items, "item")
    } else {
        "the document".to_owned()
    };
    format!("{what}{age}, read from {store} without disturbing anybody")
}

/// What would ring.
fn verdict(report: &Report<'_>, paint: Paint) -> Vec<String> {
    let look = report.look;
    let mut lines = Vec::new();
    match look.against {
        Against::OtherRules(_) => lines.push(
            "  the rules changed since the last poll: the snapshot was read again under them"
                .into(),
        ),
        Against::Replaced(_) if look.brought.is_some() => lines.push(paint.fresh(
            "  the request or the rules changed since the last poll: a new baseline begins, and \
             rings nobody",
        )),
        _ => {}
    }
    match look.outcome {
        Outcome::Error => {
            let upstream = report.config.upstreams.get(&report.source.upstream);
            let advice = advice(report.source, upstream.map(AsRef::as_ref), look);
            lines.push(format!(
                "  {}",
                paint.bad("the poll fails: nothing is compared")
            ));
            lines.extend(advice.map(|advice| format!("  {advice}")));
        }
        Outcome::NotModified => {
            lines.push(format!("  {}", paint.good("not modified: nobody is rung")));
        }
        Outcome::Held => lines.push(format!("  {}", paint.fresh(held(report)))),
        Outcome::Unchanged | Outcome::Changed if look.events.is_empty() => match look.against {
            Against::Nothing => lines.extend(baseline(report, paint)),
            Against::Replaced(_) => {}
            _ => lines.push(format!(
                "  {}",
                paint.good("nothing changed: nobody is rung")
            )),
        },
        Outcome::Unchanged | Outcome::Changed => lines.extend(events(report, paint)),
    }
    if look.outcome != Outcome::Held && look.waiting.count() > 0 {
        lines.push(format!("  {}", paint.fresh(held(report))));
    }
    for announced in &look.announced {
        lines.push(format!("  {} would ring", paint.bad(announced)));
    }
    lines
}

fn events(report: &Report<'_>, paint: Paint) -> Vec<String> {
    let look = report.look;
    let heard_by = report.heard_by();
    let heard_by = if heard_by.is_empty() {
        paint.fresh("which no endpoint hears")
    } else {
        format!("heard by {}", heard_by.join(", "))
    };
    let first = match look.against {
        Against::Nothing => "the first poll, with `baseline = \"emit\"`: ",
        _ => "",
    };
    let head = format!("{} would ring", counted(look.events.len(), "event"));
    let counts = changes::counts(&look.events);
    let mut lines = vec![
        format!("  {first}{}: {counts}; {heard_by}", paint.strong(head)),
        String::new(),
    ];
    let source = report.source.name.as_str();
    lines.extend(changes::lines(source, &look.events, report.all, paint));
    lines
}

/// The first poll rings nobody; what it remembers.
fn baseline(report: &Report<'_>, paint: Paint) -> Vec<String> {
    let Some(brought) = &report.look.brought else {
        return Vec::new();
    };
    let entries = &brought.walk.entries;
    let first = "the first poll rings nobody: it remembers";
    if report.source.rules.items.is_none() {
        let text = format!("  {} the document", paint.fresh(first));
        return vec![text];
    }
    let text = format!(
        "{first} {}, and what differs from that rings",
        counted(entries.len(), "item")
    );
    let mut lines = vec![format!("  {}", paint.fresh(text))];
    let shown = if report.all {
        usize::MAX
    } else {
        BASELINE_SHOWN
    };
    for entry in entries.iter().take(shown) {
        let subject = paint.strong(clipped(&entry.subject, CHARACTERS_MAX));
        let body = paint.faint(clipped(brought.received(entry), CHARACTERS_MAX));
        lines.push(format!("    {subject} {body}"));
    }
    if entries.len() > shown {
        let more = entries.len() - shown;
        lines.push(format!("    {}", paint.faint(format!("… and {more} more"))));
    }
    lines
}

/// What waits to be seen again, and why.
fn held(report: &Report<'_>) -> String {
    let waiting = report.look.waiting;
    let counts = [
        (waiting.deleted, "deleted"),
        (waiting.updated, "updated"),
        (waiting.created, "created"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(n, what)| format!("{n} {what}")).collect();
    let counts = counts.join(", ");
    let why = match report.look.reason {
        Some("guard") => {
            "held by `guard` until the polls after it see the same: so many deletions are doubted"
        }
        _ => "wait until other polls have seen the same, as `confirm` says",
    };
    format!("{counts}: {why}")
}

/// What a running doorbell would do next.
fn next(report: &Report<'_>) -> String {
    let look = report.look;
    let every = match &report.source.every {
        Every::Fixed(period) => format!("every {}", time_text(*period)),
        Every::Adaptive(bounds) => {
            let (min, max) = (time_text(bounds.min), time_text(bounds.max));
            format!("every {min} to {max}, as it changes")
        }
        Every::Cron(cron) => format!("at {} of {}", cron.expression(), cron.zone().name()),
        Every::Manual => "only by hand".to_owned(),
    };
    let Some(next) = look.next else {
        return format!("{every}: a running doorbell never polls it by itself");
    };
    let wait = time_text(next.since(report.now));
    let why = match look.outcome {
        Outcome::Error => "tries again after a failure",
        Outcome::Held => "looks again",
        _ => "polls next",
    };
    let asked = look.wait.map_or_else(String::new, |wait| {
        format!("; the upstream asks for {} of peace", time_text(wait))
    });
    // When it is sooner depends on others, too.
    let latest = match (&report.source.every, look.outcome) {
        (Every::Adaptive(_), outcome) if outcome < Outcome::Held => " at the latest",
        _ => "",
    };
    format!("{every}: a running doorbell {why} in {wait}{latest}{asked}")
}

fn shown(validators: &Validators, names: [&str; 2]) -> Option<String> {
    let values = [&validators.etag, &validators.last_modified];
    let pairs = names.into_iter().zip(values);
    let pairs = pairs.filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let texts: Vec<String> = pairs
        .map(|(name, value)| format!("{name}: {}", clipped(value, CHARACTERS_MAX)))
        .collect();
    (!texts.is_empty()).then(|| texts.join("  "))
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// `1 item`, `2 items`.
fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// `12s`, `1h 2m`: what matters of a duration.
fn time_text(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        return format!("{} ms", duration.as_millis());
    }
    let seconds = Duration::from_secs(duration.as_secs());
    let text = humantime::format_duration(seconds).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// `512 bytes`, `12.3 KiB`.
fn bytes_text(bytes: usize) -> String {
    const KIB: f64 = 1024.0;
    match bytes as f64 {
        bytes if bytes < KIB => format!("{bytes} bytes"),
        bytes if bytes < KIB * KIB => format!("{:.1} KiB", bytes / KIB),
        bytes => format!("{:.1} MiB", bytes / KIB / KIB),
    }
}
