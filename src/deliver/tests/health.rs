//! How an endpoint that is not well is treated: slower, only probed, switched off.

use std::num::NonZeroU32;
use std::time::Instant;

use super::*;
use crate::config::Rate;
use crate::event::EventKey;
use crate::store::{Deed, DeliveryId, Failing, Parked, ReplayQuery, SCAN_MAX, Settling};

/// As if the endpoint `ops` had failed so before the start.
async fn has_failed(house: &House, failures: u32, spent: Duration) {
    let now = Clock::system().now();
    let failing = Failing {
        since: now.minus(spent),
        last: now,
        spent,
        failures,
    };
    let settling = Settling {
        health: Some((name("ops"), Some(failing))),
        ..Settling::default()
    };
    house.store.settle(settling).await.expect("settles");
}

async fn failures(house: &House) -> Option<u32> {
    let failing = house.store.failing().await.expect("reads");
    failing.get("ops").map(|failing| failing.failures)
}

fn many(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("s{number:04}")).collect()
}

async fn commit_many(house: &House, count: usize) {
    let subjects = many(count);
    let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
    house.commit(&subjects).await;
}

/// Method: the endpoint was down before the start, so it is only probed, each time with another
/// delivery, because a delivery that was tried waits for its own retry. At the third probe it is
/// back, and everything comes at once.
#[tokio::test]
async fn an_endpoint_that_is_down_is_probed_with_the_oldest_until_it_is_back() {
    let down = |count: usize, _: &Rung| if count < 2 { 500 } else { 200 };
    let (house, mut receiver) = (House::new().await, Receiver::answering(down).await);
    has_failed(&house, 20, Duration::from_secs(10)).await;
    let mut patient = endpoint("ops", &receiver.url);
    patient.retry = vec![Duration::from_mins(10)];
    let running = house.start(vec![patient]).await;
    commit_many(&house, 50).await;
    let mut rungs = Vec::new();
    for _ in 0..50 {
        rungs.push((receiver.next().await, Instant::now()));
    }
    let subjects: Vec<&str> = rungs.iter().map(|(rung, _)| &*rung.subject).collect();
    assert_eq!(subjects[..3], ["s0000", "s0001", "s0002"]);
    let pause = |at: usize| rungs[at + 1].1 - rungs[at].1;
    assert!(pause(0) >= Duration::from_millis(950), "{:?}", pause(0));
    assert!(pause(1) >= Duration::from_millis(1_900), "{:?}", pause(1));
    running.until(|status| status.pending == 2).await;
    running.drain().await;
    assert_eq!(house.count("ops", DeliveryState::Delivered).await, 48);
    assert_eq!(failures(&house).await, None, "it is well again");
}

/// Method: as many attempts fail as it takes, but in no time; then all but one of the failures are
/// from before.
#[tokio::test]
async fn what_an_endpoint_failed_is_known_after_a_restart() {
    let (house, mut receiver) = (House::new().await, Receiver::answering(|_, _| 500).await);
    let mut patient = endpoint("ops", &receiver.url);
    patient.retry = vec![Duration::from_mins(10)];
    let running = house.start(vec![patient.clone()]).await;
    commit_many(&house, 30).await;
    for _ in 0..30 {
        receiver.next().await;
    }
    running.until(|status| status.blocked_subjects == 30).await;
    running.drain().await;
    assert_eq!(failures(&house).await, Some(30));
    let house = house.restart().await;
    let running = house.start(vec![patient]).await;
    house.commit(&["new"]).await;
    receiver.next().await;
    running.until(|status| status.blocked_subjects == 31).await;
    running.drain().await;
    assert_eq!(failures(&house).await, Some(31));
}

