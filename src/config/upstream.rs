//! `[upstreams.NAME]`: where an API is and how doorbell shows who it is.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use url::Url;

use crate::budget::Terms;
use crate::name::Name;

use super::reader::{Keys, Table};
use super::value::Value;
use super::{Auth, Upstream, given};

/// Bounds of an exchange; an answer that takes an hour is none.
pub(super) const TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_hours(1);

/// Connections to one upstream: a tenth of the ports that one address has.
const CONNECTIONS: RangeInclusive<usize> = 1..=10_000;

/// Redirects of one poll; browsers stop at 20.
const REDIRECTS: RangeInclusive<u32> = 0..=20;

/// Requests of a budget: no API that counts them allows more.
const REQUESTS: RangeInclusive<u32> = 1..=100_000_000;

/// Periods of a budget: up to a month, as the longest plans are counted.
const PER: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(31 * 24);

/// How long a caller may be kept waiting for its turn.
const WAIT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_mins(1);

/// A burst is this part of the requests unless it is said.
const BURST_SHARE: u32 = 60;

pub(super) const UPSTREAM: Keys = Keys {
    now: &[
        "url",
        "auth",
        "headers",
        "timeout",
        "connect_timeout",
        "connections_max",
        "redirects",
        "budget",
    ],
    later: &["urls", "egress_proxy", "tls"],
};
const AUTH: Keys = Keys {
    now: &["bearer", "basic", "header", "query"],
    later: &["oauth2"],
};
const BUDGET: Keys = Keys {
    now: &[
        "requests",
        "per",
        "burst",
        "poll_floor",
        "wait",
        "not_modified_free",
    ],
    later: &[],
};
const BASIC: Keys = Keys {
    now: &["user", "password"],
    later: &[],
};
const NAME_AND_VALUE: Keys = Keys {
    now: &["name", "value"],
    later: &[],
};

pub(super) fn upstream(name: &Name, table: &Table<'_>) -> Option<Upstream> {
    let url = table.required("url", "\"https://api.example\"", base_url);
    let auth = table.optional("auth", auth);
    let headers = table.or("headers", HeaderMap::new(), |v| {
        given::headers(v, given::forbidden_upstream)
    });
    let written = match &auth {
        Some(Auth::Bearer(_) | Auth::Basic { .. }) => Some(AUTHORIZATION),
        Some(Auth::Header { name, .. }) => Some(name.clone()),
        _ => None,
    };
    if let Some(twice) = written.filter(|name| headers.contains_key(name)) {
        let message = format!("header `{twice}` is given twice, by `auth` and by `headers`");
        table.context.fault(table.place("headers"), message);
    }
    let seconds = Duration::from_secs;
    let timeout = |key, default| table.or(key, default, |v| v.duration(&TIMEOUT));
    Some(Upstream {
        name: name.clone(),
        auth,
        headers,
        timeout: timeout("timeout", seconds(10)),
        connect_timeout: timeout("connect_timeout", seconds(3)),
        connections_max: table.or("connections_max", 64, |v| v.integer(&CONNECTIONS)),
        redirects: table.or("redirects", 3, |v| v.integer(&REDIRECTS)),
        budget: table.optional("budget", budget),
        url: url?,
    })
}

/// What may be asked of an upstream, polls and callers together.
fn budget(value: Value<'_>) -> Option<Terms> {
    let table = value.table(&BUDGET)?;
    let requests: Option<u32> = table.required("requests", "5000", |v| v.integer(&REQUESTS));
    let per = table.required("per", "\"1h\"", |v| v.duration(&PER));
    let burst_default = requests.map_or(1, |requests| (requests / BURST_SHARE).max(1));
    let burst = table.or("burst", burst_default, |v| v.integer(&REQUESTS));
    let poll_floor = table.or("poll_floor", 0.1, Value::ratio);
    let wait = table.or("wait", Duration::from_secs(1), |v| v.duration(&WAIT));
    let not_modified_free = table.or("not_modified_free", false, Value::boolean);
    Some(Terms {
        requests: requests?,
        per: per?,
        burst,
        poll_floor,
        wait,
        not_modified_free,
    })
}

/// A URL to which paths can be appended as text: it ends neither in a query nor, as far as a URL
/// can, in a slash.
fn base_url(value: Value<'_>) -> Option<Url> {
    let mut url = given::url(value)?;
    if url.query().is_some() {
        value.fault("`url` holds no `?`, write `query` in the source or `auth` in the upstream");
        return None;
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Some(url)
}

fn auth(value: Value<'_>) -> Option<Auth> {
    value.hide();
    let table = value.table(&AUTH)?;
    let kinds = AUTH.now.iter().filter(|kind| table.has(kind)).count();
    if kinds != 1 {
        let wanted = "exactly one of `bearer`, `basic`, `header` and `query`";
        // An unknown or unsupported key alone has been told of.
        if kinds > 1 || table.is_empty() {
            value.fault(format!("`auth` holds {wanted}"));
        }
        return None;
    }
    table
        .optional("bearer", |v| Some(Auth::Bearer(given::token(v)?)))
        .or_else(|| table.optional("basic", basic))
        .or_else(|| table.optional("header", header))
        .or_else(|| table.optional("query", query))
}

fn basic(value: Value<'_>) -> Option<Auth> {
    let table = value.table(&BASIC)?;
    let user = table.required("user", "\"…\"", |v| {
        let user = given::secret(v)?;
        if user.expose().contains(':') {
            v.fault("`user` holds a colon, which ends it (RFC 7617)");
            return None;
        }
        Some(user.expose().to_owned())
    });
    let password = table.required("password", "{ env = \"…\" }", given::secret);
    Some(Auth::Basic {
        user: user?,
        password: password?,
    })
}

fn header(value: Value<'_>) -> Option<Auth> {
    let table = value.table(&NAME_AND_VALUE)?;
    let name = table.required("name", "\"x-api-key\"", |v| {
        v.parsed("a header's name", |text| {
            given::header_name(text, given::forbidden_upstream)
        })
    });
    let content = table.required("value", "{ env = \"…\" }", |v| {
        let secret = given::secret(v)?;
        if !given::fits_header(&secret) {
            v.fault("`value` holds what no header may");
            return None;
        }
        Some(secret)
    });
    Some(Auth::Header {
        name: name?,
        value: content?,
    })
}

fn query(value: Value<'_>) -> Option<Auth> {
    let table = value.table(&NAME_AND_VALUE)?;
    let name = table.required("name", "\"api_key\"", |v| {
        v.parsed("a parameter's name", |text| {
            if text.is_empty() {
                return Err("a parameter has a name".to_owned());
            }
            Ok(text.to_owned())
        })
    });
    let content = table.required("value", "{ env = \"…\" }", given::secret);
    Some(Auth::Query {
        name: name?,
        value: content?,
    })
}
