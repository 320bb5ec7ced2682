//! Polls become visible whole, numbered without gaps.

use super::*;
use crate::event::Partition;

#[tokio::test]
async fn poll_becomes_items_bodies_and_events_in_their_order() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let poll = place.poll(&issues, vec![created("a"), created("b"), created("c")]);
    let first = store.commit(poll).await.expect("commits");
    assert_eq!(
        (first.events, first.first_sequence, first.ids.len()),
        (3, 1, 3)
    );

    let changes = vec![deleted("b"), put(Kind::Updated, "a", "7"), created("d")];
    let second = store
        .commit(place.poll(&issues, changes))
        .await
        .expect("commits");
    assert_eq!((second.events, second.first_sequence), (3, 4));
    assert_eq!(subjects(&store, &issues).await, ["a", "c", "d"]);
    assert_eq!(source(&store, "issues").await.items, Some(3));
    let known = store.known(issues.snapshot).await.expect("reads");
    assert_eq!(known[0].digest, digest("7"));
    let wanted = vec!["d".into(), "b".into(), "a".into()];
    let bodies = store.bodies(issues.snapshot, wanted).await.expect("reads");
    assert_eq!(
        bodies,
        [
            ("d".into(), Some(r#"{"id":"d"}"#.into())),
            ("b".into(), None),
            ("a".into(), Some("7".into()))
        ]
    );

    let event = store
        .event(second.ids[1])
        .await
        .expect("reads")
        .expect("is there");
    assert_eq!(
        (event.kind, &*event.subject, event.sequence),
        (Kind::Updated, "a", 5)
    );
    assert_eq!(
        (&*event.source, &*event.content),
        ("issues", r#""current":7"#)
    );
    let other_history = EventId::new(second.ids[1].key(), second.ids[1].salt() ^ 1);
    assert!(store.event(other_history).await.expect("reads").is_none());
}

#[tokio::test]
async fn sequences_have_no_gap_over_small_and_large_polls() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let mut expected = 1;
    for count in [3, 700, 1, 1_500, 2] {
        let committed = store
            .commit(place.poll(&issues, many(count)))
            .await
            .expect("commits");
        assert_eq!(committed.first_sequence, expected);
        assert_eq!(committed.ids.len(), count.min(COMMITTED_IDS_MAX));
        expected += committed.events;
    }
    let events = feed(&store, 300).await;
    let sequences: Vec<u64> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..expected).collect::<Vec<_>>());
    assert!(events.is_sorted_by_key(|event| event.id.key()));
    assert_eq!(source(&store, "issues").await.items, Some(1_500));
}

#[tokio::test]
async fn polls_of_one_source_keep_their_order_however_they_overlap() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let mut polls = tokio::task::JoinSet::new();
    for count in [600, 1, 900, 2, 300, 1, 1] {
        let (store, poll) = (store.clone(), place.poll(&issues, many(count)));
        polls.spawn(async move { store.commit(poll).await.expect("commits") });
    }
    polls.join_all().await;
    let events = feed(&store, 1_000).await;
    let sequences: Vec<u64> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=1_805).collect::<Vec<_>>());
    assert!(events.is_sorted_by_key(|event| event.id.key()));
}

#[tokio::test]
async fn large_poll_updates_and_deletes_what_was_there() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    store
        .commit(place.poll(&issues, many(600)))
        .await
        .expect("commits");
    let mut changes: Vec<ItemChange> = (0..300).map(|n| deleted(&format!("i{n:05}"))).collect();
    changes.extend((300..600).map(|n| put(Kind::Updated, &format!("i{n:05}"), "9")));
    changes.push(created("new"));
    store
        .commit(place.poll(&issues, changes))
        .await
        .expect("commits");
    // Right before the sweep, and after whatever part of it.
    for round in 0..5 {
        let known = store.known(issues.snapshot).await.expect("reads");
        assert_eq!(known.len(), 301);
        assert_eq!(
            (&*known[0].subject, known[0].digest),
            ("i00300", digest("9"))
        );
        let wanted = vec!["i00000".into(), "i00599".into()];
        let bodies = store.bodies(issues.snapshot, wanted).await.expect("reads");
        let expected = [("i00000".into(), None), ("i00599".into(), Some("9".into()))];
        assert_eq!(bodies, expected);
        let again = put(Kind::Updated, "new", &round.to_string());
        store
            .commit(place.poll(&issues, vec![again]))
            .await
            .expect("commits");
    }
    assert_eq!(source(&store, "issues").await.items, Some(301));
}

