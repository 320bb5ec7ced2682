//! Polls of 64 concurrent sources made durable: the store's group commit, against the obvious
//! way, a `SQLite` transaction for each poll, on the same disk in the same run.
//!
//! `cargo bench --bench commit` prints commits a second and CPU seconds per 1,000 commits of each,
//! then what one poll of 20,000 changes takes, and settling as many deliveries.

#![expect(clippy::print_stdout, reason = "a benchmark reports on the terminal")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use doorbell::clock::Clock;
use doorbell::config;
use doorbell::digest::Context;
use doorbell::event::{Cause, EventKey, Kind, Partition};
use doorbell::metrics::{Metrics, StoreMetrics};
use doorbell::name::Name;
use doorbell::store::{
    Attempt, DeliveryId, Draft, Form, ItemChange, LaneId, Memory, PollCommit, Settled, Settling,
    SourceState, Store, Then,
};

/// Sources that commit at once.
const PRODUCERS: usize = 64;
/// How long each way runs.
const ROUND: Duration = Duration::from_secs(2);
/// Bytes of an item, and about those of its event.
const ITEM_BYTES: usize = 1_024;
/// Changes of the large poll.
const CHANGES: usize = 20_000;
/// Deliveries that one settling carries, what a deliverer gathers during a flush.
const SETTLED_TOGETHER: usize = 32;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for round in 1..=3 {
        let place = tempfile::tempdir().expect("a directory");
        let naive = measured(|| naive(&place.path().join("naive.db")));
        let store = runtime.block_on(open(&place.path().join("store.db")));
        let grouped = measured(|| runtime.block_on(grouped(&store)));
        report("one transaction a poll", round, naive);
        report("group commit", round, grouped);
        let large = measured(|| runtime.block_on(large(&store)));
        report("one poll, per change", round, large);
        let settled = measured(|| runtime.block_on(settle(&store)));
        report("settled deliveries", round, settled);
        runtime.block_on(store.close());
    }
}

/// How many, in how long, with how many CPU seconds.
type Measure = (u32, Duration, f64);

fn measured(work: impl FnOnce() -> u32) -> Measure {
    let (cpu, started) = (cpu_seconds(), Instant::now());
    let count = work();
    (count, started.elapsed(), cpu_seconds() - cpu)
}

fn report(what: &str, round: u32, (count, took, cpu): Measure) {
    let rate = f64::from(count) / took.as_secs_f64();
    let cost = cpu * 1_000.0 / f64::from(count);
    println!("round {round}  {what:<24}{rate:>9.0}/s {cost:>7.3} CPU-s/1000");
}

/// CPU time of this process, from the kernel's count of 10 ms ticks (proc(5)).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|tick| tick.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

async fn open(path: &Path) -> Store {
    let settings = config::Store {
        path: PathBuf::from(path),
        retain: Duration::from_hours(24),
        retain_dead: Duration::from_hours(24),
    };
    let metrics = StoreMetrics::new(&Metrics::new());
    let store = Store::open(&settings, Clock::system(), metrics).await;
    store.expect("the store opens")
}

async fn source(store: &Store, name: &str) -> SourceState {
    let name = Name::parse(name).expect("a name");
    store.sources(&[name]).await.expect("registers").remove(0)
}

fn poll(source: &SourceState, changes: Vec<ItemChange>) -> PollCommit {
    PollCommit {
        source: source.id,
        snapshot: source.snapshot,
        partition: Partition::default(),
        at: Clock::system().now(),
        cause: Cause::Poll,
        memory: Memory::default(),
        changes,
        settles_snapshot: true,
        marks: Vec::new(),
        announcements: Vec::new(),
    }
}

