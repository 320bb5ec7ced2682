//! How many attempts an endpoint bears at once: what it is configured to, halved whenever it says
//! that it is too much.

/// Answers that say so (RFC 9110 section 15.6, RFC 6585 section 4).
const SLOW_DOWN: [u16; 4] = [429, 502, 503, 504];

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// What it bears; `None`: as much as is configured.
    bears: Option<usize>,
}

impl Slots {
    /// Attempts at once, of `configured` ones; at least one.
    pub(super) fn most(&self, configured: usize) -> usize {
        self.bears.map_or(configured, |bears| bears.min(configured))
    }

    /// An attempt failed with this status, if it was answered at all.
    pub(super) fn failed(&mut self, status: Option<u16>, configured: usize) {
        if status.is_some_and(|status| SLOW_DOWN.contains(&status)) {
            self.bears = Some((self.most(configured) / 2).max(1));
        }
    }

    /// An attempt was accepted: one more is tried.
    pub(super) fn accepted(&mut self, configured: usize) {
        let more = self.most(configured) + 1;
        self.bears = self.bears.and(Some(more)).filter(|more| *more < configured);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(statuses: &[u16], configured: usize) -> usize {
        let mut slots = Slots::default();
        for status in statuses {
            match status {
                200..300 => slots.accepted(configured),
                _ => slots.failed(Some(*status), configured),
            }
        }
        slots.most(configured)
    }

    #[test]
    fn each_of_four_statuses_halves_and_no_other_does() {
        for status in 300..600 {
            let halves = matches!(status, 429 | 502 | 503 | 504);
            let expected = if halves { 4 } else { 8 };
            assert_eq!(after(&[status], 8), expected, "{status}");
        }
        let mut slots = Slots::default();
        slots.failed(None, 8);
        assert_eq!(slots.most(8), 8, "no answer says nothing");
    }

    #[test]
    fn one_attempt_at_a_time_is_always_borne() {
        assert_eq!(after(&[429, 502, 503, 504, 429, 429], 8), 1);
        assert_eq!(after(&[503, 503], 5), 1);
        assert_eq!(after(&[503], 1), 1);
    }

    #[test]
    fn each_acceptance_gives_one_back_up_to_what_is_configured() {
        assert_eq!(after(&[503, 503, 503, 200], 8), 2);
        assert_eq!(after(&[503, 204, 204, 204], 8), 7);
        assert_eq!(after(&[503, 204, 204, 204, 204, 204, 204], 8), 8);
        assert_eq!(after(&[204, 204], 8), 8);
    }

    #[test]
    fn a_new_configuration_bounds_it_at_once() {
        let mut slots = Slots::default();
        slots.failed(Some(503), 100);
        assert_eq!((slots.most(100), slots.most(10)), (50, 10));
        slots.failed(Some(503), 10);
        assert_eq!((slots.most(10), slots.most(100)), (5, 5));
    }
}
