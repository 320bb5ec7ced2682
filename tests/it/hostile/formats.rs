//! What is wrong with bodies of other formats than JSON, and with formats that change.

use super::Then::{Fails, IsHeld, Passes};
use super::written::Written;
use super::{JSON, Row, Then};
use crate::harness::{Piece, head, well};

const LOGIN: &str =
    "<!doctype html><html><body><form action=\"/login\">Sign in</form></body></html>";

pub(super) fn rows() -> Vec<Row> {
    let mut rows = other_formats();
    for written in Written::OTHERS {
        rows.extend(of_each(written));
    }
    rows.extend(tables());
    rows.extend(ends());
    rows.extend(documents());
    rows.extend(pages());
    rows
}

/// A source that says nothing of formats, and whose bodies were JSON.
fn other_formats() -> Vec<Row> {
    let list = |written: Written| {
        let what = format!("the list as {written:?}");
        Row::new(what, Fails("content_type"), move |asked| {
            let type_of = ("content-type", written.content_type());
            vec![Piece::Send(well(
                "200 OK",
                &[type_of],
                written.write(&asked.list),
            ))]
        })
    };
    let xml = ("content-type", "application/xml");
    vec![
        list(Written::Csv),
        list(Written::Ndjson),
        list(Written::Xml),
        list(Written::Feed),
        list(Written::Html),
        Row::bytes(
            "an error in XML",
            Fails("content_type"),
            well("200 OK", &[xml], "<Error><Code>SlowDown</Code></Error>"),
        ),
    ]
}

/// What all formats have to bear.
fn of_each(written: Written) -> Vec<Row> {
    let own = move |what: &str, then: Then, make: fn(&str) -> Vec<u8>| {
        Row::new(format!("{written:?}: {what}"), then, move |asked| {
            let type_of = ("content-type", written.content_type());
            let body = make(&written.write(&asked.list));
            vec![Piece::Send(well("200 OK", &[type_of], body))]
        })
        .of(written)
    };
    let typed = move |what: &str, then: Then, content_type: &'static str, body: &'static str| {
        let type_of = ("content-type", content_type);
        let bytes = well("200 OK", &[type_of], body);
        Row::bytes(&format!("{written:?}: {what}"), then, bytes).of(written)
    };
    let (is_page, is_table) = (written == Written::Html, written == Written::Csv);
    let of_page =
        |page: &'static str, other: &'static str| Fails(if is_page { page } else { other });
    vec![
        own("nothing", Fails("parse"), |_| Vec::new()),
        own("blanks", Fails("parse"), |_| b" \r\n\t\n".to_vec()),
        own("half of it", Fails("parse"), |list| {
            list.as_bytes()[..list.len() / 2 + 5].to_vec()
        }),
        own("all but the last word", Fails("parse"), |list| {
            let end = list.trim_end().len() - 9;
            list.as_bytes()[..list.floor_char_boundary(end)].to_vec()
        }),
        own("another charset", Fails("charset"), |list| {
            list.chars()
                .map(|c| u8::try_from(c).unwrap_or(b'?'))
                .collect()
        }),
        own(
            "a note",
            Fails(if is_table { "shape" } else { "parse" }),
            |_| b"Service Unavailable\n".to_vec(),
        ),
        own("zero bytes", Fails("parse"), |_| {
            [&b"<"[..], &[0; 4096]].concat()
        }),
        typed(
            "a login page",
            of_page("shape", "content_type"),
            "text/html; charset=utf-8",
            LOGIN,
        ),
        typed(
            "a login page that says otherwise",
            of_page("shape", "parse"),
            written.content_type(),
            LOGIN,
        ),
        typed(
            "a charset that nobody knows",
            Fails("charset"),
            written.unknown_charset(),
            "id,a\n1,2\n",
        ),
    ]
}

fn tables() -> Vec<Row> {
    let table = |what: &str, then: Then, make: fn(&str) -> String| {
        Row::new(format!("csv: {what}"), then, move |asked| {
            let body = make(&Written::Csv.write(&asked.list));
            let type_of = ("content-type", "text/csv");
            vec![Piece::Send(well("200 OK", &[type_of], body))]
        })
        .of(Written::Csv)
    };
    let lines = |what: &str, then: Then, body: &'static str| {
        let type_of = ("content-type", "application/x-ndjson");
        let bytes = well("200 OK", &[type_of], body);
        Row::bytes(&format!("ndjson: {what}"), then, bytes).of(Written::Ndjson)
    };
    vec![
        table("names alone", IsHeld, |_| "id,state,title\n".to_owned()),
        table("names of another table", Fails("shape"), |_| {
            "a,b\n".to_owned()
        }),
        table("an apology in two parts", Fails("shape"), |_| {
            "We are sorry, but this failed\n".to_owned()
        }),
        table("an error in JSON", Fails("parse"), |_| {
            "{\"error\": \"busy\", \"code\": 500}".to_owned()
        }),
        table("a name twice", Fails("parse"), |list| {
            list.replacen("state", "id", 1)
        }),
        table("a name too few", Fails("parse"), |list| {
            list.replacen("state,", "", 1)
        }),
        table("a field too many", Fails("parse"), |list| {
            list.trim_end().to_owned() + ",x\n"
        }),
        table("a row of one field", Fails("parse"), |list| {
            list.to_owned() + "end\n"
        }),
        table("a quote without end", Fails("parse"), |list| {
            list.to_owned() + "7,x,\"y\n"
        }),
        table("a long name in many rows", Fails("too_large"), |_| {
            format!("id,{}\n{}", "n".repeat(100_000), "1,2\n".repeat(10_000))
        }),
        lines("an error", Fails("id"), "{\"error\":{\"code\":500}}\n"),
        lines(
            "a list on one line",
            Fails("id"),
            "[{\"id\":1},{\"id\":2}]\n",
        ),
        lines(
            "values on one line",
            Fails("parse"),
            "{\"id\":1},{\"id\":2}\n",
        ),
    ]
}

