//! Where a walk goes on, where it ends, and when it is lost.

use http::{HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::{Deletes, Parameter};
use crate::detect::Path;
use crate::upstream::Place;

/// One page as a server sends it.
#[derive(Clone, Default)]
struct Sent {
    headers: Vec<(&'static str, String)>,
    named: Option<String>,
    more: Option<String>,
    items: usize,
    body: Vec<u8>,
}

fn first(url: &str) -> Request {
    Request {
        method: Method::GET,
        url: url.parse().expect("a URL"),
        home: true,
        headers: http::HeaderMap::new(),
        body: Bytes::new(),
        body_bytes_max: 1000,
    }
}

fn paginate(by: PageBy) -> Paginate {
    Paginate {
        by,
        more: None,
        pages_max: 5,
    }
}

fn at(path: &str) -> PageAt {
    PageAt::Body(Path::parse(path).expect("a path"))
}

fn query(name: &str) -> Parameter {
    Parameter::Query(name.to_owned())
}

fn cursor() -> PageBy {
    PageBy::Cursor(at("$.next"), query("cursor"))
}

fn page() -> PageBy {
    PageBy::Page {
        parameter: query("page"),
        start: 1,
        end_status: None,
    }
}

fn offset(limit: u64) -> PageBy {
    PageBy::Offset {
        parameter: query("offset"),
        limit,
    }
}

fn named(spelled: &str) -> Sent {
    Sent {
        named: Some(spelled.to_owned()),
        ..Sent::default()
    }
}

/// A page of `items` that differs from all others by its number.
fn counted(number: u8, items: usize) -> Sent {
    Sent {
        items,
        body: vec![number],
        ..Sent::default()
    }
}

/// The next request's URL after `sent` came from `place`.
fn after(paging: &mut Paging, place: &Place, sent: &Sent) -> Result<Option<Request>, Astray> {
    let headers = sent.headers.iter().map(|(name, value)| {
        let name: HeaderName = name.parse().expect("a name");
        (name, HeaderValue::from_str(value).expect("a value"))
    });
    let leaf = Leaf {
        place,
        headers: &headers.collect(),
        named: sent.named.as_deref(),
        more: sent.more.as_deref(),
        items: sent.items,
        raw: RawDigest::of(&sent.body),
    };
    paging.after(&leaf)
}

/// All URLs of a walk in which the upstream sends these pages, and how it ends.
fn walk(paginate: &Paginate, pages: &[Sent]) -> (Vec<String>, Result<(), Astray>) {
    walk_for(Deletes::Never, paginate, pages)
}

fn walk_for(
    deletes: Deletes,
    paginate: &Paginate,
    pages: &[Sent],
) -> (Vec<String>, Result<(), Astray>) {
    let first = first("https://a.example/api/list?x=1");
    let (mut paging, mut request) = Paging::begin(paginate, deletes, first).expect("begins");
    let mut urls = Vec::new();
    for sent in pages {
        let place = Place {
            url: request.url.clone(),
            home: request.home,
        };
        urls.push(request.url.to_string());
        match after(&mut paging, &place, sent) {
            Ok(Some(next)) => request = next,
            Ok(None) => return (urls, Ok(())),
            Err(astray) => return (urls, Err(astray)),
        }
    }
    urls.push(request.url.to_string());
    (urls, Ok(()))
}

fn urls(paginate: &Paginate, pages: &[Sent]) -> Vec<String> {
    let (urls, end) = walk(paginate, pages);
    assert_eq!(end, Ok(()));
    let short = urls.iter();
    short
        .map(|url| url.replace("https://a.example/api/list", ""))
        .collect()
}

fn astray(paginate: &Paginate, pages: &[Sent]) -> Astray {
    walk(paginate, pages).1.expect_err("it is lost")
}

/// A page with one header.
fn headed(name: &'static str, value: &str) -> Sent {
    Sent {
        headers: vec![(name, value.to_owned())],
        ..Sent::default()
    }
}

/// A walk of these pages asks for exactly these URLs.
fn assert_urls<const N: usize>(by: PageBy, pages: &[Sent], expected: [&str; N]) {
    assert_eq!(urls(&paginate(by), pages), expected);
}

#[test]
fn links_lead_on_and_end() {
    let last = Sent::default();
    // GitHub, docker-registry: absolute, relative.
    for (target, expected) in [
        ("https://a.example/api/list?page=2", "?page=2"),
        ("/api/list?last=a&n=1", "?last=a&n=1"),
    ] {
        let linked = headed("link", &format!("<{target}>; rel=\"next\""));
        assert_urls(PageBy::Link, &[linked, last.clone()], ["?x=1", expected]);
    }
    // DRF: null; JSON:API: missing; others: "", false.
    let next = || PageBy::Next(at("$.next"));
    for end in [named("null"), last.clone(), named("\"\""), named("false")] {
        let pages = [named("\"?page=2\""), end];
        assert_urls(next(), &pages, ["?x=1", "?page=2"]);
    }
    let kinto = PageBy::Next(PageAt::Header(HeaderName::from_static("next-page")));
    let pages = [headed("next-page", "?_token=t"), last];
    assert_urls(kinto, &pages, ["?x=1", "?_token=t"]);
}

#[test]
fn cursors_lead_on_and_end() {
    // Slack: ""; Google: missing; a number is as good.
    for (spelled, expected, end) in [
        ("\"a=&b\"", "?x=1&cursor=a%3D%26b", named("\"\"")),
        ("\"t\"", "?x=1&cursor=t", Sent::default()),
        ("7", "?x=1&cursor=7", named("null")),
        (
            "18446744073709551617",
            "?x=1&cursor=18446744073709551617",
            named("null"),
        ),
    ] {
        assert_urls(cursor(), &[named(spelled), end], ["?x=1", expected]);
    }
    let header = PageAt::Header(HeaderName::from_static("x-next"));
    let pages = [headed("x-next", "t"), headed("x-next", "")];
    assert_urls(
        PageBy::Cursor(header, query("c")),
        &pages,
        ["?x=1", "?x=1&c=t"],
    );
}

#[test]
fn numbers_lead_on_and_end() {
    let pages = [counted(1, 9), counted(2, 3), counted(3, 0)];
    assert_urls(
        page(),
        &pages,
        ["?x=1&page=1", "?x=1&page=2", "?x=1&page=3"],
    );
    let pages = [counted(1, 3), counted(2, 2)];
    assert_urls(offset(3), &pages, ["?x=1&offset=0", "?x=1&offset=3"]);
}

#[test]
fn a_short_page_in_the_middle_deletes_nothing() {
    let mut by = paginate(offset(3));
    let mut pages = [counted(1, 3), counted(2, 2), counted(3, 1), counted(4, 0)];
    let (urls, end) = walk_for(Deletes::Full, &by, &pages);
    assert_eq!(end, Ok(()));
    assert_eq!(urls.len(), 4, "{urls:?}");
    assert!(urls[3].ends_with("offset=6"), "{urls:?}");
    // Unless a page says that it is the last.
    by.more = Some(Path::parse("$.more").expect("a path"));
    pages[1].more = Some("false".to_owned());
    assert_eq!(walk_for(Deletes::Full, &by, &pages).0.len(), 2);
}

#[test]
fn a_cursor_of_nothing_is_the_end_but_not_of_the_first_page() {
    for end in ["0", "\"0\"", "[]", "{}"] {
        let pages = [named("\"a\""), named(end)];
        assert_urls(cursor(), &pages, ["?x=1", "?x=1&cursor=a"]);
    }
    let pages = [named("0"), named("1"), named("0")];
    assert_urls(cursor(), &pages, ["?x=1", "?x=1&cursor=0", "?x=1&cursor=1"]);
    let minus = [named("-1"), named("-1")];
    let lost = astray(&paginate(cursor()), &minus);
    assert!(lost.to_string().contains("`more`"), "{lost}");
}

#[test]
fn an_upstream_that_gives_less_than_the_limit_loses_nothing() {
    let pages = [counted(1, 2), counted(2, 2), counted(3, 1), counted(4, 0)];
    let urls = urls(&paginate(offset(3)), &pages);
    assert_eq!(
        urls,
        [
            "?x=1&offset=0",
            "?x=1&offset=2",
            "?x=1&offset=4",
            "?x=1&offset=5"
        ]
    );
}

#[test]
fn what_a_page_says_of_more_counts_more_than_what_it_holds() {
    let saying = |more: &str, sent: Sent| Sent {
        more: Some(more.to_owned()),
        ..sent
    };
    let mut by_cursor = paginate(cursor());
    by_cursor.more = Some(Path::parse("$.has_more").expect("a path"));
    // Stripe, Relay: the last page has a cursor, too.
    let pages = [
        saying("true", named("\"a\"")),
        saying("false", named("\"b\"")),
    ];
    assert_eq!(urls(&by_cursor, &pages), ["?x=1", "?x=1&cursor=a"]);
    let pages = [
        saying("true", counted(1, 0)),
        saying("false", counted(2, 2)),
    ];
    assert_eq!(
        urls(&paginate(page()), &pages),
        ["?x=1&page=1", "?x=1&page=2"]
    );
    assert!(matches!(
        astray(&by_cursor, &[saying("\"yes\"", named("\"a\""))]),
        Astray::Name(_)
    ));
}

#[test]
fn empty_pages_in_the_middle_do_not_end_a_walk_that_leads_on() {
    let pages = [named("\"a\""), named("\"b\""), named("null")];
    assert_eq!(urls(&paginate(cursor()), &pages).len(), 3);
}

#[test]
fn loops_and_endless_walks_are_errors() {
    let next = paginate(PageBy::Next(at("$.next")));
    let back = [named("\"?page=2\""), named("\"?x=1\"")];
    assert_eq!(astray(&next, &back), Astray::Loop);
    let fragment = [named("\"?x=1#top\"")];
    assert_eq!(astray(&next, &fragment), Astray::Loop);
    let same = [named("\"a\""), named("\"a\"")];
    assert_eq!(astray(&paginate(cursor()), &same), Astray::Loop);
    let endless: Vec<Sent> = (0..9).map(|n| named(&format!("\"{n}\""))).collect();
    assert_eq!(astray(&paginate(cursor()), &endless), Astray::TooMany(5));
    let all: Vec<Sent> = (0..9).map(|n| counted(n, 1)).collect();
    assert_eq!(astray(&paginate(page()), &all), Astray::TooMany(5));
    for by in [page(), offset(2)] {
        let name = by.parameter().expect("it has one").to_string();
        let heedless = [counted(1, 2), counted(1, 2)];
        assert_eq!(astray(&paginate(by), &heedless), Astray::Unheeded(name));
    }
}

#[test]
fn the_last_allowed_page_may_be_the_last() {
    let mut pages: Vec<Sent> = (0..4).map(|n| named(&format!("\"{n}\""))).collect();
    pages.push(Sent::default());
    assert_eq!(urls(&paginate(cursor()), &pages).len(), 5);
}

#[test]
fn names_that_are_none_are_errors() {
    for spelled in ["true", "[1]", "{\"a\":1}"] {
        let lost = astray(&paginate(cursor()), &[named(spelled)]);
        assert!(matches!(lost, Astray::Name(_)), "{spelled}");
    }
    let next = paginate(PageBy::Next(at("$.next")));
    for spelled in [
        "7",
        "\"http://[\"",
        "\"ftp://a.example/\"",
        "\"http://a.example/\"",
        "\"https://u:p@a.example/\"",
    ] {
        let lost = astray(&next, &[named(spelled)]);
        assert!(
            matches!(lost, Astray::Name(_) | Astray::Reference(_)),
            "{spelled}"
        );
    }
}

#[test]
fn what_leaves_the_origin_does_not_come_home() {
    let by = paginate(PageBy::Next(at("$.next")));
    let (mut paging, request) =
        Paging::begin(&by, Deletes::Never, first("https://a.example/1")).expect("begins");
    let mut place = Place {
        url: request.url,
        home: true,
    };
    for target in ["https://b.example/2", "https://a.example/3"] {
        let sent = named(&json!(target).to_string());
        let next = after(&mut paging, &place, &sent)
            .expect("a page")
            .expect("one more");
        assert!(!next.home, "{target}");
        place = Place {
            url: next.url,
            home: next.home,
        };
    }
    let search = Request {
        method: Method::POST,
        ..first("https://a.example/1")
    };
    let (mut paging, request) = Paging::begin(&by, Deletes::Never, search).expect("begins");
    let place = Place {
        url: request.url,
        home: true,
    };
    let away = after(&mut paging, &place, &named("\"https://b.example/2\""));
    assert!(matches!(away, Err(Astray::Reference(_))));
}

#[test]
fn a_parameter_may_stand_in_the_body_with_its_type() {
    let path = ["variables".to_owned(), "after".to_owned()];
    let by = paginate(PageBy::Cursor(at("$.next"), Parameter::Body(path.to_vec())));
    let search = Request {
        body: Bytes::from_static(br#"{"query":"{ a }"}"#),
        ..first("https://a.example/1")
    };
    let (mut paging, request) = Paging::begin(&by, Deletes::Never, search).expect("begins");
    let place = Place {
        url: request.url,
        home: true,
    };
    for (spelled, expected) in [
        ("\"x\"", json!("x")),
        ("7", json!(7)),
        (r#"["a",1]"#, json!(["a", 1])),
    ] {
        let next = after(&mut paging, &place, &named(spelled));
        let body = next.expect("a page").expect("one more").body;
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(
            body,
            json!({"query": "{ a }", "variables": {"after": expected}})
        );
    }
}

#[test]
fn only_a_status_that_is_named_ends_a_walk_and_never_at_its_first_page() {
    let wordpress = paginate(PageBy::Page {
        parameter: query("page"),
        start: 1,
        end_status: Some(400),
    });
    let (mut paging, request) =
        Paging::begin(&wordpress, Deletes::Never, first("https://a.example/1")).expect("begins");
    assert!(!paging.ends_with(Some(400)));
    let place = Place {
        url: request.url,
        home: true,
    };
    after(&mut paging, &place, &counted(1, 2)).expect("a page");
    assert!(paging.ends_with(Some(400)));
    assert!(!paging.ends_with(Some(404)));
    assert!(!paging.ends_with(None));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A list that stands still is seen whole, whatever is asked for and however little is given.
    #[test]
    fn offsets_miss_nothing(count in 0..40_usize, limit in 1..10_u64, given in 1..10_usize) {
        let mut by = paginate(offset(limit));
        by.pages_max = 100;
        let (mut paging, mut request) =
            Paging::begin(&by, Deletes::Never, first("https://a.example/1")).expect("begins");
        let given = given.min(usize::try_from(limit).expect("small"));
        let mut seen = std::collections::BTreeSet::new();
        loop {
            let pairs: Vec<_> = request.url.query_pairs().into_owned().collect();
            let from: usize = pairs[0].1.parse().expect("a number");
            let items: Vec<usize> = (from..count.min(from + given)).collect();
            seen.extend(items.iter().copied());
            let place = Place { url: request.url.clone(), home: true };
            let sent = Sent { items: items.len(), body: format!("{items:?}").into_bytes(), ..Sent::default() };
            match after(&mut paging, &place, &sent).expect("no loop") {
                Some(next) => request = next,
                None => break,
            }
        }
        prop_assert_eq!(seen.len(), count);
    }
}
