//! `doorbell poll SOURCE`: what a poll would ring, told before anybody hears it.

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::response::IntoResponse as _;
use serde_json::{Value, json};

use crate::harness::{
    Answering, Corpse, Doorbell, Receiver, Ring, Server, Upstream, tickets, tickets_of,
};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the command tells a program; the exit status.
async fn told(corpse: &Corpse, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = corpse.ask(&[&["poll", "--json"], arguments].concat()).await;
    let said = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), said)
}

/// What is told of a ring, as the dry run tells it of an event.
fn of_ring(ring: &Ring) -> Value {
    let data = &ring.event["data"];
    json!({
        "type": ring.event["type"], "subject": data["subject"],
        "previous": data["previous"], "current": data["current"], "patch": data["patch"],
    })
}

/// A list whose items are made anew for each request, from its number.
async fn restless(make: impl Fn(u64) -> Value + Send + Sync + 'static) -> Server {
    let shared = Arc::new((AtomicU64::new(0), make));
    let answer = move || {
        let shared = Arc::clone(&shared);
        async move {
            let (count, make) = &*shared;
            let body = make(count.fetch_add(1, Ordering::SeqCst)).to_string();
            ([("content-type", "application/json")], body).into_response()
        }
    };
    Server::serving(Router::new().fallback(answer)).await
}

fn keys(said: &Value) -> Vec<(&str, Option<&str>)> {
    let hints = said["hints"].as_array().expect("a list of hints").iter();
    hints
        .map(|hint| (hint["key"].as_str().expect("a key"), hint["path"].as_str()))
        .collect()
}

/// The dry run is right about each event that the poll after it rings, beside a doorbell that runs
/// on the same store, and leaves no trace there.
#[tokio::test]
async fn what_would_ring_is_what_rings() {
    let item = |id: u32, state: &str| json!({"id": id, "state": state, "labels": ["a", "b"]});
    let list = (1..=30).map(|id| item(id, "open")).collect();
    let upstream = Upstream::serving("/tickets", list).await;
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, "")).await;
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |list| {
        list[4] = item(5, "closed");
        list[6]["labels"] = json!(["b"]);
        list.remove(9);
        list.push(item(99, "new"));
    });
    let before = doorbell.ask(&["poll", "tickets", "--json", "--once"]).await;
    let said: Value = serde_json::from_slice(&before.stdout).expect("JSON");
    assert_eq!(before.status.code(), Some(0));
    assert_eq!(
        (
            &said["outcome"],
            &said["compared_with"],
            &said["snapshot_items"]
        ),
        (&json!("changed"), &json!("snapshot"), &json!(30))
    );
    assert_eq!(said["endpoints"], json!(["ops"]));
    let shown = text(&doorbell.ask(&["poll", "tickets"]).await);
    for line in [
        "4 events would ring: 1 deleted, 2 updated, 1 created; heard by ops",
        "- tickets.deleted 10",
        "/state  \"open\" → \"closed\"",
        "+ tickets.created 99",
        "only by hand",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    assert!(!shown.contains('\u{1b}'), "a pipe gets no colours");
    assert_eq!(receiver.rings().len(), 0, "a dry run rings nobody");

    doorbell.poll("tickets").await;
    let rings = receiver.until_accepted(4).await;
    let mut rung: Vec<Value> = rings.iter().map(of_ring).collect();
    let mut foretold = said["events"].as_array().expect("events").clone();
    for list in [&mut rung, &mut foretold] {
        list.sort_by_key(Value::to_string);
    }
    assert_eq!(foretold, rung);
    let after = doorbell.ask(&["poll", "tickets", "--once"]).await;
    assert!(text(&after).contains("nothing changed: nobody is rung"));

    // What a killed process left is read as well, and is none the worse for it.
    let corpse = doorbell.kill().await;
    assert_eq!(
        told(&corpse, &["tickets", "--once"]).await.1["snapshot_items"],
        30
    );
    let doorbell = corpse.restart().await;
    assert_eq!(doorbell.poll("tickets").await["events"], 0);
}

