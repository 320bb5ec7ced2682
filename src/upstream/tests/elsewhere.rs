//! Places that an answer leads to, and what is shown there.

use super::*;

#[tokio::test]
async fn a_body_never_leaves_the_origin() {
    let other = Fake::answering(|_| respond(200, &[], "[]")).await;
    let away = format!("{}/catch", other.url());
    let fake = Fake::answering(move |_| respond(307, &[("location", &away)], "")).await;
    let (upstream, _) = start(upstream_of(&fake.url(), None));
    let failure = ask(&upstream, &search(&upstream)).await;
    assert_eq!(failure.expect_err("refused").reason, Reason::Redirect);
    assert_eq!(other.targets(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_not_at_home_gets_nothing_of_ours() {
    let fake = Fake::answering(|_| respond(200, &[("etag", "\"1\"")], "[]")).await;
    let (upstream, _) = start(upstream_of(&fake.url(), Some(bearer())));
    let mut away = request(&upstream);
    away.home = false;
    away.headers.insert("x-own", HeaderValue::from_static("1"));
    let Ok(Answer::Body(body)) = ask(&upstream, &away).await else {
        panic!("200");
    };
    assert!(!body.place.home);
    let seen = fake.seen.lock();
    for name in ["authorization", "x-team", "x-own"] {
        assert!(!seen[0].1.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn another_origin_gets_nothing_of_ours_even_if_it_leads_back() {
    let home: Arc<Mutex<String>> = Arc::default();
    let back = Arc::clone(&home);
    let other = Fake::answering(move |_| {
        let location = format!("{}/final", back.lock());
        respond(302, &[("location", &location)], "")
    })
    .await;
    let away = format!("{}/catch", other.url());
    let fake = Fake::answering(move |request| match request.uri().path() {
        "/issues" => respond(301, &[("location", &away)], ""),
        _ => respond(200, &[("etag", "\"2\"")], "[]"),
    })
    .await;
    *home.lock() = fake.url();
    for auth in [
        bearer(),
        Auth::Query {
            name: "api_key".to_owned(),
            value: Secret::new("hunter2".to_owned()),
        },
    ] {
        let mut config = upstream_of(&fake.url(), Some(auth));
        config.more_urls = vec![other.url().parse().expect("a URL")];
        let (upstream, _) = start(config);
        let answer = fetch(&upstream, &etag("\"1\"")).await;
        let Ok(Answer::Body(body)) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(body.validators, Validators::default());
    }
    let caught = other.seen.lock().clone();
    let finals = fake.seen.lock().clone().into_iter();
    let finals = finals.filter(|(target, _)| target.starts_with("/final"));
    for (target, headers) in caught.into_iter().chain(finals) {
        let ours = ["authorization", "x-team", "if-none-match"];
        assert!(!ours.iter().any(|name| headers.contains_key(*name)));
        assert!(!target.contains("hunter2"), "{target}");
    }
}

#[tokio::test]
async fn https_is_never_left_for_http_and_private_names_are_guarded() {
    let from = |url: &str| Place {
        url: Url::parse(url).expect("a URL"),
        home: true,
    };
    let downgraded = from("https://a.example/").leads_to("http://a.example/");
    assert_eq!(downgraded, Err("from https to http".to_owned()));
    let upgraded = from("http://a.example/").leads_to("https://a.example/");
    assert!(upgraded.is_ok_and(|place| !place.home));

    for own in ["http://upstream.invalid", "http://127.0.0.1:1"] {
        let (upstream, _) = start(upstream_of(own, None));
        for (inside, host) in [
            ("http://localhost:2/", "localhost"),
            ("http://[::ffff:169.254.169.254]/", "::ffff:169.254.169.254"),
            ("http://127.0.0.1:2/", "127.0.0.1"),
        ] {
            let mut away = request(&upstream);
            (away.url, away.home) = (inside.parse().expect("a URL"), false);
            let failure = ask(&upstream, &away).await.expect_err(inside);
            assert_eq!(failure.reason, Reason::Redirect, "{inside}");
            let expected = format!("leads to {host}, which is no public address");
            assert!(failure.message.starts_with(&expected), "{failure}");
        }
    }
}

#[tokio::test]
async fn what_an_egress_proxy_must_not_reach_is_refused_before_it_is_asked() {
    let mut config = upstream_of("https://api.example", None);
    let proxy = "http://user:hunter2@127.0.0.1:1";
    config.egress_proxy = Some(Secret::new(proxy.to_owned()));
    let (upstream, _) = start(config);
    for (url, may) in [
        ("http://localhost/", false),
        ("http://a.LOCALHOST./", false),
        ("http://127.0.0.1/", false),
        ("http://[::ffff:10.0.0.1]/", false),
        ("http://b.example/", true),
        ("http://1.1.1.1/", true),
    ] {
        let url = Url::parse(url).expect("a URL");
        assert_eq!(upstream.elsewhere(&url).is_ok(), may, "{url}");
    }
    let shown = format!("{upstream:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("dXNlcjpodW50ZXIy"));
}