fn change(subject: &str) -> ItemChange {
    let body = item();
    ItemChange {
        subject: subject.into(),
        now: Some(Form {
            digest: Context::new("doorbell bench").digest(body.as_bytes()),
            body: Some(body.as_str().into()),
        }),
        event: Some(Draft {
            kind: Kind::Updated,
            content: format!(r#""current":{body}"#).into(),
        }),
    }
}

/// A JSON string that does not compress, so that bytes are what they seem.
fn item() -> String {
    let noise: String = (0..ITEM_BYTES).map(|_| fastrand::alphanumeric()).collect();
    format!("\"{noise}\"")
}

async fn grouped(store: &Store) -> u32 {
    let count = Arc::new(AtomicU32::new(0));
    let mut producers = tokio::task::JoinSet::new();
    for number in 0..PRODUCERS {
        let (store, count) = (store.clone(), Arc::clone(&count));
        producers.spawn(async move {
            let source = source(&store, &format!("s{number}")).await;
            let started = Instant::now();
            while started.elapsed() < ROUND {
                let poll = poll(&source, vec![change("item")]);
                store.commit(poll).await.expect("commits");
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    producers.join_all().await;
    count.load(Ordering::Relaxed)
}

/// The same rows, each poll in its own transaction behind a mutex.
fn naive(path: &Path) -> u32 {
    let connection = rusqlite::Connection::open(path).expect("opens");
    let schema = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
        CREATE TABLE items(source, subject, digest, body, PRIMARY KEY (source, subject));
        CREATE TABLE events(key INTEGER PRIMARY KEY, source, subject, content);";
    connection.execute_batch(schema).expect("creates");
    let connection = Mutex::new(connection);
    let count = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for number in 0..PRODUCERS {
            let (connection, count) = (&connection, &count);
            scope.spawn(move || {
                let started = Instant::now();
                while started.elapsed() < ROUND {
                    let change = change("item");
                    let mut connection = connection.lock().expect("nobody panics");
                    write_naively(&mut connection, number, &change).expect("writes");
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    count.into_inner()
}

fn write_naively(
    connection: &mut rusqlite::Connection,
    source: usize,
    change: &ItemChange,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let source = i64::try_from(source).unwrap_or(0);
    let form = change.now.as_ref().expect("every change here has a form");
    let content = change.event.as_ref().map(|event| &event.content);
    transaction.execute(
        "INSERT OR REPLACE INTO items VALUES (?1, ?2, ?3, ?4)",
        rusqlite::params![source, change.subject, form.digest.as_bytes(), form.body],
    )?;
    transaction.execute(
        "INSERT INTO events(source, subject, content) VALUES (?1, ?2, ?3)",
        rusqlite::params![source, change.subject, content],
    )?;
    transaction.commit()
}

async fn large(store: &Store) -> u32 {
    let source = source(store, "large").await;
    let changes = (0..CHANGES).map(|number| change(&number.to_string()));
    let poll = poll(&source, changes.collect());
    let committed = store.commit(poll).await.expect("commits");
    u32::try_from(committed.events).unwrap_or(0)
}

async fn settle(store: &Store) -> u32 {
    let source = source(store, "large").await;
    let endpoint = Name::parse("ops").expect("a name");
    let lanes = store.lanes(&endpoint, &[source.id]).await;
    let lane = lanes.expect("registers").remove(0).id;
    let (mut after, mut count) = (EventKey::START, 0);
    let mut flights = tokio::task::JoinSet::new();
    loop {
        let events = store.scan((source.id, None), after, SETTLED_TOGETHER).await;
        let events = events.expect("scans");
        let Some(last) = events.last() else { break };
        after = last.key;
        count += u32::try_from(events.len()).unwrap_or(0);
        let keys: Vec<EventKey> = events.iter().map(|event| event.key).collect();
        let store = store.clone();
        flights.spawn(async move {
            let attempts = keys.iter().map(|key| accepted(lane, *key)).collect();
            let settling = Settling {
                attempts,
                ..Settling::default()
            };
            store.settle(settling).await.expect("settles");
        });
    }
    flights.join_all().await;
    count
}

fn accepted(lane: LaneId, event: EventKey) -> Settled {
    let at = Clock::system().now();
    Settled {
        delivery: DeliveryId { lane, event },
        subject: "item".into(),
        kind: Kind::Updated,
        committed_at: at,
        attempt: Attempt {
            number: 1,
            at,
            duration_ms: 3,
            status: Some(204),
            error: None,
            answer: None,
            rendering: None,
        },
        then: Then::Delivered,
    }
}
