//! What webhooks look like, and what must not be in them.

use serde_json::json;
use serde_json::value::RawValue;

use super::*;
use crate::digest::Digest;
use crate::event::{Cause, Content, EventId, EventKey, OPERATIONAL_SOURCE, Partition, operational};
use crate::time::Timestamp;

mod templates;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).expect("valid JSON")
}

fn event(kind: Kind, content: Box<str>) -> Event {
    Event {
        id: EventId::new(EventKey::new(3, 0), 7),
        source: "issues".into(),
        kind,
        partition: Partition::default(),
        subject: "42".into(),
        sequence: 1007,
        at: Timestamp::from_millis(0),
        cause: Cause::Poll,
        content,
    }
}

/// An update of an item from `previous` to `current`, with this patch.
fn updated(previous: &str, current: &str, patch: &str) -> Event {
    let (previous, current, patch) = (raw(previous), raw(current), raw(patch));
    let content = Content {
        current: Some(&current),
        digest: Some(Digest::from_bytes([1; 16])),
        previous: Some(&previous),
        previous_digest: Some(Digest::from_bytes([2; 16])),
        patch: Some(&patch),
    };
    event(Kind::Updated, content.members())
}

fn closed() -> Event {
    let patch = r#"[{"op":"replace","path":"/state","value":"closed"}]"#;
    updated(r#"{"state":"open"}"#, r#"{"state":"closed"}"#, patch)
}

fn created() -> Event {
    let current = raw(r#"{"state":"open"}"#);
    let content = Content {
        current: Some(&current),
        digest: Some(Digest::from_bytes([1; 16])),
        ..Content::default()
    };
    event(Kind::Created, content.members())
}

fn failing() -> Event {
    Event {
        source: OPERATIONAL_SOURCE.into(),
        kind: Kind::SourceFailing,
        subject: "source/issues".into(),
        content: operational(("source", "issues"), "status", 3, Timestamp::from_millis(0)),
        ..created()
    }
}

fn with(payload: Payload) -> Rendering {
    Rendering {
        payload,
        admin: Some("https://bell.example".into()),
        ..Rendering::default()
    }
}

fn of_format(format: Format) -> Rendering {
    Rendering {
        format,
        ..Rendering::default()
    }
}

fn without_nodes(paths: &[&str]) -> Rendering {
    let mut redact = Redaction::default();
    for path in paths {
        redact.add(path).expect("a path");
    }
    Rendering {
        redact,
        ..Rendering::default()
    }
}

fn body(rendering: &Rendering, event: &Event) -> Value {
    let rendered = rendering.render(event).expect("it can be rendered");
    serde_json::from_str(&rendered.body).expect("JSON")
}

fn told(rendering: &Rendering, event: &Event) -> Vec<String> {
    let body = body(rendering, event);
    let data = body["data"].as_object().expect("`data` is an object");
    let item = ["current", "previous", "patch", "link"].into_iter();
    item.filter(|name| data.contains_key(*name))
        .map(Into::into)
        .collect()
}

#[test]
fn the_usual_webhook_is_the_whole_event_byte_for_byte() {
    for event in [created(), closed(), failing()] {
        let rendered = Rendering::default().render(&event).expect("rendered");
        assert_eq!(rendered.body, event.body());
        assert_eq!(rendered.content_type, "application/json");
        assert!(rendered.headers.is_empty());
    }
}

#[test]
fn a_payload_tells_as_much_as_it_is_told_to() {
    let gone = event(
        Kind::Deleted,
        r#""previous":{"a":1},"previous_digest":"x""#.into(),
    );
    let unpatched = event(
        Kind::Updated,
        r#""current":1,"previous":2,"digest":"x""#.into(),
    );
    for (payload, event, expected) in [
        (
            Payload::Full,
            closed(),
            &["current", "previous", "patch"][..],
        ),
        (Payload::Patch, closed(), &["patch"]),
        (Payload::Patch, created(), &["current"]),
        (Payload::Patch, unpatched, &["current"]),
        (Payload::Patch, gone.clone(), &[]),
        (Payload::Thin, closed(), &["link"]),
        (Payload::Thin, created(), &["link"]),
        (Payload::Thin, gone, &["link"]),
    ] {
        assert_eq!(
            told(&with(payload), &event),
            expected,
            "{payload:?} {event:?}"
        );
    }
    let thin = body(&with(Payload::Thin), &closed());
    let expected = json!({
        "type": "issues.updated", "timestamp": "1970-01-01T00:00:00.000Z",
        "data": { "source": "issues", "subject": "42", "sequence": 1007, "cause": "poll",
            "digest": "01".repeat(16), "previous_digest": "02".repeat(16),
            "link": "https://bell.example/api/v1/events/evt_00000000030000000000000000000007" }
    });
    assert_eq!(thin, expected);
    let unlinked = Rendering {
        admin: None,
        ..with(Payload::Thin)
    };
    assert_eq!(told(&unlinked, &closed()), Vec::<String>::new());
}

#[test]
fn what_is_too_large_becomes_thin_and_what_fits_exactly_does_not() {
    let length = closed().body().len();
    for payload in [Payload::Full, Payload::Patch] {
        let least = with(payload)
            .render(&closed())
            .expect("rendered")
            .body
            .len();
        assert!(least <= length);
        for (bytes_max, is_thin) in [(least, false), (least - 1, true), (1, true)] {
            let bounded = Rendering {
                bytes_max,
                ..with(payload)
            };
            let is_linked = told(&bounded, &closed()) == ["link"];
            assert_eq!(is_linked, is_thin, "{payload:?} in {bytes_max}");
        }
    }
}

#[test]
fn a_structured_cloud_event_has_its_attributes_beside_the_data() {
    let rendering = of_format(Format::CloudEvents);
    let rendered = rendering.render(&closed()).expect("rendered");
    assert_eq!(
        rendered.content_type,
        "application/cloudevents+json; charset=UTF-8"
    );
    assert!(rendered.headers.is_empty());
    let standard = body(&Rendering::default(), &closed());
    let expected = json!({
        "specversion": "1.0", "id": "evt_00000000030000000000000000000007",
        "source": "/sources/issues", "type": "issues.updated", "subject": "42",
        "time": "1970-01-01T00:00:00.000Z", "sequence": "00000000000000001007",
        "datacontenttype": "application/json", "data": standard["data"],
    });
    assert_eq!(body(&rendering, &closed()), expected);
    let own = body(&rendering, &failing());
    assert_eq!(own["source"], "/sources/doorbell");
    assert_eq!(own["subject"], "source/issues");
    assert_eq!(own.get("sequence"), None, "operational events have none");
}

#[test]
fn a_binary_cloud_event_has_its_attributes_in_headers() {
    let rendering = of_format(Format::CloudEventsBinary);
    let rendered = rendering.render(&closed()).expect("rendered");
    assert_eq!(rendered.content_type, "application/json");
    let header = |name: &str| rendered.headers[name].to_str().expect("ASCII");
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "evt_00000000030000000000000000000007"),
        ("ce-source", "/sources/issues"),
        ("ce-type", "issues.updated"),
        ("ce-subject", "42"),
        ("ce-time", "1970-01-01T00:00:00.000Z"),
        ("ce-sequence", "00000000000000001007"),
    ] {
        assert_eq!(header(name), value, "{name}");
    }
    assert_eq!(rendered.headers.len(), 7);
    let standard = body(&Rendering::default(), &closed());
    assert_eq!(body(&rendering, &closed()), standard["data"]);
}

