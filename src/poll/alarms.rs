//! What operators hear of a source of many partitions: each tells of itself, and all together of
//! no more than a few at once.
//!
//! An upstream that dies takes a hundred thousand partitions with it. The first [`ALARMS_MAX`] that
//! fail ring, each with its `partition`; further ones are counted in metrics and status, and ring
//! once an earlier one is well again. The same holds for those that are held and those that are
//! stale. Who did not ring does not ring that it has recovered. Pure.

use super::conclude::Conclusion;
use crate::event::{self, Kind, Partition};
use crate::store::Memory;

/// Most partitions of one source that ring for the same thing at once: enough to see what they
/// have in common.
pub(super) const ALARMS_MAX: u32 = 10;

/// How many partitions of a source are not well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Alarms {
    /// That fail, whether they rang or not.
    pub(super) failing: u32,
    failing_rung: u32,
    held: u32,
    stale_rung: u32,
}

impl Alarms {
    /// A partition remembers `after` instead of `before`.
    pub(super) fn shift(&mut self, before: &Memory, after: &Memory) {
        let counts = |memory: &Memory| {
            [
                memory.failures > 0,
                memory.failing_rung,
                memory.held.is_some(),
                memory.stale_rung,
            ]
        };
        let mine = [
            &mut self.failing,
            &mut self.failing_rung,
            &mut self.held,
            &mut self.stale_rung,
        ];
        let moves = counts(before).into_iter().zip(counts(after));
        for (count, (was, is)) in mine.into_iter().zip(moves) {
            *count = (*count + u32::from(is)).saturating_sub(u32::from(was));
        }
    }

    /// Leaves out of `conclusion` what too many others ring for already, lets the rest tell its
    /// partition, and counts the partition as it stands afterwards.
    pub(super) fn temper(
        &mut self,
        conclusion: &mut Conclusion,
        before: &Memory,
        partition: &Partition,
    ) {
        let memory = &mut conclusion.memory;
        conclusion.announcements.retain_mut(|announcement| {
            let may_ring = match announcement.kind {
                Kind::SourceFailing => {
                    memory.failing_rung = self.failing_rung < ALARMS_MAX;
                    memory.failing_rung
                }
                Kind::SourceStale => {
                    memory.stale_rung = self.stale_rung < ALARMS_MAX;
                    memory.stale_rung
                }
                Kind::SourceHeld => self.held < ALARMS_MAX,
                _ => true,
            };
            announcement.content = event::of_partition(&announcement.content, partition);
            may_ring
        });
        self.shift(before, memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::conclude::{self, Trouble};
    use crate::poll::tests::{source, terms};

    fn partition(n: usize) -> Partition {
        Partition::of(&[("n".to_owned(), n.to_string())].into())
    }

    /// One poll of partition `n` that fails or finds nothing; the contents of what rings.
    fn poll(
        alarms: &mut Alarms,
        memories: &mut [Memory],
        n: usize,
        fails: Option<&'static str>,
    ) -> Vec<(Kind, Box<str>)> {
        let (source, before) = (source(), memories[n].clone());
        let terms = terms(&source, &before);
        let mut conclusion = match fails {
            Some(reason) => conclude::failure(terms, &Trouble::passing(reason, "")),
            None => conclude::success(terms, crate::poll::tests::unchanged()),
        };
        alarms.temper(&mut conclusion, &before, &partition(n));
        memories[n] = conclusion.memory;
        let told = conclusion.announcements.into_iter();
        told.map(|told| (told.kind, told.content)).collect()
    }

    #[test]
    fn of_many_that_fail_a_few_ring_and_others_when_those_are_well_again() {
        let mut alarms = Alarms::default();
        let mut memories = vec![Memory::default(); 15];
        let mut rung = Vec::new();
        for _ in 0..3 {
            for n in 0..memories.len() {
                rung.extend(poll(&mut alarms, &mut memories, n, Some("status")));
            }
        }
        assert_eq!(rung.len(), 10);
        assert!(rung.iter().all(|(kind, _)| *kind == Kind::SourceFailing));
        assert!(rung[9].1.contains(r#""partition":{"n":"9"}"#), "{rung:?}");
        assert_eq!(alarms.failing, 15);

        // Who did not ring recovers in silence; who did makes room.
        assert!(poll(&mut alarms, &mut memories, 14, None).is_empty());
        assert!(poll(&mut alarms, &mut memories, 13, Some("status")).is_empty());
        let told = poll(&mut alarms, &mut memories, 3, None);
        assert_eq!(told[0].0, Kind::SourceRecovered);
        let told = poll(&mut alarms, &mut memories, 13, Some("status"));
        assert_eq!(told[0].0, Kind::SourceFailing);
        assert_eq!(alarms.failing, 13);
        for n in 0..memories.len() {
            poll(&mut alarms, &mut memories, n, None);
        }
        assert_eq!(alarms, Alarms::default());
    }
}
