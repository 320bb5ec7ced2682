//! One poll that finds 20,000 changes, delivered to a fast receiver: webhooks a second, doorbell's
//! own CPU seconds per 1,000, and what it does to another source's deliveries meanwhile. Beside it
//! a bare loop that signs, posts, and keeps nothing.
//!
//! `cargo bench --bench flood`
#![expect(clippy::print_stdout, reason = "figures are what a bench is for")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use common::{
    JSON, Json, SECRET, client, doorbell, flood_and_calm, median, percentile, poll, serve,
    since_detection,
};
use doorbell::secret::Secret;
use doorbell::signature::{SigningKey, sign};
use parking_lot::Mutex;

const CHANGES: usize = 20_000;
const ROUNDS: usize = 15;
const QUIET_TICKS: usize = 100;
const CONCURRENCY: usize = 8;
/// How often the other source changes.
const TICK: Duration = Duration::from_millis(20);

fn main() {
    doorbell::client::install_crypto_provider();
    common::other_machines().block_on(measure());
}

async fn measure() {
    let world = Arc::new(World::default());
    *world.list.lock() = list(0);
    let address = world.clone().serve().await;
    let bare_rate = bare(address).await;
    println!("bare loop     {bare_rate:8.0} webhooks/s (signs and posts, keeps nothing)");

    let folder = tempfile::tempdir().expect("a folder");
    let ours = doorbell(folder.path(), &flood_and_calm(address, CONCURRENCY));
    // On the runtime's threads from here on, which stand for other machines.
    let figures = tokio::spawn(figures(world, ours, address, bare_rate));
    figures.await.expect("figures");
}

async fn figures(world: Arc<World>, ours: common::Doorbell, address: SocketAddr, bare_rate: f64) {
    let client = client();
    poll(&client, ours.admin, "flood").await;
    poll(&client, ours.admin, "calm").await;

    let cpu = ours.process.cpu_seconds();
    let (mut rates, mut pause) = (vec![], 0.0);
    let (mut quiet, mut control, mut flood) = (vec![], vec![], vec![]);
    for number in 1..=ROUNDS {
        // In turn, so that a busy neighbour meets all.
        let before = ours.process.cpu_seconds();
        quiet.push(calm(&world, &client, ours.admin, QUIET_TICKS).await);
        control.push(beside_bare(&world, &client, address, ours.admin).await);
        pause += ours.process.cpu_seconds() - before;
        *world.list.lock() = list(number);
        let (rate, lags) = round(&world, &client, ours.admin).await;
        rates.push(rate);
        flood.push(lags);
    }
    let rung = (ROUNDS * CHANGES) as f64;
    let cpu = (ours.process.cpu_seconds() - cpu - pause) * 1000.0 / rung;
    let rate = median(rates);
    println!(
        "doorbell      {rate:8.0} webhooks/s, durable, median of {ROUNDS} floods of {CHANGES}"
    );
    println!("              {cpu:8.3} CPU-s per 1,000 (poll, diff, patch, commit and delivery)");
    println!("              {:8.1} MiB resident", ours.process.rss_mib());
    println!("of bare       {:8.2}", rate / bare_rate);
    println!("The other source, quiet, beside the bare loop and beside doorbell's flood,");
    println!("medians of {ROUNDS} rounds, ms:");
    for (what, of) in [
        ("commit to arrival   ", Lag::since_commit as fn(&Lag) -> f64),
        ("detection to arrival", |lag: &Lag| lag.since_detection),
    ] {
        let rounds = [&quiet, &control, &flood];
        let [p50, p99] = [50, 99].map(|percent| rounds.map(|of_all| each(of_all, of, percent)));
        let ratio =
            |to: &[f64]| median(p99[2].iter().zip(to).map(|(ours, to)| ours / to).collect());
        let (of_quiet, of_control) = (ratio(&p99[0]), ratio(&p99[1]));
        let [p50, p99] = [&p50, &p99].map(|of_all| of_all.each_ref().map(|of| median(of.clone())));
        println!("{what}  p50 {p50:5.2?}  p99 {p99:5.2?}");
        println!("                      p99 is {of_quiet:.2} of quiet, {of_control:.2} of control");
    }
}

/// The percentile of each round.
fn each(rounds: &[Vec<Lag>], of: fn(&Lag) -> f64, percent: usize) -> Vec<f64> {
    let of_one =
        |lags: &Vec<Lag>| percentile(&mut lags.iter().map(of).collect::<Vec<_>>(), percent);
    rounds.iter().map(of_one).collect()
}

