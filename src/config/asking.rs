//! The checked types of what a source asks for: the request, and how its pages follow each other.

use std::time::Duration;

use http::{HeaderMap, HeaderName, Method};

use super::template::{Template, Variable};
use crate::detect::Path;

/// The request of a source.
#[derive(Debug, Clone)]
pub struct Request {
    /// GET, POST or QUERY.
    pub method: Method,
    /// Appended to the upstream's URL as text; begins with `/` or is empty.
    pub path: Template,
    /// Query parameters, in order, not yet encoded. One whose variable has no value is left out.
    pub query: Vec<(String, Template)>,
    /// Headers beside the upstream's.
    pub headers: HeaderMap,
    /// Those of them that hold variables; left out as query parameters are.
    pub templated_headers: Vec<(HeaderName, Template)>,
    /// What is sent; never with GET.
    pub body: Option<RequestBody>,
}

/// What a request sends.
#[derive(Debug, Clone)]
pub enum RequestBody {
    /// JSON, in which variables stand inside strings and are escaped as such.
    Json(Template),
    /// Any other text, of the type that a header names.
    Text(Template),
}

/// Where an incremental listing goes on.
#[derive(Debug, Clone)]
pub struct Cursor {
    /// What of an item says how far the listing has come.
    pub from: Path,
    /// Where the value is sent; `None`: where a text has `{{cursor}}`.
    pub parameter: Option<Parameter>,
    /// What is sent first; `None`: nothing.
    pub initial: Option<Template>,
    /// How far back before the value is asked; `None`: one step of the value's precision.
    pub lookback: Option<Duration>,
}

/// How a list that comes in pages is walked.
#[derive(Debug, Clone)]
pub struct Paginate {
    /// What leads from one page to the next.
    pub by: PageBy,
    /// Where a page says whether another follows; what is false there ends the walk.
    pub more: Option<Path>,
    /// Most pages of one walk; more is an error.
    pub pages_max: u32,
}

/// What leads from one page to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageBy {
    /// The `Link` header (RFC 8288) with relation `next`.
    Link,
    /// The next page's URL, absolute or relative.
    Next(PageAt),
    /// A text that the next request sends back.
    Cursor(PageAt, Parameter),
    /// A number that grows by one.
    Page {
        /// Where it is sent.
        parameter: Parameter,
        /// The first page's.
        start: u64,
        /// The status that stands for a page beyond the last.
        end_status: Option<u16>,
    },
    /// A number that grows by the items of each page.
    Offset {
        /// Where it is sent.
        parameter: Parameter,
        /// Items of a full page.
        limit: u64,
    },
}

/// Where a page says what the next one is. Missing, null, false and "" end the walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageAt {
    /// In the body.
    Body(Path),
    /// In a header.
    Header(HeaderName),
}

/// What of a request names the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameter {
    /// A query parameter.
    Query(String),
    /// A member of the JSON body, by the names that lead to it.
    Body(Vec<String>),
}

impl Request {
    /// Whether it differs from poll to poll.
    #[must_use]
    pub fn is_of_the_moment(&self) -> bool {
        self.variables().any(Variable::is_of_the_moment)
    }

    /// All of its variables.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.templates().flat_map(Template::variables)
    }

    /// All of its texts that may hold variables.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        let query = self.query.iter().map(|(_, template)| template);
        let headers = self.templated_headers.iter().map(|(_, template)| template);
        let body = self.body.iter().map(RequestBody::template);
        std::iter::once(&self.path)
            .chain(query)
            .chain(headers)
            .chain(body)
    }
}

impl std::fmt::Display for Parameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Query(name) => f.write_str(name),
            Self::Body(path) => f.write_str(&path.join(".")),
        }
    }
}

impl RequestBody {
    /// Its text.
    #[must_use]
    pub const fn template(&self) -> &Template {
        match self {
            Self::Json(template) | Self::Text(template) => template,
        }
    }
}

impl PageBy {
    /// As it is written in the file.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Next(_) => "next",
            Self::Cursor(..) => "cursor",
            Self::Page { .. } => "page",
            Self::Offset { .. } => "offset",
        }
    }

    /// What of the request it changes, if anything.
    #[must_use]
    pub const fn parameter(&self) -> Option<&Parameter> {
        match self {
            Self::Link | Self::Next(_) => None,
            Self::Cursor(_, parameter)
            | Self::Page { parameter, .. }
            | Self::Offset { parameter, .. } => Some(parameter),
        }
    }

    /// Where the next page is named, if it is named at all.
    #[must_use]
    pub const fn at(&self) -> Option<&PageAt> {
        match self {
            Self::Next(at) | Self::Cursor(at, _) => Some(at),
            Self::Link | Self::Page { .. } | Self::Offset { .. } => None,
        }
    }
}