#[test]
fn subjects_are_encoded_in_headers_and_left_out_where_there_is_none_to_show() {
    for (subject, header, attribute) in [
        ("a b", Some("a%20b"), Some("a b")),
        ("50%\"", Some("50%25%22"), Some("50%\"")),
        ("Tür €", Some("T%C3%BCr%20%E2%82%AC"), Some("Tür €")),
        ("😀", Some("%F0%9F%98%80"), Some("😀")),
        ("[\"a\",1]", Some("[%22a%22,1]"), Some("[\"a\",1]")),
        ("~!'()*", Some("~!'()*"), Some("~!'()*")),
        ("", None, None),
        ("a\nb", None, None),
        ("a\u{9f}b", None, None),
        ("\u{ffff}", None, None),
    ] {
        let event = Event {
            subject: subject.into(),
            ..closed()
        };
        let rendering = of_format(Format::CloudEventsBinary);
        let rendered = rendering.render(&event).expect("rendered");
        let shown = rendered.headers.get("ce-subject");
        assert_eq!(
            shown.and_then(|value| value.to_str().ok()),
            header,
            "{subject:?}"
        );
        let structured = body(&of_format(Format::CloudEvents), &event);
        assert_eq!(structured.get("subject").and_then(Value::as_str), attribute);
        assert_eq!(structured["data"]["subject"], subject);
    }
}

