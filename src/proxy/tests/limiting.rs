//! Limits and concurrency of routes, as callers meet them.

use tokio::task::JoinSet;

use super::*;
use crate::config::{Limit, LimitBy};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// `requests` at once and, since an hour is long, no more.
fn hourly(by: LimitBy, requests: u32) -> Limit {
    let requests = requests.try_into().expect("not zero");
    Limit {
        by,
        requests,
        per: Duration::from_hours(1),
        burst: requests,
    }
}

async fn limited(fake: &Fake, limits: Vec<Limit>) -> House {
    let mut limited = route("limited", "/");
    limited.limits = limits;
    House::with(upstream(&fake.url()), vec![limited]).await
}

#[tokio::test]
async fn the_limit_is_exact_however_many_ask_at_once() {
    let fake = Fake::ok().await;
    let house = Arc::new(limited(&fake, vec![hourly(LimitBy::Ip, 30)]).await);
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let house = house.clone();
        callers.spawn(async move {
            let mut caller = house.caller().await;
            let mut statuses = Vec::new();
            for _ in 0..5 {
                caller.send(GET).await;
                statuses.push(caller.answer().await.status);
            }
            statuses
        });
    }
    let statuses: Vec<u16> = callers.join_all().await.into_iter().flatten().collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 30);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 70);
    assert_eq!(fake.seen().len(), 30);
    for line in [
        r#"doorbell_proxy_rate_limited_total{limit="ip",route="limited"} 70"#,
        r#"doorbell_proxy_requests_total{code="429",method="GET",route="limited"} 70"#,
        r#"doorbell_proxy_requests_total{code="200",method="GET",route="limited"} 30"#,
        r#"doorbell_proxy_upstream_duration_seconds_count{route="limited"} 30"#,
        r#"doorbell_proxy_request_duration_seconds_count{route="limited"} 100"#,
        r#"doorbell_proxy_inflight_requests{route="limited"} 0"#,
    ] {
        house.counted(line).await;
    }
}

#[tokio::test]
async fn a_refusal_says_which_limit_and_when_to_come_back() {
    let fake = Fake::ok().await;
    let key = LimitBy::Header(http::HeaderName::from_static("x-api-key"));
    let house = limited(&fake, vec![hourly(LimitBy::Route, 9), hourly(key, 1)]).await;
    let policy = r#""header:x-api-key";q=1;w=3600, "route";q=9;w=3600"#;
    let passed = house.call(GET).await;
    assert_eq!(passed.status, 200);
    assert_eq!(passed.header("ratelimit-policy"), Some(policy));
    let standing = r#""header:x-api-key";r=0;t=3600, "route";r=8;t=400"#;
    assert_eq!(passed.header("ratelimit"), Some(standing));
    assert_eq!(passed.header("retry-after"), None);

    let refused = house.call(GET).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("ratelimit-policy"), Some(policy));
    let wait: u64 = refused
        .header("retry-after")
        .and_then(|wait| wait.parse().ok())
        .expect("seconds");
    assert!((3590..=3600).contains(&wait), "{wait}");
    let standing = format!(r#""header:x-api-key";r=0;t={wait}"#);
    assert_eq!(refused.header("ratelimit"), Some(&*standing));
    let body: serde_json::Value = serde_json::from_str(&refused.body).expect("JSON");
    assert_eq!(body["violated-policies"][0], "header:x-api-key");
    assert_eq!(
        body["type"],
        "https://iana.org/assignments/http-problem-types#quota-exceeded"
    );

    let other = "GET / HTTP/1.1\r\nHost: a\r\nX-Api-Key: b\r\n\r\n";
    assert_eq!(house.call(other).await.status, 200);
}

#[tokio::test]
async fn a_refused_caller_keeps_its_connection() {
    let fake = Fake::ok().await;
    let house = limited(&fake, vec![hourly(LimitBy::Ip, 1)]).await;
    let mut caller = house.caller().await;
    for want in [200, 429, 429] {
        caller.send(GET).await;
        let answer = caller.answer().await;
        assert_eq!(answer.status, want);
        assert_eq!(answer.header("connection"), Some("keep-alive"));
    }
}

#[tokio::test]
async fn a_shadow_limit_counts_and_lets_pass() {
    let fake = Fake::ok().await;
    let mut shadow = route("shadow", "/");
    shadow.limits = vec![hourly(LimitBy::Ip, 1)];
    shadow.shadow = true;
    let house = House::with(upstream(&fake.url()), vec![shadow]).await;
    for _ in 0..3 {
        let answer = house.call(GET).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("ratelimit"), None);
    }
    house
        .counted(r#"doorbell_proxy_rate_limited_total{limit="ip",route="shadow"} 2"#)
        .await;
}

#[tokio::test]
async fn an_unchanged_limit_survives_a_new_configuration() {
    let fake = Fake::ok().await;
    let house = limited(&fake, vec![hourly(LimitBy::Ip, 1)]).await;
    assert_eq!(house.call(GET).await.status, 200);
    let mut same = route("limited", "/");
    same.limits = vec![hourly(LimitBy::Ip, 1)];
    same.body_bytes_max = 7;
    let new = config(vec![upstream(&fake.url())], vec![same]);
    house.live.store(Arc::new(new));
    assert_eq!(house.call(GET).await.status, 429);
}

#[tokio::test]
async fn the_callers_address_behind_a_trusted_proxy_is_what_counts() {
    let fake = Fake::ok().await;
    let mut limited = route("limited", "/");
    limited.limits = vec![hourly(LimitBy::Ip, 1)];
    let mut config = config(vec![upstream(&fake.url())], vec![limited]);
    let proxy = config.proxy.as_mut().expect("a proxy");
    proxy.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let house = House::of(config).await;
    for (caller, want) in [
        ("1.1.1.1", 200),
        ("1.1.1.1", 429),
        ("6.6.6.6, 1.1.1.1", 429),
        ("2.2.2.2", 200),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {caller}\r\n\r\n");
        assert_eq!(house.call(&request).await.status, want, "{caller}");
    }
}

#[tokio::test]
async fn informational_answers_carry_no_limits() {
    let fake = Fake::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let house = limited(&fake, vec![hourly(LimitBy::Ip, 9)]).await;
    let mut caller = house.caller().await;
    caller.send(GET).await;
    let hints = caller.head().await.to_ascii_lowercase();
    assert!(hints.starts_with("http/1.1 103"), "{hints}");
    assert_eq!(field(&hints, "ratelimit"), None);
    let answer = caller.answer().await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("ratelimit").is_some());
}

#[tokio::test]
async fn one_request_more_than_may_be_in_flight_is_told_to_come_back() {
    let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (held, arrived) = (gate.clone(), arrived);
    let fake = Fake::talking(move |mut caller| {
        let (held, arrived) = (held.clone(), arrived.clone());
        async move {
            while read_request(&mut caller).await.is_some() {
                arrived.send(()).expect("a test that listens");
                held.acquire().await.expect("open").forget();
                caller
                    .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await;
            }
        }
    })
    .await;
    let mut narrow = route("narrow", "/");
    narrow.concurrency = 1;
    let house = House::with(upstream(&fake.url()), vec![narrow]).await;
    let mut first = house.caller().await;
    first.send(GET).await;
    patient(arrivals.recv()).await.expect("the first request");
    let refused = house.call(GET).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    gate.add_permits(2);
    assert_eq!(first.answer().await.status, 200);
    house
        .counted(r#"doorbell_proxy_inflight_requests{route="narrow"} 0"#)
        .await;
    assert_eq!(house.call(GET).await.status, 200);
}
