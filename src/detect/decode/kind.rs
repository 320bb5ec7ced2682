//! What a body is: the formats, and what `Content-Type` says of them.
//!
//! Decides which type stands for which format, and that a page is never taken for anything else.

use crate::detect::Unreadable;

/// What the bodies of a source are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// JSON (RFC 8259).
    #[default]
    Json,
    /// A JSON value on each line.
    Ndjson,
    /// Rows of separated fields under a row of names (RFC 4180).
    Csv,
    /// XML 1.0.
    Xml,
    /// RSS, Atom or JSON Feed.
    Feed,
    /// A page.
    Html,
    /// Any text.
    Text,
    /// Anything.
    Bytes,
}

/// Why a body is not read, going by its `Content-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistyped {
    /// It is a page where another format is wanted: a login, an error, an apology.
    Page,
    /// No format goes by this type.
    Unknown,
    /// It is of another format than those before it, and nobody said which is right.
    Other {
        /// What those before it were.
        learnt: Format,
        /// What it says.
        said: Format,
    },
}

/// Types that say what a body is. Servers that know no better than text or octets mostly send
/// JSON.
const TYPES: [(&str, Format); 21] = [
    ("", Format::Json),
    ("application/json", Format::Json),
    ("text/json", Format::Json),
    ("text/plain", Format::Json),
    ("application/octet-stream", Format::Json),
    ("application/javascript", Format::Json),
    ("text/javascript", Format::Json),
    ("application/x-ndjson", Format::Ndjson),
    ("application/ndjson", Format::Ndjson),
    ("application/jsonl", Format::Ndjson),
    ("application/x-jsonlines", Format::Ndjson),
    ("application/jsonlines", Format::Ndjson),
    ("text/csv", Format::Csv),
    ("application/csv", Format::Csv),
    ("text/tab-separated-values", Format::Csv),
    ("application/xml", Format::Xml),
    ("text/xml", Format::Xml),
    ("application/rss+xml", Format::Feed),
    ("application/atom+xml", Format::Feed),
    ("text/html", Format::Html),
    ("application/xhtml+xml", Format::Html),
];

impl Format {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Json,
        Self::Ndjson,
        Self::Csv,
        Self::Xml,
        Self::Feed,
        Self::Html,
        Self::Text,
        Self::Bytes,
    ];

    /// As it is written in the file.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Xml => "xml",
            Self::Feed => "feed",
            Self::Html => "html",
            Self::Text => "text",
            Self::Bytes => "bytes",
        }
    }

    /// The format of a body of this `Content-Type`: the one that is `set`, else the one that the
    /// type says, which must be the one that was `learnt` before: what was JSON and is an error in
    /// XML now has not changed, it has failed.
    ///
    /// A page is read where pages are asked for and nowhere else, because a login page comes with
    /// 200; as JSON it may be tried, which it never is.
    ///
    /// # Errors
    /// [`Mistyped`].
    pub fn of(
        set: Option<Self>,
        learnt: Option<Self>,
        content_type: Option<&str>,
    ) -> Result<Self, Mistyped> {
        match (set, said(content_type)) {
            (Some(set @ (Self::Html | Self::Json)), _) => Ok(set),
            (_, Some(Self::Html)) => Err(Mistyped::Page),
            (Some(set), _) => Ok(set),
            (None, None) => Err(Mistyped::Unknown),
            (None, Some(said)) => match learnt {
                Some(learnt) if learnt != said => Err(Mistyped::Other { learnt, said }),
                _ => Ok(said),
            },
        }
    }

    /// A body that is none of it.
    pub(super) fn malformed(self, message: impl Into<String>) -> Unreadable {
        Unreadable::Malformed(self, message.into())
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Json => "JSON",
            Self::Ndjson => "lines of JSON",
            Self::Csv => "CSV",
            Self::Xml => "XML",
            Self::Feed => "a feed",
            Self::Html => "HTML",
            Self::Text => "text",
            Self::Bytes => "bytes",
        })
    }
}

