//! What only this room can stage: unfinished polls, damage, a full disk.

use std::sync::Arc;

use super::commit::{Head, pack};
use super::numbering::Tally;
use super::*;
use crate::event::{EventKey, Kind, Partition};
use crate::store::tests::{DAY, Place, created, feed, many, put, source, subjects};
use crate::store::{Backend, Cursor, EventQuery, ItemChange, Mark, PollCommit, SourceState, Store};

fn sqlite(store: &Store) -> &Arc<Sqlite> {
    let Backend::Sqlite(sqlite) = &store.backend;
    sqlite
}

/// A large poll whose chunks are written but whose last transaction is not.
async fn begun(
    place: &Place,
    store: &Store,
    source: &SourceState,
    changes: Vec<ItemChange>,
) -> (Head, i64, Tally) {
    let poll: PollCommit = place.poll(source, Vec::new());
    let head = Head::of(poll).expect("packs");
    let begin = sqlite(store).begin(head.source, head.snapshot);
    let generation = begin.await.expect("begins");
    let mut tally = Tally::default();
    for chunk in changes.chunks(50) {
        let chunk = pack(chunk.to_vec(), 0).await.expect("packs");
        let first = tally.reserve(&chunk);
        let place = (head.snapshot, generation);
        let grown = sqlite(store)
            .write(50, move |connection| {
                large::add(connection, place, (&Partition::default(), first), &chunk)
            })
            .await;
        tally.grown += grown.expect("adds");
    }
    (head, generation, tally)
}

fn count(store: &Store, table: &str) -> i64 {
    let path = &sqlite(store).files.database;
    let connection = schema::open_reader(path).expect("opens");
    let sql = format!("SELECT count(*) FROM {table}");
    connection
        .query_one(&sql, [], |row| row.get(0))
        .expect("counts")
}

#[tokio::test]
async fn nobody_sees_half_of_a_large_poll() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let first = vec![created("a"), created("i00001")];
    store
        .commit(place.poll(&issues, first))
        .await
        .expect("commits");
    let position = *store.position().borrow();
    let (head, generation, tally) = begun(&place, &store, &issues, many(300)).await;
    assert_eq!(subjects(&store, &issues).await, ["a", "i00001"]);
    assert_eq!(source(&store, "issues").await.items, Some(2));
    assert_eq!(feed(&store, 100).await.len(), 2);
    assert_eq!(
        store
            .scan((issues.id, None), crate::event::EventKey::START, 999)
            .await
            .expect("scans")
            .len(),
        2
    );
    let hidden = crate::event::EventKey::new(generation, 0);
    assert!(store.load(vec![hidden]).await.expect("reads")[0].is_none());
    assert_eq!(*store.position().borrow(), position);
    // Other sources go on meanwhile.
    let other = source(&store, "other").await;
    store
        .commit(place.poll(&other, vec![created("x")]))
        .await
        .expect("commits");

    let committed = sqlite(&store)
        .finish(head, generation, tally)
        .await
        .expect("finishes");
    assert_eq!((committed.events, committed.first_sequence), (300, 3));
    assert_eq!(subjects(&store, &issues).await.len(), 301);
    assert_eq!(source(&store, "issues").await.items, Some(301));
    assert_eq!(feed(&store, 100).await.len(), 303);
}

#[tokio::test]
async fn large_poll_cut_off_before_its_end_leaves_nothing() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    store
        .commit(place.poll(&issues, many(3)))
        .await
        .expect("commits");
    begun(&place, &store, &issues, many(900)).await;
    assert_eq!(count(&store, "events"), 903);
    store.close().await;
    let store = place.open().await;
    assert_eq!(subjects(&store, &issues).await.len(), 3);
    for (table, rows) in [
        ("events", 3),
        ("items", 3),
        ("bodies", 3),
        ("superseded", 0),
    ] {
        assert_eq!(count(&store, table), rows, "{table}");
    }
    let committed = store
        .commit(place.poll(&issues, many(1)))
        .await
        .expect("commits");
    assert_eq!(committed.first_sequence, 4);
}

#[tokio::test]
async fn next_poll_of_the_source_removes_what_a_failed_one_left() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    begun(&place, &store, &issues, many(700)).await;
    let small = place.poll(&issues, vec![created("a")]);
    store.commit(small).await.expect("commits");
    assert_eq!(subjects(&store, &issues).await, ["a"]);
    begun(&place, &store, &issues, many(300)).await;
    store
        .commit(place.poll(&issues, many(600)))
        .await
        .expect("commits");
    assert_eq!(subjects(&store, &issues).await.len(), 601);
    assert_eq!(count(&store, "events"), 601);
    assert_eq!(count(&store, "unfinished"), 0);
}

#[tokio::test]
async fn sweep_leaves_one_row_for_each_item() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    store
        .commit(place.poll(&issues, many(600)))
        .await
        .expect("commits");
    store
        .commit(place.poll(&issues, many(700)))
        .await
        .expect("commits");
    // Closing does not wait for the sweep; the next start goes on with it.
    store.close().await;
    let store = place.open().await;
    while count(&store, "sweeps") > 0 {
        tokio::task::yield_now().await;
    }
    for (table, rows) in [("items", 700), ("bodies", 700), ("superseded", 0)] {
        assert_eq!(count(&store, table), rows, "{table}");
    }
    assert_eq!(subjects(&store, &issues).await.len(), 700);
    // The sweep is not flushed, and whatever follows it is.
    let read = |connection: &Connection| {
        Ok(connection.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0))?)
    };
    let full = 2;
    let level = sqlite(&store).write(1, read).await.expect("reads");
    assert_eq!(level, full);
}

