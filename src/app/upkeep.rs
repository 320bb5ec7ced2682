//! What must happen now and then: retention.

use std::time::Duration;

use tokio::time::sleep;

use crate::shutdown::{Phase, Shutdown};
use crate::store::{Retained, Store};

/// How often retention looks for something to delete. Each look is one bounded chunk while there
/// is nothing to do.
const EVERY: Duration = Duration::from_mins(1);
/// Pause between chunks while there is more to delete, so that commits get their turn.
const BETWEEN: Duration = Duration::from_millis(50);

/// Runs until the shutdown stops everything.
pub(super) async fn run(store: Store, shutdown: Shutdown) {
    let mut pause = BETWEEN;
    loop {
        tokio::select! {
            () = sleep(pause) => {}
            () = shutdown.reached(Phase::Draining) => return,
        }
        pause = match store.retain().await {
            Ok(retained) if retained == Retained::default() => EVERY,
            Ok(retained) => {
                tracing::debug!(?retained, "retention deleted");
                BETWEEN
            }
            Err(error) => {
                tracing::error!(%error, "retention failed, it is tried again");
                EVERY
            }
        };
    }
}
