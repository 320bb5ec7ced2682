//! What the members of a pool have learnt, all together.

use super::RATE_MIN;
use super::learnt::{Learnt, Prior};
use super::tuning::Tuning;

/// Sums over all members.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) members: f64,
    pub(super) changes: f64,
    pub(super) exposure: f64,
    pub(super) joint: f64,
    pub(super) news: f64,
    pub(super) roots: f64,
    /// Of squares, for how much rates differ.
    pub(super) changes_squared: f64,
    pub(super) exposure_squared: f64,
    pub(super) changes_by_exposure: f64,
}

impl Totals {
    /// Adds a member, or takes it out by the sign of -1.
    pub(super) fn shift(&mut self, learnt: Learnt, root: f64, sign: f64) {
        let Learnt {
            changes,
            exposure,
            joint,
            news,
        } = learnt;
        self.members += sign;
        let (changes, exposure) = (f64::from(changes), f64::from(exposure));
        self.changes += sign * changes;
        self.exposure += sign * exposure;
        self.changes_squared += sign * changes * changes;
        self.exposure_squared += sign * exposure * exposure;
        self.changes_by_exposure += sign * changes * exposure;
        self.joint += sign * f64::from(joint);
        self.news += sign * f64::from(news);
        self.roots += sign * root;
    }

    /// The mean time between news as the members remember it, in seconds: after a restart.
    pub(super) fn between_news(&self) -> Option<f64> {
        let Totals {
            members,
            exposure,
            news,
            ..
        } = *self;
        (news >= 1.0).then(|| exposure / members / news)
    }

    /// What is known of a source before its first poll: the rate of all together, and as how many
    /// changes that counts. It counts more the less the others differ from it.
    pub(super) fn prior(&self, tuning: &Tuning, rate: f64) -> Prior {
        let Totals {
            members,
            changes,
            exposure,
            changes_squared,
            exposure_squared,
            changes_by_exposure,
            ..
        } = *self;
        let least = tuning.prior;
        let wait = members.max(1.0) / rate.max(RATE_MIN);
        let usual = (changes + least) / (exposure + least * wait);
        // Rates of a gamma distribution of shape `a` scatter the numbers of changes by a part
        // `1/a` of the square of what was expected, beyond what chance does.
        let expected = usual * usual * exposure_squared;
        let scatter = changes_squared - 2.0 * usual * changes_by_exposure + expected;
        let beyond_chance = (scatter - usual * exposure).max(0.0);
        let spread = (beyond_chance + 1.0 / least) / (expected + 1.0);
        Prior {
            rate: usual,
            changes: (1.0 / spread).max(least),
        }
    }
}
