//! What people do about deliveries: try again, give up, replay, pause.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{
    Behaviour, Doorbell, Receiver, Ring, Upstream, client, get, post, tickets, wait_until,
};

fn ticket(id: u64, words: &str) -> Value {
    json!({"id": id, "title": words})
}

/// A doorbell that retries after these delays, its list polled once.
async fn rung(upstream: &Upstream, receiver: &Receiver, retry: &str) -> Doorbell {
    let config = tickets(upstream, receiver, "");
    let (before, rest) = config.split_once("retry = [").expect("a schedule");
    let (_, after) = rest.split_once(']').expect("its end");
    let doorbell = Doorbell::start(&format!("{before}retry = [{retry}]{after}")).await;
    doorbell.poll("tickets").await;
    doorbell
}

/// The deliveries in this state, newest first.
async fn listed(doorbell: &Doorbell, state: &str) -> Vec<Value> {
    let listed = get(doorbell, &format!("deliveries?state={state}")).await;
    listed["deliveries"].as_array().expect("a list").clone()
}

/// Waits until so many deliveries are in this state.
async fn until(doorbell: &Doorbell, state: &str, count: usize) -> Vec<Value> {
    let what = format!("{count} deliveries are {state}");
    wait_until(&what, async || {
        let listed = listed(doorbell, state).await;
        (listed.len() == count).then_some(listed)
    })
    .await
}

/// Waits until a pending delivery was tried so often.
async fn until_tried(doorbell: &Doorbell, attempts: u64) -> String {
    wait_until("it was tried", async || {
        let pending = listed(doorbell, "pending").await;
        let tried = pending.iter().find(|one| one["attempts"] == attempts)?;
        Some(tried["id"].as_str()?.to_owned())
    })
    .await
}

fn accepted(rings: &[Ring]) -> Vec<&Ring> {
    rings
        .iter()
        .filter(|ring| ring.accepted.is_some())
        .collect()
}

#[tokio::test]
async fn what_would_wait_for_an_hour_is_tried_at_once_and_its_subject_follows() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::refusing().await;
    let doorbell = rung(&upstream, &receiver, "\"1h\"").await;
    upstream.change("/tickets", |list| list.push(ticket(1, "new")));
    doorbell.poll("tickets").await;
    let id = until_tried(&doorbell, 1).await;
    upstream.change("/tickets", |list| list[0] = ticket(1, "newer"));
    doorbell.poll("tickets").await;
    let behind = wait_until("the next one is behind it", async || {
        let pending = listed(&doorbell, "pending").await;
        let behind = pending.iter().find(|one| one["attempts"] == 0)?;
        Some(behind["id"].as_str()?.to_owned())
    })
    .await;
    // Read, it is blocked and says by whom; until then it is pending without more ado.
    wait_until("it is blocked", async || {
        let (status, told) =
            post(&doorbell, &format!("deliveries/{behind}/retry"), json!({})).await;
        let is_told = told["detail"].as_str().unwrap_or_default().contains(&id);
        (status == 409 && is_told).then_some(())
    })
    .await;

    receiver.now(Behaviour::Accepting);
    let (status, told) = post(&doorbell, &format!("deliveries/{id}/retry"), json!({})).await;
    assert_eq!((status, &told["id"]), (202, &json!(id)), "{told}");
    let rings = receiver.until_accepted(2).await;
    let order: Vec<u64> = accepted(&rings)
        .iter()
        .map(|ring| ring.sequence())
        .collect();
    assert_eq!(order, [1, 2]);
    until(&doorbell, "delivered", 2).await;
    let told = get(&doorbell, &format!("deliveries/{id}")).await;
    assert_eq!(
        (&told["state"], &told["type"]),
        (&json!("delivered"), &json!("tickets.created"))
    );
    let attempts = told["attempts"].as_array().expect("a list");
    let outcomes: Vec<_> = attempts
        .iter()
        .map(|one| (&one["status"], &one["error"]))
        .collect();
    let (refused, taken) = ((json!(500), json!("status")), (json!(204), Value::Null));
    assert_eq!(outcomes, [(&refused.0, &refused.1), (&taken.0, &taken.1)]);
}

