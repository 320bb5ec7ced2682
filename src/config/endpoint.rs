//! `[endpoints.NAME]`: who is rung, about what, and how patiently.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;
use url::Url;

use crate::event::Glob;
use crate::name::Name;
use crate::signature::SigningKey;

use super::declared::{Declared, Heard};
use super::reader::{Author, Keys, Table};
use super::route::{PER, REQUESTS};
use super::upstream::TIMEOUT;
use super::value::Value;
use super::words::{self, shown};
use super::{Admin, Endpoint, Order, Owner, Rate, given, rendering};

/// Delay between two attempts.
const RETRY: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(30 * 24);

/// Most retries; at the default's pace a hundred take two months.
const RETRIES_MAX: usize = 100;

/// The default of `retry`, in seconds: 5s 5m 30m 2h 5h 10h 14h 20h 24h, what Standard Webhooks 1.0
/// recommends.
const RETRY_SECONDS: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// How long an endpoint may do nothing but fail. Ten years are for who never wants it switched off.
const DISABLE_AFTER: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(3_650 * 24);
const DISABLE_AFTER_DEFAULT: Duration = Duration::from_hours(5 * 24);

/// Attempts in flight.
pub(super) const CONCURRENCY: RangeInclusive<usize> = 1..=10_000;

/// Why an endpoint that was made over the API may not point there.
pub const NO_NETWORK: &str = "`url` is a private address, and no network of `admin.allow_networks` \
                              in the configuration file has it";

/// Most secrets: each signs every attempt, and a rotation needs two.
pub const SECRETS_MAX: usize = 10;

/// Most globs, each tried on every event.
const GLOBS_MAX: usize = 256;

pub(super) const ENDPOINT: Keys = Keys {
    now: &[
        "url",
        "secrets",
        "signature",
        "events",
        "filter",
        "format",
        "template",
        "content_type",
        "payload",
        "payload_bytes_max",
        "redact",
        "timeout",
        "retry",
        "concurrency",
        "rate",
        "order",
        "disable_after",
        "allow_private",
        "headers",
        "handshake",
    ],
    later: &[],
};
const RATE_KEYS: Keys = Keys {
    now: &["requests", "per"],
    later: &[],
};

pub(super) fn endpoint(
    name: &Name,
    table: &Table<'_>,
    declared: &Declared<'_>,
    admin: &Admin,
) -> Option<Endpoint> {
    let owner = match table.context.author {
        Author::File => Owner::File,
        Author::Caller | Author::Store => Owner::Api,
    };
    let (allow_private, allow_networks) = match owner {
        Owner::File => (allow_private(table), Arc::default()),
        Owner::Api => (false, networks(table, admin)),
    };
    let url = table.required("url", "\"https://…\"", given::url);
    if let Some(url) = &url {
        check_url(url, (allow_private, &allow_networks), table);
    }
    let secrets = table.required("secrets", "[{ env = \"…\" }]", secrets);
    let signs_for_github = table.or("signature", false, signs_for_github);
    let github = secrets.as_ref().and_then(|secrets: &Vec<SigningKey>| {
        let key = secrets.iter().find_map(SigningKey::github);
        if signs_for_github && key.is_none() {
            let message = "\"github\" is signed for with the first `whsec_` of `secrets`, and there is \
                           none";
            table.context.fault(table.place("signature"), message);
        }
        key.filter(|_| signs_for_github).cloned()
    });
    let events = table.optional("events", |v| {
        let globs = v.each("a list of globs", GLOBS_MAX, |v| glob(v, declared))?;
        if globs.is_empty() {
            v.absent("`events` is empty, name types or leave it out for all source events");
        }
        Some(globs)
    });
    if !table.has("events") && declared.sources.is_empty() {
        let message = format!("nothing rings endpoint `{name}`: there is no source");
        table.context.warn(table.home.clone(), message);
    }
    let rendering = rendering::rendering(table, admin.public_url.as_ref());
    let retry = RETRY_SECONDS.map(Duration::from_secs).to_vec();
    let orders = [("subject", Order::Subject), ("none", Order::None)];
    let default = Duration::from_secs(15);
    Some(Endpoint {
        name: name.clone(),
        events: events.unwrap_or_else(|| vec![Glob::new("*")]),
        timeout: table.or("timeout", default, |v| v.duration(&TIMEOUT)),
        retry: table.or("retry", retry, |v| {
            v.each("a list of durations", RETRIES_MAX, |v| v.duration(&RETRY))
        }),
        concurrency: table.or("concurrency", 8, |v| v.integer(&CONCURRENCY)),
        rate: table.optional("rate", rate),
        order: table.or("order", Order::Subject, |v| v.one_of(&orders, &[])),
        disable_after: table.or("disable_after", DISABLE_AFTER_DEFAULT, |v| {
            v.duration(&DISABLE_AFTER)
        }),
        allow_private,
        allow_networks,
        handshake: table.optional("handshake", handshake),
        owner,
        retiring: Vec::new(),
        headers: table.or("headers", HeaderMap::new(), |v| {
            given::headers(v, given::forbidden_webhook)
        }),
        url: url?,
        secrets: secrets?,
        github,
        filter: table.optional("filter", rendering::filter),
        rendering: Arc::new(rendering?),
    })
}

