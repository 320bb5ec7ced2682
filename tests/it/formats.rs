//! What webhooks look like on the wire, in each format and with each payload.

use serde_json::{Value, json};

use crate::harness::{Behaviour, Doorbell, Receiver, Ring, Upstream, client, tickets, wait_until};

/// What one change of a ticket rings at an endpoint with these lines.
async fn rung(lines: &str, more: &str) -> Vec<Ring> {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let config = tickets(&upstream, &receiver, more);
    let config = config.replace("allow_private", &format!("{lines}\nallow_private"));
    let doorbell = Doorbell::start(&config).await;
    doorbell.poll("tickets").await;
    let ticket = |state: &str| json!({"id": "a b", "state": state, "email": "eve@x.example"});
    upstream.change("/tickets", |list| list.push(ticket("open")));
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |list| list[0] = ticket("closed"));
    doorbell.poll("tickets").await;
    receiver.until_accepted(2).await
}

fn header<'a>(ring: &'a Ring, name: &str) -> &'a str {
    ring.headers[name].to_str().expect("headers are text")
}

#[tokio::test]
async fn cloud_events_are_structured_or_binary() {
    let structured = rung(r#"format = "cloudevents""#, "").await;
    let ring = &structured[1];
    assert_eq!(
        header(ring, "content-type"),
        "application/cloudevents+json; charset=UTF-8"
    );
    let event = &ring.event;
    assert_eq!(event["id"], *ring.id);
    for (name, value) in [
        ("specversion", "1.0"),
        ("source", "/sources/tickets"),
        ("type", "tickets.updated"),
        ("subject", "a b"),
        ("sequence", "00000000000000000002"),
        ("datacontenttype", "application/json"),
    ] {
        assert_eq!(event[name], value, "{name}");
    }
    let binary = rung(r#"format = "cloudevents_binary""#, "").await;
    let ring = &binary[1];
    for (name, value) in [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", &ring.id),
        ("ce-source", "/sources/tickets"),
        ("ce-type", "tickets.updated"),
        ("ce-subject", "a%20b"),
        ("ce-sequence", "00000000000000000002"),
    ] {
        assert_eq!(header(ring, name), value, "{name}");
    }
    for data in [&event["data"], &ring.event] {
        assert_eq!(data["current"]["state"], "closed");
        assert_eq!(data["previous"]["state"], "open");
    }
}

#[tokio::test]
async fn a_template_writes_the_body() {
    let rings = rung(
        r#"format = "template"
content_type = "application/json; charset=utf-8"
template = """{"text": "{{ type }}: {{ data.subject }} is {{ data.current.state | upper }}"}""""#,
        "",
    )
    .await;
    assert_eq!(
        header(&rings[1], "content-type"),
        "application/json; charset=utf-8"
    );
    let text = "tickets.updated: a b is CLOSED";
    assert_eq!(rings[1].event, json!({ "text": text }));
}

/// A template that cannot be filled is a failed attempt whose answer says why; the endpoint's other
/// events go on, and so does doorbell.
#[tokio::test]
async fn a_template_that_cannot_be_filled_tells_why() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let template = r#"format = "template"
template = """{"text": "{{ data.current.title }}"}"""
allow_private"#;
    let config = tickets(&upstream, &receiver, "").replace("allow_private", template);
    let doorbell = Doorbell::start(&config).await;
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |list| {
        list.extend([json!({"id": 1}), json!({"id": 2, "title": "here"})]);
    });
    doorbell.poll("tickets").await;
    let rings = receiver.until_accepted(1).await;
    assert_eq!(rings[0].event, json!({"text": "here"}));
    let id = wait_until("the failure is on disk", async || {
        let pending = asked(&doorbell, "deliveries?state=pending").await;
        let delivery = &pending["deliveries"][0];
        let has_failed = delivery["attempts"].as_u64() > Some(0);
        has_failed.then(|| delivery["id"].as_str().map(str::to_owned))?
    })
    .await;
    let attempts = asked(&doorbell, &format!("deliveries/{id}")).await;
    let attempt = &attempts["attempts"][0];
    assert_eq!(attempt["error"], "render", "{attempt}");
    let answer = attempt["answer"].as_str().expect("it says why");
    assert!(answer.contains("data.current.title"), "{answer}");
}

