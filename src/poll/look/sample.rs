//! One answer as it came, whatever the rules say: what rules are learnt from.

use std::time::Duration;

use http::HeaderMap;
use serde_json::Value;

use super::{LookError, Looker};
use crate::client::Validators;
use crate::detect::learn::Guide;
use crate::poll::conclude::Trouble;
use crate::poll::walk;
use crate::store::Peek;
use crate::upstream::{Answer, By, Failure, Fetch};

/// Headers that hold the next page's URL or number, as APIs have them.
const NEXT_HEADERS: [&str; 4] = ["next-page", "x-next-page", "x-next", "next"];

/// The first page of an answer, unread.
#[derive(Debug)]
pub struct Sample {
    /// The request's method.
    pub method: String,
    /// Its URL, without credentials.
    pub url: String,
    /// Names of its query parameters.
    pub query: Vec<String>,
    /// Whether it sends a JSON body.
    pub sends_json: bool,
    /// The body, as JSON.
    pub body: Value,
    /// Its length.
    pub bytes: usize,
    /// What the head says of the next page.
    pub guide: Guide,
    /// How long the upstream asks to be left alone.
    pub wait: Option<Duration>,
}

impl Looker<'_> {
    /// Asks for the first page, unconditionally, and as a source that was never polled does.
    ///
    /// # Errors
    /// [`LookError`], also for what is not of the source's format.
    pub async fn sample(&self) -> Result<Sample, LookError> {
        let (nothing, values) = (Peek::default(), self.partition.values());
        let question = self.question(&nothing, &values);
        let request = question.request(question.progress().as_ref())?;
        let permit = self.upstream.permit(By::Hand).await;
        let permit = permit.map_err(|denied| Trouble::from(Failure::from(denied)))?;
        let fetch = Fetch {
            request: &request,
            validators: &Validators::default(),
        };
        let answer = self.upstream.fetch(fetch, permit).await;
        let Answer::Body(answer) = answer.map_err(Trouble::from)? else {
            return Err(Trouble::internal("304 to an unconditional request").into());
        };
        let json = walk::as_json(self.source, &answer)?;
        let text = json.strip_prefix(b"\xef\xbb\xbf");
        let body = serde_json::from_slice(text.unwrap_or(&json));
        let body = body.map_err(|error| Trouble::passing("parse", format!("not JSON: {error}")))?;
        let pairs = request.url.query_pairs();
        Ok(Sample {
            method: request.method.to_string(),
            url: request.url.to_string(),
            query: pairs.map(|(name, _)| name.into_owned()).collect(),
            sends_json: matches!(
                self.source.request.body,
                Some(crate::config::RequestBody::Json(_))
            ),
            body,
            bytes: answer.bytes.len(),
            guide: guide(&answer.headers),
            wait: answer.pacing.not_before,
        })
    }
}

fn guide(headers: &HeaderMap) -> Guide {
    let mut guide = Guide {
        has_link: walk::has_next_link(headers),
        ..Guide::default()
    };
    for name in NEXT_HEADERS {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        let value = value.unwrap_or_default().trim();
        if value.starts_with("http") || value.starts_with('/') {
            guide.url_header.get_or_insert_with(|| name.to_owned());
        } else if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
            guide.number_header.get_or_insert_with(|| name.to_owned());
        }
    }
    guide
}
