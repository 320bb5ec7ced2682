//! `doorbell demo`: everything at work on free ports, without network or configuration.
//!
//! A stage holds what is not doorbell: a ticket API that changes every second, and a receiver that
//! verifies and prints. The doorbell between them is the real one, started by `main` from the
//! configuration that is printed.

/// Prints a line; when its reader has gone, [`Stage::play`] ends, which leaves no folder behind.
macro_rules! say {
    ($($text:tt)*) => { _ = writeln!(std::io::stdout(), $($text)*) };
}

mod tickets;

use std::fs::DirBuilder;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, interval, sleep_until};

use super::paint::Paint;
use super::receiver::{self, Arrival};
use crate::config::{self, Config};
use crate::secret::Secret;
use crate::signature::{VerifyingKey, symmetric_secret};

/// The ticket API and the receiver, at work.
#[derive(Debug)]
pub struct Stage {
    paint: Paint,
    tickets: tickets::Tickets,
    arrivals: Mutex<mpsc::Receiver<Arrival>>,
    rung: std::sync::atomic::AtomicU64,
    text: String,
    folder: PathBuf,
}

impl Stage {
    /// Starts ticket API and receiver on free ports of the loopback address.
    ///
    /// # Errors
    /// No port, or no folder for temporary files.
    pub async fn open() -> anyhow::Result<Self> {
        let secret = symmetric_secret(&crate::client::random());
        let listener = TcpListener::bind(LOOPBACK).await?;
        let (receiver, arrivals) = receiver::serve(listener, VerifyingKey::parse(&secret)?)?;
        let (api, tickets) = tickets::serve(TcpListener::bind(LOOPBACK).await?)?;
        // A name that nobody guesses, and a folder that nobody else may look into.
        let name = format!("doorbell-demo-{:016x}", fastrand::u64(..));
        let folder = std::env::temp_dir().join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self {
            paint: Paint::stdout(),
            tickets,
            arrivals: Mutex::new(arrivals),
            rung: 0.into(),
            text: config_text(api, receiver, &secret, &folder),
            folder,
        })
    }

    /// The configuration between the two.
    ///
    /// # Errors
    /// None that the tests would not have shown first.
    pub fn config(&self) -> anyhow::Result<Config> {
        config::parse(&self.text, Path::new("demo.toml"), &|_| None)
            .map_err(|faults| anyhow::anyhow!("{faults}"))
    }

    /// Says what is where.
    pub fn explain(&self, admin: SocketAddr, proxy: &[SocketAddr]) {
        let Self { paint, text, .. } = self;
        say!(
            "{}",
            paint.strong("A ticket API changes every second; doorbell polls it,")
        );
        say!(
            "{}\n",
            paint.strong("and rings a receiver for each change. This is all of it:")
        );
        for line in text.lines().filter(|line| !line.contains("secrets")) {
            say!("  {}", paint.faint(line));
        }
        say!("\nmetrics   http://{admin}/metrics");
        say!("events    http://{admin}/api/v1/events");
        if let Some(proxy) = proxy.first() {
            say!("proxy     http://{proxy}/tickets, at most 5 calls in 10 s; try");
            let call = format!("for i in 1 2 3 4 5 6; do curl -i http://{proxy}/tickets; done");
            say!("\n  {}", paint.strong(call));
        }
        say!("\nEach line below is a webhook that arrived and was verified:\n");
    }

    /// Changes tickets and prints rings, for `duration`, until nobody reads them or until dropped.
    pub async fn play(&self, duration: Option<Duration>) {
        let end = duration.map(|duration| Instant::now() + duration);
        let ended = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(ended);
        let mut changes = interval(CHANGE_EVERY);
        // The first tick is at once, and the first change must come after the first poll.
        changes.tick().await;
        let mut arrivals = self.arrivals.lock().await;
        loop {
            tokio::select! {
                () = &mut ended => return,
                _ = changes.tick(), if has_time(end) => self.tickets.change(),
                Some(arrival) = arrivals.recv() => if self.show(&arrival).is_err() {
                    return;
                },
            }
        }
    }

    /// Says what happened, from the doorbell's own metrics.
    pub fn summarise(&self, scrape: &str) {
        let sum = |series: &str| sum_of(scrape, series);
        let rung = self.rung.load(std::sync::atomic::Ordering::Relaxed);
        say!("\n{}", self.paint.strong("In all"));
        say!("  changes made       {}", self.tickets.changes());
        say!("  polls              {}", sum("doorbell_polls_total{"));
        say!(
            "    of them 304      {}",
            sum_where(scrape, "doorbell_polls_total{", "not_mod")
        );
        say!("  events             {}", sum("doorbell_events_total{"));
        say!("  webhooks verified  {rung}");
        say!(
            "  calls proxied      {}",
            sum("doorbell_proxy_requests_total{")
        );
        say!(
            "    of them limited  {}",
            sum("doorbell_proxy_rate_limited_total{")
        );
    }

    fn show(&self, arrival: &Arrival) -> std::io::Result<()> {
        let mut out = std::io::stdout();
        match arrival {
            Arrival::Ring(ring) => {
                self.rung.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                writeln!(out, "  {}", receiver::line(ring, self.paint))
            }
            Arrival::Refused(why) => writeln!(out, "  {} {why}", self.paint.bad("refused")),
        }
    }
}

