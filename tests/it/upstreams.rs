//! How an upstream is reached: with tokens that are fetched, over TLS of its own, at several
//! addresses, through somebody else; by polls and by callers alike.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;

use serde_json::json;

use crate::harness::{
    Answering, Asks, Doorbell, SECRET, Secure, Server, Upstream, client, fixture, proxied,
};

/// What no log, answer or metric may show.
const CLIENT_SECRET: &str = "correct-horse";

/// An API behind tokens: only the newest is good.
#[derive(Default)]
struct Guarded {
    given: usize,
    is_down: bool,
    asked: Vec<String>,
}

type Guard = Arc<Mutex<Guarded>>;

async fn guarded(State(guard): State<Guard>, request: Request) -> Response {
    let mut guard = guard.lock();
    let path = request.uri().path().to_owned();
    guard.asked.push(path.clone());
    if path == "/token" {
        if guard.is_down {
            return (axum::http::StatusCode::BAD_GATEWAY, CLIENT_SECRET).into_response();
        }
        guard.given += 1;
        let body = format!(
            r#"{{"access_token":"battery{}","token_type":"Bearer","expires_in":3600}}"#,
            guard.given
        );
        return ([("content-type", "application/json")], body).into_response();
    }
    let wanted = format!("Bearer battery{}", guard.given);
    let shown = request.headers().get("authorization");
    if shown.is_some_and(|shown| shown.as_bytes() == wanted.as_bytes()) {
        ([("content-type", "application/json")], "[]").into_response()
    } else {
        axum::http::StatusCode::UNAUTHORIZED.into_response()
    }
}

async fn issuer() -> (Server, Guard) {
    let guard = Guard::default();
    let router = Router::new()
        .fallback(guarded)
        .with_state(Arc::clone(&guard));
    (Server::serving(router).await, guard)
}

/// The list `/tickets` of an upstream with these keys, polled by hand, and a route to it.
fn watched(upstream: &str) -> String {
    format!(
        "[upstreams.tracker]\n{upstream}\n[sources.tickets]\nupstream = \"tracker\"\n\
         path = \"/tickets\"\nevery = \"manual\"\nitems = \"$[*]\"\nid = \"$.id\"\n\
         [endpoints.ops]\nurl = \"http://127.0.0.1:1/\"\nsecrets = [\"{SECRET}\"]\n\
         allow_private = true\n{}",
        proxied("")
    )
}

fn with_tokens(api: &str, issuer: &str) -> String {
    watched(&format!(
        "url = \"{api}\"\nauth = {{ oauth2 = {{ token_url = \"{issuer}/token\", \
         client_id = \"me\", client_secret = \"{CLIENT_SECRET}\" }} }}\ntimeout = \"5s\""
    ))
}

async fn call(doorbell: &Doorbell) -> reqwest::Response {
    let url = format!("{}/tracker/tickets", doorbell.proxy_url());
    client().get(url).send().await.expect("an answer")
}

#[tokio::test]
async fn polls_and_callers_share_one_token_and_replace_it_when_it_is_refused() {
    let (api, guard) = issuer().await;
    let doorbell = Doorbell::start(&with_tokens(&api.url, &api.url)).await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["outcome"], "unchanged", "{polled}");
    assert_eq!(call(&doorbell).await.status(), 200);
    assert_eq!(guard.lock().given, 1, "one token for both");

    // The token is worth nothing any more: a call is answered so, and the next one is not.
    guard.lock().given += 1;
    assert_eq!(call(&doorbell).await.status(), 401);
    assert_eq!(call(&doorbell).await.status(), 200);
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["outcome"], "unchanged", "{polled}");
    assert_eq!(guard.lock().given, 3);
}

