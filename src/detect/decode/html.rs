//! What CSS selectors select of a page.
//!
//! Decides how a selected element looks, and that a page on which nothing is selected is not the
//! one that is watched, nor is one that begins with `<html` and lacks its end: it was cut. Leaves what a page means to the parser, which takes anything for one; only
//! how deep and how large its tree may grow is decided here, because some of what the parser does
//! takes as long as the tree is deep, for every tag.

use std::collections::BTreeMap;

use ego_tree::iter::Edge;
use html5ever::driver::{ParseOpts, Parser, parse_document};
use html5ever::tendril::{StrTendril, TendrilSink as _};
use scraper::{ElementRef, Html, HtmlTreeSink, Node};

use super::Format;
use super::output::Output;
use crate::detect::Unreadable;
use crate::jsonpath::PathError;

/// Deepest nesting; browsers stop at 512.
const DEPTH_MAX: usize = 256;

/// Most nodes of a tree, some 40 MB. The largest pages that people read have a tenth of it.
const NODES_MAX: usize = 250_000;

/// How much is parsed between two looks at the tree.
const CHUNK_BYTES: usize = 1024;

/// Longest selector: each is tried on every element.
const SELECTOR_BYTES_MAX: usize = 1024;

/// Elements whose text is for no reader.
const UNREAD: [&str; 4] = ["script", "style", "template", "noscript"];

/// Elements whose whitespace counts.
const VERBATIM: [&str; 4] = ["pre", "textarea", "script", "style"];

/// Elements that do not part the words around them.
const INLINE: [&str; 19] = [
    "a", "abbr", "b", "bdi", "bdo", "cite", "code", "em", "font", "i", "kbd", "mark", "q", "s",
    "small", "span", "strong", "u", "wbr",
];

/// A CSS selector of the configuration.
#[derive(Clone)]
pub struct Selector {
    text: String,
    selector: scraper::Selector,
}

impl Selector {
    /// Reads a selector.
    ///
    /// # Errors
    /// [`PathError`] for what is none.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let fault = |message: &str| PathError {
            position: 0,
            message: message.to_owned(),
        };
        if text.starts_with('$') {
            return Err(fault(
                "of a page, elements are selected by CSS: write one like \"table.releases tr\"",
            ));
        }
        if text.len() > SELECTOR_BYTES_MAX {
            return Err(fault("a selector has at most 1024 bytes"));
        }
        let selector = scraper::Selector::parse(text);
        let selector = selector.map_err(|_| fault("no CSS selector"))?;
        Ok(Self {
            text: text.to_owned(),
            selector,
        })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Selector {}

impl std::fmt::Debug for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Selector({:?})", self.text)
    }
}

/// The elements that `selector` selects, or without one the page's text.
pub(super) fn decode(
    text: &str,
    selector: Option<&Selector>,
    bytes_max: usize,
) -> Result<Vec<u8>, Unreadable> {
    let begins_tag = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '!');
    if !text.split('<').skip(1).any(begins_tag) {
        return Err(Format::Html.malformed("it holds no tag"));
    }
    if text.rfind('<') > text.rfind('>') {
        return Err(Format::Html.malformed("it ends within a tag"));
    }
    if holds(text, "<html") && !holds(text, "</html") {
        return Err(Format::Html.malformed("it ends before its `html` does"));
    }
    let mut page = parse(text)?;
    let mut out = Output::of(bytes_max);
    let Some(selector) = selector else {
        whole(&page, &mut out)?;
        return Ok(out.finish());
    };
    collapse(&mut page);
    out.raw("[")?;
    let mut first = true;
    for element in page.select(&selector.selector) {
        out.separate(&mut first)?;
        one(element, &mut out)?;
    }
    if first {
        let message = format!("`{}` selects nothing of the page", selector.text);
        return Err(Unreadable::Shape(message));
    }
    out.raw("]")?;
    Ok(out.finish())
}

/// Whether a tag is there, in whatever letters.
fn holds(text: &str, tag: &str) -> bool {
    let mut windows = text.as_bytes().windows(tag.len());
    windows.any(|window| window.eq_ignore_ascii_case(tag.as_bytes()))
}

/// The page's tree, as far as it stays within bounds.
fn parse(text: &str) -> Result<Html, Unreadable> {
    let sink = HtmlTreeSink::new(Html::new_document());
    let mut parser = parse_document(sink, ParseOpts::default());
    let (mut rest, mut seen) = (text, 0);
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(rest.floor_char_boundary(CHUNK_BYTES));
        parser.process(StrTendril::from(chunk));
        seen = grown(&parser, seen)?;
        rest = after;
    }
    Ok(parser.finish())
}

