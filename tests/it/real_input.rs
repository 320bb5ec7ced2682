//! A server and a verifier that we did not write: datasette, over a SQLite file whose rows change,
//! and the `standardwebhooks` library.

use std::path::Path;
use std::process::Command;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::harness::{Doorbell, Judge, Outsider, SECRET, Says, installed};

/// Method: two sources watch the same table, one as a bare array, one inside a document whose
/// other members, such as the query's duration, differ in every answer.
#[tokio::test]
async fn rows_changed_in_datasette_ring_in_order_verified_by_standardwebhooks() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("shop.db");
    let table = Connection::open(&file).expect("a new database");
    execute(
        &table,
        "CREATE TABLE orders(id INTEGER PRIMARY KEY, item TEXT, pieces INTEGER)",
    );
    execute(
        &table,
        "INSERT INTO orders VALUES (1, 'bell', 1), (2, 'door', 1)",
    );
    let datasette = Datasette::serving(&file).await;
    let receiver = Judge::of_python(None).await;
    let doorbell = Doorbell::start(&config(&datasette, &receiver)).await;
    assert_quiet(&doorbell).await;

    for (statement, events) in [
        (
            "INSERT INTO orders VALUES (3, 'Türöffner', 2), (4, NULL, 0)",
            2,
        ),
        ("UPDATE orders SET pieces = 5 WHERE id = 3", 1),
        ("UPDATE orders SET pieces = pieces", 0),
        ("UPDATE orders SET item = 'gate' WHERE id IN (2, 3)", 2),
        ("DELETE FROM orders WHERE id = 3", 1),
    ] {
        execute(&table, statement);
        for source in ["rows", "document"] {
            let polled = doorbell.poll(source).await;
            assert_eq!(polled["events"], events, "{statement}: {polled}");
        }
        assert_quiet(&doorbell).await;
    }

    let told = receiver.until_told(12).await;
    for source in ["rows", "document"] {
        let event = |change: &str, subject: &str, current: Value| {
            json!([format!("{source}.{change}"), subject, current])
        };
        let expected = [
            event(
                "created",
                "3",
                json!({"id": 3, "item": "Türöffner", "pieces": 2}),
            ),
            event("created", "4", json!({"id": 4, "item": null, "pieces": 0})),
            event(
                "updated",
                "3",
                json!({"id": 3, "item": "Türöffner", "pieces": 5}),
            ),
            event(
                "updated",
                "2",
                json!({"id": 2, "item": "gate", "pieces": 1}),
            ),
            event(
                "updated",
                "3",
                json!({"id": 3, "item": "gate", "pieces": 5}),
            ),
            event("deleted", "3", Value::Null),
        ];
        assert_eq!(story(source, &told), expected);
    }
}

/// Type, subject and current row of a source's events, by sequence. A row's came in that order.
fn story(source: &str, told: &[Value]) -> Vec<Value> {
    let events = told.iter().map(|told| &told["event"]);
    let mut events: Vec<&Value> = events.filter(|e| e["data"]["source"] == source).collect();
    let sequence = |event: &&Value| event["data"]["sequence"].as_u64();
    for subject in ["2", "3", "4"] {
        let of_row = events.iter().filter(|e| e["data"]["subject"] == subject);
        let sequences: Vec<_> = of_row.map(sequence).collect();
        assert!(sequences.is_sorted(), "{source} {subject}: {sequences:?}");
    }
    events.sort_by_key(sequence);
    let summary = |event: &&Value| {
        let data = &event["data"];
        json!([event["type"], data["subject"], data["current"]])
    };
    events.iter().map(summary).collect()
}

/// Polls both sources and expects that nothing changed.
async fn assert_quiet(doorbell: &Doorbell) {
    for source in ["rows", "document"] {
        let polled = doorbell.poll(source).await;
        assert_ne!(polled["outcome"], "error", "{source}: {polled}");
        assert_eq!(polled["events"], 0, "{source}: {polled}");
    }
}

fn config(datasette: &Datasette, receiver: &Judge) -> String {
    let source = |name: &str, shape: &str, items: &str| {
        format!(
            r#"
[sources.{name}]
upstream = "datasette"
path = "/shop/orders.json"
query = {{ _shape = "{shape}", _size = "max" }}
every = "manual"
items = "{items}"
id = "$.id"
deletes = "full"
"#
        )
    };
    let (rows, document) = (
        source("rows", "array", "$[*]"),
        source("document", "objects", "$.rows[*]"),
    );
    format!(
        r#"
[upstreams.datasette]
url = "http://127.0.0.1:{}"
[endpoints.ops]
url = "http://127.0.0.1:{}/hooks"
secrets = ["{SECRET}"]
allow_private = true
{rows}{document}"#,
        datasette.port, receiver.port
    )
}

fn execute(table: &Connection, statement: &str) {
    table
        .execute(statement, [])
        .expect("the statement is right");
}

/// datasette over a file, on a free port.
struct Datasette {
    port: u64,
    _program: Outsider,
}

impl Datasette {
    async fn serving(file: &Path) -> Self {
        let mut command = Command::new(installed("venv/bin/datasette"));
        command
            .args(["serve", "--host", "127.0.0.1", "--port", "0"])
            .arg(file);
        let program = Outsider::running(command, Says::Err);
        let port = program.until("datasette listens", |lines| {
            let line = lines
                .iter()
                .find(|line| line.contains("running on http://"))?;
            let (_, rest) = line.split_once("127.0.0.1:")?;
            rest.split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        });
        Self {
            port: port.await,
            _program: program,
        }
    }
}