#[tokio::test]
async fn a_poll_replaces_a_token_that_is_refused_and_asks_again() {
    let (api, guard) = issuer().await;
    let doorbell = Doorbell::start(&with_tokens(&api.url, &api.url)).await;
    doorbell.poll("tickets").await;
    guard.lock().given += 1;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["outcome"], "unchanged", "{polled}");
    let asked = guard.lock().asked.join(" ");
    assert_eq!(asked, "/token /tickets /tickets /token /tickets");
}

#[tokio::test]
async fn without_a_token_nothing_is_asked_and_no_secret_is_told() {
    let (api, guard) = issuer().await;
    guard.lock().is_down = true;
    let doorbell = Doorbell::start(&with_tokens(&api.url, &api.url)).await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(
        (&polled["outcome"], &polled["reason"]),
        (&"error".into(), &"auth".into())
    );
    for _ in 0..5 {
        let answer = call(&doorbell).await;
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        let kind = answer.headers()["content-type"].clone();
        assert_eq!(kind, "application/problem+json");
        assert!(!answer.text().await.expect("a body").contains(CLIENT_SECRET));
    }
    let asked = guard.lock().asked.clone();
    assert!(asked.iter().all(|path| path == "/token"), "{asked:?}");
    assert!(asked.len() <= 3, "the endpoint is left alone: {asked:?}");

    let admin = format!("{}/api/v1/sources/tickets", doorbell.admin_url());
    let status = client().get(admin).send().await.expect("an answer");
    let status = status.text().await.expect("a body");
    assert!(
        status.contains("the token endpoint: answered 502"),
        "{status}"
    );
    let metrics = doorbell.metrics().await;
    let labels = [("source", "tickets"), ("reason", "auth")];
    assert_eq!(metrics.value("doorbell_poll_errors_total", &labels), 1.0);
    for told in [status, doorbell.said()] {
        assert!(!told.contains(CLIENT_SECRET), "{told}");
        assert!(!told.contains("battery"), "{told}");
    }
}

#[tokio::test]
async fn a_callers_own_credential_needs_no_token() {
    let (api, guard) = issuer().await;
    guard.lock().is_down = true;
    let doorbell = Doorbell::start(&with_tokens(&api.url, &api.url)).await;
    let url = format!("{}/tracker/tickets", doorbell.proxy_url());
    let own = client().get(url).header("authorization", "Bearer battery0");
    assert_eq!(own.send().await.expect("an answer").status(), 200);
    assert_eq!(guard.lock().asked, ["/tickets"]);
}

fn over_tls(api: &Secure, tls: &str) -> String {
    watched(&format!("url = \"{api}\"\n{tls}"))
}

fn believing() -> String {
    format!("ca = \"{}\"", fixture("ca.pem"))
}

fn showing() -> String {
    let (cert, key) = (fixture("client.pem"), fixture("client.key.pem"));
    format!("cert = \"{cert}\", key = \"{key}\"")
}

#[tokio::test]
async fn an_authority_of_ones_own_is_believed_where_it_is_named_and_nowhere_else() {
    let api = Secure::answering(Asks::Politely, "200 OK", "");
    let doorbell = Doorbell::start(&over_tls(&api, "")).await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["reason"], "tls", "{polled}");
    assert_eq!(call(&doorbell).await.status(), 502);
    assert!(api.seen().is_empty());

    let tls = format!("tls = {{ {} }}", believing());
    let doorbell = Doorbell::start(&over_tls(&api, &tls)).await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["outcome"], "unchanged", "{polled}");
    assert_eq!(call(&doorbell).await.status(), 200);
    assert_eq!(api.seen().len(), 2);
    assert!(api.seen().iter().all(|seen| !seen.is_certified));
}

