//! Endpoints made, changed and deleted over the admin API while doorbell runs.

use serde_json::{Value, json};

use crate::harness::hook::{Came, Hook, change, made, send, send_text, started};
use crate::harness::{Corpse, Doorbell, Receiver, SECRET, Upstream, client, tickets, wait_until};

/// Answers about endpoints, the log, the metrics, and what a person at a terminal sees.
async fn all_that_is_said(doorbell: &Doorbell) -> Vec<String> {
    let mut said = vec![doorbell.said(), doorbell.metrics().await.text().to_owned()];
    for path in ["endpoints", "endpoints/crm", "deliveries?state=delivered"] {
        let (_, told) = send(doorbell, "GET", path, &json!(null)).await;
        said.push(told.to_string());
    }
    let listed = doorbell
        .ask(&["endpoints", "--url", doorbell.admin_url()])
        .await;
    said.push(String::from_utf8(listed.stdout).expect("text"));
    said
}

/// A source that is not heard for a while is no backlog that was dropped.
#[tokio::test]
async fn an_endpoint_that_comes_back_to_a_source_goes_on_where_it_left_it() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let (receiver, hook) = (Receiver::accepting().await, Hook::open().await);
    let doorbell = started(&upstream, &receiver).await;
    made(&doorbell, &json!({"name": "crm", "url": hook.url("/")})).await;
    change(&upstream, &doorbell, "heard").await;
    hook.told(1).await;
    for (events, words) in [("doorbell.*", "away"), ("tickets.*", "back")] {
        let patch = json!({"events": [events]});
        let (status, told) = send(&doorbell, "PATCH", "endpoints/crm", &patch).await;
        assert_eq!(status, 200, "{told}");
        change(&upstream, &doorbell, words).await;
    }
    hook.told(3).await;
    assert_eq!(hook.sequences(), [1, 2, 3]);
}

/// Method: the secret is looked for wherever doorbell says anything, over kills at every step.
#[tokio::test]
async fn an_endpoint_lives_from_its_making_to_its_end_over_kills() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let (receiver, hook) = (Receiver::accepting().await, Hook::open().await);
    let doorbell = started(&upstream, &receiver).await;
    change(&upstream, &doorbell, "before it was there").await;
    let body =
        json!({"name": "crm", "url": hook.url("/old?telling"), "headers": {"x-a": "telling"}});
    let told = made(&doorbell, &body).await;
    let secret = told["secret"].as_str().expect("it is told once").to_owned();
    assert!(
        secret.starts_with("whsec_") && secret.len() == 50,
        "made of 32 bytes"
    );
    assert_eq!(
        (&told["owner"], &told["enabled"]),
        (&json!("api"), &json!(true))
    );
    assert_eq!(told["settings"]["headers"], json!({"x-a": "***"}));
    let mut said = Vec::new();
    change(&upstream, &doorbell, "heard").await;
    let first = hook.told(2).await;
    assert_eq!(
        (hook.sequences(), first.path.as_str()),
        (vec![2], "/old"),
        "no backlog"
    );
    assert!(first.is_signed_by(&secret) && !first.is_signed_by(SECRET));
    said.extend(all_that_is_said(&doorbell).await);
    assert!(said.iter().any(|text| text.contains("made over the API")));

    let doorbell = doorbell.kill().await.restart().await;
    change(&upstream, &doorbell, "after a kill").await;
    assert!(hook.told(3).await.is_signed_by(&secret));
    let patch = json!({"events": ["tickets.deleted"], "url": hook.url("/new"), "headers": null});
    let (status, told) = send(&doorbell, "PATCH", "endpoints/crm", &patch).await;
    assert_eq!((status, &told["secret"]), (200, &Value::Null), "{told}");
    assert_eq!(told["settings"]["events"], json!(["tickets.deleted"]));
    let doorbell = doorbell.kill().await.restart().await;
    change(&upstream, &doorbell, "not heard").await;
    upstream.change("/tickets", Vec::clear);
    doorbell.poll("tickets").await;
    assert_eq!(hook.told(5).await.path, "/new");
    assert_eq!(hook.sequences(), [2, 3, 5]);
    said.extend(all_that_is_said(&doorbell).await);

    let (status, _) = send(&doorbell, "DELETE", "endpoints/crm", &json!(null)).await;
    assert_eq!(status, 204);
    let doorbell = doorbell.kill().await.restart().await;
    assert_eq!(
        send(&doorbell, "GET", "endpoints/crm", &json!(null))
            .await
            .0,
        404
    );
    let count = receiver.accepted();
    change(&upstream, &doorbell, "nobody").await;
    upstream.change("/tickets", Vec::clear);
    doorbell.poll("tickets").await;
    receiver.until_accepted(count + 2).await;
    assert_eq!(hook.sequences(), [2, 3, 5]);
    said.extend(all_that_is_said(&doorbell).await);
    for telling in [secret.as_str(), "telling", "/old"] {
        let heard = said.iter().find(|text| text.contains(telling));
        assert_eq!(heard, None, "{telling}");
    }
}

