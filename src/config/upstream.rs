//! `[upstreams.NAME]`: where an API is and how doorbell shows who it is.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use url::Url;

use crate::budget::Terms;
use crate::name::Name;
use crate::secret::Secret;

use super::reader::{Keys, Table};
use super::tls::tls;
use super::value::Value;
use super::{Auth, OAuth2, Upstream, given, words};

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

/// Base URLs of one upstream; more of them stand behind a balancer.
const URLS_MAX: usize = 16;

/// Scopes of a token; no server knows more that one client could want.
const SCOPES_MAX: usize = 64;

/// A burst is this part of the requests unless it is said.
const BURST_SHARE: u32 = 60;

pub(super) const UPSTREAM: Keys = Keys {
    now: &[
        "url",
        "urls",
        "auth",
        "headers",
        "timeout",
        "connect_timeout",
        "connections_max",
        "redirects",
        "egress_proxy",
        "tls",
        "budget",
    ],
    later: &[],
};
const AUTH: Keys = Keys {
    now: &["bearer", "basic", "header", "query", "oauth2"],
    later: &[],
};
const OAUTH2: Keys = Keys {
    now: &["token_url", "client_id", "client_secret", "scopes"],
    later: &[],
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
    let urls = urls(table);
    let auth = table.optional("auth", auth);
    let headers = table.or("headers", HeaderMap::new(), |v| {
        given::headers(v, given::forbidden_upstream)
    });
    let written = match &auth {
        Some(Auth::Bearer(_) | Auth::Basic { .. } | Auth::OAuth2(_)) => Some(AUTHORIZATION),
        Some(Auth::Header { name, .. }) => Some(name.clone()),
        _ => None,
    };
    if let Some(twice) = written.filter(|name| headers.contains_key(name)) {
        let message = format!("header `{twice}` is given twice, by `auth` and by `headers`");
        table.context.fault(table.place("headers"), message);
    }
    let first = urls.as_ref().and_then(|urls| urls.first());
    let is_plain = first.is_some_and(|url| url.scheme() == "http");
    if is_plain && table.has("tls") {
        let message = "`tls` is about https://, and `url` is http://";
        table.context.fault(table.place("tls"), message);
    }
    let seconds = Duration::from_secs;
    let timeout = |key, default| table.or(key, default, |v| v.duration(&TIMEOUT));
    let mut urls = urls?.into_iter();
    Some(Upstream {
        name: name.clone(),
        url: urls.next()?,
        more_urls: urls.collect(),
        auth,
        headers,
        timeout: timeout("timeout", seconds(10)),
        connect_timeout: timeout("connect_timeout", seconds(3)),
        connections_max: table.or("connections_max", 64, |v| v.integer(&CONNECTIONS)),
        redirects: table.or("redirects", 3, |v| v.integer(&REDIRECTS)),
        egress_proxy: table.optional("egress_proxy", egress_proxy),
        tls: table.optional("tls", tls).map(Arc::new),
        budget: table.optional("budget", budget),
    })
}

/// A URL that may hold a password.
fn egress_proxy(value: Value<'_>) -> Option<Secret> {
    let text = given::text(value)?;
    let url = Url::parse(&text).ok().filter(|url| {
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        // To one of https:// certificates of ours would be shown that are for others.
        url.scheme() == "http" && url.has_host() && is_bare && is_plain
    });
    if url.is_none() {
        value.fault("`egress_proxy` is a URL without path like \"http://proxy.example:3128\"");
    }
    url.map(|_| Secret::new(text))
}

/// The base URLs: one, or several of one scheme.
fn urls(table: &Table<'_>) -> Option<Vec<Url>> {
    if !table.has("urls") {
        let url = table.required("url", "\"https://api.example\"", base_url);
        return url.map(|url| vec![url]);
    }
    let value = table.value("urls")?;
    let urls = value.each("a list of URLs", URLS_MAX, base_url)?;
    if table.has("url") {
        value.fault("`urls` stands in place of `url`, leave one of them out");
        return None;
    }
    let Some(first) = urls.first() else {
        value.absent("`urls` is empty, write at least one");
        return None;
    };
    if urls.iter().any(|url| url.scheme() != first.scheme()) {
        value.fault("`urls` are all https:// or all http://, for the same secrets go to them");
        return None;
    }
    let mut rest = urls.iter();
    while let Some(url) = rest.next() {
        if rest.as_slice().contains(url) {
            value.fault("`urls` holds the same URL twice");
            return None;
        }
    }
    Some(urls)
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
        let advice = "write `query` in the source or `auth` in the upstream";
        value.fault(format!("`{}` holds no `?`, {advice}", value.key));
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
        let wanted = "exactly one of `bearer`, `basic`, `header`, `query` and `oauth2`";
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
        .or_else(|| table.optional("oauth2", oauth2))
}

fn oauth2(value: Value<'_>) -> Option<Auth> {
    let table = value.table(&OAUTH2)?;
    let token_url = table.required("token_url", "\"https://login.example/token\"", |v| {
        let url = given::url(v)?;
        let is_near = url.host().is_some_and(|host| words::is_loopback(&host));
        if url.scheme() == "http" && !is_near {
            let message = "`token_url` is http://: whoever is on the way reads the secret";
            v.context.warn(v.span(), message);
        }
        Some(url)
    });
    let client_id = table.required("client_id", "\"…\"", given::secret);
    let client_secret = table.required("client_secret", "{ env = \"…\" }", given::secret);
    let scopes = table.or("scopes", Vec::new(), |v| {
        v.each("a list of scopes", SCOPES_MAX, |v| {
            v.parsed("a scope", scope)
        })
    });
    Some(Auth::OAuth2(OAuth2 {
        token_url: token_url?,
        client_id: client_id?,
        client_secret: client_secret?,
        scopes,
    }))
}

/// Source: RFC 6749 section 3.3.
fn scope(text: &str) -> Result<String, &'static str> {
    let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    if text.is_empty() || !text.bytes().all(fits) {
        return Err("a scope holds no spaces, quotes, backslashes or letters beyond ASCII");
    }
    Ok(text.to_owned())
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
