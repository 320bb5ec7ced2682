//! The base URLs of an upstream: which of them is asked next.
//!
//! Decides by turns among those that are well. One that fails several times running is left out
//! for a while that grows; then one request finds out. Where all are out, the one that is due
//! soonest is asked all the same: to ask nobody helps nobody.

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use tokio::time::Instant;
use url::Url;

use super::addresses::Addresses;
use crate::backoff::Backoff;
use crate::client::Resolver;
use crate::config;

/// Failures running after which a base URL is left out: one may be chance, and is made good by
/// asking another at once.
const FAILURES_MAX: u32 = 3;

/// How long it is left out, for the first failure too many and those after it.
const OUT: Backoff = Backoff {
    base: Duration::from_secs(5),
    ceiling: Duration::from_mins(5),
};

/// All base URLs of an upstream; never empty.
#[derive(Debug)]
pub(super) struct Bases {
    all: Vec<Base>,
    rota: Mutex<Rota>,
}

#[derive(Debug)]
struct Base {
    url: Url,
    addresses: Addresses,
}

/// Whose turn it is.
#[derive(Debug)]
struct Rota {
    turn: usize,
    healths: Vec<Health>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Health {
    failures: u32,
    /// When it may be asked again; `None`: it is well.
    out_until: Option<Instant>,
}

impl Bases {
    /// Those of `config`. Must be called inside a tokio runtime, where names are looked up.
    pub(super) fn of(config: &config::Upstream, resolver: &Resolver) -> Self {
        let base = |url: &Url| Base {
            url: url.clone(),
            addresses: match config.egress_proxy {
                // The proxy looks names up, and may know some that we do not.
                Some(_) => Addresses::written_in(url),
                None => Addresses::of(url, resolver.clone()),
            },
        };
        let all: Vec<Base> = config.urls().map(base).collect();
        let rota = Mutex::new(Rota::of(all.len()));
        Self { all, rota }
    }

    /// Whether the origin of `url` (scheme, host, port) is that of one of them.
    pub(super) fn are_at(&self, url: &Url) -> bool {
        let origin = url.origin();
        self.all.iter().any(|base| base.url.origin() == origin)
    }

    /// The one to ask next, if that may be another than `without`.
    pub(super) fn pick(&self, without: Option<usize>) -> usize {
        if self.all.len() == 1 {
            return 0;
        }
        self.rota.lock().next(Instant::now(), without)
    }

    /// The one to connect to next, and a socket address of it.
    pub(super) fn door(&self, without: Option<usize>) -> Option<(usize, SocketAddr)> {
        let picks = (0..self.all.len()).map(|_| self.pick(without));
        let mut doors = picks.filter_map(|index| Some((index, self.all[index].addresses.next()?)));
        doors.next()
    }

    /// `url`, which is one of the upstream's, at the base URL whose turn it is.
    pub(super) fn spread(&self, url: &Url) -> Option<Url> {
        if self.all.len() == 1 {
            return None;
        }
        let from = self.index_of(url)?;
        let to = self.pick(None);
        self.moved(url, from, to).filter(|_| from != to)
    }

    /// `url` at another base URL than those that were `tried`; notes the one it is at.
    pub(super) fn instead(&self, url: &Url, tried: &mut Vec<usize>) -> Option<Url> {
        let from = self.index_of(url)?;
        tried.push(from);
        if tried.len() >= self.all.len() {
            return None;
        }
        let picks = (0..self.all.len()).map(|_| self.pick(Some(from)));
        let to = { picks }.find(|to| !tried.contains(to))?;
        self.moved(url, from, to)
    }

    /// What came of asking `url`: a status, or nothing.
    pub(super) fn asked(&self, url: &Url, status: Option<StatusCode>) {
        if self.all.len() > 1
            && let Some(index) = self.index_of(url)
        {
            self.heard(index, status);
        }
    }

    /// What came of asking the one at `index`: a status, or nothing.
    pub(super) fn heard(&self, index: usize, status: Option<StatusCode>) {
        if self.all.len() == 1 {
            return;
        }
        let is_well = status.is_some_and(|status| !status.is_server_error());
        let has_changed = {
            let mut rota = self.rota.lock();
            if is_well {
                rota.succeeded(index)
            } else {
                rota.failed(index, Instant::now())
            }
        };
        if has_changed {
            let origin = self.all[index].url.origin().ascii_serialization();
            if is_well {
                tracing::info!(url = origin, "a base URL of an upstream is asked again");
            } else {
                tracing::warn!(
                    url = origin,
                    "a base URL of an upstream fails, and is left out"
                );
            }
        }
    }

    fn index_of(&self, url: &Url) -> Option<usize> {
        let is_below = |base: &Base| rest(url, &base.url).is_some();
        self.all.iter().position(is_below)
    }

    fn moved(&self, url: &Url, from: usize, to: usize) -> Option<Url> {
        let rest = rest(url, &self.all[from].url)?;
        let base = self.all[to].url.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}{rest}")).ok()
    }
}

/// What of `url` follows `base`, as text.
fn rest<'u>(url: &'u Url, base: &Url) -> Option<&'u str> {
    let rest = url
        .as_str()
        .strip_prefix(base.as_str().trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with(['/', '?'])).then_some(rest)
}

