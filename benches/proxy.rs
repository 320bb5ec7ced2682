//! A proxied request through doorbell (routes, limits, headers, metrics) against a bare pingora
//! that only forwards, and one that a source's last answer serves: interleaved rounds, CPU seconds
//! of the proxy's own process.
//!
//! `cargo bench --bench proxy`
#![expect(clippy::print_stdout, reason = "figures are what a bench is for")]

mod common;

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use common::{HEAD, Process, client, doorbell, median, serve};
use pingora::prelude::{HttpPeer, Opt, Result, Server};
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::configuration::ServerConf;

const ROUNDS: usize = 7;
const REQUESTS: usize = 20_000;
const CALLERS: usize = 32;
/// What a source asks for, too.
const KEPT: &str = "/kept";

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
    until_served(ours_at).await;

    let passed = format!("http://{ours_at}/x");
    let subjects = [
        ("bare pingora", &bare, format!("http://{bare_at}/x")),
        ("doorbell", &ours.process, passed),
        ("served", &ours.process, format!("http://{ours_at}{KEPT}")),
    ];
    let mut figures = [const { (vec![], vec![]) }; 3];
    for _ in 0..ROUNDS {
        for ((_, process, url), (cpus, rates)) in subjects.iter().zip(&mut figures) {
            let (cpu, rate) = round(process, url).await;
            cpus.push(cpu);
            rates.push(rate);
        }
    }
    println!("{REQUESTS} GETs of 1 KiB, {CALLERS} callers, median of {ROUNDS} interleaved rounds");
    let figures = figures.map(|(cpus, rates)| (median(cpus), median(rates)));
    for ((what, ..), (cpu, rate)) in subjects.iter().zip(&figures) {
        println!("{what:13} {cpu:6.2} CPU-s/100,000  {rate:8.0} requests/s");
    }
    let [bare, passed, served] = figures.map(|(cpu, _)| cpu);
    println!("passed/bare   {:6.2}", passed / bare);
    println!("passed/served {:6.2}", passed / served);
}

/// Waits until the source's last answer is there.
async fn until_served(address: SocketAddr) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = reqwest::get(format!("http://{address}{KEPT}")).await;
        if answer.is_ok_and(|answer| answer.headers().contains_key("cache-status")) {
            return;
        }
        assert!(Instant::now() < deadline, "nothing is served");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// CPU seconds per 100,000 requests, and requests per second.
async fn round(process: &Process, url: &str) -> (f64, f64) {
    let (cpu, start) = (process.cpu_seconds(), Instant::now());
    let client = client();
    let callers = (0..CALLERS).map(|_| {
        let (client, url) = (client.clone(), url.to_owned());
        tokio::spawn(async move {
            for _ in 0..REQUESTS / CALLERS {
                let answer = client.get(&url).send().await;
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
        r#"{HEAD}[proxy]
listen = ["127.0.0.1:0"]
[upstreams.plain]
url = "http://{upstream}"
[sources.kept]
upstream = "plain"
path = "{KEPT}"
every = "1h"
format = "json"
serve = {{ max_age = "10h" }}
[routes.plain]
path = "/"
upstream = "plain"
limits = [{{ by = "ip", requests = 1000000, per = "1s" }}, {{ by = "route", requests = 1000000, per = "1s" }}]
"#
    )
}

async fn upstream() -> SocketAddr {
    // A JSON string.
    let body = bytes::Bytes::from(format!("\"{}\"", "x".repeat(1022)));
    let router = axum::Router::new().fallback(move || {
        let body = body.clone();
        async move { body }
    });
    serve(router).await
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
