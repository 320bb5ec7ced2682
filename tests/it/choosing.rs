//! Which events an endpoint gets, by what stands in them.

use serde_json::{Value, json};

use crate::harness::{Behaviour, Doorbell, Receiver, Ring, Upstream, tickets};

fn ticket(id: u64, state: &str) -> Value {
    json!({"id": id, "state": state})
}

fn filtered(upstream: &Upstream, receiver: &Receiver) -> String {
    let filter = r#"filter = "$[?@.data.current.state == 'closed']""#;
    tickets(upstream, receiver, "").replace("allow_private", &format!("{filter}\nallow_private"))
}

fn sequences(rings: &[Ring]) -> Vec<u64> {
    rings.iter().map(Ring::sequence).collect()
}

#[tokio::test]
async fn only_what_the_filter_selects_rings_and_the_rest_is_counted() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&filtered(&upstream, &receiver)).await;
    doorbell.poll("tickets").await;
    // One item too large to come along with a scan, one that is made into a tree elsewhere.
    let large = "x".repeat(10_000);
    let huge = "x".repeat(100_000);
    upstream.change("/tickets", |list| {
        list.extend([ticket(1, "open"), ticket(2, "closed"), ticket(3, "open")]);
        list.push(json!({"id": 4, "state": "closed", "text": large}));
        list.push(json!({"id": 5, "state": "open", "text": large}));
        list.push(json!({"id": 6, "state": "closed", "text": huge}));
        list.push(json!({"id": 7, "state": "open", "text": huge}));
    });
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |list| list.truncate(1));
    doorbell.poll("tickets").await;
    // Deletions have no `current`.
    doorbell.until_ended("ops", "filtered", 4 + 6).await;
    let mut rung = sequences(&receiver.until_accepted(3).await);
    rung.sort_unstable();
    assert_eq!(rung, [2, 4, 6]);
}

/// Method: while the first event of a ticket is refused, two more of it pile up behind, of which
/// the first is not for the endpoint. The process dies; another goes on.
#[tokio::test]
async fn what_is_passed_over_keeps_its_place_in_the_order() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::refusing().await;
    let doorbell = Doorbell::start(&filtered(&upstream, &receiver)).await;
    doorbell.poll("tickets").await;
    let change = async |doorbell: &Doorbell, state: &str, text: &str| {
        let ticket = json!({"id": 1, "state": state, "text": text});
        upstream.change("/tickets", |list| *list = vec![ticket]);
        doorbell.poll("tickets").await;
    };
    change(&doorbell, "closed", "a").await;
    receiver.until_arrived(1).await;
    change(&doorbell, "open", "b").await;
    change(&doorbell, "open", "c").await;
    change(&doorbell, "closed", "d").await;
    let doorbell = doorbell.kill().await.restart().await;
    receiver.now(Behaviour::Accepting);
    let rings = receiver.until_accepted(2).await;
    doorbell.until_ended("ops", "filtered", 2).await;
    let accepted = rings.iter().filter(|ring| ring.accepted.is_some());
    let accepted: Vec<Ring> = accepted.cloned().collect();
    assert_eq!(sequences(&accepted), [1, 4]);
}
