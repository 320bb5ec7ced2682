//! `every = { min, max }` in a real process: who changes often is asked often, who changes with
//! others is asked with them, and what was learnt of it outlives a kill.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::Value;

use crate::harness::{Doorbell, Server, client, wait_until};

/// What a busy machine may add to the time that something takes.
const SLACK: Duration = Duration::from_millis(1_500);

/// An API of numbers. That at `/hot` grows with each look, the others when a test says so.
struct Numbers {
    server: Server,
    state: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    looks: Mutex<Vec<Look>>,
    round: Mutex<u64>,
    fails: AtomicBool,
}

/// A request that came, and what it was answered.
#[derive(Clone)]
struct Look {
    at: Instant,
    path: String,
    number: u64,
}

impl Numbers {
    async fn serving() -> Self {
        let state = Arc::new(Shared::default());
        let router = Router::new().fallback(answer).with_state(state.clone());
        Self {
            server: Server::serving(router).await,
            state,
        }
    }

    /// The looks at paths that begin so, in their order.
    fn looks(&self, prefix: &str) -> Vec<Look> {
        let looks = self.state.looks.lock();
        let of_it = looks.iter().filter(|look| look.path.starts_with(prefix));
        of_it.cloned().collect()
    }

    fn count(&self, prefix: &str) -> usize {
        self.looks(prefix).len()
    }

    async fn until_looked(&self, prefix: &str, times: usize) {
        wait_until("it was looked at so often", async || {
            (self.count(prefix) >= times).then_some(())
        })
        .await;
    }

    /// Waits until half of all partitions have been seen in this round.
    async fn until_seen_by_half(&self, round: u64) {
        wait_until("half of them have seen it", async || {
            let looks = self.looks("/n/").into_iter();
            let seen = looks.filter(|look| look.number == round).count();
            (seen >= TOGETHER / 2).then_some(())
        })
        .await;
    }
}

