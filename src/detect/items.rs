//! From a response's bytes to a walk.
//!
//! Decides where items stand, what identifies them, and which responses are none. Leaves what of
//! an item counts to [`super::form`].

use std::ops::Range;

use super::cursor::Cursor;
use super::form::{ITEM_FORM, Spelling, Writer};
use super::plan::Step;
use super::rules::Selection;
use super::tree::Tree;
use super::{Entry, Filter, Path, Rules, Subject, Unreadable, Walk, locate, number};
use crate::digest::{Context, Digest};

/// Longest subject: it is a key of the store and goes into every event, so an id beyond 1 KiB is
/// taken for a mistaken path.
pub const SUBJECT_BYTES_MAX: usize = 1024;

/// Room for the usual id, so that reading it allocates once.
const SUBJECT_BYTES_LIKELY: usize = 48;

/// The items of one page of a response, in its order.
#[derive(Debug)]
pub struct Page {
    items: Vec<Item>,
}

impl Page {
    /// How many items it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Where they stand.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.items.iter().map(|item| item.entry.range.clone())
    }
}

/// Reads a whole response that is one page; as [`page`] and [`join`].
///
/// # Errors
/// [`Unreadable`]; its messages name paths and places, never content.
pub fn read(body: &[u8], rules: &Rules, items_max: usize) -> Result<Walk, Unreadable> {
    join([page(body, rules, items_max)?])
}

/// Reads one page of a response.
///
/// The body is one JSON value in UTF-8, with or without a byte order mark. With `rules.items`,
/// every step of that path must lead somewhere, and a `[*]` to an array; an empty array is a walk
/// of no items. Each item must have its id: a string, an integer of any size up to 40 digits
/// (however it is spelled: `42.0` is 42), or with several paths an array of such. `items_max`
/// bounds the items. An item that matches `rules.tombstone` is an entry that is gone; asking costs
/// a tree of each item.
///
/// # Errors
/// [`Unreadable`]; its messages name paths and places, never content.
pub fn page(body: &[u8], rules: &Rules, items_max: usize) -> Result<Page, Unreadable> {
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let offset = body.len() - text.len();
    let text = str::from_utf8(text).map_err(|error| {
        let at = offset + error.valid_up_to();
        Unreadable::Json(format!("not UTF-8 from byte {at} on"))
    })?;
    let mut cursor = Cursor::checked(text)?;
    let id: &[Path] = match rules.items {
        Some(_) => &rules.id,
        None => &[],
    };
    let mut reader = Reader {
        writer: Writer::new(Spelling::Canonical),
        context: Context::new(ITEM_FORM),
        selection: Selection::new(rules, id),
        tombstone: rules.tombstone.as_ref(),
        items: Vec::new(),
        items_max,
        id,
        is_document: rules.items.is_none(),
    };
    match rules.items.as_ref().map(|path| (path, path.simple())) {
        None => reader.item(&mut cursor)?,
        Some((_, Some(steps))) => reader.follow(&mut cursor, steps, 0)?,
        Some((path, None)) => {
            for range in locate::items(&cursor, path, items_max)? {
                reader.item(&mut cursor.from(range.start))?;
            }
        }
    }
    let mut items = reader.items;
    for Item { entry, .. } in &mut items {
        entry.range = entry.range.start + offset..entry.range.end + offset;
    }
    Ok(Page { items })
}

struct Reader<'a> {
    writer: Writer,
    context: Context,
    selection: Selection<'a>,
    tombstone: Option<&'a Filter>,
    items: Vec<Item>,
    items_max: usize,
    id: &'a [Path],
    is_document: bool,
}

/// An item as the walk meets it.
#[derive(Debug)]
struct Item {
    entry: Entry,
    kind: Kind,
}

/// What an id was before it became text; of a composite, its last part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
}

