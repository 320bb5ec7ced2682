//! The signature that GitHub's webhooks carry, and receivers made for them check.
//!
//! Decides its header and its key. It covers the body alone, neither id nor time: it stands beside
//! a Standard Webhooks signature, never in its place.

use std::fmt::{self, Write as _};

use ring::hmac;

use super::Refused;
use crate::secret::Secret;

/// Where it stands.
pub const GITHUB_HEADER: &str = "x-hub-signature-256";

/// What stands before the digits.
const ALGORITHM: &str = "sha256=";

/// A secret as GitHub and its receivers take it: the text itself is the key, prefix and all, not
/// the bytes that it encodes. One pastes the same `whsec_…` on both sides.
#[derive(Clone)]
pub struct GithubKey(hmac::Key);

impl GithubKey {
    /// The key that this text is.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        let text = secret.expose().as_bytes();
        Self(hmac::Key::new(hmac::HMAC_SHA256, text))
    }

    /// The value of [`GITHUB_HEADER`]: `sha256=` and 64 hexadecimal digits.
    #[must_use]
    pub fn sign(&self, body: &[u8]) -> String {
        let mut value = String::from(ALGORITHM);
        for byte in hmac::sign(&self.0, body).as_ref() {
            let _ = write!(value, "{byte:02x}");
        }
        value
    }

    /// Checks the value of [`GITHUB_HEADER`].
    ///
    /// # Errors
    /// [`Refused`] when the body is not to be believed.
    pub fn verify(&self, value: &str, body: &[u8]) -> Result<(), Refused> {
        let digits = value.strip_prefix(ALGORITHM).ok_or(Refused::Scheme)?;
        let claim = decoded(digits).ok_or(Refused::Signature)?;
        // Compares in constant time.
        hmac::verify(&self.0, body, &claim).map_err(|_| Refused::Signature)
    }
}

/// Pairs of hexadecimal digits as bytes.
fn decoded(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

impl fmt::Debug for GithubKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GithubKey")
    }
}
