//! How a JSONPath (RFC 9535) is read, wherever one is written.
//!
//! Decides what is too much for the reader of paths. Leaves what a path may select to those who
//! follow it.

use serde_json_path::JsonPath;

/// Most brackets and parentheses within one another. The reader of paths goes down into each, on the
/// stack that it is called on, and reads a filter within a filter several times over.
const NESTED_MAX: usize = 12;

/// Why a text is no JSONPath that can stand where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PathError {
    /// Byte offset in the text.
    pub position: usize,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl PathError {
    /// What is wrong at `position`.
    pub fn at(position: usize, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { position, message }
    }
}

/// Reads a path.
///
/// # Errors
/// [`PathError`], also for more than 12 brackets in one another.
pub fn parse(text: &str) -> Result<JsonPath, PathError> {
    if let Some(position) = too_deep(text) {
        let message = format!("a JSONPath has at most {NESTED_MAX} brackets in one another");
        return Err(PathError::at(position, message));
    }
    JsonPath::parse(text).map_err(|error| {
        let message = format!("no JSONPath (RFC 9535): {}", error.message());
        PathError::at(error.position().min(text.len()), message)
    })
}

/// Where `text` is nested too deeply; brackets in strings are letters.
fn too_deep(text: &str) -> Option<usize> {
    let (mut open, mut quote) = (0_usize, None);
    let mut chars = text.char_indices();
    while let Some((position, char)) = chars.next() {
        match (quote, char) {
            (Some(_), '\\') => {
                chars.next();
            }
            (Some(_), _) if quote == Some(char) => quote = None,
            (None, '\'' | '"') => quote = Some(char),
            (None, '(' | '[') if open == NESTED_MAX => return Some(position),
            (None, '(' | '[') => open += 1,
            (None, ')' | ']') => open = open.saturating_sub(1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_are_nested_deeply_are_refused_before_they_are_read() {
        let in_another = |open: &str, times, middle: &str, close: &str| {
            format!("${}{middle}{}", open.repeat(times), close.repeat(times))
        };
        for (open, middle, close) in [("[?@.a", "", "]"), ("[?(@.a", " == 1", ")]")] {
            let most = in_another(
                open,
                NESTED_MAX / open.matches(['[', '(']).count(),
                middle,
                close,
            );
            parse(&most).expect("it is not too deep");
            let refused = parse(&in_another(open, 30_000, middle, close));
            let refused = refused.expect_err("the stack would end");
            assert!(refused.message.contains("in one another"), "{refused}");
        }
        let refused = parse(&format!("$[?{}", "(".repeat(60_000))).expect_err("too deep");
        assert_eq!(refused.position, 2 + NESTED_MAX);
        let letters = "(".repeat(99);
        for right in [
            format!("$[?@.a == '{letters}\\'{letters}']"),
            format!("$['a']{}", "[0]".repeat(99)),
        ] {
            parse(&right).expect("letters, and brackets beside each other");
        }
    }
}
