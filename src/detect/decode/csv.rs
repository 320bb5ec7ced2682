//! Rows under a row of names.
//!
//! Decides what is no table: rows of other lengths than the first, names that are missing or come
//! twice, a quote that does not end, a page, a note of one line. Fields stay the text that they
//! are. The separator is the comma, unless the row of names has none and has semicolons, as
//! spreadsheets write where the comma is in numbers, or tabs.

use std::collections::HashSet;
use std::io::Read as _;

use ::csv::{ReaderBuilder, StringRecord};

use super::Format;
use super::output::Output;
use crate::detect::{Rules, Unreadable, pick};

/// A row that follows the text: where it is not read as one of its own, a quote has swallowed it.
/// No text that is read holds a zero byte.
const END: &str = "\n\0\n";

/// An array of objects, one of each row.
pub(super) fn decode(text: &str, rules: &Rules, bytes_max: usize) -> Result<Vec<u8>, Unreadable> {
    let malformed = |message: &str| Err(Format::Csv.malformed(message));
    if text.contains('\0') {
        return malformed("it holds a zero byte");
    }
    // Tables begin with a name; and nothing that is read must be a page, or JSON that tells of an
    // error, because a table of names alone is an empty list.
    if text.trim_start().starts_with(['<', '{', '[']) {
        return malformed("it begins as a page does, or as JSON");
    }
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator(text))
        .from_reader(text.as_bytes().chain(END.as_bytes()));
    let mut row = StringRecord::new();
    let mut next = |row: &mut StringRecord| {
        let read = reader.read_record(row);
        let more = read.map_err(|_| Format::Csv.malformed("a row does not read"))?;
        Ok::<_, Unreadable>(more && !is_end(row))
    };
    if !next(&mut row)? {
        return malformed("there is no row of names");
    }
    let names = Names::of(&row)?;
    names.must_have(rules)?;

    let mut out = Output::of(bytes_max);
    out.raw("[")?;
    let (mut first, mut rows) = (true, 0);
    while next(&mut row)? {
        rows += 1;
        if row.len() != names.spelled.len() {
            let (fields, names) = (row.len(), names.spelled.len());
            let message = format!("row {rows} has {fields} fields under {names} names");
            return Err(Format::Csv.malformed(message));
        }
        out.separate(&mut first)?;
        for (place, (name, field)) in names.spelled.iter().zip(&row).enumerate() {
            out.raw(if place == 0 { "{" } else { "," })?;
            out.raw(name)?;
            out.string(field)?;
        }
        out.raw("}")?;
    }
    if !is_end(&row) {
        return malformed("a quote does not end");
    }
    // A sentence has commas, too; nobody named a column that would have to be among them.
    if rows == 0 && rules.items.is_none() {
        return malformed("names without rows are a table only where `id` names one of them");
    }
    if rows == 0 && names.spelled.len() == 1 {
        return malformed("one line without separators is no table");
    }
    out.raw("]")?;
    Ok(out.finish())
}

/// Whether this is the row that follows the text.
fn is_end(row: &StringRecord) -> bool {
    row.len() == 1 && row.get(0) == Some("\0")
}

/// What separates fields, by the first line.
fn separator(text: &str) -> u8 {
    let line = text.lines().find(|line| !line.is_empty());
    let line = line.unwrap_or_default();
    let signs = [b',', b';', b'\t'].into_iter();
    let mut found = signs.filter(|sign| line.as_bytes().contains(sign));
    found.next().unwrap_or(b',')
}

/// The first row.
struct Names {
    /// Each as the beginning of a member.
    spelled: Vec<Vec<u8>>,
}

impl Names {
    fn of(row: &StringRecord) -> Result<Self, Unreadable> {
        let mut seen = HashSet::new();
        let mut spelled = Vec::with_capacity(row.len());
        for (place, name) in (1..).zip(row) {
            if name.trim().is_empty() {
                let message = format!("column {place} has no name");
                return Err(Format::Csv.malformed(message));
            }
            if !seen.insert(name) {
                let message = format!("column {place} has the name of another one");
                return Err(Format::Csv.malformed(message));
            }
            let mut bytes = serde_json::to_vec(name).expect("a string can be written to memory");
            bytes.push(b':');
            spelled.push(bytes);
        }
        Ok(Self { spelled })
    }

    /// A table without rows has no item that would lack its id; but a note of regret has no column
    /// of that name.
    fn must_have(&self, rules: &Rules) -> Result<(), Unreadable> {
        if rules.items.is_none() {
            return Ok(());
        }
        let members = self.spelled.iter();
        let members: Vec<_> = members.map(|name| [name, &b"\"\""[..]].concat()).collect();
        let probe = [b"{", &members.join(&b","[..])[..], b"}"].concat();
        for path in &rules.id {
            if !path.is_root() && pick(&probe, path)?.is_none() {
                let message = format!("there is no column for `{path}`");
                return Err(Unreadable::Shape(message));
            }
        }
        Ok(())
    }
}
