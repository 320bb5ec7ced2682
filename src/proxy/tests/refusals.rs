//! What is refused, and never forwarded.

use std::fmt::Write as _;

use super::*;

const HOST: &str = "Host: doorbell\r\n";

async fn is_refused(house: &House, request: &str, status: u16) {
    let mut caller = house.caller().await;
    caller.send(request).await;
    let answer = caller.answer().await;
    let shown = request.get(..100).unwrap_or(request);
    assert_eq!(answer.status, status, "{shown:?}");
    let kind = answer.header("content-type");
    assert_eq!(kind, Some("application/problem+json"), "{shown:?}");
    let body: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(body["status"], status, "{shown:?}");
    for member in ["type", "title", "detail"] {
        assert!(body[member].is_string(), "{member} {shown:?}");
    }
    assert_eq!(answer.header("connection"), Some("close"), "{shown:?}");
    assert!(caller.is_closed().await, "{shown:?}");
}

/// Method: raw bytes go in, and the upstream must have seen none of the requests. A second request
/// behind each that is refused for its framing would be seen if it were smuggled.
#[tokio::test]
async fn what_is_ambiguous_or_hostile_never_reaches_the_upstream() {
    let fake = Fake::ok().await;
    let house = House::before(&fake).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: doorbell\r\n\r\n";
    let with = |fields: &str| format!("POST / HTTP/1.1\r\n{HOST}{fields}\r\n{smuggled}");
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\n{HOST}\r\n");
    for (request, status) in [
        (format!("CONNECT doorbell:80 HTTP/1.1\r\n{HOST}\r\n"), 405),
        (format!("TRACE / HTTP/1.1\r\n{HOST}\r\n"), 405),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (with("Host: other\r\n"), 400),
        (with("Host: doorbell\r\n"), 400),
        (get("http://other/"), 400),
        (get("http://doorbell@other/"), 400),
        (
            with("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
            400,
        ),
        (with("Transfer-Encoding: gzip, chunked\r\n"), 400),
        (with("Transfer-Encoding: xchunked\r\n"), 400),
        (with("Transfer-Encoding: chunked, identity\r\n"), 400),
        (
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            400,
        ),
        (with("Transfer-Encoding : chunked\r\n"), 400),
        (with("Transfer-Encoding:\x0bchunked\r\n"), 400),
        (
            format!("POST / HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n{smuggled}"),
            400,
        ),
        (with("Content-Length: 0\r\nContent-Length: 0\r\n"), 400),
        (with("Content-Length: 0\r\nContent-Length: 5\r\n"), 400),
        (with("Content-Length: 0, 0\r\n"), 400),
        (with("Content-Length: +4\r\n"), 400),
        (with("Content-Length: 0x4\r\n"), 400),
        (with("Content-Length: -1\r\n"), 400),
        (with("A: 1\r\n Content-Length: 4\r\n"), 400),
        (with("A: 1\nContent-Length: 4\r\n"), 400),
        (with("A: 1\rContent-Length: 4\r\n"), 400),
        (with("A: \0\r\n"), 400),
        (with("Connection: X-Forwarded-For\r\n"), 400),
        (get("/\x01"), 400),
        (get("/\x7f"), 400),
        (get("/a\tb"), 400),
        (get("/a b"), 400),
        (get("/a#b"), 400),
        (get("a"), 400),
        (get("/a/../b"), 400),
        (get("/a/./b"), 400),
        (get("/a/%2e%2e/b"), 400),
        (get("/a/%2E%2E/b"), 400),
        (get("/a/.%2e/b"), 400),
        (get("/a/%252e%252e/b"), 400),
        (get("/a%2f..%2fb"), 400),
        (get("/a%5c..%5cb"), 400),
        (get("/a\\..\\b"), 400),
        (get("/a/..;/b"), 400),
        (get("/a/%c0%ae%c0%ae/b"), 400),
        (get("http://doorbell/a/../b"), 400),
        (format!("GET / HTTP/2.0\r\n{HOST}\r\n"), 505),
        (get(&format!("/{}", "a".repeat(20_000))), 414),
        (with(&format!("A: {}\r\n", "a".repeat(65 * 1024))), 431),
        (with(&"A: 1\r\n".repeat(300)), 431),
    ] {
        is_refused(&house, &request, status).await;
    }
    assert!(fake.seen().is_empty(), "{:?}", fake.seen());
    house
        .counted(r#"doorbell_proxy_requests_total{code="405",method="TRACE",route="none"} 1"#)
        .await;
}

#[tokio::test]
async fn an_endless_head_is_cut_at_its_limit() {
    let fake = Fake::ok().await;
    let house = House::before(&fake).await;
    let mut caller = house.caller().await;
    let mut head = "GET / HTTP/1.1\r\n".to_owned();
    for n in 0..10_000 {
        let _ = write!(head, "A{n}: 1\r\n");
    }
    // Not ended: the cut comes from its size. What is sent after it may not arrive any more.
    let _ = caller.0.write_all(head.as_bytes()).await;
    let answer = caller.answer().await;
    assert_eq!(answer.status, 431);
    assert!(fake.seen().is_empty());
}

/// Method: time is paused, so the 10 s pass at once, and the bytes trickle in meanwhile.
#[tokio::test(start_paused = true)]
async fn a_slow_head_is_cut_however_it_trickles() {
    let fake = Fake::ok().await;
    let house = House::before(&fake).await;
    let (mut reading, mut writing) = house.caller().await.0.into_split();
    let began = tokio::time::Instant::now();
    let trickle = tokio::spawn(async move {
        let head = format!("GET / HTTP/1.1\r\n{HOST}A: {}", "a".repeat(1000));
        for byte in head.bytes() {
            if writing.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    let mut answer = String::new();
    let _ = reading.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let took = began.elapsed();
    let late = Duration::from_secs(14);
    assert!(took >= Duration::from_secs(10) && took < late, "{took:?}");
    trickle.abort();
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_by_its_length_and_by_its_count() {
    let fake = Fake::ok().await;
    let house = House::before(&fake).await;
    let long = format!("POST / HTTP/1.1\r\n{HOST}Content-Length: 1001\r\n\r\n");
    is_refused(&house, &long, 413).await;
    let chunk = "a".repeat(501);
    let chunked = format!(
        "POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n\
         1f5\r\n{chunk}\r\n1f5\r\n{chunk}\r\n"
    );
    is_refused(&house, &chunked, 413).await;
    assert!(fake.seen().is_empty(), "no whole request may arrive");
    let fits = format!(
        "POST / HTTP/1.1\r\n{HOST}Content-Length: 1000\r\n\r\n{}",
        "a".repeat(1000)
    );
    assert_eq!(house.call(&fits).await.status, 200);
}

#[tokio::test]
async fn a_malformed_chunk_ends_the_call() {
    let fake = Fake::ok().await;
    let house = House::before(&fake).await;
    let bad =
        format!("POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n");
    is_refused(&house, &bad, 400).await;
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn without_a_route_there_is_404_and_a_wrong_method_is_told_the_right_ones() {
    let fake = Fake::ok().await;
    let mut reads = route("reads", "/items");
    reads.methods = Some(vec![http::Method::GET, http::Method::HEAD]);
    let house = House::with(upstream(&fake.url()), vec![reads]).await;
    let nowhere = house
        .call(&format!("GET /other HTTP/1.1\r\n{HOST}\r\n"))
        .await;
    assert_eq!(nowhere.status, 404);
    let wrong = house
        .call(&format!("PUT /items HTTP/1.1\r\n{HOST}\r\n"))
        .await;
    assert_eq!(wrong.status, 405);
    assert_eq!(wrong.header("allow"), Some("get, head"));
    assert!(fake.seen().is_empty());
    house
        .counted(r#"doorbell_proxy_requests_total{code="404",method="GET",route="none"} 1"#)
        .await;
    house
        .counted(r#"doorbell_proxy_requests_total{code="405",method="PUT",route="reads"} 1"#)
        .await;
}

#[tokio::test]
async fn a_guarded_route_wants_its_key_and_keeps_it() {
    let fake = Fake::ok().await;
    let mut guarded = route("guarded", "/");
    let key = crate::secret::Secret::new("caller".to_owned());
    guarded.auth = config::RouteAuth::Keys(vec![key]);
    let house = House::with(upstream(&fake.url()), vec![guarded]).await;
    let stranger = house
        .call(&format!(
            "GET / HTTP/1.1\r\n{HOST}Authorization: Bearer guess\r\n\r\n"
        ))
        .await;
    assert_eq!(stranger.status, 401);
    assert_eq!(stranger.header("www-authenticate"), Some("bearer"));
    assert!(fake.seen().is_empty());
    let known = house
        .call(&format!(
            "GET / HTTP/1.1\r\n{HOST}Authorization: Bearer caller\r\n\r\n"
        ))
        .await;
    assert_eq!(known.status, 200);
    assert_eq!(fake.last().header("authorization"), None);
}

#[tokio::test]
async fn a_guarded_route_is_not_had_through_an_open_one() {
    let fake = Fake::ok().await;
    let mut keyed = route("keyed", "/keyed/");
    let key = crate::secret::Secret::new("caller".to_owned());
    keyed.auth = config::RouteAuth::Keys(vec![key]);
    let house = House::with(upstream(&fake.url()), vec![route("open", "/"), keyed]).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\n{HOST}\r\n");
    for path in [
        "/%6beyed/x",
        "//keyed/x",
        "/%6Beyed//x",
        "///%6beyed/",
        "/keyed%2Fx",
        "/keyed%2fx",
        "/keyed%5Cx",
        "/keyed\\x",
        "/%2f%6beyed%5cx",
    ] {
        let answer = house.call(&get(path)).await;
        assert_eq!(answer.status, 400, "{path}");
        let kind = answer.header("content-type");
        assert_eq!(kind, Some("application/problem+json"), "{path}");
    }
    assert!(fake.seen().is_empty(), "{:?}", fake.seen());
    for path in ["/%6fther//x", "/a%2fb", "/100%", "/%zz"] {
        assert_eq!(house.call(&get(path)).await.status, 200, "{path}");
        assert_eq!(fake.last().line(), format!("GET {path}"));
    }
}