/// Whether a change made now would still be polled and rung before the end.
fn has_time(end: Option<Instant>) -> bool {
    end.is_none_or(|end| end > Instant::now() + CHANGE_EVERY)
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What cannot be removed is a temporary folder of a few pages.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

const LOOPBACK: (std::net::Ipv4Addr, u16) = (std::net::Ipv4Addr::LOCALHOST, 0);
const CHANGE_EVERY: Duration = Duration::from_secs(1);

fn config_text(api: SocketAddr, receiver: SocketAddr, secret: &Secret, folder: &Path) -> String {
    let store = folder.join("doorbell.db");
    format!(
        r#"[store]
url = "sqlite:{store}"
[admin]
listen = "127.0.0.1:0"
[proxy]
listen = ["127.0.0.1:0"]
drain_delay = "0s"
[upstreams.desk]
url = "http://{api}"
[sources.tickets]
upstream = "desk"
path = "/tickets"
every = "500ms"
items = "$.tickets[*]"
id = "$.id"
ignore = ["$.viewed"]
deletes = "full"
[endpoints.printer]
url = "http://{receiver}/"
secrets = ["{secret}"]
allow_private = true
[routes.desk]
path = "/tickets"
upstream = "desk"
limits = [{{ by = "ip", requests = 5, per = "10s" }}]
"#,
        store = store.display(),
        secret = secret.expose()
    )
}

/// The sum of all series of a family, by the text in front of their labels.
fn sum_of(scrape: &str, series: &str) -> f64 {
    sum_where(scrape, series, "")
}

fn sum_where(scrape: &str, series: &str, label: &str) -> f64 {
    let lines = scrape
        .lines()
        .filter(|line| line.starts_with(series) && line.contains(label));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    // An empty sum of floats is -0.
    values.sum::<f64>() + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_configuration_is_right() {
        let address = "127.0.0.1:1".parse().expect("an address");
        let secret = symmetric_secret(&crate::client::random());
        let text = config_text(address, address, &secret, Path::new("/tmp"));
        let parsed = config::parse(&text, Path::new("demo.toml"), &|_| None);
        assert!(
            parsed.is_ok(),
            "{}",
            parsed.err().map(|f| f.to_string()).unwrap_or_default()
        );
    }

    #[test]
    fn sums_series_of_one_family() {
        let scrape = "# HELP a\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3\nab_total{x=\"1\"} 9\n";
        assert_eq!(
            (sum_of(scrape, "a_total{"), sum_of(scrape, "none{")),
            (5.0, 0.0)
        );
    }
}
