//! Texts of a request that hold values of the moment: `{{cursor}}`, `{{now}}`, `{{last_success}}`.
//!
//! Decides what a variable is called and how its value is written. Leaves what must be escaped
//! where to whoever renders. Pure.

use std::collections::BTreeMap;
use std::fmt;

use crate::time::Timestamp;

use super::words::{nearest, shown};

/// Names of the variables that every source has.
const NAMES: [(&str, Variable); 5] = [
    ("cursor", Variable::Cursor),
    ("now", Variable::Now),
    ("now_unix", Variable::NowUnix),
    ("last_success", Variable::LastSuccess),
    ("last_success_unix", Variable::LastSuccessUnix),
];

/// A text with variables.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Variable(Variable),
}

/// What stands between `{{` and `}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// Where the incremental listing stands.
    Cursor,
    /// The present, as RFC 3339 in UTC with whole seconds.
    Now,
    /// The present, in seconds since the Unix epoch.
    NowUnix,
    /// When the last poll that was believed began; nothing before the first.
    LastSuccess,
    /// The same, in seconds since the Unix epoch.
    LastSuccessUnix,
    /// A variable of the partition.
    Partition(Box<str>),
}

/// What the variables stand for.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// Where the incremental listing stands.
    pub cursor: Option<&'a str>,
    /// The present.
    pub now: Timestamp,
    /// When the last poll that was believed began.
    pub last_success: Option<Timestamp>,
    /// The partition's variables by name.
    pub partition: &'a BTreeMap<String, String>,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// Byte offset in the text.
    pub position: usize,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Template {
    /// Reads a template; `partition` names the variables that the source has besides the common
    /// ones. `{{` always begins a variable, `}}` alone is text, so that JSON needs no escapes.
    ///
    /// # Errors
    /// [`TemplateError`] for a variable that is not closed or not known.
    pub fn parse(text: &str, partition: &[&str]) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find("{{") {
            let position = text.len() - rest.len() + open;
            let inner = &rest[open + 2..];
            let Some(close) = inner.find("}}") else {
                let message = "`{{` begins a variable, close it with `}}`".to_owned();
                return Err(TemplateError { position, message });
            };
            let variable = variable(inner[..close].trim(), partition)
                .map_err(|message| TemplateError { position, message })?;
            if open > 0 {
                parts.push(Part::Text(rest[..open].into()));
            }
            parts.push(Part::Variable(variable));
            rest = &inner[close + 2..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// A text that holds no variables, whatever stands in it.
    #[must_use]
    pub fn literal(text: &str) -> Self {
        let part = Part::Text(text.into());
        Self {
            text: text.to_owned(),
            parts: vec![part],
        }
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its variables, in order.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Variable(variable) => Some(variable),
        })
    }

    /// The text with each variable's value as `encode` writes it; `None` when one has no value.
    pub fn render(
        &self,
        values: &Values<'_>,
        mut encode: impl FnMut(&Variable, &str, &mut String),
    ) -> Option<String> {
        let mut text = String::with_capacity(self.text.len());
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Variable(variable) => {
                    let value = values.of(variable)?;
                    encode(variable, &value, &mut text);
                }
            }
        }
        Some(text)
    }

    /// The text with `stand_in` for each variable.
    pub(super) fn with(&self, stand_in: &str) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(part) => part,
            Part::Variable(_) => stand_in,
        });
        parts.collect()
    }
}

/// Shows only the variables: what stands between them may be a secret.
impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.variables()).finish()
    }
}

impl Variable {
    /// Whether its value differs from poll to poll.
    #[must_use]
    pub const fn is_of_the_moment(&self) -> bool {
        !matches!(self, Self::Partition(_))
    }
}

impl Values<'_> {
    fn of(&self, variable: &Variable) -> Option<String> {
        match variable {
            Variable::Cursor => self.cursor.map(str::to_owned),
            Variable::Now => Some(self.now.in_seconds()),
            Variable::NowUnix => Some(self.now.as_seconds().to_string()),
            Variable::LastSuccess => self.last_success.map(Timestamp::in_seconds),
            Variable::LastSuccessUnix => self.last_success.map(|at| at.as_seconds().to_string()),
            Variable::Partition(name) => self.partition.get(&**name).cloned(),
        }
    }
}

/// Whether every source has a variable of this name.
pub(super) fn is_common(name: &str) -> bool {
    NAMES.iter().any(|(known, _)| *known == name)
}

fn variable(name: &str, partition: &[&str]) -> Result<Variable, String> {
    if let Some((_, variable)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(variable.clone());
    }
    if partition.contains(&name) {
        return Ok(Variable::Partition(name.into()));
    }
    let known = || {
        let names = NAMES.iter().map(|(name, _)| *name);
        names.chain(partition.iter().copied())
    };
    if let Some(near) = nearest(name, known()) {
        let name = shown(name);
        return Err(format!(
            "there is no variable `{name}`, did you mean `{near}`?"
        ));
    }
    let known: Vec<String> = known().map(|name| format!("`{name}`")).collect();
    Err(format!(
        "there is no variable `{}`, there are {}",
        shown(name),
        known.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str, last_success: Option<Timestamp>) -> Option<String> {
        let partition = BTreeMap::from([("repo".to_owned(), "a/b".to_owned())]);
        let values = Values {
            cursor: Some("c"),
            now: Timestamp::from_millis(1_795_456_800_999),
            last_success,
            partition: &partition,
        };
        let template = Template::parse(text, &["repo"]).expect("a template");
        assert_eq!(template.as_str(), text);
        template.render(&values, |_, value, out| out.push_str(value))
    }

    #[test]
    fn variables_are_replaced_and_all_else_stays() {
        for (text, expected) in [
            ("", ""),
            ("/issues", "/issues"),
            ("{{cursor}}", "c"),
            ("a{{ cursor }}b{{cursor}}", "acbc"),
            ("/{{repo}}/x", "/a/b/x"),
            ("{{now}}", "2026-11-23T18:00:00Z"),
            ("{{now_unix}}", "1795456800"),
            (r#"{"a":{"b":{}}}"#, r#"{"a":{"b":{}}}"#),
        ] {
            assert_eq!(rendered(text, None).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_variable_without_value_makes_no_text() {
        assert_eq!(rendered("x{{last_success}}", None), None);
        let at = Some(Timestamp::from_millis(1_000));
        let expected = "x1970-01-01T00:00:01Z";
        assert_eq!(rendered("x{{last_success}}", at).as_deref(), Some(expected));
    }

    #[test]
    fn what_is_no_variable_is_refused_with_its_place() {
        for (text, position, said) in [
            ("a{{", 1, "close it"),
            ("{{}}", 0, "there are `cursor`"),
            ("/{{curser}}", 1, "did you mean `cursor`"),
            ("{{cursor}}{{x y}}", 10, "no variable `x y`"),
        ] {
            let error = Template::parse(text, &[]).expect_err(text);
            assert_eq!(error.position, position, "{text}");
            assert!(error.message.contains(said), "{error}");
        }
    }
}
