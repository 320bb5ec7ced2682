//! An endpoint is told what there is.

use super::*;

/// Items of one step.
const CHUNK: u64 = CHUNK_CHANGES as u64;

/// Tells a lane until nothing more is told; how often that took.
async fn tell(store: &Store, lane: &LaneState) -> (u64, BackfillStep) {
    let mut told = 0;
    loop {
        match store.backfill(lane.id).await.expect("steps") {
            BackfillStep::Told(more) => told += more,
            step => return (told, step),
        }
    }
}

async fn begin(store: &Store, endpoint: &str, sources: &[&SourceState]) -> Backfillable {
    let sources = sources.iter().map(|source| (source.id, Kind::Created));
    let endpoint = name(endpoint);
    let begun = store.begin_backfills(&endpoint, sources.collect());
    begun.await.expect("writes")
}

/// What only this lane hears, and what all do.
async fn heard(store: &Store, source: &SourceState, lane: &LaneState) -> Vec<Event> {
    let scanned = store.scan((source.id, Some(lane.id)), EventKey::START, SCAN_MAX);
    let events = scanned.await.expect("scans").into_iter();
    events.map(|one| one.event.expect("it is small")).collect()
}

/// A lane that is told 300 items, after 302 events; between two lives two more happen.
async fn told_over_two_lives(place: &Place) -> (Store, SourceState, LaneState) {
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    lane(&store, "other", &issues).await;
    let commit = async |changes| {
        let poll = place.poll(&issues, changes);
        store.commit(poll).await.expect("commits");
    };
    commit(many(300)).await;
    let changes = vec![deleted("i00007"), put(Kind::Updated, "i00008", "[8]")];
    commit(changes).await;
    let late = lane(&store, "late", &issues).await;
    assert_eq!(begin(&store, "late", &[&issues]).await, Backfillable::Begun);
    let first = store.backfill(late.id).await.expect("steps");
    assert_eq!(first, BackfillStep::Told(CHUNK));
    let progress = store.backfills().await.expect("reads").remove(0);
    assert_eq!((progress.told, progress.items), (CHUNK, 299));
    let changes = vec![put(Kind::Updated, "i00001", "[1]"), created("z")];
    commit(changes).await;
    store.close().await;
    let store = place.open().await;
    assert_eq!(tell(&store, &late).await.1, BackfillStep::Ended(300));
    assert_eq!(store.backfills().await.expect("reads"), []);
    (store, issues, late)
}

