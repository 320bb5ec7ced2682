//! From a response's bytes to JSON text, whatever format they have. Pure.
//!
//! Decides what each format looks like as JSON, and which bodies are none of it. What comes out is
//! read as any JSON body is: items, ids, `ignore` and digests know nothing of formats. JSON itself
//! does not come here.
//!
//! | format | as JSON |
//! | --- | --- |
//! | ndjson | an array of the lines' values; blank lines are skipped |
//! | csv | an array of objects, one of each row, whose names the first row gives; all values are strings |
//! | xml | `{"root": …}`. An element is an object of its attributes (`"@name"`), its text (`"#text"`) and, by name, arrays of its child elements; or just its text where it has nothing else |
//! | feed | `{"type", "title", …, "entries": [{"id", "title", "link", "published", …}]}` of RSS, Atom and JSON Feed alike, times in RFC 3339 |
//! | html | an array of what a CSS selector selects, `{"tag", "text", "links", "attributes", "html"}` each, whitespace in it as a browser shows it; without one `{"title", "text"}` of the page |
//! | text | `{"text": …}`, lines ended by LF and without blanks at its end, or `{"lines": […]}` for items |
//! | bytes | `{"bytes": length, "blake3": digest}` |
//!
//! That one element of XML is an array, too, is so that a second one changes no shape.
//!
//! No format tells all truncations. What a body can tell is told: a value, a quote, an element that
//! does not end, a row of too few fields; a line of a table or a text, where nothing else tells the
//! end. Where the connection alone does, what is told nowhere must come twice to be believed, which
//! is for who asks. That nothing, a login page or a note of regret is read as
//! an empty list is prevented where a format would allow it.

mod charset;
mod csv;
mod feed;
mod html;
mod kind;
mod ndjson;
mod output;
#[cfg(test)]
mod tests;
mod text;
mod xml;

pub use html::Selector;
pub use kind::{Format, Mistyped};

use super::{Rules, Unreadable};

/// A body that is not JSON yet.
#[derive(Debug, Clone, Copy)]
pub struct Encoded<'a> {
    /// The bytes.
    pub body: &'a [u8],
    /// What they are.
    pub format: Format,
    /// `Content-Type`, which may name the charset.
    pub content_type: Option<&'a str>,
    /// Whether nothing told its end but that of the connection.
    pub is_open_ended: bool,
}

/// A body as JSON text of at most `bytes_max` bytes.
///
/// Of the rules only counts what is looked for: where it cannot be there, the body is not what the
/// source watches.
///
/// # Errors
/// [`Unreadable`]; its messages name places, never content.
pub fn decode(
    encoded: Encoded<'_>,
    rules: &Rules,
    bytes_max: usize,
) -> Result<Vec<u8>, Unreadable> {
    let Encoded {
        body,
        format,
        content_type,
        is_open_ended,
    } = encoded;
    if body.is_empty() {
        return Err(format.malformed("there is nothing"));
    }
    let told = content_type.and_then(kind::charset);
    let text = |declared| charset::text(body, told, declared);
    let lines = || {
        let text = text(charset::nowhere)?;
        if is_open_ended && ends_within_a_line(&text) {
            let message = "it ends within a line, and nothing but the connection told its end";
            return Err(format.malformed(message));
        }
        Ok(text)
    };
    match format {
        Format::Json => Ok(body.to_vec()),
        Format::Ndjson => ndjson::decode(&text(charset::nowhere)?, bytes_max),
        Format::Csv => csv::decode(&lines()?, rules, bytes_max),
        Format::Xml => xml::decode(&text(charset::in_xml)?, bytes_max),
        Format::Feed => feed::decode(&text(charset::in_xml)?, bytes_max),
        Format::Html => {
            let selector = rules.selector.as_ref();
            html::decode(&text(charset::in_html)?, selector, bytes_max)
        }
        Format::Text => text::decode(&lines()?, rules, bytes_max),
        Format::Bytes => Ok(text::of_bytes(body)),
    }
}

/// Whether the last of several lines has no end. Who wrote one after each of the others would have
/// written that, too; one line alone tells nothing. (A value of JSON tells its end by itself.)
fn ends_within_a_line(text: &str) -> bool {
    let is_end = ['\n', '\r'];
    text.contains(is_end) && !text.ends_with(is_end)
}
