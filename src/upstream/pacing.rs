//! What an answer's headers say about when to ask again. Pure: the present is an argument.

use std::time::{Duration, UNIX_EPOCH};

use http::header::{CACHE_CONTROL, EXPIRES};
use http::{HeaderMap, HeaderName};

use super::Pacing;
use crate::budget::Quota;
use crate::time::Timestamp;

/// Longest wait that an upstream can ask for; a header of more is a mistake more often than not,
/// and one poll a day harms nobody.
pub const NOT_BEFORE_MAX: Duration = Duration::from_hours(24);

/// Prefixes of the three-header families: IETF drafts 03 to 06 and GitLab, GitHub, X.
const FAMILIES: [&str; 3] = ["ratelimit", "x-ratelimit", "x-rate-limit"];

/// From this on a number is an epoch in milliseconds.
const EPOCH_MILLIS_FROM: f64 = 1e12;
/// From this on a number is an epoch in seconds.
const EPOCH_SECONDS_FROM: f64 = 1e9;

impl Pacing {
    /// Reads `Retry-After` (RFC 9110 section 10.2.3), `X-Poll-Interval`, `Backoff`, and the
    /// rate-limit headers in all spellings, which count only when nothing remains. The longest
    /// wins. What does not read is ignored.
    #[must_use]
    pub fn read(headers: &HeaderMap, now: Timestamp) -> Self {
        let fresh_for = freshness(headers);
        if !headers.keys().any(speaks) {
            // As most answers do: looking each name up costs more than all else that is read.
            return Self {
                not_before: None,
                fresh_for,
            };
        }
        let plain = ["retry-after", "x-poll-interval", "backoff"];
        let asked = plain
            .into_iter()
            .filter_map(|name| wait(text(headers, name)?, now));
        let used_up = told(headers, now).filter(|(left, _)| *left <= 0.0);
        let not_before = asked
            .chain(used_up.map(|(_, wait)| wait))
            .max()
            .map(|wait| wait.min(NOT_BEFORE_MAX))
            .filter(|wait| !wait.is_zero());
        Self {
            not_before,
            fresh_for,
        }
    }

    /// What two answers say together: the longest wait, and freshness only as long as both have it.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let both = self.fresh_for.zip(other.fresh_for);
        Self {
            not_before: self.not_before.max(other.not_before),
            fresh_for: both.map(|(one, other)| one.min(other)),
        }
    }
}

/// How long an answer is fresh to a private cache: `max-age`, or else what `Expires` leaves of
/// `Date`, less its age (RFC 9111 sections 4.2.1 and 5.2.2). What may not be kept, or only to be
/// asked for again, is never fresh; `s-maxage` is for shared caches.
fn freshness(headers: &HeaderMap) -> Option<Duration> {
    if !headers.contains_key(CACHE_CONTROL) && !headers.contains_key(EXPIRES) {
        return None;
    }
    let mut lifetime = None;
    let fields = headers.get_all(CACHE_CONTROL).into_iter();
    let fields = fields.filter_map(|value| value.to_str().ok());
    for directive in fields.flat_map(|field| split(field, ',')) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return None,
            // The first of several counts; what does not read is stale.
            "max-age" if lifetime.is_none() => {
                let seconds = value.trim().trim_matches('"');
                let is_plain = seconds.bytes().all(|byte| byte.is_ascii_digit());
                lifetime = Some(number(seconds).filter(|_| is_plain).unwrap_or(0.0));
            }
            _ => {}
        }
    }
    let date = |name| httpdate::parse_http_date(text(headers, name)?.trim()).ok();
    let lifetime = match lifetime {
        Some(lifetime) => lifetime,
        None => date("expires")?
            .duration_since(date("date")?)
            .ok()?
            .as_secs_f64(),
    };
    let age = text(headers, "age").and_then(number).unwrap_or(0.0);
    let left = (lifetime - age).clamp(0.0, NOT_BEFORE_MAX.as_secs_f64());
    Some(Duration::from_secs_f64(left)).filter(|left| !left.is_zero())
}

/// Whether a header of this name says anything about when to ask again.
fn speaks(name: &HeaderName) -> bool {
    let name = name.as_str();
    let plain = ["retry-after", "x-poll-interval", "backoff"];
    plain.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family))
}

/// Whether the headers say that a quota is used up: a 403 is then a rate limit, as GitHub means it.
pub(super) fn is_rate_limit(headers: &HeaderMap) -> bool {
    let remains_nothing = |family: &str| {
        text(headers, &format!("{family}-remaining"))
            .and_then(number)
            .is_some_and(|left| left <= 0.0)
    };
    headers.contains_key("retry-after") || FAMILIES.into_iter().any(remains_nothing)
}

/// `Retry-After` (RFC 9110 section 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    wait(text(headers, "retry-after")?, now)
}

