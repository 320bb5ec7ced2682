//! `[routes.NAME]`: which calls pass, to where, and how many of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::{HeaderName, Method};

use crate::name::Name;

use super::declared::Declared;
use super::endpoint::CONCURRENCY;
use super::fault::Span;
use super::reader::{Context, Keys, Table};
use super::source::upstream_name;
use super::value::Value;
use super::words::{self, shown};
use super::{Limit, LimitBy, Route, RouteAuth, given};

/// Bounds of a body that passes.
const BODY_BYTES: RangeInclusive<u64> = 1 << 10..=1 << 30;

/// Requests of a limit or a rate.
pub(super) const REQUESTS: RangeInclusive<u32> = 1..=1_000_000;

/// Period of a limit or a rate.
pub(super) const PER: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_hours(24);

/// How long a burst may take to come back. What counts keeps nanoseconds in 64 bits, which hold
/// 584 years; 30 days are far below and far above any use.
const REFILL_MAX: Duration = Duration::from_hours(30 * 24);

/// Most limits of a route, each asked at every call.
const LIMITS_MAX: usize = 16;

/// Most keys of a route, each compared at every call.
const KEYS_MAX: usize = 1_000;

/// Most methods; the registry of IANA has about 40.
const METHODS_MAX: usize = 40;

pub(super) const ROUTE: Keys = Keys {
    now: &[
        "path",
        "host",
        "methods",
        "upstream",
        "strip_prefix",
        "limits",
        "shadow",
        "auth",
        "open",
        "body_bytes_max",
        "concurrency",
    ],
    later: &[],
};
const LIMIT: Keys = Keys {
    now: &["by", "requests", "per", "burst"],
    later: &[],
};
const AUTH: Keys = Keys {
    now: &["keys"],
    later: &[],
};

/// `exposed` is an address of the proxy that others than this machine reach, if there is one.
pub(super) fn route(
    name: &Name,
    table: &Table<'_>,
    declared: &Declared<'_>,
    exposed: Option<SocketAddr>,
) -> Option<Route> {
    let path = table.required("path", "\"/…\"", |v| {
        v.parsed("a path like \"/api/\"", words::path)
    });
    let upstream = table.required("upstream", "\"NAME\"", |v| upstream_name(v, declared));
    let limits = table.or("limits", Vec::new(), |v| {
        v.each("a list of limits", LIMITS_MAX, limit)
    });
    let shadow = table.or("shadow", false, Value::boolean);
    if shadow && !table.has("limits") {
        let message = "`shadow = true` without `limits` does nothing";
        table.context.warn(table.place("shadow"), message);
    }
    Some(Route {
        name: name.clone(),
        host: table.optional("host", |v| v.parsed("a host", words::host)),
        methods: table.optional("methods", methods),
        strip_prefix: table.or("strip_prefix", false, Value::boolean),
        limits,
        shadow,
        auth: auth(name, table, exposed),
        body_bytes_max: table.or("body_bytes_max", 10 << 20, |v| v.size(&BODY_BYTES)),
        concurrency: table.or("concurrency", 1_000, |v| v.integer(&CONCURRENCY)),
        path: path?,
        upstream: upstream?,
    })
}

/// Refuses two routes that take the same call.
pub(super) fn check_apart(context: &Context<'_>, routes: &[(Span, Route)]) {
    let mut seen: BTreeMap<(Option<&str>, &str), Vec<&Route>> = BTreeMap::new();
    for (span, route) in routes {
        let same = seen
            .entry((route.host.as_deref(), &route.path))
            .or_default();
        if let Some(other) = same.iter().find(|other| overlap(other, route)) {
            let message = format!(
                "route `{}` takes the same calls as route `{}`: host, path and methods overlap",
                route.name, other.name
            );
            context.fault(span.clone(), message);
        }
        same.push(route);
    }
}

fn overlap(one: &Route, other: &Route) -> bool {
    match (&one.methods, &other.methods) {
        (Some(one), Some(other)) => one.iter().any(|method| other.contains(method)),
        _ => true,
    }
}

fn auth(name: &Name, table: &Table<'_>, exposed: Option<SocketAddr>) -> RouteAuth {
    let keys = table.optional("auth", |v| {
        v.hide();
        v.table(&AUTH)?.required("keys", "[{ env = \"…\" }]", |v| {
            let keys = v.each("a list of keys", KEYS_MAX, given::token)?;
            if keys.is_empty() {
                v.absent("`keys` is empty, so nobody could call");
            }
            Some(keys)
        })
    });
    let open = table.or("open", false, Value::boolean);
    if open && table.has("auth") {
        let message = "`open = true` lets everyone in, leave it or `auth` out";
        table.context.fault(table.place("open"), message);
    }
    if let Some(address) = exposed.filter(|_| !open && !table.has("auth")) {
        let message = format!(
            "route `{name}` lends doorbell's credentials to all who reach {address}: add `auth = \
             {{ keys = [{{ env = \"…\" }}] }}` or `open = true`"
        );
        table.context.absent(table.home.clone(), message);
    }
    keys.map_or(RouteAuth::Open, RouteAuth::Keys)
}

fn methods(value: Value<'_>) -> Option<Vec<Method>> {
    let methods = value.each("a list of methods", METHODS_MAX, |v| {
        Some((v.parsed("a method", words::method)?, v))
    })?;
    if methods.is_empty() {
        value.absent("`methods` is empty, name some or leave it out for all");
    }
    let mut apart: Vec<Method> = Vec::with_capacity(methods.len());
    for (method, value) in methods {
        if apart.contains(&method) {
            value.fault(format!("{method} is given twice"));
        }
        apart.push(method);
    }
    Some(apart)
}

fn limit(value: Value<'_>) -> Option<Limit> {
    let table = value.table(&LIMIT)?;
    let count = |v: Value<'_>| v.integer(&REQUESTS).and_then(NonZeroU32::new);
    let by = table.required("by", "\"ip\"", |v| v.parsed("a string", limit_by));
    let requests = table.required("requests", "100", count);
    let per = table.required("per", "\"1s\"", |v| v.duration(&PER));
    let burst = table.optional("burst", count);
    let (by, requests, per) = (by?, requests?, per?);
    let burst = burst.unwrap_or(requests);
    let refill = per.as_secs_f64() * f64::from(burst.get()) / f64::from(requests.get());
    if refill > REFILL_MAX.as_secs_f64() {
        table.context.fault(
            table.place("burst"),
            "at this pace the burst takes more than 30 days to come back",
        );
    }
    Some(Limit {
        by,
        requests,
        per,
        burst,
    })
}

fn limit_by(text: &str) -> Result<LimitBy, String> {
    match (text, text.strip_prefix("header:")) {
        ("ip", _) => Ok(LimitBy::Ip),
        ("route", _) => Ok(LimitBy::Route),
        (_, Some(name)) => HeaderName::from_bytes(name.as_bytes())
            .map(LimitBy::Header)
            .map_err(|_| format!("\"{}\" is no header's name", shown(name))),
        _ => Err(format!(
            "\"{}\" is none of \"ip\", \"header:NAME\" and \"route\"",
            shown(text)
        )),
    }
}
