//! Examples of each rule, and a walker that knows nothing but clocks.

use chrono::Datelike as _;
use proptest::prelude::*;

use super::*;

const MINUTE: i64 = 60_000;

fn cron(expression: &str, zone: &str) -> Cron {
    let zone = Zone::parse(zone).expect("a zone");
    Cron::parse(expression, zone).expect("an expression")
}

fn at(text: &str) -> Timestamp {
    let at = DateTime::parse_from_rfc3339(text).expect("a time");
    Timestamp::from_millis(at.timestamp_millis())
}

/// So many times after `begin`, as the zone's clocks show them.
fn times(cron: &Cron, begin: &str, count: usize) -> Vec<String> {
    let times = std::iter::successors(cron.after(at(begin)), |at| cron.after(*at));
    let shown = times.take(count).map(|at| cron.zone().shown(at));
    shown.map(|text| text[4..].to_owned()).collect()
}

#[test]
fn an_expression_is_about_the_clocks_of_its_zone() {
    let office = cron("*/30 8-18 * * MON-FRI", "Europe/Berlin");
    // A Friday, at the end of the day.
    assert_eq!(
        times(&office, "2026-11-27T17:29:59.999Z", 3),
        [
            "2026-11-27 18:30 +01:00",
            "2026-11-30 08:00 +01:00",
            "2026-11-30 08:30 +01:00"
        ]
    );
    let exactly = office.after(at("2026-11-27T17:30:00Z"));
    assert_eq!(exactly, Some(at("2026-11-30T07:00:00Z")));
    let nickname = cron("@daily", "Asia/Kathmandu");
    assert_eq!(
        times(&nickname, "2026-11-27T18:15:00Z", 1),
        ["2026-11-29 00:00 +05:45"]
    );
}

#[test]
fn a_time_that_the_clock_jumps_over_comes_at_the_first_instant_after() {
    let eve = "2026-03-28T12:00:00Z";
    let nightly = cron("30 2 * * *", "Europe/Berlin");
    assert_eq!(
        times(&nightly, eve, 2),
        ["2026-03-29 03:00 +02:00", "2026-03-30 02:30 +02:00"]
    );
    // All that is jumped over is one instant.
    let often = cron("*/20 * * * *", "Europe/Berlin");
    assert_eq!(
        times(&often, "2026-03-29T00:30:00Z", 4),
        [
            "2026-03-29 01:40 +01:00",
            "2026-03-29 03:00 +02:00",
            "2026-03-29 03:20 +02:00",
            "2026-03-29 03:40 +02:00",
        ]
    );
    // Half an hour, as one island has it.
    let island = cron("15 2 * * *", "Australia/Lord_Howe");
    assert_eq!(
        times(&island, "2026-10-03T00:00:00Z", 1),
        ["2026-10-04 02:30 +11:00"]
    );
    // At midnight.
    let midnight = cron("0 0 * * *", "Africa/Cairo");
    assert_eq!(
        times(&midnight, "2026-04-23T12:00:00Z", 1),
        ["2026-04-24 01:00 +03:00"]
    );
}

#[test]
fn a_time_that_comes_twice_is_the_first_one_unless_it_says_how_often() {
    let nightly = cron("30 2 * * *", "Europe/Berlin");
    let begin = "2026-10-24T12:00:00Z";
    assert_eq!(
        times(&nightly, begin, 2),
        ["2026-10-25 02:30 +02:00", "2026-10-26 02:30 +01:00"]
    );
    // Asked between both.
    let between = nightly.after(at("2026-10-25T01:00:00Z"));
    assert_eq!(between, Some(at("2026-10-26T01:30:00Z")));
    let often = cron("*/30 * * * *", "Europe/Berlin");
    assert_eq!(
        times(&often, "2026-10-24T23:59:00Z", 6),
        [
            "2026-10-25 02:00 +02:00",
            "2026-10-25 02:30 +02:00",
            "2026-10-25 02:00 +01:00",
            "2026-10-25 02:30 +01:00",
            "2026-10-25 03:00 +01:00",
            "2026-10-25 03:30 +01:00",
        ]
    );
    let hours = cron("0,30 1-3 * * *", "Europe/Berlin");
    assert_eq!(
        times(&hours, "2026-10-25T00:00:00Z", 2),
        ["2026-10-25 02:30 +02:00", "2026-10-25 03:00 +01:00"]
    );
}

