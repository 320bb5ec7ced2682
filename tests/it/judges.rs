//! Webhooks in every format, verified by libraries and a program that we did not write.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{
    Doorbell, Judge, Outsider, Receiver, SECRET, Says, Upstream, installed, tickets,
};

/// RFC 8032 section 7.1, test 1.
const SECRET_KEY: &str = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const PUBLIC_KEY: &str = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
/// What the endpoints are rotating away from.
const OLDER: &str = "whsec_b2xkZXIgYW5kIG9sZGVyIGFuZCBvbGRlcg==";

/// An item whose id and words need every kind of escape.
const ID: &str = "a b/ü \"%€";

const FORMATS: [(&str, &str); 4] = [
    ("standard", ""),
    ("structured", "format = \"cloudevents\""),
    ("binary", "format = \"cloudevents_binary\""),
    (
        "template",
        r#"format = "template"
template = """{"text": "{{ type }} {{ data.subject }} é"}""""#,
    ),
];

fn ticket(state: &str) -> Value {
    json!({"id": ID, "state": state, "words": "Türöffner \u{1f514} \\ \"\n"})
}

/// Method: one endpoint for each format and judge; all sign with three secrets, of which the judges
/// know one. The ticket is created, updated, deleted.
#[tokio::test]
async fn every_format_is_believed_by_every_library() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let python = Judge::of_python(Some(PUBLIC_KEY)).await;
    let node = Judge::of_node().await;
    let mut config = tickets(&upstream, &Receiver::accepting().await, "");
    for (format, lines) in FORMATS {
        for (name, judge) in [
            ("standardwebhooks", &python),
            ("svix", &python),
            ("ed25519", &python),
            ("cloudevents", &python),
            ("node", &node),
        ] {
            let is_cloud = matches!(format, "structured" | "binary");
            if name == "cloudevents" && !is_cloud {
                continue;
            }
            let _ = write!(
                config,
                "[endpoints.{name}_{format}]\nurl = \"http://127.0.0.1:{}/{name}\"\n\
                 secrets = [\"{OLDER}\", \"{SECRET}\", \"{SECRET_KEY}\"]\n\
                 headers = {{ x-format = \"{format}\" }}\nallow_private = true\n{lines}\n",
                judge.port
            );
        }
    }
    let doorbell = Doorbell::start(&config).await;
    doorbell.poll("tickets").await;
    let changes: [fn(&mut Vec<Value>); 3] = [
        |list| list.push(ticket("open")),
        |list| list[0] = ticket("closed"),
        Vec::clear,
    ];
    for change in changes {
        upstream.change("/tickets", change);
        let polled = doorbell.poll("tickets").await;
        assert_eq!(polled["events"], 1, "{polled}");
    }
    let (of_python, of_node) = (
        python.until_told(3 * 14).await,
        node.until_told(3 * 4).await,
    );
    for told in of_node.iter().chain(&of_python) {
        assert_is_told(&told["event"], told);
    }
    for told in of_python
        .iter()
        .filter(|told| told["path"] == "/cloudevents")
    {
        let event = &told["event"];
        assert_eq!(event["subject"], ID, "{told}");
        assert_eq!(event["source"], "/sources/tickets");
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["id"], told["id"]);
        let sequence = event["data"]["sequence"].as_u64().expect("a number");
        assert_eq!(event["sequence"], format!("{sequence:020}"));
    }
}

/// Every body tells the ticket, in the words of its format.
fn assert_is_told(event: &Value, told: &Value) {
    if let Some(text) = event["text"].as_str() {
        let rest = text.strip_prefix("tickets.").expect("a type");
        assert!(rest.ends_with(&format!(" {ID} é")), "{told}");
        return;
    }
    let data = event.get("data").unwrap_or(event);
    assert_eq!(data["subject"], ID, "{told}");
    let expected = match data["sequence"].as_u64() {
        Some(1) => [Some(ticket("open")), None],
        Some(2) => [Some(ticket("closed")), Some(ticket("open"))],
        Some(3) => [None, Some(ticket("closed"))],
        _ => panic!("{told}"),
    };
    let forms = ["current", "previous"].map(|name| data.get(name).cloned());
    assert_eq!(forms, expected, "{told}");
}

/// Debian's `webhook`, set up as one does for GitHub: the secret is pasted as it is.
#[tokio::test]
async fn debians_webhook_believes_the_github_signature_and_no_other() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hook = |id: &str, secret: &str| {
        json!({
            "id": id, "execute-command": "/bin/true",
            "trigger-rule-mismatch-http-response-code": 403,
            "trigger-rule": { "and": [
                { "match": { "type": "payload-hmac-sha256", "secret": secret,
                    "parameter": { "source": "header", "name": "X-Hub-Signature-256" } } },
                { "match": { "type": "value", "value": "tickets.created",
                    "parameter": { "source": "payload", "name": "type" } } },
            ]},
        })
    };
    let hooks = json!([hook("right", SECRET), hook("wrong", OLDER)]);
    let file = folder.path().join("hooks.json");
    std::fs::write(&file, hooks.to_string()).expect("a temporary file");
    // It cannot say which port it took, so one is chosen for it.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = port.expect("loopback has a free port").port().to_string();
    let mut command = Command::new(installed("tools/usr/bin/webhook"));
    command.args(["-verbose", "-ip", "127.0.0.1", "-port", &port, "-hooks"]);
    command.arg(&file);
    let program = Outsider::running(command, Says::Err);
    let is_said = |words: &'static str| {
        move |lines: &[String]| lines.iter().any(|line| line.contains(words)).then_some(())
    };
    program
        .until("webhook serves", is_said("serving hooks on"))
        .await;

    let upstream = Upstream::serving("/tickets", vec![]).await;
    let mut config = tickets(&upstream, &Receiver::accepting().await, "");
    for hook in ["right", "wrong"] {
        let _ = write!(
            config,
            "[endpoints.{hook}]\nurl = \"http://127.0.0.1:{port}/hooks/{hook}\"\n\
             secrets = [\"{SECRET_KEY}\", \"{SECRET}\"]\nretry = []\n\
             signature = [\"standard\", \"github\"]\nallow_private = true\n"
        );
    }
    let doorbell = Doorbell::start(&config).await;
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |list| list.push(ticket("open")));
    doorbell.poll("tickets").await;
    doorbell.until_ended("right", "delivered", 1).await;
    doorbell.until_ended("wrong", "dead", 1).await;
}
