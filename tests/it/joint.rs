//! What only a poller that is also the proxy can do: callers' writes bring polls about, their reads
//! count as polls, and the last answer serves them. Nobody gets another one's answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{
    Doorbell, Receiver, Ring, SECRET, Server, client, is_proving, proxied, wait_until,
};

const SETTLE: Duration = Duration::from_millis(200);

/// An API with one counter at `/doc`: GET shows it and who asked, POST raises it.
struct Counter {
    server: Server,
    state: Arc<Shown>,
}

#[derive(Default)]
struct Shown {
    n: AtomicU64,
    /// Method and `User-Agent` of every request for `/doc`.
    asked: Mutex<Vec<(String, String)>>,
}

impl Counter {
    async fn counting() -> Self {
        let state = Arc::<Shown>::default();
        let router = Router::new().fallback(count).with_state(Arc::clone(&state));
        let server = Server::serving(router).await;
        Self { server, state }
    }

    fn shown(&self) -> u64 {
        self.state.n.load(Ordering::SeqCst)
    }

    fn raise(&self) {
        self.state.n.fetch_add(1, Ordering::SeqCst);
    }

    /// GETs of doorbell's own.
    fn polls(&self) -> usize {
        let asked = self.state.asked.lock();
        let is_poll =
            |(method, agent): &&(String, String)| method == "GET" && agent.starts_with("doorbell/");
        asked.iter().filter(is_poll).count()
    }

    fn reads(&self) -> usize {
        let asked = self.state.asked.lock();
        asked.iter().filter(|(method, _)| method == "GET").count()
    }
}

