//! One source of many partitions.

use serde_json::{Value, json};

use crate::harness::{
    Answering, Doorbell, Receiver, Ring, SECRET, Story, Upstream, client, wait_until,
};

/// A configuration: `/issues/REPO` for each repo that `each` names, polled by hand.
fn issues(upstream: &Upstream, receiver: &Receiver, each: &str) -> String {
    format!(
        r#"
[upstreams.tracker]
url = "{upstream}"
[endpoints.ops]
url = "{receiver}/ops"
secrets = ["{SECRET}"]
events = ["issues.*", "doorbell.*"]
retry = ["100ms", "100ms", "100ms", "100ms"]
allow_private = true
[sources.issues]
upstream = "tracker"
path = "/issues/{{{{repo}}}}"
each = {each}
every = "manual"
items = "$[*]"
id = "$.id"
deletes = "full"
"#
    )
}

/// What a ring tells of its partition.
fn repo(ring: &Ring) -> &str {
    let repo = &ring.event["data"]["partition"]["repo"];
    repo.as_str().unwrap_or_else(|| panic!("{}", ring.event))
}

/// Polls one partition by hand.
async fn poll_repo(doorbell: &Doorbell, repo: &str) -> (u16, Value) {
    let url = format!(
        "{}/api/v1/sources/issues/poll?repo={repo}",
        doorbell.admin_url()
    );
    let asked = client()
        .post(url)
        .header("content-type", "application/json");
    let answer = asked.send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, json_of(answer).await)
}

async fn json_of(answer: reqwest::Response) -> Value {
    let body = answer.bytes().await.expect("a whole answer");
    serde_json::from_slice(&body).expect("JSON")
}

