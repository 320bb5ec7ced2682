//! A new endpoint is told what there is.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{
    Behaviour, Doorbell, Receiver, Ring, SECRET, Story, Upstream, by_id, get, post, send, tickets,
    wait_until,
};

/// More than may wait for one endpoint, which is [`WAITING`].
const ITEMS: usize = 6_000;
const WAITING: u64 = 4_096;

fn item(id: usize, words: &str) -> Value {
    json!({"id": format!("{id:05}"), "words": words})
}

/// The endpoint that comes late.
fn late(receiver: &Receiver) -> String {
    format!(
        r#"
[endpoints.late]
url = "{receiver}/late"
secrets = ["{SECRET}"]
retry = ["10ms", "10ms", "10ms", "10ms", "10ms", "10ms", "10ms", "10ms", "10ms", "10ms"]
allow_private = true
"#
    )
}

async fn told(doorbell: &Doorbell) -> Option<u64> {
    let progress = get(doorbell, "endpoints/late/backfill").await;
    progress["backfills"][0]["told"].as_u64()
}

/// What somebody knows who believed each of these, in the order of their ids.
fn known(rings: &[Ring]) -> BTreeMap<String, Value> {
    let by_id: BTreeMap<&str, &Ring> = rings.iter().map(|ring| (&*ring.id, ring)).collect();
    let mut known = BTreeMap::new();
    for ring in by_id.into_values() {
        match ring.event["data"].get("current") {
            Some(current) => known.insert(ring.subject().to_owned(), current.clone()),
            None => known.remove(ring.subject()),
        };
    }
    known
}

/// What is told is promised as all that rings is: an id has one body, an item's events keep their
/// order, and an item is told once.
fn assert_told_once_in_order(rings: &[Ring]) {
    let mut bodies: BTreeMap<&str, &[u8]> = BTreeMap::new();
    let (mut newest, mut once) = (BTreeMap::new(), BTreeMap::new());
    for ring in rings {
        let body = bodies.entry(&ring.id).or_insert(&ring.body);
        assert_eq!(*body, &ring.body[..], "{} came with two bodies", ring.id);
        if ring.event["data"]["cause"] == "backfill" {
            assert_eq!(ring.event_type(), "tickets.created");
            let id = once.entry(ring.subject()).or_insert(&ring.id);
            assert_eq!(*id, &ring.id, "{} was told twice", ring.subject());
        }
        // Ids ascend as events were committed; one that comes again is no news.
        let newest = newest.entry(ring.subject()).or_insert(&ring.id);
        let is_known = rings
            .iter()
            .any(|one| one.id == ring.id && one.arrived < ring.arrived);
        assert!(is_known || **newest <= ring.id, "{} came late", ring.event);
        *newest = (&ring.id).max(*newest);
    }
}

/// Method: the endpoint joins a list that was polled long ago, and takes nothing at first. Items
/// change, come and go before their turn, while it is told, and after; the process is killed while
/// it tells and while it waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_endpoint_is_told_every_item_once_over_kills_and_nobody_else_hears_it() {
    let list: Vec<Value> = (0..ITEMS).map(|id| item(id, "old")).collect();
    let upstream = Upstream::serving("/tickets", list).await;
    let (ops, new) = (Receiver::accepting().await, Receiver::refusing().await);
    new.now(Behaviour::Stalling);
    let doorbell = Doorbell::start(&tickets(&upstream, &ops, "")).await;
    doorbell.poll("tickets").await;
    let corpse = doorbell.kill().await;
    let corpse = corpse.with("[endpoints.ops]", &(late(&new) + "[endpoints.ops]"));
    let doorbell = corpse.restart().await;
    let ask = json!({"from": "snapshot"});
    let (status, answer) = post(&doorbell, "endpoints/late/backfill", ask.clone()).await;
    let begun = &answer["backfills"][0];
    assert_eq!(
        (status, &begun["source"]),
        (202, &json!("tickets")),
        "{answer}"
    );
    assert_eq!(begun["items"], ITEMS, "{answer}");
    let (status, answer) = post(&doorbell, "endpoints/late/backfill", ask).await;
    assert_eq!(status, 409, "{answer}");

    let change = async |doorbell: &Doorbell, words: &str| {
        upstream.change("/tickets", |list| {
            for at in [0, 1, 2_000, 4_000, ITEMS - 10] {
                list[at] = item(at, words);
            }
            list.pop();
            list.push(json!({"id": format!("new {words}"), "words": words}));
        });
        doorbell.poll("tickets").await;
    };
    change(&doorbell, "first").await;
    wait_until("some are told", async || {
        (told(&doorbell).await? > 0).then_some(())
    })
    .await;
    let doorbell = doorbell.kill().await.restart().await;
    let waits = wait_until("enough are told", async || {
        told(&doorbell).await.filter(|told| *told >= WAITING)
    })
    .await;
    change(&doorbell, "second").await;
    let doorbell = doorbell.kill().await.restart().await;
    let same = told(&doorbell).await;
    assert_eq!(same, Some(waits), "and no more before they are taken");
    new.now(Behaviour::RefusingEach(3));
    wait_until("all are told", async || {
        told(&doorbell).await.is_none().then_some(())
    })
    .await;
    change(&doorbell, "third").await;
    doorbell.until_delivered("late").await;

    let rings = new.rings();
    assert_told_once_in_order(&rings);
    assert_eq!(known(&rings), by_id(&upstream.list("/tickets")));
    doorbell.until_delivered("ops").await;
    let others = ops.rings();
    let is_poll = |ring: &Ring| ring.event["data"]["cause"] == "poll";
    assert!(others.iter().all(is_poll), "nobody else hears of it");
    let story = Story::of("tickets", &others);
    assert_eq!(story.len(), 3 * 5 + 3 + 3, "changed, gone and new");
    let feed = get(&doorbell, "events?limit=1000").await;
    let feed = feed["events"].as_array().expect("a list");
    assert_eq!(feed.len(), story.len());
}

