//! One walk: the pages of a source's answer, one after the other.
//!
//! Decides that a walk is whole: a page that fails fails it, and so do a loop and too many pages
//! or bytes. Leaves which page is next to [`paging`], and what stands in them to
//! [`crate::detect`].

mod link;
mod paging;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;

use self::paging::{Astray, Leaf, Paging};
use super::bench::{Bench, INLINE_BYTES_MAX, INLINE_ENCODED_BYTES_MAX};
use super::conclude::Trouble;
use super::{REASON_PAGES_MAX, REASON_PAGINATION};
use crate::client::Validators;
use crate::config::{self, PageAt, PageBy, Paginate};
use crate::detect::{self, Encoded, Format, Page, Unreadable};
use crate::digest::RawDigest;
use crate::upstream::{Answer, Body, By, Failure, Fetch, Kept, Pacing, Request, Upstream};

/// All pages of a walk together may be so many times as large as one may be: pages are cut small,
/// and all of them are in memory at once.
const WALK_BODIES: usize = 16;

/// What a body is made as JSON may be so many times as large as the body may be: names stand once
/// in a table, and in each of its rows as JSON.
const DECODED_BODIES: usize = 4;

/// How often a long walk tells how far it is.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Who asks, and for what.
#[derive(Clone, Copy)]
pub(super) struct Walker<'a> {
    pub(super) source: &'a Arc<config::Source>,
    pub(super) upstream: &'a Upstream,
    /// What pages were before; `None`: there were none.
    pub(super) learnt: Option<Format>,
    pub(super) bench: &'a Bench,
    /// For whose sake.
    pub(super) by: By,
    /// When what came was sent for and whole, and what is kept of it.
    pub(super) trace: &'a Mutex<Trace>,
    /// Told of every page's bytes.
    pub(super) received: &'a (dyn Fn(usize) + Sync),
}

/// When a walk's answer was asked for and came.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// When the first request was sent.
    pub(super) sent_at: Option<Instant>,
    /// When the last answer was whole.
    pub(super) ended_at: Option<Instant>,
    /// Requests, redirects not counted.
    pub(super) requests: u32,
    /// The answer, where it serves callers.
    pub(super) kept: Option<Kept>,
}

/// What a walk brought.
#[derive(Debug)]
pub(super) enum Walked {
    /// 304, of an answer that is whole.
    NotModified {
        /// Refreshed validators, where the 304 carried any.
        validators: Validators,
        /// What it says about the next request.
        pacing: Pacing,
    },
    /// All pages.
    Whole(Pages),
}

/// The pages of a walk.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// In the walk's order; never empty.
    pub(super) sheets: Vec<Sheet>,
    /// The format of all of them.
    pub(super) format: Format,
    /// Status of the last page.
    pub(super) status: u16,
    /// `Content-Type` of the last page, as it came.
    pub(super) content_type: Option<String>,
    /// For the next request; none where one page says nothing of the others.
    pub(super) validators: Validators,
    /// What the pages say about the next request.
    pub(super) pacing: Pacing,
}

/// A page's body, and what was made of it on the way.
#[derive(Debug)]
pub(super) struct Sheet {
    /// As it came.
    body: Bytes,
    raw: RawDigest,
    format: Format,
    content_type: Option<String>,
    is_open_ended: bool,
    /// As JSON, if it was needed already.
    json: Option<Bytes>,
    /// Its items, if they were counted.
    read: Option<Page>,
}

/// The pages of one walk, read.
#[derive(Debug)]
pub(super) struct Leaves {
    pub(super) pages: Vec<Page>,
    /// Their bodies as JSON, into which the items point.
    pub(super) bodies: Vec<Bytes>,
}

/// What is looked up in a page.
#[derive(Debug, Default)]
struct LookedUp {
    json: Option<Bytes>,
    named: Option<String>,
    more: Option<String>,
    page: Option<Page>,
}

