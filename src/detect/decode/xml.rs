//! XML as JSON.
//!
//! Decides what an element looks like, and that a document is well-formed, whole, not too deep, and
//! declares no entities: those that expand are how a small document fills a machine. Names stay as
//! they are written, prefix and all. Whitespace around text, comments and processing instructions
//! say nothing, nor does the order among children of different names.

use std::collections::BTreeMap;

use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion, escape};

use super::Format;
use super::output::Output;
use crate::detect::Unreadable;

/// Deepest nesting of elements: each is an object in an array, and what reads JSON goes 127 deep.
const DEPTH_MAX: usize = 60;

/// What becomes of `&name;` where no such entity is predefined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entities {
    /// It is a fault.
    Refused,
    /// It stays as it is written. Many a feed has them.
    Kept,
}

/// A document as JSON.
pub(super) fn decode(text: &str, bytes_max: usize) -> Result<Vec<u8>, Unreadable> {
    document(text, Entities::Refused, bytes_max)
}

/// A document as JSON, with a choice about entities.
pub(super) fn document(
    text: &str,
    entities: Entities,
    bytes_max: usize,
) -> Result<Vec<u8>, Unreadable> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut open = Open {
        elements: Vec::new(),
        root: None,
        entities,
        bytes_max,
    };
    loop {
        let at = reader.buffer_position();
        let misread = |message: String| {
            let message = format!("{message} at byte {at}");
            Format::Xml.malformed(message)
        };
        let event = reader.read_event();
        match event.map_err(|error| misread(told(&error).to_owned()))? {
            Event::Start(start) => open.begin(&start).map_err(|fault| fault.at(at))?,
            Event::End(_) => open.end()?,
            Event::Text(text) => open.text(&text.xml10_content()).map_err(misread)?,
            Event::CData(text) => open.text(&text.xml10_content()).map_err(misread)?,
            Event::GeneralRef(reference) => open.reference(&reference).map_err(misread)?,
            Event::DocType(declared) if declared.contains('[') => {
                return Err(misread("declarations of its own".to_owned()));
            }
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) | Event::DocType(_) => {}
            Event::Empty(_) => return Err(misread("an element that was not expanded".to_owned())),
            Event::Eof => return open.finish(),
        }
    }
}

/// Where the reader is.
struct Open {
    elements: Vec<Element>,
    root: Option<Vec<u8>>,
    entities: Entities,
    bytes_max: usize,
}

/// An element that has begun.
#[derive(Default)]
struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    text: String,
    /// By name, the insides of arrays.
    children: BTreeMap<String, Vec<u8>>,
}

/// Why an element does not begin.
enum Fault {
    Here(String),
    Elsewhere(Unreadable),
}

impl Fault {
    fn at(self, at: u64) -> Unreadable {
        match self {
            Self::Here(message) => Format::Xml.malformed(format!("{message} at byte {at}")),
            Self::Elsewhere(unreadable) => unreadable,
        }
    }
}

impl Open {
    fn begin(&mut self, start: &BytesStart<'_>) -> Result<(), Fault> {
        let here = |message: &str| Err(Fault::Here(message.to_owned()));
        if self.root.is_some() {
            return here("a second root");
        }
        if self.elements.len() >= DEPTH_MAX {
            let message = format!("elements nested deeper than {DEPTH_MAX}");
            return Err(Fault::Elsewhere(Format::Xml.malformed(message)));
        }
        let name = start.name().as_ref().to_owned();
        if self.elements.is_empty() && name.eq_ignore_ascii_case("html") {
            return Err(Fault::Elsewhere(Format::Xml.malformed("it is a page")));
        }
        if !is_name(&name) {
            return here("an element without a proper name");
        }
        let mut element = Element {
            name,
            ..Element::default()
        };
        for attribute in start.attributes() {
            let Ok(attribute) = attribute else {
                return here("an attribute that does not read");
            };
            let name = attribute.key.as_ref().to_owned();
            let keeps = self.entities == Entities::Kept;
            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
            let value = match value {
                Ok(value) => value.into_owned(),
                Err(_) if keeps => attribute.value.to_string(),
                Err(_) => return here("an attribute whose value does not read"),
            };
            if !is_name(&name) || !value.chars().all(is_legal) {
                return here("an attribute that does not read");
            }
            element.attributes.push((name, value));
        }
        self.elements.push(element);
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), String> {
        if !text.chars().all(is_legal) {
            return Err("a character that XML does not have".to_owned());
        }
        match self.elements.last_mut() {
            Some(element) => element.text.push_str(text),
            None if text.chars().all(is_space) => {}
            None => return Err("text outside of the root".to_owned()),
        }
        Ok(())
    }