/// What a `Content-Type` says.
fn said(content_type: Option<&str>) -> Option<Format> {
    let essence = content_type.unwrap_or_default().split(';').next();
    let essence = essence.unwrap_or_default().trim().to_ascii_lowercase();
    let known = TYPES.iter().find(|(name, _)| *name == essence);
    if let Some((_, format)) = known {
        return Some(*format);
    }
    let suffix = essence.rsplit_once('+').map(|(_, suffix)| suffix);
    match suffix {
        Some("json") => Some(Format::Json),
        Some("xml") => Some(Format::Xml),
        _ => None,
    }
}

/// The `charset` that a `Content-Type` names.
pub(super) fn charset(content_type: &str) -> Option<&str> {
    let parameters = content_type.split(';').skip(1);
    let mut named = parameters.filter_map(|parameter| parameter.split_once('='));
    let (_, value) = named.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_says_what_a_body_is_where_nobody_says_better() {
        for (content_type, expected) in [
            (None, Ok(Format::Json)),
            (Some("Application/JSON; charset=utf-8"), Ok(Format::Json)),
            (Some("application/vnd.github+json"), Ok(Format::Json)),
            (Some("application/feed+json"), Ok(Format::Json)),
            (Some("text/plain"), Ok(Format::Json)),
            (Some(";;="), Ok(Format::Json)),
            (Some("application/x-ndjson"), Ok(Format::Ndjson)),
            (Some("text/csv; header=present"), Ok(Format::Csv)),
            (Some("text/tab-separated-values"), Ok(Format::Csv)),
            (Some("application/soap+xml"), Ok(Format::Xml)),
            (Some("application/atom+xml"), Ok(Format::Feed)),
            (Some("text/html; charset=utf-8"), Err(Mistyped::Page)),
            (Some("application/xhtml+xml"), Err(Mistyped::Page)),
            (Some("image/png"), Err(Mistyped::Unknown)),
            (Some("multipart/mixed"), Err(Mistyped::Unknown)),
        ] {
            let found = Format::of(None, None, content_type);
            assert_eq!(found, expected, "{content_type:?}");
        }
    }

    #[test]
    fn what_was_learnt_is_not_forgotten_by_itself() {
        let of = |set, content_type| Format::of(set, Some(Format::Json), Some(content_type));
        assert_eq!(of(None, "text/plain"), Ok(Format::Json));
        let (learnt, said) = (Format::Json, Format::Xml);
        assert_eq!(of(None, "text/xml"), Err(Mistyped::Other { learnt, said }));
        assert_eq!(of(None, "text/html"), Err(Mistyped::Page));
        assert_eq!(of(None, "image/png"), Err(Mistyped::Unknown));
        assert_eq!(of(Some(Format::Xml), "text/xml"), Ok(Format::Xml));
        assert_eq!(of(Some(Format::Csv), "text/xml"), Ok(Format::Csv));
    }

    #[test]
    fn a_page_is_nothing_but_a_page() {
        for wanted in Format::ALL {
            let of = |content_type| Format::of(Some(wanted), None, Some(content_type));
            assert_eq!(of("image/png"), Ok(wanted));
            let may_be = matches!(wanted, Format::Html | Format::Json);
            let expected = may_be.then_some(wanted).ok_or(Mistyped::Page);
            assert_eq!(of("Text/HTML"), expected, "{wanted}");
        }
    }

    #[test]
    fn a_charset_is_a_parameter() {
        for (content_type, expected) in [
            ("text/csv", None),
            ("text/csv; charset=latin1", Some("latin1")),
            (
                "text/csv;header=present; CharSet = \"utf-16\"",
                Some("utf-16"),
            ),
            ("text/csv; charset=", None),
            ("charset=x", None),
        ] {
            assert_eq!(charset(content_type), expected, "{content_type}");
        }
    }
}
