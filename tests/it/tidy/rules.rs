//! The rules: what may name what, who may touch files and databases, how long a file may be.
//!
//! Pure: a file's path and text come in, findings go out, so that made-up files can show that each
//! rule bites. Leaves reading Rust to [`super::source`].

use std::collections::BTreeMap;
use std::path::Path;

use super::source::{Kind, Source};

/// Longest file in lines; a longer one decides more than one thing. Data decide nothing.
const LINES_MAX: usize = 600;

/// What only some rooms may name, and why.
const KEEPERS: [(&str, &[&str], &str); 3] = [
    ("rusqlite", &["store"], "only store/ knows a database"),
    (
        "pingora",
        &["proxy", "app"],
        "only proxy/ and app/ name pingora",
    ),
    ("prometheus", &["metrics"], "only metrics/ names prometheus"),
];

/// Paths into files and the environment.
const OUTSIDE: [&[&str]; 9] = [
    &["std", "fs"],
    &["tokio", "fs"],
    &["std", "env", "var"],
    &["std", "env", "var_os"],
    &["std", "env", "vars"],
    &["env", "var"],
    &["env", "var_os"],
    &["env", "vars"],
    &["File", "open"],
];

/// Rooms beside `config` that may touch files, and what for.
const TOUCHES_FILES: [(&str, &str); 2] = [
    ("store", "the lock beside the database, and its size"),
    ("cli", "the demo's own folder, and what `verify` is given"),
];

/// Words that floors 0 and 1 do without: I/O, clocks, randomness and waiting.
const IMPURE: [&str; 10] = [
    "async",
    "await",
    "tokio",
    "reqwest",
    "axum",
    "fastrand",
    "SystemTime",
    "Instant",
    "Utc :: now",
    "ring :: rand",
];

/// Room to floor.
pub(super) type Floors = BTreeMap<String, u32>;

/// A file of this project.
pub(super) struct File {
    /// From the top level, with `/`.
    pub(super) path: String,
    pub(super) text: String,
    /// Whether all of it is tests.
    pub(super) is_test: bool,
}

impl File {
    fn made_up(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: format!("//! A made-up file.\n{text}"),
            is_test: path.ends_with("tests.rs"),
        }
    }

    pub(super) fn is_rust(&self) -> bool {
        has_extension(&self.path, "rs")
    }

    /// The room it belongs to, if it is part of the library.
    pub(super) fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let room = inside.split('/').next()?.trim_end_matches(".rs");
        (!matches!(room, "lib" | "main")).then_some(room)
    }

    /// How many modules lie between the crate's root and what stands in the file.
    fn depth(&self) -> usize {
        let own = usize::from(!self.path.ends_with("/mod.rs"));
        self.path.matches('/').count() - 1 + own
    }
}

/// Everything that is wrong with a file, each as `path:line: what`.
pub(super) fn findings(file: &File, floors: &Floors) -> Vec<String> {
    let mut findings = Findings::of(&file.path);
    let lines = file.text.lines().count();
    if lines > LINES_MAX && !has_extension(&file.path, "csv") {
        findings.add(lines, &format!("longer than {LINES_MAX} lines"));
    }
    if !file.is_rust() {
        return findings.list;
    }
    if !file.text.starts_with("//!") {
        findings.add(1, "does not open with `//!` saying what it decides");
    }
    let source = Source::read(&file.text);
    unfinished(&source, &mut findings);
    let Some(room) = file.room() else {
        return findings.list;
    };
    upward(file, room, &source, floors, &mut findings);
    kept(room, &source, &mut findings);
    if !file.is_test {
        outside(room, &source, &mut findings);
        impure(room, &source, floors, &mut findings);
        careless(&source, &mut findings);
    }
    findings.list
}

struct Findings<'a> {
    path: &'a str,
    list: Vec<String>,
}

impl<'a> Findings<'a> {
    fn of(path: &'a str) -> Self {
        Self {
            path,
            list: Vec::new(),
        }
    }

    fn add(&mut self, line: usize, what: &str) {
        let finding = format!("{}:{line}: {what}", self.path);
        // `use a::{self, b}` says the same twice.
        if self.list.last() != Some(&finding) {
            self.list.push(finding);
        }
    }
}

/// What must not be left behind anywhere.
fn unfinished(source: &Source, findings: &mut Findings<'_>) {
    for pattern in ["todo !", "unimplemented !", "# [ ignore"] {
        for token in source.find(pattern) {
            let pattern = pattern.replace(' ', "");
            findings.add(token.line, &format!("`{pattern}` is left behind"));
        }
    }
}