/// The second life of a dead letter has the whole schedule before it again.
#[tokio::test]
async fn a_dead_letter_is_tried_again_as_often_as_at_first_and_over_a_kill() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::refusing().await;
    let doorbell = rung(&upstream, &receiver, "\"10ms\"").await;
    upstream.change("/tickets", |list| list.push(ticket(1, "new")));
    doorbell.poll("tickets").await;
    let dead = until(&doorbell, "dead", 1).await.remove(0);
    let id = dead["id"].as_str().expect("an id").to_owned();
    let retry = format!("deliveries/{id}/retry");
    assert_eq!(post(&doorbell, &retry, json!({})).await.0, 202);
    wait_until("it is dead again", async || {
        let dead = listed(&doorbell, "dead").await.pop()?;
        (dead["attempts"] == 4).then_some(())
    })
    .await;

    receiver.now(Behaviour::Stalling);
    assert_eq!(post(&doorbell, &retry, json!({})).await.0, 202);
    let doorbell = doorbell.kill().await.restart().await;
    receiver.now(Behaviour::Accepting);
    let rings = receiver.until_accepted(1).await;
    let (first, last) = (&rings[0], accepted(&rings)[0]);
    assert_eq!((&first.id, &first.body), (&last.id, &last.body));
    until(&doorbell, "delivered", 1).await;

    // What was accepted goes out once more, too; what does not exist does not.
    assert_eq!(post(&doorbell, &retry, json!({})).await.0, 202);
    receiver.until_arrived(rings.len() + 1).await;
    until(&doorbell, "delivered", 1).await;
    let rung = receiver.rings();
    assert!(rung.iter().all(|ring| ring.id == first.id));
    for unknown in ["dlv_1_1", "dlv_99_1000000", "nonsense"] {
        let path = format!("deliveries/{unknown}/retry");
        assert_eq!(post(&doorbell, &path, json!({})).await.0, 404, "{unknown}");
    }
}

#[tokio::test]
async fn a_poisonous_event_is_given_up_and_its_subject_goes_on() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::refusing().await;
    let doorbell = rung(&upstream, &receiver, "\"1h\"").await;
    upstream.change("/tickets", |list| list.push(ticket(1, "poison")));
    doorbell.poll("tickets").await;
    let id = until_tried(&doorbell, 1).await;
    upstream.change("/tickets", |list| list[0] = ticket(1, "fine"));
    doorbell.poll("tickets").await;
    receiver.now(Behaviour::Accepting);
    let skip = format!("deliveries/{id}/skip");
    let (status, told) = post(&doorbell, &skip, json!({})).await;
    assert_eq!((status, &told["state"]), (202, &json!("dead")), "{told}");
    doorbell.until_ended("ops", "dead", 1).await;
    let last = &told["attempts"][1];
    assert_eq!(
        (&last["error"], &last["status"]),
        (&json!("skipped"), &Value::Null)
    );
    let rings = receiver.until_accepted(1).await;
    assert_eq!(accepted(&rings)[0].sequence(), 2);
    assert_eq!(rings.len(), 2, "nothing was sent for what was given up");
    let (status, told) = post(&doorbell, &skip, json!({})).await;
    assert_eq!(status, 409, "{told}");
    // Somebody who thinks better of it gets it after all.
    assert_eq!(
        post(&doorbell, &format!("deliveries/{id}/retry"), json!({}))
            .await
            .0,
        202
    );
    receiver.until_accepted(2).await;
}

