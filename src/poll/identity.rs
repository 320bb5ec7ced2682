//! What a snapshot was made under: which request, which rules. Pure.

use http::{HeaderMap, Method};

use crate::config::{self, PageAt, PageBy, Parameter};
use crate::detect::Format;
use crate::digest::{Context, Digest};
use crate::upstream::Request;

/// Names the form that is digested below.
const REQUEST_FORM: &str = "doorbell 2026-11 poll request form 1";
const ASKED_FORM: &str = "doorbell 2026-11 poll asked form 1";

/// What a source's request, rules and policy are, digested once for many polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    /// [`identity`].
    pub(super) rules: Digest,
    /// [`policy`].
    pub(super) policy: Digest,
}

impl Identity {
    pub(super) fn of(upstream: &config::Upstream, source: &config::Source) -> Self {
        Self {
            rules: identity(upstream, source),
            policy: policy(source),
        }
    }

    /// The same of bodies that have this format: what it makes of them is a part of what is asked
    /// for, so that another one begins a new baseline. Bodies of JSON, which were the first, leave
    /// it as it is.
    pub(super) fn of_format(self, format: Format) -> Self {
        let mut bytes = *self.rules.as_bytes();
        bytes[0] ^= format as u8;
        Self {
            rules: Digest::from_bytes(bytes),
            ..self
        }
    }

    /// The format of the bodies of which `rules` is the identity, if it is of the same request.
    pub(super) fn format_of(self, rules: Digest) -> Option<Format> {
        let of = |format: &Format| same_request(self.of_format(*format).rules, rules);
        Format::ALL.into_iter().find(of)
    }
}

/// The identity of a source's request, in the first eight bytes, and of its rules, in the last:
/// one digest in the store, of which each half can be compared. 64 bits each tell configurations
/// of one source apart, which nobody forges.
pub(super) fn identity(upstream: &config::Upstream, source: &config::Source) -> Digest {
    let request = Context::new(REQUEST_FORM).digest(&request_form(upstream, source));
    joined(request, source.rules.digest())
}

/// Whether two identities are of the same request.
pub(super) fn same_request(one: Digest, other: Digest) -> bool {
    one.as_bytes()[..8] == other.as_bytes()[..8]
}

/// Identity of what else decides what becomes of a body: while it is another than the last body
/// met, "the same bytes" says nothing.
pub(super) fn policy(source: &config::Source) -> Digest {
    let deletes: &[u8] = match source.deletes {
        config::Deletes::Never => b"never",
        config::Deletes::Full => b"full",
        config::Deletes::Tombstone => b"tombstone",
    };
    let forgets: &[u8] = if source.forget.is_some() {
        b"/forgets"
    } else {
        b""
    };
    Context::new("doorbell 2026-11 poll policy 1").digest(&[deletes, forgets].concat())
}

fn joined(request: Digest, rules: Digest) -> Digest {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&request.as_bytes()[..8]);
    bytes[8..].copy_from_slice(&rules.as_bytes()[..8]);
    Digest::from_bytes(bytes)
}

/// The identity of what is asked now, where that differs from poll to poll: validators belong to
/// one request alone (RFC 9110 section 8.8).
pub(super) fn asked(source: &config::Source, request: &Request) -> Option<Digest> {
    if source.cursor.is_none() && !source.request.is_of_the_moment() {
        return None;
    }
    let mut form = Form::default();
    form.add(request.method.as_str().as_bytes());
    form.add(request.url.as_str().as_bytes());
    form.add_headers(&request.headers);
    form.add(&request.body);
    Some(Context::new(ASKED_FORM).digest(&form.0))
}

