//! CSV.

use proptest::prelude::*;
use serde_json::{Value, json as value};

use super::*;

#[test]
fn rows_are_objects_of_texts() {
    for (body, expected) in [
        ("a,b\n1,2\n", value!([{"a": "1", "b": "2"}])),
        (
            "\u{feff}a,b\r\n1,\"x, \"\"y\"\"\nz\"\r\n",
            value!([{"a": "1", "b": "x, \"y\"\nz"}]),
        ),
        ("a;b\n1,5;2\n", value!([{"a": "1,5", "b": "2"}])),
        ("a\tb\n1\t2,5", value!([{"a": "1", "b": "2,5"}])),
        ("a;b,c\n1;2,3\n", value!([{"a;b": "1;2", "c": "3"}])),
        ("\n\na,b\n\n,\n", value!([{"a": "", "b": ""}])),
        ("a\n007\ntrue\n", value!([{"a": "007"}, {"a": "true"}])),
        (
            "a,\" b\"\né,\u{1f514}\n",
            value!([{"a": "é", " b": "\u{1f514}"}]),
        ),
    ] {
        assert_eq!(json(Format::Csv, body), expected, "{body:?}");
    }
}

#[test]
fn what_is_no_table_is_told() {
    for body in [
        "\n",
        "a,a\n1,2\n",
        "a,\n1,2\n",
        ",\n",
        "a, \n1,2\n",
        "a,b\n1\n",
        "a,b\n1,2,3\n",
        "a,b\n1,\"2\n",
        "a,b\n1,\"2\n3,4\n",
        "a,\"b\n1,2\n",
        "a,b\n1,2\0\n",
        "<!doctype html><html><body>Please, sign in</body></html>",
        "\n <html>\n<p>a</p>\n",
        "{\"error\":\"internalservererror\",\"code\":1}",
        "[1,2]",
        "a,b\n",
        "Service unavailable, try later\n",
        "Service Unavailable",
        "Service Unavailable\n",
    ] {
        assert_eq!(fault(Format::Csv, body), "parse", "{body:?}");
    }
}

#[test]
fn a_table_without_rows_must_have_the_ids_column() {
    let rules = items("$[*]", "$.id");
    let of = |body: &str| ids(Format::Csv, body, &rules);
    assert_eq!(of("id,b\n"), Ok(vec![]));
    assert_eq!(of("id,b\n7,x\n"), Ok(vec!["7".to_owned()]));
    assert_eq!(of("We are sorry, but\n"), Err("shape"));
    assert_eq!(of("Id,b\n7,x\n"), Err("shape"));
    let quoted = items("$[*]", "$['the id']");
    assert_eq!(ids(Format::Csv, "a,the id\n", &quoted), Ok(vec![]));
}

#[test]
fn rows_that_are_cut_are_told_of_where_fields_are_missing_or_quotes_are_open() {
    let whole = "id,a,b\n1,x,\"y\"\n2,z,\"w\"\n";
    let rules = items("$[*]", "$.id");
    // Where a row, or its last field, may as well end; nothing tells those that are cut there.
    let ends = [
        "id", "id,a", "id,a,b", "\n", "1,x,", "\"y\"", "2,z,", "\"w\"",
    ];
    for cut in 0..whole.len() {
        let kept = &whole[..cut];
        let is_end = ends.iter().any(|end| kept.ends_with(end)) && kept != "id";
        let found = ids(Format::Csv, kept, &rules);
        assert_eq!(found.is_ok(), is_end, "{kept:?}: {found:?}");
    }
}

fn field() -> impl Strategy<Value = String> {
    "[ -~éß\n\r\t]{0,8}"
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_that_are_written_are_read(
        width in 2..5_usize,
        fields in prop::collection::vec(field(), 4..40),
        ends in prop::bool::ANY,
    ) {
        let names: Vec<String> = (0..width).map(|place| format!("n {place},")).collect();
        let rows: Vec<&[String]> = fields.chunks_exact(width).collect();
        let mut writer = ::csv::Writer::from_writer(Vec::new());
        writer.write_record(&names).expect("memory");
        for row in &rows {
            writer.write_record(*row).expect("memory");
        }
        let mut body = String::from_utf8(writer.into_inner().expect("memory")).expect("text");
        if !ends {
            body.truncate(body.len() - 1);
        }
        let expected: Vec<Value> = rows
            .iter()
            .map(|row| names.iter().cloned().zip(row.iter().map(|field| value!(field))).collect::<serde_json::Map<_, _>>().into())
            .collect();
        prop_assert_eq!(json(Format::Csv, &body), Value::from(expected));
    }

    #[test]
    fn no_body_breaks_a_format(body in "[ -~\n\t\u{0}éß\"<>&;,{}\\[\\]]{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        for format in Format::ALL {
            if format != Format::Json {
                let _ = raw(format, body.as_bytes(), &Rules::default());
                let _ = raw(format, &bytes, &items("$[*]", "$.id"));
            }
        }
    }
}

#[test]
fn lines_that_only_the_connection_ends_must_end_themselves() {
    let rules = Rules::default();
    for (format, body, is_whole) in [
        (Format::Csv, "id,a\n1,open\n", true),
        (Format::Csv, "id,a\r\n1,open\r\n", true),
        (Format::Csv, "id,a\r1,open\r", true),
        (Format::Csv, "id,a\n1,ope", false),
        (Format::Csv, "id,a\r\n1,ope", false),
        (Format::Csv, "id,a\n1,\"open\"", false),
        (Format::Csv, "id,a\n1,x\n\n", true),
        (Format::Text, "1.2.3", true),
        (Format::Text, "1.2.3\n4.5.6\n", true),
        (Format::Text, "1.2.3\n4.5", false),
        // Whose values tell their ends.
        (Format::Ndjson, "{\"id\":1}\n{\"id\":2}", true),
        (Format::Bytes, "a\nb", true),
    ] {
        let encoded = |is_open_ended| Encoded {
            body: body.as_bytes(),
            format,
            content_type: None,
            is_open_ended,
        };
        assert!(decode(encoded(false), &rules, 1000).is_ok(), "{body:?}");
        let decoded = decode(encoded(true), &rules, 1000);
        assert_eq!(decoded.is_ok(), is_whole, "{body:?}");
        let reason = decoded.err().map(|fault| fault.reason());
        assert!(is_whole || reason == Some("parse"), "{body:?}");
    }
    // In what it is, not in its bytes.
    let wide: Vec<u8> = "id,a\n1,x\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let encoded = Encoded {
        body: &wide,
        format: Format::Csv,
        content_type: Some("text/csv; charset=utf-16le"),
        is_open_ended: true,
    };
    assert!(decode(encoded, &rules, 1000).is_ok());
}
