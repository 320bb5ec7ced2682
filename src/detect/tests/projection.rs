//! What of an item counts, one example each.

use super::super::Rules;
use super::{document, form, ignoring, only, paths, walk};

#[test]
fn only_keeps_what_is_listed_and_what_holds_it() {
    for (path, text, expected) in [
        ("$.a", r#"{"a":{"x":[]},"b":1}"#, r#"{"a":{"x":[]}}"#),
        ("$.a.b", r#"{"a":{"b":null,"c":1}}"#, r#"{"a":{"b":null}}"#),
        ("$.a.b", r#"{"a":{"c":1}}"#, "null"),
        ("$.a.b", r#"{"a":5}"#, "null"),
        (
            "$.a[*].b",
            r#"{"a":[{"b":1,"c":2},{"c":3},7]}"#,
            r#"{"a":[{"b":1}]}"#,
        ),
        ("$.a.b", r#"{"a":{"b":1},"z":1,"a":2}"#, "null"),
        ("$.a.b", r#"{"a":2,"a":{"b":1}}"#, r#"{"a":{"b":1}}"#),
        ("$", r#"{"a":1}"#, r#"{"a":1}"#),
        ("$..b", r#"{"a":[{"b":1,"c":2}]}"#, r#"{"a":[{"b":1}]}"#),
    ] {
        assert_eq!(
            form(text, &only(&[path])).unwrap(),
            expected,
            "{path} of {text}"
        );
    }
}

#[test]
fn ignored_members_leave_no_trace_wherever_they_are() {
    for (path, text, expected) in [
        ("$.a", r#"{"a":{"x":[]},"b":1}"#, r#"{"b":1}"#),
        ("$.a.b", r#"{"a":{"b":1}}"#, r#"{"a":{}}"#),
        (
            "$.a[*].b",
            r#"{"a":[{"b":1,"c":2},{"b":3}]}"#,
            r#"{"a":[{"c":2},{}]}"#,
        ),
        (
            "$.*.b",
            r#"{"a":{"b":1},"c":[{"b":1}]}"#,
            r#"{"a":{},"c":[{"b":1}]}"#,
        ),
        ("$.a[0]", r#"{"a":[1,2]}"#, r#"{"a":[2]}"#),
        (
            "$..b",
            r#"{"a":[{"b":1,"c":{"b":2}}]}"#,
            r#"{"a":[{"c":{}}]}"#,
        ),
        ("$['\\u0061']", r#"{"a":1}"#, "{}"),
        (
            "$.a[?@.b == 9007199254740993]",
            r#"{"a":[{"b":9007199254740993},{"b":1}]}"#,
            r#"{"a":[{"b":1}]}"#,
        ),
    ] {
        assert_eq!(
            form(text, &ignoring(&[path])).unwrap(),
            expected,
            "{path} of {text}"
        );
    }
}

#[test]
fn unordered_lists_have_no_order_but_their_elements_count() {
    let rules = Rules {
        unordered: paths(&["$.tags", "$.sets[*]"]),
        ..document()
    };
    let of = |text: &str| walk(text, &rules).unwrap().digest;
    assert_eq!(
        of(r#"{"tags":["b",{"y":1,"x":2},"a"]}"#),
        of(r#"{"tags":[{"x":2,"y":1},"a","b"]}"#)
    );
    assert_eq!(of(r#"{"sets":[[1,2],[3]]}"#), of(r#"{"sets":[[2,1],[3]]}"#));
    assert_ne!(of(r#"{"sets":[[1,2],[3]]}"#), of(r#"{"sets":[[3],[1,2]]}"#));
    assert_ne!(
        of(r#"{"tags":["a","a","b"]}"#),
        of(r#"{"tags":["a","b","b"]}"#)
    );
    assert_ne!(of(r#"{"tags":[[1,2]]}"#), of(r#"{"tags":[[2,1]]}"#));
    assert_ne!(of(r#"{"other":[1,2]}"#), of(r#"{"other":[2,1]}"#));
}
