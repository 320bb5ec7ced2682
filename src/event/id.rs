//! The identity of an event: where it stands in the store, and a random part that no other
//! history of the same store can repeat.

use std::fmt;
use std::str::FromStr;

/// Most events that one commit can hold, less one; the low bits of an [`EventKey`].
pub const ORDINAL_MAX: u32 = (1 << ORDINAL_BITS) - 1;
const ORDINAL_BITS: u32 = 24;

/// Where an event stands: the generation that wrote it and its place therein. Events of one
/// source ascend by key in the order of their sequence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EventKey(i64);

impl EventKey {
    /// Before every event.
    pub const START: Self = Self(0);

    /// The key of event `ordinal` of `generation`.
    ///
    /// `ordinal` is at most [`ORDINAL_MAX`]; `generation` fits 39 bits, 17,000 a second for a year.
    #[must_use]
    pub const fn new(generation: i64, ordinal: u32) -> Self {
        Self(generation << ORDINAL_BITS | ordinal as i64)
    }

    /// The key with this stored number.
    #[must_use]
    pub const fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// The number that the store keeps.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }

    /// The generation that wrote it.
    #[must_use]
    pub const fn generation(self) -> i64 {
        self.0 >> ORDINAL_BITS
    }

    /// Its place within the generation.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "masked to 24 bits"
    )]
    pub const fn ordinal(self) -> u32 {
        (self.0 & ORDINAL_MAX as i64) as u32
    }
}

/// The `webhook-id`: `evt_` and 32 hexadecimal digits, key and salt.
///
/// The key finds the event without an index. The salt is drawn anew for each commit: a store that
/// was deleted or restored from a backup reuses keys, and must not reuse ids, because receivers
/// drop an id they have seen. No dot, as Standard Webhooks 1.0 asks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EventId {
    key: EventKey,
    salt: u64,
}

impl EventId {
    /// The id of the event at `key`, whose commit drew `salt`.
    #[must_use]
    pub const fn new(key: EventKey, salt: u64) -> Self {
        Self { key, salt }
    }

    /// Where the event stands.
    #[must_use]
    pub const fn key(self) -> EventKey {
        self.key
    }

    /// What its commit drew.
    #[must_use]
    pub const fn salt(self) -> u64 {
        self.salt
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "evt_{:016x}{:016x}", self.key.0, self.salt)
    }
}

/// The text is no event id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event id is `evt_` and 32 hexadecimal digits")]
pub struct NoEventId;

impl FromStr for EventId {
    type Err = NoEventId;

    fn from_str(text: &str) -> Result<Self, NoEventId> {
        let digits = text.strip_prefix("evt_").ok_or(NoEventId)?;
        let is_hex = digits
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if digits.len() != 32 || !is_hex {
            return Err(NoEventId);
        }
        let half = |part: &str| u64::from_str_radix(part, 16).map_err(|_| NoEventId);
        let key = i64::try_from(half(&digits[..16])?).map_err(|_| NoEventId)?;
        Ok(Self {
            key: EventKey(key),
            salt: half(&digits[16..])?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_reads_back() {
        let id = EventId::new(EventKey::new(7, 41), u64::MAX);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!((id.key().generation(), id.key().ordinal()), (7, 41));
        for bad in [
            "",
            "evt_",
            "msg_00000000000000000000000000000000",
            "evt_+0000000000000000000000000000000",
            "evt_ffffffffffffffff0000000000000000",
            "evt_0000000000000000000000000000000é",
        ] {
            assert_eq!(bad.parse::<EventId>(), Err(NoEventId), "{bad}");
        }
    }

    #[test]
    fn keys_ascend_with_generation_then_ordinal() {
        assert!(EventKey::new(1, ORDINAL_MAX) < EventKey::new(2, 0));
        assert!(EventKey::new(2, 0) < EventKey::new(2, 1));
    }
}
