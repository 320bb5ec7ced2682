//! What each format looks like as JSON, and what is none of it.

mod feeds;
mod markup;
mod pages;
mod tables;

use serde_json::Value;

use super::{Encoded, Format, Selector, decode};
use crate::detect::{Path, Rules, Unreadable, read};

const BYTES_MAX: usize = 64 * 1024;

fn raw(format: Format, body: &[u8], rules: &Rules) -> Result<Vec<u8>, Unreadable> {
    let encoded = Encoded {
        body,
        format,
        content_type: None,
        is_open_ended: false,
    };
    let json = decode(encoded, rules, BYTES_MAX)?;
    // Whatever comes out is read as JSON is.
    read(&json, &Rules::default(), 1).expect("decoded bodies are JSON");
    Ok(json)
}

/// A body as JSON.
fn json(format: Format, body: &str) -> Value {
    let json = raw(format, body.as_bytes(), &Rules::default());
    let json = json.unwrap_or_else(|fault| panic!("{body}: {fault}"));
    serde_json::from_slice(&json).expect("JSON")
}

/// The class of what is wrong with a body, as a document.
fn fault(format: Format, body: &str) -> &'static str {
    let fault = raw(format, body.as_bytes(), &Rules::default());
    let fault = fault.expect_err(body);
    let message = fault.to_string();
    let quoted = body.split_whitespace().filter(|word| word.len() > 9);
    for word in quoted {
        assert!(!message.contains(word), "{message}");
    }
    fault.reason()
}

fn items(items: &str, id: &str) -> Rules {
    Rules {
        items: Some(Path::parse(items).expect("a path")),
        id: vec![Path::parse(id).expect("a path")],
        ..Rules::default()
    }
}

/// The ids of the items that are read of a body, or the class of what is wrong.
fn ids(format: Format, body: &str, rules: &Rules) -> Result<Vec<String>, &'static str> {
    let json = raw(format, body.as_bytes(), rules).map_err(|fault| fault.reason())?;
    let walk = read(&json, rules, 1000).map_err(|fault| fault.reason())?;
    let subjects = walk.entries.into_iter().map(|entry| entry.subject.into());
    Ok(subjects.collect())
}

#[test]
fn nothing_is_none_of_all_formats() {
    for format in Format::ALL {
        assert_eq!(fault(format, ""), "parse", "{format}");
    }
}

#[test]
fn a_text_is_a_document_or_lines() {
    let text = " one\n\n two é\r\n";
    let whole = serde_json::json!({"text": " one\n\n two é"});
    assert_eq!(json(Format::Text, text), whole);
    assert_eq!(json(Format::Text, " one\r\r two é \n\n \n"), whole);
    let rules = items("$.lines[*]", "$");
    let lines = ids(Format::Text, text, &rules);
    assert_eq!(lines, Ok(vec![" one".to_owned(), " two é".to_owned()]));
    assert_eq!(fault(Format::Text, " \n\t"), "parse");
    let latin = raw(Format::Text, b"\xe9", &Rules::default());
    assert_eq!(latin.expect_err("no UTF-8").reason(), "charset");
}

#[test]
fn of_bytes_length_and_digest_are_told() {
    let body = b"\x00\xff\xfe";
    let json = raw(Format::Bytes, body, &Rules::default()).expect("bytes");
    let digest = crate::digest::RawDigest::of(body);
    let expected = format!("{{\"bytes\":3,\"blake3\":\"{digest}\"}}");
    assert_eq!(String::from_utf8(json).expect("text"), expected);
}

#[test]
fn what_becomes_too_large_is_told() {
    let long = "n".repeat(1000);
    let table = format!("{long},b\n{}", "1,2\n".repeat(100));
    assert_eq!(fault(Format::Csv, &table), "too_large");
    assert_eq!(fault(Format::Text, &"\u{1}".repeat(20_000)), "too_large");
    let deep = "<a b='\u{7f}'>".repeat(30) + &"&#9;".repeat(60_000) + &"</a>".repeat(30);
    assert_eq!(
        fault(Format::Xml, &format!("<r>{}</r>", "<x/>".repeat(40_000))),
        "too_large"
    );
    assert!(raw(Format::Xml, deep.as_bytes(), &Rules::default()).is_ok());
    let nested = "<p><i>".repeat(100) + &"x".repeat(2_000);
    let rules = Rules {
        selector: Some(Selector::parse("*").expect("a selector")),
        ..items("$[*]", "$.text")
    };
    let all = raw(Format::Html, nested.as_bytes(), &rules);
    assert_eq!(
        all.expect_err("every element holds all").reason(),
        "too_large"
    );
}