impl Walker<'_> {
    /// Asks for all pages, beginning with `first`. `validators` go with the first page of an
    /// answer that has no others: that page one is the same says nothing of the rest.
    pub(super) async fn walk(
        &self,
        first: &Request,
        validators: &Validators,
    ) -> Result<Walked, Trouble> {
        let first = self.upstream.spread(first);
        let Some(paginate) = &self.source.paginate else {
            return self.whole(&first, validators).await;
        };
        let (mut paging, first) = Paging::begin(paginate, self.source.deletes, first.into_owned())?;
        let mut pages = Pages::default();
        let mut learnt = self.learnt;
        let mut items = 0;
        let mut bytes_left = self.source.body_bytes_max.saturating_mul(WALK_BODIES);
        let (began, mut told) = (Instant::now(), Instant::now());
        let mut next = Some(first);
        while let Some(request) = next {
            let answer = match self.ask(&request, &Validators::default()).await {
                Err(failure) if paging.ends_with(failure.status) => break,
                answer => answer.map_err(|failure| pages.failed(&failure))?,
            };
            let Answer::Body(body) = answer else {
                return Err(unasked().into());
            };
            pages.pacing = if pages.sheets.is_empty() {
                body.pacing
            } else {
                pages.pacing.and(body.pacing)
            };
            let paced = |trouble: Trouble| trouble.paced(pages.pacing);
            let format = format_of(self.source, learnt, &body).map_err(paced)?;
            (learnt, pages.format) = (Some(format), format);
            let mut sheet = Sheet::of(&body, format);
            let looked_up = self.look_up(paginate, &sheet).await.map_err(paced)?;
            sheet.json = looked_up.json;
            bytes_left = bytes_left
                .checked_sub(sheet.weight())
                .ok_or_else(|| paced(self.too_large()))?;
            let leaf = Leaf {
                place: &body.place,
                headers: &body.headers,
                named: looked_up.named.as_deref(),
                more: looked_up.more.as_deref(),
                items: looked_up.page.as_ref().map_or(0, Page::len),
                raw: body.raw,
            };
            items += leaf.items;
            next = paging.after(&leaf).map_err(|astray| paced(astray.into()))?;
            (pages.status, pages.content_type) = (body.status, body.content_type);
            sheet.read = looked_up.page;
            pages.sheets.push(sheet);
            if items > self.source.items_max {
                let too_many = Unreadable::TooMany(self.source.items_max);
                return Err(Trouble::from(too_many).paced(pages.pacing));
            }
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                let (source, seconds) = (self.source.name.as_str(), began.elapsed().as_secs());
                let (count, most) = (pages.sheets.len(), paginate.pages_max);
                tracing::info!(
                    source,
                    seconds,
                    "a long walk: page {count} of at most {most}"
                );
            }
        }
        Ok(Walked::Whole(pages))
    }

    /// An answer that is one page.
    async fn whole(&self, request: &Request, known: &Validators) -> Result<Walked, Trouble> {
        match self.ask(request, known).await? {
            Answer::NotModified { validators, pacing } => {
                Ok(Walked::NotModified { validators, pacing })
            }
            Answer::Body(body) => self.taken(*body),
        }
    }

    /// An answer that is one page, whoever asked for it.
    pub(super) fn taken(&self, body: Body) -> Result<Walked, Trouble> {
        if self.source.joint.serve.is_some() {
            let mut trace = self.trace.lock();
            trace.kept = trace.sent_at.map(|sent_at| Kept::of(&body, sent_at));
        }
        let (status, pacing) = (body.status, body.pacing);
        let format = format_of(self.source, self.learnt, &body);
        let format = format.map_err(|trouble| trouble.paced(pacing))?;
        Ok(Walked::Whole(Pages {
            sheets: vec![Sheet::of(&body, format)],
            format,
            status,
            content_type: body.content_type,
            validators: body.validators,
            pacing,
        }))
    }

    async fn ask(&self, request: &Request, validators: &Validators) -> Result<Answer, Failure> {
        let permit = self.upstream.permit(self.by).await?;
        {
            let mut trace = self.trace.lock();
            trace.sent_at.get_or_insert_with(Instant::now);
            trace.requests += 1;
        }
        let fetch = Fetch {
            request,
            validators,
        };
        let answer = self.upstream.fetch(fetch, permit).await?;
        self.trace.lock().ended_at = Some(Instant::now());
        if let Answer::Body(body) = &answer {
            (self.received)(body.bytes.len());
        }
        Ok(answer)
    }

    /// What of a page says where the walk goes on. Items are read where they are counted.
    async fn look_up(&self, paginate: &Paginate, sheet: &Sheet) -> Result<LookedUp, Trouble> {
        let source = Arc::clone(self.source);
        let at = match paginate.by.at() {
            Some(PageAt::Body(path)) => Some(path.clone()),
            Some(PageAt::Header(_)) | None => None,
        };
        let counts = matches!(paginate.by, PageBy::Page { .. } | PageBy::Offset { .. });
        let more = paginate.more.clone();
        if at.is_none() && more.is_none() && !counts {
            return Ok(LookedUp::default());
        }
        let (heavy, json) = (sheet.is_heavy(), sheet.maker());
        let looked_up = self.bench.run(heavy, move || {
            let bytes = json(&source)?;
            let pick = |path: Option<detect::Path>| {
                path.map_or(Ok(None), |path| detect::pick(&bytes, &path))
            };
            let page = || detect::page(&bytes, &source.rules, source.items_max);
            Ok::<_, Unreadable>(LookedUp {
                named: pick(at)?,
                more: pick(more)?,
                page: counts.then(page).transpose()?,
                json: Some(bytes),
            })
        });
        Ok(looked_up.await??)
    }

    fn too_large(&self) -> Trouble {
        let most = self.source.body_bytes_max.saturating_mul(WALK_BODIES);
        let message = format!("the pages together have more than {most} bytes");
        Trouble::passing("too_large", message)
    }
}

