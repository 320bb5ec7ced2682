//! Signing and verifying webhooks: Standard Webhooks 1.0, symmetric `v1` and asymmetric `v1a`, and
//! GitHub's `X-Hub-Signature-256`.
//!
//! Decides what is signed and which signature is believed. Leaves ids, bodies and the clock to
//! those who send and receive. Pure, and of use to receivers written in Rust, too:
//!
//! ```
//! use doorbell::secret::Secret;
//! use doorbell::signature::{Refused, Signed, VerifyingKey, verify};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // `whsec_…` is shared with the sender; of `whsk_…` the receiver needs only the `whpk_…`.
//! let secret = Secret::new("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".to_owned());
//! let keys = [VerifyingKey::parse(&secret)?];
//! // As they came: the headers' values, and the body's bytes before anything reads them.
//! let signed = Signed {
//!     id: "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
//!     timestamp: "1649367553",
//!     signature: "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
//! };
//! let body = br#"{"email":"test@example.com","username":"test_user"}"#;
//! let now = 1_649_367_560; // seconds since 1970
//! assert_eq!(verify(&keys, signed, body, now), Ok(()));
//! assert_eq!(verify(&keys, signed, b"{}", now), Err(Refused::Signature));
//! # Ok(())
//! # }
//! ```
//!
//! A receiver keeps the ids it has seen for some minutes longer than [`TOLERANCE_SECONDS`]: a
//! webhook comes at least once, and a second time under the same id. `examples/receiver.rs` is a
//! whole one.

mod github;
mod key;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use github::{GITHUB_HEADER, GithubKey};
pub use key::{KeyError, SigningKey, VerifyingKey, asymmetric_secret, symmetric_secret};

/// The tag of a signature made with a shared secret.
const SYMMETRIC: &str = "v1";
/// The tag of an ed25519 signature.
const ASYMMETRIC: &str = "v1a";

/// What a signature covers: `id.timestamp.body`.
#[derive(Clone, Copy)]
struct Content<'a> {
    id: &'a str,
    timestamp: &'a str,
    body: &'a [u8],
}

impl<'a> Content<'a> {
    /// Its parts, in order.
    fn parts(self) -> [&'a [u8]; 5] {
        let (id, timestamp) = (self.id.as_bytes(), self.timestamp.as_bytes());
        [id, b".", timestamp, b".", self.body]
    }
}

/// The value of `webhook-signature`: `v1,<base64>` or `v1a,<base64>` for each key, separated by one
/// space, since a reference verifier stumbles over two.
#[must_use]
pub fn sign<'k>(
    keys: impl IntoIterator<Item = &'k SigningKey>,
    id: &str,
    timestamp: i64,
    body: &[u8],
) -> String {
    let timestamp = timestamp.to_string();
    let content = Content {
        id,
        timestamp: &timestamp,
        body,
    };
    // 44 characters of base64 for 32 bytes, the tag and a space.
    let mut value = String::with_capacity(48);
    for key in keys {
        if !value.is_empty() {
            value.push(' ');
        }
        key.sign(content, &mut value);
    }
    value
}

/// What [`verify`] is given: the headers of a webhook as received.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// `webhook-id`.
    pub id: &'a str,
    /// `webhook-timestamp`.
    pub timestamp: &'a str,
    /// `webhook-signature`.
    pub signature: &'a str,
}

/// Why a webhook is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// `webhook-timestamp` is no integer.
    #[error("webhook-timestamp is not a whole number of seconds")]
    Timestamp,
    /// The timestamp is more than [`TOLERANCE_SECONDS`] ago: an old webhook sent again by somebody,
    /// or a clock that is wrong.
    #[error("webhook-timestamp is more than 5 minutes ago")]
    Stale,
    /// The timestamp is more than [`TOLERANCE_SECONDS`] ahead.
    #[error("webhook-timestamp is more than 5 minutes ahead of this clock")]
    Early,
    /// There is no signature that a key could have made.
    #[error(
        "there is no signature of the scheme of the key: v1 for whsec_, v1a for whpk_ and whsk_"
    )]
    Scheme,
    /// No signature matches any key.
    #[error("no signature matches: another secret, or what was signed was altered")]
    Signature,
}

/// How far a timestamp may be from now, both ways: what the reference libraries use.
pub const TOLERANCE_SECONDS: i64 = 300;

/// Checks a webhook against `keys` at `now` (Unix seconds). Signatures of other schemes than those
/// of the keys are skipped; one match is enough, so that a sender can rotate its keys.
///
/// # Errors
/// [`Refused`] when it is not to be believed.
pub fn verify(
    keys: &[VerifyingKey],
    signed: Signed<'_>,
    body: &[u8],
    now: i64,
) -> Result<(), Refused> {
    let timestamp: i64 = signed.timestamp.parse().map_err(|_| Refused::Timestamp)?;
    if now.abs_diff(timestamp) > TOLERANCE_SECONDS.unsigned_abs() {
        return Err(if timestamp < now {
            Refused::Stale
        } else {
            Refused::Early
        });
    }
    let claims: Vec<(&str, Vec<u8>)> = signed
        .signature
        .split(' ')
        .filter_map(|claim| {
            let (tag, encoded) = claim.split_once(',')?;
            Some((tag, STANDARD.decode(encoded).ok()?))
        })
        .collect();
    let content = Content {
        id: signed.id,
        timestamp: signed.timestamp,
        body,
    };
    let content = content.parts().concat();
    let mut refused = Refused::Scheme;
    for key in keys {
        for (_, claim) in claims.iter().filter(|(tag, _)| *tag == key.tag()) {
            if key.matches(&content, claim) {
                return Ok(());
            }
            refused = Refused::Signature;
        }
    }
    Err(refused)
}
