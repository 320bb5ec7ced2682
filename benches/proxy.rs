//! A proxied request through doorbell (routes, limits, headers, metrics) against a bare pingora
//! that only forwards: interleaved rounds, CPU seconds of the proxy's own process.
//!
//! `cargo bench --bench proxy`
#![expect(clippy::print_stdout, reason = "figures are what a bench is for")]

mod common;

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use common::{Process, doorbell, median};
use pingora::prelude::{HttpPeer, Opt, Result, Server};
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::configuration::ServerConf;

const ROUNDS: usize = 7;
const REQUESTS: usize = 20_000;
const CALLERS: usize = 32;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--bare") {
        return bare(
            &arguments[at + 1],
            arguments[at + 2].parse().expect("an address"),
        );
    }
    doorbell::client::install_crypto_provider();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(compare());
}

async fn compare() {
    let upstream = upstream().await;
    let folder = tempfile::tempdir().expect("a folder");
    let ours = doorbell(folder.path(), &config(upstream));
    let port = free_port();
    let itself = std::env::current_exe().expect("this program");
    let mut command = Command::new(itself);
    command
        .arg("--bare")
        .arg(format!("127.0.0.1:{port}"))
        .arg(upstream.to_string());
    let bare = Process::spawn(&mut command);
    let bare_at: SocketAddr = ([127, 0, 0, 1], port).into();
    let ours_at = ours.proxy.expect("a proxy");
    until_answering(bare_at).await;
    until_answering(ours_at).await;

    let (mut bare_cpu, mut ours_cpu, mut bare_rate, mut ours_rate) =
        (vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let (cpu, rate) = round(&bare, bare_at).await;
        bare_cpu.push(cpu);
        bare_rate.push(rate);
        let (cpu, rate) = round(&ours.process, ours_at).await;
        ours_cpu.push(cpu);
        ours_rate.push(rate);
    }
    let (bare_cpu, ours_cpu) = (median(bare_cpu), median(ours_cpu));
    println!("{REQUESTS} GETs of 1 KiB, {CALLERS} callers, median of {ROUNDS} interleaved rounds");
    println!(
        "bare pingora  {bare_cpu:6.2} CPU-s/100,000  {:8.0} requests/s",
        median(bare_rate)
    );
    println!(
        "doorbell      {ours_cpu:6.2} CPU-s/100,000  {:8.0} requests/s",
        median(ours_rate)
    );
    println!("ratio         {:6.2}", ours_cpu / bare_cpu);
}

/// CPU seconds per 100,000 requests, and requests per second.
async fn round(process: &Process, address: SocketAddr) -> (f64, f64) {
    let (cpu, start) = (process.cpu_seconds(), Instant::now());
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let callers = (0..CALLERS).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            for _ in 0..REQUESTS / CALLERS {
                let answer = client.get(format!("http://{address}/x")).send().await;
                let answer = answer.expect("an answer");
                assert_eq!(answer.status(), 200);
                assert_eq!(answer.bytes().await.expect("a body").len(), 1024);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("a caller");
    }
    let used = process.cpu_seconds() - cpu;
    (
        used * 100_000.0 / REQUESTS as f64,
        REQUESTS as f64 / start.elapsed().as_secs_f64(),
    )
}

fn config(upstream: SocketAddr) -> String {
    format!(
        r#"[log]
format = "json"
[store]
url = "sqlite:doorbell.db"
[admin]
listen = "127.0.0.1:0"
[proxy]
listen = ["127.0.0.1:0"]
[upstreams.plain]
url = "http://{upstream}"
[routes.plain]
path = "/"
upstream = "plain"
limits = [{{ by = "ip", requests = 1000000, per = "1s" }}, {{ by = "route", requests = 1000000, per = "1s" }}]
"#
    )
}

async fn upstream() -> SocketAddr {
    let body = bytes::Bytes::from(vec![b'x'; 1024]);
    let router = axum::Router::new().fallback(move || {
        let body = body.clone();
        async move { body }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn until_answering(address: SocketAddr) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while tokio::net::TcpStream::connect(address).await.is_err() {
        assert!(Instant::now() < deadline, "{address} does not answer");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// The baseline: pingora's own server, which only forwards.
fn bare(listen: &str, upstream: SocketAddr) {
    struct Forward(SocketAddr);
    #[async_trait]
    impl ProxyHttp for Forward {
        type CTX = ();
        fn new_ctx(&self) {}
        async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
            Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
        }
    }
    let conf = ServerConf {
        threads: 2,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None::<Opt>, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Forward(upstream));
    service.add_tcp(listen);
    server.add_service(service);
    server.run_forever();
}
