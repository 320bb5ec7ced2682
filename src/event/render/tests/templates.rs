//! Templates: what they can write, and what they cannot do.

use super::*;

fn template(source: &str) -> Result<Rendering, TemplateError> {
    of_type(source, "application/json")
}

fn of_type(source: &str, content_type: &'static str) -> Result<Rendering, TemplateError> {
    let content_type = HeaderValue::from_static(content_type);
    Template::parse(source, content_type).map(|template| of_format(Format::Template(template)))
}

fn written(source: &str, event: &Event) -> Result<String, RenderError> {
    let rendering = template(source).expect("a template");
    rendering.render(event).map(|rendered| rendered.body)
}

#[test]
fn a_template_is_filled_with_the_payload() {
    let source = r#"{"text": "{{ type }} #{{ data.sequence }}: {{ data.subject }} is
        {{- ' ' ~ data.current.state | upper }} ({{ id }}, {{ timestamp }})"}"#;
    let text = "issues.updated #1007: 42 is CLOSED (evt_00000000030000000000000000000007, \
                1970-01-01T00:00:00.000Z)";
    let body: Value =
        serde_json::from_str(&written(source, &closed()).expect("it is filled")).expect("JSON");
    assert_eq!(body, json!({ "text": text }));
    let rendered = of_type("{{ data.subject }}\n", "text/plain; charset=utf-8");
    let rendered = rendered
        .expect("a template")
        .render(&closed())
        .expect("filled");
    assert_eq!(
        (&*rendered.body, rendered.content_type),
        ("42", HeaderValue::from_static("text/plain; charset=utf-8"))
    );
}

