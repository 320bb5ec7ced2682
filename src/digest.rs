//! BLAKE3 digests, each bound to what it is a digest *of*.
//!
//! A [`Context`] keys the hash with a text that names the kind of input and the version of its
//! form (BLAKE3's `derive_key` mode), so a digest of one kind never equals one of another, and a
//! new form never meets digests of an old one by accident.

use std::fmt;

/// Identity of a canonical form: 128 bits of BLAKE3, enough that a collision by chance among
/// 2^40 items is less likely than one in 2^47.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 16]);

/// Identity of bytes as received: the full 256 bits of BLAKE3.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RawDigest([u8; 32]);

/// A kind of digest: a hasher keyed once, cloned for each input.
#[derive(Clone)]
pub struct Context(blake3::Hasher);

impl Context {
    /// Names a kind of input. `text` must be a constant of this program that also names the
    /// version of the form, for example `"doorbell 2026-11 item form 1"`.
    #[must_use]
    pub fn new(text: &'static str) -> Self {
        Self(blake3::Hasher::new_derive_key(text))
    }

    /// Digests one canonical form.
    #[must_use]
    pub fn digest(&self, form: &[u8]) -> Digest {
        let mut hasher = self.0.clone();
        hasher.update(form);
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        Digest(bytes)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context")
    }
}

impl Digest {
    /// The digest with these bytes, as read back from a store.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// A [`RawDigest`] in the making, of bytes as they come.
#[derive(Debug, Clone, Default)]
pub struct RawHasher(blake3::Hasher);

impl RawHasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes.
    #[must_use]
    pub fn finish(&self) -> RawDigest {
        RawDigest(*self.0.finalize().as_bytes())
    }
}

impl RawDigest {
    /// Digests bytes as received.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The digest with these bytes, as read back from a store.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Lower-case hexadecimal, 32 digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Lower-case hexadecimal, 64 digits.
impl fmt::Display for RawDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// As its hexadecimal text.
impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let number = u128::from_str_radix(&text, 16).map_err(serde::de::Error::custom)?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// As its hexadecimal text.
impl serde::Serialize for RawDigest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for RawDigest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        blake3::Hash::from_hex(text.as_bytes())
            .map(|hash| Self(*hash.as_bytes()))
            .map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl fmt::Debug for RawDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawDigest({self})")
    }
}
