//! What people do to deliveries, as rows: what a deliverer finds that reads its lanes anew.

use super::*;

/// A store with `count` events of one source, and a lane before them.
async fn ringing(place: &Place, count: usize) -> (Store, SourceState, LaneState, Vec<Scanned>) {
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let lane = lane(&store, "ops", &issues).await;
    let poll = place.poll(&issues, many(count));
    store.commit(poll).await.expect("commits");
    let events = scan(&store, &issues).await;
    (store, issues, lane, events)
}

fn id(lane: &LaneState, event: &Scanned) -> DeliveryId {
    DeliveryId {
        lane: lane.id,
        event: event.key,
    }
}

/// `event` behind `head`'s subject.
fn behind(head: &Scanned, event: &Scanned) -> Parked {
    Parked {
        subject: head.subject.clone(),
        ..blocked(event)
    }
}

async fn steer(store: &Store, id: DeliveryId, deed: Deed) -> Steered {
    let steered = store.steer(vec![id], deed).await.expect("writes");
    steered[0]
}

async fn state(store: &Store, id: DeliveryId) -> DeliveryState {
    let found = store.delivery(id).await.expect("reads");
    found.expect("there is one").state
}

#[tokio::test]
async fn what_waits_is_due_at_once_and_what_is_blocked_names_who_goes_first() {
    let place = Place::new();
    let (store, _, lane_, events) = ringing(&place, 3).await;
    let later = place.now().plus(DAY);
    let mut first = up_to(&lane_, &events[1]);
    first.attempts = vec![settled(&lane_, &events[0], 1, Then::Retry(later))];
    first.parked = vec![(lane_.id, behind(&events[0], &events[1]))];
    store.settle(first).await.expect("settles");
    let (head, blocked) = (id(&lane_, &events[0]), id(&lane_, &events[1]));
    let ahead = id(&lane_, &events[2]);
    assert_eq!(
        steer(&store, blocked, Deed::Retry).await,
        Steered::Blocked(head)
    );
    assert_eq!(steer(&store, head, Deed::Retry).await, Steered::Done);
    assert_eq!(steer(&store, ahead, Deed::Retry).await, Steered::Done);
    let waiting = store.waiting(lane_.id, 10).await.expect("reads");
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].due, Some(place.now()));
    assert_eq!((waiting[0].attempts, waiting[0].earlier), (1, 0));
    let nobody = DeliveryId {
        event: EventKey::new(99, 0),
        ..head
    };
    for deed in [Deed::Retry, Deed::Skip] {
        assert_eq!(steer(&store, nobody, deed).await, Steered::Unknown);
    }
}

#[tokio::test]
async fn what_is_settled_goes_out_once_more_with_its_schedule_anew() {
    let place = Place::new();
    let (store, issues, lane_, events) = ringing(&place, 3).await;
    let mut all = up_to(&lane_, &events[2]);
    all.attempts = vec![
        settled(&lane_, &events[0], 1, Then::Retry(place.now())),
        settled(&lane_, &events[0], 2, Then::Dead),
        settled(&lane_, &events[1], 1, Then::Delivered),
        settled(&lane_, &events[2], 1, Then::Delivered),
    ];
    store.settle(all).await.expect("settles");
    for (event, before) in [(0, DeliveryState::Dead), (1, DeliveryState::Delivered)] {
        let id = id(&lane_, &events[event]);
        assert_eq!(state(&store, id).await, before);
        assert_eq!(steer(&store, id, Deed::Retry).await, Steered::Done);
        assert_eq!(state(&store, id).await, DeliveryState::Pending);
    }
    store.close().await;
    let store = place.open().await;
    let after = lane(&store, "ops", &issues).await;
    assert_eq!(after.parked, 2);
    let waiting = store.waiting(lane_.id, 10).await.expect("reads");
    let attempts = waiting.iter().map(|row| (row.attempts, row.earlier));
    assert_eq!(attempts.collect::<Vec<_>>(), [(2, 2), (1, 1)]);
    let list = async |state| {
        let query = DeliveryQuery {
            state,
            endpoint: name("ops"),
            hears: vec![(issues.id, vec![Kind::Created])],
            after: None,
            limit: 10,
        };
        store.deliveries(query).await.expect("reads").len()
    };
    assert_eq!(list(DeliveryState::Dead).await, 0);
    assert_eq!(list(DeliveryState::Delivered).await, 1, "the third");
    // A failure keeps what does not count any more; an acceptance ends it as ever.
    let next = settling(vec![
        settled(&lane_, &events[0], 3, Then::Retry(place.now())),
        settled(&lane_, &events[1], 2, Then::Delivered),
    ]);
    store.settle(next).await.expect("settles");
    let waiting = store.waiting(lane_.id, 10).await.expect("reads");
    assert_eq!((waiting[0].attempts, waiting[0].earlier), (3, 2));
    assert_eq!(list(DeliveryState::Delivered).await, 2);
    let attempts = store.attempts(id(&lane_, &events[1])).await.expect("reads");
    assert_eq!(attempts.len(), 2, "its history stays");
}

