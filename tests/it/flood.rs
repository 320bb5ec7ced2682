//! One huge poll, and what it does to others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Doorbell, Receiver, Ring, Story, Upstream, ring_small, small_source, tickets,
};

/// Changes that one poll finds: many commits' and many batches' worth.
const CHANGES: usize = 20_000;

/// Items that change again before all of it is delivered.
const AGAIN: usize = 2_000;

/// For a debug build on a busy machine; how fast a release build is, `make bench` tells.
const FLOOD_MAX: Duration = Duration::from_mins(4);

/// Rings of the small source during the flood that show that it was not held up.
const SMALL_RINGS_MIN: usize = 10;

/// Method: a small source goes on changing while the flood is delivered. Each of its changes must
/// ring before the flood is over, and the flood itself must be whole and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_with_twenty_thousand_changes_is_delivered_whole_and_holds_up_nobody() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    upstream.also_serving("/small", vec![json!({"id": 1, "words": 0})]);
    let (big, small) = (Receiver::accepting().await, Receiver::accepting().await);
    let config =
        tickets(&upstream, &big, "").replace("[sources", "events = [\"tickets.*\"]\n[sources");
    let doorbell = Doorbell::start(&(config + &small_source(&small))).await;
    doorbell.poll("tickets").await;
    doorbell.poll("small").await;

    let words = json!("words ".repeat(10));
    upstream.change("/tickets", |list| {
        list.extend((0..CHANGES).map(|id| json!({"id": format!("{id:05}"), "words": words})));
    });
    let flooding = async {
        let polled = doorbell.poll("tickets").await;
        assert_eq!(polled["events"], CHANGES, "{}", polled["outcome"]);
        // A second look while the first is on its way: subjects have two events waiting.
        upstream.change("/tickets", |list| {
            for item in &mut list[..AGAIN] {
                item["words"] = json!("other words");
            }
        });
        let polled = doorbell.poll("tickets").await;
        assert_eq!(polled["events"], AGAIN, "{}", polled["outcome"]);
        big.until_within(FLOOD_MAX, CHANGES + AGAIN).await
    };
    let small_rings = AtomicUsize::new(0);
    let ringing = async {
        for nth in 1.. {
            ring_small(&doorbell, &upstream, &small, nth).await;
            small_rings.store(nth, Ordering::Relaxed);
        }
    };
    let rings = tokio::select! {
        rings = flooding => rings,
        () = ringing => unreachable!(),
    };
    let small_rings = small_rings.into_inner();
    assert!(
        small_rings >= SMALL_RINGS_MIN,
        "{small_rings} rings beside the flood"
    );

    let story = Story::of("tickets", &rings);
    assert_eq!(story.len(), CHANGES + AGAIN);
    assert_eq!(
        rings.len(),
        story.len(),
        "nothing was refused, so nothing came twice"
    );
    let known: Vec<Value> = story.told_to(&[]).into_values().collect();
    assert_eq!(known, upstream.list("/tickets"));
    let subjects: Vec<&str> = story.events().take(CHANGES).map(Ring::subject).collect();
    assert!(
        subjects.is_sorted(),
        "events of one poll go in the order of their ids"
    );
}
