//! What identifies an item.
//!
//! Decides among the fields that are in every item, a string or an integer, another one in each,
//! and the same in every answer; if there is none, among pairs of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::list::{Kind, List};
use super::{plain, step};

/// Items whose fields are looked at; what identifies is then asked of all items.
const ITEMS_MAX: usize = 50;

/// Fields of an item that are looked at.
const FIELDS_MAX: usize = 200;

/// Fields that pairs are made of.
const PARTS_MAX: usize = 10;

/// Longest text that may identify something.
const BYTES_MAX: usize = 200;

/// Names that identify, best first.
const NAMES: [&[&str]; 4] = [
    &["id"],
    &["uuid", "guid", "gid", "oid", "uid", "pk", "identifier"],
    &[
        "key", "slug", "iid", "number", "sha", "code", "sku", "fullname", "ref", "digest", "hash",
    ],
    &[
        "self", "href", "url", "uri", "link", "path", "name", "login", "email", "nodeid",
    ],
];

/// Ranks after those of [`NAMES`].
const OF_THE_LIST: usize = 2;
const SOME_ID: usize = 4;
const OTHER: usize = 6;
const NESTED: usize = 4;
const UNLIKELY: usize = 20;

/// Words in names of what changes or repeats.
const FICKLE: [&str; 18] = [
    "time", "date", "created", "updated", "modified", "position", "index", "rank", "score",
    "order", "count", "size", "total", "price", "amount", "status", "state", "version",
];

/// What identifies an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified {
    fields: Vec<Field>,
    /// Whether nothing but its name speaks for it.
    pub is_guess: bool,
}

/// A value in an item.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    path: String,
    steps: Vec<At>,
    rank: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    Member(String),
    Column(usize),
}

impl Identified {
    /// `id`, of items that nobody has seen.
    pub(super) fn guessed() -> Self {
        let steps = vec![At::Member("id".to_owned())];
        Self {
            fields: vec![Field::new(steps, 0)],
            is_guess: true,
        }
    }

    /// The paths of its parts, relative to the item.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.path.as_str())
    }
}

/// What identifies the items of `lists`, which are one list in several answers.
pub(super) fn identify(lists: &[&[Value]], list: &List) -> Option<Identified> {
    let first = lists.iter().find(|list| !list.is_empty())?;
    let fields = fields(first, list);
    let tells = |fields: &[&Field]| lists.iter().all(|list| is_unique(list, fields));
    let stays = |fields: &[&Field]| {
        lists
            .windows(2)
            .all(|pair| is_met(pair[0], pair[1], fields))
    };
    let is_id = |fields: &[&Field]| tells(fields) && stays(fields);
    let found = |fields: &[&Field]| Identified {
        fields: fields.iter().map(|field| (*field).clone()).collect(),
        is_guess: false,
    };
    // What JSON:API identifies by is both, and an id alone may be of another type tomorrow.
    let typed = typed(first);
    if let Some(typed) = typed.filter(|(kind, id)| is_id(&[kind, id])) {
        return Some(found(&[&typed.0, &typed.1]));
    }
    let likely = fields.iter().filter(|field| field.rank < UNLIKELY);
    if let Some(one) = likely.clone().find(|field| is_id(&[field])) {
        return Some(found(&[one]));
    }
    let parts: Vec<&Field> = likely.take(PARTS_MAX).collect();
    let mut pairs = Vec::new();
    for (place, one) in parts.iter().enumerate() {
        pairs.extend(parts[place + 1..].iter().map(|other| [*one, *other]));
    }
    pairs.sort_by_key(|[one, other]| one.rank + other.rank);
    if let Some(pair) = pairs.iter().find(|pair| is_id(&pair[..])) {
        return Some(found(pair));
    }
    let unlikely = fields.iter().filter(|field| field.rank >= UNLIKELY);
    let one = unlikely.into_iter().find(|field| is_id(&[field]))?;
    Some(Identified {
        is_guess: true,
        ..found(&[one])
    })
}

/// The items that two answers running have, as they were and as they are.
pub(super) fn pairs<'a>(lists: &[&'a [Value]], id: &Identified) -> Vec<(&'a Value, &'a Value)> {
    let fields: Vec<&Field> = id.fields.iter().collect();
    let mut pairs = Vec::new();
    for two in lists.windows(2) {
        let keyed = two[0]
            .iter()
            .filter_map(|item| Some((key(item, &fields)?, item)));
        let before: BTreeMap<String, &Value> = keyed.collect();
        for item in two[1] {
            let was = key(item, &fields).and_then(|key| before.get(&key).copied());
            pairs.extend(was.map(|was| (was, item)));
        }
    }
    pairs
}

/// Fields that are in all of the first items, likely ones first.
fn fields(items: &[Value], list: &List) -> Vec<Field> {
    let mut items = items.iter().take(ITEMS_MAX);
    let mut fields = items
        .next()
        .map_or_else(Vec::new, |item| of_item(item, list));
    for item in items {
        fields.retain(|field| field.of(item).is_some());
    }
    fields.sort_by_key(|field| field.rank);
    fields
}