#[test]
fn what_is_redacted_leaves_both_forms_and_the_patch() {
    let event = updated(
        r#"{"email":"a@x","user":{"mail":"b@x","n":1},"state":1}"#,
        r#"{"email":"c@x","user":{"mail":"d@x","n":2},"state":2}"#,
        r#"[{"op":"replace","path":"/email","value":"c@x"},
            {"op":"replace","path":"/user","value":{"mail":"d@x","n":2}},
            {"op":"replace","path":"/state","value":2}]"#,
    );
    for paths in [
        &["$.data.current.email", "$.data.current.user.mail"][..],
        &[
            "$.data.previous.email",
            "$['data'][\"current\"]['user'].mail",
        ],
        &["$..email", "$..mail"],
        &["$.data.*['email']", "$.data[*].user.mail"],
    ] {
        let data = &body(&without_nodes(paths), &event)["data"];
        assert_eq!(
            data["current"],
            json!({"user": {"n": 2}, "state": 2}),
            "{paths:?}"
        );
        assert_eq!(
            data["previous"],
            json!({"user": {"n": 1}, "state": 1}),
            "{paths:?}"
        );
        let patch = json!([{"op": "replace", "path": "/user", "value": {"n": 2}},
            {"op": "replace", "path": "/state", "value": 2}]);
        assert_eq!(data["patch"], patch, "{paths:?}");
    }
}

#[test]
fn redaction_reaches_operations_above_at_and_below_a_node() {
    let item = r#"{"list":[{"k":"secret","v":1}],"a/b~":{"deep":"secret"},"x":1}"#;
    let redaction = without_nodes(&["$.data.current.list[*].k", "$.data.current['a/b~']"]);
    for (operation, expected) in [
        (
            r#"{"op":"replace","path":"","value":ITEM}"#,
            Some(json!({"list": [{"v": 1}], "x": 1})),
        ),
        (
            r#"{"op":"add","path":"/list","value":[{"k":"secret","v":1},{"k":"secret"}]}"#,
            Some(json!([{"v": 1}, {}])),
        ),
        (
            r#"{"op":"add","path":"/list/7","value":{"k":"secret","v":1}}"#,
            Some(json!({"v": 1})),
        ),
        (
            r#"{"op":"add","path":"/list/-","value":{"k":"secret","v":1}}"#,
            Some(json!({"v": 1})),
        ),
        (
            r#"{"op":"replace","path":"/list/7/k","value":"secret"}"#,
            None,
        ),
        (
            r#"{"op":"add","path":"/list/7/k/more","value":"secret"}"#,
            None,
        ),
        (
            r#"{"op":"add","path":"/a~1b~0","value":{"deep":"secret"}}"#,
            None,
        ),
        (
            r#"{"op":"replace","path":"/a~1b~0/deep","value":"secret"}"#,
            None,
        ),
        (r#"{"op":"remove","path":"/list/0/k"}"#, None),
    ] {
        let operation = operation.replace("ITEM", item);
        let event = updated(item, item, &format!("[{operation}]"));
        let rendered = redaction.render(&event).expect("rendered").body;
        assert!(!rendered.contains("secret"), "{rendered}");
        let body: Value = serde_json::from_str(&rendered).expect("JSON");
        let value = body["data"]["patch"]
            .get(0)
            .map(|operation| operation["value"].clone());
        assert_eq!(value, expected, "{operation}");
    }
    let kept = r#"[{"op":"remove","path":"/list/0"},{"op":"replace","path":"/x","value":1}]"#;
    let event = updated(item, item, kept);
    let patch = &body(&redaction, &event)["data"]["patch"];
    assert_eq!(*patch, serde_json::from_str::<Value>(kept).expect("JSON"));
}

#[test]
fn nodes_chosen_by_a_filter_leave_the_patch_wherever_it_counts_them() {
    let event = updated(
        r#"{"people":[{"name":"eve","private":true},{"name":"bob"}]}"#,
        r#"{"people":[{"name":"bob"},{"name":"mallory","private":true}]}"#,
        r#"[{"op":"replace","path":"/people/0/name","value":"mallory"}]"#,
    );
    let redaction = without_nodes(&["$.data.current.people[?@.private].name"]);
    let rendered = redaction.render(&event).expect("rendered").body;
    assert!(
        !rendered.contains("mallory") && !rendered.contains("eve"),
        "{rendered}"
    );
    assert!(rendered.contains("bob"), "{rendered}");
}

#[test]
fn redaction_of_a_whole_form_takes_the_other_and_the_patch_along() {
    let redaction = without_nodes(&["$.data.current"]);
    assert_eq!(told(&redaction, &closed()), Vec::<String>::new());
    assert_eq!(
        body(&redaction, &closed())["data"]["digest"],
        "01".repeat(16)
    );
}

#[test]
fn redaction_touches_no_byte_of_what_stays() {
    let current = r#"{ "n":12345678901234567890123, "f": 1.10,"big":1e999,"x":"secret",
        "x":"secret", "\u0078":"secret","t":"\u00e9\/"}"#;
    let event = updated("{}", current, "[]");
    let rendered = without_nodes(&["$.data.current.x"]).render(&event);
    let rendered = rendered.expect("rendered").body;
    assert!(!rendered.contains("secret"), "{rendered}");
    for kept in [
        r#""n":12345678901234567890123"#,
        "1.10",
        "1e999",
        r#""\u00e9\/""#,
    ] {
        assert!(rendered.contains(kept), "{kept} in {rendered}");
    }
}

