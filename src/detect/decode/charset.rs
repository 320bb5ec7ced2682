//! From bytes to text.
//!
//! Decides which charset a body has: what its byte order mark says, else `Content-Type`, else the
//! text itself, else UTF-8. What does not decode is told, and nothing takes its place: a
//! replacement character would be a change.

use std::borrow::Cow;

use encoding_rs::{Encoding, REPLACEMENT, UTF_8, UTF_16BE, UTF_16LE};

use crate::detect::Unreadable;

/// How far into a page its charset may be declared.
///
/// Source: WHATWG HTML section 13.2.3.2, "prescan a byte stream".
const HTML_BYTES: usize = 1024;

/// How long an XML declaration may be.
const XML_BYTES: usize = 256;

/// Longest label; none that is known is nearly as long.
const LABEL_BYTES_MAX: usize = 40;

/// The text of `body`, whose charset is `told`, or else `declared` in it.
pub(super) fn text<'a>(
    body: &'a [u8],
    told: Option<&str>,
    declared: fn(&[u8]) -> Option<String>,
) -> Result<Cow<'a, str>, Unreadable> {
    let (charset, length) = match (Encoding::for_bom(body), told) {
        (Some(marked), _) => marked,
        (None, Some(label)) => (named(label)?, 0),
        (None, None) => match declared(body) {
            Some(label) => (readable(named(&label)?), 0),
            None => (UTF_8, 0),
        },
    };
    let text = charset.decode_without_bom_handling_and_without_replacement(&body[length..]);
    text.ok_or_else(|| Unreadable::Charset(format!("it is not {} throughout", charset.name())))
}

fn named(label: &str) -> Result<&'static Encoding, Unreadable> {
    let is_short = label.len() <= LABEL_BYTES_MAX;
    let known = Encoding::for_label(label.as_bytes());
    let known = known.filter(|known| is_short && *known != REPLACEMENT);
    known.ok_or_else(|| Unreadable::Charset("nobody knows the charset that it names".to_owned()))
}

/// A charset that was read where it is declared cannot be one of two bytes a letter.
fn readable(charset: &'static Encoding) -> &'static Encoding {
    if charset == UTF_16LE || charset == UTF_16BE {
        UTF_8
    } else {
        charset
    }
}

/// Formats that cannot say.
pub(super) fn nowhere(_: &[u8]) -> Option<String> {
    None
}

/// The encoding in `<?xml version="1.0" encoding="…"?>`.
pub(super) fn in_xml(body: &[u8]) -> Option<String> {
    let start = &body[..body.len().min(XML_BYTES)];
    let start = String::from_utf8_lossy(start);
    let (declaration, _) = start.strip_prefix("<?xml")?.split_once("?>")?;
    label(declaration.split_once("encoding")?.1)
}

/// The charset in `<meta charset="…">` or `<meta http-equiv=… content="text/html; charset=…">`.
pub(super) fn in_html(body: &[u8]) -> Option<String> {
    let start = &body[..body.len().min(HTML_BYTES)];
    let start = String::from_utf8_lossy(start).to_ascii_lowercase();
    let mut tags = start.split("<meta").skip(1);
    tags.find_map(|rest| {
        let tag = rest.split('>').next()?;
        label(tag.split_once("charset")?.1)
    })
}

/// The label behind an equals sign.
fn label(rest: &str) -> Option<String> {
    let value = rest.trim_start().strip_prefix('=')?.trim_start();
    let value = value.trim_start_matches(['"', '\'']);
    let is_end = |c: char| c.is_ascii_whitespace() || "\"';/>".contains(c);
    let value = value.split(is_end).next()?;
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8], told: Option<&str>) -> Result<String, Unreadable> {
        let declared = if body.starts_with(b"<?xml") {
            in_xml
        } else {
            in_html
        };
        text(body, told, declared).map(Cow::into_owned)
    }

    #[test]
    fn the_mark_counts_more_than_the_header_and_the_header_more_than_the_text() {
        let xml = b"<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe9</a>";
        for (body, told, expected) in [
            (&b"\xe9"[..], Some("latin1"), "\u{e9}"),
            (b"\xef\xbb\xbf\xc3\xa9", Some("latin1"), "\u{e9}"),
            (b"\xff\xfe\xe9\x00", None, "\u{e9}"),
            (b"\xfe\xff\x00\xe9", Some("utf-8"), "\u{e9}"),
            (b"\x82\xa0", Some("Shift_JIS"), "\u{3042}"),
            (
                b"<meta charset=windows-1251><p>\xe9",
                None,
                "<meta charset=windows-1251><p>\u{439}",
            ),
            (
                b"<META content='text/html; charset=\"koi8-r\"'>\xe9",
                None,
                "<META content='text/html; charset=\"koi8-r\"'>\u{418}",
            ),
            (
                b"<meta charset='utf-16'>\xc3\xa9",
                None,
                "<meta charset='utf-16'>\u{e9}",
            ),
            (b"\xc3\xa9", None, "\u{e9}"),
        ] {
            assert_eq!(read(body, told).as_deref(), Ok(expected), "{body:?}");
        }
        let text = read(xml, None).expect("latin1");
        assert!(text.ends_with("<a>\u{e9}</a>"), "{text}");
        assert!(read(xml, Some("utf-8")).is_err());
    }

    #[test]
    fn what_does_not_decode_is_told_and_never_replaced() {
        for (body, told) in [
            (&b"\xe9"[..], None),
            (b"\xe9", Some("utf-8")),
            (b"\xff\xfe\xe9", None),
            (b"\xff\xfe\x00\xd8", None),
            (b"\x81", Some("shift_jis")),
            (b"a", Some("x-unheard-of")),
            (b"a", Some("utf-7")),
            (b"a", Some("iso-2022-kr")),
            (b"<meta charset=x-unheard-of>", None),
        ] {
            let fault = read(body, told).expect_err("no text");
            assert_eq!(fault.reason(), "charset", "{body:?}");
        }
    }
}
