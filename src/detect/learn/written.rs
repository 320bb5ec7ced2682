//! What was learnt, as TOML that a person puts into a source.

use std::fmt::Write as _;

use super::{Kind, Learnt, Noisy};

/// A key, its value, and what speaks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The key.
    pub key: &'static str,
    /// Its value, as TOML.
    pub value: String,
    /// What speaks for it.
    pub why: String,
}

impl Line {
    /// `key = value`.
    #[must_use]
    pub fn rule(&self) -> String {
        format!("{} = {}", self.key, self.value)
    }
}

impl Learnt {
    /// The keys of a source that it suggests, in the order of the documentation.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut add = |key, value, why: String| lines.push(Line { key, value, why });
        let noise = &self.noise;
        if let Some((list, id)) = self.list.as_ref().zip(self.id.as_ref()) {
            let what = match list.kind {
                Kind::Nothing => "a list, empty now",
                Kind::Rows => "a list of rows",
                Kind::Objects => "a list of objects",
            };
            add("items", quoted(&list.items()), what.to_owned());
            let paths: Vec<&str> = id.paths().collect();
            let why = match (id.is_guess, paths.len()) {
                (true, _) => "a guess: it may be another field",
                (false, 1) => "in every item another one, in every answer the same",
                (false, _) => "together, in every item others, in every answer the same",
            };
            let value = match paths.as_slice() {
                [one] => quoted(one),
                several => array(several),
            };
            add("id", value, why.to_owned());
        } else if self.list.is_some() {
            // A list without ids: rules about its items lead nowhere.
            return lines;
        }
        if !noise.ignore.is_empty() {
            let why = shares(&noise.ignore, "differs by itself");
            add("ignore", paths(&noise.ignore), why);
        }
        if !noise.unordered.is_empty() {
            let why = shares(&noise.unordered, "changed its order alone");
            add("unordered", paths(&noise.unordered), why);
        }
        if let Some(paging) = self.paging.as_ref().filter(|_| self.id.is_some()) {
            let guess = if paging.is_guess {
                "; see the API's documentation"
            } else {
                ""
            };
            add(
                "paginate",
                paging.toml.clone(),
                format!("{}{guess}", paging.why),
            );
        }
        lines
    }
}

/// A text as a TOML string.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn array(texts: &[&str]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(", "))
}

fn paths(noisy: &[Noisy]) -> String {
    let paths: Vec<&str> = noisy.iter().map(|noisy| noisy.path.as_str()).collect();
    array(&paths)
}

/// `differs by itself in 5 of 5, 4 of 5`.
fn shares(noisy: &[Noisy], what: &str) -> String {
    let least = noisy.iter().map(|noisy| (noisy.items, noisy.of)).min();
    let (items, of) = least.unwrap_or_default();
    format!("{what} in {items} of {of} comparisons or more")
}
