//! Names to addresses, without blocking the runtime.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::{Semaphore, watch};

/// Names that are looked up at once. Each holds a thread of tokio's 512 until the system has an
/// answer, half a minute where a name server is silent; the others are the store's, among others'.
const LOOKUPS_MAX: usize = 128;

/// The resolver. Cheap to clone.
#[derive(Clone)]
pub struct Resolver(Arc<Lookups>);

struct Lookups {
    answers: Box<Answers>,
    /// One of each name, whoever asks meanwhile.
    under_way: Mutex<HashMap<Box<str>, watch::Receiver<Option<Found>>>>,
    turns: Semaphore,
}

/// The system's resolver, or what stands in for it.
type Answers = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

type Found = Result<Vec<IpAddr>, Arc<io::Error>>;

impl Resolver {
    /// The system's resolver (`getaddrinfo`), asked on tokio's blocking pool.
    #[must_use]
    pub fn system() -> Self {
        Self::from_fn(|host| Ok((host, 0).to_socket_addrs()?.map(|at| at.ip()).collect()))
    }

    /// One that asks `answers` each time: for tests, in which names mean what they say.
    pub fn from_fn(
        answers: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Lookups {
            answers: Box::new(answers),
            under_way: Mutex::default(),
            turns: Semaphore::new(LOOKUPS_MAX),
        }))
    }

    /// Every address of `host`, never an empty list.
    ///
    /// # Errors
    /// What the resolver says, or `NotFound` when it knows no address.
    pub async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut asked = self.asked(host);
        let found = asked.wait_for(Option::is_some).await;
        let found = found.ok().and_then(|found| found.clone());
        // Nobody ends one before its answer but the end of everything.
        let found = found.ok_or(io::ErrorKind::Interrupted)?;
        let ips = found.map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
        if ips.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the name has no address",
            ));
        }
        let addresses = ips.into_iter().map(|ip| SocketAddr::new(ip, port));
        Ok(addresses.collect())
    }

    /// The lookup of `host` that is under way, or one that begins.
    fn asked(&self, host: &str) -> watch::Receiver<Option<Found>> {
        let mut under_way = self.0.under_way.lock();
        if let Some(asked) = under_way.get(host) {
            return asked.clone();
        }
        let (answer, asked) = watch::channel(None);
        under_way.insert(host.into(), asked.clone());
        let (lookups, host) = (Arc::clone(&self.0), Box::<str>::from(host));
        // Of its own, so that it is not begun again for each that has lost its patience.
        tokio::spawn(async move {
            let found = lookups.ask(&host).await;
            lookups.under_way.lock().remove(&host);
            let _ = answer.send(Some(found));
        });
        asked
    }
}

impl Lookups {
    async fn ask(self: &Arc<Self>, host: &str) -> Found {
        // Never closed.
        let _turn = self.turns.acquire().await;
        let (lookups, host) = (Arc::clone(self), host.to_owned());
        let asking = tokio::task::spawn_blocking(move || (lookups.answers)(&host));
        let found = asking.await.unwrap_or_else(|error| Err(error.into()));
        found.map_err(Arc::new)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.lookup(name.as_str(), 0).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use futures_util::future::join_all;
    use futures_util::poll;
    use tokio::time::timeout;

    use super::*;

    /// Method: a name server that is silent until `tell` is gone, and 1,000 attempts on its name.
    #[tokio::test]
    async fn a_silent_name_server_holds_one_thread_and_not_the_others_names() {
        let (tell, told) = mpsc::channel::<()>();
        let (told, asked) = (Mutex::new(told), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&asked);
        let resolver = Resolver::from_fn(move |host| {
            counted.fetch_add(1, Ordering::Relaxed);
            if host == "silent.example" {
                let _ = told.lock().recv();
            }
            Ok(vec![Ipv4Addr::LOCALHOST.into()])
        });
        let silent = (0..1_000).map(|_| resolver.lookup("silent.example", 80));
        let mut silent = pin!(join_all(silent));
        assert!(poll!(&mut silent).is_pending());
        tokio::task::yield_now().await;
        let other = resolver.lookup("other.example", 443);
        let other = timeout(Duration::from_secs(10), other).await;
        let other = other.expect("in time").expect("addresses");
        assert_eq!(other, [([127, 0, 0, 1], 443).into()]);
        drop(tell);
        for found in silent.await {
            assert_eq!(found.expect("addresses"), [([127, 0, 0, 1], 80).into()]);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        resolver
            .lookup("silent.example", 80)
            .await
            .expect("asks again");
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }
}
