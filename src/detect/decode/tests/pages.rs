//! HTML.

use serde_json::json as value;

use super::*;

const PAGE: &str = "<!doctype html><html><head><title> The
 list </title><style>p{}</style></head><body><h1>News</h1>
<table id=t><tr class='row one' data-n=1><td>A<b>b</b>c<td><a href='/x?a=1&amp;b=2'>x</a></tr>
<tr class=row><td>B<script>var x = 'secret';</script></td><td></table><p>End</html>\n";

fn selecting(selector: &str, id: &str) -> Rules {
    Rules {
        selector: Some(Selector::parse(selector).expect("a selector")),
        ..items("$[*]", id)
    }
}

#[test]
fn what_is_selected_is_a_list() {
    let rules = selecting("table#t tr.row", "$.text");
    let json = raw(Format::Html, PAGE.as_bytes(), &rules).expect("a page");
    let rows: Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(
        rows[0],
        value!({
            "tag": "tr", "text": "Abc x", "links": ["/x?a=1&b=2"],
            "attributes": {"class": "row one", "data-n": "1"},
            "html": "<td>A<b>b</b>c</td><td><a href=\"/x?a=1&amp;b=2\">x</a></td>",
        })
    );
    assert_eq!(rows[1]["text"], "B", "nobody reads scripts");
    let by = |selector: &str, id: &str| ids(Format::Html, PAGE, &selecting(selector, id));
    assert_eq!(
        by("tr", "$.text"),
        Ok(vec!["Abc x".to_owned(), "B".to_owned()])
    );
    assert_eq!(
        by("tr:first-child", "$.links[0]"),
        Ok(vec!["/x?a=1&b=2".to_owned()])
    );
    assert_eq!(
        by("tr:first-child", "$.attributes['data-n']"),
        Ok(vec!["1".to_owned()])
    );
    assert_eq!(by("tr", "$.links[0]"), Err("id"));
    assert_eq!(by("h1", "$.tag"), Ok(vec!["h1".to_owned()]));
    assert_eq!(by("tr:has(a)", "$.text"), Ok(vec!["Abc x".to_owned()]));
}

#[test]
fn a_page_without_what_is_watched_is_another_page() {
    let rules = selecting("tr.row", "$.text");
    for page in [
        "<html><form action=/login>Sign in</form></html>",
        "<p>We will be back soon.",
        "<HTML></HTML>",
    ] {
        assert_eq!(ids(Format::Html, page, &rules), Err("shape"), "{page}");
    }
    for page in [
        "Service Unavailable",
        "{\"error\": 1}",
        "<html><tr class=row>",
    ] {
        assert_eq!(ids(Format::Html, page, &rules), Err("parse"), "{page}");
    }
}

#[test]
fn a_whole_page_is_its_text() {
    let expected = value!({"title": "The list", "text": "News Abc x B End"});
    assert_eq!(json(Format::Html, PAGE), expected);
    assert_eq!(
        fault(Format::Html, "<html><script>x</script></html>"),
        "parse"
    );
}

#[test]
fn a_page_that_is_cut_anywhere_is_told_of() {
    let end = PAGE.find("</html>").expect("an end") + "</html>".len();
    for rules in [selecting("tr", "$.text"), Rules::default()] {
        for cut in 0..PAGE.len() {
            let found = raw(Format::Html, &PAGE.as_bytes()[..cut], &rules);
            assert_eq!(found.is_ok(), cut >= end, "{cut}");
        }
    }
}

#[test]
fn what_is_no_selector_is_refused() {
    for text in ["", "tr >", "tr[", "$.a[*]", "..", &"a ".repeat(600)] {
        assert!(Selector::parse(text).is_err(), "{text}");
    }
}

/// Each of these takes a parser of pages time or memory as the square of its length.
#[test]
fn trees_are_bounded_while_they_grow() {
    let formats: Vec<String> = (0..20_000).map(|n| format!("<p><b a={n}></p>")).collect();
    let formats = formats.concat();
    for page in [
        "<div>".repeat(100_000),
        "<div>".repeat(300) + &"</body><!-- x -->".repeat(100),
        formats,
        "<p>".repeat(300_000),
        "<table>".repeat(100_000),
    ] {
        assert_eq!(fault(Format::Html, &page), "parse", "{}", &page[..20]);
    }
    let deep = "<div>".repeat(200) + "x";
    assert!(raw(Format::Html, deep.as_bytes(), &Rules::default()).is_ok());
}

#[test]
fn how_a_page_is_indented_is_no_change() {
    let rules = selecting("li", "$.attributes.id");
    let of = |inside: &str| {
        let page = format!("<html><body><ul><li id=\"a\">{inside}</li></ul></body></html>");
        let json = raw(Format::Html, page.as_bytes(), &rules).expect("a page");
        String::from_utf8(json).expect("text")
    };
    let dense = of("<b>x</b> <i>y</i><p>z z</p>");
    assert_eq!(of("\n  <b>x</b>\n  <i>y</i>\n  <p>\n z\n  z </p>\n"), dense);
    assert!(dense.contains("<b>x</b> <i>y</i><p>z z</p>"), "{dense}");
    assert_ne!(of("<b>x</b><i>y</i><p>z z</p>"), dense);
    assert_ne!(of("<pre>a  b</pre>"), of("<pre>a b</pre>"));
    assert_ne!(of("<b>x </b>y"), of("<b>x</b>y"));
}
