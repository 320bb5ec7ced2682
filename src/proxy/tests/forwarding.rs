//! Which route takes a request, and what the upstream gets to see of it.

use super::*;
use crate::config::Auth;
use crate::secret::Secret;

fn secret() -> Secret {
    Secret::new("ours".to_owned())
}

async fn seen(house: &House, fake: &Fake, request: &str) -> Seen {
    let answer = house.call(request).await;
    assert_eq!(answer.status, 200, "{request:?}");
    fake.last()
}

#[tokio::test]
async fn the_longest_prefix_wins_and_a_host_wins_over_any() {
    let fake = Fake::ok().await;
    let strip = |route: config::Route| config::Route {
        strip_prefix: true,
        ..route
    };
    let mut hosted = strip(route("hosted", "/api/items"));
    hosted.host = Some("special".to_owned());
    let mut base = upstream(&fake.url());
    base.url.set_path("/base");
    let routes = vec![
        route("all", "/"),
        strip(route("api", "/api/")),
        strip(route("items", "/api/items")),
        hosted,
    ];
    let house = House::with(base, routes).await;
    for (target, host, line, route) in [
        ("/x?q=%20&&a=%2F", "a", "GET /base/x?q=%20&&a=%2F", "all"),
        ("/apix", "a", "GET /base/apix", "all"),
        ("/api/x", "a", "GET /base/x", "api"),
        ("/api/", "a", "GET /base/", "api"),
        ("/api//x", "a", "GET /base//x", "api"),
        ("/api/items", "a", "GET /base/", "items"),
        ("/api/items/1", "a", "GET /base/1", "items"),
        ("/api/items/1", "SPECIAL:80", "GET /base/1", "hosted"),
        ("http://a/api/x?y", "a", "GET /base/x?y", "api"),
        ("/api/%61", "a", "GET /base/%61", "api"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(seen(&house, &fake, &request).await.line(), line, "{target}");
        let some = format!("code=\"200\",method=\"GET\",route=\"{route}\"}}");
        house.counted(&some).await;
    }
}

#[tokio::test]
async fn the_upstream_learns_who_called_and_untrusted_words_are_dropped() {
    let fake = Fake::ok().await;
    let house = House::before(&fake).await;
    let seen = seen(
        &house,
        &fake,
        "GET / HTTP/1.1\r\nHost: doorbell:80\r\nX-Forwarded-For: 6.6.6.6\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Prefix: /evil\r\n\
         X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Request-Id: abc\r\n\
         X_Forwarded_For: 6.6.6.6\r\nX_Real-IP: 6.6.6.6\r\n\
         Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nProxy-Authorization: x\r\n\
         TE: trailers\r\nX-Kept: 1\r\n\r\n",
    )
    .await;
    let authority = fake.url().replace("http://", "");
    for (name, want) in [
        ("host", Some(&*authority)),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("doorbell:80")),
        ("x-forwarded-prefix", None),
        ("x-real-ip", None),
        ("x_forwarded_for", None),
        ("x_real-ip", None),
        ("forwarded", None),
        ("x-request-id", Some("abc")),
        ("x-hop", None),
        ("keep-alive", None),
        ("proxy-authorization", None),
        ("te", None),
        ("x-kept", Some("1")),
    ] {
        assert_eq!(seen.header(name), want, "{name}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_added_to_the_chain() {
    let fake = Fake::ok().await;
    let mut config = config(vec![upstream(&fake.url())], vec![route("all", "/")]);
    let proxy = config.proxy.as_mut().expect("a proxy");
    proxy.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let house = House::of(config).await;
    let seen = seen(
        &house,
        &fake,
        "GET / HTTP/1.1\r\nHost: doorbell\r\nX-Forwarded-For: 1.1.1.1\r\n\
         X-Forwarded-Proto: https\r\nX-Real-IP: 1.1.1.1\r\n\r\n",
    )
    .await;
    assert_eq!(seen.header("x-forwarded-for"), Some("1.1.1.1, 127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("doorbell"));
    assert_eq!(seen.header("x-real-ip"), Some("1.1.1.1"));
    let id = seen.header("x-request-id").expect("an id");
    assert_eq!((id.len(), &id[14..15]), (36, "7"), "{id}");
}

/// The table of DESIGN section 7: a caller's own credential is forwarded and ours is not added.
#[tokio::test]
async fn ours_is_added_only_where_the_caller_brings_none() {
    let header = || Auth::Header {
        name: http::HeaderName::from_static("x-key"),
        value: secret(),
    };
    let query = || Auth::Query {
        name: "key".to_owned(),
        value: secret(),
    };
    let bearer = || Auth::Bearer(secret());
    let ours = Some("Bearer ours");
    for (auth, target, fields, line, authorization, key) in [
        (bearer(), "/", "", "GET /", ours, None),
        (bearer(), "/", "X-Key: own\r\n", "GET /", ours, Some("own")),
        (
            bearer(),
            "/",
            "Authorization: own\r\n",
            "GET /",
            Some("own"),
            None,
        ),
        (bearer(), "/", "Cookie: own\r\n", "GET /", None, None),
        (header(), "/", "", "GET /", None, Some("ours")),
        (header(), "/", "X-Key: own\r\n", "GET /", None, Some("own")),
        (
            header(),
            "/",
            "Authorization: own\r\n",
            "GET /",
            Some("own"),
            None,
        ),
        (query(), "/?a=1", "", "GET /?a=1&key=ours", None, None),
        (query(), "/", "", "GET /?key=ours", None, None),
        (query(), "/?k%65y=own", "", "GET /?k%65y=own", None, None),
        (query(), "/", "Cookie: own\r\n", "GET /", None, None),
    ] {
        let fake = Fake::ok().await;
        let mut up = upstream(&fake.url());
        up.auth = Some(auth);
        up.headers
            .insert("x-ours", http::HeaderValue::from_static("1"));
        let house = House::with(up, vec![route("all", "/")]).await;
        let request = format!("GET {target} HTTP/1.1\r\nHost: doorbell\r\n{fields}\r\n");
        let seen = seen(&house, &fake, &request).await;
        let context = format!("{target} {fields:?}");
        assert_eq!(seen.line(), line, "{context}");
        assert_eq!(seen.header("authorization"), authorization, "{context}");
        assert_eq!(seen.header("x-key"), key, "{context}");
        let added = seen.head.contains("ours\r\n") || seen.line().contains("ours");
        assert_eq!(seen.header("x-ours").is_some(), added, "{context}");
    }
}

#[tokio::test]
async fn a_credential_of_the_query_does_not_come_back_in_links() {
    let fake = Fake::answering(
        "HTTP/1.1 302 Found\r\nLocation: /x/?a=1&key=ours\r\nContent-Location: /x?key=ours\r\n\
         Link: </x?key=ours&page=2>; rel=\"next\"\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let mut up = upstream(&fake.url());
    up.auth = Some(Auth::Query {
        name: "key".to_owned(),
        value: secret(),
    });
    let house = House::with(up, vec![route("all", "/")]).await;
    let answer = house.call("GET /x?a=1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(fake.last().line(), "GET /x?a=1&key=ours");
    assert_eq!(answer.header("location"), Some("/x/?a=1"));
    assert_eq!(answer.header("content-location"), Some("/x"));
    assert_eq!(answer.header("link"), Some("</x?page=2>; rel=\"next\""));
}

#[tokio::test]
async fn a_key_of_the_route_is_no_credential_for_the_upstream() {
    let fake = Fake::ok().await;
    let mut up = upstream(&fake.url());
    up.auth = Some(Auth::Bearer(secret()));
    let mut guarded = route("guarded", "/");
    guarded.auth = config::RouteAuth::Keys(vec![Secret::new("caller".to_owned())]);
    let house = House::with(up, vec![guarded]).await;
    let request = "GET / HTTP/1.1\r\nHost: doorbell\r\nAuthorization: Bearer caller\r\n\r\n";
    let seen = seen(&house, &fake, request).await;
    assert_eq!(seen.header("authorization"), Some("Bearer ours"));
}

#[tokio::test]
async fn headers_of_the_upstream_do_not_replace_the_callers() {
    let fake = Fake::ok().await;
    let mut up = upstream(&fake.url());
    up.headers
        .insert("accept", http::HeaderValue::from_static("application/json"));
    let house = House::with(up, vec![route("all", "/")]).await;
    let bare = seen(&house, &fake, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(bare.header("accept"), Some("application/json"));
    let own = seen(
        &house,
        &fake,
        "GET / HTTP/1.1\r\nHost: a\r\nAccept: x/y\r\n\r\n",
    )
    .await;
    assert_eq!(own.header("accept"), Some("x/y"));
}

/// The connection outlives the configuration, and each request is served under the one in force.
#[tokio::test]
async fn a_new_configuration_is_seen_by_the_next_request_of_a_kept_connection() {
    let fake = Fake::ok().await;
    let house = House::before(&fake).await;
    let mut caller = house.caller().await;
    caller.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(caller.answer().await.status, 200);
    let new = config(vec![upstream(&fake.url())], vec![route("other", "/other")]);
    house.live.store(Arc::new(new));
    caller.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(caller.answer().await.status, 404);
    caller.send("GET /other HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(caller.answer().await.status, 200);
}

#[tokio::test]
async fn hop_by_hop_fields_of_the_answer_stay_here_and_redirects_pass() {
    let fake = Fake::answering(
        "HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nConnection: keep-alive, X-Hop\r\n\
         X-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let house = House::before(&fake).await;
    let answer = house.call("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(answer.status, 302);
    assert_eq!(answer.header("location"), Some("http://elsewhere/"));
    assert_eq!(answer.header("x-hop"), None);
    assert_eq!(answer.header("keep-alive"), None);
    assert_eq!(answer.header("connection"), Some("keep-alive"));
}
