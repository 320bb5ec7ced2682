//! Endpoints that were made over the API: the verbs that keep them.
//!
//! What they were given is a text to the store. Their secrets stand in it as they are: the file is
//! readable by its owner alone.

use super::{Backend, SourceId, Store, StoreError};
use crate::name::Name;
use crate::secret::Secret;
use crate::time::Timestamp;

/// An endpoint that was made over the API.
#[derive(Debug, Clone)]
pub struct StoredEndpoint {
    /// Its name.
    pub name: Name,
    /// What it was given, as JSON, without what signs. A secret, for URLs and headers are.
    pub definition: Secret,
    /// What signs, newest first.
    pub secrets: Vec<StoredSecret>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last given something.
    pub changed_at: Timestamp,
}

/// What signs for an endpoint.
#[derive(Debug, Clone)]
pub struct StoredSecret {
    /// The secret.
    pub secret: Secret,
    /// From when on it signs no more; `None`: it is not to be replaced.
    pub until: Option<Timestamp>,
}

impl Store {
    /// All that were made and not deleted, by name. Secrets that sign no more are left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn endpoints(&self) -> Result<Vec<StoredEndpoint>, StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.endpoints().await
    }

    /// Whether nobody but its owner may read the file, as it was when doorbell made it.
    #[must_use]
    pub fn is_private(&self) -> bool {
        let Backend::Sqlite(store) = &self.backend;
        store.is_private()
    }

    /// Keeps an endpoint. A new one begins switched on, whatever became of another of its name.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is changed then.
    pub async fn keep_endpoint(&self, endpoint: StoredEndpoint) -> Result<(), StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.keep_endpoint(endpoint).await
    }

    /// Deletes an endpoint and its secrets. What was pending for it waits for `retain`, its history
    /// is kept as ever.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is changed then.
    pub async fn delete_endpoint(&self, name: &Name) -> Result<(), StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.delete_endpoint(name).await
    }

    /// An endpoint hears these sources and no others any more: what is pending in its other lanes
    /// holds nothing back from retention.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn hear_only(&self, endpoint: &Name, sources: &[SourceId]) -> Result<(), StoreError> {
        let Backend::Sqlite(store) = &self.backend;
        store.hear_only(endpoint, sources).await
    }
}