#[tokio::test]
async fn every_item_is_told_once_as_it_is_and_before_what_changes_it() {
    let place = Place::new();
    let (store, issues, late) = told_over_two_lives(&place).await;
    let events = heard(&store, &issues, &late).await;
    let told = events.iter().filter(|one| one.cause == Cause::Backfill);
    let told: Vec<&Event> = told.collect();
    let subjects: Vec<&str> = told.iter().map(|event| &*event.subject).collect();
    assert_eq!(subjects.len(), 300);
    assert!(subjects.is_sorted() && !subjects.contains(&"i00007"));
    let eighth = told.iter().find(|event| &*event.subject == "i00008");
    let eighth = eighth.expect("it is there");
    let content = format!(r#""current":[8],"digest":"{}""#, digest("[8]"));
    assert_eq!((&*eighth.content, eighth.sequence), (&*content, 302));
    assert_eq!(told[299].sequence, 304, "as of the newest event");
    let of_first = events.iter().filter(|event| &*event.subject == "i00001");
    let of_first: Vec<u64> = of_first.map(|event| event.sequence).collect();
    assert_eq!(of_first, [2, 302, 303]);
    // By its id everybody finds it, as where thin payloads link to.
    let found = store.event(told[0].id).await.expect("reads");
    assert_eq!(found.expect("it is there").cause, Cause::Backfill);
}

#[tokio::test]
async fn nobody_else_hears_what_is_told_and_it_takes_no_number() {
    let place = Place::new();
    let (store, issues, late) = told_over_two_lives(&place).await;
    let all = feed(&store, 1_000).await;
    let numbers: Vec<u64> = all.iter().map(|event| event.sequence).collect();
    assert_eq!(numbers, (1..=304).collect::<Vec<_>>());
    let other = lane(&store, "other", &issues).await;
    assert_eq!(heard(&store, &issues, &other).await.len(), all.len());
    let ahead = |lane: &LaneState| lane.ahead.iter().map(|ahead| ahead.count).sum::<u64>();
    assert_eq!(ahead(&other), 304);
    assert_eq!(late.ahead, [], "it begins after what has happened");
    let late = lane(&store, "late", &issues).await;
    assert_eq!(ahead(&late), 302, "what was told, and two changes");
    // Who asks for events from a number on gets those that have one.
    let rewind = async |sequence| {
        let rewound = store.rewind(&name("late"), issues.id, sequence).await;
        rewound.expect("writes")
    };
    assert_eq!(rewind(303).await, Rewound::Done);
    assert_eq!(rewind(305).await, Rewound::Ahead(304));
}

#[tokio::test]
async fn no_more_is_told_than_is_taken() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let mut poll = place.poll(&issues, many(5_000));
    for change in &mut poll.changes {
        change.event = None;
    }
    store.commit(poll).await.expect("commits");
    let late = lane(&store, "late", &issues).await;
    begin(&store, "late", &[&issues]).await;
    assert_eq!(tell(&store, &late).await, (4_096, BackfillStep::Waits));
    let told = heard(&store, &issues, &late).await;
    assert_eq!((told.len(), told[0].sequence), (4_096, 0));
    let settling = Settling {
        watermarks: vec![(late.id, told[4_000].id.key())],
        ..Settling::default()
    };
    store.settle(settling).await.expect("settles");
    assert_eq!(tell(&store, &late).await.1, BackfillStep::Ended(5_000));
}

