//! Lanes, outcomes and parked deliveries.

use super::*;
use crate::event::Written;
use crate::store::{Failing, Told, UNWRITTEN};

/// A store with `count` events of one source and a lane before them.
async fn ringing(place: &Place, count: usize) -> (Store, SourceState, LaneState, Vec<Scanned>) {
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let lane = lane(&store, "ops", &issues).await;
    store
        .commit(place.poll(&issues, many(count)))
        .await
        .expect("commits");
    let events = scan(&store, &issues).await;
    assert_eq!(events.len(), count);
    (store, issues, lane, events)
}

async fn list(store: &Store, source: &SourceState, state: DeliveryState) -> Vec<Delivery> {
    let query = DeliveryQuery {
        state,
        endpoint: name("ops"),
        hears: vec![(source.id, vec![Kind::Created])],
        after: None,
        limit: 10,
    };
    store.deliveries(query).await.expect("reads")
}

#[tokio::test]
async fn new_lane_begins_after_what_has_happened() {
    let place = Place::new();
    let (store, issues, old, events) = ringing(&place, 3).await;
    assert_eq!(old.watermark, EventKey::START);
    let new = lane(&store, "late", &issues).await;
    assert_eq!(new.watermark, events[2].key);
    assert!(new.ahead.is_empty());
    let old = lane(&store, "ops", &issues).await;
    assert_eq!(counts(&old), [(Kind::Created, 3)]);
}

#[tokio::test]
async fn a_lane_tells_since_when_events_of_each_kind_are_ahead() {
    let place = Place::new();
    let (store, issues, own, events) = ringing(&place, 3).await;
    let then = place.now();
    place.wait(DAY);
    let gone = vec![deleted("1")];
    store
        .commit(place.poll(&issues, gone))
        .await
        .expect("commits");
    let first = async || {
        let ahead = lane(&store, "ops", &issues).await.ahead;
        let ahead = ahead.iter().map(|ahead| (ahead.kind, ahead.first));
        ahead.collect::<Vec<_>>()
    };
    let both = [(Kind::Created, then), (Kind::Deleted, then.plus(DAY))];
    assert_eq!(first().await, both);
    store
        .settle(up_to(&own, &events[0]))
        .await
        .expect("settles");
    assert_eq!(first().await, both, "of a commit that is half done");
    store
        .settle(up_to(&own, &events[2]))
        .await
        .expect("settles");
    assert_eq!(first().await, both[1..]);
}

#[tokio::test]
async fn scan_goes_on_where_it_ended_and_brings_small_events_along() {
    let place = Place::new();
    let (store, issues, _, events) = ringing(&place, 5).await;
    store
        .commit(place.poll(&issues, vec![deleted("i00000")]))
        .await
        .expect("commits");
    let head = store
        .scan((issues.id, None), EventKey::START, 2)
        .await
        .expect("scans");
    let rest = store
        .scan((issues.id, None), head[1].key, 10)
        .await
        .expect("scans");
    assert_eq!((head.len(), rest.len()), (2, 4));
    assert_eq!(rest[0].key, events[2].key);
    assert_eq!(rest[3].kind, Kind::Deleted);
    let event = rest[0].event.as_ref().expect("came along");
    assert_eq!((event.sequence, event.id.key()), (3, rest[0].key));
    let loaded = store
        .load(vec![rest[0].key, EventKey::new(99, 0)])
        .await
        .expect("reads");
    assert_eq!(loaded[0].as_ref().map(Event::body), Some(event.body()));
    assert!(loaded[1].is_none());
}

