//! From a committed change to an accepted answer, 1 KiB bodies, one endpoint: webhooks a second,
//! doorbell's own CPU seconds per 1,000, latency at 50 a second, memory, and how soon the first
//! webhook comes after `kill -9`. Beside it in the same run its floor: a bare loop that signs, posts,
//! and records each event before and each attempt after in `SQLite` with group commit, and does
//! nothing else of what doorbell does.
//!
//! `cargo bench --bench send`
#![expect(clippy::print_stdout, reason = "figures are what a bench is for")]

mod common;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as blocking;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use common::{
    JSON, Json, Process, SECRET, client, doorbell, flood_and_calm, median, percentile, poll, serve,
    since_detection,
};
use doorbell::secret::Secret;
use doorbell::signature::{SigningKey, sign};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

const EVENTS: usize = 20_000;
const ROUNDS: usize = 5;
/// Attempts in flight, on both sides. More are no faster on two cores, and each has its buffers.
const IN_FLIGHT: usize = 64;
/// Of a webhook.
const BODY_BYTES: usize = 1_024;
/// At 50 a second.
const TICK: Duration = Duration::from_millis(20);
const TICKS: usize = 500;
/// Tell this program, started again, to be the floor: where to post, and how often at what pace.
const FLOOR: &str = "DOORBELL_BENCH_FLOOR";
const PACED: &str = "DOORBELL_BENCH_PACED";

fn main() {
    doorbell::client::install_crypto_provider();
    if let Ok(url) = std::env::var(FLOOR) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        return runtime.block_on(floor(&url, std::env::var_os(PACED).is_some()));
    }
    common::other_machines().block_on(async {
        // On the runtime's threads, which stand for other machines.
        tokio::spawn(measure()).await.expect("figures");
    });
}

async fn measure() {
    let world = Arc::new(World::default());
    *world.list.lock() = list(0);
    let address = world.clone().serve().await;
    let folder = tempfile::tempdir().expect("a folder");
    let ours = doorbell(folder.path(), &flood_and_calm(address, IN_FLIGHT));
    let client = client();
    poll(&client, ours.admin, "flood").await;
    poll(&client, ours.admin, "calm").await;
    floods(&world, &client, &ours, address).await;

    let ours_at_50 = calm(&world, &client, ours.admin).await;
    println!(
        "{:8.1} MiB resident after polls of {EVENTS}",
        ours.process.rss_mib()
    );
    ours.process.stop();
    let floor_at_50 = floor_calm(&world, address).await;
    ours.process.resume();
    for (what, mut lags) in [
        ("doorbell, commit to arrival", ours_at_50.since_commit),
        (
            "doorbell, detection to arrival, commit included",
            ours_at_50.since_detection,
        ),
        ("floor, commit included", floor_at_50),
    ] {
        let [p50, p99] = [50, 99].map(|percent| percentile(&mut lags, percent));
        println!("at 50/s    p50 {p50:5.2} p99 {p99:6.2} ms  {what}");
    }

    let (after_kill, peak) = killed(&world, &client, ours, (folder.path(), address)).await;
    println!("after kill -9 the first webhook came {after_kill:.2} s after the new start");
    println!("{peak:8.1} MiB resident at most while it rang the rest");
}

/// Floor and doorbell in turn, so that a busy neighbour meets both.
async fn floods(
    world: &Arc<World>,
    client: &reqwest::Client,
    ours: &common::Doorbell,
    address: SocketAddr,
) {
    let (mut of_floor, mut floor_cpu, mut rounds) = (vec![], vec![], vec![]);
    for number in 1..=ROUNDS {
        ours.process.stop();
        let (rate, spent) = floor_round(world, address).await;
        of_floor.push(rate);
        floor_cpu.push(spent);
        ours.process.resume();
        *world.list.lock() = list(number);
        rounds.push(round(world, client, ours).await);
    }
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    let bytes = world.bytes.load(Ordering::Relaxed);
    let (floor, floor_cpu) = (median(of_floor), median(floor_cpu));
    let (whole, cpu) = (of(|round| round.since_detection), of(|round| round.cpu));
    let (drained, drain_cpu) = (
        of(|round| round.since_commit),
        of(|round| round.delivery_cpu),
    );
    println!(
        "median of {ROUNDS} rounds of {EVENTS}, {IN_FLIGHT} in flight, {bytes} bytes each, and \
         CPU-s per 1,000:"
    );
    println!("floor      {floor:8.0}/s {floor_cpu:6.3}  event before, attempt after, nothing else");
    println!(
        "doorbell   {whole:8.0}/s {cpu:6.3}  from the poll: read, diff, patch, commit, deliver"
    );
    println!(
        "           {drained:8.0}/s {drain_cpu:6.3}  from the first arrival, after the commit"
    );
    println!(
        "of floor   {:8.2} from the poll, {:.2} from the commit; wanted 0.6",
        whole / floor,
        drained / floor
    );
}

