//! The parts of the valve together.

use std::num::NonZeroU32;
use std::sync::Arc;

use http::HeaderMap;
use url::Url;

use super::*;
use crate::config::{Order, Rate};
use crate::event::Glob;
use crate::name::Name;

const SECOND: Duration = Duration::from_secs(1);

fn endpoint(rate: Option<(u32, Duration)>) -> Endpoint {
    let rate = rate.map(|(requests, per)| Rate {
        requests: NonZeroU32::new(requests).expect("some"),
        per,
    });
    Endpoint {
        name: Name::parse("ops").expect("a name"),
        url: Url::parse("https://ops.example/").expect("a URL"),
        secrets: Vec::new(),
        github: None,
        filter: None,
        rendering: Arc::default(),
        events: vec![Glob::new("*")],
        timeout: SECOND,
        retry: vec![SECOND],
        concurrency: 8,
        rate,
        order: Order::Subject,
        disable_after: Duration::from_hours(120),
        allow_private: false,
        allow_networks: Arc::default(),
        handshake: None,
        owner: crate::config::Owner::File,
        retiring: Vec::new(),
        headers: HeaderMap::new(),
    }
}

fn failing(failures: u32, spent: Duration) -> Failing {
    Failing {
        since: Timestamp::from_millis(0),
        last: Timestamp::from_millis(0),
        spent,
        failures,
    }
}

/// Fails so often, so far apart; when the last did.
fn fail(valve: &mut Valve, from: Instant, failures: u32, apart: Duration) -> Instant {
    for nth in 0..failures {
        valve.failed(None, Timestamp::from_millis(0), from + apart * nth);
    }
    from + apart * (failures - 1)
}

#[test]
fn what_begins_is_bounded_by_slots_and_by_the_rate() {
    let now = Instant::now();
    let mut valve = Valve::new(&endpoint(None), None, now);
    assert_eq!(valve.room(3, now), Room::For(5));
    assert_eq!((valve.next(3, now), valve.next(8, now)), (Some(now), None));
    valve.failed(Some(429), Timestamp::from_millis(0), now);
    assert_eq!(
        (valve.room(3, now), valve.room(6, now)),
        (Room::For(1), Room::For(0))
    );
    let mut valve = Valve::new(&endpoint(Some((10, SECOND))), None, now);
    assert_eq!(valve.room(0, now), Room::For(1));
    valve.began(1);
    assert_eq!(valve.room(1, now), Room::For(0));
    assert_eq!(valve.next(1, now), Some(now + SECOND / 10));
    assert_eq!(valve.next(8, now), None, "a slot must be free, too");
    valve.unmade();
    assert_eq!(valve.room(0, now), Room::For(1));
}

#[test]
fn while_it_is_open_one_probe_at_a_time_may_begin() {
    let now = Instant::now();
    let mut valve = Valve::new(&endpoint(None), None, now);
    let now = fail(&mut valve, now, 20, SECOND);
    assert!(valve.is_open());
    assert_eq!(valve.room(0, now), Room::For(0));
    let due = valve.next(0, now).expect("a probe is due");
    assert_eq!(due, now + SECOND);
    assert_eq!(
        valve.room(5, due),
        Room::Probe,
        "others may still be on their way"
    );
    valve.probed();
    assert_eq!(
        (valve.room(1, due), valve.next(1, due)),
        (Room::For(0), None)
    );
    valve.probe_failed(due);
    valve.failed(Some(503), Timestamp::from_millis(0), due);
    assert_eq!(valve.next(0, due), Some(due + SECOND * 2));
    assert_eq!(valve.accepted(), (true, true));
    assert_eq!(
        valve.room(0, due),
        Room::For(5),
        "503 halved it, the acceptance added one"
    );
}

#[test]
fn probes_keep_the_rate() {
    let now = Instant::now();
    let known = Some(failing(20, SECOND * 10));
    let mut valve = Valve::new(&endpoint(Some((1, Duration::from_mins(1)))), known, now);
    assert_eq!(valve.room(0, now), Room::Probe);
    valve.probed();
    valve.began(1);
    valve.probe_failed(now);
    let later = now + SECOND * 59;
    assert_eq!(valve.room(0, later), Room::For(0));
    assert_eq!(valve.next(0, later), Some(now + SECOND * 60));
    assert_eq!(valve.room(0, later + SECOND), Room::Probe);
}

#[test]
fn it_is_hopeless_after_disable_after_and_not_before() {
    let now = Instant::now();
    let mut valve = Valve::new(&endpoint(None), None, now);
    let hour = Duration::from_hours(1);
    for hours in 0..120 {
        let failed = valve.failed(None, Timestamp::from_millis(0), now + hour * hours);
        assert!(!failed.is_hopeless, "{hours} hours");
    }
    assert!(
        valve
            .failed(None, Timestamp::from_millis(0), now + hour * 120)
            .is_hopeless
    );
    // One success, and it begins anew.
    valve.accepted();
    assert!(
        !valve
            .failed(None, Timestamp::from_millis(0), now + hour * 999)
            .is_hopeless
    );
}

#[test]
fn new_settings_are_followed_and_the_same_ones_change_nothing() {
    let now = Instant::now();
    let rated = endpoint(Some((10, SECOND)));
    let mut valve = Valve::new(&rated, None, now);
    valve.began(1);
    valve.follow(&rated, rated.rate, now);
    assert_eq!(valve.room(0, now), Room::For(0), "no new credit");
    valve.follow(&endpoint(None), None, now);
    assert_eq!(valve.room(0, now), Room::For(8));
    valve.follow(
        &Endpoint {
            concurrency: 2,
            ..endpoint(None)
        },
        None,
        now,
    );
    assert_eq!(valve.room(0, now), Room::For(2));
}

#[test]
fn how_much_it_lets_through_is_told() {
    let now = Instant::now();
    let mut valve = Valve::new(&endpoint(None), None, now);
    let standing = |concurrency, opened_at, next_probe| Standing {
        concurrency,
        opened_at,
        next_probe,
    };
    assert_eq!(valve.standing(), standing(8, None, None));
    valve.failed(Some(503), Timestamp::from_millis(0), now);
    assert_eq!(valve.standing(), standing(4, None, None));
    let opened = fail(&mut valve, now + SECOND, 19, SECOND);
    let next = Some(opened + SECOND);
    assert_eq!(valve.standing(), standing(4, Some(opened), next));
    valve.probed();
    assert_eq!(valve.standing(), standing(4, Some(opened), None));
    let later = opened + SECOND * 2;
    valve.probe_failed(later);
    let next = Some(later + SECOND * 2);
    assert_eq!(valve.standing(), standing(4, Some(opened), next));
    valve.accepted();
    assert_eq!(valve.standing(), standing(5, None, None));
    let valve = Valve::new(&endpoint(None), Some(failing(20, SECOND * 10)), now);
    assert_eq!(valve.standing(), standing(8, Some(now), Some(now)));
}
