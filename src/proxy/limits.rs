//! What callers of a route may ask of us: GCRA per address, per header value, per route.
//!
//! Decides who passes and what the answer says about it. All limits of a route must let a request
//! pass. They are asked from the narrowest to the widest (address, header, route), whatever their
//! order in the file, and the first refusal ends it: what it refuses has used up the narrower
//! limits only, so that one greedy caller cannot spend what all share.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::{Quota, RateLimiter};
use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;

use crate::config::{Limit, LimitBy};

/// Most callers that one limit tells apart. Beyond it new ones share one count until old ones are
/// forgotten: 100,000 of them are about 5 MB.
const KEYS_MAX: usize = 100_000;

/// Locks of a limit's keys, so that callers seldom wait for one another. A power of two.
const SHARDS: usize = 16;

/// What a limit counts apart, in 16 bytes: an address, or the digest of a header's value, so that
/// neither long values nor callers' secrets are kept.
type Key = [u8; 16];

/// One limit at work. Lives as long as the file keeps it unchanged, across reloads.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: Limit,
    label: String,
    governor: RateLimiter<Key, Store, DefaultClock, StateInformationMiddleware>,
    interval: Duration,
}

/// The limits of one route, narrowest first.
#[derive(Debug, Default)]
pub(super) struct Limits {
    each: Vec<Arc<Limiter>>,
    /// What each is called in answers: its label, numbered where that is said before, for names
    /// in one list differ (draft-ietf-httpapi-ratelimit-headers-11 section 3).
    names: Vec<String>,
    policy: Option<HeaderValue>,
}

/// What the limits say to one request.
#[derive(Debug)]
pub(super) struct Verdict {
    /// Value of `RateLimit`, where there is anything to say.
    pub(super) standing: Option<HeaderValue>,
    /// The limit that refused, if one did.
    pub(super) refusal: Option<Refusal>,
}

/// Which limit refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Its place in [`Limits::labels`].
    pub(super) index: usize,
    /// How long until it would let the request pass.
    pub(super) wait: Duration,
}

impl Limits {
    /// The limits of `configured`; those that `before` already had keep their counts.
    pub(super) fn new(configured: &[Limit], before: Option<&Self>) -> Self {
        let mut known = before.map_or_else(Vec::new, |before| before.each.clone());
        let mut each: Vec<_> = configured
            .iter()
            .map(|limit| {
                let same = known.iter().position(|known| known.limit == *limit);
                same.map_or_else(
                    || Arc::new(Limiter::new(limit.clone(), KEYS_MAX)),
                    |at| known.swap_remove(at),
                )
            })
            .collect();
        each.sort_by_key(|limiter| match limiter.limit.by {
            LimitBy::Ip => 0,
            LimitBy::Header(_) => 1,
            LimitBy::Route => 2,
        });
        let names = names(&each);
        let policies: Vec<_> = each
            .iter()
            .zip(&names)
            .map(|(limiter, name)| limiter.policy(name))
            .collect();
        let policy = HeaderValue::try_from(policies.join(", ")).ok();
        Self {
            policy: policy.filter(|policy| !policy.is_empty()),
            names,
            each,
        }
    }

    /// Name of each limit in answers, in the order they are asked.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Label of each limit, in the order they are asked.
    pub(super) fn labels(&self) -> Vec<&str> {
        self.each.iter().map(|limiter| &*limiter.label).collect()
    }

    /// Value of `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11 section 3).
    pub(super) fn policy(&self) -> Option<&HeaderValue> {
        self.policy.as_ref()
    }

    /// Counts one request from `client` with `headers`.
    pub(super) fn ask(&self, client: IpAddr, headers: &HeaderMap) -> Verdict {
        let mut standing = String::new();
        for (index, (limiter, name)) in self.each.iter().zip(&self.names).enumerate() {
            let outcome = limiter.ask(client, headers);
            if !standing.is_empty() {
                standing.push_str(", ");
            }
            standing.push_str(&limiter.standing(name, &outcome));
            if let Outcome::Refused(wait) = outcome {
                return Verdict {
                    standing: HeaderValue::try_from(standing).ok(),
                    refusal: Some(Refusal { index, wait }),
                };
            }
        }
        let standing = Some(standing).filter(|standing| !standing.is_empty());
        Verdict {
            standing: standing.and_then(|standing| HeaderValue::try_from(standing).ok()),
            refusal: None,
        }
    }

    /// Forgets callers whose counts are as good as new.
    pub(super) fn forget_idle(&self) {
        for limiter in &self.each {
            limiter.governor.retain_recent();
            limiter.governor.shrink_to_fit();
        }
    }
}

