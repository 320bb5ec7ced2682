//! A disk that does what the store promises, a queue on it, and the checks that must hold after
//! every step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use crate::deliver::lane::WAITING_MAX;
use crate::deliver::queue::*;
use crate::event::Kind;
use crate::store::{Ahead, Position};

const HEARD: [Kind; 2] = [Kind::Created, Kind::Updated];
const CONCURRENCY: usize = 5;
pub(super) const LANES: usize = 3;

/// One source's events and one lane's rows.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) events: BTreeMap<EventKey, (Kind, Subject)>,
    pub(super) watermark: EventKey,
    pub(super) done: BTreeSet<EventKey>,
    pub(super) parked: BTreeMap<EventKey, Parked>,
}

impl Disk {
    fn heard(&self) -> impl Iterator<Item = (&EventKey, &Subject)> {
        let heard = self
            .events
            .iter()
            .filter(|(_, (kind, _))| HEARD.contains(kind));
        heard.map(|(key, (_, subject))| (key, subject))
    }

    pub(super) fn state(&self, id: LaneId) -> LaneState {
        let after = (
            std::ops::Bound::Excluded(self.watermark),
            std::ops::Bound::Unbounded,
        );
        let ahead = Kind::ALL.into_iter().filter_map(|kind| {
            let mut keys = self.events.range(after).filter(|(_, (of, _))| *of == kind);
            let (first, _) = keys.next()?;
            Some(Ahead {
                kind,
                count: 1 + keys.count() as u64,
                first: Timestamp::from_millis(first.number()),
            })
        });
        let parked = self.parked.range(after).map(|(key, _)| *key);
        let mut settled: BTreeSet<EventKey> = self.done.range(after).copied().collect();
        settled.extend(parked);
        LaneState {
            id,
            source: SourceId(id.0),
            watermark: self.watermark,
            settled: settled.into_iter().collect(),
            ahead: ahead.collect(),
            parked: self.parked.len() as u64,
        }
    }

    fn scan(&self, job: ScanJob) -> Vec<Scanned> {
        let after = (
            std::ops::Bound::Excluded(job.after),
            std::ops::Bound::Unbounded,
        );
        let events = self.events.range(after).take(job.limit);
        let scanned = events.map(|(key, (kind, subject))| Scanned {
            key: *key,
            kind: *kind,
            subject: subject.clone(),
            at: Timestamp::from_millis(key.number()),
            event: None,
        });
        scanned.collect()
    }

    fn fresh(&self, after: EventKey) -> Fresh {
        let all = ScanJob {
            lane: 0,
            id: LaneId(0),
            source: SourceId(0),
            after,
            limit: usize::MAX,
        };
        Fresh {
            position: Position(0),
            source: SourceId(0),
            after,
            events: self.scan(all).into(),
        }
    }

    fn waiting(&self) -> Vec<Parked> {
        let waiting = self.parked.values().filter(|row| row.due.is_some());
        let mut waiting: Vec<Parked> = waiting.cloned().collect();
        waiting.sort_by_key(|row| row.due);
        waiting.truncate(WAITING_MAX);
        waiting
    }

    fn next_blocked(&self, subject: &Subject) -> Option<Parked> {
        let mut blocked = self.parked.values().filter(|row| row.due.is_none());
        blocked.find(|row| row.subject == *subject).cloned()
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) disks: Vec<Disk>,
    pub(super) queue: Queue,
    pub(super) order: Order,
    pub(super) now: Timestamp,
    pub(super) flying: Vec<(usize, Start)>,
    pub(super) settling: Option<Settling>,
    pub(super) scans: VecDeque<ScanJob>,
    pub(super) asks: VecDeque<AskJob>,
    pub(super) committed: i64,
    only_probes: bool,
    /// Lanes that are yet to hear that there is something to read.
    late: BTreeSet<usize>,
    /// Events in the order of their first attempts, by lane and subject.
    pub(super) firsts: BTreeMap<(usize, Subject), Vec<EventKey>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// So many events of this kind, on subjects from this one on.
    Commit {
        lane: usize,
        count: usize,
        subject: u8,
        spread: u8,
        kind: Kind,
        told: Told,
    },
    Finish {
        index: usize,
        outcome: Outcome,
    },
    Scan {
        works: bool,
    },
    Ask {
        works: bool,
    },
    Settle {
        works: bool,
    },
    Flush,
    Unstart {
        index: usize,
    },
    Pass {
        millis: i64,
    },
    /// From now on one attempt at a time is made, of the oldest; or all again.
    Probe {
        only: bool,
    },
    /// The process dies; what is being settled may have been written.
    Crash {
        written: bool,
    },
}

