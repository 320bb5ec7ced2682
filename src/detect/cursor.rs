//! Steps through JSON text, token by token, without a tree.
//!
//! Decides where a value ends and what a string says. Leaves syntax to `serde_json`, which reads
//! all of a body first ([`Cursor::checked`]): from then on the text is known to be JSON, and what
//! stands here only has to tell its tokens apart. That costs a second look at each byte and buys
//! what no deserializer gives: number literals of any size and the place of every value. A slip
//! here is an error, never a panic.

use serde::de::IgnoredAny;

use super::Unreadable;
use super::text::Text;

/// The deepest nesting that is read, the limit of `serde_json` itself: recursion over a response
/// stays within some 100 KiB of stack.
pub(super) const DEPTH_MAX: usize = 127;

/// A place in JSON text.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Cursor<'a> {
    /// Before the one value that `text` is.
    ///
    /// # Errors
    /// [`Unreadable::Json`] unless `text` is one JSON value (RFC 8259) and nothing after it.
    pub(super) fn checked(text: &'a str) -> Result<Self, Unreadable> {
        serde_json::from_str::<IgnoredAny>(text)
            .map_err(|error| Unreadable::Json(error.to_string()))?;
        Ok(Self::over(text.as_bytes()))
    }

    /// Before the value that `text`, already known to be JSON, begins with.
    pub(super) fn over(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
        }
    }

    /// The next byte that is no whitespace; 0 at the end.
    #[inline]
    pub(super) fn peek(&mut self) -> u8 {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(&byte) => return byte,
                None => return 0,
            }
        }
    }

    /// Where the next token begins.
    #[inline]
    pub(super) fn start(&mut self) -> usize {
        self.peek();
        self.at
    }

    /// Where the last token ended.
    #[inline]
    pub(super) fn end(&self) -> usize {
        self.at
    }

    /// The same text from another place on, where a value begins.
    pub(super) fn from(&self, at: usize) -> Self {
        Self { at, ..self.clone() }
    }

    /// All of the text.
    pub(super) fn text(&self) -> &'a [u8] {
        self.text
    }

    /// Takes `byte` if it comes next.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let comes = self.peek() == byte;
        self.at += usize::from(comes);
        comes
    }

    /// Enters the array or object that comes next.
    #[inline]
    pub(super) fn open(&mut self) -> Result<(), Unreadable> {
        self.peek();
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let message = format!("nested deeper than {DEPTH_MAX} levels");
            return Err(Unreadable::Json(message));
        }
        Ok(())
    }

    /// Whether another element or member comes; if not, leaves the container, which `close` ends.
    #[inline]
    pub(super) fn more(&mut self, close: u8) -> Result<bool, Unreadable> {
        match self.peek() {
            b',' => self.at += 1,
            0 => return Err(slip(self.at)),
            byte if byte == close => {
                self.at += 1;
                self.depth = self.depth.saturating_sub(1);
                return Ok(false);
            }
            _ => {}
        }
        Ok(true)
    }

    /// Reads a member's name and the colon.
    #[inline]
    pub(super) fn key(&mut self) -> Result<Text<'a>, Unreadable> {
        let key = self.string()?;
        if !self.take(b':') {
            return Err(slip(self.at));
        }
        Ok(key)
    }

    /// Reads a string.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Text<'a>, Unreadable> {
        if !self.take(b'"') {
            return Err(slip(self.at));
        }
        let start = self.at;
        let mut escaped = false;
        loop {
            let stop = stop(&self.text[self.at..]).ok_or_else(|| slip(start))?;
            self.at += stop;
            if self.text[self.at] == b'"' {
                let inner = &self.text[start..self.at];
                self.at += 1;
                return Ok(Text { inner, escaped });
            }
            escaped = true;
            self.at = (self.at + 2).min(self.text.len());
        }
    }

    /// Reads a number, `true`, `false` or `null`, and gives its literal.
    #[inline]
    pub(super) fn literal(&mut self) -> Result<&'a [u8], Unreadable> {
        let start = self.start();
        let is_part =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        while self.text.get(self.at).is_some_and(is_part) {
            self.at += 1;
        }
        if self.at == start {
            return Err(slip(start));
        }
        Ok(&self.text[start..self.at])
    }

    /// Goes past a value, which must be as readable as one that is kept.
    pub(super) fn skip(&mut self) -> Result<(), Unreadable> {
        let depth = self.depth;
        loop {
            match self.peek() {
                b'{' | b'[' => self.open()?,
                b'"' => self.string()?.check()?,
                b'}' | b']' if self.depth > depth => {
                    self.at += 1;
                    self.depth -= 1;
                }
                b',' | b':' if self.depth > depth => {
                    self.at += 1;
                    continue;
                }
                _ => {
                    self.literal()?;
                }
            }
            if self.depth == depth {
                return Ok(());
            }
        }
    }
}

/// Checked text that does not read like JSON: a fault of this file, told like one of the text.
#[cold]
fn slip(at: usize) -> Unreadable {
    Unreadable::Json(format!("unexpected token at byte {at}"))
}

/// Where the first quote or backslash is, eight bytes at a time: strings are most of a response.
#[inline]
fn stop(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    // The lowest set bit marks the first zero byte; only bits above it may be wrong.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quotes = zeros(word ^ (ONES * u64::from(b'"')));
        let backslashes = zeros(word ^ (ONES * u64::from(b'\\')));
        let stops = quotes | backslashes;
        if stops != 0 {
            return Some(index * 8 + stops.trailing_zeros() as usize / 8);
        }
    }
    let in_tail = tail.iter().position(|byte| matches!(byte, b'"' | b'\\'));
    in_tail.map(|at| words.len() * 8 + at)
}
