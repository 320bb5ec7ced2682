//! What a snapshot was made under: which request, which rules. Pure.

use crate::config;
use crate::digest::{Context, Digest};

/// Names the form that is digested below.
const REQUEST_FORM: &str = "doorbell 2026-11 poll request form 1";

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

/// Credentials are left out: a rotated token asks for the same things.
fn request_form(upstream: &config::Upstream, source: &config::Source) -> Vec<u8> {
    let mut form = Vec::new();
    let mut add = |part: &[u8]| {
        form.extend_from_slice(&(part.len() as u64).to_le_bytes());
        form.extend_from_slice(part);
    };
    add(upstream.url.as_str().as_bytes());
    add(source.path.as_bytes());
    for (name, value) in &source.query {
        add(name.as_bytes());
        add(value.as_bytes());
    }
    for headers in [&upstream.headers, &source.headers] {
        let mut pairs: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        pairs.sort_unstable();
        add(&(pairs.len() as u64).to_le_bytes());
        for (name, value) in pairs {
            add(name.as_bytes());
            add(value);
        }
    }
    form
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::config::Auth;
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
    fn a_rotated_credential_asks_for_the_same_and_all_else_does_not() {
        let form = request_form(&upstream(), &source());
        let mut rotated = upstream();
        rotated.auth = Some(Auth::Bearer(Secret::new("new".to_owned())));
        assert_eq!(request_form(&rotated, &source()), form);
        let mut path = source();
        path.path.push('s');
        let mut query = source();
        query.query = vec![("a".to_owned(), "b".to_owned())];
        let mut headers = source();
        let language = HeaderValue::from_static("de");
        headers.headers.insert("accept-language", language);
        for other in [path, query, headers] {
            assert_ne!(request_form(&upstream(), &other), form);
        }
    }
}
