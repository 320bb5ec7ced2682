//! How the pages of a list follow each other, as far as one page says.
//!
//! Decides by names that APIs have in common: a link, a URL, a cursor, a number. What one page
//! cannot say, such as the name of a parameter, is taken from the API that is known to speak so,
//! and marked as a guess.

use serde_json::{Map, Value};

use super::identity::Identified;
use super::list::List;
use super::{Answer, Asked, plain, quoted, step};

/// How deep what leads to the next page may stand: `$.data.repository.issues.pageInfo.endCursor`.
const DEPTH_MAX: usize = 5;

/// Most members of one object that are looked at.
const MEMBERS_MAX: usize = 200;

/// Lists that are as long as a page by chance are rare among these lengths.
const ROUND: [usize; 9] = [10, 15, 20, 25, 30, 50, 100, 200, 500];

/// Members that hold the next page's URL.
const URLS: [&str; 9] = [
    "nexturl",
    "nextlink",
    "odatanextlink",
    "nextpageurl",
    "nexthref",
    "nextpagelink",
    "nexturi",
    "nextpageuri",
    "nextrecordsurl",
];

/// Members that hold what the next request sends back, and as what; a `-` stands for the member's
/// own name.
const CURSORS: [(&str, &str); 12] = [
    ("nextcursor", "cursor"),
    ("nextpagecursor", "cursor"),
    ("cursornext", "cursor"),
    ("endcursor", "after"),
    ("after", "after"),
    ("nextafter", "after"),
    ("nextpagetoken", "page_token"),
    ("nexttoken", "-"),
    ("continuationtoken", "-"),
    ("continuation", "-"),
    ("scrollid", "-"),
    ("nextpage", "page"),
];

/// Members that say whether there is more.
const MORE: [&str; 5] = [
    "hasmore",
    "hasnextpage",
    "hasnext",
    "more",
    "moreresultsavailable",
];

const OFFSETS: [&str; 5] = ["offset", "startat", "start", "skip", "startindex"];
const LIMITS: [&str; 7] = [
    "limit",
    "maxresults",
    "pagesize",
    "perpage",
    "size",
    "take",
    "itemsperpage",
];
const PAGES: [&str; 5] = ["page", "currentpage", "pagenumber", "pageindex", "number"];
const LAST_PAGES: [&str; 6] = [
    "totalpages",
    "lastpage",
    "pagecount",
    "pages",
    "numpages",
    "pagestotal",
];

/// What the head of an answer says of the next page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guide {
    /// Whether a `Link` header has the relation `next`.
    pub has_link: bool,
    /// A header that holds the next page's URL.
    pub url_header: Option<String>,
    /// A header that holds the next page's number.
    pub number_header: Option<String>,
}

/// How pages follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paging {
    /// The value of `paginate`, as TOML.
    pub toml: String,
    /// What speaks for it.
    pub why: String,
    /// Whether a part of it is not to be seen in the answer.
    pub is_guess: bool,
}

/// What there is to learn from.
pub(super) struct Case<'a> {
    pub(super) answer: Answer<'a>,
    pub(super) list: &'a List,
    pub(super) id: Option<&'a Identified>,
    /// Items of the page.
    pub(super) count: usize,
    pub(super) asked: Asked<'a>,
}

/// A member outside of the list.
struct Outside<'a> {
    path: String,
    name: String,
    parent: String,
    value: &'a Value,
    /// The members that it stands among.
    among: &'a Map<String, Value>,
    /// Where those are.
    home: String,
}

/// How the pages of the list follow each other; `None`: nothing speaks of pages.
pub(super) fn paging(case: &Case<'_>, remarks: &mut Vec<String>) -> Option<Paging> {
    let found = by_head(case).or_else(|| {
        let mut outside = Vec::new();
        let place = ("$".to_owned(), String::new());
        collect(case.answer.body, place, 0, &mut outside);
        by_url(&outside)
            .or_else(|| by_last_id(case, &outside))
            .or_else(|| by_cursor(case, &outside))
            .or_else(|| by_page(&outside))
            .or_else(|| by_offset(&outside))
    });
    let Some(found) = found else {
        if ROUND.contains(&case.count) {
            remarks.push(format!(
                "the list has exactly {} items and says nothing of more: look for pages in the \
                 API's documentation",
                case.count
            ));
        }
        return None;
    };
    let sent = case.asked.query.iter().find(|name| {
        let parameter = format!("param = {}", quoted(name));
        found.toml.contains(&parameter)
    });
    if let Some(name) = sent {
        remarks.push(format!(
            "the request already sends `{name}`: take it out of `query`, `paginate` sends it"
        ));
    }
    Some(found)
}