#[tokio::test]
async fn payloads_are_full_patches_or_thin_and_nothing_redacted_leaves() {
    let names = |ring: &Ring| -> Vec<String> {
        let data = ring.event["data"].as_object().expect("an object");
        let told = ["current", "previous", "patch", "link"].into_iter();
        told.filter(|name| data.contains_key(*name))
            .map(str::to_owned)
            .collect()
    };
    let redact = r#"redact = ["$.data.current.email"]"#;
    for (payload, created, updated) in [
        (
            "full",
            &["current"][..],
            &["current", "previous", "patch"][..],
        ),
        ("patch", &["current"], &["patch"]),
        ("thin", &[], &[]),
    ] {
        let rings = rung(&format!("payload = \"{payload}\"\n{redact}"), "").await;
        assert_eq!(names(&rings[0]), created, "{payload}");
        assert_eq!(names(&rings[1]), updated, "{payload}");
        for ring in rings {
            let body = String::from_utf8_lossy(&ring.body).into_owned();
            assert!(!body.contains("eve@"), "{body}");
        }
    }
}

/// The link of a payload that was too large leads to the event.
#[tokio::test]
async fn what_is_too_large_becomes_a_link_to_the_event() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let config = tickets(&upstream, &receiver, "").replace(
        "allow_private",
        "payload_bytes_max = \"8KiB\"\nallow_private",
    );
    let doorbell = Doorbell::start_public(&config, "http://bell.example/sub/").await;
    doorbell.poll("tickets").await;
    let text = "x".repeat(8 * 1024);
    upstream.change("/tickets", |list| {
        list.extend([json!({"id": 1, "text": text}), json!({"id": 2})]);
    });
    doorbell.poll("tickets").await;
    let rings = receiver.until_accepted(2).await;
    let of = |subject: &str| rings.iter().find(|ring| ring.subject() == subject);
    let (large, small) = (of("1").expect("large"), of("2").expect("small"));
    assert_eq!(small.event["data"].get("link"), None);
    assert_eq!(large.event["data"].get("current"), None);
    let link = large.event["data"]["link"].as_str().expect("a link");
    let path = link
        .strip_prefix("http://bell.example/sub")
        .expect("its base");
    let event = client().get(format!("{}{path}", doorbell.admin_url()));
    let event: Value = serde_json::from_slice(&read(event).await).expect("JSON");
    assert_eq!(event["id"], *large.id);
    assert_eq!(event["data"]["current"]["text"], *text);
}

/// Method: a webhook is refused; the process dies, the format changes, another goes on. What was
/// told keeps its body, twice over; what was not is told the new way.
#[tokio::test]
async fn an_event_that_was_attempted_keeps_its_body_whatever_the_settings_become() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::refusing().await;
    let lines = "format = \"cloudevents\"\npayload = \"patch\"\nallow_private";
    let config = tickets(&upstream, &receiver, "").replace("allow_private", lines);
    let doorbell = Doorbell::start(&config).await;
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |list| list.push(json!({"id": 1})));
    doorbell.poll("tickets").await;
    receiver.until_arrived(2).await;
    let mut corpse = doorbell.kill().await;
    for format in ["standard", "cloudevents_binary"] {
        let seen = receiver.rings().len();
        let from = if format == "standard" {
            "cloudevents"
        } else {
            "standard"
        };
        corpse = corpse.with(
            &format!("format = \"{from}\""),
            &format!("format = \"{format}\""),
        );
        let doorbell = corpse.restart().await;
        receiver.until_arrived(seen + 2).await;
        corpse = doorbell.kill().await;
    }
    let doorbell = corpse.restart().await;
    receiver.now(Behaviour::Accepting);
    let attempts = receiver.until_accepted(1).await;
    let first = &attempts[0];
    for ring in &attempts {
        assert_eq!((&ring.id, &ring.body), (&first.id, &first.body));
        let [told, told_first] = [ring, first].map(|ring| &ring.headers["content-type"]);
        assert_eq!(told, told_first);
    }
    assert_eq!(first.event["specversion"], "1.0");
    upstream.change("/tickets", |list| list.push(json!({"id": 2})));
    doorbell.poll("tickets").await;
    let rings = receiver.until_accepted(2).await;
    let last = rings.last().expect("it came");
    assert_eq!(
        (header(last, "ce-type"), last.event.get("type")),
        ("tickets.created", None)
    );
}

