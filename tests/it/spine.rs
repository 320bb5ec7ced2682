//! The whole way: an upstream changes, doorbell polls, a receiver hears.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Answering, Behaviour, Doorbell, Receiver, Ring, Story, Upstream, client, proxied, run,
    run_to_end, tickets, wait_until,
};

/// A ticket; `words` are what a person would change.
fn ticket(id: u64, words: &str) -> Value {
    json!({"id": id, "title": words, "labels": ["a", "b"]})
}

#[tokio::test]
async fn a_change_rings_as_created_updated_and_deleted() {
    let upstream = Upstream::serving("/tickets", vec![ticket(1, "old")]).await;
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, "")).await;

    let first = doorbell.poll("tickets").await;
    assert_eq!(first["events"], 0, "the first poll is silent: {first}");

    let changes: [fn(&mut Vec<Value>); 3] = [
        |list| list.push(ticket(2, "new")),
        |list| list[1] = ticket(2, "newer"),
        |list| drop(list.remove(1)),
    ];
    let mut promised = Vec::new();
    for change in changes {
        upstream.change("/tickets", change);
        let polled = doorbell.poll("tickets").await;
        assert_eq!(polled["outcome"], "changed", "{polled}");
        assert_eq!(polled["events"], 1, "{polled}");
        promised.push(polled["event_ids"][0].clone());
    }

    let rings = receiver.until_accepted(3).await;
    let types: Vec<&str> = rings.iter().map(Ring::event_type).collect();
    assert_eq!(
        types,
        ["tickets.created", "tickets.updated", "tickets.deleted"]
    );
    let ids: Vec<&str> = rings.iter().map(|ring| &*ring.id).collect();
    assert_eq!(ids, promised);

    let [created, updated, deleted] = [0, 1, 2].map(|at| &rings[at].event["data"]);
    let told = |data: &Value, key: &str| data.get(key).cloned();
    assert_eq!(told(created, "current"), Some(ticket(2, "new")));
    assert_eq!(told(created, "previous"), None);
    assert_eq!(told(created, "patch"), None);
    assert_eq!(told(updated, "current"), Some(ticket(2, "newer")));
    assert_eq!(told(updated, "previous"), Some(ticket(2, "new")));
    let patch = json!([{"op": "replace", "path": "/title", "value": "newer"}]);
    assert_eq!(told(updated, "patch"), Some(patch));
    assert_eq!(told(updated, "previous_digest"), told(created, "digest"));
    assert_eq!(told(deleted, "current"), None);
    assert_eq!(told(deleted, "previous"), Some(ticket(2, "newer")));
    assert_eq!(told(deleted, "previous_digest"), told(updated, "digest"));
    for (ring, sequence) in rings.iter().zip(1..) {
        assert_eq!((ring.subject(), ring.sequence()), ("2", sequence));
        assert_eq!(ring.event["data"]["cause"], "poll");
        assert_eq!(ring.path, "/ops");
        assert_eq!(ring.headers["content-type"], "application/json");
    }
}

#[tokio::test]
async fn a_scheduled_source_polls_by_itself() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let config = tickets(&upstream, &receiver, "").replace("\"manual\"", "\"1s\"");
    let doorbell = Doorbell::start(&config).await;

    wait_until("the first poll is done", async || {
        let metrics = doorbell.metrics().await;
        let success = metrics.value(
            "doorbell_poll_last_success_timestamp_seconds",
            &[("source", "tickets")],
        );
        (success > 0.0).then_some(())
    })
    .await;
    upstream.change("/tickets", |list| list.push(ticket(1, "new")));
    let rings = receiver.until_accepted(1).await;
    assert_eq!(rings[0].event_type(), "tickets.created");
}

