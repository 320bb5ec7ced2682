//! What rules the answers of an upstream suggest. Pure.
//!
//! Decides what a person is told to write: nothing here is applied by itself. Several answers to
//! one request, asked for within seconds, say more than one: what differs then is more likely
//! noise than news, and what identifies an item must be the same in all of them.
//!
//! | module | what it decides |
//! | --- | --- |
//! | `list` | where the items are |
//! | `identity` | what identifies an item |
//! | `noise` | which fields differ by themselves, and which lists only change their order |
//! | `pages` | how the pages of a list follow each other |
//! | `written` | how all of it is written as TOML |

mod identity;
mod list;
mod noise;
mod pages;
#[cfg(test)]
mod tests;
mod written;

use serde_json::Value;

pub use identity::Identified;
pub use list::{Kind, List, list};
pub use noise::{Noise, Noisy, Pattern};
pub use pages::{Guide, Paging};
pub use written::{Line, quoted};

/// An answer of an upstream.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Its body.
    pub body: &'a Value,
    /// What its head says of the next page.
    pub guide: &'a Guide,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// Names of its query parameters.
    pub query: &'a [String],
    /// Whether it sends a JSON body.
    pub sends_json: bool,
}

/// What answers to one request suggest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Learnt {
    /// Where the items are; `None`: the whole document is watched.
    pub list: Option<List>,
    /// What identifies an item; `None` where nothing does, and for a document.
    pub id: Option<Identified>,
    /// What is noise.
    pub noise: Pattern,
    /// How pages follow each other.
    pub paging: Option<Paging>,
    /// What a person should know, in sentences.
    pub remarks: Vec<String>,
}

/// What `answers` to one request, in their order, suggest.
#[must_use]
pub fn learn(answers: &[Answer<'_>], asked: Asked<'_>) -> Learnt {
    let mut learnt = Learnt::default();
    let Some(first) = answers.first() else {
        return learnt;
    };
    let bodies: Vec<&Value> = answers.iter().map(|answer| answer.body).collect();
    // An empty list says less than one with elements.
    let lists: Vec<List> = bodies.iter().filter_map(|body| list(body)).collect();
    let is_full = |list: &&List| list.kind != Kind::Nothing;
    let best = lists.iter().find(is_full).or(lists.first());
    let is_in_all = |list: &&List| bodies.iter().all(|body| list.of(body).is_some());
    learnt.list = best.filter(is_in_all).cloned();
    let Some(list) = &learnt.list else {
        let remark = "no list of objects was found: the whole document is watched, as one item";
        learnt.remarks.push(remark.to_owned());
        let whole = bodies.windows(2).map(|pair| (pair[0], pair[1]));
        learnt.noise = noise_of(whole, &[], &mut learnt.remarks);
        return learnt;
    };
    let lists: Vec<&[Value]> = bodies.iter().filter_map(|body| list.of(body)).collect();
    learnt.id = identity::identify(&lists, list);
    match &learnt.id {
        Some(id) => {
            let pairs = identity::pairs(&lists, id);
            let own: Vec<&str> = id.paths().collect();
            learnt.noise = noise_of(pairs.into_iter(), &own, &mut learnt.remarks);
        }
        None if lists.iter().all(|list| list.is_empty()) => {
            let remark = "the list is empty now, so `id` is a guess and nothing is known of noise";
            learnt.remarks.push(remark.to_owned());
            learnt.id = Some(Identified::guessed());
        }
        None => {
            let remark = "nothing identifies an item: no field is in every item, another one in \
                          each, and the same in every answer";
            learnt.remarks.push(remark.to_owned());
        }
    }
    let case = pages::Case {
        answer: *first,
        list,
        id: learnt.id.as_ref(),
        count: lists[0].len(),
        asked,
    };
    learnt.paging = pages::paging(&case, &mut learnt.remarks);
    learnt
}

/// The noise between pairs of one item, but for the paths in `own`.
fn noise_of<'a>(
    pairs: impl Iterator<Item = (&'a Value, &'a Value)>,
    own: &[&str],
    remarks: &mut Vec<String>,
) -> Pattern {
    let mut noise = Noise::default();
    for (before, after) in pairs {
        noise.add(before, after);
    }
    let mut pattern = noise.at_once();
    let is_own = |noisy: &Noisy| own.contains(&noisy.path.as_str());
    pattern.ignore.retain(|noisy| !is_own(noisy));
    if !pattern.ignore.is_empty() && noise.is_all_but(&pattern.ignore, own) {
        let paths: Vec<&str> = pattern.ignore.iter().map(|noisy| &*noisy.path).collect();
        remarks.push(format!(
            "all that an item holds differs each time: {}. Either that is what you watch for, \
             or this is not the list",
            paths.join(", ")
        ));
        pattern.ignore.clear();
    }
    pattern
}

/// A member's name as a step of a JSONPath (RFC 9535): `.name`, or `['it\'s']` where it must be
/// quoted.
fn step(name: &str) -> String {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_plain =
        name.starts_with(is_first) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_plain {
        return format!(".{name}");
    }
    // JSON's escapes are those of a JSONPath, but for which quote needs one.
    let quoted = Value::from(name).to_string();
    let inner = quoted[1..quoted.len() - 1].replace("\\\"", "\"");
    format!("['{}']", inner.replace('\'', "\\'"))
}

/// A name without its spelling: `next_page_token`, `nextPageToken` and `next-page-token` are one.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|c| c.to_ascii_lowercase()).collect()
}
