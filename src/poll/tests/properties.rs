//! What holds whatever the lists are: spelling is no change, and what is told, applied to what was
//! known, gives what is.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::life::{Life, Step};
use super::*;
use crate::config::Confirm;
use crate::detect::tests::reference::{Model, models};

/// Items by id, as a receiver would know them.
type Known = BTreeMap<String, Value>;

fn paths(texts: &[&str]) -> Vec<Path> {
    let path = |text: &&str| Path::parse(text).expect("a path");
    texts.iter().map(path).collect()
}

/// A life of a source whose items have a body at `$.a`, in which the lists at `$.a.a` and `$.a[*]`
/// have no order, and `$.a.b` does not count.
fn life() -> Life {
    let mut life = Life::new();
    let rules = Arc::make_mut(&mut life.source.rules);
    rules.unordered = paths(&["$.a.a", "$.a[*]"]);
    rules.fields = detect::Fields::Ignore(paths(&["$.a.b"]));
    life.source.deletes_max_ratio = 1.0;
    life
}

fn item(id: u8, body: &Model) -> Model {
    let members = [
        ("id".to_owned(), Model::Unsigned(id.into())),
        ("a".to_owned(), body.clone()),
    ];
    Model::Object(members.into())
}

/// The list in the order of `seed`, spelled as it wants.
fn spell(items: &BTreeMap<u8, Model>, seed: u64) -> String {
    let mut list: Vec<Model> = items.iter().map(|(id, body)| item(*id, body)).collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut list);
    Model::List(list).spelling(seed)
}

/// The same value with the lists that have no order in another, and other values where none count.
fn reordered(body: &Model, rng: &mut fastrand::Rng) -> Model {
    match body {
        Model::Object(members) => {
            let mut members = members.clone();
            if let Some(Model::List(elements)) = members.get_mut("a") {
                rng.shuffle(elements);
            }
            if let Some(ignored) = members.get_mut("b") {
                *ignored = Model::Signed(rng.i64(..));
            }
            Model::Object(members)
        }
        Model::List(lists) => {
            let shuffled = lists.iter().map(|list| match list {
                Model::List(elements) => {
                    let mut elements = elements.clone();
                    rng.shuffle(&mut elements);
                    Model::List(elements)
                }
                other => other.clone(),
            });
            Model::List(shuffled.collect())
        }
        other => other.clone(),
    }
}

fn lists() -> impl Strategy<Value = BTreeMap<u8, Model>> {
    prop::collection::btree_map(0..12_u8, models(), 0..10)
}

/// Which of a few bodies each item has, so that most stay as they are from list to list.
fn picks() -> impl Strategy<Value = BTreeMap<u8, usize>> {
    prop::collection::btree_map(0..12_u8, 0..3_usize, 0..10)
}

/// Equal for equal values, however they are spelled.
fn digest(item: &Value) -> Digest {
    let walk = detect::read(item.to_string().as_bytes(), &Rules::default(), 1);
    walk.expect("an item").digest
}

fn read(list: &str) -> Known {
    let items: Vec<Value> = serde_json::from_str(list).expect("a list");
    let pairs = items.into_iter().map(|item| (item["id"].to_string(), item));
    // As a number it may be spelled `4e0`; as a subject it is digits.
    pairs
        .map(|(id, item)| (id.trim_end_matches(".0").to_owned(), item))
        .collect()
}

