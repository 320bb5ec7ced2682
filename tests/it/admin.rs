//! The admin API as those meet it who ask: who may, what the feed and the deliveries tell.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Behaviour, Doorbell, Receiver, Ring, Upstream, client, tickets, wait_until};

fn ticket(id: u64, words: &str) -> Value {
    json!({"id": id, "title": words})
}

async fn get(doorbell: &Doorbell, path: &str) -> (u16, Value) {
    let url = format!("{}{path}", doorbell.admin_url());
    let answer = client().get(url).send().await.expect("an answer");
    let status = answer.status().as_u16();
    let body = answer.bytes().await.expect("a body");
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn all_but_health_needs_the_token_where_there_is_one() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let config = tickets(&upstream, &receiver, "");
    // What is put in front still belongs to `[admin]`.
    let doorbell = Doorbell::start(&format!("token = \"open-sesame\"{config}")).await;

    let ask = async |path: &str, token: Option<&str>| {
        let request = client().get(format!("{}{path}", doorbell.admin_url()));
        let request = match token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        request.send().await.expect("an answer")
    };
    for path in [
        "/metrics",
        "/api/v1/sources",
        "/api/v1/events",
        "/api/v1/deliveries",
    ] {
        for wrong in [None, Some("sesame"), Some("open-sesame2"), Some("")] {
            let refused = ask(path, wrong).await;
            assert_eq!(refused.status(), 401, "{path} with {wrong:?}");
            assert_eq!(
                refused.headers()["content-type"],
                "application/problem+json"
            );
            assert_eq!(refused.headers()["www-authenticate"], "Bearer");
        }
        assert_eq!(ask(path, Some("open-sesame")).await.status(), 200, "{path}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(ask(path, None).await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_path_that_is_no_text_is_a_problem_like_all_others() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, "")).await;
    for path in [
        "/api/v1/sources/%ff",
        "/api/v1/events/%ff",
        "/api/v1/deliveries/%ff",
        "/api/v1/endpoints/%ff",
        "/api/v1/endpoints/%ff/backfill",
    ] {
        let url = format!("{}{path}", doorbell.admin_url());
        let refused = client().get(url).send().await.expect("an answer");
        assert_eq!(refused.status(), 400, "{path}");
        let kind = &refused.headers()["content-type"];
        assert_eq!(kind, "application/problem+json", "{path}");
    }
}

#[tokio::test]
async fn pages_of_other_sites_can_neither_read_nor_change_anything() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, "")).await;

    // A name that was rebound to this address is still that name.
    for (host, expected) in [
        ("evil.example", 421),
        ("localhost", 200),
        ("127.0.0.1", 200),
    ] {
        let url = format!("{}/api/v1/sources", doorbell.admin_url());
        let answer = client()
            .get(url)
            .header("host", host)
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), expected, "{host}");
    }
    let url = format!("{}/api/v1/sources/tickets/poll", doorbell.admin_url());
    let own = doorbell.admin_url().to_owned();
    for (content_type, origin, expected) in [
        (None, None, 415),
        (Some("text/plain"), None, 415),
        (Some("application/json"), Some("https://evil.example"), 403),
        (Some("application/json"), Some("null"), 403),
        (
            Some("application/json; charset=utf-8"),
            Some(own.as_str()),
            200,
        ),
        (Some("application/json"), None, 200),
    ] {
        let mut request = client().post(&url);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let status = request.send().await.expect("an answer").status();
        assert_eq!(status, expected, "{content_type:?} from {origin:?}");
    }
}

