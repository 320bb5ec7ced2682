//! How it ends when it is asked to: SIGTERM under load.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::harness::{
    Behaviour, Doorbell, Receiver, Story, Upstream, client, proxied, tickets, wait_until,
};

/// Callers that call all the time until they see that doorbell is about to go.
const CALLERS: usize = 40;

/// Calls that are under way when the signal comes.
const HELD: usize = 10;

/// Changes that are not delivered when the signal comes; more than an endpoint's concurrency.
const CHANGES: usize = 50;

/// What [`proxied`] sets.
const GRACE: Duration = Duration::from_secs(20);

/// Method: webhooks and calls are held until the drain has begun, so both are under way when the
/// signal comes. Callers do as a load balancer does, and stop when `/readyz` says so. Accepted
/// webhooks must be on disk at the end: none of them comes again.
#[tokio::test]
async fn sigterm_under_load_breaks_no_answer_and_loses_no_attempt() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::behaving(Behaviour::Stalling, 0).await;
    let config = tickets(&upstream, &receiver, "") + &proxied("");
    let doorbell = Doorbell::start(&config).await;
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |list| {
        list.extend((0..CHANGES).map(|id| json!({ "id": id })));
    });
    doorbell.poll("tickets").await;
    receiver.until_arrived(2).await;

    let proxy = doorbell.proxy_url().to_owned();
    let stop = watch::Sender::new(false);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        callers.spawn(call_on(proxy.clone(), caller, stop.subscribe()));
    }
    for held in 0..HELD {
        callers.spawn(call_once(proxy.clone(), held));
    }
    wait_until("all are under way", async || {
        let held = upstream.arrivals("/held/").len() == HELD;
        (held && upstream.arrivals("/echo/").len() > CALLERS).then_some(())
    })
    .await;

    let asked = Instant::now();
    doorbell.ask_to_end();
    let readiness = format!("{}/readyz", doorbell.admin_url());
    let client = client();
    wait_until("it is not ready any more", async || {
        let answer = client
            .get(&readiness)
            .send()
            .await
            .expect("it still answers");
        (answer.status() == 503).then_some(())
    })
    .await;
    stop.send_replace(true);
    upstream.release();
    receiver.now(Behaviour::Accepting);

    let mut calls = 0;
    while let Some(caller) = callers.join_next().await {
        calls += caller.expect("every answer was whole and right");
    }
    assert!(calls > CALLERS + HELD, "{calls} calls are no load");
    let (corpse, status) = doorbell.exited().await;
    assert_eq!(status.code(), Some(0));
    assert!(asked.elapsed() < GRACE, "it took {:?}", asked.elapsed());

    let before = receiver.rings();
    assert!(before.iter().any(|ring| ring.accepted.is_some()));
    let doorbell = corpse.restart().await;
    let rings = receiver.until_accepted(CHANGES).await;
    doorbell.until_delivered("ops").await;
    assert_eq!(Story::of("tickets", &rings).len(), CHANGES);
    assert_eq!(
        receiver.rings().len(),
        CHANGES,
        "an accepted webhook came again"
    );
}

/// Calls one after the other, each with a body of its own; how many.
async fn call_on(proxy: String, caller: usize, stop: watch::Receiver<bool>) -> usize {
    let client = client();
    let mut calls = 0;
    while !*stop.borrow() {
        let body = format!("{caller} calls for the {calls}. time").repeat(1 + caller);
        let call = client.post(format!("{proxy}/tracker/echo/{caller}"));
        let answer = call.body(body.clone()).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.text().await.expect("a whole answer"), body);
        calls += 1;
    }
    calls
}

/// Calls what is held until the drain has begun.
async fn call_once(proxy: String, caller: usize) -> usize {
    let body = format!("{caller} waits").repeat(1000);
    let call = client().post(format!("{proxy}/tracker/held/{caller}"));
    let answer = call.body(body.clone()).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.expect("a whole answer"), body);
    1
}