/// Tells `known` of a poll; panics where an event does not fit what was known.
fn tell(known: &mut Known, step: &Step) {
    for (kind, subject, content) in &step.events {
        let before = known.remove(subject);
        assert_eq!(before.as_ref(), content.get("previous"), "{subject}");
        match kind {
            Kind::Deleted => assert!(before.is_some() && content.get("current").is_none()),
            kind => {
                assert_eq!(*kind == Kind::Created, before.is_none(), "{subject}");
                let is_other =
                    before.is_none_or(|before| digest(&before) != digest(&content["current"]));
                assert!(is_other, "nothing changed of {subject}");
                known.insert(subject.clone(), content["current"].clone());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn another_spelling_or_order_is_no_change(
        items in lists(), seeds in prop::collection::vec(any::<u64>(), 1..5),
    ) {
        let mut life = life();
        life.poll(&spell(&items, 0));
        for seed in seeds {
            let mut rng = fastrand::Rng::with_seed(seed);
            let other = items.iter().map(|(id, body)| (*id, reordered(body, &mut rng))).collect();
            let step = life.poll(&spell(&other, seed));
            prop_assert!(step.is_unchanged(), "{step:?}");
            prop_assert_eq!(step.writes, 0);
        }
    }

    #[test]
    fn the_size_of_pages_and_what_moves_from_one_to_the_next_is_no_change(
        items in lists(), seed: u64, sizes in prop::collection::vec((1..4_usize, any::<u64>()), 10),
    ) {
        let rules = life().source.rules;
        let whole = detect::read(spell(&items, seed).as_bytes(), &rules, 100).expect("a walk");
        let mut items: Vec<(u8, Model)> = items.into_iter().collect();
        let mut pages = Vec::new();
        let mut last = None;
        for (size, salt) in sizes {
            let rest = items.split_off(size.min(items.len()));
            // An item that was inserted before this page pushed the last of the page before here.
            let page = last.take().into_iter().chain(std::mem::replace(&mut items, rest));
            let page: BTreeMap<u8, Model> = page.collect();
            last = page.last_key_value().map(|(id, body)| (*id, body.clone()));
            pages.push(spell(&page, salt));
        }
        let pages = pages.iter().map(|page| detect::page(page.as_bytes(), &rules, 100));
        let pages: Result<Vec<_>, _> = pages.collect();
        let walk = detect::join(pages.expect("pages")).expect("a walk");
        prop_assert_eq!(walk.digest, whole.digest);
        prop_assert_eq!(walk.entries.len(), whole.entries.len());
    }

    #[test]
    fn what_is_told_applied_to_what_was_known_gives_what_is(
        bodies in prop::collection::vec(models(), 3),
        lists in prop::collection::vec((picks(), any::<u64>()), 2..6),
        confirms: bool,
    ) {
        let mut life = Life::new();
        life.source.deletes_max_ratio = 1.0;
        life.source.confirm = confirms.then_some(Confirm { polls: 2, after: Duration::ZERO });
        let mut known = BTreeMap::new();
        for (number, (picks, seed)) in lists.iter().enumerate() {
            let items = picks.iter().map(|(id, body)| (*id, bodies[*body].clone())).collect();
            let list = spell(&items, *seed);
            for _ in 0..2 {
                let step = life.poll(&list);
                prop_assert!(step.outcome != Outcome::Error, "{step:?}");
                tell(&mut known, &step);
            }
            if number == 0 {
                // Silently.
                known = read(&list);
            }
            // Where nothing that counts differs, the receiver knows the item as it was spelled.
            let told: Vec<&String> = known.keys().collect();
            let is = read(&list);
            prop_assert_eq!(told, is.keys().collect::<Vec<_>>());
            for (id, item) in &is {
                prop_assert_eq!(digest(item), digest(&known[id]), "item {}", id);
            }
        }
    }

    /// Every change that rings was seen in two fetches running, or differed in ten; and nothing that
    /// stays is withheld.
    #[test]
    fn what_was_seen_once_never_rings(
        polls in prop::collection::vec((0..6_u8, prop::collection::btree_map(0..4_u8, 0..3_u8, 0..4)), 1..60),
    ) {
        let mut life = Life::new();
        life.source.confirm = Some(Confirm { polls: 2, after: Duration::ZERO });
        let spell = |items: &BTreeMap<u8, u8>| {
            let items = items.iter().map(|(id, v)| format!(r#"{{"id":{id},"v":{v}}}"#));
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        };
        let mut seen: Vec<BTreeMap<u8, u8>> = Vec::new();
        for (luck, items) in &polls {
            // Some fetches come to nothing, some see what the last one saw.
            if *luck == 0 {
                life.poll("<html>");
                continue;
            }
            let items = if *luck < 4 { seen.last().unwrap_or(items).clone() } else { items.clone() };
            seen.push(items.clone());
            let step = life.poll(&spell(&items));
            for (_, subject, _) in &step.events {
                let id: u8 = subject.parse().expect("a number");
                let of_item: Vec<_> = seen.iter().rev().map(|items| items.get(&id)).collect();
                let twice = of_item[0] == of_item[1];
                prop_assert!(twice || of_item.len() > 10, "{subject} of {seen:?}");
            }
        }
        let last = seen.last().cloned().unwrap_or_default();
        for _ in 0..2 {
            life.poll(&spell(&last));
        }
        let subjects: Vec<String> = last.keys().map(ToString::to_string).collect();
        prop_assert_eq!(life.subjects(), subjects);
        let step = life.poll(&format!(" {}", spell(&last)));
        prop_assert!(step.is_unchanged() && life.memory.pending.is_none());
    }
}