impl Pages {
    /// All of their bytes, as they came.
    pub(super) fn bytes(&self) -> usize {
        self.sheets.iter().map(|sheet| sheet.body.len()).sum()
    }

    /// Whether reading them takes longer than callers can wait.
    pub(super) fn is_heavy(&self) -> bool {
        self.bytes() > inline_bytes_max(self.format)
    }

    /// Whether one may be cut where nothing tells it: only the connection told its end, and its
    /// format may end at many a place.
    pub(super) fn may_be_cut(&self) -> bool {
        let tells_no_end = |format| {
            use Format::{Bytes, Csv, Ndjson, Text};
            matches!(format, Bytes | Csv | Ndjson | Text)
        };
        let mut sheets = self.sheets.iter();
        sheets.any(|sheet| sheet.is_open_ended && tells_no_end(sheet.format))
    }

    /// Identity of all of their bytes.
    pub(super) fn raw(&self) -> RawDigest {
        match self.sheets.as_slice() {
            [only] => only.raw,
            several => {
                let raws = several.iter().flat_map(|sheet| sheet.raw.as_bytes());
                RawDigest::of(&raws.copied().collect::<Vec<u8>>())
            }
        }
    }

    /// A page failed, and with it the walk.
    fn failed(&self, failure: &Failure) -> Trouble {
        let number = self.sheets.len() + 1;
        let trouble = Trouble::from(failure.clone());
        let pacing = trouble.pacing.and(self.pacing);
        let message = if number > 1 {
            format!("page {number}: {}", trouble.message)
        } else {
            trouble.message
        };
        Trouble {
            message,
            pacing,
            ..trouble
        }
    }
}

impl Sheet {
    fn of(body: &Body, format: Format) -> Self {
        Self {
            body: body.bytes.clone(),
            raw: body.raw,
            format,
            content_type: body.content_type.clone(),
            is_open_ended: body.is_open_ended,
            json: None,
            read: None,
        }
    }

