//! A poll that leaves nothing behind: what `doorbell poll SOURCE` shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::bench::Bench;
use super::conclude::Trouble;
use super::request;
use super::walk::{self, Walked, Walker};
use crate::client::Validators;
use crate::config::{self, Values};
use crate::detect::{self, Entry, Walk};
use crate::time::Timestamp;
use crate::upstream::Upstream;

/// What a source's request brings now, and what is read in it.
#[derive(Debug)]
pub struct Look {
    /// The first request's method.
    pub method: String,
    /// The first request's URL, without credentials.
    pub url: String,
    /// `Content-Type`, as it came.
    pub content_type: Option<String>,
    /// What the next request could be made conditional with.
    pub validators: Validators,
    /// The pages' bodies, into which the walk points.
    pub bodies: Vec<Bytes>,
    /// The items: what a baseline would hold.
    pub walk: Walk,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LookError(String);

impl Look {
    /// An item as it was received.
    #[must_use]
    pub fn received(&self, entry: &Entry) -> &str {
        let body = self.bodies.get(entry.page as usize);
        let bytes = body.and_then(|body| body.get(entry.range.clone()));
        // A walk was read from these bytes, so they are JSON, so they are UTF-8.
        std::str::from_utf8(bytes.unwrap_or_default()).unwrap_or("null")
    }

    /// Bytes of all pages.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bodies.iter().map(Bytes::len).sum()
    }
}

/// Asks once, unconditionally, as a poll at `now` does; needs no store and changes nothing.
///
/// # Errors
/// [`LookError`].
pub async fn look(
    source: &Arc<config::Source>,
    upstream: &Upstream,
    now: Timestamp,
) -> Result<Look, LookError> {
    let told = |trouble: Trouble| LookError(trouble.message);
    let mut values = Values {
        cursor: None,
        now,
        last_success: None,
        partition: &BTreeMap::new(),
    };
    let cursor = source.cursor.as_ref();
    let progress = cursor.and_then(|cursor| request::initial(cursor, &values));
    values.cursor = progress.as_ref().map(|progress| &*progress.text);
    let request = request::render(upstream, source, &values);
    let request = request.map_err(|failure| told(failure.into()))?;
    let (method, url) = (request.method.to_string(), request.url.to_string());
    let walker = Walker {
        source,
        upstream,
        bench: &Bench::with_room_for(1),
        received: &|_| (),
    };
    let found = walker.walk(&request, &Validators::default()).await;
    let Walked::Whole(pages) = found.map_err(told)? else {
        return Err(told(Trouble::internal("304 to an unconditional request")));
    };
    let bodies = pages.bodies();
    let (content_type, validators) = (pages.content_type, pages.validators);
    let walk = walk::read(pages.sheets, source).and_then(detect::join);
    Ok(Look {
        method,
        url,
        content_type,
        validators,
        bodies,
        walk: walk.map_err(|unreadable| told(unreadable.into()))?,
    })
}
