//! HTTP clients and the one resolver under them.
//!
//! Decides how names become addresses and which addresses a webhook may be sent to. Leaves what is
//! asked to the upstream and what is rung to the deliverer.

mod guard;
mod resolver;

pub use guard::{
    PrivateAddress, PublicOnly, is_public, literal, literal_within, webhooks, webhooks_within,
};
pub use resolver::Resolver;

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