#[tokio::test]
async fn one_failing_poll_takes_no_other_with_it() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let mut unknown = place.poll(&issues, vec![created("lost")]);
    // Fails only after its item is written.
    unknown.source = SourceId(999);
    let (first, failed, last) = tokio::join!(
        store.commit(place.poll(&issues, vec![created("a")])),
        store.commit(unknown),
        store.commit(place.poll(&issues, vec![created("b")])),
    );
    assert!(failed.is_err());
    assert_eq!(first.expect("commits").first_sequence, 1);
    assert_eq!(last.expect("commits").first_sequence, 2);
    assert_eq!(subjects(&store, &issues).await, ["a", "b"]);
    assert_eq!(feed(&store, 10).await.len(), 2);
}

#[tokio::test]
async fn silent_and_held_polls_ring_nobody() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let before = *store.position().borrow();
    let mut silent = many(300);
    for change in &mut silent {
        change.event = None;
    }
    let committed = store
        .commit(place.poll(&issues, silent))
        .await
        .expect("commits");
    assert_eq!((committed.events, committed.ids.len()), (0, 0));
    assert_eq!(subjects(&store, &issues).await.len(), 300);
    let other = source(&store, "other").await;
    let mut held = place.poll(&other, Vec::new());
    held.settles_snapshot = false;
    store.commit(held).await.expect("commits");
    assert_eq!(source(&store, "other").await.items, None);
    assert_eq!(*store.position().borrow(), before);
    assert!(feed(&store, 10).await.is_empty());
}

#[tokio::test]
async fn announcements_are_numbered_apart_and_come_with_their_poll() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let announcement = |kind| Announcement {
        kind,
        subject: "source/issues".into(),
        content: r#""source":"issues""#.into(),
    };
    let mut poll = place.poll(&issues, vec![created("a")]);
    poll.announcements.push(announcement(Kind::SourceRecovered));
    let committed = store.commit(poll).await.expect("commits");
    assert_eq!(committed.events, 1);
    let mut settling = Settling::default();
    settling
        .announcements
        .push(announcement(Kind::DeliveryDead));
    store.settle(settling).await.expect("settles");
    let events = feed(&store, 10).await;
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.event_type(), event.sequence))
        .collect();
    let expected = [
        ("issues.created", 1),
        ("doorbell.source.recovered", 1),
        ("doorbell.delivery.dead", 2),
    ];
    assert_eq!(
        told,
        expected.map(|(kind, sequence)| (kind.to_owned(), sequence))
    );
}

#[tokio::test]
async fn position_moves_with_visible_commits_and_news_names_their_sources() {
    let place = Place::new();
    let store = place.open().await;
    let (a, b) = (source(&store, "a").await, source(&store, "b").await);
    let mut position = store.position();
    let start = *position.borrow_and_update();
    store
        .commit(place.poll(&a, Vec::new()))
        .await
        .expect("commits");
    assert!(!position.has_changed().expect("open"));
    store
        .commit(place.poll(&a, vec![created("x")]))
        .await
        .expect("commits");
    assert!(position.has_changed().expect("open"));
    let (sources, middle) = store.news(start).await.expect("reads");
    assert_eq!(sources, BTreeSet::from([a.id]));
    assert_eq!(middle, *position.borrow());
    store
        .commit(place.poll(&b, many(400)))
        .await
        .expect("commits");
    let (sources, end) = store.news(middle).await.expect("reads");
    assert_eq!(sources, BTreeSet::from([b.id]));
    assert_eq!(
        store.news(end).await.expect("reads"),
        (BTreeSet::new(), end)
    );
}

