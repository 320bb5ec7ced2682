//! What a configuration means, for people: the text of `doorbell check`.
//!
//! Shows no secret: of URLs only the origin, since paths and queries may hold keys.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use url::Url;

use crate::budget::Terms;
use crate::event::{Format, Kind, OPERATIONAL_SOURCE, Payload, Rendering};
use crate::name::Name;
use crate::time::Timestamp;

use super::declared::{self, Watched};
use super::demand;
use super::words::duration_text;
use super::{Config, Deletes, Endpoint, Every, Joint, Limit, Route, RouteAuth, Source, Upstream};

/// Most sources whose types are listed for one endpoint; a longer list is counted.
const HEARD_MAX: usize = 20;

/// How many of the next times of a cron expression are shown: enough to see what it means.
const TIMES: usize = 3;

/// Says what `config` means: requests per hour of every source and upstream, which endpoint hears
/// which types, which routes reach what, and what is odd. Ends with a line end.
#[must_use]
pub fn explain(config: &Config, now: Timestamp) -> String {
    let mut text = String::new();
    let mut section = |title: &str, lines: Vec<String>| {
        let _ = writeln!(text, "{title}:");
        if lines.is_empty() {
            text.push_str("  none\n");
        }
        for line in lines {
            let _ = writeln!(text, "  {line}");
        }
    };
    section("upstreams", upstreams(config));
    section(
        "sources",
        config.sources.values().map(|s| source(s, now)).collect(),
    );
    let endpoints = config.endpoints.values().map(|e| endpoint(config, e));
    section("endpoints", endpoints.chain(over_the_api(config)).collect());
    section("routes", routes(config));
    if !config.warnings.is_empty() {
        section("warnings", config.warnings.clone());
    }
    text
}

fn upstreams(config: &Config) -> Vec<String> {
    let mut demands = demand::all(config.sources.values().map(AsRef::as_ref));
    let mut line = |upstream: &Upstream| {
        let demand = demands.remove(&upstream.name).unwrap_or_default();
        let asked = demand.asked(upstream.budget.as_ref());
        let origins: Vec<_> = upstream.urls().map(origin).collect();
        let budget = upstream.budget.as_ref().map(|terms| budget(terms, asked));
        let shared = if demand.adaptive > 0 {
            format!(
                ", {} of them shared by what is adaptive ({} at least, {} at most)",
                number(asked - demand.steady),
                number(demand.least),
                number(demand.most)
            )
        } else {
            String::new()
        };
        format!(
            "{}: {}, polled {} an hour{shared}{}",
            upstream.name,
            origins.join(", "),
            rate(asked),
            budget.unwrap_or_default()
        )
    };
    config.upstreams.values().map(|u| line(u)).collect()
}

/// `, 0.5% of its budget of 5000 per 1h (burst 83), of which polls keep 10%`.
fn budget(terms: &Terms, asked: f64) -> String {
    let share = |share: f64| number(share * 100.0) + "%";
    let used = asked / (terms.per_second() * 3_600.0);
    let more = if used > 1.0 + 1e-9 {
        ": polls will be late"
    } else {
        ""
    };
    let free = if terms.not_modified_free {
        ", 304 not counted"
    } else {
        ""
    };
    format!(
        ", {} of its budget of {} per {} (burst {}), of which polls keep {} and callers wait {}{free}{more}",
        share(used),
        terms.requests,
        duration_text(terms.per),
        terms.burst,
        share(terms.poll_floor),
        duration_text(terms.wait),
    )
}

fn source(source: &Source, now: Timestamp) -> String {
    let Source { name, upstream, .. } = source;
    let when = when(source, now);
    let what = match &source.rules.items {
        Some(items) => {
            let ids: Vec<_> = source
                .rules
                .id
                .iter()
                .map(crate::detect::Path::as_str)
                .collect();
            let deletes = match source.deletes {
                Deletes::Never => "never deleted".to_owned(),
                Deletes::Full => "deleted when missing".to_owned(),
                Deletes::Tombstone => {
                    let tombstone = source.rules.tombstone.as_ref();
                    let tombstone = tombstone.map_or("", crate::detect::Filter::as_str);
                    format!("deleted when {tombstone}")
                }
            };
            let selector = source.rules.selector.as_ref();
            let items = selector.map_or(items.as_str(), crate::detect::Selector::as_str);
            format!("items {items} by {}, {deletes}", ids.join(" + "))
        }
        None => "the whole document".to_owned(),
    };
    let format = source
        .format
        .map_or_else(String::new, |format| format!("as {}, ", format.label()));
    let confirm = source.confirm.map_or_else(String::new, |confirm| {
        let after = duration_text(confirm.after);
        format!(
            ", believed when {} fetches {after} apart have seen it",
            confirm.polls
        )
    });
    let forget = source.forget.map_or_else(String::new, |forget| {
        format!(", forgotten when unseen for {}", duration_text(forget))
    });
    let stale = source.stale_after.map_or_else(String::new, |after| {
        format!(", stale after {}", duration_text(after))
    });
    let method = match source.request.method.as_str() {
        "GET" => String::new(),
        method => format!("{method} "),
    };
    let since = source.cursor.as_ref().map_or_else(String::new, |cursor| {
        format!(", what is new by {}", cursor.from.as_str())
    });
    let pages = source.paginate.as_ref().map(|paginate| {
        let (by, most) = (paginate.by.label(), paginate.pages_max);
        format!(", in pages by {by}, at most {most}")
    });
    let fresh = if source.respect_cache {
        ", not before its max-age is over"
    } else {
        ""
    };
    let (path, pages) = (source.request.path.as_str(), pages.unwrap_or_default());
    let joint = joint(&source.joint);
    format!(
        "{name}: {method}{upstream}{path}, {when}, {format}{what}{since}{pages}{fresh}{forget}{confirm}{stale}{joint}"
    )
}

