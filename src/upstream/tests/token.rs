//! Tokens that are fetched, against a fake that gives and checks them.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::config::OAuth2;

/// An API and its token endpoint: each token that is given makes those before it worthless.
struct Issuer {
    fake: Fake,
    given: Arc<AtomicUsize>,
}

impl Issuer {
    /// `answer` is what the token endpoint says instead, if anything.
    async fn answering(
        answer: impl Fn() -> Option<Response> + Clone + Send + Sync + 'static,
    ) -> Self {
        let given = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&given);
        let fake = Fake::answering(move |request| {
            if request.uri().path() == "/token" {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                return answer().unwrap_or_else(|| token(number));
            }
            let wanted = format!("Bearer hunter{}", count.load(Ordering::SeqCst));
            let shown = request.headers().get("authorization");
            if shown.is_some_and(|shown| shown.as_bytes() == wanted.as_bytes()) {
                respond(200, &[], "[]")
            } else {
                respond(401, &[], "")
            }
        })
        .await;
        Self { fake, given }
    }

    fn upstream(&self) -> Upstream {
        start(upstream_of(&self.fake.url(), Some(self.auth()))).0
    }

    fn auth(&self) -> Auth {
        let token_url = format!("{}/token", self.fake.url());
        Auth::OAuth2(OAuth2 {
            token_url: token_url.parse().expect("a URL"),
            client_id: Secret::new("door bell:1".to_owned()),
            client_secret: Secret::new("s3cret&é".to_owned()),
            scopes: vec!["read".to_owned(), "list".to_owned()],
        })
    }

    fn given(&self) -> usize {
        self.given.load(Ordering::SeqCst)
    }
}

