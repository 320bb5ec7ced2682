//! A value that says how far a listing has come: a time, a number or another text, as it looks.
//!
//! Decides which of two is further, and how one is written that lies before another. Times are those
//! of RFC 3339 and its relatives (`2026-11-23 18:00`, `2026-11-23`, without zone taken for UTC) and
//! of RFC 2822; they order by their instants. Numbers order by size, exactly; other texts by their
//! bytes. Decides, too, what is after now and by whose clock.

use std::cmp::Ordering;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};

use super::super::cursor::Cursor;
use super::super::{Path, Unreadable};
use crate::time::Timestamp;

/// A longer value is no clock's and no counter's.
const VALUE_BYTES_MAX: usize = 256;

/// Most digits of a number's whole part, which an `i128` holds.
const DIGITS_MAX: usize = 38;

/// Nanoseconds of a millisecond.
const MILLI: i64 = 1_000_000;

/// How far a clock without zone may be ahead of UTC.
const ZONE_MAX: TimeDelta = TimeDelta::hours(14);

/// From this size on, a number may be an epoch in seconds: smaller ones would be before 2001.
const EPOCH_SECONDS: i128 = 1_000_000_000;

/// How far behind `now` a number tells that its like are epochs: some 10 years, in seconds.
const NEAR_SECONDS: i128 = 10 * 366 * 86_400;

/// From these sizes on, numbers are epochs in milliseconds, microseconds, nanoseconds: smaller
/// ones would be before 1973.
const EPOCHS: [(i128, u32); 3] = [
    (100_000_000_000_000_000, 1_000_000_000),
    (100_000_000_000_000, 1_000_000),
    (100_000_000_000, 1_000),
];

/// A value, read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Time(Time),
    Number(Number),
    Text(String),
}

/// A time, and how it is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Time {
    local: NaiveDateTime,
    /// `None`: no zone is written.
    offset: Option<FixedOffset>,
    style: Style,
    text: String,
}

#[derive(Debug, Clone, PartialEq)]
enum Style {
    /// By parts: what stands between date and time, whether there are seconds, how many digits
    /// follow them, and the zone as it was written.
    Parts {
        separator: char,
        has_seconds: bool,
        digits: usize,
        zone: String,
    },
    /// A date alone.
    Date,
    /// RFC 2822.
    Mail,
}

/// A decimal number that is not negative, or a whole one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Number {
    whole: i128,
    fraction: String,
    text: String,
}

impl Value {
    /// A value as it is spelled in JSON; `None` for null.
    pub(super) fn spelled(spelled: &[u8], from: &Path) -> Result<Option<Self>, Unreadable> {
        let text = match spelled.first() {
            Some(b'n') => return Ok(None),
            Some(b'"') => Cursor::over(spelled).string()?.decode()?,
            Some(b'-' | b'0'..=b'9') => String::from_utf8_lossy(spelled).into_owned(),
            _ => {
                let message = format!("`{from}` is neither a string nor a number");
                return Err(Unreadable::Shape(message));
            }
        };
        if text.len() > VALUE_BYTES_MAX {
            let message = format!("`{from}` is longer than {VALUE_BYTES_MAX} bytes");
            return Err(Unreadable::Shape(message));
        }
        Ok((!text.is_empty()).then(|| Self::of(&text)))
    }

    /// A value as it was written.
    pub(super) fn of(text: &str) -> Self {
        let number = Number::read(text).map(Self::Number);
        let time = || Time::read(text).map(Self::Time);
        number
            .or_else(time)
            .unwrap_or_else(|| Self::Text(text.to_owned()))
    }