/// Method: one real change at the end. It is the first and only ring, so nothing rang before it.
#[tokio::test]
async fn what_is_no_change_never_rings() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let rules = "ignore = [\"$.seen\"]\nunordered = [\"$.labels\"]";
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, rules)).await;

    for text in [
        r#"[{"id":1,"title":"é","seen":1,"labels":["a","b"]},{"id":2,"n":9007199254740993}]"#,
        r#"[{"id":2,"n":9007199254740993},{"id":1,"title":"é","seen":1,"labels":["a","b"]}]"#,
        r#"[{"title":"é","id":1,"seen":1,"labels":["a","b"]},{"n":9007199254740993,"id":2}]"#,
        r#" [ {"id":1,"title":"\u00e9","seen":2,"labels":["b","a"]}, {"id":2,"n":9007199254740993} ]"#,
    ] {
        upstream.send_raw("/tickets", "application/json", text);
        for _ in 0..2 {
            let polled = doorbell.poll("tickets").await;
            assert_eq!(polled["events"], 0, "{text}: {polled}");
            assert_ne!(polled["outcome"], "error", "{text}: {polled}");
        }
    }
    // 2^53 + 1 and 2^53 are the same double, and not the same number.
    let changed = r#"[{"id":1,"title":"é","labels":["a","b"]},{"id":2,"n":9007199254740992}]"#;
    upstream.send_raw("/tickets", "application/json", changed);
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["events"], 1, "{polled}");

    let rings = receiver.until_accepted(1).await;
    assert_eq!(rings.len(), 1);
    assert_eq!((rings[0].subject(), rings[0].sequence()), ("2", 1));
}

const JSON: &str = "application/json";
const AN_EMPTY_LIST: &str = "an empty list";

/// What it is, its content type, its body, and how it is sent.
const WRONG_ANSWERS: [(&str, &str, &str, Answering); 13] = [
    ("an error", JSON, "[]", Answering::Status(500)),
    ("not found", JSON, "[]", Answering::Status(404)),
    ("a created", JSON, "[]", Answering::Status(201)),
    ("a 304 unasked for", JSON, "", Answering::Status(304)),
    ("a login page", "text/html", "<html>", Answering::Well),
    ("nothing", JSON, "", Answering::Well),
    (
        "a torn list",
        JSON,
        r#"[{"id":1},{"id":2}]"#,
        Answering::Torn,
    ),
    ("half a list", JSON, r#"[{"id":1},{"id""#, Answering::Well),
    ("no list", JSON, r#"{"error":"x"}"#, Answering::Well),
    ("a null", JSON, "null", Answering::Well),
    ("no ids", JSON, r#"[{"title":"x"}]"#, Answering::Well),
    (
        "mixed ids",
        JSON,
        r#"[{"id":1},{"id":"1"}]"#,
        Answering::Well,
    ),
    (AN_EMPTY_LIST, JSON, "[]", Answering::Well),
];

#[tokio::test]
async fn a_wrong_answer_is_never_a_change() {
    let list = (1..=20).map(|id| ticket(id, "old")).collect();
    let upstream = Upstream::serving("/tickets", list).await;
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, "")).await;
    doorbell.poll("tickets").await;

    for (what, content_type, text, answering) in WRONG_ANSWERS {
        let outcome = if what == AN_EMPTY_LIST {
            "held"
        } else {
            "error"
        };
        upstream.send_raw("/tickets", content_type, text);
        upstream.answer("/tickets", answering);
        let polled = doorbell.poll("tickets").await;
        assert_eq!(polled["outcome"], outcome, "{what}: {polled}");
        assert_eq!(polled["events"], 0, "{what}: {polled}");
        if outcome == "error" {
            assert!(polled["reason"].is_string(), "{what}: {polled}");
        }
    }

    upstream.send_list("/tickets");
    upstream.answer("/tickets", Answering::Well);
    let polled = doorbell.poll("tickets").await;
    assert_eq!(
        polled["events"], 0,
        "nothing had changed after all: {polled}"
    );
    upstream.change("/tickets", |list| list[4] = ticket(5, "new"));
    doorbell.poll("tickets").await;
    let rings = receiver.until_accepted(1).await;
    assert_eq!(rings.len(), 1);
    assert_eq!((rings[0].subject(), rings[0].sequence()), ("5", 1));
}

#[tokio::test]
async fn an_upstream_with_validators_is_asked_conditionally() {
    let upstream = Upstream::serving("/tickets", vec![ticket(1, "old")]).await;
    upstream.answer("/tickets", Answering::WithEtag);
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, "")).await;

    doorbell.poll("tickets").await;
    let second = doorbell.poll("tickets").await;
    assert_eq!(second["outcome"], "not_modified", "{second}");

    // The validator is as durable as the snapshot.
    let doorbell = doorbell.kill().await.restart().await;
    let third = doorbell.poll("tickets").await;
    assert_eq!(third["outcome"], "not_modified", "{third}");

    upstream.change("/tickets", |list| list[0] = ticket(1, "new"));
    let fourth = doorbell.poll("tickets").await;
    assert_eq!(fourth["events"], 1, "{fourth}");
    receiver.until_accepted(1).await;
}

