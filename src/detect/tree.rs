//! A JSON value in memory, for the few things that need one: filters, and patches of items that
//! changed.
//!
//! Decides how a number too large for a machine word is held, and how unordered lists are lined
//! up. Leaves what counts to [`super::form`], whose marked spelling it reads.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Number, Value};

use super::Unreadable;
use super::cursor::Cursor;
use super::form::UNORDERED_MARK;
use super::number;

/// A JSON value.
#[derive(Debug, Clone)]
pub(super) enum Tree {
    /// `null`, `true` or `false`.
    Word(Value),
    /// A number.
    Number(Quantity),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Tree>),
    /// An array whose order does not count.
    Bag(Vec<Tree>),
    /// An object; of equal names the last.
    Object(BTreeMap<String, Tree>),
}

/// A number: what it is, and what of it a [`Value`] can hold.
#[derive(Debug, Clone)]
pub(super) struct Quantity {
    spelling: Box<[u8]>,
    value: Number,
    is_exact: bool,
}

impl Tree {
    /// Reads the value at `cursor`, in JSON or in [`super::form::Spelling::Marked`].
    ///
    /// # Errors
    /// [`Unreadable::Json`] for what [`super::form`] does not read either.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Unreadable> {
        let is_unordered = cursor.take(UNORDERED_MARK);
        match cursor.peek() {
            b'{' => {
                let mut members = BTreeMap::new();
                cursor.open()?;
                while cursor.more(b'}')? {
                    let name = cursor.key()?.decode()?;
                    members.insert(name, Self::read(cursor)?);
                }
                Ok(Self::Object(members))
            }
            b'[' => {
                let mut elements = Vec::new();
                cursor.open()?;
                while cursor.more(b']')? {
                    elements.push(Self::read(cursor)?);
                }
                let list = if is_unordered { Self::Bag } else { Self::List };
                Ok(list(elements))
            }
            b'"' => Ok(Self::Text(cursor.string()?.decode()?)),
            b't' => cursor.skip().map(|()| Self::Word(Value::Bool(true))),
            b'f' => cursor.skip().map(|()| Self::Word(Value::Bool(false))),
            b'n' => cursor.skip().map(|()| Self::Word(Value::Null)),
            _ => Ok(Self::Number(Quantity::read(cursor.literal()?)?)),
        }
    }

    /// As a [`Value`]; numbers that it cannot hold become the nearest double.
    pub(super) fn into_value(self) -> Value {
        match self {
            Self::Word(value) => value,
            Self::Number(number) => Value::Number(number.value),
            Self::Text(text) => Value::String(text),
            Self::List(elements) | Self::Bag(elements) => {
                Value::Array(elements.into_iter().map(Self::into_value).collect())
            }
            Self::Object(members) => {
                let members = members.into_iter();
                let members = members.map(|(name, member)| (name, member.into_value()));
                Value::Object(members.collect())
            }
        }
    }

    /// Whether a [`Value`] holds every integer of it exactly.
    pub(super) fn is_exact(&self) -> bool {
        match self {
            Self::Word(_) | Self::Text(_) => true,
            Self::Number(number) => number.is_exact,
            Self::List(elements) | Self::Bag(elements) => elements.iter().all(Self::is_exact),
            Self::Object(members) => members.values().all(Self::is_exact),
        }
    }

    /// Lines `self` up with `before`: unordered lists take its order, and numbers that are the
    /// same take its spelling, so that only what changed differs.
    pub(super) fn align(&mut self, before: &Self) {
        match (self, before) {
            (Self::Number(number), Self::Number(before)) if number.spelling == before.spelling => {
                number.clone_from(before);
            }
            (Self::Object(members), Self::Object(before)) => {
                for (name, member) in members {
                    if let Some(before) = before.get(name) {
                        member.align(before);
                    }
                }
            }
            (Self::Bag(elements), Self::Bag(before)) => {
                *elements = reorder(std::mem::take(elements), before);
                align_each(elements, before);
            }
            (Self::List(elements), Self::List(before)) => align_each(elements, before),
            _ => {}
        }
    }

    /// Appends a spelling that equal values share and others do not.
    fn spell(&self, out: &mut Vec<u8>) {
        let text = |text: &String, out: &mut Vec<u8>| {
            out.extend_from_slice(&(text.len() as u64).to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        };
        match self {
            Self::Word(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Self::Number(number) => out.extend_from_slice(&number.spelling),
            Self::Text(value) => {
                out.push(b'"');
                text(value, out);
            }
            Self::List(elements) => {
                out.push(b'[');
                for element in elements {
                    element.spell(out);
                    out.push(b',');
                }
                out.push(b']');
            }
            Self::Bag(elements) => {
                let mut spellings: Vec<Vec<u8>> = elements.iter().map(Self::spelling).collect();
                spellings.sort_unstable();
                out.push(UNORDERED_MARK);
                for spelling in spellings {
                    out.extend_from_slice(&spelling);
                    out.push(b',');
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (name, member) in members {
                    text(name, out);
                    member.spell(out);
                    out.push(b',');
                }
                out.push(b'}');
            }
        }
    }

    fn spelling(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.spell(&mut out);
        out
    }
}

impl Quantity {
    fn read(literal: &[u8]) -> Result<Self, Unreadable> {
        let mut spelling = Vec::with_capacity(literal.len());
        number::spell(literal, &mut spelling)?;
        let text = str::from_utf8(literal).map_err(|error| Unreadable::Json(error.to_string()))?;
        let unsigned = text.parse::<u64>().map(Number::from);
        let integer = unsigned.or_else(|_| text.parse::<i64>().map(Number::from));
        let (value, is_exact) = match integer {
            Ok(integer) => (integer, true),
            Err(_) => double(text)?,
        };
        Ok(Self {
            spelling: spelling.into(),
            value,
            is_exact,
        })
    }
}

/// The nearest double. Fractions are taken for doubles anyway, so only an integer, or a number
/// beyond all doubles, is not exact.
fn double(text: &str) -> Result<(Number, bool), Unreadable> {
    let parsed: f64 = text.parse().unwrap_or(f64::NAN);
    let nearest = parsed.clamp(f64::MIN, f64::MAX);
    let is_integer = !text.contains(['.', 'e', 'E']);
    let number = Number::from_f64(nearest)
        .ok_or_else(|| Unreadable::Json("a number that does not read".to_owned()))?;
    Ok((number, !is_integer && parsed.is_finite()))
}

fn align_each(elements: &mut [Tree], before: &[Tree]) {
    for (element, before) in elements.iter_mut().zip(before) {
        element.align(before);
    }
}

/// Puts elements that were there `before` where they were; a new one takes the place of one that
/// is gone, and the rest follow.
fn reorder(elements: Vec<Tree>, before: &[Tree]) -> Vec<Tree> {
    let mut places: BTreeMap<Vec<u8>, VecDeque<usize>> = BTreeMap::new();
    for (place, element) in before.iter().enumerate() {
        let places = places.entry(element.spelling()).or_default();
        places.push_back(place);
    }
    let mut kept: Vec<Option<&Tree>> = vec![None; before.len()];
    let mut new = VecDeque::new();
    for element in elements {
        let same = places.get_mut(&element.spelling());
        match same.and_then(VecDeque::pop_front) {
            Some(place) => kept[place] = Some(&before[place]),
            None => new.push_back(element),
        }
    }
    let mut ordered = Vec::with_capacity(kept.len() + new.len());
    for place in kept {
        ordered.extend(place.cloned().or_else(|| new.pop_front()));
    }
    ordered.extend(new);
    ordered
}
