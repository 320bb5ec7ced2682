//! `every = { min, max }`, and what it asks of an upstream.

use std::time::Duration;

use super::*;
use crate::config::Every;
use crate::schedule::adaptive::Bounds;

/// Adaptive sources on an upstream that allows so much, and a fixed one every 30 seconds.
fn sharing(budget: &str, sources: &[(&str, &str)]) -> String {
    let upstream = format!("[upstreams.u]\nurl = \"https://u.example\"\n{budget}\n");
    let watch = WATCH.replace("[upstreams.u]\nurl = \"https://u.example\"\n", &upstream);
    assert!(watch.contains(budget));
    sources.iter().fold(watch, |text, (name, lines)| {
        format!("{text}[sources.{name}]\nupstream = \"u\"\n{lines}\n")
    })
}

const ONE: (&str, &str) = (
    "one",
    "path = \"/one\"\nevery = { min = \"5s\", max = \"15m\" }",
);
const MANY: (&str, &str) = (
    "many",
    "path = \"/{{a}}\"\neach = { a = [\"b\", \"c\"] }\nevery = { min = \"1m\", max = \"1h\" }",
);

#[test]
fn bounds_are_read_and_what_they_come_to_is_explained() {
    let config = right(&sharing("", &[ONE, MANY]));
    let bounds = Bounds {
        min: Duration::from_secs(5),
        max: Duration::from_mins(15),
    };
    assert_eq!(config.sources["one"].every, Every::Adaptive(bounds));
    assert_eq!(config.warnings, [""; 0]);
    let explained = explain(&config, Timestamp::default());
    for expected in [
        "u: https://u.example, polled 189 requests an hour, 69 of them shared by what is adaptive \
         (6 at least, 840 at most)\n",
        "one: u/one, every 5s to 15m as it changes, 4 to 720 requests an hour, the whole document",
        "many: u/{{a}}, every 1m to 1h as it changes, 2 to 120 requests an hour for each a (2), the",
    ] {
        assert!(explained.contains(expected), "{expected}\n{explained}");
    }
    // With a budget, they share what the others leave.
    let budget = "budget = { requests = 500, per = \"1h\" }";
    let explained = explain(&right(&sharing(budget, &[ONE, MANY])), Timestamp::default());
    let expected = "u: https://u.example, polled 500 requests an hour, 380 of them shared by what is \
                    adaptive (6 at least, 840 at most), 100% of its budget of 500 per 1h (burst 8), \
                    of which polls keep 10% and callers wait 1s\n";
    assert!(explained.contains(expected), "{explained}");
}

#[test]
fn what_cannot_be_kept_or_comes_to_nothing_is_odd() {
    let tight = "budget = { requests = 125, per = \"1h\" }";
    let expected = "doorbell.toml:1:12: its sources are polled 126 times an hour at least, by their \
                    `max`, and its budget allows 125: polls will be late";
    let config = right(&sharing(tight, &[ONE, MANY]));
    assert_eq!(config.warnings, [expected]);
    let explained = explain(&config, Timestamp::default());
    assert!(explained.contains(": polls will be late\n"), "{explained}");

    let config = right(&sharing("", &[ONE]));
    let expected = "doorbell.toml:1:12: its one adaptive source has nobody to share with: without \
                    `budget` it is polled 54 times an hour, whatever it does";
    assert_eq!(config.warnings, [expected]);
    for (budget, source) in [(tight, ONE), ("", MANY)] {
        let config = right(&sharing(budget, &[source]));
        assert_eq!(config.warnings, [""; 0]);
    }
    let same = (
        "same",
        "path = \"/\"\nevery = { min = \"5s\", max = \"5s\" }",
    );
    let config = right(&sharing("", &[same, MANY]));
    let expected = "doorbell.toml:11:23: `max` is `min`, which `every = \"5s\"` says, too";
    assert_eq!(config.warnings, [expected]);
    let seldom = ONE.1.to_owned() + "\nstale_after = \"15m\"";
    let config = right(&sharing("", &[("seldom", &seldom), MANY]));
    let expected = "doorbell.toml:12:1: `stale_after` is no longer than `every`: one poll without \
                    news rings it";
    assert_eq!(config.warnings, [expected]);
}
