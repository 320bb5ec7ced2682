//! Answers shaped as those of APIs that are known for it, and what is learnt of them.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::detect::{self, Path, Rules};

/// What answers to one request suggest, as `key = value` lines.
fn suggested(answers: &[Value], guide: &Guide) -> Vec<String> {
    let lines = learnt(answers, guide).lines();
    lines
        .iter()
        .map(|line| format!("{} = {}", line.key, line.value))
        .collect()
}

fn learnt(answers: &[Value], guide: &Guide) -> Learnt {
    let answers: Vec<Answer<'_>> = answers.iter().map(|body| Answer { body, guide }).collect();
    learn(&answers, Asked::default())
}

/// `count` objects made of their number.
fn objects(count: u64, make: impl Fn(u64) -> Value) -> Value {
    (1..=count).map(make).collect()
}

/// What one answer suggests.
#[track_caller]
fn check(body: &Value, guide: &Guide, expected: &[&str]) {
    assert_eq!(
        suggested(std::slice::from_ref(body), guide),
        expected,
        "{body}"
    );
    // Paths lead to what they are to lead to.
    let learnt = learnt(std::slice::from_ref(body), guide);
    for line in learnt.lines() {
        if line.key == "items" {
            let path = learnt.list.as_ref().expect("a list").items();
            assert!(
                Path::parse(&path).is_ok_and(|path| path.check_items().is_ok()),
                "{path}"
            );
        }
        if let Some((_, rest)) = line.value.split_once("at = \"") {
            let path = rest.split_once('"').expect("a string").0;
            let path = Path::parse(path).expect("a path");
            let picked = detect::pick(body.to_string().as_bytes(), &path);
            assert!(matches!(picked, Ok(Some(_))), "{path} in {body}");
        }
    }
}

fn link() -> Guide {
    Guide {
        has_link: true,
        ..Guide::default()
    }
}

#[test]
fn github_lists_and_searches() {
    let issue = |n| {
        json!({"id": 1000 + n, "number": n, "node_id": format!("I_{n}"), "title": "same",
            "user": {"id": n % 3, "login": "x"}, "labels": [{"id": 7, "name": "bug"}]})
    };
    let items = "items = \"$[*]\"";
    check(
        &objects(30, issue),
        &link(),
        &[items, "id = \"$.id\"", "paginate = { by = \"link\" }"],
    );
    let search = json!({"total_count": 2, "incomplete_results": false, "items": objects(2, issue)});
    check(
        &search,
        &Guide::default(),
        &["items = \"$.items[*]\"", "id = \"$.id\""],
    );
}

#[test]
fn gitlab_says_the_number_of_the_next_page() {
    let issue = |n| json!({"iid": n, "id": 500 + n, "project_id": 3, "web_url": "x"});
    let guide = Guide {
        number_header: Some("x-next-page".to_owned()),
        ..Guide::default()
    };
    let paginate = "paginate = { by = \"cursor\", header = \"x-next-page\", param = \"page\" }";
    check(
        &objects(20, issue),
        &guide,
        &["items = \"$[*]\"", "id = \"$.id\"", paginate],
    );
    // Of several projects, `iid` alone identifies nothing.
    let of_two = |n: u64| json!({"iid": n / 2, "project_id": n % 2, "title": "same"});
    check(
        &objects(6, of_two),
        &Guide::default(),
        &["items = \"$[*]\"", "id = [\"$.iid\", \"$.project_id\"]"],
    );
}

#[test]
fn stripe_goes_on_after_the_last_id() {
    let charge =
        |n| json!({"id": format!("ch_{n}"), "object": "charge", "created": 1_700_000_000 + n});
    let body = json!({"object": "list", "url": "/v1/charges", "has_more": true,
        "data": objects(3, charge)});
    let paginate = "paginate = { by = \"cursor\", at = \"$.data[-1].id\", \
                    param = \"starting_after\", more = \"$.has_more\" }";
    check(
        &body,
        &Guide::default(),
        &["items = \"$.data[*]\"", "id = \"$.id\"", paginate],
    );
}

#[test]
fn jira_counts_items() {
    let issue = |n| {
        json!({"id": format!("{n}"), "key": format!("X-{n}"), "self": format!("https://j/{n}"),
            "fields": {"summary": "same"}})
    };
    let body = json!({"expand": "schema", "startAt": 0, "maxResults": 50, "total": 120,
        "issues": objects(50, issue)});
    let paginate = "paginate = { by = \"offset\", param = \"startAt\", limit = 50 }";
    check(
        &body,
        &Guide::default(),
        &["items = \"$.issues[*]\"", "id = \"$.id\"", paginate],
    );
}

