//! RSS, Atom and JSON Feed, alike.
//!
//! Decides what of a feed is told, and what identifies an entry: its own id; else its link; else
//! what it says. Ids are never made up, because a made-up one would be a new entry with every poll.

use chrono::{DateTime, SecondsFormat, Utc};
use feed_rs::model::{Entry, Feed, FeedType, Link, Person, Text};
use feed_rs::parser::Builder;
use serde_json::{Map, Value, json};

use super::Format;
use super::output::Output;
use super::xml::{self, Entities};
use crate::detect::Unreadable;
use crate::digest::Context;

/// A feed as JSON.
pub(super) fn decode(text: &str, bytes_max: usize) -> Result<Vec<u8>, Unreadable> {
    let text = text.trim_start();
    let markup = if text.starts_with('<') {
        // The parser is lenient. A feed may be sloppy in what it says, but not in where it ends.
        let checked = xml::document(text, Entities::Kept, bytes_max);
        checked.map_err(|fault| match fault {
            Unreadable::Malformed(_, message) => Format::Feed.malformed(message),
            other => other,
        })?;
        without_declaration(text)
    } else {
        text
    };
    let parser = Builder::new()
        .id_generator(|_, _, _| String::new())
        .sanitize_content(false)
        .build();
    // Its errors quote the body.
    let feed = parser.parse(markup.as_bytes());
    let feed = feed.map_err(|_| Format::Feed.malformed("neither RSS, Atom nor JSON Feed"))?;
    let mut out = Output::of(bytes_max);
    let head = Value::from(head(&feed)).to_string();
    out.raw(&head[..head.len() - 1])?;
    out.raw(",\"entries\":[")?;
    let mut first = true;
    for (number, entry) in (1..).zip(&feed.entries) {
        out.separate(&mut first)?;
        out.raw(Value::from(told(entry, number)?).to_string())?;
    }
    out.raw("]}")?;
    Ok(out.finish())
}

/// The text is UTF-8 by now, whatever the declaration says.
fn without_declaration(text: &str) -> &str {
    let declared = text.strip_prefix("<?xml");
    let rest = declared.and_then(|rest| rest.split_once("?>"));
    rest.map_or(text, |(_, rest)| rest.trim_start())
}

/// What is told of the feed itself. When it was made is not: many are made anew for each request.
fn head(feed: &Feed) -> Map<String, Value> {
    let kind = match feed.feed_type {
        FeedType::Atom => "atom",
        FeedType::JSON => "json",
        FeedType::RSS0 | FeedType::RSS1 | FeedType::RSS2 => "rss",
    };
    let mut head = Map::new();
    head.insert("type".to_owned(), kind.into());
    put_text(&mut head, "title", feed.title.as_ref());
    put_text(&mut head, "description", feed.description.as_ref());
    put(&mut head, "link", main_link(&feed.links));
    put(&mut head, "language", feed.language.as_deref());
    head
}

fn told(entry: &Entry, number: usize) -> Result<Map<String, Value>, Unreadable> {
    let mut told = Map::new();
    told.insert("id".to_owned(), id(entry, number)?.into());
    put_text(&mut told, "title", entry.title.as_ref());
    put(&mut told, "link", main_link(&entry.links));
    put_time(&mut told, "published", entry.published);
    put_time(&mut told, "updated", entry.updated);
    put_text(&mut told, "summary", entry.summary.as_ref());
    let content = entry.content.as_ref();
    put(
        &mut told,
        "content",
        content.and_then(|content| content.body.as_deref()),
    );
    let authors: Vec<Value> = entry.authors.iter().map(person).collect();
    let terms = entry.categories.iter();
    let categories: Vec<Value> = terms
        .map(|category| category.term.as_str().into())
        .collect();
    for (name, list) in [
        ("authors", authors),
        ("categories", categories),
        ("enclosures", enclosures(entry)),
    ] {
        if !list.is_empty() {
            told.insert(name.to_owned(), list.into());
        }
    }
    Ok(told)
}

/// What identifies an entry.
fn id(entry: &Entry, number: usize) -> Result<String, Unreadable> {
    let own = entry.id.trim();
    if !own.is_empty() {
        return Ok(own.to_owned());
    }
    if let Some(link) = main_link(&entry.links) {
        return Ok(link.to_owned());
    }
    let texts = [entry.title.as_ref(), entry.summary.as_ref()];
    let texts = texts.map(|text| text.map_or("", |text| &*text.content));
    let content = entry.content.as_ref();
    let content = content.and_then(|content| content.body.as_deref());
    let published = entry.published.map(time).unwrap_or_default();
    let parts = [texts[0], texts[1], content.unwrap_or_default(), &published];
    if parts.iter().all(|part| part.is_empty()) {
        let message = format!("entry {number} has nothing that would identify it");
        return Err(Unreadable::Id(message));
    }
    let form = Value::from(parts.to_vec()).to_string();
    let digest = Context::new("doorbell 2026-11 feed entry without id 1").digest(form.as_bytes());
    Ok(digest.to_string())
}

/// Where the thing itself is.
fn main_link(links: &[Link]) -> Option<&str> {
    let is_main = |link: &&Link| matches!(link.rel.as_deref(), None | Some("alternate"));
    let link = links.iter().find(is_main).or_else(|| links.first())?;
    (!link.href.is_empty()).then_some(&*link.href)
}

fn person(person: &Person) -> Value {
    let email = person.email.as_deref();
    json!(person.name.as_deref().or(email))
}

fn enclosures(entry: &Entry) -> Vec<Value> {
    let contents = entry.media.iter().flat_map(|media| &media.content);
    let of_media = contents.filter_map(|content| {
        let url = content.url.as_ref()?.to_string();
        let media_type = content.content_type.as_ref();
        let media_type = media_type.map(ToString::to_string);
        Some(json!({"url": url, "type": media_type, "bytes": content.size}))
    });
    let of_links = entry.links.iter();
    let of_links = of_links.filter(|link| link.rel.as_deref() == Some("enclosure"));
    let of_links = of_links
        .map(|link| json!({"url": link.href, "type": link.media_type, "bytes": link.length}));
    of_media.chain(of_links).collect()
}

fn put(map: &mut Map<String, Value>, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        map.insert(name.to_owned(), text.trim().into());
    }
}

fn put_text(map: &mut Map<String, Value>, name: &str, text: Option<&Text>) {
    put(map, name, text.map(|text| &*text.content));
}

fn put_time(map: &mut Map<String, Value>, name: &str, at: Option<DateTime<Utc>>) {
    put(map, name, at.map(time).as_deref());
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
