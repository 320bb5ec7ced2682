//! Exchanges against fakes on loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body as Sent;
use axum::extract::Request as Asked;
use axum::response::Response;
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use url::Url;

mod elsewhere;
mod leave;
mod token;

use super::*;
use crate::config::Auth;
use crate::metrics::Metrics;
use crate::secret::Secret;

/// A fake API that remembers each request, as its target and headers.
struct Fake {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<(String, HeaderMap)>>>,
}

impl Fake {
    async fn answering(
        answer: impl Fn(&Asked) -> Response + Clone + Send + Sync + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let app = Router::new().fallback(move |request: Asked| {
            log.lock()
                .push((request.uri().to_string(), request.headers().clone()));
            let response = answer(&request);
            async move { response }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, seen }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn targets(&self) -> Vec<String> {
        self.seen.lock().iter().map(|(t, _)| t.clone()).collect()
    }
}

/// Serves these bytes to the first connection, then closes it, or holds it open.
async fn raw(bytes: &'static [u8], holds: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await;
        let _ = stream.write_all(bytes).await;
        if holds {
            std::future::pending::<()>().await;
        }
    });
    format!("http://{address}")
}

fn respond(status: u16, headers: &[(&str, &str)], body: &'static str) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Sent::from(body)).expect("a response")
}

fn upstream_of(url: &str, auth: Option<Auth>) -> config::Upstream {
    let mut headers = HeaderMap::new();
    headers.insert("x-team", HeaderValue::from_static("blue"));
    config::Upstream {
        name: Name::parse("tracker").expect("a name"),
        url: Url::parse(url).expect("a URL"),
        auth,
        headers,
        timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(3),
        connections_max: 4,
        redirects: 3,
        more_urls: Vec::new(),
        egress_proxy: None,
        tls: None,
        budget: None,
    }
}

fn start(config: config::Upstream) -> (Upstream, Metrics) {
    crate::client::install_crypto_provider();
    let metrics = Metrics::new();
    let upstream = Upstream::new(
        Arc::new(config),
        Resolver::system(),
        Clock::system(),
        &UpstreamMetrics::new(&metrics),
    );
    (upstream.expect("a client"), metrics)
}

fn request(upstream: &Upstream) -> Request {
    Request {
        method: Method::GET,
        url: upstream.url("/issues").expect("a URL"),
        home: true,
        headers: HeaderMap::new(),
        body: Bytes::new(),
        body_bytes_max: 1000,
    }
}

/// A search, as POST.
fn search(upstream: &Upstream) -> Request {
    Request {
        method: Method::POST,
        body: Bytes::from_static(b"q=bell"),
        ..request(upstream)
    }
}

async fn ask(upstream: &Upstream, request: &Request) -> Result<Answer, Failure> {
    let permit = upstream.permit(By::Poll).await?;
    let validators = &Validators::default();
    let fetch = Fetch {
        request,
        validators,
    };
    upstream.fetch(fetch, permit).await
}

async fn fetch(upstream: &Upstream, validators: &Validators) -> Result<Answer, Failure> {
    let permit = upstream.permit(By::Poll).await?;
    let fetch = Fetch {
        request: &request(upstream),
        validators,
    };
    upstream.fetch(fetch, permit).await
}

async fn fetch_from(url: &str) -> Result<Answer, Failure> {
    let (upstream, _) = start(upstream_of(url, None));
    fetch(&upstream, &Validators::default()).await
}

fn bearer() -> Auth {
    Auth::Bearer(Secret::new("hunter2".to_owned()))
}

fn etag(value: &str) -> Validators {
    Validators {
        etag: Some(value.to_owned()),
        last_modified: None,
    }
}

#[tokio::test]
async fn only_believable_statuses_are_answers() {
    for (status, headers, expected) in [
        (200, &[][..], None),
        (203, &[], None),
        (204, &[], Some(Reason::Status)),
        (206, &[], Some(Reason::Status)),
        (300, &[("location", "/elsewhere")], Some(Reason::Status)),
        (304, &[], Some(Reason::Status)),
        (401, &[], Some(Reason::Refused)),
        (403, &[], Some(Reason::Refused)),
        (
            403,
            &[("x-ratelimit-remaining", "0")],
            Some(Reason::RateLimited),
        ),
        (404, &[], Some(Reason::Refused)),
        (410, &[], Some(Reason::Refused)),
        (429, &[], Some(Reason::RateLimited)),
        (500, &[], Some(Reason::Status)),
    ] {
        let fake = Fake::answering(move |_| respond(status, headers, "")).await;
        let reason = fetch_from(&fake.url()).await.err().map(|f| f.reason);
        assert_eq!(reason, expected, "{status} {headers:?}");
    }
}