async fn count(State(state): State<Arc<Shown>>, request: Request) -> Response {
    let header = |name: &str| {
        let value = request.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let (method, agent) = (
        request.method().to_string(),
        header("user-agent").to_owned(),
    );
    state.asked.lock().push((method.clone(), agent));
    let mut status = 200;
    if method == "POST" {
        state.n.fetch_add(1, Ordering::SeqCst);
        status = 201;
    }
    let n = state.n.load(Ordering::SeqCst);
    // Whoever is not doorbell's own identity sees itself.
    let identity = [
        "authorization",
        "cookie",
        "x-api-key",
        "x-tenant",
        "x-forwarded-user",
        "x-forwarded-host",
    ]
    .map(header)
    .join("|");
    let body = json!({"n": n, "identity": identity, "query": request.uri().query()});
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/json");
    response
        .body(Body::from(body.to_string()))
        .expect("a response")
}

fn config(counter: &str, receiver: &Receiver, source: &str) -> String {
    let head = format!(
        "[upstreams.tracker]\nurl = \"{counter}\"\nauth = {{ bearer = \"ours\" }}\n\
         [endpoints.ops]\nurl = \"{receiver}/ops\"\nsecrets = [\"{SECRET}\"]\n\
         allow_private = true\n[sources.doc]\nupstream = \"tracker\"\npath = \"/doc\"\n{source}\n"
    );
    head + &proxied("")
}

async fn until_polled(doorbell: &Doorbell) {
    let polled = doorbell.poll("doc").await;
    assert_ne!(polled["outcome"], "error", "{polled}");
}

/// Sends these lines and hears the whole answer.
async fn say(doorbell: &Doorbell, lines: &str) -> String {
    let address = doorbell
        .proxy_url()
        .trim_start_matches("http://")
        .to_owned();
    let mut stream = TcpStream::connect(&address)
        .await
        .expect("the proxy listens");
    let text = lines.replace('\n', "\r\n").replace("HOST", &address);
    stream.write_all(text.as_bytes()).await.expect("it listens");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn n_of(ring: &Ring) -> u64 {
    ring.event["data"]["current"]["n"]
        .as_u64()
        .expect("a number")
}

#[tokio::test]
async fn a_callers_write_rings_soon_and_names_its_request() {
    let (counter, receiver) = (Counter::counting().await, Receiver::accepting().await);
    let source = "every = \"10m\"\non_write = { paths = [\"/doc\", \"/doc/*\"] }";
    let doorbell = Doorbell::start(&config(&counter.server.url, &receiver, source)).await;
    until_polled(&doorbell).await;
    let (client, url) = (client(), format!("{}/tracker/doc", doorbell.proxy_url()));
    let rounds = if is_proving() { 100 } else { 8 };
    let mut lags = Vec::new();
    for round in 1..=rounds {
        let id = format!("write-{round}");
        let answer = client.post(&url).header("x-request-id", &id).send().await;
        let answered = Instant::now();
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 201);
        assert_eq!(answer.headers()["doorbell-watch"], "doc");
        let rings = receiver.until_accepted(round).await;
        let ring = &rings[round - 1];
        assert_eq!(ring.event["data"]["cause"], "proxied_write");
        assert_eq!(ring.event["data"]["request_id"], Value::from(id));
        assert_eq!(n_of(ring), counter.shown());
        lags.push(ring.at.saturating_duration_since(answered));
    }
    lags.sort();
    let p99 = lags[(lags.len() - 1) * 99 / 100];
    assert!(
        lags[0] >= Duration::from_millis(100),
        "it settles first: {lags:?}"
    );
    assert!(
        lags[lags.len() / 2] <= SETTLE + Duration::from_millis(100),
        "{lags:?}"
    );
    if is_proving() {
        assert!(p99 <= SETTLE + Duration::from_millis(100), "{p99:?}");
    }

    // Neither a read nor a failed write, nor one elsewhere, is a reason.
    let known = counter.polls();
    let elsewhere = client.post(format!("{}/tracker/other", doorbell.proxy_url()));
    let elsewhere = elsewhere.send().await.expect("an answer");
    assert!(!elsewhere.headers().contains_key("doorbell-watch"));
    let read = client.get(&url).send().await.expect("an answer");
    assert!(!read.headers().contains_key("doorbell-watch"));
    // One more write, whose two looks are all there is to come: to a path as an upstream may read it.
    let below = client.post(format!("{url}%2F9")).send().await;
    let below = below.expect("an answer");
    assert_eq!(below.headers()["doorbell-watch"], "doc");
    receiver.until_accepted(rounds + 1).await;
    wait_until("the second look is over", async || {
        (counter.polls() >= known + 2).then_some(())
    })
    .await;
    assert!(
        counter.polls() <= known + 3,
        "{} of {known}",
        counter.polls()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_writes_costs_a_poll_a_window_and_its_end_rings() {
    let (counter, receiver) = (Counter::counting().await, Receiver::accepting().await);
    let source = "every = \"10m\"\non_write = { paths = [\"/doc\"], settle = \"200ms\" }";
    let doorbell = Doorbell::start(&config(&counter.server.url, &receiver, source)).await;
    until_polled(&doorbell).await;
    let (client, url) = (client(), format!("{}/tracker/doc", doorbell.proxy_url()));
    let (before, began) = (counter.polls(), Instant::now());
    let storm = Duration::from_secs(if is_proving() { 10 } else { 2 });
    let writers = (0..8).map(|_| {
        let (client, url) = (client.clone(), url.clone());
        tokio::spawn(async move {
            let mut beat = tokio::time::interval(Duration::from_millis(8));
            while began.elapsed() < storm {
                beat.tick().await;
                let answer = client.post(&url).send().await.expect("an answer");
                assert_eq!(answer.status(), 201);
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("no panic");
    }
    let (took, last) = (began.elapsed(), counter.shown());
    wait_until("the final state has rung", async || {
        receiver
            .rings()
            .iter()
            .any(|ring| n_of(ring) == last)
            .then_some(())
    })
    .await;
    let polls = counter.polls() - before;
    let most = took.as_secs_f64() / SETTLE.as_secs_f64() + 3.0;
    assert!(
        polls as f64 <= most,
        "{polls} polls in {took:?} for {last} writes"
    );
}

#[tokio::test]
async fn callers_are_served_the_last_answer_and_writers_read_their_writes() {
    let (counter, receiver) = (Counter::counting().await, Receiver::accepting().await);
    let source = "every = \"10m\"\non_write = { paths = [\"/doc\"], settle = \"50ms\" }\n\
                  serve = { max_age = \"10m\" }";
    let doorbell = Doorbell::start(&config(&counter.server.url, &receiver, source)).await;
    until_polled(&doorbell).await;
    let (client, url) = (client(), format!("{}/tracker/doc", doorbell.proxy_url()));
    let get = async || client.get(&url).send().await.expect("an answer");

    let reads = counter.reads();
    let first = get().await;
    assert_eq!(first.status(), 200);
    let status = first.headers()["cache-status"].to_str().expect("a text");
    assert!(status.starts_with("doorbell; hit; ttl="), "{status}");
    assert!(first.headers().contains_key("age"));
    let etag = first.headers()["etag"].clone();
    let body = first.bytes().await.expect("a body");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(
        (&body["n"], &body["identity"]),
        (&json!(0), &json!("Bearer ours|||||"))
    );
    let known = client.get(&url).header("if-none-match", etag).send().await;
    let known = known.expect("an answer");
    assert_eq!(known.status(), 304);
    assert!(known.bytes().await.expect("no body").is_empty());
    assert_eq!(counter.reads(), reads, "the upstream was not asked");

    for _ in 0..20 {
        client.post(&url).send().await.expect("an answer");
        let read = get().await;
        let body = read.bytes().await.expect("a body");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(
            body["n"].as_u64(),
            Some(counter.shown()),
            "a writer read its past"
        );
    }
    wait_until("the shelf is right again", async || {
        let read = get().await;
        let is_hit = read.headers().contains_key("cache-status");
        let body = read.bytes().await.expect("a body");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["n"].as_u64(), Some(counter.shown()));
        is_hit.then_some(())
    })
    .await;
    let metrics = doorbell.metrics().await;
    let answers = |result| {
        let labels = [("source", "doc"), ("result", result)];
        metrics.value("doorbell_snapshot_answers_total", &labels)
    };
    assert!(answers("hit") >= 3.0 && answers("miss") >= 1.0);
}

/// Always the same document, under an entity tag.
async fn steady(request: Request) -> Response {
    let response = Response::builder().header("etag", "\"only\"");
    let response = match request.method().as_str() {
        "PUT" => response.status(204).body(Body::empty()),
        _ if request.headers().contains_key("if-none-match") => {
            response.status(304).body(Body::empty())
        }
        _ => response
            .header("content-type", "application/json")
            .body(Body::from(r#"{"n": 0}"#)),
    };
    response.expect("a response")
}

#[tokio::test]
async fn an_answer_from_before_a_write_serves_again_once_a_304_says_that_it_holds() {
    let server = Server::serving(Router::new().fallback(steady)).await;
    let receiver = Receiver::accepting().await;
    let source = "every = \"10m\"\nserve = { max_age = \"10m\" }";
    let doorbell = Doorbell::start(&config(&server.url, &receiver, source)).await;
    until_polled(&doorbell).await;
    let (client, url) = (client(), format!("{}/tracker/doc", doorbell.proxy_url()));
    let is_served = async || {
        let answer = client.get(&url).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let status = answer.headers().get("cache-status");
        status.is_some_and(|status| status.as_bytes().starts_with(b"doorbell; hit"))
    };
    assert!(is_served().await);
    let written = client.put(&url).send().await.expect("an answer");
    assert_eq!(written.status(), 204);
    assert!(!is_served().await, "it may be older than the write");
    assert_eq!(doorbell.poll("doc").await["outcome"], "not_modified");
    assert!(is_served().await);
}

#[tokio::test]
async fn an_answer_is_better_than_an_error_for_a_while() {
    let (counter, receiver) = (Counter::counting().await, Receiver::accepting().await);
    let source = "every = \"10m\"\nserve = { max_age = \"100ms\", stale_if_error = \"1h\" }";
    let doorbell = Doorbell::start(&config(&counter.server.url, &receiver, source)).await;
    until_polled(&doorbell).await;
    let (client, url) = (client(), format!("{}/tracker/doc", doorbell.proxy_url()));
    drop(counter);
    let mut stale = 0;
    wait_until("it is stale and served nevertheless", async || {
        let answer = client.get(&url).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "no caller sees the error");
        let status = answer.headers()["cache-status"].to_str().expect("a text");
        let ttl = status.rsplit_once("ttl=").expect("a ttl").1;
        stale += u32::from(ttl.starts_with('-'));
        (stale >= 20).then_some(())
    })
    .await;
    // Another request has no such answer.
    let other = client
        .get(format!("{url}?other"))
        .send()
        .await
        .expect("an answer");
    assert!(other.status().is_server_error(), "{}", other.status());
    let metrics = doorbell.metrics().await;
    let labels = [("source", "doc"), ("result", "stale")];
    assert!(metrics.value("doorbell_snapshot_answers_total", &labels) >= 20.0);
}

#[tokio::test]
async fn callers_reads_are_polls() {
    let (counter, receiver) = (Counter::counting().await, Receiver::accepting().await);
    let source = "every = \"2s\"\nobserve = true";
    let doorbell = Doorbell::start(&config(&counter.server.url, &receiver, source)).await;
    let (client, url) = (client(), format!("{}/tracker/doc", doorbell.proxy_url()));
    wait_until("the first poll is done", async || {
        (counter.polls() > 0).then_some(())
    })
    .await;
    // The first read that counts begins the period anew.
    counter.raise();
    client.get(&url).send().await.expect("an answer");
    receiver.until_accepted(1).await;
    let polls = counter.polls();
    let rounds = if is_proving() { 60 } else { 8 };
    // Twice as often as the source.
    let mut beat = tokio::time::interval(Duration::from_secs(1));
    for _ in 1..rounds {
        beat.tick().await;
        counter.raise();
        client.get(&url).send().await.expect("an answer");
    }
    // Whatever a caller says of itself stands in no snapshot.
    counter.raise();
    let named = "GET /tracker/doc HTTP/1.1\nHost: evil.example\nConnection: close\n\n";
    assert!(!say(&doorbell, named).await.contains("evil"));
    let rings = receiver.until_accepted(rounds).await;
    for ring in &rings {
        assert!(!ring.event.to_string().contains("evil"), "{}", ring.event);
    }
    assert_eq!(counter.polls(), polls, "it polled by itself");
    let shown: Vec<u64> = rings.iter().map(n_of).collect();
    assert!(
        shown.is_sorted_by(|a, b| a < b),
        "in order, once: {shown:?}"
    );
    assert!(
        rings
            .iter()
            .skip(1)
            .all(|ring| ring.event["data"]["cause"] == "proxied_read")
    );
}

/// A request that is not the source's own. `\n` ends a line, `HOST` is where it goes.
const OTHERS: &[&str] = &[
    "GET /tracker/doc HTTP/1.1\nAuthorization: Bearer other",
    "GET /tracker/doc HTTP/1.1\nAuthorization: Bearer ours",
    "GET /tracker/doc HTTP/1.1\nAuthorization: Basic b3RoZXI6",
    "GET /tracker/doc HTTP/1.1\nauthorization:",
    "GET /tracker/doc HTTP/1.1\nAuthorization: Bearer a\nAuthorization: Bearer b",
    "GET /tracker/doc HTTP/1.1\nCookie: session=other",
    "GET /tracker/doc HTTP/1.1\nCookie: a=1\nCookie: b=2",
    "GET /tracker/doc HTTP/1.1\nX-Api-Key: other",
    "GET /tracker/doc?api_key=other HTTP/1.1",
    "GET /tracker/doc?access_token=other HTTP/1.1",
    "GET /tracker/doc HTTP/1.1\nX-Tenant: other",
    "GET /tracker/doc HTTP/1.1\nX-Tenant-Id: other",
    "GET /tracker/doc HTTP/1.1\nX-Org: other",
    "GET /tracker/doc HTTP/1.1\nX-Forwarded-User: other",
    "GET /tracker/doc HTTP/1.1\nX-Forwarded-Access-Token: other",
    "GET /tracker/doc HTTP/1.1\nX-Auth-Request-User: other",
    "GET /tracker/doc HTTP/1.1\nFrom: other@example.org",
    "GET /tracker/doc HTTP/1.1\nOrigin: https://other.example",
    "GET /tracker/doc HTTP/1.1\nReferer: https://other.example",
    "GET /tracker/doc HTTP/1.1\nAccept-Language: de",
    "GET /tracker/doc HTTP/1.1\nAccept: application/xml",
    "GET /tracker/doc HTTP/1.1\nAccept: text/html, */*",
    "GET /tracker/doc HTTP/1.1\nAccept: */*\nAccept: text/html",
    "GET /tracker/doc HTTP/1.1\nRange: bytes=0-3",
    "GET /tracker/doc HTTP/1.1\nRange: bytes=-1",
    "GET /tracker/doc HTTP/1.1\nIf-Range: \"a\"\nRange: bytes=0-",
    "HEAD /tracker/doc HTTP/1.1",
    "OPTIONS /tracker/doc HTTP/1.1",
    "GET /tracker/doc HTTP/1.1\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
    "GET /tracker/doc HTTP/1.1\nIf-Match: \"a\"",
    "GET /tracker/doc HTTP/1.1\nIf-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
    "GET /tracker/doc HTTP/1.1\nCache-Control: no-cache",
    "GET /tracker/doc HTTP/1.1\nCache-Control: max-age=0",
    "GET /tracker/doc HTTP/1.1\nPragma: no-cache",
    "GET /tracker/doc HTTP/1.1\nX-HTTP-Method-Override: DELETE",
    "GET /tracker/doc HTTP/1.1\nX-HTTP-Method: PUT",
    "GET /tracker/doc HTTP/1.1\nPrefer: return=minimal",
    "GET /tracker/doc HTTP/1.1\nExpect: 100-continue",
    "GET /tracker/doc HTTP/1.1\nContent-Length: 1\n\nx",
    "GET /tracker/doc HTTP/1.1\nTransfer-Encoding: chunked\n\n1\nx\n0\n\n",
    "GET /tracker/doc HTTP/1.1\nUpgrade: websocket\nConnection: upgrade",
    "GET /tracker/doc HTTP/1.1\nProxy-Authorization: Basic b3RoZXI6",
    "GET /tracker/doc? HTTP/1.1",
    "GET /tracker/doc?a=1&b=2 HTTP/1.1",
    "GET /tracker/doc?b=2&a=1 HTTP/1.1",
    "GET /tracker/doc?%61=1 HTTP/1.1",
    "GET /tracker/%64oc HTTP/1.1",
    "GET /tracker//doc HTTP/1.1",
    "GET /tracker/doc/ HTTP/1.1",
    "GET /tracker/DOC HTTP/1.1",
    "GET /tracker/doc;x=1 HTTP/1.1",
    "GET /tracker/doc#x HTTP/1.1",
    "GET /tracker/x/../doc HTTP/1.1",
    "GET /tracker/doc%00 HTTP/1.1",
];

#[tokio::test]
async fn nobody_gets_or_plants_another_ones_answer() {
    let (counter, receiver) = (Counter::counting().await, Receiver::accepting().await);
    let source = "every = \"10m\"\nobserve = true\nserve = { max_age = \"10m\" }";
    let doorbell = Doorbell::start(&config(&counter.server.url, &receiver, source)).await;
    until_polled(&doorbell).await;
    let plain = async || {
        say(
            &doorbell,
            "GET /tracker/doc HTTP/1.1\nHost: HOST\nConnection: close\n\n",
        )
        .await
    };
    let served = plain().await;
    assert!(served.contains("cache-status: doorbell; hit"), "{served}");
    assert!(OTHERS.len() >= 40);
    for other in OTHERS {
        let (head, body) = other.split_once("\n\n").unwrap_or((other, ""));
        let close = if head.contains("Connection:") {
            ""
        } else {
            "\nConnection: close"
        };
        let lines = format!("{head}\nHost: HOST{close}\n\n{body}");
        let upgrades = head.contains("Upgrade:");
        if upgrades {
            // An upgrade that is not answered by one holds the connection.
            continue;
        }
        let answer = say(&doorbell, &lines).await.to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 "), "{other}: {answer}");
        assert!(!answer.contains("doorbell; hit"), "{other}: {answer}");
    }
    let served = plain().await;
    assert!(served.contains("cache-status: doorbell; hit"), "{served}");
    assert!(
        served.contains(r#""identity":"Bearer ours|||||","n":0,"query":null"#),
        "{served}"
    );
    let polled = doorbell.poll("doc").await;
    assert_eq!(polled["events"], 0, "{polled}");
    assert_eq!(receiver.rings().len(), 0, "nothing was planted");
}
