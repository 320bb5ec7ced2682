//! What a person tries before trusting it: `send-test`, and the example of a receiver.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use doorbell::clock::Clock;
use doorbell::secret::Secret;
use doorbell::signature::{self, SigningKey, VerifyingKey};
use serde_json::{Value, json};

use crate::harness::{
    Behaviour, Corpse, Doorbell, Receiver, SECRET, Server, Upstream, client, tickets,
};

#[expect(dead_code, reason = "its `main` is for those who run it")]
#[path = "../../examples/receiver.rs"]
mod example;

async fn tried(corpse: &Corpse, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = corpse
        .ask(&[&["send-test", "--json"], arguments].concat())
        .await;
    let said = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), said)
}

#[tokio::test]
async fn a_test_is_signed_like_any_webhook_and_tells_what_came_back() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let config = tickets(&upstream, &receiver, "");
    let corpse = Corpse::new(&config);
    let (code, said) = tried(&corpse, &["ops"]).await;
    assert_eq!((code, &said["status"]), (Some(0), &json!(204)), "{said}");
    // The receiver has believed it.
    let rings = receiver.until_accepted(1).await;
    assert_eq!(rings[0].event["type"], "doorbell.test");
    assert_eq!(
        (&said["id"], &said["type"]),
        (&json!(rings[0].id), &rings[0].event["type"])
    );

    receiver.now(Behaviour::Answering(410, 0));
    let (code, said) = tried(&corpse, &["ops"]).await;
    assert_eq!(
        (code, &said["status"], &said["error"]),
        (Some(1), &json!(410), &json!("status"))
    );
    let text = corpse.ask(&["send-test", "ops"]).await;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(
        text.contains("refused: 410") && text.contains("hint:"),
        "{text}"
    );
    assert_eq!(
        corpse.ask(&["send-test", "nobody"]).await.status.code(),
        Some(64)
    );

    let guarded = Corpse::new(&config.replace("127.0.0.1", "localtest.invalid"));
    let (code, said) = tried(&guarded, &["ops"]).await;
    assert_eq!(
        (code, &said["error"]),
        (Some(1), &json!("connect")),
        "{said}"
    );
}

#[tokio::test]
async fn a_template_is_tried_with_an_event_like_its_own() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let template = r#"format = "template"
template = """{"text": "{{ type }}: {{ data.current.title }}"}"""
allow_private"#;
    let corpse = Corpse::new(&tickets(&upstream, &receiver, "").replace("allow_private", template));
    let (code, said) = tried(&corpse, &["ops"]).await;
    assert_eq!(
        (code, &said["error"]),
        (Some(1), &json!("render")),
        "{said}"
    );
    let item = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(item.path(), r#"{"title": "here"}"#).expect("it can be written");
    let item = item.path().display().to_string();
    let like = ["ops", "--type", "tickets.created", "--item", &item];
    let (code, said) = tried(&corpse, &like).await;
    assert_eq!(code, Some(0), "{said}");
    let rings = receiver.until_accepted(1).await;
    assert_eq!(rings[0].event, json!({"text": "tickets.created: here"}));
    let (code, _) = tried(&corpse, &["ops", "--type", "doorbell.source.failing"]).await;
    assert_eq!(code, Some(64));
}

#[tokio::test]
async fn the_admin_api_tries_an_endpoint_too() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::refusing().await;
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, "")).await;
    let post = async |endpoint: &str| {
        let url = format!("{}/api/v1/endpoints/{endpoint}/test", doorbell.admin_url());
        let request = client()
            .post(url)
            .header("content-type", "application/json");
        let answer = request.send().await.expect("the admin API answers");
        let status = answer.status().as_u16();
        let body = answer.bytes().await.expect("a whole answer");
        (
            status,
            serde_json::from_slice::<Value>(&body).expect("JSON"),
        )
    };
    let (status, said) = post("ops").await;
    assert_eq!((status, &said["status"]), (200, &json!(500)), "{said}");
    assert_eq!(post("nobody").await.0, 404);
    // It counts for nothing: nobody tries it again, and the endpoint is not the worse for it.
    let metrics = doorbell.metrics().await;
    for (name, labels) in [
        (
            "doorbell_delivery_attempts_total",
            &[("endpoint", "ops"), ("outcome", "failed")][..],
        ),
        ("doorbell_delivery_pending", &[("endpoint", "ops")]),
    ] {
        assert_eq!(metrics.value(name, labels), 0.0, "{name}");
    }
    assert_eq!(receiver.rings().len(), 1);
}

/// The example between a doorbell that signs with ed25519 and a handler that fails at first.
#[tokio::test]
async fn the_example_believes_handles_once_and_accepts_only_what_was_handled() {
    let made = SigningKey::parse(&Secret::new(SECRET_KEY.to_owned())).expect("a key");
    let public = Secret::new(made.public().expect("it has one"));
    let key = VerifyingKey::parse(&public).expect("a key");
    let handled = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&handled);
    let handle = move |event: &Value| {
        assert_eq!(event["type"], "tickets.created");
        match counter.fetch_add(1, Ordering::SeqCst) {
            0 => Err("not now".to_owned()),
            _ => Ok(()),
        }
    };
    let server = Server::serving(example::receiver(vec![key], Box::new(handle))).await;
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let config = tickets(&upstream, &receiver, "")
        .replace(&format!("{receiver}/ops"), &format!("{}/", server.url))
        .replace(SECRET, SECRET_KEY);
    let doorbell = Doorbell::start(&config).await;
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |list| list.push(json!({"id": 1})));
    doorbell.poll("tickets").await;
    // Refused once, then handled.
    doorbell.until_ended("ops", "delivered", 1).await;
    assert_eq!(handled.load(Ordering::SeqCst), 2);

    let now = Clock::system().now().as_seconds();
    let body = br#"{"type":"tickets.created","data":{}}"#;
    let send = async |id: &str, at: i64, signature: &str, body: &'static [u8]| {
        let request = client().post(&server.url).body(body);
        let request = request
            .header("webhook-id", id)
            .header("webhook-timestamp", at);
        let request = request.header("webhook-signature", signature);
        request.send().await.expect("it answers").status().as_u16()
    };
    let sign = |id: &str, at: i64| signature::sign(std::slice::from_ref(&made), id, at, body);
    assert_eq!(send("a", now, &sign("a", now), body).await, 204);
    assert_eq!(send("a", now, &sign("a", now), body).await, 200);
    assert_eq!(send("b", now, &sign("a", now), body).await, 401);
    assert_eq!(send("b", now - 400, &sign("b", now - 400), body).await, 401);
    assert_eq!(send("a", now, &sign("a", now), b"{}").await, 401);
    let unsigned = client().post(&server.url).send().await.expect("it answers");
    assert_eq!(unsigned.status(), 400);
    assert_eq!(handled.load(Ordering::SeqCst), 3, "once more, for `a`");
}

/// RFC 8032 section 7.1, test 1.
const SECRET_KEY: &str = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
