//! Callers' requests, passed to the upstreams.
//!
//! pingora does the exchange; this room owns everything around it: it accepts, reads and inspects
//! each head before a parser sees it (`head`, `wire`), finds the route (`table`), asks the
//! limits (`limits`) and the sources' last answers (`joint`), counts what is repeated
//! (`repeats`), rewrites the request (`call`, `forward`, `target`) and says no
//! (`problem`). The hooks that tie them together are in `edge`.
//!
//! Spoken with callers and upstreams: HTTP/1.1 and 1.0, WebSocket upgrades. Trailers are not
//! passed, since pingora drops them in HTTP/1 in both directions; bodies, of any length and
//! framing, are. A caller of HTTP/1.0 gets an answer without length plain, and its connection ends
//! with it.
//!
//! Leaves credentials, addresses and the budget of an upstream to [`crate::upstream`].

mod call;
mod chunks;
mod edge;
mod forward;
mod head;
mod joint;
mod limits;
mod problem;
mod repeats;
mod table;
mod target;
mod wire;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::HttpServerApp as _;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::task::TaskTracker;

use self::edge::Edge;
use self::problem::Problem;
use self::table::Tables;
use self::wire::{Next, Rest, Wire};
use crate::clock::Clock;
use crate::config;
use crate::coverage;
use crate::metrics::{ProxyMetrics, RouteMetrics};
use crate::shutdown::{Phase, Shutdown};
use crate::upstream::Upstreams;

/// Most attempts of one call, the first included: a refused connection may mean that this address
/// of several is down, a second one means that the upstream is.
const ATTEMPTS_MAX: usize = 2;

/// Most idle connections kept to all upstreams together.
const POOL_SIZE: usize = 512;

/// How often callers whose counts are as good as new are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(10);

/// How long accepting rests when it fails, mostly for want of file descriptors, which only time
/// brings back.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Longest silence in a request body.
const BODY_SILENCE: Duration = Duration::from_mins(1);

/// Longest time that a caller may take for one piece of an answer.
const ANSWER_SILENCE: Duration = Duration::from_mins(1);

/// Longest time that the rest of a body is read after its answer, to use the connection again.
const BODY_REST: Duration = Duration::from_secs(5);

/// Connections that one listener may have at once when the file names no proxy.
const CONNECTIONS_MAX: usize = 10_000;

/// What a proxy is built from.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The configuration in force.
    pub live: config::Live,
    /// Where routes lead.
    pub upstreams: Upstreams,
    /// What is counted.
    pub metrics: ProxyMetrics,
    /// For the ids of requests. Limits use the monotonic clock, which nobody sets.
    pub clock: Clock,
    /// What callers repeat is counted here.
    pub coverage: coverage::Shared,
    /// When to end.
    pub shutdown: Shutdown,
}

/// A proxy at work.
///
/// It accepts until [`Phase::Stopping`]; from [`Phase::Draining`] on each answer is the last of
/// its connection. With `connections_max` connections open it serves no more until one ends:
/// newcomers wait, but for one per listener in the kernel's queue, which costs nothing and tells a balancer in front more
/// than a 503 would.
#[derive(Debug)]
pub struct Proxy {
    addresses: Vec<SocketAddr>,
    shutdown: Shutdown,
    /// Every listener and every connection.
    tasks: TaskTracker,
}

