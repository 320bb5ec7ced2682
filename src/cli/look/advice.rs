//! What a person does about a poll that failed.

use crate::config;
use crate::poll::Look;

/// What to do, if there is anything.
pub(super) fn advice(
    source: &config::Source,
    upstream: Option<&config::Upstream>,
    look: &Look,
) -> Option<String> {
    let status = look.failure.as_ref().and_then(|failure| failure.status);
    let name = &source.upstream;
    let at_url = format!("is `url` of [upstreams.{name}] right, and does it answer from here?");
    let suggest = format!(
        "`doorbell poll {} --suggest` says what is there",
        source.name
    );
    let text = match look.reason? {
        "dns" => format!("the host has no address: {at_url}"),
        "connect" => format!("nobody answers: {at_url}"),
        "tls" => format!("the certificate is not believed: {at_url}"),
        "timeout" => format!("raise `timeout` of [upstreams.{name}], or ask for less"),
        "refused" => refused(name.as_str(), upstream, status),
        "rate_limited" => "too many requests: wait, and poll less often".to_owned(),
        "status" if status.is_some_and(|status| status >= 500) => {
            "the upstream is in trouble; a running doorbell tries again by itself".to_owned()
        }
        "status" if status == Some(304) => {
            "the upstream answers 304 to who has nothing: a cache before it may be at fault"
                .to_owned()
        }
        "status" => "the upstream does not take this request: see `method`, `path`, `query`, \
                     `headers` and `body`"
            .to_owned(),
        "redirect" => format!("write where it leads as `url` of [upstreams.{name}]"),
        "too_large" => "raise `body_bytes_max`, or ask for less".to_owned(),
        "body" => "the answer broke off; try again".to_owned(),
        "content_type" => "is this the API, or its login page?".to_owned(),
        "parse" => "the answer is cut off or of another format: see `format`".to_owned(),
        "charset" => "the answer is badly encoded, or says the wrong charset".to_owned(),
        "shape" => format!("`items` leads nowhere: {suggest}"),
        "id" => format!("`id` does not fit the items: {suggest}"),
        "items_max" => "raise `items_max`, or ask for less".to_owned(),
        "pages_max" => "raise `pages_max` of `paginate`, or ask for larger pages".to_owned(),
        "pagination" => format!("`paginate` does not fit the answers: {suggest}"),
        _ => return None,
    };
    Some(text)
}

fn refused(name: &str, upstream: Option<&config::Upstream>, status: Option<u16>) -> String {
    let has_auth = upstream.is_some_and(|upstream| upstream.auth.is_some());
    match status {
        Some(401 | 403) if has_auth => {
            format!(
                "the credential of [upstreams.{name}] is not accepted: is it right, and may it?"
            )
        }
        Some(401 | 403) => format!(
            "the upstream wants to know who asks: add \
             `auth = {{ bearer = {{ env = \"TOKEN\" }} }}` to [upstreams.{name}]"
        ),
        _ => format!(
            "there is no such thing: is `path`, which follows the `url` of [upstreams.{name}], \
             right?"
        ),
    }
}