/// Tables whose last field has no quotes, and what tells where they end.
fn ends() -> Vec<Row> {
    let row = |what: &str, then: Then, make: fn(&str) -> Vec<u8>| {
        Row::new(format!("csv: {what}"), then, move |asked| {
            let table = Written::Csv.write(&asked.list);
            let line = |line: &str| {
                let fields: Vec<&str> = line.splitn(3, ',').collect();
                format!("{},{},{}\n", fields[0], fields[2], fields[1])
            };
            let table: String = table.lines().map(line).collect();
            vec![Piece::Send(make(&table).into())]
        })
        .of(Written::Csv)
    };
    vec![
        row("open to its end", Passes, |table| {
            open_ended(&[], table.as_bytes())
        }),
        row("open, cut in its last field", Fails("parse"), |table| {
            open_ended(&[], &table.as_bytes()[..table.len() - 3])
        }),
        row("open, in HTTP/1.0", Fails("parse"), |table| {
            let cut = open_ended(&[], &table.as_bytes()[..table.len() - 3]);
            String::from_utf8_lossy(&cut)
                .replacen("HTTP/1.1", "HTTP/1.0", 1)
                .into()
        }),
        row("no last end of line, but a length", Passes, |table| {
            let headers = [("content-type", "text/csv")];
            well("200 OK", &headers, table.trim_end()).into()
        }),
        row("no last end of line, but a coding", Passes, |table| {
            open_ended(&[("content-encoding", "zstd")], &packed(table.trim_end()))
        }),
        row("a coding that is cut", Fails("body"), |table| {
            let packed = packed(table);
            let coding = ("content-encoding", "zstd");
            open_ended(&[coding], &packed[..packed.len() - 3])
        }),
    ]
}

/// A table that nothing but the connection ends.
fn open_ended(headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let type_of = ("content-type", "text/csv");
    let mut answer = head("200 OK", &[headers, &[type_of]].concat());
    answer.extend_from_slice(body);
    answer
}

fn packed(text: &str) -> Vec<u8> {
    zstd::encode_all(text.as_bytes(), 3).expect("memory")
}

fn documents() -> Vec<Row> {
    let xml = |what: &str, then: Then, body: String| {
        let type_of = ("content-type", "application/xml");
        let bytes = well("200 OK", &[type_of], body);
        Row::bytes(&format!("xml: {what}"), then, bytes).of(Written::Xml)
    };
    let feed = |what: &str, then: Then, body: &str| {
        let type_of = ("content-type", "application/rss+xml");
        let bytes = well("200 OK", &[type_of], body);
        Row::bytes(&format!("feed: {what}"), then, bytes).of(Written::Feed)
    };
    let laughs: Vec<String> = (1..30)
        .map(|n| format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10)))
        .collect();
    let laughs = laughs.concat();
    let laughs = format!("<!DOCTYPE r [<!ENTITY l0 \"ha\">{laughs}]><r>&l29;</r>");
    vec![
        xml(
            "an error",
            Fails("shape"),
            "<Error><Code>SlowDown</Code></Error>".to_owned(),
        ),
        xml("no items", Fails("shape"), "<list/>".to_owned()),
        xml(
            "an item without id",
            Fails("id"),
            "<list><item/></list>".to_owned(),
        ),
        xml("a billion laughs", Fails("parse"), laughs),
        xml(
            "a file of ours",
            Fails("parse"),
            "<!DOCTYPE r [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><list>&x;</list>".to_owned(),
        ),
        xml(
            "100,000 elements deep",
            Fails("parse"),
            "<a>".repeat(100_000),
        ),
        xml("200,000 elements", Fails("shape"), {
            format!("<r>{}</r>", "<a b=''/>".repeat(200_000))
        }),
        feed(
            "no entries",
            IsHeld,
            "<rss version=\"2.0\"><channel><title>t</title></channel></rss>",
        ),
        feed("no channel", Fails("parse"), "<rss version=\"2.0\"></rss>"),
        feed(
            "an entry of nothing",
            Fails("id"),
            "<rss version=\"2.0\"><channel><item/></channel></rss>",
        ),
        feed(
            "another document",
            Fails("parse"),
            "<Error><Code>SlowDown</Code></Error>",
        ),
    ]
}

fn pages() -> Vec<Row> {
    let page = |what: &str, then: Then, body: String| {
        let type_of = ("content-type", "text/html");
        let bytes = well("200 OK", &[type_of], body);
        Row::bytes(&format!("html: {what}"), then, bytes).of(Written::Html)
    };
    let formats: Vec<String> = (0..20_000).map(|n| format!("<p><b a={n}></p>")).collect();
    let formats = formats.concat();
    vec![
        page(
            "no rows",
            Fails("shape"),
            "<table class=list></table>".to_owned(),
        ),
        page(
            "a row without id",
            Fails("id"),
            "<table><tr><td>x</table>".to_owned(),
        ),
        page(
            "an error in JSON",
            Fails("parse"),
            "{\"error\": 500}".to_owned(),
        ),
        page(
            "100,000 elements deep",
            Fails("parse"),
            "<div>".repeat(100_000),
        ),
        page(
            "elements that come again and again",
            Fails("parse"),
            formats,
        ),
        Row::bytes(
            "html: JSON",
            Fails("parse"),
            well("200 OK", &[JSON], "{\"error\": 500}"),
        )
        .of(Written::Html),
    ]
}
