//! Text that must never be shown: tokens, passwords, signing keys.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

/// A secret text. Its `Debug` says only that it is one; the memory is wiped when it goes.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// The text itself. Use it where it goes on the wire or into a key, never in a message.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether `guess` is this secret, in time that tells nothing of where they differ: digests
    /// are compared, not the texts.
    #[must_use]
    pub fn equals(&self, guess: &[u8]) -> bool {
        // blake3::Hash compares in constant time.
        blake3::hash(self.expose().as_bytes()) == blake3::hash(guess)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_shows_itself() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "Secret");
        assert!(secret.equals(b"hunter2") && !secret.equals(b"hunter3"));
    }
}
