//! Signing and verifying webhooks: Standard Webhooks 1.0, symmetric `v1`.

use crate::secret::Secret;

/// A key that signs: `whsec_` and 24 to 64 bytes in base64.
#[derive(Clone)]
pub struct SigningKey(ring::hmac::Key);

/// Why a text is not a [`SigningKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No `whsec_` in front.
    #[error("a webhook secret begins with `whsec_`")]
    Prefix,
    /// Not base64 after the prefix.
    #[error("a webhook secret is base64 after `whsec_`")]
    Base64,
    /// Fewer than 24 or more than 64 bytes.
    #[error("a webhook secret holds 24 to 64 bytes, this one {0}")]
    Length(usize),
}

impl SigningKey {
    /// Reads a secret.
    ///
    /// # Errors
    /// [`KeyError`], which never quotes the secret.
    pub fn parse(secret: &Secret) -> Result<Self, KeyError> {
        let _ = secret;
        todo!()
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

/// The value of `webhook-signature`: one `v1,<base64>` for each key, separated by one space.
#[must_use]
pub fn sign(keys: &[SigningKey], id: &str, timestamp: i64, body: &[u8]) -> String {
    let _ = (keys, id, timestamp, body);
    todo!()
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
    /// The timestamp is more than [`TOLERANCE_SECONDS`] away.
    #[error("webhook-timestamp is more than 5 minutes away from now")]
    Stale,
    /// No signature matches any key.
    #[error("no signature matches")]
    Signature,
}

/// How far a timestamp may be from now, both ways: what the reference libraries use.
pub const TOLERANCE_SECONDS: i64 = 300;

/// Checks a webhook against `keys` at `now` (Unix seconds).
///
/// # Errors
/// [`Refused`] when it is not to be believed.
pub fn verify(
    keys: &[SigningKey],
    signed: Signed<'_>,
    body: &[u8],
    now: i64,
) -> Result<(), Refused> {
    let _ = (keys, signed, body, now);
    todo!()
}
