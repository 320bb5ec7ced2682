//! What identifies an item, one example each.

use super::super::{Rules, SUBJECT_BYTES_MAX};
use super::{fault, ignoring, items, only, subjects, walk};

#[test]
fn subjects_are_texts_and_digits() {
    let subject = |id: &str| {
        let walk = walk(&format!(r#"[{{"id":{id}}}]"#), &items("$[*]", &["$.id"]));
        walk.map(|walk| walk.entries[0].subject.to_string())
            .map_err(|error| error.reason())
    };
    let long = format!("\"{}\"", "x".repeat(SUBJECT_BYTES_MAX));
    for (id, expected) in [
        (r#""a b""#, "a b"),
        (r#""\u00e9\n""#, "é\n"),
        (r#""""#, ""),
        ("42", "42"),
        ("-7", "-7"),
        ("42.0", "42"),
        ("4.2e1", "42"),
        ("9007199254740993", "9007199254740993"),
        (
            "340282366920938463463374607431768211457",
            "340282366920938463463374607431768211457",
        ),
        (&long, long.trim_matches('"')),
    ] {
        assert_eq!(subject(id), Ok(expected.to_owned()), "{id}");
    }
    let longer = format!("\"{}\"", "x".repeat(SUBJECT_BYTES_MAX + 1));
    for id in ["null", "true", "1.5", "1e99", "{}", "[1]", &longer] {
        assert_eq!(subject(id), Err("id"), "{id:.20}");
    }
}

#[test]
fn composite_subjects_are_compact_arrays() {
    let rules = items("$[*]", &["$.org.name", "$.id"]);
    let text = r#"[{"id":7,"org":{"name":"a\u0022b"}},{"id":"7","org":{"name":"c"}}, {"id":7,"org":{"name":"c"}}]"#;
    let walk = walk(text, &rules).unwrap();
    assert_eq!(
        subjects(&walk),
        [r#"["a\"b",7]"#, r#"["c","7"]"#, r#"["c",7]"#]
    );
    assert_eq!(fault(r#"[{"id":7}]"#, &rules), "id");
    let halves = "x".repeat(SUBJECT_BYTES_MAX / 2);
    assert_eq!(
        fault(
            &format!(r#"[{{"id":"{halves}","org":{{"name":"{halves}"}}}}]"#),
            &rules
        ),
        "id"
    );
}

#[test]
fn an_id_is_one_value() {
    for (text, path, expected) in [
        (r#"[{"a":{"id":1}}]"#, "$.a.id", Ok("1")),
        (r#"[{"a":{"id":1},"a":{"id":2}}]"#, "$.a.id", Ok("2")),
        (r#"[{"id":1,"id":2}]"#, "$.id", Ok("2")),
        (r#"[{"a":{"id":1},"a":{}}]"#, "$.a.id", Err("id")),
        (r#"[{"a":{"id":1},"a":3}]"#, "$.a.id", Err("id")),
        (r#"[{"a":[5,6]}]"#, "$.a[1]", Ok("6")),
        ("[{}]", "$.id", Err("id")),
        ("[5]", "$.id", Err("id")),
        (r#"["x"]"#, "$", Ok("x")),
        (r#"[{"a":[1]}]"#, "$.a[*]", Ok("1")),
        (r#"[{"a":[1,2]}]"#, "$.a[*]", Err("id")),
        (
            r#"[{"a":[{"k":"x"},{"k":"id","v":9}]}]"#,
            "$.a[?@.k == 'id'].v",
            Ok("9"),
        ),
        (r#"[{"a":[{"k":"x"}]}]"#, "$.a[?@.k == 'id'].v", Err("id")),
    ] {
        let walk = walk(text, &items("$[*]", &[path]));
        let found = walk.map(|walk| walk.entries[0].subject.to_string());
        let expected = expected.map(str::to_owned);
        assert_eq!(
            found.map_err(|error| error.reason()),
            expected,
            "{path} in {text}"
        );
    }
}

#[test]
fn an_id_may_be_among_what_does_not_count() {
    let text = r#"[{"meta":{"id":1,"at":5},"x":1}]"#;
    let other = r#"[{"meta":{"at":6,"id":1},"x":1}]"#;
    for fields in [ignoring(&["$.meta"]).fields, only(&["$.x"]).fields] {
        let rules = Rules {
            fields,
            ..items("$[*]", &["$.meta.id"])
        };
        let walk = walk(text, &rules).unwrap();
        assert_eq!(subjects(&walk), ["1"]);
        assert_eq!(walk.digest, super::walk(other, &rules).unwrap().digest);
    }
}

#[test]
fn one_id_is_one_item_and_the_last_counts() {
    let rules = items("$[*]", &["$.id"]);
    let last = walk(r#"[{"id":1,"v":2}]"#, &rules).unwrap();
    let text = r#"[{"id":1,"v":1},{"id":0},{"id":1,"v":2},{"v":2,"id":1}]"#;
    let merged = walk(text, &rules).unwrap();
    assert_eq!(subjects(&merged), ["0", "1"]);
    assert_eq!(merged.entries[1].digest, last.entries[0].digest);
    assert_eq!(&text[merged.entries[1].range.clone()], r#"{"v":2,"id":1}"#);
    assert_eq!(fault(r#"[{"id":1},{"id":"1"}]"#, &rules), "id");
    assert_eq!(fault(r#"[{"id":"1"},{"id":2},{"id":1}]"#, &rules), "id");
}
