//! Incremental listings: what changed since, with no tie, no late arrival and no crash in which
//! anything is lost or told twice.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{
    Clocked, Comparing, Doorbell, Receiver, SECRET, Showing, Story, by_id, is_proving, wait_until,
};

fn config(clocked: &Clocked, receiver: &Receiver, cursor: &str) -> String {
    format!(
        r#"
[upstreams.api]
url = "{clocked}"
[endpoints.ops]
url = "{receiver}/ops"
secrets = ["{SECRET}"]
allow_private = true
[sources.list]
upstream = "api"
path = "/list"
every = "manual"
items = "$.data[*]"
id = "$.id"
baseline = "emit"
paginate = {{ by = "cursor", at = "$.next", param = "page" }}
cursor = {{ from = "$.updated_at", param = "since"{cursor} }}
"#
    )
}

/// What the receiver knows in the end must be what the upstream has.
async fn assert_all_told(doorbell: &Doorbell, receiver: &Receiver, clocked: &Clocked) {
    let told = doorbell.metrics().await;
    let told = told.value("doorbell_events_total", &[("source", "list")]);
    wait_until("all events came", async || {
        let ids: BTreeSet<String> = receiver.rings().into_iter().map(|ring| ring.id).collect();
        (ids.len() as f64 >= told).then_some(())
    })
    .await;
    doorbell.until_delivered("ops").await;
    let known = Story::of("list", &receiver.rings()).told_to(&[]);
    assert_eq!(known, by_id(&clocked.items()));
}

/// Method: items are written in bursts that share a tick of the clock, with polls in the middle of
/// bursts, over clocks of every precision, against upstreams that compare either way.
#[tokio::test]
async fn ties_lose_nothing_on_clocks_of_every_precision() {
    let rounds = if is_proving() { 200 } else { 25 };
    for showing in [
        Showing::Millis,
        Showing::Seconds,
        Showing::Minutes,
        Showing::Epoch,
        Showing::Plain,
    ] {
        for comparing in [Comparing::Inclusive, Comparing::Exclusive] {
            let clocked = Clocked::showing(showing, comparing).await;
            let receiver = Receiver::accepting().await;
            let doorbell = Doorbell::start(&config(&clocked, &receiver, "")).await;
            let mut random = fastrand::Rng::with_seed(showing as u64);
            for round in 0..rounds {
                clocked.pass(random.i64(0..20_000));
                for _ in 0..random.usize(0..4) {
                    clocked.write(random.u64(0..12), round);
                    if random.bool() {
                        let polled = doorbell.poll("list").await;
                        assert_ne!(polled["outcome"], "error", "{showing:?}: {polled}");
                    }
                }
            }
            doorbell.poll("list").await;
            let quiet = doorbell.poll("list").await;
            assert_eq!(quiet["events"], 0, "{showing:?} {comparing:?}: {quiet}");
            assert_all_told(&doorbell, &receiver, &clocked).await;
            let asked = clocked.asked();
            assert_eq!(asked[0], None, "the first listing is whole");
            let listed_whole = asked.iter().filter(|since| since.is_none()).count();
            assert!(listed_whole * 4 < asked.len(), "{showing:?}: {asked:?}");
        }
    }
}

#[tokio::test]
async fn what_arrives_late_is_seen_within_the_lookback() {
    let clocked = Clocked::showing(Showing::Seconds, Comparing::Exclusive).await;
    let receiver = Receiver::accepting().await;
    let cursor = ", lookback = \"2m\"";
    let doorbell = Doorbell::start(&config(&clocked, &receiver, cursor)).await;
    clocked.pass(600_000);
    clocked.write(1, 0);
    doorbell.poll("list").await;
    clocked.appears(2, 0, 119_000);
    assert_eq!(doorbell.poll("list").await["events"], 1);
    // Beyond it nobody looks, and that is what the lookback is for.
    clocked.appears(3, 0, 121_000);
    assert_eq!(doorbell.poll("list").await["events"], 0);
    let asked = clocked.asked();
    let expected = "2026-01-05T10:08:00Z";
    assert_eq!(asked.last(), Some(&Some(expected.to_owned())), "{asked:?}");
}

