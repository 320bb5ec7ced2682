//! Order and completeness where everything goes wrong at once.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Behaviour, Corpse, DEADLINE, Process, Receiver, Ring, Story, Upstream, by_id, client,
    is_proving, poll, tickets,
};

/// How much happens.
struct Storm {
    subjects: usize,
    changes: u64,
    /// The longest that a process lives.
    life_max: Duration,
    kills_min: usize,
}

const SHORT: Storm = Storm {
    subjects: 100,
    changes: 20,
    life_max: Duration::from_millis(1_500),
    kills_min: 2,
};
const FULL: Storm = Storm {
    subjects: 1_000,
    changes: 50,
    life_max: Duration::from_secs(4),
    kills_min: 10,
};

/// Method: all subjects change together, so many times, while the receiver accepts a half and fails,
/// stalls, resets or answers 429 to the others at random, and the process is killed again and again.
/// A change follows the poll that found the one before, so each is found once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_subject_keeps_its_sequence_through_failures_stalls_resets_429s_and_kills() {
    let storm = if is_proving() { FULL } else { SHORT };
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let list = |version: u64| -> Vec<Value> {
        let item = |id| json!({"id": format!("{id:04}"), "words": version});
        (0..storm.subjects).map(item).collect()
    };
    let upstream = Upstream::serving("/tickets", list(0)).await;
    let receiver = Receiver::behaving(Behaviour::Stormy, seed).await;
    let stormy = "timeout = \"150ms\"\nconcurrency = 32\nallow_private";
    let config = tickets(&upstream, &receiver, "")
        .replace("100ms", "20ms")
        .replace("allow_private", stormy);
    let doorbell = Corpse::new(&config).restart().await;
    assert_eq!(doorbell.poll("tickets").await["events"], 0);

    let mut corpse = doorbell.kill().await;
    let (mut version, mut kills) = (0, 0);
    let wanted = storm.subjects * usize::try_from(storm.changes).expect("few");
    while version < storm.changes || receiver.accepted() < wanted {
        let before = (version, receiver.accepted());
        let is_last = version == storm.changes;
        let process = corpse.launch();
        let life = storm.life_max.mul_f64(0.5 + random.f64() / 2.0);
        let living = live(&process, &upstream, &mut version, storm.changes, &list);
        tokio::select! {
            () = tokio::time::sleep(life) => {}
            () = living => unreachable!("it lives until it is killed"),
            () = receiver.until_all(wanted), if is_last => {}
        }
        corpse = process.kill().await;
        kills += 1;
        // On a machine so busy that nothing happens in a life nothing would ever be proved.
        let moves = (version, receiver.accepted()) != before;
        assert!(moves || kills < 1_000, "nothing moves");
    }
    let doorbell = corpse.restart().await;
    doorbell.until_delivered("ops").await;

    let rings = receiver.rings();
    let told = Story::of("tickets", &rings);
    assert_eq!(told.len(), wanted);
    assert_eq!(told.told_to(&list(0)), by_id(&list(storm.changes)));
    let subjects: BTreeSet<&str> = told.events().map(Ring::subject).collect();
    assert_eq!(subjects.len(), storm.subjects);
    tell(&format!(
        "{wanted} events, {} attempts, {kills} kills",
        rings.len()
    ));
    assert!(kills >= storm.kills_min, "{kills} kills are few");
    assert!(rings.len() * 2 > wanted * 3, "a half was not accepted");
}

/// Polls, and changes all subjects after each poll that was answered, until it is killed.
async fn live(
    process: &Process,
    upstream: &Upstream,
    version: &mut u64,
    until: u64,
    list: &impl Fn(u64) -> Vec<Value>,
) {
    let admin = process.admin().await;
    let client = client();
    while *version < until {
        let next = *version + 1;
        upstream.change("/tickets", |now| *now = list(next));
        let Some(polled) = poll(&client, &admin, "tickets").await else {
            return std::future::pending().await;
        };
        assert_ne!(polled["outcome"], "error", "{polled}");
        *version = next;
    }
    tokio::time::sleep(DEADLINE).await;
    std::future::pending::<()>().await;
}

#[expect(clippy::print_stderr, reason = "figures of a run at random")]
fn tell(what: &str) {
    eprintln!("{what}");
}
