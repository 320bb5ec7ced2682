//! A list that comes in pages, in every dialect that pages are spoken in, and that changes while
//! it is walked.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::Server;

/// Largest request body that it reads.
const BODY_BYTES_MAX: usize = 1 << 20;

/// How a page says what the next one is, and how it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `Link` with an absolute URL and a page number, among other links.
    Github,
    /// `Link` with a relative reference and the last id.
    DockerRegistry,
    /// `next` in the body, absolute, by page number; null at the end.
    Drf,
    /// `links.next` in the body, relative; missing at the end.
    JsonApi,
    /// `@odata.nextLink` with a skip token.
    Odata,
    /// `Next-Page` header with a token.
    Kinto,
    /// `response_metadata.next_cursor`, "" at the end.
    Slack,
    /// `nextPageToken`, sent back as `pageToken`.
    Google,
    /// `has_more`, and the last item's id as `starting_after`.
    Stripe,
    /// POST of a query with `variables.after`; `pageInfo`.
    Relay,
    /// POST with `search_after`, the last hit's sort values.
    Elasticsearch,
    /// `?page=`, and 400 beyond the last.
    Wordpress,
    /// `?page=`, and empty pages beyond the last.
    Pages,
    /// `?offset=&limit=`.
    Redmine,
}

impl Dialect {
    pub(crate) const ALL: [Self; 14] = [
        Self::Github,
        Self::DockerRegistry,
        Self::Drf,
        Self::JsonApi,
        Self::Odata,
        Self::Kinto,
        Self::Slack,
        Self::Google,
        Self::Stripe,
        Self::Relay,
        Self::Elasticsearch,
        Self::Wordpress,
        Self::Pages,
        Self::Redmine,
    ];

    /// What a source says to speak it.
    pub(crate) fn spoken(self) -> &'static str {
        match self {
            Self::Github | Self::DockerRegistry => {
                "items = \"$[*]\"\npaginate = { by = \"link\" }\nquery = { state = \"all\" }"
            }
            Self::Drf => "items = \"$.results[*]\"\npaginate = { by = \"next\", at = \"$.next\" }",
            Self::JsonApi => {
                "items = \"$.data[*]\"\npaginate = { by = \"next\", at = \"$.links.next\" }"
            }
            Self::Odata => {
                "items = \"$.value[*]\"\n\
                 paginate = { by = \"next\", at = \"$['@odata.nextLink']\" }"
            }
            Self::Kinto => {
                "items = \"$.data[*]\"\npaginate = { by = \"next\", header = \"Next-Page\" }"
            }
            Self::Slack => {
                "items = \"$.channels[*]\"\npaginate = { by = \"cursor\", \
                 at = \"$.response_metadata.next_cursor\", param = \"cursor\" }"
            }
            Self::Google => {
                "items = \"$.items[*]\"\npaginate = { by = \"cursor\", \
                 at = \"$.nextPageToken\", param = \"pageToken\" }"
            }
            Self::Stripe => {
                "items = \"$.data[*]\"\npaginate = { by = \"cursor\", at = \"$.data[-1].id\", \
                 param = \"starting_after\", more = \"$.has_more\" }"
            }
            Self::Relay => {
                "items = \"$.data.list.nodes[*]\"\nmethod = \"POST\"\n\
                 body = { query = \"query($after: String) { list(after: $after) { … } }\" }\n\
                 paginate = { by = \"cursor\", at = \"$.data.list.pageInfo.endCursor\", \
                 more = \"$.data.list.pageInfo.hasNextPage\", param = \"variables.after\", \
                 into = \"body\" }"
            }
            Self::Elasticsearch => {
                "items = \"$.hits.hits[*]._source\"\nmethod = \"POST\"\n\
                 body = { sort = [\"id\"] }\n\
                 paginate = { by = \"cursor\", at = \"$.hits.hits[-1].sort\", \
                 param = \"search_after\", into = \"body\" }"
            }
            Self::Wordpress => {
                "items = \"$[*]\"\n\
                 paginate = { by = \"page\", param = \"page\", end_status = 400 }"
            }
            Self::Pages => "items = \"$[*]\"\npaginate = { by = \"page\", param = \"page\" }",
            Self::Redmine => {
                "items = \"$.issues[*]\"\n\
                 paginate = { by = \"offset\", param = \"offset\", limit = 10 }"
            }
        }
    }
}

/// What happens to the list while it is walked; called with the list and the number of requests
/// before.
type Meanwhile = Box<dyn FnMut(&mut Vec<Value>, usize) + Send>;