#[tokio::test]
async fn what_is_done_with_an_endpoint_of_the_file_is_done_with_one_that_was_made() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let (receiver, hook) = (Receiver::accepting().await, Hook::open().await);
    let doorbell = started(&upstream, &receiver).await;
    change(&upstream, &doorbell, "one").await;
    let body = json!({"name": "crm", "url": hook.url("/"), "secrets": [SECRET]});
    let told = made(&doorbell, &body).await;
    assert_eq!(told["secret"], Value::Null, "who gave it knows it");
    let post = async |verb: &str, body: Value| {
        let path = format!("endpoints/crm/{verb}");
        send(&doorbell, "POST", &path, &body).await
    };
    let (_, tried) = post("test", json!({})).await;
    assert_eq!(tried["status"], 204, "{tried}");
    let ask = json!({"source": "tickets", "from_sequence": 1});
    assert_eq!(post("backfill", ask).await.0, 202);
    hook.told(1).await;
    for (stop, go) in [("pause", "resume"), ("disable", "enable")] {
        let before = hook.rings().len();
        assert_eq!(post(stop, json!({})).await.0, 204);
        change(&upstream, &doorbell, stop).await;
        receiver.until_accepted(before).await;
        assert_eq!(hook.rings().len(), before, "{stop}");
        assert_eq!(post(go, json!({})).await.0, 204);
        hook.until(before + 1).await;
    }
    doorbell.until_ended("crm", "delivered", 3).await;
    let ask = json!({"endpoint": "crm", "state": "delivered"});
    let (status, told) = send(&doorbell, "POST", "replay", &ask).await;
    assert_eq!((status, &told["replayed"]), (200, &json!(3)), "{told}");
    let rings = hook.until(7).await;
    assert!(rings.iter().all(|ring| ring.is_signed_by(SECRET)));
    wait_until("all are delivered again", async || {
        let listed = "deliveries?endpoint=crm&state=delivered";
        let (_, listed) = send(&doorbell, "GET", listed, &json!(null)).await;
        (listed["deliveries"].as_array()?.len() == 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_deleted_endpoint_hears_out_what_is_in_flight_and_one_of_its_name_begins_anew() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let (receiver, hook) = (Receiver::accepting().await, Hook::open().await);
    let doorbell = started(&upstream, &receiver).await;
    let body = json!({"name": "crm", "url": hook.url("/")});
    made(&doorbell, &body).await;
    hook.answers(false);
    change(&upstream, &doorbell, "in flight").await;
    hook.until(1).await;
    change(&upstream, &doorbell, "waits").await;
    let (status, _) = send(&doorbell, "DELETE", "endpoints/crm", &json!(null)).await;
    assert_eq!(status, 204);
    let series = [("endpoint", "crm")];
    let metrics = doorbell.metrics().await;
    assert_eq!(metrics.find("doorbell_delivery_pending", &series), None);
    // Not before what is in flight has ended, so that nothing is rung twice at once.
    let making = made(&doorbell, &body);
    let release = async {
        change(&upstream, &doorbell, "for nobody").await;
        hook.answers(true);
    };
    let (told, ()) = tokio::join!(making, release);
    assert_eq!(told["pending"], 0, "{told}");
    change(&upstream, &doorbell, "for the new one").await;
    let (old, new) = (hook.told(1).await, hook.told(4).await);
    assert_eq!(hook.sequences(), [1, 4]);
    let secret = told["secret"].as_str().expect("a new one");
    assert!(new.is_signed_by(secret) && !old.is_signed_by(secret));
    // Nor can what the old one had be replayed to the new one.
    doorbell.until_ended("crm", "delivered", 1).await;
    let path = "deliveries?state=delivered&endpoint=crm";
    let (_, listed) = send(&doorbell, "GET", path, &json!(null)).await;
    assert_eq!(
        listed["deliveries"].as_array().map(Vec::len),
        Some(1),
        "{listed}"
    );
}

/// An endpoint that has a webhook and does not answer it.
async fn in_flight() -> (Upstream, Receiver, Hook, Doorbell) {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let (receiver, hook) = (Receiver::accepting().await, Hook::open().await);
    let doorbell = started(&upstream, &receiver).await;
    made(&doorbell, &json!({"name": "crm", "url": hook.url("/")})).await;
    hook.answers(false);
    change(&upstream, &doorbell, "in flight").await;
    hook.until(1).await;
    (upstream, receiver, hook, doorbell)
}

/// Method: the first subject fails and blocks its second event when the endpoint is changed.
#[tokio::test]
async fn a_change_keeps_what_waits_and_what_is_in_flight() {
    let (upstream, _receiver, hook, doorbell) = in_flight().await;
    change(&upstream, &doorbell, "waits").await;
    let patch = json!({"events": ["tickets.updated", "tickets.created"], "order": "none"});
    let (status, told) = send(&doorbell, "PATCH", "endpoints/crm", &patch).await;
    assert_eq!(status, 200, "{told}");
    change(&upstream, &doorbell, "waits, too").await;
    hook.answers(true);
    hook.until(3).await;
    assert_eq!(hook.sequences(), [1, 2, 3]);
    doorbell.until_ended("crm", "delivered", 3).await;
    doorbell.until_delivered("crm").await;
}

/// Bodies that make no endpoint: `BODY => STATUS POINTER => WORDS`, of which `URL` is a right one.
const WRONG: &str = r#"
[] => 422 - => an object
"whsec_telling" => 422 - => an object
{URL} => 422 /name => is missing
{"name": "Crm", URL} => 422 /name => a-z
{"name": "doorbell", URL} => 422 /name => taken
{"name": "ops", URL} => 409 - => configuration file
{"name": "crm"} => 422 - => `"url": "https://…"`
{"name": "crm", "url": {"env": "HOME"}} => 422 /url => only read in
{"name": "crm", "url": {"file": "/etc/hostname"}} => 422 /url => only read in
{"name": "crm", URL, "secrets": [{"env": "HOME"}]} => 422 /secrets/0 => only read in
{"name": "crm", "url": "https://10.0.0.1/"} => 422 /url => allow_networks
{"name": "crm", "url": "http://[::1]/"} => 422 /url => allow_networks
{"name": "crm", "url": "http://192.0.2.1/"} => 422 /url => allow_networks
{"name": "crm", URL, "allow_private": true} => 422 /allow_private => allow_networks
{"name": "crm", URL, "events": ["x.*"]} => 422 /events/0 => no event type
{"name": "crm", URL, "evens": []} => 422 /evens => did you mean `events`
{"name": "crm", URL, "headers": {"authorization": "***"}} => 422 /headers => write all of it
{"name": "crm", URL, "filter": "$DEEP"} => 422 /filter => in one another
{"name": "crm", URL, URL} => 400 - => given twice
{ => 400 - => body
"#;

/// What changes nothing, where the file has `ops` and the API `crm`.
const IN_VAIN: &str = r#"
PATCH ops {"timeout": "1s"} => 409 - => configuration file
DELETE ops {} => 409 - => configuration file
POST ops/rotate-secret {} => 409 - => a second secret
PATCH nobody {"timeout": "1s"} => 404 - => nobody
DELETE nobody {} => 404 - => nobody
POST nobody/rotate-secret {} => 404 - => nobody
PATCH crm {"name": "other"} => 422 /name => keeps its name
PATCH crm {"secrets": null} => 422 /secrets => rotate
PATCH crm {"url": null} => 422 - => `url` is missing
PATCH crm {"url": "https://crm.example/***"} => 422 /url => leave it out
PATCH crm {"headers": {"x-a": "***"}} => 422 /headers => leave it out
PATCH crm {"template": "***", "format": "template"} => 422 /template => leave it out
PATCH crm {"timeout": "1"} => 422 /timeout => no duration
POST crm/rotate-secret {"overlap": "8d"} => 422 /overlap => at most 7d
POST crm/rotate-secret {"overlap": 5} => 422 /overlap => a string
POST crm/rotate-secret {"secret": "x"} => 422 /secret => whsec_
POST crm/rotate-secret {"secrets": []} => 422 - => unknown key
"#;

#[tokio::test]
async fn what_is_wrong_is_refused_and_told_by_its_member() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let doorbell = started(&upstream, &receiver).await;
    let right = r#""url": "https://crm.example/""#;
    let deep = format!("[?{}", "(".repeat(50_000));
    let assert_refused = async |method: &str, path: &str, body: &str, expected: &str| {
        let (status, told) = send_text(&doorbell, method, path, body.to_owned()).await;
        let (wanted, words) = expected.split_once(" => ").expect("words");
        let pointer = told["errors"][0]["pointer"].as_str().unwrap_or_default();
        let pointer = if pointer.is_empty() { "-" } else { pointer };
        assert_eq!(
            format!("{status} {pointer}"),
            wanted,
            "{path} {body}: {told}"
        );
        let detail = told["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(words), "{path} {body}: {told}");
        assert!(!told.to_string().contains("telling"), "{told}");
    };
    for case in WRONG.trim().lines() {
        let (body, expected) = case.split_once(" => ").expect("a body");
        assert_refused(
            "POST",
            "endpoints",
            &body.replace("URL", right).replace("DEEP", &deep),
            expected,
        )
        .await;
    }
    let body = format!(r#"{{"name": "crm", {right}}}"#);
    let (status, told) = send_text(&doorbell, "POST", "endpoints", body.clone()).await;
    assert_eq!(status, 201, "{told}");
    assert_refused("POST", "endpoints", &body, "409 - => there already").await;
    for case in IN_VAIN.trim().lines() {
        let (asked, expected) = case.split_once(" => ").expect("a request");
        let mut words = asked.splitn(3, ' ');
        let [method, path, body] = [(); 3].map(|()| words.next().expect("three words"));
        assert_refused(method, &format!("endpoints/{path}"), body, expected).await;
    }
    let kept = send(&doorbell, "GET", "endpoints/crm", &json!(null))
        .await
        .1;
    assert_eq!(
        kept["settings"],
        json!({"url": "https://crm.example/"}),
        "{kept}"
    );
}

#[tokio::test]
async fn pages_of_other_sites_make_no_endpoints() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let doorbell = started(&upstream, &receiver).await;
    let ask = async |headers: &[(&str, &str)]| {
        let url = format!("{}/api/v1/endpoints", doorbell.admin_url());
        let body = r#"{"name": "crm", "url": "https://crm.example/"}"#;
        let mut request = client().post(url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("an answer").status().as_u16()
    };
    let is_json = ("content-type", "application/json");
    assert_eq!(ask(&[]).await, 415);
    assert_eq!(
        ask(&[is_json, ("origin", "https://evil.example")]).await,
        403
    );
    assert_eq!(ask(&[is_json]).await, 201);
}

#[tokio::test]
async fn nobody_without_the_token_makes_an_endpoint() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let token = "[admin]\ntoken = \"open-sesame\"\n";
    let corpse = Corpse::new(&tickets(&upstream, &receiver, "")).with("[admin]\n", token);
    let doorbell = corpse.restart().await;
    let body = json!({"name": "crm", "url": "https://crm.example/"});
    for (method, path) in [
        ("POST", "endpoints"),
        ("PATCH", "endpoints/crm"),
        ("DELETE", "endpoints/crm"),
        ("POST", "endpoints/crm/rotate-secret"),
    ] {
        assert_eq!(
            send(&doorbell, method, path, &body).await.0,
            401,
            "{method} {path}"
        );
    }
}

/// What was allowed when it was made is not when it is connected to.
#[tokio::test]
async fn a_network_that_is_allowed_no_more_is_not_connected_to() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let (receiver, hook) = (Receiver::accepting().await, Hook::open().await);
    let doorbell = started(&upstream, &receiver).await;
    made(
        &doorbell,
        &json!({"name": "crm", "url": hook.url("/"), "retry": ["10ms"]}),
    )
    .await;
    let corpse = doorbell.kill().await;
    let doorbell = corpse.with("127.0.0.0/8", "10.0.0.0/8").restart().await;
    change(&upstream, &doorbell, "one").await;
    doorbell.until_ended("crm", "dead", 1).await;
    let (_, dead) = send(&doorbell, "GET", "deliveries?state=dead", &json!(null)).await;
    let id = dead["deliveries"][0]["id"].as_str().expect("an id");
    let (_, told) = send(&doorbell, "GET", &format!("deliveries/{id}"), &json!(null)).await;
    assert_eq!(told["attempts"][0]["error"], "private_address", "{told}");
    assert_eq!(hook.rings().len(), 0);
    assert!(
        doorbell
            .said()
            .contains("no network of `admin.allow_networks`")
    );
}

#[tokio::test]
async fn a_file_that_gets_the_name_has_the_endpoint_as_long_as_it_does() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let (receiver, hook) = (Receiver::accepting().await, Hook::open().await);
    let doorbell = started(&upstream, &receiver).await;
    made(&doorbell, &json!({"name": "crm", "url": hook.url("/")})).await;
    let corpse = doorbell
        .kill()
        .await
        .with("[endpoints.ops]", "[endpoints.crm]");
    let doorbell = corpse.restart().await;
    assert!(
        doorbell
            .said()
            .contains("has the name of an endpoint made over the API")
    );
    let told = send(&doorbell, "GET", "endpoints/crm", &json!(null))
        .await
        .1;
    assert_eq!(
        (&told["owner"], &told["settings"]),
        (&json!("file"), &Value::Null)
    );
    assert_eq!(
        send(&doorbell, "DELETE", "endpoints/crm", &json!(null))
            .await
            .0,
        409
    );
    change(&upstream, &doorbell, "of the file").await;
    receiver.until_accepted(1).await;
    assert_eq!(hook.rings().len(), 0);
    doorbell.until_ended("crm", "delivered", 1).await;
    let corpse = doorbell
        .kill()
        .await
        .with("[endpoints.crm]", "[endpoints.ops]");
    let doorbell = corpse.restart().await;
    change(&upstream, &doorbell, "of the API again").await;
    hook.told(2).await;
    assert_eq!(hook.sequences(), [2]);
}

#[tokio::test]
async fn the_old_secret_signs_beside_the_new_one_for_the_overlap_and_over_a_kill() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let (receiver, hook) = (Receiver::accepting().await, Hook::open().await);
    let doorbell = started(&upstream, &receiver).await;
    let told = made(&doorbell, &json!({"name": "crm", "url": hook.url("/")})).await;
    let first = told["secret"].as_str().expect("a secret").to_owned();
    let rotate = async |doorbell: &Doorbell, body: Value| {
        let path = "endpoints/crm/rotate-secret";
        let (status, told) = send(doorbell, "POST", path, &body).await;
        assert_eq!(status, 200, "{told}");
        told
    };
    let told = rotate(&doorbell, json!({})).await;
    let second = told["secret"].as_str().expect("another").to_owned();
    assert_eq!(told["secrets"].as_array().map(Vec::len), Some(2), "{told}");
    assert!(told["secrets"][1]["until"].is_string() && told["secrets"][0]["until"].is_null());
    let mut count = 0;
    let mut ring = async |doorbell: &Doorbell| {
        count += 1;
        change(&upstream, doorbell, &count.to_string()).await;
        hook.told(count).await
    };
    let both = ring(&doorbell).await;
    assert!(both.is_signed_by(&first) && both.is_signed_by(&second));
    let doorbell = doorbell.kill().await.restart().await;
    let both = ring(&doorbell).await;
    assert!(both.is_signed_by(&first) && both.is_signed_by(&second));

    let third = "whsec_bmV3ZXN0IG9mIGFsbCBzZWNyZXRzLCBnaXZlbg==";
    let told = rotate(&doorbell, json!({"secret": third, "overlap": "0s"})).await;
    assert_eq!(told["secret"], Value::Null);
    let only = ring(&doorbell).await;
    assert!(only.is_signed_by(third) && !only.is_signed_by(&first) && !only.is_signed_by(&second));

    let told = rotate(&doorbell, json!({"overlap": "1s"})).await;
    let fourth = told["secret"].as_str().expect("another").to_owned();
    // Time passes by itself, at the latest while this rings.
    let last = wait_until("the third signs no more", async || {
        let last = ring(&doorbell).await;
        assert!(last.is_signed_by(&fourth));
        (!last.is_signed_by(third)).then_some(last)
    })
    .await;
    assert_eq!(last.header("webhook-signature").matches("v1,").count(), 1);
    for _ in 0..9 {
        rotate(&doorbell, json!({})).await;
    }
    let path = "endpoints/crm/rotate-secret";
    assert_eq!(
        send(&doorbell, "POST", path, &json!({})).await.0,
        409,
        "ten sign"
    );
    rotate(&doorbell, json!({"overlap": "0s"})).await;
}

