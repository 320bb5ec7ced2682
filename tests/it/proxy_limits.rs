//! A thousand callers at once, and limits on what they may ask.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::harness::{Doorbell, Receiver, Upstream, client, proxied, tickets};

const CALLERS: usize = 1_000;

/// Calls of each caller, one after the other on one connection.
const CALLS: usize = 3;

/// Keys that the callers share.
const KEYS: usize = 20;

/// Files that this process needs for both ends of the connections.
const FILES_MIN: u64 = 4_096;

/// What a limit lets pass: `burst`, and `per_second` as time goes.
struct Limit {
    burst: f64,
    per_second: f64,
}

const OF_ALL: Limit = Limit {
    burst: 400.0,
    per_second: 100.0,
};

const OF_A_KEY: Limit = Limit {
    burst: 25.0,
    per_second: 10.0,
};

/// Method: each call has a body of its own, which only the upstream's echo can answer. The
/// upstream notes when each call came: never more than the limits let pass since the beginning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_are_answered_rightly_and_the_limits_hold() {
    assert_files_allowed();
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let limits = "limits = [\
        { by = \"header:x-api-key\", requests = 10, per = \"1s\", burst = 25 }, \
        { by = \"ip\", requests = 100, per = \"1s\", burst = 400 }]";
    let config = tickets(&upstream, &receiver, "") + &proxied(limits);
    let doorbell = Doorbell::start(&config).await;

    let gate = Arc::new(Barrier::new(CALLERS));
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let proxy = doorbell.proxy_url().to_owned();
        callers.spawn(call(proxy, caller, Arc::clone(&gate)));
    }
    let mut passed = 0;
    while let Some(caller) = callers.join_next().await {
        passed += caller.expect("every answer was right");
    }

    let arrivals = upstream.arrivals("/echo/");
    assert_eq!(
        arrivals.len(),
        passed,
        "each call that passed was answered, once"
    );
    assert!(passed < CALLERS * CALLS, "nobody was refused");
    let all: Vec<Instant> = arrivals.iter().map(|arrival| arrival.at).collect();
    OF_ALL.assert_kept(began, &all);
    for key in 0..KEYS {
        let key = format!("key{key}");
        let of_key = arrivals.iter().filter(|a| a.headers["x-api-key"] == *key);
        let of_key: Vec<Instant> = of_key.map(|arrival| arrival.at).collect();
        OF_A_KEY.assert_kept(began, &of_key);
        assert!(!of_key.is_empty(), "{key} was shut out");
    }

    let metrics = doorbell.metrics().await;
    let route = [("route", "tracker")];
    let refused = metrics.value("doorbell_proxy_rate_limited_total", &route);
    assert!(refused == (CALLERS * CALLS - passed) as f64, "{refused}");
    assert_eq!(
        metrics.value("doorbell_proxy_inflight_requests", &route),
        0.0
    );
}

/// How many of a caller's calls passed.
async fn call(proxy: String, caller: usize, gate: Arc<Barrier>) -> usize {
    let client = client();
    gate.wait().await;
    let mut passed = 0;
    for call in 0..CALLS {
        let body = format!("call {call} of {caller};").repeat(1 + caller);
        let request = client
            .post(format!("{proxy}/tracker/echo/{caller}"))
            .header("x-api-key", format!("key{}", caller % KEYS))
            .body(body.clone());
        let answer = request.send().await.expect("the proxy answers");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.expect("a whole answer");
        if status == 200 {
            assert_eq!(text, body, "somebody else's answer");
            passed += 1;
            continue;
        }
        assert_eq!(status, 429, "{text}");
        let seconds = headers["retry-after"]
            .to_str()
            .ok()
            .and_then(|s| s.parse::<u64>().ok());
        assert!(seconds >= Some(1), "{headers:?}");
        assert_eq!(headers["content-type"], "application/problem+json");
        assert!(headers.contains_key("ratelimit"), "{headers:?}");
        assert!(headers.contains_key("ratelimit-policy"), "{headers:?}");
    }
    passed
}

impl Limit {
    /// Calls reach the upstream only after they were let pass, so what came by a point in time is
    /// at most what was let pass by then.
    fn assert_kept(&self, began: Instant, arrivals: &[Instant]) {
        let mut arrivals = arrivals.to_vec();
        arrivals.sort_unstable();
        for (before, at) in arrivals.iter().enumerate() {
            let seconds = at.duration_since(began).as_secs_f64();
            let allowed = self.burst + self.per_second * seconds;
            let came = (before + 1) as f64;
            assert!(came <= allowed + 1.0, "{came} calls within {seconds} s");
        }
    }
}

fn assert_files_allowed() {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("this is Linux");
    let files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = files.and_then(|files| files.split_whitespace().next());
    let allowed = soft.map_or(0, |soft| soft.parse().unwrap_or(u64::MAX));
    assert!(
        allowed >= FILES_MIN,
        "run `ulimit -n {FILES_MIN}` first, as `make test` does"
    );
}
