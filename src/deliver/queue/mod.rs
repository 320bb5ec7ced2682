//! Everything that one endpoint still has to ring: its lanes, whose turn it is, and what is to be
//! settled next. Pure.
//!
//! Decides turns (each lane with something ready gives one event after the other, so that a flood
//! of one source delays another by at most one attempt), bounds memory over all lanes, and
//! collects outcomes into one [`Settling`] at a time. Settlings stay in order because the next is
//! handed out only when the one before is on disk; what comes in meanwhile makes the next larger.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::config::Order;
use crate::detect::Subject;
use crate::event::EventKey;
use crate::name::Name;
use crate::store::{
    Announcement, Attempt, Failing, Fresh, LaneId, LaneState, Parked, Scanned, Settled, Settling,
    SourceId, Then,
};
use crate::time::Timestamp;

use crate::deliver::lane::{Asking, Kinds, Lag, Lane, Load, Start, WINDOW};

/// Most unsettled events of an endpoint in memory, over all lanes; with 4 KiB each some 16 MiB.
const WINDOWS_MAX: u64 = 16 * WINDOW as u64;
/// Most parked deliveries of an endpoint in memory, over all lanes; some 15 MiB. Beyond it nothing
/// new is read until some of them are settled.
const PARKED_MAX: u64 = 100_000;
/// Most reads at a time: one store read is some 100 µs, and other endpoints want theirs.
const SCANS_MAX: usize = 4;
/// Largest draft that new events are still read beside: what blocked subjects park must not pile
/// up while the disk is slow.
const DRAFT_MAX: usize = 1_024;

/// What is to be settled together.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Grows from draft to draft; 0 is before the first.
    pub(super) number: u64,
    /// What goes to the store.
    pub(super) settling: Settling,
}

impl Draft {
    fn len(&self) -> usize {
        let Settling {
            attempts,
            parked,
            announcements,
            switched,
            ..
        } = &self.settling;
        attempts.len() + parked.len() + announcements.len() + usize::from(switched.is_some())
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Queue {
    lanes: Vec<Lane>,
    by_id: BTreeMap<LaneId, usize>,
    /// Lanes with something ready.
    turn: VecDeque<usize>,
    /// Lanes that want to read on.
    hungry: VecDeque<usize>,
    /// Lanes whose watermark may have moved.
    dirty: Vec<usize>,
    /// Waiting deliveries by due time.
    due: BTreeSet<(Timestamp, usize, EventKey)>,
    draft: Draft,
    /// The draft that is being settled.
    issued: Option<Draft>,
    /// The last draft on disk.
    committed: u64,
    /// What must be asked for before it can be settled.
    asking: Vec<(usize, Asking)>,
    /// What is being asked for.
    asked: BTreeMap<(usize, EventKey), Asking>,
    flying: usize,
    scanning: usize,
    is_paced: bool,
    load: Load,
}

/// A lane wants to know what comes after `after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ScanJob {
    pub(super) lane: usize,
    pub(super) id: LaneId,
    pub(super) source: SourceId,
    pub(super) after: EventKey,
    pub(super) limit: usize,
}

/// A lane wants to know what is blocked behind a subject's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AskJob {
    pub(super) lane: usize,
    pub(super) id: LaneId,
    pub(super) head: EventKey,
    pub(super) subject: Subject,
}

impl Queue {
    /// The lanes as the store remembers them, each with the kinds heard.
    pub(super) fn new(lanes: Vec<(LaneState, Kinds)>, order: Order) -> Self {
        let lanes: Vec<Lane> = lanes
            .into_iter()
            .map(|(state, heard)| Lane::new(state, heard, order))
            .collect();
        let by_id = lanes
            .iter()
            .enumerate()
            .map(|(index, lane)| (lane.id(), index));
        let mut queue = Self {
            by_id: by_id.collect(),
            lanes,
            turn: VecDeque::new(),
            hungry: VecDeque::new(),
            dirty: Vec::new(),
            due: BTreeSet::new(),
            draft: Draft {
                number: 1,
                ..Draft::default()
            },
            issued: None,
            committed: 0,
            asking: Vec::new(),
            asked: BTreeMap::new(),
            flying: 0,
            scanning: 0,
            is_paced: false,
            load: Load::default(),
        };
        for index in 0..queue.lanes.len() {
            queue.load.add(queue.lanes[index].load());
            queue.at(index, |_, _| ());
        }
        queue
    }