/// Serves one list, sorted by `id`, at any path.
pub(crate) struct Paged {
    server: Server,
    state: Arc<Shared>,
}

struct Shared {
    dialect: Dialect,
    size: usize,
    list: Mutex<Vec<Value>>,
    meanwhile: Mutex<Option<Meanwhile>>,
    /// Status of the n-th request from now.
    failing: Mutex<Option<(usize, u16)>>,
    requests: Mutex<usize>,
    host: Mutex<String>,
}

/// What a request asks for.
struct Asked {
    pairs: Vec<(String, String)>,
    body: Value,
}

impl Asked {
    fn text(&self, name: &str) -> Option<&str> {
        let pair = self.pairs.iter().find(|(known, _)| known == name);
        pair.map(|(_, value)| value.as_str())
    }

    fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }
}

impl Paged {
    /// Serves `list` in pages of `size`.
    pub(crate) async fn speaking(dialect: Dialect, size: usize, list: Vec<Value>) -> Self {
        let state = Arc::new(Shared {
            dialect,
            size,
            list: Mutex::new(list),
            meanwhile: Mutex::default(),
            failing: Mutex::default(),
            requests: Mutex::default(),
            host: Mutex::default(),
        });
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&state));
        let server = Server::serving(router).await;
        state.host.lock().clone_from(&server.url);
        Self { server, state }
    }

    /// How it speaks.
    pub(crate) fn dialect(&self) -> Dialect {
        self.state.dialect
    }

    /// The list as it is.
    pub(crate) fn list(&self) -> Vec<Value> {
        self.state.list.lock().clone()
    }

    /// Changes the list now.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Vec<Value>)) {
        change(&mut self.state.list.lock());
    }

    /// Changes the list before each request from now on.
    pub(crate) fn meanwhile(&self, change: impl FnMut(&mut Vec<Value>, usize) + Send + 'static) {
        *self.state.meanwhile.lock() = Some(Box::new(change));
        *self.state.requests.lock() = 0;
    }

    /// From now on the list stands still.
    pub(crate) fn rest(&self) {
        *self.state.meanwhile.lock() = None;
    }

    /// Answers the n-th request from now, from 1 on, with this status.
    pub(crate) fn fail(&self, nth: usize, status: u16) {
        *self.state.failing.lock() = Some((nth, status));
    }
}

impl fmt::Display for Paged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.server.url)
    }
}

async fn answer(State(state): State<Arc<Shared>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let pairs = url::form_urlencoded::parse(query.as_bytes()).into_owned();
    let pairs = pairs.collect();
    let body = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await;
    let body = body.unwrap_or_default();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let before = {
        let mut requests = state.requests.lock();
        *requests += 1;
        *requests - 1
    };
    let mut failing = state.failing.lock();
    if let Some((nth, status)) = *failing {
        *failing = (nth > 1).then_some((nth - 1, status));
        if nth == 1 {
            return respond(status, &[], &json!([]));
        }
    }
    let mut list = state.list.lock();
    if let Some(meanwhile) = &mut *state.meanwhile.lock() {
        meanwhile(&mut list, before);
    }
    state.page(&list, &Asked { pairs, body })
}

/// A page of a list, and whether another follows.
struct Cut<'a> {
    rows: &'a [Value],
    more: bool,
}

impl Cut<'_> {
    fn last_id(&self) -> u64 {
        self.rows
            .last()
            .and_then(|row| row["id"].as_u64())
            .unwrap_or(0)
    }
}

