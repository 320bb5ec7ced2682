//! What the tests share: a doorbell as a real process, and the two sides it stands between.
//!
//! Decides how long anything may take and how it is waited for: on conditions, with a deadline,
//! never for a fixed time. Ports are 0 everywhere, so all tests run at once.

mod api;
mod beside;
mod clocked;
mod doorbell;
mod egress;
pub(crate) mod hook;
mod outsider;
mod paged;
mod receiver;
mod scrape;
mod secure;
mod story;
mod upstream;
mod wild;

use std::time::Duration;

use axum::Router;
use tokio::task::JoinHandle;

pub(crate) use api::{get, post, send};
pub(crate) use beside::{ring_small, small_source};
pub(crate) use clocked::{Clocked, Comparing, Showing};
pub(crate) use doorbell::{Corpse, Doorbell, Process, poll, run, run_to_end};
pub(crate) use egress::Egress;
pub(crate) use outsider::{Judge, Outsider, Says, installed};
pub(crate) use paged::{Dialect, Paged};
pub(crate) use receiver::{Behaviour, Receiver, Ring};
pub(crate) use scrape::Scrape;
pub(crate) use secure::{Asks, Authority, Secure, fixture};
pub(crate) use story::{Story, by_id};
pub(crate) use upstream::{Answering, Arrival, Upstream};
pub(crate) use wild::{Asked, Piece, Script, Wild, head, well};

/// The secret of every test's endpoint.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// How long anything that must happen may take; far beyond what it takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// How often a condition outside this process is asked for.
const TICK: Duration = Duration::from_millis(10);

/// Whether the long counts are wanted: `make prove`.
pub(crate) fn is_proving() -> bool {
    std::env::var_os("DOORBELL_PROVE").is_some()
}

/// Asks until `condition` gives something.
///
/// # Panics
/// When it gives nothing before the deadline.
pub(crate) async fn wait_until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            tokio::time::sleep(TICK).await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, asking).await;
    waited.unwrap_or_else(|_| panic!("in vain waited until {what}"))
}

/// A client that follows nothing and goes through nobody.
pub(crate) fn client() -> reqwest::Client {
    ::doorbell::client::install_crypto_provider();
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .redirect(reqwest::redirect::Policy::none())
        .timeout(DEADLINE)
        .build()
        .expect("a client without certificates can be built")
}

/// A server on a free port of this process, gone when dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn serving(router: Router) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener");
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self {
            url: format!("http://{address}"),
            task,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A configuration: the list `/tickets` of `upstream`, polled by hand, rings at `receiver`. `more`
/// is added to its source.
pub(crate) fn tickets(upstream: &Upstream, receiver: &Receiver, more: &str) -> String {
    tickets_of(&upstream.to_string(), receiver, more)
}

/// [`tickets`] of whatever serves at this URL.
pub(crate) fn tickets_of(upstream: &str, receiver: &Receiver, more: &str) -> String {
    // Enough delays that a receiver which refuses half of its webhooks never sees one die.
    let retry = vec!["\"100ms\""; 60].join(", ");
    format!(
        r#"
[upstreams.tracker]
url = "{upstream}"
[endpoints.ops]
url = "{receiver}/ops"
secrets = ["{SECRET}"]
retry = [{retry}]
allow_private = true
[sources.tickets]
upstream = "tracker"
path = "/tickets"
every = "manual"
items = "$[*]"
id = "$.id"
deletes = "full"
{more}
"#
    )
}

/// A proxy on a free port, and the route `/tracker/` to the upstream of [`tickets`]. `more` is
/// added to the route.
pub(crate) fn proxied(more: &str) -> String {
    format!(
        r#"
[proxy]
listen = ["127.0.0.1:0"]
drain_delay = "1s"
grace = "20s"
[routes.tracker]
path = "/tracker/"
upstream = "tracker"
strip_prefix = true
{more}
"#
    )
}
