//! A question about one value, asked with RFC 9535.
//!
//! Decides how a filter is written and what it is asked of. Leaves what a yes means to those who
//! ask: an item that matches a tombstone is deleted.

use serde_json::Value;
use serde_json_path::JsonPath;

use crate::jsonpath::{self, PathError};

/// A filter: a JSONPath over an array whose only element is the value in question.
#[derive(Debug, Clone)]
pub struct Filter {
    text: String,
    query: JsonPath,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`PathError`] for what is no JSONPath, or does not begin with a filter selector: any other
    /// would select always, or never.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let bracket = text.strip_prefix('$').map(str::trim_start);
        let selector = bracket.and_then(|rest| rest.strip_prefix('['));
        if !selector.is_some_and(|rest| rest.trim_start().starts_with('?')) {
            let message = "a filter asks about `@` in `$[?…]`: write one like \
                           `$[?@.deleted == true]`";
            return Err(PathError::at(0, message));
        }
        let query = jsonpath::parse(text)?;
        Ok(Self {
            text: text.to_owned(),
            query,
        })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it selects anything of an array that holds `value` alone.
    #[must_use]
    pub fn selects(&self, value: Value) -> bool {
        let array = Value::Array(vec![value]);
        !self.query.query(&array).is_empty()
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Filter {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_asks_about_the_one_value() {
        for (text, value, expected) in [
            ("$[?@.deleted == true]", json!({"deleted": true}), true),
            ("$[?@.deleted == true]", json!({"deleted": false}), false),
            ("$[?@.deleted == true]", json!({"deleted": "true"}), false),
            ("$[?@.deleted == true]", json!({}), false),
            ("$[?@.deleted]", json!({"deleted": false}), true),
            ("$ [ ?@.a.b > 1 ]", json!({"a": {"b": 2}}), true),
            ("$[?@ == 'gone']", json!("gone"), true),
            ("$[?@.state == 'a' || !@.b]", json!({"b": 1}), false),
            ("$[?@[0] == 1]", json!([1]), true),
        ] {
            let filter = Filter::parse(text).expect("a filter");
            assert_eq!(filter.selects(value), expected, "{text}");
        }
    }

    #[test]
    fn what_would_always_or_never_select_is_refused() {
        for text in ["$.deleted", "$[*]", "$", "", "@.deleted", "$[0]", "$..a"] {
            let error = Filter::parse(text).expect_err(text);
            assert!(error.message.contains("$[?"), "{text}: {error}");
        }
        let deep = format!("$[?{}", "(".repeat(60_000));
        Filter::parse(&deep).expect_err("the stack would end");
        let error = Filter::parse("$[?@.a ==]").expect_err("half a filter");
        assert!(error.position > 0 && error.message.contains("RFC 9535"));
    }
}