/// Credentials are left out: a rotated token asks for the same things.
fn request_form(upstream: &config::Upstream, source: &config::Source) -> Vec<u8> {
    let request = &source.request;
    let mut form = Form::default();
    form.add(upstream.url.as_str().as_bytes());
    form.add(request.path.as_str().as_bytes());
    for (name, value) in &request.query {
        form.add(name.as_bytes());
        form.add(value.as_str().as_bytes());
    }
    form.add_headers(&upstream.headers);
    form.add_headers(&request.headers);
    // What came later is added where it is used, so that all else is what it was.
    for (name, value) in &request.templated_headers {
        form.add(name.as_str().as_bytes());
        form.add(value.as_str().as_bytes());
    }
    if let Some(body) = &request.body {
        form.add(request.method.as_str().as_bytes());
        form.add(body.template().as_str().as_bytes());
    } else if request.method != Method::GET {
        form.add(request.method.as_str().as_bytes());
    }
    if let Some(cursor) = &source.cursor {
        // How far back it asks is no other question.
        form.add(cursor.from.as_str().as_bytes());
        form.add_parameter(cursor.parameter.as_ref());
    }
    if let Some(paginate) = &source.paginate {
        // Where an answer goes on is a part of what is asked; how far it may go is not.
        form.add_paging(&paginate.by);
    }
    form.0
}

/// Parts of a form, each with its length before it.
#[derive(Default)]
struct Form(Vec<u8>);

impl Form {
    fn add(&mut self, part: &[u8]) {
        self.0.extend_from_slice(&(part.len() as u64).to_le_bytes());
        self.0.extend_from_slice(part);
    }

    fn add_paging(&mut self, by: &PageBy) {
        self.add(by.label().as_bytes());
        match by.at() {
            Some(PageAt::Body(path)) => self.add(path.as_str().as_bytes()),
            Some(PageAt::Header(name)) => self.add(name.as_str().as_bytes()),
            None => {}
        }
        self.add_parameter(by.parameter());
        if let PageBy::Page { start, .. } = by {
            self.add(&start.to_le_bytes());
        }
    }

    fn add_parameter(&mut self, parameter: Option<&Parameter>) {
        if let Some(parameter) = parameter {
            let is_in_body = matches!(parameter, Parameter::Body(_));
            self.add(&[u8::from(is_in_body)]);
            self.add(parameter.to_string().as_bytes());
        }
    }

    fn add_headers(&mut self, headers: &HeaderMap) {
        let mut pairs: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        pairs.sort_unstable();
        self.add(&(pairs.len() as u64).to_le_bytes());
        for (name, value) in pairs {
            self.add(name.as_bytes());
            self.add(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::config::{Auth, Paginate, RequestBody, Template};
    use crate::poll::tests::{source, upstream};
    use crate::secret::Secret;

    #[test]
    fn halves_tell_requests_and_rules_apart() {
        let of = |n| Digest::from_bytes([n; 16]);
        assert!(same_request(joined(of(1), of(2)), joined(of(1), of(3))));
        assert!(!same_request(joined(of(1), of(2)), joined(of(4), of(2))));
        assert_ne!(joined(of(1), of(2)), joined(of(1), of(3)));
    }

    #[test]
    fn a_format_is_part_of_what_is_asked_and_can_be_told_from_it() {
        let json = Identity::of(&upstream(), &source());
        assert_eq!(json.of_format(Format::Json), json);
        for format in Format::ALL {
            let identity = json.of_format(format);
            assert_eq!(json.format_of(identity.rules), Some(format));
            let is_same = same_request(json.rules, identity.rules);
            assert_eq!(is_same, format == Format::Json, "{format:?}");
        }
        let other = Digest::from_bytes([7; 16]);
        assert_eq!(json.format_of(other), None);
    }

    #[test]
    fn a_rotated_credential_asks_for_the_same_and_all_else_does_not() {
        let form = request_form(&upstream(), &source());
        let mut rotated = upstream();
        rotated.auth = Some(Auth::Bearer(Secret::new("new".to_owned())));
        assert_eq!(request_form(&rotated, &source()), form);
        let mut path = source();
        path.request.path = Template::literal("/issuess");
        let mut query = source();
        query.request.query = vec![("a".to_owned(), Template::literal("b"))];
        let mut headers = source();
        let language = HeaderValue::from_static("de");
        headers.request.headers.insert("accept-language", language);
        let mut method = source();
        method.request.method = Method::POST;
        let mut body = source();
        body.request.body = Some(RequestBody::Text(Template::literal("b")));
        let mut pages = source();
        pages.paginate = Some(Paginate {
            by: PageBy::Link,
            more: None,
            pages_max: 100,
        });
        for other in [path, query, headers, method, body, pages] {
            assert_ne!(request_form(&upstream(), &other), form);
        }
    }
}
