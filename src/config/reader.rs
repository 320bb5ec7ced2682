//! Reads the tables of a parsed file and notes everything that is wrong.
//!
//! Decides what is said of unknown, unsupported and missing keys, so that the readers of the
//! sections only say which keys there are. Leaves values to [`super::value`], meaning to them.

use std::cell::RefCell;
use std::path::Path;

use toml::de::DeTable;

use super::fault::{FAULTS_MAX, Note, Span};
use super::value::{Value, hide_all};
use super::words::{nearest, shown};

/// What the readers share: where values come from, and what they found.
pub(super) struct Context<'a> {
    pub(super) text: &'a str,
    pub(super) author: Author,
    pub(super) directory: &'a Path,
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
    /// Lines with syntax errors; nothing more is said about them, and nothing is called absent.
    broken: &'a [Span],
    found: RefCell<Found>,
}

/// Who wrote what is read, and so what it may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// Whoever writes the file: it may name variables and files of this machine.
    File,
    /// A caller of the admin API, who must not learn what they hold.
    Caller,
    /// The store, which kept what a caller wrote; sources and networks may have gone since.
    Store,
}

/// What reading found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) faults: Vec<Note>,
    /// Faults beyond [`FAULTS_MAX`].
    pub(super) more: usize,
    pub(super) warnings: Vec<Note>,
    pub(super) secrets: Vec<Span>,
}

/// The keys of a kind of table.
pub(super) struct Keys {
    /// Those that are read.
    pub(super) now: &'static [&'static str],
    /// Those that a later doorbell will read.
    pub(super) later: &'static [&'static str],
}

/// A table, its keys checked against [`Keys`].
pub(super) struct Table<'a> {
    pub(super) context: &'a Context<'a>,
    /// Where an absent key is told of: the table's name or its braces.
    pub(super) home: Span,
    keys: &'static Keys,
    tree: &'a DeTable<'a>,
}

impl<'a> Context<'a> {
    /// `broken`: the lines of `text` with syntax errors, ascending.
    pub(super) fn new(
        text: &'a str,
        directory: &'a Path,
        environment: &'a dyn Fn(&str) -> Option<String>,
        broken: &'a [Span],
    ) -> Self {
        Self {
            text,
            author: Author::File,
            directory,
            environment,
            broken,
            found: RefCell::default(),
        }
    }

    /// What did not come with a file: `text` is what it is read from.
    pub(super) fn beside_the_file(text: &'a str, author: Author) -> Self {
        Self {
            author,
            ..Self::new(text, Path::new(""), &|_| None, &[])
        }
    }

    /// Opens the file's outermost table.
    pub(super) fn root(&'a self, tree: &'a DeTable<'a>, keys: &'static Keys) -> Table<'a> {
        Table::open(self, tree, 0..0, keys)
    }

    /// Notes that `span` is wrong.
    pub(super) fn fault(&self, span: Span, message: impl Into<String>) {
        let until = self.broken.partition_point(|line| line.start <= span.start);
        let line = until.checked_sub(1).map(|last| &self.broken[last]);
        if line.is_some_and(|line| span.start <= line.end) {
            return;
        }
        let found = &mut *self.found.borrow_mut();
        if found.faults.len() == FAULTS_MAX {
            found.more += 1;
            return;
        }
        let message = message.into();
        found.faults.push(Note { span, message });
    }

    /// Notes that something is missing that belongs to `span`. In a file with syntax errors it may
    /// stand on a broken line, so nothing is said then.
    pub(super) fn absent(&self, span: Span, message: impl Into<String>) {
        if self.broken.is_empty() {
            self.fault(span, message);
        }
    }

    /// Notes that `span` is legal but odd.
    pub(super) fn warn(&self, span: Span, message: impl Into<String>) {
        let message = message.into();
        let warnings = &mut self.found.borrow_mut().warnings;
        if warnings.len() < FAULTS_MAX {
            warnings.push(Note { span, message });
        }
    }

    /// Notes that `span` must not be shown.
    pub(super) fn hide(&self, span: Span) {
        self.found.borrow_mut().secrets.push(span);
    }

    /// What was found.
    pub(super) fn into_found(self) -> Found {
        self.found.into_inner()
    }
}

impl<'a> Table<'a> {
    /// Opens a table: every key that it does not know is told of.
    pub(super) fn open(
        context: &'a Context<'a>,
        table: &'a DeTable<'a>,
        home: Span,
        keys: &'static Keys,
    ) -> Self {
        for (key, value) in table {
            let name: &str = key.get_ref();
            if keys.now.contains(&name) {
                continue;
            }
            // Who knows what it is: `tokn = "…"` may well be a secret.
            hide_all(context, value);
            if keys.later.contains(&name) {
                let message = format!("`{name}` is not supported yet");
                context.fault(key.span(), message);
                continue;
            }
            context.fault(key.span(), unknown(name, keys, context.broken.is_empty()));
        }
        Self {
            context,
            home,
            keys,
            tree: table,
        }
    }

    /// The value of `key`, if it is there.
    pub(super) fn value(&self, key: &'static str) -> Option<Value<'a>> {
        debug_assert!(self.keys.now.contains(&key), "{key} is not in its table");
        let spanned = self.tree.get(key)?;
        Some(Value {
            context: self.context,
            key,
            spanned,
        })
    }

    /// Whether it has no keys at all, not even wrong ones.
    pub(super) fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// Whether `key` is there.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// Where `key` stands, or the table's home when it is absent.
    pub(super) fn place(&self, key: &'static str) -> Span {
        let found = self.tree.get_key_value(key);
        found.map_or_else(|| self.home.clone(), |(key, _)| key.span())
    }

    /// What `key` says; `None` when it is absent or wrong.
    pub(super) fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Option<T> {
        self.value(key).and_then(read)
    }

    /// What `key` says; `default` when it is absent (or wrong, which is noted).
    pub(super) fn or<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// What `key` says; its absence is a fault that shows how to write it.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Option<T> {
        let Some(value) = self.value(key) else {
            let how = match self.context.author {
                Author::File => format!("{key} = {example}"),
                Author::Caller | Author::Store => format!("\"{key}\": {example}"),
            };
            let message = format!("`{key}` is missing, write `{how}`");
            self.context.absent(self.home.clone(), message);
            return None;
        };
        read(value)
    }

    /// The table under `key`; its home is the key.
    pub(super) fn table(&self, key: &'static str, keys: &'static Keys) -> Option<Self> {
        let value = self.value(key)?;
        value.section(self.place(key), keys)
    }
}

/// What to say of an unknown key. Where braces are lost, a secret may stand where a key does, so
/// a key is quoted only if the file parses or the key is nearly a right one.
fn unknown(name: &str, keys: &Keys, file_parses: bool) -> String {
    if let Some(near) = nearest(name, keys.now.iter().chain(keys.later).copied()) {
        return format!("unknown key `{}`, did you mean `{near}`?", shown(name));
    }
    let known: Vec<_> = keys.now.iter().map(|key| format!("`{key}`")).collect();
    let known = known.join(", ");
    if file_parses {
        format!("unknown key `{}`, known here: {known}", shown(name))
    } else {
        format!("unknown key, known here: {known}")
    }
}
