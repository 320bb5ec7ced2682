//! One endpoint's view of one source's events, as it moves on. Pure.
//!
//! Decides which events may be attempted now, which wait behind an earlier one of their subject,
//! what of that must be parked, and how far the watermark may go. Leaves turns between lanes and
//! the collecting of what is to be settled to [`super::queue`], outcomes to [`super::verdict`].
//!
//! What keeps the promises:
//! - An event is on disk as settled or parked before, or in the same transaction as, the watermark
//!   passes it. Everything in `window` is after the watermark, or is being settled with it.
//! - A subject with blocked rows always has exactly one waiting row, its *head*: when a head is
//!   done, the same transaction makes the next blocked row the head. So what [`Store::waiting`]
//!   tells after a restart names every stuck subject.
//!
//! [`Store::waiting`]: crate::store::Store::waiting

mod outcomes;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::config::Order;
use crate::detect::Subject;
use crate::event::EventKey;
use crate::store::{DeliveryId, FRESH_MAX, Fresh, LaneId, LaneState, Parked, Scanned, SourceId};
use crate::time::Timestamp;

pub(super) use words::{Asking, Kinds, Lag, Load, Start};
use words::{Line, Slot, Stage, Waiting};

use super::queue::Draft;

/// Most unsettled events of a lane in memory: what keeps a fast endpoint busy for some ten
/// milliseconds, while a batch is settled and the next events are read.
pub(super) const WINDOW: usize = 256;
/// A scan brings at least so many, so that a full window is not topped up event by event.
const SCAN_MIN: usize = WINDOW / 4;
/// Most waiting deliveries of a lane, each of another subject where order is kept; beyond it the
/// lane reads no further until some are settled. [`crate::store::Store::waiting`] gives no more at
/// once, and all of them must be known after a restart.
pub(super) const WAITING_MAX: usize = 4_096;
/// How many events a lane goes ahead of one that is slow: what a restart has to skip, one by one.
const SPAN_MAX: u64 = 32_768;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Lane {
    id: LaneId,
    source: SourceId,
    heard: Kinds,
    order: Order,
    /// Every event up to here was read.
    cursor: EventKey,
    /// What was last handed over to be settled.
    watermark: EventKey,
    /// Events after the cursor that were settled or parked before the start.
    known: BTreeSet<EventKey>,
    /// Events that were read and are neither settled nor parked.
    window: BTreeMap<EventKey, Slot>,
    /// Parked deliveries with a due time.
    waiting: BTreeMap<EventKey, Waiting>,
    /// Subjects with something in the window or parked; where order is kept.
    lines: HashMap<Subject, Line>,
    /// What may be attempted, in turn.
    ready: VecDeque<EventKey>,
    /// Events of the window ever met.
    met: u64,
    /// Heard events after the cursor, as far as was counted.
    backlog: u64,
    /// When the first of them was committed, at the earliest.
    unread: Option<Timestamp>,
    /// Parked rows, blocked ones included.
    parked: u64,
    scan: Scan,
    /// More was waiting at the start than this lane can know: it reads nothing new.
    is_crowded: bool,
    /// In which of the queue's lists it stands.
    pub(super) listed: Listed,
}

/// Lists of [`super::queue::Queue`] that name a lane at most once.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) turn: bool,
    pub(super) hungry: bool,
    pub(super) dirty: bool,
}

/// Whether there is something to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scan {
    /// Everything was read.
    Done,
    /// There may be events after the cursor.
    Wanted,
    /// Being read; `again` when more was committed meanwhile.
    Running { again: bool },
}

impl Lane {
    /// A lane as the store remembers it.
    pub(super) fn new(state: LaneState, heard: Kinds, order: Order) -> Self {
        let (backlog, unread) = backlog(&state, heard);
        let scan = if state.ahead.is_empty() {
            Scan::Done
        } else {
            Scan::Wanted
        };
        Self {
            id: state.id,
            source: state.source,
            heard,
            order,
            cursor: state.watermark,
            watermark: state.watermark,
            known: state.settled.into_iter().collect(),
            window: BTreeMap::new(),
            waiting: BTreeMap::new(),
            lines: HashMap::new(),
            ready: VecDeque::new(),
            met: 0,
            backlog,
            unread,
            parked: state.parked,
            scan,
            is_crowded: false,
            listed: Listed::default(),
        }
    }

    pub(super) fn id(&self) -> LaneId {
        self.id
    }

    pub(super) fn source(&self) -> SourceId {
        self.source
    }

