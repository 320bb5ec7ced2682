//! What counts as a change, when it is believed, and what operators hear, through the real binary.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    Answering, Arrival, Doorbell, Receiver, Ring, Story, Upstream, tickets, wait_until,
};

fn ticket(id: u64, words: &str) -> Value {
    json!({"id": id, "title": words})
}

/// [`tickets`] with doorbell's own events heard, too, and `deletes` as it is given.
fn config(upstream: &Upstream, receiver: &Receiver, deletes: &str, more: &str) -> String {
    tickets(upstream, receiver, more)
        .replace("deletes = \"full\"", &format!("deletes = {deletes}"))
        .replace(
            "allow_private = true",
            "allow_private = true\nevents = [\"tickets.*\", \"doorbell.*\"]",
        )
}

fn types(rings: &[Ring]) -> Vec<&str> {
    rings.iter().map(Ring::event_type).collect()
}

/// Each webhook once: what was accepted but not known to be when a process was killed comes again.
fn once(rings: Vec<Ring>) -> Vec<Ring> {
    let mut seen = BTreeSet::new();
    let new = |ring: &Ring| seen.insert(ring.id.clone());
    rings.into_iter().filter(new).collect()
}

#[tokio::test]
async fn a_tombstone_rings_as_deleted_once_and_an_unknown_one_never() {
    let upstream = Upstream::serving("/tickets", vec![ticket(1, "a"), ticket(2, "b")]).await;
    let receiver = Receiver::accepting().await;
    let deletes = r#"{ tombstone = "$[?@.deleted == true]" }"#;
    let doorbell = Doorbell::start(&config(&upstream, &receiver, deletes, "")).await;
    doorbell.poll("tickets").await;

    let gone = |id: u64| json!({"id": id, "title": "x", "deleted": true});
    upstream.change("/tickets", |list| *list = vec![gone(2), gone(7)]);
    let polled = doorbell.poll("tickets").await;
    assert_eq!(
        polled["events"], 1,
        "one is missing, one is unknown: {polled}"
    );
    upstream.change("/tickets", |list| list[0]["title"] = json!("y"));
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["outcome"], "unchanged", "{polled}");
    upstream.change("/tickets", |list| list[0] = ticket(2, "back"));
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["events"], 1, "{polled}");

    let rings = receiver.until_accepted(2).await;
    assert_eq!(types(&rings), ["tickets.deleted", "tickets.created"]);
    let data = &rings[0].event["data"];
    assert_eq!(
        (rings[0].subject(), &data["previous"]),
        ("2", &ticket(2, "b"))
    );
    assert_eq!(data.get("current"), None);
    let items = doorbell
        .metrics()
        .await
        .value("doorbell_source_items", &[("source", "tickets")]);
    assert_eq!(items, 2.0);
}

/// Method: what rings next shows that nothing rang in between.
#[tokio::test]
async fn a_source_without_news_is_stale_once_and_again_after_news() {
    let upstream = Upstream::serving("/tickets", vec![ticket(1, "a")]).await;
    let receiver = Receiver::accepting().await;
    let more = "stale_after = \"1s\"";
    let doorbell = Doorbell::start(&config(&upstream, &receiver, "\"full\"", more)).await;
    doorbell.poll("tickets").await;
    let until_rung = async |doorbell: &Doorbell, count: usize| {
        wait_until("it is stale", async || {
            let polled = doorbell.poll("tickets").await;
            assert_eq!(polled["events"], 0, "{polled}");
            (once(receiver.rings()).len() >= count).then_some(())
        })
        .await;
    };
    until_rung(&doorbell, 1).await;

    let doorbell = doorbell.kill().await.restart().await;
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |list| list.push(ticket(2, "b")));
    doorbell.poll("tickets").await;
    receiver.until_accepted(2).await;
    until_rung(&doorbell, 3).await;

    let rings = once(receiver.until_accepted(3).await);
    let stale = "doorbell.source.stale";
    assert_eq!(types(&rings), [stale, "tickets.created", stale]);
    let data = &rings[0].event["data"];
    assert_eq!(
        (&data["source"], &data["reason"]),
        (&json!("tickets"), &json!("unchanged"))
    );
    assert!(data["consecutive"].as_u64() >= Some(1), "{data}");
    assert!(data["since"].is_string(), "{data}");
}

