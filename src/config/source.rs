//! `[sources.NAME]`: what is watched, when, and what of it counts.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::detect::{Fields, Filter, Format, Path, Rules, Selector, UNSETTLED_MAX};
use crate::event::ORDINAL_MAX;
use crate::name::Name;
use crate::schedule::adaptive::Bounds;
use crate::schedule::{Cron, CronError, Zone};

use super::declared::Declared;
use super::joint;
use super::reader::{Keys, Table};
use super::request::Scope;
use super::value::Value;
use super::words::{self, shown};
use super::{
    Baseline, Confirm, Cursor, Deletes, Each, Every, Keep, Paginate, Request, Source, Variable,
    each, request,
};

/// Bounds of `every`: ten polls a second are a load test, once a year is no watch.
const EVERY: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(366 * 24);

/// Bounds of a body that is held in memory.
const BODY_BYTES: RangeInclusive<u64> = 1 << 10..=1 << 30;

/// Items of one walk: each may ring, and a commit numbers at most so many events.
const ITEMS: RangeInclusive<usize> = 1..=ORDINAL_MAX as usize;

/// Bounds of `stale_after`.
const STALE_AFTER: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(366 * 24);

/// Bounds of `forget`.
const FORGET: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(3660 * 24);

/// Bounds of `confirm`: more fetches than an item that never settles gets would change nothing.
const CONFIRM_POLLS: RangeInclusive<u32> = 2..=UNSETTLED_MAX;
const CONFIRM_AFTER: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(24);
const CONFIRM_AFTER_DEFAULT: Duration = Duration::from_secs(2);

/// Consecutive failures before it is told.
const FAILING_AFTER: RangeInclusive<u32> = 1..=1_000;

/// Most paths of a list, each looked for in every item; most parts of an id.
const PATHS_MAX: usize = 64;
const ID_PATHS_MAX: usize = 8;

pub(super) const SOURCE: Keys = Keys {
    now: &[
        "upstream",
        "each",
        "method",
        "path",
        "query",
        "headers",
        "body",
        "cursor",
        "paginate",
        "every",
        "observe",
        "on_write",
        "serve",
        "respect_cache",
        "format",
        "items",
        "id",
        "ignore",
        "only",
        "unordered",
        "deletes",
        "forget",
        "items_max",
        "baseline",
        "confirm",
        "guard",
        "stale_after",
        "failing_after",
        "keep",
        "body_bytes_max",
    ],
    later: &[],
};
const TIMES: Keys = Keys {
    now: &["cron", "timezone", "min", "max"],
    later: &[],
};
const DELETES: Keys = Keys {
    now: &["tombstone"],
    later: &[],
};
const CONFIRM: Keys = Keys {
    now: &["polls", "after"],
    later: &[],
};
const GUARD: Keys = Keys {
    now: &["deletes_max_ratio"],
    later: &[],
};

