//! The deliverer on a real store, against receivers that misbehave.

mod health;
mod made;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use url::Url;

use super::*;
use crate::config::{self, Config, Order};
use crate::digest::Context;
use crate::event::{Cause, Glob};
use crate::metrics::{Metrics, StoreMetrics};
use crate::secret::Secret;
use crate::shutdown::{self, Trigger};
use crate::signature::{Signed, SigningKey, VerifyingKey, verify};
use crate::store::{
    DeliveryQuery, DeliveryState, Draft, Form, ItemChange, Memory, PollCommit, SourceState,
};

/// Longer than anything here takes; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

fn secret() -> Secret {
    Secret::new("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".to_owned())
}

/// A webhook as it was received and believed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rung {
    id: String,
    event_type: String,
    subject: String,
    body: String,
}

/// Answers the webhook with this number, from 0.
type Answers = Box<dyn FnMut(usize, &Rung) -> u16 + Send>;

/// An endpoint's server. Every webhook waits in `gate` until it may be answered, if there is one.
struct Receiver {
    url: Url,
    rungs: mpsc::UnboundedReceiver<Rung>,
}

struct Desk {
    answers: Mutex<(usize, Answers)>,
    rungs: mpsc::UnboundedSender<Rung>,
    gate: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Receiver {
    async fn answering(answers: impl FnMut(usize, &Rung) -> u16 + Send + 'static) -> Self {
        Self::gated(answers, None).await
    }

    /// A receiver that keeps the first webhook waiting until the gate opens.
    async fn gated(
        answers: impl FnMut(usize, &Rung) -> u16 + Send + 'static,
        gate: Option<oneshot::Receiver<()>>,
    ) -> Self {
        let (sender, rungs) = mpsc::unbounded_channel();
        let desk = Arc::new(Desk {
            answers: Mutex::new((0, Box::new(answers))),
            rungs: sender,
            gate: Mutex::new(gate),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let service = axum::Router::new()
            .route("/hook", axum::routing::post(receive))
            .with_state(desk);
        tokio::spawn(async move { axum::serve(listener, service).await });
        let url = Url::parse(&format!("http://{address}/hook?token=secret")).expect("a URL");
        Self { url, rungs }
    }

    async fn next(&mut self) -> Rung {
        let next = tokio::time::timeout(PATIENCE, self.rungs.recv()).await;
        next.expect("a webhook in time").expect("the server runs")
    }

    fn has_more(&mut self) -> bool {
        self.rungs.try_recv().is_ok()
    }
}

async fn receive(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, String) {
    let text = |name: &str| headers[name].to_str().expect("text").to_owned();
    let (id, timestamp) = (text("webhook-id"), text("webhook-timestamp"));
    let signed = Signed {
        id: &id,
        timestamp: &timestamp,
        signature: &text("webhook-signature"),
    };
    let now = Clock::system().now().as_seconds();
    verify(
        &[VerifyingKey::parse(&secret()).expect("a key")],
        signed,
        body.as_bytes(),
        now,
    )
    .expect("a webhook to believe");
    let json: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let rung = Rung {
        id,
        event_type: json["type"].as_str().unwrap_or_default().to_owned(),
        subject: json["data"]["subject"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        body,
    };
    let status = {
        let mut answers = desk.answers.lock();
        let (count, answer) = &mut *answers;
        *count += 1;
        answer(*count - 1, &rung)
    };
    let _ = desk.rungs.send(rung);
    let gate = desk.gate.lock().take();
    if let Some(gate) = gate {
        let _ = gate.await;
    }
    (
        StatusCode::from_u16(status).expect("a status"),
        "no".repeat(2_000),
    )
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn endpoint(text: &str, url: &Url) -> Endpoint {
    Endpoint {
        name: name(text),
        url: url.clone(),
        secrets: vec![SigningKey::parse(&secret()).expect("a key")],
        github: None,
        filter: None,
        rendering: Arc::default(),
        events: vec![Glob::new("*")],
        timeout: Duration::from_secs(10),
        retry: vec![Duration::from_millis(20); 3],
        concurrency: 4,
        rate: None,
        disable_after: Duration::from_hours(24),
        order: Order::Subject,
        allow_private: true,
        allow_networks: Arc::default(),
        handshake: None,
        owner: config::Owner::File,
        retiring: Vec::new(),
        headers: HeaderMap::new(),
    }
}

/// A store with one source, and what is needed to run a deliverer on it.
struct House {
    directory: tempfile::TempDir,
    store: Store,
    source: SourceState,
    metrics: Metrics,
    clock: Clock,
}

/// A deliverer at work.
struct Running {
    deliverer: Deliverer,
    trigger: Trigger,
}

impl House {
    async fn new() -> Self {
        crate::client::install_crypto_provider();
        Self::at(tempfile::tempdir().expect("a directory")).await
    }

    async fn at(directory: tempfile::TempDir) -> Self {
        let metrics = Metrics::new();
        let settings = settings(&directory);
        let series = StoreMetrics::new(&metrics);
        let store = Store::open(&settings, Clock::system(), series).await;
        let store = store.expect("the store opens");
        let source = store
            .sources(&[name("issues")])
            .await
            .expect("registers")
            .remove(0);
        Self {
            directory,
            store,
            source,
            metrics,
            clock: Clock::system(),
        }
    }

    async fn restart(self) -> Self {
        self.store.close().await;
        Self::at(self.directory).await
    }

    async fn start(&self, endpoints: Vec<Endpoint>) -> Running {
        let named = |endpoint: Endpoint| (endpoint.name.clone(), Arc::new(endpoint));
        let config = Config {
            log: config::Log {
                level: tracing::Level::INFO,
                format: None,
            },
            store: settings(&self.directory),
            metrics: config::Metrics::default(),
            admin: config::Admin {
                listen: ([127, 0, 0, 1], 0).into(),
                token: None,
                metrics_token: true,
                hosts: Vec::new(),
                public_url: None,
                allow_networks: ["127.0.0.0/8".parse().expect("a network")].into(),
            },
            proxy: None,
            upstreams: BTreeMap::new(),
            sources: BTreeMap::new(),
            endpoints: endpoints.into_iter().map(named).collect(),
            routes: BTreeMap::new(),
            warnings: Vec::new(),
        };
        let (trigger, shutdown) = shutdown::channel();
        let parts = Parts {
            live: Arc::new(ArcSwap::from_pointee(config)),
            store: self.store.clone(),
            resolver: Resolver::system(),
            metrics: DeliverMetrics::new(&Metrics::new()),
            clock: self.clock.clone(),
            shutdown,
        };
        let sources = [(name("issues"), self.source.id)];
        let deliverer = Deliverer::start(parts, &sources).await.expect("it starts");
        Running { deliverer, trigger }
    }

    /// Commits one created event for each subject.
    async fn commit(&self, subjects: &[&str]) {
        self.commit_of(&self.source, subjects).await;
    }

    async fn commit_of(&self, source: &SourceState, subjects: &[&str]) {
        let change = |subject: &&str| ItemChange {
            subject: (*subject).into(),
            now: Some(Form {
                digest: Context::new("test").digest(subject.as_bytes()),
                body: None,
            }),
            event: Some(Draft {
                kind: Kind::Created,
                content: format!(r#""current":{{"id":"{subject}"}}"#).into(),
            }),
        };
        let poll = PollCommit {
            source: source.id,
            snapshot: source.snapshot,
            partition: crate::event::Partition::default(),
            at: Clock::system().now(),
            cause: Cause::Poll,
            memory: Memory::default(),
            changes: subjects.iter().map(change).collect(),
            settles_snapshot: true,
            marks: Vec::new(),
            announcements: Vec::new(),
        };
        self.store.commit(poll).await.expect("commits");
    }

    async fn count(&self, endpoint: &str, state: DeliveryState) -> usize {
        let query = DeliveryQuery {
            state,
            endpoint: name(endpoint),
            hears: vec![
                (self.source.id, Kind::OF_SOURCES.to_vec()),
                (SourceId::OPERATIONAL, Vec::new()),
            ],
            after: None,
            limit: 1_000,
        };
        self.store.deliveries(query).await.expect("lists").len()
    }
}

fn settings(directory: &tempfile::TempDir) -> config::Store {
    config::Store {
        path: directory.path().join("doorbell.db"),
        retain: Duration::from_hours(24),
        retain_dead: Duration::from_hours(24),
    }
}

impl Running {
    async fn drain(&self) {
        self.trigger.enter(Phase::Draining);
        let drained = tokio::time::timeout(PATIENCE, self.deliverer.drained()).await;
        drained.expect("the drain ends");
    }

    /// Waits until the first endpoint's status is as wanted.
    async fn until(&self, wanted: impl Fn(&EndpointStatus) -> bool) {
        let reached = async {
            while !wanted(&self.deliverer.endpoints()[0]) {
                tokio::task::yield_now().await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        reached.expect("a status in time");
    }
}

#[tokio::test]
async fn what_is_committed_rings_signed_and_once() {
    let (house, mut receiver) = (House::new().await, Receiver::answering(|_, _| 204).await);
    house.commit(&["old"]).await;
    let running = house.start(vec![endpoint("ops", &receiver.url)]).await;
    running
        .deliverer
        .endpoints()
        .iter()
        .for_each(|status| assert_eq!(status.pending, 0));
    house.commit(&["a", "b", "c"]).await;
    let mut subjects = Vec::new();
    for _ in 0..3 {
        let rung = receiver.next().await;
        assert_eq!(rung.event_type, "issues.created");
        subjects.push(rung.subject);
    }
    subjects.sort();
    assert_eq!(subjects, ["a", "b", "c"]);
    running.drain().await;
    assert!(!receiver.has_more());
    assert_eq!(house.count("ops", DeliveryState::Delivered).await, 3);
    let status = &running.deliverer.endpoints()[0];
    assert_eq!((status.pending, status.enabled), (0, true));
    assert!(!status.url.contains("secret"), "{}", status.url);
}

#[tokio::test]
async fn a_refused_webhook_comes_again_the_same_before_the_next_of_its_subject() {
    let refusing = |count: usize, rung: &Rung| {
        if rung.subject == "a" && count < 3 {
            500
        } else {
            200
        }
    };
    let (house, mut receiver) = (House::new().await, Receiver::answering(refusing).await);
    let running = house.start(vec![endpoint("ops", &receiver.url)]).await;
    house.commit(&["a"]).await;
    house.commit(&["a"]).await;
    house.commit(&["b"]).await;
    let mut rungs = Vec::new();
    while rungs
        .iter()
        .filter(|rung: &&Rung| rung.subject == "a")
        .count()
        < 3
        || !rungs.iter().any(|rung| rung.subject == "b")
        || rungs[rungs.len() - 1].id == rungs[0].id
    {
        rungs.push(receiver.next().await);
    }
    running.until(|status| status.pending == 0).await;
    running.drain().await;
    let ids: Vec<&Rung> = rungs.iter().filter(|rung| rung.subject == "a").collect();
    let last = ids[ids.len() - 1];
    assert!(ids.len() >= 3 && last.id != ids[0].id);
    for again in &ids[..ids.len() - 1] {
        assert_eq!(*again, ids[0], "every attempt is the same");
    }
    assert_eq!(house.count("ops", DeliveryState::Delivered).await, 3);
}

#[tokio::test]
async fn a_delivery_that_used_up_its_attempts_is_a_dead_letter_and_its_subject_goes_on() {
    let refusing = |_: usize, rung: &Rung| {
        if rung.body.contains("poison") {
            400
        } else {
            200
        }
    };
    let (house, receiver) = (House::new().await, Receiver::answering(refusing).await);
    let mut operator = Receiver::answering(|_, _| 200).await;
    let mut watching = endpoint("watcher", &operator.url);
    watching.events = vec![Glob::new("doorbell.delivery.*")];
    let mut receiver = receiver;
    let running = house
        .start(vec![endpoint("ops", &receiver.url), watching])
        .await;
    house.commit(&["poison"]).await;
    house.commit(&["fine"]).await;
    let told = operator.next().await;
    assert_eq!(told.event_type, "doorbell.delivery.dead");
    assert!(told.body.contains("status 400"), "{}", told.body);
    running.until(|status| status.pending == 0).await;
    running.drain().await;
    let mut poison = 0;
    while let Ok(rung) = receiver.rungs.try_recv() {
        poison += usize::from(rung.subject == "poison");
    }
    assert_eq!(poison, 4, "three delays make four attempts");
    assert_eq!(house.count("ops", DeliveryState::Dead).await, 1);
    assert_eq!(house.count("ops", DeliveryState::Delivered).await, 1);
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_left_alone_and_its_deliveries_stay() {
    let (house, mut receiver) = (House::new().await, Receiver::answering(|_, _| 410).await);
    let mut operator = Receiver::answering(|_, _| 200).await;
    let mut watching = endpoint("watcher", &operator.url);
    watching.events = vec![Glob::new("doorbell.endpoint.*")];
    let running = house
        .start(vec![endpoint("ops", &receiver.url), watching])
        .await;
    house.commit(&["a"]).await;
    receiver.next().await;
    assert_eq!(
        operator.next().await.event_type,
        "doorbell.endpoint.disabled"
    );
    running.until(|status| !status.enabled).await;
    house.commit(&["b"]).await;
    running.drain().await;
    assert!(!receiver.has_more() && !operator.has_more());
    assert_eq!(house.count("ops", DeliveryState::Pending).await, 2);
}

#[tokio::test]
async fn what_was_refused_before_a_crash_is_delivered_after_it() {
    let refusing = |count: usize, _: &Rung| if count < 2 { 503 } else { 200 };
    let (house, mut receiver) = (House::new().await, Receiver::answering(refusing).await);
    let mut patient = endpoint("ops", &receiver.url);
    patient.retry = vec![Duration::from_secs(1); 3];
    let running = house.start(vec![patient.clone()]).await;
    house.commit(&["a", "b"]).await;
    let before = [receiver.next().await.id, receiver.next().await.id];
    house.commit(&["a"]).await;
    running
        .until(|status| status.blocked_subjects == 2 && status.pending == 3)
        .await;
    running.trigger.enter(Phase::Stopping);
    running.deliverer.drained().await;
    let house = house.restart().await;
    let running = house.start(vec![patient]).await;
    let after = [
        receiver.next().await,
        receiver.next().await,
        receiver.next().await,
    ];
    // What was on its way to the disk is sent again, too: under the same ids.
    for id in &before {
        assert!(after.iter().any(|rung| rung.id == *id), "{id} is lost");
    }
    let of_a: Vec<&Rung> = after.iter().filter(|rung| rung.subject == "a").collect();
    assert!(before.contains(&of_a[0].id) && !before.contains(&of_a[1].id));
    running.until(|status| status.pending == 0).await;
    running.drain().await;
    assert_eq!(house.count("ops", DeliveryState::Delivered).await, 3);
}

#[tokio::test]
async fn a_drain_waits_for_the_attempt_in_flight_and_starts_no_other() {
    let (open, gate) = oneshot::channel();
    let (house, mut receiver) = (
        House::new().await,
        Receiver::gated(|_, _| 200, Some(gate)).await,
    );
    let mut slow = endpoint("ops", &receiver.url);
    slow.concurrency = 1;
    let running = house.start(vec![slow]).await;
    house.commit(&["a", "b"]).await;
    receiver.next().await;
    running.trigger.enter(Phase::Draining);
    let opened = async { open.send(()).expect("the receiver waits") };
    tokio::join!(running.drain(), opened);
    assert!(!receiver.has_more(), "nothing starts during a drain");
    assert_eq!(house.count("ops", DeliveryState::Delivered).await, 1);
    assert_eq!(house.count("ops", DeliveryState::Pending).await, 1);
}

#[tokio::test]
async fn an_endpoint_that_hangs_delays_no_other() {
    let (_open, gate) = oneshot::channel();
    let hanging = Receiver::gated(|_, _| 200, Some(gate)).await;
    let (house, mut receiver) = (House::new().await, Receiver::answering(|_, _| 200).await);
    let mut slow = endpoint("slow", &hanging.url);
    slow.concurrency = 1;
    let running = house
        .start(vec![endpoint("ops", &receiver.url), slow])
        .await;
    let subjects: Vec<String> = (0..600).map(|number| number.to_string()).collect();
    let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
    house.commit(&subjects).await;
    for _ in 0..600 {
        receiver.next().await;
    }
    running.until(|status| status.pending == 0).await;
    assert!(running.deliverer.endpoints()[1].pending > 0);
    running.trigger.enter(Phase::Stopping);
}

#[tokio::test]
async fn a_private_address_is_not_connected_to() {
    let (house, mut receiver) = (House::new().await, Receiver::answering(|_, _| 200).await);
    let mut guarded = endpoint("ops", &receiver.url);
    guarded.allow_private = false;
    guarded.retry = Vec::new();
    let running = house.start(vec![guarded]).await;
    house.commit(&["a"]).await;
    running
        .until(|status| status.oldest_pending_seconds.is_none())
        .await;
    while house.count("ops", DeliveryState::Dead).await == 0 {
        tokio::task::yield_now().await;
    }
    running.drain().await;
    assert!(!receiver.has_more());
    assert!(!house.metrics.scrape().is_empty());
}

/// Method: both commits are there before anybody is told, so the small one, whose events are told,
/// stands behind a large one, whose events are not.
#[tokio::test]
async fn a_large_commit_is_told_of_although_a_small_one_follows() {
    let house = House::new().await;
    let builds = house.store.sources(&[name("builds")]).await;
    let builds = builds.expect("registers").remove(0);
    let fresh = house.store.fresh();
    let news = house.store.position();
    let before = *news.borrow();
    let many: Vec<String> = (0..=crate::store::LARGE_CHANGES)
        .map(|n| n.to_string())
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    house.commit_of(&builds, &many).await;
    house.commit(&["a"]).await;

    let inboxes: [Arc<Inbox>; 2] = Default::default();
    let hearers = [builds.id, house.source.id].into_iter().zip(&inboxes);
    let hearers = hearers.map(|(source, inbox)| (source, vec![(Arc::clone(inbox), 0)]));
    let roster = Arc::new(Roster {
        hearers: RwLock::new(hearers.collect()),
        ..Roster::default()
    });
    let tell = tell(house.store.clone(), (fresh, news, before), roster);
    let heard = async { tokio::join!(inboxes[0].news(), inboxes[1].news()) };
    let heard = async {
        tokio::select! {
            heard = heard => heard,
            () = tell => unreachable!("the store is open"),
        }
    };
    let (large, small) = tokio::time::timeout(PATIENCE, heard)
        .await
        .expect("both are told");
    assert!(large.lanes.contains(&0) && large.fresh.is_empty());
    assert!(small.lanes.contains(&0) || !small.fresh.is_empty());
}

#[test]
fn who_is_only_probed_is_told_after_all_others() {
    let inboxes: [Arc<Inbox>; 4] = Default::default();
    for late in [0, 2] {
        inboxes[late].be_late(true);
    }
    let hearers = inboxes.iter().cloned().zip(0..).collect();
    let turns: Vec<_> = in_turn(Some(&hearers)).map(|(_, lane)| *lane).collect();
    assert_eq!(turns, [1, 3, 0, 2]);
}
