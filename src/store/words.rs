//! In which words events were told: the verbs that remember it.
//!
//! The words of an attempt are on disk with its outcome. Those of one that was in flight when
//! doorbell ended at once are known because no attempt begins before its endpoint's words are noted.

use super::{Backend, DeliveryId, Store, StoreError, Told};
use crate::event::{EventKey, Written};
use crate::name::Name;

impl Store {
    /// How these deliveries were first told, in their order; `None` for those that were not yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn told(&self, deliveries: Vec<DeliveryId>) -> Result<Vec<Option<Told>>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.told(deliveries).await
    }

    /// Notes how the webhooks of `endpoint` are written from now on; `None`: the usual way. Tells how
    /// those of events up to some may have been written before, in the order in which they may have
    /// been tried: by those who noted other words and did not [`Self::hush`] them.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is noted then.
    pub async fn speak(
        &self,
        endpoint: &Name,
        written: Option<Written>,
    ) -> Result<Vec<(EventKey, Told)>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.speak(endpoint, written).await
    }

    /// Notes that no attempt of `endpoint` is in flight, and that the outcomes of all are on disk.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is noted then.
    pub async fn hush(&self, endpoint: &Name) -> Result<(), StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.hush(endpoint).await
    }
}
