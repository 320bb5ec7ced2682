//! A history of changes, and what polls of it would have found.
//!
//! Decides how a history is read and what counts: the mean time from a change to the poll that
//! finds it; one that none finds waits until the end. When to poll is the policy's question.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use doorbell::schedule::adaptive::{Bounds, Learnt, MemberId, Pool, Sample, Tuning};
use doorbell::time::Timestamp;

/// Sources by their upstream, each with the milliseconds at which it changed, ascending.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    pub(crate) upstreams: Vec<Vec<Vec<i64>>>,
    /// When the history ends.
    pub(crate) end: i64,
}

/// How polls are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Polls a second, of all sources together.
    pub(crate) rate: f64,
    pub(crate) bounds: Bounds,
    pub(crate) tuning: Tuning,
    /// Which of the sources come after each other at the start: a matter of luck, to be varied.
    pub(crate) stride: usize,
}

/// What polls came to.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct Outcome {
    pub(crate) mean_delay_seconds: f64,
    pub(crate) polls: u64,
    /// The longest time between two polls of one source.
    pub(crate) longest_gap_seconds: f64,
}

impl Trace {
    /// Reads lines of `id,upstream,second second …`.
    pub(crate) fn parse(text: &str, length: Duration) -> Result<Self, String> {
        let end = millis(length.as_secs_f64());
        let mut upstreams: BTreeMap<&str, Vec<Vec<i64>>> = BTreeMap::new();
        for (line, number) in text.lines().zip(1..) {
            let mut fields = line.splitn(3, ',').skip(1);
            let upstream = fields.next().ok_or(format!("line {number}: no group"))?;
            let times = fields.next().unwrap_or_default().split_whitespace();
            let times = times.map(|time| time.parse::<i64>().map(|seconds| seconds * 1000));
            let mut times: Vec<i64> = times
                .collect::<Result<_, _>>()
                .map_err(|error| format!("line {number}: {error}"))?;
            times.retain(|time| (0..end).contains(time));
            times.sort_unstable();
            upstreams.entry(upstream).or_default().push(times);
        }
        let upstreams = upstreams.into_values().collect();
        Ok(Self { upstreams, end })
    }

    /// Every source alike.
    pub(crate) fn uniform(&self, plan: Plan) -> Outcome {
        let rate = plan.rate / self.sources().count() as f64;
        self.steady(plan, |_| rate)
    }

    /// Each by the root of its rate of changes, which somebody has to know.
    pub(crate) fn oracle(&self, plan: Plan) -> Outcome {
        let root = |changes: &[i64]| (changes.len() as f64).sqrt();
        let all: f64 = self.sources().map(|changes| root(changes)).sum();
        self.steady(plan, |changes| plan.rate * root(changes) / all)
    }

    /// Each at a rate of its own, for good.
    fn steady(&self, plan: Plan, rate: impl Fn(&[i64]) -> f64) -> Outcome {
        let mut tally = Tally::default();
        for sources in &self.upstreams {
            for (index, changes) in sources.iter().enumerate() {
                let period = millis(1.0 / rate(changes)).max(1);
                let phase = phase(index, sources.len(), plan.stride, period);
                if phase < self.end {
                    tally.polls +=
                        (self.end - 1 - phase).unsigned_abs() / period.unsigned_abs() + 1;
                }
                for &change in changes {
                    let ahead = (change - phase).max(0).unsigned_abs();
                    let polls = ahead.div_ceil(period.unsigned_abs());
                    let poll = phase.saturating_add_unsigned(polls * period.unsigned_abs());
                    tally.found(change, poll.min(self.end));
                }
                tally.gap(period.min(self.end));
            }
        }
        tally.outcome()
    }

    /// As doorbell does it: one pool an upstream, with its part of the polls, that knows nothing
    /// at the start.
    pub(crate) fn adaptive(&self, plan: Plan) -> Outcome {
        let each = plan.rate / self.sources().count() as f64;
        let mut tally = Tally::default();
        for sources in &self.upstreams {
            Replay::new(sources, plan, each).run(self.end, &mut tally);
        }
        tally.outcome()
    }

