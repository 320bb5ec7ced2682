//! Where a chunked body ends (RFC 9112 section 7.1).
//!
//! Follows the framing and reads nothing of what is in it: pingora does that. What cannot be
//! followed has no end here, and whoever reads it refuses it.

/// Most digits of a chunk's size.
const DIGITS_MAX: u8 = 15;

/// How far a chunked body has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunks {
    /// In the line that gives the next chunk's size, or behind its digits.
    Size {
        size: u64,
        digits: u8,
        is_over: bool,
    },
    /// Behind the CR of that line.
    SizeEnd(u64),
    /// In a chunk, or in the line break behind it: so many bytes are left.
    Data(u64),
    /// In the lines behind the last chunk, the last of which is empty.
    Trailer { is_empty: bool },
    /// Behind the CR of such a line.
    TrailerEnd { is_empty: bool },
    /// At its end.
    Done,
    /// In something that is not chunked.
    Lost,
}

impl Chunks {
    /// Before the first.
    pub(super) const START: Self = Self::Size {
        size: 0,
        digits: 0,
        is_over: false,
    };

    /// Passes over `bytes`, which may hold the beginning of something else. Tells how many of them
    /// are of this body.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match self {
                Self::Data(left) => {
                    let here = (bytes.len() - at) as u64;
                    let passed = here.min(*left);
                    *left -= passed;
                    at += usize::try_from(passed).unwrap_or(usize::MAX);
                    if *left == 0 {
                        *self = Self::START;
                    }
                    continue;
                }
                Self::Done => return at,
                Self::Lost => return bytes.len(),
                _ => *self = self.after(*byte),
            }
            at += 1;
        }
        at
    }

    /// Behind one more byte of a line. A line ends in CR LF and has no other of either: where others
    /// see another end, a request could be hidden from them (RFC 9112 section 11.2).
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (
                Self::Size {
                    size, digits: 1.., ..
                },
                b'\r',
            ) => Self::SizeEnd(size),
            (Self::SizeEnd(0) | Self::TrailerEnd { is_empty: false }, b'\n') => {
                Self::Trailer { is_empty: true }
            }
            (Self::SizeEnd(size), b'\n') => Self::Data(size + 2),
            (Self::Trailer { is_empty }, b'\r') => Self::TrailerEnd { is_empty },
            (Self::TrailerEnd { is_empty: true }, b'\n') => Self::Done,
            (Self::SizeEnd(_) | Self::TrailerEnd { .. }, _) | (_, b'\r' | b'\n') => Self::Lost,
            (
                Self::Size {
                    size,
                    digits,
                    is_over: false,
                },
                b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F',
            ) => match char::from(byte).to_digit(16) {
                Some(digit) if digits < DIGITS_MAX => Self::Size {
                    size: size * 16 + u64::from(digit),
                    digits: digits + 1,
                    is_over: false,
                },
                _ => Self::Lost,
            },
            (Self::Size { size, digits, .. }, _) => Self::Size {
                size,
                digits,
                is_over: true,
            },
            (Self::Trailer { .. }, _) => Self::Trailer { is_empty: false },
            (other, _) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEHIND: &str = "GET / HTTP/1.1\r\n";

    #[test]
    fn a_body_ends_where_its_framing_says_however_it_is_cut() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "A;name=\"v\"\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n",
            "1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n",
            "001 \r\na\r\n000\r\n\r\n",
        ] {
            let bytes = [body, BEHIND].concat();
            for cut in 0..=bytes.len() {
                let (first, second) = bytes.as_bytes().split_at(cut);
                let mut chunks = Chunks::START;
                let of_body = chunks.follow(first) + chunks.follow(second);
                assert_eq!(of_body, body.len(), "{body:?} cut at {cut}");
                assert_eq!(chunks, Chunks::Done);
            }
        }
    }

    #[test]
    fn what_is_no_chunk_has_no_end() {
        for body in [
            "\r\n0\r\n\r\n",
            ";a\r\n",
            "1000000000000000\r\n",
            "0000000000000000\r\n\r\n",
            "0\n\n",
            "0;a\n\r\n",
            "0\r;\n\r\n",
            "1\r\na\r\n0\r\nX-Sum: 1\n\r\n",
            "0\r\n\rX\r\n\r\n",
        ] {
            let bytes = [body, BEHIND].concat();
            let mut chunks = Chunks::START;
            assert_eq!(chunks.follow(bytes.as_bytes()), bytes.len(), "{body:?}");
            assert_eq!(chunks, Chunks::Lost, "{body:?}");
        }
    }
}
