//! The first thing that a person tries.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Method: the folder is empty before and after, so that it needs no configuration and leaves
/// nothing behind.
#[test]
fn the_demo_rings_without_a_configuration_and_ends_by_itself() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(env!("CARGO_BIN_EXE_doorbell"))
        .args(["demo", "--for", "6s"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("doorbell starts");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for expected in [".created", ".updated", "/metrics", "curl "] {
        assert!(said.contains(expected), "no {expected} in: {said}");
    }
    assert!(!said.contains('\u{1b}'), "a pipe gets no colours: {said}");
    let mut left = std::fs::read_dir(folder.path()).expect("the folder is there");
    assert!(left.next().is_none(), "something was left behind");
}

/// As `doorbell demo | head -1` has it.
#[test]
fn the_demo_ends_and_leaves_nothing_when_its_reader_has_gone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_doorbell"))
        .arg("demo")
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("doorbell starts");
    let mut first = String::new();
    let said = demo.stdout.take().expect("a pipe");
    let read = BufReader::new(said).read_line(&mut first);
    read.expect("a line");
    assert_eq!(demo.wait().expect("it ends").code(), Some(0));
    let mut left = std::fs::read_dir(folder.path()).expect("the folder is there");
    assert!(left.next().is_none(), "something was left behind");
}

/// A machine that starts a receiver must learn where it is, and what to sign with.
#[test]
fn a_receiver_that_makes_its_secret_tells_it_also_as_json() {
    let mut listening = Command::new(env!("CARGO_BIN_EXE_doorbell"))
        .args(["listen", "--json", "--address", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("doorbell starts");
    let mut first = String::new();
    let said = listening.stdout.take().expect("a pipe");
    let read = BufReader::new(said).read_line(&mut first);
    listening.kill().expect("it runs");
    listening.wait().expect("it ends");
    read.expect("a line");
    let told: Value = serde_json::from_str(&first).expect("JSON");
    let [place, secret] = ["listening", "secret"].map(|of| told[of].as_str().unwrap_or_default());
    assert!(
        place.starts_with("http://127.0.0.1:") && !place.ends_with(":0"),
        "{first}"
    );
    assert!(secret.starts_with("whsec_"), "{first}");
}