/// Method: nobody polls again by hand, so that the ring comes of fetches that doorbell makes by
/// itself; the store is killed between the first and the second.
#[tokio::test]
async fn a_change_waits_for_its_confirmation_also_over_a_kill() {
    let upstream = Upstream::serving("/tickets", vec![ticket(1, "a")]).await;
    upstream.answer("/tickets", Answering::WithEtag);
    let receiver = Receiver::accepting().await;
    let more = "confirm = { polls = 3, after = \"1s\" }";
    let doorbell = Doorbell::start(&config(&upstream, &receiver, "\"full\"", more)).await;
    doorbell.poll("tickets").await;

    upstream.change("/tickets", |list| list.push(ticket(2, "b")));
    let polled = doorbell.poll("tickets").await;
    assert_eq!(
        (&polled["outcome"], &polled["reason"]),
        (&json!("held"), &json!("confirm"))
    );
    let doorbell = doorbell.kill().await.restart().await;
    let rings = receiver.until_accepted(1).await;
    assert_eq!(types(&rings), ["tickets.created"]);
    let fetches = upstream.arrivals("/tickets");
    assert_eq!(
        fetches.len(),
        4,
        "the baseline, and one more than the first kill let be"
    );
    let spread = fetches[3].at - fetches[2].at;
    assert!(spread >= Duration::from_millis(900), "{spread:?}");
    let conditional = |fetch: &Arrival| fetch.headers.contains_key("if-none-match");
    assert!(
        !fetches[2..].iter().any(conditional),
        "what decides brings the bodies"
    );

    // A glitch that is over with the next fetch is none.
    upstream.change("/tickets", Vec::clear);
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["reason"], "confirm", "{polled}");
    upstream.change("/tickets", |list| {
        *list = vec![ticket(1, "a"), ticket(2, "b")];
    });
    let polled = doorbell.poll("tickets").await;
    assert_eq!(
        (&polled["outcome"], &polled["events"]),
        (&json!("unchanged"), &json!(0))
    );
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["outcome"], "not_modified", "{polled}");
    assert_eq!(receiver.rings().len(), 1);
}

/// Deletions of a list whose other items change all the time are believed after two more polls.
#[tokio::test]
async fn a_mass_deletion_of_a_busy_list_is_told_of_and_rings_with_the_third_poll() {
    let list = |ids: std::ops::Range<u64>, words: &str| ids.map(|id| ticket(id, words)).collect();
    let upstream = Upstream::serving("/tickets", list(0..40, "a")).await;
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&config(&upstream, &receiver, "\"full\"", "")).await;
    doorbell.poll("tickets").await;
    for (words, expected) in [("b", "held"), ("c", "held"), ("d", "changed")] {
        upstream.change("/tickets", |now| *now = list(0..5, words));
        let polled = doorbell.poll("tickets").await;
        assert_eq!(polled["outcome"], expected, "{polled}");
    }
    let rings = receiver.until_accepted(1 + 35 + 5).await;
    let held = rings
        .iter()
        .filter(|ring| ring.event_type() == "doorbell.source.held");
    let held: Vec<&Ring> = held.collect();
    assert_eq!(held.len(), 1, "once");
    let data = &held[0].event["data"];
    assert_eq!(
        (&data["reason"], &data["consecutive"]),
        (&json!("guard"), &json!(1))
    );
}

/// Method: failures of several kinds, a kill among them, two runs; what operators heard in the end.
#[tokio::test]
async fn a_run_of_failures_is_told_of_once_and_so_is_its_end() {
    let upstream = Upstream::serving("/tickets", vec![ticket(1, "a")]).await;
    let receiver = Receiver::accepting().await;
    let mut doorbell = Doorbell::start(&config(&upstream, &receiver, "\"full\"", "")).await;
    doorbell.poll("tickets").await;
    for _ in 0..2 {
        upstream.answer("/tickets", Answering::Status(500));
        doorbell.poll("tickets").await;
        doorbell = doorbell.kill().await.restart().await;
        upstream.answer("/tickets", Answering::Torn);
        for _ in 0..3 {
            let polled = doorbell.poll("tickets").await;
            assert_eq!(polled["reason"], "body", "{polled}");
        }
        upstream.answer("/tickets", Answering::Well);
        for _ in 0..3 {
            let polled = doorbell.poll("tickets").await;
            assert_eq!(polled["outcome"], "unchanged", "{polled}");
        }
    }
    let rings = once(receiver.until_accepted(4).await);
    let (failing, recovered) = ("doorbell.source.failing", "doorbell.source.recovered");
    assert_eq!(types(&rings), [failing, recovered, failing, recovered]);
    for ring in rings {
        let data = &ring.event["data"];
        assert_eq!(
            (&data["source"], &data["reason"]),
            (&json!("tickets"), &json!("body"))
        );
        assert!(data["since"].is_string(), "{data}");
    }
}

