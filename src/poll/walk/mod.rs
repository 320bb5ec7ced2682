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
use super::bench::{Bench, INLINE_BYTES_MAX};
use super::conclude::Trouble;
use super::{REASON_PAGES_MAX, REASON_PAGINATION};
use crate::client::Validators;
use crate::config::{self, Format, PageAt, PageBy, Paginate};
use crate::detect::{self, Page, Unreadable};
use crate::digest::RawDigest;
use crate::upstream::{Answer, Body, By, Failure, Fetch, Kept, Pacing, Request, Upstream};

/// All pages of a walk together may be so many times as large as one may be: pages are cut small,
/// and all of them are in memory at once.
const WALK_BODIES: usize = 16;

/// How often a long walk tells how far it is.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Who asks, and for what.
#[derive(Clone, Copy)]
pub(super) struct Walker<'a> {
    pub(super) source: &'a Arc<config::Source>,
    pub(super) upstream: &'a Upstream,
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
    /// Status of the last page.
    pub(super) status: u16,
    /// `Content-Type` of the last page, as it came.
    pub(super) content_type: Option<String>,
    /// For the next request; none where one page says nothing of the others.
    pub(super) validators: Validators,
    /// What the pages say about the next request.
    pub(super) pacing: Pacing,
}

/// A page's body, and its items if they were read on the way.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) bytes: Bytes,
    pub(super) raw: RawDigest,
    pub(super) read: Option<Page>,
}

/// What is looked up in a page.
#[derive(Debug, Default)]
struct LookedUp {
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
        let Some(paginate) = &self.source.paginate else {
            return self.whole(first, validators).await;
        };
        let (mut paging, first) = Paging::begin(paginate, first.clone())?;
        let mut pages = Pages::default();
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
            let bytes = body.bytes;
            pages.pacing = pages.pacing.max(body.pacing);
            let paced = |trouble: Trouble| trouble.paced(pages.pacing);
            self.check_type(body.content_type.as_deref())
                .map_err(paced)?;
            bytes_left = bytes_left
                .checked_sub(bytes.len())
                .ok_or_else(|| paced(self.too_large()))?;
            let looked_up = self.look_up(paginate, &bytes).await.map_err(paced)?;
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
            pages.sheets.push(Sheet {
                bytes,
                raw: body.raw,
                read: looked_up.page,
            });
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
        let Body {
            status,
            bytes,
            raw,
            pacing,
            ..
        } = body;
        self.check_type(body.content_type.as_deref())
            .map_err(|trouble| trouble.paced(pacing))?;
        Ok(Walked::Whole(Pages {
            sheets: vec![Sheet {
                bytes,
                raw,
                read: None,
            }],
            status,
            content_type: body.content_type,
            validators: body.validators,
            pacing,
        }))
    }

    async fn ask(&self, request: &Request, validators: &Validators) -> Result<Answer, Failure> {
        let permit = self.upstream.permit(self.by).await?;
        self.trace.lock().sent_at.get_or_insert_with(Instant::now);
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

    fn check_type(&self, content_type: Option<&str>) -> Result<(), Trouble> {
        if is_readable(self.source.format, content_type) {
            return Ok(());
        }
        Err(Trouble::content_type(content_type.unwrap_or_default()))
    }

    /// What of a page says where the walk goes on. Items are read where they are counted.
    async fn look_up(&self, paginate: &Paginate, bytes: &Bytes) -> Result<LookedUp, Trouble> {
        let (bytes, source) = (bytes.clone(), Arc::clone(self.source));
        let at = match paginate.by.at() {
            Some(PageAt::Body(path)) => Some(path.clone()),
            Some(PageAt::Header(_)) | None => None,
        };
        let counts = matches!(paginate.by, PageBy::Page { .. } | PageBy::Offset { .. });
        let more = paginate.more.clone();
        let heavy = bytes.len() > INLINE_BYTES_MAX;
        let looked_up = self.bench.run(heavy, move || {
            let pick = |path: Option<detect::Path>| {
                path.map_or(Ok(None), |path| detect::pick(&bytes, &path))
            };
            let page = || detect::page(&bytes, &source.rules, source.items_max);
            Ok::<_, Unreadable>(LookedUp {
                named: pick(at)?,
                more: pick(more)?,
                page: counts.then(page).transpose()?,
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
    /// All of their bytes.
    pub(super) fn bytes(&self) -> usize {
        self.sheets.iter().map(|sheet| sheet.bytes.len()).sum()
    }

    /// The bodies, in the walk's order.
    pub(super) fn bodies(&self) -> Vec<Bytes> {
        self.sheets
            .iter()
            .map(|sheet| sheet.bytes.clone())
            .collect()
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
        let pacing = trouble.pacing.max(self.pacing);
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

/// Reads the pages of one walk.
pub(super) fn read(sheets: Vec<Sheet>, source: &config::Source) -> Result<Vec<Page>, Unreadable> {
    let mut items = 0;
    let mut pages = Vec::with_capacity(sheets.len());
    for sheet in sheets {
        let page = match sheet.read {
            Some(page) => page,
            None => detect::page(&sheet.bytes, &source.rules, source.items_max)?,
        };
        items += page.len();
        if items > source.items_max {
            return Err(Unreadable::TooMany(source.items_max));
        }
        pages.push(page);
    }
    Ok(pages)
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

/// Whether a body of this type may be read as JSON. Servers that know no better say that it is
/// text, or say nothing.
pub(super) fn is_readable(format: Format, content_type: Option<&str>) -> bool {
    const LIKELY: [&str; 7] = [
        "",
        "application/json",
        "text/json",
        "text/plain",
        "application/octet-stream",
        "application/javascript",
        "text/javascript",
    ];
    if format == Format::Json {
        return true;
    }
    let essence = content_type.unwrap_or_default().split(';').next();
    let essence = essence.unwrap_or_default().trim().to_ascii_lowercase();
    LIKELY.contains(&essence.as_str()) || essence.ends_with("+json")
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