    fn reference(&mut self, reference: &BytesRef<'_>) -> Result<(), String> {
        let character = reference.resolve_char_ref();
        let character = character.map_err(|_| "a reference to no character".to_owned())?;
        if let Some(character) = character {
            return self.text(character.encode_utf8(&mut [0; 4]));
        }
        match (escape::resolve_predefined_entity(reference), self.entities) {
            (Some(text), _) => self.text(text),
            (None, Entities::Kept) => self.text(&format!("&{};", &**reference)),
            (None, Entities::Refused) => Err("an entity that is not predefined".to_owned()),
        }
    }

    fn end(&mut self) -> Result<(), Unreadable> {
        // The reader lets no end pass that has no beginning.
        let Some(element) = self.elements.pop() else {
            return Err(Format::Xml.malformed("an end without a beginning"));
        };
        let Some(parent) = self.elements.last_mut() else {
            let mut out = Output::of(self.bytes_max);
            out.raw("{")?;
            out.member(&mut true, &element.name)?;
            out.raw(element.json(self.bytes_max)?)?;
            out.raw("}")?;
            self.root = Some(out.finish());
            return Ok(());
        };
        let json = element.json(self.bytes_max)?;
        let siblings = parent.children.entry(element.name).or_default();
        if !siblings.is_empty() {
            siblings.push(b',');
        }
        siblings.extend_from_slice(&json);
        if siblings.len() > self.bytes_max {
            return Err(Unreadable::TooLarge(self.bytes_max));
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<u8>, Unreadable> {
        if !self.elements.is_empty() {
            return Err(Format::Xml.malformed("it ends before its root does"));
        }
        let missing = || Format::Xml.malformed("there is no element");
        self.root.ok_or_else(missing)
    }
}

impl Element {
    fn json(&self, bytes_max: usize) -> Result<Vec<u8>, Unreadable> {
        let text = self.text.trim_matches(is_space);
        let mut out = Output::of(bytes_max);
        if self.attributes.is_empty() && self.children.is_empty() {
            out.string(text)?;
            return Ok(out.finish());
        }
        let mut first = true;
        out.raw("{")?;
        for (name, value) in &self.attributes {
            out.member(&mut first, &format!("@{name}"))?;
            out.string(value)?;
        }
        if !text.is_empty() {
            out.member(&mut first, "#text")?;
            out.string(text)?;
        }
        for (name, siblings) in &self.children {
            out.member(&mut first, name)?;
            out.raw("[")?;
            out.raw(siblings)?;
            out.raw("]")?;
        }
        out.raw("}")?;
        Ok(out.finish())
    }
}

/// What of the reader's errors may be told: they quote names out of the body.
fn told(error: &quick_xml::Error) -> &'static str {
    match error {
        quick_xml::Error::Syntax(_) => "markup that does not end",
        quick_xml::Error::IllFormed(_) => "tags that do not match",
        _ => "what does not read",
    }
}

/// Whether a name cannot be taken for anything else. Source: XML 1.0 section 2.3, as far as ASCII
/// goes.
fn is_name(name: &str) -> bool {
    let begins = |c: char| !c.is_ascii() || c.is_ascii_alphabetic() || matches!(c, '_' | ':');
    let goes_on = |c: char| begins(c) || c.is_ascii_digit() || matches!(c, '-' | '.');
    name.starts_with(begins) && name.chars().all(goes_on)
}

/// Source: XML 1.0 section 2.2.
fn is_legal(c: char) -> bool {
    !matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}')
}

/// Source: XML 1.0 section 2.3.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}