#[test]
fn datasette_lists_rows_or_objects() {
    let rows = json!({"database": "db", "table": "t", "columns": ["title", "id"],
        "primary_keys": ["id"], "rows": [["a", 1], ["b", 2], ["a", 3]],
        "filtered_table_rows_count": 3, "next": "2", "next_url": "https://d/db/t.json?_next=2"});
    let paginate = "paginate = { by = \"next\", at = \"$.next_url\" }";
    check(
        &rows,
        &Guide::default(),
        &["items = \"$.rows[*]\"", "id = \"$[1]\"", paginate],
    );
    let objects = json!({"rows": [{"id": 1, "title": "a"}], "next": null, "next_url": null});
    let lines = ["items = \"$.rows[*]\"", "id = \"$.id\"", paginate];
    check(&objects, &Guide::default(), &lines);
}

#[test]
fn json_api_names_type_and_id() {
    let article = |n: u64| {
        let kind = if n.is_multiple_of(2) {
            "articles"
        } else {
            "videos"
        };
        json!({"type": kind, "id": format!("{}", n / 2), "attributes": {"title": "same"},
            "links": {"self": format!("/x/{n}")}})
    };
    let body = json!({"data": objects(4, article), "links": {"self": "/x", "next": "/x?page=2"},
        "included": objects(9, |n| json!({"type": "people", "id": format!("{n}")}))});
    let paginate = "paginate = { by = \"next\", at = \"$.links.next\" }";
    let id = "id = [\"$.type\", \"$.id\"]";
    check(
        &body,
        &Guide::default(),
        &["items = \"$.data[*]\"", id, paginate],
    );
    let mut object = body.clone();
    object["links"]["next"] = json!({"href": "/x?page=2"});
    let paginate = "paginate = { by = \"next\", at = \"$.links.next.href\" }";
    check(
        &object,
        &Guide::default(),
        &["items = \"$.data[*]\"", id, paginate],
    );
    let mut last = body;
    last["links"]["next"] = Value::Null;
    assert!(suggested(&[last], &Guide::default())[2].contains("$.links.next"));
}

#[test]
fn hal_embeds_and_links() {
    let order = |n| json!({"total": 3, "_links": {"self": {"href": format!("/orders/{n}")}}});
    let body = json!({"_links": {"self": {"href": "/orders"}, "next": {"href": "/orders?page=2"}},
        "currentlyProcessing": 14, "_embedded": {"ea:order": objects(2, order)}});
    check(
        &body,
        &Guide::default(),
        &[
            "items = \"$._embedded['ea:order'][*]\"",
            "id = \"$._links.self.href\"",
            "paginate = { by = \"next\", at = \"$._links.next.href\" }",
        ],
    );
}

/// A list of two, and `more` beside it.
fn results(more: &Value) -> Value {
    let mut body = json!({"results": objects(2, |n| json!({"id": n}))});
    let members = more.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(members);
    body
}

#[test]
fn other_dialects() {
    for (more, paginate) in [
        (
            json!({"count": 9, "next": "https://a/?page=2", "previous": null}),
            "{ by = \"next\", at = \"$.next\" }",
        ),
        (
            json!({"count": 2, "next": null, "previous": null}),
            "{ by = \"next\", at = \"$.next\" }",
        ),
        (
            json!({"@odata.nextLink": "https://a/?$skiptoken=2"}),
            "{ by = \"next\", at = \"$['@odata.nextLink']\" }",
        ),
        (
            json!({"response_metadata": {"next_cursor": "abc"}}),
            "{ by = \"cursor\", at = \"$.response_metadata.next_cursor\", param = \"cursor\" }",
        ),
        (
            json!({"nextPageToken": "abc"}),
            "{ by = \"cursor\", at = \"$.nextPageToken\", param = \"pageToken\" }",
        ),
        (
            json!({"next_page_token": "abc"}),
            "{ by = \"cursor\", at = \"$.next_page_token\", param = \"page_token\" }",
        ),
        (
            json!({"meta": {"has_more": true, "after_cursor": "x", "next_cursor": "abc"}}),
            "{ by = \"cursor\", at = \"$.meta.next_cursor\", param = \"cursor\", \
             more = \"$.meta.has_more\" }",
        ),
        (
            json!({"meta": {"next_page": 2}}),
            "{ by = \"cursor\", at = \"$.meta.next_page\", param = \"page\" }",
        ),
        (
            json!({"page": 1, "total_pages": 4, "per_page": 2}),
            "{ by = \"page\", param = \"page\", start = 1 }",
        ),
        (
            json!({"number": 0, "totalPages": 4, "pageable": {"offset": 0, "pageSize": 2}}),
            "{ by = \"page\", param = \"page\", start = 0 }",
        ),
        (
            json!({"offset": 0, "limit": 25, "total_count": 80}),
            "{ by = \"offset\", param = \"offset\", limit = 25 }",
        ),
    ] {
        let body = results(&more);
        let expected = format!("paginate = {paginate}");
        check(
            &body,
            &Guide::default(),
            &["items = \"$.results[*]\"", "id = \"$.id\"", &expected],
        );
    }
}