/// What the rate-limit headers say is left, and until when.
pub(super) fn quotas(headers: &HeaderMap, now: Timestamp) -> Vec<Quota> {
    if !headers.keys().any(speaks) {
        return Vec::new();
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number here is not negative, and what is beyond u64 is as good as its end"
    )]
    let quota = |(left, reset): (f64, Duration)| Quota {
        remaining: left as u64,
        reset,
    };
    told(headers, now).map(quota).collect()
}

/// All quotas that the headers tell of, in any spelling: requests left, and for how long.
fn told(headers: &HeaderMap, now: Timestamp) -> impl Iterator<Item = (f64, Duration)> {
    let families = FAMILIES
        .into_iter()
        .filter_map(move |family| of_family(headers, family, now));
    let members = headers
        .get_all("ratelimit")
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|field| split(field, ','))
        .filter_map(move |member| of_member(member, now));
    families.chain(members).chain(of_field(headers, now))
}

/// `X-RateLimit-Remaining: 0` with `X-RateLimit-Reset: …` or `…-Reset-After: …`.
fn of_family(headers: &HeaderMap, family: &str, now: Timestamp) -> Option<(f64, Duration)> {
    let left = number(text(headers, &format!("{family}-remaining"))?)?;
    let after = text(headers, &format!("{family}-reset-after"));
    let reset = after.or_else(|| text(headers, &format!("{family}-reset")));
    Some((left, wait(reset?, now)?))
}

/// A member of the `RateLimit` list of drafts 08 on: `"default";r=0;t=30`.
fn of_member(member: &str, now: Timestamp) -> Option<(f64, Duration)> {
    let parameter = |name: &str| {
        split(member, ';').skip(1).find_map(|part| {
            let (key, value) = part.split_once('=')?;
            (key.trim() == name).then(|| value.trim())
        })
    };
    Some((number(parameter("r")?)?, wait(parameter("t")?, now)?))
}

/// The `RateLimit` dictionary of draft 07: `limit=100, remaining=0, reset=30`.
fn of_field(headers: &HeaderMap, now: Timestamp) -> Option<(f64, Duration)> {
    let field = text(headers, "ratelimit")?;
    let member = |name: &str| {
        split(field, ',').find_map(|part| {
            let (key, value) = part.split_once('=')?;
            (key.trim() == name).then(|| value.trim())
        })
    };
    Some((number(member("remaining")?)?, wait(member("reset")?, now)?))
}

/// Seconds, an epoch, or an HTTP-date, as a wait from `now`.
fn wait(text: &str, now: Timestamp) -> Option<Duration> {
    let now_seconds = now.as_millis() as f64 / 1000.0;
    let Some(value) = number(text) else {
        let date = httpdate::parse_http_date(text.trim()).ok()?;
        let since = date.duration_since(UNIX_EPOCH).ok()?.as_millis();
        let date = Timestamp::from_millis(i64::try_from(since).ok()?);
        return Some(date.since(now));
    };
    let seconds = if value > EPOCH_MILLIS_FROM {
        value / 1000.0 - now_seconds
    } else if value > EPOCH_SECONDS_FROM {
        value - now_seconds
    } else {
        value
    };
    let bounded = seconds.clamp(0.0, NOT_BEFORE_MAX.as_secs_f64());
    Some(Duration::from_secs_f64(bounded))
}