impl Rota {
    fn of(count: usize) -> Self {
        Self {
            turn: 0,
            healths: vec![Health::default(); count],
        }
    }

    fn next(&mut self, now: Instant, without: Option<usize>) -> usize {
        let count = self.healths.len();
        let mut others: Vec<usize> = (0..count).map(|step| (self.turn + step) % count).collect();
        others.retain(|index| Some(*index) != without);
        let out_until = |index: &usize| self.healths[*index].out_until;
        let due = |index: &usize| out_until(index).is_some_and(|until| until <= now);
        let is_well = |index: &usize| out_until(index).is_none();
        let chosen = others.iter().find(|index| due(index));
        let chosen = chosen.or_else(|| others.iter().find(|index| is_well(index)));
        let chosen = chosen.or_else(|| others.iter().min_by_key(|index| out_until(index)));
        let chosen = chosen.copied().or(without).unwrap_or(0);
        let health = &mut self.healths[chosen];
        if health.out_until.is_some() {
            // This request finds out, and no other until it must have.
            health.out_until = Some(now + OUT.bound(health.failures));
        }
        self.turn = (chosen + 1) % count;
        chosen
    }

    /// Whether it was out.
    fn succeeded(&mut self, index: usize) -> bool {
        let health = std::mem::take(&mut self.healths[index]);
        health.out_until.is_some()
    }

    /// Whether it was well, and is out now.
    fn failed(&mut self, index: usize, now: Instant) -> bool {
        let health = &mut self.healths[index];
        health.failures = health.failures.saturating_add(1);
        let Some(too_many) = health.failures.checked_sub(FAILURES_MAX - 1) else {
            return false;
        };
        if too_many == 0 {
            return false;
        }
        let until = now + OUT.bound(too_many);
        health.out_until.replace(until).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(rota: &mut Rota, now: Instant, count: usize) -> Vec<usize> {
        (0..count).map(|_| rota.next(now, None)).collect()
    }

    #[test]
    fn those_that_are_well_take_turns() {
        let (mut rota, now) = (Rota::of(3), Instant::now());
        assert_eq!(turns(&mut rota, now, 6), [0, 1, 2, 0, 1, 2]);
        assert_eq!(rota.next(now, Some(0)), 1);
        assert_eq!(rota.next(now, Some(2)), 0);
    }

    #[test]
    fn one_that_fails_again_and_again_is_left_out_for_longer_and_longer() {
        let (mut rota, now) = (Rota::of(2), Instant::now());
        assert!(!rota.failed(1, now) && !rota.failed(1, now));
        assert_eq!(turns(&mut rota, now, 4), [0, 1, 0, 1]);
        assert!(rota.failed(1, now));
        assert_eq!(turns(&mut rota, now, 3), [0, 0, 0]);
        let due = now + Duration::from_secs(5);
        // One request finds out, the others go on as before.
        assert_eq!(turns(&mut rota, due, 4), [1, 0, 0, 0]);
        assert!(!rota.failed(1, due));
        assert_eq!(rota.next(due + Duration::from_secs(9), None), 0);
        let due = due + Duration::from_secs(10);
        assert_eq!(rota.next(due, None), 1);
        assert!(rota.succeeded(1));
        assert_eq!(turns(&mut rota, due, 4), [0, 1, 0, 1]);
    }

    #[test]
    fn where_all_are_out_the_one_that_is_due_soonest_is_asked() {
        let (mut rota, now) = (Rota::of(2), Instant::now());
        for _ in 0..3 {
            rota.failed(0, now);
            rota.failed(1, now + Duration::from_secs(1));
        }
        assert_eq!(rota.next(now, None), 0);
        assert_eq!(rota.next(now, Some(0)), 1);
    }

    #[test]
    fn a_probe_that_nobody_hears_of_keeps_nothing_out_for_ever() {
        let (mut rota, now) = (Rota::of(2), Instant::now());
        for _ in 0..3 {
            rota.failed(1, now);
        }
        let due = now + Duration::from_secs(5);
        assert_eq!(rota.next(due, None), 1);
        assert_eq!(rota.next(due + OUT.ceiling, None), 1);
    }

    #[tokio::test]
    async fn urls_move_from_one_base_to_the_other_as_text() {
        let url = |text: &str| Url::parse(text).expect("a URL");
        let base = |text: &str| Base {
            url: url(text),
            addresses: Addresses::of(&url("http://127.0.0.1"), Resolver::system()),
        };
        let bases = Bases {
            all: vec![base("https://a.example/api"), base("https://b.example/")],
            rota: Mutex::new(Rota::of(2)),
        };
        for (from, to) in [
            ("https://a.example/api", "https://b.example/"),
            ("https://a.example/api?x=1", "https://b.example/?x=1"),
            ("https://a.example/api/%2e/b?x", "https://b.example/%2e/b?x"),
        ] {
            let moved = bases.instead(&url(from), &mut Vec::new());
            assert_eq!(moved, Some(url(to)), "{from}");
        }
        for foreign in ["https://a.example/apis", "https://c.example/api/x"] {
            assert_eq!(bases.instead(&url(foreign), &mut Vec::new()), None);
        }
        let mut tried = Vec::new();
        let moved = bases.instead(&url("https://a.example/api/x"), &mut tried);
        assert_eq!(bases.instead(&moved.expect("b"), &mut tried), None);
    }
}
