//! The rules of the house that a compiler does not know, as tests.
//!
//! Decides which files are asked, and that shipped configurations are accepted. The floors are read
//! from the map in `src/lib.rs`, so the map cannot lie. Leaves the rules to [`rules`].

mod rules;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rules::{File, findings, floors, has_extension};
use source::{Kind, Source};

use crate::harness::SECRET;

#[test]
fn the_house_is_tidy() {
    let files = files();
    let floors = floors(&read("src/lib.rs"));
    let findings: Vec<String> = files.iter().flat_map(|f| findings(f, &floors)).collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn the_map_names_every_room_and_no_other() {
    let files = files();
    let rooms: BTreeSet<&str> = files.iter().filter_map(File::room).collect();
    let floors = floors(&read("src/lib.rs"));
    let mapped: BTreeSet<&str> = floors.keys().map(String::as_str).collect();
    assert_eq!(rooms, mapped);
}

#[test]
fn every_shipped_configuration_is_accepted() {
    let configs: Vec<File> = files()
        .into_iter()
        .filter(|file| file.path.starts_with("config/") && has_extension(&file.path, "toml"))
        .collect();
    assert!(!configs.is_empty(), "config/ ships no configuration");
    for config in configs {
        assert_accepted(&top().join(&config.path), &config.text);
    }
}

#[test]
fn the_readme_shows_the_shipped_minimal_configuration() {
    let readme = read("README.md");
    let block = |text: &str| {
        Some(
            text.split_once("```toml\n")?
                .1
                .split_once("```")?
                .0
                .to_owned(),
        )
    };
    let shown = block(&readme).expect("README.md shows a configuration");
    assert_eq!(shown.trim(), read("config/minimal.toml").trim());
}

/// Asks `doorbell check`, with a URL or a secret in every variable that the file names.
fn assert_accepted(path: &Path, text: &str) {
    let variables = text.split("env = \"").skip(1);
    let value = |name: &str| {
        let url = name.ends_with("_URL");
        let url = url.then_some("https://elsewhere.example/hooks");
        url.unwrap_or(SECRET)
    };
    let variables = variables.filter_map(|rest| Some(rest.split_once('"')?.0));
    let variables = variables.map(|name| (name, value(name)));
    let output = Command::new(env!("CARGO_BIN_EXE_doorbell"))
        .args(["check", "--config"])
        .arg(path)
        .envs(variables)
        .output()
        .expect("doorbell starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", path.display());
}

/// Every file that people write, whole-file tests marked.
fn files() -> Vec<File> {
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "examples", "config", ".ci"] {
        collect(&top().join(folder), &mut files);
    }
    for path in ["README.md", "Makefile", "Cargo.toml", "deny.toml"] {
        files.push(file(&top().join(path)));
    }
    let test_modules: BTreeSet<String> = files.iter().flat_map(test_modules).collect();
    for file in &mut files {
        file.is_test |= test_modules.contains(file.path.trim_end_matches(".rs"));
    }
    assert!(files.len() > 30, "the walk has lost its way");
    files
}

/// The files that `file` declares as `#[cfg(test)] mod NAME;`, without extension.
fn test_modules(file: &File) -> Vec<String> {
    if !file.is_rust() {
        return Vec::new();
    }
    let folder = file.path.trim_end_matches(".rs").trim_end_matches("/mod");
    let source = Source::read(&file.text);
    let mut modules = Vec::new();
    for window in source.tokens().windows(3) {
        let [of, name, end] = window else { continue };
        let declares = of.kind == Kind::Word("mod".to_owned()) && end.kind == Kind::Mark(';');
        if let (true, true, Kind::Word(name)) = (declares, of.is_test, &name.kind) {
            modules.extend([format!("{folder}/{name}"), format!("{folder}/{name}/mod")]);
        }
    }
    modules
}

fn collect(folder: &Path, files: &mut Vec<File>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return; // not every folder is there from the start
    };
    for entry in entries {
        let path = entry.expect("a folder can be read").path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(file(&path));
        }
    }
}

fn file(path: &Path) -> File {
    let inside = path.strip_prefix(top()).expect("below the top level");
    File {
        path: inside.to_string_lossy().into_owned(),
        text: fs::read_to_string(path).expect("files are text"),
        is_test: inside.components().any(|part| part.as_os_str() == "tests")
            || inside.ends_with("tests.rs"),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
