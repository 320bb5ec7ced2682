//! A poll that leaves nothing behind: what `doorbell poll SOURCE` shows.
//!
//! Decides nothing of its own: it asks, reads, judges and concludes by the functions that a poll
//! does it by, and commits nothing.

mod compare;
mod sample;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use self::compare::{Glance, against_snapshot};
pub use self::sample::Sample;
use super::Outcome;
use super::conclude::{self, Terms, Trouble, plan_of};
use super::plan::Changes;
use super::walk::Walked;
use crate::client::Validators;
use crate::config;
use crate::detect::{Entry, Format, Subject, Walk};
use crate::event::{Kind, OPERATIONAL_SOURCE, Partition};
use crate::store::Peek;
use crate::time::Timestamp;
use crate::upstream::{Request, Upstream};

/// Who looks, and at what.
#[derive(Debug, Clone, Copy)]
pub struct Looker<'a> {
    /// The source.
    pub source: &'a Arc<config::Source>,
    /// Its upstream.
    pub upstream: &'a Upstream,
    /// Which part of it.
    pub partition: &'a Partition,
    /// The present.
    pub now: Timestamp,
}

/// What a poll would come to.
#[derive(Debug)]
pub struct Look {
    /// The first request's method.
    pub method: String,
    /// The first request's URL, without credentials; the bare path where it makes none.
    pub url: String,
    /// What the request was made conditional with.
    pub sent: Validators,
    /// How long all pages took.
    pub took: Duration,
    /// What came; `None` for 304, and for what is not believed.
    pub brought: Option<Brought>,
    /// What it was compared with.
    pub against: Against,
    /// How a poll ends that finds this.
    pub outcome: Outcome,
    /// Why, for errors and held polls.
    pub reason: Option<&'static str>,
    /// Why there is nothing to show.
    pub failure: Option<LookError>,
    /// What would ring, in the order of the events.
    pub events: Vec<Would>,
    /// What differs, but would have to be seen again before it rings.
    pub waiting: Waiting,
    /// Types of the operational events that would ring.
    pub announced: Vec<String>,
    /// When a doorbell would poll next; `None`: never by itself.
    pub next: Option<Timestamp>,
    /// How long the upstream asks to be left alone.
    pub wait: Option<Duration>,
    request: Option<Request>,
}

/// The pages of an answer, read.
#[derive(Debug)]
pub struct Brought {
    /// 200 or 203.
    pub status: u16,
    /// `Content-Type` of the last page, as it came.
    pub content_type: Option<String>,
    /// What the next request could be made conditional with.
    pub validators: Validators,
    /// What the pages' bodies are.
    pub format: Format,
    /// Bytes of all pages, as they came.
    pub bytes: usize,
    /// The pages' bodies as JSON, into which the walk points.
    pub bodies: Vec<Bytes>,
    /// The items: what a baseline would hold.
    pub walk: Walk,
}

/// What a walk is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// Nothing: it would be the baseline.
    Nothing,
    /// The snapshot, with so many items.
    Snapshot(usize),
    /// The snapshot, made under other rules and digested anew.
    OtherRules(usize),
    /// A snapshot that cannot be compared: a new baseline would replace it.
    Replaced(usize),
}

/// An event that would ring.
#[derive(Debug, Clone, PartialEq)]
pub struct Would {
    /// What happened.
    pub kind: Kind,
    /// To which item.
    pub subject: Subject,
    /// What its payload would tell: `current`, `previous`, `patch`, digests.
    pub data: Value,
}

/// Differences that are not believed yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Items that are new.
    pub created: usize,
    /// Items that differ.
    pub updated: usize,
    /// Items that went.
    pub deleted: usize,
}

/// Why there is nothing to show.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LookError {
    /// What is wrong; holds neither body nor secret.
    pub message: String,
    /// The answer's status, where that is it.
    pub status: Option<u16>,
}

/// What a second look saw.
#[derive(Debug)]
pub enum Again {
    /// 304: what the answer says of itself is to be relied on.
    NotModified,
    /// The whole answer.
    Brought(Brought),
    /// Nothing.
    Failed(LookError),
}