#[tokio::test]
async fn an_endpoints_failures_are_replayed_in_order_under_the_same_ids() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::refusing().await;
    let doorbell = rung(&upstream, &receiver, "").await;
    for words in ["one", "two", "three"] {
        upstream.change("/tickets", |list| {
            *list = (1..=250).map(|id| ticket(id, words)).collect();
        });
        doorbell.poll("tickets").await;
    }
    doorbell.until_ended("ops", "dead", 750).await;
    let failed: BTreeMap<String, Ring> = receiver
        .rings()
        .into_iter()
        .map(|ring| (ring.id.clone(), ring))
        .collect();
    assert_eq!(failed.len(), 750);
    receiver.now(Behaviour::Accepting);

    let ask = json!({"endpoint": "ops", "types": ["tickets.updated"]});
    let mut dry = ask.clone();
    dry["dry_run"] = json!(true);
    let (_, told) = post(&doorbell, "replay", dry).await;
    assert_eq!(told, json!({"matching": 500}));
    let (mut count, mut ask) = (0, ask);
    loop {
        let (status, told) = post(&doorbell, "replay", ask.clone()).await;
        assert_eq!(status, 200, "{told}");
        count += told["replayed"].as_u64().expect("a count");
        if told["next"].is_null() {
            break;
        }
        ask["after"] = told["next"].clone();
    }
    assert_eq!(count, 500);
    receiver.until_accepted(500).await;
    doorbell.until_delivered("ops").await;
    let (_, told) = post(
        &doorbell,
        "replay",
        json!({"endpoint": "ops", "state": "dead"}),
    )
    .await;
    assert_eq!(told["replayed"], 250, "what was created");
    let rings = receiver.until_accepted(750).await;
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for ring in accepted(&rings) {
        let first = &failed[&ring.id];
        assert_eq!(first.body, ring.body);
        if !ring.event_type().ends_with("created") {
            let before = last.insert(ring.subject(), ring.sequence());
            assert!(
                before.is_none_or(|before| before < ring.sequence()),
                "{}",
                ring.event
            );
        }
    }
    doorbell.until_delivered("ops").await;
    assert_eq!(listed(&doorbell, "dead").await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_replay_that_makes_no_sense_is_refused() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let doorbell = rung(&upstream, &receiver, "").await;
    for (bad, expected) in [
        (json!({"endpoint": "nobody"}), 404),
        (json!({}), 400),
        (json!({"endpoint": "ops", "since": "yesterday"}), 400),
        (json!({"endpoint": "ops", "types": ["nothing.*"]}), 400),
        (json!({"endpoint": "ops", "state": "pending"}), 400),
        (json!({"endpoint": "ops", "after": "x"}), 400),
        (json!({"endpoint": "ops", "until_": "x"}), 400),
        (json!({"endpoint": "ops", "types": vec!["x"; 65]}), 400),
        (json!({"endpoint": "x".repeat(70_000)}), 413),
    ] {
        let (status, told) = post(&doorbell, "replay", bad.clone()).await;
        assert_eq!(status, expected, "{told}");
    }
}

#[tokio::test]
async fn a_paused_endpoint_is_left_in_peace_over_a_kill_and_then_gets_what_waited() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let doorbell = rung(&upstream, &receiver, "\"10ms\"").await;
    let switch = async |doorbell: &Doorbell, verb: &str, body: Value| {
        let (status, told) = post(doorbell, &format!("endpoints/ops/{verb}"), body).await;
        assert_eq!(status, 204, "{told}");
        let metrics = doorbell.metrics().await;
        metrics.value("doorbell_endpoint_enabled", &[("endpoint", "ops")])
    };
    assert_eq!(switch(&doorbell, "pause", json!({})).await, 0.0);
    upstream.change("/tickets", |list| list.push(ticket(1, "new")));
    doorbell.poll("tickets").await;
    let doorbell = doorbell.kill().await.restart().await;
    let told = get(&doorbell, "endpoints/ops").await;
    assert_eq!(
        (&told["paused"], &told["enabled"], &told["pending"]),
        (&json!(true), &json!(true), &json!(1))
    );
    wait_until("its age shows, although nobody reads it", async || {
        let oldest = "doorbell_delivery_oldest_pending_seconds";
        let metrics = doorbell.metrics().await;
        let told = get(&doorbell, "endpoints/ops").await;
        let told = told["oldest_pending_seconds"].as_u64()?;
        (told > 0 && metrics.value(oldest, &[("endpoint", "ops")]) > 0.0).then_some(())
    })
    .await;
    assert_eq!(switch(&doorbell, "disable", json!({})).await, 0.0);
    assert_eq!(
        switch(&doorbell, "resume", json!({})).await,
        0.0,
        "still off"
    );
    upstream.change("/tickets", |list| list[0] = ticket(1, "newer"));
    doorbell.poll("tickets").await;
    assert_eq!(receiver.rings().len(), 0);
    let send = json!({"backlog": "send"});
    assert_eq!(switch(&doorbell, "enable", send).await, 1.0);
    let rings = receiver.until_accepted(2).await;
    assert_eq!((rings[0].sequence(), rings[1].sequence()), (1, 2));

    assert_eq!(switch(&doorbell, "disable", json!({})).await, 0.0);
    upstream.change("/tickets", |list| list[0] = ticket(1, "lost"));
    doorbell.poll("tickets").await;
    let doorbell = doorbell.kill().await.restart().await;
    let drop = json!({"backlog": "drop"});
    assert_eq!(switch(&doorbell, "enable", drop).await, 1.0);
    upstream.change("/tickets", |list| list[0] = ticket(1, "found"));
    doorbell.poll("tickets").await;
    let rings = receiver.until_accepted(3).await;
    assert_eq!(rings[2].sequence(), 4, "the third is dropped");

    for (path, body, expected) in [
        ("endpoints/nobody/pause", json!({}), 404),
        ("endpoints/nobody/enable", json!({}), 404),
        ("endpoints/ops/enable", json!({"backlog": "keep"}), 400),
        ("endpoints/ops/enable", json!({"backlogs": "drop"}), 400),
    ] {
        assert_eq!(post(&doorbell, path, body).await.0, expected, "{path}");
    }
}