#[tokio::test]
async fn what_is_given_up_lets_its_subject_go_on() {
    let place = Place::new();
    let (store, issues, lane_, events) = ringing(&place, 5).await;
    let later = place.now().plus(DAY);
    let mut first = up_to(&lane_, &events[2]);
    first.attempts = vec![settled(&lane_, &events[0], 1, Then::Retry(later))];
    first.parked = vec![
        (lane_.id, behind(&events[0], &events[2])),
        (lane_.id, behind(&events[0], &events[1])),
    ];
    store.settle(first).await.expect("settles");
    let ids: Vec<DeliveryId> = events.iter().map(|event| id(&lane_, event)).collect();
    for index in [0, 4] {
        assert_eq!(steer(&store, ids[index], Deed::Skip).await, Steered::Done);
        assert_eq!(state(&store, ids[index]).await, DeliveryState::Dead);
        let again = steer(&store, ids[index], Deed::Skip).await;
        assert_eq!(again, Steered::Settled(DeliveryState::Dead));
    }
    let waiting = store.waiting(lane_.id, 10).await.expect("reads");
    let waiting: Vec<_> = waiting.iter().map(|row| (row.event, row.due)).collect();
    assert_eq!(waiting, [(events[1].key, Some(place.now()))]);
    // One that is blocked may go, too: the head stays.
    assert_eq!(steer(&store, ids[2], Deed::Skip).await, Steered::Done);
    assert_eq!(store.waiting(lane_.id, 10).await.expect("reads").len(), 1);
    let attempts = store.attempts(ids[0]).await.expect("reads");
    let errors: Vec<_> = attempts.iter().map(|one| one.error.as_deref()).collect();
    assert_eq!(errors, [Some("status"), Some(SKIPPED)]);
    let after = lane(&store, "ops", &issues).await;
    assert_eq!(after.settled, [events[4].key], "a scan passes over it");
    // Nothing was told by it, so the first real attempt decides how it is told.
    let told = store.told(vec![ids[4]]).await.expect("reads");
    assert_eq!(told, [None]);
}

