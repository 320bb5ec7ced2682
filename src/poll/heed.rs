//! Which sources are polled when, because callers wrote. Pure: the present is an argument.
//!
//! The first write opens a window, and all writes in it share the poll at its end, so that a storm
//! costs one poll a window. A second look follows the last write, for upstreams that answer before
//! they show what was written.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use crate::config::OnWrite;

/// See the [module](self). Sources are numbers.
#[derive(Debug, Default)]
pub(super) struct Heed {
    sources: HashMap<usize, Written>,
    due: BTreeSet<(Instant, usize)>,
}

#[derive(Debug)]
struct Written {
    /// When the open window ends.
    window: Option<Instant>,
    /// When the second look is due.
    again: Option<Instant>,
    /// The last write's.
    request_id: Arc<str>,
}

impl Heed {
    /// A caller wrote.
    pub(super) fn written(
        &mut self,
        source: usize,
        rules: &OnWrite,
        request_id: Arc<str>,
        now: Instant,
    ) {
        let written = self.sources.entry(source).or_insert_with(|| Written {
            window: None,
            again: None,
            request_id: Arc::clone(&request_id),
        });
        written.request_id = request_id;
        let window = *written.window.get_or_insert(now + rules.settle);
        let again = now + rules.second_look();
        if let Some(before) = written.again.replace(again)
            && Some(before) != written.window
        {
            self.due.remove(&(before, source));
        }
        self.due.insert((window, source));
        self.due.insert((again, source));
    }

    /// When somebody is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Whoever is due, and because of which request.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(usize, Arc<str>)> {
        let mut due: Vec<(usize, Arc<str>)> = Vec::new();
        while let Some(&(at, source)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            let Some(written) = self.sources.get_mut(&source) else {
                continue;
            };
            written.window.take_if(|window| *window <= at);
            written.again.take_if(|again| *again <= at);
            if due.iter().all(|(other, _)| *other != source) {
                due.push((source, Arc::clone(&written.request_id)));
            }
            if written.window.is_none() && written.again.is_none() {
                self.sources.remove(&source);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::Glob;

    const SETTLE: Duration = Duration::from_millis(200);

    fn rules() -> OnWrite {
        OnWrite {
            paths: vec![Glob::new("*")],
            settle: SETTLE,
        }
    }

    /// When polls begin, in milliseconds, if writes come at these times.
    fn polls(writes: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let (mut heed, start) = (Heed::default(), Instant::now());
        let (mut polls, mut writes) = (Vec::new(), writes.into_iter().peekable());
        for millis in 0..20_000 {
            let now = start + Duration::from_millis(millis);
            let due = heed.due(now);
            assert!(due.len() <= 1, "one source is due once at a time");
            polls.extend(due.iter().map(|_| millis));
            while writes.next_if(|at| *at == millis).is_some() {
                heed.written(7, &rules(), "r".into(), now);
            }
        }
        assert_eq!(heed.next(), None);
        assert!(heed.sources.is_empty());
        polls
    }

    #[test]
    fn a_write_is_looked_for_when_it_has_settled_and_once_more() {
        assert_eq!(polls([0]), [200, 1000]);
    }

    #[test]
    fn writes_of_one_window_share_its_poll_and_the_second_look_follows_the_last() {
        assert_eq!(polls([0, 50, 100, 199]), [200, 1199]);
        assert_eq!(polls([0, 300]), [200, 500, 1300]);
    }

    #[test]
    fn a_storm_costs_a_poll_a_window() {
        let polls = polls(0..10_000);
        // A window opens with the first write after the last one.
        let storm = polls.iter().filter(|at| **at <= 10_200).count();
        assert!((49..=50).contains(&storm), "{storm}");
        assert_eq!(polls.last(), Some(&10_999));
    }

    #[test]
    fn the_last_write_names_the_request() {
        let (mut heed, start) = (Heed::default(), Instant::now());
        heed.written(1, &rules(), "first".into(), start);
        heed.written(1, &rules(), "last".into(), start);
        heed.written(2, &rules(), "other".into(), start);
        let due = heed.due(start + SETTLE);
        assert_eq!(due, [(1, "last".into()), (2, "other".into())]);
    }
}
