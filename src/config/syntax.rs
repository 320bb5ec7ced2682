//! From text to a tree of tables with places, past every syntax error.
//!
//! Decides which lines of a broken file may be shown and which still count. Leaves what the
//! tables mean to the readers.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::DeTable;

use super::fault::{Note, Sheet, Span};

/// Keys whose values are never secret: a line that begins with one is shown although the file
/// does not parse. All other lines of such a file are masked, since a lost quote hides which part
/// is the secret.
const PLAIN: &[&str] = &[
    "allow_private",
    "baseline",
    "body_bytes_max",
    "concurrency",
    "connect_timeout",
    "connections_max",
    "content_type",
    "deletes",
    "drain_delay",
    "every",
    "failing_after",
    "format",
    "grace",
    "ignore",
    "items",
    "items_max",
    "keep",
    "level",
    "listen",
    "methods",
    "open",
    "order",
    "payload",
    "payload_bytes_max",
    "redirects",
    "retain",
    "retain_dead",
    "retry",
    "shadow",
    "signature",
    "strip_prefix",
    "timeout",
    "unordered",
    "upstream",
];

/// Other keys: of a line that begins with one, the key is shown. What else stands before a `=` may
/// be the end of a secret in base64.
const KNOWN: &[&str] = &[
    "auth",
    "events",
    "filter",
    "guard",
    "headers",
    "host",
    "hosts",
    "id",
    "limits",
    "metrics_token",
    "only",
    "path",
    "public_url",
    "query",
    "redact",
    "secrets",
    "template",
    "token",
    "trusted_proxies",
    "url",
];

/// Words of keys and values that are secret; a line that holds one is never shown as it is.
const TELLING: &[&str] = &[
    "token", "secret", "auth", "bearer", "basic", "password", "header", "query", "value", "key",
    "url", "whs", "://",
];

/// Most times that a file is parsed to find its syntax errors: where the parser stops at one, each
/// pass gets past it. A person mends a few and looks again.
const PASSES_MAX: usize = 16;

/// Words about what stands between brackets or braces. Where one is not closed, every line below
/// is wrong in such a way; only the first is told.
const INSIDE: [&str; 3] = ["inline table", "key-value pairs", "array"];

/// The syntax errors of a file: what to say, and which lines are broken (ascending).
#[derive(Debug, Default)]
pub(super) struct Errors {
    pub(super) notes: Vec<Note>,
    pub(super) broken: Vec<Span>,
}

/// The syntax errors of `text`, the first of each line, for what follows it mostly follows from
/// it; and the text whose tree is to be read: without the lines that broke, but with everything
/// else in its place.
pub(super) fn check(text: &str) -> (Errors, String) {
    let sheet = Sheet {
        text,
        secrets: Vec::new(),
    };
    let mut errors = Errors::default();
    let mut broken: BTreeMap<usize, Span> = BTreeMap::new();
    let mut rest = text.to_owned();
    for _ in 0..PASSES_MAX {
        let (_, found) = DeTable::parse_recoverable(&rest);
        let mut fresh = Vec::new();
        let mut was_inside = false;
        for error in found {
            let span = error.span().unwrap_or(text.len()..text.len());
            let line = sheet.line(span.start);
            if broken.insert(line.start, line.clone()).is_some() {
                continue;
            }
            fresh.push(line);
            let message = error.message().to_owned();
            let inside = INSIDE.iter().any(|words| message.contains(words));
            if !(inside && was_inside) {
                errors.notes.push(Note { span, message });
            }
            was_inside = inside;
        }
        // Without a line that opens what another closes, right lines would seem wrong.
        let contained = fresh.iter().all(|line| is_contained(&text[line.clone()]));
        rest = without(rest, &fresh);
        if fresh.is_empty() || !contained {
            break;
        }
    }
    errors.broken = broken.into_values().collect();
    (errors, rest)
}

/// The tree of a text that [`check`] gave, as far as it goes.
pub(super) fn tree(text: &str) -> Spanned<DeTable<'_>> {
    DeTable::parse_recoverable(text).0
}

/// Puts spaces in the place of `lines`, and of all that stands below a table's head that does not
/// end: its keys would fall into the table above. A head that is only given twice stays.
fn without(text: String, lines: &[Span]) -> String {
    let mut bytes = text.into_bytes();
    for line in lines {
        let content = bytes[line.clone()].trim_ascii();
        if !content.starts_with(b"[") {
            bytes[line.clone()].fill(b' ');
        } else if !content.contains(&b']') {
            let next = bytes[line.end..].windows(2).position(|pair| pair == b"\n[");
            let end = next.map_or(bytes.len(), |next| line.end + next);
            let below = bytes[line.start..end].iter_mut();
            below
                .filter(|byte| **byte != b'\n')
                .for_each(|byte| *byte = b' ');
        }
    }
    String::from_utf8(bytes).expect("whole lines became spaces")
}

/// Whether a line closes all that it opens.
fn is_contained(line: &str) -> bool {
    let count = |sign| line.matches(sign).count();
    let even = count('[') == count(']') && count('{') == count('}');
    let is_head = line.trim_start().starts_with('[');
    (even || is_head) && !line.contains("\"\"\"") && !line.contains("'''")
}

/// What must not be shown of a line in a file that does not parse: after a lost quote or brace,
/// what seems to be a table or a key may well be a secret.
pub(super) fn secret_part(text: &str, line: &Span) -> Option<Span> {
    let content = &text[line.clone()];
    let trimmed = content.trim_start();
    let start = line.end - trimmed.len();
    let lower = content.to_ascii_lowercase();
    let telling = TELLING.iter().any(|word| lower.contains(word));
    let (key, value) = trimmed.split_once('=').unwrap_or((trimmed, ""));
    if PLAIN.contains(&key.trim()) && !telling {
        return None;
    }
    let is_head = |b: u8| b.is_ascii_alphanumeric() || b"[]_.- ".contains(&b);
    if trimmed.starts_with('[') && trimmed.bytes().all(is_head) {
        return None;
    }
    if trimmed.contains('=') && (KNOWN.contains(&key.trim()) || PLAIN.contains(&key.trim())) {
        return Some(line.end - value.trim_start().len()..line.end);
    }
    Some(start..line.end)
}
