//! `each`: what divides a source into partitions.

use std::collections::{BTreeMap, BTreeSet};

use crate::detect::Path;
use crate::name::Name;

use super::declared::Declared;
use super::given;
use super::reader::{Keys, Table};
use super::source::json_path;
use super::value::{Entry, Value};
use super::words::{nearest, shown};

/// Most partitions of one source: twice what is known to run well, some 100 MB of memory.
pub const PARTITIONS_MAX: usize = 200_000;

/// Longest value of a name, in bytes: it becomes part of a URL.
pub const PARTITION_VALUE_BYTES_MAX: usize = 512;

/// Most names that divide one source.
const NAMES_MAX: usize = 4;

/// Largest file of values: so many of the longest.
const FILE_BYTES_MAX: u64 = (PARTITIONS_MAX * PARTITION_VALUE_BYTES_MAX) as u64;

/// `each`: the names that divide a source, and where their values come from. Every combination of
/// values is a partition, but for names that follow the same source: those of one item belong
/// together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Each {
    /// Names whose values the configuration holds, in the order of their first mention.
    pub listed: BTreeMap<String, Vec<Box<str>>>,
    /// By source, the names whose values stand in its items, and where.
    pub followed: BTreeMap<Name, BTreeMap<String, Path>>,
}

impl Each {
    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let followed = self.followed.values().flat_map(BTreeMap::keys);
        self.listed.keys().chain(followed).map(String::as_str)
    }
}

const FILE: Keys = Keys {
    now: &["file"],
    later: &[],
};
const SOURCE: Keys = Keys {
    now: &["source", "at"],
    later: &[],
};

/// Reads what divides the source called `name`.
pub(super) fn each(value: Value<'_>, name: &str, declared: &Declared<'_>) -> Option<Each> {
    let entries = value.entries()?;
    if entries.is_empty() || entries.len() > NAMES_MAX {
        value.fault(format!(
            "`each` has 1 to {NAMES_MAX} names, write `each = {{ repo = [\"a/b\", \"c/d\"] }}`"
        ));
        return None;
    }
    let mut each = Each::default();
    for entry in entries {
        if let Err(error) = Name::parse(entry.name) {
            let context = entry.value.context;
            context.fault(entry.span, format!("\"{}\": {error}", shown(entry.name)));
            continue;
        }
        axis(&entry, name, declared, &mut each)?;
    }
    let combinations = each.listed.values().map(Vec::len);
    let combinations = combinations.fold(1, usize::saturating_mul);
    if combinations > PARTITIONS_MAX {
        value.fault(format!(
            "`each` makes {combinations} partitions, at most {PARTITIONS_MAX} work"
        ));
        return None;
    }
    Some(each)
}

/// Reads where the values of one name come from.
fn axis(entry: &Entry<'_>, name: &str, declared: &Declared<'_>, each: &mut Each) -> Option<()> {
    let value = entry.value;
    if value.is_list() {
        let values = value.each("a list of values", PARTITIONS_MAX, |value| {
            let text = value.as_word()?;
            fit(&text)
                .map_err(|why| value.fault(format!("`{}`: {why}", entry.name)))
                .ok()?;
            Some(text)
        })?;
        if values.is_empty() {
            value.fault(format!(
                "`{}` has no values, write at least one",
                entry.name
            ));
            return None;
        }
        each.listed
            .insert(entry.name.to_owned(), once(values, value, entry.name));
        return Some(());
    }
    if !value.is_table() {
        value.wrong_type(
            "a list of values, { file = \"PATH\" } or { source = \"NAME\", at = \"$.…\" }",
        );
        return None;
    }
    if value.spanned.get_ref().get("source").is_some() {
        let table = value.table(&SOURCE)?;
        let source = table.required("source", "\"NAME\"", |v| followed(v, name, declared));
        let at = table.required("at", "\"$.…\"", json_path);
        let names = each.followed.entry(source?).or_default();
        names.insert(entry.name.to_owned(), at?);
        return Some(());
    }
    let values = file(&value.table(&FILE)?, entry.name)?;
    if values.is_empty() {
        let message = format!(
            "the file of `{}` has no values: nothing is polled",
            entry.name
        );
        value.context.warn(value.span(), message);
    }
    each.listed
        .insert(entry.name.to_owned(), once(values, value, entry.name));
    Some(())
}

/// The values in the lines of a file; blank lines and those that begin with `#` are none.
fn file(table: &Table<'_>, name: &str) -> Option<Vec<String>> {
    table.required("file", "\"PATH\"", |value| {
        let text = given::file(value, FILE_BYTES_MAX)?;
        let mut values = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Err(why) = fit(line) {
                value.fault(format!("line {number} of the file of `{name}`: {why}"));
                return None;
            }
            if values.len() == PARTITIONS_MAX {
                value.fault(format!(
                    "the file of `{name}` has more than {PARTITIONS_MAX} values"
                ));
                return None;
            }
            values.push(line.to_owned());
        }
        Some(values)
    })
}

/// Values without those that came before.
fn once(values: Vec<String>, value: Value<'_>, name: &str) -> Vec<Box<str>> {
    let mut seen = BTreeSet::new();
    let count = values.len();
    let values: Vec<Box<str>> = values
        .into_iter()
        .filter(|value| seen.insert(value.clone()))
        .map(Into::into)
        .collect();
    if values.len() < count {
        let more = count - values.len();
        let message = format!("values of `{name}` are given twice, {more} make no partition");
        value.context.warn(value.span(), message);
    }
    values
}

/// Whether a text can be the value of a name.
///
/// # Errors
/// Why not.
pub fn fit(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("a value is empty".to_owned());
    }
    if text.len() > PARTITION_VALUE_BYTES_MAX {
        return Err(format!(
            "a value is longer than {PARTITION_VALUE_BYTES_MAX} bytes"
        ));
    }
    if text.chars().any(char::is_control) {
        return Err("a value holds a control character".to_owned());
    }
    if text.split('/').any(|part| part == "." || part == "..") {
        return Err("a value holds a `.` or `..` segment".to_owned());
    }
    Ok(())
}

/// The source whose items are partitions.
fn followed(value: Value<'_>, name: &str, declared: &Declared<'_>) -> Option<Name> {
    let text = value.parsed("the name of a source", Ok::<_, String>)?;
    let Some(watched) = declared.sources.get(text) else {
        let near = nearest(text, declared.sources.keys().copied());
        let advice = near.map_or_else(
            || format!("add `[sources.{}]`", shown(text)),
            |near| format!("did you mean \"{near}\"?"),
        );
        let message = format!("there is no source \"{}\", {advice}", shown(text));
        value.context.absent(value.span(), message);
        return None;
    };
    if declared.follows(text, name) {
        let message = format!("`{name}` would be divided by itself, through \"{text}\"");
        value.context.fault(value.span(), message);
        return None;
    }
    if !watched.items || declared.has_digests_alone(text) {
        let message = format!(
            "source \"{text}\" has no items that are kept: give it `items` and `id`, and not \
             `keep = \"digests\"`"
        );
        value.context.absent(value.span(), message);
        return None;
    }
    Name::parse(text).ok()
}
