//! Where everyone sits: the seats of all sources, and whose turn it is.
//!
//! Keeps the agenda's places and their occupants together, so that a place is never given away
//! before its last poll ended. Pure but for being shared; leaves the turns to [`super::agenda`].

use std::sync::Arc;

use tokio::sync::watch;

use super::Polled;
use super::agenda::{Agenda, Ticket};
use super::seat::{Seat, Watched};
use crate::time::Timestamp;

/// All seats.
#[derive(Debug)]
pub(super) struct Hall {
    agenda: Agenda,
    /// By their index in the agenda.
    seats: Vec<Option<Arc<Seat>>>,
    /// By [`Watched::index`].
    sources: Vec<Vec<u32>>,
    /// When the scheduler looks by itself.
    looks_at: Timestamp,
}

/// A poll that begins.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) ticket: Ticket,
    pub(super) seat: Arc<Seat>,
}

/// A seat, when it is due, and whether its poll is at work.
pub(super) type Standing = (Arc<Seat>, Option<Timestamp>, bool);

impl Hall {
    /// A hall for so many sources on lines of so many polls at once, without seats.
    pub(super) fn new(lines: impl IntoIterator<Item = usize>, sources: usize) -> Self {
        Self {
            agenda: Agenda::new(lines),
            seats: Vec::new(),
            sources: vec![Vec::new(); sources],
            looks_at: Timestamp::default(),
        }
    }

    /// Seats somebody.
    pub(super) fn seat(&mut self, seat: Arc<Seat>, due: Option<Timestamp>) {
        let source = seat.source.index;
        let index = self.agenda.add(seat.source.line, due);
        if index == self.seats.len() {
            self.seats.push(Some(seat));
        } else {
            self.seats[index] = Some(seat);
        }
        self.sources[source].push(number(index));
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

    /// See [`Agenda::ask`]; for every seat of a source.
    pub(super) fn ask(&mut self, source: &Watched) -> Vec<Option<watch::Receiver<Option<Polled>>>> {
        let seats = self.sources[source.index].iter();
        seats
            .map(|index| self.agenda.ask(*index as usize))
            .collect()
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
            self.seats[index as usize] = None;
        }
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
