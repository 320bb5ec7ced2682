//! The sections about doorbell itself: `[log]`, `[store]`, `[admin]`, `[metrics]`, `[proxy]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tracing::Level;
use url::Url;

use super::reader::{Keys, Table};
use super::value::Value;
use super::words;
use super::{Admin, Log, LogFormat, Metrics, PerSource, Proxy, Store, given};

const DAY: Duration = Duration::from_hours(24);

/// How long history is kept: a second, for those who want none, to ten years.
const RETAIN: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(3_650 * 24);

/// Callers' connections: each costs two descriptors, and a process has at most about a million.
const CONNECTIONS: RangeInclusive<usize> = 1..=500_000;

/// How long a drain goes on accepting.
const DRAIN_DELAY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_mins(10);

/// How long a drain may take; beyond an hour nobody waits.
const GRACE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(1);

/// Most addresses to listen on, hosts to answer to, and networks to trust.
const LISTEN_MAX: usize = 16;
const HOSTS_MAX: usize = 64;
const NETWORKS_MAX: usize = 256;

/// Where clouds tell a machine its credentials.
const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

const LOG: Keys = Keys {
    now: &["level", "format"],
    later: &[],
};
const STORE: Keys = Keys {
    now: &["url", "retain", "retain_dead"],
    later: &["size_max"],
};
const ADMIN: Keys = Keys {
    now: &[
        "listen",
        "token",
        "metrics_token",
        "hosts",
        "public_url",
        "allow_networks",
    ],
    later: &[],
};
const METRICS: Keys = Keys {
    now: &["per_source"],
    later: &[],
};
const PROXY: Keys = Keys {
    now: &[
        "listen",
        "trusted_proxies",
        "connections_max",
        "drain_delay",
        "grace",
    ],
    later: &["tls"],
};

/// `[log]`.
pub(super) fn log(root: &Table<'_>) -> Log {
    let table = root.table("log", &LOG);
    let levels = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let level = |t: &Table<'_>| t.optional("level", |v| v.one_of(&levels, &[]));
    let format = |t: &Table<'_>| t.optional("format", |v| v.one_of(&formats, &[]));
    Log {
        level: table.as_ref().and_then(level).unwrap_or(Level::INFO),
        format: table.as_ref().and_then(format),
    }
}

/// `[store]`.
pub(super) fn store(root: &Table<'_>) -> Store {
    let mut store = Store {
        path: PathBuf::from("doorbell.db"),
        retain: 7 * DAY,
        retain_dead: 30 * DAY,
    };
    if let Some(table) = root.table("store", &STORE) {
        store.path = table.or("url", store.path, store_path);
        store.retain = table.or("retain", store.retain, |v| v.duration(&RETAIN));
        store.retain_dead = table.or("retain_dead", store.retain_dead, |v| v.duration(&RETAIN));
    }
    store
}

fn store_path(value: Value<'_>) -> Option<PathBuf> {
    let url = given::text(value)?;
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        value.fault("`url = \"postgres://…\"` is not supported yet, write \"sqlite:PATH\"");
        return None;
    }
    let path = url.strip_prefix("sqlite:").unwrap_or_default();
    if path.starts_with("//") {
        value.fault("`url` is \"sqlite:PATH\", without `//`");
        return None;
    }
    if path.starts_with(':') || path.contains(['\0', '?']) || path.is_empty() {
        value.fault("`url` is \"sqlite:PATH\", where PATH is a file");
        return None;
    }
    Some(PathBuf::from(path))
}

/// `[metrics]`.
pub(super) fn metrics(root: &Table<'_>) -> Metrics {
    let table = root.table("metrics", &METRICS);
    let choices = [
        ("auto", PerSource::Auto),
        ("on", PerSource::On),
        ("off", PerSource::Off),
    ];
    let per_source = |t: &Table<'_>| t.optional("per_source", |v| v.one_of(&choices, &[]));
    Metrics {
        per_source: table.as_ref().and_then(per_source).unwrap_or_default(),
    }
}

