//! What is wrong between the status and the body: the protocol, lengths, chunks, headers.

use std::time::Duration;

use super::Then::{Fails, Passes};
use super::written::Written;
use super::{JSON, Row, Then};
use crate::harness::{Asked, Piece, head, well};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = protocols();
    rows.extend(lengths());
    rows.extend(chunks());
    rows.extend(validators());
    rows.extend(retries());
    rows.extend(headers());
    rows
}

/// Sends what is made of the list, and nothing else.
fn sent(what: &str, then: Then, make: fn(&str) -> Vec<u8>) -> Row {
    Row::new(what, then, move |asked| {
        vec![Piece::Send(make(&asked.list).into())]
    })
}

fn protocols() -> Vec<Row> {
    let broken = |what: &str, bytes: &[u8]| Row::bytes(what, Fails("body"), bytes);
    vec![
        broken("nothing is said", b""),
        Row::new("a reset before the head", Fails("body"), |_| {
            vec![Piece::Reset]
        }),
        Row::new("silence", Fails("timeout"), |_| vec![Piece::Silence]).hasty(),
        broken("half a head", b"HTTP/1.1 200 OK\r\ncontent-ty"),
        broken("another protocol", b"SSH-2.0-OpenSSH_9.9\r\n"),
        broken("TLS", b"\x15\x03\x01\x00\x02\x02\x46"),
        broken("HTTP/2", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"),
        sent("HTTP/0.9", Fails("body"), |list| list.as_bytes().to_vec()),
        sent("HTTP/9.9", Fails("body"), |list| {
            format!("HTTP/9.9 200 OK\r\n\r\n{list}").into()
        }),
        sent("no status", Fails("body"), |list| {
            format!("HTTP/1.1 OK\r\n\r\n{list}").into()
        }),
        sent("half a status", Fails("body"), |list| {
            format!("HTTP/1.1 20\r\n\r\n{list}").into()
        }),
        Row::new(
            "lines that the connection ends elsewhere each time",
            Fails("body"),
            |asked| {
                let line = format!("{{\"id\":{}}}\n", asked.count);
                let answer = format!("HTTP/1.0 200 OK\r\n\r\n{line}");
                vec![Piece::Send(answer.into())]
            },
        )
        .of(Written::Ndjson),
        sent("HTTP/1.0 to its end", Passes, |list| {
            format!("HTTP/1.0 200 OK\r\n\r\n{list}").into()
        }),
    ]
}

fn lengths() -> Vec<Row> {
    let rows = [
        ("a length of nothing", Fails("parse"), "0"),
        ("a length too short", Fails("parse"), "17"),
        ("a length too long", Fails("body"), "100000"),
        (
            "a length beyond all bounds",
            Fails("too_large"),
            "99999999999",
        ),
        ("a length of 2^64", Fails("body"), "18446744073709551616"),
        ("a negative length", Fails("body"), "-1"),
        ("no number for a length", Fails("body"), "many"),
        ("two lengths", Fails("body"), "5\r\ncontent-length: 6"),
    ];
    let with_length = |(what, then, length): (&str, _, &'static str)| {
        with_header(what, then, ("content-length", length))
    };
    let mut rows: Vec<Row> = rows.into_iter().map(with_length).collect();
    rows.push(with_header("no length", Passes, ("x-length", "none")));
    rows
}

fn chunks() -> Vec<Row> {
    let coding = "transfer-encoding";
    vec![
        with_header("chunks that are none", Fails("body"), (coding, "chunked")),
        with_header("no coding of transfer", Passes, (coding, "identity")),
        sent("chunks that end early", Fails("body"), |list| {
            chunked(list, "ffff", "")
        }),
        sent("chunks without end", Fails("body"), |list| {
            chunked(list, &format!("{:x}", list.len()), "\r\n")
        }),
        sent("a chunk of no size", Fails("body"), |list| {
            chunked(list, "zz", "\r\n0\r\n\r\n")
        }),
        sent("a chunk of 2^64", Fails("body"), |list| {
            chunked(list, "10000000000000000", "\r\n0\r\n\r\n")
        }),
        sent("a chunk without its end", Fails("body"), |list| {
            chunked(list, &format!("{:x}", list.len()), "0\r\n\r\n")
        }),
        sent("chunks with trailers", Passes, |list| {
            let size = format!("{:x};x=y", list.len());
            chunked(list, &size, "\r\n0\r\nx-sum: 1\r\n\r\n")
        }),
    ]
}

/// The list under a head with this header, and no length but that.
fn with_header(what: &str, then: Then, header: (&'static str, &'static str)) -> Row {
    Row::new(what, then, move |asked| {
        let mut answer = head("200 OK", &[header, JSON]);
        answer.extend_from_slice(asked.list.as_bytes());
        vec![Piece::Send(answer.into())]
    })
}

/// A head that announces chunks, and one of them.
fn chunked(list: &str, size: &str, end: &str) -> Vec<u8> {
    let mut answer = head("200 OK", &[("transfer-encoding", "chunked"), JSON]);
    answer.extend_from_slice(format!("{size}\r\n{list}{end}").as_bytes());
    answer
}

fn validators() -> Vec<Row> {
    let etag = |what: &str, etag: fn(&Asked) -> String| {
        Row::new(what, Passes, move |asked| {
            let headers = [("etag", &*etag(asked)), JSON];
            vec![Piece::Send(well("200 OK", &headers, &asked.list))]
        })
    };
    let modified = |what: &str, date: &'static str| {
        Row::new(what, Passes, move |asked| {
            let headers = [("last-modified", date), JSON];
            vec![Piece::Send(well("200 OK", &headers, &asked.list))]
        })
    };
    vec![
        etag("another ETag each time", |asked| {
            format!("\"{}\"", asked.count)
        }),
        etag("the same ETag for ever", |_| "\"1\"".into()),
        etag("an ETag without quotes", |_| "one two".into()),
        etag("an empty ETag", |_| String::new()),
        etag("a huge ETag", |_| format!("\"{}\"", "x".repeat(60_000))),
        raw("a binary ETag", Passes, b"etag: \"\xff\xfe\x80\""),
        raw("two ETags", Passes, b"etag: \"a\"\r\netag: \"b\""),
        modified("a date that is none", "yesterday"),
        modified("a date to come", "Fri, 31 Dec 9999 23:59:59 GMT"),
    ]
}