/// Method: the same list under another validator changes nothing, so nothing is committed; and the
/// process ends before what it learnt would have been noted anyway.
#[tokio::test]
async fn what_a_poll_without_a_change_learnt_is_kept_by_an_orderly_end() {
    let upstream = Upstream::serving("/tickets", vec![ticket(1, "old")]).await;
    upstream.answer("/tickets", Answering::WithEtag);
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, "")).await;
    doorbell.poll("tickets").await;

    let doorbell = doorbell.kill().await.restart().await;
    upstream.change("/tickets", |_| ());
    let same = doorbell.poll("tickets").await;
    assert_eq!(same["outcome"], "unchanged", "{same}");
    doorbell.ask_to_end();
    let (corpse, _) = doorbell.exited().await;

    let doorbell = corpse.restart().await;
    let known = doorbell.poll("tickets").await;
    assert_eq!(known["outcome"], "not_modified", "{known}");
}

/// Method: the receiver refuses the first attempts, so the delivery is still pending when the
/// process gets SIGKILL.
#[tokio::test]
async fn a_committed_change_outlives_a_kill() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::refusing().await;
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, "")).await;
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |list| list.push(ticket(1, "new")));
    let polled = doorbell.poll("tickets").await;
    receiver.until_arrived(2).await;

    let corpse = doorbell.kill().await;
    receiver.now(Behaviour::Accepting);
    let doorbell = corpse.restart().await;
    let rings = receiver.until_accepted(1).await;
    let story = Story::of("tickets", &rings);
    assert_eq!(story.len(), 1);
    assert_eq!(polled["event_ids"][0], rings[0].id);

    // What was delivered is known to be, and the snapshot is the last one.
    doorbell.until_delivered("ops").await;
    let again = doorbell.poll("tickets").await;
    assert_eq!(again["events"], 0, "{again}");
}

#[tokio::test]
async fn a_refused_webhook_comes_again_and_holds_up_its_subject_alone() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::behaving(Behaviour::RefusingEach(3), 0).await;
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, "")).await;
    doorbell.poll("tickets").await;
    for round in 0..10 {
        let words = format!("round {round}");
        let list = (1..=5).map(|id| ticket(id, &words)).collect();
        upstream.change("/tickets", |now| *now = list);
        doorbell.poll("tickets").await;
    }
    let rings = receiver.until_accepted(50).await;
    let story = Story::of("tickets", &rings);
    assert_eq!(story.len(), 50);
    assert!(
        rings.len() > 60,
        "every third attempt was refused: {}",
        rings.len()
    );
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::behaving(Behaviour::Answering(503, 2), 0).await;
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, "")).await;
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |list| list.push(ticket(1, "new")));
    doorbell.poll("tickets").await;

    receiver.until_arrived(1).await;
    receiver.now(Behaviour::Accepting);
    let rings = receiver.until_accepted(1).await;
    let pause = rings[1].at - rings[0].at;
    assert!(
        pause >= Duration::from_millis(1_900),
        "asked for 2 s, got {pause:?}"
    );
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_rung_no_more() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::behaving(Behaviour::Answering(410, 0), 0).await;
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, "")).await;
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |list| list.push(ticket(1, "new")));
    doorbell.poll("tickets").await;

    let is_enabled = async |doorbell: &Doorbell| {
        let metrics = doorbell.metrics().await;
        metrics.value("doorbell_endpoint_enabled", &[("endpoint", "ops")]) == 1.0
    };
    wait_until("the endpoint is disabled", async || {
        (!is_enabled(&doorbell).await).then_some(())
    })
    .await;
    // It is off at once, and for good with the transaction that tells of it.
    let told = format!(
        "{}/api/v1/events?type=doorbell.endpoint.disabled",
        doorbell.admin_url()
    );
    wait_until("that it is off is on disk", async || {
        let page = reqwest::get(&told).await.ok()?.text().await.ok()?;
        page.contains("doorbell.endpoint.disabled").then_some(())
    })
    .await;
    // Nor by the next process, which finds another change.
    let doorbell = doorbell.kill().await.restart().await;
    upstream.change("/tickets", |list| list.push(ticket(2, "new")));
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["events"], 1, "{polled}");
    assert!(!is_enabled(&doorbell).await);
    assert_eq!(receiver.rings().len(), 1);
}

