//! Where everyone sits: the seats of all sources, and whose turn it is.
//!
//! Keeps the agenda's places and their occupants together, so that a place is never given away
//! before its last poll ended. Pure but for being shared; leaves the turns to [`super::agenda`].

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::watch;

use super::Polled;
use super::agenda::{Agenda, Ticket, Urge};
use super::seat::{Seat, Watched};
use crate::event::Partition;
use crate::store::SnapshotId;
use crate::time::Timestamp;

/// All seats.
#[derive(Debug)]
pub(super) struct Hall {
    agenda: Agenda,
    /// By their index in the agenda.
    seats: Vec<Option<Arc<Seat>>>,
    /// By [`Watched::index`].
    sources: Vec<Vec<u32>>,
    /// Snapshots of those who left while their last poll is at work.
    leaving: HashSet<SnapshotId>,
    /// When the scheduler looks by itself.
    looks_at: Timestamp,
}

/// A poll that begins.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) ticket: Ticket,
    pub(super) seat: Arc<Seat>,
}

/// Where somebody who asked for a poll hears of it.
pub(super) type Heard = watch::Receiver<Option<Polled>>;

/// A seat, when it is due, and whether its poll is at work.
pub(super) type Standing = (Arc<Seat>, Option<Timestamp>, bool);

impl Hall {
    /// A hall for so many sources on lines of so many polls at once, without seats.
    pub(super) fn new(lines: impl IntoIterator<Item = usize>, sources: usize) -> Self {
        Self {
            agenda: Agenda::new(lines),
            seats: Vec::new(),
            sources: vec![Vec::new(); sources],
            leaving: HashSet::new(),
            looks_at: Timestamp::default(),
        }
    }

    /// Seats somebody, unless who had the same snapshot before is not gone yet; whether it did. A
    /// snapshot never has two polls at work.
    pub(super) fn seat(&mut self, seat: Arc<Seat>, due: Option<Timestamp>) -> bool {
        if self.leaving.contains(&seat.snapshot) {
            seat.leave();
            return false;
        }
        let source = seat.source.index;
        let index = self.agenda.add(seat.source.line, source, due);
        if index == self.seats.len() {
            self.seats.push(Some(seat));
        } else {
            self.seats[index] = Some(seat);
        }
        self.sources[source].push(number(index));
        true
    }

    /// Lets partitions go, each at the latest when its poll at work ends.
    pub(super) fn unseat(&mut self, source: &Watched, gone: &HashSet<SnapshotId>) {
        let seats = &self.seats;
        let is_gone = |index: &u32| {
            let seat = seats[*index as usize].as_ref();
            seat.is_none_or(|seat| gone.contains(&seat.snapshot))
        };
        let mut stay = std::mem::take(&mut self.sources[source.index]);
        for index in stay.extract_if(.., |index| is_gone(index)) {
            self.agenda.remove(index as usize);
        }
        self.sources[source.index] = stay;
        self.leaving.extend(gone);
        self.clear();
    }

    /// Makes ready whoever is due, and lets the next one begin.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<Begun> {
        self.agenda.advance(now);
        let ticket = self.agenda.start(now)?;
        let seat = self.seats[ticket.index].clone();
        self.clear();
        let seat = seat.expect("only occupied places are ready");
        Some(Begun { ticket, seat })
    }

    /// A poll ended. Whether the scheduler would look too late by itself.
    pub(super) fn finish(&mut self, index: usize, next: Option<Timestamp>) -> bool {
        self.agenda.finish(index, next);
        self.clear();
        next.is_some_and(|next| next < self.looks_at)
    }

    /// The scheduler will look then.
    pub(super) fn looks_at(&mut self, at: Timestamp) {
        self.looks_at = at;
    }

    /// Somebody wants a poll of a source: of this partition, or without one of all, at most
    /// `most`. `Err`: there are so many more.
    pub(super) fn ask(
        &mut self,
        source: &Watched,
        partition: Option<&Partition>,
        most: usize,
    ) -> Result<Vec<Option<Heard>>, usize> {
        let seats = &self.seats;
        let is_meant = |index: &&u32| {
            let seat = seats[**index as usize].as_ref();
            partition.is_none() || seat.map(|seat| &seat.partition) == partition
        };
        let meant = self.sources[source.index].iter().filter(is_meant);
        let meant: Vec<u32> = meant.copied().collect();
        if meant.len() > most {
            return Err(meant.len());
        }
        let heard = meant.into_iter();
        Ok(heard.map(|index| self.agenda.ask(index as usize)).collect())
    }

    /// Callers did something that concerns a source.
    pub(super) fn urge(&mut self, source: &Watched, urge: Urge) {
        // A source that shares with callers is not divided.
        if let Some(index) = self.sources[source.index].first() {
            self.agenda.urge(*index as usize, urge);
        }
    }

    /// Lets those of a source be due now who failed because its upstream was not there.
    pub(super) fn pull_forward(&mut self, source: &Watched, now: Timestamp) {
        for index in &self.sources[source.index] {
            let seat = self.seats[*index as usize].as_ref();
            if seat.is_some_and(|seat| seat.mind.lock().was_cut_off()) {
                self.agenda.hasten(*index as usize, now);
            }
        }
    }

    /// How the seats of a source stand.
    pub(super) fn standing(&self, source: &Watched) -> Vec<Standing> {
        let seats = self.sources[source.index].iter();
        let standing = seats.filter_map(|index| {
            let seat = self.seats[*index as usize].as_ref()?;
            let (due, polling) = self.agenda.stands(*index as usize);
            Some((Arc::clone(seat), due, polling))
        });
        standing.collect()
    }

    /// The turns, for what concerns all of them.
    pub(super) fn agenda(&mut self) -> &mut Agenda {
        &mut self.agenda
    }

    /// Lets go of those who left.
    fn clear(&mut self) {
        for index in self.agenda.vacated() {
            if let Some(seat) = self.seats[index as usize].take() {
                self.leaving.remove(&seat.snapshot);
                seat.leave();
            }
        }
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::tests::seat;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn who_comes_back_waits_until_its_last_poll_has_ended() {
        let mut hall = Hall::new([8], 1);
        let first = seat();
        assert!(hall.seat(first.clone(), Some(at(1))));
        let begun = hall.next(at(1)).expect("is due");
        hall.unseat(&first.source, &[first.snapshot].into());
        assert!(hall.standing(&first.source).is_empty());

        // The same snapshot, as the store gives it to who is back.
        assert!(!hall.seat(seat(), Some(at(1))));
        assert!(hall.next(at(2)).is_none());
        hall.finish(begun.ticket.index, Some(at(2)));
        assert!(hall.seat(seat(), Some(at(1))));
        assert!(hall.next(at(2)).is_some());
    }
}