    /// Takes in what waited at the start, and gives back when each is due.
    ///
    /// Where order is kept only the earliest of a subject may wait. Others are left from a time
    /// when it was not kept: they are blocked behind the earliest from now on. Blocked rows left
    /// from a time when order was kept are drained, one after the other.
    pub(super) fn restore(
        &mut self,
        mut parked: Vec<Parked>,
        draft: &mut Draft,
    ) -> Vec<(Timestamp, EventKey)> {
        self.is_crowded = parked.len() >= WAITING_MAX;
        // With rows that this lane cannot know of, any subject may have some behind it.
        let behind = self.is_crowded || self.parked > parked.len() as u64;
        parked.sort_by_key(|parked| parked.event);
        let mut dues = Vec::with_capacity(parked.len());
        for row in parked {
            match self.lines.get_mut(&row.subject) {
                Some(Line::Stuck {
                    behind,
                    draft: last,
                    ..
                }) if self.order == Order::Subject => {
                    *behind = true;
                    *last = draft.number;
                    draft
                        .settling
                        .parked
                        .push((self.id, Parked { due: None, ..row }));
                    continue;
                }
                None if self.order == Order::Subject || behind => {
                    let head = Line::Stuck {
                        head: row.event,
                        behind,
                        draft: 0,
                    };
                    self.lines.insert(row.subject.clone(), head);
                }
                _ => {}
            }
            dues.push((row.due.unwrap_or_default(), row.event));
            self.waiting
                .insert(row.event, Waiting::of(row, Stage::Held));
        }
        dues
    }

    /// There may be events after the cursor.
    pub(super) fn poke(&mut self) {
        self.scan = match self.scan {
            Scan::Running { .. } => Scan::Running { again: true },
            Scan::Done | Scan::Wanted => Scan::Wanted,
        };
    }

    /// Takes in the events of a commit, if everything before it was read and there is room for
    /// them; else nothing happens and it says so.
    pub(super) fn offer(&mut self, fresh: &Fresh, draft: &mut Draft) -> bool {
        let is_next = self.scan == Scan::Done && self.cursor >= fresh.after;
        if !is_next || !self.has_room_for(fresh.events.len()) {
            return false;
        }
        for event in &*fresh.events {
            // Read already, by a scan that was asked for before.
            if event.key > self.cursor {
                self.take(event.clone(), draft);
            }
        }
        true
    }

    /// Room for events, as many as [`Lane::begin_scan`] would ask for.
    fn room(&self) -> usize {
        let window = self.window.len();
        let waiting = self.waiting.len();
        (WINDOW.saturating_sub(window)).min(WAITING_MAX.saturating_sub(waiting + window + 1))
    }

    pub(super) fn wants_scan(&self) -> bool {
        self.scan == Scan::Wanted && self.has_room_for(SCAN_MIN)
    }

    fn has_room_for(&self, events: usize) -> bool {
        let first = self.window.first_key_value();
        let span = first.map_or(0, |(_, slot)| self.met - slot.nth);
        self.room() >= events && span < SPAN_MAX && !self.is_crowded
    }

    /// After which event to read, and at most how many.
    pub(super) fn begin_scan(&mut self) -> (EventKey, usize) {
        self.scan = Scan::Running { again: false };
        (self.cursor, self.room())
    }

    /// The scan failed; it is wanted again.
    pub(super) fn scan_failed(&mut self) {
        self.scan = Scan::Wanted;
    }

    /// Takes in what was read.
    pub(super) fn scanned(&mut self, events: Vec<Scanned>, limit: usize, draft: &mut Draft) {
        let is_all = events.len() < limit && self.scan == (Scan::Running { again: false });
        self.scan = if is_all { Scan::Done } else { Scan::Wanted };
        for event in events {
            self.take(event, draft);
        }
        if is_all {
            self.backlog = 0;
            self.known.clear();
        }
    }

    fn take(&mut self, event: Scanned, draft: &mut Draft) {
        self.cursor = event.key;
        // What comes after it was committed no earlier.
        self.unread = self.unread.max(Some(event.at));
        if self.known.remove(&event.key) || !self.heard.contains(event.kind) {
            return;
        }
        self.backlog = self.backlog.saturating_sub(1);
        self.meet(event, draft);
    }

    fn meet(&mut self, event: Scanned, draft: &mut Draft) {
        let key = event.key;
        let mut slot = Slot {
            kind: event.kind,
            subject: event.subject,
            at: event.at,
            event: event.event,
            stage: Stage::Ready,
            nth: self.met,
        };
        if self.order == Order::Subject {
            match self.lines.get_mut(&slot.subject) {
                Some(Line::Stuck {
                    behind,
                    draft: last,
                    ..
                }) => {
                    *behind = true;
                    *last = draft.number;
                    self.parked += 1;
                    draft.settling.parked.push((self.id, slot.parked(key)));
                    return;
                }
                Some(Line::Moving { followers } | Line::Leaving { followers }) => {
                    slot.stage = Stage::Held;
                    followers.push_back(key);
                }
                None => {
                    let followers = VecDeque::new();
                    self.lines
                        .insert(slot.subject.clone(), Line::Moving { followers });
                }
            }
        }
        if slot.stage == Stage::Ready {
            self.ready.push_back(key);
        }
        self.met += 1;
        self.window.insert(key, slot);
    }