    fn sources(&self) -> impl Iterator<Item = &Vec<i64>> {
        self.upstreams.iter().flatten()
    }
}

/// One upstream, as the scheduler sees it.
struct Replay<'a> {
    plan: Plan,
    pool: Pool,
    sources: Vec<Source<'a>>,
    /// When each must be polled at the latest; entries with another number than its polls are void.
    deadlines: BinaryHeap<Reverse<(i64, u32, u64)>>,
}

struct Source<'a> {
    member: MemberId,
    /// Those that were not found yet.
    changes: &'a [i64],
    last: Option<i64>,
    polls: u64,
}

impl<'a> Replay<'a> {
    fn new(sources: &'a [Vec<i64>], plan: Plan, each: f64) -> Self {
        let mut pool = Pool::new(plan.tuning);
        pool.share(each * sources.len() as f64);
        let mut deadlines = BinaryHeap::new();
        let period = millis(1.0 / each);
        let sources = sources.iter().zip(0..).map(|(changes, index)| {
            let phase = phase(index as usize, sources.len(), plan.stride, period);
            deadlines.push(Reverse((phase, index, 0)));
            Source {
                member: pool.join(index, Learnt::default()),
                changes,
                last: None,
                polls: 0,
            }
        });
        Self {
            plan,
            sources: sources.collect(),
            pool,
            deadlines,
        }
    }

    fn run(mut self, end: i64, tally: &mut Tally) {
        let mut now = 0;
        loop {
            let deadline = self.deadlines.peek().map(|Reverse((at, ..))| *at);
            let release = self.pool.next_release().map(Timestamp::as_millis);
            let Some(next) = deadline.into_iter().chain(release).min() else {
                break;
            };
            now = next.max(now);
            if now >= end {
                break;
            }
            while let Some(&Reverse((at, index, polls))) = self.deadlines.peek()
                && at <= now
            {
                self.deadlines.pop();
                if self.sources[index as usize].polls == polls {
                    self.poll(index, now, tally);
                }
            }
            while let Some(index) = self.pool.release(Timestamp::from_millis(now)) {
                self.poll(index, now, tally);
            }
        }
        for source in &self.sources {
            for &change in source.changes {
                tally.found(change, end);
            }
            tally.gap(end - source.last.unwrap_or(0));
        }
    }

    fn poll(&mut self, index: u32, now: i64, tally: &mut Tally) {
        let source = &mut self.sources[index as usize];
        let found = source.changes.partition_point(|&change| change <= now);
        let (seen, left) = source.changes.split_at(found);
        for &change in seen {
            tally.found(change, now);
        }
        tally.gap(now - source.last.unwrap_or(0));
        tally.polls += 1;
        source.changes = left;
        source.last = Some(now);
        source.polls += 1;
        let at = Timestamp::from_millis(now);
        self.pool.spend(at);
        let sample = Sample {
            at,
            changed: !seen.is_empty(),
            not_before: at.plus(self.plan.bounds.min),
        };
        self.pool.sampled(source.member, sample);
        let deadline = at.plus(self.plan.bounds.max).as_millis();
        self.deadlines
            .push(Reverse((deadline, index, source.polls)));
    }
}

/// What is counted.
#[derive(Debug, Default)]
struct Tally {
    changes: u64,
    delay: i64,
    polls: u64,
    gap: i64,
}

impl Tally {
    fn found(&mut self, change: i64, at: i64) {
        self.changes += 1;
        self.delay += at - change;
    }

    fn gap(&mut self, gap: i64) {
        self.gap = self.gap.max(gap);
    }

    fn outcome(&self) -> Outcome {
        Outcome {
            mean_delay_seconds: self.delay as f64 / 1000.0 / self.changes.max(1) as f64,
            polls: self.polls,
            longest_gap_seconds: self.gap as f64 / 1000.0,
        }
    }
}

/// Spread evenly over a period.
fn phase(index: usize, count: usize, stride: usize, period: i64) -> i64 {
    let place = (index * stride) % count;
    let part = (place as f64 + 0.5) / count as f64;
    millis(period as f64 / 1000.0 * part)
}

#[expect(clippy::cast_possible_truncation, reason = "saturates")]
fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0) as i64
}