impl Reader<'_> {
    /// Follows the path's steps from `steps[at]` on, and reads the items at its ends.
    fn follow(
        &mut self,
        cursor: &mut Cursor<'_>,
        steps: &[Step],
        at: usize,
    ) -> Result<(), Unreadable> {
        let misfit = |what: &str| Err(Unreadable::Shape(format!("`{}` {what}", place(steps, at))));
        let missing = || Unreadable::Shape(format!("`{}` is missing", place(steps, at + 1)));
        let comes = cursor.peek();
        match steps.get(at) {
            None => self.item(cursor),
            Some(Step::Member(_)) if comes != b'{' => {
                misfit(&format!("is {}, not an object", describe(comes)))
            }
            Some(Step::Index(_) | Step::Each) if comes != b'[' => {
                misfit(&format!("is {}, not an array", describe(comes)))
            }
            Some(Step::Member(name)) => {
                let before = self.items.len();
                let mut spelled = Vec::with_capacity(name.len() + 2);
                let mut found = None;
                cursor.open()?;
                while cursor.more(b'}')? {
                    spelled.clear();
                    cursor.key()?.spell(&mut spelled)?;
                    if spelled[1..spelled.len() - 1] != **name {
                        cursor.skip()?;
                        continue;
                    }
                    // Of members with one name the last counts, whatever became of the others.
                    self.items.truncate(before);
                    let value = cursor.clone();
                    let result = self.follow(cursor, steps, at + 1);
                    if result.is_err() {
                        *cursor = value;
                        cursor.skip()?;
                    }
                    found = Some(result);
                }
                found.unwrap_or_else(|| Err(missing()))
            }
            Some(Step::Index(index)) => {
                let mut found = None;
                let mut next = 0;
                cursor.open()?;
                while cursor.more(b']')? {
                    if next == *index {
                        found = Some(self.follow(cursor, steps, at + 1)?);
                    } else {
                        cursor.skip()?;
                    }
                    next += 1;
                }
                found.ok_or_else(missing)
            }
            Some(Step::Each) => {
                cursor.open()?;
                while cursor.more(b']')? {
                    self.follow(cursor, steps, at + 1)?;
                }
                Ok(())
            }
        }
    }

    /// Reads the item at `cursor`.
    fn item(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Unreadable> {
        if self.items.len() >= self.items_max {
            return Err(Unreadable::TooMany(self.items_max));
        }
        let start = cursor.start();
        if let Some(plan) = self.selection.fixed() {
            self.writer.write(cursor, plan)?;
        } else {
            let mut end = cursor.clone();
            end.skip()?;
            let item = &cursor.text()[start..end.end()];
            let plan = self.selection.plan_for(item)?;
            self.writer.write(cursor, &plan)?;
        }
        let (subject, kind) = if self.is_document {
            (Subject::default(), Kind::Text)
        } else {
            self.subject(cursor.text())?
        };
        let range = start..cursor.end();
        let is_gone = match self.tombstone {
            Some(tombstone) => {
                let item = Tree::read(&mut Cursor::over(&cursor.text()[range.clone()]))?;
                tombstone.selects(item.into_value())
            }
            None => false,
        };
        let entry = Entry {
            subject,
            digest: self.context.digest(self.writer.form()),
            page: 0,
            range,
            is_gone,
        };
        self.items.push(Item { entry, kind });
        Ok(())
    }

    /// The subject of the item last written.
    fn subject(&self, text: &[u8]) -> Result<(Subject, Kind), Unreadable> {
        let unusable = |message: String| {
            let number = self.items.len() + 1;
            Unreadable::Id(format!("item {number}: {message}"))
        };
        if self.id.is_empty() {
            return Err(unusable("no path names its id".to_owned()));
        }
        let is_composite = self.id.len() > 1;
        let mut spelling = Vec::with_capacity(SUBJECT_BYTES_LIKELY);
        let mut kind = Kind::Text;
        for (index, (path, range)) in self.id.iter().zip(self.writer.ids()).enumerate() {
            let range = range.clone();
            let range = range.ok_or_else(|| unusable(format!("`{path}` is missing")))?;
            if is_composite {
                spelling.push(if index == 0 { b'[' } else { b',' });
            }
            kind = part(&text[range], &mut spelling)
                .map_err(|fault| unusable(format!("`{path}` {fault}")))?;
        }
        let subject = if is_composite {
            spelling.push(b']');
            spelled(spelling)?
        } else if kind == Kind::Text {
            Cursor::over(&spelling).string()?.decode()?
        } else {
            spelled(spelling)?
        };
        if subject.len() > SUBJECT_BYTES_MAX {
            let message = format!("its id is longer than {SUBJECT_BYTES_MAX} bytes");
            return Err(unusable(message));
        }
        Ok((subject.into(), kind))
    }
}

fn spelled(spelling: Vec<u8>) -> Result<String, Unreadable> {
    String::from_utf8(spelling).map_err(|error| Unreadable::Json(error.to_string()))
}

