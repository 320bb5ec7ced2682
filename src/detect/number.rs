//! One spelling for each number.
//!
//! Decides when two number literals are the same: when they are the same decimal number, exactly,
//! with no double in between. So 9007199254740993 differs from …992 whatever the size, a change
//! in the 18th digit of an amount is a change, and 1, 1.0, 1e0 and 10e-1 are one number, as are 0
//! and -0.

use std::io::Write as _;

use super::Unreadable;

/// Most digits of an integer that is spelled plainly; a longer one is spelled with an exponent if
/// it ends in zeros. Holds 128 bits, and keeps `1e999999999` from filling the memory.
const PLAIN_DIGITS_MAX: u8 = 40;

/// The largest exponent that is read, either way; `1e-1000000001` is taken for garbage.
const EXPONENT_MAX: i64 = 1_000_000_000;

/// Appends the one spelling of a JSON number.
///
/// Integers are plain digits (up to [`PLAIN_DIGITS_MAX`]); everything else is its digits as an
/// integer without trailing zeros and a power of ten: 1.50 is `15e-1`.
///
/// # Errors
/// [`Unreadable::Json`] for an exponent beyond [`EXPONENT_MAX`].
#[inline]
pub(super) fn spell(literal: &[u8], out: &mut Vec<u8>) -> Result<(), Unreadable> {
    let digits = literal.strip_prefix(b"-").unwrap_or(literal);
    let is_short = digits.len() <= usize::from(PLAIN_DIGITS_MAX);
    if is_short && digits.iter().all(u8::is_ascii_digit) && literal != b"-0" {
        out.extend_from_slice(literal);
        return Ok(());
    }
    normalise(literal, out)
}

/// Whether a spelling is that of an integer that is spelled plainly.
pub(super) fn is_plain_integer(spelling: &[u8]) -> bool {
    let digits = spelling.strip_prefix(b"-").unwrap_or(spelling);
    digits.iter().all(u8::is_ascii_digit) && digits.len() <= usize::from(PLAIN_DIGITS_MAX)
}

fn normalise(literal: &[u8], out: &mut Vec<u8>) -> Result<(), Unreadable> {
    let is_mark = |byte: &u8| matches!(byte, b'e' | b'E');
    let (mantissa, exponent) = match literal.iter().position(is_mark) {
        Some(at) => (&literal[..at], read_exponent(&literal[at + 1..])?),
        None => (literal, 0),
    };
    let start = out.len();
    let unsigned = mantissa.strip_prefix(b"-").unwrap_or(mantissa);
    out.extend_from_slice(&mantissa[..mantissa.len() - unsigned.len()]);
    let first = out.len();
    let point = unsigned.iter().position(|&byte| byte == b'.');
    let integer = &unsigned[..point.unwrap_or(unsigned.len())];
    let fraction = point.map_or(&[][..], |at| &unsigned[at + 1..]);
    let digits = integer.iter().chain(fraction);
    out.extend(digits.skip_while(|&&digit| digit == b'0'));

    let mut exponent = exponent - length(fraction);
    while out.len() > first && out.last() == Some(&b'0') {
        out.pop();
        exponent += 1;
    }
    if out.len() == first {
        out.truncate(start);
        out.push(b'0');
    } else if exponent > 0 && length(&out[first..]) + exponent <= i64::from(PLAIN_DIGITS_MAX) {
        out.extend((0..exponent).map(|_| b'0'));
    } else if exponent != 0 {
        write!(out, "e{exponent}").map_err(|error| Unreadable::Json(error.to_string()))?;
    }
    Ok(())
}

fn read_exponent(digits: &[u8]) -> Result<i64, Unreadable> {
    let digits = std::str::from_utf8(digits).ok();
    digits
        .and_then(|digits| digits.parse::<i64>().ok())
        .filter(|exponent| exponent.abs() <= EXPONENT_MAX)
        .ok_or_else(|| Unreadable::Json("a number's exponent is out of range".into()))
}

/// As a signed number; a response's length is far below `i64::MAX`.
fn length(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(literal: &str) -> String {
        let mut out = Vec::new();
        spell(literal.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_number_has_one_spelling() {
        let forty = "1".repeat(40);
        let same: [&[&str]; 9] = [
            &["0", "-0", "0.0", "-0.00", "0e5", "0E-7"],
            &[
                "1",
                "1.0",
                "1e0",
                "1E+0",
                "10e-1",
                "0.1e1",
                "1e00000000000000000000",
            ],
            &["100", "1e2", "1.00e2", "1000e-1"],
            &["15e-1", "1.5", "1.50", "0.15e1"],
            &["-1e-7", "-0.0000001", "-1.0E-7"],
            &[
                "9007199254740993",
                "9007199254740993.0",
                "9007199254740.993e3",
            ],
            &["18446744073709551617", "1.8446744073709551617e19"],
            &["1e41", "100000000000000000000000000000000000000000"],
            &[&forty, &format!("{forty}.0")],
        ];
        for spellings in same {
            for spelling in spellings {
                assert_eq!(spelled(spelling), spellings[0], "{spelling}");
            }
        }
    }

    #[test]
    fn numbers_that_doubles_confuse_differ() {
        for (one, other) in [
            ("9007199254740993", "9007199254740992"),
            ("18446744073709551616", "18446744073709551617"),
            (
                "123456789012345678901234567890",
                "123456789012345678901234567891",
            ),
            ("1.000000000000000001", "1"),
            ("0.1", "0.1000000000000000055511151231257827"),
            ("1e400", "1e401"),
            ("1", "-1"),
        ] {
            assert_ne!(spelled(one), spelled(other));
        }
    }

    #[test]
    fn exponents_out_of_range_are_refused_at_no_cost() {
        assert_eq!(spelled("1e1000000000"), "1e1000000000");
        for literal in ["1e1000000001", "1e-1000000001", "0e99999999999999999999"] {
            assert!(
                spell(literal.as_bytes(), &mut Vec::new()).is_err(),
                "{literal}"
            );
        }
    }
}