    /// Takes in what waited in a lane at the start.
    pub(super) fn restore(&mut self, lane: usize, parked: Vec<Parked>) {
        let dues = self.at(lane, |lane, draft| lane.restore(parked, draft));
        self.due
            .extend(dues.into_iter().map(|(due, key)| (due, lane, key)));
    }

    /// A lane's source committed events.
    pub(super) fn poke(&mut self, lane: usize) {
        // Who hears nothing has no lane, and is poked to look around all the same.
        if lane < self.lanes.len() {
            self.at(lane, |lane, _| lane.poke());
        }
    }

    /// A lane's source made a small commit, and these are its events: taken in at once by a lane
    /// that has read everything before them, if there is room; else they are read like others.
    pub(super) fn offer(&mut self, lane: usize, fresh: &Fresh) {
        let is_roomy = self.has_room_for(fresh.events.len());
        self.at(lane, |lane, draft| {
            if !is_roomy || !lane.offer(fresh, draft) {
                lane.poke();
            }
        });
    }

    /// Whether so many more events may be read.
    fn has_room_for(&self, events: usize) -> bool {
        self.load.window + (self.scanning * WINDOW + events) as u64 <= WINDOWS_MAX
            && self.load.waiting < PARKED_MAX
            && self.draft.len() < DRAFT_MAX
    }

    /// Whether lanes want to read on, now or when they may.
    pub(super) fn is_hungry(&self) -> bool {
        !self.hungry.is_empty()
    }

    /// Whether there is something to read now.
    pub(super) fn wants_to_read(&self) -> bool {
        !self.hungry.is_empty() && self.scanning < SCANS_MAX && self.has_room_for(WINDOW)
    }

    /// What is to be read now.
    pub(super) fn scans(&mut self) -> Vec<ScanJob> {
        let mut jobs = Vec::new();
        while self.scanning < SCANS_MAX && self.has_room_for(WINDOW) {
            let Some(index) = self.hungry.pop_front() else {
                break;
            };
            let lane = &mut self.lanes[index];
            lane.listed.hungry = false;
            if !lane.wants_scan() {
                continue;
            }
            let (after, limit) = lane.begin_scan();
            let (id, source) = (lane.id(), lane.source());
            self.scanning += 1;
            jobs.push(ScanJob {
                lane: index,
                id,
                source,
                after,
                limit,
            });
        }
        jobs
    }

    /// What was read; `None`: it failed.
    pub(super) fn scanned(&mut self, job: ScanJob, events: Option<Vec<Scanned>>) {
        self.scanning -= 1;
        self.at(job.lane, |lane, draft| match events {
            Some(events) => lane.scanned(events, job.limit, draft),
            None => lane.scan_failed(),
        });
    }

    /// Attempts to make now, in turn, until `concurrency` of them are in flight. `grant` is asked
    /// before each whether it may be made, and told whether its lane has a backlog; lanes that may
    /// not keep their turn.
    pub(super) fn starts(
        &mut self,
        now: Timestamp,
        concurrency: usize,
        grant: &mut dyn FnMut(Lag) -> bool,
    ) -> Vec<(usize, Start)> {
        self.wake(now);
        let (mut starts, mut held) = (Vec::new(), Vec::new());
        while self.flying < concurrency
            && let Some(index) = self.turn.pop_front()
        {
            let lane = &mut self.lanes[index];
            if lane.is_ready() && !grant(lane.lag()) {
                held.push(index);
                continue;
            }
            lane.listed.turn = false;
            if let Some(start) = self.at(index, |lane, _| lane.start()) {
                self.flying += 1;
                starts.push((index, start));
            }
        }
        self.is_paced = !held.is_empty();
        for index in held.into_iter().rev() {
            self.turn.push_front(index);
        }
        starts
    }