/// How the queue hears of a commit.
#[derive(Debug, Clone, Copy)]
pub(super) enum Told {
    /// There is something to read.
    Poked,
    /// With its events.
    Offered,
    /// With its events, and once more when they are known.
    OfferedTwice,
    /// That there is something to read, but only after the next commit: an inbox gives out what
    /// came with its events first.
    Late,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    Accept,
    Fail {
        millis: i64,
    },
    Bury,
    /// Not for the endpoint; accepted if it was attempted before.
    PassOver,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = prop::sample::select(vec![Kind::Created, Kind::Updated, Kind::Deleted]);
    let count = prop_oneof![8 => 1..6_usize, 1 => 200..400_usize];
    let told = prop::sample::select(vec![
        Told::Poked,
        Told::Offered,
        Told::OfferedTwice,
        Told::Late,
    ]);
    let commit = (0..LANES, count, 0..4_u8, 1..4_u8, (kind, told)).prop_map(
        |(lane, count, subject, spread, (kind, told))| Step::Commit {
            lane,
            count,
            subject,
            spread,
            kind,
            told,
        },
    );
    let outcome = prop_oneof![
        4 => Just(Outcome::Accept),
        3 => (0..50_i64).prop_map(|millis| Outcome::Fail { millis }),
        1 => Just(Outcome::Bury),
        2 => Just(Outcome::PassOver),
    ];
    let index = 0..CONCURRENCY;
    let works = prop::bool::weighted(0.9);
    let step = prop_oneof![
        4 => commit,
        12 => (index.clone(), outcome).prop_map(|(index, outcome)| Step::Finish { index, outcome }),
        6 => works.prop_map(|works| Step::Scan { works }),
        6 => works.prop_map(|works| Step::Ask { works }),
        8 => works.prop_map(|works| Step::Settle { works }),
        1 => Just(Step::Flush),
        1 => index.prop_map(|index| Step::Unstart { index }),
        6 => (0..40_i64).prop_map(|millis| Step::Pass { millis }),
        1 => any::<bool>().prop_map(|only| Step::Probe { only }),
        1 => any::<bool>().prop_map(|written| Step::Crash { written }),
    ];
    prop::collection::vec(step, 1..250)
}

