//! What goes on to the upstream: headers, credentials, paths.

use super::*;
use crate::secret::Secret;

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        })
        .fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(name, value);
            map
        })
}

fn proxy() -> Proxy {
    Proxy {
        listen: Vec::new(),
        trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network")],
        connections_max: 1,
        drain_delay: std::time::Duration::ZERO,
        grace: std::time::Duration::ZERO,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn the_caller_is_the_first_untrusted_address_from_the_right() {
    let proxy = proxy();
    for (peer, chain, want) in [
        ("192.0.2.1", "1.1.1.1", "192.0.2.1"),
        ("10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1"),
        ("10.0.0.1", "1.1.1.1, nonsense, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "[2001:db8::1]:99", "2001:db8::1"),
        ("10.0.0.1", "1.1.1.1:99", "1.1.1.1"),
        ("::ffff:10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
    ] {
        let found = client(
            ip(peer),
            &headers(&[("x-forwarded-for", chain)]),
            Some(&proxy),
        );
        assert_eq!(found, ip(want), "{peer} {chain}");
    }
}

#[test]
fn several_lines_of_the_chain_are_one_list() {
    let two = headers(&[
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-for", "1.1.1.1, 10.0.0.2"),
    ]);
    assert_eq!(client(ip("10.0.0.1"), &two, Some(&proxy())), ip("1.1.1.1"));
    let sent = forwarded_for(ip("10.0.0.1"), &two, Trust::Believed);
    assert_eq!(sent, "6.6.6.6, 1.1.1.1, 10.0.0.2, 10.0.0.1");
    assert_eq!(forwarded_for(ip("10.0.0.1"), &two, Trust::Peer), "10.0.0.1");
}

#[test]
fn sane_request_ids_are_kept_and_others_replaced() {
    let now = Timestamp::from_millis(0x0123_4567_89ab);
    let id =
        |fields: &[(&'static str, &'static str)]| request_id(&headers(fields), now, [u64::MAX, 1]);
    assert_eq!(id(&[("x-request-id", "abc-1")]), "abc-1");
    let new = "01234567-89ab-7fff-bfff-000000000001";
    assert_eq!(id(&[]), new);
    assert_eq!(id(&[("x-request-id", "a b")]), new);
    assert_eq!(id(&[("x-request-id", "")]), new);
    assert_eq!(id(&[("x-request-id", "a"), ("x-request-id", "b")]), new);
}

#[test]
fn only_one_key_of_the_route_opens_it() {
    let keys = ["one", "two"]
        .map(|key| Secret::new(key.to_owned()))
        .to_vec();
    let auth = RouteAuth::Keys(keys);
    for (fields, want) in [
        (vec![("authorization", "Bearer one")], Entry::Key),
        (vec![("authorization", "bearer two")], Entry::Key),
        (vec![("authorization", "Bearer three")], Entry::Refused),
        (vec![("authorization", "Basic one")], Entry::Refused),
        (vec![("authorization", "Bearer")], Entry::Refused),
        (vec![], Entry::Refused),
        (
            vec![
                ("authorization", "Bearer one"),
                ("authorization", "Bearer one"),
            ],
            Entry::Refused,
        ),
    ] {
        assert_eq!(entry(&auth, &headers(&fields)), want, "{fields:?}");
    }
    assert_eq!(entry(&RouteAuth::Open, &headers(&[])), Entry::Open);
}

#[test]
fn a_callers_credential_is_seen_wherever_the_upstream_looks() {
    let secret = || Secret::new("s".to_owned());
    let header = Auth::Header {
        name: HeaderName::from_static("x-key"),
        value: secret(),
    };
    let query = Auth::Query {
        name: "key".to_owned(),
        value: secret(),
    };
    let bearer = Auth::Bearer(secret());
    for (fields, asked, auth, entry, want) in [
        (vec![], None, Some(&bearer), Entry::Open, false),
        (
            vec![("authorization", "x")],
            None,
            Some(&bearer),
            Entry::Open,
            true,
        ),
        (
            vec![("authorization", "x")],
            None,
            Some(&bearer),
            Entry::Key,
            false,
        ),
        (vec![("cookie", "x")], None, Some(&bearer), Entry::Key, true),
        (
            vec![("authorization", "x")],
            None,
            Some(&header),
            Entry::Open,
            true,
        ),
        (vec![("x-key", "x")], None, Some(&header), Entry::Open, true),
        (
            vec![("x-key", "x")],
            None,
            Some(&bearer),
            Entry::Open,
            false,
        ),
        (
            vec![],
            Some(&b"a=1&key=x"[..]),
            Some(&query),
            Entry::Open,
            true,
        ),
        (vec![], Some(&b"a=1"[..]), Some(&query), Entry::Open, false),
        (vec![], Some(&b"key=x"[..]), None, Entry::Open, false),
    ] {
        let brings = brings_credential(&headers(&fields), asked, auth, entry);
        assert_eq!(brings, want, "{fields:?} {asked:?} {auth:?} {entry:?}");
    }
}

#[test]
fn hosts_lose_their_port_and_case() {
    for (field, want) in [
        ("A.Example:80", "a.example"),
        ("[::1]:80", "[::1]"),
        ("a", "a"),
    ] {
        assert_eq!(host(&headers(&[("host", field)])), want);
    }
}

#[test]
fn hop_by_hop_fields_of_an_answer_are_named_but_not_its_framing() {
    let fields = headers(&[
        ("connection", "close, X-Internal, content-length"),
        ("x-internal", "1"),
        ("content-length", "1"),
        ("keep-alive", "timeout=5"),
        ("x-kept", "1"),
    ]);
    let names = hop_by_hop(&fields);
    assert_eq!(names, ["keep-alive", "x-internal"]);
}

#[test]
fn forwarded_is_walked_like_its_older_kin_and_only_without_it() {
    let proxy = proxy();
    for (peer, chain, want) in [
        ("192.0.2.1", "for=1.1.1.1", "192.0.2.1"),
        ("10.0.0.1", "for=1.1.1.1;proto=https", "1.1.1.1"),
        (
            "10.0.0.1",
            "for=6.6.6.6, proto=http; FOR=1.1.1.1, for=10.0.0.2",
            "1.1.1.1",
        ),
        ("10.0.0.1", "for=\"[2001:db8::1]:99\"", "2001:db8::1"),
        ("10.0.0.1", "for=\"1.1.1.1:99\"", "1.1.1.1"),
        (
            "10.0.0.1",
            "for=1.1.1.1, for=unknown, for=10.0.0.2",
            "10.0.0.2",
        ),
        ("10.0.0.1", "for=1.1.1.1, for=_hidden", "10.0.0.1"),
        ("10.0.0.1", "for=1.1.1.1, by=10.0.0.2", "10.0.0.1"),
        ("10.0.0.1", "for=1.1.1.1;for=2.2.2.2", "10.0.0.1"),
    ] {
        let found = client(ip(peer), &headers(&[("forwarded", chain)]), Some(&proxy));
        assert_eq!(found, ip(want), "{peer} {chain}");
    }
    let both = headers(&[("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "1.1.1.1")]);
    assert_eq!(client(ip("10.0.0.1"), &both, Some(&proxy)), ip("1.1.1.1"));
}