    pub(super) fn lag(&self) -> Lag {
        if self.window.len() > FRESH_MAX {
            Lag::Backlog
        } else {
            Lag::Fresh
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The earliest event of which an attempt may be made.
    pub(super) fn earliest(&self) -> Option<EventKey> {
        self.ready.iter().min().copied()
    }

    /// The next attempt that may be made.
    pub(super) fn start(&mut self) -> Option<Start> {
        let key = self.ready.pop_front()?;
        self.begin(key)
    }

    /// The attempt of the earliest event of which one may be made.
    pub(super) fn start_earliest(&mut self) -> Option<Start> {
        let key = self.earliest()?;
        self.ready.retain(|ready| *ready != key);
        self.begin(key)
    }

    fn begin(&mut self, key: EventKey) -> Option<Start> {
        let delivery = self.delivery(key);
        if let Some(slot) = self.window.get_mut(&key) {
            slot.stage = Stage::Flying;
            return Some(Start {
                delivery,
                kind: slot.kind,
                attempts: 0,
                earlier: 0,
                at: slot.at,
                event: slot.event.take(),
            });
        }
        let waiting = self.waiting.get_mut(&key)?;
        waiting.stage = Stage::Flying;
        Some(Start {
            delivery,
            kind: waiting.kind,
            attempts: waiting.attempts,
            earlier: waiting.earlier,
            at: waiting.at,
            event: None,
        })
    }

    /// An attempt that was not made after all; it is the next again.
    pub(super) fn unstart(&mut self, start: Start) {
        let key = start.delivery.event;
        if let Some(slot) = self.window.get_mut(&key) {
            slot.stage = Stage::Ready;
            slot.event = start.event;
        } else if let Some(waiting) = self.waiting.get_mut(&key) {
            waiting.stage = Stage::Ready;
        }
        self.ready.push_front(key);
    }

    fn delivery(&self, event: EventKey) -> DeliveryId {
        let lane = self.id;
        DeliveryId { lane, event }
    }

    /// A waiting delivery is due.
    pub(super) fn wake(&mut self, key: EventKey) {
        if let Some(waiting) = self.waiting.get_mut(&key)
            && waiting.stage == Stage::Held
        {
            waiting.stage = Stage::Ready;
            self.ready.push_back(key);
        }
    }

    /// The watermark, if it can go further than was handed over: everything before the first event
    /// that is not done.
    pub(super) fn advance(&mut self) -> Option<EventKey> {
        let open = self
            .window
            .iter()
            .find(|(_, slot)| slot.stage != Stage::Settling);
        let watermark = match open {
            Some((first, _)) => EventKey::from_number(first.number() - 1),
            None => self.cursor,
        };
        let moves = watermark > self.watermark;
        self.watermark = self.watermark.max(watermark);
        moves.then_some(watermark)
    }

    /// Corrects the count of what was not read yet; `state` was read just now.
    pub(super) fn recount(&mut self, state: &LaneState) {
        if self.scan != Scan::Done {
            let (backlog, unread) = backlog(state, self.heard);
            self.backlog = backlog.saturating_sub(self.window.len() as u64);
            self.unread = unread;
        }
    }

    /// Whether [`Lane::recount`] could tell something.
    pub(super) fn is_behind(&self) -> bool {
        self.scan != Scan::Done
    }

    /// When the earliest event that is not settled was committed.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let window = self.window.first_key_value().map(|(_, slot)| slot.at);
        let waiting = self
            .waiting
            .first_key_value()
            .map(|(_, waiting)| waiting.at);
        let unread = self.unread.filter(|_| self.backlog > 0);
        window.into_iter().chain(waiting).chain(unread).min()
    }

    pub(super) fn load(&self) -> Load {
        let stuck = match self.order {
            Order::Subject => self.waiting.len() as u64,
            Order::None => 0,
        };
        Load {
            backlog: self.backlog,
            window: self.window.len() as u64,
            waiting: self.waiting.len() as u64,
            parked: self.parked,
            stuck,
        }
    }
}

/// Heard events after the watermark that are neither settled nor parked, and when the first of those
/// that are heard was committed.
fn backlog(state: &LaneState, heard: Kinds) -> (u64, Option<Timestamp>) {
    let ahead = state.ahead.iter();
    let ahead = ahead.filter(|ahead| heard.contains(ahead.kind));
    let count: u64 = ahead.clone().map(|ahead| ahead.count).sum();
    let first = ahead.map(|ahead| ahead.first).min();
    (count.saturating_sub(state.settled.len() as u64), first)
}
