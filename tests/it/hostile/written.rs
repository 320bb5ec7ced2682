//! A list in each format, and how a source watches it.

use std::fmt::Write as _;

use serde_json::Value;

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Json,
    Ndjson,
    Csv,
    Xml,
    Feed,
    Html,
}

impl Written {
    /// All but JSON.
    pub(crate) const OTHERS: [Self; 5] =
        [Self::Ndjson, Self::Csv, Self::Xml, Self::Feed, Self::Html];

    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::Xml => "application/xml",
            Self::Feed => "application/rss+xml",
            Self::Html => "text/html",
        }
    }

    /// The same with a charset that there is not.
    pub(crate) const fn unknown_charset(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=x-unheard-of",
            _ => "text/plain; charset=x-unheard-of",
        }
    }

    /// What a source says of it.
    pub(crate) const fn lines(self) -> &'static str {
        match self {
            Self::Json => "items = \"$[*]\"\nid = \"$.id\"",
            Self::Ndjson => "format = \"ndjson\"\nitems = \"$[*]\"\nid = \"$.id\"",
            Self::Csv => "format = \"csv\"\nitems = \"$[*]\"\nid = \"$.id\"",
            Self::Xml => "format = \"xml\"\nitems = \"$.list.item[*]\"\nid = \"$['@id']\"",
            Self::Feed => "format = \"feed\"",
            Self::Html => "format = \"html\"\nitems = \"tr\"\nid = \"$.attributes.id\"",
        }
    }

    /// A JSON list of objects with `id`, `title` and `state`, written so.
    pub(crate) fn write(self, list: &str) -> String {
        let list: Vec<Value> = serde_json::from_str(list).expect("a list");
        let text = |item: &Value, name: &str| match &item[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let mut out = String::new();
        let (head, foot) = match self {
            Self::Json => return Value::from(list).to_string(),
            Self::Ndjson => ("", ""),
            Self::Csv => ("id,state,title\n", ""),
            Self::Xml => ("<?xml version=\"1.0\"?>\n<list>", "</list>\n"),
            Self::Feed => (
                "<rss version=\"2.0\"><channel><title>é</title>",
                "</channel></rss>\n",
            ),
            Self::Html => ("<!doctype html><html><table>", "</table></html>\n"),
        };
        out.push_str(head);
        for item in &list {
            let (id, state, title) = (text(item, "id"), text(item, "state"), text(item, "title"));
            let written = match self {
                Self::Json | Self::Ndjson => writeln!(out, "{item}"),
                Self::Csv => writeln!(out, "{id},{state},\"{title}\""),
                Self::Xml => write!(
                    out,
                    "<item id=\"{id}\"><state>{state}</state><title>{title}</title></item>"
                ),
                Self::Feed => write!(
                    out,
                    "<item><guid>{id}</guid><title>{state}</title><description>{title}\
                     </description></item>"
                ),
                Self::Html => write!(out, "<tr id={id}><td>{state}<td>{title}</tr>"),
            };
            written.expect("memory");
        }
        out.push_str(foot);
        out
    }
}