#[tokio::test]
async fn where_a_lane_stands_outlives_the_process() {
    let place = Place::new();
    let (store, issues, lane_, events) = ringing(&place, 6).await;
    let mut first = up_to(&lane_, &events[1]);
    first.attempts = vec![
        settled(&lane_, &events[0], 1, Then::Delivered),
        settled(&lane_, &events[1], 1, Then::Retry(place.now())),
        settled(&lane_, &events[3], 1, Then::Delivered),
        settled(&lane_, &events[4], 1, Then::Dead),
    ];
    first.parked = vec![(lane_.id, blocked(&events[5]))];
    store.settle(first).await.expect("settles");
    store.close().await;
    let store = place.open().await;
    let after = lane(&store, "ops", &issues).await;
    assert_eq!(after.id, lane_.id);
    assert_eq!(after.watermark, events[1].key);
    let passed = [events[3].key, events[4].key, events[5].key];
    assert_eq!(after.settled, passed, "delivered, given up, parked");
    assert_eq!(counts(&after), [(Kind::Created, 4)]);
    assert_eq!(after.parked, 2);
}

/// What is passed over needs a row only while an earlier event holds the watermark back.
#[tokio::test]
async fn what_is_passed_over_stays_so_without_an_attempt() {
    let place = Place::new();
    let (store, issues, lane_, events) = ringing(&place, 6).await;
    let mut first = up_to(&lane_, &events[1]);
    first.attempts = vec![
        settled(&lane_, &events[0], 0, Then::Filtered),
        settled(&lane_, &events[1], 0, Then::Filtered),
        settled(&lane_, &events[3], 0, Then::Filtered),
    ];
    first.parked = vec![(lane_.id, blocked(&events[4]))];
    store.settle(first.clone()).await.expect("settles");
    store.settle(first).await.expect("settles again");
    let parked = settling(vec![settled(&lane_, &events[4], 0, Then::Filtered)]);
    store.settle(parked).await.expect("settles");
    store.close().await;
    let store = place.open().await;
    let after = lane(&store, "ops", &issues).await;
    assert_eq!(after.settled, [events[3].key, events[4].key]);
    assert_eq!(after.parked, 0);
    let keys = |listed: Vec<Delivery>| -> Vec<EventKey> {
        listed.iter().map(|delivery| delivery.id.event).collect()
    };
    let pending = list(&store, &issues, DeliveryState::Pending).await;
    assert_eq!(keys(pending), [events[5].key, events[2].key]);
    for state in [DeliveryState::Delivered, DeliveryState::Dead] {
        assert_eq!(keys(list(&store, &issues, state).await), []);
    }
    for event in &events {
        let delivery = DeliveryId {
            lane: lane_.id,
            event: event.key,
        };
        assert_eq!(store.attempts(delivery).await.expect("reads"), []);
    }
}

