//! Who may ask, and who waits.

use super::*;

/// Grants so many at once, and none later in the test.
fn budget(burst: u32) -> crate::budget::Terms {
    crate::budget::Terms {
        requests: 1000 * burst,
        per: Duration::from_secs(1),
        burst,
        poll_floor: 0.1,
        wait: Duration::from_millis(50),
        not_modified_free: false,
    }
}

/// One request every ten minutes, and none yet.
fn scarce() -> crate::budget::Terms {
    crate::budget::Terms {
        requests: 1,
        per: Duration::from_mins(10),
        ..budget(1)
    }
}

fn with_budget(url: &str, terms: crate::budget::Terms) -> Upstream {
    let config = config::Upstream {
        budget: Some(terms),
        ..upstream_of(url, None)
    };
    start(config).0
}

#[tokio::test]
async fn who_would_wait_too_long_is_told_when_to_come_again() {
    let upstream = with_budget("http://127.0.0.1:1", scarce());
    let denied = upstream
        .permit(By::Caller(1))
        .await
        .expect_err("none is left");
    let Denied::Budget(wait) = denied else {
        panic!("{denied}");
    };
    assert!(wait > Duration::from_mins(9), "{wait:?}");
}

#[tokio::test]
async fn a_poll_waits_and_goes_when_what_was_not_sent_comes_back() {
    let terms = crate::budget::Terms {
        per: Duration::from_millis(100),
        ..scarce()
    };
    let upstream = Arc::new(with_budget("http://127.0.0.1:1", terms));
    let first = upstream.permit(By::Poll).await.expect("a turn comes");
    // A second one would take long: it comes from the first, which is not used.
    let waiting = tokio::spawn({
        let upstream = Arc::clone(&upstream);
        async move { upstream.permit(By::Poll).await }
    });
    while upstream.standing().budget.expect("a budget").polls_waiting == 0 {
        tokio::task::yield_now().await;
    }
    drop(first);
    let second = waiting.await.expect("no panic");
    assert!(second.is_ok());
}

#[tokio::test]
async fn polls_that_wait_are_let_go_and_those_that_leave_are_forgotten() {
    let upstream = Arc::new(with_budget("http://127.0.0.1:1", scarce()));
    let waiting = || {
        let upstream = Arc::clone(&upstream);
        tokio::spawn(async move { upstream.permit(By::Poll).await.map(drop) })
    };
    let polls_waiting = || upstream.standing().budget.expect("a budget").polls_waiting;
    let (stays, leaves) = (waiting(), waiting());
    while polls_waiting() < 2 {
        tokio::task::yield_now().await;
    }
    leaves.abort();
    assert!(leaves.await.is_err());
    assert_eq!(polls_waiting(), 1);
    upstream.release_polls();
    assert_eq!(stays.await.expect("no panic"), Err(Denied::Draining));
    assert_eq!(
        upstream.permit(By::Poll).await.map(drop),
        Err(Denied::Draining)
    );
    assert_eq!(polls_waiting(), 0);
}

#[tokio::test]
async fn what_a_caller_is_told_of_its_own_quota_is_not_ours() {
    let mut headers = HeaderMap::new();
    let none_left = HeaderValue::from_static("\"default\";r=0;t=600");
    headers.insert("ratelimit", none_left);
    for (is_own, goes_on) in [(true, true), (false, false)] {
        let upstream = with_budget("http://127.0.0.1:1", budget(10));
        let mut permit = upstream.permit(By::Poll).await.expect("a turn comes");
        permit.sent();
        upstream.answered_caller(&mut permit, StatusCode::OK, &headers, is_own);
        drop(permit);
        let next = tokio::time::timeout(Duration::from_millis(300), upstream.permit(By::Poll));
        assert_eq!(next.await.is_ok(), goes_on, "own: {is_own}");
    }
}