fn token(number: usize) -> Response {
    let body = format!(r#"{{"access_token":"hunter{number}","expires_in":3600}}"#);
    Response::new(Sent::from(body))
}

#[tokio::test]
async fn one_token_does_for_many_and_only_the_endpoint_hears_the_secret() {
    let issuer = Issuer::answering(|| None).await;
    let upstream = issuer.upstream();
    let nothing = Validators::default();
    let asking = (0..20).map(|_| fetch(&upstream, &nothing));
    for answer in futures_util::future::join_all(asking).await {
        answer.expect("200");
    }
    assert_eq!(issuer.given(), 1);
    let seen = issuer.fake.seen.lock();
    let (to_endpoint, others): (Vec<_>, Vec<_>) =
        seen.iter().partition(|(target, _)| target == "/token");
    let headers = &to_endpoint[0].1;
    let pair = "door+bell%3A1:s3cret%26%C3%A9";
    let pair = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair);
    assert_eq!(headers["authorization"], format!("Basic {pair}"));
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    assert!(!headers.contains_key("x-team"), "the upstream's own header");
    for (_, headers) in others {
        assert_eq!(headers["authorization"], "Bearer hunter1");
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    let issuer = Issuer::answering(|| None).await;
    let upstream = issuer.upstream();
    fetch(&upstream, &Validators::default()).await.expect("200");
    // Somebody else was given a token, so ours is worth nothing.
    issuer.given.fetch_add(1, Ordering::SeqCst);
    fetch(&upstream, &Validators::default()).await.expect("200");
    assert_eq!(issuer.given(), 3);
    issuer.given.fetch_add(1, Ordering::SeqCst);
    let failure = fetch(&upstream, &Validators::default()).await;
    let failure = failure.expect_err("refused again, so soon");
    assert_eq!(
        (failure.reason, failure.status),
        (Reason::Refused, Some(401))
    );
    assert_eq!(issuer.given(), 4, "the endpoint is not asked in turn");
}

#[tokio::test]
async fn an_endpoint_that_fails_is_left_alone_and_named_without_secrets() {
    for (answer, said) in [
        ((503, ""), "answered 503"),
        (
            (400, r#"{"error":"invalid_scope"}"#),
            "answered 400: invalid_scope",
        ),
        (
            (
                401,
                r#"{"error":"invalid_client","error_description":"no s3cret&é here"}"#,
            ),
            "answered 401: invalid_client (no … here)",
        ),
        (
            (201, r#"{"access_token":"s3cret","token_type":"bearer"}"#),
            "answered 201",
        ),
        ((204, ""), "answered 204"),
        ((302, ""), "answered 302"),
        ((200, r#"{"token":"s3cret"}"#), "without an `access_token`"),
    ] {
        let (status, body) = answer;
        let headers = [("location", "http://127.0.0.1:1/s3cret")];
        let issuer = Issuer::answering(move || Some(respond(status, &headers, body))).await;
        let upstream = issuer.upstream();
        for _ in 0..3 {
            let failure = fetch(&upstream, &Validators::default()).await;
            let failure = failure.expect_err("no token");
            assert_eq!((failure.reason, failure.status), (Reason::Auth, None));
            assert!(failure.message.contains(said), "{failure}");
            let told = format!("{failure:?} {upstream:?}");
            assert!(
                !told.contains("s3cret") && !told.contains("127.0.0.1:1/"),
                "{told}"
            );
            assert!(failure.pacing.not_before.is_some());
        }
        assert_eq!(issuer.given(), 1, "it rests after a failure");
        assert_eq!(issuer.fake.targets(), ["/token"]);
    }
}

#[tokio::test]
async fn an_endpoint_that_sends_no_end_or_nothing_at_all_is_given_up() {
    let long = "x".repeat(100_000);
    let long: &'static str = Box::leak(long.into_boxed_str());
    let issuer = Issuer::answering(move || Some(respond(200, &[], long))).await;
    let failure = fetch(&issuer.upstream(), &Validators::default()).await;
    let failure = failure.expect_err("too long");
    assert!(
        failure.message.contains("more than 65536 bytes"),
        "{failure}"
    );

    let Auth::OAuth2(mut grant) = issuer.auth() else {
        panic!("tokens")
    };
    grant.token_url = raw(b"", true).await.parse().expect("a URL");
    let mut config = upstream_of(&issuer.fake.url(), Some(Auth::OAuth2(grant)));
    config.timeout = Duration::from_millis(50);
    let (upstream, _) = start(config);
    let failure = fetch(&upstream, &Validators::default()).await;
    assert_eq!(failure.expect_err("silence").reason, Reason::Auth);
}

#[tokio::test]
async fn a_token_never_leaves_the_origin() {
    let other = Fake::answering(|_| respond(200, &[], "[]")).await;
    let away = format!("{}/catch", other.url());
    let fake = Fake::answering(move |request| match request.uri().path() {
        "/token" => token(1),
        _ => respond(302, &[("location", &away)], ""),
    })
    .await;
    let issuer = Issuer {
        fake,
        given: Arc::default(),
    };
    let mut config = upstream_of(&issuer.fake.url(), Some(issuer.auth()));
    config.more_urls = vec![other.url().parse().expect("a URL")];
    let (upstream, _) = start(config);
    fetch(&upstream, &Validators::default()).await.expect("200");
    let seen = other.seen.lock();
    assert_eq!(seen.len(), 1);
    assert!(!seen[0].1.contains_key("authorization"));
}

/// Who waits for a token and goes away does not take the request with it.
#[tokio::test]
async fn a_token_comes_even_if_who_asked_first_is_gone() {
    let issuer = Issuer::answering(|| None).await;
    let upstream = issuer.upstream();
    let first = upstream.credential(By::Poll);
    tokio::pin!(first);
    assert!(futures_util::poll!(&mut first).is_pending());
    first.set(upstream.credential(By::Poll));
    first.await.expect("a token");
    assert_eq!(issuer.given(), 1);
}

/// Method: the endpoint gives one token, and never answers again.
#[tokio::test]
async fn nobody_waits_while_a_token_that_still_lasts_is_replaced() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let app = Router::new().fallback(move |request: Asked| {
        let is_first =
            request.uri().path() != "/token" || count.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if !is_first {
                std::future::pending::<()>().await;
            }
            token(1)
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    let fake = Fake {
        address,
        seen: Arc::default(),
    };
    let given = Arc::default();
    let upstream = Issuer { fake, given }.upstream();
    fetch(&upstream, &Validators::default()).await.expect("200");
    upstream.credentials.tokens().age();
    let nothing = Validators::default();
    let asking = (0..20).map(|_| fetch(&upstream, &nothing));
    for answer in futures_util::future::join_all(asking).await {
        answer.expect("200");
    }
    while asked.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    fetch(&upstream, &Validators::default()).await.expect("200");
    assert_eq!(asked.load(Ordering::SeqCst), 2, "one asks at a time");
}

#[tokio::test]
async fn a_token_that_cannot_be_replaced_is_used_to_its_end() {
    let issuer = Issuer::answering(|| None).await;
    let upstream = issuer.upstream();
    fetch(&upstream, &Validators::default()).await.expect("200");
    let down = Fake::answering(|_| respond(503, &[], "")).await;
    let Auth::OAuth2(mut grant) = issuer.auth() else {
        panic!("tokens")
    };
    // The same desk, before an endpoint that is down.
    grant.token_url = down.url().parse().expect("a URL");
    let (broken, _) = start(upstream_of(&issuer.fake.url(), Some(Auth::OAuth2(grant))));
    let tokens = broken.credentials.tokens();
    tokens.inherit(upstream.credentials.tokens());
    tokens.age();
    for _ in 0..5 {
        fetch(&broken, &Validators::default()).await.expect("200");
    }
    while down.targets().is_empty() {
        tokio::task::yield_now().await;
    }
    fetch(&broken, &Validators::default()).await.expect("200");
    assert_eq!(down.targets().len(), 1, "it rests after a failure");
}

/// Method: the budget grants one request each 100 ms, and no two at once.
#[tokio::test]
async fn what_is_asked_of_the_upstreams_own_token_endpoint_takes_leave_of_its_budget() {
    let other = Issuer::answering(|| None).await;
    for is_own in [true, false] {
        let issuer = Issuer::answering(|| None).await;
        let auth = if is_own { issuer.auth() } else { other.auth() };
        let mut config = upstream_of(&issuer.fake.url(), Some(auth));
        config.budget = Some(crate::budget::Terms {
            requests: 10,
            per: Duration::from_secs(1),
            burst: 1,
            poll_floor: 0.1,
            wait: Duration::from_secs(5),
            not_modified_free: false,
        });
        let (upstream, metrics) = start(config);
        let permit = upstream.permit(By::Poll).await.expect("a turn comes");
        let (request, validators) = (&request(&upstream), &Validators::default());
        let fetch = Fetch {
            request,
            validators,
        };
        let began = std::time::Instant::now();
        // The other's token is worth nothing here: it is asked for twice.
        let fetching = upstream.fetch(fetch, permit);
        let fetched = tokio::time::timeout(Duration::from_secs(30), fetching).await;
        let fetched = fetched.expect("it waits for no leave that it holds itself");
        assert_eq!(fetched.is_ok(), is_own, "{fetched:?}");
        assert!(
            began.elapsed() > Duration::from_millis(90),
            "a second leave"
        );
        let line = r#"doorbell_upstream_requests_total{by="poll",upstream="tracker"} 2"#;
        assert!(metrics.scrape().contains(line), "{}", metrics.scrape());
    }
    assert_eq!(other.given(), 2);
}

/// Method: a budget that grants nothing for ten minutes.
#[tokio::test]
async fn a_caller_waits_for_a_token_no_longer_than_for_the_budget() {
    let issuer = Issuer::answering(|| None).await;
    let mut config = upstream_of(&issuer.fake.url(), Some(issuer.auth()));
    config.budget = Some(crate::budget::Terms {
        requests: 1,
        per: Duration::from_mins(10),
        burst: 1,
        poll_floor: 0.1,
        wait: Duration::from_millis(50),
        not_modified_free: false,
    });
    config.timeout = Duration::from_millis(200);
    let upstream = Arc::new(start(config).0);
    let refused = upstream.credential(By::Caller(1)).await;
    let refused = refused.expect_err("no leave");
    assert_eq!(refused.reason, Reason::RateLimited);
    let wait = refused.pacing.not_before.expect("it is known");
    assert!(wait > Duration::from_mins(9), "{wait:?}");
    // A poll would wait as long as it takes, and holds up no caller.
    let polling = tokio::spawn({
        let upstream = Arc::clone(&upstream);
        async move { upstream.credential(By::Poll).await }
    });
    while upstream.standing().budget.expect("a budget").polls_waiting == 0 {
        tokio::task::yield_now().await;
    }
    let waited = upstream.credential(By::Caller(1)).await;
    assert_eq!(waited.expect_err("the poll's turn").reason, Reason::Auth);
    // Whose place is free when it goes away.
    polling.abort();
    let _ = polling.await;
    let refused = upstream.credential(By::Caller(1)).await;
    assert_eq!(refused.expect_err("no leave").reason, Reason::RateLimited);
    assert_eq!(issuer.given(), 0);
}