/// Names of rooms that are not below.
fn upward(file: &File, room: &str, source: &Source, floors: &Floors, out: &mut Findings<'_>) {
    let own = floors.get(room);
    for path in source.paths() {
        let segments: Vec<&str> = path.segments.iter().map(String::as_str).collect();
        let ups = segments.iter().take_while(|s| **s == "super").count();
        let escapes = ups > 0 && ups == file.depth() + path.inline_depth;
        let named = match segments.as_slice() {
            ["crate", named, ..] => named,
            _ if escapes && ups < segments.len() => &segments[ups],
            _ => continue,
        };
        if *named == room {
            continue;
        }
        match (own, floors.get(*named)) {
            (Some(own), Some(floor)) if floor < own => {}
            (_, Some(floor)) => out.add(
                path.line,
                &format!("`{named}` is on floor {floor}, not below `{room}`"),
            ),
            (_, None) => out.add(path.line, &format!("`{named}` has no floor in src/lib.rs")),
        }
    }
}

/// Crates that are kept in other rooms.
fn kept(room: &str, source: &Source, findings: &mut Findings<'_>) {
    for (name, rooms, rule) in KEEPERS {
        if rooms.contains(&room) {
            continue;
        }
        for token in source.tokens() {
            let Kind::Word(word) = &token.kind else {
                continue;
            };
            if word == name || word.starts_with(&format!("{name}_")) {
                findings.add(token.line, rule);
            }
        }
    }
}

/// Files and environment, outside `config`.
fn outside(room: &str, source: &Source, findings: &mut Findings<'_>) {
    if room == "config" || TOUCHES_FILES.iter().any(|(allowed, _)| *allowed == room) {
        return;
    }
    for path in source.paths().iter().filter(|path| !path.is_test) {
        let begins = |outside: &&[&str]| path.segments.iter().zip(*outside).all(|(a, b)| a == b);
        let long_enough = |outside: &&&[&str]| path.segments.len() >= outside.len();
        if OUTSIDE.iter().filter(long_enough).any(begins) {
            findings.add(path.line, "only config/ reads files and the environment");
        }
    }
}

/// What floors 0 and 1 do without.
fn impure(room: &str, source: &Source, floors: &Floors, findings: &mut Findings<'_>) {
    if floors.get(room).is_none_or(|floor| *floor > 1) {
        return;
    }
    for pattern in IMPURE {
        for token in source.find(pattern).filter(|token| !token.is_test) {
            findings.add(
                token.line,
                &format!("floors 0 and 1 do without `{pattern}`"),
            );
        }
    }
}

/// Panics without proof, and state that two doorbells in one process would share.
fn careless(source: &Source, findings: &mut Findings<'_>) {
    for token in source.find(". unwrap (").filter(|token| !token.is_test) {
        findings.add(token.line, "`unwrap` outside tests: `expect` why it holds");
    }
    for token in source.find("static").filter(|token| !token.is_test) {
        findings.add(token.line, "a `static`: two doorbells fit in one process");
    }
}

/// Reads `//! | 3 | [`store`] [`upstream`] | … |` lines.
pub(super) fn floors(map: &str) -> Floors {
    let mut floors = Floors::new();
    for line in map.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["//!", floor, rooms, ..] = cells.as_slice() else {
            continue;
        };
        let Ok(floor) = floor.parse() else { continue };
        for room in rooms.split(' ') {
            let room = room.trim_matches(['[', ']', '`']).to_owned();
            assert!(floors.insert(room, floor).is_none(), "a room on two floors");
        }
    }
    floors
}

pub(super) fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|e| e == extension)
}

fn made_up_floors() -> Floors {
    floors(
        "//! | 6 | [`app`] | |\n\
         //! | 4 | [`poll`] [`deliver`] [`proxy`] | |\n\
         //! | 3 | [`store`] | |\n\
         //! | 2 | [`config`] [`metrics`] | |\n\
         //! | 1 | [`detect`] [`event`] | |\n\
         //! | 0 | [`name`] [`time`] | |",
    )
}

