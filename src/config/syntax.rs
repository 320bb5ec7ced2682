//! From text to a tree of tables with places, past every syntax error.
//!
//! Decides which lines of a broken file may be shown and which still count. Leaves what the
//! tables mean to the readers.

use toml::Spanned;
use toml::de::DeTable;

use super::fault::{Note, Sheet, Span};

/// Keys whose values are never secret: a line that begins with one is shown although it does not
/// parse. All other broken lines are masked, since a lost quote hides which part is the secret.
const PLAIN: &[&str] = &[
    "allow_private",
    "baseline",
    "body_bytes_max",
    "concurrency",
    "connect_timeout",
    "connections_max",
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
    "redirects",
    "retain",
    "retain_dead",
    "retry",
    "shadow",
    "strip_prefix",
    "timeout",
    "unordered",
    "upstream",
];

/// Words of keys and values that are secret; a line that holds one is never shown as it is.
const TELLING: &[&str] = &[
    "token", "secret", "auth", "bearer", "basic", "password", "header", "query", "value", "key",
    "url", "whs", "://",
];

/// The syntax errors of a file: what to say, which lines are broken (ascending), what must not be
/// shown.
#[derive(Debug, Default)]
pub(super) struct Errors {
    pub(super) notes: Vec<Note>,
    pub(super) broken: Vec<Span>,
    pub(super) secrets: Vec<Span>,
}

/// All syntax errors of `text`, and the text whose tree is to be read: without the lines that
/// broke, but with everything else in its place.
pub(super) fn check(text: &str) -> (Errors, String) {
    let (_, found) = DeTable::parse_recoverable(text);
    let sheet = Sheet {
        text,
        secrets: Vec::new(),
    };
    let mut errors = Errors::default();
    let mut rest = text.as_bytes().to_vec();
    for error in found {
        let span = error.span().unwrap_or(text.len()..text.len());
        let line = sheet.line(span.start);
        if errors.broken.last() != Some(&line) {
            errors.secrets.extend(secret_part(text, &line));
            blank(&mut rest[line.clone()]);
            errors.broken.push(line);
        }
        let message = error.message().to_owned();
        errors.notes.push(Note { span, message });
    }
    errors.broken.sort_by_key(|line| line.start);
    let rest = String::from_utf8(rest).expect("whole lines became spaces");
    (errors, rest)
}

/// The tree of a text that [`check`] gave, as far as it goes.
pub(super) fn tree(text: &str) -> Spanned<DeTable<'_>> {
    DeTable::parse_recoverable(text).0
}

/// Takes a line out. The parser stops reading at some errors, and what follows still counts. A
/// table's head stays, lest its keys fall into the table above.
fn blank(line: &mut [u8]) {
    if !line.trim_ascii_start().starts_with(b"[") {
        line.fill(b' ');
    }
}

/// What of a broken line must not be shown.
fn secret_part(text: &str, line: &Span) -> Option<Span> {
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
    if trimmed.contains('=') {
        return Some(line.end - value.trim_start().len()..line.end);
    }
    Some(start..line.end)
}
