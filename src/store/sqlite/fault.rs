//! What `SQLite`'s errors mean to the callers of the store.

use rusqlite::ErrorCode;
use rusqlite::ffi;

use crate::store::StoreError;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let rusqlite::Error::SqliteFailure(failure, _) = &error else {
            return Self::Database(error.to_string());
        };
        match (failure.code, failure.extended_code) {
            // The second is how a full disk shows when the journal's index cannot grow.
            (ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_SHMSIZE) => Self::Full,
            (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) => {
                Self::Corrupt(error.to_string())
            }
            _ => Self::Database(error.to_string()),
        }
    }
}

/// Whether a transaction in which this happened is lost for everyone in it.
pub(super) fn ends_transaction(error: &StoreError) -> bool {
    matches!(error, StoreError::Full | StoreError::Corrupt(_))
}
