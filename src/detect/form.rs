//! The canonical form of an item, written while it is read.
//!
//! Decides when two spellings are the same item:
//!
//! - members are sorted by the bytes of their names' canonical spelling (for names without quotes,
//!   backslashes and control characters: by their UTF-8 bytes); of equal names the last counts;
//! - no whitespace; strings are minimally escaped, as `serde_json` writes them;
//! - numbers have one spelling each ([`super::number`]): exact, of any size;
//! - what is ignored is left out; under `only`, the listed nodes and what holds them are kept, and
//!   an array or object that holds none vanishes; an item of which nothing is left is `null`;
//! - elements of unordered lists are sorted by their forms' bytes.
//!
//! Each member is written into one scratch buffer as it is read. Only an object whose names are
//! out of order is put right at its end, by permuting ranges through a second buffer: no tree, and
//! no allocation once the buffers have grown.
//!
//! A change to any of this must change [`ITEM_FORM`], because old digests stop being comparable.

use std::ops::Range;

use super::Unreadable;
use super::cursor::Cursor;
use super::number;
use super::plan::{Listed, Plan};

/// Context of item digests; names the version of the form.
pub(super) const ITEM_FORM: &str = "doorbell 2026-11 item form 1";

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// The canonical form.
    Canonical,
    /// For [`super::tree`]: numbers as received, and an unordered list keeps its order and is
    /// marked by [`UNORDERED_MARK`]. Not JSON.
    Marked,
}

/// Stands before the bracket of an unordered list in [`Spelling::Marked`].
pub(super) const UNORDERED_MARK: u8 = b'*';

/// Writes forms; keeps its buffers from item to item.
pub(super) struct Writer {
    spelling: Spelling,
    form: Vec<u8>,
    spare: Vec<u8>,
    /// Members of the objects that are open, innermost last.
    members: Vec<Member>,
    /// Elements of the unordered lists that are open, innermost last.
    elements: Vec<Range<usize>>,
    /// Nodes of the plan that the way to the value at hand has reached, and those of its parents
    /// below them.
    nodes: Vec<u32>,
    ids: Vec<Option<Range<usize>>>,
}

/// A member in the form: `"name":value`, from `start` to `end`.
#[derive(Clone, Copy)]
struct Member {
    start: usize,
    name_end: usize,
    /// [`Self::name_end`] for one that does not count but hides earlier ones of its name.
    end: usize,
    /// The name's first 8 bytes as a number, which orders most names by one comparison.
    prefix: u64,
}

/// How a value stands to the plan.
#[derive(Clone, Copy)]
struct Here {
    /// Its nodes are [`Writer::nodes`] from here on.
    first: usize,
    /// Whether it counts.
    counts: bool,
    /// Whether it is a list without an order.
    is_unordered: bool,
}

impl Here {
    /// A child, before its nodes are looked at.
    fn child(self, first: usize) -> Self {
        Self {
            first,
            counts: self.counts,
            is_unordered: false,
        }
    }
}

impl Writer {
    /// A writer of one kind of form.
    pub(super) fn new(spelling: Spelling) -> Self {
        Self {
            spelling,
            form: Vec::new(),
            spare: Vec::new(),
            members: Vec::new(),
            elements: Vec::new(),
            nodes: Vec::new(),
            ids: Vec::new(),
        }
    }

    /// Writes the item at `cursor`, which is behind it afterwards.
    ///
    /// # Errors
    /// [`Unreadable::Json`] for what no tree could hold either: too deep, half a surrogate pair.
    pub(super) fn write(&mut self, cursor: &mut Cursor<'_>, plan: &Plan) -> Result<(), Unreadable> {
        self.form.clear();
        self.members.clear();
        self.elements.clear();
        self.nodes.clear();
        self.nodes.push(Plan::ROOT);
        self.ids.clear();
        self.ids.resize(plan.ids, None);
        let here = Here {
            first: usize::from(!plan.node(Plan::ROOT).is_used()),
            counts: plan.listed_are == Listed::Ignored,
            is_unordered: false,
        };
        if !self.value(cursor, plan, here)? {
            self.form.clear();
            self.form.extend_from_slice(b"null");
        }
        Ok(())
    }

