//! What an upstream says about when to ask again.

use super::*;

#[test]
fn freshness_raises_the_next_poll_where_caches_are_respected() {
    let (mut source, memory) = (source(), Memory::default());
    let pacing = Pacing {
        not_before: Some(Duration::from_secs(50)),
        fresh_for: Some(Duration::from_secs(500)),
    };
    for (respect_cache, next) in [(false, 1050), (true, 1500)] {
        source.respect_cache = respect_cache;
        let what = What::Same(Outcome::Unchanged, learnt());
        let found = Found { what, pacing };
        let succeeded = conclude::success(terms(&source, &memory), found);
        assert_eq!(succeeded.next, Some(at(next)), "{respect_cache}");
    }
    let trouble = Trouble::passing("status", "status 500").paced(pacing);
    let failed = conclude::failure(terms(&source, &memory), &trouble);
    assert_eq!(failed.next, Some(at(1050)), "a failure is never fresh");
}

#[test]
fn what_the_upstream_asks_for_raises_the_next_poll_and_outlives_a_restart() {
    let source = source();
    let pacing = Pacing {
        not_before: Some(Duration::from_secs(500)),
        fresh_for: None,
    };
    let memory = Memory::default();
    let trouble = Trouble::passing("rate_limited", "status 429").paced(pacing);
    let failed = conclude::failure(terms(&source, &memory), &trouble);
    assert_eq!(failed.next, Some(at(1500)));
    assert_eq!(
        first_poll(
            &source,
            &Partition::default(),
            &failed.memory,
            true,
            at(1100)
        ),
        Some(at(1500))
    );

    let what = What::Same(Outcome::Unchanged, learnt());
    let succeeded = conclude::success(terms(&source, &memory), Found { what, pacing });
    assert_eq!(succeeded.next, Some(at(1500)));
    assert!(conclude::must_write(&succeeded.memory, &failed.memory));

    let insane = Memory {
        not_before: Some(at(i64::MAX / 1000)),
        ..Memory::default()
    };
    let first =
        first_poll(&source, &Partition::default(), &insane, true, at(1000)).expect("scheduled");
    assert_eq!(first, at(1000 + 24 * 3600));
}