/// A number that is not negative; decimals are accepted, other forms of floats are not.
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value: f64 = plain.then(|| text.parse().ok()).flatten()?;
    value.is_finite().then_some(value)
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Parts between separators that stand outside of quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const NOW: Timestamp = Timestamp::from_millis(784_111_777_000);
    /// Past 1e9 s, as the present is.
    const LATER: Timestamp = Timestamp::from_millis(1_795_456_800_000);

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().expect("a header name");
            headers.append(name, HeaderValue::from_str(value).expect("a header value"));
        }
        headers
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_at_most_a_day() {
        for (value, expected) in [
            ("120", Some(120.0)),
            ("0", None),
            ("1.5", Some(1.5)),
            ("999999", Some(86_400.0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60.0)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", None),
            ("Sun, 07 Nov 2094 08:48:37 GMT", Some(86_400.0)),
            ("soon", None),
            ("-5", None),
            ("inf", None),
            ("NaN", None),
            ("", None),
            ("99999999999999999999999999999999999999", Some(86_400.0)),
        ] {
            let pacing = Pacing::read(&headers(&[("retry-after", value)]), NOW);
            assert_eq!(
                pacing.not_before,
                expected.map(Duration::from_secs_f64),
                "{value:?}"
            );
        }
    }

    #[test]
    fn rate_limits_count_when_nothing_remains() {
        for (lines, expected) in [
            (
                &[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "60")][..],
                None,
            ),
            (
                &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "60")],
                Some(60),
            ),
            (
                &[
                    ("x-ratelimit-remaining", "0.0"),
                    ("x-ratelimit-reset", "1795456830"),
                ],
                Some(30),
            ),
            (
                &[
                    ("ratelimit-remaining", "0"),
                    ("ratelimit-reset", "1795456830000"),
                ],
                Some(30),
            ),
            (
                &[
                    ("x-rate-limit-remaining", "0"),
                    ("x-rate-limit-reset", "7.0"),
                ],
                Some(7),
            ),
            (
                &[
                    ("x-ratelimit-remaining", "0"),
                    ("x-ratelimit-reset-after", "3"),
                    ("x-ratelimit-reset", "1795456830"),
                ],
                Some(3),
            ),
            (
                &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "x")],
                None,
            ),
            (&[("x-ratelimit-reset", "60")], None),
            (&[("ratelimit", r#""default";r=0;t=30"#)], Some(30)),
            (&[("ratelimit", r#""default";r=5;t=30"#)], None),
            (
                &[("ratelimit", r#""a,b;r=0;t=99";r=5;t=30, "day";r=0;t=600"#)],
                Some(600),
            ),
            (
                &[("ratelimit", "limit=100, remaining=0, reset=12")],
                Some(12),
            ),
            (&[("ratelimit", "limit=100, remaining=3, reset=12")], None),
        ] {
            let pacing = Pacing::read(&headers(lines), LATER);
            assert_eq!(
                pacing.not_before,
                expected.map(Duration::from_secs),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn freshness_is_that_of_a_private_cache_less_the_age() {
        let (date, later) = (
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:50:37 GMT",
        );
        for (lines, expected) in [
            (&[("cache-control", "max-age=60")][..], Some(60)),
            (&[("cache-control", "public, Max-Age=\"60\"")], Some(60)),
            (&[("cache-control", "max-age=60"), ("age", "20")], Some(40)),
            (&[("cache-control", "max-age=60"), ("age", "60")], None),
            (&[("cache-control", "max-age=60"), ("age", "x")], Some(60)),
            (&[("cache-control", "max-age=60, max-age=5")], Some(60)),
            (&[("cache-control", "s-maxage=600, max-age=60")], Some(60)),
            (&[("cache-control", "s-maxage=600")], None),
            (&[("cache-control", "max-age=60, no-cache")], None),
            (&[("cache-control", "no-store, max-age=60")], None),
            (
                &[
                    ("cache-control", "max-age=60"),
                    ("cache-control", "no-cache"),
                ],
                None,
            ),
            (&[("cache-control", "max-age=-1")], None),
            (&[("cache-control", "max-age=1e3")], None),
            (&[("cache-control", "max-age=")], None),
            (&[("cache-control", "max-age")], None),
            (&[("cache-control", "max-age=soon")], None),
            (&[("cache-control", "x=\"max-age=60\"")], None),
            (
                &[("cache-control", "max-age=99999999999999999999999")],
                Some(86_400),
            ),
            (&[("date", date), ("expires", later)], Some(60)),
            (
                &[("date", date), ("expires", later), ("age", "50")],
                Some(10),
            ),
            (
                &[
                    ("date", date),
                    ("expires", later),
                    ("cache-control", "max-age=5"),
                ],
                Some(5),
            ),
            (&[("date", later), ("expires", date)], None),
            (&[("date", date), ("expires", "0")], None),
            (&[("expires", later)], None),
            (&[], None),
        ] {
            let pacing = Pacing::read(&headers(lines), NOW);
            let expected = expected.map(Duration::from_secs);
            assert_eq!(pacing.fresh_for, expected, "{lines:?}");
            assert_eq!(pacing.not_before, None, "{lines:?}");
        }
    }

    #[test]
    fn pages_are_fresh_as_long_as_all_of_them_are() {
        let of = |not_before, fresh_for| Pacing {
            not_before: Some(not_before).filter(|s| *s > 0).map(Duration::from_secs),
            fresh_for: Some(fresh_for).filter(|s| *s > 0).map(Duration::from_secs),
        };
        assert_eq!(of(0, 60).and(of(5, 30)), of(5, 30));
        assert_eq!(of(7, 60).and(of(5, 0)), of(7, 0));
    }

    #[test]
    fn the_longest_of_all_wins() {
        let pacing = Pacing::read(
            &headers(&[
                ("retry-after", "5"),
                ("x-poll-interval", "60"),
                ("backoff", "10"),
            ]),
            LATER,
        );
        assert_eq!(pacing.not_before, Some(Duration::from_mins(1)));
        assert_eq!(Pacing::read(&HeaderMap::new(), LATER), Pacing::default());
    }
}
