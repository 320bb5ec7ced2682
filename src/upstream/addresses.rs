//! The socket addresses of an upstream's host, kept fresh in the background, so that nobody waits
//! for a resolver on the way to a request.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::JoinHandle;
use url::{Host, Url};

use crate::backoff::Backoff;
use crate::client::Resolver;

/// How often a name is looked up again, as long as most names' time to live.
const REFRESH: Duration = Duration::from_secs(30);

/// Delays after failed lookups, up to the usual refresh.
const RETRY: Backoff = Backoff {
    base: Duration::from_secs(1),
    ceiling: REFRESH,
};

/// Most addresses kept of one name.
const ADDRESSES_MAX: usize = 64;

/// The addresses known now. Dropping it ends the task behind it.
#[derive(Debug)]
pub(super) struct Addresses {
    known: Arc<ArcSwap<Vec<SocketAddr>>>,
    turn: AtomicUsize,
    task: Option<JoinHandle<()>>,
}

impl Addresses {
    /// The addresses of the host of `url`; a name is looked up at once and every [`REFRESH`].
    pub(super) fn of(url: &Url, resolver: Resolver) -> Self {
        match url.host() {
            Some(Host::Domain(name)) => {
                let port = url.port_or_known_default().unwrap_or(0);
                Self::looked_up(name.to_owned(), port, resolver)
            }
            _ => Self::written_in(url),
        }
    }

    /// The next address in turn.
    pub(super) fn next(&self) -> Option<SocketAddr> {
        let known = self.known.load();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        known.get(turn.checked_rem(known.len())?).copied()
    }

    /// Those of a host that somebody else looks up: what stands in `url` itself, if anything.
    pub(super) fn written_in(url: &Url) -> Self {
        let port = url.port_or_known_default().unwrap_or(0);
        match url.host() {
            Some(Host::Ipv4(ip)) => Self::fixed(SocketAddr::new(IpAddr::V4(ip), port)),
            Some(Host::Ipv6(ip)) => Self::fixed(SocketAddr::new(IpAddr::V6(ip), port)),
            Some(Host::Domain(_)) | None => Self::with(Vec::new(), None),
        }
    }

    fn fixed(address: SocketAddr) -> Self {
        Self::with(vec![address], None)
    }

    fn looked_up(host: String, port: u16, resolver: Resolver) -> Self {
        let mut addresses = Self::with(Vec::new(), None);
        let known = Arc::clone(&addresses.known);
        addresses.task = Some(tokio::spawn(refresh(host, port, resolver, known)));
        addresses
    }

    fn with(known: Vec<SocketAddr>, task: Option<JoinHandle<()>>) -> Self {
        Self {
            known: Arc::new(ArcSwap::from_pointee(known)),
            turn: AtomicUsize::new(0),
            task,
        }
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn refresh(
    host: String,
    port: u16,
    resolver: Resolver,
    known: Arc<ArcSwap<Vec<SocketAddr>>>,
) {
    let mut failures = 0;
    loop {
        match resolver.lookup(&host, port).await {
            Ok(mut addresses) => {
                failures = 0;
                addresses.truncate(ADDRESSES_MAX);
                known.store(Arc::new(addresses));
                tokio::time::sleep(REFRESH).await;
            }
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(%host, %error, "an upstream's name does not resolve");
                }
                failures += 1;
                tokio::time::sleep(RETRY.bound(failures)).await;
            }
        }
    }
}