/// `, polled 200ms after a caller's write to /issues, answers callers for 30s`.
fn joint(joint: &Joint) -> String {
    let mut text = String::new();
    if let Some(on_write) = &joint.on_write {
        let paths: Vec<String> = on_write.paths.iter().map(ToString::to_string).collect();
        let (settle, again) = (
            duration_text(on_write.settle),
            duration_text(on_write.second_look()),
        );
        let _ = write!(
            text,
            ", polled {settle} after a caller's write to {} and {again} after the last one",
            paths.join(" or ")
        );
    }
    if joint.observe {
        text.push_str(", callers' GETs of it count as polls");
    }
    if let Some(serve) = joint.serve {
        let max_age = duration_text(serve.max_age);
        let _ = write!(text, ", answers callers for {max_age}");
        if !serve.stale_if_error.is_zero() {
            let longer = duration_text(serve.stale_if_error);
            let _ = write!(text, " and in place of errors for {longer} more");
        }
    }
    text
}

/// `every 15m, 4 requests an hour for each repo (2)`.
fn when(source: &Source, now: Timestamp) -> String {
    let (per_hour, parts) = (source.every.per_hour(), demand::parts(source));
    let (least, most) = (per_hour.start() * parts, per_hour.end() * parts);
    let (asked, partitions) = (rate(most), partitions(source));
    match &source.every {
        Every::Fixed(period) => {
            let period = duration_text(*period);
            format!("every {period}, {asked} an hour{partitions}")
        }
        Every::Cron(cron) => {
            let (text, zone) = (cron.expression(), cron.zone());
            let times = std::iter::successors(cron.after(now), |at| cron.after(*at));
            let times: Vec<String> = times.take(TIMES).map(|at| zone.shown(at)).collect();
            let spread = if source.each.is_some() {
                format!(" and up to {} later", duration_text(cron.spread()))
            } else {
                String::new()
            };
            format!(
                "at {text} of {}, {asked} an hour on average{partitions}, next {}{spread}",
                zone.name(),
                times.join(", "),
            )
        }
        Every::Adaptive(bounds) => {
            let (min, max) = (duration_text(bounds.min), duration_text(bounds.max));
            let least = number(least);
            format!("every {min} to {max} as it changes, {least} to {asked} an hour{partitions}")
        }
        Every::Manual => format!("only by hand{partitions}"),
    }
}

/// `, for each repo (2)`, `, for each repo of the items of repos`.
fn partitions(source: &Source) -> String {
    let Some(each) = &source.each else {
        return String::new();
    };
    let listed = each.listed.iter();
    let listed = listed.map(|(name, values)| format!("{name} ({})", values.len()));
    let followed = each.followed.iter().map(|(source, names)| {
        let names: Vec<_> = names.keys().map(String::as_str).collect();
        format!("{} of the items of {source}", names.join(" and "))
    });
    let all: Vec<String> = listed.chain(followed).collect();
    let multiplied = if each.followed.is_empty() {
        ""
    } else {
        ", so many times as there are items"
    };
    format!(" for each {}{multiplied}", all.join(" and each "))
}