#[tokio::test]
async fn how_an_event_was_first_told_is_remembered() {
    let place = Place::new();
    let (store, _, lane_, events) = ringing(&place, 6).await;
    let written = |text: &str| Written {
        digest: Context::new("test").digest(text.as_bytes()),
        text: text.into(),
    };
    let (old, new) = (written("old"), written("new"));
    let retry = Then::Retry(place.now());
    let attempt = |event: usize, number, digest, error: Option<&str>| {
        let mut row = settled(&lane_, &events[event], number, retry);
        (row.attempt.rendering, row.attempt.error) = (digest, error.map(str::to_owned));
        row
    };
    let (before, after) = (Some(old.digest), Some(new.digest));
    let first = settling(vec![
        attempt(0, 1, before, Some("status")),
        attempt(1, 1, None, Some("timeout")),
        // Nothing was told while nothing could be written.
        attempt(2, 1, before, Some(UNWRITTEN)),
        attempt(3, 1, before, Some(UNWRITTEN)),
        settled(&lane_, &events[4], 0, Then::Filtered),
    ]);
    let name = Name::parse("ops").expect("a name");
    store.speak(&name, Some(old.clone())).await.expect("notes");
    store.settle(first.clone()).await.expect("settles");
    store.settle(first).await.expect("settles again");
    let second = settling(vec![
        attempt(0, 2, after, None),
        attempt(1, 2, after, None),
        attempt(2, 2, after, None),
    ]);
    store.speak(&name, Some(new.clone())).await.expect("notes");
    store.settle(second).await.expect("settles");
    store.close().await;
    let store = place.open().await;
    let ids = events.iter().map(|event| DeliveryId {
        lane: lane_.id,
        event: event.key,
    });
    let told = store.told(ids.collect()).await.expect("reads");
    let of = |written: &Written| Told {
        digest: Some(written.digest),
        settings: Some(written.text.clone()),
    };
    let usual = Told {
        digest: None,
        settings: None,
    };
    let expected = [
        Some(of(&old)),
        Some(usual),
        Some(of(&new)),
        None,
        None,
        None,
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn words_that_nobody_ended_may_be_those_of_earlier_events() {
    let place = Place::new();
    let (store, issues, _, events) = ringing(&place, 2).await;
    let [ops, crm] = ["ops", "crm"].map(|name| Name::parse(name).expect("a name"));
    let written = |text: &str| Written {
        digest: Context::new("test").digest(text.as_bytes()),
        text: text.into(),
    };
    let told = |text: &str| Told {
        digest: Some(written(text).digest),
        settings: Some(text.into()),
    };
    let usual = Told {
        digest: None,
        settings: None,
    };
    let first = store.speak(&ops, None).await.expect("notes");
    assert_eq!(first, []);
    store.close().await;
    let store = place.open().await;
    assert_eq!(
        store.speak(&ops, None).await.expect("notes"),
        [],
        "the same"
    );
    let old = store
        .speak(&ops, Some(written("old")))
        .await
        .expect("notes");
    let [(until, words)] = &old[..] else {
        panic!("one: {old:?}")
    };
    assert_eq!(words, &usual);
    assert!(*until >= events[1].key);
    let commit = place.poll(&issues, vec![created("later")]);
    store.commit(commit).await.expect("commits");
    let later = scan(&store, &issues).await[2].key;
    assert!(*until < later);
    let new = store
        .speak(&ops, Some(written("new")))
        .await
        .expect("notes");
    assert_eq!(new[0], old[0]);
    assert_eq!((&new[1].1, new.len()), (&told("old"), 2));
    assert!(new[1].0 >= later);
    store.hush(&ops).await.expect("notes");
    let newest = store.speak(&ops, None).await.expect("notes");
    assert_eq!(newest, new, "the newest words were ended");
    assert_eq!(store.speak(&crm, None).await.expect("notes"), []);
    store.begin_anew(&ops).await.expect("forgets");
    assert_eq!(store.speak(&ops, None).await.expect("notes"), []);
}

/// Method: another endpoint goes through more words than are kept without a reason.
#[tokio::test]
async fn words_that_may_be_in_flight_are_kept_beside_any_number_of_others() {
    let place = Place::new();
    let (store, ..) = ringing(&place, 1).await;
    let [ops, crm] = ["ops", "crm"].map(|name| Name::parse(name).expect("a name"));
    let written = |text: &str| Written {
        digest: Context::new("test").digest(text.as_bytes()),
        text: text.into(),
    };
    store
        .speak(&ops, Some(written("first")))
        .await
        .expect("notes");
    for other in 0..1_001 {
        let other = written(&format!("other {other}"));
        store.speak(&crm, Some(other)).await.expect("notes");
        store.hush(&crm).await.expect("notes");
    }
    let former = store.speak(&ops, None).await.expect("notes");
    assert_eq!(former[0].1.settings.as_deref(), Some("first"));
}

#[tokio::test]
async fn watermark_never_falls_and_divides_a_commit_exactly() {
    let place = Place::new();
    let (store, issues, lane_, events) = ringing(&place, 400).await;
    store
        .commit(place.poll(&issues, vec![deleted("i00000")]))
        .await
        .expect("commits");
    store
        .settle(up_to(&lane_, &events[149]))
        .await
        .expect("settles");
    store
        .settle(up_to(&lane_, &events[9]))
        .await
        .expect("settles");
    let after = lane(&store, "ops", &issues).await;
    assert_eq!(after.watermark, events[149].key);
    assert_eq!(counts(&after), [(Kind::Created, 250), (Kind::Deleted, 1)]);
}

#[tokio::test]
async fn parked_deliveries_come_back_by_due_time_and_by_subject() {
    let place = Place::new();
    let (store, _, lane_, events) = ringing(&place, 4).await;
    let later = place.now().plus(DAY);
    let mut first = settling(vec![
        settled(&lane_, &events[0], 1, Then::Retry(later)),
        settled(&lane_, &events[1], 1, Then::Retry(place.now())),
    ]);
    let mut behind = [blocked(&events[3]), blocked(&events[2])];
    for parked in &mut behind {
        parked.subject = events[0].subject.clone();
    }
    first.parked = behind
        .iter()
        .map(|parked| (lane_.id, parked.clone()))
        .collect();
    store.settle(first).await.expect("settles");
    let waiting = store.waiting(lane_.id, 10).await.expect("reads");
    let due: Vec<_> = waiting
        .iter()
        .map(|parked| (parked.event, parked.due))
        .collect();
    assert_eq!(
        due,
        [
            (events[1].key, Some(place.now())),
            (events[0].key, Some(later))
        ]
    );
    assert_eq!(waiting[0].attempts, 1);
    assert_eq!(store.waiting(lane_.id, 1).await.expect("reads").len(), 1);

    let subject = &events[0].subject;
    let next = store
        .next_blocked(lane_.id, subject.clone())
        .await
        .expect("reads");
    assert_eq!(
        next.as_ref(),
        Some(&behind[1]),
        "the earliest of the subject"
    );
    let done = vec![
        settled(&lane_, &events[0], 2, Then::Delivered),
        settled(&lane_, &events[2], 1, Then::Delivered),
        settled(&lane_, &events[3], 1, Then::Dead),
        settled(&lane_, &events[1], 2, Then::Delivered),
    ];
    store.settle(settling(done)).await.expect("settles");
    let next = store
        .next_blocked(lane_.id, subject.clone())
        .await
        .expect("reads");
    assert_eq!(next, None);
    assert!(store.waiting(lane_.id, 10).await.expect("reads").is_empty());
}

#[tokio::test]
async fn due_times_of_a_clock_that_was_ahead_are_as_far_away_as_they_were() {
    let place = Place::new();
    let (store, _, lane_, events) = ringing(&place, 3).await;
    let (now, delay) = (place.now(), Duration::from_secs(5));
    let ahead = now.plus(10 * DAY);
    let tried = |event: usize, at: Timestamp, due: Timestamp| {
        let mut row = settled(&lane_, &events[event], 1, Then::Retry(due));
        row.attempt.at = at;
        row
    };
    let attempts = vec![
        tried(0, ahead, ahead.plus(delay)),
        // The clock jumped while doorbell ran, which keeps its own time.
        tried(1, ahead, now.plus(delay)),
        tried(2, now, now.plus(DAY)),
    ];
    store.settle(settling(attempts)).await.expect("settles");
    let waiting = store.waiting(lane_.id, 10).await.expect("reads");
    let due = |event: usize| {
        let row = waiting.iter().find(|row| row.event == events[event].key);
        row.and_then(|row| row.due)
    };
    assert_eq!([due(0), due(1)], [Some(now.plus(delay)); 2]);
    assert_eq!(due(2), Some(now.plus(DAY)));
}

#[tokio::test]
async fn settling_twice_is_settling_once() {
    let place = Place::new();
    let (store, issues, lane_, events) = ringing(&place, 3).await;
    let mut all = up_to(&lane_, &events[2]);
    all.attempts = vec![
        settled(&lane_, &events[0], 1, Then::Delivered),
        settled(&lane_, &events[1], 1, Then::Retry(place.now())),
        settled(&lane_, &events[2], 1, Then::Dead),
    ];
    store.settle(all.clone()).await.expect("settles");
    let once = format!("{:?}", lane(&store, "ops", &issues).await);
    store.settle(all).await.expect("settles");
    assert_eq!(format!("{:?}", lane(&store, "ops", &issues).await), once);
    for event in &events {
        let delivery = DeliveryId {
            lane: lane_.id,
            event: event.key,
        };
        assert_eq!(store.attempts(delivery).await.expect("reads").len(), 1);
    }
    assert_eq!(list(&store, &issues, DeliveryState::Dead).await.len(), 1);
}

#[tokio::test]
async fn deliveries_are_listed_by_state_newest_first() {
    let place = Place::new();
    let (store, issues, lane_, events) = ringing(&place, 6).await;
    store
        .commit(place.poll(&issues, vec![deleted("i00000")]))
        .await
        .expect("commits");
    let mut first = up_to(&lane_, &events[0]);
    let due = place.now().plus(DAY);
    first.attempts = vec![
        settled(&lane_, &events[0], 1, Then::Retry(due)),
        settled(&lane_, &events[1], 1, Then::Delivered),
        settled(&lane_, &events[3], 1, Then::Dead),
    ];
    first.parked = vec![(lane_.id, blocked(&events[4]))];
    store.settle(first).await.expect("settles");

    let pending = list(&store, &issues, DeliveryState::Pending).await;
    let keys: Vec<_> = pending.iter().map(|delivery| delivery.id.event).collect();
    let expected = [5, 4, 2, 0].map(|index: usize| events[index].key);
    assert_eq!(keys, expected, "the deletion is not heard");
    assert_eq!((pending[3].due, pending[3].attempts), (Some(due), 1));
    assert_eq!(pending[0].event_type, "issues.created");
    let event = events[5].event.as_ref().expect("came along");
    assert_eq!(pending[0].event, Some(event.id));

    let delivered = list(&store, &issues, DeliveryState::Delivered).await;
    assert_eq!(delivered.len(), 1);
    assert_eq!(delivered[0].id.event, events[1].key);
    assert_eq!(
        delivered[0].settled_at,
        Some(place.now().plus(Duration::from_millis(12)))
    );
    assert_eq!(delivered[0].subject, events[1].subject);

    let dead = list(&store, &issues, DeliveryState::Dead).await;
    assert_eq!((dead.len(), dead[0].id.event), (1, events[3].key));
    let id: DeliveryId = dead[0].id.to_string().parse().expect("an id");
    let attempts = store.attempts(id).await.expect("reads");
    let attempt = settled(&lane_, &events[3], 1, Then::Dead).attempt;
    assert_eq!(attempts, [attempt]);
}

#[tokio::test]
async fn how_an_endpoint_fails_outlives_the_process_until_it_does_not_or_is_enabled() {
    let place = Place::new();
    let store = place.open().await;
    let failing = |failures| Failing {
        since: Timestamp::from_millis(1_000),
        last: Timestamp::from_millis(i64::from(failures) * 1_000),
        spent: Duration::from_hours(30),
        failures,
    };
    let note = async |store: &Store, endpoint: &str, failing: Option<Failing>| {
        let settling = Settling {
            health: Some((name(endpoint), failing)),
            ..Settling::default()
        };
        store.settle(settling).await.expect("settles");
    };
    for endpoint in ["a", "b", "c"] {
        note(&store, endpoint, Some(failing(1))).await;
    }
    note(&store, "a", Some(failing(2))).await;
    note(&store, "b", None).await;
    store.enable(&name("c")).await.expect("enables");
    store.close().await;
    let store = place.open().await;
    let known = store.failing().await.expect("reads");
    assert_eq!(known, BTreeMap::from([("a".to_owned(), failing(2))]));
}
