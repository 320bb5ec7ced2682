//! What is forgotten, and what never is.

use super::*;

#[tokio::test]
async fn delivered_history_goes_and_pending_events_stay() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let lane_ = lane(&store, "ops", &issues).await;
    store
        .commit(place.poll(&issues, many(1_500)))
        .await
        .expect("commits");
    let events = scan(&store, &issues).await;
    let first_page = EventQuery {
        limit: 1,
        ..EventQuery::default()
    };
    let cursor = store.events(first_page).await.expect("reads").next;
    let attempts = events[..1_200].iter();
    let attempts = attempts.map(|event| settled(&lane_, event, 1, Then::Delivered));
    let mut settling = settling(attempts.collect());
    settling.watermarks = vec![(lane_.id, events[1_199].key)];
    store.settle(settling).await.expect("settles");
    assert_eq!(store.retain().await.expect("retains"), Retained::default());

    place.wait(8 * DAY);
    store
        .commit(place.poll(&issues, vec![created("fresh")]))
        .await
        .expect("commits");
    let retained = store.retain().await.expect("retains");
    let expected = Retained {
        events: 1_200,
        attempts: 1_200,
        dead: 0,
    };
    assert_eq!(retained, expected);
    let left = scan(&store, &issues).await;
    assert_eq!((left.len(), left[0].key), (301, events[1_200].key));
    let sequence = left[0].event.as_ref().expect("came along").sequence;
    assert_eq!(sequence, 1_201);
    let state = lane(&store, "ops", &issues).await;
    assert_eq!(counts(&state), [(Kind::Created, 301)]);

    let after = |after| EventQuery {
        after,
        limit: 1,
        ..EventQuery::default()
    };
    let gone = store.events(after(Some(cursor))).await;
    let Err(StoreError::Gone(oldest)) = gone else {
        panic!("{gone:?}");
    };
    for works in [Some(oldest), None] {
        let page = store.events(after(works)).await.expect("reads");
        assert_eq!(page.events[0].sequence, 1_201);
    }
    assert_eq!(store.retain().await.expect("retains"), Retained::default());
}

#[tokio::test]
async fn events_nobody_hears_go_with_their_commits_and_numbers_go_on() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    for _ in 0..3 {
        store
            .commit(place.poll(&issues, many(2)))
            .await
            .expect("commits");
    }
    let before = *store.position().borrow();
    place.wait(8 * DAY);
    assert_eq!(store.retain().await.expect("retains").events, 6);
    store.close().await;
    let store = place.open().await;
    assert_eq!(*store.position().borrow(), before);
    let committed = store
        .commit(place.poll(&issues, many(1)))
        .await
        .expect("commits");
    assert_eq!(committed.first_sequence, 7);
    let (sources, _) = store.news(before).await.expect("reads");
    assert_eq!(sources, BTreeSet::from([issues.id]));
}

#[tokio::test]
async fn dead_letters_keep_their_event_and_attempts_for_their_own_time() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let lane_ = lane(&store, "ops", &issues).await;
    store
        .commit(place.poll(&issues, many(3)))
        .await
        .expect("commits");
    let events = scan(&store, &issues).await;
    let mut all = up_to(&lane_, &events[2]);
    all.attempts = vec![
        settled(&lane_, &events[0], 1, Then::Delivered),
        settled(&lane_, &events[1], 1, Then::Dead),
        settled(&lane_, &events[2], 1, Then::Retry(place.now())),
    ];
    store.settle(all).await.expect("settles");
    place.wait(8 * DAY);
    let retained = store.retain().await.expect("retains");
    assert_eq!(
        (retained.events, retained.attempts, retained.dead),
        (1, 1, 0)
    );
    let keys = events.iter().map(|event| event.key).collect();
    let left = store.load(keys).await.expect("reads");
    assert_eq!(
        left.iter().map(Option::is_some).collect::<Vec<_>>(),
        [false, true, true]
    );
    let dead = DeliveryId {
        lane: lane_.id,
        event: events[1].key,
    };
    assert_eq!(store.attempts(dead).await.expect("reads").len(), 1);
    place.wait(30 * DAY);
    let retained = store.retain().await.expect("retains");
    assert_eq!((retained.events, retained.dead), (1, 1));
    assert!(store.attempts(dead).await.expect("reads").is_empty());
    assert_eq!(
        store.waiting(lane_.id, 9).await.expect("reads").len(),
        1,
        "still pending"
    );
}

#[tokio::test]
async fn pending_deliveries_of_a_removed_endpoint_wait_for_retain_only() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let lane_ = lane(&store, "ops", &issues).await;
    store
        .commit(place.poll(&issues, many(3)))
        .await
        .expect("commits");
    let events = scan(&store, &issues).await;
    let parked = settled(&lane_, &events[0], 1, Then::Retry(place.now()));
    store.settle(settling(vec![parked])).await.expect("settles");
    store.close().await;
    // Nobody asks for the lane any more.
    let store = place.open().await;
    place.wait(6 * DAY);
    assert_eq!(store.retain().await.expect("retains"), Retained::default());
    place.wait(2 * DAY);
    let retained = store.retain().await.expect("retains");
    assert_eq!((retained.events, retained.attempts), (3, 1));
    assert!(store.waiting(lane_.id, 9).await.expect("reads").is_empty());
}

#[tokio::test]
async fn what_stays_of_a_subject_that_nobody_hears_is_led_by_its_earliest() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let lane_ = lane(&store, "ops", &issues).await;
    let ring = async || {
        let poll = place.poll(&issues, many(1));
        store.commit(poll).await.expect("commits");
    };
    ring().await;
    place.wait(4 * DAY);
    ring().await;
    ring().await;
    let events = scan(&store, &issues).await;
    let mut settling = up_to(&lane_, &events[2]);
    settling.attempts = vec![settled(&lane_, &events[0], 1, Then::Retry(place.now()))];
    let behind = events[1..].iter();
    settling.parked = behind.map(|event| (lane_.id, blocked(event))).collect();
    store.settle(settling).await.expect("settles");
    store.hear_only(&name("ops"), &[]).await.expect("reads");
    place.wait(4 * DAY);
    store.retain().await.expect("retains");
    let waiting = store.waiting(lane_.id, 9).await.expect("reads");
    let waiting: Vec<_> = waiting.iter().map(|row| row.event).collect();
    assert_eq!(waiting, [events[1].key]);
}