fn of_item(item: &Value, list: &List) -> Vec<Field> {
    let mut fields = Vec::new();
    match (list.kind, item) {
        (Kind::Rows, Value::Array(columns)) => {
            for (place, value) in columns.iter().enumerate().take(FIELDS_MAX) {
                let name = list.columns.get(place).map_or("", String::as_str);
                // Who lists rows begins with what tells them apart.
                let rank = rank(name, list, value) + place.min(3);
                fields.push(Field::new(vec![At::Column(place)], rank));
            }
        }
        (_, Value::Object(members)) => {
            for (name, value) in members {
                let steps = vec![At::Member(name.clone())];
                if let Value::Object(inner) = value {
                    for (below, value) in inner {
                        let steps = vec![steps[0].clone(), At::Member(below.clone())];
                        let rank = rank(below, list, value) + NESTED;
                        fields.push(Field::new(steps, rank));
                        if let (Some(href), true) = (value.get("href"), below == "self") {
                            let steps = [name, below, "href"].map(|n| At::Member(n.to_owned()));
                            let rank = rank.min(SOME_ID + NESTED);
                            let is_text = href.is_string();
                            fields.extend(is_text.then(|| Field::new(steps.into(), rank)));
                        }
                    }
                } else {
                    fields.push(Field::new(steps, rank(name, list, value)));
                }
            }
        }
        _ => {}
    }
    fields.retain(|field| field.of(item).is_some());
    fields.truncate(FIELDS_MAX);
    fields
}

/// How likely a field of this name identifies an item of `list`; less is likelier.
fn rank(name: &str, list: &List, value: &Value) -> usize {
    let name = plain(name);
    if let Some(rank) = NAMES
        .iter()
        .position(|names| names.contains(&name.as_str()))
    {
        // Names change, ids of other things do not.
        return if rank == 3 { SOME_ID + 1 } else { rank };
    }
    let mut ends = ["id", "key", "uuid", "number", "code"].iter();
    let stem = ends.find_map(|end| name.strip_suffix(end));
    match stem {
        Some(stem) if !stem.is_empty() && plain(list.name()).starts_with(stem) => {
            return OF_THE_LIST;
        }
        Some(_) => return SOME_ID,
        None => {}
    }
    let looks_like_time = value.as_str().is_some_and(|text| {
        let bytes = text.as_bytes();
        bytes.len() >= 10 && bytes[4] == b'-' && bytes[7] == b'-' && bytes[0].is_ascii_digit()
    });
    if looks_like_time || name.ends_with("at") || FICKLE.iter().any(|word| name.contains(word)) {
        return UNLIKELY;
    }
    OTHER
}

/// `type` and `id` of items of several types.
fn typed(items: &[Value]) -> Option<(Field, Field)> {
    let types = items
        .iter()
        .map(|item| item.get("type").and_then(Value::as_str));
    let types: Option<BTreeSet<&str>> = types.collect();
    let field = |name: &str| Field::new(vec![At::Member(name.to_owned())], 0);
    let is_mixed = types.is_some_and(|types| types.len() > 1);
    // Of other APIs, `type` is a property like any other, and beside an `id` it identifies nothing.
    let is_json_api = items.iter().all(|item| item.get("attributes").is_some());
    (is_mixed && is_json_api).then(|| (field("type"), field("id")))
}

/// Whether no two items have the same.
fn is_unique(items: &[Value], fields: &[&Field]) -> bool {
    let mut seen = BTreeSet::new();
    let mut kinds = BTreeSet::new();
    items.iter().all(|item| {
        // `1` and `"1"` would be one subject.
        let is_text = fields
            .iter()
            .map(|field| field.of(item).is_some_and(Value::is_string));
        kinds.insert(is_text.collect::<Vec<bool>>());
        key(item, fields).is_some_and(|key| seen.insert(key)) && kinds.len() == 1
    })
}

/// Whether most items of one answer are met again in the next.
fn is_met(before: &[Value], after: &[Value], fields: &[&Field]) -> bool {
    let keys = |items: &[Value]| -> BTreeSet<String> {
        items.iter().filter_map(|item| key(item, fields)).collect()
    };
    let (before, after) = (keys(before), keys(after));
    let least = before.len().min(after.len());
    before.intersection(&after).count() * 2 >= least
}

fn key(item: &Value, fields: &[&Field]) -> Option<String> {
    let parts = fields.iter().map(|field| Some(field.of(item)?.to_string()));
    let parts: Option<Vec<String>> = parts.collect();
    parts.map(|parts| parts.join(","))
}

impl Field {
    fn new(steps: Vec<At>, rank: usize) -> Self {
        let texts = steps.iter().map(|at| match at {
            At::Member(name) => step(name),
            At::Column(place) => format!("[{place}]"),
        });
        let path = std::iter::once("$".to_owned()).chain(texts).collect();
        Self { path, steps, rank }
    }

    /// Its value in `item`, if that may identify it.
    fn of<'a>(&self, item: &'a Value) -> Option<&'a Value> {
        let mut at = item;
        for step in &self.steps {
            at = match step {
                At::Member(name) => at.get(name)?,
                At::Column(place) => at.get(place)?,
            };
        }
        let is_fit = match at {
            Value::String(text) => !text.is_empty() && text.len() <= BYTES_MAX,
            Value::Number(number) => number.is_i64() || number.is_u64(),
            _ => false,
        };
        is_fit.then_some(at)
    }
}
