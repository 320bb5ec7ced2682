//! The tokens of an upstream with OAuth 2 client credentials (RFC 6749 section 4.4), shared by
//! polls and callers.
//!
//! Decides when a token is fetched: where there is none, shortly before it ends (nobody waits for
//! that, the old one still does), and once when the upstream refuses it; one request at a time, and
//! none for a while after one that failed. A request to the upstream's own origin counts against its
//! budget. Leaves what an answer means to [`answer`].

mod answer;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::HeaderValue;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT as USER_AGENT_HEADER};
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout};
use url::form_urlencoded::{Serializer, byte_serialize};

use super::credential::basic;
use super::exchange::{USER_AGENT, root_of};
use super::gate::{Errand, Gate};
use super::{By, Credential, Denied, Failure, Pacing, Reason};
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::config;
use answer::{ANSWER_BYTES_MAX, Given};

/// A token is replaced when this part of its life is left, so that none ends on its way, but no
/// sooner than [`EARLY_MAX`] before its end.
const EARLY_PART: u32 = 10;
const EARLY_MAX: Duration = Duration::from_mins(1);

/// Rests after failed requests for a token.
const RETRY: Backoff = Backoff {
    base: Duration::from_secs(1),
    ceiling: Duration::from_mins(1),
};

/// A token may be thrown away because it was refused once in this time: where the upstream refuses
/// whatever token it is shown, the endpoint is not asked for one per call.
const REFUSED_REST: Duration = Duration::from_secs(30);

/// Where an upstream's tokens come from.
#[derive(Debug)]
pub(super) struct Tokens {
    config: Arc<config::Upstream>,
    grant: config::OAuth2,
    client: reqwest::Client,
    clock: Clock,
    /// The upstream's, where the endpoint is on its origin.
    gate: Option<Arc<Gate>>,
    desk: Mutex<Desk>,
    /// Held by whoever asks for a token.
    turn: Arc<tokio::sync::Mutex<()>>,
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

/// What there is.
#[derive(Debug)]
enum Found {
    /// A token to use.
    Good(Arc<Credential>),
    /// A token that is still good, and should be replaced by now.
    Ending(Arc<Credential>),
    /// The endpoint gave none, and is left alone for a while.
    Failed(Failure),
    Nothing,
}

impl Tokens {
    /// Those that `grant` gives, asked for with `client`, and with leave of `gate` if there is one.
    pub(super) fn new(
        config: &Arc<config::Upstream>,
        grant: &config::OAuth2,
        client: &reqwest::Client,
        gate: Option<Arc<Gate>>,
        clock: Clock,
    ) -> Self {
        Self {
            config: Arc::clone(config),
            grant: grant.clone(),
            client: client.clone(),
            clock,
            gate,
            desk: Mutex::default(),
            turn: Arc::default(),
        }
    }

    /// The token in force, or a new one. A poll waits for it as long as it would for the budget; a
    /// caller no longer than the upstream may take.
    pub(super) async fn current(self: &Arc<Self>, by: By) -> Result<Arc<Credential>, Failure> {
        match self.found() {
            Found::Good(credential) => Ok(credential),
            Found::Ending(credential) => {
                self.renew_beside(by);
                Ok(credential)
            }
            Found::Failed(failure) => Err(failure),
            Found::Nothing if by.is_poll() => self.renewed(by).await,
            Found::Nothing => {
                let renewed = timeout(self.config.timeout, self.renewed(by)).await;
                renewed.unwrap_or_else(|_| Err(failure("has given no token yet")))
            }
        }
    }

    /// Whether [`Self::current`] needs to wait for nobody.
    pub(super) fn are_at_hand(&self) -> bool {
        !matches!(self.found(), Found::Nothing)
    }

    /// Whether there may be another token than `credential`, which was refused.
    pub(super) fn refused(&self, credential: &Arc<Credential>) -> bool {
        self.desk.lock().refused(credential, Instant::now())
    }

    fn found(&self) -> Found {
        self.desk.lock().find(Instant::now())
    }

    /// Has a token that ends soon replaced, unless somebody does already. Whoever would wait too
    /// long for leave leaves it to the next.
    fn renew_beside(self: &Arc<Self>, by: By) {
        let Ok(turn) = Arc::clone(&self.turn).try_lock_owned() else {
            return;
        };
        let tokens = Arc::clone(self);
        tokio::spawn(async move {
            if !matches!(tokens.found(), Found::Ending(_)) {
                return;
            }
            let leave = timeout(tokens.config.timeout, tokens.leave(by)).await;
            if let Ok(Ok(errand)) = leave {
                let _ = tokens.ask_in_turn(turn, errand).await;
            }
        });
    }