#[tokio::test]
async fn an_endpoint_that_failed_for_too_long_is_switched_off_and_the_others_are_told() {
    let (house, mut receiver) = (House::new().await, Receiver::answering(|_, _| 500).await);
    let mut operator = Receiver::answering(|_, _| 200).await;
    has_failed(&house, 7, Duration::from_hours(120)).await;
    let mut hopeless = endpoint("ops", &receiver.url);
    hopeless.disable_after = Duration::from_hours(120);
    hopeless.events = vec![Glob::new("*"), Glob::new("doorbell.*")];
    let mut watching = endpoint("watcher", &operator.url);
    watching.events = vec![Glob::new("doorbell.*")];
    let running = house.start(vec![hopeless.clone(), watching]).await;
    house.commit(&["a"]).await;
    receiver.next().await;
    let told = operator.next().await;
    assert_eq!(told.event_type, "doorbell.endpoint.disabled");
    let body: serde_json::Value = serde_json::from_str(&told.body).expect("JSON");
    assert_eq!(body["data"]["endpoint"], "ops");
    assert_eq!(body["data"]["consecutive"], 8);
    let since = body["data"]["since"].as_str().expect("a time");
    let since = chrono::DateTime::parse_from_rfc3339(since).expect("RFC 3339");
    let hours = chrono::Utc::now().signed_duration_since(since).num_hours();
    assert!((119..=121).contains(&hours), "{hours}");
    running.until(|status| !status.enabled).await;
    house.commit(&["b"]).await;
    running.drain().await;
    assert!(!receiver.has_more() && !operator.has_more());

    // It stays so, and begins anew when somebody enables it.
    let house = house.restart().await;
    let running = house.start(vec![hopeless]).await;
    assert!(!running.deliverer.endpoints()[0].enabled);
    assert_eq!(failures(&house).await, Some(8));
    let enabled = running.deliverer.enable("ops", Backlog::Send).await;
    enabled.expect("enables");
    for _ in 0..2 {
        receiver.next().await;
    }
    running.until(|status| status.enabled).await;
    running.drain().await;
    let failures = failures(&house).await.expect("it fails again");
    assert!((1..=8).contains(&failures), "{failures}");
}

/// Method: many attempts end at once, so that the 410 among them is written later than what somebody
/// who sees the endpoint switched off writes: it is enabled, or once more switched off.
#[tokio::test]
async fn what_somebody_switched_last_holds_over_a_restart() {
    let mut house = House::new().await;
    for round in 0..16 {
        let mut was_told = false;
        let answers = move |_: usize, rung: &Rung| {
            // Once, for what is enabled tries it again.
            let is_gone = rung.subject.ends_with('7') && !std::mem::replace(&mut was_told, true);
            if is_gone { 410 } else { 200 }
        };
        let receiver = Receiver::answering(answers).await;
        let running = house.start(vec![endpoint("ops", &receiver.url)]).await;
        let subjects: Vec<String> = (0..8).map(|n| format!("{round} {n}")).collect();
        let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
        house.commit(&subjects).await;
        running.until(|status| !status.enabled).await;
        let enabled = running.deliverer.enable("ops", Backlog::Send).await;
        enabled.expect("enables");
        let is_on = round % 2 == 0;
        if !is_on {
            let disabled = running.deliverer.disable("ops").await;
            disabled.expect("disables");
        }
        running.drain().await;
        house = house.restart().await;
        let disabled = house.store.disabled().await.expect("reads");
        assert_eq!(disabled.is_empty(), is_on, "round {round}");
        house
            .store
            .enable(&Name::parse("ops").expect("a name"))
            .await
            .expect("enables");
    }
}

/// It would be the first thing that the endpoint hears when it is enabled.
#[tokio::test]
async fn an_endpoint_is_not_told_that_it_was_switched_off_itself() {
    let gone = |count: usize, _: &Rung| if count == 0 { 410 } else { 200 };
    let (house, mut receiver) = (House::new().await, Receiver::answering(gone).await);
    let mut curious = endpoint("ops", &receiver.url);
    curious.events = vec![Glob::new("*"), Glob::new("doorbell.*")];
    let running = house.start(vec![curious]).await;
    house.commit(&["a"]).await;
    receiver.next().await;
    // It is on disk with the event that tells of it, which is pending.
    running.until(|status| status.pending == 2).await;
    let enabled = running.deliverer.enable("ops", Backlog::Send).await;
    enabled.expect("enables");
    assert_eq!(receiver.next().await.subject, "a");
    running.until(|status| status.pending == 0).await;
    running.drain().await;
    assert!(!receiver.has_more());
}

