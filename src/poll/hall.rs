//! Where everyone sits: the seats of all sources, and whose turn it is.
//!
//! Keeps the agenda's places and their occupants together, so that a place is never given away
//! before its last poll ended. Pure but for being shared; leaves the turns to [`super::agenda`].

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::watch;

use super::Polled;
use super::agenda::{Agenda, Ticket, Urge};
use super::pools::{Joining, Left, Pools, Report, Rhythm, Told};
use super::seat::{Seat, Watched};
use crate::event::Partition;
use crate::schedule::adaptive::Learnt;
use crate::store::SnapshotId;
use crate::time::Timestamp;

/// All seats.
#[derive(Debug)]
pub(super) struct Hall {
    agenda: Agenda,
    /// Who is polled before it must be.
    pools: Pools,
    /// By their index in the agenda.
    seats: Vec<Option<Arc<Seat>>>,
    /// By [`Watched::index`].
    sources: Vec<Vec<u32>>,
    /// Snapshots of those who left while their last poll is at work.
    leaving: HashSet<SnapshotId>,
    /// When the scheduler looks by itself.
    looks_at: Timestamp,
    /// How many were pulled forward at the last look.
    pulled: usize,
}

/// A poll that begins.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) ticket: Ticket,
    pub(super) seat: Arc<Seat>,
}

/// Where somebody who asked for a poll hears of it.
pub(super) type Heard = watch::Receiver<Option<Polled>>;

/// How a seat stands.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) seat: Arc<Seat>,
    /// When it is due.
    pub(super) due: Option<Timestamp>,
    /// Whether its poll is at work.
    pub(super) polling: bool,
    /// How often it is polled, where that follows from how often it changes.
    pub(super) rhythm: Option<Rhythm>,
}

impl Hall {
    /// A hall for so many sources on lines of so many polls at once, without seats.
    pub(super) fn new(lines: impl IntoIterator<Item = usize>, sources: usize) -> Self {
        let lines: Vec<usize> = lines.into_iter().collect();
        Self {
            pools: Pools::new(lines.iter().copied()),
            agenda: Agenda::new(lines),
            seats: Vec::new(),
            sources: vec![Vec::new(); sources],
            leaving: HashSet::new(),
            looks_at: Timestamp::default(),
            pulled: 0,
        }
    }

    /// Seats somebody, who may be `adaptive`, unless who had the same snapshot before is not gone yet; whether it did. A
    /// snapshot never has two polls at work.
    pub(super) fn seat(
        &mut self,
        seat: Arc<Seat>,
        due: Option<Timestamp>,
        adaptive: Option<(Joining, Timestamp)>,
    ) -> bool {
        if self.leaving.contains(&seat.snapshot) {
            seat.leave();
            return false;
        }
        let (source, line) = (seat.source.index, seat.source.line);
        let index = self.agenda.add(line, source, due);
        if let Some((joining, now)) = adaptive {
            self.pools.join(index, line, joining, now);
        }
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
            self.pools.leave(index as usize);
            self.agenda.remove(index as usize);
        }
        self.sources[source.index] = stay;
        self.leaving.extend(gone);
        self.clear();
    }

    /// Makes ready whoever is due, and lets the next one begin.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<Begun> {
        self.pulled = 0;
        while let Some(index) = self.pools.release(now) {
            if self.agenda.hasten(index, now) {
                self.pulled += 1;
            } else {
                self.pools.missed(index);
            }
        }
        self.agenda.advance(now);
        let ticket = self.agenda.start(now)?;
        self.pools.begun(ticket.index);
        let seat = self.seats[ticket.index].clone();
        self.clear();
        let seat = seat.expect("only occupied places are ready");
        Some(Begun { ticket, seat })
    }

    /// A poll of a seat on `line` ended.
    pub(super) fn finish(
        &mut self,
        (index, line): (usize, usize),
        next: Option<Timestamp>,
        report: Report,
        now: Timestamp,
    ) {
        self.pools.ended(index, line, report, now);
        self.agenda.finish(index, next);
        self.clear();
    }

    /// Whether the scheduler would look too late by itself, after a look that let `begun` begin.
    pub(super) fn is_late(&self, begun: Option<&Begun>) -> bool {
        let waiting = self.pulled > usize::from(begun.is_some());
        waiting || self.next_look().is_some_and(|next| next < self.looks_at)
    }

    /// What a seat's poll would teach its pool that says this.
    pub(super) fn foresee(&mut self, index: usize, told: Told, now: Timestamp) -> Option<Learnt> {
        self.pools.foresee(index, told, now)
    }

    /// Lines whose seats share polls.
    pub(super) fn shared(&self) -> Vec<usize> {
        self.pools.shared().collect()
    }

    /// From now on so much is left on a line by its budget, if it has one; `steady` polls a second
    /// are made there whatever happens.
    pub(super) fn share(&mut self, line: usize, left: Option<Left>, steady: f64) {
        self.pools.share(line, left, steady);
    }

    /// How many seats a source has.
    pub(super) fn count(&self, source: &Watched) -> usize {
        self.sources[source.index].len()
    }

    /// When to look again, if nobody comes before.
    pub(super) fn next_look(&self) -> Option<Timestamp> {
        let due = self.agenda.next_look().into_iter();
        due.chain(self.pools.next()).min()
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
            let (pulled, rhythm) = self.pools.standing(*index as usize).unzip();
            Some(Standing {
                seat: Arc::clone(seat),
                due: due.map(|due| pulled.flatten().map_or(due, |pulled| pulled.min(due))),
                polling,
                rhythm,
            })
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
        assert!(hall.seat(first.clone(), Some(at(1)), None));
        let begun = hall.next(at(1)).expect("is due");
        hall.unseat(&first.source, &[first.snapshot].into());
        assert!(hall.standing(&first.source).is_empty());

        // The same snapshot, as the store gives it to who is back.
        assert!(!hall.seat(seat(), Some(at(1)), None));
        assert!(hall.next(at(2)).is_none());
        let report = Report {
            told: Told::Nothing,
            requests: 1,
        };
        hall.finish((begun.ticket.index, 0), Some(at(2)), report, at(2));
        assert!(hall.seat(seat(), Some(at(1)), None));
        assert!(hall.next(at(2)).is_some());
    }
}
