//! What an endpoint's answer means, and what follows from it. Pure.

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;

use crate::backoff::spread;
use crate::store::Then;
use crate::time::Timestamp;

/// The longest that an endpoint may ask us to stay away.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// What came of one POST.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// The answer's status; `None`: there was none.
    pub(super) status: Option<u16>,
    /// Why it failed, as a class; `None`: it was accepted.
    pub(super) error: Option<&'static str>,
    /// The beginning of the answer; `None` for accepted ones.
    pub(super) body: Option<Box<str>>,
    /// How long the endpoint asks us to stay away.
    pub(super) retry_after: Option<Duration>,
}

/// What an answer says of the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    /// What follows for the delivery.
    pub(super) then: Then,
    /// Whether the endpoint is gone for good.
    pub(super) is_gone: bool,
}

/// Judges attempt `number` (from 1) of an endpoint with these `retry` delays, answered at `now`.
///
/// Standard Webhooks 1.0: 2xx accepts; 410 switches the endpoint off, and its deliveries stay: that
/// one is due as soon as the endpoint is enabled, and 410 never makes it a dead letter; everything
/// else is tried again, not before `Retry-After`.
pub(super) fn judge(
    answer: &Answer,
    (number, retry): (u32, &[Duration]),
    now: Timestamp,
    random: f64,
) -> Verdict {
    let is_gone = answer.status == Some(410);
    let delay = retry.get(number as usize - 1);
    let then = match (answer.error, delay) {
        (None, _) => Then::Delivered,
        (Some(_), _) if is_gone => Then::Retry(now),
        (Some(_), Some(&delay)) => {
            let asked = answer.retry_after.unwrap_or_default();
            Then::Retry(now.plus(spread(delay, random).max(asked)))
        }
        (Some(_), None) => Then::Dead,
    };
    Verdict { then, is_gone }
}

/// Reads `Retry-After`: seconds or an HTTP date (RFC 9110 section 10.2.3), at most 24 hours.
/// What is neither is ignored.
pub(super) fn retry_after(value: &HeaderValue, now: Timestamp) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let delay = if is_number {
        // A number too large for u64 is certainly over the bound.
        text.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs)
    } else {
        let date = httpdate::parse_http_date(text).ok()?;
        let since = date.duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(millis).since(now)
    };
    Some(delay.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(100)];
    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn failed(status: u16) -> Answer {
        Answer {
            status: Some(status),
            error: Some("status"),
            ..Answer::default()
        }
    }

    fn then(answer: &Answer, number: u32) -> Then {
        judge(answer, (number, &RETRY), NOW, 0.5).then
    }

    fn later(seconds: u64) -> Then {
        Then::Retry(NOW.plus(Duration::from_secs(seconds)))
    }

    #[test]
    fn n_delays_make_n_plus_one_attempts() {
        assert_eq!(then(&failed(500), 1), later(10));
        assert_eq!(then(&failed(500), 2), later(100));
        assert_eq!(then(&failed(500), 3), Then::Dead);
        assert_eq!(judge(&failed(500), (1, &[]), NOW, 0.5).then, Then::Dead);
        assert_eq!(then(&Answer::default(), 3), Then::Delivered);
    }

    #[test]
    fn delays_are_spread_by_a_fifth() {
        let at = |random| judge(&failed(500), (1, &RETRY), NOW, random).then;
        assert_eq!((at(0.0), at(1.0)), (later(8), later(12)));
    }

    #[test]
    fn an_endpoint_may_ask_for_more_patience_but_not_for_less() {
        let asking = |seconds| Answer {
            retry_after: Some(Duration::from_secs(seconds)),
            ..failed(503)
        };
        assert_eq!(then(&asking(60), 1), later(60));
        assert_eq!(then(&asking(1), 1), later(10));
        assert_eq!(then(&asking(60), 3), Then::Dead);
    }

    #[test]
    fn gone_is_due_at_once_and_never_dead() {
        for number in 1..5 {
            let verdict = judge(&failed(410), (number, &RETRY), NOW, 0.5);
            assert!(verdict.is_gone && verdict.then == Then::Retry(NOW));
        }
        assert!(!judge(&failed(404), (1, &RETRY), NOW, 0.5).is_gone);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_within_a_day() {
        let day = 24 * 60 * 60;
        let now = Timestamp::from_millis(784_111_717_000);
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:40:00 GMT", Some(0)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", Some(day)),
            ("99999999999999999999999", Some(day)),
            ("86401", Some(day)),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
        ] {
            let value = HeaderValue::from_static(text);
            let read = retry_after(&value, now);
            assert_eq!(read, seconds.map(Duration::from_secs), "{text:?}");
        }
    }
}
