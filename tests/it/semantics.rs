//! What counts as a change, when it is believed, and what operators hear, through the real binary.

use serde_json::{Value, json};

use crate::harness::{Doorbell, Receiver, Ring, Upstream, tickets, wait_until};

fn ticket(id: u64, words: &str) -> Value {
    json!({"id": id, "title": words})
}

/// [`tickets`] with doorbell's own events heard, too, and `deletes` as it is given.
fn config(upstream: &Upstream, receiver: &Receiver, deletes: &str, more: &str) -> String {
    tickets(upstream, receiver, more)
        .replace("deletes = \"full\"", &format!("deletes = {deletes}"))
        .replace(
            "allow_private = true",
            "allow_private = true\nevents = [\"tickets.*\", \"doorbell.*\"]",
        )
}

fn types(rings: &[Ring]) -> Vec<&str> {
    rings.iter().map(Ring::event_type).collect()
}

#[tokio::test]
async fn a_tombstone_rings_as_deleted_once_and_an_unknown_one_never() {
    let upstream = Upstream::serving("/tickets", vec![ticket(1, "a"), ticket(2, "b")]).await;
    let receiver = Receiver::accepting().await;
    let deletes = r#"{ tombstone = "$[?@.deleted == true]" }"#;
    let doorbell = Doorbell::start(&config(&upstream, &receiver, deletes, "")).await;
    doorbell.poll("tickets").await;

    let gone = |id: u64| json!({"id": id, "title": "x", "deleted": true});
    upstream.change("/tickets", |list| *list = vec![gone(2), gone(7)]);
    let polled = doorbell.poll("tickets").await;
    assert_eq!(
        polled["events"], 1,
        "one is missing, one is unknown: {polled}"
    );
    upstream.change("/tickets", |list| list[0]["title"] = json!("y"));
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["outcome"], "unchanged", "{polled}");
    upstream.change("/tickets", |list| list[0] = ticket(2, "back"));
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["events"], 1, "{polled}");

    let rings = receiver.until_accepted(2).await;
    assert_eq!(types(&rings), ["tickets.deleted", "tickets.created"]);
    let data = &rings[0].event["data"];
    assert_eq!(
        (rings[0].subject(), &data["previous"]),
        ("2", &ticket(2, "b"))
    );
    assert_eq!(data.get("current"), None);
    let items = doorbell
        .metrics()
        .await
        .value("doorbell_source_items", &[("source", "tickets")]);
    assert_eq!(items, 2.0);
}

/// Method: what rings next shows that nothing rang in between.
#[tokio::test]
async fn a_source_without_news_is_stale_once_and_again_after_news() {
    let upstream = Upstream::serving("/tickets", vec![ticket(1, "a")]).await;
    let receiver = Receiver::accepting().await;
    let more = "stale_after = \"1s\"";
    let doorbell = Doorbell::start(&config(&upstream, &receiver, "\"full\"", more)).await;
    doorbell.poll("tickets").await;
    let until_rung = async |doorbell: &Doorbell, count: usize| {
        wait_until("it is stale", async || {
            let polled = doorbell.poll("tickets").await;
            assert_eq!(polled["events"], 0, "{polled}");
            (receiver.rings().len() >= count).then_some(())
        })
        .await;
    };
    until_rung(&doorbell, 1).await;

    let doorbell = doorbell.kill().await.restart().await;
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |list| list.push(ticket(2, "b")));
    doorbell.poll("tickets").await;
    receiver.until_accepted(2).await;
    until_rung(&doorbell, 3).await;

    let rings = receiver.until_accepted(3).await;
    let stale = "doorbell.source.stale";
    assert_eq!(types(&rings), [stale, "tickets.created", stale]);
    let data = &rings[0].event["data"];
    assert_eq!(
        (&data["source"], &data["reason"]),
        (&json!("tickets"), &json!("unchanged"))
    );
    assert!(data["consecutive"].as_u64() >= Some(1), "{data}");
    assert!(data["since"].is_string(), "{data}");
}
