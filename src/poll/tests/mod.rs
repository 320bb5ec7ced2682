//! What is committed, remembered and announced, without a store or an upstream.

mod confirming;
mod deletes;
mod forgetting;
mod guarding;
mod life;
mod made;
mod pacing;
mod properties;
mod stale;

use std::collections::HashMap;

use http::HeaderMap;

pub(super) use self::made::upstream;
use super::conclude::{Conclusion, Found, Learnt, Terms, Trouble, What, first_poll, plan_of};
use super::identity::Identity;
use super::judge::{Believed, Case, Open};
use super::plan::{Basis, Changes, Draw};
use super::seat::Seat;
use super::*;
use crate::client::Validators;
use crate::config::{Baseline, Deletes, Every, Keep};
use crate::detect::{self, Differences, Entry, Held, Known, Path, Rules, Walk};
use crate::digest::{Digest, RawDigest};
use crate::event::Kind;
use crate::metrics::{Metrics, SeriesBy};
use crate::schedule::Severity;
use crate::store::{Draft, ItemChange, Memory, SnapshotId, SourceId, SourceState};
use crate::upstream::Pacing;

/// Three items as a response holds them.
const BODY: &str = r#"[{"id":1,"a":1}, {"id":2,"a":2}, {"id":3,"a":3}]"#;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

pub(super) fn digest(n: u8) -> Digest {
    Digest::from_bytes([n; 16])
}

pub(super) fn source() -> config::Source {
    let name = |text| Name::parse(text).expect("a name");
    let path = |text| Path::parse(text).expect("a path");
    config::Source {
        joint: config::Joint::default(),
        name: name("issues"),
        upstream: name("tracker"),
        each: None,
        request: config::Request {
            method: http::Method::GET,
            path: config::Template::literal("/issues"),
            query: Vec::new(),
            headers: HeaderMap::new(),
            templated_headers: Vec::new(),
            body: None,
        },
        cursor: None,
        paginate: None,
        every: Every::Fixed(Duration::from_secs(10)),
        respect_cache: false,
        format: None,
        rules: Arc::new(Rules {
            items: Some(path("$[*]")),
            id: vec![path("$.id")],
            ..Rules::default()
        }),
        deletes: Deletes::Full,
        items_max: 100,
        baseline: Baseline::Silent,
        deletes_max_ratio: 0.5,
        forget: None,
        confirm: None,
        stale_after: None,
        failing_after: 3,
        keep: Keep::Bodies,
        body_bytes_max: 1000,
    }
}