/// What a round of doorbell's came to.
struct Round {
    since_detection: f64,
    since_commit: f64,
    cpu: f64,
    delivery_cpu: f64,
}

async fn round(world: &World, client: &reqwest::Client, ours: &common::Doorbell) -> Round {
    let rung = world.rung.load(Ordering::Relaxed);
    world.first.lock().take();
    let (began, cpu) = (Instant::now(), ours.process.cpu_seconds());
    let (admin, client) = (ours.admin, client.clone());
    let poll = tokio::spawn(async move { poll(&client, admin, "flood").await });
    while world.first.lock().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let cpu_at_first = ours.process.cpu_seconds();
    world.until(rung + EVENTS as u64).await;
    let cpu_at_last = ours.process.cpu_seconds();
    poll.await.expect("the poll by hand answers");
    let (first, last) = (
        world.first.lock().expect("rings"),
        world.last.lock().expect("rings"),
    );
    let rate = |since: Instant| EVENTS as f64 / (last - since).as_secs_f64();
    let per_thousand = |from: f64| (cpu_at_last - from) * 1_000.0 / EVENTS as f64;
    Round {
        since_detection: rate(began),
        since_commit: rate(first),
        cpu: per_thousand(cpu),
        delivery_cpu: per_thousand(cpu_at_first),
    }
}

/// Webhooks a second of the floor, from its first event on, and its CPU seconds per 1,000.
async fn floor_round(world: &World, address: SocketAddr) -> (f64, f64) {
    let rung = world.rung.load(Ordering::Relaxed);
    let (mut floor, _folder) = start_floor(address, false);
    let mut lines = floor.stderr();
    // It says so when it begins and when the last attempt is on disk.
    let began = tokio::task::block_in_place(|| lines.next());
    assert_eq!(began.as_deref(), Some("begin"));
    let (start, cpu) = (Instant::now(), floor.cpu_seconds());
    world.until(rung + EVENTS as u64).await;
    let took = start.elapsed().as_secs_f64();
    let cpu = (floor.cpu_seconds() - cpu) * 1_000.0 / EVENTS as f64;
    (EVENTS as f64 / took, cpu)
}

async fn floor_calm(world: &World, address: SocketAddr) -> Vec<f64> {
    world.lags.lock().clear();
    let rung = world.rung.load(Ordering::Relaxed);
    let _floor = start_floor(address, true);
    world.until(rung + TICKS as u64).await;
    std::mem::take(&mut *world.lags.lock())
}

/// In a folder of its own.
fn start_floor(address: SocketAddr, is_paced: bool) -> (Process, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .env(FLOOR, format!("http://{address}/floor"))
        .current_dir(folder.path());
    if is_paced {
        command.env(PACED, "1");
    }
    (Process::spawn(&mut command), folder)
}

/// How long rings of the other source took, in milliseconds.
#[derive(Default)]
struct Lags {
    since_detection: Vec<f64>,
    since_commit: Vec<f64>,
}

/// One change every [`TICK`], each rung before the next.
async fn calm(world: &World, client: &reqwest::Client, admin: SocketAddr) -> Lags {
    let mut lags = Lags::default();
    let mut ticks = tokio::time::interval(TICK);
    for _ in 0..TICKS {
        ticks.tick().await;
        let n = world.calm.fetch_add(1, Ordering::Relaxed) + 1;
        let mut rung = world.calm_rung.subscribe();
        let heard = async {
            let seen = rung.wait_for(|ring| ring.0 >= n).await;
            (seen.expect("the world goes on").1, Instant::now())
        };
        let answer = async {
            poll(client, admin, "calm").await;
            Instant::now()
        };
        let ((micros, heard_at), answered) = tokio::join!(heard, answer);
        let detected = micros as f64 / 1_000.0;
        // The answer of the poll follows the commit; rings often come sooner.
        let after_answer = heard_at.saturating_duration_since(answered).as_secs_f64() * 1_000.0;
        lags.since_detection.push(detected);
        lags.since_commit.push(after_answer.min(detected));
    }
    lags
}

