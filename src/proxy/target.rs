//! The request target: its parts, its dot segments, and what it becomes for the upstream.
//!
//! Works on bytes and text, never on a normalised path: what the caller wrote is what the upstream
//! gets, or nothing. Pure.

/// A target in its parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    /// Of an absolute form.
    pub(super) authority: Option<&'a [u8]>,
    /// Begins with `/`.
    pub(super) path: &'a [u8],
    /// What follows the first `?`.
    pub(super) query: Option<&'a [u8]>,
}

/// How a route's path becomes the upstream's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rewrite<'a> {
    /// The path of the upstream's base URL, without a trailing slash.
    pub(super) base: &'a str,
    /// What is cut off the front, leaving one slash; `""`: nothing.
    pub(super) strip: &'a str,
}

/// Takes a target apart; `None` unless it is a path or an `http(s)` URI (RFC 9112 section 3.2).
pub(super) fn split(target: &[u8]) -> Option<Parts<'_>> {
    let (authority, rest) = if target.starts_with(b"/") {
        (None, target)
    } else {
        let after = after_scheme(target)?;
        let end = after.iter().position(|byte| matches!(byte, b'/' | b'?'));
        let (authority, rest) = after.split_at(end.unwrap_or(after.len()));
        (Some(authority), rest)
    };
    let query_at = rest.iter().position(|byte| *byte == b'?');
    let (path, query) = rest.split_at(query_at.unwrap_or(rest.len()));
    Some(Parts {
        authority,
        path: if path.is_empty() { b"/" } else { path },
        query: query.strip_prefix(b"?"),
    })
}

fn after_scheme(target: &[u8]) -> Option<&[u8]> {
    ["http://", "https://"].iter().find_map(|scheme| {
        let (start, after) = target.split_at_checked(scheme.len())?;
        start
            .eq_ignore_ascii_case(scheme.as_bytes())
            .then_some(after)
    })
}

/// Whether `byte` may stand in a target. RFC 3986 section 2 allows fewer, but callers send more and
/// upstreams take them; what is missing here is what URI parsers choke on, and `#`.
pub(super) const fn may_stand(byte: u8) -> bool {
    byte > b' ' && !matches!(byte, 0x7f | b'#' | b'<' | b'>' | b'`' | b'"' | b'^')
}

/// How often a path is decoded in search of dots: an upstream behind another proxy decodes twice.
const DECODINGS_MAX: usize = 3;

/// Whether `path` has a `.` or `..` segment in any encoding: percent-encoded, repeatedly so, as
/// overlong UTF-8, between encoded slashes or backslashes, or with parameters (`..;x`).
pub(super) fn has_dot_segment(path: &[u8]) -> bool {
    // Most paths hold neither, and none of what follows can hold without one of them.
    if !path.iter().any(|byte| matches!(byte, b'.' | b'%')) {
        return false;
    }
    let mut text = path.to_vec();
    for _ in 0..=DECODINGS_MAX {
        let dotted = text
            .split(|byte| matches!(byte, b'/' | b'\\'))
            .map(|segment| segment.split(|byte| *byte == b';').next())
            .any(|segment| matches!(segment, Some(b"." | b"..")));
        if dotted {
            return true;
        }
        let decoded = fold_overlong(&decode(&text));
        if decoded == text {
            break;
        }
        text = decoded;
    }
    false
}

/// Percent-decodes once; what is no valid escape stays as it is.
pub(super) fn decode(text: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let escape = (*byte == b'%')
            .then(|| digit(text.get(at + 1)).zip(digit(text.get(at + 2))))
            .flatten()
            .and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        decoded.push(escape.unwrap_or(*byte));
        at += if escape.is_some() { 3 } else { 1 };
    }
    decoded
}

/// `path` as others may read it: escaped unreserved characters plain (RFC 3986 section 6.2.2.2),
/// runs of slashes one slash.
pub(super) fn normalised(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(byte) = path.get(at) {
        let escape = path.get(at..at + 3).filter(|_| *byte == b'%');
        let unreserved = escape.map(decode).and_then(|decoded| match decoded[..] {
            [one] if one.is_ascii_alphanumeric() || b"-._~".contains(&one) => Some(one),
            _ => None,
        });
        at += if unreserved.is_some() { 3 } else { 1 };
        let byte = unreserved.unwrap_or(*byte);
        if byte != b'/' || plain.last() != Some(&b'/') {
            plain.push(byte);
        }
    }
    plain
}

/// `path` [normalised], and with every slash that an upstream may take for one: escaped, backwards, or
/// both. It may mean another path; whoever guards a path asks about both.
///
/// [normalised]: normalised
pub(super) fn as_read(path: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(byte) = path.get(at) {
        let escape = path.get(at..at + 3).unwrap_or_default();
        let escaped = [b"%2f", b"%5c"]
            .iter()
            .any(|slash| escape.eq_ignore_ascii_case(&slash[..]));
        text.push(if escaped || *byte == b'\\' {
            b'/'
        } else {
            *byte
        });
        at += if escaped { 3 } else { 1 };
    }
    normalised(&text)
}

