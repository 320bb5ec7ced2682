//! What a string says, and its one spelling.
//!
//! Decides what escape sequences stand for (RFC 8259 section 7) and which of them stay. Leaves
//! finding the string to [`super::cursor`].

use super::Unreadable;

/// The inside of a string literal.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    /// What stands between the quotes.
    pub(super) inner: &'a [u8],
    /// Whether it holds a backslash.
    pub(super) escaped: bool,
}

/// A part of a string.
enum Piece<'a> {
    /// Bytes that stand for themselves.
    Plain(&'a [u8]),
    /// What an escape sequence stands for.
    Escape(char),
}

impl Text<'_> {
    /// Appends its canonical spelling, quotes included.
    ///
    /// # Errors
    /// As [`Self::pieces`].
    #[inline]
    pub(super) fn spell(self, out: &mut Vec<u8>) -> Result<(), Unreadable> {
        out.push(b'"');
        if self.escaped {
            self.pieces(|piece| match piece {
                Piece::Plain(bytes) => out.extend_from_slice(bytes),
                Piece::Escape(char) => spell_char(char, out),
            })?;
        } else {
            // JSON forbids raw control characters, so this is minimally escaped already.
            out.extend_from_slice(self.inner);
        }
        out.push(b'"');
        Ok(())
    }

    /// Hands on its parts in order.
    ///
    /// # Errors
    /// [`Unreadable::Json`] for half a surrogate pair, which is no text.
    fn pieces(self, mut each: impl FnMut(Piece<'_>)) -> Result<(), Unreadable> {
        let mut rest = self.inner;
        while let Some(stop) = rest.iter().position(|&byte| byte == b'\\') {
            each(Piece::Plain(&rest[..stop]));
            let (char, length) = escape(&rest[stop..])
                .ok_or_else(|| Unreadable::Json("a string holds half a surrogate pair".into()))?;
            each(Piece::Escape(char));
            rest = &rest[stop + length..];
        }
        each(Piece::Plain(rest));
        Ok(())
    }

    /// What it says.
    pub(super) fn decode(self) -> Result<String, Unreadable> {
        let mut bytes = Vec::with_capacity(self.inner.len());
        self.pieces(|piece| match piece {
            Piece::Plain(plain) => bytes.extend_from_slice(plain),
            Piece::Escape(char) => {
                bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            }
        })?;
        String::from_utf8(bytes).map_err(|error| Unreadable::Json(error.to_string()))
    }

    /// Whether it is text at all.
    ///
    /// # Errors
    /// As [`Self::pieces`].
    pub(super) fn check(self) -> Result<(), Unreadable> {
        if self.escaped {
            self.pieces(|_| ())
        } else {
            Ok(())
        }
    }
}

/// The character that an escape sequence stands for, and the sequence's length (RFC 8259
/// section 7).
fn escape(rest: &[u8]) -> Option<(char, usize)> {
    let char = match rest.get(1)? {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode_escape(rest),
        &other => char::from(other),
    };
    Some((char, 2))
}

fn unicode_escape(rest: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = rest.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let first = unit(0)?;
    if let Some(char) = char::from_u32(u32::from(first)) {
        return Some((char, 6));
    }
    let pair = [first, unit(6)?];
    let char = char::decode_utf16(pair).next()?.ok()?;
    Some((char, 12))
}

fn spell_char(char: char, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match char {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\u{8}' => out.extend_from_slice(b"\\b"),
        '\u{c}' => out.extend_from_slice(b"\\f"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        control @ '\0'..='\u{1f}' => {
            let code = control as usize;
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[code >> 4], HEX[code & 15]]);
        }
        other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}
