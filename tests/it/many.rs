//! A hundred thousand partitions of one source: `make test` has a tenth of them, at the same rate.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::harness::{Corpse, Doorbell, Scrape, is_proving};

/// Resident memory that they may take.
const RSS_MAX: f64 = 300e6;

/// Lag within which 99 of 100 polls must begin; a bucket of the histogram.
const LAG: &str = "1";

/// How long the first poll of all may take, for a debug build on a busy machine.
const WAVE_MAX: Duration = Duration::from_mins(5);

/// Longest silence of a source every second, while others are polled first.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// How many, how often, and how long it is watched.
struct Scale {
    partitions: u32,
    every: Duration,
    window: Duration,
}

const TESTED: Scale = Scale {
    partitions: 10_000,
    every: Duration::from_mins(1),
    window: Duration::from_secs(20),
};

const PROVEN: Scale = Scale {
    partitions: 100_000,
    every: Duration::from_mins(10),
    window: Duration::from_mins(2),
};

/// Method: all partitions are polled once, as fast as it goes, while another upstream's source goes
/// on every second. Then 167 polls are due each second; they are counted for a while, before and
/// after a restart, in which each partition is at its phase and none is polled at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_partitions_are_polled_when_they_are_due_in_little_memory() {
    let scale = if is_proving() { PROVEN } else { TESTED };
    let (many, calm) = (Server::start().await, Server::start().await);
    let (folder, config) = configured(&scale, &many, &calm);
    let began = Instant::now();
    let doorbell = Doorbell::start(&config).await;
    let up = began.elapsed();

    let all = f64::from(scale.partitions);
    let mut longest = Duration::ZERO;
    while settled(&doorbell.metrics().await) < all {
        assert!(began.elapsed() < WAVE_MAX, "the first polls take too long");
        longest = longest.max(calm.silence());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let wave = began.elapsed().saturating_sub(up);
    assert!(
        longest < SILENCE_MAX,
        "the other source was silent for {longest:?}"
    );
    let first = watch(&doorbell, &many, &scale).await;

    let corpse: Corpse = doorbell.kill().await;
    let began = Instant::now();
    let doorbell = corpse.restart().await;
    let again = began.elapsed();
    let second = watch(&doorbell, &many, &scale).await;
    tell(
        &scale,
        &format!(
            "up in {up:.1?}, all polled once {wave:.1?} later, the other source silent for at most \
         {longest:.1?}\n{first}\nup again in {again:.1?}\n{second}"
        ),
    );
    drop(folder);
}

/// Counts polls for a while.
async fn watch(doorbell: &Doorbell, many: &Server, scale: &Scale) -> String {
    let due = f64::from(scale.partitions) / scale.every.as_secs_f64();
    let (before, asked) = (doorbell.metrics().await, many.asked());
    let began = Instant::now();
    tokio::time::sleep(scale.window).await;
    let rate = (many.asked() - asked) as f64 / began.elapsed().as_secs_f64();
    let after = doorbell.metrics().await;
    assert!(
        (rate / due - 1.0).abs() < 0.1,
        "{rate} polls a second, {due} are due"
    );

    let polls = |name: &str, labels: &[(&str, &str)]| {
        let name = format!("doorbell_poll_lag_seconds_{name}");
        after.value(&name, labels) - before.value(&name, labels)
    };
    let share = |le: &str| polls("bucket", &[("le", le)]) / polls("count", &[]);
    let prompt = share(LAG);
    assert!(prompt >= 0.99, "{prompt} of the polls began within {LAG} s");
    let of = &[("source", "many"), ("outcome", "not_modified")];
    let unchanged = after.value("doorbell_polls_total", of);
    assert!(unchanged > 0.0, "validators are known");
    let errors = after.value(
        "doorbell_polls_total",
        &[("source", "many"), ("outcome", "error")],
    );
    assert_eq!(errors, 0.0);
    let resident = after.value("process_resident_memory_bytes", &[]);
    assert!(resident < RSS_MAX, "{resident} bytes resident");
    let bounds = after.bounds("doorbell_poll_lag_seconds");
    let p99 = bounds.iter().find(|le| share(le) >= 0.99);
    let store = after.value("doorbell_store_size_bytes", &[]);
    let cpu = |scrape: &Scrape| scrape.value("process_cpu_seconds_total", &[]);
    let cpu = (cpu(&after) - cpu(&before)) / scale.window.as_secs_f64();
    format!(
        "{rate:.1} polls/s of {due:.1} due, lag p99 at most {} s, {:.3} % began within {LAG} s, \
         {:.0} MB resident, all snapshots on disk ({:.0} MB), {:.1} % of a processor",
        p99.map_or("?", |le| le),
        prompt * 100.0,
        resident / 1e6,
        store / 1e6,
        cpu * 100.0
    )
}

/// Partitions that have a snapshot.
fn settled(scrape: &Scrape) -> f64 {
    scrape.value("doorbell_source_items", &[("source", "many")])
}

fn configured(scale: &Scale, many: &Server, calm: &Server) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut list = String::from("# repositories\n");
    for number in 0..scale.partitions {
        let _ = writeln!(list, "owner-{}/repository-{number}", number % 997);
    }
    let path = folder.path().join("repos.txt");
    std::fs::write(&path, list).expect("a temporary file");
    let config = format!(
        r#"
[upstreams.many]
url = "{}"
[upstreams.calm]
url = "{}"
[sources.many]
upstream = "many"
path = "/repos/{{{{repo}}}}"
each = {{ repo = {{ file = "{}" }} }}
every = "{}s"
[sources.calm]
upstream = "calm"
path = "/calm"
every = "1s"
"#,
        many.url,
        calm.url,
        path.display(),
        scale.every.as_secs()
    );
    (folder, config)
}

/// Has a document at every path.
struct Server {
    url: String,
    state: Arc<Asked>,
}

#[derive(Default)]
struct Asked {
    count: AtomicU64,
    last: Mutex<Option<Instant>>,
}

impl Server {
    async fn start() -> Self {
        let state = Arc::new(Asked::default());
        let router = Router::new().fallback(answer).with_state(state.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener");
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            url: format!("http://{address}"),
            state,
        }
    }

    fn asked(&self) -> u64 {
        self.state.count.load(Ordering::Relaxed)
    }

    /// How long it was not asked for; nothing before the first time.
    fn silence(&self) -> Duration {
        let last = *self.state.last.lock();
        last.map_or(Duration::ZERO, |last| last.elapsed())
    }
}

async fn answer(State(asked): State<Arc<Asked>>, request: Request) -> Response {
    asked.count.fetch_add(1, Ordering::Relaxed);
    *asked.last.lock() = Some(Instant::now());
    let etag = [("etag", "\"the first and only version\"")];
    if request.headers().contains_key("if-none-match") {
        return (StatusCode::NOT_MODIFIED, etag).into_response();
    }
    let body = format!(r#"{{"path":"{}","stars":7}}"#, request.uri().path());
    (etag, [("content-type", "application/json")], body).into_response()
}

#[expect(clippy::print_stdout, reason = "what was measured is for people")]
fn tell(scale: &Scale, figures: &str) {
    println!(
        "{} partitions every {:?}: {figures}",
        scale.partitions, scale.every
    );
}
