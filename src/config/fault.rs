//! What is wrong with a file, and how it is shown.
//!
//! Decides where a fault is (line, column, the one line shown) and what it looks like. Leaves what
//! is a fault to the readers. A line is shown only after its secrets have been replaced.

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// Most faults that are told one by one; the rest are counted. Nobody mends more than a hundred
/// lines before looking again, and a hostile file must not make a gigabyte of messages.
pub const FAULTS_MAX: usize = 100;

/// Most bytes of a source line that are shown; the part around the fault is.
const SHOWN_BYTES_MAX: usize = 200;

/// Bytes shown before the fault in a line that is cut.
const SHOWN_BYTES_BEFORE: usize = 60;

/// What stands for a secret. Its length tells nothing of the secret's.
const MASK: &str = "***";

/// A byte range of the file.
pub(super) type Span = Range<usize>;

/// Everything that is wrong with a file, in the order of the file; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    file: String,
    list: Vec<Fault>,
    more: usize,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    /// Line, from 1; 0 when the file as a whole is at fault, for example unreadable.
    pub line: usize,
    /// Column in characters, from 1; 0 together with `line`.
    pub column: usize,
    /// What is wrong and what to write instead. Quotes no secret.
    pub message: String,
    #[serde(skip)]
    shown: Option<Shown>,
}

/// A source line as it may be shown, and what of it is at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    text: String,
    caret: Span,
}

/// Something to say about a place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) span: Span,
    pub(super) message: String,
}

/// The file's text, and what of it must not be shown.
#[derive(Debug)]
pub(super) struct Sheet<'a> {
    pub(super) text: &'a str,
    pub(super) secrets: Vec<Span>,
}

impl Faults {
    /// The one fault of a file that cannot be read at all.
    pub(super) fn of_file(file: &Path, message: String) -> Self {
        let fault = Fault {
            line: 0,
            column: 0,
            message,
            shown: None,
        };
        Self {
            file: file.display().to_string(),
            list: vec![fault],
            more: 0,
        }
    }

    /// Locates `notes` on `sheet`; `more` were not noted for their number.
    pub(super) fn of_notes(
        file: &Path,
        sheet: &Sheet<'_>,
        mut notes: Vec<Note>,
        more: usize,
    ) -> Self {
        notes.sort_by_key(|note| note.span.start);
        notes.dedup();
        let more = more + notes.len().saturating_sub(FAULTS_MAX);
        notes.truncate(FAULTS_MAX);
        let list = notes.into_iter().map(|note| sheet.fault(note)).collect();
        Self {
            file: file.display().to_string(),
            list,
            more,
        }
    }