/// Method: an endpoint joins after ten changes, and asks for them; more come meanwhile.
#[tokio::test]
async fn a_new_endpoint_gets_what_came_before_it_in_order_and_once() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let doorbell = rung(&upstream, &receiver, "\"10ms\"").await;
    for words in 0..10 {
        let words = words.to_string();
        upstream.change("/tickets", |list| *list = vec![ticket(1, &words)]);
        doorbell.poll("tickets").await;
    }
    receiver.until_accepted(10).await;
    let corpse = doorbell.kill().await;
    let corpse = corpse.with("[endpoints.ops]", "[endpoints.late]");
    let doorbell = corpse.restart().await;
    let path = "endpoints/late/backfill";
    let ask = json!({"source": "tickets", "from_sequence": 4});
    let (status, told) = post(&doorbell, path, ask).await;
    assert_eq!((status, &told["from_sequence"]), (202, &json!(4)), "{told}");
    upstream.change("/tickets", |list| *list = vec![ticket(1, "last")]);
    doorbell.poll("tickets").await;
    wait_until("the last has come", async || {
        let rings = receiver.rings();
        rings.iter().any(|ring| ring.sequence() == 11).then_some(())
    })
    .await;
    let late = receiver.rings().split_off(10);
    let order: Vec<u64> = late.iter().map(Ring::sequence).collect();
    assert_eq!(order, (4..=11).collect::<Vec<_>>());

    for (body, expected) in [
        (json!({"source": "none", "from_sequence": 1}), 404),
        (json!({"source": "tickets", "from_sequence": 12}), 409),
        (json!({"source": "tickets"}), 400),
        (json!({"source": "tickets", "from_sequence": -1}), 400),
    ] {
        assert_eq!(
            post(&doorbell, path, body.clone()).await.0,
            expected,
            "{body}"
        );
    }
}

/// Reads blocks of a stream until `count` events have come.
async fn streamed(answer: &mut reqwest::Response, count: usize) -> Vec<(String, Value)> {
    let (mut text, mut events) = (String::new(), Vec::new());
    while events.len() < count {
        let chunk = tokio::time::timeout(crate::harness::DEADLINE, answer.chunk());
        let chunk = chunk.await.expect("in time").expect("an open stream");
        text.push_str(&String::from_utf8_lossy(&chunk.expect("more to come")));
        while let Some((block, rest)) = text.split_once("\n\n") {
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name));
                line.map(|value| value.trim_start().to_owned())
            };
            if let (Some(id), Some(data)) = (field("id:"), field("data:")) {
                events.push((id, serde_json::from_str(&data).expect("JSON")));
            }
            text = rest.to_owned();
        }
    }
    events
}

#[tokio::test]
async fn the_stream_tells_what_happens_and_goes_on_behind_the_last_event_over_a_restart() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let doorbell = rung(&upstream, &receiver, "\"10ms\"").await;
    let open = async |doorbell: &Doorbell, query: &str, last: Option<&str>| {
        let url = format!("{}/api/v1/events/stream{query}", doorbell.admin_url());
        let mut request = client().get(url);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        request.send().await.expect("an answer")
    };
    upstream.change("/tickets", |list| list.push(ticket(1, "before")));
    doorbell.poll("tickets").await;
    let mut stream = open(&doorbell, "", None).await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    for words in ["one", "two"] {
        upstream.change("/tickets", |list| list[0] = ticket(1, words));
        doorbell.poll("tickets").await;
    }
    let events = streamed(&mut stream, 2).await;
    let (id, first) = &events[0];
    assert_eq!(
        (&first["id"], &first["data"]["sequence"]),
        (&json!(id), &json!(2))
    );
    assert_eq!(events[1].1["data"]["sequence"], 3);

    let doorbell = doorbell.kill().await.restart().await;
    upstream.change("/tickets", |list| list.push(ticket(2, "new")));
    doorbell.poll("tickets").await;
    let mut stream = open(&doorbell, "?type=tickets.created", Some(id)).await;
    let events = streamed(&mut stream, 1).await;
    assert_eq!(
        events[0].1["data"]["subject"], "2",
        "updates are not asked for"
    );
    for (query, last, expected) in [
        ("?type=x", None, 400),
        ("?after=x", None, 400),
        ("", Some("nonsense"), 400),
        ("", Some("evt_00000000000000010000000000000001"), 410),
    ] {
        assert_eq!(
            open(&doorbell, query, last).await.status(),
            expected,
            "{query}"
        );
    }
    // No stream holds up the end, and there are not endlessly many.
    let mut streams = vec![stream];
    while streams.len() < 16 {
        let stream = open(&doorbell, "", None).await;
        assert_eq!(stream.status(), 200);
        streams.push(stream);
    }
    assert_eq!(open(&doorbell, "", None).await.status(), 503);
    doorbell.ask_to_end();
    assert!(doorbell.exited().await.1.success());
}