#[test]
fn two_hours_that_come_twice_are_both_told_of() {
    let often = cron("*/30 * * * *", "Antarctica/Troll");
    assert_eq!(
        times(&often, "2026-10-25T00:30:00Z", 5),
        [
            "2026-10-25 01:00 +00:00",
            "2026-10-25 01:30 +00:00",
            "2026-10-25 02:00 +00:00",
            "2026-10-25 02:30 +00:00",
            "2026-10-25 03:00 +00:00",
        ]
    );
}

#[test]
fn a_nickname_says_what_its_fields_say() {
    for (nickname, fields) in [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
    ] {
        let (one, other) = (
            cron(nickname, "Europe/Berlin"),
            cron(fields, "Europe/Berlin"),
        );
        // Through the night in which an hour comes twice: how often, not when.
        let begin = "2026-10-24T22:30:00Z";
        assert_eq!(times(&one, begin, 8), times(&other, begin, 8), "{nickname}");
        assert_eq!(
            (one.is_interval, one.spread()),
            (other.is_interval, other.spread())
        );
    }
}

#[test]
fn of_both_day_fields_either_will_do() {
    let either = cron("0 0 13 * FRI", "UTC");
    assert_eq!(
        times(&either, "2026-10-07T00:00:00Z", 4),
        [
            "2026-10-09 00:00 +00:00",
            "2026-10-13 00:00 +00:00",
            "2026-10-16 00:00 +00:00",
            "2026-10-23 00:00 +00:00",
        ]
    );
    let last = cron("0 0 L * *", "UTC");
    assert_eq!(
        times(&last, "2026-02-01T00:00:00Z", 1),
        ["2026-02-28 00:00 +00:00"]
    );
    let second = cron("0 0 * * TUE#2", "UTC");
    assert_eq!(
        times(&second, "2026-10-01T00:00:00Z", 1),
        ["2026-10-13 00:00 +00:00"]
    );
    let sunday = cron("0 0 * * 7", "UTC");
    assert_eq!(
        times(&sunday, "2026-10-01T00:00:00Z", 1),
        ["2026-10-04 00:00 +00:00"]
    );
}

#[test]
fn what_is_no_expression_is_told_where() {
    let refusal = |text: &str| Cron::parse(text, Zone::UTC).expect_err(text);
    for (text, place, part) in [
        ("*/5 25 * * *", 4..6, "no hour: 0 to 23"),
        ("60 * * * *", 0..2, "no minute"),
        ("* * 0 * *", 4..5, "no day of a month"),
        ("* * * FOO *", 6..9, "no month"),
        ("*  *  *  *  MOON", 12..16, "no weekday"),
        ("*/0 * * * *", 0..3, "no minute"),
        ("* * * *", 0..7, "5 fields, not 4"),
        ("0 */5 * * * *", 0..13, "5 fields, not 6"),
        ("", 0..0, "5 fields, not 0"),
        ("@often", 0..6, "@hourly"),
        ("0 0 30 2 *", 0..10, "never comes"),
        ("0 0 31 4,6,9,11 *", 0..17, "never comes"),
    ] {
        let error = refusal(text);
        assert_eq!(error.at, place, "{text}");
        assert!(error.message.contains(part), "{text}: {}", error.message);
    }
    let long = "1,".repeat(BYTES_MAX);
    assert!(refusal(&long).message.contains("at most 200 bytes"));
    // Rare is not never.
    assert_eq!(
        times(&cron("0 0 29 2 MON#5", "UTC"), "2026-01-01T00:00:00Z", 1).len(),
        1
    );
}

#[test]
fn rates_are_averages_over_years() {
    for (expression, a_week) in [
        ("* * * * *", 7.0 * 24.0 * 60.0),
        ("*/5 8-18 * * MON-FRI", 5.0 * 11.0 * 12.0),
        ("0 0 * * *", 7.0),
        ("0 12 1 * *", 7.0 * 48.0 / 1461.0),
    ] {
        let rate = cron(expression, "Europe/Berlin").per_hour() * 24.0 * 7.0;
        assert!((rate / a_week - 1.0).abs() < 0.002, "{expression}: {rate}");
    }
}

#[test]
fn partitions_are_spread_over_less_than_the_time_between_two() {
    for (expression, minutes) in [
        ("* * * * *", 1),
        ("*/5 8-18 * * *", 5),
        ("0 8 * * *", 10),
        ("0,7 8 * * *", 7),
        ("0,59 0,23 * * *", 1),
    ] {
        let spread = cron(expression, "UTC").spread();
        assert_eq!(spread, Duration::from_mins(minutes), "{expression}");
    }
}