fn by_head(case: &Case<'_>) -> Option<Paging> {
    let guide = case.answer.guide;
    if guide.has_link {
        let why = "the `Link` header leads to the next page".to_owned();
        return Some(sure("{ by = \"link\" }".to_owned(), why));
    }
    if let Some(name) = &guide.url_header {
        let why = format!("header `{name}` holds the next page's URL");
        return Some(sure(
            format!("{{ by = \"next\", header = {} }}", quoted(name)),
            why,
        ));
    }
    let name = guide.number_header.as_ref()?;
    let toml = format!(
        "{{ by = \"cursor\", header = {}, param = \"page\" }}",
        quoted(name)
    );
    let why = format!("header `{name}` holds the next page's number");
    Some(sure(toml, why))
}

fn by_url(outside: &[Outside<'_>]) -> Option<Paging> {
    let next =
        |path: &str, why: String| sure(format!("{{ by = \"next\", at = {} }}", quoted(path)), why);
    let leads = |member: &&Outside<'_>| {
        URLS.contains(&member.name.as_str()) || matches!(member.name.as_str(), "next" | "nextpage")
    };
    let members: Vec<&Outside<'_>> = outside.iter().filter(leads).collect();
    for member in &members {
        if member.value.as_str().is_some_and(is_url) {
            let why = format!("`{}` holds the next page's URL", member.path);
            return Some(next(&member.path, why));
        }
        if member.value.get("href").is_some_and(Value::is_string) {
            let path = format!("{}.href", member.path);
            let why = format!("`{path}` holds the next page's URL");
            return Some(next(&path, why));
        }
    }
    // One that is null says so on the last page.
    let is_known = |member: &&&Outside<'_>| {
        let is_among_links = matches!(member.parent.as_str(), "links" | "paging");
        let has_other = ["previous", "prev"]
            .iter()
            .any(|n| member.among.contains_key(*n));
        let is_url = URLS.contains(&member.name.as_str());
        member.value.is_null()
            && (is_url || (member.name == "next" && (is_among_links || has_other)))
    };
    let last = members.iter().find(is_known)?;
    let why = format!(
        "`{}` holds the next page's URL, and none now: this is the last",
        last.path
    );
    Some(next(&last.path, why))
}

/// Stripe's way: what is sent back is the last item's id.
fn by_last_id(case: &Case<'_>, outside: &[Outside<'_>]) -> Option<Paging> {
    let more = outside
        .iter()
        .find(|member| MORE.contains(&member.name.as_str()) && member.value.is_boolean())?;
    let is_list = more.among.get("object").and_then(Value::as_str) == Some("list");
    let mut paths = case.id.filter(|id| !id.is_guess)?.paths();
    let (id, None) = (paths.next()?, paths.next()) else {
        return None;
    };
    let at = format!("{}[-1]{}", case.list.path(), id.strip_prefix('$')?);
    let toml = format!(
        "{{ by = \"cursor\", at = {}, param = \"starting_after\", more = {} }}",
        quoted(&at),
        quoted(&more.path)
    );
    let why = format!(
        "`{}` says whether there is more, after the last item's id",
        more.path
    );
    is_list.then(|| guess(toml, why))
}