#[tokio::test]
async fn damaged_text_is_noticed() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let long = format!("\"{}\"", "long ".repeat(1_000));
    let changes = vec![created("a"), put(Kind::Created, "b", &long)];
    let committed = store
        .commit(place.poll(&issues, changes))
        .await
        .expect("commits");
    let damage = |sql: &'static str| {
        sqlite(&store).write(1, move |connection| Ok(connection.execute_batch(sql)?))
    };
    damage("UPDATE bodies SET content = x'7b7d' WHERE form = 0")
        .await
        .expect("writes");
    damage("UPDATE events SET content = zeroblob(9) WHERE form > 0")
        .await
        .expect("writes");
    let body = store.bodies(issues.snapshot, vec!["a".into()]).await;
    assert!(matches!(body, Err(StoreError::Corrupt(_))), "{body:?}");
    let event = store.event(committed.ids[1]).await;
    assert!(matches!(event, Err(StoreError::Corrupt(_))), "{event:?}");
    assert!(store.event(committed.ids[0]).await.is_ok());
}

/// One damaged event must not stop those behind it, neither for a deliverer nor for a reader.
#[tokio::test]
async fn damaged_event_does_not_hide_its_neighbours() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let changes = vec![created("a"), created("b"), created("c")];
    let poll = place.poll(&issues, changes);
    let committed = store.commit(poll).await.expect("commits");
    let key = committed.ids[1].key().number();
    sqlite(&store)
        .write(1, move |connection| {
            let sql = "UPDATE events SET content = x'7b7d' WHERE key = ?1";
            Ok(connection.execute(sql, [key])?)
        })
        .await
        .expect("writes");
    let scanned = store.scan((issues.id, None), EventKey::START, 10).await;
    let scanned = scanned.expect("scans");
    let whole: Vec<bool> = scanned.iter().map(|found| found.event.is_some()).collect();
    assert_eq!(whole, [true, false, true]);
    let query = EventQuery {
        limit: 10,
        ..EventQuery::default()
    };
    let page = store.events(query).await.expect("a page");
    let sequences: Vec<u64> = page.events.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, [1, 2, 3]);
    assert!(page.events[1].body().contains(r#""damaged":true"#));
}

/// A read that panics gives its connection back: after as many as there are, reads go on.
#[tokio::test]
async fn panicking_reads_leave_the_readers_whole() {
    let place = Place::new();
    let store = place.open().await;
    for _ in 0..10 {
        let read = sqlite(&store).read(|_| -> Result<(), StoreError> { panic!("on purpose") });
        assert!(matches!(read.await, Err(StoreError::Database(_))));
    }
    assert!(store.disabled().await.is_ok());
}

/// A cursor that this history never gave out: the store was deleted or restored meanwhile.
#[tokio::test]
async fn cursor_of_another_history_is_gone() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let poll = place.poll(&issues, vec![created("a")]);
    store.commit(poll).await.expect("commits");
    let after = |cursor: &str| EventQuery {
        after: Some(cursor.parse().expect("a cursor")),
        limit: 1,
        ..EventQuery::default()
    };
    assert!(store.events(after("c1.0")).await.is_ok());
    let gone = store.events(after("c7.0")).await;
    assert!(matches!(gone, Err(StoreError::Gone(_))), "{gone:?}");
    assert!("c1.7fffffffffffffff".parse::<Cursor>().is_err());
}

#[tokio::test]
async fn full_disk_acknowledges_nothing_and_passes() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    store
        .commit(place.poll(&issues, vec![created("a")]))
        .await
        .expect("commits");
    let limit = |pages: i64| {
        sqlite(&store).write(1, move |connection| {
            let count: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
            let sql = format!("PRAGMA max_page_count = {}", count + pages);
            connection.query_one(&sql, [], |_| Ok(()))?;
            Ok(())
        })
    };
    limit(2).await.expect("limits");
    let noise: String = (0..200_000).map(|_| fastrand::alphanumeric()).collect();
    let large = put(Kind::Created, "b", &noise);
    let both = tokio::join!(
        store.commit(place.poll(&issues, vec![large.clone()])),
        store.commit(place.poll(&issues, many(2_000))),
    );
    assert!(matches!(both.0, Err(StoreError::Full)), "{both:?}");
    assert!(matches!(both.1, Err(StoreError::Full)), "{both:?}");
    assert_eq!(subjects(&store, &issues).await, ["a"]);
    assert_eq!(feed(&store, 100).await.len(), 1);

    limit(1_000_000).await.expect("limits");
    let committed = store
        .commit(place.poll(&issues, vec![large]))
        .await
        .expect("commits");
    assert_eq!(committed.first_sequence, 2);
    assert_eq!(subjects(&store, &issues).await, ["a", "b"]);
    assert_eq!(count(&store, "unfinished"), 0);
}

#[tokio::test]
async fn of_a_partition_that_left_nothing_stays_behind() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let mut poll = place.poll(&issues, many(2_500));
    poll.marks = vec![Mark {
        subject: "gone".into(),
        since: Some(place.now()),
    }];
    store.commit(poll).await.expect("commits");
    let other = source(&store, "other").await;
    let poll = place.poll(&other, many(3));
    store.commit(poll).await.expect("commits");
    store.leave(vec![issues.snapshot]).await.expect("leaves");
    place.wait(8 * DAY);
    store.retain().await.expect("retains");
    for (table, rows) in [("snapshots", 1), ("items", 3), ("bodies", 3), ("unseen", 0)] {
        assert_eq!(count(&store, table), rows, "{table}");
    }
}