/// What all connections share.
struct Shared {
    pingora: Arc<HttpProxy<Edge>>,
    no_route: RouteMetrics,
    shutdown: Shutdown,
    /// pingora wants one. Ours says when to close, so this never does.
    never: ShutdownWatch,
    connections: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Proxy {
    /// Serves `listeners` until shutdown. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// What makes a listener unfit for the runtime, or that the machine's CA certificates cannot be
    /// loaded; nothing was accepted then.
    pub fn start(parts: Parts, listeners: Vec<std::net::TcpListener>) -> io::Result<Self> {
        let mut ready = Vec::with_capacity(listeners.len());
        let mut addresses = Vec::with_capacity(listeners.len());
        for listener in listeners {
            listener.set_nonblocking(true)?;
            addresses.push(listener.local_addr()?);
            ready.push(TcpListener::from_std(listener)?);
        }
        let shutdown = parts.shutdown;
        let tasks = TaskTracker::new();
        let config = parts.live.load_full();
        let connections_max = config
            .proxy
            .as_ref()
            .map_or(CONNECTIONS_MAX, |proxy| proxy.connections_max);
        let no_route = parts.metrics.no_route();
        let tables = Arc::new(Tables::new(parts.live, parts.upstreams, parts.metrics));
        let edge = Edge {
            tables: tables.clone(),
            no_route: no_route.clone(),
            clock: parts.clock,
            coverage: parts.coverage,
            shutdown: shutdown.clone(),
        };
        let (_, never) = watch::channel(false);
        let places = connections_max.min(Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared {
            pingora: Arc::new(pingora_proxy(edge)?),
            no_route,
            shutdown: shutdown.clone(),
            never,
            connections: Arc::new(Semaphore::new(places)),
            tasks: tasks.clone(),
        });
        for listener in ready {
            tasks.spawn(shared.clone().accept(listener));
        }
        tasks.spawn(forget_idle(tables, shutdown.clone()));
        Ok(Self {
            addresses,
            shutdown,
            tasks,
        })
    }

    /// Where it listens, in the order of the listeners; ports are the real ones.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Resolves when every connection has ended after [`Phase::Stopping`], with `false` when
    /// `grace` ran out first.
    pub async fn drained(&self, grace: Duration) -> bool {
        let ended = async {
            self.shutdown.reached(Phase::Stopping).await;
            self.tasks.close();
            self.tasks.wait().await;
        };
        timeout(grace, ended).await.is_ok()
    }
}

/// pingora loads the machine's CA certificates here, and panics when one of them is not to be read.
fn pingora_proxy(edge: Edge) -> io::Result<HttpProxy<Edge>> {
    let conf = ServerConf {
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        upstream_keepalive_pool_size: POOL_SIZE,
        max_retries: ATTEMPTS_MAX,
        ..ServerConf::default()
    };
    let build = AssertUnwindSafe(|| HttpProxy::new(edge, Arc::new(conf)));
    let mut proxy = catch_unwind(build)
        .map_err(|_| io::Error::other("the CA certificates of this machine cannot be loaded"))?;
    proxy.handle_init_modules();
    Ok(proxy)
}

/// Sweeps the limits' counts.
async fn forget_idle(tables: Arc<Tables>, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(FORGET_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => tables.current().forget_idle(),
            () = shutdown.reached(Phase::Stopping) => return,
        }
    }
}

impl Shared {
    /// Accepts on one listener until nobody is accepted any more.
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.shutdown.reached(Phase::Stopping) => break,
            };
            let (tcp, peer) = match accepted {
                Ok(caller) => caller,
                Err(error) => {
                    tracing::warn!(%error, "accepting a caller failed");
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            // After the caller is there: a listener that waits must not hold a place that a
            // caller of another one needs. One caller per listener waits here.
            let place = tokio::select! {
                biased;
                place = self.connections.clone().acquire_owned() => place.ok(),
                () = self.shutdown.reached(Phase::Stopping) => None,
            };
            if let Some(place) = place {
                self.clone().welcome(tcp, peer, place);
            }
        }
        self.empty_queue(listener);
    }

    /// Takes in those who were connected by the kernel before we stopped: closing the listener
    /// would reset them. They get an answer each.
    fn empty_queue(self: Arc<Self>, listener: TcpListener) {
        // The runtime's readiness may lag behind the kernel's, so the kernel is asked.
        let Ok(listener) = listener.into_std() else {
            return;
        };
        while let Ok(place) = self.connections.clone().try_acquire_owned() {
            let Ok((tcp, peer)) = listener.accept() else {
                return;
            };
            let tcp = tcp
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(tcp));
            if let Ok(tcp) = tcp {
                self.clone().welcome(tcp, peer, place);
            }
        }
    }

    fn welcome(self: Arc<Self>, tcp: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        // Answers are gathered before they are written; holding them back again only delays. A
        // socket that does not take the option is gone, which reading will tell.
        let _ = tcp.set_nodelay(true);
        self.tasks.clone().spawn(async move {
            let _place = place;
            self.serve(tcp, peer).await;
        });
    }

    /// Serves one connection, request by request.
    async fn serve(&self, tcp: TcpStream, peer: SocketAddr) {
        let rest = Rest::default();
        let mut wire = Box::new(Wire::new(tcp, peer, rest.clone()));
        loop {
            let head = match wire.next(&self.shutdown).await {
                Next::Head(head) => head,
                Next::Closed => return,
                Next::Refused(refusal, method) => {
                    let problem = Problem::refused(refusal);
                    tracing::debug!(%peer, %refusal, "a request was refused");
                    wire.finish(&problem.to_wire()).await;
                    let status = problem.status.as_u16();
                    self.no_route
                        .answered(&method, Some(status), Duration::ZERO);
                    break;
                }
            };
            let mut session = ServerSession::new_http1(wire);
            session.set_pipelined_prefix(head);
            session.set_read_timeout(Some(BODY_SILENCE));
            session.set_write_timeout(Some(ANSWER_SILENCE));
            session.set_total_drain_timeout(Some(BODY_REST));
            let served = self.pingora.process_new_http(session, &self.never).await;
            let Some(stream) = served.map(|served| served.consume().0) else {
                break;
            };
            let Some(same) = own(stream) else { break };
            wire = same;
        }
        rest.linger().await;
    }
}

/// The wire that pingora gives back.
fn own(stream: Stream) -> Option<Box<Wire>> {
    stream.into_any().downcast().ok()
}