    async fn renewed(self: &Arc<Self>, by: By) -> Result<Arc<Credential>, Failure> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        match self.found() {
            // Whoever had the turn before has it.
            Found::Good(credential) | Found::Ending(credential) => return Ok(credential),
            Found::Failed(failure) => return Err(failure),
            Found::Nothing => {}
        }
        let errand = self.leave(by).await?;
        // In a task of its own: who asks may go away, and others wait for the same token.
        let tokens = Arc::clone(self);
        let asking = tokio::spawn(async move { tokens.ask_in_turn(turn, errand).await });
        let gone = |_| Err(failure("nobody asked for a token to the end"));
        asking.await.unwrap_or_else(gone)
    }

    /// Leave to ask the endpoint, where the upstream's budget has a say.
    async fn leave(&self, by: By) -> Result<Option<Errand>, Failure> {
        let Some(gate) = &self.gate else {
            return Ok(None);
        };
        let errand = gate.errand(by).await.map_err(|denied| {
            let not_before = match denied {
                Denied::Budget(wait) => Some(wait),
                _ => None,
            };
            let mut failure = Failure::from(denied);
            failure.pacing.not_before = not_before;
            failure
        });
        errand.map(Some)
    }

    /// Asks, and notes what came of it before the next one's turn.
    async fn ask_in_turn(
        &self,
        _turn: OwnedMutexGuard<()>,
        errand: Option<Errand>,
    ) -> Result<Arc<Credential>, Failure> {
        let limit = self.config.timeout;
        let given = match timeout(limit, self.ask(errand)).await {
            Ok(given) => given,
            Err(_) => Err(failure(&format!("no answer within {limit:?}"))),
        };
        if let Err(failure) = &given {
            let upstream = self.config.name.as_str();
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

    async fn ask(&self, mut errand: Option<Errand>) -> Result<Given, Failure> {
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let (id, secret) = (&self.grant.client_id, &self.grant.client_secret);
        // Encoded first (RFC 6749 section 2.3.1), so that a colon ends the id and nothing else.
        let (id, encoded) = (encoded(id.expose()), encoded(secret.expose()));
        let proof = basic(&id, &encoded);
        let mut header =
            HeaderValue::try_from(&proof).map_err(|_| failure("no header holds it"))?;
        header.set_sensitive(true);
        let asked = self
            .client
            .post(self.grant.token_url.clone())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT_HEADER, USER_AGENT)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(AUTHORIZATION, header)
            .body(self.form());
        if let Some(errand) = &mut errand {
            errand.sent();
        }
        let answered = asked.send().await;
        if let Some(errand) = errand {
            errand.ended(
                answered
                    .as_ref()
                    .err()
                    .is_some_and(reqwest::Error::is_connect),
            );
        }
        let broken = |error: reqwest::Error| failure(&root_of(&error));
        let mut response = answered.map_err(broken)?;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if chunk.len() > ANSWER_BYTES_MAX - body.len() {
                let message = format!("answered more than {ANSWER_BYTES_MAX} bytes");
                return Err(failure(&message));
            }
            body.extend_from_slice(&chunk);
        }
        if response.status() == http::StatusCode::OK {
            return answer::read(&body);
        }
        // All that the endpoint was told and must not be repeated.
        let secrets = [
            secret.expose(),
            &encoded,
            proof.trim_start_matches("Basic "),
        ];
        let (status, now) = (response.status().as_u16(), self.clock.now());
        Err(answer::refusal(
            status,
            response.headers(),
            &body,
            &secrets,
            now,
        ))
    }
}

impl Desk {
    fn find(&self, now: Instant) -> Found {
        let good = |token: &Token| Arc::clone(&token.credential);
        let token = self.token.as_ref().filter(|token| now < token.ends_at);
        if let Some(token) = token.filter(|token| now < token.renew_at) {
            return Found::Good(good(token));
        }
        let resting = self.failed.as_ref().filter(|failed| now < failed.until);
        match (token, resting) {
            (Some(token), None) => Found::Ending(good(token)),
            // A token that is to be replaced is better than none.
            (Some(token), Some(_)) => Found::Good(good(token)),
            (None, Some(failed)) => Found::Failed(Failure {
                pacing: Pacing {
                    not_before: Some(failed.until - now),
                    fresh_for: None,
                },
                ..failed.failure.clone()
            }),
            (None, None) => Found::Nothing,
        }
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
                match self.find(now) {
                    Found::Good(credential) | Found::Ending(credential) => Ok(credential),
                    Found::Failed(failure) => Err(failure),
                    Found::Nothing => Err(failure),
                }
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

/// `status` stays empty: it is that of another server than the one that is asked.
fn failure(what: &str) -> Failure {
    Failure::new(Reason::Auth, format!("the token endpoint: {what}"))
}
