//! Coverage: what callers repeat, and the sources that would ask in their place.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Answering, Doorbell, Upstream, client, proxied, run_to_end, wait_until};

/// Paths of the pattern.
const PATHS: usize = 50;

fn config(upstream: &Upstream) -> String {
    format!(
        "[upstreams.tracker]\nurl = \"{upstream}\"\n\
         auth = {{ header = {{ name = \"x-key\", value = \"ours\" }} }}\n\
         [sources.known]\nupstream = \"tracker\"\npath = \"/things/0\"\nevery = \"manual\"\n{}",
        proxied("open = true")
    )
}

async fn told(doorbell: &Doorbell) -> Vec<Value> {
    let url = format!("{}/api/v1/coverage?limit=1000", doorbell.admin_url());
    let answer = client()
        .get(url)
        .send()
        .await
        .expect("the admin API answers");
    let body = answer.bytes().await.expect("a whole answer");
    let said: Value = serde_json::from_slice(&body).expect("JSON");
    said["gets"].as_array().expect("a list").clone()
}

/// 50 paths, zipf, of which 30 % change with every second call: each is named with all of its
/// calls, the share of answers that were the same, and a source that `check` accepts.
#[tokio::test]
async fn repeated_gets_are_named_with_sources_that_are_accepted() {
    let upstream = Upstream::serving("/things/0", vec![json!({"version": 0})]).await;
    let path = |number: usize| format!("/things/{number}");
    for number in 1..PATHS {
        upstream.also_serving(&path(number), vec![json!({"version": 0})]);
    }
    for number in (0..PATHS).filter(|number| number % 2 == 0) {
        upstream.answer(&path(number), Answering::WithEtag);
    }
    let doorbell = Doorbell::start(&config(&upstream)).await;
    let client = client();
    let calls: Vec<usize> = (1..=PATHS).map(|rank| (120 / rank).max(3)).collect();
    let mut same = BTreeMap::new();
    for round in 0..120 {
        for number in (0..PATHS).filter(|number| calls[*number] > round) {
            let changes = number % 10 < 3 && round % 2 == 1;
            if changes {
                upstream.change(&path(number), |list| list[0] = json!({"version": round}));
            } else if round > 0 {
                *same.entry(number).or_insert(0) += 1;
            }
            let url = format!("{}/tracker{}?b=2&a=1", doorbell.proxy_url(), path(number));
            let answer = client.get(url).send().await.expect("an answer");
            assert_eq!(answer.status(), 200);
            answer.bytes().await.expect("a whole answer");
        }
    }
    // Less than a second says nothing of a day.
    let gets = wait_until("a second is over", async || {
        let gets = told(&doorbell).await;
        (gets.len() == PATHS).then_some(gets)
    })
    .await;
    let mut tables = String::new();
    for get in &gets {
        let number = get["path"]
            .as_str()
            .and_then(|path| path.rsplit('/').next());
        let number: usize = number.and_then(|n| n.parse().ok()).expect("a number");
        assert_eq!(
            (&get["calls"], &get["calls_error"]),
            (&json!(calls[number]), &json!(0))
        );
        assert_eq!(get["query"], "a=1&b=2");
        let share = get["unchanged_share"].as_f64().expect("some were compared");
        let truth = f64::from(*same.get(&number).unwrap_or(&0)) / (calls[number] - 1) as f64;
        assert!((share - truth).abs() < 0.1, "{get}: {truth}");
        let of = |key: &str| get[key].as_f64().expect("a number");
        let saved = (of("calls_a_day") - of("polls_a_day")).max(0.0);
        assert!((of("saved_a_day") - saved).abs() < 1.0, "{get}");
        tables += get["source"]["toml"].as_str().unwrap_or_default();
    }
    let first: Vec<&str> = gets
        .iter()
        .take(3)
        .filter_map(|get| get["path"].as_str())
        .collect();
    assert!(
        first.contains(&"/things/0") && first.contains(&"/things/1"),
        "{first:?}"
    );
    // What is proposed is accepted beside what is there, and then known.
    let names = tables.matches("[sources.").count();
    assert!(names >= 40, "{names}");
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), config(&upstream) + &tables).expect("it can be written");
    let checked = run_to_end("check", file.path());
    assert!(
        checked.status.success(),
        "{}\n{tables}",
        String::from_utf8_lossy(&checked.stderr)
    );
}

/// What is a caller's own is not looked at, what is polled already is said to be, and the command
/// shows it.
#[tokio::test]
async fn callers_own_answers_do_not_count() {
    let upstream = Upstream::serving("/things/0", vec![json!({"id": 1})]).await;
    upstream.also_serving("/things/1", vec![]);
    let doorbell = Doorbell::start(&config(&upstream)).await;
    let client = client();
    for _ in 0..5 {
        for (path, header) in [
            ("/things/0", ("accept", "*/*")),
            ("/things/1", ("authorization", "Bearer mine")),
            ("/things/1", ("cookie", "a=b")),
            ("/things/1", ("x-key", "mine")),
            ("/things/1", ("x-tenant", "mine")),
            ("/things/1", ("range", "bytes=0-1")),
            ("/things/1?api_key=mine", ("accept", "*/*")),
            ("/nothing", ("accept", "*/*")),
        ] {
            let url = format!("{}/tracker{path}", doorbell.proxy_url());
            let request = client.get(url).header(header.0, header.1);
            request.send().await.expect("an answer");
        }
    }
    let gets = wait_until("a second is over", async || {
        let gets = told(&doorbell).await;
        (!gets.is_empty()).then_some(gets)
    })
    .await;
    assert_eq!(gets.len(), 1, "{gets:?}");
    assert_eq!(
        (&gets[0]["path"], &gets[0]["calls"]),
        (&json!("/things/0"), &json!(5))
    );
    // With a query it would be another.
    assert_eq!(
        (&gets[0]["covered_by"], &gets[0]["source"]),
        (&json!("known"), &Value::Null)
    );
    let output = doorbell
        .ask(&["coverage", "--admin", doorbell.admin_url()])
        .await;
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        shown.contains("/things/0 of tracker already polled by source known"),
        "{shown}"
    );
    assert!(shown.contains("100 %"), "{shown}");
    let output = doorbell
        .ask(&["coverage", "--json", "--admin", "http://127.0.0.1:1"])
        .await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is it running?"));
}
