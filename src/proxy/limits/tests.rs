//! Limits, asked as callers ask them: shares, bursts, and the bound on keys.

use super::*;

fn limit(by: LimitBy, requests: u32, per: Duration, burst: u32) -> Limit {
    Limit {
        by,
        requests: requests.try_into().expect("not zero"),
        per,
        burst: burst.try_into().expect("not zero"),
    }
}

const HOUR: Duration = Duration::from_hours(1);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn a_burst_passes_exactly_and_is_told() {
    let limits = Limits::new(&[limit(LimitBy::Ip, 2, HOUR, 2)], None);
    let policy = limits.policy().expect("a policy");
    assert_eq!(policy, "\"ip\";q=2;w=3600");
    let first = limits.ask(ip("10.0.0.1"), &HeaderMap::new());
    assert_eq!(first.refusal, None);
    assert_eq!(first.standing.expect("told"), "\"ip\";r=1;t=1800");
    let second = limits.ask(ip("::ffff:10.0.0.1"), &HeaderMap::new());
    assert_eq!(second.refusal, None);
    let third = limits.ask(ip("10.0.0.1"), &HeaderMap::new());
    let refusal = third.refusal.expect("refused");
    assert_eq!(refusal.index, 0);
    let half = HOUR / 2;
    let recent = half.saturating_sub(Duration::from_secs(10));
    assert!(refusal.wait <= half && refusal.wait > recent);
    let other = limits.ask(ip("10.0.0.2"), &HeaderMap::new());
    assert_eq!(other.refusal, None);
}

#[test]
fn neighbours_in_one_64_count_together() {
    let limits = Limits::new(&[limit(LimitBy::Ip, 1, HOUR, 1)], None);
    let asked = |text| limits.ask(ip(text), &HeaderMap::new()).refusal.is_none();
    assert!(asked("2001:db8::1"));
    assert!(!asked("2001:db8::2"));
    assert!(asked("2001:db8:0:1::1"));
}

#[test]
fn what_a_narrow_limit_refuses_does_not_spend_the_wide_one() {
    let wide_first = [
        limit(LimitBy::Route, 2, HOUR, 2),
        limit(LimitBy::Ip, 1, HOUR, 1),
    ];
    let limits = Limits::new(&wide_first, None);
    assert_eq!(limits.labels(), ["ip", "route"]);
    let asked = |text| limits.ask(ip(text), &HeaderMap::new()).refusal;
    assert_eq!(asked("10.0.0.1"), None);
    for _ in 0..9 {
        assert_eq!(asked("10.0.0.1").map(|refusal| refusal.index), Some(0));
    }
    assert_eq!(asked("10.0.0.2"), None);
    assert_eq!(asked("10.0.0.3").map(|refusal| refusal.index), Some(1));
}

#[test]
fn requests_without_the_header_share_one_count() {
    let name = http::HeaderName::from_static("x-api-key");
    let limits = Limits::new(&[limit(LimitBy::Header(name.clone()), 1, HOUR, 1)], None);
    let asked = |key: Option<&'static str>| {
        let mut headers = HeaderMap::new();
        headers.extend(key.map(|key| (name.clone(), HeaderValue::from_static(key))));
        limits.ask(ip("10.0.0.1"), &headers).refusal.is_none()
    };
    assert!(asked(None) && !asked(None));
    assert!(asked(Some("a")) && !asked(Some("a")) && asked(Some("b")));
}

#[test]
fn a_full_store_lets_new_callers_share_one_count() {
    let limiter = Limiter::new(limit(LimitBy::Ip, 1, HOUR, 1), SHARDS);
    let passed = (0..1000u32)
        .map(|n| IpAddr::from(n.to_be_bytes()))
        .filter(|client| {
            let outcome = limiter.ask(*client, &HeaderMap::new());
            matches!(outcome, Outcome::Passed(_))
        })
        .count();
    assert_eq!(passed, SHARDS + 1, "one of each shard, and one of the rest");
    assert_eq!(limiter.governor.len(), SHARDS);
}

#[test]
fn idle_callers_are_forgotten_and_busy_ones_are_not() {
    let brief = limit(LimitBy::Ip, 1, Duration::from_nanos(1), 1);
    let limits = Limits::new(&[brief, limit(LimitBy::Ip, 1, HOUR, 1)], None);
    let _ = limits.ask(ip("10.0.0.1"), &HeaderMap::new());
    limits.forget_idle();
    let kept: Vec<_> = limits.each.iter().map(|each| each.governor.len()).collect();
    assert_eq!(kept, [0, 1]);
}

#[test]
fn an_unchanged_limit_keeps_its_count_and_a_changed_one_starts_anew() {
    let one = limit(LimitBy::Ip, 1, HOUR, 1);
    let before = Limits::new(std::slice::from_ref(&one), None);
    let asked = |limits: &Limits| limits.ask(ip("10.0.0.1"), &HeaderMap::new()).refusal;
    assert!(asked(&before).is_none());
    let same = Limits::new(&[limit(LimitBy::Route, 9, HOUR, 9), one], Some(&before));
    assert!(asked(&same).is_some());
    let changed = Limits::new(&[limit(LimitBy::Ip, 2, HOUR, 2)], Some(&before));
    assert!(asked(&changed).is_none());
}

#[test]
fn extreme_limits_do_not_overflow() {
    let year = Duration::from_hours(365 * 24);
    for (requests, per, burst) in [
        (1, year, u32::MAX),
        (u32::MAX, Duration::from_nanos(1), u32::MAX),
    ] {
        let limits = Limits::new(&[limit(LimitBy::Route, requests, per, burst)], None);
        let verdict = limits.ask(ip("10.0.0.1"), &HeaderMap::new());
        assert_eq!(verdict.refusal, None);
    }
}

#[test]
fn limits_of_one_kind_have_names_of_their_own() {
    let two = [
        limit(LimitBy::Ip, 2, HOUR, 2),
        limit(LimitBy::Ip, 9, HOUR, 9),
    ];
    let limits = Limits::new(&two, None);
    let policy = limits.policy().expect("a policy");
    assert_eq!(policy, "\"ip\";q=2;w=3600, \"ip_2\";q=9;w=3600");
    let verdict = limits.ask(ip("10.0.0.1"), &HeaderMap::new());
    let standing = verdict.standing.expect("told");
    assert_eq!(standing, "\"ip\";r=1;t=1800, \"ip_2\";r=8;t=400");
    assert_eq!(limits.labels(), ["ip", "ip"]);
}