#[tokio::test]
async fn partitions_have_a_snapshot_each_and_one_sequence() {
    let upstream = Upstream::serving("/issues/a/b", vec![json!({"id": 1})]).await;
    upstream.also_serving("/issues/c", vec![json!({"id": 1})]);
    let receiver = Receiver::accepting().await;
    let config = issues(&upstream, &receiver, r#"{ repo = ["a/b", "c"] }"#);
    let doorbell = Doorbell::start(&config).await;
    let first = doorbell.poll("issues").await;
    assert_eq!(
        (&first["outcome"], &first["events"]),
        (&json!("unchanged"), &json!(0))
    );

    // The same id changes in both, in different ways.
    upstream.change("/issues/a/b", |list| list[0]["words"] = json!("new"));
    upstream.change("/issues/c", |list| list[0] = json!({"id": 2}));
    let polled = doorbell.poll("issues").await;
    assert_eq!(
        (&polled["outcome"], &polled["events"]),
        (&json!("changed"), &json!(3))
    );
    let rings = receiver.until_accepted(3).await;
    let story = Story::of("issues", &rings);
    assert_eq!(story.len(), 3);
    let mut told: Vec<_> = rings
        .iter()
        .map(|ring| (repo(ring), ring.event_type(), ring.subject()))
        .collect();
    told.sort_unstable();
    assert_eq!(
        told,
        [
            ("a/b", "issues.updated", "1"),
            ("c", "issues.created", "2"),
            ("c", "issues.deleted", "1"),
        ]
    );

    // One alone, by its values.
    upstream.change("/issues/a/b", Vec::clear);
    upstream.change("/issues/c", Vec::clear);
    let (status, one) = poll_repo(&doorbell, "c").await;
    assert_eq!((status, &one["events"]), (200, &json!(1)), "{one}");
    let rings = receiver.until_accepted(4).await;
    assert_eq!((repo(&rings[3]), rings[3].sequence()), ("c", 4));
    assert_eq!(poll_repo(&doorbell, "d").await.0, 404);

    // Each is known after a restart.
    let doorbell = doorbell.kill().await.restart().await;
    let again = doorbell.poll("issues").await;
    assert_eq!(again["events"], 1, "{again}");
    let metrics = doorbell.metrics().await;
    let of_issues = &[("source", "issues")];
    assert_eq!(metrics.value("doorbell_source_items", of_issues), 0.0);
    assert_eq!(metrics.value("doorbell_source_partitions", of_issues), 2.0);
}

/// Method: one of two partitions answers 500 while the other changes.
#[tokio::test]
async fn a_partition_that_fails_is_told_of_by_name_and_holds_up_no_other() {
    let upstream = Upstream::serving("/issues/a", vec![]).await;
    upstream.also_serving("/issues/c", vec![]);
    let receiver = Receiver::accepting().await;
    let config = issues(&upstream, &receiver, r#"{ repo = ["a", "c"] }"#);
    let doorbell = Doorbell::start(&(config + "failing_after = 1\n")).await;
    doorbell.poll("issues").await;
    upstream.answer("/issues/c", Answering::Status(500));
    upstream.change("/issues/a", |list| list.push(json!({"id": 1})));
    let polled = doorbell.poll("issues").await;
    let expected = (&json!("error"), &json!("status"), &json!(1));
    assert_eq!(
        (&polled["outcome"], &polled["reason"], &polled["events"]),
        expected
    );

    let rings = receiver.until_accepted(2).await;
    let failing = rings
        .iter()
        .find(|ring| ring.event_type() == "doorbell.source.failing");
    let failing = failing.expect("it rings");
    assert_eq!(
        (repo(failing), &failing.event["data"]["source"]),
        ("c", &json!("issues"))
    );
    let url = format!("{}/api/v1/sources/issues", doorbell.admin_url());
    let answer = client().get(url).send().await.expect("an answer");
    let status = json_of(answer).await;
    assert_eq!(status["state"], "failing");
    let partitions = &status["partitions"];
    assert_eq!(
        (&partitions["total"], &partitions["failing"]),
        (&json!(2), &json!(1))
    );
    let first = &partitions["first_failing"][0];
    assert_eq!(first["partition"], json!({"repo": "c"}));
    assert_eq!(first["last_error"]["reason"], "status");
    let metrics = doorbell.metrics().await;
    let of_issues = &[("source", "issues")];
    assert_eq!(
        metrics.value("doorbell_source_partitions_failing", of_issues),
        1.0
    );

    upstream.answer("/issues/c", Answering::Well);
    doorbell.poll("issues").await;
    let rings = receiver.until_accepted(3).await;
    let last = rings.last().expect("three");
    assert_eq!(
        (last.event_type(), repo(last)),
        ("doorbell.source.recovered", "c")
    );
}

/// Method: the list and its details are polled by hand, so that each step is seen.
#[tokio::test]
async fn the_items_of_a_list_are_partitions_that_come_and_go_with_it() {
    let upstream = Upstream::serving("/repos", vec![json!({"id": 7, "name": "a"})]).await;
    for name in ["a", "b"] {
        upstream.also_serving(&format!("/issues/{name}"), vec![json!({"id": 1})]);
    }
    let receiver = Receiver::accepting().await;
    let each = r#"{ repo = { source = "repos", at = "$.name" } }"#;
    let list = "[sources.repos]\nupstream = \"tracker\"\npath = \"/repos\"\n\
                every = \"manual\"\nitems = \"$[*]\"\nid = \"$.id\"\ndeletes = \"full\"\n";
    let config = issues(&upstream, &receiver, each) + list;
    let doorbell = Doorbell::start(&config).await;
    let until = async |doorbell: &Doorbell, count: f64| {
        wait_until("the partitions are as many as the items", async || {
            let metrics = doorbell.metrics().await;
            let of_issues = &[("source", "issues")];
            let found = metrics.value("doorbell_source_partitions", of_issues);
            (found == count).then_some(())
        })
        .await;
    };
    let nothing = doorbell.poll("issues").await;
    assert_eq!(nothing["outcome"], "not_modified", "{nothing}");
    doorbell.poll("repos").await;
    until(&doorbell, 1.0).await;
    doorbell.poll("issues").await;

    upstream.change("/repos", |list| list.push(json!({"id": 8, "name": "b"})));
    doorbell.poll("repos").await;
    until(&doorbell, 2.0).await;
    let first = doorbell.poll("issues").await;
    assert_eq!(
        first["events"], 0,
        "a new partition begins silently: {first}"
    );
    for name in ["a", "b"] {
        let path = format!("/issues/{name}");
        upstream.change(&path, |list| list.push(json!({"id": 2})));
    }

    // A partition leaves silently, and is asked for no more.
    upstream.change("/repos", |list| drop(list.remove(0)));
    doorbell.poll("repos").await;
    until(&doorbell, 1.0).await;
    let before = upstream.arrivals("/issues/a").len();
    let polled = doorbell.poll("issues").await;
    assert_eq!(polled["events"], 1, "{polled}");
    assert_eq!(upstream.arrivals("/issues/a").len(), before);

    // The partitions are those of the snapshot after a restart, too; and one that is back goes on
    // from what it knew.
    // What was accepted is known to be, or the kill would make it ring again.
    receiver.until_accepted(1).await;
    doorbell.until_delivered("ops").await;
    let doorbell = doorbell.kill().await.restart().await;
    until(&doorbell, 1.0).await;
    upstream.change("/repos", |list| list.push(json!({"id": 7, "name": "a"})));
    doorbell.poll("repos").await;
    until(&doorbell, 2.0).await;
    let polled = doorbell.poll("issues").await;
    assert_eq!(polled["events"], 1, "{polled}");
    let rings = receiver.until_accepted(2).await;
    let told: Vec<_> = rings
        .iter()
        .map(|ring| (repo(ring), ring.subject()))
        .collect();
    assert_eq!(told, [("b", "2"), ("a", "2")]);
}
