//! A poll that leaves nothing behind: what `doorbell poll SOURCE` shows.

use bytes::Bytes;

use super::attempt::is_readable;
use crate::client::Validators;
use crate::config;
use crate::detect::{self, Unreadable, Walk};
use crate::upstream::{Answer, By, Failure, Fetch, Upstream};

/// What a source's request brings now, and what is read in it.
#[derive(Debug)]
pub struct Look {
    /// The request's URL, without credentials.
    pub url: String,
    /// `Content-Type`, as it came.
    pub content_type: Option<String>,
    /// What the next request could be made conditional with.
    pub validators: Validators,
    /// The body, into which the walk points.
    pub body: Bytes,
    /// The items: what a baseline would hold.
    pub walk: Walk,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// No believable answer.
    #[error("{0}")]
    Fetch(#[from] Failure),
    /// A type that is clearly not JSON.
    #[error("the answer is {0:?}, not JSON; `format = \"json\"` reads it all the same")]
    ContentType(String),
    /// An answer that is no walk.
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
}

/// Asks once, unconditionally, as a poll does; needs no store and changes nothing.
///
/// # Errors
/// [`LookError`].
pub async fn look(source: &config::Source, upstream: &Upstream) -> Result<Look, LookError> {
    let none = Validators::default();
    let url = upstream.url(source)?.to_string();
    let permit = upstream.permit(By::Poll).await;
    let fetch = Fetch {
        source,
        validators: &none,
    };
    match upstream.fetch(fetch, permit).await? {
        Answer::NotModified { .. } => {
            let message = "304 to an unconditional request".to_owned();
            Err(Unreadable::Json(message).into())
        }
        Answer::Body {
            bytes,
            content_type,
            validators,
            ..
        } => {
            if !is_readable(source.format, content_type.as_deref()) {
                return Err(LookError::ContentType(content_type.unwrap_or_default()));
            }
            let walk = detect::read(&bytes, &source.rules, source.items_max)?;
            Ok(Look {
                url,
                content_type,
                validators,
                body: bytes,
                walk,
            })
        }
    }
}
