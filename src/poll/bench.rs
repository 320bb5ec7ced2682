//! Where heavy work is done: beside the runtime's threads, a bounded number at a time.

use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

use super::conclude::Trouble;

/// Bodies above this are worked on beside the runtime's threads, which callers need: at some
/// 300 MB/s this many bytes take 0.2 ms.
pub(super) const INLINE_BYTES_MAX: usize = 64 * 1024;

/// A bounded number of threads. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Bench(Arc<Semaphore>);

impl Bench {
    /// With room for so many at once.
    pub(super) fn with_room_for(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    /// Runs `work` here, or if it is heavy beside, and after everybody else: a thread of lower
    /// priority leaves the processors to callers and deliveries.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        heavy: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Trouble> {
        if !heavy {
            return Ok(work());
        }
        let permit = Arc::clone(&self.0).acquire_owned().await;
        let (sender, done) = oneshot::channel();
        let thread = std::thread::Builder::new().name("detect".to_owned());
        let spawned = thread.spawn(move || {
            // Held to the end of the work, even if nobody waits for it any more.
            let _permit = permit;
            yield_to_others();
            let _ = sender.send(work());
        });
        spawned.map_err(|_| Trouble::internal("no thread for the detection"))?;
        done.await
            .map_err(|_| Trouble::internal("detection panicked"))
    }
}

/// Makes this thread, and on Linux only this one, run after those of normal priority.
fn yield_to_others() {
    const NICE: i32 = 10;
    if cfg!(target_os = "linux") {
        // Refused at worst, and then it runs as all others do.
        let _ = rustix::process::setpriority_process(None, NICE);
    }
}
