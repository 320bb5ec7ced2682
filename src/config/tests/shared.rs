//! What polls and callers share: the budget of an upstream, and what a source has of callers.

use super::refusals::{asked, assert_each_is_refused, watch};

/// In `[upstreams.u]`.
const BUDGET: &str = r#"
budget = 5 => `budget` is
budget = { per = "1h" } => `requests` is missing
budget = { requests = 10 } => `per` is missing
budget = { requests = 0, per = "1h" } => `requests` must be 1 to
budget = { requests = 10, per = "0s" } => `per` must be
budget = { requests = 10, per = "1h", burst = 0 } => `burst` must be 1 to
budget = { requests = 10, per = "1h", poll_floor = 1.5 } => `poll_floor`
budget = { requests = 10, per = "1h", wait = "1h" } => `wait` must be
budget = { requests = 10, per = "1h", waits = "1s" } => unknown key `waits`, did you mean `wait`
"#;

/// In `[sources.s]`.
const JOINT: &str = r#"
on_write = {} => `paths` is missing
on_write = { paths = [] } => `paths` is empty
on_write = { paths = ["issues"] } => begins with `/`
on_write = { paths = ["/issues?x=1"] } => a path, without `?`
on_write = { paths = ["*"], settle = "1ms" } => `settle` must be
on_write = { paths = ["*"], settles = "1s" } => did you mean `settle`?
observe = "yes" => `observe` is
serve = {} => `max_age` is missing
serve = { max_age = "0s" } => `max_age` must be
serve = { max_age = "1s", stale_if_errors = "1h" } => did you mean `stale_if_error`?
serve = { max_age = "1s" } ;; method = "POST" => `serve` is about GET, not POST
observe = true ;; query = { at = "{{now}}" } => `observe` is about one GET, always the same
observe = true ;; items = "$[*]" ;; id = "$.id" ;; paginate = { by = "link" } => `paginate` makes it others
on_write = { paths = ["*"] } ;; path = "/s/{{a}}" ;; each = { a = ["b"] } => `on_write` and `each` do not go together
"#;

#[test]
fn wrong_budgets_are_refused() {
    assert_each_is_refused(BUDGET, asked);
}

#[test]
fn wrong_words_on_callers_are_refused() {
    assert_each_is_refused(JOINT, watch);
}
