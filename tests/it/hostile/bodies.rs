//! What is wrong with the body as a whole: another text, cut, badly encoded, no JSON.

use std::io::Write as _;
use std::time::Duration;

use super::Then::{Fails, IsHeld, Passes};
use super::{JSON, Row, Then};
use crate::harness::{Piece, head, well};

const LOGIN: &str =
    "<!doctype html><html><body><form action=\"/login\">Sign in</form></body></html>";

const GZIP: &[(&str, &str)] = &[("content-encoding", "gzip")];
const BROTLI: &[(&str, &str)] = &[("content-encoding", "br")];
const ZSTD: &[(&str, &str)] = &[("content-encoding", "zstd")];

pub(super) fn rows() -> Vec<Row> {
    let mut rows = other_texts();
    rows.extend(cut());
    rows.extend(encoded());
    rows.extend(charsets());
    rows.extend(no_json());
    rows
}

fn other_texts() -> Vec<Row> {
    let html = ("content-type", "text/html; charset=utf-8");
    vec![
        Row::bytes(
            "a login page",
            Fails("content_type"),
            well("200 OK", &[html], LOGIN),
        ),
        Row::json("a login page that says it is JSON", Fails("parse"), LOGIN),
        Row::bytes(
            "a login page of no type",
            Fails("parse"),
            well("200 OK", &[], LOGIN),
        ),
        Row::new("the list as a page", Fails("content_type"), move |asked| {
            vec![Piece::Send(well("200 OK", &[html], &asked.list))]
        }),
        Row::new("the list as a picture", Fails("content_type"), |asked| {
            let type_of = ("content-type", "image/png");
            vec![Piece::Send(well("200 OK", &[type_of], &asked.list))]
        }),
        Row::new("a type that is none", Passes, |asked| {
            vec![Piece::Send(well(
                "200 OK",
                &[("content-type", ";;=")],
                &asked.list,
            ))]
        }),
        Row::json("nothing", Fails("parse"), ""),
        Row::bytes(
            "no chunk",
            Fails("parse"),
            [
                &head("200 OK", &[("transfer-encoding", "chunked"), JSON])[..],
                b"0\r\n\r\n",
            ]
            .concat(),
        ),
        Row::json("blanks", Fails("parse"), " \r\n\t "),
        Row::json("zero bytes", Fails("parse"), vec![0; 4096]),
        Row::json("an empty list", IsHeld, "[]"),
        Row::json(
            "a page of a list",
            IsHeld,
            r#"[{"id":1,"state":"open"},{"id":2}]"#,
        ),
        Row::list("other ids for all", IsHeld, |list| {
            list.replace("\"id\":", "\"id\":9")
        }),
    ]
}

fn cut() -> Vec<Row> {
    let at = |list: &str, part: usize| list.len() * part / 4;
    let torn = |what: &str, then, make: fn(&str) -> Vec<Piece>| {
        Row::new(what, then, move |asked| {
            let length = asked.list.len().to_string();
            let mut pieces = vec![Piece::Send(
                head("200 OK", &[JSON, ("content-length", &length)]).into(),
            )];
            pieces.extend(make(&asked.list));
            pieces
        })
    };
    let mut rows = vec![
        torn("closed after the head", Fails("body"), |_| Vec::new()),
        torn("closed half-way", Fails("body"), |list| vec![half_of(list)]),
        torn("closed before the last byte", Fails("body"), |list| {
            vec![Piece::Send(
                list.as_bytes()[..list.len() - 1].to_vec().into(),
            )]
        }),
        torn("reset half-way", Fails("body"), |list| {
            vec![half_of(list), Piece::Reset]
        }),
        torn("silent half-way", Fails("timeout"), |list| {
            vec![half_of(list), Piece::Silence]
        })
        .hasty(),
        torn("drips", Fails("timeout"), |_| {
            vec![Piece::Repeat(" ".into(), Duration::from_millis(20))]
        })
        .hasty(),
        Row::new("cut in a letter", Fails("parse"), |asked| {
            let letter = asked.list.find('é').expect("there is one");
            let kept = &asked.list.as_bytes()[..=letter];
            vec![Piece::Send(well("200 OK", &[JSON], kept))]
        }),
    ];
    rows.extend((1..4).map(|part| {
        Row::new(
            format!("the first {part} quarters"),
            Fails("parse"),
            move |asked| {
                let kept = &asked.list.as_bytes()[..at(&asked.list, part)];
                vec![Piece::Send(well("200 OK", &[JSON], kept))]
            },
        )
    }));
    rows
}

fn encoded() -> Vec<Row> {
    vec![
        as_bytes("no gzip", Fails("body"), GZIP, plain),
        as_bytes("no brotli", Fails("body"), BROTLI, plain),
        as_bytes("no zstd", Fails("body"), ZSTD, plain),
        as_bytes(
            "no deflate",
            Fails("body"),
            &[("content-encoding", "deflate")],
            plain,
        ),
        as_bytes("zstd", Passes, ZSTD, zstd),
        as_bytes("half of zstd", Fails("body"), ZSTD, |list| half(zstd(list))),
        as_bytes("zstd of zstd", Fails("parse"), ZSTD, |list| {
            zstd::encode_all(&zstd(list)[..], 1).expect("compressible")
        }),
        as_bytes("zstd that is not named", Fails("parse"), &[], zstd),
        as_bytes(
            "zstd with a flipped bit",
            Fails("body"),
            ZSTD,
            move |list| {
                let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
                encoder.include_checksum(true).expect("it can");
                encoder.write_all(list.as_bytes()).expect("memory");
                let mut bytes = encoder.finish().expect("memory");
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
                bytes
            },
        ),
        as_bytes(
            "a coding that nobody knows",
            Fails("body"),
            &[("content-encoding", "x-none")],
            plain,
        ),
        as_bytes(
            "no coding by its name",
            Passes,
            &[("content-encoding", "Identity")],
            plain,
        ),
        as_bytes("gzip of two members", Passes, GZIP, gzip),
        as_bytes(
            "gzip by its old name",
            Passes,
            &[("content-encoding", "X-GZIP")],
            gzip,
        ),
        as_bytes(
            "gzip of gzip",
            Fails("body"),
            &[("content-encoding", "gzip, gzip")],
            gzip,
        ),
        as_bytes("the first member and half", Fails("body"), GZIP, |list| {
            let mut bytes = gzip(list);
            bytes.truncate(bytes.len() - list.len() / 4);
            bytes
        }),
        as_bytes("gzip and zeros", Fails("body"), GZIP, |list| {
            [gzip(list), vec![0; 512]].concat()
        }),
        as_bytes("gzip and a word", Fails("body"), GZIP, |list| {
            [&gzip(list)[..], b"junk"].concat()
        }),
    ]
}

