//! Callers and upstreams made of plain sockets, so that each byte is known.

mod drain;
mod exchange;
mod forwarding;
mod limiting;
mod refusals;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderMap;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Parts, Proxy};
use crate::client::Resolver;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::metrics::{Metrics, ProxyMetrics};
use crate::name::Name;
use crate::shutdown::{self, Trigger};
use crate::upstream::Upstream;

/// Longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

/// A route called `name` at `path` to the upstream of the same name.
pub(super) fn route(route_name: &str, path: &str) -> config::Route {
    config::Route {
        name: name(route_name),
        path: path.to_owned(),
        host: None,
        methods: None,
        upstream: name("up"),
        strip_prefix: false,
        limits: Vec::new(),
        shadow: false,
        auth: config::RouteAuth::Open,
        body_bytes_max: 1000,
        concurrency: 1000,
    }
}

/// The upstream called `up`.
pub(super) fn upstream(url: &str) -> config::Upstream {
    config::Upstream {
        name: name("up"),
        url: url.parse().expect("a URL"),
        auth: None,
        headers: HeaderMap::new(),
        timeout: PATIENCE,
        connect_timeout: PATIENCE,
        connections_max: 64,
        redirects: 0,
        more_urls: Vec::new(),
        egress_proxy: None,
        tls: None,
        budget: None,
    }
}

fn config(upstreams: Vec<config::Upstream>, routes: Vec<config::Route>) -> Config {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let upstreams = upstreams
        .into_iter()
        .map(|up| (up.name.clone(), Arc::new(up)));
    let routes = routes
        .into_iter()
        .map(|route| (route.name.clone(), Arc::new(route)));
    Config {
        log: config::Log {
            level: tracing::Level::INFO,
            format: None,
        },
        store: config::Store {
            path: "unused".into(),
            retain: Duration::ZERO,
            retain_dead: Duration::ZERO,
        },
        metrics: config::Metrics::default(),
        admin: config::Admin {
            listen: loopback,
            token: None,
            metrics_token: true,
            hosts: Vec::new(),
            public_url: None,
            allow_networks: Arc::default(),
        },
        proxy: Some(config::Proxy {
            listen: vec![loopback],
            trusted_proxies: Vec::new(),
            connections_max: 100,
            drain_delay: Duration::ZERO,
            grace: Duration::ZERO,
        }),
        upstreams: upstreams.collect(),
        sources: BTreeMap::new(),
        endpoints: BTreeMap::new(),
        routes: routes.collect(),
        warnings: Vec::new(),
    }
}

/// A proxy at work, with what a test needs to move it.
pub(super) struct House {
    pub(super) proxy: Proxy,
    pub(super) trigger: Trigger,
    pub(super) live: config::Live,
    metrics: Metrics,
}

impl House {
    pub(super) async fn with(up: config::Upstream, routes: Vec<config::Route>) -> Self {
        Self::of(config(vec![up], routes)).await
    }

    /// One route at `/` to `fake`.
    pub(super) async fn before(fake: &Fake) -> Self {
        Self::with(upstream(&fake.url()), vec![route("all", "/")]).await
    }

    pub(super) async fn of(config: Config) -> Self {
        Self::listening(config, 1).await
    }

    /// With so many listeners.
    pub(super) async fn listening(config: Config, listeners: usize) -> Self {
        crate::client::install_crypto_provider();
        let (trigger, shutdown) = shutdown::channel();
        let metrics = Metrics::new();
        let mut upstreams = BTreeMap::new();
        for (name, up) in &config.upstreams {
            let built = Upstream::new(
                up.clone(),
                Resolver::system(),
                crate::clock::Clock::system(),
                &crate::metrics::UpstreamMetrics::new(&crate::metrics::Metrics::new()),
            )
            .expect("a client");
            let resolved = async {
                while up.url.domain().is_none() && built.door(None).is_none() {
                    tokio::task::yield_now().await;
                }
            };
            patient(resolved).await;
            upstreams.insert(name.clone(), Arc::new(built));
        }
        let live = Arc::new(ArcSwap::from_pointee(config));
        let parts = Parts {
            live: live.clone(),
            upstreams: Arc::new(upstreams),
            metrics: ProxyMetrics::new(&metrics),
            clock: Clock::system(),
            coverage: Arc::default(),
            shutdown,
        };
        let listeners = (0..listeners)
            .map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"))
            .collect();
        let proxy = Proxy::start(parts, listeners).expect("a proxy");
        Self {
            proxy,
            trigger,
            live,
            metrics,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.proxy.addresses()[0]
    }

    pub(super) async fn caller(&self) -> Caller {
        Caller(
            TcpStream::connect(self.address())
                .await
                .expect("a connection"),
        )
    }

    /// One request on a connection of its own.
    pub(super) async fn call(&self, request: &str) -> Answer {
        let mut caller = self.caller().await;
        caller.send(request).await;
        caller.answer().await
    }

    /// Resolves once the exposition holds `line`: a request is counted after its answer.
    pub(super) async fn counted(&self, line: &str) {
        let shown = async {
            while !self.metrics.scrape().contains(line) {
                tokio::task::yield_now().await;
            }
        };
        let counted = tokio::time::timeout(PATIENCE, shown).await.is_ok();
        assert!(counted, "{line} is missing in\n{}", self.metrics.scrape());
    }
}

/// Whatever takes longer than [`PATIENCE`] fails the test.
pub(super) async fn patient<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("in time")
}

