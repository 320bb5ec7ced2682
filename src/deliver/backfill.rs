//! A new endpoint is told what there is, some items at a time, beside everything else that rings.
//!
//! Decides whose turn it is: all that are told something get one step after the other. What a step
//! is, and that it is made once, is the store's question; what was told rings like any event.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::{error, info};

use super::{Deliverer, Roster, SteerError};
use crate::event::Kind;
use crate::store::{Backfill, BackfillStep, Backfillable, SourceId, Store, StoreError};

/// Pause while nobody who is told something takes more: a fraction of what waits for a fast
/// endpoint then.
const PAUSE: Duration = Duration::from_millis(50);

/// Pause after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);

impl Deliverer {
    /// Begins to tell `endpoint` the items of these sources as they are, as events of these kinds
    /// that nobody else hears. Goes on over restarts.
    ///
    /// # Errors
    /// [`SteerError`]; nothing has begun then.
    pub async fn begin_backfills(
        &self,
        endpoint: &str,
        sources: Vec<(SourceId, Kind)>,
    ) -> Result<Backfillable, SteerError> {
        let shown = self.shown(endpoint)?;
        let store = &self.parts.store;
        let begun = store.begin_backfills(&shown.name, sources).await?;
        self.backfilling.notify_one();
        Ok(begun)
    }

    /// How far `endpoint` has been told what there is; nothing of what has come to its end.
    ///
    /// # Errors
    /// [`SteerError`].
    pub async fn backfills(&self, endpoint: &str) -> Result<Vec<Backfill>, SteerError> {
        let shown = self.shown(endpoint)?;
        let mut backfills = self.parts.store.backfills().await?;
        backfills.retain(|backfill| backfill.endpoint == shown.name.as_str());
        Ok(backfills)
    }

    /// Tells `endpoint` no more of what there is. What waits to be delivered already is.
    ///
    /// # Errors
    /// [`SteerError`].
    pub async fn end_backfills(&self, endpoint: &str) -> Result<(), SteerError> {
        let shown = self.shown(endpoint)?;
        let ended = self.parts.store.end_backfills(&shown.name).await?;
        if ended > 0 {
            info!(%endpoint, "endpoint is told no more of what there is, by hand");
        }
        Ok(())
    }
}

/// What tells endpoints what there is.
pub(super) struct Teller {
    pub(super) store: Store,
    pub(super) roster: Arc<Roster>,
    /// Those that are configured.
    pub(super) sources: BTreeSet<SourceId>,
    /// Something has begun.
    pub(super) begun: Arc<Notify>,
}

impl Teller {
    /// Runs until it is dropped.
    pub(super) async fn run(self) {
        loop {
            match self.round().await {
                Ok(Some(true)) => {}
                Ok(Some(false)) => {
                    // Whether something begins meanwhile or not, it is looked again.
                    let _ = timeout(PAUSE, self.begun.notified()).await;
                }
                Ok(None) => self.begun.notified().await,
                Err(error) => {
                    error!(%error, "endpoints cannot be told what there is");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
        }
    }

    /// One step for everybody; whether any came to something. `None`: there is nobody.
    async fn round(&self) -> Result<Option<bool>, StoreError> {
        let backfills = self.store.backfills().await?;
        let mut moved = None;
        for backfill in backfills {
            // Others wait until the configuration has them again.
            let is_served = self.sources.contains(&backfill.source)
                && self.roster.shown.read().contains_key(&*backfill.endpoint);
            if !is_served {
                continue;
            }
            let (endpoint, source) = (&backfill.endpoint, &backfill.source_name);
            let step = self.store.backfill(backfill.lane).await?;
            if let BackfillStep::Ended(items) = step {
                info!(%endpoint, %source, items, "endpoint was told all there is");
            }
            let has_moved = matches!(step, BackfillStep::Told(_) | BackfillStep::Ended(_));
            moved = Some(moved.unwrap_or(false) || has_moved);
        }
        Ok(moved)
    }
}
