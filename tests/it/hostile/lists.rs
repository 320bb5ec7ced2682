//! What needs more than one row of the table: cuts at every kilobyte, lists of few and of a million
//! items, and where credentials go.

use serde_json::{Value, json};

use super::{JSON, item, memory_peak};
use crate::harness::{
    Asked, Doorbell, Egress, Piece, Receiver, Script, Wild, head, is_proving, tickets_of, well,
};

const PATH: &str = "/tickets";

/// A doorbell that watches [`PATH`] of `wild`; `more` is added to its source.
async fn watching(wild: &Wild, receiver: &Receiver, more: &str) -> Doorbell {
    Doorbell::start(&tickets_of(&wild.to_string(), receiver, more)).await
}

fn sending(pieces: Vec<Piece>) -> Script {
    std::sync::Arc::new(move |_| pieces.clone())
}

/// Method: a list of more bytes than are read on the runtime's threads, cut at every kilobyte, once
/// as an answer that is well otherwise and once by a connection that is lost; then one real change.
#[tokio::test]
async fn a_list_that_is_cut_anywhere_is_no_change() {
    let wild = Wild::listening().await;
    wild.serve(PATH, (1..=300).map(item).collect());
    let receiver = Receiver::accepting().await;
    let doorbell = watching(&wild, &receiver, "").await;
    doorbell.poll("tickets").await;
    let list: Vec<_> = (1..=300).map(item).collect();
    let list = serde_json::to_string(&list).expect("values are JSON");
    let length = list.len().to_string();
    assert!(list.len() > 80 * 1024);

    for cut in (0..list.len()).step_by(1024) {
        let kept = &list.as_bytes()[..cut];
        let whole = vec![Piece::Send(well("200 OK", &[JSON], kept))];
        let torn = [
            &head("200 OK", &[JSON, ("content-length", &length)])[..],
            kept,
        ]
        .concat();
        for (pieces, reason) in [(whole, "parse"), (vec![Piece::Send(torn.into())], "body")] {
            wild.answer(PATH, sending(pieces));
            let polled = doorbell.poll("tickets").await;
            assert_eq!(polled["reason"], reason, "cut at {cut}: {polled}");
            assert_eq!(polled["events"], 0, "cut at {cut}: {polled}");
        }
    }
    wild.answer_well(PATH);
    assert_eq!(doorbell.poll("tickets").await["outcome"], "unchanged");
    wild.change(PATH, |list| list[7]["state"] = json!("closed"));
    assert_eq!(doorbell.poll("tickets").await["events"], 1);
    let rings = receiver.until_accepted(1).await;
    assert_eq!((rings.len(), rings[0].subject()), (1, "8"));
}

/// Up to ten items may go at once without the guard; whoever has a short list and an upstream that
/// is not to be trusted asks for `confirm`.
#[tokio::test]
async fn a_short_list_that_is_empty_for_one_fetch_lost_nothing_where_changes_are_confirmed() {
    let wild = Wild::listening().await;
    wild.serve(PATH, vec![item(1)]);
    let receiver = Receiver::accepting().await;
    let confirm = "confirm = { polls = 2, after = \"1h\" }";
    let doorbell = watching(&wild, &receiver, confirm).await;
    doorbell.poll("tickets").await;
    for _ in 0..5 {
        wild.answer(
            PATH,
            sending(vec![Piece::Send(well("200 OK", &[JSON], "[]"))]),
        );
        let polled = doorbell.poll("tickets").await;
        assert_eq!(polled["reason"], "confirm", "{polled}");
        wild.answer_well(PATH);
        let polled = doorbell.poll("tickets").await;
        assert_eq!(polled["outcome"], "unchanged", "{polled}");
    }
    wild.change(PATH, Vec::clear);
    let events = [
        doorbell.poll("tickets").await,
        doorbell.poll("tickets").await,
    ];
    assert_eq!(
        events.map(|polled| polled["events"].clone()),
        [json!(0), json!(1)]
    );
    let rings = receiver.until_accepted(1).await;
    assert_eq!(rings[0].event_type(), "tickets.deleted");
}

