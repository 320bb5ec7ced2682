//! Polls that find nothing new: doorbell's own CPU seconds per 1,000 of them, beside a bare reqwest
//! loop that makes the same requests, with as many in flight, and forgets what it got.
//!
//! Two answers: 304 to a conditional request, and the same 200 KiB again, where the bare loop has
//! their BLAKE3. Both are a process of their own, against the same server in this one, in turns.
//!
//! `cargo bench --bench unchanged`
#![expect(clippy::print_stdout, reason = "figures are what a bench is for")]

mod common;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{HEAD, Process, client, doorbell, median};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Requests in flight, at doorbell and in the bare loop.
const CONCURRENCY: usize = 16;
/// Sources that are due ten times a second: more than can be polled, so that each side does as
/// much as it can and neither waits.
const SOURCES: usize = 8_000;
const ROUNDS: usize = 7;
/// How long each side works in a round.
const SPELL: Duration = Duration::from_secs(2);
const LARGE_BYTES: usize = 200 * 1024;
/// Tells this program, started again, to be the bare loop.
const BARE: &str = "DOORBELL_BENCH_BARE";

fn main() {
    doorbell::client::install_crypto_provider();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match std::env::var(BARE) {
        Ok(url) => runtime.block_on(bare(&url)),
        Err(_) => runtime.block_on(measure()),
    }
}

async fn measure() {
    let server = Arc::new(Server::default());
    let address = server.clone().serve().await;
    for (what, path, bound) in [("304", "/small", 1.5), ("200 of 200 KiB", "/large", 1.2)] {
        let url = format!("http://{address}{path}");
        let (mut ours, mut theirs) = (vec![], vec![]);
        let (mut our_rates, mut their_rates) = (vec![], vec![]);
        let folder = tempfile::tempdir().expect("a folder");
        let doorbell = doorbell(folder.path(), &config(address, path));
        // Every source has its snapshot and its validators.
        server.after(2 * SOURCES as u64).await;
        doorbell.process.stop();
        for _ in 0..ROUNDS {
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            let bare = Process::spawn(command.env(BARE, &url));
            server.after(1_000).await;
            let (cpu, rate) = server.spell(&bare).await;
            theirs.push(cpu);
            their_rates.push(rate);
            drop(bare);
            doorbell.process.resume();
            server.after(1_000).await;
            let (cpu, rate) = server.spell(&doorbell.process).await;
            ours.push(cpu);
            our_rates.push(rate);
            doorbell.process.stop();
        }
        let ratios = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs);
        let ratio = median(ratios.collect());
        println!("{what}, median of {ROUNDS} rounds of {SPELL:?} each");
        for (who, cpus, rates) in [("bare", theirs, their_rates), ("doorbell", ours, our_rates)] {
            println!(
                "  {who:8} {:7.4} CPU-s per 1,000 polls, {:6.0} polls/s",
                median(cpus),
                median(rates)
            );
        }
        println!("  ratio    {ratio:7.2} (at most {bound})");
    }
}

/// The bare loop.
async fn bare(url: &str) {
    let client = client();
    let large = url.ends_with("/large");
    let workers = (0..CONCURRENCY).map(|_| {
        let (client, url) = (client.clone(), url.to_owned());
        tokio::spawn(async move {
            loop {
                let request = client.get(&url).header("if-none-match", "\"v1\"");
                let answer = request.send().await.expect("an answer");
                let body = answer.bytes().await.expect("a body");
                if large {
                    std::hint::black_box(blake3::hash(&body));
                }
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        let _ = worker.await;
    }
}

fn config(address: SocketAddr, path: &str) -> String {
    let mut config = format!(
        r#"{HEAD}[upstreams.server]
url = "http://{address}"
connections_max = {CONCURRENCY}
"#
    );
    for number in 0..SOURCES {
        let _ = write!(
            config,
            r#"[sources.s{number}]
upstream = "server"
path = "{path}"
every = "100ms"
"#
        );
    }
    config
}

/// Answers by hand, so that it costs little beside those who are measured.
#[derive(Default)]
struct Server {
    answered: AtomicU64,
}

impl Server {
    async fn serve(self: Arc<Self>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::spawn(self.clone().connection(stream));
            }
        });
        address
    }

    async fn connection(self: Arc<Self>, mut stream: TcpStream) {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        let small = format!("{head}etag: \"v1\"\r\ncontent-length: 8\r\n\r\n{{\"a\": 1}}");
        let filler = "x".repeat(LARGE_BYTES - 2);
        let large = format!("{head}content-length: {LARGE_BYTES}\r\n\r\n\"{filler}\"");
        let same = "HTTP/1.1 304 Not Modified\r\netag: \"v1\"\r\n\r\n";
        let mut request = Vec::new();
        while stream
            .read_buf(&mut request)
            .await
            .is_ok_and(|bytes| bytes > 0)
        {
            if !request.ends_with(b"\r\n\r\n") {
                continue;
            }
            let is_conditional = request.windows(13).any(|w| w == b"if-none-match");
            let answer = if request.starts_with(b"GET /large") {
                &large
            } else if is_conditional {
                same
            } else {
                &small
            };
            self.answered.fetch_add(1, Ordering::Relaxed);
            request.clear();
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    /// Waits for so many more answers.
    async fn after(&self, answers: u64) {
        let until = self.answered.load(Ordering::Relaxed) + answers;
        while self.answered.load(Ordering::Relaxed) < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// CPU seconds of a process per 1,000 answers that it got in a spell, and answers a second.
    async fn spell(&self, process: &Process) -> (f64, f64) {
        let began = Instant::now();
        let (cpu, answered) = (process.cpu_seconds(), self.answered.load(Ordering::Relaxed));
        tokio::time::sleep(SPELL).await;
        let cpu = process.cpu_seconds() - cpu;
        let answered = (self.answered.load(Ordering::Relaxed) - answered) as f64;
        let rate = answered / began.elapsed().as_secs_f64();
        (cpu * 1000.0 / answered, rate)
    }
}