fn walk() -> Walk {
    let entry = |subject: &str, n: u8, text: &str| {
        let start = BODY.find(text).expect("part of the body");
        Entry {
            subject: subject.into(),
            digest: digest(n),
            page: 0,
            range: start..start + text.len(),
            is_gone: false,
        }
    };
    Walk {
        entries: vec![
            entry("1", 1, r#"{"id":1,"a":1}"#),
            entry("2", 2, r#"{"id":2,"a":2}"#),
            entry("3", 3, r#"{"id":3,"a":3}"#),
        ],
        digest: digest(99),
    }
}

fn known(items: &[(&str, u8)]) -> Vec<Known> {
    let item = |&(subject, n): &(&str, u8)| Known {
        subject: subject.into(),
        digest: digest(n),
    };
    items.iter().map(item).collect()
}

/// What is believed where nothing is doubted.
fn believed(source: &config::Source, basis: &Basis, differences: &Differences) -> Believed {
    let case = Case {
        source,
        basis,
        walk: &walk(),
        rules: digest(5),
        open: &Open::default(),
        forgotten: &[],
        now: at(1000),
    };
    Believed::all(case, differences)
}

fn drawn(source: &config::Source, basis: &Basis, differences: &Differences) -> Changes {
    let stored = HashMap::from([("0".into(), r#"{"id":0}"#.into())]);
    plan::changes(Draw {
        source,
        basis,
        walk: &walk(),
        bodies: &[bytes::Bytes::from_static(BODY.as_bytes())],
        believed: &believed(source, basis, differences),
        stored: &stored,
    })
    .expect("the body is text")
}

fn wanted(
    source: &config::Source,
    basis: &Basis,
    differences: &Differences,
) -> Vec<detect::Subject> {
    plan::wanted(source, basis, &believed(source, basis, differences))
}

/// Subject, whether an item stays, and what rings.
fn shape(changes: &Changes) -> Vec<(&str, bool, Option<Kind>)> {
    let items = changes.items.iter();
    items
        .map(|item| {
            let kind = item.event.as_ref().map(|draft| draft.kind);
            (&*item.subject, item.now.is_some(), kind)
        })
        .collect()
}

fn all_created() -> Differences {
    Differences {
        created: vec![0, 1, 2],
        ..Differences::default()
    }
}

#[test]
fn first_walk_is_a_silent_baseline_unless_emitted() {
    let mut source = source();
    let silent = drawn(&source, &Basis::First, &all_created());
    let expected = [("1", true, None), ("2", true, None), ("3", true, None)];
    assert_eq!(shape(&silent), expected);
    assert_eq!(silent.items_after, 3);
    let form = silent.items[1].now.as_ref().expect("kept");
    assert_eq!(form.body.as_deref(), Some(r#"{"id":2,"a":2}"#));

    source.baseline = Baseline::Emit;
    let emitted = drawn(&source, &Basis::First, &all_created());
    assert_eq!(emitted.counts.created, 3);
    let draft = emitted.items[0].event.as_ref().expect("rings");
    let expected = format!(r#""current":{{"id":1,"a":1}},"digest":"{}""#, digest(1));
    assert_eq!(&*draft.content, expected);
}

#[test]
fn events_are_deleted_then_updated_then_created() {
    let mut source = source();
    // Digests only, so that no patch is drawn here.
    source.keep = Keep::Digests;
    let basis = Basis::Snapshot(known(&[("0", 0), ("1", 1), ("2", 77)]));
    let differences = Differences {
        created: vec![2],
        updated: vec![(2, 1)],
        missing: vec![0],
        buried: Vec::new(),
    };
    assert!(wanted(&source, &basis, &differences).is_empty());
    let changes = drawn(&source, &basis, &differences);
    let expected = [
        ("0", false, Some(Kind::Deleted)),
        ("2", true, Some(Kind::Updated)),
        ("3", true, Some(Kind::Created)),
    ];
    assert_eq!(shape(&changes), expected);
    assert_eq!(changes.items_after, 3);
    let updated = changes.items[1].event.as_ref().expect("rings");
    let (now, before) = (digest(2), digest(77));
    let expected = format!(r#""digest":"{now}","previous_digest":"{before}""#);
    assert_eq!(&*updated.content, expected);
    assert!(
        changes.items[1]
            .now
            .as_ref()
            .is_some_and(|form| form.body.is_none())
    );
}

#[test]
fn missing_items_stay_unless_the_walk_is_complete() {
    let mut source = source();
    let basis = Basis::Snapshot(known(&[("0", 0), ("1", 1), ("2", 2), ("3", 3)]));
    let differences = Differences {
        missing: vec![0],
        ..Differences::default()
    };
    assert_eq!(wanted(&source, &basis, &differences), ["0".into()]);
    let full = drawn(&source, &basis, &differences);
    assert_eq!(shape(&full), [("0", false, Some(Kind::Deleted))]);
    let draft = full.items[0].event.as_ref().expect("rings");
    assert!(draft.content.starts_with(r#""previous":{"id":0},"#));

    source.deletes = Deletes::Never;
    assert!(wanted(&source, &basis, &differences).is_empty());
    let never = drawn(&source, &basis, &differences);
    assert!(never.items.is_empty());
    assert_eq!(never.items_after, 4);
}

#[test]
fn documents_ring_changed() {
    let mut source = source();
    source.rules = Arc::default();
    source.baseline = Baseline::Emit;
    let changes = drawn(&source, &Basis::First, &all_created());
    assert_eq!(changes.counts.changed, 3);
    assert_eq!(shape(&changes)[0].2, Some(Kind::Changed));
}

#[test]
fn replaced_snapshots_ring_nobody_and_leave_nothing_old() {
    let mut source = source();
    source.deletes = Deletes::Never;
    source.baseline = Baseline::Emit;
    let basis = Basis::Replaced(known(&[("0", 0)]));
    let differences = Differences {
        missing: vec![0],
        ..all_created()
    };
    let changes = drawn(&source, &basis, &differences);
    let expected = [
        ("0", false, None),
        ("1", true, None),
        ("2", true, None),
        ("3", true, None),
    ];
    assert_eq!(shape(&changes), expected);
    assert_eq!(changes.items_after, 3);
}

#[test]
fn changed_rules_rewrite_what_did_not_change_silently() {
    let mut source = source();
    source.deletes = Deletes::Never;
    let basis = Basis::Redigested {
        known: known(&[("0", 0), ("1", 1), ("2", 2)]),
        stored: vec![digest(70), digest(71), digest(2)],
    };
    let differences = Differences {
        created: vec![2],
        missing: vec![0],
        ..Differences::default()
    };
    assert_eq!(
        wanted(&source, &basis, &differences),
        ["0".into(), "1".into()]
    );
    let changes = drawn(&source, &basis, &differences);
    let expected = [
        ("3", true, Some(Kind::Created)),
        ("0", true, None),
        ("1", true, None),
    ];
    assert_eq!(shape(&changes), expected);
    let form = changes.items[1].now.as_ref().expect("kept");
    assert_eq!(form.digest, digest(0));
    assert_eq!(form.body.as_deref(), Some(r#"{"id":0}"#));
}

pub(super) fn terms<'a>(source: &'a config::Source, before: &'a Memory) -> Terms<'a> {
    Terms {
        source,
        plan: Box::leak(Box::new(plan_of(source, &Partition::default()))),
        before,
        began: at(999),
        now: at(1000),
        by_hand: false,
        random: 1.0,
    }
}

fn learnt() -> Learnt {
    Learnt {
        identity: Identity {
            rules: digest(5),
            policy: digest(6),
        },
        asked: None,
        began: at(10),
        progress: None,
        raw: Some(RawDigest::of(b"new")),
        walk: Some(digest(7)),
        validators: Validators {
            etag: Some("\"new\"".to_owned()),
            last_modified: None,
        },
    }
}

/// The seat of a source that is not divided, of snapshot 1.
pub(super) fn seat() -> Arc<Seat> {
    let metrics = PollMetrics::new(&Metrics::new(), SeriesBy::Source);
    let place = Place {
        index: 0,
        line: 0,
        is_followed: false,
    };
    let watched = Watched::new(&source(), SourceId(1), place, &metrics);
    let state = SourceState {
        id: SourceId(1),
        snapshot: SnapshotId(1),
        memory: Memory::default(),
        items: None,
    };
    Arc::new(Seat::new(&Arc::new(watched), Partition::default(), state))
}

/// A poll that found what was committed last.
pub(super) fn unchanged() -> Found {
    found(What::Same(Outcome::Unchanged, learnt()))
}

fn found(what: What) -> Found {
    Found {
        what,
        pacing: Pacing::default(),
    }
}

fn refused() -> Trouble {
    Trouble {
        severity: Severity::Refused,
        ..Trouble::passing("refused", "status 404")
    }
}

fn kinds(conclusion: &Conclusion) -> Vec<Kind> {
    let announcements = conclusion.announcements.iter();
    announcements
        .map(|announcement| announcement.kind)
        .collect()
}

#[test]
fn failures_ring_once_and_keep_what_was_learnt() {
    let source = source();
    let mut memory = Memory {
        raw: Some(RawDigest::of(b"old")),
        ..Memory::default()
    };
    let mut rung = Vec::new();
    for _ in 0..5 {
        let trouble = Trouble::passing("timeout", "slow");
        let conclusion = conclude::failure(terms(&source, &memory), &trouble);
        rung.push(kinds(&conclusion));
        assert_eq!(conclusion.outcome, Outcome::Error);
        assert_eq!(conclusion.memory.raw, memory.raw);
        assert!(conclude::must_write(&memory, &conclusion.memory));
        memory = conclusion.memory;
    }
    let none = Vec::new;
    assert_eq!(
        rung,
        [none(), none(), vec![Kind::SourceFailing], none(), none()]
    );
    assert_eq!((memory.failures, memory.failing_since), (5, Some(at(999))));

    let same = What::Same(Outcome::NotModified, learnt());
    let conclusion = conclude::success(terms(&source, &memory), found(same));
    assert_eq!(kinds(&conclusion), [Kind::SourceRecovered]);
    let content = &conclusion.announcements[0].content;
    let expected = r#""reason":"timeout","consecutive":5,"#;
    assert!(content.contains(expected), "{content}");
    assert_eq!(conclusion.memory.failures, 0);
    assert!(conclusion.memory.failing_since.is_none() && !conclusion.memory.failing_rung);
}

#[test]
fn refusals_ring_at_the_second() {
    let source = source();
    let first = conclude::failure(terms(&source, &Memory::default()), &refused());
    assert!(first.announcements.is_empty());
    assert_eq!(first.next, Some(at(1005)));
    let second = conclude::failure(terms(&source, &first.memory), &refused());
    assert_eq!(kinds(&second), [Kind::SourceFailing]);
    assert_eq!(second.next, Some(at(1030)));
    let content = &second.announcements[0].content;
    assert!(content.starts_with(r#""source":"issues","reason":"refused","consecutive":2"#));
}

#[test]
fn a_poll_by_hand_begins_the_back_off_anew_without_ringing_again() {
    let source = source();
    let memory = Memory {
        failures: 9,
        retries: 9,
        failing_since: Some(at(1)),
        failing_rung: true,
        ..Memory::default()
    };
    let mut terms = terms(&source, &memory);
    terms.by_hand = true;
    let conclusion = conclude::failure(terms, &refused());
    assert_eq!(conclusion.next, Some(at(1005)));
    assert_eq!(
        (conclusion.memory.failures, conclusion.memory.retries),
        (10, 1)
    );
    assert!(conclusion.announcements.is_empty() && conclusion.memory.failing_rung);
}

#[test]
fn a_held_poll_is_announced_once_and_learns_nothing() {
    let source = source();
    let memory = Memory {
        raw: Some(RawDigest::of(b"old")),
        rules: Some(digest(5)),
        succeeded_at: Some(at(1)),
        ..Memory::default()
    };
    let held = |polls| Held {
        deletions: digest(9),
        polls,
    };
    let first = conclude::success(terms(&source, &memory), found(What::Held(held(1))));
    assert_eq!(first.outcome, Outcome::Held);
    assert_eq!(first.reason, Some("guard"));
    assert_eq!(kinds(&first), [Kind::SourceHeld]);
    assert_eq!(
        (
            first.memory.raw,
            &first.memory.validators,
            first.memory.succeeded_at
        ),
        (memory.raw, &memory.validators, memory.succeeded_at)
    );
    let second = conclude::success(terms(&source, &first.memory), found(What::Held(held(2))));
    assert!(second.announcements.is_empty());
    assert!(conclude::must_write(&first.memory, &second.memory));

    let what = What::Changes(Changes::default(), learnt(), None);
    let believed = conclude::success(terms(&source, &second.memory), found(what));
    assert_eq!(believed.memory.held, None);
    assert_eq!(believed.memory.validators, learnt().validators);
}

#[test]
fn a_poll_that_rings_is_changed_and_a_silent_one_is_not() {
    let source = source();
    let memory = Memory::default();
    for (event, expected) in [
        (None, Outcome::Unchanged),
        (
            Some(Draft {
                kind: Kind::Created,
                content: "".into(),
            }),
            Outcome::Changed,
        ),
    ] {
        let changes = Changes {
            items: vec![ItemChange {
                subject: "1".into(),
                now: None,
                event,
            }],
            items_after: 1,
            ..Changes::default()
        };
        let what = What::Changes(changes, learnt(), None);
        let conclusion = conclude::success(terms(&source, &memory), found(what));
        assert_eq!(conclusion.outcome, expected);
        assert_eq!(conclusion.memory.rules, Some(digest(5)));
    }
}

#[test]
fn what_only_saves_a_request_is_not_worth_a_write() {
    let before = Memory {
        polled_at: Some(at(1000)),
        ..Memory::default()
    };
    let after = Memory {
        polled_at: Some(at(1010)),
        succeeded_at: Some(at(1010)),
        raw: Some(RawDigest::of(b"new")),
        validators: learnt().validators,
        not_before: Some(at(1070)),
        ..Memory::default()
    };
    assert!(!conclude::must_write(&before, &after));
    let asked_for_more = Memory {
        not_before: Some(at(1071)),
        ..after.clone()
    };
    assert!(conclude::must_write(&before, &asked_for_more));
}

#[test]
fn a_manual_source_is_never_due() {
    let mut source = source();
    source.every = Every::Manual;
    let memory = Memory::default();
    assert_eq!(
        first_poll(&source, &Partition::default(), &memory, false, at(1000)),
        None
    );
    let failed = conclude::failure(terms(&source, &memory), &refused());
    assert_eq!(failed.next, None);
    let same = What::Same(Outcome::Unchanged, learnt());
    let succeeded = conclude::success(terms(&source, &memory), found(same));
    assert_eq!(succeeded.next, None);
}

#[test]
fn answers_read_as_the_contract_says() {
    let polled = Polled {
        outcome: Outcome::NotModified,
        reason: None,
        events: 0,
        event_ids: Vec::new(),
    };
    let json = serde_json::to_string(&polled).expect("serializable");
    assert_eq!(
        json,
        r#"{"outcome":"not_modified","reason":null,"events":0,"event_ids":[]}"#
    );
}