/// Method: the receiver has a webhook that it does not answer when the format changes, and doorbell
/// dies then.
#[tokio::test]
async fn a_change_of_words_leaves_those_of_what_is_in_flight_over_a_kill() {
    let (upstream, _receiver, hook, doorbell) = in_flight().await;
    let patch = json!({"format": "cloudevents"});
    let (status, told) = send(&doorbell, "PATCH", "endpoints/crm", &patch).await;
    assert_eq!(status, 200, "{told}");
    let doorbell = doorbell.kill().await.restart().await;
    hook.until(2).await;
    hook.answers(true);
    change(&upstream, &doorbell, "after it").await;
    let last = hook.told(2).await;
    assert_eq!(
        last.header("content-type"),
        "application/cloudevents+json; charset=UTF-8"
    );
    let of_first = |came: &Came| came.sequence() == Some(1);
    let tried: Vec<Came> = hook.rings().into_iter().filter(of_first).collect();
    assert!(tried.len() > 1);
    for came in &tried {
        assert_eq!(came.header("webhook-id"), tried[0].header("webhook-id"));
        assert_eq!(came.body, tried[0].body);
        assert_eq!(came.header("content-type"), "application/json");
    }
}

/// Method: events wait at a paused endpoint whose format changes, once while doorbell runs and once
/// while it does not, having come to its end.
#[tokio::test]
async fn what_nobody_tried_is_told_in_the_words_of_now() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let (receiver, hook) = (Receiver::accepting().await, Hook::open().await);
    let doorbell = started(&upstream, &receiver).await;
    made(&doorbell, &json!({"name": "crm", "url": hook.url("/")})).await;
    change(&upstream, &doorbell, "in the usual format").await;
    hook.told(1).await;
    let steer = async |doorbell: &Doorbell, method: &str, path: &str, body: &Value| {
        let (status, told) = send(doorbell, method, &format!("endpoints/crm{path}"), body).await;
        assert!(matches!(status, 200 | 204), "{status} {told}");
    };
    let none = json!({});
    steer(&doorbell, "POST", "/pause", &none).await;
    change(&upstream, &doorbell, "waits").await;
    steer(&doorbell, "PATCH", "", &json!({"payload": "thin"})).await;
    steer(&doorbell, "POST", "/resume", &none).await;
    let second: Value = serde_json::from_slice(&hook.told(2).await.body).expect("JSON");
    assert_eq!(second["data"].get("current"), None, "{second}");
    steer(&doorbell, "POST", "/pause", &none).await;
    change(&upstream, &doorbell, "waits too").await;
    doorbell.ask_to_end();
    let (corpse, status) = doorbell.exited().await;
    assert!(status.success());
    // The link in what is told is part of the words.
    let doorbell = corpse
        .with("[admin]", "[admin]\npublic_url = \"https://b.example\"")
        .restart()
        .await;
    steer(&doorbell, "POST", "/resume", &none).await;
    let third: Value = serde_json::from_slice(&hook.told(3).await.body).expect("JSON");
    let link = third["data"]["link"].as_str().unwrap_or_default();
    assert!(link.starts_with("https://b.example/"), "{third}");
}