/// `[admin]`.
pub(super) fn admin(root: &Table<'_>) -> Admin {
    let default = Admin {
        listen: SocketAddr::from(([127, 0, 0, 1], 9090)),
        token: None,
        metrics_token: true,
        hosts: Vec::new(),
        public_url: None,
        allow_networks: Arc::default(),
    };
    let Some(table) = root.table("admin", &ADMIN) else {
        return default;
    };
    let admin = Admin {
        listen: table.or("listen", default.listen, listen),
        token: table.optional("token", given::token),
        metrics_token: table.or("metrics_token", true, Value::boolean),
        hosts: table.or("hosts", default.hosts, |v| {
            let host = |v: Value<'_>| v.parsed("a host", words::host);
            v.each("a list of hosts", HOSTS_MAX, host)
        }),
        public_url: table.optional("public_url", public_url),
        allow_networks: table
            .or("allow_networks", Vec::new(), allow_networks)
            .into(),
    };
    let context = table.context;
    let tokenless = !table.has("token");
    if tokenless && !admin.listen.ip().is_loopback() {
        let message = "`listen` is open to the network, so add `token = { env = \"…\" }` or \
                       listen on 127.0.0.1";
        context.absent(table.place("listen"), message);
    }
    if tokenless && table.has("metrics_token") && admin.metrics_token {
        let message = "`metrics_token = true` wants a token, add `token = { env = \"…\" }`";
        context.absent(table.place("metrics_token"), message);
    }
    admin
}

/// A base that paths can be appended to.
fn public_url(value: Value<'_>) -> Option<Url> {
    let url = given::url(value)?;
    if url.query().is_some() {
        value.fault("`public_url` holds no `?`, paths are appended to it");
        return None;
    }
    Some(url)
}

/// `[proxy]`.
pub(super) fn proxy(root: &Table<'_>, admin: &Admin) -> Option<Proxy> {
    let table = root.table("proxy", &PROXY)?;
    let addresses = |value: Value<'_>| {
        let wanted = "a list of addresses like [\"127.0.0.1:8080\"]";
        let addresses = value.each(wanted, LISTEN_MAX, |v| Some((listen(v)?, v)))?;
        if addresses.is_empty() {
            value.absent("`listen` is empty, write an address or leave `[proxy]` out");
        }
        let mut taken = vec![admin.listen];
        for (address, value) in &addresses {
            // Port 0 takes any free one, so it is never the same twice.
            if address.port() != 0 && taken.contains(address) {
                value.fault(format!("{address} is listened on twice"));
            }
            taken.push(*address);
        }
        Some(addresses.into_iter().map(|(address, _)| address).collect())
    };
    let listen = table.required("listen", "[\"127.0.0.1:8080\"]", addresses);
    let trusted_proxies = table.or("trusted_proxies", Vec::new(), |v| {
        v.each("a list of networks", NETWORKS_MAX, network)
    });
    let connections_max = table.or("connections_max", 10_000, |v| v.integer(&CONNECTIONS));
    let delay = Duration::from_secs(2);
    let drain_delay = table.or("drain_delay", delay, |v| v.duration(&DRAIN_DELAY));
    let grace = table.or("grace", Duration::from_secs(20), |v| v.duration(&GRACE));
    if drain_delay > grace {
        let key = if table.has("grace") {
            "grace"
        } else {
            "drain_delay"
        };
        let message = "`drain_delay` is a part of `grace` and cannot be longer";
        table.context.fault(table.place(key), message);
    }
    Some(Proxy {
        listen: listen?,
        trusted_proxies,
        connections_max,
        drain_delay,
        grace,
    })
}

/// Where the API may point endpoints to.
fn allow_networks(value: Value<'_>) -> Option<Vec<IpNet>> {
    let networks = value.each("a list of networks", NETWORKS_MAX, |v| {
        Some((network(v)?, v))
    })?;
    for (network, value) in &networks {
        if network.contains(&METADATA) {
            let message = format!(
                "{METADATA} is in {network}: callers of the API could have webhooks sent to the \
                 metadata service of a cloud"
            );
            value.context.warn(value.span(), message);
        }
    }
    Some(networks.into_iter().map(|(network, _)| network).collect())
}

fn network(value: Value<'_>) -> Option<IpNet> {
    value.parsed("a network like \"10.0.0.0/8\"", |text| {
        text.parse().map_err(|_| {
            format!(
                "\"{}\" is no network like \"10.0.0.0/8\"",
                words::shown(text)
            )
        })
    })
}

fn listen(value: Value<'_>) -> Option<SocketAddr> {
    value.parsed("an address like \"127.0.0.1:9090\"", words::listen)
}
