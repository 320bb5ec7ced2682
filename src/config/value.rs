//! Reads one value of a parsed file and notes what is wrong with it.
//!
//! Decides how a fault is worded when a type is wrong or a number out of bounds, so that the
//! readers of the sections only say what they want. Leaves meaning to them.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeString, DeValue};

use super::fault::Span;
use super::reader::{Context, Keys, Table};
use super::words::{self, shown};

/// A value, and the key it stands under.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) key: &'a str,
    pub(super) spanned: &'a Spanned<DeValue<'a>>,
}

/// A key of a table whose keys are free, and its value.
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    pub(super) span: Span,
    pub(super) value: Value<'a>,
}

impl<'a> Value<'a> {
    /// Where it stands.
    pub(super) fn span(&self) -> Span {
        self.spanned.span()
    }

    /// Notes that it is wrong.
    pub(super) fn fault(&self, message: impl Into<String>) {
        self.context.fault(self.span(), message);
    }

    /// Notes that something is missing in it.
    pub(super) fn absent(&self, message: impl Into<String>) {
        self.context.absent(self.span(), message);
    }

    /// Notes that it is of the wrong type.
    pub(super) fn wrong_type(&self, wanted: &str) {
        let found = match self.spanned.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.fault(format!("`{}` is {wanted}, not {found}", self.key));
    }

    /// Hides it in whatever is shown of the file.
    pub(super) fn hide(&self) {
        hide_all(self.context, self.spanned);
    }