fn endpoint(config: &Config, endpoint: &Endpoint) -> String {
    let mut heard: BTreeMap<&Name, Vec<&str>> = BTreeMap::new();
    for glob in &endpoint.events {
        for (name, source) in declared::candidates(&config.sources, &glob.to_string()) {
            let watched = Watched {
                items: source.rules.items.is_some(),
                deletes: source.deletes != Deletes::Never,
            };
            let rings = |kind: &&Kind| {
                (**kind != Kind::Deleted || watched.deletes)
                    && endpoint.hears(&kind.event_type(name.as_str()))
            };
            let kinds = watched.kinds().iter().filter(rings);
            let kinds: Vec<_> = kinds.map(|kind| kind.suffix()).collect();
            if !kinds.is_empty() {
                heard.insert(name, kinds);
            }
        }
    }
    let more = heard.len().saturating_sub(HEARD_MAX);
    let listed = heard.iter().take(HEARD_MAX);
    let mut types: Vec<String> = listed
        .map(|(name, kinds)| format!("{name}.{}", kinds.join("|")))
        .collect();
    if more > 0 {
        types.push(format!("and those of {more} more sources"));
    }
    let own = declared::operational().map(|kind| kind.event_type(OPERATIONAL_SOURCE));
    types.extend(own.filter(|own| endpoint.hears(own)));
    let types = if types.is_empty() {
        "nothing".to_owned()
    } else {
        types.join(", ")
    };
    let Endpoint { name, url, .. } = endpoint;
    let filter = endpoint.filter.as_ref();
    let filter = filter.map_or_else(String::new, |filter| format!(" where {}", filter.as_str()));
    let written = written(&endpoint.rendering);
    let rate = endpoint.rate.map_or_else(String::new, |rate| {
        let per = duration_text(rate.per);
        format!(", at most {} per {per}", rate.requests)
    });
    let asks = endpoint.handshake.as_ref();
    let asks = asks.map_or_else(String::new, |name| {
        let name = name.to_str().unwrap_or_default();
        format!(", agrees first to be rung by {name}")
    });
    format!(
        "{name}: {}, hears {types}{filter}{written}{rate}{asks}",
        origin(url)
    )
}

/// Where endpoints made over the API may point, if not only to public addresses.
fn over_the_api(config: &Config) -> Option<String> {
    let networks: Vec<String> = config
        .admin
        .allow_networks
        .iter()
        .map(ToString::to_string)
        .collect();
    let and = networks.join(", ");
    (!networks.is_empty()).then(|| format!("(made over the API: public addresses and {and})"))
}

/// How webhooks are written, as far as it is not the usual way.
fn written(rendering: &Rendering) -> String {
    let format = match &rendering.format {
        Format::Standard => String::new(),
        Format::CloudEvents => ", as CloudEvents".to_owned(),
        Format::CloudEventsBinary => ", as CloudEvents in headers".to_owned(),
        Format::Template(template) => {
            let content_type = template.content_type().to_str().unwrap_or_default();
            format!(", by a template as {content_type}")
        }
    };
    let payload = match rendering.payload {
        Payload::Full => "",
        Payload::Patch => ", patches only",
        Payload::Thin => ", thin",
    };
    let redacted: Vec<&str> = rendering.redact.paths().collect();
    let redacted = if redacted.is_empty() {
        String::new()
    } else {
        format!(", without {}", redacted.join(" "))
    };
    format!("{format}{payload}{redacted}")
}

fn routes(config: &Config) -> Vec<String> {
    let Some(proxy) = &config.proxy else {
        let idle = config.routes.values();
        return idle
            .map(|route| format!("{}: off, there is no proxy", route.name))
            .collect();
    };
    let listen: Vec<_> = proxy.listen.iter().map(ToString::to_string).collect();
    let listen = listen.join(", ");
    let routes = config.routes.values();
    routes.map(|r| route(config, r, &listen)).collect()
}

fn route(config: &Config, route: &Route, listen: &str) -> String {
    let Route {
        name,
        path,
        upstream,
        ..
    } = route;
    let host = route.host.as_deref().map(|host| format!(" of {host}"));
    let methods = route.methods.as_ref().map_or_else(
        || "any method".to_owned(),
        |methods| {
            let methods: Vec<_> = methods.iter().map(http::Method::as_str).collect();
            methods.join("|")
        },
    );
    let to = config.upstreams.get(upstream).map(|u| origin(&u.url));
    let cut = if route.strip_prefix { "cut" } else { "kept" };
    let who = match &route.auth {
        RouteAuth::Open => "open".to_owned(),
        RouteAuth::Keys(keys) => format!("for bearers of its {} keys", keys.len()),
    };
    let limits: Vec<String> = route.limits.iter().map(limit).collect();
    let limits = match (limits.is_empty(), route.shadow) {
        (true, _) => "no limits".to_owned(),
        (false, true) => format!("limits only counted: {}", limits.join(", ")),
        (false, false) => format!("limits: {}", limits.join(", ")),
    };
    format!(
        "{name}: {methods} {path}{} on {listen} to {upstream} ({}), prefix {cut}, {who}, {limits}",
        host.unwrap_or_default(),
        to.unwrap_or_default(),
    )
}

fn limit(limit: &Limit) -> String {
    let (by, requests, burst) = (limit.by.label(), limit.requests, limit.burst);
    format!(
        "{by} {requests} per {} (burst {burst})",
        duration_text(limit.per)
    )
}

/// `120 requests`.
fn rate(per_hour: f64) -> String {
    number(per_hour) + " requests"
}

/// `120`, `0.5`: three digits that matter, no more.
pub(super) fn number(number: f64) -> String {
    let digits = match number {
        rate if rate >= 10.0 => 0,
        rate if rate >= 1.0 => 1,
        _ => 3,
    };
    let mut text = format!("{number:.digits$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}