async fn answer(State(state): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let mut looks = state.looks.lock();
    let number = match path.as_str() {
        "/hot" => looks.len() as u64,
        _ => *state.round.lock(),
    };
    let at = Instant::now();
    let text = format!(r#"{{"number":{number}}}"#);
    looks.push(Look { at, path, number });
    let status = if state.fails.load(Ordering::Relaxed) {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::OK
    };
    (status, [("content-type", "application/json")], text).into_response()
}

const COLD: [&str; 3] = ["cold_one", "cold_two", "cold_three"];

/// One hot source and three cold ones.
fn config(numbers: &Numbers, bounds: &str) -> String {
    let upstream = format!("[upstreams.u]\nurl = \"{}\"\n", numbers.server.url);
    let names = ["hot"].into_iter().chain(COLD);
    names.fold(upstream, |text, name| {
        format!(
            "{text}[sources.{name}]\nupstream = \"u\"\npath = \"/{name}\"\nevery = {{ {bounds} }}\n"
        )
    })
}

async fn status(doorbell: &Doorbell, source: &str) -> Value {
    let url = format!("{}/api/v1/sources/{source}", doorbell.admin_url());
    let answer = client().get(url).send().await.expect("it answers");
    let text = answer.text().await.expect("a whole answer");
    serde_json::from_str(&text).expect("JSON")
}

fn changes_per_hour(status: &Value) -> f64 {
    let rate = status["adaptive"]["changes_per_hour"].as_f64();
    rate.unwrap_or_else(|| panic!("no rate in {status}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_often_is_asked_often_and_the_rest_at_least_every_max() {
    let numbers = Numbers::serving().await;
    let doorbell = Doorbell::start(&config(&numbers, r#"min = "100ms", max = "4s""#)).await;
    numbers.until_looked("/hot", 30).await;
    let learnt = Instant::now();
    numbers.until_looked("/hot", 80).await;
    let since = |path: &str| {
        let looks = numbers.looks(path).into_iter();
        looks.filter(|look| look.at >= learnt).count()
    };
    let hot = since("/hot");
    for name in COLD {
        let path = format!("/{name}");
        let cold = since(&path);
        assert!(
            hot > 4 * cold,
            "{hot} polls of the hot one, {cold} of {name}"
        );
        let looks = numbers.looks(&path);
        let gaps = looks.windows(2).map(|pair| pair[1].at - pair[0].at);
        let last = looks.last().expect("it was looked at").at.elapsed();
        let longest = gaps.chain([last]).max().expect("some");
        assert!(longest < Duration::from_secs(4) + SLACK, "{longest:?}");
    }
    let hot = numbers.looks("/hot");
    let mut gaps = hot.windows(2).map(|pair| pair[1].at - pair[0].at);
    // A little is lost between here and there.
    assert!(gaps.all(|gap| gap > Duration::from_millis(80)));

    let (hot, cold) = (
        status(&doorbell, "hot").await,
        status(&doorbell, COLD[0]).await,
    );
    assert!(
        changes_per_hour(&hot) > 10.0 * changes_per_hour(&cold),
        "{hot} {cold}"
    );
    let polls = |status: &Value| status["adaptive"]["polls_per_hour"].as_f64();
    assert!(polls(&hot) > polls(&cold), "{hot} {cold}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_learnt_outlives_a_kill() {
    let numbers = Numbers::serving().await;
    let config = config(&numbers, r#"min = "100ms", max = "20s""#);
    let doorbell = Doorbell::start(&config).await;
    numbers.until_looked("/hot", 30).await;
    let before = changes_per_hour(&status(&doorbell, "hot").await);
    let corpse = doorbell.kill().await;
    let (hot, cold) = (numbers.count("/hot"), numbers.count("/cold"));

    let doorbell = corpse.restart().await;
    let began = Instant::now();
    numbers.until_looked("/hot", hot + 10).await;
    let took = began.elapsed();
    let cold = numbers.count("/cold") - cold;
    // Who knew nothing would ask the others as often; who waited for schedules, nobody so soon.
    assert!(cold <= 5, "{cold} polls of what never changes");
    assert!(took < Duration::from_secs(12), "{took:?}");
    let after = changes_per_hour(&status(&doorbell, "hot").await);
    let ratio = after / before;
    assert!((0.3..3.0).contains(&ratio), "{before} {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_teaches_nothing() {
    let numbers = Numbers::serving().await;
    let doorbell = Doorbell::start(&config(&numbers, r#"min = "100ms", max = "10s""#)).await;
    numbers.until_looked("/hot", 10).await;
    numbers.state.fails.store(true, Ordering::Relaxed);
    let failed = async |times: u64| {
        wait_until("it has failed so often", async || {
            let status = status(&doorbell, "hot").await;
            let failures = status["consecutive_failures"].as_u64();
            (failures >= Some(times)).then_some(status)
        })
        .await
    };
    let before = failed(1).await;
    let after = failed(3).await;
    assert_eq!(before["adaptive"], after["adaptive"]);
    numbers.state.fails.store(false, Ordering::Relaxed);
    let asked = numbers.count("/hot");
    numbers.until_looked("/hot", asked + 10).await;
}

const TOGETHER: usize = 16;
const ROUNDS: u64 = 8;
const ROUND: Duration = Duration::from_secs(5);

/// Method: sixteen partitions change together, every five seconds. They share four polls a second,
/// so each alone would be asked every four seconds, and in a second a quarter of them.
#[tokio::test(flavor = "multi_thread")]
async fn what_changes_together_is_asked_together() {
    let numbers = Numbers::serving().await;
    let values: Vec<String> = (10..10 + TOGETHER).map(|n| format!("\"{n}\"")).collect();
    let config = format!(
        "[upstreams.u]\nurl = \"{}\"\n[sources.s]\nupstream = \"u\"\npath = \"/n/{{{{n}}}}\"\n\
         each = {{ n = [{}] }}\nevery = {{ min = \"100ms\", max = \"160s\" }}\n",
        numbers.server.url,
        values.join(", ")
    );
    let doorbell = Doorbell::start(&config).await;
    for round in 1..=ROUNDS {
        tokio::time::sleep(ROUND).await;
        *numbers.state.round.lock() = round;
    }
    numbers.until_seen_by_half(ROUNDS).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let within = |round: u64| {
        let looks = numbers.looks("/n/");
        let first = looks.iter().find(|look| look.number == round);
        let first = first.expect("somebody saw it").at;
        let mut seen = BTreeMap::new();
        for look in looks.iter().filter(|look| look.number == round) {
            seen.entry(look.path.as_str()).or_insert(look.at - first);
        }
        let soon = seen
            .values()
            .filter(|after| **after < Duration::from_secs(1));
        soon.count()
    };
    let counts: Vec<usize> = (1..=ROUNDS).map(within).collect();
    let best = counts.iter().rev().take(4).max();
    assert!(best >= Some(&(TOGETHER * 3 / 4)), "{counts:?}");
    let status = status(&doorbell, "s").await;
    assert_eq!(status["partitions"]["total"], TOGETHER);
    assert!(changes_per_hour(&status) > 0.0);
}

/// Method: two requests a second, of which a fixed source takes one.
#[tokio::test(flavor = "multi_thread")]
async fn they_share_what_the_budget_leaves_and_fixed_sources_do_not_wait_for_them() {
    let numbers = Numbers::serving().await;
    let config = config(&numbers, r#"min = "100ms", max = "60s""#);
    let budget = "budget = { requests = 40, per = \"20s\", burst = 1 }\n";
    let config = config.replacen("[sources", &format!("{budget}[sources"), 1)
        + "[sources.fixed]\nupstream = \"u\"\npath = \"/fixed\"\nevery = \"1s\"\n";
    let doorbell = Doorbell::start(&config).await;
    numbers.until_looked("/fixed", 3).await;
    let before = numbers.count("/hot") + numbers.count("/cold");
    numbers.until_looked("/fixed", 23).await;
    let shared = numbers.count("/hot") + numbers.count("/cold") - before;
    assert!((10..=30).contains(&shared), "{shared} beside 20");
    let looks = numbers.looks("/fixed");
    let gaps = looks[3..].windows(2).map(|pair| pair[1].at - pair[0].at);
    let longest = gaps.max().expect("some");
    assert!(longest < Duration::from_secs(4), "{longest:?}");

    let mut polls = 0.0;
    for name in ["hot"].iter().chain(&COLD) {
        let status = status(&doorbell, name).await;
        let rate = status["adaptive"]["polls_per_hour"].as_f64();
        polls += rate.unwrap_or_else(|| panic!("no rate in {status}"));
    }
    assert!(
        (3_400.0..4_200.0).contains(&polls),
        "{polls} of 3,600 an hour"
    );
}