    /// The string that it is, if it is one.
    pub(super) fn as_text(&self) -> Option<&'a str> {
        self.spanned.get_ref().as_str()
    }

    /// Notes that what stands at byte `position` of this string is wrong.
    pub(super) fn fault_at(&self, position: usize, message: impl Into<String>) {
        let text = self.as_text().unwrap_or_default();
        let at = text.floor_char_boundary(position);
        let width = text[at..].chars().next().map_or(1, char::len_utf8);
        self.fault_within(at..at + width, message);
    }

    /// Notes that these bytes of this string are wrong.
    pub(super) fn fault_within(&self, bytes: Span, message: impl Into<String>) {
        let span = self.span();
        let written = self.context.text.get(span.clone()).unwrap_or_default();
        let inside = written.get(1..written.len().saturating_sub(1));
        let place = match (inside, self.as_text()) {
            // Without escapes, a byte of the string is a byte of the file.
            (Some(inside), Some(text)) if inside == text && !bytes.is_empty() => {
                span.start + 1 + bytes.start..span.start + 1 + bytes.end
            }
            _ => span,
        };
        self.context.fault(place, message);
    }

    /// Whether it is an array.
    pub(super) fn is_list(&self) -> bool {
        self.spanned.get_ref().is_array()
    }

    /// A string, number or boolean as text.
    pub(super) fn as_word(&self) -> Option<String> {
        match self.spanned.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(integer) => Some(integer.to_string()),
            DeValue::Float(float) => Some(float.to_string()),
            DeValue::Boolean(boolean) => Some(boolean.to_string()),
            _ => {
                self.wrong_type("a string, a number, true or false");
                None
            }
        }
    }

    /// Whether it is a table.
    pub(super) fn is_table(&self) -> bool {
        self.spanned.get_ref().is_table()
    }

    /// A string, read by `read`.
    pub(super) fn parsed<T, E: Display>(
        &self,
        wanted: &str,
        read: impl FnOnce(&'a str) -> Result<T, E>,
    ) -> Option<T> {
        let Some(text) = self.as_text() else {
            self.wrong_type(wanted);
            return None;
        };
        read(text)
            .map_err(|error| self.fault(format!("`{}`: {error}", self.key)))
            .ok()
    }

    /// `true` or `false`.
    pub(super) fn boolean(self) -> Option<bool> {
        let value = self.spanned.get_ref().as_bool();
        if value.is_none() {
            self.wrong_type("true or false");
        }
        value
    }

    /// A whole number within `bounds`.
    pub(super) fn integer<T>(self, bounds: &RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        let Some(integer) = self.spanned.get_ref().as_integer() else {
            self.wrong_type("a whole number");
            return None;
        };
        let wide = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
        let value = wide.and_then(|wide| T::try_from(wide).ok());
        let value = value.filter(|value| bounds.contains(value));
        if value.is_none() {
            let (least, most) = (bounds.start(), bounds.end());
            self.fault(format!("`{}` must be {least} to {most}", self.key));
        }
        value
    }

    /// A share of one.
    pub(super) fn ratio(self) -> Option<f64> {
        let number = match self.spanned.get_ref() {
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            DeValue::Integer(integer) => integer.as_str().parse::<f64>().ok(),
            _ => {
                self.wrong_type("a number from 0 to 1");
                return None;
            }
        };
        let ratio = number.filter(|ratio| (0.0..=1.0).contains(ratio));
        if ratio.is_none() {
            self.fault(format!("`{}` must be 0 to 1", self.key));
        }
        ratio
    }

    /// A duration within `bounds`.
    pub(super) fn duration(self, bounds: &RangeInclusive<Duration>) -> Option<Duration> {
        let value = self.parsed("a duration like \"30s\"", words::duration)?;
        if bounds.contains(&value) {
            return Some(value);
        }
        let (least, most) = (
            words::duration_text(*bounds.start()),
            words::duration_text(*bounds.end()),
        );
        self.fault(format!("`{}` must be {least} to {most}", self.key));
        None
    }

    /// A size in bytes within `bounds`.
    pub(super) fn size(self, bounds: &RangeInclusive<u64>) -> Option<u64> {
        let value = self.parsed("a size like \"256KiB\"", words::size)?;
        if bounds.contains(&value) {
            return Some(value);
        }
        let (least, most) = (
            words::size_text(*bounds.start()),
            words::size_text(*bounds.end()),
        );
        self.fault(format!("`{}` must be {least} to {most}", self.key));
        None
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(self, choices: &[(&str, T)], later: &[&str]) -> Option<T> {
        let known: Vec<_> = choices.iter().map(|(w, _)| format!("\"{w}\"")).collect();
        let wanted = known.join(" or ");
        let Some(text) = self.as_text() else {
            self.wrong_type(&wanted);
            return None;
        };
        let choice = choices.iter().find(|(word, _)| *word == text);
        if choice.is_none() {
            let key = self.key;
            self.fault(if later.contains(&text) {
                format!("`{key} = \"{text}\"` is not supported yet")
            } else {
                let known = choices.iter().map(|(word, _)| *word);
                let near = words::nearest(text, known);
                let near = near.map(|near| format!(", did you mean \"{near}\"?"));
                let near = near.unwrap_or_default();
                format!("`{key}` is {wanted}, not \"{}\"{near}", shown(text))
            });
        }
        choice.map(|(_, choice)| *choice)
    }

    /// The elements of an array of at most `most`.
    pub(super) fn list(self, wanted: &str, most: usize) -> Option<Vec<Self>> {
        let Some(array) = self.spanned.get_ref().as_array() else {
            self.wrong_type(wanted);
            return None;
        };
        if array.len() > most {
            self.fault(format!("`{}` has at most {most} entries", self.key));
            return None;
        }
        Some(
            array
                .iter()
                .map(|spanned| Self { spanned, ..self })
                .collect(),
        )
    }

    /// Every element of an array, read by `read`; `None` if any is wrong.
    pub(super) fn each<T>(
        self,
        wanted: &str,
        most: usize,
        read: impl Fn(Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        // Collected first, so that every wrong element is noted.
        let read: Vec<Option<T>> = self.list(wanted, most)?.into_iter().map(read).collect();
        read.into_iter().collect()
    }

    /// A table with these keys; its home is where it stands.
    pub(super) fn table(self, keys: &'static Keys) -> Option<Table<'a>> {
        self.section(self.span(), keys)
    }

    /// A table with these keys and another home.
    pub(super) fn section(self, home: Span, keys: &'static Keys) -> Option<Table<'a>> {
        let Some(table) = self.spanned.get_ref().as_table() else {
            self.hide();
            self.wrong_type("a table");
            return None;
        };
        Some(Table::open(self.context, table, home, keys))
    }

    /// The entries of a table whose keys are free, in the order of the file.
    pub(super) fn entries(self) -> Option<Vec<Entry<'a>>> {
        let Some(table) = self.spanned.get_ref().as_table() else {
            self.hide();
            self.wrong_type("a table");
            return None;
        };
        let entry = |(key, spanned): (&'a Spanned<DeString<'a>>, _)| Entry {
            name: key.get_ref(),
            span: key.span(),
            value: Value {
                context: self.context,
                key: key.get_ref(),
                spanned,
            },
        };
        let mut entries: Vec<_> = table.iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.span.start);
        Some(entries)
    }
}

/// Hides every leaf of a value, except what tells only where a secret is: `{ env = "NAME" }`.
pub(super) fn hide_all(context: &Context<'_>, value: &Spanned<DeValue<'_>>) {
    match value.get_ref() {
        DeValue::Table(table) => {
            let elsewhere = |key: &str| matches!(key, "env" | "file");
            let leaves = table.iter().filter(|(key, _)| !elsewhere(key.get_ref()));
            leaves.for_each(|(_, leaf)| hide_all(context, leaf));
        }
        DeValue::Array(array) => array.iter().for_each(|leaf| hide_all(context, leaf)),
        _ => context.hide(value.span()),
    }
}
