//! The tokens of an upstream with OAuth 2 client credentials (RFC 6749 section 4.4), shared by
//! polls and callers.
//!
//! Decides when a token is fetched: where there is none, shortly before it ends, and once when the
//! upstream refuses it; one request at a time, and none for a while after one that failed. Neither
//! secret nor token enters a message, and the endpoint's own words only where the standard has
//! them.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT as USER_AGENT_HEADER};
use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, timeout};
use url::form_urlencoded::{Serializer, byte_serialize};

use super::credential::{basic, bearer};
use super::exchange::{USER_AGENT, root_of};
use super::{Credential, Failure, Pacing, Reason, pacing};
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::config;
use crate::name::Name;

/// Largest answer of a token endpoint; tokens that hold claims have some kilobytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A token is replaced when this part of its life is left, so that none ends on its way, but no
/// sooner than [`EARLY_MAX`] before its end.
const EARLY_PART: u32 = 10;
const EARLY_MAX: Duration = Duration::from_mins(1);

/// Shortest life that is believed: who says 0 would be asked for each request.
const LIFE_MIN: Duration = Duration::from_secs(1);

/// Longest life that is believed, and that of a token whose answer tells none: it is replaced when
/// it is refused.
const LIFE_MAX: Duration = Duration::from_hours(30 * 24);

/// Rests after failed requests for a token.
const RETRY: Backoff = Backoff {
    base: Duration::from_secs(1),
    ceiling: Duration::from_mins(1),
};

/// A token may be thrown away because it was refused once in this time: where the upstream refuses
/// whatever token it is shown, the endpoint is not asked for one per call.
const REFUSED_REST: Duration = Duration::from_secs(30);

/// Codes of RFC 6749 section 5.2, the only words of the endpoint that are shown.
const CODES: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// Where an upstream's tokens come from.
#[derive(Debug)]
pub(super) struct Tokens {
    upstream: Name,
    grant: config::OAuth2,
    client: reqwest::Client,
    timeout: Duration,
    desk: Mutex<Desk>,
    /// Held by whoever asks for a token.
    turn: tokio::sync::Mutex<()>,
}

/// What is known of tokens.
#[derive(Debug, Default)]
struct Desk {
    token: Option<Token>,
    failed: Option<Failed>,
    /// When one was last thrown away because it was refused.
    refused_at: Option<Instant>,
}

#[derive(Debug)]
struct Token {
    credential: Arc<Credential>,
    renew_at: Instant,
    ends_at: Instant,
}

#[derive(Debug)]
struct Failed {
    failure: Failure,
    failures: u32,
    until: Instant,
}

/// What a token endpoint gave.
#[derive(Debug)]
struct Given {
    credential: Credential,
    life: Duration,
}

#[derive(Deserialize)]
struct Answered {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<Value>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

impl Tokens {
    pub(super) fn new(
        upstream: &Name,
        grant: &config::OAuth2,
        client: &reqwest::Client,
        timeout: Duration,
    ) -> Self {
        Self {
            upstream: upstream.clone(),
            grant: grant.clone(),
            client: client.clone(),
            timeout,
            desk: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// The token in force, or a new one.
    pub(super) async fn current(self: &Arc<Self>) -> Result<Arc<Credential>, Failure> {
        if let Some(found) = self.desk.lock().find(Instant::now()) {
            return found;
        }
        // In a task of its own: who asks may go away, and others wait for the same token.
        let tokens = Arc::clone(self);
        let renewing = tokio::spawn(async move { tokens.renewed().await });
        let gone = |_| Err(failure("nobody asked for a token to the end"));
        renewing.await.unwrap_or_else(gone)
    }

    /// Whether there may be another token than `credential`, which was refused.
    pub(super) fn refused(&self, credential: &Arc<Credential>) -> bool {
        self.desk.lock().refused(credential, Instant::now())
    }

    async fn renewed(&self) -> Result<Arc<Credential>, Failure> {
        let _turn = self.turn.lock().await;
        if let Some(found) = self.desk.lock().find(Instant::now()) {
            // Whoever had the turn before has it.
            return found;
        }
        let given = match timeout(self.timeout, self.ask()).await {
            Ok(given) => given,
            Err(_) => Err(failure(&format!("no answer within {:?}", self.timeout))),
        };
        if let Err(failure) = &given {
            let upstream = self.upstream.as_str();
            tracing::warn!(upstream, "no token: {failure}");
        }
        self.desk.lock().settle(given, Instant::now())
    }

    /// What is asked for (RFC 6749 section 4.4.2).
    fn form(&self) -> String {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !self.grant.scopes.is_empty() {
            form.append_pair("scope", &self.grant.scopes.join(" "));
        }
        form.finish()
    }

    async fn ask(&self) -> Result<Given, Failure> {
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let (id, secret) = (&self.grant.client_id, &self.grant.client_secret);
        // Encoded first (RFC 6749 section 2.3.1), so that a colon ends the id and nothing else.
        let proof = basic(&encoded(id.expose()), &encoded(secret.expose()));
        let mut proof = HeaderValue::try_from(proof).map_err(|_| failure("no header holds it"))?;
        proof.set_sensitive(true);
        let asked = self
            .client
            .post(self.grant.token_url.clone())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT_HEADER, USER_AGENT)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(AUTHORIZATION, proof)
            .body(self.form());
        let broken = |error: reqwest::Error| failure(&root_of(&error));
        let mut response = asked.send().await.map_err(broken)?;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if chunk.len() > ANSWER_BYTES_MAX - body.len() {
                let message = format!("answered more than {ANSWER_BYTES_MAX} bytes");
                return Err(failure(&message));
            }
            body.extend_from_slice(&chunk);
        }
        if response.status().is_success() {
            return read(&body);
        }
        Err(refusal(
            response.status().as_u16(),
            response.headers(),
            &body,
        ))
    }
}

impl Desk {
    /// What is known; `None` when an endpoint should be asked.
    fn find(&self, now: Instant) -> Option<Result<Arc<Credential>, Failure>> {
        let token = self.token.as_ref().filter(|token| now < token.ends_at);
        let good = |token: &Token| Some(Ok(Arc::clone(&token.credential)));
        if let Some(token) = token.filter(|token| now < token.renew_at) {
            return good(token);
        }
        let failed = self.failed.as_ref().filter(|failed| now < failed.until)?;
        // A token that is to be replaced is better than none.
        if let Some(token) = token {
            return good(token);
        }
        Some(Err(Failure {
            pacing: Pacing {
                not_before: Some(failed.until - now),
                fresh_for: None,
            },
            ..failed.failure.clone()
        }))
    }

