//! Nobody is led into a private network: tries to get there, and a canary on loopback that sings when
//! one of them connects.
//!
//! Where a try leads to loopback the same table is tried without the guard, which shows that the
//! canary would have sung.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use doorbell::client::{PublicOnly, Resolver, Validators, install_crypto_provider};
use doorbell::clock::Clock;
use doorbell::config::{self, Endpoint, Order};
use doorbell::deliver::{Tried, try_endpoint};
use doorbell::event::{Event, Glob, Trial};
use doorbell::metrics::{Metrics, UpstreamMetrics};
use doorbell::name::Name;
use doorbell::secret::Secret;
use doorbell::signature::SigningKey;
use doorbell::upstream::{By, Fetch, Place, Reason, Request, Upstream};
use http::{HeaderMap, Method};
use reqwest::dns::Resolve as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

use crate::harness::{Egress, SECRET, Server, wait_until};

/// What lies between `http://` and the port, and leads to the canary: on 127.0.0.1, or on `::1`.
const LEADS_HOME: [&str; 42] = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f.1",
    "0x7f000001",
    "0x7F.0x0.0x0.0x1",
    "0177.0.0.1",
    "0177.1",
    "017700000001",
    "00000177.0.0.01",
    "127.0.0.1.",
    "127.0.0.0x1",
    "0.0.0.0",
    "0",
    "0x0",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000::0001]",
    "[::ffff:127.0.0.1]",
    "[::FFFF:7F00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::]",
    // Other digits and dots, escapes, and what parsers of URLs throw away.
    "１２７.0.0.1",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "%31%32%37.0.0.1",
    "127%2E0%2E0%2E1",
    "127.0.\t0.1",
    "\\127.0.0.1",
    // Users that look like hosts.
    "public.example@127.0.0.1",
    "public.example:80@127.0.0.1",
    "1.1.1.1%2f@127.0.0.1",
    // Names.
    "localhost",
    "LOCALHOST",
    "localhost.",
    "loopback.example",
    "loopback.example.",
    "loopback6.example",
    "mapped.example",
    "unspecified.example",
    "both.example",
];

/// What leads to other places where nobody should be led.
const LEADS_ASTRAY: [&str; 42] = [
    "169.254.169.254",
    "0xa9fea9fe",
    "2852039166",
    "0251.0376.0251.0376",
    "169.254.170.2",
    "100.100.100.200",
    "[fd00:ec2::254]",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "metadata.example",
    "10.0.0.1",
    "012.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "3232235521",
    "100.64.0.1",
    "100.127.255.255",
    "127.255.255.254",
    "0.1.2.3",
    "192.0.0.8",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "[fe80::1]",
    "[fec0::1]",
    "[fc00::1]",
    "[ff02::1]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::1]",
    "[2001::1]",
    "[2001:db8::1]",
    "[2002:7f00:1::]",
    "intranet.example",
    "linklocal.example",
];

/// What is no URL at all, or none of the web.
const LEADS_NOWHERE: [&str; 6] = [
    "[fe80::1%25lo]",
    "[::1%lo]",
    "127.0.0.1.1",
    "0x7f.0.0.256",
    "256.0.0.1",
    "[::ffff:127.0.0.256]",
];