/// The other source's lags while somebody else floods the receiver: what a busy machine does to
/// them, whoever makes it busy.
async fn beside_bare(
    world: &World,
    client: &reqwest::Client,
    address: SocketAddr,
    admin: SocketAddr,
) -> Vec<Lag> {
    let mut lags = vec![];
    while lags.len() < QUIET_TICKS {
        let bare = tokio::spawn(bare(address));
        while !bare.is_finished() {
            lags.extend(calm(world, client, admin, 1).await);
        }
    }
    lags
}

/// One flood: webhooks a second from its first ring to its last, and the lags of the other source
/// meanwhile.
async fn round(world: &World, client: &reqwest::Client, admin: SocketAddr) -> (f64, Vec<Lag>) {
    let rung = world.rung.load(Ordering::Relaxed);
    world.first.lock().take();
    let flood = {
        let client = client.clone();
        tokio::spawn(async move { poll(&client, admin, "flood").await })
    };
    let mut lags = vec![];
    while world.rung.load(Ordering::Relaxed) < rung + CHANGES as u64 {
        lags.extend(calm(world, client, admin, 1).await);
    }
    flood.await.expect("the poll by hand answers");
    let (first, last) = (
        world.first.lock().expect("rings"),
        world.last.lock().expect("rings"),
    );
    (
        CHANGES as f64 / last.duration_since(first).as_secs_f64(),
        lags,
    )
}

/// How long a ring of the other source took, in milliseconds.
struct Lag {
    /// From the event's `timestamp`, taken when it was detected, before its commit.
    since_detection: f64,
    /// From the answer of the poll by hand, which follows the commit; rings often come sooner.
    after_answer: f64,
}

impl Lag {
    fn since_commit(&self) -> f64 {
        self.after_answer.max(0.0).min(self.since_detection)
    }
}

/// The upstream of both sources and the receiver of both.
#[derive(Default)]
struct World {
    list: Mutex<Bytes>,
    calm: AtomicU64,
    rung: AtomicU64,
    first: Mutex<Option<Instant>>,
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
        serve(router).await
    }
}

async fn flood_list(State(world): State<Arc<World>>) -> Json<Bytes> {
    (JSON, world.list.lock().clone())
}

fn list(round: usize) -> Bytes {
    common::list(CHANGES, round, 300)
}

async fn calm_document(State(world): State<Arc<World>>) -> Json<String> {
    let body = format!(r#"{{"n":{}}}"#, world.calm.load(Ordering::Relaxed));
    (JSON, body)
}

async fn ring(State(world): State<Arc<World>>, body: Bytes) -> StatusCode {
    if body.starts_with(br#"{"type":"flood."#) {
        world.rung.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        world.first.lock().get_or_insert(now);
        *world.last.lock() = Some(now);
    } else {
        let payload: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let n = payload["data"]["current"]["n"].as_u64().expect("a number");
        let lag = since_detection(&payload);
        world.calm_rung.send_replace((n, lag));
    }
    StatusCode::NO_CONTENT
}

/// Changes the other source and waits for its ring, again and again.
async fn calm(
    world: &World,
    client: &reqwest::Client,
    admin: SocketAddr,
    ticks: usize,
) -> Vec<Lag> {
    let mut lags = Vec::new();
    for _ in 0..ticks {
        let n = world.calm.fetch_add(1, Ordering::Relaxed) + 1;
        let mut rung = world.calm_rung.subscribe();
        let heard = async {
            let seen = rung
                .wait_for(|ring| ring.0 >= n)
                .await
                .expect("the world goes on");
            (seen.1, Instant::now())
        };
        let answer = async {
            poll(client, admin, "calm").await;
            Instant::now()
        };
        let ((micros, heard_at), answered) = tokio::join!(heard, answer);
        let sooner = answered.saturating_duration_since(heard_at).as_secs_f64();
        let later = heard_at.saturating_duration_since(answered).as_secs_f64();
        lags.push(Lag {
            since_detection: micros as f64 / 1000.0,
            after_answer: (later - sooner) * 1000.0,
        });
        tokio::time::sleep(TICK).await;
    }
    lags
}

/// Signs and posts as many webhooks of the same size, with as many in flight.
async fn bare(address: SocketAddr) -> f64 {
    let key = Arc::new([SigningKey::parse(&Secret::new(SECRET.to_owned())).expect("a key")]);
    let client = client();
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
