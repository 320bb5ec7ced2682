//! Signing and verifying webhooks: Standard Webhooks 1.0, symmetric `v1`.
//!
//! Decides what is signed and which signature is believed. Leaves ids, bodies and the clock to
//! those who send and receive.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use ring::hmac;

use crate::secret::Secret;

/// A key that signs: `whsec_` and 24 to 64 bytes in base64.
#[derive(Clone)]
pub struct SigningKey(hmac::Key);

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

/// What stands before the base64 of a symmetric secret.
const PREFIX: &str = "whsec_";
/// The tag of a symmetric signature.
const TAG: &str = "v1,";
/// Fewest and most bytes of a secret (Standard Webhooks 1.0, "Signature scheme").
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Receivers' libraries take secrets with and without padding, and so do we.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl SigningKey {
    /// Reads a secret.
    ///
    /// # Errors
    /// [`KeyError`], which never quotes the secret.
    pub fn parse(secret: &Secret) -> Result<Self, KeyError> {
        let text = secret.expose();
        let encoded = text.strip_prefix(PREFIX).ok_or(KeyError::Prefix)?;
        let bytes = LENIENT.decode(encoded).map_err(|_| KeyError::Base64)?;
        if !KEY_BYTES.contains(&bytes.len()) {
            return Err(KeyError::Length(bytes.len()));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The context that has taken in everything that a signature covers.
    fn context(&self, id: &str, timestamp: &str, body: &[u8]) -> hmac::Context {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(id.as_bytes());
        context.update(b".");
        context.update(timestamp.as_bytes());
        context.update(b".");
        context.update(body);
        context
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

/// The value of `webhook-signature`: one `v1,<base64>` for each key, separated by one space, since
/// a reference verifier stumbles over two.
#[must_use]
pub fn sign(keys: &[SigningKey], id: &str, timestamp: i64, body: &[u8]) -> String {
    let timestamp = timestamp.to_string();
    // 44 characters of base64 for 32 bytes, the tag and a space.
    let mut value = String::with_capacity(keys.len() * 48);
    for key in keys {
        if !value.is_empty() {
            value.push(' ');
        }
        value.push_str(TAG);
        let signature = key.context(id, &timestamp, body).sign();
        STANDARD.encode_string(signature.as_ref(), &mut value);
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
    /// The timestamp is more than [`TOLERANCE_SECONDS`] away.
    #[error("webhook-timestamp is more than 5 minutes away from now")]
    Stale,
    /// No signature matches any key.
    #[error("no signature matches")]
    Signature,
}

/// How far a timestamp may be from now, both ways: what the reference libraries use.
pub const TOLERANCE_SECONDS: i64 = 300;

/// Checks a webhook against `keys` at `now` (Unix seconds). Signatures of other schemes than `v1`
/// are skipped; one match is enough, so that a sender can rotate its keys.
///
/// # Errors
/// [`Refused`] when it is not to be believed.
pub fn verify(
    keys: &[SigningKey],
    signed: Signed<'_>,
    body: &[u8],
    now: i64,
) -> Result<(), Refused> {
    let timestamp: i64 = signed.timestamp.parse().map_err(|_| Refused::Timestamp)?;
    if now.abs_diff(timestamp) > TOLERANCE_SECONDS.unsigned_abs() {
        return Err(Refused::Stale);
    }
    let claims: Vec<Vec<u8>> = signed
        .signature
        .split(' ')
        .filter_map(|part| STANDARD.decode(part.strip_prefix(TAG)?).ok())
        .collect();
    for key in keys {
        let mut content = Vec::with_capacity(signed.id.len() + signed.timestamp.len() + 2);
        content.extend_from_slice(signed.id.as_bytes());
        content.push(b'.');
        content.extend_from_slice(signed.timestamp.as_bytes());
        content.push(b'.');
        content.extend_from_slice(body);
        // Compares in constant time.
        let matches = |claim: &Vec<u8>| hmac::verify(&key.0, &content, claim).is_ok();
        if claims.iter().any(matches) {
            return Ok(());
        }
    }
    Err(Refused::Signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    const AT: i64 = 1_649_367_553;
    const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;
    const SIGNATURE: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";

    fn key(text: &str) -> Result<SigningKey, KeyError> {
        SigningKey::parse(&Secret::new(text.to_owned()))
    }

    fn fresh(byte: u8) -> SigningKey {
        key(&format!("whsec_{}", STANDARD.encode([byte; 32]))).expect("32 bytes")
    }

    fn check(keys: &[SigningKey], signature: &str, now: i64) -> Result<(), Refused> {
        let signed = Signed {
            id: ID,
            timestamp: "1649367553",
            signature,
        };
        verify(keys, signed, BODY, now)
    }

    #[test]
    fn signs_as_the_specification_does() {
        let key = key(SECRET).expect("a key");
        assert_eq!(sign(&[key], ID, AT, BODY), SIGNATURE);
    }

    #[test]
    fn every_key_signs_and_any_of_them_is_believed() {
        let keys = [fresh(1), fresh(2)];
        let value = sign(&keys, ID, AT, BODY);
        assert_eq!(value.split(' ').count(), 2);
        for key in keys {
            assert_eq!(check(&[key], &value, AT), Ok(()));
        }
        assert_eq!(check(&[fresh(3)], &value, AT), Err(Refused::Signature));
        assert_eq!(check(&[fresh(3), fresh(2)], &value, AT), Ok(()));
    }

    #[test]
    fn foreign_tags_and_noise_are_skipped() {
        let keys = [key(SECRET).expect("a key")];
        for value in [
            format!("v1a,AAAA {SIGNATURE}"),
            format!("v1,!!! v1, {SIGNATURE}"),
            format!("{SIGNATURE}  v2,x"),
        ] {
            assert_eq!(check(&keys, &value, AT), Ok(()), "{value}");
        }
        for value in ["", "v1,", "v1", SIGNATURE.trim_start_matches("v1,")] {
            assert_eq!(check(&keys, value, AT), Err(Refused::Signature), "{value}");
        }
        let renamed = SIGNATURE.replace("v1,", "v1a,");
        assert_eq!(check(&keys, &renamed, AT), Err(Refused::Signature));
    }

    #[test]
    fn what_is_signed_cannot_be_altered() {
        let keys = [key(SECRET).expect("a key")];
        let signed = |id, timestamp| Signed {
            id,
            timestamp,
            signature: SIGNATURE,
        };
        let at = "1649367553";
        assert_eq!(verify(&keys, signed(ID, at), BODY, AT), Ok(()));
        for (id, timestamp, body) in [
            ("msg_27UH4WbU6Z5A5EzD8u03UvzRbpj", at, BODY),
            (ID, "1649367554", BODY),
            (ID, "01649367553", BODY),
            (ID, at, b"{}".as_slice()),
        ] {
            let verdict = verify(&keys, signed(id, timestamp), body, AT);
            assert_eq!(verdict, Err(Refused::Signature), "{id} {timestamp}");
        }
    }

    #[test]
    fn old_and_future_timestamps_are_stale() {
        let keys = [key(SECRET).expect("a key")];
        for (now, verdict) in [
            (AT + 300, Ok(())),
            (AT - 300, Ok(())),
            (AT + 301, Err(Refused::Stale)),
            (AT - 301, Err(Refused::Stale)),
            (i64::MIN, Err(Refused::Stale)),
        ] {
            assert_eq!(check(&keys, SIGNATURE, now), verdict, "{now}");
        }
        let mut signed = Signed {
            id: ID,
            timestamp: "",
            signature: SIGNATURE,
        };
        for timestamp in ["", "now", "1.5", "99999999999999999999"] {
            signed.timestamp = timestamp;
            assert_eq!(verify(&keys, signed, BODY, AT), Err(Refused::Timestamp));
        }
    }

    #[test]
    fn keys_are_24_to_64_bytes_with_or_without_padding() {
        let text = |length: usize| format!("whsec_{}", STANDARD.encode(vec![7; length]));
        for length in [24, 25, 32, 63, 64] {
            let (padded, signature) = (text(length), |key: SigningKey| sign(&[key], ID, AT, BODY));
            let bare = padded.trim_end_matches('=');
            let (one, other) = (key(&padded).expect("padded"), key(bare).expect("unpadded"));
            assert_eq!(signature(one), signature(other));
        }
        for (bad, why) in [
            (&*text(23), KeyError::Length(23)),
            (&*text(65), KeyError::Length(65)),
            ("whsec_", KeyError::Length(0)),
            ("whsec_*", KeyError::Base64),
            ("whsk_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", KeyError::Prefix),
            ("", KeyError::Prefix),
        ] {
            assert_eq!(key(bad).err(), Some(why), "{bad}");
        }
    }
}