/// Kills doorbell in the middle of a flood and starts it again: how long after that a webhook comes,
/// and how much memory the rest takes, which now is only delivered.
async fn killed(
    world: &Arc<World>,
    client: &reqwest::Client,
    ours: common::Doorbell,
    (folder, address): (&std::path::Path, SocketAddr),
) -> (f64, f64) {
    *world.list.lock() = list(ROUNDS + 1);
    let rung = world.rung.load(Ordering::Relaxed);
    let (admin, asking) = (ours.admin, client.clone());
    // It is not answered: the process dies.
    tokio::spawn(async move {
        let url = format!("http://{admin}/api/v1/sources/flood/poll");
        let request = asking.post(url).header("content-type", "application/json");
        let _ = request.send().await;
    });
    world.until(rung + EVENTS as u64 / 4).await;
    drop(ours);
    world.first.lock().take();
    let began = Instant::now();
    let config = flood_and_calm(address, IN_FLIGHT);
    let again = tokio::task::block_in_place(|| doorbell(folder, &config));
    while world.first.lock().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let first = world.first.lock().expect("it rang");
    world.until(rung + EVENTS as u64).await;
    ((first - began).as_secs_f64(), again.process.peak_rss_mib())
}

/// The upstream of both sources, and who is rung.
#[derive(Default)]
struct World {
    list: Mutex<Bytes>,
    calm: AtomicU64,
    calm_rung: watch::Sender<(u64, i64)>,
    rung: AtomicU64,
    moved: watch::Sender<u64>,
    bytes: AtomicU64,
    first: Mutex<Option<Instant>>,
    last: Mutex<Option<Instant>>,
    /// Of the floor, in milliseconds.
    lags: Mutex<Vec<f64>>,
}

impl World {
    async fn serve(self: Arc<Self>) -> SocketAddr {
        let router = Router::new()
            .route("/flood", get(flood_list))
            .route("/calm", get(calm_document))
            .route("/ring", post(ring))
            .route("/floor", post(floor_ring))
            .with_state(self);
        serve(router).await
    }

    fn ring(&self) {
        let now = Instant::now();
        let rung = self.rung.fetch_add(1, Ordering::Relaxed) + 1;
        self.first.lock().get_or_insert(now);
        *self.last.lock() = Some(now);
        if rung.is_multiple_of(100) {
            self.moved.send_replace(rung);
        }
    }

    /// Waits until so many webhooks came; counts are multiples of a hundred.
    async fn until(&self, rung: u64) {
        let mut moved = self.moved.subscribe();
        let reached = moved.wait_for(|seen| *seen >= rung).await;
        reached.expect("the world goes on");
    }
}

async fn flood_list(State(world): State<Arc<World>>) -> Json<Bytes> {
    (JSON, world.list.lock().clone())
}