    /// Notes how a request for a token ended, and gives what there is now.
    fn settle(
        &mut self,
        given: Result<Given, Failure>,
        now: Instant,
    ) -> Result<Arc<Credential>, Failure> {
        match given {
            Ok(Given { credential, life }) => {
                let credential = Arc::new(credential);
                let early = (life / EARLY_PART).min(EARLY_MAX);
                self.failed = None;
                self.token = Some(Token {
                    credential: Arc::clone(&credential),
                    renew_at: now + life.saturating_sub(early),
                    ends_at: now + life,
                });
                Ok(credential)
            }
            Err(failure) => {
                let failures = self.failed.as_ref().map_or(0, |failed| failed.failures);
                let failures = failures.saturating_add(1);
                let asked = failure.pacing.not_before.unwrap_or_default();
                let until = now + RETRY.bound(failures).max(asked);
                self.failed = Some(Failed {
                    failure: failure.clone(),
                    failures,
                    until,
                });
                self.find(now).unwrap_or(Err(failure))
            }
        }
    }

    fn refused(&mut self, credential: &Arc<Credential>, now: Instant) -> bool {
        let is_in_force = |token: &Token| Arc::ptr_eq(&token.credential, credential);
        if !self.token.as_ref().is_some_and(is_in_force) {
            // It was replaced meanwhile, or will be.
            return true;
        }
        let is_early = |at: Instant| now.duration_since(at) < REFUSED_REST;
        if self.refused_at.is_some_and(is_early) {
            return false;
        }
        self.refused_at = Some(now);
        self.token = None;
        true
    }
}

/// A successful answer (RFC 6749 section 5.1).
fn read(body: &[u8]) -> Result<Given, Failure> {
    let answered: Answered =
        serde_json::from_slice(body).map_err(|_| failure("answered without an `access_token`"))?;
    let kind = answered.token_type.as_deref().unwrap_or("bearer");
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err(failure("gave a token that is no bearer token"));
    }
    let token = &answered.access_token;
    let is_plain = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let credential = bearer(token).ok().filter(|_| is_plain);
    Ok(Given {
        credential: credential.ok_or_else(|| failure("gave a token that fits no header"))?,
        life: life(answered.expires_in.as_ref()),
    })
}

