//! When a source that brings nothing new is told of.

use super::*;

const HOUR: i64 = 3_600;

/// One poll after another, at these seconds; what each announced, and what is remembered.
struct Life {
    source: config::Source,
    memory: Memory,
}

impl Life {
    fn new() -> Self {
        let mut source = source();
        source.stale_after = Some(Duration::from_hours(24));
        Self {
            source,
            memory: Memory::default(),
        }
    }

    fn poll(&mut self, hour: i64, came_to: impl Into<CameTo>) -> Vec<String> {
        let now = at(hour * HOUR);
        let terms = Terms {
            began: now,
            now,
            ..terms(&self.source, &self.memory)
        };
        let conclusion = match came_to.into() {
            CameTo::What(what) => conclude::success(terms, found(*what)),
            CameTo::Trouble(trouble) => conclude::failure(terms, &trouble),
        };
        self.memory = conclusion.memory;
        let announcements = conclusion.announcements.into_iter();
        announcements
            .filter(|announcement| announcement.kind == Kind::SourceStale)
            .map(|announcement| announcement.content.into())
            .collect()
    }
}

enum CameTo {
    What(Box<What>),
    Trouble(Trouble),
}

impl From<What> for CameTo {
    fn from(what: What) -> Self {
        Self::What(Box::new(what))
    }
}

impl From<Trouble> for CameTo {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

fn same() -> What {
    What::Same(Outcome::NotModified, learnt())
}

fn change() -> What {
    let changes = drawn(&source(), &Basis::Snapshot(Vec::new()), &all_created());
    What::Changes(changes, learnt(), None)
}

fn baseline() -> What {
    let changes = drawn(&source(), &Basis::First, &all_created());
    What::Changes(changes, learnt(), None)
}

#[test]
fn a_source_that_brings_nothing_new_is_told_of_once_and_again_after_news() {
    let mut life = Life::new();
    assert!(life.poll(0, baseline()).is_empty());
    assert!(life.poll(23, same()).is_empty());
    let told = life.poll(24, same());
    assert_eq!(
        told,
        [
            r#""source":"issues","reason":"unchanged","consecutive":2,"since":"1970-01-01T00:00:00.000Z""#
        ]
    );
    assert!(life.poll(25, same()).is_empty() && life.poll(99, same()).is_empty());

    assert!(life.poll(100, change()).is_empty());
    assert!(life.poll(123, same()).is_empty());
    let told = life.poll(124, same());
    assert!(
        told[0].contains(r#""consecutive":2,"since":"1970-01-05T04:00"#),
        "{told:?}"
    );
}

#[test]
fn whatever_polls_come_to_what_brings_nothing_new_grows_stale() {
    let held = || {
        What::Held(Held {
            deletions: digest(9),
            polls: 1,
        })
    };
    let timeout = || Trouble::passing("timeout", "slow");
    for (what, reason) in [
        (CameTo::from(held()), "guard"),
        (timeout().into(), "timeout"),
        (refused().into(), "refused"),
    ] {
        let mut life = Life::new();
        assert!(life.poll(0, baseline()).is_empty());
        let told = life.poll(24, what);
        assert_eq!(told.len(), 1, "{reason}");
        assert!(
            told[0].contains(&format!(r#""reason":"{reason}""#)),
            "{told:?}"
        );
    }
    // One that never answered is stale so long after it was first asked.
    let mut life = Life::new();
    assert!(life.poll(7, timeout()).is_empty());
    assert!(life.poll(30, timeout()).is_empty());
    assert_eq!(life.poll(31, timeout()).len(), 1);
    assert!(life.poll(99, timeout()).is_empty());
}

#[test]
fn what_counts_as_news_and_the_clock_behind_it_outlive_a_restart() {
    let mut life = Life::new();
    life.poll(0, baseline());
    life.poll(24, same());
    let json = serde_json::to_string(&life.memory).expect("serializable");
    life.memory = serde_json::from_str(&json).expect("what was written");
    assert!(life.poll(25, same()).is_empty(), "it was told of before");

    // What an older doorbell remembered has no such clock; it begins with the first poll.
    life.memory = serde_json::from_str(r#"{"failures":0}"#).expect("a memory");
    let before = life.memory.clone();
    assert!(life.poll(1_000, same()).is_empty());
    assert!(conclude::must_write(&before, &life.memory));
    assert_eq!(life.poll(1_024, same()).len(), 1);
}

#[test]
fn without_stale_after_nobody_is_told() {
    let mut life = Life::new();
    life.source.stale_after = None;
    life.poll(0, baseline());
    assert!(life.poll(1_000_000, same()).is_empty());
}