/// Whatever a stranger writes into an item, it stays inside the quotes it stands in.
#[test]
fn values_cannot_end_the_string_they_stand_in() {
    let evil = "\"}, \"admin\": true, \"x\": \"\\\u{1b}\n\u{2028}";
    for value in [
        json!(evil),
        json!([evil]),
        json!({ evil: evil }),
        json!(null),
        json!(1.5),
    ] {
        let current = json!({ "title": value }).to_string();
        let event = updated("{}", &current, "[]");
        let source = r#"{"text": "{{ data.current.title }}", "safe": "{{ data.current.title | e }}", "whole": {{ data.current | tojson }}}"#;
        let body: Value =
            serde_json::from_str(&written(source, &event).expect("filled")).expect("JSON");
        assert_eq!(
            body.as_object().map(serde_json::Map::len),
            Some(3),
            "{body}"
        );
        assert_eq!(body["whole"]["title"], value);
        let text = body["text"].as_str().expect("a string");
        let expected = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(text, expected);
    }
    let html = of_type("<b>{{ data.current.title }}</b>", "text/html").expect("a template");
    let event = updated("{}", r#"{"title":"<script>\"'"}"#, "[]");
    let body = html.render(&event).expect("filled").body;
    assert_eq!(body.matches('<').count(), 2, "{body}");
}

#[test]
fn what_is_not_there_fails_unless_it_is_only_asked_for() {
    let asks = r#"{"text": "{% if data.current.owner %}{{ data.current.owner }}{% else %}nobody{% endif %}"}"#;
    assert_eq!(
        written(asks, &closed()).as_deref(),
        Ok(r#"{"text": "nobody"}"#)
    );
    let defaults = r#"{"text": "{{ data.current.owner | default("nobody") }}"}"#;
    assert_eq!(
        written(defaults, &closed()).as_deref(),
        Ok(r#"{"text": "nobody"}"#)
    );
    for source in [
        r#"{"text": "{{ data.current.owner }}"}"#,
        r#"{"text": "{{ data.current.owner.name }}"}"#,
        r#"{"text": "{{ data.current.owner | e }}"}"#,
        r#"{"text": "{% for one in data.current.owners %}{% endfor %}"}"#,
    ] {
        let failed = written(source, &closed()).expect_err(source);
        assert!(
            failed.to_string().contains("line 1: undefined value: "),
            "{failed}"
        );
    }
}

#[test]
fn what_a_template_wrote_must_be_what_it_says_and_must_fit() {
    let bare = written(r#"{"text": {{ data.subject ~ "!" }}}"#, &closed());
    assert!(matches!(bare, Err(RenderError::NotJson(_))), "{bare:?}");
    let long = format!("{{\"text\": \"{}\"}}", "x".repeat(2_000));
    let bounded = Rendering {
        bytes_max: 1_024,
        ..template(&long).expect("a template")
    };
    assert_eq!(
        bounded.render(&closed()),
        Err(RenderError::TooLarge(long.len()))
    );
    let either =
        r#"{"a": "{% if data.current %}{{ data.current.text }}{% else %}too long{% endif %}"}"#;
    let bounded = Rendering {
        bytes_max: 1_024,
        ..template(either).expect("a template")
    };
    let event = updated(
        "{}",
        &json!({ "text": "x".repeat(2_000) }).to_string(),
        "[]",
    );
    let body = bounded.render(&event).expect("the thin payload fits").body;
    assert_eq!(body, r#"{"a": "too long"}"#);
}

#[test]
fn redaction_and_payload_reach_templates() {
    let source = r#"{"text": "{{ data | tojson | string }}"}"#.replace(" | string", "");
    let source = source.replace("\"{{", "{{").replace("}}\"", "}}");
    let secret = Rendering {
        redact: without_nodes(&["$.data.current.state"]).redact,
        ..template(&source).expect("a template")
    };
    let body = secret.render(&closed()).expect("filled").body;
    assert!(!body.contains("closed") && !body.contains("open"), "{body}");
}

#[test]
fn endless_and_huge_templates_run_out_of_fuel() {
    for source in [
        "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
        "{{ 'x' * 90000000 }}",
        "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
        "{{ range(99999) | list | tojson | length * range(99999) | list | length }}{{ range(99999) | sort | sort | sort | sort | list }}",
    ] {
        let rendering = of_type(source, "text/plain").expect("a template");
        let began = std::time::Instant::now();
        let failed = rendering.render(&closed());
        assert!(matches!(failed, Err(RenderError::Template(_))), "{source}");
        assert!(
            began.elapsed() < std::time::Duration::from_secs(5),
            "{source}"
        );
    }
}

/// A list of itself and itself again is small; what it says, written out, is not.
#[test]
fn a_value_that_is_only_large_when_written_is_not_written() {
    let twice = "{% set a = [a, a] %}".repeat(60);
    for written in ["{{ a }}", "{{ a | tojson }}"] {
        let source = format!("{{% set a = [] %}}{twice}{written}");
        let rendering = template(&source).expect("a template");
        let failed = rendering.render(&closed());
        assert!(matches!(failed, Err(RenderError::Template(_))), "{written}");
    }
}

#[test]
fn what_can_be_told_without_an_event_is_told_at_once() {
    for (source, why) in [
        ("{{ data.subject", "syntax error"),
        ("{% if data %}", "syntax error"),
        ("\n\n{% nonsense %}", "line 3"),
        ("{{ data.subject | uper }}", "unknown filter"),
        ("{{ data.subject is nice }}", "unknown test"),
        ("{{ env('HOME') }}", "not `env`"),
        ("{{ current.title }}", "not `current`"),
        ("{% include 'x' %}", "syntax error"),
    ] {
        let refused = template(source).expect_err(source);
        assert!(refused.to_string().contains(why), "{source}: {refused}");
    }
    for right in [
        "{% set word = data.subject %}{{ word }}",
        "{% for one in data.current.labels %}{{ loop.index }}{{ one }}{% endfor %}",
        "{{ dict(a=1) | tojson }}{{ range(3) | join(',') }}",
    ] {
        assert_eq!(of_type(right, "text/plain").err(), None, "{right}");
    }
    let long = "x".repeat(70_000);
    assert!(template(&long).is_err());
}
