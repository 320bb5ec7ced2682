//! One poll that finds 20,000 changes, delivered to a fast receiver: webhooks a second, doorbell's
//! own CPU seconds per 1,000, and what it does to another source's deliveries meanwhile. Beside it
//! a bare loop that signs, posts, and keeps nothing.
//!
//! `cargo bench --bench flood`
#![expect(clippy::print_stdout, reason = "figures are what a bench is for")]

mod common;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use common::{doorbell, percentile};
use doorbell::secret::Secret;
use doorbell::signature::{SigningKey, sign};
use parking_lot::Mutex;

const CHANGES: usize = 20_000;
const CONCURRENCY: usize = 64;
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDC2FVsBQIhrs=";
/// How often the other source changes.
const TICK: Duration = Duration::from_millis(20);

fn main() {
    doorbell::client::install_crypto_provider();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(measure());
}

async fn measure() {
    let world = Arc::new(World::default());
    let address = world.clone().serve().await;
    let bare_rate = bare(address).await;
    println!("bare loop     {bare_rate:8.0} webhooks/s (signs and posts, keeps nothing)");

    let folder = tempfile::tempdir().expect("a folder");
    let ours = doorbell(folder.path(), &config(address));
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    poll(&client, ours.admin, "flood").await;
    poll(&client, ours.admin, "calm").await;

    let mut before = calm(&world, &client, ours.admin, 200).await;
    world.round.fetch_add(1, Ordering::Relaxed);
    let (cpu, rung) = (
        ours.process.cpu_seconds(),
        world.rung.load(Ordering::Relaxed),
    );
    let flood = {
        let (client, admin) = (client.clone(), ours.admin);
        tokio::spawn(async move { poll(&client, admin, "flood").await })
    };
    // The clock runs from the commit: the poll itself (fetch, diff, patches) is not delivery.
    let mut during = vec![];
    let mut start = None;
    let goal = rung + CHANGES as u64;
    while world.rung.load(Ordering::Relaxed) < goal {
        during.extend(calm(&world, &client, ours.admin, 1).await);
        if start.is_none() && world.rung.load(Ordering::Relaxed) > rung {
            start = Some((Instant::now(), world.rung.load(Ordering::Relaxed)));
        }
    }
    let (start, at_start) = start.expect("the flood rings");
    let seconds = world
        .last
        .lock()
        .expect("rings")
        .duration_since(start)
        .as_secs_f64();
    let rate = (goal - at_start) as f64 / seconds;
    flood.await.expect("the poll by hand answers");
    let cpu = (ours.process.cpu_seconds() - cpu) * 1000.0 / CHANGES as f64;
    println!("doorbell      {rate:8.0} webhooks/s, durable");
    println!("              {cpu:8.3} CPU-s per 1,000 (poll, diff, patch, commit and delivery)");
    println!("              {:8.1} MiB resident", ours.process.rss_mib());
    println!("of bare       {:8.2}", rate / bare_rate);
    let (p50, p99) = (percentile(&mut before, 50), percentile(&mut before, 99));
    println!(
        "other source  p50 {p50:6.2} ms  p99 {p99:6.2} ms  before ({} rings)",
        before.len()
    );
    let (d50, d99) = (percentile(&mut during, 50), percentile(&mut during, 99));
    println!(
        "other source  p50 {d50:6.2} ms  p99 {d99:6.2} ms  during ({} rings)",
        during.len()
    );
    println!("p99 ratio     {:8.2}", d99 / p99);
}

/// The upstream of both sources and the receiver of both.
#[derive(Default)]
struct World {
    round: AtomicU64,
    calm: AtomicU64,
    rung: AtomicU64,
    last: Mutex<Option<Instant>>,
    calm_rung: tokio::sync::watch::Sender<(u64, i64)>,
}

impl World {
    async fn serve(self: Arc<Self>) -> SocketAddr {
        let router = Router::new()
            .route("/flood", get(flood_list))
            .route("/calm", get(calm_document))
            .route("/ring", post(ring))
            .route("/bare", post(|_: Bytes| async { StatusCode::NO_CONTENT }))
            .with_state(self);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }
}

