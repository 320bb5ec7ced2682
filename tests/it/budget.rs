//! One budget and one breaker for polls and callers, as the upstream sees them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::json;

use crate::harness::{
    Asked, Corpse, Doorbell, Piece, Receiver, Script, Wild, client, is_proving, proxied,
    wait_until, well,
};

const PER: Duration = Duration::from_secs(5);
const REQUESTS: usize = 100;
const BURST: usize = 20;
const CALLERS: usize = 30;

/// What is promised of a caller's wait, and what a busy machine may add to it.
const WAIT_MAX: Duration = Duration::from_millis(1_000 + 500);

/// What reached an upstream, and when.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<Vec<(Instant, String)>>>);

impl Book {
    fn note(&self, path: &str) {
        self.0.lock().push((Instant::now(), path.to_owned()));
    }

    /// Most requests in any time of this length.
    fn most_in(&self, window: Duration) -> usize {
        let times: Vec<Instant> = self.0.lock().iter().map(|(at, _)| *at).collect();
        let ends = times.iter().enumerate();
        let counts = ends.map(|(index, at)| {
            let first = times.partition_point(|other| at.duration_since(*other) >= window);
            index + 1 - first
        });
        counts.max().unwrap_or(0)
    }

    fn count(&self, is_counted: impl Fn(&str) -> bool) -> usize {
        self.0
            .lock()
            .iter()
            .filter(|(_, path)| is_counted(path))
            .count()
    }
}

/// Three sources: a plain one, one behind a redirect, one of three pages.
const SOURCES: &str = r#"
[sources.plain]
upstream = "tracker"
path = "/plain"
every = "1s"
[sources.moved]
upstream = "tracker"
path = "/moved"
every = "1s"
[sources.paged]
upstream = "tracker"
path = "/paged"
every = "1s"
items = "$[*]"
id = "$.id"
paginate = { by = "page", param = "page", start = 1 }
"#;

fn config(upstream: &Wild, receiver: &Receiver, budget: &str) -> String {
    let head = format!(
        "[upstreams.tracker]\nurl = \"{upstream}\"\n{budget}\n[endpoints.ops]\n\
         url = \"{receiver}/ops\"\nsecrets = [\"{}\"]\nallow_private = true\n",
        crate::harness::SECRET
    );
    head + SOURCES + &proxied("")
}

/// An upstream where `answer` is asked first, and what it leaves is answered well.
async fn upstream(
    book: &Book,
    answer: impl Fn(&Asked) -> Option<Vec<Piece>> + Clone + Send + Sync + 'static,
    headers: impl Fn() -> Vec<(&'static str, String)> + Clone + Send + Sync + 'static,
) -> Wild {
    let upstream = Wild::listening().await;
    for path in ["/plain", "/moved", "/there", "/paged", "/call"] {
        let (book, answer, headers) = (book.clone(), answer.clone(), headers.clone());
        let script: Script = Arc::new(move |asked| {
            book.note(&asked.path);
            if let Some(pieces) = answer(asked) {
                return pieces;
            }
            let told = headers();
            let mut all = vec![("content-type", "application/json")];
            all.extend(told.iter().map(|(name, value)| (*name, value.as_str())));
            if asked.path == "/moved" {
                all.push(("location", "/there"));
                return vec![Piece::Send(well("307 Temporary Redirect", &all, ""))];
            }
            let body = match (asked.path.as_str(), asked.query.as_str()) {
                ("/paged", "page=1") => json!([{"id": 1}]),
                ("/paged", "page=2") => json!([{"id": 2}]),
                ("/paged", _) => json!([]),
                _ => json!({"same": true}),
            };
            vec![Piece::Send(well("200 OK", &all, body.to_string()))]
        });
        upstream.serve(path, Vec::new());
        upstream.answer(path, script);
    }
    upstream
}

/// What callers heard.
#[derive(Default)]
struct Heard {
    answered: AtomicUsize,
    limited: AtomicUsize,
    /// Answers that were neither, or a 429 without `Retry-After`, or one that came too late.
    wrong: Mutex<Vec<String>>,
}

/// Callers who ask again and again until `over`.
async fn call(doorbell: &Doorbell, heard: &Arc<Heard>, over: &Arc<AtomicBool>) {
    let url = format!("{}/tracker/call", doorbell.proxy_url());
    let calling = (0..CALLERS).map(|_| {
        let (client, url) = (client(), url.clone());
        let (heard, over) = (Arc::clone(heard), Arc::clone(over));
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let Ok(answer) = client.get(&url).send().await else {
                    return;
                };
                let took = asked.elapsed();
                let retry_after = answer.headers().get("retry-after").cloned();
                match answer.status().as_u16() {
                    200 => heard.answered.fetch_add(1, Ordering::Relaxed),
                    429 if retry_after.is_some() => heard.limited.fetch_add(1, Ordering::Relaxed),
                    status => {
                        heard.wrong.lock().push(format!("{status} after {took:?}"));
                        0
                    }
                };
                if took > WAIT_MAX {
                    heard.wrong.lock().push(format!("an answer after {took:?}"));
                }
                if answer.status() == 429 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        })
    });
    for calling in calling.collect::<Vec<_>>() {
        calling.await.expect("no panic");
    }
}