pub(super) fn source(name: &Name, table: &Table<'_>, declared: &Declared<'_>) -> Option<Source> {
    let upstream = table.required("upstream", "\"NAME\"", |v| upstream_name(v, declared));
    let asked = asked(name, table, declared);
    let every = table.required("every", "\"30s\"", every);
    let format = table.or("format", None, |v| v.one_of(&formats(), &[]));
    let (deletes, tombstone) = table.or("deletes", (Deletes::Never, None), deletes);
    if deletes != Deletes::Never && !has_items(table) {
        let message = "`deletes` is about items, add `items` and `id`";
        table.context.absent(table.place("deletes"), message);
    }
    let baselines = [("silent", Baseline::Silent), ("emit", Baseline::Emit)];
    let keeps = [("bodies", Keep::Bodies), ("digests", Keep::Digests)];
    let body_bytes = table.or("body_bytes_max", 16 << 20, |v| v.size(&BODY_BYTES));
    let forget = table.optional("forget", |v| v.duration(&FORGET));
    if forget.is_some() && !has_items(table) {
        let message = "`forget` is about items, add `items` and `id`";
        table.context.absent(table.place("forget"), message);
    }
    if forget.is_some() && deletes == Deletes::Full {
        let message = "`deletes = \"full\"` leaves nothing to forget: what is missing was deleted";
        table.context.fault(table.place("forget"), message);
    }
    let longest = every.as_ref().and_then(Every::longest);
    if forget
        .zip(longest)
        .is_some_and(|(forget, period)| forget <= period)
    {
        let message = "`forget` is no longer than `every`: what one poll misses is forgotten";
        table.context.warn(table.place("forget"), message);
    }
    let rules = Rules {
        tombstone,
        ..rules(table, format)
    };
    let stale_after = table.optional("stale_after", |v| v.duration(&STALE_AFTER));
    if stale_after
        .zip(longest)
        .is_some_and(|(after, period)| after <= period)
    {
        let message = "`stale_after` is no longer than `every`: one poll without news rings it";
        table.context.warn(table.place("stale_after"), message);
    }
    let joint = joint::joint(table, asked.request.as_ref());
    Some(Source {
        name: name.clone(),
        joint,
        each: asked.each,
        rules: Arc::new(rules),
        deletes,
        forget,
        confirm: table.optional("confirm", confirm),
        items_max: table.or("items_max", 1_000_000, |v| v.integer(&ITEMS)),
        baseline: table.or("baseline", Baseline::Silent, |v| v.one_of(&baselines, &[])),
        format,
        deletes_max_ratio: table.or("guard", 0.5, |v| {
            let guard = v.table(&GUARD)?;
            Some(guard.or("deletes_max_ratio", 0.5, Value::ratio))
        }),
        stale_after,
        failing_after: table.or("failing_after", 3, |v| v.integer(&FAILING_AFTER)),
        keep: table.or("keep", Keep::Bodies, |v| v.one_of(&keeps, &[])),
        body_bytes_max: usize::try_from(body_bytes).unwrap_or(usize::MAX),
        upstream: upstream?,
        request: asked.request?,
        cursor: asked.cursor,
        paginate: asked.paginate,
        every: every?,
        respect_cache: table.or("respect_cache", false, Value::boolean),
    })
}

/// What is asked for, as far as it is right.
struct Asked {
    each: Option<Each>,
    request: Option<Request>,
    cursor: Option<Cursor>,
    paginate: Option<Paginate>,
}

fn asked(name: &Name, table: &Table<'_>, declared: &Declared<'_>) -> Asked {
    let each = table.optional("each", |v| each::each(v, name.as_str(), declared));
    let names: Vec<&str> = each.iter().flat_map(Each::names).collect();
    let scope = Scope {
        // What is wrong with `each` was told of.
        partition: (each.is_some() || !table.has("each")).then_some(&names[..]),
        cursor: table.has("cursor"),
    };
    let request = request::request(table, scope);
    let cursor = table.optional("cursor", |v| request::cursor(v, request.as_ref(), scope));
    let paginate = table.optional("paginate", |v| request::paginate(v, request.as_ref()));
    for key in ["cursor", "paginate"] {
        if table.has(key) && !has_items(table) {
            let message = format!("`{key}` is about items, add `items` and `id`");
            table.context.absent(table.place(key), message);
        }
    }
    let (of_cursor, of_page) = (
        cursor.as_ref().and_then(|cursor| cursor.parameter.as_ref()),
        paginate
            .as_ref()
            .and_then(|paginate| paginate.by.parameter()),
    );
    if of_cursor.is_some() && of_cursor == of_page {
        let message = "`cursor` and `paginate` send the same parameter, give them two names";
        table.context.fault(table.place("paginate"), message);
    }
    lists_whole(table, request.as_ref());
    Asked {
        each,
        request,
        cursor,
        paginate,
    }
}

/// What is missing was deleted only where all is listed.
fn lists_whole(table: &Table<'_>, request: Option<&Request>) {
    let is_since = |v: &Variable| matches!(v, Variable::LastSuccess | Variable::LastSuccessUnix);
    let mut variables = request.into_iter().flat_map(Request::variables);
    let lister = if table.has("cursor") {
        "`cursor`"
    } else if variables.any(is_since) {
        "`{{last_success}}`"
    } else {
        return;
    };
    let is_full = table.value("deletes").and_then(|v| v.as_text()) == Some("full");
    if is_full {
        let message = format!(
            "{lister} lists what changed alone, so nothing that is missing was deleted: leave \
             `deletes = \"full\"` out, or give a tombstone"
        );
        table.context.fault(table.place("deletes"), message);
    }
}

/// Whether the source is of items: a feed always is.
fn has_items(table: &Table<'_>) -> bool {
    let is_feed = || table.value("format").and_then(|v| v.as_text()) == Some("feed");
    table.has("items") || is_feed()
}