#[tokio::test]
async fn a_first_poll_rings_nobody_and_says_so() {
    let list = (1..=9).map(|id| json!({"id": id})).collect();
    let upstream = Upstream::serving("/tickets", list).await;
    let receiver = Receiver::accepting().await;
    let config = tickets(&upstream, &receiver, "");
    let corpse = Corpse::new(&config);
    let shown = text(&corpse.ask(&["poll", "tickets"]).await);
    assert!(
        shown.contains("the first poll rings nobody: it remembers 9 items"),
        "{shown}"
    );
    assert!(shown.contains("… and 4 more"), "{shown}");
    assert!(
        shown.contains("every poll transfers the whole answer"),
        "{shown}"
    );
    // Nothing of a store came to be.
    let (_, said) = told(&corpse, &["tickets", "--once"]).await;
    assert_eq!(
        (&said["compared_with"], &said["events"]),
        (&json!("nothing"), &json!([]))
    );

    // A budget that has nothing left keeps nobody from looking.
    let budget = "budget = { requests = 1, per = \"1h\" }\n[endpoints.ops]";
    let poor = Corpse::new(&config.replace("[endpoints.ops]", budget));
    assert_eq!(told(&poor, &["tickets"]).await.1["answer"]["items"], 9);

    let emitting = Corpse::new(&tickets(&upstream, &receiver, "baseline = \"emit\""));
    let (_, said) = told(&emitting, &["tickets", "--once"]).await;
    assert_eq!(said["events"].as_array().map(Vec::len), Some(9));
    let shown = text(&emitting.ask(&["poll", "tickets", "--once"]).await);
    assert!(shown.contains("9 events would ring: 9 created"), "{shown}");
}

#[tokio::test]
async fn validators_are_sent_and_heeded_as_a_poll_would() {
    let upstream = Upstream::serving("/tickets", vec![json!({"id": 1})]).await;
    upstream.answer("/tickets", Answering::WithEtag);
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, "")).await;
    doorbell.poll("tickets").await;
    let shown = text(&doorbell.ask(&["poll", "tickets"]).await);
    for line in [
        "If-None-Match: \"v1\"",
        "304, nothing transferred",
        "not modified: nobody is rung",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    upstream.change("/tickets", |list| list.push(json!({"id": 2})));
    let output = doorbell.ask(&["poll", "tickets", "--json"]).await;
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (
            &said["answer"]["status"],
            &said["answer"]["validators"]["etag"]
        ),
        (&json!(200), &json!("\"v2\""))
    );
    // The second look was answered by 304: nothing to complain of.
    assert_eq!(said["hints"], json!([]));
}

#[tokio::test]
async fn what_differs_by_itself_is_hinted_at() {
    let server = restless(|n| {
        let item = |id: u64| {
            let labels = if n.is_multiple_of(2) {
                ["a", "b"]
            } else {
                ["b", "a"]
            };
            json!({"id": id, "seen_at": n, "labels": labels, "title": "same"})
        };
        (1..=5).map(item).collect()
    })
    .await;
    let receiver = Receiver::accepting().await;
    let corpse = Corpse::new(&tickets_of(&server.url, &receiver, ""));
    let (_, said) = told(&corpse, &["tickets"]).await;
    assert_eq!(
        keys(&said),
        [
            ("ignore", Some("$.seen_at")),
            ("unordered", Some("$.labels"))
        ]
    );
    let shown = text(&corpse.ask(&["poll", "tickets"]).await);
    let hint =
        "`$.seen_at` differs in 5 of 5 items between two polls 1s apart: add it to `ignore`?";
    assert!(shown.contains(hint), "{shown}");
    // Nothing is hinted at twice.
    let rules = "ignore = [\"$.seen_at\"]\nunordered = [\"$.labels\"]";
    let corpse = Corpse::new(&tickets_of(&server.url, &receiver, rules));
    assert_eq!(keys(&told(&corpse, &["tickets"]).await.1), []);
    assert_eq!(keys(&told(&corpse, &["tickets", "--once"]).await.1), []);
}