fn retries() -> Vec<Row> {
    let values = [
        "soon",
        "99999999999999999999",
        "-30",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "",
    ];
    let row = |value: &'static str| {
        let what = format!("Retry-After: {value}");
        Row::new(what, Fails("status"), move |asked| {
            let headers = [("retry-after", value), JSON];
            let answer = well("503 Service Unavailable", &headers, &asked.list);
            vec![Piece::Send(answer)]
        })
    };
    values.map(row).into()
}

fn headers() -> Vec<Row> {
    vec![
        raw("a header with a zero byte", Fails("body"), b"x-zero: a\0b"),
        raw("a header without a name", Fails("body"), b": value"),
        raw("a header without a colon", Fails("body"), b"no colon here"),
        raw("a header that is folded", Fails("body"), b"x-long: a\r\n b"),
        sent("a huge header", Fails("body"), |_| {
            head("200 OK", &[("x-big", &"x".repeat(1 << 20)), JSON])
        }),
        Row::new("headers without end", Fails("body"), |_| {
            let start = "HTTP/1.1 200 OK\r\n";
            let more = "x-more: and more\r\n".repeat(100);
            vec![
                Piece::Send(start.into()),
                Piece::Repeat(more.into(), Duration::ZERO),
            ]
        }),
        Row::new("a head that drips", Fails("timeout"), |_| {
            let start = "HTTP/1.1 200 OK\r\nx-drop: ";
            vec![
                Piece::Send(start.into()),
                Piece::Repeat("a".into(), Duration::from_millis(20)),
            ]
        })
        .hasty(),
    ]
}

/// The list under a head that ends with this line.
fn raw(what: &str, then: Then, line: &'static [u8]) -> Row {
    Row::new(what, then, move |asked| {
        let start = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        let answer = [&start[..], line, b"\r\n\r\n", asked.list.as_bytes()].concat();
        vec![Piece::Send(answer.into())]
    })
}