/// Zones whose clocks change by an hour, half an hour or two hours, at night, at midnight, on the
/// other half of the earth, in a fast, or never.
const ZONES: [&str; 11] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Africa/Casablanca",
    "Antarctica/Troll",
    "America/Havana",
    "Africa/Cairo",
    "Pacific/Chatham",
    "Asia/Kathmandu",
];

/// A field: its text, and the values that it matches.
#[derive(Debug, Clone)]
struct Field(String, Vec<u32>);

fn field(least: u32, most: u32) -> impl Strategy<Value = Field> {
    let all = Just(Field("*".into(), (least..=most).collect()));
    let step = (2..=most / 2).prop_map(move |step| {
        let values = (least..=most).step_by(step as usize).collect();
        Field(format!("*/{step}"), values)
    });
    let range = (least..=most, least..=most).prop_map(|(a, b)| {
        let (from, to) = (a.min(b), a.max(b));
        Field(format!("{from}-{to}"), (from..=to).collect())
    });
    let list = proptest::collection::btree_set(least..=most, 1..4).prop_map(|values| {
        let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
        Field(texts.join(","), values.into_iter().collect())
    });
    prop_oneof![2 => all, 1 => step, 2 => range, 3 => list]
}

/// Walks from minute to minute, looking at nothing but the clock.
struct Walker {
    zone: Zone,
    minute: Field,
    hour: Field,
    weekday: Field,
}

impl Walker {
    fn matches(&self, local: NaiveDateTime) -> bool {
        self.minute.1.contains(&local.minute())
            && self.hour.1.contains(&local.hour())
            && self
                .weekday
                .1
                .contains(&local.weekday().num_days_from_sunday())
    }

    fn local(&self, minute: i64) -> NaiveDateTime {
        let local = self.zone.local(Timestamp::from_millis(minute * MINUTE));
        local.expect("a time of this century")
    }

    fn comes(&self, minute: i64) -> bool {
        let (before, local) = (self.local(minute - 1), self.local(minute));
        let mut jumped = before + TimeDelta::minutes(1);
        while jumped < local {
            if self.matches(jumped) {
                return true;
            }
            jumped += TimeDelta::minutes(1);
        }
        let is_interval = self.minute.0.starts_with('*') || self.hour.0.starts_with('*');
        let was_before = || (1..=180).any(|ago| self.local(minute - ago) == local);
        self.matches(local) && (is_interval || !was_before())
    }
}

/// Whole days in which the zone's clock is changed, and some others.
fn day(zone: Zone, seed: i64) -> i64 {
    let offset = |day: i64| {
        let at = Timestamp::from_millis(day * 1440 * MINUTE);
        let local = zone.local(at).expect("a time of this century");
        local.and_utc().timestamp_millis() - at.as_millis()
    };
    // 2026-01-01.
    let first = 20_454 + seed % 1_000;
    let change = (first..first + 200).find(|day| offset(*day) != offset(day + 1));
    change.filter(|_| seed % 4 != 0).unwrap_or(first)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn times_are_those_that_a_walker_finds(
        minute in field(0, 59),
        hour in field(0, 23),
        weekday in field(0, 6),
        (zone, seed, millis) in (0..ZONES.len(), 0_i64..100_000, 0..MINUTE),
    ) {
        let zone = Zone::parse(ZONES[zone]).expect("a zone");
        let text = format!("{} {} * * {}", minute.0, hour.0, weekday.0);
        let cron = Cron::parse(&text, zone).expect("an expression");
        let walker = Walker { zone, minute, hour, weekday };
        let begin = day(zone, seed) * 1440 - 720;
        let end = begin + 3 * 1440;
        let found: Vec<i64> = (begin + 1..end).filter(|minute| walker.comes(*minute)).collect();
        let start = Timestamp::from_millis(begin * MINUTE + millis);
        let times = std::iter::successors(cron.after(start), |at| cron.after(*at));
        let times: Vec<i64> = times
            .map(|at| {
                assert_eq!(at.as_millis() % MINUTE, 0);
                at.as_millis() / MINUTE
            })
            .take_while(|minute| *minute < end)
            .collect();
        prop_assert_eq!(times, found, "{} in {}", text, zone.name());
    }

    #[test]
    fn no_text_is_too_wild(text in "[-*/,0-9A-Z@#?+ LW]{0,30}", other in any::<String>()) {
        for text in [text, other] {
            if let Err(error) = Cron::parse(&text, Zone::UTC) {
                prop_assert!(text.get(error.at).is_some());
            }
        }
    }
}
