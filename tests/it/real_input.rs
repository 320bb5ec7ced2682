//! A server and a verifier that we did not write: datasette, over a SQLite file whose rows change,
//! and the `standardwebhooks` library.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::harness::{DEADLINE, Doorbell, SECRET};

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
    let receiver = Verifier::listening().await;
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

fn config(datasette: &Datasette, receiver: &Verifier) -> String {
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
    _process: Process,
}

impl Datasette {
    async fn serving(file: &Path) -> Self {
        let mut command = Command::new(from_venv("datasette"));
        command
            .args(["serve", "--host", "127.0.0.1", "--port", "0"])
            .arg(file);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Process::of(command);
        let stderr = process.0.stderr.take().expect("stderr is piped");
        let said = lines(stderr);
        let port = until(&said, "datasette listens", |lines| {
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
            _process: process,
        }
    }
}

/// `receiver.py`, on a free port.
struct Verifier {
    port: u64,
    said: watch::Receiver<Vec<String>>,
    _process: Process,
}

impl Verifier {
    async fn listening() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/receiver.py");
        let mut command = Command::new(from_venv("python"));
        command.arg(script).arg(SECRET).stdout(Stdio::piped());
        let mut process = Process::of(command);
        let said = lines(process.0.stdout.take().expect("stdout is piped"));
        let port = until(&said, "the receiver listens", |lines| {
            read(lines.first()?)["listening"].as_u64()
        });
        Self {
            port: port.await,
            said,
            _process: process,
        }
    }

    /// Waits for `count` webhooks; what the library verified, in the order it came.
    async fn until_told(&self, count: usize) -> Vec<Value> {
        let told = until(&self.said, "all webhooks came", |lines| {
            let told: Vec<Value> = lines[1..].iter().map(|line| read(line)).collect();
            (told.len() >= count).then_some(told)
        });
        let told = told.await;
        for told in &told {
            assert!(told.get("refused").is_none(), "{told}");
        }
        assert_eq!(told.len(), count, "{told:?}");
        told
    }
}

/// A process that ends with the test.
struct Process(Child);

impl Process {
    fn of(mut command: Command) -> Self {
        let child = command.stdin(Stdio::null()).spawn();
        Self(child.expect("it is in the virtual environment"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn from_venv(command: &str) -> PathBuf {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin");
    let path = venv.join(command);
    assert!(
        path.exists(),
        "{} is missing: run `.ci/need judges`, or `make test`",
        path.display()
    );
    path
}

/// The lines that come out of `pipe`, as they come.
fn lines(pipe: impl Read + Send + 'static) -> watch::Receiver<Vec<String>> {
    let (sender, receiver) = watch::channel(Vec::new());
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { break };
            sender.send_modify(|lines| lines.push(line));
        }
    });
    receiver
}

async fn until<T>(
    said: &watch::Receiver<Vec<String>>,
    what: &str,
    find: impl Fn(&[String]) -> Option<T>,
) -> T {
    let mut said = said.clone();
    let waiting = said.wait_for(|lines| find(lines).is_some());
    let waited = tokio::time::timeout(DEADLINE, waiting).await;
    let lines = waited.unwrap_or_else(|_| panic!("in vain waited until {what}"));
    let lines = lines.unwrap_or_else(|_| panic!("a process ended before {what}"));
    find(&lines).expect("just found")
}

fn read(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))
}
