//! Points in time as whole milliseconds, the precision that events and schedules carry.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

/// Milliseconds since the Unix epoch, UTC.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The point `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The point that RFC 3339 writes so, `2026-11-23T18:00:00Z`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let point = DateTime::parse_from_rfc3339(text).ok()?;
        Some(Self(point.timestamp_millis()))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, as `webhook-timestamp` wants them.
    #[must_use]
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// RFC 3339 in UTC with whole seconds, `2026-11-23T18:00:00Z`: what most APIs take.
    #[must_use]
    pub fn in_seconds(self) -> String {
        let point = DateTime::<Utc>::from_timestamp_millis(self.0).unwrap_or_default();
        point.to_rfc3339_opts(SecondsFormat::Secs, true)
    }

    /// This point and `delay`, at most the end of time.
    #[must_use]
    pub fn plus(self, delay: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// This point less `delay`, at least the beginning of time.
    #[must_use]
    pub fn minus(self, delay: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-23T18:00:00.123Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let point = DateTime::<Utc>::from_timestamp_millis(self.0).unwrap_or_default();
        f.write_str(&point.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

/// Serializes a time as people read it, where the number is for machines.
///
/// # Errors
/// The serializer's.
pub fn as_text<S: serde::Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_as_rfc3339_with_milliseconds() {
        assert_eq!(
            Timestamp::from_millis(1_795_456_800_123).to_string(),
            "2026-11-23T18:00:00.123Z"
        );
    }

    #[test]
    fn arithmetic_saturates() {
        let end = Timestamp::from_millis(i64::MAX);
        assert_eq!(end.plus(Duration::MAX), end);
        assert_eq!(
            Timestamp::from_millis(5).since(Timestamp::from_millis(9)),
            Duration::ZERO
        );
    }
}
