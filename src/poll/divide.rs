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
    let mut is_cut = false;
    let mut combinations = vec![BTreeMap::new()];
    for (name, values) in &each.listed {
        let values = values
            .iter()
            .map(|value| [(name.clone(), value.to_string())].into());
        let values: Vec<BTreeMap<_, _>> = values.collect();
        combinations = crossed(&combinations, &values, &mut is_cut);
    }
    for source in each.followed.keys() {
        let values: Vec<_> = found.get(source).into_iter().flatten().cloned().collect();
        combinations = crossed(&combinations, &values, &mut is_cut);
    }
    let list: BTreeSet<Partition> = combinations.iter().map(Partition::of).collect();
    Partitions {
        list: list.into_iter().collect(),
        is_cut,
    }
}

/// Each of the one with each of the other, as many as can be polled.
fn crossed(
    one: &[BTreeMap<String, String>],
    other: &[BTreeMap<String, String>],
    is_cut: &mut bool,
) -> Vec<BTreeMap<String, String>> {
    *is_cut |= one.len().saturating_mul(other.len()) > PARTITIONS_MAX;
    let pairs = one
        .iter()
        .flat_map(|one| other.iter().map(move |other| (one, other)));
    let joined = pairs.map(|(one, other)| {
        let members = one.iter().chain(other);
        members
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    });
    joined.take(PARTITIONS_MAX).collect()
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
