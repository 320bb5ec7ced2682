//! Asks an endpoint for permission before it is rung: the handshake of CloudEvents web hooks.
//!
//! Decides what is asked and what is an agreement. It is asked anew by each process, and after the
//! endpoint was switched on or points elsewhere. Permission by callback is not asked for.
//!
//! Source: CloudEvents 1.0, "HTTP 1.1 Web Hooks for Event Delivery", section 4.

use std::num::NonZeroU32;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use url::Url;

use super::attempt;
use super::verdict::Answer;
use crate::config::{Endpoint, Rate};
use crate::time::Timestamp;

/// [`Answer::error`] of an endpoint that does not agree.
pub(super) const NOT_ALLOWED: &str = "handshake";

/// Who asks; also in every webhook after the endpoint has agreed.
pub(super) const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const REQUEST_RATE: HeaderName = HeaderName::from_static("webhook-request-rate");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// Rates are of requests in so long.
const MINUTE: Duration = Duration::from_mins(1);

/// That an endpoint agreed to be rung.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Consent {
    url: Url,
    origin: HeaderValue,
    allowed: Allowed,
}

/// How fast it may be rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Allowed {
    /// However fast.
    Freely,
    /// No faster than this.
    At(Rate),
}

impl Consent {
    /// Whether it is of the endpoint as it is now.
    pub(super) fn is_of(&self, endpoint: &Endpoint) -> bool {
        self.url == endpoint.url && endpoint.handshake.as_ref() == Some(&self.origin)
    }

    /// The slower of the endpoint's own rate and what it agreed to.
    pub(super) fn rate(&self, own: Option<Rate>) -> Option<Rate> {
        let allowed = match self.allowed {
            Allowed::Freely => None,
            Allowed::At(rate) => Some(rate),
        };
        let rates = own.into_iter().chain(allowed);
        // One request of each takes so long.
        rates.max_by_key(|rate| rate.per.as_nanos() / u128::from(rate.requests.get()))
    }
}

/// Asks `endpoint` under the name `origin`.
///
/// # Errors
/// What it answered, or why it did not, when it did not agree.
pub(super) async fn ask(
    client: &reqwest::Client,
    endpoint: &Endpoint,
    origin: &HeaderValue,
    now: Timestamp,
) -> Result<Consent, Answer> {
    let mut request = reqwest::Request::new(Method::OPTIONS, endpoint.url.clone());
    *request.timeout_mut() = Some(endpoint.timeout);
    let headers = request.headers_mut();
    headers.clone_from(&endpoint.headers);
    headers.insert(REQUEST_ORIGIN, origin.clone());
    if let Some(rate) = endpoint.rate {
        headers.insert(REQUEST_RATE, HeaderValue::from(a_minute(rate)));
    }
    let response = attempt::exchange(client, endpoint, request).await?;
    if let Some(allowed) = agreed(response.headers(), origin) {
        return Ok(Consent {
            url: endpoint.url.clone(),
            origin: origin.clone(),
            allowed,
        });
    }
    let status = Some(response.status().as_u16());
    let refused = attempt::read_failed(response, now).await;
    let name = origin.to_str().unwrap_or_default();
    let said = refused.body.filter(|body| !body.is_empty());
    let body = said.unwrap_or_else(|| {
        format!("the answer to OPTIONS has no `{ALLOWED_ORIGIN}: {name}`").into()
    });
    Err(Answer {
        status,
        error: Some(NOT_ALLOWED),
        body: Some(body),
        retry_after: refused.retry_after,
    })
}

/// What is agreed to, whatever the answer's status; `None`: nothing.
fn agreed(headers: &HeaderMap, origin: &HeaderValue) -> Option<Allowed> {
    let allowed = headers.get(ALLOWED_ORIGIN)?.as_bytes().trim_ascii();
    if allowed != b"*" && !allowed.eq_ignore_ascii_case(origin.as_bytes()) {
        return None;
    }
    let Some(rate) = headers.get(ALLOWED_RATE) else {
        return Some(Allowed::Freely);
    };
    let rate = rate.to_str().ok()?.trim();
    if rate == "*" {
        return Some(Allowed::Freely);
    }
    let requests: NonZeroU32 = rate.parse().ok()?;
    let per = MINUTE;
    Some(Allowed::At(Rate { requests, per }))
}

/// Requests a minute, at least one.
fn a_minute(rate: Rate) -> u64 {
    let requests = u128::from(rate.requests.get()) * MINUTE.as_nanos() / rate.per.as_nanos();
    u64::try_from(requests).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(requests: u32, per: Duration) -> Rate {
        let requests = NonZeroU32::new(requests).expect("some");
        Rate { requests, per }
    }

    fn answer(headers: &[(&'static str, &'static str)]) -> Option<Allowed> {
        let pairs = headers.iter().map(|(name, value)| {
            let (name, value) = (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
            (name, value)
        });
        agreed(&pairs.collect(), &HeaderValue::from_static("bell.example"))
    }

    #[test]
    fn only_who_names_us_or_everybody_agrees() {
        let origin = "webhook-allowed-origin";
        for (value, expected) in [
            ("bell.example", true),
            ("Bell.Example", true),
            (" * ", true),
            ("other.example", false),
            ("bell.example, other.example", false),
            ("", false),
        ] {
            assert_eq!(answer(&[(origin, value)]).is_some(), expected, "{value:?}");
        }
        assert_eq!(answer(&[("allow", "POST")]), None);
    }

    #[test]
    fn a_rate_is_of_minutes_and_one_that_is_none_is_no_agreement() {
        let with = |rate| {
            answer(&[
                ("webhook-allowed-origin", "*"),
                ("webhook-allowed-rate", rate),
            ])
        };
        assert_eq!(with("120"), Some(Allowed::At(rate(120, MINUTE))));
        assert_eq!(with("*"), Some(Allowed::Freely));
        for wrong in ["0", "-1", "many", "1.5", "99999999999"] {
            assert_eq!(with(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_slower_rate_holds() {
        let second = Duration::from_secs(1);
        let consent = |allowed| Consent {
            url: Url::parse("https://crm.example/").expect("a URL"),
            origin: HeaderValue::from_static("bell.example"),
            allowed,
        };
        let (fast, slow) = (rate(10, second), rate(60, MINUTE));
        assert_eq!(consent(Allowed::At(slow)).rate(Some(fast)), Some(slow));
        assert_eq!(
            consent(Allowed::At(rate(6_000, MINUTE))).rate(Some(fast)),
            Some(fast)
        );
        assert_eq!(consent(Allowed::At(slow)).rate(None), Some(slow));
        assert_eq!(consent(Allowed::Freely).rate(Some(fast)), Some(fast));
        assert_eq!(consent(Allowed::Freely).rate(None), None);
        assert_eq!(a_minute(fast), 600);
        assert_eq!(a_minute(rate(1, Duration::from_hours(1))), 1);
    }
}
