//! The names that a file declares, whether or not what stands under them is right: so that a
//! fault in one table makes no faults in those that name it.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use toml::de::{DeTable, DeValue};

use crate::event::{Glob, Kind, OPERATIONAL_SOURCE};

use super::words::nearest;
use super::{Config, Deletes, Source};

/// Most sources whose types are weighed as what a glob was meant to be.
const GUESSED_MAX: usize = 1_000;

/// The names of a file.
#[derive(Debug, Default)]
pub(super) struct Declared<'a> {
    pub(super) upstreams: BTreeSet<&'a str>,
    pub(super) sources: BTreeMap<&'a str, Watched>,
    /// By source, those whose items divide it.
    followed: BTreeMap<&'a str, Vec<&'a str>>,
    /// Sources that keep no bodies.
    digests_alone: BTreeSet<&'a str>,
}

/// What decides which events a source has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watched {
    pub(super) items: bool,
    pub(super) deletes: bool,
}

/// What a glob hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard<'a> {
    /// Events that can happen.
    Something,
    /// Only deletions of sources that are not watched for them, this one for example.
    OnlyDeletions(&'a str),
    /// No type there is.
    Nothing,
}

impl Watched {
    /// The kinds of events of such a source, whether or not they can happen.
    pub(super) const fn kinds(self) -> &'static [Kind] {
        if self.items {
            &[Kind::Created, Kind::Updated, Kind::Deleted]
        } else {
            &[Kind::Changed]
        }
    }
}

impl<'a> Declared<'a> {
    /// Collects the names of a file.
    pub(super) fn collect(root: &'a DeTable<'a>) -> Self {
        let names = |section| {
            let table = root.get(section).and_then(|v| v.get_ref().as_table());
            table.into_iter().flatten()
        };
        let is_feed = |value: &DeValue<'_>| {
            let format = value.get("format").map(toml::Spanned::get_ref);
            format.and_then(DeValue::as_str) == Some("feed")
        };
        let watched = |value: &DeValue<'_>| Watched {
            items: value.get("items").is_some() || is_feed(value),
            deletes: value.get("deletes").is_some_and(|deletes| {
                deletes.get_ref().is_table() || deletes.get_ref().as_str() == Some("full")
            }),
        };
        let is_thin = |value: &DeValue<'_>| {
            let keep = value.get("keep").map(toml::Spanned::get_ref);
            keep.and_then(DeValue::as_str) == Some("digests")
        };
        Self {
            followed: names("sources")
                .map(|(name, value)| (name.get_ref().as_ref(), followed_by(value.get_ref())))
                .filter(|(_, followed)| !followed.is_empty())
                .collect(),
            digests_alone: names("sources")
                .filter(|(_, value)| is_thin(value.get_ref()))
                .map(|(name, _)| name.get_ref().as_ref())
                .collect(),
            upstreams: names("upstreams")
                .map(|(name, _)| name.get_ref().as_ref())
                .collect(),
            sources: names("sources")
                .map(|(name, value)| (name.get_ref().as_ref(), watched(value.get_ref())))
                .collect(),
        }
    }

    /// The sources of what was read before, as far as endpoints refer to them.
    pub(super) fn of(config: &'a Config) -> Self {
        let watched = |source: &Source| Watched {
            items: source.rules.items.is_some(),
            deletes: source.deletes != Deletes::Never,
        };
        let sources = config.sources.iter();
        Self {
            sources: sources
                .map(|(name, source)| (name.as_str(), watched(source)))
                .collect(),
            ..Self::default()
        }
    }

    /// Whether source `name` is `other`, or divided by its items, however far around.
    pub(super) fn follows(&self, name: &'a str, other: &str) -> bool {
        let (mut seen, mut next) = (BTreeSet::new(), vec![name]);
        while let Some(name) = next.pop() {
            if name == other {
                return true;
            }
            if seen.insert(name) {
                next.extend(self.followed.get(name).into_iter().flatten());
            }
        }
        false
    }

    /// Whether source `name` keeps no bodies.
    pub(super) fn has_digests_alone(&self, name: &str) -> bool {
        self.digests_alone.contains(name)
    }

    /// What a glob hears.
    pub(super) fn heard(&self, text: &str) -> Heard<'a> {
        let glob = Glob::new(text);
        if operational().any(|kind| glob.matches(&kind.event_type(OPERATIONAL_SOURCE))) {
            return Heard::Something;
        }
        let mut heard = Heard::Nothing;
        for (name, watched) in candidates(&self.sources, text) {
            for kind in watched.kinds() {
                if !glob.matches(&kind.event_type(name)) {
                    continue;
                }
                if *kind != Kind::Deleted || watched.deletes {
                    return Heard::Something;
                }
                heard = Heard::OnlyDeletions(name);
            }
        }
        heard
    }

    /// The type that a glob was most likely meant to be.
    pub(super) fn nearest_type(&self, text: &str) -> Option<String> {
        let known = self.sources.iter().take(GUESSED_MAX);
        let of_sources = known.flat_map(|(name, watched)| {
            let kinds = watched.kinds().iter();
            kinds
                .map(|kind| kind.event_type(name))
                .chain([format!("{name}.*")])
        });
        let own = operational().map(|kind| kind.event_type(OPERATIONAL_SOURCE));
        let types: Vec<String> = of_sources.chain(own).collect();
        nearest(text, types.iter().map(String::as_str)).map(str::to_owned)
    }
}

/// The sources whose items divide a source.
fn followed_by<'a>(source: &'a DeValue<'a>) -> Vec<&'a str> {
    let each = source
        .get("each")
        .and_then(|each| each.get_ref().as_table());
    let named = each.into_iter().flatten();
    let named = named.filter_map(|(_, axis)| axis.get_ref().get("source")?.get_ref().as_str());
    named.collect()
}

/// The kinds of doorbell's own events.
pub(super) fn operational() -> impl Iterator<Item = Kind> {
    Kind::ALL
        .into_iter()
        .filter(|kind| !Kind::OF_SOURCES.contains(kind))
}

/// The entries whose names a type that matches `glob` can begin with: all that share what stands
/// before the first `*`, so that a hundred thousand sources are not tried one by one.
pub(super) fn candidates<'m, K: Borrow<str> + Ord, V>(
    sources: &'m BTreeMap<K, V>,
    glob: &str,
) -> impl Iterator<Item = (&'m K, &'m V)> + use<'m, K, V> {
    let literal = glob.split('*').next().unwrap_or_default();
    let prefix = literal.split('.').next().unwrap_or_default().to_owned();
    // Names hold no dots, so what stands before one is the whole name.
    let whole = literal.contains('.');
    let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
    sources.range::<str, _>(from).take_while(move |(name, _)| {
        let name: &str = (*name).borrow();
        if whole {
            name == prefix
        } else {
            name.starts_with(&prefix)
        }
    })
}