#[tokio::test]
async fn the_cursor_is_on_disk_with_the_events() {
    let clocked = Clocked::showing(Showing::Seconds, Comparing::Inclusive).await;
    let receiver = Receiver::accepting().await;
    let mut doorbell = Doorbell::start(&config(&clocked, &receiver, "")).await;
    for round in 0..5 {
        for id in 0..4 {
            clocked.pass(1_000);
            clocked.write(id, round);
        }
        let polled = doorbell.poll("list").await;
        assert_eq!(polled["events"], 4, "{polled}");
        let before = clocked.asked().len();
        doorbell = doorbell.kill().await.restart().await;
        let again = doorbell.poll("list").await;
        assert_eq!(again["events"], 0, "{again}");
        let asked = clocked.asked();
        assert!(
            asked[before..].iter().all(Option::is_some),
            "a restart goes on where it was: {asked:?}"
        );
    }
    assert_all_told(&doorbell, &receiver, &clocked).await;
}

#[tokio::test]
async fn a_listing_that_begins_now_rings_what_is_new() {
    let clocked = Clocked::showing(Showing::Seconds, Comparing::Inclusive).await;
    let receiver = Receiver::accepting().await;
    let cursor = ", initial = \"{{now}}\"";
    let doorbell = Doorbell::start(&config(&clocked, &receiver, cursor)).await;
    clocked.write(1, 0);
    for _ in 0..3 {
        assert_eq!(doorbell.poll("list").await["events"], 0);
    }
    let asked = clocked.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked[0].is_some(), "{asked:?}");
    assert!(
        asked.iter().all(|since| *since == asked[0]),
        "what came between two polls is not skipped: {asked:?}"
    );
    // The upstream's clock goes past the present.
    clocked.pass(10 * 366 * 86_400_000);
    clocked.write(2, 0);
    assert_eq!(doorbell.poll("list").await["events"], 1);
    assert_eq!(doorbell.poll("list").await["events"], 0);
    let last = clocked.asked().pop().flatten().expect("it goes on");
    let year: i32 = last[..4].parse().expect("a year");
    assert!(year < 2036, "an item from the future hides nothing: {last}");
}

/// Method: the oldest item is written anew between two pages, so that all others move up by one and
/// the first of the second page is on neither. Its time is before the cursor from then on.
#[tokio::test]
async fn an_item_that_moves_over_the_edge_of_a_page_is_not_left_behind() {
    for moves in 1..4 {
        let clocked = Clocked::showing(Showing::Seconds, Comparing::Inclusive).await;
        let receiver = Receiver::accepting().await;
        let doorbell = Doorbell::start(&config(&clocked, &receiver, "")).await;
        for id in 0..10 {
            clocked.pass(60_000);
            clocked.write(id, 0);
        }
        clocked.moves_while_read(moves);
        doorbell.poll("list").await;
        clocked.moves_while_read(0);
        doorbell.poll("list").await;
        assert_all_told(&doorbell, &receiver, &clocked).await;
    }
}

#[tokio::test]
async fn what_is_missing_from_a_listing_stays() {
    let clocked = Clocked::showing(Showing::Seconds, Comparing::Inclusive).await;
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&config(&clocked, &receiver, "")).await;
    for id in 0..10 {
        clocked.pass(60_000);
        clocked.write(id, 0);
    }
    assert_eq!(doorbell.poll("list").await["events"], 10);
    clocked.pass(60_000);
    clocked.write(0, 1);
    assert_eq!(doorbell.poll("list").await["events"], 1);
    let metrics = doorbell.metrics().await;
    let items = metrics.value("doorbell_source_items", &[("source", "list")]);
    assert_eq!(items, 10.0);
    let rings = receiver.until_accepted(11).await;
    let last = &rings[rings.len() - 1].event;
    assert_eq!(last["type"], "list.updated");
    assert_eq!(last["data"]["previous"]["words"], json!(0));
    let known: Vec<&Value> = rings.iter().map(|ring| &ring.event["type"]).collect();
    assert!(known[..10].iter().all(|kind| **kind == "list.created"));
}
