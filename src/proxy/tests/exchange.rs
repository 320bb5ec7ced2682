//! Exchanges with an upstream: bodies, upgrades, and all that can go wrong.

use super::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn bodies_pass_whole_in_both_framings() {
    let fake = Fake::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    )
    .await;
    let house = House::before(&fake).await;
    let mut caller = house.caller().await;
    caller
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
        .await;
    assert_eq!(caller.answer().await.body, "abcde");
    assert_eq!(fake.last().body, "hello");
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    caller.send(chunked).await;
    for piece in ["3\r\nhel\r\n", "2\r\nlo\r\n", "0\r\n\r\n"] {
        caller.send(piece).await;
    }
    assert_eq!(caller.answer().await.body, "abcde");
    assert_eq!(fake.last().body, "hello");
    assert_eq!(fake.last().header("transfer-encoding"), Some("chunked"));
}

/// Trailers themselves are not passed on: pingora has none in HTTP/1.
#[tokio::test]
async fn trailers_do_not_disturb_what_follows() {
    let fake = Fake::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
    )
    .await;
    let house = House::before(&fake).await;
    let mut caller = house.caller().await;
    for _ in 0..2 {
        caller
            .send(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2\r\nhi\r\n0\r\n\r\n",
            )
            .await;
        assert_eq!(caller.answer().await.body, "abc");
        assert_eq!(fake.last().body, "hi");
    }
}

/// Method: the upstream sends its second piece only when the caller has the first.
#[tokio::test]
async fn an_answer_streams_piece_by_piece() {
    let (got_first, mut go_on) = tokio::sync::mpsc::channel::<()>(1);
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let gate = Arc::new(Mutex::new(Some(receiver)));
    tokio::spawn(async move {
        go_on.recv().await;
        let _ = sender.send(());
    });
    let fake = Fake::talking(move |mut caller| {
        let gate = gate.lock().take();
        async move {
            read_request(&mut caller).await.expect("a request");
            caller
                .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nfirst")
                .await;
            gate.expect("one connection").await.expect("the caller");
            caller.send("second").await;
        }
    })
    .await;
    let house = House::before(&fake).await;
    let mut caller = house.caller().await;
    caller.send(GET).await;
    let head = caller.head().await.to_ascii_lowercase();
    assert_eq!(field(&head, "transfer-encoding"), Some("chunked"));
    assert_eq!(caller.exactly(10).await, "5\r\nfirst\r\n");
    got_first.send(()).await.expect("a gate");
    assert_eq!(caller.chunks().await, "second");
}

#[tokio::test]
async fn continue_is_asked_of_the_upstream_and_passed_back() {
    let fake = Fake::talking(|mut caller| async move {
        let head = caller.head().await;
        assert_eq!(field(&head, "expect"), Some("100-continue"));
        caller.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        let body = caller.exactly(2).await;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}");
        caller.send(&answer).await;
    })
    .await;
    let house = House::before(&fake).await;
    let mut caller = house.caller().await;
    caller
        .send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        .await;
    assert!(caller.head().await.starts_with("HTTP/1.1 100"));
    caller.send("hi").await;
    assert_eq!(caller.answer().await.body, "hi");
}

