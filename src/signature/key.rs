//! Keys: what signs, what verifies, and how both are written.
//!
//! Decides which texts are keys. None of them is ever quoted, shown by `Debug`, or compared in a
//! time that tells something.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use ring::hmac;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use super::{ASYMMETRIC, Content, GithubKey, SYMMETRIC};
use crate::secret::Secret;

/// A key that signs: `whsec_` and 24 to 64 bytes in base64, or `whsk_` and an ed25519 key.
#[derive(Clone)]
pub struct SigningKey(Signer);

#[derive(Clone)]
enum Signer {
    Symmetric {
        key: hmac::Key,
        /// The key that the secret's text itself is, as receivers of GitHub's webhooks take it.
        text: Box<GithubKey>,
    },
    Asymmetric(Arc<Ed25519KeyPair>),
}

/// A key that verifies: `whsec_`, which also signs, or the ed25519 public key `whpk_`.
#[derive(Clone)]
pub struct VerifyingKey(Verifier);

#[derive(Clone)]
enum Verifier {
    Symmetric(hmac::Key),
    Asymmetric([u8; ED25519_BYTES]),
}

/// Why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// None of the known prefixes in front.
    #[error("a webhook secret begins with `whsec_` or `whsk_`")]
    Prefix,
    /// A public key where one must sign.
    #[error(
        "a `whpk_` key is public and only verifies: signing takes the `whsk_` key it belongs to"
    )]
    Public,
    /// Not base64 after the prefix.
    #[error("a webhook secret is base64 after its prefix")]
    Base64,
    /// Fewer than 24 or more than 64 bytes.
    #[error("a `whsec_` secret holds 24 to 64 bytes, this one {0}")]
    Length(usize),
    /// Neither a seed nor a seed and its public key.
    #[error("a `whsk_` key holds 32 bytes, or 64 with its public key, this one {0}")]
    SeedLength(usize),
    /// Not as long as a public key.
    #[error("a `whpk_` key holds 32 bytes, this one {0}")]
    PublicLength(usize),
    /// The public half belongs to another seed.
    #[error("the halves of this `whsk_` key do not belong together")]
    Halves,
}

/// What stands before the base64: a shared secret, a secret key, a public key.
const SECRET: &str = "whsec_";
const SECRET_KEY: &str = "whsk_";
const PUBLIC_KEY: &str = "whpk_";
/// Fewest and most bytes of a shared secret (Standard Webhooks 1.0, "Signature scheme").
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Bytes of an ed25519 seed, and of a public key (RFC 8032 section 5.1.5).
const ED25519_BYTES: usize = 32;
/// Receivers' libraries take secrets with and without padding, and so do we.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A new shared secret, `whsec_…`; the bytes are to be random.
#[must_use]
pub fn symmetric_secret(random: &[u8; 32]) -> Secret {
    Secret::new(format!("{SECRET}{}", STANDARD.encode(random)))
}

/// A new secret key, `whsk_…`; the bytes are to be random. [`SigningKey::public`] tells the public
/// key that belongs to it.
#[must_use]
pub fn asymmetric_secret(random: &[u8; 32]) -> Secret {
    Secret::new(format!("{SECRET_KEY}{}", STANDARD.encode(random)))
}

impl SigningKey {
    /// Reads a secret.
    ///
    /// # Errors
    /// [`KeyError`], which never quotes the secret.
    pub fn parse(secret: &Secret) -> Result<Self, KeyError> {
        match Text::read(secret)? {
            Text::Shared(bytes) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
                let text = Box::new(GithubKey::new(secret));
                Ok(Self(Signer::Symmetric { key, text }))
            }
            Text::Secret(pair) => Ok(Self(Signer::Asymmetric(Arc::new(pair)))),
            Text::Public(_) => Err(KeyError::Public),
        }
    }

    /// The public key of a `whsk_` key, as its receivers write it: `whpk_…`.
    #[must_use]
    pub fn public(&self) -> Option<String> {
        match &self.0 {
            Signer::Symmetric { .. } => None,
            Signer::Asymmetric(pair) => {
                let encoded = STANDARD.encode(pair.public_key());
                Some(format!("{PUBLIC_KEY}{encoded}"))
            }
        }
    }

    /// The key that a `whsec_` secret is to receivers of GitHub's webhooks.
    #[must_use]
    pub fn github(&self) -> Option<&GithubKey> {
        match &self.0 {
            Signer::Symmetric { text, .. } => Some(text),
            Signer::Asymmetric(_) => None,
        }
    }

    /// Appends `v1,<base64>` or `v1a,<base64>`.
    pub(super) fn sign(&self, content: Content<'_>, value: &mut String) {
        let mut add = |tag: &str, signature: &[u8]| {
            value.push_str(tag);
            value.push(',');
            STANDARD.encode_string(signature, value);
        };
        match &self.0 {
            Signer::Symmetric { key, .. } => {
                let mut hmac = hmac::Context::with_key(key);
                for part in content.parts() {
                    hmac.update(part);
                }
                add(SYMMETRIC, hmac.sign().as_ref());
            }
            Signer::Asymmetric(pair) => {
                let signature = pair.sign(&content.parts().concat());
                add(ASYMMETRIC, signature.as_ref());
            }
        }
    }
}