/// How many nodes there are, of which so many were `seen` before.
fn grown(parser: &Parser<HtmlTreeSink>, seen: usize) -> Result<usize, Unreadable> {
    let page = parser.tokenizer.sink.sink.0.borrow();
    let nodes = page.tree.nodes();
    let count = nodes.len();
    if count > NODES_MAX {
        let message = format!("more than {NODES_MAX} nodes");
        return Err(Format::Html.malformed(message));
    }
    let is_deep = |node: ego_tree::NodeRef<'_, Node>| node.ancestors().nth(DEPTH_MAX).is_some();
    if nodes.skip(seen).any(is_deep) {
        let message = format!("elements nested deeper than {DEPTH_MAX}");
        return Err(Format::Html.malformed(message));
    }
    Ok(count)
}

/// Takes out whitespace that no reader sees: all but one blank between words, and that at the edges
/// of elements that part words anyway.
fn collapse(page: &mut Html) {
    let seen = |text: &str, node: ego_tree::NodeRef<'_, Node>| {
        let parts = |beside: Option<ego_tree::NodeRef<'_, Node>>| {
            let beside = beside.or_else(|| node.parent());
            let element = beside.and_then(ElementRef::wrap);
            element.is_some_and(|element| !INLINE.contains(&element.value().name()))
        };
        let mut words = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        let is_blank = words.is_empty();
        let is_space = |c: char| c.is_ascii_whitespace();
        let (before, after) = (parts(node.prev_sibling()), parts(node.next_sibling()));
        if text.starts_with(is_space) && !before && !(is_blank && after) {
            words.insert(0, ' ');
        }
        if text.ends_with(is_space) && !after && !is_blank {
            words.push(' ');
        }
        words
    };
    let is_kept = |node: ego_tree::NodeRef<'_, Node>| {
        let mut above = node.ancestors().filter_map(ElementRef::wrap);
        above.any(|element| VERBATIM.contains(&element.value().name()))
    };
    let texts: Vec<_> = page
        .tree
        .nodes()
        .filter_map(|node| {
            let text = node.value().as_text()?;
            let is_dense = !text.contains(|c: char| c.is_ascii_whitespace());
            (!is_dense && !is_kept(node)).then(|| (node.id(), seen(text, node)))
        })
        .collect();
    for (id, words) in texts {
        if let Some(mut node) = page.tree.get_mut(id)
            && let Node::Text(text) = node.value()
        {
            text.text = StrTendril::from(words);
        }
    }
}

fn whole(page: &Html, out: &mut Output) -> Result<(), Unreadable> {
    let mut first = true;
    out.raw("{")?;
    let is_title = |element: &ElementRef<'_>| element.value().name() == "title";
    let mut elements = page.root_element().descendent_elements();
    if let Some(title) = elements.find(is_title) {
        out.member(&mut first, "title")?;
        out.string(
            &title
                .text()
                .collect::<String>()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        )?;
    }
    let mut elements = page.root_element().descendent_elements();
    let body = elements.find(|element| element.value().name() == "body");
    let text = body.map(read).unwrap_or_default();
    if text.is_empty() {
        return Err(Format::Html.malformed("the page has no text"));
    }
    out.member(&mut first, "text")?;
    out.string(&text)?;
    out.raw("}")
}

fn one(element: ElementRef<'_>, out: &mut Output) -> Result<(), Unreadable> {
    out.raw("{\"tag\":")?;
    out.string(element.value().name())?;
    out.raw(",\"text\":")?;
    out.string(&read(element))?;
    out.raw(",\"links\":[")?;
    let links = element.descendent_elements();
    let links = links.filter(|inner| inner.value().name() == "a");
    let mut first = true;
    for link in links.filter_map(|link| link.attr("href")) {
        out.separate(&mut first)?;
        out.string(link)?;
    }
    out.raw("],\"attributes\":{")?;
    let attributes: BTreeMap<&str, &str> = element.value().attrs().collect();
    let mut first = true;
    for (name, value) in attributes {
        out.member(&mut first, name)?;
        out.string(value)?;
    }
    out.raw("},\"html\":")?;
    out.string(&element.inner_html())?;
    out.raw("}")
}

/// What a reader sees of an element, words parted by one blank.
fn read(element: ElementRef<'_>) -> String {
    let mut text = String::new();
    for edge in element.traverse() {
        let (Edge::Open(node) | Edge::Close(node)) = edge;
        match node.value() {
            Node::Text(piece) if matches!(edge, Edge::Open(_)) => {
                let parent = node.parent().and_then(ElementRef::wrap);
                let is_unread =
                    parent.is_some_and(|parent| UNREAD.contains(&parent.value().name()));
                if !is_unread {
                    text.push_str(piece);
                }
            }
            Node::Element(element) if !INLINE.contains(&element.name()) => text.push(' '),
            _ => {}
        }
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}
