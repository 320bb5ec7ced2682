//! What endpoints that are not well do to those that are: the lag of 30 healthy ones, alone and
//! beside 10 that hang and 10 that refuse. Each is a doorbell of its own, measured in turns.
//!
//! `cargo bench --bench isolation`
#![expect(clippy::print_stdout, reason = "figures are what a bench is for")]

mod common;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as Segment, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use common::{
    Doorbell, HEAD, JSON, Json, SECRET, client, doorbell, median, percentile, poll, serve,
    since_detection,
};
use parking_lot::Mutex;
use tokio::sync::watch;

const HEALTHY: usize = 30;
const HANGING: usize = 10;
const REFUSING: usize = 10;
const ROUNDS: usize = 9;
/// Changes of a round; each rings every endpoint.
const CHANGES: usize = 150;
/// Items, each changed in its turn, so that none of the endpoints waits for one subject.
const ITEMS: usize = 50;
const TICK: Duration = Duration::from_millis(25);
/// How long the unwell are left to get into their stride: some hang for their whole timeout.
const STRIDE: usize = 300;

fn main() {
    doorbell::client::install_crypto_provider();
    common::other_machines().block_on(async {
        // On the runtime's threads, which stand for other machines.
        tokio::spawn(measure()).await.expect("figures");
    });
}

async fn measure() {
    let folder = tempfile::tempdir().expect("a folder");
    let (alone, beside) = (
        Side::start(&folder.path().join("alone"), 0, 0).await,
        Side::start(&folder.path().join("beside"), HANGING, REFUSING).await,
    );
    alone.doorbell.process.stop();
    beside.round(STRIDE).await;
    let (mut p50s, mut p99s) = ([vec![], vec![]], [vec![], vec![]]);
    for _ in 0..ROUNDS {
        for (at, (side, other)) in [(&alone, &beside), (&beside, &alone)]
            .into_iter()
            .enumerate()
        {
            other.doorbell.process.stop();
            side.doorbell.process.resume();
            let mut lags = side.round(CHANGES).await;
            p50s[at].push(percentile(&mut lags, 50));
            p99s[at].push(percentile(&mut lags, 99));
        }
    }
    beside.doorbell.process.resume();
    let [p50_alone, p50_beside] = p50s.map(median);
    let [p99_alone, p99_beside] = p99s.map(median);
    println!("{HEALTHY} healthy endpoints, from detection to arrival, medians of {ROUNDS} rounds:");
    println!("alone                                  p50 {p50_alone:6.2} p99 {p99_alone:6.2} ms");
    println!(
        "beside {HANGING} that hang and {REFUSING} that refuse  p50 {p50_beside:6.2} p99 \
         {p99_beside:6.2} ms"
    );
    println!(
        "p99 is {:.2} of alone; wanted at most 1.2",
        p99_beside / p99_alone
    );
}

/// A doorbell with its upstream and its receivers.
struct Side {
    world: Arc<World>,
    doorbell: Doorbell,
    client: reqwest::Client,
}

#[derive(Default)]
struct World {
    versions: Mutex<Vec<u64>>,
    changes: AtomicUsize,
    rung: AtomicU64,
    moved: watch::Sender<u64>,
    lags: Mutex<Vec<f64>>,
}

impl Side {
    async fn start(folder: &Path, hanging: usize, refusing: usize) -> Self {
        let world = Arc::new(World::default());
        world.versions.lock().resize(ITEMS, 0);
        let router = Router::new()
            .route("/list", get(list))
            .route("/well/{name}", post(well))
            .route("/hang/{name}", post(std::future::pending::<StatusCode>))
            .with_state(world.clone());
        let address = serve(router).await;
        std::fs::create_dir(folder).expect("a folder");
        let side = Self {
            doorbell: doorbell(folder, &config(address, hanging, refusing)),
            world,
            client: client(),
        };
        side.poll().await;
        side
    }

    /// Changes one item each [`TICK`]; the lags of what rang, in milliseconds.
    async fn round(&self, changes: usize) -> Vec<f64> {
        self.world.lags.lock().clear();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let rung = self.world.rung.load(Ordering::Relaxed);
        for _ in 0..changes {
            ticks.tick().await;
            let change = self.world.changes.fetch_add(1, Ordering::Relaxed);
            self.world.versions.lock()[change % ITEMS] += 1;
            self.poll().await;
        }
        let wanted = rung + (changes * HEALTHY) as u64;
        let mut moved = self.world.moved.subscribe();
        let reached = moved.wait_for(|rung| *rung >= wanted).await;
        reached.expect("the world goes on");
        std::mem::take(&mut *self.world.lags.lock())
    }

    async fn poll(&self) {
        poll(&self.client, self.doorbell.admin, "list").await;
    }
}

async fn list(State(world): State<Arc<World>>) -> Json<String> {
    let mut body = String::from("[");
    for (id, version) in world.versions.lock().iter().enumerate() {
        let comma = if id == 0 { "" } else { "," };
        let _ = write!(body, r#"{comma}{{"id":{id},"version":{version}}}"#);
    }
    body.push(']');
    (JSON, body)
}

async fn well(
    State(world): State<Arc<World>>,
    Segment(_): Segment<String>,
    body: Bytes,
) -> StatusCode {
    let payload: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    let micros = since_detection(&payload);
    world.lags.lock().push(micros as f64 / 1_000.0);
    let rung = world.rung.fetch_add(1, Ordering::Relaxed) + 1;
    world.moved.send_replace(rung);
    StatusCode::NO_CONTENT
}

fn config(address: SocketAddr, hanging: usize, refusing: usize) -> String {
    let mut config = format!(
        r#"{HEAD}[upstreams.world]
url = "http://{address}"
[sources.list]
upstream = "world"
path = "/list"
every = "manual"
items = "$[*]"
id = "$.id"
"#
    );
    let mut add = |kind: &str, count: usize, url: &str| {
        for nth in 0..count {
            let _ = write!(
                config,
                "[endpoints.{kind}_{nth}]\nurl = \"{url}/{kind}/{nth}\"\nsecrets = [\"{SECRET}\"]\n\
                 allow_private = true\n"
            );
        }
    };
    let here = format!("http://{address}");
    add("well", HEALTHY, &here);
    add("hang", hanging, &here);
    // Nobody listens there.
    add("refuse", refusing, "http://127.0.0.1:1");
    config
}
