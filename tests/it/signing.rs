//! Secrets and signatures: made, sent, and verified by the commands for it.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::harness::{Behaviour, Doorbell, Receiver, Ring, SECRET, Upstream, run, tickets};

/// Method: the receiver refuses the first attempt, and the second comes in another second. What
/// arrived is put before `doorbell verify`, once for each key.
#[tokio::test]
async fn every_secret_signs_each_attempt_anew_and_verify_believes_them() {
    let made = said(&["secret", "--kind", "asymmetric", "--json"]);
    let key = |name: &str| made[name].as_str().expect("a key").to_owned();
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::refusing().await;
    let secrets = format!("[\"{SECRET}\", \"{}\"]", key("secret"));
    let config = tickets(&upstream, &receiver, "")
        .replace(&format!("[\"{SECRET}\"]"), &secrets)
        .replace(
            "allow_private",
            "signature = [\"standard\", \"github\"]\nallow_private",
        )
        .replace("\"100ms\"", "\"1500ms\"");
    let doorbell = Doorbell::start(&config).await;
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |list| list.push(json!({"id": 1})));
    doorbell.poll("tickets").await;
    receiver.until_arrived(1).await;
    receiver.now(Behaviour::Accepting);
    let rings = receiver.until_accepted(1).await;

    let [first, second] = &rings[..] else {
        panic!("one attempt was refused: {rings:?}");
    };
    assert_eq!((&first.id, &first.body), (&second.id, &second.body));
    for header in ["webhook-timestamp", "webhook-signature"] {
        assert_ne!(first.headers[header], second.headers[header], "{header}");
    }
    let github = "x-hub-signature-256";
    assert_eq!(first.headers[github], second.headers[github]);
    for ring in &rings {
        let believed = verified(ring, &ring.body, SECRET);
        assert_eq!(believed["doubts"], json!([]), "{believed}");
        assert_eq!(believed["grounds"].as_array().map(Vec::len), Some(3));
        // Only a `whsec_` secret signs GitHub's way, so that header is left out.
        let mut ring = ring.clone();
        ring.headers.remove(github);
        let public = verified(&ring, &ring.body, &key("public"));
        assert_eq!(public["doubts"], json!([]), "{public}");
    }
    let altered = [&first.body[..], b"\n"].concat();
    let doubted = verified(first, &altered, SECRET);
    assert_eq!(doubted["believed"], false);
    let hint = doubted["hints"][0].as_str().unwrap_or_default();
    assert!(hint.contains("without the line end"), "{doubted}");
    doorbell.until_delivered("ops").await;
}

#[test]
fn a_new_secret_is_made_each_time() {
    let secret = || String::from_utf8(run(["secret"]).stdout).expect("text");
    let (one, other) = (secret(), secret());
    assert!(one.starts_with("whsec_") && one != other);
}

/// What `doorbell verify` says of a webhook that arrived, with `body` in the place of its own.
fn verified(ring: &Ring, body: &[u8], secret: &str) -> Value {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(body).expect("it can be written");
    let mut arguments = vec!["verify".to_owned(), "--json".to_owned()];
    arguments.extend(["--secret".to_owned(), secret.to_owned()]);
    for (name, value) in &ring.headers {
        let value = value.to_str().expect("headers are text");
        arguments.extend(["--header".to_owned(), format!("{name}: {value}")]);
    }
    arguments.push(file.path().display().to_string());
    said(&arguments)
}

fn said(arguments: &[impl AsRef<std::ffi::OsStr>]) -> Value {
    let output = run(arguments);
    let said = serde_json::from_slice(&output.stdout);
    said.unwrap_or_else(|_| panic!("no JSON, but {output:?}"))
}
