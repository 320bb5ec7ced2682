//! `doorbell poll SOURCE --suggest`: what is proposed is accepted, and works.

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse as _;
use serde_json::{Value, json};

use crate::harness::{Corpse, Dialect, Doorbell, Paged, Receiver, Server, run, tickets_of};

/// A list of 25 tickets in pages of 10, some of it made anew for each request.
async fn restless() -> Server {
    let asked = Arc::new(AtomicUsize::new(0));
    let answer = move |request: Request| {
        let count = asked.fetch_add(1, Ordering::SeqCst);
        let query = request.uri().query().unwrap_or_default().to_owned();
        async move {
            let page: usize = query
                .split("page=")
                .nth(1)
                .map_or(1, |n| n.parse().expect("a number"));
            let labels = if count.is_multiple_of(2) {
                ["a", "b"]
            } else {
                ["b", "a"]
            };
            let ticket = |n: usize| {
                json!({"key": n, "id": format!("{n}-{count}"), "labels": labels,
                    "served": {"at": count}, "title": "same"})
            };
            let (from, to) = ((page - 1) * 10 + 1, (page * 10).min(25));
            let tickets: Vec<Value> = (from..=to).map(ticket).collect();
            let link = format!("</tickets?page={}>; rel=\"next\"", page + 1);
            let body = json!({"tickets": tickets, "took": count});
            let mut response =
                ([("content-type", "application/json")], body.to_string()).into_response();
            if to < 25 {
                let link = link.parse().expect("a header's value");
                response.headers_mut().insert("link", link);
            }
            response
        }
    };
    Server::serving(Router::new().fallback(answer)).await
}

/// Runs `doorbell ARGUMENTS` to its end, while this process serves.
async fn doorbell(arguments: &[&str]) -> Output {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let running = tokio::task::spawn_blocking(move || run(arguments));
    running.await.expect("no panic")
}

/// What `doorbell check` says of a file with this text: nothing, if it is right.
fn checked(text: &str) -> String {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("it can be written");
    let path = file.path().to_str().expect("a path");
    let output = run(["check", "--config", path]);
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A URL becomes a whole file; a doorbell that runs on it finds nothing where nothing changes.
#[tokio::test]
async fn what_is_suggested_for_a_url_is_accepted_and_works() {
    let server = restless().await;
    let url = format!("{}/tickets", server.url);
    let suggest = ["poll", "--suggest", "--url", &url, "--apart", "10ms"];
    let output = doorbell(&suggest).await;
    let file = String::from_utf8(output.stdout).expect("text");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(checked(&file), "", "{file}");
    for line in [
        "items = \"$.tickets[*]\"",
        "id = \"$.key\"",
        "ignore = [\"$.id\", \"$.served.at\"]",
        "unordered = [\"$.labels\"]",
        "paginate = { by = \"link\" }",
        "# tried: a poll with this reads 25 items on 3 pages",
        "# learnt from 3 answers",
    ] {
        assert!(file.contains(line), "{line} is not in\n{file}");
    }
    let manual = file.replace("every = \"5m\"", "every = \"manual\"");
    let doorbell = Doorbell::start(&manual).await;
    for _ in 0..3 {
        let polled = doorbell.poll("tickets").await;
        assert_eq!(polled["outcome"], "unchanged", "{polled}\n{file}");
    }
    let corpse = doorbell.kill().await;
    let output = corpse.ask(&["poll", "tickets", "--json"]).await;
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&said["snapshot_items"], &said["hints"]),
        (&json!(25), &json!([]))
    );
}

/// A source without rules gets them, in every dialect that pages are spoken in.
#[tokio::test]
async fn dialects_of_pages_are_learnt_from_one_of_them() {
    let receiver = Receiver::accepting().await;
    let list: Vec<Value> = (1..=25)
        .map(|id| json!({"id": id, "title": "same"}))
        .collect();
    for dialect in Dialect::ALL {
        // Of these, no page says what the next one is, or not by a name that others share.
        let said_by_nobody = matches!(
            dialect,
            Dialect::Wordpress
                | Dialect::Pages
                | Dialect::Redmine
                | Dialect::Elasticsearch
                | Dialect::Stripe
        );
        let paged = Paged::speaking(dialect, 10, list.clone()).await;
        let body = if dialect == Dialect::Relay || dialect == Dialect::Elasticsearch {
            "method = \"POST\"\nbody = { query = \"…\" }"
        } else {
            ""
        };
        let bare = tickets_of(&paged.to_string(), &receiver, body);
        let bare = bare.replace("items = \"$[*]\"\nid = \"$.id\"\ndeletes = \"full\"\n", "");
        let corpse = Corpse::new(&bare);
        let suggest = [
            "poll",
            "tickets",
            "--suggest",
            "--json",
            "--apart",
            "10ms",
            "--polls",
            "2",
        ];
        let output = corpse.ask(&suggest).await;
        let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(output.status.code(), Some(0), "{dialect:?}: {said}");
        let id = if dialect == Dialect::Elasticsearch {
            "$._source.id"
        } else {
            "$.id"
        };
        assert_eq!(said["rules"]["id"], id, "{dialect:?}: {said}");
        let tried = &said["tried"];
        if said_by_nobody {
            assert_eq!(tried["items"], 10, "{dialect:?}: {said}");
            assert!(
                said["remarks"][0]
                    .as_str()
                    .is_some_and(|r| r.contains("10 items")),
                "{said}"
            );
        } else {
            assert_eq!(
                (&tried["items"], &tried["pages"]),
                (&json!(25), &json!(3)),
                "{dialect:?}: {said}"
            );
        }
        // As a person would put it there.
        let toml = said["toml"].as_str().expect("TOML");
        let config = bare.replace("every = \"manual\"", &format!("every = \"manual\"\n{toml}"));
        assert_eq!(checked(&config), "", "{dialect:?}");
    }
}

/// What is a guess is tried, and left out when the upstream shows that it was a wrong one.
#[tokio::test]
async fn a_guess_that_does_not_work_is_left_out() {
    let answer = async || {
        let body = json!({"data": [{"id": 1}, {"id": 2}], "next_cursor": "abc"});
        ([("content-type", "application/json")], body.to_string())
    };
    let server = Server::serving(Router::new().fallback(answer)).await;
    let suggest = ["poll", "--suggest", "--url", &server.url, "--apart", "10ms"];
    let file = String::from_utf8(doorbell(&suggest).await.stdout).expect("text");
    assert!(!file.contains("paginate = "), "{file}");
    assert!(
        file.contains("# `paginate` was tried and left out"),
        "{file}"
    );
    assert!(
        file.contains("# tried: a poll with this reads 2 items"),
        "{file}"
    );
    assert_eq!(checked(&file), "", "{file}");
}

#[tokio::test]
async fn nothing_is_learnt_from_what_is_no_answer() {
    let server = Server::serving(Router::new()).await;
    let output = doorbell(&["poll", "--suggest", "--url", &server.url]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("status 404"));
    for arguments in [
        &["poll", "--url", "http://127.0.0.1:1/"][..],
        &["poll", "--suggest", "--url", "ftp://example.com/x"],
        &[
            "poll",
            "--suggest",
            "--url",
            "https://user:hush@example.com/x",
        ],
        &[
            "poll",
            "--suggest",
            "--url",
            "https://example.com/x",
            "--polls",
            "0",
        ],
        &["poll"],
    ] {
        let output = doorbell(arguments).await;
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("hush"));
    }
}