#[test]
fn what_may_be_anything_is_no_page() {
    for quiet in [
        json!({"next": null}),
        json!({"after": null}),
        json!({"more": true}),
    ] {
        assert_eq!(suggested(&[results(&quiet)], &Guide::default()).len(), 2);
    }
}

#[test]
fn a_query_in_a_body_is_walked_by_its_variables() {
    let item = |n| json!({"id": n});
    let graph = json!({"data": {"repository": {"issues": {
        "pageInfo": {"endCursor": "abc", "hasNextPage": true}, "nodes": objects(2, item)}}}});
    let asked = Asked {
        sends_json: true,
        ..Asked::default()
    };
    let answer = Answer {
        body: &graph,
        guide: &Guide::default(),
    };
    let paging = learn(&[answer], asked).paging.expect("it has pages");
    assert_eq!(
        paging.toml,
        "{ by = \"cursor\", at = \"$.data.repository.issues.pageInfo.endCursor\", \
         param = \"variables.after\", into = \"body\", \
         more = \"$.data.repository.issues.pageInfo.hasNextPage\" }"
    );
}

#[test]
fn what_is_sent_already_is_told_of() {
    let body = json!({"results": [{"id": 1}], "page": 1, "total_pages": 4});
    let query = ["page".to_owned()];
    let asked = Asked {
        query: &query,
        ..Asked::default()
    };
    let learnt = learn(
        &[Answer {
            body: &body,
            guide: &Guide::default(),
        }],
        asked,
    );
    assert!(learnt.remarks[0].contains("`page`"), "{:?}", learnt.remarks);
}

#[test]
fn ids_are_in_every_item_another_and_in_every_answer_the_same() {
    let of = |make: &dyn Fn(u64, u64) -> Value| {
        let answers = (0..3).map(|round| objects(5, |n| make(n, round)));
        let learnt = learnt(&answers.collect::<Vec<_>>(), &Guide::default());
        learnt
            .id
            .map(|id| id.paths().map(str::to_owned).collect::<Vec<_>>())
    };
    let one = |path: &str| Some(vec![path.to_owned()]);
    // Made anew for each request.
    let made_up = |n, round| json!({"id": format!("{n}-{round}"), "slug": format!("s{n}")});
    assert_eq!(of(&made_up), one("$.slug"));
    // Not of every item.
    let rare = |n, _| {
        if n == 3 {
            json!({"sku": n})
        } else {
            json!({"id": n, "sku": n})
        }
    };
    assert_eq!(of(&rare), one("$.sku"));
    // Null, fractions and texts beside numbers identify nothing.
    let odd = |n: u64, _| match n {
        1 => json!({"id": "1", "uid": null, "key": 0.5, "login": "a"}),
        n => json!({"id": n, "uid": n, "key": n, "login": format!("b{n}")}),
    };
    assert_eq!(of(&odd), one("$.login"));
    // A time identifies only where nothing else does.
    let timed =
        |n, _| json!({"created_at": format!("2026-01-0{n}T00:00:00Z"), "label": format!("l{n}")});
    assert_eq!(of(&timed), one("$.label"));
    let same = |_, _| json!({"id": 1, "title": "same"});
    assert_eq!(of(&same), None);
    let orders = json!({"orders": objects(3, |n| json!({"customer_id": n, "order_id": n}))});
    check(
        &orders,
        &Guide::default(),
        &["items = \"$.orders[*]\"", "id = \"$.order_id\""],
    );
    let lines = suggested(&[objects(3, |_| json!({"a": true}))], &Guide::default());
    assert_eq!(
        lines, [""; 0],
        "rules of items that nothing identifies are no rules"
    );
}