#[tokio::test]
async fn failures_tell_when_to_ask_again() {
    let fake = Fake::answering(|_| respond(503, &[("retry-after", "120")], "")).await;
    let failure = fetch_from(&fake.url()).await.expect_err("503");
    assert_eq!(failure.pacing.not_before, Some(Duration::from_mins(2)));
}

#[tokio::test]
async fn validators_are_echoed_byte_for_byte_and_304_needs_them() {
    let fake = Fake::answering(|request| {
        let known = request.headers().contains_key("if-none-match");
        let mut response = respond(if known { 304 } else { 200 }, &[], "");
        let odd = HeaderValue::from_bytes(b"W/un\xe9quoted").expect("a value");
        response.headers_mut().insert("etag", odd);
        let date = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
        response.headers_mut().insert("last-modified", date);
        response
    })
    .await;
    let (upstream, _) = start(upstream_of(&fake.url(), None));
    let first = fetch(&upstream, &Validators::default()).await;
    let Ok(Answer::Body(body)) = first else {
        panic!("{first:?}");
    };
    let second = fetch(&upstream, &body.validators).await;
    assert!(
        matches!(second, Ok(Answer::NotModified { .. })),
        "{second:?}"
    );
    let seen = fake.seen.lock();
    assert_eq!(seen[1].1["if-none-match"].as_bytes(), b"W/un\xe9quoted");
    assert_eq!(
        seen[1].1["if-modified-since"],
        "Sun, 06 Nov 1994 08:49:37 GMT"
    );
}

#[tokio::test]
async fn last_modified_of_this_very_second_is_not_trusted() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let headers = [("date", date), ("last-modified", date)];
    let fake = Fake::answering(move |_| respond(200, &headers, "")).await;
    let answer = fetch_from(&fake.url()).await;
    let Ok(Answer::Body(body)) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(body.validators, Validators::default());
}

#[tokio::test]
async fn paths_are_appended_as_text_and_queries_are_encoded() {
    let fake = Fake::answering(|_| respond(200, &[], "")).await;
    let auth = Auth::Query {
        name: "api_key".to_owned(),
        value: Secret::new("a&b".to_owned()),
    };
    let base = format!("{}/api", fake.url());
    let (upstream, _) = start(upstream_of(&base, Some(auth)));
    let mut request = request(&upstream);
    request.url.query_pairs_mut().append_pair("q", "x y&z");
    ask(&upstream, &request).await.expect("200");
    assert_eq!(
        fake.targets(),
        ["/api/issues?q=x+y%26z&api_key=a%26b".to_owned()]
    );
}

#[tokio::test]
async fn a_body_is_sent_and_goes_along_only_where_a_redirect_keeps_the_method() {
    for (status, method, body) in [
        (301, "GET", ""),
        (302, "GET", ""),
        (303, "GET", ""),
        (307, "POST", "q=bell"),
        (308, "POST", "q=bell"),
    ] {
        let bodies: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&bodies);
        let app = Router::new().fallback(move |request: Asked| {
            let seen = Arc::clone(&seen);
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1000).await.expect("a body");
                let text = String::from_utf8_lossy(&body).into_owned();
                seen.lock().push(format!("{} {text}", head.method));
                match head.uri.path() {
                    "/issues" => respond(status, &[("location", "/found")], ""),
                    _ => respond(200, &[], "[]"),
                }
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, app).await });
        let (upstream, _) = start(upstream_of(&format!("http://{address}"), None));
        let answer = ask(&upstream, &search(&upstream)).await;
        answer.expect("200");
        let expected = ["POST q=bell".to_owned(), format!("{method} {body}")];
        assert_eq!(*bodies.lock(), expected, "{status}");
    }
}

#[tokio::test]
async fn redirects_within_the_origin_keep_credentials_and_take_a_permit_each() {
    let fake = Fake::answering(|request| match request.uri().path() {
        "/issues" => respond(307, &[("location", "/v2/issues#top")], ""),
        _ => respond(200, &[], "[]"),
    })
    .await;
    let (upstream, metrics) = start(upstream_of(&fake.url(), Some(bearer())));
    fetch(&upstream, &etag("\"1\"")).await.expect("200");
    let seen = fake.seen.lock();
    assert_eq!(seen[1].0, "/v2/issues");
    for (name, value) in [
        ("authorization", "Bearer hunter2"),
        ("x-team", "blue"),
        ("if-none-match", "\"1\""),
    ] {
        assert_eq!(seen[1].1[name], value);
    }
    let line = r#"doorbell_upstream_requests_total{by="poll",upstream="tracker"} 2"#;
    assert!(metrics.scrape().contains(line), "{}", metrics.scrape());
}

