//! The pull feed.

use super::*;

fn query(source: Option<&str>, kind: Option<Kind>, after: Option<Cursor>) -> EventQuery {
    EventQuery {
        source: source.map(str::to_owned),
        kind,
        after,
        limit: 2,
    }
}

async fn read(store: &Store, query: EventQuery) -> (Vec<String>, Cursor) {
    let page = store.events(query).await.expect("reads");
    let subjects = page.events.iter().map(|event| event.subject.to_string());
    (subjects.collect(), page.next)
}

#[tokio::test]
async fn pages_follow_one_another_and_wait_for_what_comes() {
    let place = Place::new();
    let store = place.open().await;
    let (a, b) = (source(&store, "a").await, source(&store, "b").await);
    let changes = vec![created("1"), created("2"), created("3")];
    store
        .commit(place.poll(&a, changes))
        .await
        .expect("commits");
    store
        .commit(place.poll(&b, vec![created("4")]))
        .await
        .expect("commits");
    let (page, next) = read(&store, query(None, None, None)).await;
    assert_eq!(page, ["1", "2"]);
    let next: Cursor = next.to_string().parse().expect("a cursor");
    let (page, next) = read(&store, query(None, None, Some(next))).await;
    assert_eq!(page, ["3", "4"]);
    let (page, next) = read(&store, query(None, None, Some(next))).await;
    assert!(page.is_empty());
    store
        .commit(place.poll(&a, vec![created("5")]))
        .await
        .expect("commits");
    let (page, _) = read(&store, query(None, None, Some(next))).await;
    assert_eq!(page, ["5"]);
}

#[tokio::test]
async fn feed_is_filtered_by_source_and_kind() {
    let place = Place::new();
    let store = place.open().await;
    let (a, b) = (source(&store, "a").await, source(&store, "b").await);
    store
        .commit(place.poll(&a, vec![created("1")]))
        .await
        .expect("commits");
    store
        .commit(place.poll(&b, vec![created("2")]))
        .await
        .expect("commits");
    let changes = vec![deleted("1"), created("3")];
    store
        .commit(place.poll(&a, changes))
        .await
        .expect("commits");
    assert_eq!(
        read(&store, query(Some("a"), None, None)).await.0,
        ["1", "1"]
    );
    let (page, next) = read(&store, query(None, Some(Kind::Deleted), None)).await;
    assert_eq!(page, ["1"]);
    assert!(
        read(&store, query(None, None, Some(next)))
            .await
            .0
            .is_empty()
    );
    let both = query(Some("a"), Some(Kind::Created), None);
    assert_eq!(read(&store, both).await.0, ["1", "3"]);
    assert!(
        read(&store, query(Some("none"), None, None))
            .await
            .0
            .is_empty()
    );
    assert!(
        read(&store, query(Some("doorbell"), None, None))
            .await
            .0
            .is_empty()
    );
}
