//! Which page comes after a page. Pure.
//!
//! Decides where a walk goes on, where it ends, and when it has lost its way. Leaves asking to
//! [`super`].

use std::collections::HashSet;

use http::{HeaderMap, Method};
use serde_json::Value;

use super::link;
use crate::config::{Deletes, PageAt, PageBy, Paginate, Parameter};
use crate::digest::{Context, Digest, RawDigest};
use crate::poll::request::{kind, with};
use crate::upstream::{Place, Request};

/// A walk in the making: what was asked, and what must not be asked again.
pub(super) struct Paging {
    by: PageBy,
    pages_max: u32,
    deletes: Deletes,
    /// The first request, of which the others are variations.
    first: Request,
    /// Pages so far.
    pages: u32,
    /// URLs, cursors that were asked for.
    seen: HashSet<Digest>,
    context: Context,
    /// The page's number, or the items before it.
    at: u64,
    /// Whether a page had as many items as one may.
    was_full: bool,
    /// The page before.
    last: Option<RawDigest>,
}

/// A page that came, as far as it says what comes next.
#[derive(Debug)]
pub(super) struct Leaf<'a> {
    /// Where it came from.
    pub(super) place: &'a Place,
    /// Its headers.
    pub(super) headers: &'a HeaderMap,
    /// What stands in its body where the next page is named, as it is spelled.
    pub(super) named: Option<&'a str>,
    /// What it says of more, as it is spelled.
    pub(super) more: Option<&'a str>,
    /// Its items; 0 where nobody counted them.
    pub(super) items: usize,
    /// Its bytes.
    pub(super) raw: RawDigest,
}

/// Why a walk came to no end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Astray {
    /// It may have no more pages.
    #[error("more than {0} pages; `pages_max` allows more")]
    TooMany(u32),
    /// It was there before.
    #[error("the pages lead in a loop; if they end in another way, `more` points at what says so")]
    Loop,
    /// The page before came again.
    #[error("two pages running are the same: the upstream does not heed `{0}`")]
    Unheeded(String),
    /// The `Link` header does not read.
    #[error("a `Link` header that does not read")]
    Link,
    /// The next page is no URL that may be asked.
    #[error("a next page {0}")]
    Reference(String),
    /// What names the next page is of no use.
    #[error("what names the next page is {0}")]
    Name(&'static str),
}

impl Paging {
    /// The walk that begins with `first`, and its first request. Where what it lacks is deleted,
    /// a page that is short in its middle must not end it.
    pub(super) fn begin(
        paginate: &Paginate,
        deletes: Deletes,
        first: Request,
    ) -> Result<(Self, Request), Astray> {
        let at = match paginate.by {
            PageBy::Page { start, .. } => start,
            _ => 0,
        };
        let mut paging = Self {
            by: paginate.by.clone(),
            pages_max: paginate.pages_max,
            deletes,
            first,
            pages: 0,
            seen: HashSet::new(),
            context: Context::new("doorbell 2026-11 page asked for 1"),
            at,
            was_full: false,
            last: None,
        };
        let first = match &paging.by {
            PageBy::Page { parameter, .. } | PageBy::Offset { parameter, .. } => {
                let name = Value::from(at);
                with(&paging.first, parameter, &name).map_err(Astray::Name)?
            }
            PageBy::Link | PageBy::Next(_) | PageBy::Cursor(..) => paging.first.clone(),
        };
        paging.note(first.url.as_str());
        Ok((paging, first))
    }

    /// Whether this status, in place of a page, says that there are no more.
    pub(super) fn ends_with(&self, status: Option<u16>) -> bool {
        let end = match self.by {
            PageBy::Page { end_status, .. } => end_status,
            _ => None,
        };
        self.pages > 0 && end.is_some() && end == status
    }

    /// The request of the page after `leaf`; `None` at the end.
    pub(super) fn after(&mut self, leaf: &Leaf<'_>) -> Result<Option<Request>, Astray> {
        self.pages += 1;
        let next = match more(leaf.more)? {
            Some(false) => None,
            more => self.following(leaf, more == Some(true))?,
        };
        if next.is_some() && self.pages >= self.pages_max {
            return Err(Astray::TooMany(self.pages_max));
        }
        self.last = Some(leaf.raw);
        Ok(next)
    }