#[tokio::test]
async fn a_replay_finds_what_it_is_asked_for_page_by_page() {
    let place = Place::new();
    let (store, issues, lane_, events) = ringing(&place, 6).await;
    let early = place.now();
    place.wait(DAY);
    let poll = place.poll(&issues, vec![deleted("i00000")]);
    store.commit(poll).await.expect("commits");
    let events = [events, scan(&store, &issues).await.split_off(6)].concat();
    let mut all = up_to(&lane_, &events[6]);
    let ends = [0, 1, 2, 3, 6].map(|at| settled(&lane_, &events[at], 1, Then::Dead));
    all.attempts = Vec::from(ends);
    all.attempts
        .push(settled(&lane_, &events[4], 1, Then::Delivered));
    all.attempts
        .push(settled(&lane_, &events[5], 1, Then::Retry(place.now())));
    store.settle(all).await.expect("settles");
    let query = ReplayQuery {
        endpoint: name("ops"),
        states: vec![DeliveryState::Dead],
        kinds: [(issues.id, vec![Kind::Created, Kind::Deleted])].into(),
        since: Timestamp::from_millis(0),
        until: place.now(),
        after: None,
        limit: 3,
    };
    let found = async |query: &ReplayQuery| {
        let found = store.replayable(query.clone()).await.expect("reads");
        let at = |id: DeliveryId| events.iter().position(|event| event.key == id.event);
        found.into_iter().filter_map(at).collect::<Vec<_>>()
    };
    assert_eq!(found(&query).await, [0, 1, 2]);
    let after = Some(id(&lane_, &events[2]));
    let rest = ReplayQuery {
        after,
        ..query.clone()
    };
    assert_eq!(found(&rest).await, [3, 6]);
    let any = ReplayQuery {
        states: vec![DeliveryState::Dead, DeliveryState::Delivered],
        limit: 10,
        ..query.clone()
    };
    assert_eq!(found(&any).await, [0, 1, 2, 3, 4, 6]);
    let until = ReplayQuery {
        until: early,
        ..any.clone()
    };
    assert_eq!(found(&until).await, [0, 1, 2, 3, 4]);
    let since = ReplayQuery {
        since: place.now(),
        ..any.clone()
    };
    assert_eq!(found(&since).await, [6]);
    let kinds = ReplayQuery {
        kinds: [(issues.id, vec![Kind::Deleted])].into(),
        ..any.clone()
    };
    assert_eq!(found(&kinds).await, [6]);
    assert_eq!(store.waiting_count(&name("ops")).await.expect("reads"), 1);
}

#[tokio::test]
async fn a_dropped_backlog_is_gone_whole_and_nothing_else() {
    let place = Place::new();
    let (store, issues, lane_, events) = ringing(&place, 5).await;
    let other = lane(&store, "other", &issues).await;
    let mut first = up_to(&lane_, &events[2]);
    first.attempts = vec![
        settled(&lane_, &events[0], 1, Then::Retry(place.now())),
        settled(&lane_, &events[1], 1, Then::Dead),
    ];
    first.parked = vec![(lane_.id, behind(&events[0], &events[2]))];
    store.settle(first).await.expect("settles");
    assert_eq!(store.drop_backlog(&name("ops")).await.expect("writes"), 2);
    let after = lane(&store, "ops", &issues).await;
    assert_eq!((after.watermark, after.parked), (events[4].key, 0));
    assert!(after.ahead.is_empty());
    assert_eq!(
        state(&store, id(&lane_, &events[1])).await,
        DeliveryState::Dead
    );
    let untouched = lane(&store, "other", &issues).await;
    assert_eq!(untouched.watermark, other.watermark);
}

#[tokio::test]
async fn who_is_paused_or_switched_off_stays_so_over_a_restart() {
    let place = Place::new();
    let store = place.open().await;
    for endpoint in ["a", "b"] {
        store.pause(&name(endpoint)).await.expect("pauses");
        store.disable(&name(endpoint)).await.expect("disables");
    }
    store.resume(&name("b")).await.expect("resumes");
    store.enable(&name("a")).await.expect("enables");
    store.close().await;
    let store = place.open().await;
    let only = |name: &str| BTreeSet::from([name.to_owned()]);
    assert_eq!(store.paused().await.expect("reads"), only("a"));
    assert_eq!(store.disabled().await.expect("reads"), only("b"));
}

