//! The handshake of CloudEvents web hooks: who wants to be asked is asked before it is rung.

use std::time::Duration;

use axum::http::Method;
use serde_json::json;

use crate::harness::hook::{Hook, change, made, send, started};
use crate::harness::{Receiver, Upstream, wait_until};

#[tokio::test]
async fn who_wants_to_be_asked_is_asked_and_rung_only_after_agreeing() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let (receiver, hook) = (Receiver::accepting().await, Hook::open().await);
    let doorbell = started(&upstream, &receiver).await;
    let retry = vec!["50ms"; 60];
    let body = json!({
        "name": "crm", "url": hook.url("/hook"), "handshake": "bell.example", "retry": retry,
        "rate": {"requests": 100, "per": "1s"}, "headers": {"x-a": "b"},
    });
    made(&doorbell, &body).await;
    hook.agrees(&[
        ("webhook-allowed-origin", "other.example"),
        ("allow", "POST"),
    ]);
    change(&upstream, &doorbell, "one").await;
    let question = wait_until("it is asked twice", async || {
        let questions = hook.of(&Method::OPTIONS);
        (questions.len() > 1).then(|| questions[0].clone())
    })
    .await;
    assert_eq!(question.path, "/hook");
    assert_eq!(question.header("webhook-request-origin"), "bell.example");
    assert_eq!(question.header("webhook-request-rate"), "6000");
    assert_eq!((question.header("x-a"), question.body.len()), ("b", 0));
    let (_, tried) = send(&doorbell, "POST", "endpoints/crm/test", &json!({})).await;
    assert_eq!(
        (&tried["error"], &tried["status"]),
        (&json!("handshake"), &json!(204))
    );
    let (_, listed) = send(&doorbell, "GET", "deliveries?endpoint=crm", &json!(null)).await;
    let id = listed["deliveries"][0]["id"].as_str().expect("an id");
    let (_, told) = send(&doorbell, "GET", &format!("deliveries/{id}"), &json!(null)).await;
    let attempt = &told["attempts"][0];
    assert_eq!(
        (&attempt["error"], &attempt["status"]),
        (&json!("handshake"), &json!(204))
    );
    let said = attempt["answer"].as_str().unwrap_or_default();
    assert!(
        said.contains("webhook-allowed-origin: bell.example"),
        "{told}"
    );
    assert_eq!(hook.rings().len(), 0, "nothing is sent");
    assert!(doorbell.said().contains("does not agree to be rung"));

    hook.agrees(&[("webhook-allowed-origin", "bell.example")]);
    let rings = hook.until(1).await;
    assert_eq!(rings[0].header("webhook-request-origin"), "bell.example");
    let asked = hook.of(&Method::OPTIONS).len();
    for words in ["two", "three"] {
        change(&upstream, &doorbell, words).await;
    }
    hook.until(3).await;
    assert_eq!(hook.of(&Method::OPTIONS).len(), asked, "it agreed already");
    for verb in ["disable", "enable"] {
        let path = format!("endpoints/crm/{verb}");
        assert_eq!(send(&doorbell, "POST", &path, &json!({})).await.0, 204);
    }
    change(&upstream, &doorbell, "four").await;
    hook.until(4).await;
    assert_eq!(hook.of(&Method::OPTIONS).len(), asked + 1);
    let doorbell = doorbell.kill().await.restart().await;
    change(&upstream, &doorbell, "five").await;
    hook.told(5).await;
    assert_eq!(hook.of(&Method::OPTIONS).len(), asked + 2);
}

/// Ten a second is allowed; ten thousand would be our own.
#[tokio::test]
async fn an_endpoint_is_rung_no_faster_than_it_agreed_to() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let (receiver, hook) = (Receiver::accepting().await, Hook::open().await);
    let doorbell = started(&upstream, &receiver).await;
    hook.agrees(&[
        ("webhook-allowed-origin", "*"),
        ("webhook-allowed-rate", "600"),
    ]);
    let body = json!({"name": "crm", "url": hook.url("/"), "handshake": "bell.example"});
    made(&doorbell, &body).await;
    let items = (1..=10).map(|id| json!({"id": id})).collect();
    upstream.change("/tickets", |list| *list = items);
    doorbell.poll("tickets").await;
    let rings = hook.until(10).await;
    let took = rings[9].at - rings[0].at;
    assert!(took > Duration::from_millis(700), "{took:?}");
    assert_eq!(hook.of(&Method::OPTIONS).len(), 1, "one asks for all");
}