    /// How much of it is in memory.
    fn weight(&self) -> usize {
        let json = self.json.as_ref().map_or(0, Bytes::len);
        self.body.len().max(json)
    }

    fn is_heavy(&self) -> bool {
        self.body.len() > inline_bytes_max(self.format)
    }

    /// What makes it JSON, wherever that is done. A body of JSON is not copied.
    fn maker(
        &self,
    ) -> impl FnOnce(&config::Source) -> Result<Bytes, Unreadable> + Send + use<> + 'static {
        let (json, body, format) = (self.json.clone(), self.body.clone(), self.format);
        let content_type = self.content_type.clone();
        let is_open_ended = self.is_open_ended;
        move |source| match (json, format) {
            (Some(json), _) => Ok(json),
            (None, Format::Json) => Ok(body),
            (None, format) => {
                let encoded = Encoded {
                    body: &body,
                    format,
                    content_type: content_type.as_deref(),
                    is_open_ended,
                };
                let bytes_max = source.body_bytes_max.saturating_mul(DECODED_BODIES);
                detect::decode(encoded, &source.rules, bytes_max).map(Bytes::from)
            }
        }
    }
}

/// Bodies of this format above so many bytes are worked on beside the runtime's threads.
fn inline_bytes_max(format: Format) -> usize {
    match format {
        Format::Json => INLINE_BYTES_MAX,
        _ => INLINE_ENCODED_BYTES_MAX,
    }
}

/// A body as JSON, by itself.
pub(super) fn as_json(source: &config::Source, body: &Body) -> Result<Bytes, Trouble> {
    let sheet = Sheet::of(body, format_of(source, None, body)?);
    Ok(sheet.maker()(source)?)
}

/// What `body` is, where those before it were `learnt`.
fn format_of(
    source: &config::Source,
    learnt: Option<Format>,
    body: &Body,
) -> Result<Format, Trouble> {
    let content_type = body.content_type.as_deref();
    let format = Format::of(source.format, learnt, content_type);
    format.map_err(|mistyped| Trouble::content_type(mistyped, content_type.unwrap_or_default()))
}

/// Reads the pages of one walk.
pub(super) fn read(sheets: Vec<Sheet>, source: &config::Source) -> Result<Leaves, Unreadable> {
    let mut items = 0;
    let bytes_max = source.body_bytes_max.saturating_mul(WALK_BODIES);
    let mut bytes_left = bytes_max;
    let mut pages = Vec::with_capacity(sheets.len());
    let mut bodies = Vec::with_capacity(sheets.len());
    for sheet in sheets {
        let json = sheet.maker()(source)?;
        let left = bytes_left.checked_sub(json.len());
        bytes_left = left.ok_or(Unreadable::TooLarge(bytes_max))?;
        let page = match sheet.read {
            Some(page) => page,
            None => detect::page(&json, &source.rules, source.items_max)?,
        };
        bodies.push(json);
        items += page.len();
        if items > source.items_max {
            return Err(Unreadable::TooMany(source.items_max));
        }
        pages.push(page);
    }
    Ok(Leaves { pages, bodies })
}

/// What was asked for once more because it may be cut came otherwise.
pub(super) fn cut() -> Trouble {
    let message = "nothing but the connection told its end, and it ended elsewhere when it was \
                   asked for once more";
    Trouble::passing("body", message.to_owned())
}

/// Whether the `Link` header leads to another page.
pub(super) fn has_next_link(headers: &HeaderMap) -> bool {
    matches!(link::next(headers), Ok(Some(_)))
}

/// 304 to a request that nothing made conditional; the upstream takes no such answer for one.
fn unasked() -> Failure {
    Failure::new(
        crate::upstream::Reason::Status,
        "304 to an unconditional request".to_owned(),
    )
}

impl From<Astray> for Trouble {
    fn from(astray: Astray) -> Self {
        let reason = match astray {
            Astray::TooMany(_) => REASON_PAGES_MAX,
            _ => REASON_PAGINATION,
        };
        Self::passing(reason, astray.to_string())
    }
}