#[tokio::test]
async fn partitions_documents_and_bare_digests_are_told_too() {
    let place = Place::new();
    let store = place.open().await;
    let id = store.register(&[name("issues")]).await.expect("registers")[0];
    let repo = |repo: usize| Partition::of(&[("repo".to_owned(), repo.to_string())].into());
    let states = store.partitions((0..600).map(|at| (id, repo(at))).collect());
    let states = states.await.expect("registers");
    // A few far apart, one of which is not polled any more.
    for at in [3, 400, 599, 500] {
        let mut changes = vec![created(&format!("of {at}"))];
        changes[0].now.as_mut().expect("it is created").body = None;
        let mut poll = place.poll(&states[at], changes);
        poll.partition = repo(at);
        store.commit(poll).await.expect("commits");
    }
    let left = store.leave(vec![states[500].snapshot]).await;
    left.expect("writes");
    let document = source(&store, "document").await;
    let poll = place.poll(&document, vec![put(Kind::Changed, "", "{}")]);
    store.commit(poll).await.expect("commits");

    let late = lane(&store, "late", &states[0]).await;
    let late_of_document = lane(&store, "late", &document).await;
    let both = [&states[0], &document];
    assert_eq!(begin(&store, "late", &both).await, Backfillable::Begun);
    assert_eq!(tell(&store, &late).await.1, BackfillStep::Ended(3));
    let ended = tell(&store, &late_of_document).await.1;
    assert_eq!(ended, BackfillStep::Ended(1));
    let events = heard(&store, &states[0], &late).await;
    let told = events.iter().filter(|one| one.cause == Cause::Backfill);
    let told: Vec<_> = told.map(|one| (&one.partition, &*one.subject)).collect();
    let expected = [3, 400, 599].map(|at| (repo(at), format!("of {at}")));
    let expected = expected.iter().map(|(repo, of)| (repo, &**of));
    assert_eq!(told, expected.collect::<Vec<_>>());
    assert!(events[4].content.starts_with(r#""digest":"#));
    let events = heard(&store, &document, &late_of_document).await;
    assert_eq!((&*events[1].subject, events[1].sequence), ("", 1));
}

#[tokio::test]
async fn who_hears_nothing_or_is_told_already_is_not_told_and_dropping_a_backlog_ends_it() {
    let place = Place::new();
    let store = place.open().await;
    let (a, b) = (source(&store, "a").await, source(&store, "b").await);
    store
        .commit(place.poll(&a, many(100)))
        .await
        .expect("commits");
    let late = lane(&store, "late", &a).await;
    let unheard = Backfillable::Unheard(b.id);
    assert_eq!(begin(&store, "late", &[&a, &b]).await, unheard);
    assert_eq!(store.backfills().await.expect("reads"), [], "of none");
    assert_eq!(begin(&store, "late", &[&a]).await, Backfillable::Begun);
    let running = Backfillable::Running(a.id);
    assert_eq!(begin(&store, "late", &[&a]).await, running);
    store.drop_backlog(&name("late")).await.expect("drops");
    let step = async || store.backfill(late.id).await.expect("steps");
    assert_eq!(step().await, BackfillStep::Stopped);

    begin(&store, "late", &[&a]).await;
    assert_eq!(step().await, BackfillStep::Told(CHUNK));
    assert_eq!(store.end_backfills(&name("other")).await.expect("ends"), 0);
    assert_eq!(store.end_backfills(&name("late")).await.expect("ends"), 1);
    assert_eq!(step().await, BackfillStep::Stopped);
    let waits = lane(&store, "late", &a).await;
    assert_eq!(
        counts(&waits),
        [(Kind::Created, CHUNK)],
        "it was told those"
    );
}

#[tokio::test]
async fn what_was_told_is_kept_while_it_waits_and_forgotten_without_a_gap_in_the_feed() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let other = lane(&store, "other", &issues).await;
    store
        .commit(place.poll(&issues, many(10)))
        .await
        .expect("commits");
    let events = scan(&store, &issues).await;
    store
        .settle(up_to(&other, &events[9]))
        .await
        .expect("settles");
    let page = EventQuery {
        limit: 1_000,
        ..EventQuery::default()
    };
    let next = store.events(page).await.expect("reads").next;
    let late = lane(&store, "late", &issues).await;
    begin(&store, "late", &[&issues]).await;
    tell(&store, &late).await;
    let id = DeliveryId {
        lane: late.id,
        event: heard(&store, &issues, &late).await[10].id.key(),
    };
    let of_other = DeliveryId {
        lane: other.id,
        ..id
    };
    assert!(store.delivery(id).await.expect("reads").is_some());
    assert!(store.delivery(of_other).await.expect("reads").is_none());
    let listed = async |endpoint: &str| {
        let query = DeliveryQuery {
            state: DeliveryState::Pending,
            endpoint: name(endpoint),
            hears: vec![(issues.id, vec![Kind::Created])],
            after: None,
            limit: 100,
        };
        store.deliveries(query).await.expect("lists").len()
    };
    assert_eq!((listed("late").await, listed("other").await), (10, 0));

    place.wait(8 * DAY);
    assert_eq!(store.retain().await.expect("retains").events, 10);
    assert_eq!(heard(&store, &issues, &late).await.len(), 10, "they wait");
    let told = heard(&store, &issues, &late).await;
    let settling = Settling {
        watermarks: vec![(late.id, told[9].id.key())],
        ..Settling::default()
    };
    store.settle(settling).await.expect("settles");
    assert_eq!(store.retain().await.expect("retains").events, 10);
    assert_eq!(heard(&store, &issues, &late).await.len(), 0);
    // A reader who had read all there was misses nothing.
    let query = EventQuery {
        after: Some(next),
        limit: 10,
        ..EventQuery::default()
    };
    assert!(store.events(query).await.is_ok());
    let all = store.commit(place.poll(&issues, vec![created("new")]));
    assert_eq!(all.await.expect("commits").first_sequence, 11);
}