/// Two-byte overlong forms of `.`, `/` and `\`, which old decoders take for them.
fn fold_overlong(text: &[u8]) -> Vec<u8> {
    let mut folded = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let plain = match text.get(at..at + 2) {
            Some([0xc0, 0xae]) => Some(b'.'),
            Some([0xc0, 0xaf]) => Some(b'/'),
            Some([0xc1, 0x9c]) => Some(b'\\'),
            _ => None,
        };
        folded.push(plain.unwrap_or(*byte));
        at += if plain.is_some() { 2 } else { 1 };
    }
    folded
}

/// The target to send: base, path and query as text, and `credential`, a parameter already
/// encoded, at the end of the query.
pub(super) fn rewrite(
    parts: &Parts<'_>,
    rules: Rewrite<'_>,
    credential: Option<(&str, &str)>,
) -> Vec<u8> {
    // The last slash of the prefix is the one that stays.
    let prefix = rules.strip.trim_end_matches('/');
    let rest = parts.path.strip_prefix(prefix.as_bytes());
    let rest = rest.unwrap_or(parts.path);
    let mut target = Vec::with_capacity(rules.base.len() + parts.path.len() + 64);
    target.extend_from_slice(rules.base.as_bytes());
    if !rest.starts_with(b"/") {
        target.push(b'/');
    }
    target.extend_from_slice(rest);
    if let Some(query) = parts.query {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    if let Some((name, value)) = credential {
        match parts.query {
            None => target.push(b'?'),
            Some(b"") => {}
            Some(_) => target.push(b'&'),
        }
        target.extend_from_slice(name.as_bytes());
        target.push(b'=');
        target.extend_from_slice(value.as_bytes());
    }
    target
}

/// Whether `query` holds a parameter called `name`, however it is encoded.
pub(super) fn has_parameter(query: &[u8], name: &str) -> bool {
    query.split(|byte| matches!(byte, b'&' | b';')).any(|pair| {
        let spelled = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        let mut plain = decode(spelled);
        for byte in &mut plain {
            if *byte == b'+' {
                *byte = b' ';
            }
        }
        plain == name.as_bytes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_are_seen_in_every_encoding() {
        for bad in [
            "/.",
            "/..",
            "/a/./b",
            "/a/../b",
            "/a/%2e%2e/b",
            "/a/%2E./b",
            "/a/.%2e",
            "/a%2f..%2fb",
            "/a%2F%2e%2e",
            "/a\\..\\b",
            "/a%5c..%5cb",
            "/a/%252e%252e/b",
            "/a/%25252e%25252e/b",
            "/a/..;x=1/b",
            "/a/..%3b/b",
            "/a/%c0%ae%c0%ae/b",
            "/a%c0%af..%c0%afb",
        ] {
            assert!(has_dot_segment(bad.as_bytes()), "{bad}");
        }
        for good in [
            "/",
            "/a.b/c..d",
            "/...",
            "/a/.well-known/x",
            "/%2525",
            "/a%",
            "/%zz.",
        ] {
            assert!(!has_dot_segment(good.as_bytes()), "{good}");
        }
    }

    #[test]
    fn a_path_is_read_with_every_slash_that_it_may_have() {
        for (path, read) in [
            ("/a/b", "/a/b"),
            ("/a%2fb%5Cc\\d", "/a/b/c/d"),
            ("/%2F/%61//b%2", "/a/b%2"),
            ("/a%252fb", "/a%252fb"),
        ] {
            assert_eq!(as_read(path.as_bytes()), read.as_bytes(), "{path}");
        }
    }

    #[test]
    fn every_byte_that_may_stand_is_one_that_uris_take() {
        for byte in (0..=0x7f).filter(|byte| may_stand(*byte)) {
            for target in [vec![b'/', byte], vec![b'/', b'?', byte]] {
                let parsed = http::uri::PathAndQuery::try_from(&target[..]);
                assert!(parsed.is_ok(), "{}", target.escape_ascii());
            }
        }
    }

    #[test]
    fn the_upstream_gets_base_rest_and_query_as_text() {
        let rewritten = |strip, base, target: &'static str, credential| {
            let parts = split(target.as_bytes()).expect("a target");
            let rules = Rewrite { base, strip };
            String::from_utf8(rewrite(&parts, rules, credential)).expect("ASCII")
        };
        let key = Some(("k", "v%20"));
        for (strip, base, target, credential, want) in [
            ("", "", "/a/b?q=%20&q", None, "/a/b?q=%20&q"),
            ("", "/api", "/a", None, "/api/a"),
            ("/t/", "/api", "/t/a", None, "/api/a"),
            ("/t/", "", "/t/", None, "/"),
            ("/t", "", "/t", None, "/"),
            ("/t", "", "/tx", None, "/x"),
            ("/t/", "", "/t//a", None, "//a"),
            ("/", "/api", "/a", None, "/api/a"),
            ("", "", "http://h", None, "/"),
            ("", "", "http://h?q", None, "/?q"),
            ("", "", "/a", key, "/a?k=v%20"),
            ("", "", "/a?", key, "/a?k=v%20"),
            ("", "", "/a?b", key, "/a?b&k=v%20"),
        ] {
            let got = rewritten(strip, base, target, credential);
            assert_eq!(got, want, "{strip} {base} {target}");
        }
    }

    #[test]
    fn parameters_are_found_by_their_decoded_name() {
        assert!(has_parameter(b"a=1&api%5Fkey=x", "api_key"));
        assert!(has_parameter(b"api_key", "api_key"));
        assert!(!has_parameter(b"xapi_key=1&a=api_key", "api_key"));
    }
}