#[test]
fn noise_is_what_differs_in_every_answer() {
    let answer = |round: u64| {
        let labels = if round == 1 { ["b", "a"] } else { ["a", "b"] };
        let item = |n: u64| {
            let state = if n == 2 && round == 2 {
                "closed"
            } else {
                "open"
            };
            json!({"id": n, "seen": round, "labels": labels, "state": state})
        };
        json!({"at": round, "items": objects(4, item)})
    };
    let answers: Vec<Value> = (0..3).map(answer).collect();
    assert_eq!(
        suggested(&answers, &Guide::default()),
        [
            "items = \"$.items[*]\"",
            "id = \"$.id\"",
            "ignore = [\"$.seen\"]",
            "unordered = [\"$.labels\"]",
        ]
    );
    let document = |round: u64| json!({"at": round, "state": "open"});
    let documents: Vec<Value> = (0..3).map(document).collect();
    assert_eq!(
        suggested(&documents, &Guide::default()),
        ["ignore = [\"$.at\"]"]
    );
    // What is all that there is may be what is watched for.
    let readings: Vec<Value> = (0..3)
        .map(|round| json!([{"id": 1, "value": round}]))
        .collect();
    let learnt = learnt(&readings, &Guide::default());
    assert_eq!(learnt.noise, Pattern::default());
    assert!(
        learnt.remarks[0].contains("$.value"),
        "{:?}",
        learnt.remarks
    );
}

#[test]
fn an_empty_list_is_a_list_of_which_little_is_known() {
    let body = json!({"errors": [], "data": []});
    check(
        &body,
        &Guide::default(),
        &["items = \"$.data[*]\"", "id = \"$.id\""],
    );
    assert!(
        learnt(&[body], &Guide::default()).lines()[1]
            .why
            .contains("a guess")
    );
    let full = json!({"errors": [], "jobs": [{"id": 1}]});
    check(
        &full,
        &Guide::default(),
        &["items = \"$.jobs[*]\"", "id = \"$.id\""],
    );
}

#[test]
fn names_become_steps_that_lead_to_them() {
    for (name, expected) in [
        ("updated_at", ".updated_at"),
        ("@odata.nextLink", "['@odata.nextLink']"),
        ("it's", r"['it\'s']"),
        ("say \"hi\"", "['say \"hi\"']"),
        ("back\\slash", r"['back\\slash']"),
        ("line\nend", r"['line\nend']"),
        ("1st", "['1st']"),
        ("", "['']"),
        ("é", "['é']"),
    ] {
        assert_eq!(step(name), expected);
        let path = Path::parse(&format!("${}", step(name))).expect("a path");
        let body = json!({ name: 7, "other": 8 }).to_string();
        let picked = detect::pick(body.as_bytes(), &path);
        assert_eq!(picked, Ok(Some("7".to_owned())), "{name}");
        // And the TOML in which they are written reads back.
        let toml = format!("a = {}", quoted(expected));
        let table: toml::Table = toml.parse().expect("TOML");
        assert_eq!(table["a"].as_str(), Some(expected));
    }
}

/// What may stand in an item.
fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..4_u32).prop_map(Value::from),
        Just(json!(0.5)),
        "[ab]{0,2}".prop_map(Value::from),
    ]
}

/// Objects with few names, so that some are in all of them.
fn item() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["id", "type", "key", "it's", "a_at", "attributes"]);
    let inner = prop::collection::btree_map("(id|self)", scalar(), 0..3);
    let inner = inner.prop_map(|members| json!(members));
    let value = prop_oneof![4 => scalar(), 1 => inner];
    prop::collection::btree_map(name, value, 1..5).prop_map(|members| json!(members))
}

fn elements() -> impl Strategy<Value = Value> {
    let rows = prop::collection::vec(prop::collection::vec(scalar(), 2), 0..5);
    prop_oneof![
        3 => prop::collection::vec(item(), 0..5).prop_map(Value::from),
        1 => rows.prop_map(|rows| json!(rows)),
        1 => scalar(),
    ]
}

fn body() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["data", "next", "in cluded", "columns"]);
    let members = prop::collection::btree_map(name, elements(), 0..4);
    let members = members.prop_map(|members| json!(members));
    let within = (members, any::<bool>()).prop_map(|(members, is_deep)| {
        if is_deep {
            json!({ "data": members })
        } else {
            members
        }
    });
    prop_oneof![elements(), within]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a stranger sends, what is suggested are rules that read what was sent.
    #[test]
    fn suggested_rules_read_the_answers_that_suggested_them(
        bodies in prop::collection::vec(body(), 1..4),
    ) {
        let learnt = learnt(&bodies, &Guide::default());
        let (Some(list), Some(id)) = (&learnt.list, &learnt.id) else { return Ok(()) };
        let path = |text: &str| Path::parse(text).expect("a path");
        let rules = Rules {
            items: Some(path(&list.items())),
            id: id.paths().map(path).collect(),
            ..Rules::default()
        };
        for body in &bodies {
            let walk = detect::read(body.to_string().as_bytes(), &rules, 1_000_000);
            let count = list.of(body).map(<[Value]>::len);
            prop_assert_eq!(walk.map(|walk| walk.entries.len()).ok(), count);
        }
    }
}