/// What bodies are; `None`: what `Content-Type` says.
fn formats() -> Vec<(&'static str, Option<Format>)> {
    let formats = Format::ALL.map(|format| (format.label(), Some(format)));
    [&[("auto", None)], &formats[..]].concat()
}

/// The name of an upstream that the file has.
pub(super) fn upstream_name(value: Value<'_>, declared: &Declared<'_>) -> Option<Name> {
    let text = value.parsed("the name of an upstream", Ok::<_, String>)?;
    if declared.upstreams.contains(text) {
        // A misspelled name has been told of where it is declared.
        return Name::parse(text).ok();
    }
    let known = declared.upstreams.iter().copied();
    let advice = words::nearest(text, known).map_or_else(
        || format!("add `[upstreams.{}]`", shown(text)),
        |near| format!("did you mean \"{near}\"?"),
    );
    let message = format!("there is no upstream \"{}\", {advice}", shown(text));
    value.context.absent(value.span(), message);
    None
}

fn every(value: Value<'_>) -> Option<Every> {
    if value.is_table() {
        return times(&value.table(&TIMES)?);
    }
    if value.as_text() == Some("manual") {
        return Some(Every::Manual);
    }
    value.duration(&EVERY).map(Every::Fixed)
}

fn times(table: &Table<'_>) -> Option<Every> {
    let (is_cron, is_adaptive) = (
        table.has("cron") || table.has("timezone"),
        table.has("min") || table.has("max"),
    );
    if is_cron && is_adaptive {
        let key = if table.has("min") { "min" } else { "max" };
        let message = format!("`cron` says when it is polled, leave `{key}` out");
        table.context.fault(table.place(key), message);
        return None;
    }
    if is_cron {
        return cron(table).map(|cron| Every::Cron(Arc::new(cron)));
    }
    if is_adaptive {
        return adaptive(table).map(Every::Adaptive);
    }
    if table.is_empty() {
        let message = "`every` is empty, write `{ min = \"5s\", max = \"15m\" }` or `{ cron = \
                       \"*/5 8-18 * * MON-FRI\" }`";
        table.context.absent(table.home.clone(), message);
    }
    // All else that it has was told of.
    None
}

fn adaptive(table: &Table<'_>) -> Option<Bounds> {
    let min = table.required("min", "\"5s\"", |v| v.duration(&EVERY));
    let max = table.required("max", "\"15m\"", |v| v.duration(&EVERY));
    let bounds = Bounds {
        min: min?,
        max: max?,
    };
    let (least, place) = (words::duration_text(bounds.min), table.place("max"));
    if bounds.max < bounds.min {
        let message = format!("`max` is shorter than `min`, write at least \"{least}\"");
        table.context.fault(place, message);
        return None;
    }
    if bounds.max == bounds.min {
        let message = format!("`max` is `min`, which `every = \"{least}\"` says, too");
        table.context.warn(place, message);
    }
    Some(bounds)
}

fn cron(table: &Table<'_>) -> Option<Cron> {
    let zone = table.or("timezone", Some(Zone::UTC), |v| Some(zone(v)));
    table.required("cron", "\"*/5 8-18 * * MON-FRI\"", |value| {
        let Some(text) = value.as_text() else {
            value.wrong_type("a cron expression like \"*/5 8-18 * * MON-FRI\"");
            return None;
        };
        let cron = Cron::parse(text, zone.unwrap_or(Zone::UTC));
        let fault = |error: CronError| {
            value.fault_within(error.at, format!("`cron`: {}", error.message));
        };
        cron.map_err(fault).ok().filter(|_| zone.is_some())
    })
}

fn zone(value: Value<'_>) -> Option<Zone> {
    value.parsed("a time zone like \"Europe/Berlin\"", |name| {
        Zone::parse(name).ok_or_else(|| {
            let advice = words::nearest(name, Zone::names()).map_or_else(
                || "write one like \"Europe/Berlin\" or \"UTC\"".to_owned(),
                |near| format!("did you mean \"{near}\"?"),
            );
            format!("there is no time zone \"{}\", {advice}", shown(name))
        })
    })
}

fn deletes(value: Value<'_>) -> Option<(Deletes, Option<Filter>)> {
    if value.is_table() {
        let example = "\"$[?@.deleted == true]\"";
        let filter = value
            .table(&DELETES)?
            .required("tombstone", example, filter)?;
        return Some((Deletes::Tombstone, Some(filter)));
    }
    let words = [("never", Deletes::Never), ("full", Deletes::Full)];
    let word = value.one_of(&words, &[])?;
    Some((word, None))
}

