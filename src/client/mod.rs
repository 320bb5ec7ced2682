//! HTTP clients and the one resolver under them.
//!
//! Decides how names become addresses and which addresses a webhook may be sent to. Leaves what is
//! asked to the upstream and what is rung to the deliverer.

mod guard;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

pub use guard::{
    PrivateAddress, PublicOnly, is_public, literal, literal_within, webhooks, webhooks_within,
};

/// Names to addresses, without blocking the runtime. Cheap to clone.
#[derive(Clone)]
pub struct Resolver(Option<Arc<Answers>>);

/// What stands in for the system's resolver.
type Answers = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

impl Resolver {
    /// The system's resolver (`getaddrinfo`), asked on tokio's blocking pool.
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// One that asks `answers` each time: for tests, in which names mean what they say.
    pub fn from_fn(
        answers: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Arc::new(answers)))
    }

    /// Every address of `host`, never an empty list.
    ///
    /// # Errors
    /// What the resolver says, or `NotFound` when it knows no address.
    pub async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let addresses: Vec<SocketAddr> = match &self.0 {
            None => tokio::net::lookup_host((host, port)).await?.collect(),
            Some(answers) => {
                let addresses = answers(host)?.into_iter();
                addresses.map(|ip| SocketAddr::new(ip, port)).collect()
            }
        };
        if addresses.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the name has no address",
            ));
        }
        Ok(addresses)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.lookup(name.as_str(), 0).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Validators of the last answer, echoed byte for byte (RFC 9110 section 13.1).
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Validators {
    /// `ETag` as it came, even if malformed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// `Last-Modified` as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

/// Makes ring the one rustls provider of this process; later calls change nothing. First thing in
/// `main`, before pingora or reqwest can choose another.
pub fn install_crypto_provider() {
    // An error says that a provider is already there, and it can only be this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// 32 random bytes from the system, for a new secret.
///
/// # Panics
/// When the system has no randomness, which leaves nothing to do.
#[must_use]
pub fn random() -> [u8; 32] {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; 32];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .expect("the system gives randomness");
    bytes
}