/// What changed while the rules did is found: the stored bodies are read by the new ones.
#[tokio::test]
async fn no_change_is_missed_while_the_rules_change_and_none_is_made_by_it() {
    let seen = |id: u64, words: &str, seen: u64| json!({"id": id, "title": words, "seen": seen});
    let upstream = Upstream::serving("/tickets", vec![seen(1, "a", 1), seen(2, "a", 1)]).await;
    let receiver = Receiver::accepting().await;
    let config = config(&upstream, &receiver, "\"full\"", "baseline = \"silent\"");
    let doorbell = Doorbell::start(&config).await;
    doorbell.poll("tickets").await;

    upstream.change("/tickets", |list| {
        *list = vec![seen(1, "a", 2), seen(2, "b", 2)];
    });
    let corpse = doorbell.kill().await;
    let ignoring = "baseline = \"silent\"\nignore = [\"$.seen\"]";
    let corpse = corpse.reconfigured("baseline = \"silent\"", ignoring);
    let doorbell = corpse.restart().await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["events"], 1, "{polled}");
    let rings = receiver.until_accepted(1).await;
    let data = &rings[0].event["data"];
    assert_eq!(
        (rings[0].subject(), &data["previous"]),
        ("2", &seen(2, "a", 1))
    );
    let patch = json!([{"op": "replace", "path": "/title", "value": "b"}]);
    assert_eq!(data["patch"], patch);

    upstream.change("/tickets", |list| {
        *list = vec![seen(1, "a", 3), seen(2, "b", 3)];
    });
    let polled = doorbell.poll("tickets").await;
    assert_eq!(
        (&polled["outcome"], &polled["events"]),
        (&json!("unchanged"), &json!(0))
    );
}

/// What cannot be compared begins anew, and rings nobody: neither the other request's items as
/// deleted nor its own as created.
#[tokio::test]
async fn another_request_and_rules_without_bodies_begin_a_silent_baseline() {
    let upstream = Upstream::serving("/tickets", vec![ticket(1, "a"), ticket(2, "a")]).await;
    upstream.also_serving("/other", vec![ticket(2, "z"), ticket(3, "z")]);
    let receiver = Receiver::accepting().await;
    let digests = "keep = \"digests\"";
    let doorbell = Doorbell::start(&config(&upstream, &receiver, "\"full\"", digests)).await;
    doorbell.poll("tickets").await;

    let corpse = doorbell.kill().await;
    let corpse = corpse.reconfigured("path = \"/tickets\"", "path = \"/other\"");
    let doorbell = corpse.restart().await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(
        (&polled["outcome"], &polled["events"]),
        (&json!("unchanged"), &json!(0))
    );
    upstream.change("/other", |list| list[0] = ticket(2, "y"));
    assert_eq!(doorbell.poll("tickets").await["events"], 1);

    upstream.change("/other", |list| list[0] = ticket(2, "x"));
    let corpse = doorbell.kill().await;
    let ignoring = "keep = \"digests\"\nignore = [\"$.seen\"]";
    let doorbell = corpse.reconfigured(digests, ignoring).restart().await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(
        (&polled["outcome"], &polled["events"]),
        (&json!("unchanged"), &json!(0))
    );
    upstream.change("/other", Vec::clear);
    assert_eq!(doorbell.poll("tickets").await["events"], 2);
    let rings = receiver.until_accepted(3).await;
    let story = Story::of("tickets", &rings);
    let rings: Vec<Ring> = story.events().cloned().collect();
    let expected = ["tickets.updated", "tickets.deleted", "tickets.deleted"];
    assert_eq!(types(&rings), expected);
    assert!(rings[0].event["data"].get("current").is_none(), "thin");
}