async fn flood_list(
    State(world): State<Arc<World>>,
) -> ([(&'static str, &'static str); 1], String) {
    let round = world.round.load(Ordering::Relaxed);
    let mut body = String::from("[");
    for id in 0..CHANGES {
        let comma = if id == 0 { "" } else { "," };
        let filler = "x".repeat(300);
        let _ = write!(
            body,
            r#"{comma}{{"id":{id},"round":{round},"text":"{filler}"}}"#
        );
    }
    body.push(']');
    ([("content-type", "application/json")], body)
}

async fn calm_document(
    State(world): State<Arc<World>>,
) -> ([(&'static str, &'static str); 1], String) {
    let body = format!(r#"{{"n":{}}}"#, world.calm.load(Ordering::Relaxed));
    ([("content-type", "application/json")], body)
}

async fn ring(State(world): State<Arc<World>>, body: Bytes) -> StatusCode {
    if body.starts_with(br#"{"type":"flood."#) {
        world.rung.fetch_add(1, Ordering::Relaxed);
        *world.last.lock() = Some(Instant::now());
    } else {
        let payload: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let n = payload["data"]["current"]["n"].as_u64().expect("a number");
        let detected = payload["timestamp"].as_str().expect("a text");
        let detected = chrono::DateTime::parse_from_rfc3339(detected).expect("RFC 3339");
        let lag = chrono::Utc::now().signed_duration_since(detected);
        world
            .calm_rung
            .send_replace((n, lag.num_microseconds().unwrap_or(i64::MAX)));
    }
    StatusCode::NO_CONTENT
}

/// Changes the other source and waits for its ring, again and again: milliseconds from detection
/// (the event's `timestamp`) to the arrival of its webhook, which is commit and delivery.
async fn calm(
    world: &World,
    client: &reqwest::Client,
    admin: SocketAddr,
    ticks: usize,
) -> Vec<f64> {
    let mut lags = Vec::new();
    for _ in 0..ticks {
        let n = world.calm.fetch_add(1, Ordering::Relaxed) + 1;
        let mut rung = world.calm_rung.subscribe();
        poll(client, admin, "calm").await;
        let lag = rung
            .wait_for(|(seen, _)| *seen >= n)
            .await
            .expect("the world goes on")
            .1;
        lags.push(lag as f64 / 1000.0);
        tokio::time::sleep(TICK).await;
    }
    lags
}

async fn poll(client: &reqwest::Client, admin: SocketAddr, source: &str) {
    let url = format!("http://{admin}/api/v1/sources/{source}/poll");
    let request = client.post(url).header("content-type", "application/json");
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let _ = answer.bytes().await;
}

/// Signs and posts as many webhooks of the same size, with as many in flight.
async fn bare(address: SocketAddr) -> f64 {
    let key = Arc::new([SigningKey::parse(&Secret::new(SECRET.to_owned())).expect("a key")]);
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let body = Bytes::from("x".repeat(900));
    let start = Instant::now();
    let workers: Vec<_> = (0..CONCURRENCY)
        .map(|worker| {
            let (key, client, body) = (key.clone(), client.clone(), body.clone());
            tokio::spawn(async move {
                for n in 0..CHANGES / CONCURRENCY {
                    let id = format!("evt_{worker}_{n}");
                    let signature = sign(&*key, &id, 1_700_000_000, &body);
                    let request = client
                        .post(format!("http://{address}/bare"))
                        .body(body.clone());
                    let request = request.header("webhook-id", &id);
                    let request = request.header("webhook-timestamp", "1700000000");
                    let answer = request.header("webhook-signature", signature).send().await;
                    let _ = answer.expect("an answer").bytes().await;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.expect("a worker");
    }
    CHANGES as f64 / start.elapsed().as_secs_f64()
}

fn config(address: SocketAddr) -> String {
    format!(
        r#"[log]
format = "json"
[store]
url = "sqlite:doorbell.db"
[admin]
listen = "127.0.0.1:0"
[upstreams.world]
url = "http://{address}"
[sources.flood]
upstream = "world"
path = "/flood"
every = "manual"
items = "$[*]"
id = "$.id"
[sources.calm]
upstream = "world"
path = "/calm"
every = "manual"
[endpoints.all]
url = "http://{address}/ring"
secrets = ["{SECRET}"]
concurrency = {CONCURRENCY}
allow_private = true
"#
    )
}
