//! Which fields of an item differ by themselves, and which lists only change their order.
//!
//! Decides from how the same items looked twice. A field is told of when it differs in nearly all
//! items that have it: what happens to one item is news.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::step;

/// Most items that are compared: more would say the same.
const ITEMS_MAX: usize = 500;

/// Most paths that are counted; an item of records has some hundred.
const PATHS_MAX: usize = 2_000;

/// How deep paths go; what is below counts as a part of the node there.
const DEPTH_MAX: usize = 16;

/// A path with fewer items than this says nothing by itself, unless there are no more items.
const ITEMS_MIN: usize = 3;

/// How the same items looked in two answers, counted by path.
#[derive(Debug, Clone, Default)]
pub struct Noise {
    items: usize,
    paths: BTreeMap<String, Counts>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    present: usize,
    differs: usize,
    reorders: usize,
    /// Items in which nothing else differs.
    alone: usize,
}

/// A path that differs by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noisy {
    /// Relative to the item, as `ignore` and `unordered` want it.
    pub path: String,
    /// Items in which it differs.
    pub items: usize,
    /// Items that have it.
    pub of: usize,
}

/// What is noise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pattern {
    /// Fields that differ whenever they are asked for.
    pub ignore: Vec<Noisy>,
    /// Lists that hold the same in another order.
    pub unordered: Vec<Noisy>,
}

impl Noise {
    /// Counts an item, as it was and as it is.
    pub fn add(&mut self, before: &Value, after: &Value) {
        if self.items >= ITEMS_MAX {
            return;
        }
        self.items += 1;
        let mut seen = Seen::default();
        seen.compare(before, after, &mut "$".to_owned(), 0);
        let is_alone = seen.differs.len() == 1;
        for path in &seen.differs {
            if let Some(counts) = self.counts(path) {
                counts.differs += 1;
                counts.alone += usize::from(is_alone);
            }
        }
        for path in &seen.reorders {
            if let Some(counts) = self.counts(path) {
                counts.reorders += 1;
            }
        }
        for path in &seen.present {
            if let Some(counts) = self.counts(path) {
                counts.present += 1;
            }
        }
    }

    /// What is noise, if what was counted was asked for within seconds.
    #[must_use]
    pub fn at_once(&self) -> Pattern {
        let needed = ITEMS_MIN.min(self.items);
        self.pattern(|counts| counts.differs >= needed && counts.differs * 5 >= counts.present * 4)
    }

    /// What is noise, if there was time for news: what differs in half of all items and is all
    /// that differs in them.
    #[must_use]
    pub fn in_time(&self) -> Pattern {
        self.pattern(|counts| counts.alone >= ITEMS_MIN && counts.alone * 2 >= self.items)
    }

    /// Whether items hold nothing but `noisy` and what stands at `own`.
    #[must_use]
    pub fn is_all_but(&self, noisy: &[Noisy], own: &[&str]) -> bool {
        let is_counted = |path: &str| noisy.iter().any(|noisy| noisy.path == path);
        let mut paths = self.paths.keys();
        paths.all(|path| is_counted(path) || own.contains(&path.as_str()))
    }

    fn pattern(&self, is_noise: impl Fn(&Counts) -> bool) -> Pattern {
        let noisy = |path: &String, items: usize, counts: &Counts| Noisy {
            path: path.clone(),
            items,
            of: counts.present,
        };
        let mut pattern = Pattern::default();
        for (path, counts) in &self.paths {
            if is_noise(counts) {
                pattern.ignore.push(noisy(path, counts.differs, counts));
            } else if counts.reorders > 0 && counts.differs == 0 {
                pattern.unordered.push(noisy(path, counts.reorders, counts));
            }
        }
        pattern
    }

    /// The counts of a path; `None` for one too many.
    fn counts(&mut self, path: &str) -> Option<&mut Counts> {
        if !self.paths.contains_key(path) {
            if self.paths.len() >= PATHS_MAX {
                return None;
            }
            self.paths.insert(path.to_owned(), Counts::default());
        }
        self.paths.get_mut(path)
    }
}

/// What was met in one item; paths of elements have `[*]`.
#[derive(Default)]
struct Seen {
    present: BTreeSet<String>,
    differs: BTreeSet<String>,
    reorders: BTreeSet<String>,
}

impl Seen {
    fn compare(&mut self, before: &Value, after: &Value, path: &mut String, depth: usize) {
        match (before, after) {
            (Value::Object(before), Value::Object(after)) if depth < DEPTH_MAX => {
                for (name, value) in before {
                    let missing = &Value::Null;
                    let within = |seen: &mut Self, path: &mut String| match after.get(name) {
                        Some(after) => seen.compare(value, after, path, depth + 1),
                        None => seen.leaf(path, *value == *missing),
                    };
                    self.below(path, &step(name), within);
                }
                for name in after.keys().filter(|name| !before.contains_key(*name)) {
                    self.below(path, &step(name), |seen, path| seen.leaf(path, false));
                }
            }
            (Value::Array(before), Value::Array(after)) if depth < DEPTH_MAX => {
                self.lists((before, after), path, depth);
            }
            _ => self.leaf(path, before == after),
        }
    }

