//! Where heavy work is done: beside the runtime's threads, a bounded number at a time.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::conclude::Trouble;
use crate::threads;

/// Bodies above this are worked on beside the runtime's threads, which callers need: at some
/// 300 MB/s this many bytes take 0.2 ms.
pub(super) const INLINE_BYTES_MAX: usize = 64 * 1024;

/// Bodies of other formats above this count as large ones do: as JSON they are some eight times as
/// many bytes at worst, short of those that are made to be more.
pub(super) const INLINE_ENCODED_BYTES_MAX: usize = INLINE_BYTES_MAX / 8;

/// A bounded number of threads. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Bench(Arc<Semaphore>);

impl Bench {
    /// With room for so many at once.
    pub(super) fn with_room_for(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    /// Runs `work` here, or if it is heavy beside and behind everybody else's.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        heavy: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Trouble> {
        if !heavy {
            return Ok(work());
        }
        let permit = Arc::clone(&self.0).acquire_owned().await;
        let work = move || {
            // Held to the end of the work, even if nobody waits for it any more.
            let _permit = permit;
            work()
        };
        let done = threads::behind("detect", work).await;
        done.ok_or_else(|| Trouble::internal("no thread for the detection, or it panicked"))
    }
}