#[tokio::test]
async fn who_asks_for_a_certificate_gets_ours_from_polls_and_from_callers() {
    let api = Secure::answering(Asks::Firmly, "200 OK", "");
    let tls = format!("tls = {{ {} }}", believing());
    let doorbell = Doorbell::start(&over_tls(&api, &tls)).await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["outcome"], "error", "{polled}");
    assert_eq!(call(&doorbell).await.status(), 502);
    assert!(api.seen().is_empty());

    let tls = format!("tls = {{ {}, {} }}", believing(), showing());
    let doorbell = Doorbell::start(&over_tls(&api, &tls)).await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["outcome"], "unchanged", "{polled}");
    assert_eq!(call(&doorbell).await.status(), 200);
    assert_eq!(api.seen().len(), 2);
    assert!(api.seen().iter().all(|seen| seen.is_certified));
    assert!(!doorbell.said().contains("PRIVATE"));
}

#[tokio::test]
async fn no_other_origin_sees_our_certificate() {
    let other = Secure::answering(Asks::Politely, "200 OK", "");
    let away = format!("location: {other}/there\r\n");
    let api = Secure::answering(Asks::Firmly, "302 Found", &away);
    let tls = format!("tls = {{ {}, {} }}", believing(), showing());
    let auth = "auth = { bearer = \"battery\" }";
    let doorbell = Doorbell::start(&over_tls(&api, &format!("{tls}\n{auth}"))).await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["outcome"], "unchanged", "{polled}");
    assert!(api.seen()[0].is_certified && api.seen()[0].head.contains("battery"));
    let seen = other.seen();
    assert!(!seen[0].is_certified && !seen[0].head.contains("battery"));
}

fn at_several(urls: &[&str]) -> String {
    watched(&format!("urls = {urls:?}"))
}

#[tokio::test]
async fn several_addresses_take_turns_and_are_one_source() {
    let list = vec![json!({"id": 1, "a": 1})];
    let one = Upstream::serving("/tickets", list.clone()).await;
    let other = Upstream::serving("/api/tickets", list).await;
    let urls = [one.to_string(), format!("{other}/api")];
    let doorbell = Doorbell::start(&at_several(&[&urls[0], &urls[1]])).await;
    for _ in 0..4 {
        let polled = doorbell.poll("tickets").await;
        assert_eq!(polled["outcome"], "unchanged", "{polled}");
        assert_eq!(call(&doorbell).await.status(), 200);
    }
    let asked = (one.arrivals("/").len(), other.arrivals("/").len());
    assert_eq!(asked, (4, 4), "each has every other turn");
    for upstream in [&one, &other] {
        for arrival in upstream.arrivals("/") {
            let host = arrival.headers["host"].to_str().expect("text");
            assert!(upstream.to_string().ends_with(host), "{host}");
        }
    }
}

#[tokio::test]
async fn an_address_that_is_gone_costs_no_poll_and_no_call() {
    let list = vec![json!({"id": 1, "a": 1})];
    let one = Upstream::serving("/tickets", list.clone()).await;
    let gone = Upstream::serving("/tickets", list).await;
    let urls = [gone.to_string(), one.to_string()];
    drop(gone);
    let doorbell = Doorbell::start(&at_several(&[&urls[0], &urls[1]])).await;
    for _ in 0..6 {
        let polled = doorbell.poll("tickets").await;
        assert_eq!(polled["outcome"], "unchanged", "{polled}");
        assert_eq!(call(&doorbell).await.status(), 200);
    }
    assert_eq!(one.arrivals("/").len(), 12);
    assert!(doorbell.said().contains("is left out"));
}

#[tokio::test]
async fn an_address_that_answers_5xx_is_left_out() {
    let one = Upstream::serving("/tickets", vec![]).await;
    let ill = Upstream::serving("/tickets", vec![]).await;
    ill.answer("/tickets", Answering::Status(500));
    let urls = [ill.to_string(), one.to_string()];
    let doorbell = Doorbell::start(&at_several(&[&urls[0], &urls[1]])).await;
    let mut failed = 0;
    for _ in 0..12 {
        failed += u32::from(call(&doorbell).await.status() != 200);
    }
    assert_eq!(failed, 3, "as many as it takes to be left out");
    assert_eq!(ill.arrivals("/").len(), 3);
}

