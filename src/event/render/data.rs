//! A payload's `data`, member by member, as text.
//!
//! Decides how single members and nodes are taken out without touching the rest: what is left is
//! byte for byte what the upstream sent, numbers of any size included. No tree is kept.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::query::Step;
use super::{Event, RenderError};

/// The members of `data`, each name with the text of its value, in their order.
pub(super) struct Data(Vec<(Box<str>, String)>);

impl Data {
    pub(super) fn of(event: &Event) -> Result<Self, RenderError> {
        let mut text = String::with_capacity(event.content.len() + 160);
        text.push('{');
        event.write_data(&mut text);
        text.push('}');
        let Members(members) = serde_json::from_str(&text).map_err(|_| RenderError::Content)?;
        let owned = |(name, raw): (String, &RawValue)| (name.into(), raw.get().to_owned());
        Ok(Self(members.into_iter().map(owned).collect()))
    }

    /// The text of a member.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let member = self.0.iter().find(|(known, _)| **known == *name);
        member.map(|(_, text)| text.as_str())
    }

    pub(super) fn set(&mut self, name: &str, text: String) {
        match self.0.iter_mut().find(|(known, _)| **known == *name) {
            Some((_, old)) => *old = text,
            None => self.0.push((name.into(), text)),
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| **known != *name);
    }

    /// Takes out what `cut` names.
    pub(super) fn cut(&mut self, cut: &Cut) {
        self.0 = std::mem::take(&mut self.0)
            .into_iter()
            .filter_map(|(name, text)| match cut.names.get(&name) {
                Some(cut) if cut.here => None,
                Some(cut) => Some((name, without(&text, cut))),
                None => Some((name, text)),
            })
            .collect();
    }

    /// As a JSON object.
    pub(super) fn text(&self) -> String {
        let length: usize = self
            .0
            .iter()
            .map(|(name, text)| name.len() + text.len() + 4)
            .sum();
        let mut object = String::with_capacity(length + 2);
        object.push('{');
        for (name, text) in &self.0 {
            // All names are of our own making and need no escapes.
            let comma = if object.len() > 1 { "," } else { "" };
            let _ = write!(object, "{comma}\"{name}\":{text}");
        }
        object.push('}');
        object
    }

    /// As a tree; see [`value`].
    pub(super) fn value(&self) -> Value {
        let members = self.0.iter();
        Value::Object(
            members
                .map(|(name, text)| (name.to_string(), value(text)))
                .collect(),
        )
    }
}

/// What is to be taken out of a JSON value.
#[derive(Debug, Default)]
pub(super) struct Cut {
    /// This value itself.
    pub(super) here: bool,
    names: BTreeMap<Box<str>, Cut>,
    indices: BTreeMap<usize, Cut>,
    /// Of every element.
    each: Option<Box<Cut>>,
}

impl Cut {
    pub(super) fn is_empty(&self) -> bool {
        let has_children = !self.names.is_empty() || !self.indices.is_empty();
        !self.here && !has_children && self.each.is_none()
    }

    /// Adds the node at `steps`.
    pub(super) fn add(&mut self, steps: &[Step]) {
        let mut at = self;
        for step in steps {
            at = match step {
                Step::Name(name) => at.names.entry(name.clone()).or_default(),
                Step::Index(index) => at.indices.entry(*index).or_default(),
            };
        }
        at.here = true;
    }

    /// Adds the node at `steps`, and those at any other place of the arrays on the way.
    pub(super) fn add_anywhere(&mut self, steps: &[Step]) {
        let mut at = self;
        for step in steps {
            at = match step {
                Step::Name(name) => at.names.entry(name.clone()).or_default(),
                Step::Index(_) => at.each.get_or_insert_default(),
            };
        }
        at.here = true;
    }

    /// What is to be taken out of the member or element that a token of a JSON Pointer leads to.
    pub(super) fn toward(&self, token: &str) -> Option<&Self> {
        let is_index = token == "-" || token.bytes().all(|byte| byte.is_ascii_digit());
        let each = self.each.as_deref().filter(|_| is_index);
        self.names.get(token).or(each)
    }

    fn element(&self, index: usize) -> Option<&Self> {
        self.indices.get(&index).or(self.each.as_deref())
    }
}

/// A JSON object of whose member `name` is left what `cut` does not name.
pub(super) fn member_without(json: &str, name: &str, cut: &Cut) -> String {
    let Ok(Members(members)) = serde_json::from_str(json) else {
        return json.to_owned();
    };
    let mut text = String::from("{");
    for (known, raw) in members {
        let comma = if text.len() > 1 { "," } else { "" };
        let cut = Some(cut).filter(|_| known == name);
        let _ = write!(text, "{comma}{}:", Value::from(known));
        write_child(raw, cut, &mut text);
    }
    text.push('}');
    text
}

/// A JSON text without what `cut` names below its root.
pub(super) fn without(json: &str, cut: &Cut) -> String {
    let mut text = String::with_capacity(json.len());
    write_without(json, cut, &mut text);
    text
}

fn write_without(json: &str, cut: &Cut, text: &mut String) {
    if let Ok(Members(members)) = serde_json::from_str(json) {
        text.push('{');
        let mut is_first = true;
        for (name, raw) in members {
            let child = cut.names.get(&*name);
            if child.is_some_and(|child| child.here) {
                continue;
            }
            let comma = if std::mem::take(&mut is_first) {
                ""
            } else {
                ","
            };
            let _ = write!(text, "{comma}{}:", Value::from(name));
            write_child(raw, child, text);
        }
        text.push('}');
    } else if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(json) {
        text.push('[');
        let mut is_first = true;
        for (index, raw) in elements.into_iter().enumerate() {
            let child = cut.element(index);
            if child.is_some_and(|child| child.here) {
                continue;
            }
            text.push_str(if std::mem::take(&mut is_first) {
                ""
            } else {
                ","
            });
            write_child(raw, child, text);
        }
        text.push(']');
    } else {
        text.push_str(json);
    }
}

fn write_child(raw: &RawValue, cut: Option<&Cut>, text: &mut String) {
    match cut {
        Some(cut) => write_without(raw.get(), cut, text),
        None => text.push_str(raw.get()),
    }
}

/// The members of a JSON object in their order, values as they stand there.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

/// JSON as a tree. A number beyond all doubles becomes the largest: a filter can compare it, and
/// everything that is sent as received goes without a tree.
pub(super) fn value(json: &str) -> Value {
    if let Ok(value) = serde_json::from_str(json) {
        return value;
    }
    if let Ok(Members(members)) = serde_json::from_str(json) {
        let member = |(name, raw): (String, &RawValue)| (name, value(raw.get()));
        return Value::Object(members.into_iter().map(member).collect());
    }
    if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(json) {
        return Value::Array(elements.iter().map(|raw| value(raw.get())).collect());
    }
    let is_negative = json.trim_start().starts_with('-');
    Value::from(if is_negative { f64::MIN } else { f64::MAX })
}