    /// The form last written.
    pub(super) fn form(&self) -> &[u8] {
        &self.form
    }

    /// Where the parts of the last item's id stand in the cursor's text.
    pub(super) fn ids(&self) -> &[Option<Range<usize>>] {
        &self.ids
    }

    /// Writes a value; false if nothing of it counts, and then what was written is to be dropped.
    fn value(
        &mut self,
        cursor: &mut Cursor<'_>,
        plan: &Plan,
        here: Here,
    ) -> Result<bool, Unreadable> {
        if here.first == self.nodes.len() {
            if here.counts {
                return self.token(cursor, plan, here);
            }
            return cursor.skip().map(|()| false);
        }
        let mut counts = here.counts;
        let mut is_unordered = false;
        let mut leads_on = false;
        for &number in &self.nodes[here.first..] {
            let node = plan.node(number);
            if node.is_listed {
                counts = plan.listed_are == Listed::Only;
            }
            is_unordered |= node.is_unordered;
            let may_count = plan.listed_are == Listed::Only && node.has_children();
            leads_on |= may_count || !node.ids_below.is_empty();
        }
        let start = cursor.start();
        let here = Here {
            counts,
            is_unordered,
            ..here
        };
        let kept = if counts || leads_on {
            self.token(cursor, plan, here)?
        } else {
            cursor.skip()?;
            false
        };
        for &number in &self.nodes[here.first..] {
            for &part in &plan.node(number).ids {
                self.ids[part] = Some(start..cursor.end());
            }
        }
        Ok(kept)
    }

    #[inline]
    fn token(
        &mut self,
        cursor: &mut Cursor<'_>,
        plan: &Plan,
        here: Here,
    ) -> Result<bool, Unreadable> {
        match cursor.peek() {
            b'{' => return self.object(cursor, plan, here),
            b'[' => return self.array(cursor, plan, here),
            b'"' => cursor.string()?.spell(&mut self.form)?,
            b'-' | b'0'..=b'9' if self.spelling == Spelling::Canonical => {
                number::spell(cursor.literal()?, &mut self.form)?;
            }
            _ => self.form.extend_from_slice(cursor.literal()?),
        }
        Ok(here.counts)
    }

    fn object(
        &mut self,
        cursor: &mut Cursor<'_>,
        plan: &Plan,
        here: Here,
    ) -> Result<bool, Unreadable> {
        cursor.open()?;
        let start = self.form.len();
        self.form.push(b'{');
        let base = self.members.len();
        let first = self.nodes.len();
        let mut is_sorted = true;
        while cursor.more(b'}')? {
            let member_start = self.form.len();
            cursor.key()?.spell(&mut self.form)?;
            let name_end = self.form.len();
            self.form.push(b':');
            self.enter_member(plan, here.first..first, member_start + 1..name_end - 1);
            let hides = self.nodes.len() > first && plan.listed_are == Listed::Only;
            let kept = self.value(cursor, plan, here.child(first))?;
            self.nodes.truncate(first);
            if !kept && !hides {
                self.form.truncate(member_start);
                continue;
            }
            if !kept {
                self.form.truncate(name_end);
                is_sorted = false;
            }
            let member = Member {
                start: member_start,
                name_end,
                end: self.form.len(),
                prefix: prefix(&self.form[member_start + 1..name_end - 1]),
            };
            is_sorted = is_sorted && self.follows(base, &member);
            self.members.push(member);
            self.form.push(b',');
        }
        if !is_sorted {
            self.sort_members(start, base);
        }
        self.members.truncate(base);
        Ok(self.close(start, b'}') || here.counts)
    }

    fn array(
        &mut self,
        cursor: &mut Cursor<'_>,
        plan: &Plan,
        here: Here,
    ) -> Result<bool, Unreadable> {
        cursor.open()?;
        if here.is_unordered && self.spelling == Spelling::Marked {
            self.form.push(UNORDERED_MARK);
        }
        let sorts = here.is_unordered && self.spelling == Spelling::Canonical;
        let start = self.form.len();
        self.form.push(b'[');
        let base = self.elements.len();
        let first = self.nodes.len();
        let mut index = 0;
        while cursor.more(b']')? {
            let element_start = self.form.len();
            self.enter_element(plan, here.first..first, index);
            let kept = self.value(cursor, plan, here.child(first))?;
            self.nodes.truncate(first);
            index += 1;
            if !kept {
                self.form.truncate(element_start);
                continue;
            }
            if sorts {
                self.elements.push(element_start..self.form.len());
            }
            self.form.push(b',');
        }
        if sorts {
            self.sort_elements(start, base);
        }
        self.elements.truncate(base);
        Ok(self.close(start, b']') || here.counts)
    }

