//! Lists that come in pages: whole walks, in every dialect, while the list moves.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::harness::{Dialect, Doorbell, Paged, Receiver, SECRET, Story, by_id, is_proving};

/// Rows of a page.
const SIZE: usize = 10;

fn row(id: u64, words: u64) -> Value {
    json!({"id": id, "words": words})
}

fn rows(ids: std::ops::Range<u64>) -> Vec<Value> {
    ids.map(|id| row(id, 0)).collect()
}

fn config(url: &str, receiver: &Receiver, source: &str) -> String {
    format!(
        r#"
[upstreams.api]
url = "{url}"
auth = {{ bearer = "hunter2" }}
[endpoints.ops]
url = "{receiver}/ops"
secrets = ["{SECRET}"]
allow_private = true
[sources.list]
upstream = "api"
path = "/list"
every = "manual"
id = "$.id"
guard = {{ deletes_max_ratio = 1.0 }}
{source}
"#
    )
}

fn watching(paged: &Paged, receiver: &Receiver) -> String {
    let spoken = paged.dialect().spoken();
    config(
        &paged.to_string(),
        receiver,
        &format!("{spoken}\ndeletes = \"full\""),
    )
}

#[tokio::test]
async fn every_dialect_is_walked_to_its_end() {
    for dialect in Dialect::ALL {
        let paged = Paged::speaking(dialect, SIZE, rows(1..26)).await;
        let receiver = Receiver::accepting().await;
        let doorbell = Doorbell::start(&watching(&paged, &receiver)).await;
        let first = doorbell.poll("list").await;
        assert_eq!(first["outcome"], "unchanged", "{dialect:?}: {first}");
        let metrics = doorbell.metrics().await;
        let items = metrics.value("doorbell_source_items", &[("source", "list")]);
        assert_eq!(items, 25.0, "{dialect:?}");
        let again = doorbell.poll("list").await;
        assert_eq!(again["outcome"], "unchanged", "{dialect:?}: {again}");

        paged.change(|list| {
            list[24] = row(25, 1);
            list.push(row(26, 0));
            list.remove(11);
        });
        let polled = doorbell.poll("list").await;
        assert_eq!(polled["events"], 3, "{dialect:?}: {polled}");
        let quiet = doorbell.poll("list").await;
        assert_eq!(quiet["outcome"], "unchanged", "{dialect:?}: {quiet}");

        let rings = receiver.until_accepted(3).await;
        let told = rings.iter().map(|ring| (ring.subject(), ring.event_type()));
        let told: BTreeSet<_> = told.collect();
        let expected = [
            ("12", "list.deleted"),
            ("25", "list.updated"),
            ("26", "list.created"),
        ];
        assert_eq!(told, BTreeSet::from(expected), "{dialect:?}");
    }
}

/// Method: before each page, rows anywhere in the list are removed, added and changed. What rings
/// must be a story of rows that were really added, changed and removed, and once the list stands
/// still its end is the list.
#[tokio::test]
async fn a_list_that_moves_while_it_is_walked_invents_and_loses_nothing() {
    let rounds = if is_proving() { 60 } else { 12 };
    for dialect in Dialect::ALL {
        let start: Vec<Value> = (0..45).map(|id| row(id * 100, 0)).collect();
        let paged = Paged::speaking(dialect, SIZE, start.clone()).await;
        let receiver = Receiver::accepting().await;
        let doorbell = Doorbell::start(&watching(&paged, &receiver)).await;
        doorbell.poll("list").await;

        let removed = Arc::new(Mutex::new(BTreeSet::new()));
        paged.meanwhile(moves(dialect as u64, Arc::clone(&removed)));
        let mut events = 0;
        for round in 0..=rounds {
            if round == rounds {
                paged.rest();
            }
            let polled = doorbell.poll("list").await;
            assert_ne!(polled["outcome"], "error", "{dialect:?}: {polled}");
            events += polled["events"].as_u64().expect("a count");
        }
        let quiet = doorbell.poll("list").await;
        assert_eq!(quiet["outcome"], "unchanged", "{dialect:?}: {quiet}");
        let events = usize::try_from(events).expect("few");
        let rings = receiver.until_accepted(events).await;
        let story = Story::of("list", &rings);
        let known = story.told_to(&start);
        let list = paged.list();
        assert_eq!(known, by_id(&list), "{dialect:?}");
        let deleted = rings.iter().filter(|r| r.event_type() == "list.deleted");
        let deleted: BTreeSet<String> = deleted.map(|ring| ring.subject().to_owned()).collect();
        let invented: Vec<_> = deleted.difference(&removed.lock()).cloned().collect();
        assert_eq!(invented, Vec::<String>::new(), "{dialect:?}");
    }
}