/// Method: doorbell dies while the receiver has a webhook and has not answered it, so that nothing of
/// the attempt is on disk; its format changes. A second event was tried by nobody.
#[tokio::test]
async fn an_attempt_that_was_cut_off_keeps_its_body_whatever_the_settings_become() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    receiver.now(Behaviour::Stalling);
    let config = tickets(&upstream, &receiver, "");
    let doorbell = Doorbell::start(&config).await;
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |list| list.push(json!({"id": 1})));
    doorbell.poll("tickets").await;
    receiver.until_arrived(1).await;
    let mut corpse = doorbell.kill().await;
    for (from, to) in [
        ("allow_private", "format = \"cloudevents\"\nallow_private"),
        ("\"cloudevents\"", "\"cloudevents_binary\""),
    ] {
        let seen = receiver.rings().len();
        let doorbell = corpse.with(from, to).restart().await;
        receiver.until_arrived(seen + 1).await;
        corpse = doorbell.kill().await;
    }
    let doorbell = corpse.restart().await;
    receiver.until_arrived(4).await;
    receiver.now(Behaviour::Accepting);
    receiver.until_accepted(1).await;
    upstream.change("/tickets", |list| list.push(json!({"id": 2})));
    doorbell.poll("tickets").await;
    let rings = receiver.until_accepted(2).await;
    let (last, before) = rings.split_last().expect("they came");
    for ring in before {
        assert_eq!((&ring.id, &ring.body), (&before[0].id, &before[0].body));
    }
    assert_eq!(before[0].event_type(), "tickets.created");
    assert_eq!(header(last, "ce-type"), "tickets.created");
}

/// What could not be written was told to nobody: it is written as soon as the template can be.
#[tokio::test]
async fn a_mended_template_tells_what_the_broken_one_could_not() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let template = r#"format = "template"
template = """{"text": "{{ data.current.titel }}"}"""
allow_private"#;
    let config = tickets(&upstream, &receiver, "").replace("allow_private", template);
    let doorbell = Doorbell::start(&config).await;
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |list| {
        list.push(json!({"id": 1, "title": "here"}));
    });
    doorbell.poll("tickets").await;
    wait_until("it has failed", async || {
        let pending = asked(&doorbell, "deliveries?state=pending").await;
        (pending["deliveries"][0]["attempts"].as_u64() > Some(0)).then_some(())
    })
    .await;
    let corpse = doorbell.kill().await;
    let _doorbell = corpse.with("titel", "title").restart().await;
    let rings = receiver.until_accepted(1).await;
    assert_eq!(rings[0].event, json!({"text": "here"}));
}

async fn asked(doorbell: &Doorbell, path: &str) -> Value {
    let url = format!("{}/api/v1/{path}", doorbell.admin_url());
    serde_json::from_slice(&read(client().get(url)).await).expect("JSON")
}

async fn read(request: reqwest::RequestBuilder) -> Vec<u8> {
    let answer = request.send().await.expect("the admin API answers");
    assert_eq!(answer.status(), 200);
    answer.bytes().await.expect("a whole body").to_vec()
}
