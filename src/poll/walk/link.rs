//! The `Link` header (RFC 8288): where the next page is.

use http::HeaderMap;
use http::header::LINK;

/// A `Link` field that may have named the next page, and does not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed;

/// One link of a field.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    target: String,
    /// Its first `rel`; later ones do not count (section 3.3).
    rel: Option<String>,
    /// Whether it is said to be a link of another page (section 3.2).
    has_anchor: bool,
}

/// The target of the first link with relation `next`, in all `Link` fields.
///
/// Reads as leniently as appendix B.2. A field that does not read is passed over, unless it speaks
/// of `next`: a walk that ended there would be taken for a whole one.
pub(super) fn next(headers: &HeaderMap) -> Result<Option<String>, Malformed> {
    for field in headers.get_all(LINK) {
        let field = String::from_utf8_lossy(field.as_bytes());
        let (links, is_whole) = links(&field);
        let next = links.into_iter().find(Link::is_next);
        if let Some(link) = next {
            return Ok(Some(link.target));
        }
        if !is_whole && field.to_ascii_lowercase().contains("next") {
            return Err(Malformed);
        }
    }
    Ok(None)
}

impl Link {
    fn is_next(&self) -> bool {
        let mut relations = self.rel.iter().flat_map(|rel| rel.split_ascii_whitespace());
        !self.has_anchor && relations.any(|rel| rel.eq_ignore_ascii_case("next"))
    }
}

/// The links of a field, and whether it read to its end.
fn links(field: &str) -> (Vec<Link>, bool) {
    let mut links = Vec::new();
    let mut rest = field;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return (links, true);
        }
        let target = rest
            .strip_prefix('<')
            .and_then(|inner| inner.split_once('>'));
        let Some((target, after)) = target else {
            return (links, false);
        };
        let mut link = Link {
            target: target.trim().to_owned(),
            rel: None,
            has_anchor: false,
        };
        rest = parameters(after, &mut link);
        links.push(link);
        if !rest.is_empty() && !rest.starts_with(',') {
            return (links, false);
        }
    }
}

/// Reads `; name=value` as long as there are any; what follows them.
fn parameters<'a>(mut rest: &'a str, link: &mut Link) -> &'a str {
    loop {
        rest = trimmed(rest);
        let Some(after) = rest.strip_prefix(';') else {
            return rest;
        };
        let after = trimmed(after);
        let end = after.find([' ', '\t', '=', ';', ',']);
        let (name, after) = after.split_at(end.unwrap_or(after.len()));
        let after = trimmed(after);
        let value = match after.strip_prefix('=').map(trimmed) {
            None => {
                rest = after;
                None
            }
            Some(quoted) if quoted.starts_with('"') => {
                let (value, after) = unquoted(&quoted[1..]);
                rest = after;
                Some(value)
            }
            Some(token) => {
                let end = token.find([';', ',']).unwrap_or(token.len());
                rest = &token[end..];
                Some(token[..end].trim_end().to_owned())
            }
        };
        match name.to_ascii_lowercase().as_str() {
            "rel" if link.rel.is_none() => link.rel = value,
            "anchor" => link.has_anchor = true,
            _ => {}
        }
    }
}

/// What a quoted string says, and what follows it. One that is not closed goes to the end.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            plain => value.push(plain),
        }
    }
    (value, "")
}

fn trimmed(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of(fields: &[&str]) -> Result<Option<String>, Malformed> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(LINK, HeaderValue::from_str(field).expect("a value"));
        }
        next(&headers)
    }

    #[test]
    fn the_next_page_is_found_in_every_spelling() {
        for (fields, expected) in [
            // GitHub.
            (
                &[
                    r#"<https://a.example/r?page=1>; rel="prev", <https://a.example/r?page=3>; rel="next""#,
                ][..],
                Some("https://a.example/r?page=3"),
            ),
            // docker-registry.
            (
                &[r#"</v2/_catalog?last=a&n=1>; rel="next""#],
                Some("/v2/_catalog?last=a&n=1"),
            ),
            (&[r#"</a?b=1,2;3>; rel="next""#], Some("/a?b=1,2;3")),
            (&["</a>;rel=next"], Some("/a")),
            (&["</a> ; rel = next ; title = x"], Some("/a")),
            (
                &[r#"</a>; title="a \"b\", <c>; d"; rel="next""#],
                Some("/a"),
            ),
            (&[r#"</a>; rel="first NEXT last""#], Some("/a")),
            (&[r#"</a>; REL="next""#], Some("/a")),
            (&[r#"</a>; rel="prev"; rel="next""#], None),
            (&[r#"</a>; rel="nextish""#], None),
            (&[r#"</a>; rel="prev"; title="next""#], None),
            (
                &[
                    r##"</a>; rel="next"; anchor="#other""##,
                    r#"</b>; rel="next""#,
                ],
                Some("/b"),
            ),
            (&[r#"</a>; rel="prev""#, r#"</b>; rel="next""#], Some("/b")),
            (&[r#", ,, </a>; rel="next", "#], Some("/a")),
            (&[r#"<>; rel="next""#], Some("")),
            (&[r#"</a>; rel="next"#], Some("/a")),
            (&["</a>; rel"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(of(fields), Ok(expected.map(str::to_owned)), "{fields:?}");
        }
    }

    #[test]
    fn what_may_have_been_the_next_page_is_not_passed_over() {
        assert_eq!(of(&[r#"https://a.example/2; rel="next""#]), Err(Malformed));
        assert_eq!(of(&[r#"<https://a.example/2; rel="next""#]), Err(Malformed));
        assert_eq!(
            of(&[r#"</1>; rel="prev" </2>; rel="next""#]),
            Err(Malformed)
        );
        assert_eq!(of(&["style.css; rel=preload"]), Ok(None));
    }

    /// A link as someone may write it.
    fn written() -> impl Strategy<Value = (String, Vec<String>, String)> {
        let target = "[a-z0-9/?&=;,. ]{0,12}";
        let rels = prop::collection::vec("(next|NEXT|prev|last|x)", 1..4);
        let other = "[a-z \\\\\"<>;,=]{0,8}";
        (target, rels, other).prop_map(|(target, rels, title)| {
            let quoted = title.replace('\\', "\\\\").replace('"', "\\\"");
            let target = target.trim().to_owned();
            let text = format!("<{target}>; title=\"{quoted}\" ;rel=\"{}\"", rels.join(" "));
            (target, rels, text)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_first_next_is_found_among_any_links(links in prop::collection::vec(written(), 0..5)) {
            let texts: Vec<&str> = links.iter().map(|(.., text)| text.as_str()).collect();
            let is_next = |rel: &String| rel.eq_ignore_ascii_case("next");
            let expected = links.iter().find(|(_, rels, _)| rels.iter().any(is_next));
            let expected = expected.map(|(target, ..)| target.clone());
            prop_assert_eq!(of(&[&texts.join(", ")]), Ok(expected.clone()));
            prop_assert_eq!(of(&texts), Ok(expected));
        }

        #[test]
        fn any_field_is_read_to_its_end(field in "[ -~]{0,80}") {
            let _ = of(&[&field]);
        }
    }
}