#[test]
fn a_redacted_subject_is_no_attribute_either() {
    for path in ["$.data.subject", "$..subject"] {
        let redact = without_nodes(&[path]).redact;
        for format in [Format::CloudEvents, Format::CloudEventsBinary] {
            let rendering = Rendering {
                redact: redact.clone(),
                ..of_format(format)
            };
            let event = Event {
                subject: "eve@x".into(),
                ..closed()
            };
            let rendered = rendering.render(&event).expect("rendered");
            assert!(!rendered.body.contains("eve"), "{rendered:?}");
            assert!(!rendered.headers.contains_key("ce-subject"), "{rendered:?}");
        }
    }
}

#[test]
fn a_payload_keeps_its_own_words_whatever_is_redacted() {
    let rendered = body(&without_nodes(&["$.*", "$..type", "$..*"]), &closed());
    assert_eq!(
        rendered,
        json!({"type": "issues.updated",
        "timestamp": "1970-01-01T00:00:00.000Z", "data": {}})
    );
}

#[test]
fn paths_that_would_redact_nothing_or_all_are_refused() {
    let mut redaction = Redaction::default();
    for (path, why) in [
        ("data.current.email", "begins with `$`"),
        ("$", "would leave nothing"),
        ("$.data", "would leave nothing"),
        ("$.current.email", "not `current`: write `$.data.current.…`"),
        ("$['email']", "not `email`"),
        ("$.data.email", "`data` has no `email`"),
        ("$.type", "every payload has its `type`"),
        ("$.data.current[", "no JSONPath"),
    ] {
        let refused = redaction.add(path).expect_err(path);
        assert!(refused.message.contains(why), "{path}: {refused}");
        assert!(refused.position <= path.len());
    }
    assert!(redaction.is_empty());
}

/// The deepest item that is ever read, inside a payload that is deeper still.
#[test]
fn the_deepest_item_is_filtered_redacted_and_rendered() {
    let deep = format!("{}\"secret\"{}", "[".repeat(126), "]".repeat(126));
    let event = updated("{}", &format!("{{\"a\":{deep}}}"), "[]");
    let rendered = without_nodes(&["$.data.current.a"]).render(&event);
    assert!(!rendered.expect("rendered").body.contains("secret"));
    let filter = crate::event::Filter::parse("$[?@..[?@ == 'secret']]").expect("a filter");
    assert!(filter.takes(&event));
    assert!(!filter.takes(&closed()));
}

#[test]
fn a_filter_looks_at_the_full_payload() {
    let filter = |text: &str| crate::event::Filter::parse(text);
    for (text, takes) in [
        ("$[?@.data.current.state == 'closed']", true),
        ("$[?@.data.previous.state == 'closed']", false),
        (
            "$[?@.type == 'issues.updated' && @.data.sequence > 1006]",
            true,
        ),
        ("$[?@.data.patch[?@.path == '/state']]", true),
        ("$[?@['data'].subject == '42']", true),
        ("$[?!@.data.current.missing]", true),
        ("$[?match(@.data.subject, '4.')]", true),
        ("$..state", true),
    ] {
        assert_eq!(
            filter(text).map(|f| f.takes(&closed())),
            Ok(takes),
            "{text}"
        );
    }
    for (text, why) in [
        ("$", "selects always"),
        ("$.data.current", "never selects"),
        ("$['data']", "never selects"),
        (
            "$[?@.current.state == 'x']",
            "not `current`: write `@.data.current.…`",
        ),
        ("$[?@.state]", "not `state`"),
        ("@.data", "begins with `$`"),
        ("$[?", "no JSONPath"),
    ] {
        let refused = filter(text).expect_err(text);
        assert!(refused.message.contains(why), "{text}: {refused}");
    }
    // A number beyond all doubles is larger than all others.
    let large = updated("{}", r#"{"n":1e999,"m":-1e999}"#, "[]");
    for n in ["$[?@.data.current.n > 5]", "$[?@.data.current.m < -5]"] {
        assert!(filter(n).expect("a filter").takes(&large), "{n}");
    }
}
