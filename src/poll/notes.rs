//! What polls that found nothing new have learnt: it reaches the disk a little later, many at once.
//!
//! Decides when that is, and that nothing older ever overwrites what a commit wrote: a seat's
//! memory is either noted or committed, one at a time. What is lost with a crash before it is
//! noted, the next poll learns again.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Room;
use super::seat::{Mind, Seat};
use crate::shutdown::Phase;
use crate::store::{Note, StoreError};

/// How long notes are collected: a hundred polls a second cost one transaction a second.
const COLLECT: Duration = Duration::from_secs(1);

/// Most notes of one transaction; what it holds up others, as a chunk of a large poll does.
const NOTES_MAX: usize = 256;

/// Seats whose memory is to be noted. A seat is here twice only if it committed in between.
#[derive(Debug, Default)]
pub(super) struct Notes {
    seats: Mutex<Vec<Arc<Seat>>>,
    /// Rung when the first seat comes.
    begun: Notify,
    /// Rung when notes are on disk, or are not.
    settled: Notify,
}

/// Who brings a seat's memory to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Desk {
    /// Nobody.
    Free,
    /// It waits to be noted.
    Waiting,
    /// It is being noted; `again`: it changed meanwhile.
    Noting { again: bool },
    /// Its poll commits.
    Committing,
}

impl Desk {
    /// A poll is over, however it ended.
    pub(super) fn release(&mut self) {
        if *self == Self::Committing {
            *self = Self::Free;
        }
    }
}

impl Notes {
    /// Takes a seat, whose `mind` is locked by the caller.
    pub(super) fn take(&self, seat: &Arc<Seat>, mind: &mut Mind) {
        match mind.desk {
            Desk::Free | Desk::Committing => {
                mind.desk = Desk::Waiting;
                let mut seats = self.seats.lock();
                seats.push(Arc::clone(seat));
                if seats.len() == 1 {
                    self.begun.notify_one();
                }
            }
            Desk::Noting { .. } => mind.desk = Desk::Noting { again: true },
            Desk::Waiting => {}
        }
    }

    /// Makes sure that nobody notes a seat's memory until its commit is over.
    pub(super) async fn claim(&self, seat: &Seat) {
        loop {
            let settled = self.settled.notified();
            {
                let mut mind = seat.mind.lock();
                if !matches!(mind.desk, Desk::Noting { .. }) {
                    // If it waits to be noted, the commit does that.
                    mind.desk = Desk::Committing;
                    return;
                }
            }
            settled.await;
        }
    }
}

/// Notes until the drain; who drains calls [`write`] once more when the last poll has ended.
pub(super) async fn keep(room: Arc<Room>) {
    let mut failing = false;
    loop {
        tokio::select! {
            () = room.shutdown.reached(Phase::Draining) => return,
            () = room.notes.begun.notified() => {}
        }
        tokio::select! {
            () = room.shutdown.reached(Phase::Draining) => return,
            () = tokio::time::sleep(COLLECT) => {}
        }
        let outcome = write(&room).await;
        if let (Err(error), false) = (&outcome, failing) {
            tracing::error!("what polls learnt could not be written: {error}");
        }
        failing = outcome.is_err();
    }
}

/// Writes what was collected. What could not be written is noted again after a next poll.
pub(super) async fn write(room: &Room) -> Result<(), StoreError> {
    let seats = std::mem::take(&mut *room.notes.seats.lock());
    for seats in seats.chunks(NOTES_MAX) {
        let (mut written, mut notes) = (Vec::new(), Vec::new());
        for seat in seats {
            let mut mind = seat.mind.lock();
            // Others were committed since.
            if mind.desk == Desk::Waiting {
                mind.desk = Desk::Noting { again: false };
                written.push(seat);
                notes.push(Note {
                    snapshot: seat.snapshot,
                    memory: Arc::clone(&mind.memory),
                });
            }
        }
        let at = room.clock.now();
        let outcome = room.store.note(notes).await;
        for seat in written {
            let mut mind = seat.mind.lock();
            let again = mind.desk == Desk::Noting { again: true };
            mind.desk = Desk::Free;
            mind.written_at = outcome.is_ok().then_some(at);
            if again {
                room.notes.take(seat, &mut mind);
            }
        }
        room.notes.settled.notify_waiters();
        if matches!(outcome, Err(StoreError::Full)) {
            room.hall.lock().agenda().pause(at);
        }
        outcome?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::poll::tests::seat;

    #[tokio::test]
    async fn a_commit_waits_for_the_note_and_what_waits_to_be_noted_is_committed_instead() {
        let (notes, seat) = (Notes::default(), seat());
        notes.take(&seat, &mut seat.mind.lock());
        notes.take(&seat, &mut seat.mind.lock());
        assert_eq!(notes.seats.lock().len(), 1);

        seat.mind.lock().desk = Desk::Noting { again: false };
        let mut claim = Box::pin(notes.claim(&seat));
        assert!(claim.as_mut().now_or_never().is_none());
        seat.mind.lock().desk = Desk::Free;
        notes.settled.notify_waiters();
        claim.await;
        assert_eq!(seat.mind.lock().desk, Desk::Committing);

        // Nothing is noted beside the commit, nor after it what it wrote.
        seat.mind.lock().desk.release();
        assert_eq!(seat.mind.lock().desk, Desk::Free);
        notes.take(&seat, &mut seat.mind.lock());
        notes.claim(&seat).await;
        assert_eq!(seat.mind.lock().desk, Desk::Committing);
    }

    #[test]
    fn what_changes_while_it_is_noted_is_noted_again() {
        let (notes, seat) = (Notes::default(), seat());
        seat.mind.lock().desk = Desk::Noting { again: false };
        notes.take(&seat, &mut seat.mind.lock());
        assert_eq!(seat.mind.lock().desk, Desk::Noting { again: true });
    }
}
