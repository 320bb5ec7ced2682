//! Who may open a store, and what closing it keeps.

use super::*;

#[tokio::test]
async fn second_open_is_refused_naming_the_holder() {
    let place = Place::new();
    let store = place.open().await;
    let refused = place.try_open().await.expect_err("one at a time");
    let StoreError::Locked { holder, path } = &refused else {
        panic!("{refused}");
    };
    assert_eq!(*holder, std::process::id().to_string());
    assert_eq!(*path, place.settings().path);
    let path = place.settings().path;
    let link = path.with_file_name("link.db");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    let linked = config::Store {
        path: link,
        ..place.settings().clone()
    };
    let metrics = StoreMetrics::new(&Metrics::new());
    let refused = Store::open(&linked, Clock::system(), metrics).await;
    assert!(
        matches!(refused, Err(StoreError::Locked { .. })),
        "{refused:?}"
    );
    store.close().await;
    place.open().await.close().await;
}

#[tokio::test]
async fn a_lock_that_is_a_link_is_not_followed() {
    let place = Place::new();
    let path = place.settings().path;
    let other = path.with_file_name("other");
    std::fs::write(&other, "kept").expect("writes");
    let link = path.with_extension("db.lock");
    std::os::unix::fs::symlink(&other, &link).expect("a link");
    let refused = place.try_open().await.expect_err("it is a link");
    assert!(refused.to_string().contains(".lock"), "{refused}");
    assert_eq!(std::fs::read_to_string(&other).expect("reads"), "kept");
}

#[tokio::test]
async fn store_of_a_newer_doorbell_is_refused_and_left_alone() {
    let place = Place::new();
    place.open().await.close().await;
    let path = place.settings().path;
    let other = rusqlite::Connection::open(&path).expect("opens");
    other
        .pragma_update(None, "user_version", 99)
        .expect("writes");
    drop(other);
    let refused = place.try_open().await.expect_err("newer");
    assert!(
        matches!(refused, StoreError::Newer { found: 99, .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn database_of_another_program_is_refused() {
    let place = Place::new();
    let other = rusqlite::Connection::open(place.settings().path).expect("opens");
    other
        .execute_batch("CREATE TABLE theirs(x)")
        .expect("writes");
    drop(other);
    assert!(place.try_open().await.is_err());
}

#[tokio::test]
async fn everything_handed_in_outlives_the_last_clone() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let poll = place.poll(&issues, vec![created("a")]);
    store.commit(poll).await.expect("commits");
    let clone = store.clone();
    drop(store);
    assert_eq!(subjects(&clone, &issues).await, ["a"]);
    drop(clone);
    let store = place.open().await;
    assert_eq!(subjects(&store, &issues).await, ["a"]);
    assert!(store.size_bytes().await.expect("reads") > 4096);
}

#[tokio::test]
async fn clones_of_a_closed_store_say_so() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    store.clone().close().await;
    let read = store.known(issues.snapshot).await;
    assert!(matches!(read, Err(StoreError::Closed)), "{read:?}");
    let written = store.commit(place.poll(&issues, Vec::new())).await;
    assert!(matches!(written, Err(StoreError::Closed)), "{written:?}");
}

#[tokio::test]
async fn sources_keep_their_numbers_and_memory() {
    let place = Place::new();
    let store = place.open().await;
    let before = store
        .sources(&[name("b"), name("a")])
        .await
        .expect("registers");
    assert_eq!(before[0].items, None);
    assert!(before.iter().all(|state| state.id != SourceId::OPERATIONAL));
    let mut poll = place.poll(&before[1], Vec::new());
    poll.memory.failures = 3;
    poll.memory.validators.etag = Some("\"x\"".to_owned());
    let memory = poll.memory.clone();
    store.commit(poll).await.expect("commits");
    store.close().await;
    let store = place.open().await;
    let after = store
        .sources(&[name("a"), name("c"), name("b")])
        .await
        .expect("reads");
    assert_eq!((after[0].id, after[2].id), (before[1].id, before[0].id));
    assert_eq!((&after[0].memory, after[0].items), (&memory, Some(0)));
    assert_eq!(after[2], before[0]);
}

/// As the first doorbell left it: one source, one item, a poll that its guard held.
#[tokio::test]
async fn a_store_of_the_first_schema_is_brought_up_to_date() {
    let place = Place::new();
    let old = rusqlite::Connection::open(place.settings().path).expect("opens");
    old.execute_batch(include_str!("../sqlite/schema_1.sql"))
        .expect("the first schema");
    let memory = r#"{"failures":2,"held":{"walk":"01010101010101010101010101010101","polls":1}}"#;
    old.execute_batch(&format!(
        "PRAGMA application_id = 0x646f6f72; PRAGMA user_version = 1;
        INSERT INTO sources(id, name, sequence) VALUES (1, 'issues', 7);
        INSERT INTO snapshots(id, source, settled, items, memory) VALUES (1, 1, 1, 1, '{memory}');
        INSERT INTO items(snapshot, subject, generation, digest) VALUES (1, 'a', 0, zeroblob(16));"
    ))
    .expect("writes");
    drop(old);

    let store = place.open().await;
    let issues = source(&store, "issues").await;
    assert_eq!((issues.items, issues.memory.failures), (Some(1), 2));
    assert_eq!(issues.memory.held.map(|held| held.polls), Some(1));
    assert_eq!(subjects(&store, &issues).await, ["a"]);
    let mut poll = place.poll(&issues, vec![created("b")]);
    poll.marks = vec![Mark {
        subject: "a".into(),
        since: Some(place.now()),
    }];
    let committed = store.commit(poll).await.expect("commits");
    assert_eq!(committed.first_sequence, 8);
}