/// Nothing of the answer changes, and the upstream says so: the missing item is found all the same.
#[tokio::test]
async fn deletions_that_are_asked_for_later_are_found_in_an_answer_that_did_not_change() {
    let upstream = Upstream::serving("/tickets", vec![ticket(1, "a"), ticket(2, "a")]).await;
    upstream.answer("/tickets", Answering::WithEtag);
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&config(&upstream, &receiver, "\"never\"", "")).await;
    doorbell.poll("tickets").await;
    upstream.change("/tickets", |list| drop(list.pop()));
    assert_eq!(doorbell.poll("tickets").await["outcome"], "unchanged");
    assert_eq!(doorbell.poll("tickets").await["outcome"], "not_modified");

    let corpse = doorbell.kill().await;
    let corpse = corpse.reconfigured("deletes = \"never\"", "deletes = \"full\"");
    let doorbell = corpse.restart().await;
    assert_eq!(doorbell.poll("tickets").await["events"], 1);
    assert_eq!(doorbell.poll("tickets").await["outcome"], "not_modified");
    let rings = receiver.until_accepted(1).await;
    assert_eq!(
        (types(&rings)[0], rings[0].subject()),
        ("tickets.deleted", "2")
    );
}

/// Each is another item, and none of them is `9007199254740992`.
#[tokio::test]
async fn ids_of_every_kind_are_told_apart_to_their_last_digit_and_what_flips_back_rings_again() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let doorbell = Doorbell::start(&config(&upstream, &receiver, "\"full\"", "")).await;
    let ids = [
        r#""a b""#,
        r#""é\n😀""#,
        r#""""#,
        "0",
        "-7",
        "9007199254740993",
        "18446744073709551615",
        "340282366920938463463374607431768211457",
    ];
    let list = |value: u64| {
        let items = ids.map(|id| format!(r#"{{"id":{id},"v":{value}}}"#));
        format!("[{}]", items.join(","))
    };
    upstream.send_raw("/tickets", "application/json", &list(9_007_199_254_740_993));
    assert_eq!(doorbell.poll("tickets").await["events"], 0);
    for value in [
        9_007_199_254_740_992,
        9_007_199_254_740_993,
        9_007_199_254_740_992,
    ] {
        upstream.send_raw("/tickets", "application/json", &list(value));
        let polled = doorbell.poll("tickets").await;
        assert_eq!(polled["events"], ids.len(), "{value}: {polled}");
    }
    let rings = receiver.until_accepted(3 * ids.len()).await;
    let mut subjects: Vec<&str> = rings.iter().map(Ring::subject).collect();
    subjects.sort_unstable();
    subjects.dedup();
    let expected = ids.map(|id| id.trim_matches('"').replace("\\n", "\n"));
    let mut expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!(subjects, expected);
}

/// Method: a feed of two items that moves on; the oldest leaves the snapshot, and is new when it is
/// back. What is marked as unseen outlives a kill.
#[tokio::test]
async fn an_item_that_is_unseen_for_long_is_forgotten_silently() {
    let upstream = Upstream::serving("/tickets", vec![ticket(1, "a"), ticket(2, "a")]).await;
    let receiver = Receiver::accepting().await;
    let more = "forget = \"2s\"";
    let doorbell = Doorbell::start(&config(&upstream, &receiver, "\"never\"", more)).await;
    doorbell.poll("tickets").await;
    let items = async |doorbell: &Doorbell| {
        let metrics = doorbell.metrics().await;
        metrics.value("doorbell_source_items", &[("source", "tickets")])
    };

    upstream.change("/tickets", |list| *list = vec![ticket(2, "a")]);
    let began = Instant::now();
    assert_eq!(doorbell.poll("tickets").await["outcome"], "unchanged");
    let doorbell = doorbell.kill().await.restart().await;
    let mut salt = 0;
    wait_until("it is forgotten", async || {
        salt += 1;
        // Other bytes, the same item.
        let body = format!("{}[{}]", " ".repeat(salt), ticket(2, "a"));
        upstream.send_raw("/tickets", "application/json", &body);
        let polled = doorbell.poll("tickets").await;
        assert_eq!(
            (&polled["outcome"], &polled["events"]),
            (&json!("unchanged"), &json!(0))
        );
        (items(&doorbell).await == 1.0).then_some(())
    })
    .await;
    assert!(began.elapsed() >= Duration::from_secs(2));

    upstream.change("/tickets", |list| list.push(ticket(1, "a")));
    upstream.send_list("/tickets");
    assert_eq!(doorbell.poll("tickets").await["events"], 1);
    let rings = receiver.until_accepted(1).await;
    assert_eq!(
        (types(&rings)[0], rings[0].subject()),
        ("tickets.created", "1")
    );
}
