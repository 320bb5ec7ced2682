//! Endpoints that come and go while others ring.

use serde_json::{Map, Value, json};

use super::*;
use crate::store::{StoredEndpoint, StoredSecret};

fn members(value: &Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn at(url: &Url) -> Map<String, Value> {
    members(&json!({"url": url.as_str(), "secrets": [secret().expose()]}))
}

#[tokio::test]
async fn a_thousand_endpoints_are_made_and_no_more() {
    let house = House::new().await;
    let running = house.start(Vec::new()).await;
    let kept = (0..STORED_MAX).map(|n| {
        let now = house.clock.now();
        house.store.keep_endpoint(StoredEndpoint {
            name: name(&format!("e{n}")),
            definition: Secret::new("{}".to_owned()),
            secrets: vec![StoredSecret {
                secret: secret(),
                until: None,
            }],
            created_at: now,
            changed_at: now,
        })
    });
    for kept in futures_util::future::join_all(kept).await {
        kept.expect("is kept");
    }
    let url = Url::parse("https://crm.example/").expect("a URL");
    let made = running.deliverer.create(name("crm"), at(&url)).await;
    assert!(matches!(made, Err(ChangeError::Full)), "{made:?}");
    running.deliverer.delete("e7").await.expect("deletes");
    let made = running.deliverer.create(name("crm"), at(&url)).await;
    made.expect("there is room for one");
}

/// What begins to be heard by a change is heard from the change on, although an attempt that began
/// before holds the endpoint's seat.
#[tokio::test]
async fn what_a_change_adds_is_heard_from_then_on() {
    let house = House::new().await;
    let running = house.start(Vec::new()).await;
    let (open, gate) = oneshot::channel();
    let mut receiver = Receiver::gated(|_, _| 204, Some(gate)).await;
    let crm = at(&receiver.url);
    let deliverer = &running.deliverer;
    deliverer.create(name("crm"), crm).await.expect("is made");
    house.commit(&["held"]).await;
    assert_eq!(receiver.next().await.subject, "held");
    let narrower = members(&json!({"events": ["doorbell.source.*"]}));
    deliverer.change("crm", narrower).await.expect("changes");
    house.commit(&["not heard"]).await;
    // All source events, as when nothing is said of them.
    let again = members(&json!({"events": null, "order": "none"}));
    deliverer.change("crm", again).await.expect("changes");
    house.commit(&["heard"]).await;
    open.send(()).expect("the receiver waits");
    let mut heard = BTreeSet::from([receiver.next().await.subject]);
    heard.insert(receiver.next().await.subject);
    // The lane was never left: nobody was at the seat who did not hear it.
    let expected = BTreeSet::from(["heard".to_owned(), "not heard".to_owned()]);
    assert_eq!(heard, expected);
    running.trigger.enter(Phase::Draining);
    running.deliverer.drained().await;
    assert!(!receiver.has_more(), "and nothing twice");
}

#[tokio::test]
async fn while_it_drains_nothing_is_made() {
    let house = House::new().await;
    let running = house.start(Vec::new()).await;
    running.trigger.enter(Phase::Draining);
    let url = Url::parse("https://crm.example/").expect("a URL");
    let made = running.deliverer.create(name("crm"), at(&url)).await;
    let draining = ChangeError::Steer(SteerError::Draining);
    assert_eq!(
        made.expect_err("it drains").to_string(),
        draining.to_string()
    );
    assert!(house.store.endpoints().await.expect("reads").is_empty());
}
