//! Work that would keep a processor busy for long, done after everybody else's.
//!
//! The runtime's threads belong to callers and deliveries. What takes longer than they can wait
//! goes to a thread of its own, which the system lets run when they have nothing to do. Leaves it to the rooms what is heavy, and how much of it may run at once.

use tokio::sync::oneshot;

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

/// Lets this thread, and on Linux only this one, run when no other wants to. There is no way back
/// without privileges, so it is nothing for a thread of a pool.
///
/// A low priority would not do: the system leaves a thread on its processor for a while (0.7 ms and
/// more), whoever wakes, and a ring wakes several threads one after another. Only of this policy it
/// takes the processor away at once.
///
/// Source: sched(7), `SCHED_IDLE`.
fn stand_back() {
    #[cfg(target_os = "linux")]
    {
        use thread_priority::{
            NormalThreadSchedulePolicy::Idle, ThreadPriority, ThreadSchedulePolicy,
            set_thread_priority_and_policy, thread_native_id,
        };
        let idle = ThreadSchedulePolicy::Normal(Idle);
        // Refused at worst, and then it runs as all others do.
        let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn work_is_done_on_a_thread_that_stands_back_alone() {
        use thread_priority::NormalThreadSchedulePolicy::{Idle, Other};
        use thread_priority::{ThreadSchedulePolicy, thread_schedule_policy};
        let there = behind("test", thread_schedule_policy).await;
        let there = there.expect("a thread").expect("a policy");
        assert_eq!(there, ThreadSchedulePolicy::Normal(Idle));
        let here = thread_schedule_policy().expect("a policy");
        assert_eq!(here, ThreadSchedulePolicy::Normal(Other));
    }

    #[tokio::test]
    async fn work_that_panics_takes_nobody_with_it() {
        let panicked = behind("test", || panic!("as the test wants")).await;
        assert_eq!(panicked, None::<()>);
    }
}
