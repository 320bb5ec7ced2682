//! What a response may be, one example each.

use super::super::{Rules, Unreadable};
use super::{document, fault, form, ignoring, items, only, paths, read, subjects, walk};

fn canonical(text: &str) -> String {
    form(text, &document()).unwrap()
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

#[test]
fn a_walk_knows_its_subjects_apart_from_what_counts() {
    let rules = Rules {
        fields: only(&["$.x"]).fields,
        ..items("$[*]", &["$.id"])
    };
    let of = |id: u32| walk(&format!(r#"[{{"id":{id},"x":1}}]"#), &rules).unwrap();
    assert_eq!(of(1).entries[0].digest, of(2).entries[0].digest);
    assert_ne!(of(1).digest, of(2).digest);
}

#[test]
fn every_item_of_a_long_walk_counts() {
    let rules = items("$[*]", &["$.id"]);
    let of = |changed: usize| {
        let item = |id| format!(r#"{{"id":{id},"v":{}}}"#, id == changed);
        let list: Vec<String> = (1_000..9_000).map(item).collect();
        let body = format!("[{}]", list.join(","));
        read(body.as_bytes(), &rules, 8_000).unwrap().digest
    };
    let digests = [of(0), of(1_000), of(5_000), of(8_999)];
    for (index, one) in digests.iter().enumerate() {
        assert!(!digests[index + 1..].contains(one));
    }
}

#[test]
fn the_last_in_the_text_counts_however_it_was_found() {
    let text = r#"{"b":{"x":{"id":1,"v":1}},"a":{"x":{"id":1,"v":2}}}"#;
    let walk = walk(text, &items("$..x", &["$.id"])).unwrap();
    assert_eq!(&text[walk.entries[0].range.clone()], r#"{"id":1,"v":2}"#);
}

#[test]
fn of_many_equal_names_the_last_counts() {
    let members: Vec<String> = (0..200).map(|n| format!(r#""{}":{n}"#, n % 3)).collect();
    let text = format!("{{{}}}", members.join(","));
    assert_eq!(canonical(&text), r#"{"0":198,"1":199,"2":197}"#);
}