fn by_cursor(case: &Case<'_>, outside: &[Outside<'_>]) -> Option<Paging> {
    let of = |member: &Outside<'_>| {
        let known = CURSORS.iter().find(|(name, _)| *name == member.name);
        let parameter = known.map(|(_, parameter)| *parameter);
        // `cursor` alone may be this page's.
        parameter.or((member.name == "next").then_some("cursor"))
    };
    let is_fit = |member: &&Outside<'_>| match member.value {
        // A `next` or `after` of null may be anything.
        Value::Null => !matches!(member.name.as_str(), "next" | "after"),
        value => value.is_string() || value.is_u64(),
    };
    let candidates = outside.iter().filter(is_fit);
    let candidates = candidates.filter_map(|member| Some((member, of(member)?)));
    // One that leads on says more than one that is null.
    let (member, parameter) = candidates.min_by_key(|(member, _)| {
        let is_end = member.value.is_null() || member.value.as_str() == Some("");
        (is_end, member.path.len())
    })?;
    let own = member.path.rsplit('.').next().unwrap_or_default();
    let is_camel = own.chars().any(char::is_uppercase);
    let parameter = match parameter {
        "-" => own,
        "page_token" if is_camel => "pageToken",
        "after" if case.asked.sends_json => "variables.after",
        other => other,
    };
    let into = if case.asked.sends_json {
        ", into = \"body\""
    } else {
        ""
    };
    let more = member
        .among
        .iter()
        .find(|(name, value)| MORE.contains(&plain(name).as_str()) && value.is_boolean());
    let more = more.map_or_else(String::new, |(name, _)| {
        format!(
            ", more = {}",
            quoted(&format!("{}{}", member.home, step(name)))
        )
    });
    let toml = format!(
        "{{ by = \"cursor\", at = {}, param = {}{into}{more} }}",
        quoted(&member.path),
        quoted(parameter)
    );
    let why = format!("`{}` leads to the next page", member.path);
    Some(guess(toml, why))
}

fn by_offset(outside: &[Outside<'_>]) -> Option<Paging> {
    let number = |names: &[&str], among: &Map<String, Value>| {
        among.iter().find_map(|(name, value)| {
            let is_it = names.contains(&plain(name).as_str());
            is_it
                .then(|| Some((name.clone(), value.as_u64()?)))
                .flatten()
        })
    };
    outside.iter().find_map(|member| {
        let among = member.among;
        let (offset, _) = number(&OFFSETS, among)?;
        let (name, limit) = number(&LIMITS, among).filter(|(_, limit)| *limit > 0)?;
        let toml = format!(
            "{{ by = \"offset\", param = {}, limit = {limit} }}",
            quoted(&offset)
        );
        let why = format!("`{offset}` counts items, `{name}` is how many a page has");
        Some(guess(toml, why))
    })
}

fn by_page(outside: &[Outside<'_>]) -> Option<Paging> {
    outside.iter().find_map(|member| {
        let start = member.value.as_u64().filter(|start| *start <= 1)?;
        let mut among = member.among.iter();
        let (last, _) = among
            .find(|(name, value)| LAST_PAGES.contains(&plain(name).as_str()) && value.is_u64())?;
        let is_page = PAGES.contains(&member.name.as_str());
        let toml = format!("{{ by = \"page\", param = \"page\", start = {start} }}");
        let why = format!(
            "`{}` numbers the page, `{last}` says how many there are",
            member.path
        );
        is_page.then(|| guess(toml, why))
    })
}

/// All members of objects in objects.
fn collect<'a>(
    value: &'a Value,
    (home, parent): (String, String),
    depth: usize,
    found: &mut Vec<Outside<'a>>,
) {
    let Value::Object(among) = value else {
        return;
    };
    for (name, value) in among.iter().take(MEMBERS_MAX) {
        let path = format!("{home}{}", step(name));
        found.push(Outside {
            path: path.clone(),
            name: plain(name),
            parent: parent.clone(),
            value,
            among,
            home: home.clone(),
        });
        if depth < DEPTH_MAX {
            collect(value, (path, plain(name)), depth + 1, found);
        }
    }
}

fn is_url(text: &str) -> bool {
    ["http://", "https://", "/", "?"]
        .iter()
        .any(|start| text.starts_with(start))
}

fn sure(toml: String, why: String) -> Paging {
    Paging {
        toml,
        why,
        is_guess: false,
    }
}

fn guess(toml: String, why: String) -> Paging {
    Paging {
        is_guess: true,
        ..sure(toml, why)
    }
}
