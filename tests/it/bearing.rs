//! How much an endpoint bears, as those see it who run it.

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::harness::{Behaviour, Doorbell, Receiver, Upstream, get, tickets, wait_until};

/// Waits until the endpoint stands so; what else is told of it.
async fn until(doorbell: &Doorbell, breaker: &str, concurrency: u64) -> Value {
    let what = format!("the breaker is {breaker}, {concurrency} at once");
    wait_until(&what, async || {
        let told = get(doorbell, "endpoints/ops").await;
        let is_so = told["breaker"] == breaker && told["concurrency"] == concurrency;
        is_so.then_some(told)
    })
    .await
}

async fn gauges(doorbell: &Doorbell) -> [f64; 2] {
    let metrics = doorbell.metrics().await;
    ["breaker_open", "concurrency"].map(|name| {
        let name = format!("doorbell_endpoint_{name}");
        metrics.value(&name, &[("endpoint", "ops")])
    })
}

/// Method: the receiver says that it is too much until one attempt at a time is left. Then it is as
/// if it had failed for long, and its first probe hangs; the next ones fail, and then it is back.
#[tokio::test]
async fn how_much_an_endpoint_bears_is_told_and_measured() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::behaving(Behaviour::Answering(503, 0), 0).await;
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, "")).await;
    doorbell.poll("tickets").await;
    let told = until(&doorbell, "closed", 8).await;
    assert_eq!(
        (&told["opened_at"], &told["next_probe"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(gauges(&doorbell).await, [0.0, 8.0]);
    upstream.change("/tickets", |list| {
        list.extend((0..20).map(|id| json!({"id": id})));
    });
    doorbell.poll("tickets").await;
    until(&doorbell, "closed", 1).await;
    assert_eq!(gauges(&doorbell).await, [0.0, 1.0]);

    receiver.now(Behaviour::Stalling);
    let corpse = doorbell.kill().await;
    let store = Connection::open(corpse.store()).expect("nobody has it");
    let failed = "UPDATE failing SET since = since - 60000, spent_ms = 60000, failures = 20";
    assert_eq!(store.execute(failed, []).expect("writes"), 1);
    drop(store);
    let doorbell = corpse.restart().await;
    let told = until(&doorbell, "half_open", 8).await;
    assert!(
        told["opened_at"].is_string() && told["next_probe"].is_null(),
        "{told}"
    );
    assert_eq!(gauges(&doorbell).await, [1.0, 8.0]);
    receiver.now(Behaviour::Refusing);
    let told = until(&doorbell, "open", 8).await;
    let [opened_at, next_probe] = ["opened_at", "next_probe"].map(|name| told[name].as_str());
    assert!(opened_at.is_some() && opened_at < next_probe, "{told}");
    assert_eq!(gauges(&doorbell).await[0], 1.0);
    receiver.now(Behaviour::Accepting);
    until(&doorbell, "closed", 8).await;
    assert_eq!(gauges(&doorbell).await, [0.0, 8.0]);
    receiver.until_accepted(20).await;
    let all = get(&doorbell, "endpoints").await;
    assert_eq!(all["endpoints"][0]["breaker"], "closed");
}
