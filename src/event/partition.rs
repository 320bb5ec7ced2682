//! Which part of a divided source something belongs to.
//!
//! Decides how a partition is told on the wire, and what keeps the events of one item apart from
//! those of its namesake in another partition.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// Begins and ends the partition in a line. JSON never holds it: it escapes control characters.
const MARK: char = '\u{1}';

/// A partition of a source, by the values that divide it. As text it is their JSON object, names
/// in order, `{"repo":"a/b"}`; empty for the whole of a source that is not divided.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Partition(Box<str>);

impl Partition {
    /// The partition with these values by name; without any, the whole.
    #[must_use]
    pub fn of(values: &BTreeMap<String, String>) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        let member = |(name, value): (&String, &String)| {
            let text = |text: &str| serde_json::Value::from(text).to_string();
            format!("{}:{}", text(name), text(value))
        };
        let members: Vec<String> = values.iter().map(member).collect();
        Self(format!("{{{}}}", members.join(",")).into())
    }

    /// The partition that was stored as this text.
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether its source is not divided.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.0.is_empty()
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its values by name.
    #[must_use]
    pub fn values(&self) -> BTreeMap<String, String> {
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// The line in which the events of an item follow each other: its subject and, where the
    /// source is divided, its partition. No two items have the same.
    #[must_use]
    pub fn line<'a>(&self, subject: &'a str) -> Cow<'a, str> {
        if self.is_whole() && !subject.starts_with(MARK) {
            return Cow::Borrowed(subject);
        }
        Cow::Owned(format!("{MARK}{}{MARK}{subject}", self.0))
    }

    /// The partition and the subject of a [`Self::line`].
    #[must_use]
    pub fn of_line(line: &str) -> (Self, &str) {
        let parts = line.strip_prefix(MARK);
        let parts = parts.and_then(|rest| rest.split_once(MARK));
        let (partition, subject) = parts.unwrap_or(("", line));
        (Self(partition.into()), subject)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[(&str, &str)]) -> Partition {
        let pairs = values.iter();
        let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Partition::of(&pairs.collect())
    }

    #[test]
    fn a_partition_is_told_as_json_with_its_names_in_order() {
        let partition = of(&[("repo", "a/\"b\"\u{1}"), ("org", "é")]);
        let text = r#"{"org":"é","repo":"a/\"b\"\u0001"}"#;
        assert_eq!(partition.as_str(), text);
        assert_eq!(Partition::of(&partition.values()), partition);
        assert!(of(&[]).is_whole());
    }

    #[test]
    fn lines_tell_items_of_partitions_apart_and_read_back() {
        let partitions = [of(&[]), of(&[("a", "1")]), of(&[("a", "\u{1}")])];
        let subjects = ["", "1", "{\"a\":\"1\"}", "\u{1}", "\u{1}x\u{1}y"];
        let mut lines = std::collections::BTreeSet::new();
        for partition in &partitions {
            for subject in subjects {
                let line = partition.line(subject).into_owned();
                assert_eq!(Partition::of_line(&line), (partition.clone(), subject));
                assert!(lines.insert(line));
            }
        }
        assert_eq!(of(&[]).line("42"), "42");
    }
}