/// Appends the canonical spelling of one value of an id.
fn part(value: &[u8], spelling: &mut Vec<u8>) -> Result<Kind, String> {
    match value.first().copied().unwrap_or(0) {
        b'"' => {
            let text = Cursor::over(value).string();
            text.and_then(|text| text.spell(spelling))
                .map_err(|error| error.to_string())?;
            Ok(Kind::Text)
        }
        b'-' | b'0'..=b'9' => {
            let start = spelling.len();
            number::spell(value, spelling).map_err(|error| error.to_string())?;
            let is_integer = number::is_plain_integer(&spelling[start..]);
            let fault = || "is no integer".to_owned();
            is_integer.then_some(Kind::Number).ok_or_else(fault)
        }
        other => Err(format!(
            "is {}, not a string or an integer",
            describe(other)
        )),
    }
}

/// Makes one walk of its pages, in their order. Of items with one id the last counts.
///
/// # Errors
/// [`Unreadable::Id`] for `1` in one item and `"1"` in another.
pub fn join(pages: impl IntoIterator<Item = Page>) -> Result<Walk, Unreadable> {
    let mut items = Vec::new();
    for (number, page) in (0..).zip(pages) {
        if number == 0 {
            items = page.items;
            continue;
        }
        items.extend(page.items.into_iter().map(|mut item| {
            item.entry.page = number;
            item
        }));
    }
    // Stable: of one subject, the items stay in the walk's order.
    items.sort_by(|a, b| a.entry.subject.cmp(&b.entry.subject));
    let mut entries: Vec<Entry> = Vec::with_capacity(items.len());
    let mut last_kind = None;
    for Item { entry, kind } in items {
        match entries.last_mut() {
            Some(last) if last.subject == entry.subject => {
                if last_kind != Some(kind) {
                    let message = "a number in one item and the same digits as a string in another";
                    return Err(Unreadable::Id(message.to_owned()));
                }
                *last = entry;
            }
            _ => entries.push(entry),
        }
        last_kind = Some(kind);
    }
    let digest = digest(&entries);
    Ok(Walk { entries, digest })
}

/// What either of two walks saw: of items with one id, the second walk's. Its pages count on after
/// the `pages` of the first.
#[must_use]
pub fn unite(first: Walk, second: Walk, pages: u32) -> Walk {
    let mut entries = Vec::with_capacity(second.entries.len());
    let mut first = first.entries.into_iter().peekable();
    for mut entry in second.entries {
        while let Some(earlier) = first.next_if(|earlier| earlier.subject < entry.subject) {
            entries.push(earlier);
        }
        first.next_if(|earlier| earlier.subject == entry.subject);
        entry.page += pages;
        entries.push(entry);
    }
    entries.extend(first);
    let digest = digest(&entries);
    Walk { entries, digest }
}

fn digest(entries: &[Entry]) -> Digest {
    let mut chain = Chain::new(Context::new("doorbell 2026-11 walk 1"));
    for entry in entries {
        chain.push_text(&entry.subject);
        chain.push(entry.digest.as_bytes());
        if entry.is_gone {
            // No length begins so.
            chain.push(&[0xff]);
        }
    }
    chain.finish()
}

/// A digest of much, made of the digests of chunks, so that a million subjects need no second
/// copy.
pub(super) struct Chain {
    context: Context,
    chunk: Vec<u8>,
}

impl Chain {
    const CHUNK_BYTES: usize = 64 * 1024;

    pub(super) fn new(context: Context) -> Self {
        Self {
            context,
            chunk: vec![0; 16],
        }
    }

    /// Adds a text, and its length before it.
    pub(super) fn push_text(&mut self, text: &str) {
        self.push(&(text.len() as u64).to_be_bytes());
        self.push(text.as_bytes());
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= Self::CHUNK_BYTES {
            let digest = self.context.digest(&self.chunk);
            self.chunk.clear();
            self.chunk.extend_from_slice(digest.as_bytes());
        }
    }

    pub(super) fn finish(self) -> Digest {
        self.context.digest(&self.chunk)
    }
}

/// The first `length` steps as a path, for messages.
fn place(steps: &[Step], length: usize) -> String {
    let steps = steps.iter().take(length);
    let texts = steps.map(|step| match step {
        Step::Member(name) => format!(".{}", String::from_utf8_lossy(name)),
        Step::Index(index) => format!("[{index}]"),
        Step::Each => "[*]".to_owned(),
    });
    std::iter::once("$".to_owned()).chain(texts).collect()
}

/// What kind of value begins with this byte.
fn describe(first: u8) -> &'static str {
    match first {
        b'{' => "an object",
        b'[' => "an array",
        b'"' => "a string",
        b't' | b'f' => "a boolean",
        b'n' => "null",
        _ => "a number",
    }
}