    /// The attempt to make now if there may be only one: that of the oldest event.
    pub(super) fn start_oldest(&mut self, now: Timestamp) -> Option<(usize, Start)> {
        self.wake(now);
        self.is_paced = false;
        let ready = self.turn.iter().filter_map(|index| {
            let earliest = self.lanes[*index].earliest()?;
            Some((earliest, *index))
        });
        let (_, index) = ready.min()?;
        let start = self.at(index, |lane, _| lane.start_earliest())?;
        self.flying += 1;
        Some((index, start))
    }

    /// What is due may be attempted.
    fn wake(&mut self, now: Timestamp) {
        while let Some(&(due, index, key)) = self.due.first()
            && due <= now
        {
            self.due.pop_first();
            self.at(index, |lane, _| lane.wake(key));
        }
    }

    /// Whether there is something to attempt.
    pub(super) fn is_ready(&self) -> bool {
        self.turn.iter().any(|index| self.lanes[*index].is_ready())
    }

    /// Whether lanes were ready that may not start yet.
    pub(super) fn is_paced(&self) -> bool {
        self.is_paced
    }

    /// An attempt that could not be made.
    pub(super) fn unstart(&mut self, lane: usize, start: Start) {
        self.flying -= 1;
        self.at(lane, |lane, _| lane.unstart(start));
    }

    /// An attempt was made; its slot is free.
    pub(super) fn finished(&mut self, lane: usize, key: EventKey, attempt: Attempt, then: Then) {
        self.flying -= 1;
        let asking = self.at(lane, |lane, draft| lane.finished(key, attempt, then, draft));
        if let Some(asking) = asking {
            self.asking.push((lane, asking));
        }
        if let Then::Retry(due) = then {
            self.due.insert((due, lane, key));
        }
    }

    /// An operational event to ring along with what is settled next.
    pub(super) fn announce(&mut self, announcement: Announcement) {
        self.draft.settling.announcements.push(announcement);
    }

    /// Makes it last whether the endpoint is rung: what is written later holds.
    pub(super) fn switch(&mut self, endpoint: Name, is_enabled: bool) {
        self.draft.settling.switched = Some((endpoint, is_enabled));
    }

    /// Keeps how an endpoint does; `None`: it does not fail.
    pub(super) fn note(&mut self, endpoint: Name, failing: Option<Failing>) {
        self.draft.settling.health = Some((endpoint, failing));
    }

    /// What must be asked of the store now.
    pub(super) fn asks(&mut self) -> Vec<AskJob> {
        let committed = self.committed;
        let due = self
            .asking
            .extract_if(.., |(_, asking)| asking.after <= committed);
        let mut jobs = Vec::new();
        for (lane, asking) in due {
            let head = asking.row.delivery.event;
            let subject = asking.row.subject.clone();
            jobs.push(AskJob {
                lane,
                id: asking.row.delivery.lane,
                head,
                subject,
            });
            self.asked.insert((lane, head), asking);
        }
        jobs
    }

    /// The store told what is blocked behind a head.
    pub(super) fn answered(&mut self, job: &AskJob, next: Option<Parked>, now: Timestamp) {
        if let Some(Asking { row, .. }) = self.asked.remove(&(job.lane, job.head)) {
            self.at(job.lane, |lane, draft| lane.answered(row, next, now, draft));
        }
    }

    /// The store could not tell; it is asked again.
    pub(super) fn unanswered(&mut self, job: &AskJob) {
        if let Some(asking) = self.asked.remove(&(job.lane, job.head)) {
            self.asking.push((job.lane, asking));
        }
    }

    /// What is to be settled now, if nothing is being settled. Watermarks alone are handed out
    /// only by [`Queue::flush`]: a restart finds its way without them.
    pub(super) fn batch(&mut self) -> Option<Settling> {
        if self.draft.len() == 0 {
            return None;
        }
        self.flush()
    }

    /// As [`Queue::batch`], but also if only watermarks have moved.
    pub(super) fn flush(&mut self) -> Option<Settling> {
        if self.issued.is_some() {
            return None;
        }
        self.issue()
    }

