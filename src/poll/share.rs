//! How many polls adaptive sources have to share.

use std::time::Duration;

use super::Room;
use super::pools::Left;
use crate::config::Every;

/// How often that is found out: callers' use of a budget is averaged over a minute.
pub(super) const SHARE_EVERY: Duration = Duration::from_secs(10);

/// Tells each pool what callers and other sources leave to it.
pub(super) fn share(room: &Room) {
    let mut hall = room.hall.lock();
    let shared = hall.shared();
    if shared.is_empty() {
        return;
    }
    let config = room.live.load();
    let mut steady = vec![0.0; room.upstreams.len()];
    for watched in &room.sources {
        if let Some(source) = config.sources.get(&watched.name)
            && !matches!(source.every, Every::Adaptive(_))
        {
            let per_second = source.every.per_hour().end() / 3_600.0;
            steady[watched.line] += per_second * hall.count(watched) as f64;
        }
    }
    let upstreams: Vec<_> = room.upstreams.values().collect();
    for line in shared {
        let upstream = upstreams[line];
        let budget = upstream.config().budget.zip(upstream.left_to_polls());
        let left = budget.map(|(terms, by_callers)| Left {
            by_callers,
            floor: terms.per_second() * terms.poll_floor,
        });
        hall.share(line, left, steady[line]);
    }
}