#[tokio::test]
async fn ids_that_are_others_each_time_are_hinted_at() {
    let server = restless(|n| {
        (1..=5)
            .map(|id| json!({"id": n * 10 + id, "key": id}))
            .collect()
    })
    .await;
    let receiver = Receiver::accepting().await;
    let corpse = Corpse::new(&tickets_of(&server.url, &receiver, ""));
    assert_eq!(keys(&told(&corpse, &["tickets"]).await.1), [("id", None)]);
}

#[tokio::test]
async fn a_list_in_a_document_is_hinted_at() {
    let list = (1..=5).map(|id| json!({"id": id})).collect();
    let upstream = Upstream::serving("/tickets", list).await;
    let receiver = Receiver::accepting().await;
    let config = tickets(&upstream, &receiver, "");
    let config = config.replace("items = \"$[*]\"\nid = \"$.id\"\ndeletes = \"full\"\n", "");
    let (_, said) = told(&Corpse::new(&config), &["tickets", "--once"]).await;
    assert_eq!(keys(&said), [("items", Some("$[*]"))]);
}

/// Without a second look, the snapshot tells: what is all that differs in most items is noise.
#[tokio::test]
async fn what_differs_from_the_snapshot_alone_is_hinted_at() {
    let list = |at: u32| {
        (1..=10)
            .map(move |id| json!({"id": id, "at": at}))
            .collect::<Vec<_>>()
    };
    let upstream = Upstream::serving("/tickets", list(1)).await;
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, "")).await;
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |tickets| *tickets = list(2));
    let output = doorbell.ask(&["poll", "tickets", "--json", "--once"]).await;
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(keys(&said), [("ignore", Some("$.at"))]);
}

#[tokio::test]
async fn a_poll_that_is_held_is_foretold() {
    let list: Vec<Value> = (1..=40).map(|id| json!({"id": id})).collect();
    let upstream = Upstream::serving("/tickets", list).await;
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&tickets(&upstream, &receiver, "")).await;
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |list| list.truncate(2));
    let output = doorbell.ask(&["poll", "tickets", "--json", "--once"]).await;
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&said["outcome"], &said["reason"]),
        (&json!("held"), &json!("guard"))
    );
    assert_eq!(said["waiting"]["deleted"], 38);
    assert_eq!(said["operational"], json!(["doorbell.source.held"]));
    let shown = text(&doorbell.ask(&["poll", "tickets", "--once"]).await);
    assert!(shown.contains("38 deleted: held by `guard`"), "{shown}");
    assert_eq!(doorbell.poll("tickets").await["outcome"], "held");
}

#[tokio::test]
async fn each_failure_says_what_to_do() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let config = tickets(&upstream, &receiver, "");
    let corpse = Corpse::new(&config);
    let closed = "http://127.0.0.1:1";
    for (how, reason, advice) in [
        ("status 401", "refused", "add `auth"),
        ("status 404", "refused", "is `path`"),
        ("status 500", "status", "tries again by itself"),
        ("status 429", "rate_limited", "poll less often"),
        ("html", "content_type", "login page"),
        ("cut", "parse", "cut off"),
        ("object", "shape", "--suggest"),
        ("no id", "id", "--suggest"),
    ] {
        upstream.answer("/tickets", Answering::Well);
        match how {
            "html" => upstream.send_raw("/tickets", "text/html", "<h1>log in</h1>"),
            "cut" => upstream.send_raw("/tickets", "application/json", "[{\"id\": 1}, {"),
            "object" => upstream.send_raw("/tickets", "application/json", "{\"a\": []}"),
            "no id" => upstream.send_raw("/tickets", "application/json", "[{\"a\": 1}]"),
            status => {
                let status = status.rsplit(' ').next().and_then(|s| s.parse().ok());
                upstream.answer("/tickets", Answering::Status(status.expect("a status")));
            }
        }
        let (code, said) = told(&corpse, &["tickets"]).await;
        assert_eq!(
            (code, &said["reason"]),
            (Some(1), &json!(reason)),
            "{how}: {said}"
        );
        let output = corpse.ask(&["poll", "tickets"]).await;
        assert_eq!(output.status.code(), Some(1));
        let shown = text(&output);
        assert!(shown.contains(advice), "{how}: {advice} is not in\n{shown}");
    }
    let corpse = Corpse::new(&config.replace(&upstream.to_string(), closed));
    let shown = text(&corpse.ask(&["poll", "tickets"]).await);
    assert!(shown.contains("nobody answers"), "{shown}");
    let output = corpse.ask(&["poll", "nobody"]).await;
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there are: tickets"));
}