/// `ip`, `ip_2`, `ip_3`…
fn names(each: &[Arc<Limiter>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(each.len());
    for limiter in each {
        let numbered = (2..).map(|number| format!("{}_{number}", limiter.label));
        let name = std::iter::once(limiter.label.clone())
            .chain(numbered)
            .find(|name| !names.contains(name));
        names.extend(name);
    }
    names
}

enum Outcome {
    /// So many more would pass at once.
    Passed(u32),
    /// The next passes after this.
    Refused(Duration),
}

impl Limiter {
    fn new(limit: Limit, keys_max: usize) -> Self {
        let interval = (limit.per / limit.requests.get()).max(Duration::from_nanos(1));
        // GCRA multiplies interval and burst in 64-bit nanoseconds; 146 years are burst enough.
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        let burst_max = u32::try_from(u64::MAX / 4 / nanos).unwrap_or(u32::MAX);
        let burst = limit.burst.min(burst_max.try_into().unwrap_or(limit.burst));
        let quota = Quota::with_period(interval)
            .expect("an interval of at least 1 ns is not zero")
            .allow_burst(burst);
        let store = Store::new(keys_max);
        Self {
            label: limit.by.label(),
            governor: RateLimiter::new(quota, store, DefaultClock::default()),
            interval,
            limit,
        }
    }

    fn ask(&self, client: IpAddr, headers: &HeaderMap) -> Outcome {
        let key = match &self.limit.by {
            LimitBy::Ip => address_key(client),
            LimitBy::Header(name) => headers.get(name).map_or(Key::default(), value_key),
            LimitBy::Route => Key::default(),
        };
        match self.governor.check_key(&key) {
            Ok(state) => Outcome::Passed(state.remaining_burst_capacity()),
            Err(until) => Outcome::Refused(until.wait_time_from(self.governor.clock().now())),
        }
    }

    /// One member of `RateLimit-Policy`. The window is in whole seconds there, so a quota per less
    /// than a second is told per second.
    fn policy(&self, name: &str) -> String {
        let window = ceil_seconds(self.limit.per);
        let quota = if self.limit.per.subsec_nanos() == 0 {
            u128::from(self.limit.requests.get())
        } else {
            Duration::from_secs(window).as_nanos() / self.interval.as_nanos()
        };
        format!("\"{name}\";q={quota};w={window}")
    }

    /// One member of `RateLimit`: what is left, and the seconds until all of it is there again, or
    /// until the next request passes.
    fn standing(&self, name: &str, outcome: &Outcome) -> String {
        let (left, until) = match outcome {
            Outcome::Passed(left) => {
                let used = self.limit.burst.get().saturating_sub(*left);
                (*left, self.interval.saturating_mul(used))
            }
            Outcome::Refused(wait) => (0, *wait),
        };
        format!("\"{name}\";r={left};t={}", ceil_seconds(until))
    }
}

/// `duration` in whole seconds, rounded up, at least one, as `Retry-After` wants it.
pub(super) fn ceil_seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

/// An IPv4 address, however it is written, or the /64 of an IPv6 one, which is what one subscriber
/// gets.
pub(super) fn address_key(client: IpAddr) -> Key {
    match client.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).octets()
        }
    }
}

fn value_key(value: &HeaderValue) -> Key {
    let mut key = Key::default();
    key.copy_from_slice(&blake3::hash(value.as_bytes()).as_bytes()[..16]);
    key
}

/// Arrival times by key, never more than it was made for.
#[derive(Debug)]
struct Store {
    shards: [Mutex<HashMap<Key, Nanos>>; SHARDS],
    /// What the keys that found no room share.
    overflow: Mutex<Option<Nanos>>,
    shard_keys_max: usize,
    /// Seeded at random, so that nobody can aim at one shard.
    hasher: RandomState,
}

impl Store {
    fn new(keys_max: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            overflow: Mutex::default(),
            shard_keys_max: keys_max.div_ceil(SHARDS),
            hasher: RandomState::new(),
        }
    }

    fn shard(&self, key: &Key) -> &Mutex<HashMap<Key, Nanos>> {
        let hash = self.hasher.hash_one(key);
        let low = usize::try_from(hash % SHARDS as u64).expect("less than SHARDS fits");
        &self.shards[low]
    }
}

impl StateStore for Store {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut shard = self.shard(key).lock();
        let known = shard.get(key).copied();
        if known.is_none() && shard.len() >= self.shard_keys_max {
            drop(shard);
            let mut common = self.overflow.lock();
            let (outcome, next) = decide(*common)?;
            *common = Some(next);
            return Ok(outcome);
        }
        let (outcome, next) = decide(known)?;
        shard.insert(*key, next);
        Ok(outcome)
    }
}

impl ShrinkableKeyedStateStore<Key> for Store {
    fn retain_recent(&self, drop_below: Nanos) {
        for shard in &self.shards {
            shard.lock().retain(|_, arrival| *arrival > drop_below);
        }
    }

    fn shrink_to_fit(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            // A map that only breathes keeps its room.
            if shard.capacity() > 4 * shard.len().max(64) {
                shard.shrink_to_fit();
            }
        }
    }

    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
