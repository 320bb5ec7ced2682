//! Endpoints that were made over the API: what is kept of them, and for how long.

use super::*;
use crate::secret::Secret;

fn made(place: &Place, secrets: &[(&str, Option<Duration>)]) -> StoredEndpoint {
    let secret = |(secret, until): &(&str, Option<Duration>)| StoredSecret {
        secret: Secret::new((*secret).to_owned()),
        until: until.map(|until| place.now().plus(until)),
    };
    StoredEndpoint {
        name: name("crm"),
        definition: Secret::new(r#"{"url":"https://crm.example/"}"#.to_owned()),
        secrets: secrets.iter().map(secret).collect(),
        created_at: place.now(),
        changed_at: place.now(),
    }
}

async fn secrets(store: &Store) -> Vec<String> {
    let endpoints = store.endpoints().await.expect("reads");
    let secrets = endpoints.iter().flat_map(|endpoint| &endpoint.secrets);
    secrets
        .map(|secret| secret.secret.expose().to_owned())
        .collect()
}

#[tokio::test]
async fn what_was_made_is_there_after_a_restart_until_it_is_deleted() {
    let place = Place::new();
    let store = place.open().await;
    let first = made(&place, &[("a", None)]);
    store.keep_endpoint(first.clone()).await.expect("keeps");
    place.wait(DAY);
    let mut changed = made(&place, &[("b", None), ("a", Some(DAY))]);
    changed.created_at = first.created_at;
    changed.definition = Secret::new("{}".to_owned());
    store.keep_endpoint(changed.clone()).await.expect("keeps");
    store.close().await;
    let store = place.open().await;
    let endpoints = store.endpoints().await.expect("reads");
    let kept = &endpoints[0];
    assert_eq!((endpoints.len(), kept.definition.expose()), (1, "{}"));
    assert_eq!(
        (kept.created_at, kept.changed_at),
        (first.created_at, changed.changed_at)
    );
    assert_eq!(secrets(&store).await, ["b", "a"]);
    assert!(!format!("{kept:?}").contains("\"a\""), "{kept:?}");
    store.delete_endpoint(&kept.name).await.expect("deletes");
    assert!(store.endpoints().await.expect("reads").is_empty());
}

#[tokio::test]
async fn a_secret_that_signs_no_more_is_not_told_and_soon_not_there() {
    let place = Place::new();
    let store = place.open().await;
    let endpoint = made(&place, &[("new", None), ("old", Some(DAY))]);
    store.keep_endpoint(endpoint).await.expect("keeps");
    place.wait(Duration::from_millis(86_399_999));
    store.retain().await.expect("retains");
    assert_eq!(secrets(&store).await, ["new", "old"]);
    place.wait(Duration::from_millis(1));
    assert_eq!(secrets(&store).await, ["new"]);
    store.retain().await.expect("retains");
    store.close().await;
    let connection = rusqlite::Connection::open(place.settings().path).expect("opens");
    let sql = "SELECT count(*) FROM endpoint_secrets";
    let count: i64 = connection
        .query_one(sql, [], |row| row.get(0))
        .expect("counts");
    assert_eq!(count, 1);
}

#[tokio::test]
async fn one_that_is_made_again_is_switched_on_and_one_that_is_changed_stays_as_it_was() {
    let place = Place::new();
    let store = place.open().await;
    let crm = name("crm");
    let endpoint = made(&place, &[("a", None)]);
    store.keep_endpoint(endpoint.clone()).await.expect("keeps");
    store.disable(&crm).await.expect("disables");
    store.pause(&crm).await.expect("pauses");
    store.keep_endpoint(endpoint.clone()).await.expect("keeps");
    let standing = async || {
        let (disabled, paused) = (store.disabled().await, store.paused().await);
        (disabled.expect("reads").len(), paused.expect("reads").len())
    };
    assert_eq!(standing().await, (1, 1));
    store.delete_endpoint(&crm).await.expect("deletes");
    // What was in flight may end so.
    store.disable(&crm).await.expect("disables");
    store.keep_endpoint(endpoint).await.expect("keeps");
    assert_eq!(standing().await, (0, 0));
}

/// Lanes of an endpoint that a file has lost wait for it; one that was deleted does not come back.
#[tokio::test]
async fn nothing_is_left_of_a_deleted_endpoint_once_its_history_has_gone() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let own = lane(&store, "crm", &issues).await;
    let other = lane(&store, "ops", &issues).await;
    let endpoint = made(&place, &[("a", None)]);
    store.keep_endpoint(endpoint).await.expect("keeps");
    store
        .commit(place.poll(&issues, many(2)))
        .await
        .expect("commits");
    let events = scan(&store, &issues).await;
    let passed = store.settle(up_to(&other, &events[1])).await;
    passed.expect("settles");
    let accepted = settled(&own, &events[0], 1, Then::Delivered);
    store
        .settle(settling(vec![accepted]))
        .await
        .expect("settles");
    let failed = settled(&own, &events[1], 1, Then::Retry(place.now()));
    store.settle(settling(vec![failed])).await.expect("settles");

    store.delete_endpoint(&name("crm")).await.expect("deletes");
    let left = async || {
        let connection = rusqlite::Connection::open(place.settings().path).expect("opens");
        let sql = "SELECT count(*), (SELECT count(*) FROM deleted_endpoints) FROM lanes";
        let counts = connection.query_one(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
        counts.expect("counts")
    };
    store.hear_only(&name("crm"), &[]).await.expect("leaves");
    store.retain().await.expect("retains");
    assert_eq!(left().await, (2_i64, 1_i64), "its history is still there");
    let waiting = store.waiting(own.id, 9).await.expect("reads");
    assert_eq!(waiting.len(), 1);
    let in_the_way = store.waiting_count(&name("crm")).await.expect("reads");
    assert_eq!(in_the_way, 0, "of one that is not heard any more");
    place.wait(8 * DAY);
    store.retain().await.expect("retains");
    store.retain().await.expect("retains");
    assert_eq!(left().await, (1, 0));
}

#[tokio::test]
async fn what_is_not_heard_any_more_holds_nothing_back_from_retention() {
    let place = Place::new();
    let store = place.open().await;
    let (issues, builds) = (
        source(&store, "issues").await,
        source(&store, "builds").await,
    );
    for source in [&issues, &builds] {
        lane(&store, "crm", source).await;
        store
            .commit(place.poll(source, many(3)))
            .await
            .expect("commits");
    }
    place.wait(8 * DAY);
    assert_eq!(store.retain().await.expect("retains").events, 0);
    let hear_only = store.hear_only(&name("crm"), &[builds.id]).await;
    hear_only.expect("leaves");
    assert_eq!(store.retain().await.expect("retains").events, 3);
    assert_eq!(scan(&store, &builds).await.len(), 3);
}

/// Numbers of lanes are used again, so that one with something left keeps its own.
#[tokio::test]
async fn a_lane_that_was_told_something_goes_after_what_it_was_told() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    store
        .commit(place.poll(&issues, many(2)))
        .await
        .expect("commits");
    let late = lane(&store, "crm", &issues).await;
    let (crm, wanted) = (name("crm"), vec![(issues.id, Kind::Created)]);
    let begun = store.begin_backfills(&crm, wanted.clone()).await;
    assert_eq!(begun.expect("writes"), Backfillable::Begun);
    let step = store.backfill(late.id).await.expect("steps");
    assert_eq!(step, BackfillStep::Ended(2));
    store.delete_endpoint(&crm).await.expect("deletes");
    store.hear_only(&crm, &[]).await.expect("leaves");
    // As when both are asked for at once.
    let brief = name("brief");
    lane(&store, "brief", &issues).await;
    store.delete_endpoint(&brief).await.expect("deletes");
    let begun = store.begin_backfills(&brief, wanted).await;
    assert_eq!(begun.expect("writes"), Backfillable::Begun);
    store.hear_only(&brief, &[]).await.expect("leaves");
    store.retain().await.expect("retains");
    let left = async || {
        let connection = rusqlite::Connection::open(place.settings().path).expect("opens");
        let sql = "SELECT (SELECT count(*) FROM lanes), (SELECT count(*) FROM backfills)";
        let left = connection.query_one(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
        left.expect("counts")
    };
    assert_eq!(
        left().await,
        (1, 0),
        "what waits to be told is gone with its lane"
    );
    let other = lane(&store, "other", &issues).await;
    assert_ne!(other.id, late.id, "it would hear what the other was told");
    place.wait(8 * DAY);
    store.retain().await.expect("retains");
    store.retain().await.expect("retains");
    assert_eq!(left().await, (1, 0), "the other one's");
}

/// Method: retention comes between the making's first step, which drops the backlog, and its last.
#[tokio::test]
async fn lanes_of_an_endpoint_that_is_being_made_again_stay() {
    let place = Place::new();
    let store = place.open().await;
    let issues = source(&store, "issues").await;
    let before = lane(&store, "crm", &issues).await;
    let endpoint = made(&place, &[("a", None)]);
    store.keep_endpoint(endpoint).await.expect("keeps");
    store.delete_endpoint(&name("crm")).await.expect("deletes");
    store.hear_only(&name("crm"), &[]).await.expect("leaves");
    store.drop_backlog(&name("crm")).await.expect("drops");
    store.retain().await.expect("retains");
    lane(&store, "other", &issues).await;
    assert_eq!(lane(&store, "crm", &issues).await.id, before.id);
}
