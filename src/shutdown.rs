//! The one signal that ends a doorbell, and the phases it passes through.

use tokio::sync::watch;

/// How far a shutdown has come. Phases only move forward.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Working.
    Running,
    /// Not ready for new callers, but still answering them, with `Connection: close`. Polls and
    /// deliveries in flight finish; none begins.
    Draining,
    /// Accepting nobody; what is in flight finishes.
    Stopping,
}

/// The side that decides. Dropping it counts as [`Phase::Stopping`].
#[derive(Debug)]
pub struct Trigger(watch::Sender<Phase>);

/// The side that obeys. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Phase>);

/// A trigger and what listens to it.
#[must_use]
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Moves on to `phase`; a phase already passed is left alone.
    pub fn enter(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let moves = *now < phase;
            *now = phase.max(*now);
            moves
        });
    }
}

impl Shutdown {
    /// How far it has come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.0.has_changed() {
            Ok(_) => *self.0.borrow(),
            Err(_) => Phase::Stopping,
        }
    }

    /// Whether a drain has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.phase() >= Phase::Draining
    }

    /// Resolves once `phase` is reached.
    pub async fn reached(&self, phase: Phase) {
        let mut receiver = self.0.clone();
        // The borrow guard of `wait_for` is not Send, so it ends inside this expression; an error
        // means that the trigger is gone, which is the last phase.
        let _ = receiver.wait_for(|now| *now >= phase).await.map(|_| ());
    }
}
