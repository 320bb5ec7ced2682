//! Which events an endpoint takes, by what stands in them.

use serde_json::Value;

use super::Event;
use super::query::{PAYLOAD, Query, member};
use super::render::payload;
use crate::jsonpath::PathError;

/// A condition on events: a JSONPath (RFC 9535) over a one-element array that holds the payload. An
/// event of which it selects nothing is not delivered.
///
/// The payload is the full one, whatever of it the endpoint gets: a filter may ask for what is then
/// redacted.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter(Query);

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`PathError`], also for paths that can never select anything, or always do.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let query = Query::parse(text)?;
        let rest = text.get(1..).unwrap_or_default();
        let advice = "it is asked of a list that holds the one payload: write \
                      `$[?@.data.current.state == 'closed']`";
        if rest.trim().is_empty() {
            return Err(PathError::at(0, format!("`$` selects always: {advice}")));
        }
        if member(rest).is_some() {
            return Err(PathError::at(1, format!("it never selects: {advice}")));
        }
        if let Some(position) = first_condition(text)
            && let Some((name, _)) = member(&text[position..])
            && !PAYLOAD.contains(&name)
        {
            let message = format!(
                "a payload has `type`, `timestamp` and `data`, not `{}`: write \
                 `@.data.current.…`",
                name.escape_debug()
            );
            return Err(PathError::at(position, message));
        }
        Ok(Self(query))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether the endpoint takes `event`.
    ///
    /// Where the payload cannot be read, which takes a damaged store, it is taken: better once too
    /// often than never.
    #[must_use]
    pub fn takes(&self, event: &Event) -> bool {
        let Ok(payload) = payload(event) else {
            return true;
        };
        self.0.selects(&Value::Array(vec![payload]))
    }
}

/// Where the path after the first `@` of the outermost condition begins.
fn first_condition(text: &str) -> Option<usize> {
    let condition = text.find('?')?;
    let at = condition + text[condition..].find('@')?;
    Some(at + 1)
}