    /// The faults, in the order of the file, at most [`FAULTS_MAX`].
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.list.iter()
    }

    /// How many more there are.
    #[must_use]
    pub const fn more(&self) -> usize {
        self.more
    }

    /// All faults as text with colour, for a terminal. `Display` gives the same without.
    #[must_use]
    pub fn in_colour(&self) -> String {
        self.render(&Renderer::styled())
    }

    fn render(&self, renderer: &Renderer) -> String {
        let blocks = self.list.iter().map(|fault| {
            let head = match &fault.shown {
                Some(_) => format!("{}:{}:{}", self.file, fault.line, fault.column),
                None => self.file.clone(),
            };
            let title = Level::ERROR
                .no_name()
                .primary_title(format!("{head}: {}", fault.message));
            let group = match &fault.shown {
                Some(shown) => title.element(
                    Snippet::source(&*shown.text)
                        .line_start(fault.line)
                        .annotation(AnnotationKind::Primary.span(shown.caret.clone())),
                ),
                None => Group::with_title(title),
            };
            renderer.render(&[group])
        });
        let mut text = blocks.collect::<Vec<_>>().join("\n\n");
        if self.more > 0 {
            let _ = write!(text, "\n\n{}: {} more faults", self.file, self.more);
        }
        text
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

impl std::error::Error for Faults {}

impl<'f> IntoIterator for &'f Faults {
    type Item = &'f Fault;
    type IntoIter = std::slice::Iter<'f, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Sheet<'_> {
    /// Line and column of a byte offset, both from 1, the column in characters.
    pub(super) fn place(&self, offset: usize) -> (usize, usize) {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.line(offset);
        let number = 1 + self.text[..line.start].matches('\n').count();
        (
            number,
            1 + self.text[line.start..offset.min(line.end)].chars().count(),
        )
    }

    /// The line that holds a byte offset, without its end.
    pub(super) fn line(&self, offset: usize) -> Span {
        let offset = self.text.floor_char_boundary(offset);
        let start = self.text[..offset].rfind('\n').map_or(0, |at| at + 1);
        let rest = &self.text[start..];
        let end = start + rest.find('\n').unwrap_or(rest.len());
        let text = &self.text[start..end];
        start..end - usize::from(text.ends_with('\r'))
    }

    fn fault(&self, note: Note) -> Fault {
        let (line, column) = self.place(note.span.start);
        Fault {
            line,
            column,
            message: note.message,
            shown: Some(self.show(&note.span)),
        }
    }

    /// The first line of `span` with its secrets masked, cut to size.
    fn show(&self, span: &Span) -> Shown {
        let line = self.line(span.start);
        let secrets = self.secrets_of(&line);
        let mut text = String::new();
        let mut at = line.start;
        for secret in &secrets {
            text.push_str(&self.text[at..secret.start]);
            text.push_str(MASK);
            at = secret.end;
        }
        text.push_str(&self.text[at..line.end]);
        let start = self.text.floor_char_boundary(span.start.min(line.end));
        let end = self.text.ceil_char_boundary(span.end.min(line.end));
        let start_shown = masked_offset(start, &line, &secrets, 0);
        let end_shown = masked_offset(end.max(start), &line, &secrets, MASK.len());
        cut(Shown {
            text,
            caret: start_shown..end_shown.max(start_shown),
        })
    }

    /// What of `line` is secret: ascending, apart, on character boundaries, never empty.
    fn secrets_of(&self, line: &Span) -> Vec<Span> {
        let mut parts: Vec<Span> = self
            .secrets
            .iter()
            .map(|s| {
                let start = self.text.floor_char_boundary(s.start.max(line.start));
                start..self.text.ceil_char_boundary(s.end.min(line.end))
            })
            .filter(|s| s.start < s.end)
            .collect();
        parts.sort_by_key(|s| s.start);
        let mut apart: Vec<Span> = Vec::with_capacity(parts.len());
        for part in parts {
            match apart.last_mut() {
                Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
                _ => apart.push(part),
            }
        }
        apart
    }
}

/// Where byte `offset` of `line` is once its secrets have become masks; within one, `edge` bytes
/// into the mask.
fn masked_offset(offset: usize, line: &Span, secrets: &[Span], edge: usize) -> usize {
    let mut shown = offset - line.start;
    for secret in secrets {
        if secret.end <= offset {
            shown = shown - secret.len() + MASK.len();
        } else if secret.start < offset {
            shown = shown - (offset - secret.start) + edge;
        }
    }
    shown
}

/// Keeps what is around the caret of a line that is too long to show.
fn cut(shown: Shown) -> Shown {
    if shown.text.len() <= SHOWN_BYTES_MAX {
        return shown;
    }
    let text = &shown.text;
    let from = text.floor_char_boundary(shown.caret.start.saturating_sub(SHOWN_BYTES_BEFORE));
    let to = text.floor_char_boundary((from + SHOWN_BYTES_MAX).min(text.len()));
    let (head, tail) = (
        if from > 0 { "…" } else { "" },
        if to < text.len() { "…" } else { "" },
    );
    let moved = |at: usize| at.clamp(from, to) - from + head.len();
    Shown {
        caret: moved(shown.caret.start)..moved(shown.caret.end),
        text: format!("{head}{}{tail}", &text[from..to]),
    }
}
