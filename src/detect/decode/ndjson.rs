//! A JSON value on each line.
//!
//! Decides that each line is one whole value: joined by commas alone, halves of lines could make up
//! values that nobody sent.

use serde::de::IgnoredAny;

use super::Format;
use super::output::Output;
use crate::detect::Unreadable;

/// An array of the lines' values.
pub(super) fn decode(text: &str, bytes_max: usize) -> Result<Vec<u8>, Unreadable> {
    let mut out = Output::of(bytes_max);
    out.raw("[")?;
    let mut first = true;
    for (number, line) in (1..).zip(text.split('\n')) {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        serde_json::from_str::<IgnoredAny>(line).map_err(|error| {
            let (what, column) = (error.classify(), error.column());
            Format::Ndjson.malformed(format!("line {number}, column {column}: {what:?}"))
        })?;
        out.separate(&mut first)?;
        out.raw(line)?;
    }
    if first {
        return Err(Format::Ndjson.malformed("all lines are blank"));
    }
    out.raw("]")?;
    Ok(out.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Result<String, Unreadable> {
        decode(text, 1000).map(|json| String::from_utf8(json).expect("text"))
    }

    #[test]
    fn lines_are_an_array() {
        for (text, expected) in [
            ("1", "[1]"),
            ("{\"a\":1}\n{\"a\":2}\n", "[{\"a\":1},{\"a\":2}]"),
            ("\r\n {\"a\":1}\r\n\r\n\"b\"", "[{\"a\":1},\"b\"]"),
            ("12345678901234567890.00", "[12345678901234567890.00]"),
        ] {
            assert_eq!(lines(text).as_deref(), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn a_line_that_is_no_value_is_told_of() {
        for text in [
            "\n\n",
            "{\"a\":1}{\"a\":2}",
            "{\"a\":1},{\"a\":2}",
            "{\"a\":1}\n{\"a\":",
            "{\"a\":\n1}",
            "1],[2",
            "<html></html>",
            "Service Unavailable",
            "{\"a\":NaN}",
        ] {
            assert_eq!(lines(text).expect_err(text).reason(), "parse", "{text}");
        }
        let fault = decode("{\"a\":1}\n{\"a\":2}", 10).expect_err("too long");
        assert_eq!(fault.reason(), "too_large");
    }

    #[test]
    fn lines_that_are_cut_are_told_of_unless_the_cut_is_between_lines() {
        let whole = "{\"id\":1,\"a\":\"é\"}\n{\"id\":2,\"a\":\"b\"}\n";
        let first_line = whole.find('\n').expect("two lines");
        for cut in (0..whole.len()).filter(|cut| whole.is_char_boundary(*cut)) {
            let is_between = [first_line, first_line + 1, whole.len() - 1].contains(&cut);
            assert_eq!(lines(&whole[..cut]).is_ok(), is_between, "{cut}");
        }
    }
}