#[tokio::test]
async fn a_websocket_passes_both_ways() {
    let fake = Fake::talking(|mut caller| async move {
        let head = caller.head().await;
        assert_eq!(field(&head, "upgrade"), Some("websocket"));
        caller
            .send(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
            )
            .await;
        let ping = caller.exactly(4).await;
        caller.send(&ping.to_ascii_uppercase()).await;
        let again = caller.exactly(4).await;
        caller.send(&again).await;
    })
    .await;
    let mut all = route("all", "/");
    // What passes here is no body, however much it is.
    all.body_bytes_max = 6;
    let house = House::with(upstream(&fake.url()), vec![all]).await;
    let mut caller = house.caller().await;
    caller
        .send(
            "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )
        .await;
    let head = caller.head().await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert_eq!(field(&head, "sec-websocket-accept"), Some("x"));
    caller.send("ping").await;
    assert_eq!(caller.exactly(4).await, "PING");
    caller.send("more").await;
    assert_eq!(caller.exactly(4).await, "more");
    assert!(caller.is_closed().await);
    house
        .counted(r#"doorbell_proxy_requests_total{code="101",method="GET",route="all"} 1"#)
        .await;
}

#[tokio::test]
async fn pipelined_requests_are_each_inspected_and_answered_in_order() {
    let fake = Fake::ok().await;
    let house = House::before(&fake).await;
    let mut caller = house.caller().await;
    let pipelined = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\
         POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\r\n\
         POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nho\r\n0\r\nX-Sum: 1\r\n\r\n\
         GET /4 HTTP/1.1\r\nHost: a\r\n\r\n\
         GET /../5 HTTP/1.1\r\nHost: a\r\n\r\n";
    caller.send(pipelined).await;
    for want in [200, 200, 200, 200, 400] {
        assert_eq!(caller.answer().await.status, want);
    }
    let lines: Vec<_> = fake
        .seen()
        .iter()
        .map(|seen| seen.line().to_owned())
        .collect();
    assert_eq!(lines, ["GET /1", "POST /2", "POST /3", "GET /4"]);
    assert_eq!(fake.seen()[1].body, "hi");
}

#[tokio::test]
async fn an_upstream_that_refuses_or_does_not_resolve_is_502() {
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = gone.local_addr().expect("an address");
    drop(gone);
    let house = House::with(
        upstream(&format!("http://{address}")),
        vec![route("all", "/")],
    )
    .await;
    let refused = house.call(GET).await;
    assert_eq!(refused.status, 502);
    assert_eq!(refused.header("connection"), Some("close"));
    let unknown = upstream("http://nowhere.invalid");
    let house = House::with(unknown, vec![route("all", "/")]).await;
    let unresolved = house.call(GET).await;
    assert_eq!(unresolved.status, 502);
    let unresolvable = "upstream name does not resolve";
    assert!(
        unresolved.body.contains(unresolvable),
        "{}",
        unresolved.body
    );
    house
        .counted(r#"doorbell_proxy_requests_total{code="502",method="GET",route="all"} 1"#)
        .await;
}

#[tokio::test]
async fn a_silent_upstream_is_504() {
    let fake = Fake::talking(|mut caller| async move {
        read_request(&mut caller).await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut up = upstream(&fake.url());
    up.timeout = Duration::from_millis(50);
    let house = House::with(up, vec![route("all", "/")]).await;
    let answer = house.call(GET).await;
    assert_eq!(answer.status, 504);
    let kind = answer.header("content-type");
    assert_eq!(kind, Some("application/problem+json"));
}

#[tokio::test]
async fn an_answer_cut_short_is_cut_for_the_caller_too() {
    let fake = Fake::talking(|mut caller| async move {
        read_request(&mut caller).await;
        caller
            .send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
            .await;
    })
    .await;
    let house = House::before(&fake).await;
    let mut caller = house.caller().await;
    caller.send(GET).await;
    caller.head().await;
    let mut rest = Vec::new();
    let _ = patient(caller.0.read_to_end(&mut rest)).await;
    assert!(rest.len() < 9, "{rest:?}");
}

/// Serves one request on each connection, then closes it when the next one has arrived whole.
async fn closing_on_reuse(seen: Arc<Mutex<Vec<Seen>>>) -> Fake {
    Fake::talking(move |mut caller| {
        let seen = seen.clone();
        async move {
            for served in 0..2 {
                let Some(request) = read_request(&mut caller).await else {
                    return;
                };
                seen.lock().push(request);
                if served == 0 {
                    caller
                        .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        .await;
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn only_safe_methods_are_sent_again_when_a_kept_connection_dies() {
    for (method, status, requests) in [("GET", 200, 3), ("POST", 502, 2), ("DELETE", 502, 2)] {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let fake = closing_on_reuse(seen.clone()).await;
        let house = House::before(&fake).await;
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(house.call(&request).await.status, 200, "{method}");
        assert_eq!(house.call(&request).await.status, status, "{method}");
        assert_eq!(seen.lock().len(), requests, "{method}");
    }
}

#[tokio::test]
async fn a_fresh_connection_that_dies_is_not_tried_again() {
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let kept = seen.clone();
    let fake = Fake::talking(move |mut caller| {
        let kept = kept.clone();
        async move {
            let request = read_request(&mut caller).await;
            kept.lock().extend(request);
        }
    })
    .await;
    let house = House::before(&fake).await;
    assert_eq!(house.call(GET).await.status, 502);
    assert_eq!(seen.lock().len(), 1);
}

#[tokio::test]
async fn a_caller_who_leaves_ends_its_call_and_is_counted() {
    let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    let fake = Fake::talking(move |mut caller| {
        let arrived = arrived.clone();
        async move {
            read_request(&mut caller).await;
            arrived.send(()).expect("a test that listens");
            assert!(caller.is_closed().await);
            arrived.send(()).expect("a test that listens");
        }
    })
    .await;
    let house = House::before(&fake).await;
    let mut caller = house.caller().await;
    caller.send(GET).await;
    patient(arrivals.recv()).await.expect("the request");
    drop(caller);
    patient(arrivals.recv()).await.expect("the end of it");
    house
        .counted(r#"doorbell_proxy_requests_total{code="499",method="GET",route="all"} 1"#)
        .await;
}

#[tokio::test]
async fn http_1_0_is_served_and_closed() {
    let fake = Fake::ok().await;
    let house = House::before(&fake).await;
    let mut caller = house.caller().await;
    caller.send("GET / HTTP/1.0\r\n\r\n").await;
    let answer = caller.answer().await;
    assert_eq!((answer.status, &*answer.body), (200, "ok"));
    assert!(caller.is_closed().await);
}

/// A caller of HTTP/1.0 knows neither chunks nor a connection that stays.
#[tokio::test]
async fn an_answer_without_length_reaches_http_1_0_plain_and_ends_with_the_connection() {
    for answer in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nplain\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nplain",
    ] {
        let fake = Fake::talking(move |mut caller| async move {
            read_request(&mut caller).await;
            caller.send(answer).await;
        })
        .await;
        let house = House::before(&fake).await;
        let mut caller = house.caller().await;
        caller
            .send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .await;
        let head = caller.head().await.to_ascii_lowercase();
        assert_eq!(field(&head, "transfer-encoding"), None, "{head}");
        assert_eq!(field(&head, "connection"), Some("close"), "{head}");
        let mut body = String::new();
        let read = patient(caller.0.read_to_string(&mut body)).await;
        read.expect("a clean end");
        assert_eq!(body, "plain");
    }
}

/// Method: the upstream sends the rest, or breaks, only when the caller has the beginning.
#[tokio::test]
async fn an_answer_with_a_length_is_not_held_back() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let held = gate.clone();
    let fake = Fake::talking(move |mut caller| {
        let held = held.clone();
        async move {
            read_request(&mut caller).await;
            caller
                .send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
                .await;
            held.acquire().await.expect("open").forget();
            caller.0.set_zero_linger().expect("an option");
        }
    })
    .await;
    let house = House::before(&fake).await;
    let mut caller = house.caller().await;
    caller.send(GET).await;
    caller.head().await;
    assert_eq!(caller.exactly(3).await, "abc");
    gate.add_permits(1);
    assert!(caller.is_closed().await);
}

#[tokio::test]
async fn what_came_of_an_answer_that_breaks_at_once_still_arrives() {
    let fake = Fake::talking(|mut caller| async move {
        read_request(&mut caller).await;
        caller
            .send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
            .await;
        caller.0.set_zero_linger().expect("an option");
    })
    .await;
    let house = House::before(&fake).await;
    let mut caller = house.caller().await;
    caller.send(GET).await;
    caller.head().await;
    assert_eq!(caller.exactly(3).await, "abc");
    assert!(caller.is_closed().await);
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_is_502() {
    for fields in [
        "",
        "Upgrade: websocket\r\n",
        "Upgrade: websocket\r\nContent-Length: 0\r\n",
    ] {
        let fake = Fake::answering(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\n\r\n",
        )
        .await;
        let house = House::before(&fake).await;
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(house.call(&request).await.status, 502, "{fields:?}");
        assert_eq!(fake.last().header("upgrade"), None, "{fields:?}");
    }
}

/// Method: an upstream with one connection is asked twice at once; time is short, not waited for.
#[tokio::test]
async fn an_upstream_has_no_more_calls_at_once_than_connections() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let held = gate.clone();
    let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    let fake = Fake::talking(move |mut caller| {
        let (held, arrived) = (held.clone(), arrived.clone());
        async move {
            while read_request(&mut caller).await.is_some() {
                arrived.send(()).expect("a test that listens");
                held.acquire().await.expect("open").forget();
                caller
                    .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await;
            }
        }
    })
    .await;
    let mut up = upstream(&fake.url());
    up.connections_max = 1;
    up.connect_timeout = Duration::from_millis(50);
    let house = House::with(up, vec![route("all", "/")]).await;
    let mut first = house.caller().await;
    first.send(GET).await;
    patient(arrivals.recv()).await.expect("the first call");
    let second = house.call(GET).await;
    assert_eq!(second.status, 503);
    assert_eq!(second.header("retry-after"), Some("1"));
    gate.add_permits(2);
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(house.call(GET).await.status, 200);
}
