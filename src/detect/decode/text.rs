//! What has no structure: text, and bytes.

use super::Format;
use super::output::Output;
use crate::detect::{Rules, Unreadable};
use crate::digest::RawDigest;

/// A text, or its lines for items.
pub(super) fn decode(text: &str, rules: &Rules, bytes_max: usize) -> Result<Vec<u8>, Unreadable> {
    if text.trim().is_empty() {
        return Err(Format::Text.malformed("it is blank"));
    }
    // Neither how lines end nor blanks after the last one are a change.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let text = text.trim_end();
    let mut out = Output::of(bytes_max);
    if rules.items.is_none() {
        out.raw("{\"text\":")?;
        out.string(text)?;
    } else {
        out.raw("{\"lines\":[")?;
        let mut first = true;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            out.separate(&mut first)?;
            out.string(line)?;
        }
        out.raw("]")?;
    }
    out.raw("}")?;
    Ok(out.finish())
}

/// All that can be told of bytes.
pub(super) fn of_bytes(body: &[u8]) -> Vec<u8> {
    let (bytes, digest) = (body.len(), RawDigest::of(body));
    format!("{{\"bytes\":{bytes},\"blake3\":\"{digest}\"}}").into()
}
