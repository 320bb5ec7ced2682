//! The words in which a lane remembers its deliveries.

use std::collections::VecDeque;

use crate::detect::Subject;
use crate::event::{Event, EventKey, Kind};
use crate::store::{DeliveryId, Parked, Settled};
use crate::time::Timestamp;

/// A set of kinds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::deliver) struct Kinds(u16);

impl Kinds {
    pub(in crate::deliver) fn contains(self, kind: Kind) -> bool {
        self.0 & (1 << kind.number()) != 0
    }

    pub(in crate::deliver) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        let bits = kinds.into_iter().map(|kind| 1 << kind.number());
        Self(bits.fold(0, |all, bit: u16| all | bit))
    }
}

/// Whether a lane keeps up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::deliver) enum Lag {
    /// It rings what was committed just now.
    Fresh,
    /// More waits than a burst of fresh events.
    Backlog,
}

/// How far a delivery in memory has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::deliver) enum Stage {
    /// Waits behind an earlier one, or until it is due.
    Held,
    /// Waits for its promotion to head of its subject to be on disk.
    Promoted,
    /// In `ready`.
    Ready,
    /// Being attempted.
    Flying,
    /// Done, and handed over to be settled.
    Settling,
}

/// An event in the window.
#[derive(Debug)]
pub(in crate::deliver) struct Slot {
    pub(in crate::deliver) kind: Kind,
    pub(in crate::deliver) subject: Subject,
    pub(in crate::deliver) at: Timestamp,
    pub(in crate::deliver) event: Option<Event>,
    pub(in crate::deliver) stage: Stage,
    /// Its number among the events ever met.
    pub(in crate::deliver) nth: u64,
}

/// A parked delivery with a due time.
#[derive(Debug)]
pub(in crate::deliver) struct Waiting {
    pub(in crate::deliver) kind: Kind,
    pub(in crate::deliver) subject: Subject,
    pub(in crate::deliver) at: Timestamp,
    pub(in crate::deliver) attempts: u32,
    pub(in crate::deliver) earlier: u32,
    pub(in crate::deliver) stage: Stage,
}

/// What is known of a subject that is not free.
#[derive(Debug)]
pub(in crate::deliver) enum Line {
    /// Its head is done or attempted first; later events wait in the window.
    Moving { followers: VecDeque<EventKey> },
    /// Its head is parked; later events are parked behind it.
    Stuck {
        head: EventKey,
        /// Whether there may be blocked rows.
        behind: bool,
        /// The last draft that parked one of them.
        draft: u64,
    },
    /// Its parked head is done, and what is blocked behind it is being asked for; events met
    /// meanwhile wait in the window.
    Leaving { followers: VecDeque<EventKey> },
}

/// An attempt that may be made.
#[derive(Debug)]
pub(in crate::deliver) struct Start {
    pub(in crate::deliver) delivery: DeliveryId,
    pub(in crate::deliver) kind: Kind,
    /// Attempts made before.
    pub(in crate::deliver) attempts: u32,
    /// Those of them that count no more for the schedule.
    pub(in crate::deliver) earlier: u32,
    /// When the event was committed.
    pub(in crate::deliver) at: Timestamp,
    /// All of it, unless it must be loaded.
    pub(in crate::deliver) event: Option<Event>,
}

/// A parked head is done; before that can be settled, the store must tell what is behind it.
#[derive(Debug)]
pub(in crate::deliver) struct Asking {
    pub(in crate::deliver) row: Settled,
    /// Not before this draft is on disk.
    pub(in crate::deliver) after: u64,
}

/// How much a lane holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::deliver) struct Load {
    /// Heard events not yet read.
    pub(in crate::deliver) backlog: u64,
    /// Events in the window.
    pub(in crate::deliver) window: u64,
    /// Parked deliveries in memory.
    pub(in crate::deliver) waiting: u64,
    /// Parked deliveries on disk.
    pub(in crate::deliver) parked: u64,
    /// Subjects whose head is parked.
    pub(in crate::deliver) stuck: u64,
}

impl Slot {
    /// The row that blocks it behind its subject's head.
    pub(in crate::deliver) fn parked(self, event: EventKey) -> Parked {
        Parked {
            event,
            kind: self.kind,
            subject: self.subject,
            at: self.at,
            attempts: 0,
            earlier: 0,
            due: None,
        }
    }
}

impl Waiting {
    pub(in crate::deliver) fn of(row: Parked, stage: Stage) -> Self {
        Self {
            kind: row.kind,
            subject: row.subject,
            at: row.at,
            attempts: row.attempts,
            earlier: row.earlier,
            stage,
        }
    }
}