#[tokio::test]
async fn a_store_that_cannot_be_read_is_no_reason_not_to_look() {
    let upstream = Upstream::serving("/tickets", vec![json!({"id": 1})]).await;
    let receiver = Receiver::accepting().await;
    let corpse = Corpse::new(&tickets(&upstream, &receiver, ""));
    let other = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(other.path(), [b'x'; 5_000]).expect("it can be written");
    let store = format!("url = \"sqlite:{}\"", other.path().display());
    let corpse = corpse.with("[store]\nurl", &format!("[store]\n{store}\n#"));
    let (code, said) = told(&corpse, &["tickets", "--once"]).await;
    assert_eq!(
        (code, &said["answer"]["items"]),
        (Some(0), &json!(1)),
        "{said}"
    );
    assert!(said["snapshot_error"].is_string(), "{said}");
    let shown = text(&corpse.ask(&["poll", "tickets", "--once"]).await);
    assert!(
        shown.contains("could not be read, so nothing is compared"),
        "{shown}"
    );
    let unchanged = std::fs::read(other.path()).expect("it is there");
    assert_eq!(unchanged, [b'x'; 5_000]);
}

#[tokio::test]
async fn a_partition_is_named_or_the_first() {
    let upstream = Upstream::serving("/issues/a/b", vec![json!({"id": 1})]).await;
    upstream.also_serving("/issues/c", vec![json!({"id": 1}), json!({"id": 2})]);
    upstream.also_serving("/comments/7", vec![]);
    let config = format!(
        r#"
[upstreams.tracker]
url = "{upstream}"
auth = {{ query = {{ name = "key", value = "hush" }} }}
[sources.issues]
upstream = "tracker"
path = "/issues/{{{{repo}}}}"
each = {{ repo = ["a/b", "c"] }}
every = "manual"
items = "$[*]"
id = "$.id"
[sources.comments]
upstream = "tracker"
path = "/comments/{{{{issue}}}}"
each = {{ issue = {{ source = "issues", at = "$.id" }} }}
every = "manual"
items = "$[*]"
id = "$.id"
"#
    );
    let doorbell = Doorbell::start(&config).await;
    doorbell.poll("issues").await;
    upstream.change("/issues/c", |list| list.push(json!({"id": 3})));
    let corpse = doorbell.kill().await;
    let (_, said) = told(&corpse, &["issues", "--once"]).await;
    assert_eq!(
        (&said["partition"], &said["events"]),
        (&json!({"repo": "a/b"}), &json!([]))
    );
    let (_, said) = told(&corpse, &["issues", "--once", "--of", "repo=c"]).await;
    assert_eq!(said["snapshot_items"], 2);
    assert_eq!(said["events"][0]["subject"], "3");
    let (code, said) = told(&corpse, &["comments", "--once", "--of", "issue=7"]).await;
    assert_eq!((code, &said["answer"]["items"]), (Some(0), &json!(0)));
    for (arguments, why) in [
        (&["comments"][..], "`--of issue=…`"),
        (&["issues", "--of", "repo=x"], "no partition"),
        (&["issues", "--of", "rep=c"], "`--of repo=…`"),
        (&["comments", "--of", "issue=../x"], "segment"),
    ] {
        let output = corpse.ask(&[&["poll"], arguments].concat()).await;
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(why), "{why} is not in {said}");
    }
    // Credentials are not shown, wherever they go.
    let shown = text(&corpse.ask(&["poll", "issues", "--once"]).await);
    assert!(shown.contains("partition   {\"repo\":\"a/b\"}"), "{shown}");
    assert!(!shown.contains("hush"), "{shown}");
}