fn confirm(value: Value<'_>) -> Option<Confirm> {
    let table = value.table(&CONFIRM)?;
    Some(Confirm {
        polls: table.or("polls", *CONFIRM_POLLS.start(), |v| {
            v.integer(&CONFIRM_POLLS)
        }),
        after: table.or("after", CONFIRM_AFTER_DEFAULT, |v| {
            v.duration(&CONFIRM_AFTER)
        }),
    })
}

/// An RFC 9535 filter over one value.
pub(super) fn filter(value: Value<'_>) -> Option<Filter> {
    let Some(text) = value.as_text() else {
        value.wrong_type("a filter like \"$[?@.deleted == true]\"");
        return None;
    };
    Filter::parse(text)
        .map_err(|error| value.fault_at(error.position, format!("`{}`: {error}", value.key)))
        .ok()
}

fn rules(table: &Table<'_>, format: Option<Format>) -> Rules {
    let paths = |key| {
        table.or(key, Vec::new(), |v: Value<'_>| {
            v.each("a list of JSONPaths", PATHS_MAX, json_path)
        })
    };
    let (items, selector) = match format {
        Some(Format::Html) => selected(table),
        Some(Format::Feed) if !table.has("items") => (well_known("$.entries[*]"), None),
        _ => (table.optional("items", json_path), None),
    };
    let id = table.or("id", Vec::new(), id);
    let is_feed = format == Some(Format::Feed);
    match (table.has("items"), table.has("id")) {
        _ if is_feed => {}
        (true, false) => {
            let message = "`items` needs what identifies each, write `id = \"$.id\"`";
            table.context.absent(table.place("items"), message);
        }
        (false, true) => {
            let message = "`id` is about items, add `items = \"$[*]\"` or leave it out";
            table.context.absent(table.place("id"), message);
        }
        _ => {}
    }
    if format == Some(Format::Bytes) && table.has("items") {
        let message = "bytes have no items: leave `items` and `id` out";
        table.context.fault(table.place("items"), message);
    }
    if table.has("ignore") && table.has("only") {
        let message = "`only` says all that counts, leave `ignore` out";
        table.context.fault(table.place("ignore"), message);
    }
    Rules {
        items,
        selector,
        id: match well_known("$.id") {
            Some(own) if is_feed && !table.has("id") => vec![own],
            _ => id,
        },
        fields: if table.has("only") {
            Fields::Only(paths("only"))
        } else {
            Fields::Ignore(paths("ignore"))
        },
        unordered: paths("unordered"),
        tombstone: None,
    }
}

/// What of a page is watched, by CSS: what is selected is a list as any other.
fn selected(table: &Table<'_>) -> (Option<Path>, Option<Selector>) {
    if !table.has("items") {
        let message = "all of a page is watched, so that a login page or an apology is a change: \
                       select what you mean, like `items = \"table.releases tr\"`";
        table.context.warn(table.place("format"), message);
        return (None, None);
    }
    let selector = table.optional("items", |value| {
        let Some(text) = value.as_text() else {
            value.wrong_type("a CSS selector like \"table.releases tr\"");
            return None;
        };
        Selector::parse(text)
            .map_err(|error| value.fault(format!("`items`: {error}")))
            .ok()
    });
    (well_known("$[*]"), selector)
}

/// A path of this program's own.
fn well_known(path: &str) -> Option<Path> {
    Path::parse(path).ok()
}

fn id(value: Value<'_>) -> Option<Vec<Path>> {
    if !value.is_list() {
        return json_path(value).map(|path| vec![path]);
    }
    let paths = value.each("a JSONPath or a list of them", ID_PATHS_MAX, json_path)?;
    if paths.is_empty() {
        value.absent("`id` is empty, write at least one path");
    }
    Some(paths)
}

pub(super) fn json_path(value: Value<'_>) -> Option<Path> {
    let Some(text) = value.as_text() else {
        value.wrong_type("a JSONPath like \"$.id\"");
        return None;
    };
    let path = Path::parse(text).and_then(|path| {
        match value.key {
            "items" => path.check_items(),
            "id" => path.check_id(),
            "ignore" => path.check_ignore(),
            _ => Ok(()),
        }
        .map(|()| path)
    });
    path.map_err(|error| value.fault_at(error.position, format!("`{}`: {error}", value.key)))
        .ok()
}
