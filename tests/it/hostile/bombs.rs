//! Answers that are small on the way and would be 10 GiB here; and those that never end.
//!
//! The compressed streams are made by hand, as they are sent: each is a block that stands for
//! much and may be repeated for ever.

use std::time::Duration;

use bytes::Bytes;

use super::Then::Fails;
use super::{JSON, Row};
use crate::harness::{Piece, head};

pub(super) fn rows() -> Vec<Row> {
    let (deflate, block) = deflated();
    let zlib = [b"\x78\x9c", &deflate[..]].concat();
    let gzip = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff", &deflate[..]].concat();
    vec![
        bomb("gzip", gzip, &block),
        bomb("deflate", zlib, &block),
        // A frame with a window of 128 KiB; blocks that repeat one byte 128 KiB times.
        bomb(
            "zstd",
            b"\x28\xb5\x2f\xfd\x00\x38".to_vec(),
            b"\x02\x00\x10\x20",
        ),
        // A stream that begins with 1 MiB of blanks; blocks that stand for another 1 MiB each.
        bomb(
            "br",
            b"\xab\xff\xff\x07\x40\x02\x24\x1e\x0b\x24\xf7\xfe\xc1\x00".to_vec(),
            b"\xfa\xff\x7f\x00\x24\x00\xe2\xb0\x00\x74\xef\x1f\x0c",
        ),
        Row::new("blanks without end", Fails("too_large"), |_| {
            let start = head("200 OK", &[JSON]);
            vec![Piece::Send(start.into()), again(&[b' '; 8192])]
        }),
        Row::new("items without end", Fails("too_large"), |_| {
            let mut start = head("200 OK", &[JSON]);
            start.push(b'[');
            vec![
                Piece::Send(start.into()),
                again(&b"{\"id\":1},".repeat(1000)),
            ]
        }),
        Row::new("a string without end", Fails("too_large"), |_| {
            let mut start = head("200 OK", &[JSON]);
            start.extend(b"[{\"id\":\"");
            vec![Piece::Send(start.into()), again(&[b'x'; 8192])]
        }),
    ]
}

fn bomb(coding: &'static str, start: Vec<u8>, block: &[u8]) -> Row {
    let block = block.repeat(100);
    Row::new(
        format!("a bomb of {coding}"),
        Fails("too_large"),
        move |_| {
            let mut answer = head("200 OK", &[JSON, ("content-encoding", coding)]);
            answer.extend_from_slice(&start);
            vec![Piece::Send(answer.into()), again(&block)]
        },
    )
}

fn again(bytes: &[u8]) -> Piece {
    Piece::Repeat(Bytes::copy_from_slice(bytes), Duration::ZERO)
}

/// A deflate stream's beginning, and a block of it that stands for 2 KiB of blanks: a blank, then
/// "258 times what was before" again and again, in 13 bits each.
///
/// Source: RFC 1951 section 3.2.6, fixed codes.
fn deflated() -> (Vec<u8>, Vec<u8>) {
    let mut bits = vec![true, true, false];
    let mut code = |value: u32, length: u32| {
        bits.extend((0..length).rev().map(|at| value >> at & 1 == 1));
    };
    code(0x30 + u32::from(b' '), 8);
    for _ in 0..32 {
        code(0b1100_0101, 8);
        code(0, 5);
    }
    let byte = |bits: &[bool]| {
        let bits = bits.iter().enumerate();
        bits.fold(0, |byte, (at, bit)| byte | u8::from(*bit) << at)
    };
    let bytes: Vec<u8> = bits.chunks_exact(8).map(byte).collect();
    // 8 codes of 13 bits are 13 bytes, wherever they begin.
    (bytes[..2].to_vec(), bytes[2..15].to_vec())
}