/// Method: in each of two walks a row at the front goes before the last page is asked for, so that 21,
/// the first there, moves to the page before.
#[tokio::test]
async fn a_row_that_two_walks_missed_is_not_deleted() {
    let paged = Paged::speaking(Dialect::Drf, SIZE, rows(1..26)).await;
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&watching(&paged, &receiver)).await;
    doorbell.poll("list").await;
    paged.meanwhile(|list, before| match before {
        2 | 5 => drop(list.remove(0)),
        3 => list.insert(0, row(0, 0)),
        _ => {}
    });
    let polled = doorbell.poll("list").await;
    assert_eq!(polled["events"], 1, "{polled}");
    let polled = doorbell.poll("list").await;
    assert_eq!(polled["events"], 2, "{polled}");
    let rings = receiver.until_accepted(3).await;
    let told = rings.iter().map(|ring| (ring.subject(), ring.event_type()));
    let told: BTreeSet<_> = told.collect();
    let expected = [
        ("0", "list.created"),
        ("0", "list.deleted"),
        ("1", "list.deleted"),
    ];
    assert_eq!(told, BTreeSet::from(expected));
}

/// Changes a row, adds one or removes one, drawn from `seed`, before each third request: no walk of
/// a list is free of them. `removed` is told the ids that ever left.
fn moves(
    seed: u64,
    removed: Arc<Mutex<BTreeSet<String>>>,
) -> impl FnMut(&mut Vec<Value>, usize) + Send + 'static {
    let mut random = fastrand::Rng::with_seed(seed);
    move |list, before| {
        if before % 3 != 0 {
            return;
        }
        let at = random.usize(..list.len());
        let id = |row: &Value| row["id"].as_u64().expect("rows have ids");
        match random.u8(..3) {
            0 if list.len() > 20 => {
                removed.lock().insert(id(&list.remove(at)).to_string());
            }
            1 => {
                let new = id(&list[at]) + random.u64(1..100);
                if let Err(place) = list.binary_search_by_key(&new, id) {
                    list.insert(place, row(new, 0));
                }
            }
            _ => list[at] = row(id(&list[at]), random.u64(1..1_000_000)),
        }
    }
}

#[tokio::test]
async fn a_page_that_fails_fails_the_poll_and_rings_nobody() {
    for dialect in Dialect::ALL {
        let paged = Paged::speaking(dialect, SIZE, rows(1..26)).await;
        let receiver = Receiver::accepting().await;
        let doorbell = Doorbell::start(&watching(&paged, &receiver)).await;
        doorbell.poll("list").await;
        paged.change(|list| list[0] = row(1, 1));
        for (nth, status, reason) in [
            (2, 500, "status"),
            (3, 503, "status"),
            (3, 404, "refused"),
            (2, 429, "rate_limited"),
            (3, 204, "status"),
        ] {
            paged.fail(nth, status);
            let polled = doorbell.poll("list").await;
            assert_eq!(polled["outcome"], "error", "{dialect:?} {status}: {polled}");
            assert_eq!(polled["reason"], reason, "{dialect:?} {status}");
        }
        let polled = doorbell.poll("list").await;
        assert_eq!(polled["events"], 1, "{dialect:?}: {polled}");
        receiver.until_accepted(1).await;
        assert_eq!(receiver.rings().len(), 1, "{dialect:?}");
    }
}
