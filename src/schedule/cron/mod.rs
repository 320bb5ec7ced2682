//! Cron expressions in a time zone. Pure.
//!
//! Decides which instants an expression means, also where the local clock is changed. Leaves what
//! a field means to `croner`, and what the clocks show to `chrono-tz`.
//!
//! An expression has five fields: minute, hour, day of the month, month, weekday; lists, ranges,
//! steps and names as cron has them, and `L`, `W` and `#`. Where both day fields are given, either
//! will do, as cron has always had it. What comes more often than once a minute is no matter of
//! the calendar and has a period.
//!
//! # When clocks change
//!
//! - A local time that does not exist, because the clock jumps over it, means the first instant
//!   after the jump. Several such times are that one instant.
//! - A local time that comes twice, because the clock is set back, means the first of both. Where
//!   minute or hour begin with `*` the expression says how often rather than when, and means both:
//!   nobody who writes `*/5 * * * *` wants to hear nothing for an hour.

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, TimeZone as _, Timelike as _, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use croner::parser::{CronParser, Seconds, Year};

use crate::time::Timestamp;

/// The partitions of a source are spread over so much after each time, or over all of the time
/// until the next one if that is shorter: a hundred thousand of them are then no burst, and one
/// that is to be polled at eight is polled at eight.
pub const SPREAD_MAX: Duration = Duration::from_mins(10);

/// Longest text; the longest of use has some forty bytes.
const BYTES_MAX: usize = 200;

/// The clock is never set back by more.
const REPEATED_MAX: TimeDelta = TimeDelta::hours(3);

/// Local times differ from UTC by less.
const OFFSET_MAX: TimeDelta = TimeDelta::hours(16);

const MINUTES_A_DAY: u32 = 24 * 60;

/// What the fields are, and what they may hold.
const FIELDS: [(&str, &str); 5] = [
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of a month", "1 to 31 or L"),
    ("month", "1 to 12 or JAN to DEC"),
    ("weekday", "0 to 7 or SUN to SAT"),
];

const NICKNAMES: &str = "@hourly, @daily, @weekly, @monthly or @yearly";

/// Instants, given by an expression over local time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    expression: Box<str>,
    zone: Zone,
    pattern: croner::Cron,
    /// Whether it says how often, not when.
    is_interval: bool,
    /// Minutes of a day.
    times: Box<[u32]>,
}

/// A time zone of the IANA database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone(Tz);

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CronError {
    /// Which bytes of the text are wrong.
    pub at: Range<usize>,
    /// For people.
    pub message: String,
}

impl Cron {
    /// Reads an expression over the local time of `zone`.
    ///
    /// # Errors
    /// [`CronError`], also for one that no day fulfils.
    pub fn parse(expression: &str, zone: Zone) -> Result<Self, CronError> {
        let all = 0..expression.len();
        if expression.len() > BYTES_MAX {
            let message = format!("a cron expression has at most {BYTES_MAX} bytes");
            return Err(wrong(all, message));
        }
        let pattern = parse(expression).ok_or_else(|| explain(expression))?;
        let fields: Vec<&str> = pattern.pattern.as_str().split_whitespace().collect();
        let is_interval = fields.iter().take(2).any(|field| field.starts_with('*'));
        let minute_matches = |minute: &u32| {
            let hour = pattern.pattern.hour_match(minute / 60);
            let minute = pattern.pattern.minute_match(minute % 60);
            matches!((hour, minute), (Ok(true), Ok(true)))
        };
        let cron = Self {
            times: (0..MINUTES_A_DAY).filter(minute_matches).collect(),
            expression: expression.trim().into(),
            zone,
            is_interval,
            pattern,
        };
        if cron.next_local(begin(YEAR)).is_none() {
            return Err(wrong(all, "no day is like that, so it never comes".into()));
        }
        Ok(cron)
    }

    /// The first instant after `at`.
    #[must_use]
    pub fn after(&self, at: Timestamp) -> Option<Timestamp> {
        let here = self.zone.local(at)?;
        let Zone(zone) = self.zone;
        // Times before the present one may come once more.
        let is_repeated =
            zone.from_local_datetime(&here).latest() != zone.from_local_datetime(&here).earliest();
        let mut local = if is_repeated {
            here - REPEATED_MAX
        } else {
            here
        };
        let mut again: Option<Timestamp> = None;
        loop {
            let Some(next) = self.next_local(local) else {
                return again;
            };
            let (first, second) = self.zone.instants(next)?;
            if first > at {
                return Some(again.map_or(first, |again| again.min(first)));
            }
            let second = second.filter(|second| self.is_interval && *second > at);
            again = again.into_iter().chain(second).min();
            local = next;
        }
    }

    /// As it was written.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// Whose clocks it goes by.
    #[must_use]
    pub fn zone(&self) -> Zone {
        self.zone
    }