#[tokio::test]
async fn a_private_receiver_is_refused_unless_it_is_allowed() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let config = tickets(&upstream, &receiver, "").replace("allow_private = true\n", "");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("private.toml");
    std::fs::write(&path, config).expect("a temporary file");

    let output = run_to_end("run", &path);
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("allow_private = true"), "{said}");
    assert_eq!(receiver.rings().len(), 0);
}

#[tokio::test]
async fn a_call_passes_through_with_the_upstreams_credential_or_the_callers_own() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let ours = "auth = { bearer = \"ours\" }\n[endpoints.ops]";
    let config = tickets(&upstream, &receiver, "").replace("[endpoints.ops]", ours);
    let doorbell = Doorbell::start(&(config + &proxied(""))).await;

    let url = format!("{}/tracker/echo/1?q=1", doorbell.proxy_url());
    for (own, expected) in [(None, "Bearer ours"), (Some("Bearer own"), "Bearer own")] {
        let mut call = client().post(&url).body("hello");
        if let Some(own) = own {
            call = call.header("authorization", own);
        }
        let answer = call.send().await.expect("the proxy answers");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.text().await.expect("a whole answer"), "hello");
        let arrivals = upstream.arrivals("/echo/1");
        let last = arrivals.last().expect("the call has passed");
        assert_eq!(last.headers["authorization"], expected);
    }
}

#[tokio::test]
async fn a_second_process_on_the_same_store_is_refused_and_told_who_holds_it() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, "")).await;

    let rival = doorbell.rival().await;
    assert_eq!(rival.status.code(), Some(1));
    let said = String::from_utf8_lossy(&rival.stderr);
    let holder = doorbell.process_id().to_string();
    assert!(
        said.contains(&holder),
        "{said} does not name process {holder}"
    );

    let polled = doorbell.poll("tickets").await;
    assert_ne!(
        polled["outcome"], "error",
        "the first is unharmed: {polled}"
    );
}

/// Each line that ends in `#!` has one fault.
const TEN_FAULTS: &str = r#"
[log]
level = "loud" #!
[store]
size_max = "1GiB" #!
[admin]
listen = "not an address" #!
[upstreams.tracker]
url = "ftp://tracker.example" #!
[sources.issues]
upstream = "trackr" #!
every = "30 parsecs" #!
path = "/issues"
items = "$.issues[" #!
id = "$.id"
ignor = ["$.seen"] #!
[endpoints.ops]
url = "https://ops.example/hooks"
secrets = ["whsec_c2hvcnQ="] #!
format = "xml" #!
"#;

#[test]
fn ten_faults_are_shown_at_once_each_where_it_stands() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("bad.toml");
    std::fs::write(&path, TEN_FAULTS).expect("a temporary file");
    let lines = TEN_FAULTS.lines().zip(1_usize..);
    let expected: BTreeSet<usize> = lines
        .filter_map(|(line, number)| line.ends_with("#!").then_some(number))
        .collect();
    assert_eq!(expected.len(), 10);

    for verb in ["check", "run"] {
        let output = run_to_end(verb, &path);
        assert_eq!(output.status.code(), Some(64), "{verb}");
        let said = String::from_utf8_lossy(&output.stderr);
        let places = said.split("bad.toml:").skip(1).filter_map(|rest| {
            let (line, rest) = rest.split_once(':')?;
            let is_column = rest.starts_with(|c: char| c.is_ascii_digit());
            is_column.then(|| line.parse().ok())?
        });
        let shown: BTreeSet<usize> = places.collect();
        assert_eq!(shown, expected, "{verb}: {said}");
        for advice in [
            "did you mean `ignore`",
            "did you mean \"tracker\"",
            "not supported yet",
            "^",
        ] {
            assert!(said.contains(advice), "{verb}: no {advice}: {said}");
        }
    }
}

/// A machine is told as much as a person: how many faults are not listed.
#[test]
fn faults_that_are_not_listed_are_counted_also_as_json() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("bad.toml");
    let unknown: Vec<String> = (0..150).map(|n| format!("key_{n} = 1\n")).collect();
    std::fs::write(&path, unknown.concat()).expect("a temporary file");
    let path = path.to_str().expect("text");
    let output = run(["check", "--json", "--config", path]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let listed = told["faults"].as_array().expect("a list").len();
    assert_eq!((listed, &told["more"]), (100, &json!(50)));
}
