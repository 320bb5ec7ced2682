//! What telling items apart costs, against the bytes alone and against the obvious way.
//!
//! For one issue (about 1.9 KB) and a list of 100 (about 190 KB), as a tracker's API sends them:
//!
//! - `raw`: BLAKE3 of the bytes, the gate that an unchanged response does not pass;
//! - `value`: parse to `serde_json::Value`, write each item with sorted keys, BLAKE3 of that;
//! - `read`: what doorbell does;
//! - `read_ignoring`: the same with ignored members and an unordered list.

use std::hint::black_box;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use doorbell::detect::{Fields, Path, Rules, read};
use doorbell::digest::RawDigest;
use serde_json::Value;

const ITEMS_MAX: usize = 1_000_000;

criterion_group!(benches, one_issue, hundred_issues);
criterion_main!(benches);

fn one_issue(criterion: &mut Criterion) {
    let body = issue(1);
    let mut group = criterion.benchmark_group("issue");
    let rules = Rules::default();
    compare(
        &mut group,
        &body,
        &rules,
        &["$.updated_at", "$.user.gravatar_id"],
    );
    group.finish();
}

fn hundred_issues(criterion: &mut Criterion) {
    let issues: Vec<String> = (1..=100).map(issue).collect();
    let body = format!("[{}]", issues.join(","));
    let mut group = criterion.benchmark_group("list");
    let rules = Rules {
        items: Some(path("$[*]")),
        id: vec![path("$.id")],
        ..Rules::default()
    };
    compare(
        &mut group,
        &body,
        &rules,
        &["$.updated_at", "$.user.gravatar_id"],
    );
    group.finish();
}

fn compare<M: criterion::measurement::Measurement>(
    group: &mut BenchmarkGroup<'_, M>,
    body: &str,
    rules: &Rules,
    ignored: &[&str],
) {
    let body = body.as_bytes();
    let ignoring = Rules {
        fields: Fields::Ignore(ignored.iter().map(|text| path(text)).collect()),
        unordered: vec![path("$.labels")],
        ..rules.clone()
    };
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("raw", |bencher| {
        bencher.iter(|| RawDigest::of(black_box(body)));
    });
    group.bench_function("value", |bencher| {
        bencher.iter(|| by_value(black_box(body)));
    });
    group.bench_function("read", |bencher| {
        bencher.iter(|| read(black_box(body), rules, ITEMS_MAX).expect("the body is JSON"));
    });
    group.bench_function("read_ignoring", |bencher| {
        bencher.iter(|| read(black_box(body), &ignoring, ITEMS_MAX).expect("the body is JSON"));
    });
}

/// The obvious way: a tree, its members sorted, one digest for each item by its id.
fn by_value(body: &[u8]) -> Vec<(String, blake3::Hash)> {
    let value: Value = serde_json::from_slice(body).expect("the body is JSON");
    let items = match value {
        Value::Array(items) => items,
        document => vec![document],
    };
    let digest = |item: Value| {
        let id = item["id"].to_string();
        let form = serde_json::to_vec(&sorted(item)).expect("a value is JSON");
        (id, blake3::hash(&form))
    };
    let mut digests: Vec<_> = items.into_iter().map(digest).collect();
    digests.sort_by(|a, b| a.0.cmp(&b.0));
    digests
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(String, Value)> = members.into_iter().collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            let members = members
                .into_iter()
                .map(|(name, member)| (name, sorted(member)));
            Value::Object(members.collect())
        }
        Value::Array(elements) => Value::Array(elements.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn path(text: &str) -> Path {
    Path::parse(text).expect("the path is valid")
}

/// An issue, members in the order of the API that it imitates: not sorted.
fn issue(number: u64) -> String {
    let url = format!("https://tracker.example/api/v3/repos/octo-org/octo-repo/issues/{number}");
    let login = format!("contributor-{}", number % 17);
    let user = format!("https://tracker.example/api/v3/users/{login}");
    let sentence = "Steps to reproduce:\\r\\n1. open the page\\n2. press \\\"save\\\" twice. ";
    let body = sentence.repeat(4 + usize::try_from(number % 3).expect("a remainder is small"));
    let id = 2_650_000_000 + number * 7_919;
    format!(
        r#"{{"url":"{url}","repository_url":"https://tracker.example/api/v3/repos/octo-org/octo-repo","labels_url":"{url}/labels{{/name}}","comments_url":"{url}/comments","events_url":"{url}/events","html_url":"https://tracker.example/octo-org/octo-repo/issues/{number}","id":{id},"node_id":"I_kwDOABII58{id}","number":{number},"title":"Saving twice loses the second change ({number})","user":{{"login":"{login}","id":{number},"node_id":"MDQ6VXNlcjE=","avatar_url":"{user}/avatar?v=4","gravatar_id":"","url":"{user}","html_url":"https://tracker.example/{login}","followers_url":"{user}/followers","type":"User","site_admin":false}},"labels":[{{"id":208045946,"node_id":"MDU6TGFiZWwyMDgwNDU5NDY=","name":"bug","color":"f29513","default":true}},{{"id":208045947,"name":"needs-triage","color":"ededed","default":false}}],"state":"open","locked":false,"assignee":null,"assignees":[],"milestone":null,"comments":{comments},"created_at":"2026-10-03T09:11:{second:02}Z","updated_at":"2026-11-20T17:45:{second:02}Z","closed_at":null,"author_association":"CONTRIBUTOR","active_lock_reason":null,"body":"{body}","reactions":{{"url":"{url}/reactions","total_count":3,"+1":2,"-1":0,"laugh":0,"hooray":0,"confused":0,"heart":1,"rocket":0,"eyes":0}},"timeline_url":"{url}/timeline","score":{score}.5}}"#,
        comments = number % 9,
        second = number % 60,
        score = number % 11,
    )
}
