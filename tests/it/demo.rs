//! The first thing that a person tries.

use std::process::{Command, Stdio};

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