    fn following(&mut self, leaf: &Leaf<'_>, has_more: bool) -> Result<Option<Request>, Astray> {
        match self.by.clone() {
            PageBy::Link => {
                let target = link::next(leaf.headers).map_err(|link::Malformed| Astray::Link)?;
                target.map(|target| self.lead(leaf, &target)).transpose()
            }
            PageBy::Next(at) => match named(&at, leaf)? {
                None => Ok(None),
                Some(Value::String(target)) => self.lead(leaf, &target).map(Some),
                Some(other) => Err(Astray::Name(kind(&other))),
            },
            PageBy::Cursor(at, parameter) => {
                let Some(name) = named(&at, leaf)? else {
                    return Ok(None);
                };
                // Of the first page it may be a beginning.
                if self.pages > 1 && (name == 0 || name == "0") {
                    return Ok(None);
                }
                let next = with(&self.first, &parameter, &name).map_err(Astray::Name)?;
                if !self.note(&name.to_string()) {
                    return Err(Astray::Loop);
                }
                Ok(Some(next))
            }
            PageBy::Page { parameter, .. } => {
                if leaf.items == 0 && !has_more {
                    return Ok(None);
                }
                self.at += 1;
                self.numbered(leaf, &parameter).map(Some)
            }
            PageBy::Offset { parameter, limit } => {
                let items = leaf.items as u64;
                let is_short = items < limit && self.was_full;
                let is_last = items == 0 || (is_short && self.deletes != Deletes::Full);
                if is_last && !has_more {
                    return Ok(None);
                }
                self.was_full |= items >= limit;
                // Not `limit`: an upstream that gives fewer than are asked for skips none.
                self.at += items;
                self.numbered(leaf, &parameter).map(Some)
            }
        }
    }

    /// The request of the page at the number where the walk stands.
    fn numbered(&self, leaf: &Leaf<'_>, parameter: &Parameter) -> Result<Request, Astray> {
        if leaf.items > 0 && self.last == Some(leaf.raw) {
            return Err(Astray::Unheeded(parameter.to_string()));
        }
        with(&self.first, parameter, &Value::from(self.at)).map_err(Astray::Name)
    }

    /// The request of the page that `reference` leads to.
    fn lead(&mut self, leaf: &Leaf<'_>, reference: &str) -> Result<Request, Astray> {
        let place = leaf.place.leads_to(reference).map_err(Astray::Reference)?;
        if !place.home && self.first.method != Method::GET {
            let message = "would carry the request's body to another origin".to_owned();
            return Err(Astray::Reference(message));
        }
        if !self.note(place.url.as_str()) {
            return Err(Astray::Loop);
        }
        Ok(Request {
            url: place.url,
            home: place.home,
            ..self.first.clone()
        })
    }

    /// Whether `name` was not asked for before.
    fn note(&mut self, name: &str) -> bool {
        self.seen.insert(self.context.digest(name.as_bytes()))
    }
}

/// What the page says of more.
fn more(spelled: Option<&str>) -> Result<Option<bool>, Astray> {
    match spelled {
        None | Some("null") => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(Astray::Name("no true or false, where `more` points")),
    }
}

/// What names the next page; `None` at the end.
fn named(at: &PageAt, leaf: &Leaf<'_>) -> Result<Option<Value>, Astray> {
    let value = match at {
        PageAt::Header(name) => {
            let value = leaf.headers.get(name);
            value.map(|value| Value::from(String::from_utf8_lossy(value.as_bytes()).trim()))
        }
        PageAt::Body(_) => leaf.named.map(value).transpose()?,
    };
    let is_end = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    Ok(value.filter(|value| !is_end(value)))
}

/// A value as it is spelled. A number that no `Value` holds exactly stays the text that it is.
fn value(spelled: &str) -> Result<Value, Astray> {
    let value: Value = serde_json::from_str(spelled).map_err(|_| Astray::Name("no JSON"))?;
    let is_inexact = value.is_f64() && !spelled.contains(['.', 'e', 'E']);
    Ok(if is_inexact { spelled.into() } else { value })
}
