//! What sources ask of their upstreams, as far as the file tells.

use std::collections::BTreeMap;

use crate::budget::Terms;
use crate::name::Name;

use super::explain::number;
use super::reader::Context;
use super::{Every, Source, Upstream};

use super::fault::Span;

/// Requests an hour that the sources of one upstream ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Demand {
    /// Of sources that are polled whatever happens.
    pub(super) steady: f64,
    /// Adaptive ones, partitions counted.
    pub(super) adaptive: u64,
    /// What these ask for at least,
    pub(super) least: f64,
    /// and at most.
    pub(super) most: f64,
    /// What they share where there is no budget.
    pub(super) middle: f64,
    /// Whether one of them may have any number of partitions.
    pub(super) grows: bool,
}

/// By upstream, what its sources ask for.
pub(super) fn all<'a>(sources: impl Iterator<Item = &'a Source>) -> BTreeMap<&'a Name, Demand> {
    let mut all: BTreeMap<&Name, Demand> = BTreeMap::new();
    for source in sources {
        all.entry(&source.upstream).or_default().add(source);
    }
    all
}

/// Partitions that the configuration itself names; of those that follow another source's items
/// one for all, since nobody knows how many there will be.
pub(super) fn parts(source: &Source) -> f64 {
    let values = source.each.iter().flat_map(|each| each.listed.values());
    values.map(|values| values.len() as f64).product()
}

/// Warns of what cannot be kept, or comes to nothing, with the places of the upstreams.
pub(super) fn warn(
    context: &Context<'_>,
    upstreams: &[(Span, Upstream)],
    sources: &[(Span, Source)],
) {
    let demands = all(sources.iter().map(|(_, source)| source));
    for (span, upstream) in upstreams {
        let Some(demand) = demands.get(&upstream.name) else {
            continue;
        };
        if demand.adaptive == 0 {
            continue;
        }
        let least = demand.steady + demand.least;
        match &upstream.budget {
            Some(terms) if least > terms.per_second() * 3_600.0 => {
                let (asked, allowed) = (number(least), number(terms.per_second() * 3_600.0));
                let message = format!(
                    "its sources are polled {asked} times an hour at least, by their `max`, and its \
                     budget allows {allowed}: polls will be late"
                );
                context.warn(span.clone(), message);
            }
            None if demand.adaptive == 1 && !demand.grows => {
                let message = format!(
                    "its one adaptive source has nobody to share with: without `budget` it is polled \
                     {} times an hour, whatever it does",
                    number(demand.middle)
                );
                context.warn(span.clone(), message);
            }
            _ => {}
        }
    }
}

impl Demand {
    fn add(&mut self, source: &Source) {
        let (per_hour, parts) = (source.every.per_hour(), parts(source));
        let Every::Adaptive(bounds) = source.every else {
            self.steady += per_hour.end() * parts;
            return;
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number of partitions"
        )]
        let count = parts as u64;
        self.adaptive += count;
        self.least += per_hour.start() * parts;
        self.most += per_hour.end() * parts;
        self.middle += bounds.middle_per_second() * 3_600.0 * parts;
        self.grows |= source.each.iter().any(|each| !each.followed.is_empty());
    }

    /// What is asked for as long as callers ask for nothing: adaptive sources share what is left
    /// of the budget, as far as their bounds allow.
    pub(super) fn asked(&self, budget: Option<&Terms>) -> f64 {
        if self.adaptive == 0 {
            return self.steady;
        }
        let shared = budget.map_or(self.middle, |terms| {
            let rate = terms.per_second() * 3_600.0;
            (rate - self.steady).max(rate * terms.poll_floor)
        });
        self.steady + shared.clamp(self.least, self.most)
    }
}