    /// As it was written.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Time(time) => &time.text,
            Self::Number(number) => &number.text,
            Self::Text(text) => text,
        }
    }

    /// The further one; of equals the first. `None` for different kinds.
    pub(super) fn max(self, other: Self) -> Option<Self> {
        let order = match (&self, &other) {
            (Self::Time(one), Self::Time(other)) => one.instant().cmp(&other.instant()),
            (Self::Number(one), Self::Number(other)) => one.compare(other),
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
            _ => return None,
        };
        Some(if order == Ordering::Less { other } else { self })
    }

    /// So much before, or by one step of what may be the precision; `None` for a distance from what
    /// has none.
    pub(super) fn back(&self, by: Option<Duration>) -> Option<String> {
        match (self, by) {
            (value, Some(Duration::ZERO)) | (value @ Self::Text(_), None) => {
                Some(value.text().to_owned())
            }
            (Self::Time(time), by) => Some(time.back(by.map_or_else(|| time.step(), delta))),
            (Self::Number(number), by) => Some(number.back(by)),
            (Self::Text(_), Some(_)) => None,
        }
    }

    /// Whether it is after `now`: a clock's that is ahead, or of a number perhaps a counter's.
    pub(super) fn is_ahead(&self, now: Timestamp) -> bool {
        match self {
            Self::Time(time) => time.is_ahead(now),
            Self::Number(number) => number.behind(now).is_some_and(|seconds| seconds < 0),
            Self::Text(_) => false,
        }
    }

    /// Whether it tells that `ahead`, which is after `now`, is a clock's: a counter and an epoch
    /// look alike, but one that is of the last years and of the same unit is no coincidence.
    pub(super) fn tells_of_a_clock(&self, ahead: &Self, now: Timestamp) -> bool {
        let (Self::Number(number), Self::Number(ahead)) = (self, ahead) else {
            return false;
        };
        let is_near = |seconds| (0..=NEAR_SECONDS).contains(&seconds);
        number.per_second() == ahead.per_second() && number.behind(now).is_some_and(is_near)
    }
}

impl Time {
    fn read(text: &str) -> Option<Self> {
        let (date, rest) = text.split_at_checked(10).unwrap_or((text, ""));
        let Ok(date) = NaiveDate::parse_from_str(date, "%Y-%m-%d") else {
            return Self::mail(text);
        };
        let time = |local, offset, style| Self {
            local,
            offset,
            style,
            text: text.to_owned(),
        };
        if rest.is_empty() {
            return Some(time(date.and_time(NaiveTime::MIN), None, Style::Date));
        }
        let separator = rest
            .chars()
            .next()
            .filter(|c| matches!(c, 'T' | 't' | ' '))?;
        let clock = &rest[1..];
        let end = clock.find(['Z', 'z', '+', '-', ' ']).unwrap_or(clock.len());
        let (clock, zone) = clock.split_at(end);
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        let has_seconds = clock.len() == 8;
        let format = if has_seconds { "%H:%M:%S" } else { "%H:%M" };
        let clock = NaiveTime::parse_from_str(clock, format).ok()?;
        if !fraction.bytes().all(|byte| byte.is_ascii_digit())
            || (!has_seconds && !fraction.is_empty())
        {
            return None;
        }
        let style = Style::Parts {
            separator,
            has_seconds,
            digits: fraction.len(),
            zone: zone.to_owned(),
        };
        let nanos = format!("{fraction:0<9}")[..9].parse().ok()?;
        let local = date.and_time(clock) + TimeDelta::nanoseconds(nanos);
        let offset = match zone.trim_start() {
            "" => None,
            zone => Some(offset(zone)?),
        };
        Some(time(local, offset, style))
    }

    fn mail(text: &str) -> Option<Self> {
        let time = DateTime::parse_from_rfc2822(text).ok()?;
        Some(Self {
            local: time.naive_local(),
            offset: Some(*time.offset()),
            style: Style::Mail,
            text: text.to_owned(),
        })
    }

    fn instant(&self) -> NaiveDateTime {
        let east = self.offset.map_or(0, |offset| offset.local_minus_utc());
        self.local - TimeDelta::seconds(i64::from(east))
    }

    /// The least step that the clock may have.
    fn step(&self) -> TimeDelta {
        let time = self.local.time();
        let within = |unit: i64| {
            let nanos = (time - NaiveTime::MIN).num_nanoseconds().unwrap_or(0);
            nanos % unit != 0
        };
        if within(1_000 * MILLI) {
            TimeDelta::milliseconds(1)
        } else if within(60_000 * MILLI) {
            TimeDelta::seconds(1)
        } else if time == NaiveTime::MIN {
            TimeDelta::days(1)
        } else {
            TimeDelta::minutes(1)
        }
    }

    /// So much earlier, written the same way. What the way of writing cannot hold is cut off,
    /// which goes back further.
    fn back(&self, by: TimeDelta) -> String {
        let local = self
            .local
            .checked_sub_signed(by)
            .unwrap_or(NaiveDateTime::MIN);
        self.written(local)
    }