#[tokio::test]
async fn the_commands_ask_a_doorbell_at_work_and_a_replay_tells_how_far_it_is() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::refusing().await;
    let doorbell = rung(&upstream, &receiver, "").await;
    upstream.change("/tickets", |list| {
        list.extend((1..=20).map(|id| ticket(id, "new")));
    });
    doorbell.poll("tickets").await;
    doorbell.until_ended("ops", "dead", 20).await;
    receiver.now(Behaviour::Accepting);
    let url = doorbell.admin_url().to_owned();
    let corpse = doorbell.corpse();
    let ask = async |arguments: &[&str]| {
        let output = corpse.ask(&[arguments, &["--url", &url]].concat()).await;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), told, error)
    };
    let (code, told, _) = ask(&["sources"]).await;
    assert!(
        code == Some(0) && told.contains("tickets  ok  20 items"),
        "{told}"
    );
    let (code, told, _) = ask(&["events", "--limit", "3", "--json"]).await;
    assert_eq!((code, told.lines().count()), (Some(0), 3), "{told}");
    let (code, told, _) = ask(&["events", "--type", "tickets.created"]).await;
    assert_eq!((code, told.lines().count()), (Some(0), 20), "{told}");
    let (code, told, _) = ask(&["deliveries", "--state", "dead", "--endpoint", "ops"]).await;
    assert_eq!((code, told.lines().count()), (Some(0), 20), "{told}");
    let (_, told, _) = ask(&["replay", "ops", "--dry-run", "--since", "1h", "--json"]).await;
    assert_eq!(told.trim(), r#"{"matching":20}"#);
    assert_eq!(receiver.rings().len(), 20);
    let (code, told, _) = ask(&["replay", "ops"]).await;
    assert_eq!(
        (code, told.trim()),
        (Some(0), "20 deliveries ring once more")
    );
    receiver.until_accepted(20).await;
    let (code, _, error) = ask(&["replay", "nobody"]).await;
    assert!(
        code == Some(1) && error.contains("no endpoint is named"),
        "{error}"
    );
    let (code, _, error) = ask(&["replay", "ops", "--since", "x"]).await;
    assert!(code == Some(1) && error.contains("--since"), "{error}");
    let output = corpse
        .ask(&["sources", "--url", "http://127.0.0.1:1"])
        .await;
    let (code, error) = (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        code == Some(1) && error.contains("no doorbell answers"),
        "{error}"
    );
}

/// Method: a replay of three steps, once where a person looks on and once where a program does.
#[tokio::test]
async fn a_terminal_shows_how_far_a_replay_is_and_a_program_hears_only_its_end() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::refusing().await;
    let doorbell = rung(&upstream, &receiver, "").await;
    upstream.change("/tickets", |list| {
        list.extend((0..1_100).map(|id| ticket(id, "new")));
    });
    doorbell.poll("tickets").await;
    doorbell.until_ended("ops", "dead", 1_100).await;
    let url = doorbell.admin_url().to_owned();
    let replay = ["replay", "ops", "--url", &url];
    let (output, shown) = doorbell.corpse().ask_at_terminal(&replay).await;
    let steps = [512, 1_024, 1_100].map(|count| format!("\r{count} of 1100 replayed"));
    assert_eq!(shown, steps.concat() + "\r\n");
    let end = "1100 deliveries ring once more\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), end);

    doorbell.until_ended("ops", "dead", 2_200).await;
    let output = doorbell.ask(&replay).await;
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(String::from_utf8_lossy(&output.stdout), end);
}
