//! A server and a verifier that we did not write: datasette, over a SQLite file whose rows change,
//! and the `standardwebhooks` library.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::harness::{
    Doorbell, Judge, Outsider, Receiver, SECRET, Says, Story, by_id, installed, is_proving,
};

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

/// Method: while doorbell walks a table in pages of 10 rows, one statement after the other inserts,
/// changes and removes rows anywhere in it. datasette leads on by its `Link` header and by `next_url`
/// in the body, and a third source counts pages itself, over a query that is cut by numbers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datasette_is_walked_whole_while_rows_come_and_go() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("shop.db");
    let table = Connection::open(&file).expect("a new database");
    execute(
        &table,
        "CREATE TABLE orders(id INTEGER PRIMARY KEY, item TEXT, pieces INTEGER)",
    );
    for id in 0..60 {
        execute(
            &table,
            &format!("INSERT INTO orders VALUES ({}, 'bell', 0)", id * 1_000),
        );
    }
    let start = rows(&table);
    let datasette = Datasette::serving(&file).await;
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&walks(&datasette, &receiver)).await;
    let sources = ["links", "urls", "offsets"];
    for source in sources {
        let polled = doorbell.poll(source).await;
        assert_eq!(polled["outcome"], "unchanged", "{source}: {polled}");
    }

    let moves = Moves::of(table);
    let mut events = 0;
    for _ in 0..if is_proving() { 100 } else { 12 } {
        for source in sources {
            let polled = doorbell.poll(source).await;
            assert_ne!(polled["outcome"], "error", "{source}: {polled}");
            events += polled["events"].as_u64().expect("a count");
        }
    }
    let (table, removed) = moves.end();
    for source in sources {
        events += doorbell.poll(source).await["events"]
            .as_u64()
            .expect("a count");
        let quiet = doorbell.poll(source).await;
        assert_eq!(quiet["outcome"], "unchanged", "{source}: {quiet}");
    }
    assert!(events > 0, "rows moved while they were watched");
    let rings = receiver
        .until_accepted(usize::try_from(events).expect("few"))
        .await;
    for source in sources {
        let known = Story::of(source, &rings).told_to(&start);
        assert_eq!(known, by_id(&rows(&table)), "{source}");
        let deleted = rings
            .iter()
            .filter(|ring| ring.event_type() == format!("{source}.deleted"));
        let deleted: BTreeSet<String> = deleted.map(|ring| ring.subject().to_owned()).collect();
        let invented: Vec<&String> = deleted.difference(&removed).collect();
        assert_eq!(invented, Vec::<&String>::new(), "{source}");
    }
}

/// Rows that come, change and go, some of them between two pages of a walk.
struct Moves {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<(Connection, BTreeSet<String>)>,
}

impl Moves {
    fn of(table: Connection) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut removed = BTreeSet::new();
            let mut random = fastrand::Rng::with_seed(4);
            while !stopped.load(Ordering::Relaxed) {
                let known = rows(&table);
                let id = known[random.usize(..known.len())]["id"].as_i64();
                let id = id.expect("a number");
                let new = id + random.i64(1..1_000);
                let statement = match random.u8(..3) {
                    0 if known.len() > 30 => {
                        removed.insert(id.to_string());
                        format!("DELETE FROM orders WHERE id = {id}")
                    }
                    1 => format!("INSERT OR IGNORE INTO orders VALUES ({new}, 'new', 0)"),
                    _ => format!("UPDATE orders SET pieces = pieces + 1 WHERE id = {id}"),
                };
                execute(&table, &statement);
                // Not to wait for anything: a table that is always locked cannot be read.
                thread::sleep(Duration::from_millis(random.u64(..40)));
            }
            (table, removed)
        });
        Self { stop, thread }
    }

    /// The table at rest, and every id that ever left it.
    fn end(self) -> (Connection, BTreeSet<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

fn rows(table: &Connection) -> Vec<Value> {
    let mut query = table
        .prepare("SELECT id, item, pieces FROM orders ORDER BY id")
        .expect("SQL");
    let row = |row: &rusqlite::Row<'_>| {
        let (id, item, pieces): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(json!({"id": id, "item": item, "pieces": pieces}))
    };
    let rows = query.query_map([], row).expect("rows");
    rows.map(|row| row.expect("a row")).collect()
}

fn walks(datasette: &Datasette, receiver: &Receiver) -> String {
    let source = |name: &str, lines: &str| {
        format!(
            "[sources.{name}]\nupstream = \"datasette\"\nevery = \"manual\"\nid = \"$.id\"\n\
             deletes = \"full\"\nguard = {{ deletes_max_ratio = 1.0 }}\n{lines}\n"
        )
    };
    let links = source(
        "links",
        "path = \"/shop/orders.json\"\nquery = { _shape = \"array\", _size = 10 }\n\
         items = \"$[*]\"\npaginate = { by = \"link\" }",
    );
    let urls = source(
        "urls",
        "path = \"/shop/orders.json\"\nquery = { _shape = \"objects\", _size = 10 }\n\
         items = \"$.rows[*]\"\npaginate = { by = \"next\", at = \"$.next_url\" }",
    );
    let offsets = source(
        "offsets",
        "path = \"/shop.json\"\nitems = \"$.rows[*]\"\n\
         query = { _shape = \"objects\", sql = \"select * from orders order by id limit 10 offset \
         cast(:from as integer)\" }\n\
         paginate = { by = \"offset\", param = \"from\", limit = 10 }",
    );
    format!(
        "[upstreams.datasette]\nurl = \"http://127.0.0.1:{}\"\n[endpoints.ops]\n\
         url = \"{receiver}/hooks\"\nsecrets = [\"{SECRET}\"]\nallow_private = true\n\
         {links}{urls}{offsets}",
        datasette.port
    )
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