/// One side of a connection, as raw bytes.
pub(super) struct Caller(pub(super) TcpStream);

/// An answer, taken apart.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Head in lower case.
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }
}

/// The value of the first field called `name` in `head`.
pub(super) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

impl Caller {
    pub(super) async fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes()).await;
    }

    pub(super) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("sent");
    }

    /// Reads to the end of a head.
    pub(super) async fn head(&mut self) -> String {
        let mut head = Vec::new();
        let read = async {
            while !head.ends_with(b"\r\n\r\n") {
                let byte = self.0.read_u8().await.expect("a whole head");
                head.push(byte);
            }
        };
        patient(read).await;
        String::from_utf8(head).expect("a head in ASCII")
    }

    /// Reads exactly `count` bytes.
    pub(super) async fn exactly(&mut self, count: usize) -> String {
        let mut bytes = vec![0; count];
        let read = patient(self.0.read_exact(&mut bytes)).await;
        read.expect("so many bytes");
        String::from_utf8(bytes).expect("ASCII")
    }

    /// Reads one final answer.
    pub(super) async fn answer(&mut self) -> Answer {
        let head = self.head().await.to_ascii_lowercase();
        let status = head[9..12].parse().expect("a status");
        let length = field(&head, "content-length").map(|text| text.parse().expect("a number"));
        let body = if field(&head, "transfer-encoding").is_some() {
            self.chunks().await
        } else {
            self.exactly(length.unwrap_or(0)).await
        };
        Answer { status, head, body }
    }

    /// Reads a chunked body.
    async fn chunks(&mut self) -> String {
        let mut body = String::new();
        loop {
            let mut size = String::new();
            while !size.ends_with("\r\n") {
                size.push_str(&self.exactly(1).await);
            }
            let size = usize::from_str_radix(size.trim(), 16).expect("a size");
            body.push_str(self.exactly(size + 2).await.trim_end_matches("\r\n"));
            if size == 0 {
                return body;
            }
        }
    }

    /// Whether the other side has ended the connection, having sent nothing more.
    pub(super) async fn is_closed(&mut self) -> bool {
        matches!(patient(self.0.read(&mut [0; 1])).await, Ok(0) | Err(_))
    }
}

/// A request that a fake upstream saw.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: String,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// The first line without its version.
    pub(super) fn line(&self) -> &str {
        self.head
            .lines()
            .next()
            .and_then(|line| line.strip_suffix(" HTTP/1.1"))
            .expect("a line")
    }
}

/// An upstream that keeps what it sees.
pub(super) struct Fake {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    /// Answers each request with `answer`, whole and raw.
    pub(super) async fn answering(answer: &'static str) -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let kept = seen.clone();
        let address = Self::listen(move |mut caller| {
            let kept = kept.clone();
            async move {
                while let Some(request) = read_request(&mut caller).await {
                    kept.lock().push(request);
                    caller.send(answer).await;
                }
            }
        });
        Self {
            address: address.await,
            seen,
        }
    }

    pub(super) async fn ok() -> Self {
        Self::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await
    }

    /// Hands each connection to `talk`.
    pub(super) async fn talking<F, T>(talk: F) -> Self
    where
        F: Fn(Caller) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        Self {
            address: Self::listen(talk).await,
            seen: Arc::default(),
        }
    }

    async fn listen<F, T>(talk: F) -> SocketAddr
    where
        F: Fn(Caller) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(talk(Caller(tcp)));
            }
        });
        address
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it saw, in order.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    pub(super) fn last(&self) -> Seen {
        self.seen().pop().expect("a request")
    }
}

/// Reads one request; `None` at the end of the connection.
pub(super) async fn read_request(caller: &mut Caller) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(caller.0.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("a head in ASCII");
    let length = field(&head, "content-length").map(|text| text.parse().expect("a number"));
    let body = if field(&head, "transfer-encoding").is_some() {
        caller.chunks().await
    } else {
        caller.exactly(length.unwrap_or(0)).await
    };
    Some(Seen { head, body })
}
