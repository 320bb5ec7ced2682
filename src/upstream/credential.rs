//! What authenticates us: what the file says, or a token that it gets us.

use std::sync::Arc;

use base64::Engine as _;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use url::form_urlencoded::byte_serialize;

use super::bases::Bases;
use super::clients::Clients;
use super::gate::Gate;
use super::token::Tokens;
use super::{By, Failure};
use crate::clock::Clock;
use crate::config;
use crate::secret::Secret;

/// What doorbell adds to a request so that the upstream knows it.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A header; its value is marked sensitive.
    Header(HeaderName, HeaderValue),
    /// A query parameter, name and value already percent-encoded.
    Query(String, Secret),
}

/// Where an upstream's credential comes from.
#[derive(Debug)]
pub(super) enum Credentials {
    /// There is none.
    Nowhere,
    /// The file.
    File(Arc<Credential>),
    /// A token endpoint.
    Tokens(Arc<Tokens>),
}

impl Credentials {
    /// Those of `config`. A token endpoint at one of `bases` is a part of the upstream, asked with
    /// its client and with leave of `gate`; another one has nothing to do with it.
    pub(super) fn of(
        config: &Arc<config::Upstream>,
        (clients, bases): (&Clients, &Bases),
        gate: &Arc<Gate>,
        clock: &Clock,
    ) -> Result<Self, String> {
        let fixed = |credential| Ok(Self::File(Arc::new(credential)));
        match &config.auth {
            None => Ok(Self::Nowhere),
            Some(config::Auth::Bearer(token)) => fixed(bearer(token.expose())?),
            Some(config::Auth::Basic { user, password }) => {
                let value = basic(user, password.expose());
                fixed(header(AUTHORIZATION, &value)?)
            }
            Some(config::Auth::Header { name, value }) => {
                fixed(header(name.clone(), value.expose())?)
            }
            Some(config::Auth::Query { name, value }) => fixed(Credential::Query(
                byte_serialize(name.as_bytes()).collect(),
                Secret::new(byte_serialize(value.expose().as_bytes()).collect()),
            )),
            Some(config::Auth::OAuth2(grant)) => {
                let (client, gate) = if bases.are_at(&grant.token_url) {
                    (clients.own(), Some(Arc::clone(gate)))
                } else {
                    (clients.named()?, None)
                };
                let tokens = Tokens::new(config, grant, client, gate, clock.clone());
                Ok(Self::Tokens(Arc::new(tokens)))
            }
        }
    }

    /// The credential to use now.
    pub(super) async fn current(&self, by: By) -> Result<Option<Arc<Credential>>, Failure> {
        match self {
            Self::Nowhere => Ok(None),
            Self::File(credential) => Ok(Some(Arc::clone(credential))),
            Self::Tokens(tokens) => tokens.current(by).await.map(Some),
        }
    }

    /// Whether nobody has to be asked for the one to use now.
    pub(super) fn are_at_hand(&self) -> bool {
        match self {
            Self::Nowhere | Self::File(_) => true,
            Self::Tokens(tokens) => tokens.are_at_hand(),
        }
    }

    /// Whether there may be another one, now that this one was refused.
    pub(super) fn refused(&self, credential: &Arc<Credential>) -> bool {
        match self {
            Self::Nowhere | Self::File(_) => false,
            Self::Tokens(tokens) => tokens.refused(credential),
        }
    }
}

#[cfg(test)]
impl Credentials {
    pub(super) fn tokens(&self) -> &Tokens {
        let Self::Tokens(tokens) = self else {
            panic!("{self:?}");
        };
        tokens
    }
}

/// `Authorization: Bearer …`.
pub(super) fn bearer(token: &str) -> Result<Credential, String> {
    header(AUTHORIZATION, &format!("Bearer {token}"))
}

/// The value of `Authorization` (RFC 7617 section 2).
pub(super) fn basic(user: &str, password: &str) -> String {
    let pair = format!("{user}:{password}");
    let pair = base64::engine::general_purpose::STANDARD.encode(pair);
    format!("Basic {pair}")
}

pub(super) fn header(name: HeaderName, value: &str) -> Result<Credential, String> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| format!("the credential in header {name} holds a control character"))?;
    value.set_sensitive(true);
    Ok(Credential::Header(name, value))
}
