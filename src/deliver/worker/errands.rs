//! An endpoint comes to rest, so that somebody may change the rows that it remembers.
//!
//! Nothing new begins, attempts in flight are heard out and their outcomes settled; then the rows
//! are changed, and the lanes are read anew, as after a restart.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tracing::error;

use super::Running;
use crate::deliver::restore;

/// Something to do while an endpoint rests.
pub(in crate::deliver) type Errand = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// Pause after the lanes could not be read.
const READ_PAUSE: Duration = Duration::from_secs(1);

impl Running {
    /// Whether somebody waits for it to rest, and it does.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.errands.is_empty()
            && self.jobs.is_empty()
            && self.queue.flying() == 0
            && !self.queue.is_unsettled()
    }

    pub(super) async fn run_errands(&mut self) {
        // Not settling them costs only the reading a moment.
        self.leave().await;
        for errand in std::mem::take(&mut self.errands) {
            errand().await;
        }
        while !self.worker.shutdown.is_draining() {
            let worker = &self.worker;
            let now = worker.clock.now();
            let heard = worker.heard.clone();
            match restore((&worker.store, now), &worker.endpoint, heard).await {
                Ok(queue) => {
                    self.queue = queue;
                    return;
                }
                Err(error) => {
                    let endpoint = &worker.endpoint.name;
                    error!(%endpoint, %error, "where deliveries stand cannot be read");
                    tokio::time::sleep(READ_PAUSE).await;
                }
            }
        }
        // What is in memory is not what is on disk, so nothing may follow from it.
        self.is_draining = true;
    }
}