impl Shared {
    /// The page that begins at this index.
    fn from<'a>(&self, list: &'a [Value], from: usize) -> Cut<'a> {
        let from = from.min(list.len());
        let to = (from + self.size).min(list.len());
        Cut {
            rows: &list[from..to],
            more: to < list.len(),
        }
    }

    /// The page after the row with this id.
    fn after<'a>(&self, list: &'a [Value], id: Option<u64>) -> Cut<'a> {
        let is_before = |row: &Value| id.is_some_and(|id| row["id"].as_u64() <= Some(id));
        self.from(list, list.partition_point(is_before))
    }

    fn page(&self, list: &[Value], asked: &Asked) -> Response {
        match self.dialect {
            Dialect::Github | Dialect::Drf | Dialect::Wordpress | Dialect::Pages => {
                self.numbered(list, asked)
            }
            Dialect::DockerRegistry | Dialect::JsonApi | Dialect::Odata | Dialect::Kinto => {
                self.linked(list, asked)
            }
            Dialect::Slack | Dialect::Google | Dialect::Stripe => self.named(list, asked),
            Dialect::Relay | Dialect::Elasticsearch => self.posted(list, asked),
            Dialect::Redmine => {
                let from = asked.number("offset").unwrap_or(0);
                let rows = self.from(list, from).rows;
                let body = json!({"issues": rows, "total_count": list.len()});
                respond(200, &[], &body)
            }
        }
    }

    fn numbered(&self, list: &[Value], asked: &Asked) -> Response {
        let number = asked.number("page").unwrap_or(1);
        let from = (number - 1) * self.size;
        let cut = self.from(list, from);
        let host = self.host.lock().clone();
        match self.dialect {
            Dialect::Github => {
                let url = |page: usize| format!("<{host}/list?state=all&page={page}>");
                let mut link = format!("{}; rel=\"first\"", url(1));
                if cut.more {
                    let next = url(number + 1);
                    link = format!("{link}, {next}; title=\"a, b\"; rel=\"next\"");
                }
                respond(200, &[("link", link)], &json!(cut.rows))
            }
            Dialect::Drf => {
                let next = format!("{host}/list?page={}", number + 1);
                let next = cut.more.then_some(next);
                let count = list.len();
                let body = json!({"count": count, "next": next, "results": cut.rows});
                respond(200, &[], &body)
            }
            Dialect::Wordpress if number > 1 && from >= list.len() => {
                let body = json!({"code": "rest_post_invalid_page_number"});
                respond(400, &[], &body)
            }
            _ => respond(200, &[], &json!(cut.rows)),
        }
    }

    fn linked(&self, list: &[Value], asked: &Asked) -> Response {
        let name = match self.dialect {
            Dialect::DockerRegistry => "last",
            Dialect::JsonApi => "page[after]",
            Dialect::Odata => "$skiptoken",
            _ => "_token",
        };
        let cut = self.after(list, asked.number(name));
        let host = self.host.lock().clone();
        let (rows, end) = (cut.rows, cut.last_id());
        let mut headers = Vec::new();
        let body = match self.dialect {
            Dialect::DockerRegistry => {
                headers.push(("link", format!("</list?last={end}&n=1>; rel=\"next\"")));
                json!(rows)
            }
            Dialect::JsonApi => {
                let links = json!({"next": format!("/list?page%5Bafter%5D={end}")});
                let links = if cut.more { links } else { json!({}) };
                json!({"data": rows, "links": links})
            }
            Dialect::Odata if cut.more => {
                let next = format!("{host}/list?$skiptoken={end}");
                json!({"value": rows, "@odata.nextLink": next})
            }
            Dialect::Odata => json!({"value": rows}),
            _ => {
                headers.push(("next-page", format!("{host}/list?_token={end}")));
                json!({"data": rows})
            }
        };
        respond(200, if cut.more { &headers } else { &[] }, &body)
    }

    fn named(&self, list: &[Value], asked: &Asked) -> Response {
        let name = match self.dialect {
            Dialect::Slack => "cursor",
            Dialect::Google => "pageToken",
            _ => "starting_after",
        };
        let cut = self.after(list, asked.number(name));
        let (rows, end) = (cut.rows, cut.last_id().to_string());
        let body = match self.dialect {
            Dialect::Slack => {
                let next = if cut.more { &end } else { "" };
                json!({"channels": rows, "response_metadata": {"next_cursor": next}})
            }
            Dialect::Google if cut.more => json!({"items": rows, "nextPageToken": end}),
            Dialect::Google => json!({"items": rows}),
            _ => json!({"data": rows, "has_more": cut.more}),
        };
        respond(200, &[], &body)
    }

    fn posted(&self, list: &[Value], asked: &Asked) -> Response {
        if self.dialect == Dialect::Relay {
            let after = asked.body["variables"]["after"].as_str();
            let cut = self.after(list, after.and_then(|after| after.parse().ok()));
            let end = cut.last_id().to_string();
            let info = json!({"hasNextPage": cut.more, "endCursor": end});
            let body = json!({"data": {"list": {"nodes": cut.rows, "pageInfo": info}}});
            return respond(200, &[], &body);
        }
        let after = asked.body["search_after"][0].as_u64();
        let hits = self.after(list, after).rows.iter();
        let hits: Vec<Value> = hits
            .map(|row| json!({"_source": row, "sort": [row["id"]]}))
            .collect();
        respond(200, &[], &json!({"hits": {"hits": hits}}))
    }
}

fn respond(status: u16, headers: &[(&str, String)], body: &Value) -> Response {
    let mut response = Response::builder().status(status);
    response = response.header("content-type", "application/json");
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    let response = response.body(Body::from(body.to_string()));
    response.expect("headers are fit")
}