/// Method: each attempt hangs until all others that may begin have begun.
#[tokio::test]
async fn a_receiver_that_says_slow_down_gets_half_as_many_at_once() {
    let at_once = Arc::new(Mutex::new((0_usize, Vec::new())));
    let (house, server) = (House::new().await, Busy::listening(&at_once).await);
    let mut eager = endpoint("ops", &server);
    eager.concurrency = 8;
    eager.retry = vec![Duration::from_millis(1); 100];
    let running = house.start(vec![eager]).await;
    commit_many(&house, 60).await;
    running.until(|status| status.pending > 0).await;
    running.until(|status| status.pending == 0).await;
    running.drain().await;
    let seen = at_once.lock().1.clone();
    assert_eq!(seen[..8].iter().max(), Some(&8), "it begins with all");
    // Eight answers of 503 leave one attempt at a time, and each acceptance adds one.
    assert_eq!(seen[8..11], [1, 1, 2], "{seen:?}");
    assert_eq!(seen[11..].iter().max(), Some(&8), "{seen:?}");
}

/// A receiver that answers as many as come together together: the first eight by 503. Notes how
/// many were there when each came.
struct Busy {
    at_once: Arc<Mutex<(usize, Vec<usize>)>>,
}

impl Busy {
    async fn listening(at_once: &Arc<Mutex<(usize, Vec<usize>)>>) -> Url {
        let busy = Arc::new(Self {
            at_once: Arc::clone(at_once),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let service = axum::Router::new()
            .route("/hook", axum::routing::post(Self::receive))
            .with_state(busy);
        tokio::spawn(async move { axum::serve(listener, service).await });
        Url::parse(&format!("http://{address}/hook")).expect("a URL")
    }

    async fn receive(State(busy): State<Arc<Self>>) -> StatusCode {
        let nth = {
            let mut at_once = busy.at_once.lock();
            at_once.0 += 1;
            let here = at_once.0;
            at_once.1.push(here);
            at_once.1.len()
        };
        // Whoever may come too, comes within this time.
        tokio::time::sleep(Duration::from_millis(50)).await;
        busy.at_once.lock().0 -= 1;
        if nth <= 8 {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        }
    }
}

/// Method: one endpoint may be rung ten times a second, another as often as there is something.
#[tokio::test]
async fn a_rate_is_kept_and_delays_no_other_endpoint() {
    let (house, mut slow) = (House::new().await, Receiver::answering(|_, _| 200).await);
    let mut fast = Receiver::answering(|_, _| 200).await;
    let mut rated = endpoint("rated", &slow.url);
    rated.rate = Some(Rate {
        requests: NonZeroU32::new(20).expect("some"),
        per: Duration::from_secs(1),
    });
    let running = house.start(vec![rated, endpoint("free", &fast.url)]).await;
    let began = Instant::now();
    commit_many(&house, 40).await;
    for _ in 0..40 {
        fast.next().await;
    }
    let (fast, mut arrivals) = (began.elapsed(), Vec::new());
    for _ in 0..40 {
        slow.next().await;
        arrivals.push(began.elapsed());
    }
    // One at once, 39 more at 50 ms each.
    assert!(arrivals[39] >= Duration::from_millis(1_900), "{arrivals:?}");
    assert!(arrivals[19] >= Duration::from_millis(900), "{arrivals:?}");
    assert!(fast < arrivals[39], "{fast:?}");
    running.drain().await;
}

/// A clock that is set back while a delivery waits does not hold it up so long. The receiver believes
/// timestamps within five minutes.
#[tokio::test]
async fn a_clock_that_is_set_back_holds_up_no_retry() {
    let refusing = |count: usize, _: &Rung| if count < 3 { 500 } else { 200 };
    let (mut house, mut receiver) = (House::new().await, Receiver::answering(refusing).await);
    let offset = Arc::new(std::sync::atomic::AtomicI64::new(0));
    let set = Arc::clone(&offset);
    house.clock = Clock::from_fn(move || {
        let offset = set.load(std::sync::atomic::Ordering::Relaxed);
        Timestamp::from_millis(Clock::system().now().as_millis() + offset)
    });
    let mut patient = endpoint("ops", &receiver.url);
    patient.retry = vec![Duration::from_millis(500); 3];
    let running = house.start(vec![patient]).await;
    house.commit(&["a"]).await;
    for minutes in [-2, -4, 3] {
        receiver.next().await;
        let millis = minutes * 60 * 1_000;
        offset.store(millis, std::sync::atomic::Ordering::Relaxed);
    }
    receiver.next().await;
    running.until(|status| status.pending == 0).await;
    running.drain().await;
}

/// Method: as many wait for a retry as a replay may not add to, and go on waiting.
#[tokio::test]
async fn a_replay_without_room_is_refused_rather_than_called_done() {
    let (house, receiver) = (House::new().await, Receiver::answering(|_, _| 200).await);
    let lanes = house.store.lanes(&name("ops"), &[house.source.id]).await;
    let (lane, now) = (lanes.expect("registers")[0].id, Clock::system().now());
    let parked = (1..=2_048).map(|nth| Parked {
        event: EventKey::new(nth, 0),
        kind: Kind::Created,
        subject: format!("s{nth}").into(),
        at: now,
        attempts: 1,
        earlier: 0,
        due: Some(now.plus(Duration::from_hours(1))),
    });
    let settling = Settling {
        parked: parked.map(|row| (lane, row)).collect(),
        ..Settling::default()
    };
    house.store.settle(settling).await.expect("settles");
    let running = house.start(vec![endpoint("ops", &receiver.url)]).await;
    let query = ReplayQuery {
        endpoint: name("ops"),
        states: vec![DeliveryState::Dead],
        kinds: [(house.source.id, Kind::OF_SOURCES.to_vec())].into(),
        since: Timestamp::from_millis(0),
        until: Timestamp::from_millis(i64::MAX),
        after: None,
        limit: usize::MAX,
    };
    let replayed = running.deliverer.replay(query).await;
    assert!(matches!(replayed, Err(SteerError::Crowded)), "{replayed:?}");
    let event = EventKey::new(1, 0);
    let one = DeliveryId { lane, event };
    let steered = running
        .deliverer
        .steer(&name("ops"), one, Deed::Retry)
        .await;
    assert!(matches!(steered, Err(SteerError::Crowded)), "{steered:?}");
    running.drain().await;
}

#[tokio::test]
async fn an_answer_is_kept_also_of_who_accepts() {
    let (house, mut receiver) = (House::new().await, Receiver::answering(|_, _| 200).await);
    let running = house.start(vec![endpoint("ops", &receiver.url)]).await;
    house.commit(&["a"]).await;
    receiver.next().await;
    running.until(|status| status.pending == 0).await;
    running.drain().await;
    let store = &house.store;
    let lanes = store.lanes(&name("ops"), &[house.source.id]).await;
    let source = (house.source.id, None);
    let events = store.scan(source, EventKey::START, SCAN_MAX).await;
    let delivery = DeliveryId {
        lane: lanes.expect("reads")[0].id,
        event: events.expect("reads")[0].key,
    };
    let attempts = store.attempts(delivery).await.expect("reads");
    let answer = attempts[0].answer.as_deref();
    assert_eq!(answer, Some(&*"no".repeat(512)), "its first KiB");
}
