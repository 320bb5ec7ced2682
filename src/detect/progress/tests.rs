//! How far a listing is, and what is asked for then.

use chrono::{DateTime, Utc};
use proptest::prelude::*;

use super::super::{Rules, page};
use super::*;

/// 2026-11-23T18:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_795_456_800_000);

fn progress(text: &str) -> Progress {
    Progress {
        text: text.into(),
        is_initial: false,
    }
}

fn initial(text: &str) -> Progress {
    Progress {
        is_initial: true,
        ..progress(text)
    }
}

/// The progress after items with these values, as they are spelled in JSON.
fn after(before: Option<&Progress>, values: &[&str]) -> Result<Option<Progress>, Unreadable> {
    let items: Vec<String> = (0..)
        .zip(values)
        .map(|(id, value)| format!(r#"{{"id":{id},"at":{value}}}"#))
        .collect();
    let body = format!("[{}]", items.join(","));
    let rules = Rules {
        items: Some(Path::parse("$[*]").unwrap()),
        id: vec![Path::parse("$.id").unwrap()],
        ..Rules::default()
    };
    let page = page(body.as_bytes(), &rules, 1_000)?;
    let from = Path::parse("$.at").unwrap();
    Progress::furthest(before, [(body.as_bytes(), &page)], &from, NOW)
}

#[test]
fn the_furthest_value_wins_by_what_it_is() {
    for (values, expected) in [
        (
            &[
                r#""2026-01-02T00:00:00Z""#,
                r#""2026-01-01T23:00:00-02:00""#,
            ][..],
            "2026-01-01T23:00:00-02:00",
        ),
        (
            &[r#""2026-01-02 00:00:00.5""#, r#""2026-01-02 00:00""#],
            "2026-01-02 00:00:00.5",
        ),
        (
            &[r#""2026-01-02""#, r#""2025-12-31T23:59:59+0000""#],
            "2026-01-02",
        ),
        (
            &[
                r#""Mon, 23 Nov 2026 17:00:00 +0000""#,
                r#""Tue, 03 Nov 2026 19:00:00 +0000""#,
            ],
            "Mon, 23 Nov 2026 17:00:00 +0000",
        ),
        (&["9", "10"], "10"),
        (&[r#""9""#, r#""10""#], "10"),
        (
            &["18446744073709551617", "18446744073709551616"],
            "18446744073709551617",
        ),
        (
            &[r#""1700000000.000200""#, r#""1700000000.0001""#],
            "1700000000.000200",
        ),
        (&[r#""v-a""#, r#""v-b""#], "v-b"),
        (&["null", "7", "null"], "7"),
    ] {
        let furthest = after(None, values).unwrap().unwrap();
        assert_eq!(&*furthest.text, expected, "{values:?}");
        let again = after(Some(&furthest), values).unwrap().unwrap();
        assert_eq!(again, furthest);
    }
    assert_eq!(after(None, &["null"]), Ok(None));
    assert_eq!(after(Some(&progress("8")), &["7"]), Ok(Some(progress("8"))));
}

#[test]
fn what_has_no_order_is_refused() {
    for values in [
        &["7", r#""x""#][..],
        &[r#""2026-01-01""#, "7"],
        &["true"],
        &["{}"],
    ] {
        assert!(after(None, values).is_err(), "{values:?}");
    }
    assert!(after(Some(&progress("2026-01-01")), &["7"]).is_err());
}

#[test]
fn where_the_configuration_began_is_left_when_an_item_is_further_or_of_another_kind() {
    let began = initial("2026-01-01");
    assert_eq!(after(Some(&began), &["null"]), Ok(Some(began.clone())));
    let earlier = after(Some(&began), &[r#""2025-01-01T00:00:00Z""#]);
    assert_eq!(earlier, Ok(Some(began.clone())));
    let later = after(Some(&began), &[r#""2026-01-01T00:00:01Z""#]);
    assert_eq!(later, Ok(Some(progress("2026-01-01T00:00:01Z"))));
    let other = after(Some(&initial("0")), &[r#""2025-01-01T00:00:00Z""#]);
    assert_eq!(other, Ok(Some(progress("2025-01-01T00:00:00Z"))));
}

#[test]
fn a_clock_that_is_ahead_hides_nothing() {
    for (values, expected) in [
        (
            &[r#""2026-11-23T17:00:00Z""#, r#""2099-01-01T00:00:00Z""#][..],
            Some("2026-11-23T17:00:00Z"),
        ),
        (&[r#""2026-11-23T20:00:00.250+01:00""#], None),
        (
            &[r#""2026-11-23T19:00:00+01:00""#],
            Some("2026-11-23T19:00:00+01:00"),
        ),
        // Without zone: it may be so late somewhere, or is too late everywhere.
        (&[r#""2026-11-24 07:59:59""#], Some("2026-11-24 07:59:59")),
        (
            &[r#""2099-01-01 00:00:00""#, r#""2026-11-23 18:00:00""#],
            Some("2026-11-23 18:00:00"),
        ),
        (&[r#""2026-11-23""#, r#""2099-01-01""#], Some("2026-11-23")),
        // Epochs, by what is beside them.
        (&["4102444800", "1795456800"], Some("1795456800")),
        (&["1795456800000", "4102444800000"], Some("1795456800000")),
        (
            &[r#""1795456800.000100""#, r#""4102444800.000100""#],
            Some("1795456800.000100"),
        ),
        // Counters, though as large.
        (&["4102444799", "4102444800"], Some("4102444800")),
        (&["1000000001", "1795456900"], Some("1795456900")),
        (&["1795456800", "4102444800000"], Some("4102444800000")),
        (&["7", "4102444800"], Some("4102444800")),
    ] {
        let furthest = after(None, values).unwrap();
        let furthest = furthest.as_ref().map(|progress| &*progress.text);
        assert_eq!(furthest, expected, "{values:?}");
    }
}

#[test]
fn a_mark_tells_what_numbers_are_and_does_not_stay_ahead() {
    for (before, value, expected) in [
        (progress("1795456000"), "4102444800", "1795456000"),
        (initial("1795456000"), "4102444800", "1795456000"),
        (progress("4102444800"), "1795456800", "1795456800"),
        (
            progress("2099-01-01T00:00:00Z"),
            r#""2026-11-23T17:00:00Z""#,
            "2026-11-23T17:00:00Z",
        ),
        (progress("4102444799"), "4102444800", "4102444800"),
        (progress("4102444800"), "4102444799", "4102444800"),
        (initial("0"), "4102444800", "4102444800"),
    ] {
        let furthest = after(Some(&before), &[value]).unwrap().unwrap();
        assert_eq!(&*furthest.text, expected, "{before:?}, {value}");
    }
    assert!(after(None, &["7", r#""2099-01-01""#]).is_err());
}

#[test]
fn the_mark_goes_back_in_its_own_spelling() {
    let minutes = Some(Duration::from_mins(2));
    for (text, lookback, expected) in [
        ("2026-11-23T18:00:00Z", minutes, "2026-11-23T17:58:00Z"),
        (
            "2026-11-23T18:00:00.123456+02:00",
            minutes,
            "2026-11-23T17:58:00.123456+02:00",
        ),
        ("2026-11-23 18:00", minutes, "2026-11-23 17:58"),
        (
            "2026-11-23 18:00",
            Some(Duration::from_secs(1)),
            "2026-11-23 17:59",
        ),
        ("2026-11-23", minutes, "2026-11-22"),
        (
            "Mon, 23 Nov 2026 18:00:00 +0100",
            minutes,
            "Mon, 23 Nov 2026 17:58:00 +0100",
        ),
        ("1795456800", minutes, "1795456680"),
        ("1795456800123", minutes, "1795456680123"),
        ("1795456800.000200", minutes, "1795456680.000200"),
        ("0.5", minutes, "-120"),
        ("0000000124", None, "0000000123"),
        ("0000000124", minutes, "0000000004"),
        ("0000000000", None, "0000000000"),
        ("0100.50", None, "0099.50"),
        (
            "2026-11-23T18:00:01Z",
            Some(Duration::ZERO),
            "2026-11-23T18:00:01Z",
        ),
        // Without lookback, by what may be the clock's step.
        ("2026-11-23T18:00:00.5Z", None, "2026-11-23T18:00:00.4Z"),
        ("2026-11-23T18:00:01.000Z", None, "2026-11-23T18:00:00.000Z"),
        ("2026-11-23T18:01:00Z", None, "2026-11-23T18:00:00Z"),
        ("2026-11-23T00:00:00Z", None, "2026-11-22T00:00:00Z"),
        ("2026-11-23", None, "2026-11-22"),
        ("42", None, "41"),
        ("v-b", None, "v-b"),
    ] {
        assert_eq!(
            progress(text).asked(lookback).as_deref(),
            Ok(expected),
            "{text}"
        );
    }
    assert!(progress("v-b").asked(minutes).is_err());
    assert_eq!(
        initial("2026-11-23").asked(minutes).as_deref(),
        Ok("2026-11-23")
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_asked_for_is_never_after_the_mark(
        seconds in 0..4_000_000_000_i64, nanos in 0..1_000_000_000_u32,
        digits in 0..10_usize, back in prop::option::of(0..100_000_u64),
    ) {
        let time = DateTime::<Utc>::from_timestamp(seconds, nanos).unwrap();
        let fraction = if digits == 0 { String::new() } else { format!(".{nanos:09}")[..=digits].to_owned() };
        let text = format!("{}{fraction}Z", time.format("%Y-%m-%dT%H:%M:%S"));
        let progress = progress(&text);
        let asked = progress.asked(back.map(Duration::from_secs)).unwrap();
        prop_assert_eq!(asked.len(), text.len());
        prop_assert!(asked <= text);
    }

    #[test]
    fn any_text_has_a_place(text in "[ -~]{1,30}") {
        let _ = progress(&text).asked(None);
        let spelled = serde_json::Value::from(text.as_str()).to_string();
        let furthest = after(None, &[&spelled]).unwrap().unwrap();
        prop_assert!(!furthest.text.is_empty());
    }
}