impl Looker<'_> {
    /// Asks as a poll does, given what is known, and says what it would come to.
    pub async fn look(&self, known: Option<&Peek>) -> Look {
        let nothing = Peek::default();
        let known = known.unwrap_or(&nothing);
        let values = self.partition.values();
        let question = self.question(known, &values);
        let progress = question.progress();
        let (request, glance) = match question.request(progress.as_ref()) {
            Err(trouble) => (None, Glance::failed(trouble)),
            Ok(request) => {
                let glance = self.glance(&question, &request, progress, known).await;
                (Some(request), glance)
            }
        };
        let method = self.source.request.method.to_string();
        let path = self.source.request.path.as_str().to_owned();
        let (waiting, against) = match &glance.seen {
            Ok(seen) => (seen.waiting, seen.against),
            Err(_) => (Waiting::default(), against_snapshot(known)),
        };
        let plan = plan_of(self.source, self.partition);
        let terms = Terms {
            source: self.source,
            plan: &plan,
            before: &known.memory,
            began: self.now,
            now: self.now,
            by_hand: false,
            random: 0.5,
        };
        let (conclusion, brought, failure, pacing) = match glance.seen {
            Ok(seen) => {
                let pacing = seen.found.pacing;
                (
                    conclude::success(terms, seen.found),
                    seen.brought,
                    None,
                    pacing,
                )
            }
            Err(trouble) => {
                let conclusion = conclude::failure(terms, &trouble);
                let pacing = trouble.pacing;
                (conclusion, None, Some(LookError::from(trouble)), pacing)
            }
        };
        let announced = conclusion.announcements.iter();
        Look {
            method,
            url: request
                .as_ref()
                .map_or(path, |request| request.url.to_string()),
            sent: glance.sent,
            took: glance.took,
            brought,
            against,
            outcome: conclusion.outcome,
            reason: conclusion.reason,
            failure,
            events: would(conclusion.changes),
            waiting,
            announced: announced
                .map(|announcement| announcement.kind.event_type(OPERATIONAL_SOURCE))
                .collect(),
            next: conclusion.next,
            wait: pacing.not_before,
            request,
        }
    }

    /// Asks once more for what `first` brought, as the next poll would; `None` where it brought
    /// nothing.
    pub async fn again(&self, first: &Look) -> Option<Again> {
        let (request, brought) = first.request.as_ref().zip(first.brought.as_ref())?;
        let validators = if request.method == Method::GET {
            brought.validators.clone()
        } else {
            Validators::default()
        };
        let format = Some(brought.format);
        let again = match self.walk(request, &validators, format).await {
            Ok(Walked::NotModified { .. }) => return Some(Again::NotModified),
            Ok(Walked::Whole(pages)) => self.read(pages, None).map(|(brought, _)| brought),
            Err(trouble) => Err(trouble),
        };
        Some(match again {
            Ok(brought) => Again::Brought(brought),
            Err(trouble) => Again::Failed(trouble.into()),
        })
    }
}

/// The events of what would be committed.
fn would(changes: Option<Changes>) -> Vec<Would> {
    let items = changes.into_iter().flat_map(|changes| changes.items);
    let events = items.filter_map(|item| Some((item.subject, item.event?)));
    let events = events.map(|(subject, draft)| Would {
        kind: draft.kind,
        subject,
        data: serde_json::from_str(&format!("{{{}}}", draft.content)).unwrap_or_default(),
    });
    events.collect()
}

impl Brought {
    /// An item as it was received.
    #[must_use]
    pub fn received(&self, entry: &Entry) -> &str {
        let body = self.bodies.get(entry.page as usize);
        let bytes = body.and_then(|body| body.get(entry.range.clone()));
        // A walk was read from these bytes, so they are JSON, so they are UTF-8.
        std::str::from_utf8(bytes.unwrap_or_default()).unwrap_or("null")
    }
}

impl Waiting {
    /// How many they are.
    #[must_use]
    pub fn count(self) -> usize {
        self.created + self.updated + self.deleted
    }
}

impl From<Trouble> for LookError {
    fn from(trouble: Trouble) -> Self {
        Self {
            message: trouble.message,
            status: trouble.status,
        }
    }
}