#[test]
fn a_broken_rule_is_found() {
    for (path, text, expected) in [
        ("src/store/x.rs", "use crate::poll::Poller;", "poll"),
        (
            "src/store/x.rs",
            "use crate::{name::Name, poll::{self, Poller}};",
            "poll",
        ),
        ("src/store/x.rs", "fn f() -> crate::app::App {}", "app"),
        ("src/poll/x.rs", "use crate::deliver::Deliverer;", "deliver"),
        (
            "src/poll/mod.rs",
            "use super::deliver::Deliverer;",
            "deliver",
        ),
        (
            "src/poll/x.rs",
            "use super::deliver;\nuse super::super::proxy::P;",
            "proxy",
        ),
        (
            "src/poll/x.rs",
            "mod a { use super::super::super::proxy::P; }",
            "proxy",
        ),
        (
            "src/poll/x.rs",
            "#[cfg(test)] mod tests { use crate::proxy::P; }",
            "proxy",
        ),
        ("src/poll/x.rs", "use crate::cellar::Wine;", "no floor"),
        ("src/poll/x.rs", "use rusqlite::Connection;", "store/"),
        ("src/poll/x.rs", "use pingora_core::Server;", "pingora"),
        ("src/poll/x.rs", "use prometheus::Counter;", "metrics/"),
        ("src/poll/x.rs", "use std::{fs, io};", "files"),
        (
            "src/poll/x.rs",
            "fn f() { std::env::var(\"HOME\"); }",
            "environment",
        ),
        ("src/detect/x.rs", "async fn f() {}", "async"),
        ("src/time.rs", "fn f() { Utc::now() }", "Utc"),
        ("src/poll/x.rs", "static COUNT: u8 = 0;", "static"),
        ("src/poll/x.rs", "fn f() { None.unwrap() }", "unwrap"),
        ("src/poll/x.rs", "fn f() { todo!() }", "todo"),
        (
            "src/poll/tests.rs",
            "fn f() { unimplemented!() }",
            "unimplemented",
        ),
        (
            "tests/it/x.rs",
            "#[test] #[ignore = \"slow\"] fn f() {}",
            "ignore",
        ),
    ] {
        let file = File::made_up(path, text);
        let findings = findings(&file, &made_up_floors());
        let [finding] = findings.as_slice() else {
            panic!("{path}: {text}: {findings:?}");
        };
        assert!(finding.contains(expected), "{finding}");
        let line = 1 + text.matches('\n').count() + 1;
        assert!(
            finding.starts_with(&format!("{path}:{line}: ")),
            "{finding}"
        );
    }
}

#[test]
fn a_file_without_a_header_or_too_long_is_found() {
    let mut file = File::made_up("src/poll/x.rs", "");
    file.text = "use std::io;\n".to_owned();
    assert!(findings(&file, &made_up_floors())[0].contains("//!"));
    file.text = "//! Long.\n".repeat(LINES_MAX + 1);
    assert!(findings(&file, &made_up_floors())[0].contains("600"));
}

#[test]
fn what_is_allowed_is_not_found() {
    for (path, text) in [
        (
            "src/store/x.rs",
            "use crate::{config, event::Event, store::Store};",
        ),
        (
            "src/store/x.rs",
            "use rusqlite::Connection;\nuse std::fs::File;",
        ),
        (
            "src/store/x.rs",
            "pub(crate) fn f() { let x: &'static str = \"static\"; }",
        ),
        (
            "src/poll/x.rs",
            "/// [`crate::proxy`], `rusqlite`, `x.unwrap()`\nfn f() {}",
        ),
        (
            "src/poll/x.rs",
            "fn f() { \"use crate::proxy::P; \\\" todo!()\"; r#\"\"static\"#; }",
        ),
        (
            "src/poll/x.rs",
            "/* static /* todo!() */ unwrap() */ const C: char = '\"';",
        ),
        (
            "src/poll/x.rs",
            "use super::*;\nmod a { use super::super::deliver; }",
        ),
        (
            "src/poll/x.rs",
            "#[cfg(test)] mod t { fn f() { None.unwrap() } use std::fs; }",
        ),
        (
            "src/poll/tests.rs",
            "fn f() { x.unwrap(); std::fs::read(y).unwrap(); }",
        ),
        (
            "src/detect/x.rs",
            "#[cfg(test)]\nmod tests { use std::time::Instant; }",
        ),
        (
            "src/config/x.rs",
            "fn f() { std::env::var(x); std::fs::read(y); }",
        ),
        (
            "src/main.rs",
            "fn f() { doorbell::app::run(); std::env::args(); }",
        ),
    ] {
        let found = findings(&File::made_up(path, text), &made_up_floors());
        assert!(found.is_empty(), "{path}: {text}: {found:?}");
    }
}