/// Seconds, as a number or, as some write it, as a string.
fn life(expires_in: Option<&Value>) -> Duration {
    let seconds = match expires_in {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    let seconds = seconds.unwrap_or(LIFE_MAX.as_secs_f64());
    if seconds.is_nan() {
        return LIFE_MIN;
    }
    Duration::from_secs_f64(seconds.clamp(LIFE_MIN.as_secs_f64(), LIFE_MAX.as_secs_f64()))
}

/// An answer that gives no token (RFC 6749 section 5.2).
fn refusal(status: u16, headers: &HeaderMap, body: &[u8]) -> Failure {
    let said = serde_json::from_slice::<Refused>(body).ok();
    let code = said.and_then(|said| CODES.into_iter().find(|code| *code == said.error));
    let code = code.map_or_else(String::new, |code| format!(": {code}"));
    let wait = pacing::retry_after(headers, Clock::system().now());
    Failure {
        pacing: Pacing {
            not_before: wait.map(|wait| wait.min(pacing::NOT_BEFORE_MAX)),
            fresh_for: None,
        },
        ..failure(&format!("answered {status}{code}"))
    }
}

/// `status` stays empty: it is that of another server than the one that is asked.
fn failure(what: &str) -> Failure {
    Failure::new(Reason::Auth, format!("the token endpoint: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_hours(1);

    fn given(token: &str, life: Duration) -> Given {
        let credential = bearer(token).expect("a token");
        Given { credential, life }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_token_is_used_until_shortly_before_its_end() {
        for (life, used_for) in [(3600, 3540), (600, 540), (300, 270), (10, 9)] {
            let now = Instant::now();
            let mut desk = Desk::default();
            assert!(desk.find(now).is_none());
            let first = desk
                .settle(Ok(given("a", seconds(life))), now)
                .expect("given");
            let last = now + seconds(used_for) - Duration::from_millis(1);
            let found = desk.find(last).expect("known").expect("a token");
            assert!(Arc::ptr_eq(&first, &found), "{life}");
            assert!(desk.find(now + seconds(used_for)).is_none(), "{life}");
        }
    }

    #[test]
    fn after_a_failure_nobody_asks_for_a_while_and_the_old_token_does_meanwhile() {
        let now = Instant::now();
        let mut desk = Desk::default();
        desk.settle(Ok(given("a", LONG)), now).expect("given");
        let late = now + seconds(3550);
        assert!(desk.find(late).is_none());
        desk.settle(Err(failure("down")), late)
            .expect("the old one");
        assert!(desk.find(late).expect("known").is_ok());
        assert!(desk.find(late + seconds(1)).is_none());
        let over = now + LONG;
        let failed = desk.settle(Err(failure("down")), over).expect_err("over");
        assert_eq!(failed.pacing.not_before, Some(seconds(2)));
        let known = desk.find(over + seconds(1)).expect("known");
        let known = known.expect_err("still down");
        assert_eq!(known.pacing.not_before, Some(seconds(1)));
        assert!(desk.find(over + seconds(2)).is_none());
        for _ in 0..20 {
            let _ = desk.settle(Err(failure("down")), over);
        }
        assert!(desk.find(over + RETRY.ceiling).is_none());
        desk.settle(Ok(given("b", LONG)), over).expect("given");
        assert!(desk.failed.is_none());
    }

    #[test]
    fn a_refused_token_is_replaced_but_not_one_after_the_other() {
        let now = Instant::now();
        let mut desk = Desk::default();
        let first = desk.settle(Ok(given("a", LONG)), now).expect("given");
        assert!(desk.refused(&first, now) && desk.find(now).is_none());
        // Another request that had it, too.
        assert!(desk.refused(&first, now));
        let second = desk.settle(Ok(given("b", LONG)), now).expect("given");
        assert!(desk.refused(&first, now) && desk.find(now).is_some());
        assert!(!desk.refused(&second, now) && desk.find(now).is_some());
        assert!(desk.refused(&second, now + REFUSED_REST));
    }

    #[test]
    fn answers_are_read_as_the_standard_has_them_and_as_some_write_them() {
        for (body, expected) in [
            (
                r#"{"access_token":"t","token_type":"Bearer","expires_in":60}"#,
                Some(60),
            ),
            (
                r#"{"access_token":"t","token_type":"bearer","expires_in":"60"}"#,
                Some(60),
            ),
            (r#"{"access_token":"t","expires_in":0}"#, Some(1)),
            (r#"{"access_token":"t","expires_in":-5}"#, Some(1)),
            (
                r#"{"access_token":"t","expires_in":1e300}"#,
                Some(2_592_000),
            ),
            (r#"{"access_token":"t","expires_in":null}"#, Some(2_592_000)),
            (r#"{"access_token":"t"}"#, Some(2_592_000)),
            (r#"{"access_token":"t","token_type":"mac"}"#, None),
            (r#"{"access_token":""}"#, None),
            (r#"{"access_token":"a b"}"#, None),
            (r#"{"access_token":"a\nb"}"#, None),
            (r#"{"access_token":7}"#, None),
            ("<html>", None),
            ("", None),
        ] {
            let given = read(body.as_bytes());
            let life = given.as_ref().ok().map(|given| given.life);
            assert_eq!(life, expected.map(seconds), "{body}");
            let told = given.map(|given| format!("{given:?}"));
            let told = told.unwrap_or_else(|failure| failure.to_string());
            assert!(
                !told.contains("Bearer t") && !told.contains("a b"),
                "{told}"
            );
        }
    }

    #[test]
    fn a_refusal_shows_the_codes_of_the_standard_and_no_other_word() {
        let told = |body: &str| refusal(401, &HeaderMap::new(), body.as_bytes()).to_string();
        let known = r#"{"error":"invalid_client","error_description":"hunter2"}"#;
        assert_eq!(
            told(known),
            "the token endpoint: answered 401: invalid_client"
        );
        let odd = r#"{"error":"hunter2"}"#;
        assert_eq!(told(odd), "the token endpoint: answered 401");
    }
}