/// What names mean here.
fn answers(host: &str) -> io::Result<Vec<IpAddr>> {
    let (v4, v6) = (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    let of = |text: &str| -> Vec<IpAddr> { vec![text.parse().expect("an address")] };
    Ok(match host.trim_end_matches('.') {
        "localhost" => vec![v6.into(), v4.into()],
        "both.example" | "loopback.example" => vec![v4.into()],
        "loopback6.example" => vec![v6.into()],
        "mapped.example" => vec![v4.to_ipv6_mapped().into()],
        "unspecified.example" => of("0.0.0.0"),
        "metadata.example" => of("169.254.169.254"),
        "intranet.example" => [of("10.1.2.3"), of("fd12::1")].concat(),
        "linklocal.example" => of("fe80::1"),
        _ => return Err(io::Error::new(io::ErrorKind::NotFound, "no such name")),
    })
}

/// Listens on loopback and counts who comes.
struct Canary {
    port: u16,
    songs: Arc<AtomicUsize>,
    has_v6: bool,
    tasks: Vec<JoinHandle<()>>,
}

impl Canary {
    async fn listening() -> Self {
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let v4 = v4.expect("loopback has a free port");
        let port = v4.local_addr().expect("a bound listener").port();
        let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await.ok();
        let songs = Arc::<AtomicUsize>::default();
        let has_v6 = v6.is_some();
        let sing = |listener: TcpListener| {
            let songs = Arc::clone(&songs);
            tokio::spawn(async move {
                while listener.accept().await.is_ok() {
                    // Who came is let go of at once.
                    songs.fetch_add(1, Ordering::SeqCst);
                }
            })
        };
        let tasks = std::iter::once(v4).chain(v6).map(sing).collect();
        Self {
            port,
            songs,
            has_v6,
            tasks,
        }
    }

    fn songs(&self) -> usize {
        self.songs.load(Ordering::SeqCst)
    }

    fn url(&self, host: &str) -> Result<Url, url::ParseError> {
        Url::parse(&format!("http://{host}:{}/hook", self.port))
    }

    /// Whether it can be reached so: not by an address that this machine has not.
    fn hears(&self, host: &str) -> bool {
        let is_v6 = matches!(host, "loopback6.example" | "[::1]" | "[0:0:0:0:0:0:0:1]")
            || matches!(host, "[0000::0001]" | "[::]");
        self.has_v6 || !is_v6
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn endpoint(url: Url, allow_private: bool) -> Endpoint {
    let key = SigningKey::parse(&Secret::new(SECRET.to_owned()));
    Endpoint {
        name: Name::parse("ops").expect("a name"),
        url,
        secrets: vec![key.expect("the secret is well-formed")],
        github: None,
        filter: None,
        rendering: Arc::default(),
        events: vec![Glob::new("*")],
        timeout: Duration::from_secs(5),
        retry: Vec::new(),
        concurrency: 1,
        rate: None,
        order: Order::Subject,
        disable_after: Duration::from_hours(24),
        allow_private,
        allow_networks: Arc::default(),
        handshake: None,
        owner: config::Owner::File,
        retiring: Vec::new(),
        headers: HeaderMap::new(),
    }
}

/// One attempt, as the deliverer makes each.
async fn attempt(url: Url, allow_private: bool, resolver: Resolver) -> Tried {
    try_one(endpoint(url, allow_private), resolver).await
}

async fn try_one(endpoint: Endpoint, resolver: Resolver) -> Tried {
    install_crypto_provider();
    let clock = Clock::system();
    let event = Event::trial(Trial::Own, "ops", clock.now(), 1);
    let tried = try_endpoint(&Arc::new(endpoint), &event, resolver, &clock).await;
    tried.expect("a client")
}

#[tokio::test]
async fn no_webhook_connects_to_a_private_address_however_it_is_spelled_or_named() {
    let canary = Canary::listening().await;
    for host in LEADS_HOME.into_iter().chain(LEADS_ASTRAY) {
        let url = canary.url(host).expect(host);
        let tried = attempt(url, false, Resolver::from_fn(answers)).await;
        assert_eq!(tried.error, Some("private_address"), "{host}");
        assert_eq!(canary.songs(), 0, "{host} connects");
    }
    for host in LEADS_NOWHERE {
        assert!(canary.url(host).is_err(), "{host} is no host");
    }
}

/// As those endpoints have it that are made over the API.
#[tokio::test]
async fn allowed_networks_are_connected_to_and_no_others() {
    let canary = Canary::listening().await;
    let within = async |host: &str, networks: &[&str]| {
        let networks = networks.iter().map(|net| net.parse().expect("a network"));
        let endpoint = Endpoint {
            allow_networks: networks.collect(),
            ..endpoint(canary.url(host).expect(host), false)
        };
        try_one(endpoint, Resolver::from_fn(answers)).await.error
    };
    let other = ["10.0.0.0/8", "192.168.0.0/16", "fd00::/8"];
    for host in LEADS_HOME {
        assert_eq!(
            within(host, &other).await,
            Some("private_address"),
            "{host}"
        );
        assert_eq!(canary.songs(), 0, "{host} connects");
    }
    let home = ["127.0.0.0/8"];
    for host in LEADS_ASTRAY {
        if host != "127.255.255.254" {
            assert_eq!(within(host, &home).await, Some("private_address"), "{host}");
        }
    }
    assert_eq!(canary.songs(), 0);
    for host in [
        "127.0.0.1",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
        "loopback.example",
        "localhost",
    ] {
        let before = canary.songs();
        assert_ne!(within(host, &home).await, Some("private_address"), "{host}");
        wait_until(host, async || (canary.songs() > before).then_some(())).await;
    }
}

/// The canary sings, so its silence means something.
#[tokio::test]
async fn every_try_that_leads_to_the_canary_is_heard_without_the_guard() {
    let canary = Canary::listening().await;
    for host in LEADS_HOME.into_iter().filter(|host| canary.hears(host)) {
        let before = canary.songs();
        let url = canary.url(host).expect(host);
        attempt(url, true, Resolver::from_fn(answers)).await;
        wait_until(host, async || (canary.songs() > before).then_some(())).await;
    }
}

/// Method: whoever asks first is told a public address, whoever asks next the canary's.
#[tokio::test]
async fn a_name_that_is_public_when_it_is_looked_at_and_private_when_it_is_connected_to_is_refused()
{
    let canary = Canary::listening().await;
    let lookups = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&lookups);
    let resolver = Resolver::from_fn(move |_| {
        let public: [IpAddr; 2] = [[1, 1, 1, 1].into(), [127, 0, 0, 1].into()];
        Ok(vec![public[counted.fetch_add(1, Ordering::SeqCst).min(1)]])
    });
    let name = "rebinding.example".parse().expect("a name");
    let looked_at = PublicOnly(resolver.clone()).resolve(name).await;
    let looked_at: Vec<SocketAddr> = looked_at.expect("it is public").collect();
    assert_eq!(looked_at[0].ip(), IpAddr::from([1, 1, 1, 1]));
    for nth in 2..4 {
        let url = canary.url("rebinding.example").expect("a URL");
        let tried = attempt(url, false, resolver.clone()).await;
        assert_eq!(tried.error, Some("private_address"));
        assert_eq!(
            lookups.load(Ordering::SeqCst),
            nth,
            "each attempt looks again"
        );
    }
    assert_eq!(canary.songs(), 0);
}

#[tokio::test]
async fn a_webhook_follows_no_redirect_wherever_it_leads() {
    let canary = Canary::listening().await;
    for status in [301, 302, 303, 307, 308] {
        let server = leading(status, format!("http://127.0.0.1:{}/", canary.port)).await;
        let url = Url::parse(&server.url).expect("a URL");
        // Even where private addresses are allowed.
        let tried = attempt(url, true, Resolver::system()).await;
        assert_eq!((tried.status, tried.error), (Some(status), Some("status")));
    }
    assert_eq!(canary.songs(), 0);
}

/// Answers everything by a redirect.
async fn leading(status: u16, location: String) -> Server {
    let answer = move || {
        let response = axum::response::Response::builder().status(status);
        let response = response.header("location", location.clone());
        let response = response.body(axum::body::Body::empty());
        async move { response.expect("fit for a header") }
    };
    Server::serving(Router::new().fallback(answer)).await
}

/// A proxy of the environment would connect in our stead, to wherever it is asked.
#[tokio::test]
async fn no_proxy_of_the_environment_is_asked() {
    let canary = Canary::listening().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("doorbell.toml");
    let config = format!(
        "[endpoints.ops]\nurl = \"http://127.0.0.1:1/\"\nsecrets = [\"{SECRET}\"]\n\
         allow_private = true\n[upstreams.u]\nurl = \"http://127.0.0.1:1\"\n[sources.s]\n\
         upstream = \"u\"\npath = \"/\"\nevery = \"manual\"\n"
    );
    std::fs::write(&file, config).expect("a temporary file");
    for arguments in [["send-test", "ops"], ["poll", "s"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_doorbell"));
        command.args(arguments).arg("--config").arg(&file);
        command.current_dir(folder.path());
        for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env(name, format!("http://127.0.0.1:{}", canary.port));
        }
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        let output = output.expect("no panic").expect("doorbell starts");
        assert!(!output.status.success(), "nobody listens at port 1");
    }
    assert_eq!(canary.songs(), 0);
}

/// An upstream that is taken for public: its name was public when it was looked up, and leads to a
/// server of ours when it is connected to.
async fn public_upstream(server: &Server) -> Upstream {
    let lookups = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&lookups);
    let resolver = Resolver::from_fn(move |host| match host {
        "upstream.example" if counted.fetch_add(1, Ordering::SeqCst) == 0 => {
            Ok(vec![[1, 1, 1, 1].into()])
        }
        "upstream.example" => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
        host => answers(host),
    });
    let port = Url::parse(&server.url).expect("a URL").port();
    let url = format!("http://upstream.example:{}", port.expect("a port"));
    let upstream = upstream(&url, None, resolver);
    wait_until("its name is looked up", async || {
        (lookups.load(Ordering::SeqCst) > 0).then_some(())
    })
    .await;
    upstream
}

/// An upstream with a credential.
fn upstream(url: &str, egress: Option<&Egress>, resolver: Resolver) -> Upstream {
    install_crypto_provider();
    let upstream = config::Upstream {
        name: Name::parse("u").expect("a name"),
        url: Url::parse(url).expect("a URL"),
        auth: Some(config::Auth::Bearer(Secret::new("battery".to_owned()))),
        headers: HeaderMap::new(),
        timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(3),
        connections_max: 4,
        redirects: 3,
        more_urls: Vec::new(),
        tls: None,
        egress_proxy: egress.map(|egress| Secret::new(egress.to_string())),
        budget: None,
    };
    let series = UpstreamMetrics::new(&Metrics::new());
    let upstream = Upstream::new(Arc::new(upstream), resolver, Clock::system(), &series);
    upstream.expect("a client")
}

/// Why a poll of `url` fails.
async fn reason(upstream: &Upstream, url: Url, home: bool) -> Option<Reason> {
    let request = Request {
        method: Method::GET,
        url,
        home,
        headers: HeaderMap::new(),
        body: Bytes::new(),
        body_bytes_max: 1_000,
    };
    let fetch = Fetch {
        request: &request,
        validators: &Validators::default(),
    };
    let permit = upstream.permit(By::Poll).await.expect("there is no budget");
    upstream
        .fetch(fetch, permit)
        .await
        .err()
        .map(|failure| failure.reason)
}

/// What a poll comes to that is led to `host` from `server`, by a redirect and by a link to the next
/// page that leaves the origin.
async fn led(
    canary: &Canary,
    host: &str,
    upstream_at: impl AsyncFn(&Server) -> Upstream,
) -> [Option<Reason>; 2] {
    // As it is written, where a header can hold it.
    let written = format!("http://{host}:{}/hook", canary.port);
    let is_fit = written.bytes().all(|byte| byte.is_ascii_graphic());
    let target = if is_fit {
        written
    } else {
        canary.url(host).expect(host).to_string()
    };
    let server = leading(302, target.clone()).await;
    let upstream = upstream_at(&server).await;
    let own = upstream.url("/list").expect("a URL");
    let by_redirect = reason(&upstream, own.clone(), true).await;
    let place = Place {
        url: own,
        home: true,
    };
    let by_link = match place.leads_to(&target) {
        Ok(next) => {
            assert!(!next.home, "{host}");
            reason(&upstream, next.url, next.home).await
        }
        Err(_) => Some(Reason::Redirect),
    };
    [by_redirect, by_link]
}

#[tokio::test]
async fn a_public_upstream_leads_no_poll_into_a_private_network() {
    let canary = Canary::listening().await;
    for host in LEADS_HOME.into_iter().chain(LEADS_ASTRAY) {
        let came_to = led(&canary, host, public_upstream).await;
        assert_eq!(came_to, [Some(Reason::Redirect); 2], "{host}");
        assert_eq!(canary.songs(), 0, "{host} connects");
    }
}

/// That it is on a private network itself opens nothing there.
#[tokio::test]
async fn a_private_upstream_leads_no_poll_to_another_private_place() {
    let canary = Canary::listening().await;
    let private = async |server: &Server| {
        let resolver = Resolver::from_fn(answers);
        upstream(
            &server.url.replace("127.0.0.1", "localhost"),
            None,
            resolver,
        )
    };
    for host in LEADS_HOME.into_iter().chain(LEADS_ASTRAY) {
        let came_to = led(&canary, host, private).await;
        assert_eq!(came_to, [Some(Reason::Redirect); 2], "{host}");
        assert_eq!(canary.songs(), 0, "{host} connects");
    }
}

/// Where names lead a proxy finds out by itself, and hears no credential. What is written as an
/// address, or is this machine, it is not asked for.
#[tokio::test]
async fn through_an_egress_proxy_no_poll_is_led_to_a_private_address() {
    let canary = Canary::listening().await;
    for host in LEADS_HOME.into_iter().chain(LEADS_ASTRAY) {
        let url = canary.url(host).expect(host);
        let is_asked = url.domain().is_some_and(|name| name.contains(".example"));
        let proxies = std::cell::RefCell::new(Vec::new());
        let came_to = led(&canary, host, async |server| {
            let egress = Egress::knowing(&[("upstream.example", &server.url)]);
            let own = "http://upstream.example";
            let upstream = upstream(own, Some(&egress), Resolver::from_fn(answers));
            proxies.borrow_mut().push(egress);
            upstream
        })
        .await;
        let heads = proxies.borrow()[0].heads();
        assert!(heads[0].contains("battery"), "the upstream's own");
        if is_asked {
            // It does not know it.
            assert_eq!(came_to, [Some(Reason::Status); 2], "{host}");
            assert_eq!(heads.len(), 3, "{host}");
            assert!(!heads[1].contains("battery") && !heads[2].contains("battery"));
        } else {
            assert_eq!(came_to, [Some(Reason::Redirect); 2], "{host}");
            assert_eq!(heads.len(), 1, "{host}: {heads:?}");
        }
        assert_eq!(canary.songs(), 0, "{host} connects");
    }
}

/// What those polls failed for was the guard: within the origin the same upstream is followed.
#[tokio::test]
async fn a_redirect_of_a_public_upstream_within_its_origin_is_followed() {
    let list = axum::routing::get(|| async { "[]" });
    let away = axum::routing::get(|| async { axum::response::Redirect::to("/list") });
    let server = Server::serving(Router::new().route("/", away).route("/list", list)).await;
    let upstream = public_upstream(&server).await;
    let own = upstream.url("/").expect("a URL");
    assert_eq!(reason(&upstream, own, true).await, None);
}