fn allow_private(table: &Table<'_>) -> bool {
    table.or("allow_private", false, Value::boolean)
}

/// Where an endpoint that was made over the API may point besides public addresses: that is not its
/// maker's to say.
fn networks(table: &Table<'_>, admin: &Admin) -> Arc<[IpNet]> {
    if let Some(value) = table.value("allow_private") {
        let message = "`allow_private` is only for the configuration file: its `allow_networks` of \
                       `[admin]` says where endpoints made over the API may point";
        value.fault(message);
    }
    Arc::clone(&admin.allow_networks)
}

fn check_url(url: &Url, (allow_private, allow_networks): (bool, &[IpNet]), table: &Table<'_>) {
    let Some(host) = url.host() else { return };
    let place = table.value("url").map_or(table.home.clone(), |v| v.span());
    let written = table.has("allow_private");
    let is_refused = words::is_private(&host) && !words::is_within(&host, allow_networks);
    if is_refused && !allow_private {
        let message = match table.context.author {
            Author::File => {
                let advice = if written { "set" } else { "add" };
                format!("`url` is a private address, {advice} `allow_private = true`")
            }
            Author::Caller | Author::Store => NO_NETWORK.to_owned(),
        };
        match table.context.author {
            Author::File | Author::Caller => table.context.fault(place, message),
            // It is kept, and refused when it is connected to.
            Author::Store => table.context.warn(place, message),
        }
    } else if url.scheme() == "http" && !words::is_loopback(&host) {
        let message = "webhooks go over http://, where everyone on the way can read them";
        table.context.warn(place, message);
    }
}

/// The name under which permission is asked for, a host's.
fn handshake(value: Value<'_>) -> Option<HeaderValue> {
    let host = value.parsed("a host like \"doorbell.example\"", words::host)?;
    HeaderValue::try_from(host).ok()
}

fn rate(value: Value<'_>) -> Option<Rate> {
    let table = value.table(&RATE_KEYS)?;
    let requests = table.required("requests", "10", |v| {
        v.integer(&REQUESTS).and_then(NonZeroU32::new)
    });
    let per = table.required("per", "\"1s\"", |v| v.duration(&PER));
    Some(Rate {
        requests: requests?,
        per: per?,
    })
}

fn secrets(value: Value<'_>) -> Option<Vec<SigningKey>> {
    value.hide();
    let keys = value.each("a list of secrets", SECRETS_MAX, |v| {
        let secret = given::secret(v)?;
        SigningKey::parse(&secret)
            .map_err(|error| v.fault(format!("`secrets`: {error}")))
            .ok()
    })?;
    if keys.is_empty() {
        value.absent("`secrets` is empty, every webhook is signed");
    }
    Some(keys)
}

/// Whether `signature` names GitHub's beside the standard one, which every webhook carries.
fn signs_for_github(value: Value<'_>) -> Option<bool> {
    let kinds = [("standard", false), ("github", true)];
    let named = value.each("a list like [\"standard\", \"github\"]", kinds.len(), |v| {
        v.one_of(&kinds, &[])
    })?;
    if !named.contains(&false) {
        let message = "`signature` always has \"standard\", which \"github\" stands beside: it \
                       covers neither id nor time";
        value.absent(message);
    }
    Some(named.contains(&true))
}

fn glob(value: Value<'_>, declared: &Declared<'_>) -> Option<Glob> {
    let text = value.parsed("a glob like \"issues.*\"", Ok::<_, String>)?;
    let glob = Glob::new(text);
    match declared.heard(text) {
        Heard::Something => {}
        Heard::OnlyDeletions(source) => {
            let message = format!(
                "\"{}\" never rings: source `{source}` has `deletes = \"never\"`",
                shown(text)
            );
            value.context.warn(value.span(), message);
        }
        Heard::Nothing => {
            let advice = declared.nearest_type(text).map_or_else(
                || "types are SOURCE.created, SOURCE.changed, …".to_owned(),
                |near| format!("did you mean \"{near}\"?"),
            );
            let message = format!("\"{}\" matches no event type, {advice}", shown(text));
            match value.context.author {
                Author::File | Author::Caller => value.absent(message),
                // The source may be back some day.
                Author::Store => value.context.warn(value.span(), message),
            }
        }
    }
    Some(glob)
}
