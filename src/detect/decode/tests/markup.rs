//! XML.

use serde_json::json as value;

use super::*;

#[test]
fn an_element_is_its_text_or_an_object_of_all_it_has() {
    for (body, expected) in [
        ("<a/>", value!({"a": ""})),
        (
            "<?xml version='1.0'?>\n<!-- x --><a>\n b \n</a>\n",
            value!({"a": "b"}),
        ),
        ("<a><b>1</b></a>", value!({"a": {"b": ["1"]}})),
        (
            "<a><b>1</b><c/><b>2</b></a>",
            value!({"a": {"b": ["1", "2"], "c": [""]}}),
        ),
        (
            "<a x='1' y=\"&lt;&#65;&#x42;\">t</a>",
            value!({"a": {"@x": "1", "@y": "<AB", "#text": "t"}}),
        ),
        ("<a x='1'/>", value!({"a": {"@x": "1"}})),
        (
            "<a>one <b>two</b> three</a>",
            value!({"a": {"#text": "one  three", "b": ["two"]}}),
        ),
        (
            "<a><![CDATA[<b>&amp;]]> &amp; &gt;</a>",
            value!({"a": "<b>&amp; & >"}),
        ),
        (
            "<x:a xmlns:x='u'><x:b/></x:a>",
            value!({"x:a": {"@xmlns:x": "u", "x:b": [""]}}),
        ),
        ("<!DOCTYPE a SYSTEM 'a.dtd'><a/>", value!({"a": ""})),
        ("<a>x<?php echo ?>y</a>", value!({"a": "xy"})),
        ("<é>ü</é>", value!({"é": "ü"})),
    ] {
        assert_eq!(json(Format::Xml, body), expected, "{body}");
    }
}

#[test]
fn one_item_is_a_list_as_two_are() {
    let rules = items("$.list.item[*]", "$.id[0]");
    let of = |body: &str| ids(Format::Xml, body, &rules);
    let item = |id: u32| format!("<item><id>{id}</id></item>");
    assert_eq!(
        of(&format!("<list>{}</list>", item(1))),
        Ok(vec!["1".to_owned()])
    );
    let two = of(&format!("<list>{}{}</list>", item(1), item(2)));
    assert_eq!(two, Ok(vec!["1".to_owned(), "2".to_owned()]));
    assert_eq!(of("<list></list>"), Err("shape"));
    assert_eq!(of("<list n='0'/>"), Err("shape"));
    let attributes = items("$.list.item[*]", "$['@id']");
    let found = ids(Format::Xml, "<list><item id='a'/></list>", &attributes);
    assert_eq!(found, Ok(vec!["a".to_owned()]));
}

#[test]
fn what_is_not_well_formed_is_told() {
    for body in [
        "   ",
        "not markup at all",
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "<a/>trailing",
        "leading<a/>",
        "</a>",
        "<a",
        "<a x></a>",
        "<a x=1/>",
        "<a x='1' x='2'/>",
        "<a>&nbsp;</a>",
        "<a x='&nbsp;'/>",
        "<a>&#0;</a>",
        "<a>&#1;</a>",
        "<a>&#xd800;</a>",
        "<a>\u{1}</a>",
        "<1a/>",
        "<@a/>",
        "<a><!-- x</a>",
        "<a><![CDATA[x</a>",
        "<html xmlns='http://www.w3.org/1999/xhtml'><body>Sign in</body></html>",
        "<HTML></HTML>",
        "<!doctype html><html><br></html>",
        "{\"error\": \"internalservererror\"}",
    ] {
        assert_eq!(fault(Format::Xml, body), "parse", "{body}");
    }
}

#[test]
fn entities_of_a_documents_own_are_refused_before_they_grow() {
    let laughs = "<!DOCTYPE lolz [<!ENTITY lol \"lol\">\
                  <!ENTITY lol1 \"&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;\">\
                  <!ENTITY lol2 \"&lol1;&lol1;&lol1;&lol1;&lol1;&lol1;&lol1;&lol1;&lol1;\">]>\
                  <lolz>&lol2;</lolz>";
    let outside = "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>";
    for body in [laughs, outside, "<!DOCTYPE a []><a/>"] {
        assert_eq!(fault(Format::Xml, body), "parse", "{body}");
        assert_eq!(fault(Format::Feed, body), "parse", "{body}");
    }
}

#[test]
fn depth_is_bounded_by_what_json_may_be_deep() {
    let nested = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
    assert!(raw(Format::Xml, nested(60).as_bytes(), &Rules::default()).is_ok());
    for depth in [61, 100_000] {
        assert_eq!(fault(Format::Xml, &nested(depth)), "parse");
        assert_eq!(fault(Format::Xml, &"<a>".repeat(depth)), "parse");
    }
}

#[test]
fn a_document_that_is_cut_anywhere_is_told_of() {
    let whole = "<?xml version='1.0'?><a x='1'><b>é &amp; x</b><!-- c --><c/><![CDATA[d]]></a>";
    assert!(raw(Format::Xml, whole.as_bytes(), &Rules::default()).is_ok());
    for cut in 0..whole.len() {
        let cut = raw(Format::Xml, &whole.as_bytes()[..cut], &Rules::default());
        assert!(cut.is_err(), "{cut:?}");
    }
}