    /// How many instants an hour has, over four years.
    #[must_use]
    pub fn per_hour(&self) -> f64 {
        let end = begin(YEAR + 4);
        let next_day = |day: &NaiveDateTime| {
            let last = day.date().and_hms_opt(23, 59, 59)?;
            self.next_local(last)
        };
        // Midnight is one of the first day's times.
        let first = self.next_local(begin(YEAR) - TimeDelta::seconds(1));
        let days = std::iter::successors(first, next_day).take_while(|day| *day < end);
        let hours = (end - begin(YEAR)).num_hours();
        days.count() as f64 * self.times.len() as f64 / hours as f64
    }

    /// Over how much after each instant partitions are spread.
    #[must_use]
    pub fn spread(&self) -> Duration {
        let gaps = self.times.windows(2).map(|pair| pair[1] - pair[0]);
        let night = match (self.times.first(), self.times.last()) {
            (Some(first), Some(last)) => MINUTES_A_DAY - last + first,
            _ => MINUTES_A_DAY,
        };
        let shortest = gaps.fold(night, u32::min);
        Duration::from_mins(shortest.into()).min(SPREAD_MAX)
    }

    /// The first local time after `local`, on a calendar without gaps.
    fn next_local(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        let next = self.pattern.find_next_occurrence(&local.and_utc(), false);
        next.ok().map(|next| next.naive_utc())
    }
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(Tz::UTC);

    /// The zone called so, like `Europe/Berlin`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok().map(Self)
    }

    /// All names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TZ_VARIANTS.iter().map(|zone| zone.name())
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// What its clocks show, to the minute: `Wed 2026-11-25 08:00 +01:00`.
    #[must_use]
    pub fn shown(self, at: Timestamp) -> String {
        let utc = DateTime::<Utc>::from_timestamp_millis(at.as_millis()).unwrap_or_default();
        let local = utc.with_timezone(&self.0);
        local.format("%a %Y-%m-%d %H:%M %:z").to_string()
    }

    /// What its clocks show, to the second.
    fn local(self, at: Timestamp) -> Option<NaiveDateTime> {
        let utc = DateTime::<Utc>::from_timestamp_millis(at.as_millis())?;
        utc.with_timezone(&self.0).naive_local().with_nanosecond(0)
    }

    /// When its clocks show `local`: the second time, too, if they do so twice. If they never do,
    /// when they first show more.
    fn instants(self, local: NaiveDateTime) -> Option<(Timestamp, Option<Timestamp>)> {
        let timestamp = |at: DateTime<Tz>| Timestamp::from_millis(at.timestamp_millis());
        let found = self.0.from_local_datetime(&local);
        if let Some(first) = found.earliest() {
            let second = found.latest().filter(|second| *second != first);
            return Some((timestamp(first), second.map(timestamp)));
        }
        let (mut before, mut after) = (
            (local - OFFSET_MAX).and_utc().timestamp(),
            (local + OFFSET_MAX).and_utc().timestamp(),
        );
        while after - before > 1 {
            let middle = i64::midpoint(before, after);
            if self.local(Timestamp::from_millis(middle * 1000))? < local {
                before = middle;
            } else {
                after = middle;
            }
        }
        Some((Timestamp::from_millis(after * 1000), None))
    }
}

/// Four years from here have one leap day, as most have.
const YEAR: i32 = 2025;

fn begin(year: i32) -> NaiveDateTime {
    let day = NaiveDate::from_ymd_opt(year, 1, 1).unwrap_or_default();
    day.and_time(chrono::NaiveTime::MIN)
}

fn parse(expression: &str) -> Option<croner::Cron> {
    let parser = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed);
    parser.build().parse(expression).ok()
}

/// What is wrong with an expression: each field is tried alone.
fn explain(expression: &str) -> CronError {
    let all = 0..expression.len();
    if expression.trim().starts_with('@') {
        return wrong(all, format!("write {NICKNAMES}, or five fields"));
    }
    let fields: Vec<&str> = expression.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let message = format!(
            "a cron expression has 5 fields, not {}: minute, hour, day, month and weekday, like \
             \"*/5 8-18 * * MON-FRI\"",
            fields.len()
        );
        return wrong(all, message);
    }
    for (place, (field, (what, bounds))) in fields.iter().zip(FIELDS).enumerate() {
        let mut alone = ["*"; FIELDS.len()];
        alone[place] = field;
        if parse(&alone.join(" ")).is_some() {
            continue;
        }
        // Fields are parts of the expression.
        let start = field.as_ptr() as usize - expression.as_ptr() as usize;
        let message = format!("no {what}: {bounds}, and of these `*`, `*/5`, `1-5` or `1,5`");
        return wrong(start..start + field.len(), message);
    }
    wrong(all, "these five fields make no cron expression".to_owned())
}

fn wrong(at: Range<usize>, message: String) -> CronError {
    CronError { at, message }
}