    fn written(&self, local: NaiveDateTime) -> String {
        match &self.style {
            Style::Date => local.format("%Y-%m-%d").to_string(),
            Style::Mail => {
                let zone = self
                    .offset
                    .map_or_else(String::new, |offset| offset.to_string());
                let zone = zone.replace(':', "");
                format!("{} {zone}", local.format("%a, %d %b %Y %H:%M:%S"))
            }
            Style::Parts {
                separator,
                has_seconds,
                digits,
                zone,
            } => {
                let mut text = local.format("%Y-%m-%d").to_string();
                text.push(*separator);
                let format = if *has_seconds { "%H:%M:%S" } else { "%H:%M" };
                text.push_str(&local.format(format).to_string());
                if *digits > 0 {
                    let nanos = local.and_utc().timestamp_subsec_nanos();
                    let fraction = format!("{nanos:09}");
                    text.push('.');
                    text.push_str(&format!("{fraction:0<digits$}")[..*digits]);
                }
                text + zone
            }
        }
    }

    fn is_ahead(&self, now: Timestamp) -> bool {
        let now = DateTime::<Utc>::from_timestamp_millis(now.as_millis());
        let zone = self.offset.map_or(ZONE_MAX, |_| TimeDelta::zero());
        now.is_some_and(|now| self.instant() > now.naive_utc() + zone)
    }
}

/// The offset that is written as `zone`.
fn offset(zone: &str) -> Option<FixedOffset> {
    if matches!(zone, "Z" | "z" | "UTC" | "GMT") {
        return FixedOffset::east_opt(0);
    }
    let (sign, digits) = zone.split_at_checked(1)?;
    let digits = digits.replace(':', "");
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let hours: i32 = digits[..2].parse().ok()?;
    let minutes: i32 = digits
        .get(2..4)
        .map_or(Some(0), |minutes| minutes.parse().ok())?;
    let seconds = hours * 3_600 + minutes * 60;
    match sign {
        "+" => FixedOffset::east_opt(seconds),
        "-" => FixedOffset::west_opt(seconds),
        _ => None,
    }
}

impl Number {
    fn read(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = whole.strip_prefix('-').unwrap_or(whole);
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let is_negative_fraction = whole.starts_with('-') && text.contains('.');
        if !is_digits(digits)
            || !is_digits(fraction)
            || digits.len() > DIGITS_MAX
            || is_negative_fraction
        {
            return None;
        }
        Some(Self {
            whole: whole.parse().ok()?,
            fraction: fraction.to_owned(),
            text: text.to_owned(),
        })
    }

    fn compare(&self, other: &Self) -> Ordering {
        let fraction = |number: &Self| number.fraction.trim_end_matches('0').to_owned();
        let by_fraction = || fraction(self).cmp(&fraction(other));
        self.whole.cmp(&other.whole).then_with(by_fraction)
    }

    /// So much earlier, as an epoch of seconds or what its size says; by 1 without a duration.
    fn back(&self, by: Option<Duration>) -> String {
        let units = match by {
            None => 1,
            Some(by) => {
                let per_second = self.per_second().unwrap_or(1);
                let nanos = by.as_nanos() * u128::from(per_second);
                i128::try_from(nanos.div_ceil(1_000_000_000)).unwrap_or(i128::MAX)
            }
        };
        let mut whole = self.whole.saturating_sub(units);
        let (digits, fraction) = self.text.split_once('.').unwrap_or((&self.text, ""));
        // Zeros before it are there so that texts order as the numbers do, and there is none
        // below zero.
        let is_padded = digits.len() > 1 && digits.starts_with('0');
        let width = if is_padded { digits.len() } else { 0 };
        if is_padded {
            whole = whole.max(0);
        }
        // Below zero a fraction would count the other way.
        if fraction.is_empty() || whole < 0 {
            format!("{whole:0width$}")
        } else {
            format!("{whole:0width$}.{fraction}")
        }
    }

    /// What an epoch of this size counts, so many a second; `None` for what is too small for one.
    fn per_second(&self) -> Option<u32> {
        let size = EPOCHS.iter().find(|(size, _)| self.whole >= *size);
        let seconds = (self.whole >= EPOCH_SECONDS).then_some(1);
        size.map(|(_, per_second)| *per_second).or(seconds)
    }

    /// So many seconds before `now`, as an epoch; negative after it.
    fn behind(&self, now: Timestamp) -> Option<i128> {
        let per_second = i128::from(self.per_second()?);
        let now = i128::from(now.as_millis()) * per_second / 1_000;
        Some((now - self.whole).div_euclid(per_second))
    }
}

fn delta(by: Duration) -> TimeDelta {
    TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX)
}