async fn calm_document(State(world): State<Arc<World>>) -> Json<Bytes> {
    let filler = "x".repeat(BODY_BYTES / 3);
    let n = world.calm.load(Ordering::Relaxed);
    (JSON, format!(r#"{{"n":{n},"text":"{filler}"}}"#).into())
}

/// An event holds the item as it is and as it was.
fn list(round: usize) -> Bytes {
    common::list(EVENTS, round, BODY_BYTES / 3)
}

async fn ring(State(world): State<Arc<World>>, body: Bytes) -> StatusCode {
    if body.starts_with(br#"{"type":"flood."#) {
        world.bytes.store(body.len() as u64, Ordering::Relaxed);
        world.ring();
        return StatusCode::NO_CONTENT;
    }
    let payload: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    let n = payload["data"]["current"]["n"].as_u64().expect("a number");
    let lag = since_detection(&payload);
    world.calm_rung.send_replace((n, lag));
    StatusCode::NO_CONTENT
}

async fn floor_ring(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    _body: Bytes,
) -> StatusCode {
    let made = headers
        .get("x-made-micros")
        .and_then(|made| made.to_str().ok()?.parse().ok());
    if let Some(made) = made {
        let lag = micros_since_epoch().saturating_sub(made);
        world.lags.lock().push(lag as f64 / 1_000.0);
    }
    world.ring();
    StatusCode::NO_CONTENT
}

fn micros_since_epoch() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// What the floor's writer is asked to do.
enum Record {
    Event(u64, Bytes),
    Attempt(u64),
}

type Job = (Record, oneshot::Sender<()>);

/// The floor: every event is on disk before it is sent, and its attempt before the next begins.
async fn floor(url: &str, is_paced: bool) {
    let (jobs, queue) = blocking::channel::<Job>();
    let writer = std::thread::spawn(move || write(&queue));
    let key = Arc::new([SigningKey::parse(&Secret::new(SECRET.to_owned())).expect("a key")]);
    let client = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(IN_FLIGHT)
        .tcp_nodelay(true)
        .build()
        .expect("a client");
    let body = Bytes::from("x".repeat(BODY_BYTES));
    let next = Arc::new(AtomicU64::new(0));
    common::say_on_stderr("begin");
    let (workers, count) = if is_paced {
        (1, TICKS)
    } else {
        (IN_FLIGHT, EVENTS)
    };
    let working = (0..workers).map(|_| {
        let (key, client, body) = (key.clone(), client.clone(), body.clone());
        let (next, jobs, url) = (next.clone(), jobs.clone(), url.to_owned());
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(TICK);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count as u64 {
                    return;
                }
                if is_paced {
                    ticks.tick().await;
                }
                let made = micros_since_epoch();
                record(&jobs, Record::Event(number, body.clone())).await;
                let id = format!("evt_{number:016x}");
                let signature = sign(&*key, &id, 1_700_000_000, &body);
                let request = client.post(&url).body(body.clone());
                let request = request.header("webhook-id", &id);
                let request = request.header("webhook-timestamp", "1700000000");
                let mut request = request.header("webhook-signature", signature);
                if is_paced {
                    request = request.header("x-made-micros", made.to_string());
                }
                let answer = request.send().await.expect("an answer");
                let _ = answer.bytes().await;
                record(&jobs, Record::Attempt(number)).await;
            }
        })
    });
    for worker in working.collect::<Vec<_>>() {
        worker.await.expect("a worker");
    }
    drop(jobs);
    writer.join().expect("the writer ends");
}

async fn record(jobs: &blocking::Sender<Job>, record: Record) {
    let (done, written) = oneshot::channel();
    jobs.send((record, done)).expect("the writer listens");
    written.await.expect("it is written");
}

/// Writes whatever waits in one transaction, as often as there is something.
fn write(queue: &blocking::Receiver<Job>) {
    let mut connection = rusqlite::Connection::open("floor.db").expect("opens");
    let schema = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
        CREATE TABLE events(key INTEGER PRIMARY KEY, content BLOB NOT NULL);
        CREATE TABLE attempts(event INTEGER PRIMARY KEY, at INTEGER NOT NULL, status INTEGER);";
    connection.execute_batch(schema).expect("creates");
    while let Ok(first) = queue.recv() {
        let jobs: Vec<Job> = std::iter::once(first)
            .chain(queue.try_iter())
            .take(512)
            .collect();
        let transaction = connection.transaction().expect("begins");
        {
            let event = "INSERT INTO events VALUES (?1, ?2)";
            let mut event = transaction.prepare_cached(event).expect("prepares");
            let attempt = "INSERT INTO attempts VALUES (?1, ?2, 204)";
            let mut attempt = transaction.prepare_cached(attempt).expect("prepares");
            for (record, _) in &jobs {
                let inserted = match record {
                    Record::Event(key, content) => event.execute((key.cast_signed(), &content[..])),
                    Record::Attempt(key) => {
                        let at = micros_since_epoch().cast_signed();
                        attempt.execute((key.cast_signed(), at))
                    }
                };
                inserted.expect("inserts");
            }
        }
        transaction.commit().expect("commits");
        for (_, done) in jobs {
            let _ = done.send(());
        }
    }
}
