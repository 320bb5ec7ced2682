//! Nothing seen is lost: SIGKILL at any instant.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Behaviour, Corpse, Process, Receiver, Story, Upstream, by_id, client, is_proving, poll, tickets,
};

/// The longest that a process lives. Long enough for a start, some polls and their retries, short
/// enough that starting, too, is often what is interrupted.
const LIFE_MAX: Duration = Duration::from_millis(800);

/// Most items of the list, so that items are changed again and again.
const ITEMS_MAX: u64 = 30;

/// Method: the list changes before each poll, the receiver refuses half, and the process is killed
/// after a random time, again and again. Then it may finish. What the receiver was told must make,
/// event by event, what the upstream says at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_has_rung_after_kills_at_random_instants() {
    let kills = if is_proving() { 200 } else { 20 };
    let seed = std::env::var("DOORBELL_SEED").map_or_else(
        |_| fastrand::u64(..),
        |seed| seed.parse().expect("DOORBELL_SEED is a number"),
    );
    tell(&format!("DOORBELL_SEED={seed} draws the same again"));
    let mut random = fastrand::Rng::with_seed(seed);
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::behaving(Behaviour::RefusingHalf, seed).await;
    // Short delays, or a fast machine makes more events than subjects in order can get through.
    let config = tickets(&upstream, &receiver, "baseline = \"emit\"").replace("100ms", "20ms");
    let corpse = Corpse::new(&config);
    let mut promised = BTreeSet::new();

    let mut corpse = corpse;
    let mut lives_with_events = 0;
    for _ in 0..kills {
        let process = corpse.launch();
        let life = LIFE_MAX.mul_f64(random.f64());
        let before = promised.len();
        tokio::select! {
            () = tokio::time::sleep(life) => {}
            () = live(&process, &upstream, &mut random, &mut promised) => {}
        }
        lives_with_events += usize::from(promised.len() > before);
        corpse = process.kill().await;
    }

    // Every subject changes once more. They keep their order, so when these last events have rung
    // all the earlier ones have.
    let doorbell = corpse.restart().await;
    let all = (0..ITEMS_MAX).map(|id| json!({"id": id, "words": "last"}));
    upstream.change("/tickets", |list| *list = all.collect());
    let polled = doorbell.poll("tickets").await;
    let final_ids = event_ids(&polled);
    assert_eq!(final_ids.len() as u64, ITEMS_MAX, "{polled}");
    let rings = receiver.until_all_accepted(&final_ids).await;
    doorbell.until_delivered("ops").await;

    let story = Story::of("tickets", &rings);
    assert_eq!(story.told_to(&[]), by_id(&upstream.list("/tickets")));
    let ids = story.ids();
    let unheard: Vec<&String> = promised
        .iter()
        .filter(|id| !ids.contains(id.as_str()))
        .collect();
    assert!(unheard.is_empty(), "promised and not rung: {unheard:?}");
    tell(&format!(
        "{kills} kills, {lives_with_events} lives with events, {} events, {} attempts",
        story.len(),
        rings.len()
    ));
    assert!(
        lives_with_events * 5 > kills,
        "too little happened to prove anything"
    );
    assert!(
        rings.len() * 2 > story.len() * 3,
        "half of the attempts were refused"
    );
}

/// Changes and polls until it is killed; remembers the events that polls promised.
async fn live(
    process: &Process,
    upstream: &Upstream,
    random: &mut fastrand::Rng,
    promised: &mut BTreeSet<String>,
) {
    let admin = process.admin().await;
    let client = client();
    loop {
        upstream.change("/tickets", |list| (0..3).for_each(|_| edit(list, random)));
        let Some(polled) = poll(&client, &admin, "tickets").await else {
            return std::future::pending().await;
        };
        promised.extend(event_ids(&polled));
    }
}

fn event_ids(polled: &Value) -> BTreeSet<String> {
    let ids = polled["event_ids"].as_array();
    let ids = ids.expect("a poll lists its events").iter();
    ids.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Creates, updates or deletes an item. The content is never the same twice.
fn edit(list: &mut Vec<Value>, random: &mut fastrand::Rng) {
    let id = random.u64(..ITEMS_MAX);
    let at = list.iter().position(|item| item["id"] == id);
    match at {
        Some(at) if random.u8(..4) == 0 => drop(list.remove(at)),
        Some(at) => list[at]["words"] = json!(random.u64(..)),
        None => list.push(json!({"id": id, "words": random.u64(..)})),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "a run at random is only repeatable when it tells its seed"
)]
fn tell(what: &str) {
    eprintln!("{what}");
}
