//! A source of many partitions: each with a snapshot of its own, all with one sequence.

use super::*;

fn partition(repo: &str) -> Partition {
    Partition::of(&[("repo".to_owned(), repo.to_owned())].into())
}

async fn divided(store: &Store, repos: &[&str]) -> Vec<SourceState> {
    let id = store.register(&[name("issues")]).await.expect("registers")[0];
    let wanted = repos.iter().map(|repo| (id, partition(repo)));
    let states = store.partitions(wanted.collect()).await;
    states.expect("registers")
}

#[tokio::test]
async fn namesakes_of_two_partitions_are_two_items_with_two_lines_and_one_sequence() {
    let place = Place::new();
    let store = place.open().await;
    let states = divided(&store, &["a", "b"]).await;
    let lane = lane(&store, "ops", &states[0]).await;
    for (state, count) in [(&states[0], 1), (&states[1], 1), (&states[0], 600)] {
        let repo = if state == &states[0] { "a" } else { "b" };
        let mut poll = place.poll(state, many(count));
        poll.partition = partition(repo);
        store.commit(poll).await.expect("commits");
    }
    assert_eq!(subjects(&store, &states[0]).await.len(), 600);
    assert_eq!(subjects(&store, &states[1]).await, ["i00000"]);

    let scanned = scan(&store, &states[0]).await;
    assert_eq!(scanned[0].subject, scanned[2].subject);
    assert_ne!(scanned[0].subject, scanned[1].subject);
    let events = feed(&store, 1_000).await;
    let first = events.iter().take(3);
    let told = first.map(|event| (&event.partition, &*event.subject, event.sequence));
    let told: Vec<_> = told.collect();
    let (a, b) = (partition("a"), partition("b"));
    assert_eq!(
        told,
        [(&a, "i00000", 1), (&b, "i00000", 2), (&a, "i00000", 3)]
    );

    // What is blocked behind one does not wait behind the other.
    let parked = |at: usize, due| Parked {
        event: scanned[at].key,
        kind: Kind::Created,
        subject: scanned[at].subject.clone(),
        at: place.now(),
        attempts: 0,
        earlier: 0,
        due,
    };
    let rows = [(0, Some(place.now())), (1, None), (2, None)];
    let settling = Settling {
        parked: rows.map(|(at, due)| (lane.id, parked(at, due))).into(),
        ..Settling::default()
    };
    store.settle(settling).await.expect("settles");
    let next = store
        .next_blocked(lane.id, scanned[0].subject.clone())
        .await;
    let next = next.expect("reads").expect("is blocked");
    assert_eq!(next.event, scanned[2].key);
    let query = DeliveryQuery {
        state: DeliveryState::Pending,
        endpoint: name("ops"),
        hears: vec![(states[0].id, vec![Kind::Created])],
        after: None,
        limit: 1_000,
    };
    let listed = store.deliveries(query).await.expect("lists");
    let second = listed.iter().find(|row| row.id.event == scanned[1].key);
    let second = second.expect("is pending");
    assert_eq!((&second.partition, &*second.subject), (&b, "i00000"));
}

#[tokio::test]
async fn a_partition_that_left_is_kept_for_a_while_and_comes_back_as_it_was() {
    let place = Place::new();
    let store = place.open().await;
    let states = divided(&store, &["a", "b"]).await;
    for state in &states {
        let poll = place.poll(state, vec![created("1")]);
        store.commit(poll).await.expect("commits");
    }
    let stays = [states[0].snapshot].into();
    store.leave_others(stays).await.expect("leaves");
    place.wait(6 * DAY);
    store.retain().await.expect("retains");
    assert_eq!(subjects(&store, &states[1]).await, ["1"]);
    // Back, and away again: the time counts from then on.
    assert_eq!(divided(&store, &["a", "b"]).await[1].items, Some(1));
    store.leave(vec![states[1].snapshot]).await.expect("leaves");
    place.wait(6 * DAY);
    store.retain().await.expect("retains");
    assert_eq!(subjects(&store, &states[1]).await, ["1"]);
    place.wait(2 * DAY);
    store.retain().await.expect("retains");
    assert!(store.known(states[1].snapshot).await.is_err());
    assert_eq!(subjects(&store, &states[0]).await, ["1"]);

    let back = divided(&store, &["b"]).await;
    assert_eq!(back[0].items, None);
}

#[tokio::test]
async fn many_partitions_are_found_in_the_order_in_which_they_are_asked_for() {
    let place = Place::new();
    let store = place.open().await;
    let repos: Vec<String> = (0..5_000).map(|n| format!("r{n}")).collect();
    let repos: Vec<&str> = repos.iter().map(String::as_str).collect();
    let registered = divided(&store, &repos).await;
    let reversed: Vec<&str> = repos.iter().rev().copied().collect();
    let found = divided(&store, &reversed).await;
    assert!(found.iter().eq(registered.iter().rev()));
}
