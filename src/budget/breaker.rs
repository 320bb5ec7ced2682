//! Whether an upstream is worth asking: the breaker that polls and callers share.
//!
//! It opens when nothing but failures came for a while, from whichever side. While it is open one
//! request at a time finds out whether the upstream is back, and whatever else is asked is refused
//! at once. Which answers are failures the upstream's client decides.

use std::time::Duration;

use super::Moment;

/// So many failures in a row open it…
const FAILURES_MIN: u32 = 5;
/// … if they came over so long: many requests that are cut off by one hiccup are one failure.
const FAILING_MIN: Duration = Duration::from_millis(500);

/// How long after a failed probe the next one may go. Recovery is seen soon after it, and four
/// requests in two seconds hold up nobody who is getting up.
pub const PROBE_EVERY: Duration = Duration::from_millis(500);

/// A probe that says nothing for so long does not keep the next one from going: who went away does
/// not answer even after it came back.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);

/// Whether it is worth asking.
#[derive(Debug, Default)]
pub struct Breaker {
    failures: u32,
    failing_since: Option<Moment>,
    /// `Some`: it is open.
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    since: Moment,
    next_probe: Moment,
}

/// What is said to who wants to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Go on.
    Go,
    /// Go on, and tell how it went: nobody else finds out meanwhile.
    Probe,
    /// Not before this long.
    No(Duration),
}

impl Breaker {
    /// Somebody wants to make a request.
    pub fn ask(&mut self, now: Moment) -> Pass {
        let Some(open) = &mut self.open else {
            return Pass::Go;
        };
        if now < open.next_probe {
            return Pass::No(open.next_probe.saturating_sub(now));
        }
        open.next_probe = now + PROBE_PATIENCE;
        Pass::Probe
    }

    /// The upstream answered. Whether it is back with that.
    pub fn succeeded(&mut self) -> bool {
        std::mem::take(self).open.is_some()
    }

    /// It did not. Whether that opened it.
    pub fn failed(&mut self, pass: Pass, now: Moment) -> bool {
        if let Some(open) = &mut self.open {
            if pass == Pass::Probe {
                open.next_probe = now + PROBE_EVERY;
            }
            return false;
        }
        let since = *self.failing_since.get_or_insert(now);
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES_MIN || now.saturating_sub(since) < FAILING_MIN {
            return false;
        }
        self.open = Some(Open {
            since: now,
            next_probe: now + PROBE_EVERY,
        });
        true
    }

    /// A probe ended without finding out.
    pub fn gave_up(&mut self, now: Moment) {
        if let Some(open) = &mut self.open {
            open.next_probe = now;
        }
    }

    /// Since when it is open.
    #[must_use]
    pub fn open_since(&self) -> Option<Moment> {
        self.open.map(|open| open.since)
    }

    /// Whether there is nothing to be told of: neither is it open, nor did the last request fail.
    #[must_use]
    pub const fn is_at_ease(&self) -> bool {
        self.failures == 0 && self.open.is_none()
    }
}