    /// Ends the container that begins at `start`; false if it is empty.
    fn close(&mut self, start: usize, bracket: u8) -> bool {
        let is_empty = self.form.len() == start + 1;
        if !is_empty {
            self.form.pop();
        }
        self.form.push(bracket);
        !is_empty
    }

    /// Takes the steps from the nodes at `parents` to the member whose name is at `name`.
    #[inline]
    fn enter_member(&mut self, plan: &Plan, parents: Range<usize>, name: Range<usize>) {
        for parent in parents {
            let node = plan.node(self.nodes[parent]);
            if let Some(child) = node.member(&self.form[name.clone()]) {
                // A name that comes again hides what was found under the first.
                for &part in &plan.node(child).ids_below {
                    self.ids[part] = None;
                }
                self.nodes.push(child);
            }
            self.nodes.extend(node.each());
        }
    }

    /// Takes the steps from the nodes at `parents` to the element at `index`.
    #[inline]
    fn enter_element(&mut self, plan: &Plan, parents: Range<usize>, index: usize) {
        for parent in parents {
            let node = plan.node(self.nodes[parent]);
            self.nodes.extend(node.element(index));
            self.nodes.extend(node.each());
        }
    }

    /// Whether `member`'s name comes after that of the last member since `base`.
    #[inline]
    fn follows(&self, base: usize, member: &Member) -> bool {
        match self.members[base..].last() {
            Some(last) => {
                last.prefix < member.prefix
                    || (last.prefix == member.prefix
                        && last.name(&self.form) < member.name(&self.form))
            }
            None => true,
        }
    }

    /// Rewrites the object that begins at `start` with its members, those since `base`, in order.
    fn sort_members(&mut self, start: usize, base: usize) {
        let form = &self.form;
        let members = &mut self.members[base..];
        members.sort_unstable_by(|a, b| {
            let by_name = || a.name(form).cmp(b.name(form));
            let by_place = || a.start.cmp(&b.start);
            a.prefix
                .cmp(&b.prefix)
                .then_with(by_name)
                .then_with(by_place)
        });
        self.spare.clear();
        for (index, member) in members.iter().enumerate() {
            let next = members.get(index + 1);
            let is_hidden = next.is_some_and(|next| {
                next.prefix == member.prefix && next.name(form) == member.name(form)
            });
            if !is_hidden && member.end > member.name_end {
                self.spare
                    .extend_from_slice(&form[member.start..member.end]);
                self.spare.push(b',');
            }
        }
        self.form.truncate(start + 1);
        self.form.extend_from_slice(&self.spare);
    }

    /// Rewrites the list that begins at `start` with its elements, those since `base`, in order.
    fn sort_elements(&mut self, start: usize, base: usize) {
        let form = &self.form;
        let elements = &mut self.elements[base..];
        elements.sort_unstable_by(|a, b| form[a.clone()].cmp(&form[b.clone()]));
        self.spare.clear();
        for element in elements.iter() {
            self.spare.extend_from_slice(&form[element.clone()]);
            self.spare.push(b',');
        }
        self.form.truncate(start + 1);
        self.form.extend_from_slice(&self.spare);
    }
}

impl Member {
    #[inline]
    fn name<'a>(&self, form: &'a [u8]) -> &'a [u8] {
        &form[self.start + 1..self.name_end - 1]
    }
}

/// The first 8 bytes as a big-endian number, padded with zeros: numbers that differ order like
/// the names. A spelled name holds no zero byte, so padding never ties with it.
#[inline]
fn prefix(name: &[u8]) -> u64 {
    if let Some(bytes) = name.first_chunk::<8>() {
        return u64::from_be_bytes(*bytes);
    }
    let mut bytes = [0; 8];
    bytes[..name.len()].copy_from_slice(name);
    u64::from_be_bytes(bytes)
}