#[tokio::test]
async fn the_feed_shows_each_event_once_and_goes_on_from_its_cursor() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, "")).await;
    doorbell.poll("tickets").await;
    for id in 1..=5 {
        upstream.change("/tickets", |list| list.push(ticket(id, "new")));
        doorbell.poll("tickets").await;
    }
    upstream.change("/tickets", |list| list[0] = ticket(1, "newer"));
    doorbell.poll("tickets").await;

    let (mut cursor, mut sequences) = (String::new(), Vec::new());
    loop {
        let (status, page) = get(&doorbell, &format!("/api/v1/events?limit=2{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        let events = page["events"].as_array().expect("a list").clone();
        sequences.extend(events.iter().map(|event| event["data"]["sequence"].clone()));
        cursor = format!("&after={}", page["next"].as_str().expect("a cursor"));
        if events.is_empty() {
            break;
        }
        let id = events[0]["id"].as_str().expect("an id");
        let (status, one) = get(&doorbell, &format!("/api/v1/events/{id}")).await;
        assert_eq!((status, &one), (200, &events[0]));
    }
    assert_eq!(json!(sequences), json!([1, 2, 3, 4, 5, 6]));

    let (_, updates) = get(&doorbell, "/api/v1/events?type=tickets.updated").await;
    assert_eq!(
        updates["events"].as_array().map(Vec::len),
        Some(1),
        "{updates}"
    );
    for bad in [
        "after=x",
        "limit=0",
        "limit=1001",
        "type=x",
        "sourc=tickets",
        "limit=x",
    ] {
        let (status, problem) = get(&doorbell, &format!("/api/v1/events?{bad}")).await;
        assert_eq!(
            (status, &problem["status"]),
            (400, &json!(400)),
            "{bad}: {problem}"
        );
    }
    let none = format!("/api/v1/events/evt_{}", "0".repeat(32));
    for path in [
        none.as_str(),
        "/api/v1/events/1",
        "/api/v1/sources/none",
        "/api/v1/none",
    ] {
        assert_eq!(get(&doorbell, path).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn deliveries_are_listed_where_they_stand_with_their_attempts() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::refusing().await;
    let config = tickets(&upstream, &receiver, "");
    let (before, retry) = config.split_once("retry = [").expect("a schedule");
    let (_, after) = retry.split_once(']').expect("its end");
    let config = format!("{before}retry = [\"10ms\"]{after}");
    let doorbell = Doorbell::start(&config).await;
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |list| list.push(ticket(1, "new")));
    let polled = doorbell.poll("tickets").await;

    let listed = async |state: &str| {
        let (_, listed) = get(&doorbell, &format!("/api/v1/deliveries?state={state}")).await;
        listed["deliveries"].as_array().expect("a list").clone()
    };
    let dead = wait_until("the delivery is dead", async || listed("dead").await.pop()).await;
    assert_eq!(dead["event"], polled["event_ids"][0]);
    assert_eq!(
        (&dead["type"], &dead["attempts"]),
        (&json!("tickets.created"), &json!(2))
    );
    let id = dead["id"].as_str().expect("an id");
    let (_, delivery) = get(&doorbell, &format!("/api/v1/deliveries/{id}")).await;
    let attempts = delivery["attempts"].as_array().expect("a list");
    let statuses: Vec<&Value> = attempts.iter().map(|attempt| &attempt["status"]).collect();
    assert_eq!(statuses, [&json!(500), &json!(500)], "{delivery}");

    receiver.now(Behaviour::Accepting);
    upstream.change("/tickets", |list| list[0] = ticket(1, "newer"));
    doorbell.poll("tickets").await;
    receiver.until_accepted(1).await;
    let delivered = wait_until("it is delivered", async || listed("delivered").await.pop()).await;
    assert_eq!(delivered["type"], "tickets.updated");
    assert_eq!(listed("pending").await, Vec::<Value>::new());
    assert_eq!(listed("dead").await.len(), 1);
}

#[tokio::test]
async fn an_endpoint_that_was_gone_is_enabled_and_rung_with_what_waited() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::behaving(Behaviour::Answering(410, 0), 0).await;
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, "")).await;
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |list| list.push(ticket(1, "new")));
    doorbell.poll("tickets").await;
    wait_until("it is disabled", async || {
        let (_, listed) = get(&doorbell, "/api/v1/endpoints").await;
        (listed["endpoints"][0]["enabled"] == json!(false)).then_some(())
    })
    .await;
    upstream.change("/tickets", |list| list.push(ticket(2, "new")));
    doorbell.poll("tickets").await;

    receiver.now(Behaviour::Accepting);
    let url = format!("{}/api/v1/endpoints/ops/enable", doorbell.admin_url());
    let request = client()
        .post(url)
        .header("content-type", "application/json");
    assert_eq!(request.send().await.expect("an answer").status(), 204);
    let rings = receiver.until_accepted(2).await;
    let accepted: Vec<&str> = rings
        .iter()
        .filter(|ring| ring.accepted.is_some())
        .map(Ring::subject)
        .collect();
    assert_eq!(accepted.len(), 2, "{accepted:?}");
}

/// A scanner's connection must not keep the process until its grace period of 20 s runs out.
#[tokio::test]
async fn a_half_sent_request_does_not_hold_up_the_end() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, "")).await;
    let address = doorbell
        .admin_url()
        .trim_start_matches("http://")
        .to_owned();
    let mut half = tokio::net::TcpStream::connect(address)
        .await
        .expect("connects");
    half.write_all(b"GET /healthz HTTP/1.1\r\nHost: lo")
        .await
        .expect("sends");

    let asked = Instant::now();
    doorbell.ask_to_end();
    let (_, status) = doorbell.exited().await;
    assert!(status.success(), "{status}");
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "{:?}",
        asked.elapsed()
    );
}

/// As load balancers ask, and as scanners do.
#[tokio::test]
async fn a_probe_needs_no_host_and_half_a_body_is_not_waited_for() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, "")).await;
    let address = doorbell.admin_url().trim_start_matches("http://");
    for (request, expected) in [
        ("GET /healthz HTTP/1.0\r\n\r\n", " 200 "),
        ("GET /readyz HTTP/1.0\r\n\r\n", " 200 "),
        ("GET /metrics HTTP/1.0\r\n\r\n", " 421 "),
        (
            "POST /api/v1/replay HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
            " 408 ",
        ),
    ] {
        let stream = tokio::net::TcpStream::connect(address).await;
        let mut stream = stream.expect("connects");
        stream.write_all(request.as_bytes()).await.expect("sends");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("text");
        let status = answer.lines().next().unwrap_or_default();
        assert!(status.contains(expected), "{request}: {answer}");
    }
}

/// The newest of all endpoints: one with a long backlog must not hide another's.
#[tokio::test]
async fn deliveries_of_several_endpoints_are_listed_together() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::refusing().await;
    let config = tickets(&upstream, &receiver, "");
    let (_, secrets) = config.split_once("secrets = ").expect("secrets");
    let (secrets, _) = secrets.split_once('\n').expect("a line");
    let other = format!(
        "[endpoints.another]\nurl = \"{receiver}/another\"\nsecrets = {secrets}\nallow_private = true\n"
    );
    let doorbell = Doorbell::start(&(config.clone() + &other)).await;
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |list| {
        list.extend((1..=3).map(|id| ticket(id, "new")));
    });
    assert_eq!(doorbell.poll("tickets").await["events"], 3);

    let (status, listed) = get(&doorbell, "/api/v1/deliveries?limit=3").await;
    assert_eq!(status, 200, "{listed}");
    let listed = listed["deliveries"].as_array().expect("a list");
    let of = |name| listed.iter().any(|delivery| delivery["endpoint"] == name);
    assert!(
        listed.len() == 3 && of("ops") && of("another"),
        "{listed:?}"
    );
}
