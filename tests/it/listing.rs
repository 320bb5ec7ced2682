//! Deliveries as lists: page by page, and counted also where nobody delivers them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{
    Behaviour, Doorbell, Receiver, SECRET, Upstream, get, post, tickets, wait_until,
};

const ITEMS: usize = 25;

/// All deliveries in this state, by pages of ten.
async fn pages(doorbell: &Doorbell, state: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("deliveries?state={state}&limit=10{after}");
        let page = get(doorbell, &path).await;
        all.extend_from_slice(page["deliveries"].as_array().expect("a list"));
        let Some(next) = page["next"].as_str() else {
            return all;
        };
        after = format!("&after={next}");
    }
}

fn of<'a>(deliveries: &'a [Value], key: &str) -> Vec<&'a str> {
    let texts = deliveries.iter().map(|one| one[key].as_str());
    texts.map(|text| text.expect("a text")).collect()
}

/// Method: two endpoints hear the same. One is paused, so that nothing is read for it; the other
/// fails, so that all is parked. Then both take everything.
#[tokio::test]
async fn pages_of_deliveries_follow_each_other_over_endpoints_and_a_paused_one_is_counted_too() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let (failing, idle) = (Receiver::refusing().await, Receiver::accepting().await);
    let paused = format!(
        "[endpoints.paused]\nurl = \"{idle}/paused\"\nsecrets = [\"{SECRET}\"]\n\
         allow_private = true\n"
    );
    let config = tickets(&upstream, &failing, "").replace("100ms", "1h") + &paused;
    let doorbell = Doorbell::start(&config).await;
    doorbell.poll("tickets").await;
    let (status, _) = post(&doorbell, "endpoints/paused/pause", json!({})).await;
    assert_eq!(status, 204);
    upstream.change("/tickets", |list| {
        list.extend((0..ITEMS).map(|id| json!({"id": id})));
    });
    doorbell.poll("tickets").await;
    wait_until("both are counted", async || {
        let told = get(&doorbell, "endpoints").await;
        let told = told["endpoints"].as_array().expect("a list");
        let is_counted = told.iter().all(|one| one["pending"] == ITEMS);
        is_counted.then_some(())
    })
    .await;
    failing.until_arrived(ITEMS).await;

    let whole = async |state: &str| {
        let all = pages(&doorbell, state).await;
        let ids: BTreeSet<&str> = of(&all, "id").into_iter().collect();
        assert_eq!((all.len(), ids.len()), (2 * ITEMS, 2 * ITEMS), "{state}");
        let events = of(&all, "event");
        assert!(events.iter().rev().is_sorted(), "the newest first");
        let halves = events.as_chunks::<2>().0;
        assert!(halves.iter().all(|[one, other]| one == other));
    };
    whole("pending").await;
    failing.now(Behaviour::Accepting);
    for id in of(&pages(&doorbell, "pending").await, "id") {
        let (status, answer) = post(&doorbell, &format!("deliveries/{id}/retry"), json!({})).await;
        assert_eq!(status, 202, "{answer}");
    }
    let (status, _) = post(&doorbell, "endpoints/paused/resume", json!({})).await;
    assert_eq!(status, 204);
    for endpoint in ["ops", "paused"] {
        doorbell.until_delivered(endpoint).await;
    }
    whole("delivered").await;
    assert_eq!(pages(&doorbell, "pending").await, Vec::<Value>::new());

    // The command turns the pages itself.
    let url = doorbell.admin_url().to_owned();
    let ask = ["deliveries", "--state", "delivered", "--url", &url];
    let output = doorbell.ask(&ask).await;
    let lines = String::from_utf8_lossy(&output.stdout).lines().count();
    assert_eq!(lines, 2 * ITEMS);
    let output = doorbell
        .ask(&[&ask[..], &["--limit", "7", "--json"]].concat())
        .await;
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let next = told["next"].as_str().expect("there are more");
    assert_eq!(
        of(told["deliveries"].as_array().expect("a list"), "id")[6],
        next
    );
    let path = format!("{url}/api/v1/deliveries?after=nonsense");
    let answer = crate::harness::client().get(path).send().await;
    assert_eq!(answer.expect("an answer").status(), 400);
}
