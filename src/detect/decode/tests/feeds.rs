//! RSS, Atom and JSON Feed.

use serde_json::json as value;

use super::*;

const RSS: &str = r#"<?xml version="1.0" encoding="ISO-8859-1"?>
<rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/"><channel>
<title>News &nbsp; more</title><link>https://a.example/</link>
<lastBuildDate>Mon, 06 Sep 2010 00:01:00 +0000</lastBuildDate>
<item><guid isPermaLink="false"> g1 </guid><title>One</title><link>https://a.example/1</link>
<pubDate>Sun, 06 Sep 2009 16:20:00 +0200</pubDate><description>&lt;p&gt;Hi&lt;/p&gt;</description>
<dc:creator>Eve</dc:creator><category>x</category>
<enclosure url="https://a.example/1.mp3" length="7" type="audio/mpeg"/></item>
<item><title>Two</title><link>https://a.example/2</link></item>
<item><title>Three</title></item>
</channel></rss>"#;

const ATOM: &str = r#"<feed xmlns="http://www.w3.org/2005/Atom"><title>News</title><id>f</id>
<updated>2005-07-31T12:29:29Z</updated>
<entry><id>urn:1</id><title>One</title><updated>2005-07-31T12:29:29.5Z</updated>
<link rel="self" href="https://a.example/self"/><link href="https://a.example/1"/>
<author><name>Eve</name></author><content type="html">&lt;b&gt;Hi&lt;/b&gt;</content></entry></feed>"#;

const RSS_1: &str = r#"<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns="http://purl.org/rss/1.0/"><channel rdf:about="https://a.example/"><title>News</title>
<link>https://a.example/</link><description>d</description></channel>
<item rdf:about="https://a.example/1"><title>One</title><link>https://a.example/1</link></item>
</rdf:RDF>"#;

const JSON: &str = r#"{"version": "https://jsonfeed.org/version/1.1", "title": "News", "items": [
{"id": "1", "url": "https://a.example/1", "title": "One", "content_html": "<b>Hi</b>",
 "date_published": "2010-02-07T14:04:00-05:00"}]}"#;

fn rules() -> Rules {
    items("$.entries[*]", "$.id")
}

#[test]
fn feeds_of_all_kinds_are_alike() {
    let rss = json(Format::Feed, RSS);
    assert_eq!(
        (&rss["type"], &rss["title"]),
        (&value!("rss"), &value!("News &nbsp; more"))
    );
    assert_eq!(
        rss["entries"][0],
        value!({
            "id": "g1", "title": "One", "link": "https://a.example/1",
            "published": "2009-09-06T14:20:00Z", "updated": "2009-09-06T14:20:00Z",
            "summary": "<p>Hi</p>", "authors": ["Eve"], "categories": ["x"],
            "enclosures": [{"url": "https://a.example/1.mp3", "type": "audio/mpeg", "bytes": 7}],
        })
    );
    let atom = json(Format::Feed, ATOM);
    assert_eq!(
        atom["entries"][0],
        value!({
            "id": "urn:1", "title": "One", "link": "https://a.example/1",
            "updated": "2005-07-31T12:29:29.500Z", "authors": ["Eve"], "content": "<b>Hi</b>",
        })
    );
    let one = json(Format::Feed, RSS_1);
    assert_eq!(one["entries"][0]["title"], "One");
    let feed = json(Format::Feed, JSON);
    assert_eq!(feed["entries"][0]["published"], "2010-02-07T19:04:00Z");
    assert_eq!(feed["entries"][0]["link"], "https://a.example/1");
}

#[test]
fn what_has_no_id_has_one_that_stays() {
    let of = |body: &str| ids(Format::Feed, body, &rules()).expect("a feed");
    let found = of(RSS);
    assert_eq!(found.len(), 3);
    assert!(found.contains(&"g1".to_owned()) && found.contains(&"https://a.example/2".to_owned()));
    assert_eq!(of(RSS), found, "twice the same");
    let moved = RSS.replace("<item><title>Three</title></item>", "");
    let moved = moved.replacen("<item>", "<item><title>Three</title></item><item>", 1);
    assert_eq!(of(&moved), found, "wherever it stands");
    let bare = RSS.replace("<title>Three</title>", "");
    assert_eq!(ids(Format::Feed, &bare, &rules()), Err("id"));
    assert_eq!(of(RSS_1), ["https://a.example/1"]);
}

#[test]
fn what_says_when_it_was_made_alone_has_not_changed() {
    let later = RSS.replace("00:01:00", "00:02:00");
    assert_eq!(json(Format::Feed, RSS), json(Format::Feed, &later));
}

#[test]
fn no_feed_is_told() {
    for body in [
        "Service Unavailable",
        "<html><body>Please sign in</body></html>",
        "<!doctype html><html><head><title>Sign in</title></head></html>",
        "<error><code>500</code></error>",
        "<rss version='2.0'></rss>",
        "<rss version='2.0'><channel><title>a</title>",
        "{\"error\": \"internalservererror\"}",
        "{\"version\": \"https://jsonfeed.org/version/9\", \"title\": \"a\", \"items\": []}",
        "{}",
        "[]",
    ] {
        assert_eq!(fault(Format::Feed, body), "parse", "{body}");
    }
}

#[test]
fn a_feed_that_is_cut_anywhere_is_told_of() {
    for whole in [RSS, ATOM, RSS_1, JSON] {
        for cut in 0..whole.len() {
            let kept = &whole[..cut];
            let found = ids(Format::Feed, kept, &rules());
            assert_eq!(found, Err("parse"), "{kept}");
        }
    }
}

#[test]
fn the_charset_that_was_declared_is_the_one_it_is_read_in() {
    let text = RSS.replace("One", "é");
    let latin = text.chars();
    let latin: Vec<u8> = latin.map(|c| u8::try_from(c).expect("Latin-1")).collect();
    let json = raw(Format::Feed, &latin, &Rules::default()).expect("a feed");
    let feed: Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(feed["entries"][0]["title"], "é");
}