impl World {
    pub(super) fn new(order: Order) -> Self {
        let disks: Vec<Disk> = (0..LANES).map(|_| Disk::default()).collect();
        Self {
            queue: restored(&disks, order),
            disks,
            order,
            now: Timestamp::from_millis(0),
            flying: Vec::new(),
            settling: None,
            scans: VecDeque::new(),
            asks: VecDeque::new(),
            committed: 0,
            only_probes: false,
            late: BTreeSet::new(),
            firsts: BTreeMap::new(),
        }
    }

    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::Commit {
                lane,
                count,
                subject,
                spread,
                kind,
                told,
            } => {
                let subjects = (0..count).map(|n| usize::from(subject) + n % usize::from(spread));
                let subjects = subjects.collect();
                self.add((lane, kind), subjects, told);
            }
            Step::Finish { index, outcome } if index < self.flying.len() => {
                self.finish(index, outcome);
            }
            Step::Unstart { index } if index < self.flying.len() => {
                let (lane, start) = self.flying.swap_remove(index);
                self.queue.unstart(lane, start);
            }
            Step::Scan { works } => {
                if let Some(job) = self.scans.pop_front() {
                    let events = works.then(|| self.disks[job.lane].scan(job));
                    self.queue.scanned(job, events);
                }
            }
            Step::Ask { works: true } => {
                if let Some(job) = self.asks.pop_front() {
                    let next = self.disks[job.lane].next_blocked(&job.subject);
                    self.queue.answered(&job, next, self.now);
                }
            }
            Step::Ask { works: false } => {
                if let Some(job) = self.asks.pop_front() {
                    self.queue.unanswered(&job);
                }
            }
            Step::Settle { works: true } => {
                if let Some(settling) = self.settling.take() {
                    self.write(settling);
                    self.queue.committed();
                }
            }
            Step::Settle { works: false } => {
                if self.settling.is_some() {
                    self.settling = self.queue.again();
                }
            }
            Step::Flush if self.settling.is_none() => self.settling = self.queue.flush(),
            Step::Pass { millis } => {
                self.now = Timestamp::from_millis(self.now.as_millis() + millis);
            }
            Step::Probe { only } => self.only_probes = only,
            Step::Crash { written } => self.crash(written),
            Step::Finish { .. } | Step::Unstart { .. } | Step::Flush => {}
        }
        self.pump();
    }

    fn add(&mut self, (lane, kind): (usize, Kind), subjects: Vec<usize>, told: Told) {
        let last = self.disks[lane].events.last_key_value();
        let after = last.map_or(EventKey::START, |(key, _)| *key);
        self.committed += 1;
        for (ordinal, subject) in (0..).zip(subjects) {
            let key = EventKey::new(self.committed, ordinal);
            let event = (kind, subject.to_string().into());
            self.disks[lane].events.insert(key, event);
        }
        let offers = match told {
            Told::Poked | Told::Late => 0,
            Told::Offered => 1,
            Told::OfferedTwice => 2,
        };
        for _ in 0..offers {
            self.queue.offer(lane, &self.disks[lane].fresh(after));
        }
        let is_late = matches!(told, Told::Late);
        if is_late {
            self.late.insert(lane);
        } else if offers == 0 || self.late.remove(&lane) {
            self.queue.poke(lane);
        }
    }

    /// Does what the queue asks for, and checks that it may.
    pub(super) fn pump(&mut self) {
        self.scans.extend(self.queue.scans());
        self.asks.extend(self.queue.asks());
        for (lane, start) in self.starts() {
            self.check_start(lane, &start);
            self.flying.push((lane, start));
        }
        assert!(self.flying.len() <= CONCURRENCY);
        if self.settling.is_none() {
            self.settling = self.queue.batch();
        }
        let load = self.queue.load();
        assert!(load.window <= (LANES * WINDOW) as u64, "{load:?}");
        assert!(load.waiting <= (LANES * WAITING_MAX) as u64, "{load:?}");
    }

    fn starts(&mut self) -> Vec<(usize, Start)> {
        if !self.only_probes {
            return self.queue.starts(self.now, CONCURRENCY, &mut |_| true);
        }
        if !self.flying.is_empty() {
            return Vec::new();
        }
        Vec::from_iter(self.queue.start_oldest(self.now))
    }

    fn check_start(&mut self, lane: usize, start: &Start) {
        let (disk, key) = (&self.disks[lane], start.delivery.event);
        let (kind, subject) = &disk.events[&key];
        assert!(HEARD.contains(kind), "{key:?} is not heard");
        assert!(!disk.done.contains(&key), "{key:?} is done already");
        let twice = self
            .flying
            .iter()
            .any(|(_, other)| other.delivery == start.delivery);
        assert!(!twice, "{key:?} is in flight already");
        if let Some(parked) = disk.parked.get(&key) {
            // A failure may be on its way to the disk while the next attempt is made.
            assert!(parked.attempts <= start.attempts, "{key:?}");
        }
        if self.order == Order::Subject {
            let earlier = disk
                .heard()
                .filter(|(other, of)| **other < key && *of == subject);
            for (other, _) in earlier {
                assert!(disk.done.contains(other), "{key:?} goes before {other:?}");
            }
        }
        let firsts = self.firsts.entry((lane, subject.clone())).or_default();
        if !firsts.contains(&key) {
            firsts.push(key);
        }
    }

    pub(super) fn finish(&mut self, index: usize, outcome: Outcome) {
        let (lane, start) = self.flying.remove(index);
        let then = match outcome {
            Outcome::PassOver if start.attempts == 0 => Then::Filtered,
            Outcome::Accept | Outcome::PassOver => Then::Delivered,
            Outcome::Fail { millis } => {
                Then::Retry(Timestamp::from_millis(self.now.as_millis() + millis))
            }
            Outcome::Bury => Then::Dead,
        };
        let attempt = Attempt {
            number: start.attempts + 1,
            at: self.now,
            duration_ms: 0,
            status: None,
            error: None,
            answer: None,
            rendering: None,
        };
        self.queue
            .finished(lane, start.delivery.event, attempt, then);
    }

    fn write(&mut self, settling: Settling) {
        for row in settling.attempts {
            let (lane, key) = (lane_of(row.delivery.lane), row.delivery.event);
            let disk = &mut self.disks[lane];
            if let Then::Retry(due) = row.then {
                let parked = Parked {
                    event: key,
                    kind: row.kind,
                    subject: row.subject,
                    at: row.committed_at,
                    attempts: row.attempt.number,
                    earlier: 0,
                    due: Some(due),
                };
                disk.parked.insert(key, parked);
            } else {
                disk.parked.remove(&key);
                disk.done.insert(key);
            }
        }
        for (lane, parked) in settling.parked {
            let disk = &mut self.disks[lane_of(lane)];
            assert!(!disk.done.contains(&parked.event));
            disk.parked.insert(parked.event, parked);
        }
        for (lane, watermark) in settling.watermarks {
            let disk = &mut self.disks[lane_of(lane)];
            assert!(watermark >= disk.watermark, "a watermark goes back");
            disk.watermark = watermark;
        }
        self.check_disk();
    }

    /// What must hold after every transaction, because a crash may follow it.
    fn check_disk(&self) {
        for disk in &self.disks {
            for (key, _) in disk.heard().filter(|(key, _)| **key <= disk.watermark) {
                let is_safe = disk.done.contains(key) || disk.parked.contains_key(key);
                assert!(is_safe, "the watermark passes {key:?}");
            }
            if self.order == Order::None {
                continue;
            }
            let mut heads: BTreeMap<&Subject, usize> = BTreeMap::new();
            for row in disk.parked.values() {
                *heads.entry(&row.subject).or_default() += usize::from(row.due.is_some());
            }
            assert!(heads.values().all(|count| *count == 1), "{:?}", disk.parked);
        }
    }

    pub(super) fn crash(&mut self, written: bool) {
        if let Some(settling) = self.settling.take().filter(|_| written) {
            self.write(settling);
        }
        self.flying.clear();
        self.scans.clear();
        self.asks.clear();
        self.queue = restored(&self.disks, self.order);
        let pending: usize = self.disks.iter().map(pending).sum();
        assert_eq!(self.queue.load().pending(), pending as u64);
    }

    /// Everything works from now on: whatever was committed must arrive.
    pub(super) fn finish_all(&mut self) {
        for lane in std::mem::take(&mut self.late) {
            self.queue.poke(lane);
        }
        self.only_probes = false;
        for _ in 0..1_000_000 {
            self.take(Step::Pass { millis: 50 });
            self.take(Step::Scan { works: true });
            self.take(Step::Ask { works: true });
            self.take(Step::Settle { works: true });
            if self.flying.is_empty() && !self.queue.is_unsettled() && self.is_done() {
                break;
            }
            while !self.flying.is_empty() {
                self.finish(0, Outcome::Accept);
            }
        }
        for disk in &self.disks {
            for (key, _) in disk.heard() {
                assert!(disk.done.contains(key), "{key:?} is lost");
            }
            assert!(disk.parked.is_empty());
        }
        self.take(Step::Scan { works: true });
        assert_eq!(self.queue.load(), Load::default());
        assert_eq!(self.queue.next_due(), None);
        if self.order == Order::Subject {
            for firsts in self.firsts.values() {
                assert!(firsts.is_sorted(), "{firsts:?}");
            }
        }
    }

    fn is_done(&self) -> bool {
        self.scans.is_empty() && self.disks.iter().all(|disk| pending(disk) == 0)
    }
}