/// Method: the credential and the validators of the first place are looked for in everything that
/// the second one, which is another origin, was ever asked.
#[tokio::test]
async fn a_redirect_to_another_origin_takes_no_credential_along_and_a_login_page_there_is_no_change()
 {
    let (wild, other) = (Wild::listening().await, Wild::listening().await);
    wild.serve(PATH, (1..=20).map(item).collect());
    other.serve("/login", Vec::new());
    let receiver = Receiver::accepting().await;
    let doorbell = with_secret(&wild, &other, &receiver, "").await;
    let etag = ("etag", "\"one\"");
    let list = serde_json::to_string(&(1..=20).map(item).collect::<Vec<_>>()).expect("JSON");
    wild.answer(
        PATH,
        sending(vec![Piece::Send(well("200 OK", &[JSON, etag], &list))]),
    );
    doorbell.poll("tickets").await;

    let to = "http://other.example/login";
    wild.answer(
        PATH,
        sending(vec![Piece::Send(well(
            "302 Found",
            &[("location", to)],
            "",
        ))]),
    );
    let html = ("content-type", "text/html");
    other.answer(
        "/login",
        sending(vec![Piece::Send(well("200 OK", &[html], "<form>"))]),
    );
    for _ in 0..5 {
        let polled = doorbell.poll("tickets").await;
        assert_eq!(polled["reason"], "content_type", "{polled}");
    }
    let heads = other.heads("/login");
    assert_eq!(heads.len(), 5);
    assert_no_trace(&heads);
    assert!(
        wild.heads(PATH)[1].contains("s3cret"),
        "the first place is asked with it"
    );
    assert!(receiver.rings().is_empty());
}

/// With raised bounds; a tenth of a million unless the long counts are wanted.
#[tokio::test]
async fn a_list_of_a_million_items_is_compared_in_bounded_memory() {
    let count: u64 = if is_proving() { 1_000_001 } else { 100_000 };
    let bytes_max = count * 64;
    let wild = Wild::listening().await;
    let receiver = Receiver::accepting().await;
    let more = format!(
        "items_max = 2000000\nbody_bytes_max = \"{}KiB\"\nkeep = \"digests\"",
        bytes_max / 1024 + 1
    );
    let doorbell = watching(&wild, &receiver, &more).await;
    wild.serve(
        PATH,
        (0..count)
            .map(|id| json!({"id": id, "state": "open"}))
            .collect(),
    );
    let before = memory_peak(&doorbell);
    assert_eq!(doorbell.poll("tickets").await["outcome"], "unchanged");

    let half: Vec<_> = (0..count / 2).map(|id| json!({"id": id})).collect();
    let half = serde_json::to_string(&half).expect("JSON");
    let cut = &half.as_bytes()[..half.len() - 1];
    wild.answer(
        PATH,
        sending(vec![Piece::Send(well("200 OK", &[JSON], cut))]),
    );
    assert_eq!(doorbell.poll("tickets").await["reason"], "parse");
    wild.answer(
        PATH,
        sending(vec![Piece::Send(well("200 OK", &[JSON], "[]"))]),
    );
    assert_eq!(doorbell.poll("tickets").await["reason"], "guard");
    wild.answer_well(PATH);
    assert_eq!(doorbell.poll("tickets").await["outcome"], "unchanged");
    wild.change(PATH, |list| list[77]["state"] = json!("closed"));
    assert_eq!(doorbell.poll("tickets").await["events"], 1);
    let rings = receiver.until_accepted(1).await;
    assert_eq!((rings.len(), rings[0].subject()), (1, "77"));

    // The body, the walk, the snapshot, and what a baseline writes: 366 bytes an item were seen.
    let grown = memory_peak(&doorbell) - before;
    let most = 64 * 1024 * 1024 + count * 400;
    assert!(grown < most, "{count} items: grew by {} MiB", grown >> 20);
}

/// Method: the upstream goes away and comes back at its place; two others were never there.
#[tokio::test]
async fn where_nobody_answers_nothing_has_changed() {
    let wild = Wild::listening().await;
    let url = wild.to_string();
    wild.serve(PATH, vec![item(1)]);
    let receiver = Receiver::accepting().await;
    let elsewhere = |name: &str, url: &str| {
        format!(
            "[upstreams.{name}]\nurl = \"{url}\"\n[sources.{name}]\nupstream = \"{name}\"\n\
             path = \"/\"\nevery = \"manual\"\n"
        )
    };
    let config = tickets_of(&url, &receiver, "")
        + &elsewhere("unknown", "http://doorbell.invalid")
        + &elsewhere("plain", &receiver.to_string().replace("http:", "https:"));
    let doorbell = Doorbell::start(&config).await;
    doorbell.poll("tickets").await;
    let failing = async |source: &str, reason: &str| {
        for _ in 0..5 {
            let polled = doorbell.poll(source).await;
            assert_eq!(polled["reason"], reason, "{polled}");
        }
    };
    failing("unknown", "dns").await;
    failing("plain", "tls").await;
    wild.leave().await;
    failing("tickets", "connect").await;

    let wild = Wild::listening_at(url.trim_start_matches("http://")).await;
    wild.serve(PATH, vec![item(1), item(2)]);
    assert_eq!(doorbell.poll("tickets").await["events"], 1);
    let rings = receiver.until_accepted(1).await;
    assert_eq!((rings.len(), rings[0].subject()), (1, "2"));
}