    fn lists(&mut self, lists: (&[Value], &[Value]), path: &mut String, depth: usize) {
        let (before, after) = lists;
        if before == after {
            self.leaf(path, true);
        } else if before.len() != after.len() {
            self.leaf(path, false);
        } else if sorted(before) == sorted(after) {
            self.leaf(path, true);
            self.reorders.insert(path.clone());
        } else if before.iter().chain(after).all(is_container) {
            for (before, after) in before.iter().zip(after) {
                self.below(path, "[*]", |seen, path| {
                    seen.compare(before, after, path, depth + 1);
                });
            }
        } else {
            self.leaf(path, false);
        }
    }

    fn below(
        &mut self,
        path: &mut String,
        step: &str,
        within: impl FnOnce(&mut Self, &mut String),
    ) {
        let length = path.len();
        path.push_str(step);
        within(self, path);
        path.truncate(length);
    }

    fn leaf(&mut self, path: &str, is_same: bool) {
        self.present.insert(path.to_owned());
        if !is_same {
            self.differs.insert(path.to_owned());
        }
    }
}

fn sorted(list: &[Value]) -> Vec<String> {
    let mut texts: Vec<String> = list.iter().map(ToString::to_string).collect();
    texts.sort_unstable();
    texts
}

fn is_container(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(pairs: &[(Value, Value)]) -> Noise {
        let mut noise = Noise::default();
        for (before, after) in pairs {
            noise.add(before, after);
        }
        noise
    }

    fn paths(list: &[Noisy]) -> Vec<&str> {
        list.iter().map(|noisy| noisy.path.as_str()).collect()
    }

    #[test]
    fn what_differs_in_nearly_all_items_is_noise_and_what_differs_in_one_is_news() {
        let item = |id: u32, state: &str, at: u32| {
            json!({"id": id, "state": state, "meta": {"fetched at": at},
                "assets": [{"name": "a", "downloads": at}, {"name": "b", "downloads": at + 1}]})
        };
        let pairs: Vec<_> = (0..10)
            .map(|id| {
                let state = if id == 3 { "closed" } else { "open" };
                (item(id, "open", 1), item(id, state, 7))
            })
            .collect();
        let pattern = of(&pairs).at_once();
        assert_eq!(
            paths(&pattern.ignore),
            ["$.assets[*].downloads", "$.meta['fetched at']"]
        );
        assert_eq!((pattern.ignore[0].items, pattern.ignore[0].of), (10, 10));
        assert_eq!(pattern.unordered, []);
        // One answer in which all differs is noise if that is all that there is.
        let document = of(&[(json!({"at": 1, "n": 1}), json!({"at": 2, "n": 1}))]);
        assert_eq!(paths(&document.at_once().ignore), ["$.at"]);
    }

    #[test]
    fn a_rare_field_is_noise_only_where_several_items_have_it() {
        let with = |rare: Option<u32>| match rare {
            Some(rare) => json!({"id": 1, "rare": rare}),
            None => json!({"id": 1}),
        };
        let pairs = |rare: usize| -> Vec<_> {
            let of = |n: usize| if n < rare { Some(1) } else { None };
            let again = |n: usize| if n < rare { Some(2) } else { None };
            (0..20).map(|n| (with(of(n)), with(again(n)))).collect()
        };
        assert_eq!(paths(&of(&pairs(1)).at_once().ignore), [""; 0]);
        assert_eq!(paths(&of(&pairs(5)).at_once().ignore), ["$.rare"]);
    }

    #[test]
    fn lists_that_only_change_their_order_are_unordered() {
        let item =
            |labels: [&str; 3], ranked: [u32; 2]| json!({"labels": labels, "ranked": ranked});
        let pairs = [
            (item(["a", "b", "c"], [1, 2]), item(["c", "a", "b"], [1, 2])),
            (item(["a", "b", "c"], [1, 2]), item(["a", "b", "c"], [2, 1])),
            (item(["a", "b", "c"], [1, 2]), item(["a", "b", "c"], [2, 3])),
        ];
        let pattern = of(&pairs).at_once();
        assert_eq!(paths(&pattern.unordered), ["$.labels"]);
        assert_eq!(pattern.ignore, []);
    }

    #[test]
    fn over_time_only_what_differs_alone_is_noise() {
        let item = |state: &str, at: u32| json!({"state": state, "updated_at": at});
        let honest: Vec<_> = (0..10)
            .map(|_| (item("open", 1), item("closed", 2)))
            .collect();
        assert_eq!(of(&honest).in_time(), Pattern::default());
        let touched: Vec<_> = (0..10)
            .map(|n| {
                let state = if n == 0 { "closed" } else { "open" };
                (item("open", 1), item(state, 2))
            })
            .collect();
        assert_eq!(paths(&of(&touched).in_time().ignore), ["$.updated_at"]);
    }

    #[test]
    fn what_strangers_send_is_bounded() {
        let wide = |n: u32| {
            let members = (0..5_000).map(|name| (name.to_string(), json!(n)));
            Value::Object(members.collect())
        };
        let mut deep = json!(1);
        for _ in 0..100 {
            deep = json!({ "a": deep });
        }
        let mut noise = of(&[(wide(1), wide(2)), (deep.clone(), deep)]);
        assert!(noise.paths.len() <= PATHS_MAX);
        for _ in 0..1_000 {
            noise.add(&json!(1), &json!(2));
        }
        assert_eq!(noise.items, ITEMS_MAX);
    }
}
