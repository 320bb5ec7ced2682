//! What `detect` promises, from outside; `reference` holds a plain implementation to compare with.

mod changes;
mod differential;
mod projection;
mod reading;
pub(crate) mod reference;
mod subjects;
mod tombstones;

use super::cursor::Cursor;
use super::form::{Spelling, Writer};
use super::rules::Selection;
use super::{Fields, Path, Rules, Unreadable, Walk, read};

const ITEMS_MAX: usize = 1_000;

fn paths(texts: &[&str]) -> Vec<Path> {
    texts
        .iter()
        .map(|text| Path::parse(text).unwrap())
        .collect()
}

fn document() -> Rules {
    Rules::default()
}

fn ignoring(texts: &[&str]) -> Rules {
    Rules {
        fields: Fields::Ignore(paths(texts)),
        ..Rules::default()
    }
}

fn only(texts: &[&str]) -> Rules {
    Rules {
        fields: Fields::Only(paths(texts)),
        ..Rules::default()
    }
}

fn items(items: &str, id: &[&str]) -> Rules {
    Rules {
        items: Some(Path::parse(items).unwrap()),
        id: paths(id),
        ..Rules::default()
    }
}

/// The canonical form of a document.
fn form(text: &str, rules: &Rules) -> Result<String, Unreadable> {
    let selection = Selection::new(rules, &[]);
    let mut cursor = Cursor::checked(text)?;
    let mut writer = Writer::new(Spelling::Canonical);
    let plan = selection.plan_for(text.as_bytes())?;
    writer.write(&mut cursor, &plan)?;
    Ok(String::from_utf8(writer.form().to_vec()).unwrap())
}

fn walk(text: &str, rules: &Rules) -> Result<Walk, Unreadable> {
    read(text.as_bytes(), rules, ITEMS_MAX)
}

fn subjects(walk: &Walk) -> Vec<&str> {
    walk.entries.iter().map(|entry| &*entry.subject).collect()
}

/// The class of what went wrong.
fn fault(text: &str, rules: &Rules) -> &'static str {
    walk(text, rules).unwrap_err().reason()
}

#[test]
fn rules_are_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Rules>();
}
