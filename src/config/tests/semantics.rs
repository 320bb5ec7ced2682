//! When a change is believed, and what leaves a snapshot.

use std::time::Duration;

use super::*;
use crate::config::{Confirm, Rate};

const LIST: &str = "items = \"$[*]\"\nid = \"$.id\"\n";

#[test]
fn what_is_not_asked_for_is_off_and_what_is_left_out_of_it_has_a_default() {
    let source = right(WATCH).sources["doc"].clone();
    assert_eq!(
        (source.confirm, source.forget, source.stale_after),
        (None, None, None)
    );
    let config = right(&format!(
        "{WATCH}{LIST}confirm = {{}}\nforget = \"90d\"\nstale_after = \"24h\"\n\
         deletes = {{ tombstone = \"$[?@.gone]\" }}\n"
    ));
    let source = &config.sources["doc"];
    let after = Duration::from_secs(2);
    assert_eq!(source.confirm, Some(Confirm { polls: 2, after }));
    assert_eq!(source.forget, Some(Duration::from_hours(90 * 24)));
    assert_eq!(source.deletes, Deletes::Tombstone);
    let tombstone = source.rules.tombstone.as_ref();
    assert_eq!(
        tombstone.map(crate::detect::Filter::as_str),
        Some("$[?@.gone]")
    );
    let expected = "  doc: u/doc, every 30s, 120 requests an hour, items $[*] by $.id, deleted when \
                    $[?@.gone], forgotten when unseen for 90d, believed when 2 fetches 2s apart have \
                    seen it, stale after 1d\n";
    let explained = explain(&config, Timestamp::default());
    assert!(explained.contains(expected), "{explained}");
}

#[test]
fn times_that_one_poll_may_outlast_are_odd() {
    let config = right(&format!(
        "{WATCH}{LIST}forget = \"30s\"\nstale_after = \"30s\"\n"
    ));
    assert_eq!(
        config.warnings,
        [
            "doorbell.toml:9:1: `forget` is no longer than `every`: what one poll misses is \
             forgotten",
            "doorbell.toml:10:1: `stale_after` is no longer than `every`: one poll without news \
             rings it",
        ]
    );
}

#[test]
fn times_of_the_day_are_shown_as_the_clocks_of_their_zone_will_show_them() {
    let source = |name: &str, more: &str, every: &str| {
        format!("[sources.{name}]\nupstream = \"u\"\n{more}\nevery = {every}\n")
    };
    let office = "{ cron = \"*/5 8-18 * * MON-FRI\", timezone = \"Europe/Berlin\" }";
    let each = "path = \"/{{a}}\"\neach = { a = [\"b\", \"c\"] }";
    let text = format!(
        "{WATCH}{}{}",
        source("office", "path = \"/office\"", office),
        source("nightly", each, "{ cron = \"30 2 * * *\" }")
    );
    let config = right(&text);
    // The night before summer time.
    let now = Timestamp::from_millis(1_774_656_000_000);
    let explained = explain(&config, now);
    for expected in [
        "office: u/office, at */5 8-18 * * MON-FRI of Europe/Berlin, 3.9 requests an hour on \
         average, next Mon 2026-03-30 08:00 +02:00, Mon 2026-03-30 08:05 +02:00, Mon 2026-03-30 \
         08:10 +02:00, the whole document",
        "nightly: u/{{a}}, at 30 2 * * * of UTC, 0.083 requests an hour on average for each a (2), \
         next Sat 2026-03-28 02:30 +00:00, Sun 2026-03-29 02:30 +00:00, Mon 2026-03-30 02:30 \
         +00:00 and up to 10m later, the whole document",
    ] {
        assert!(explained.contains(expected), "{explained}");
    }
}

#[test]
fn an_endpoint_has_no_rate_and_gives_up_after_five_days_unless_it_says_so() {
    let config = right(&super::refusals::ring(""));
    let endpoint = &config.endpoints["e"];
    assert_eq!(endpoint.rate, None);
    assert_eq!(endpoint.disable_after, Duration::from_hours(5 * 24));
    let config = right(&super::refusals::ring(
        "rate = { requests = 10, per = \"1s\" }\ndisable_after = \"12h\"",
    ));
    let endpoint = &config.endpoints["e"];
    let requests = std::num::NonZeroU32::new(10).expect("some");
    let per = Duration::from_secs(1);
    assert_eq!(endpoint.rate, Some(Rate { requests, per }));
    assert_eq!(endpoint.disable_after, Duration::from_hours(12));
    let explained = explain(&config, Timestamp::default());
    assert!(explained.contains(", at most 10 per 1s\n"), "{explained}");
}