#[tokio::test]
async fn redirects_that_lead_nowhere_are_failures() {
    for (location, expected) in [
        (Some("/issues"), "loop"),
        (Some("ftp://127.0.0.1/"), "plain http"),
        (Some("http://user:word@127.0.0.1/"), "plain http"),
        (None, "names no place"),
    ] {
        let headers: Vec<_> = location.map(|l| ("location", l)).into_iter().collect();
        let fake = Fake::answering(move |_| respond(302, &headers, "")).await;
        let failure = fetch_from(&fake.url()).await.expect_err("a redirect");
        assert_eq!(failure.reason, Reason::Redirect);
        assert!(failure.message.contains(expected), "{}", failure.message);
    }
}

#[tokio::test]
async fn too_many_redirects_stop_at_the_limit() {
    let fake = Fake::answering(|request| {
        let next = format!("{}x", request.uri().path());
        respond(308, &[("location", &next)], "")
    })
    .await;
    let failure = fetch_from(&fake.url()).await.expect_err("a redirect");
    assert_eq!(failure.reason, Reason::Redirect);
    assert_eq!(fake.targets().len(), 4);
}

#[tokio::test]
async fn bodies_are_counted_after_decompression() {
    let bomb = zstd::encode_all(&vec![b' '; 10_000_000][..], 3).expect("compressed");
    assert!(bomb.len() < 1000);
    let fake = Fake::answering(move |request| match request.uri().path() {
        "/issues" => Response::builder()
            .header("content-encoding", "zstd")
            .body(Sent::from(bomb.clone()))
            .expect("a response"),
        _ => respond(404, &[], ""),
    })
    .await;
    let failure = fetch_from(&fake.url()).await.expect_err("a bomb");
    assert_eq!(failure.reason, Reason::TooLarge);
}

#[tokio::test]
async fn a_body_is_digested_as_it_comes_in_however_many_pieces() {
    for bytes in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n[1,2]"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n[1,2]",
    ] {
        let answer = fetch_from(&raw(bytes, false).await).await.expect("200");
        let Answer::Body(body) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(&*body.bytes, b"[1,2]");
        assert_eq!(body.raw, RawDigest::of(b"[1,2]"));
    }
}

#[tokio::test]
async fn broken_and_slow_bodies_are_failures() {
    for (bytes, expected) in [
        (
            &b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n[1,"[..],
            Reason::Body,
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n[1,\r\n",
            Reason::Body,
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n[1]\n",
            Reason::Body,
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n",
            Reason::TooLarge,
        ),
        (b"no HTTP at all\r\n\r\n", Reason::Body),
        (b"", Reason::Body),
    ] {
        let failure = fetch_from(&raw(bytes, false).await).await;
        let reason = failure.expect_err("no answer").reason;
        assert_eq!(reason, expected, "{}", String::from_utf8_lossy(bytes));
    }
    let url = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n[1,", true).await;
    let mut config = upstream_of(&url, None);
    config.timeout = Duration::from_millis(100);
    let (upstream, _) = start(config);
    let failure = fetch(&upstream, &Validators::default()).await;
    assert_eq!(failure.expect_err("slow").reason, Reason::Timeout);
}

#[tokio::test]
async fn classes_of_broken_connections_are_told_apart_without_secrets() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let closed = listener.local_addr().expect("an address");
    drop(listener);
    let plain = Fake::answering(|_| respond(200, &[], "")).await;
    for (url, expected) in [
        (format!("http://{closed}"), Reason::Connect),
        ("http://upstream.invalid".to_owned(), Reason::Dns),
        (format!("https://{}", plain.address), Reason::Tls),
    ] {
        let auth = Auth::Query {
            name: "api_key".to_owned(),
            value: Secret::new("hunter2".to_owned()),
        };
        let (upstream, _) = start(upstream_of(&url, Some(auth)));
        let failure = fetch(&upstream, &Validators::default()).await;
        let failure = failure.expect_err("no connection");
        assert_eq!(failure.reason, expected, "{url}: {failure}");
        assert!(!failure.to_string().contains("hunter2"));
        assert!(!format!("{upstream:?}").contains("hunter2"));
    }
}

fn address(upstream: &Upstream) -> Option<SocketAddr> {
    upstream.door(None).map(|(_, address)| address)
}

#[tokio::test]
async fn literal_addresses_are_known_at_once() {
    let (upstream, _) = start(upstream_of("http://[::1]", None));
    assert_eq!(address(&upstream), "[::1]:80".parse().ok());
    let (upstream, _) = start(upstream_of("https://127.0.0.1:8443/api", None));
    assert_eq!(address(&upstream), "127.0.0.1:8443".parse().ok());
}
