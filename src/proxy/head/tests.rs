//! Heads as raw bytes: what passes the inspection and what is refused, and with which status.

use super::*;

fn verdict(head: &str) -> Result<Body, Refusal> {
    inspect(head.replace('\n', "\r\n").as_bytes())
}

#[test]
fn ordinary_heads_pass_with_their_framing() {
    let none = Ok(Body::Length(0));
    assert_eq!(verdict("GET / HTTP/1.1\nHost: a\n\n"), none);
    assert_eq!(verdict("GET / HTTP/1.0\n\n"), none);
    assert_eq!(verdict("OPTIONS * HTTP/1.1\nHost: a\n\n"), none);
    assert_eq!(verdict("GET http://a/x HTTP/1.1\nHost: a\n\n"), none);
    assert_eq!(
        verdict("POST /a?b=%zz HTTP/1.1\nHost: a:80\nContent-Length: 12\n\n"),
        Ok(Body::Length(12))
    );
    assert_eq!(
        verdict("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: Chunked\n\n"),
        Ok(Body::Chunked(Chunks::START))
    );
    assert_eq!(
        verdict("GET / HTTP/1.1\nHost: a\nConnection: keep-alive, Upgrade\nUpgrade: websocket\n\n"),
        Ok(Body::Open)
    );
}

fn are_refused(heads: impl IntoIterator<Item = (String, Refusal)>) {
    for (head, refusal) in heads {
        assert_eq!(verdict(&head), Err(refusal), "{head:?}");
    }
}

#[test]
fn request_lines_that_confuse_are_refused() {
    let get = |line: &str| format!("{line}\nHost: a\n\n");
    are_refused([
        (get("CONNECT a:1 HTTP/1.1"), Refusal::Method),
        (get("TRACE / HTTP/1.1"), Refusal::Method),
        (get("GET http://b/ HTTP/1.1"), Refusal::Authority),
        (get("GET a HTTP/1.1"), Refusal::Target),
        (get("GET ftp://a/ HTTP/1.1"), Refusal::Target),
        (get("GET * HTTP/1.1"), Refusal::Target),
        (get("GET /\x01 HTTP/1.1"), Refusal::Target),
        (get("GET /#a HTTP/1.1"), Refusal::Target),
        (get("GET /a b HTTP/1.1"), Refusal::RequestLine),
        (get("GET  / HTTP/1.1"), Refusal::RequestLine),
        (get("GET /"), Refusal::RequestLine),
        (get("PRI / HTTP/2.0"), Refusal::Version),
        (get("GET /a/../b HTTP/1.1"), Refusal::DotSegment),
        (
            get(&format!("GET /{} HTTP/1.1", "a".repeat(TARGET_BYTES_MAX))),
            Refusal::TargetTooLong,
        ),
    ]);
}

#[test]
fn fields_that_smuggle_are_refused() {
    let with = |fields: &str| format!("GET / HTTP/1.1\nHost: a\n{fields}\n\n");
    are_refused([
        ("GET / HTTP/1.1\n\n".to_owned(), Refusal::Host),
        ("GET / HTTP/1.1\nHost: u@a\n\n".to_owned(), Refusal::Host),
        (with("Host: a"), Refusal::Host),
        (
            with("Content-Length: 1\nContent-Length: 1"),
            Refusal::Length,
        ),
        (with("Content-Length: 1, 1"), Refusal::Length),
        (with("Content-Length: +1"), Refusal::Length),
        (with("Content-Length:"), Refusal::Length),
        (
            with("Content-Length: 99999999999999999999"),
            Refusal::Length,
        ),
        (
            with("Content-Length: 1\nTransfer-Encoding: chunked"),
            Refusal::TwoFramings,
        ),
        (
            with("Transfer-Encoding: gzip, chunked"),
            Refusal::TransferEncoding,
        ),
        (
            with("Transfer-Encoding: chunked\nTransfer-Encoding: chunked"),
            Refusal::TransferEncoding,
        ),
        (
            "GET / HTTP/1.0\nTransfer-Encoding: chunked\n\n".to_owned(),
            Refusal::TransferEncoding,
        ),
        (with("Bad : 1"), Refusal::Field),
        (with("A: 1\n folded"), Refusal::Field),
        (with("A"), Refusal::Field),
        (with("A: \x00"), Refusal::Field),
        (with("Connection: host"), Refusal::Connection),
        (with("Connection: X-Forwarded-For"), Refusal::Connection),
        (with("Connection: Content-Length"), Refusal::Connection),
        (
            with("Connection: close, transfer-encoding"),
            Refusal::Connection,
        ),
        (with("Connection: Authorization"), Refusal::Connection),
        (with("Connection: cookie"), Refusal::Connection),
        (
            with("Connection: a,b,c,d,e\nConnection: f,g,h,i,j"),
            Refusal::Connection,
        ),
        (
            with(&["A: 1"; FIELDS_MAX].join("\n")),
            Refusal::HeadTooLarge,
        ),
    ]);
}

#[test]
fn bare_line_ends_are_refused_but_found() {
    for head in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nA: 1\rB: 2\r\n\r\n",
    ] {
        assert_eq!(end(head.as_bytes(), 0), Some(head.len()), "{head:?}");
        assert_eq!(inspect(head.as_bytes()), Err(Refusal::Field), "{head:?}");
    }
}

#[test]
fn the_end_of_a_head_is_found_wherever_reading_was_cut() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody";
    for scanned in 0..head.len() - 5 {
        assert_eq!(end(head, scanned), Some(head.len() - 4), "{scanned}");
    }
    assert_eq!(end(&head[..head.len() - 5], 0), None);
}

#[test]
fn an_upgrade_asked_for_by_halves_opens_nothing() {
    for (version, fields, framing) in [
        ("1.1", "Upgrade: websocket", Body::Length(0)),
        (
            "1.0",
            "Upgrade: websocket\nConnection: upgrade",
            Body::Length(0),
        ),
        (
            "1.1",
            "Upgrade: websocket\nConnection: upgrade\nContent-Length: 3",
            Body::Length(3),
        ),
        ("1.1", "Connection: upgrade", Body::Length(0)),
        ("1.1", "Connection: UPGRADE\nUpgrade: websocket", Body::Open),
    ] {
        let head = format!("GET / HTTP/{version}\nHost: a\n{fields}\n\n");
        assert_eq!(verdict(&head), Ok(framing), "{head:?}");
    }
}