fn pending(disk: &Disk) -> usize {
    disk.heard()
        .filter(|(key, _)| !disk.done.contains(*key))
        .count()
}

fn lane_of(id: LaneId) -> usize {
    usize::try_from(id.0).expect("a lane of the test")
}

pub(super) fn restored(disks: &[Disk], order: Order) -> Queue {
    let state = |(index, disk): (usize, &Disk)| {
        let id = LaneId(i64::try_from(index).expect("few"));
        (disk.state(id), HEARD.into_iter().collect())
    };
    let mut queue = Queue::new(disks.iter().enumerate().map(state).collect(), order);
    for (index, disk) in disks.iter().enumerate() {
        queue.restore(index, disk.waiting());
    }
    queue
}

impl World {
    /// A world whose first lane has `count` events of as many subjects, all read.
    pub(super) fn with_events(order: Order, count: usize) -> Self {
        let mut world = Self::new(order);
        world.commit(0, count, count);
        world
    }

    pub(super) fn commit(&mut self, lane: usize, count: usize, subjects: usize) {
        let subjects = (0..count).map(|ordinal| ordinal % subjects).collect();
        self.add((lane, Kind::Created), subjects, Told::Poked);
        self.pump();
        while !self.scans.is_empty() {
            self.take(Step::Scan { works: true });
        }
    }
}