impl VerifyingKey {
    /// Reads `whsec_…`, `whpk_…`, or `whsk_…`, of which only the public half is kept.
    ///
    /// # Errors
    /// [`KeyError`], which never quotes the text.
    pub fn parse(text: &Secret) -> Result<Self, KeyError> {
        Ok(Self(match Text::read(text)? {
            Text::Shared(bytes) => Verifier::Symmetric(hmac::Key::new(hmac::HMAC_SHA256, &bytes)),
            Text::Secret(pair) => {
                let mut public = [0; ED25519_BYTES];
                public.copy_from_slice(pair.public_key().as_ref());
                Verifier::Asymmetric(public)
            }
            Text::Public(bytes) => Verifier::Asymmetric(bytes),
        }))
    }

    /// The tag of the signatures that it can check: `v1` or `v1a`.
    #[must_use]
    pub fn tag(&self) -> &'static str {
        match self.0 {
            Verifier::Symmetric(_) => SYMMETRIC,
            Verifier::Asymmetric(_) => ASYMMETRIC,
        }
    }

    /// Whether `claim` is this key's signature of `content`. What is secret is compared in
    /// constant time.
    pub(super) fn matches(&self, content: &[u8], claim: &[u8]) -> bool {
        match &self.0 {
            Verifier::Symmetric(key) => hmac::verify(key, content, claim).is_ok(),
            Verifier::Asymmetric(public) => {
                let public = UnparsedPublicKey::new(&ED25519, public);
                public.verify(content, claim).is_ok()
            }
        }
    }
}

/// A key's text, decoded.
enum Text {
    Shared(Vec<u8>),
    Secret(Ed25519KeyPair),
    Public([u8; ED25519_BYTES]),
}

impl Text {
    fn read(text: &Secret) -> Result<Self, KeyError> {
        let text = text.expose();
        let decode = |encoded| LENIENT.decode(encoded).map_err(|_| KeyError::Base64);
        if let Some(encoded) = text.strip_prefix(SECRET) {
            let bytes = decode(encoded)?;
            if !SECRET_BYTES.contains(&bytes.len()) {
                return Err(KeyError::Length(bytes.len()));
            }
            return Ok(Self::Shared(bytes));
        }
        if let Some(encoded) = text.strip_prefix(SECRET_KEY) {
            return pair(&decode(encoded)?).map(Self::Secret);
        }
        if let Some(encoded) = text.strip_prefix(PUBLIC_KEY) {
            let bytes = decode(encoded)?;
            let public = <[u8; ED25519_BYTES]>::try_from(bytes);
            return public
                .map(Self::Public)
                .map_err(|bytes| KeyError::PublicLength(bytes.len()));
        }
        Err(KeyError::Prefix)
    }
}

/// An ed25519 key from its seed, which its public key may follow: libraries write it either way.
fn pair(bytes: &[u8]) -> Result<Ed25519KeyPair, KeyError> {
    let length = || KeyError::SeedLength(bytes.len());
    let Some((seed, public)) = bytes.split_at_checked(ED25519_BYTES) else {
        return Err(length());
    };
    match public.len() {
        0 => Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| length()),
        ED25519_BYTES => {
            Ed25519KeyPair::from_seed_and_public_key(seed, public).map_err(|_| KeyError::Halves)
        }
        _ => Err(length()),
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyingKey")
    }
}
