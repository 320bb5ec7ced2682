//! Which partitions a source has. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Each, PARTITIONS_MAX};
use crate::event::Partition;
use crate::name::Name;

/// By source, the values that its items give to names: all of one item together.
pub(super) type Found = BTreeMap<Name, BTreeSet<BTreeMap<String, String>>>;

/// The partitions of a source, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Partitions {
    pub(super) list: Vec<Partition>,
    /// Whether there are more than can be polled.
    pub(super) is_cut: bool,
}

/// The partitions of a source that `each` divides; `found` are the values that others' items give.
pub(super) fn partitions(each: Option<&Each>, found: &Found) -> Partitions {
    let Some(each) = each else {
        return Partitions {
            list: vec![Partition::default()],
            is_cut: false,
        };
    };
    let listed = each.listed.iter().map(|(name, values)| {
        let ways = values.iter().map(|value| vec![(name.as_str(), &**value)]);
        ways.collect()
    });
    let followed = each.followed.keys().map(|source| {
        let items = found.get(source).into_iter().flatten();
        items.map(way).collect()
    });
    let axes: Vec<Vec<Way<'_>>> = listed.chain(followed).collect();
    let count = axes.iter().map(Vec::len).fold(1, usize::saturating_mul);
    // One at a time: so many maps at once would take more memory than all that is polled.
    let combined = (0..count.min(PARTITIONS_MAX)).map(|number| combination(&axes, number));
    let mut list: Vec<Partition> = combined.collect();
    list.sort_unstable();
    list.dedup();
    Partitions {
        list,
        is_cut: count > PARTITIONS_MAX,
    }
}

/// Values that belong together, by name.
type Way<'a> = Vec<(&'a str, &'a str)>;

/// What an item gives.
fn way(item: &BTreeMap<String, String>) -> Way<'_> {
    let pairs = item.iter();
    let pairs = pairs.map(|(name, value)| (name.as_str(), value.as_str()));
    pairs.collect()
}

/// Combination `number` of one way from each axis; the last axis turns fastest.
fn combination(axes: &[Vec<Way<'_>>], mut number: usize) -> Partition {
    let mut values = BTreeMap::new();
    for ways in axes.iter().rev() {
        let way = &ways[number % ways.len()];
        number /= ways.len();
        let pairs = way.iter();
        values.extend(pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    }
    Partition::of(&values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Path;

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn texts(partitions: &Partitions) -> Vec<&str> {
        partitions.list.iter().map(Partition::as_str).collect()
    }

    #[test]
    fn a_source_that_nothing_divides_is_one_whole() {
        let partitions = partitions(None, &Found::new());
        assert_eq!(texts(&partitions), [""]);
    }

    #[test]
    fn listed_values_are_combined_and_those_of_one_item_stay_together() {
        let path = Path::parse("$.x").expect("a path");
        let mut each = Each::default();
        each.listed
            .insert("state".to_owned(), vec!["open".into(), "shut".into()]);
        let names = ["repo", "branch"].map(|name| (name.to_owned(), path.clone()));
        each.followed.insert(name("repos"), names.into());
        // Nothing is known of the other source yet.
        assert!(partitions(Some(&each), &Found::new()).list.is_empty());

        let items = [("a", "main"), ("b", "trunk"), ("a", "main")];
        let items = items.map(|(repo, branch)| values(&[("repo", repo), ("branch", branch)]));
        let found = Found::from([(name("repos"), items.into())]);
        assert_eq!(
            texts(&partitions(Some(&each), &found)),
            [
                r#"{"branch":"main","repo":"a","state":"open"}"#,
                r#"{"branch":"main","repo":"a","state":"shut"}"#,
                r#"{"branch":"trunk","repo":"b","state":"open"}"#,
                r#"{"branch":"trunk","repo":"b","state":"shut"}"#,
            ]
        );
    }

    #[test]
    fn more_than_can_be_polled_are_cut_and_said_to_be() {
        let mut each = Each::default();
        let numbers = |count: usize| (0..count).map(|n| n.to_string().into()).collect();
        each.listed
            .insert("a".to_owned(), numbers(PARTITIONS_MAX / 100));
        each.listed.insert("b".to_owned(), numbers(100));
        let whole = partitions(Some(&each), &Found::new());
        assert_eq!((whole.list.len(), whole.is_cut), (PARTITIONS_MAX, false));
        each.listed.insert("b".to_owned(), numbers(101));
        let cut = partitions(Some(&each), &Found::new());
        assert_eq!((cut.list.len(), cut.is_cut), (PARTITIONS_MAX, true));
    }
}