/// A list, a document and a list of which only digests are kept, all polled. `ops` hears nothing of
/// what there is.
async fn of_all_sorts(ops: &Receiver, new: &Receiver) -> (Upstream, Doorbell) {
    let upstream = Upstream::serving("/tickets", vec![item(1, "one"), item(2, "two")]).await;
    upstream.also_serving("/page", vec![json!("some"), json!("document")]);
    upstream.also_serving("/large", vec![item(3, "three")]);
    let more = r#"
[sources.page]
upstream = "tracker"
path = "/page"
every = "manual"
[sources.large]
upstream = "tracker"
path = "/large"
every = "manual"
items = "$[*]"
id = "$.id"
keep = "digests"
"#;
    let events = "events = [\"tickets.updated\"]\n[sources";
    let config = tickets(&upstream, ops, "").replace("[sources", events);
    let doorbell = Doorbell::start(&(config + more + &late(new))).await;
    for source in ["tickets", "page", "large"] {
        doorbell.poll(source).await;
    }
    (upstream, doorbell)
}

#[tokio::test]
async fn documents_and_bare_digests_are_told_too() {
    let (ops, new) = (Receiver::accepting().await, Receiver::accepting().await);
    let (_upstream, doorbell) = of_all_sorts(&ops, &new).await;
    let begin = async |ask: Value| {
        let (status, answer) = post(&doorbell, "endpoints/late/backfill", ask).await;
        assert_eq!(status, 202, "{answer}");
    };
    begin(json!({"from": "snapshot", "sources": ["page", "large", "page"]})).await;
    new.until_accepted(2).await;
    wait_until("all are told", async || {
        told(&doorbell).await.is_none().then_some(())
    })
    .await;
    begin(json!({"from": "snapshot"})).await;
    let rings = new.until_accepted(2 + 4).await;
    let mut told: Vec<(&str, &str, Option<&Value>)> = Vec::new();
    for ring in &rings {
        let current = ring.event["data"].get("current");
        told.push((ring.event_type(), ring.subject(), current));
        assert!(ring.event["data"]["digest"].is_string() && ring.sequence() == 0);
    }
    told.sort_by_key(|(event_type, subject, _)| (*event_type, *subject));
    let (one, two) = (item(1, "one"), item(2, "two"));
    let page = json!(["some", "document"]);
    let expected = [
        ("large.created", "00003", None),
        ("large.created", "00003", None),
        ("page.changed", "", Some(&page)),
        ("page.changed", "", Some(&page)),
        ("tickets.created", "00001", Some(&one)),
        ("tickets.created", "00002", Some(&two)),
    ];
    assert_eq!(told, expected);
    assert_eq!(ops.rings().len(), 0);
}

#[tokio::test]
async fn a_backfill_that_makes_no_sense_is_refused_and_one_under_way_is_ended() {
    let (ops, new) = (Receiver::accepting().await, Receiver::refusing().await);
    let (upstream, doorbell) = of_all_sorts(&ops, &new).await;
    let of = |sources: Value| json!({"from": "snapshot", "sources": sources});
    for (endpoint, body, expected) in [
        ("nobody", json!({"from": "snapshot"}), 404),
        ("late", of(json!(["none"])), 404),
        ("late", of(json!([])), 409),
        ("ops", of(json!(["tickets"])), 409),
        ("ops", json!({"from": "snapshot"}), 409),
        ("late", json!({"from": "now"}), 400),
        ("late", json!({"from": "snapshot", "source": "page"}), 400),
        ("late", json!({"from": "snapshot", "from_sequence": 1}), 400),
        ("late", of(json!("tickets")), 400),
        ("late", json!({"sources": ["tickets"]}), 400),
        ("late", json!({}), 400),
    ] {
        let path = format!("endpoints/{endpoint}/backfill");
        let (status, answer) = post(&doorbell, &path, body.clone()).await;
        assert_eq!(status, expected, "{body}: {answer}");
    }
    new.now(Behaviour::Stalling);
    upstream.change("/tickets", |list| {
        list.extend((10..ITEMS).map(|id| item(id, "more")));
    });
    doorbell.poll("tickets").await;
    let path = "endpoints/late/backfill";
    let (status, answer) = post(&doorbell, path, of(json!(["tickets"]))).await;
    assert_eq!(status, 202, "{answer}");
    for (method, endpoint, expected) in [("DELETE", "late", 204), ("GET", "nobody", 404)] {
        let path = format!("endpoints/{endpoint}/backfill");
        assert_eq!(send(&doorbell, method, &path, None).await.0, expected);
    }
    assert_eq!(told(&doorbell).await, None);
}
