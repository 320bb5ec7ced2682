//! Work that would keep a processor busy for long, done after everybody else's.
//!
//! The runtime's threads belong to callers and deliveries. What takes longer than they can wait
//! goes to a thread of its own, of lower priority: the system lets it run when they have nothing
//! to do. Leaves it to the rooms what is heavy, and how much of it may run at once.

use tokio::sync::oneshot;

/// How far behind: threads of normal priority get some nine times the processor while they want it.
///
/// Source: sched(7), "The nice value".
const NICE: i32 = 10;

/// Does `work` on a thread that runs after all others; `None`: there was no thread for it, or it
/// panicked. If this future is dropped, the work is done all the same.
pub async fn behind<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, done) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned());
    let spawned = thread.spawn(move || {
        stand_back();
        let _ = sender.send(work());
    });
    spawned.ok()?;
    done.await.ok()
}

/// Makes this thread, and on Linux only this one, run after those of normal priority. There is no
/// way back without privileges, so it is nothing for a thread of a pool.
fn stand_back() {
    if cfg!(target_os = "linux") {
        // Refused at worst, and then it runs as all others do.
        let _ = rustix::process::setpriority_process(None, NICE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_on_a_thread_that_stands_back_alone() {
        let nice = || rustix::process::getpriority_process(None).expect("a priority");
        let here = nice();
        let there = behind("test", nice).await.expect("a thread");
        if cfg!(target_os = "linux") {
            assert_eq!((nice(), there), (here, (here + NICE).min(19)));
        }
        let panicked = behind("test", || panic!("as the test wants")).await;
        assert_eq!(panicked, None::<()>);
    }
}
