//! A small source with an endpoint of its own: how soon it rings tells what is done to others.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Doorbell, Receiver, SECRET, Upstream};

/// The source `small` beside that of [`super::tickets`], and its endpoint.
pub(crate) fn small_source(receiver: &Receiver) -> String {
    format!(
        r#"
[sources.small]
upstream = "tracker"
path = "/small"
every = "manual"
items = "$[*]"
id = "$.id"
[endpoints.small]
url = "{receiver}/small"
secrets = ["{SECRET}"]
events = ["small.*"]
allow_private = true
"#
    )
}

/// Changes the source for the n-th time and waits for its ring; how long that took.
pub(crate) async fn ring_small(
    doorbell: &Doorbell,
    upstream: &Upstream,
    receiver: &Receiver,
    nth: usize,
) -> Duration {
    upstream.change("/small", |list| list[0]["words"] = json!(nth));
    let began = Instant::now();
    let polled = doorbell.poll("small").await;
    assert_eq!(polled["events"], 1, "{polled}");
    receiver.until_accepted(nth).await;
    began.elapsed()
}
