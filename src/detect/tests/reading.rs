//! What a response may be, one example each.

use super::super::{Rules, SUBJECT_BYTES_MAX, Unreadable};
use super::{document, form, ignoring, items, only, paths, read, subjects, walk};

fn canonical(text: &str) -> String {
    form(text, &document()).unwrap()
}

/// The class of what went wrong.
fn fault(text: &str, rules: &Rules) -> &'static str {
    walk(text, rules).unwrap_err().reason()
}

#[test]
fn the_form_is_sorted_tight_and_minimally_escaped() {
    for (text, expected) in [
        (
            r#" { "b" : [ 1 , true , null ] , "a" : { } } "#,
            r#"{"a":{},"b":[1,true,null]}"#,
        ),
        (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
        (r#"{"\u0061":1,"a":2}"#, r#"{"a":2}"#),
        (
            r#"{"ab":1,"a":2,"":3,"abcdefgh":4,"abcdefghi":5,"abcdefg":6}"#,
            r#"{"":3,"a":2,"ab":1,"abcdefg":6,"abcdefgh":4,"abcdefghi":5}"#,
        ),
        (
            r#"{"é":1,"z":2,"Z":3,"\ud83d\ude00":4}"#,
            r#"{"Z":3,"z":2,"é":1,"😀":4}"#,
        ),
        (
            r#""\u0041\/\u00e9\n\u000a\u0001\u0022\\""#,
            r#""A/é\n\n\u0001\"\\""#,
        ),
        (
            "[1.0,1e2,-0,0.50,18446744073709551617]",
            "[1,100,0,5e-1,18446744073709551617]",
        ),
    ] {
        assert_eq!(canonical(text), expected);
    }
}

#[test]
fn integers_are_told_apart_whatever_their_size() {
    for (one, other) in [
        ("9007199254740993", "9007199254740992"),
        ("9223372036854775807", "9223372036854775806"),
        ("-9223372036854775808", "-9223372036854775807"),
        ("18446744073709551615", "18446744073709551614"),
        ("18446744073709551616", "18446744073709551617"),
        (
            "123456789012345678901234567890123456789012345",
            "123456789012345678901234567890123456789012346",
        ),
    ] {
        let digest = |id: &str| walk(id, &document()).unwrap().entries[0].digest;
        assert_ne!(digest(one), digest(other));
    }
}

#[test]
fn what_is_no_json_is_no_walk() {
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    for text in [
        "",
        " ",
        "<!doctype html><title>Sign in</title>",
        "{",
        "[1,",
        r#"{"a":1"#,
        r#"{"a"}"#,
        "[1] x",
        "[1][2]",
        "nul",
        "01",
        "+1",
        "1.",
        "'a'",
        r#""\ud800""#,
        r#""\udc00\ud800""#,
        r#"{"\ud83d":1}"#,
        "\"a\nb\"",
        "\u{feff}\u{feff}1",
        &deep(128),
        &deep(100_000),
        "1e99999999999",
    ] {
        assert_eq!(fault(text, &document()), "parse", "{text:.40}");
    }
    assert!(walk(&deep(127), &document()).is_ok());
    let utf8 = read(b"[\"a\xff\"]", &document(), 1).unwrap_err();
    assert_eq!(utf8, Unreadable::Json("not UTF-8 from byte 3 on".into()));
}

#[test]
fn what_is_ignored_must_be_json_too() {
    for text in [
        r#"{"a":"\ud800"}"#,
        &format!(r#"{{"a":{}1{}}}"#, "[".repeat(127), "]".repeat(127)),
    ] {
        assert_eq!(fault(text, &ignoring(&["$.a"])), "parse");
        assert_eq!(fault(text, &only(&["$.b"])), "parse");
    }
}

#[test]
fn faults_quote_nothing_of_the_response() {
    let rules = items("$.a[*]", &["$.id"]);
    for text in [
        "secret",
        r#"{"a":"secret"}"#,
        r#"{"a":{"secret":1}}"#,
        r#"{"a":[{"id":["secret"]}]}"#,
        r#"{"secret":1}"#,
        r#"{"a":[{"id":"secret secret"},{"id":"secret\ud800"}]}"#,
        "\"secret",
        r#"{"a":[{"id":1,"secret":1},{"id":"1"}]}"#,
    ] {
        let error = walk(text, &rules).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn a_document_is_one_item_without_a_name() {
    for text in ["{}", "[]", "1", "\"a\"", "null", " [1, 2]\n"] {
        let walk = walk(text, &document()).unwrap();
        assert_eq!(subjects(&walk), [""]);
        assert_eq!(&text[walk.entries[0].range.clone()], text.trim());
    }
}

#[test]
fn a_byte_order_mark_is_no_content() {
    let rules = items("$[*]", &["$.id"]);
    let plain = walk(r#"[{"id":1}]"#, &rules).unwrap();
    let text = "\u{feff} [ {\"id\":1} ]";
    let marked = walk(text, &rules).unwrap();
    assert_eq!(marked.digest, plain.digest);
    assert_eq!(&text[marked.entries[0].range.clone()], r#"{"id":1}"#);
}

#[test]
fn the_way_to_the_items_must_be_there_and_lead_to_arrays() {
    let rules = |path: &str| items(path, &["$"]);
    for (path, text, expected) in [
        ("$.a.b[*]", r#"{"a":{"b":["x"]}}"#, Ok(1)),
        ("$.a.b[*]", r#"{"a":{"b":[]}}"#, Ok(0)),
        ("$[*]", "[]", Ok(0)),
        ("$[*]", "{}", Err("shape")),
        ("$[*]", r#"{"error":"x"}"#, Err("shape")),
        ("$[*]", "null", Err("shape")),
        ("$.a[*]", "{}", Err("shape")),
        ("$.a[*]", "[]", Err("shape")),
        ("$.a[*]", r#"{"a":null}"#, Err("shape")),
        ("$.a[*]", r#"{"a":{"x":"y"}}"#, Err("shape")),
        ("$.a[*]", r#"{"a":"x"}"#, Err("shape")),
        ("$.a.b[*]", r#"{"a":[{"b":[]}]}"#, Err("shape")),
        ("$[1].a[*]", r#"[0,{"a":["x","y"]}]"#, Ok(2)),
        ("$[1].a[*]", r#"[{"a":["x"]}]"#, Err("shape")),
        ("$[*].a[*]", r#"[{"a":["x"]},{"a":["y","z"]}]"#, Ok(3)),
        ("$[*].a[*]", "[]", Ok(0)),
        ("$[*].a[*]", r#"[{"a":["x"]},{}]"#, Err("shape")),
        // The last of equal names counts, whatever the others are.
        ("$.a[*]", r#"{"a":["x","y"],"a":["z"]}"#, Ok(1)),
        ("$.a[*]", r#"{"a":null,"a":["z"]}"#, Ok(1)),
        ("$.a[*]", r#"{"a":["z"],"a":null}"#, Err("shape")),
        ("$.a[*]", r#"{"\u0061":["z"]}"#, Ok(1)),
        // With a filter, what stands before it.
        ("$.a[?@ != 'y']", r#"{"a":["x","y","z"]}"#, Ok(2)),
        ("$.a[?@ == 'y']", r#"{"a":["x"]}"#, Ok(0)),
        ("$.a[?@ == 'y']", r#"{"error":1}"#, Err("shape")),
        ("$.a[?@ == 'y']", r#"{"a":{"b":"y"}}"#, Err("shape")),
        ("$.a[?@ == 'y']", r#"{"a":["y"],"a":null}"#, Err("shape")),
        ("$.a..b", r#"{"a":{"b":"x","c":[{"b":"y"}]}}"#, Ok(2)),
        ("$.a..b", r#"{"c":{"b":"x"}}"#, Err("shape")),
        ("$..b[*]", r#"{"a":{"b":["x"],"c":[{"b":["y"]}]}}"#, Ok(2)),
    ] {
        let found = walk(text, &rules(path)).map(|walk| walk.entries.len());
        assert_eq!(
            found.map_err(|error| error.reason()),
            expected,
            "{path} in {text}"
        );
    }
}

#[test]
fn shape_faults_name_the_place() {
    for (text, message) in [
        ("{}", "wrong shape: `$.a` is missing"),
        ("[]", "wrong shape: `$` is an array, not an object"),
        (
            r#"{"a":{}}"#,
            "wrong shape: `$.a` is an object, not an array",
        ),
        (r#"{"a":null}"#, "wrong shape: `$.a` is null, not an array"),
    ] {
        let error = walk(text, &items("$.a[*]", &["$.id"])).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

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

#[test]
fn items_beyond_the_bound_are_refused() {
    let rules = items("$[*]", &["$"]);
    for rules in [rules, items("$[:]", &["$"])] {
        assert_eq!(read(b"[1,2]", &rules, 2).unwrap().entries.len(), 2);
        assert_eq!(
            read(b"[1,2,2]", &rules, 2).unwrap_err(),
            Unreadable::TooMany(2)
        );
    }
}

#[test]
fn the_walk_counts_but_its_order_does_not() {
    let rules = items("$[*]", &["$.id"]);
    let of = |text: &str| walk(text, &rules).unwrap().digest;
    assert_eq!(of(r#"[{"id":1},{"id":2}]"#), of(r#"[{"id":2},{"id":1}]"#));
    let all = [
        of("[]"),
        of(r#"[{"id":1}]"#),
        of(r#"[{"id":2}]"#),
        of(r#"[{"id":1},{"id":2}]"#),
    ];
    for (index, one) in all.iter().enumerate() {
        assert!(!all[index + 1..].contains(one));
    }
}

#[test]
fn rules_are_the_same_only_if_they_read_the_same() {
    let rules = [
        document(),
        ignoring(&["$.a"]),
        ignoring(&["$.a", "$.b"]),
        only(&["$.a"]),
        only(&[]),
        Rules {
            unordered: paths(&["$.a"]),
            ..document()
        },
        items("$[*]", &["$.a"]),
        items("$[*]", &["$.a", "$.b"]),
        items("$[*]", &["$.b", "$.a"]),
    ];
    for (index, one) in rules.iter().enumerate() {
        assert_eq!(one.digest(), one.clone().digest());
        assert!(
            rules[index + 1..]
                .iter()
                .all(|other| other.digest() != one.digest())
        );
    }
    assert_eq!(ignoring(&["$.b", "$.a"]).digest(), rules[2].digest());
}