/// Method: as for the redirect; the second page is another origin's.
#[tokio::test]
async fn a_link_to_another_origin_is_walked_without_the_credential() {
    let (wild, other) = (Wild::listening().await, Wild::listening().await);
    wild.serve(PATH, (1..=20).map(item).collect());
    let link = "<http://other.example/more?page=2>; rel=\"next\"";
    let answer = move |asked: &Asked| {
        let headers = [JSON, ("link", link), ("set-cookie", "own=1")];
        vec![Piece::Send(well("200 OK", &headers, &asked.list))]
    };
    wild.answer(PATH, std::sync::Arc::new(answer));
    other.serve("/more", (21..=40).map(item).collect());
    let receiver = Receiver::accepting().await;
    let by_links = "paginate = { by = \"link\" }";
    let doorbell = with_secret(&wild, &other, &receiver, by_links).await;
    assert_eq!(doorbell.poll("tickets").await["outcome"], "unchanged");
    other.change("/more", |list| list[0]["state"] = json!("closed"));
    assert_eq!(doorbell.poll("tickets").await["events"], 1);
    let heads = other.heads("/more");
    assert_eq!(heads.len(), 2);
    assert_no_trace(&heads);
    assert!(wild.heads(PATH)[1].contains("s3cret"));
    let rings = receiver.until_accepted(1).await;
    assert_eq!((rings.len(), rings[0].subject()), (1, "21"));
}

/// A doorbell that shows a secret to `wild`, from where `http://other.example` leads to `other`: by
/// an egress proxy, for no address here is public.
async fn with_secret(wild: &Wild, other: &Wild, receiver: &Receiver, more: &str) -> Doorbell {
    let egress = Egress::knowing(&[("api.example", wild), ("other.example", other)]);
    let more = format!("headers = {{ x-own = \"mine\" }}\n{more}");
    let config = tickets_of("http://api.example", receiver, &more);
    let secret =
        format!("auth = {{ bearer = \"s3cret\" }}\negress_proxy = \"{egress}\"\n[endpoints.ops]");
    Doorbell::start(&config.replace("[endpoints.ops]", &secret)).await
}

/// What an origin is asked that is not the source's own.
fn assert_no_trace(heads: &[String]) {
    for head in heads {
        let head = head.to_ascii_lowercase();
        // What is for the proxy it passes on here.
        let head = head.replace("proxy-authorization", "");
        for own in [
            "s3cret",
            "authorization",
            "x-own",
            "if-none-match",
            "cookie",
            "referer",
        ] {
            assert!(!head.contains(own), "{own} in {head}");
        }
    }
}

/// Method: the same items in pages of one size after the other, each page spelled with its length.
#[tokio::test]
async fn the_size_of_pages_is_no_change() {
    let wild = Wild::listening().await;
    wild.serve(PATH, (1..=40).map(item).collect());
    let receiver = Receiver::accepting().await;
    let more = "paginate = { by = \"link\" }";
    let doorbell = watching(&wild, &receiver, more).await;
    let pages = |size: usize| {
        let answer = move |asked: &Asked| {
            let items: Vec<Value> = serde_json::from_str(&asked.list).expect("a list");
            let number: usize = asked.query.parse().unwrap_or(0);
            let page = items.chunks(size).nth(number).unwrap_or_default();
            let body = serde_json::to_string(page).expect("values are JSON");
            let next = format!("<?{}>; rel=\"next\"", number + 1);
            let is_last = (number + 1) * size >= items.len();
            let headers = if is_last {
                vec![JSON]
            } else {
                vec![JSON, ("link", &*next)]
            };
            vec![Piece::Send(well("200 OK", &headers, body))]
        };
        std::sync::Arc::new(answer) as Script
    };
    for size in [7, 1, 40, 13, 3, 20, 39] {
        wild.answer(PATH, pages(size));
        let polled = doorbell.poll("tickets").await;
        assert_eq!(polled["outcome"], "unchanged", "{size} a page: {polled}");
    }
    wild.change(PATH, |list| list[25]["state"] = json!("closed"));
    wild.answer(PATH, pages(9));
    assert_eq!(doorbell.poll("tickets").await["events"], 1);
    let rings = receiver.until_accepted(1).await;
    assert_eq!((rings.len(), rings[0].subject()), (1, "26"));
}