#[tokio::test]
async fn long_texts_come_back_as_they_were() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let repetitive = format!("\"{}\"", "ä".repeat(50_000));
    let noise: String = (0..5_000).map(|_| fastrand::alphanumeric()).collect();
    let changes = vec![
        put(Kind::Created, "a", &repetitive),
        put(Kind::Created, "b", &noise),
    ];
    store
        .commit(place.poll(&issues, changes))
        .await
        .expect("commits");
    let bodies = store
        .bodies(issues.snapshot, vec!["a".into(), "b".into()])
        .await;
    let expected = [
        ("a".into(), Some(repetitive.as_str().into())),
        ("b".into(), Some(noise.as_str().into())),
    ];
    assert_eq!(bodies.expect("reads"), expected);
    let scanned = scan(&store, &issues).await;
    assert!(
        scanned.iter().all(|event| event.event.is_none()),
        "too large to come along"
    );
    let keys = scanned.iter().map(|event| event.key).collect();
    let events = store.load(keys).await.expect("reads");
    let content = &events[0].as_ref().expect("is there").content;
    assert_eq!(**content, format!(r#""current":{repetitive}"#));
    assert!(store.size_bytes().await.expect("reads") < 1_000_000);
}

#[tokio::test]
async fn a_note_outlives_the_process_and_leaves_items_alone() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let builds = source(&store, "builds").await;
    let poll = place.poll(&issues, many(3));
    store.commit(poll).await.expect("commits");
    let memory = Memory {
        polled_at: Some(place.now()),
        failures: 2,
        ..Memory::default()
    };
    let gone = SnapshotId(builds.snapshot.0 + 1);
    let note = |snapshot| Note {
        snapshot,
        memory: Arc::new(memory.clone()),
    };
    let notes = [issues.snapshot, builds.snapshot, gone].map(note);
    store.note(notes.into()).await.expect("notes");
    store.close().await;

    let store = place.open().await;
    let kept = source(&store, "issues").await;
    assert_eq!((&kept.memory, kept.items), (&memory, Some(3)));
    assert_eq!(subjects(&store, &issues).await.len(), 3);
    let kept = source(&store, "builds").await;
    assert_eq!((&kept.memory, kept.items), (&memory, None));
    store.note(vec![]).await.expect("nothing to do");
}

#[tokio::test]
async fn marks_are_set_and_cleared_by_small_and_large_polls_alike() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let other = source(&store, "other").await;
    let unseen = async |source: &SourceState| {
        let unseen = store.unseen(source.snapshot).await.expect("reads");
        let pairs = unseen
            .into_iter()
            .map(|unseen| (unseen.subject, unseen.since));
        pairs.collect::<Vec<_>>()
    };
    for count in [3, 1_000] {
        let mark = |n: usize, since| Mark {
            subject: format!("i{n:05}").into(),
            since,
        };
        let (first, later) = (place.now(), place.now().plus(DAY));
        let mut poll = place.poll(&issues, vec![created("a")]);
        poll.marks = (0..count).map(|n| mark(n, Some(first))).collect();
        store.commit(poll).await.expect("commits");
        let mut poll = place.poll(&issues, Vec::new());
        poll.marks = (1..count).map(|n| mark(n, None)).collect();
        poll.marks.push(mark(count, Some(later)));
        poll.marks.push(mark(count + 1, None));
        store.commit(poll).await.expect("commits");
        let expected = [mark(0, Some(first)), mark(count, Some(later))];
        let expected = expected.map(|mark| (mark.subject, mark.since));
        assert_eq!(unseen(&issues).await, expected, "{count}");
        assert_eq!(unseen(&other).await, []);
        let mut poll = place.poll(&issues, Vec::new());
        poll.marks = vec![mark(0, None), mark(count, None)];
        store.commit(poll).await.expect("commits");
    }
}

#[tokio::test]
async fn small_commits_are_told_as_a_scan_would_read_them() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let mut fresh = store.fresh().expect("the first taker gets it");
    assert!(store.fresh().is_none(), "there is one taker");
    let silent = ItemChange {
        event: None,
        ..created("quiet")
    };
    let mut after = EventKey::START;
    for changes in [
        vec![created("a"), silent, created("b")],
        vec![put(Kind::Updated, "a", "7")],
    ] {
        let mut poll = place.poll(&issues, changes);
        // The second one is of a partition, whose events have lines of their own.
        let is_first = after == EventKey::START;
        poll.partition = Partition::from_stored(if is_first { "" } else { r#"{"repo":"a"}"# });
        store.commit(poll).await.expect("commits");
        let told = fresh.try_recv().expect("told before the answer");
        assert_eq!((told.source, told.after), (issues.id, after));
        assert_eq!(told.position, *store.position().borrow());
        let read = store
            .scan((issues.id, None), after, 100)
            .await
            .expect("reads");
        assert_eq!(format!("{:?}", told.events), format!("{read:?}"));
        after = read.last().expect("events").key;
    }

    let large = "x".repeat(SCAN_INLINE_BYTES);
    for changes in [
        Vec::new(),
        many(LARGE_CHANGES + 1),
        vec![put(Kind::Created, "large", &format!("\"{large}\""))],
    ] {
        let poll = store.commit(place.poll(&issues, changes)).await;
        poll.expect("commits");
        assert!(fresh.try_recv().is_err(), "that is read");
    }
    let mut lost = place.poll(&issues, vec![created("c")]);
    lost.snapshot = SnapshotId(99);
    store.commit(lost).await.expect_err("no such snapshot");
    assert!(fresh.try_recv().is_err(), "it did not happen");
}