fn charsets() -> Vec<Row> {
    vec![
        as_bytes(
            "another charset than it says",
            Fails("parse"),
            &[],
            |list| {
                list.chars()
                    .map(|c| u8::try_from(c).unwrap_or(b'?'))
                    .collect()
            },
        ),
        as_bytes("UTF-16", Fails("parse"), &[], |list| {
            let units = std::iter::once(0xfeff).chain(list.encode_utf16());
            units.flat_map(u16::to_le_bytes).collect()
        }),
        as_bytes("UTF-8 that is too long", Fails("parse"), &[], |list| {
            list.replace('é', "~")
                .bytes()
                .flat_map(|b| if b == b'~' { vec![0xc1, 0xa9] } else { vec![b] })
                .collect()
        }),
        as_bytes("a byte order mark", Passes, &[], |list| {
            format!("\u{feff}{list}").into()
        }),
        as_bytes("two byte order marks", Fails("parse"), &[], |list| {
            format!("\u{feff}\u{feff}{list}").into()
        }),
    ]
}

fn no_json() -> Vec<Row> {
    let with = |what: &str, make: fn(&str) -> String| Row::list(what, Fails("parse"), make);
    let value = |what: &str, value: &'static str| {
        Row::list(what, Fails("parse"), move |list| {
            list.replace("\"open\"", value).replace("\"closed\"", value)
        })
    };
    vec![
        with("two documents", |list| format!("{list}{list}")),
        with("a document and a word", |list| format!("{list} null")),
        with("lines of JSON", |list| {
            list.replace("},{", "}\n{").replace(['[', ']'], "")
        }),
        with("a call back", |list| format!("callback({list});")),
        with("a guard against scripts", |list| format!(")]}}',\n{list}")),
        with("a comma too many", |list| list.replace("}]", "},]")),
        with("a comma too few", |list| list.replacen(",\"", "\"", 1)),
        with("other quotes", |list| list.replace('"', "'")),
        with("names without quotes", |list| list.replace("\"id\"", "id")),
        with("a remark", |list| format!("/* as of today */ {list}")),
        with("a list that is not closed", |list| {
            list.trim_end_matches(']').to_owned()
        }),
        with("a list that is closed twice", |list| format!("{list}]")),
        value("NaN", "NaN"),
        value("Infinity", "-Infinity"),
        value("undefined", "undefined"),
        value("a number in hex", "0x10"),
        value("a number with a zero before it", "012"),
        value("a number with a plus", "+1"),
        value("half a number", "1."),
        value("half a surrogate pair", r#""\ud800""#),
        value("the wrong half", r#""\udc00\ud800""#),
        value("a line break in a string", "\"a\nb\""),
        value("a zero byte in a string", "\"a\0b\""),
        value("an escape that is none", r#""\x41""#),
        with("100,000 brackets", |_| "[".repeat(100_000)),
        with("100,000 brackets and their ends", |_| {
            "[".repeat(100_000) + &"]".repeat(100_000)
        }),
        with("a deep item", |list| {
            let deep = format!("{}1{}", "{\"a\":".repeat(1_000), "}".repeat(1_000));
            list.replace("\"open\"", &deep).replace("\"closed\"", &deep)
        }),
    ]
}

fn half_of(list: &str) -> Piece {
    Piece::Send(half(list.into()).into())
}

fn half(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() / 2);
    bytes
}

fn plain(list: &str) -> Vec<u8> {
    list.into()
}

fn zstd(list: &str) -> Vec<u8> {
    zstd::encode_all(list.as_bytes(), 1).expect("a list is compressible")
}

/// In two members, of one stored block each (RFC 1951 section 3.2.4).
fn gzip(list: &str) -> Vec<u8> {
    let (one, other) = list.as_bytes().split_at(list.len() / 2);
    [one, other].map(member).concat()
}

fn member(plain: &[u8]) -> Vec<u8> {
    let length = u16::try_from(plain.len()).expect("a short list");
    let sum = plain.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
        })
    });
    [
        &b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01"[..],
        &length.to_le_bytes(),
        &(!length).to_le_bytes(),
        plain,
        &(!sum).to_le_bytes(),
        &u32::from(length).to_le_bytes(),
    ]
    .concat()
}

/// 200 with these headers and what is made of the list.
fn as_bytes(
    what: &str,
    then: Then,
    headers: &'static [(&str, &str)],
    make: fn(&str) -> Vec<u8>,
) -> Row {
    Row::new(what, then, move |asked| {
        let headers = [&[JSON], headers].concat();
        vec![Piece::Send(well("200 OK", &headers, make(&asked.list)))]
    })
}