#[tokio::test]
async fn a_lane_begins_again_further_back_without_what_it_has_had() {
    let place = Place::new();
    let (store, issues, lane_, events) = ringing(&place, 4).await;
    let poll = place.poll(&issues, vec![deleted("i00000")]);
    store.commit(poll).await.expect("commits");
    let mut first = up_to(&lane_, &events[3]);
    first.attempts = vec![
        settled(&lane_, &events[2], 1, Then::Delivered),
        settled(&lane_, &events[3], 1, Then::Retry(place.now())),
    ];
    store.settle(first).await.expect("settles");
    let rewind = async |endpoint: &str, sequence| {
        let rewound = store.rewind(&name(endpoint), issues.id, sequence).await;
        rewound.expect("writes")
    };
    assert_eq!(rewind("nobody", 1).await, Rewound::Unheard);
    assert_eq!(rewind("ops", 6).await, Rewound::Ahead(5));
    assert_eq!(rewind("ops", 5).await, Rewound::Done);
    let same = lane(&store, "ops", &issues).await;
    assert_eq!(same.watermark, events[3].key, "it never goes on by that");
    assert_eq!(rewind("ops", 2).await, Rewound::Done);
    let back = lane(&store, "ops", &issues).await;
    assert_eq!(back.watermark, events[0].key);
    assert_eq!(back.settled, [events[2].key, events[3].key]);

    // What retention took cannot be sent; the oldest that is left is told.
    store
        .settle(up_to(&back, &events[3]))
        .await
        .expect("settles");
    let row = settled(&lane_, &events[3], 2, Then::Delivered);
    store.settle(settling(vec![row])).await.expect("settles");
    place.wait(8 * DAY);
    let poll = place.poll(&issues, many(1));
    store.commit(poll).await.expect("commits");
    while store.retain().await.expect("deletes") != Retained::default() {}
    assert_eq!(rewind("ops", 2).await, Rewound::Gone(5));
    assert_eq!(rewind("ops", 5).await, Rewound::Done);
}

#[tokio::test]
async fn a_reader_goes_on_behind_an_event_by_its_id() {
    let place = Place::new();
    let (store, ..) = ringing(&place, 3).await;
    let all = feed(&store, 10).await;
    let after = Some(store.cursor(all[1].id).await.expect("it is there"));
    let query = EventQuery {
        after,
        limit: 10,
        ..EventQuery::default()
    };
    let rest = store.events(query).await.expect("reads").events;
    let ids: Vec<EventId> = rest.iter().map(|event| event.id).collect();
    assert_eq!(ids, [all[2].id]);
    let stranger = EventId::new(all[1].id.key(), 1);
    let gone = store.cursor(stranger).await;
    assert!(matches!(gone, Err(StoreError::Gone(_))), "{gone:?}");
}

#[tokio::test]
async fn a_lane_does_not_begin_again_before_what_would_overtake_it() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    for _ in 0..2 {
        let poll = place.poll(&issues, many(2));
        store.commit(poll).await.expect("commits");
    }
    let lane_ = lane(&store, "ops", &issues).await;
    let poll = place.poll(&issues, many(1));
    store.commit(poll).await.expect("commits");
    let events = scan(&store, &issues).await;
    let mut first = up_to(&lane_, &events[4]);
    first.attempts = vec![settled(&lane_, &events[4], 1, Then::Retry(place.now()))];
    store.settle(first).await.expect("settles");
    let rewind = async |sequence| {
        let rewound = store.rewind(&name("ops"), issues.id, sequence).await;
        rewound.expect("writes")
    };
    let overtaking = Rewound::Waiting(id(&lane_, &events[4]));
    assert_eq!(rewind(1).await, overtaking);
    assert_eq!(rewind(3).await, overtaking);
    assert_eq!(
        rewind(4).await,
        Rewound::Done,
        "none of its subject is earlier"
    );
}

#[tokio::test]
async fn who_begins_anew_has_no_history() {
    let place = Place::new();
    let (store, issues, lane_, events) = ringing(&place, 3).await;
    let mut first = up_to(&lane_, &events[1]);
    first.attempts = vec![
        settled(&lane_, &events[0], 1, Then::Delivered),
        settled(&lane_, &events[1], 1, Then::Dead),
    ];
    store.settle(first).await.expect("settles");
    store.begin_anew(&name("ops")).await.expect("writes");
    let now = lane(&store, "ops", &issues).await;
    assert_eq!((now.watermark, now.ahead.len()), (events[2].key, 0));
    for event in &events {
        let found = store.delivery(id(&lane_, event)).await.expect("reads");
        assert!(found.is_none(), "{found:?}");
    }
}