/// Lets callers call for `time`.
async fn call_for(time: Duration, doorbell: &Doorbell, heard: &Arc<Heard>) {
    let over = Arc::<AtomicBool>::default();
    let ends = async {
        tokio::time::sleep(time).await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(call(doorbell, heard, &over), ends);
}

fn run_time() -> Duration {
    Duration::from_secs(if is_proving() { 60 } else { 12 })
}

fn assert_heard(heard: &Heard) {
    let wrong = heard.wrong.lock();
    assert!(
        wrong.is_empty(),
        "{} wrong: {:?}",
        wrong.len(),
        wrong.first()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_and_callers_share_one_budget_across_restarts() {
    let book = Book::default();
    let upstream = upstream(&book, |_| None, Vec::new).await;
    let receiver = Receiver::accepting().await;
    let budget = "budget = { requests = 100, per = \"5s\", burst = 20 }";
    let doorbell = Doorbell::start(&config(&upstream, &receiver, budget)).await;

    let heard = Arc::new(Heard::default());
    let (time, began) = (run_time(), Instant::now());
    call_for(time, &doorbell, &heard).await;
    let took = began.elapsed().as_secs_f64();
    assert_heard(&heard);

    let most = book.most_in(PER);
    assert!(most <= REQUESTS + BURST, "{most} in {PER:?}");
    let granted = REQUESTS as f64 / PER.as_secs_f64();
    let all = book.count(|_| true) as f64 / took;
    assert!(all >= 0.8 * granted, "{all} a second of {granted}");
    let polls = book.count(|path| path != "/call") as f64 / took;
    assert!(polls >= 0.8 * 0.1 * granted, "{polls} polls a second");
    assert!(
        heard.limited.load(Ordering::Relaxed) > 0,
        "nobody was limited"
    );
    let metrics = doorbell.metrics().await;
    let labels = [("route", "tracker"), ("limit", "budget")];
    let limited = metrics.value("doorbell_proxy_rate_limited_total", &labels);
    assert!(limited > 0.0);
    let left = metrics.value(
        "doorbell_upstream_budget_remaining",
        &[("upstream", "tracker")],
    );
    assert!(left <= BURST as f64, "{left}");

    // A restart brings no second burst.
    let doorbell = doorbell.kill().await.restart().await;
    call_for(Duration::from_secs(6), &doorbell, &heard).await;
    let most = book.most_in(PER);
    assert!(most <= REQUESTS + BURST, "{most} in {PER:?} over a restart");
    assert_heard(&heard);
}

/// The upstream's own window, which is shorter of requests than the configured one.
struct Window {
    began: Instant,
    used: usize,
}

const OWN_LIMIT: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn the_upstreams_own_limit_is_learnt_from_either_side() {
    let book = Book::default();
    let window = Arc::new(Mutex::new(Window {
        began: Instant::now(),
        used: 0,
    }));
    let refused = Arc::<AtomicUsize>::default();
    let (ours, refusals) = (Arc::clone(&window), Arc::clone(&refused));
    let answer = move |_: &Asked| {
        let mut window = ours.lock();
        if window.began.elapsed() >= PER {
            *window = Window {
                began: Instant::now(),
                used: 0,
            };
        }
        window.used += 1;
        if window.used <= OWN_LIMIT {
            return None;
        }
        refusals.fetch_add(1, Ordering::Relaxed);
        let headers = [("retry-after", "1")];
        Some(vec![Piece::Send(well(
            "429 Too Many Requests",
            &headers,
            "",
        ))])
    };
    let headers = move || {
        let window = window.lock();
        let left = OWN_LIMIT.saturating_sub(window.used);
        let reset = PER
            .saturating_sub(window.began.elapsed())
            .as_secs_f64()
            .ceil();
        vec![("ratelimit", format!("\"default\";r={left};t={reset}"))]
    };
    let upstream = upstream(&book, answer, headers).await;
    let receiver = Receiver::accepting().await;
    let budget = "budget = { requests = 100, per = \"5s\", burst = 20 }";
    let doorbell = Doorbell::start(&config(&upstream, &receiver, budget)).await;

    let heard = Arc::new(Heard::default());
    call_for(run_time() / 2, &doorbell, &heard).await;
    // Whoever begins anew is taught by the first answers.
    let doorbell = doorbell.kill().await.restart().await;
    call_for(run_time() / 2, &doorbell, &heard).await;
    assert_heard(&heard);
    let (all, refused) = (book.count(|_| true), refused.load(Ordering::Relaxed));
    let windows = run_time().as_secs_f64() / PER.as_secs_f64();
    let allowed = OWN_LIMIT as f64 * windows;
    assert!(
        refused as f64 <= 0.05 * all as f64,
        "{refused} of {all} were refused"
    );
    assert!(all as f64 >= 0.6 * allowed, "{all} of {allowed} were asked");
    assert!(book.count(|path| path != "/call") > 0, "polls starved");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_down_is_only_probed_until_it_is_back() {
    let book = Book::default();
    let is_down = Arc::<AtomicBool>::default();
    let down = Arc::clone(&is_down);
    let answer = move |_: &Asked| down.load(Ordering::Relaxed).then(|| vec![Piece::Reset]);
    let upstream = upstream(&book, answer, Vec::new).await;
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&config(&upstream, &receiver, "")).await;
    let (client, url) = (client(), format!("{}/tracker/call", doorbell.proxy_url()));
    let call = async || client.get(&url).send().await.expect("an answer").status();
    let healthy = async || {
        let metrics = doorbell.metrics().await;
        metrics.value("doorbell_upstream_healthy", &[("upstream", "tracker")])
    };
    assert_eq!(call().await, 200);
    assert_eq!(healthy().await, 1.0);

    is_down.store(true, Ordering::Relaxed);
    wait_until("the breaker opens", async || {
        (call().await == 503).then_some(())
    })
    .await;
    assert_eq!(healthy().await, 0.0);
    let time = Duration::from_secs(if is_proving() { 30 } else { 5 });
    let before = book.count(|_| true);
    let mut asked = 0;
    let began = Instant::now();
    let mut beat = tokio::time::interval(Duration::from_millis(10));
    while began.elapsed() < time {
        beat.tick().await;
        call().await;
        asked += 1;
    }
    let probes = book.count(|_| true) - before;
    let seconds = time.as_secs_f64();
    assert!(f64::from(asked) >= 50.0 * seconds, "{asked} calls");
    assert!(
        probes as f64 <= 4.0 * seconds,
        "{probes} probes in {time:?}"
    );
    assert!(probes > 0, "nobody finds out");

    is_down.store(false, Ordering::Relaxed);
    let back = Instant::now();
    wait_until("callers are answered", async || {
        (call().await == 200).then_some(())
    })
    .await;
    let callers_back = back.elapsed();
    let known = book.count(|path| path == "/plain");
    wait_until("polls are made", async || {
        (book.count(|path| path == "/plain") > known).then_some(())
    })
    .await;
    let polls_back = back.elapsed();
    let most = Duration::from_secs(2);
    assert!(callers_back <= most, "callers after {callers_back:?}");
    assert!(polls_back <= most, "polls after {polls_back:?}");
    assert_eq!(healthy().await, 1.0);
}

/// A poll that waits for the budget holds nothing up.
#[tokio::test]
async fn a_poll_that_waits_for_the_budget_ends_with_doorbell() {
    let book = Book::default();
    let upstream = upstream(&book, |_| None, Vec::new).await;
    let receiver = Receiver::accepting().await;
    let budget = "budget = { requests = 1, per = \"1h\" }";
    let corpse = Corpse::new(&config(&upstream, &receiver, budget));
    let doorbell = corpse.restart().await;
    wait_until("a poll waits", async || {
        let waits = format!("{}/api/v1/upstreams", doorbell.admin_url());
        let told = client().get(waits).send().await.ok()?.bytes().await.ok()?;
        let told: serde_json::Value = serde_json::from_slice(&told).ok()?;
        let waiting = told["upstreams"][0]["budget"]["polls_waiting"].as_u64()?;
        (waiting > 0).then_some(())
    })
    .await;
    doorbell.ask_to_end();
    let (_, status) = doorbell.exited().await;
    assert!(status.success(), "{status}");
    assert_eq!(book.count(|_| true), 0);
}