/// A forward proxy that serves plain requests itself, and leads CONNECT to `secure`.
struct Forward {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Forward {
    fn leading_to(secure: Option<&Secure>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&heads);
        let secure = secure.map(|secure| secure.to_string().replace("https://", ""));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, secure) = (Arc::clone(&log), secure.clone());
                thread::spawn(move || forward(stream, &log, secure));
            }
        });
        Self {
            url: format!("http://user:hunter2@{address}"),
            heads,
        }
    }
}

fn forward(mut near: TcpStream, log: &Mutex<Vec<String>>, secure: Option<String>) -> Option<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        near.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let is_connect = head.starts_with("CONNECT ");
    log.lock().push(head);
    if !is_connect {
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                      content-length: 2\r\nconnection: close\r\n\r\n[]";
        return near.write_all(answer.as_bytes()).ok();
    }
    let mut far = TcpStream::connect(secure?).ok()?;
    near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
    let (mut back, mut there) = (far.try_clone().ok()?, near.try_clone().ok()?);
    thread::spawn(move || std::io::copy(&mut back, &mut there));
    std::io::copy(&mut near, &mut far).ok().map(|_| ())
}

/// The same without a route.
fn polled_through(url: &str, forward: &Forward, more: &str) -> String {
    let egress = format!("egress_proxy = \"{}\"", forward.url);
    let config = watched(&format!("url = \"{url}\"\n{egress}\n{more}"));
    config.split("[proxy]").next().expect("a part").to_owned()
}

/// `user:hunter2`.
const PROOF: &str = "Basic dXNlcjpodW50ZXIy";

#[tokio::test]
async fn polls_go_through_an_egress_proxy_which_alone_hears_its_password() {
    let forward = Forward::leading_to(None);
    let auth = "auth = { bearer = \"battery\" }";
    let config = polled_through("http://api.invalid", &forward, auth);
    let doorbell = Doorbell::start(&config).await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["outcome"], "unchanged", "{polled}");
    let head = forward.heads.lock()[0].to_lowercase();
    assert!(
        head.starts_with("get http://api.invalid/tickets http/1.1"),
        "{head}"
    );
    let proof = format!("proxy-authorization: {PROOF}").to_lowercase();
    assert!(
        head.contains(&proof) && head.contains("authorization: bearer battery"),
        "{head}"
    );
    assert!(!doorbell.said().contains("hunter2"));
}

#[tokio::test]
async fn https_goes_through_an_egress_proxy_unread() {
    let api = Secure::answering(Asks::Nobody, "200 OK", "");
    let forward = Forward::leading_to(Some(&api));
    let tls = format!(
        "tls = {{ {} }}\nauth = {{ bearer = \"battery\" }}",
        believing()
    );
    let doorbell = Doorbell::start(&polled_through("https://localhost:7", &forward, &tls)).await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["outcome"], "unchanged", "{polled}");
    let head = forward.heads.lock()[0].to_lowercase();
    assert!(head.starts_with("connect localhost:7 http/1.1"), "{head}");
    assert!(
        head.contains(&PROOF.to_lowercase()) && !head.contains("battery"),
        "{head}"
    );
    let seen = api.seen();
    assert!(seen[0].head.contains("battery") && !seen[0].head.contains(PROOF));
}

#[tokio::test]
async fn a_proxy_that_is_gone_is_a_failed_connection_without_its_password() {
    let forward = Forward {
        url: "http://user:hunter2@127.0.0.1:1".to_owned(),
        heads: Arc::default(),
    };
    let doorbell = Doorbell::start(&polled_through("http://api.invalid", &forward, "")).await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["reason"], "connect", "{polled}");
    let admin = format!("{}/api/v1/sources/tickets", doorbell.admin_url());
    let status = client().get(admin).send().await.expect("an answer");
    let status = status.text().await.expect("a body");
    assert!(!status.contains("hunter2") && !doorbell.said().contains("hunter2"));
}
