//! What is done with a token over its life.

use super::super::credential::bearer;
use super::*;

impl Tokens {
    /// The token in force is to be replaced from now on.
    pub(in crate::upstream) fn age(&self) {
        let mut desk = self.desk.lock();
        desk.token.as_mut().expect("a token").renew_at = Instant::now();
    }

    /// Takes over the token of `other`.
    pub(in crate::upstream) fn inherit(&self, other: &Self) {
        self.desk.lock().token = other.desk.lock().token.take();
    }
}

const LONG: Duration = Duration::from_hours(1);

fn given(token: &str, life: Duration) -> Given {
    let credential = bearer(token).expect("a token");
    Given { credential, life }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_token_is_used_until_shortly_before_its_end() {
    for (life, used_for) in [(3600, 3540), (600, 540), (300, 270), (10, 9)] {
        let now = Instant::now();
        let mut desk = Desk::default();
        assert!(matches!(desk.find(now), Found::Nothing));
        let first = desk
            .settle(Ok(given("a", seconds(life))), now)
            .expect("given");
        let last = now + seconds(used_for) - Duration::from_millis(1);
        let Found::Good(found) = desk.find(last) else {
            panic!("{life}: still the same");
        };
        assert!(Arc::ptr_eq(&first, &found), "{life}");
        let Found::Ending(found) = desk.find(now + seconds(used_for)) else {
            panic!("{life}: to be replaced");
        };
        assert!(Arc::ptr_eq(&first, &found), "{life}");
        assert!(matches!(desk.find(now + seconds(life)), Found::Nothing));
    }
}

#[test]
fn after_a_failure_nobody_asks_for_a_while_and_the_old_token_does_meanwhile() {
    let now = Instant::now();
    let mut desk = Desk::default();
    desk.settle(Ok(given("a", LONG)), now).expect("given");
    let late = now + seconds(3550);
    assert!(matches!(desk.find(late), Found::Ending(_)));
    desk.settle(Err(failure("down")), late)
        .expect("the old one");
    assert!(matches!(desk.find(late), Found::Good(_)));
    assert!(matches!(desk.find(late + seconds(1)), Found::Ending(_)));
    let over = now + LONG;
    let failed = desk.settle(Err(failure("down")), over).expect_err("over");
    assert_eq!(failed.pacing.not_before, Some(seconds(2)));
    let Found::Failed(known) = desk.find(over + seconds(1)) else {
        panic!("still down");
    };
    assert_eq!(known.pacing.not_before, Some(seconds(1)));
    assert!(matches!(desk.find(over + seconds(2)), Found::Nothing));
    for _ in 0..20 {
        let _ = desk.settle(Err(failure("down")), over);
    }
    assert!(matches!(desk.find(over + RETRY.ceiling), Found::Nothing));
    desk.settle(Ok(given("b", LONG)), over).expect("given");
    assert!(desk.failed.is_none());
}

#[test]
fn a_refused_token_is_replaced_but_not_one_after_the_other() {
    let now = Instant::now();
    let mut desk = Desk::default();
    let first = desk.settle(Ok(given("a", LONG)), now).expect("given");
    assert!(desk.refused(&first, now) && matches!(desk.find(now), Found::Nothing));
    // Another request that had it, too.
    assert!(desk.refused(&first, now));
    let second = desk.settle(Ok(given("b", LONG)), now).expect("given");
    assert!(desk.refused(&first, now) && matches!(desk.find(now), Found::Good(_)));
    assert!(!desk.refused(&second, now) && matches!(desk.find(now), Found::Good(_)));
    assert!(desk.refused(&second, now + REFUSED_REST));
}