    /// Whether [`Queue::flush`] may have something to hand out.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() && self.issued.is_none()
    }

    fn issue(&mut self) -> Option<Settling> {
        for index in std::mem::take(&mut self.dirty) {
            let lane = &mut self.lanes[index];
            lane.listed.dirty = false;
            if let Some(watermark) = lane.advance() {
                self.draft.settling.watermarks.push((lane.id(), watermark));
            }
        }
        if self.draft.len() == 0 && self.draft.settling.watermarks.is_empty() {
            return None;
        }
        let next = Draft {
            number: self.draft.number + 1,
            ..Draft::default()
        };
        let issued = std::mem::replace(&mut self.draft, next);
        let settling = issued.settling.clone();
        self.issued = Some(issued);
        Some(settling)
    }

    /// What could not be settled, to be tried again.
    pub(super) fn again(&self) -> Option<Settling> {
        self.issued.as_ref().map(|issued| issued.settling.clone())
    }

    /// What was handed out is on disk.
    pub(super) fn committed(&mut self) -> Vec<Settled> {
        let Some(issued) = self.issued.take() else {
            return Vec::new();
        };
        self.committed = issued.number;
        for row in &issued.settling.attempts {
            if let Then::Retry(_) = row.then {
                continue;
            }
            if let Some(&index) = self.by_id.get(&row.delivery.lane) {
                self.at(index, |lane, _| lane.settled(row.delivery.event));
            }
        }
        issued.settling.attempts
    }

    /// When the next waiting delivery is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _, _)| *due)
    }

    /// Attempts in flight.
    pub(super) fn flying(&self) -> usize {
        self.flying
    }

    /// How much all lanes hold together.
    pub(super) fn load(&self) -> Load {
        self.load
    }

    /// Whether [`Queue::batch`] may have something to hand out.
    pub(super) fn is_drafted(&self) -> bool {
        self.draft.len() > 0
    }

    /// Whether outcomes are not on disk yet.
    pub(super) fn is_unsettled(&self) -> bool {
        let is_asking = !self.asking.is_empty() || !self.asked.is_empty();
        self.issued.is_some() || is_asking || self.draft.len() > 0
    }

    /// When the oldest event that is not settled was committed.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.lanes.iter().filter_map(Lane::oldest).min()
    }

    /// Lanes whose count of what was not read yet may be wrong, at most `limit`.
    pub(super) fn behind(&self, limit: usize) -> Vec<(usize, SourceId)> {
        let behind = self
            .lanes
            .iter()
            .enumerate()
            .filter(|(_, lane)| lane.is_behind());
        behind
            .map(|(index, lane)| (index, lane.source()))
            .take(limit)
            .collect()
    }

    /// Corrects a lane's count; `state` was read just now.
    pub(super) fn recount(&mut self, lane: usize, state: &LaneState) {
        self.at(lane, |lane, _| lane.recount(state));
    }

    /// Lets `act` change a lane, and keeps totals and lists right.
    fn at<R>(&mut self, index: usize, act: impl FnOnce(&mut Lane, &mut Draft) -> R) -> R {
        let lane = &mut self.lanes[index];
        let before = lane.load();
        let result = act(lane, &mut self.draft);
        self.load.add(lane.load());
        self.load.subtract(before);
        if lane.is_ready() && !std::mem::replace(&mut lane.listed.turn, true) {
            self.turn.push_back(index);
        }
        if lane.wants_scan() && !std::mem::replace(&mut lane.listed.hungry, true) {
            self.hungry.push_back(index);
        }
        if !std::mem::replace(&mut lane.listed.dirty, true) {
            self.dirty.push(index);
        }
        result
    }
}

impl Load {
    /// Deliveries not settled yet.
    pub(super) fn pending(&self) -> u64 {
        self.backlog + self.window + self.parked
    }

    fn add(&mut self, other: Self) {
        self.backlog += other.backlog;
        self.window += other.window;
        self.waiting += other.waiting;
        self.parked += other.parked;
        self.stuck += other.stuck;
    }

    fn subtract(&mut self, other: Self) {
        self.backlog -= other.backlog;
        self.window -= other.window;
        self.waiting -= other.waiting;
        self.parked -= other.parked;
        self.stuck -= other.stuck;
    }
}

#[cfg(test)]
mod tests;
