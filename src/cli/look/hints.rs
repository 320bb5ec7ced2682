//! What a look suggests to change.

use std::collections::HashMap;

use super::APART;
use crate::config;
use crate::detect::learn::{Noise, Noisy, Pattern, list};
use crate::detect::{self, Fields};
use crate::poll::{Again, Brought, Look};
use crate::store::Peek;

/// Ids of which less than a tenth is met again a second later identify nothing.
const MET_AGAIN_MIN: usize = 10;

/// Fewer items than this may well all have been exchanged.
const ITEMS_MIN: usize = 3;

/// Something to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hint {
    /// The key that it is about.
    pub(super) key: &'static str,
    /// What to add there, if that is a path.
    pub(super) path: Option<String>,
    /// For a person.
    pub(super) text: String,
}

/// What the looks suggest, given what is known.
pub(super) fn hints(
    source: &config::Source,
    look: &Look,
    again: Option<&Again>,
    known: Option<&Peek>,
) -> Vec<Hint> {
    let mut hints = Vec::new();
    if let (Some(period), Some(wait)) = (source.every.longest(), look.wait)
        && wait > period
    {
        let wait = humantime::format_duration(wait);
        let text = format!("the upstream asks for {wait} between polls, `every` is shorter");
        hints.push(hint("every", text));
    }
    let Some(brought) = &look.brought else {
        return hints;
    };
    hints.extend(list_within(source, brought));
    let mut pattern = Pattern::default();
    let mut when = String::new();
    if let Some(known) = known {
        pattern = since(source, known, brought);
        "since the last poll and is all that does".clone_into(&mut when);
    }
    if let Some(Again::Brought(later)) = again {
        if let Some(unstable) = unstable_ids(source, brought, later) {
            hints.push(unstable);
            return hints;
        }
        let at_once = between(source, brought, later);
        if at_once != Pattern::default() {
            pattern = at_once;
            when = format!(
                "between two polls {} apart",
                humantime::format_duration(APART)
            );
        }
        hints.extend(unheeded(brought, later));
    }
    let is_listed = matches!(source.rules.fields, Fields::Only(_));
    for Noisy { path, items, of } in pattern.ignore {
        let (key, advice) = if is_listed {
            ("only", "leave it out of `only`?")
        } else {
            ("ignore", "add it to `ignore`?")
        };
        let text = format!("`{path}` differs in {items} of {of} items {when}: {advice}");
        hints.push(Hint {
            path: Some(path),
            ..hint(key, text)
        });
    }
    for Noisy { path, items, of } in pattern.unordered {
        let text = format!(
            "`{path}` holds the same in another order in {items} of {of} items: \
             add it to `unordered`?"
        );
        hints.push(Hint {
            path: Some(path),
            ..hint("unordered", text)
        });
    }
    hints
}

/// What differs between two looks that have the same items.
fn between(source: &config::Source, first: &Brought, second: &Brought) -> Pattern {
    let mut noise = Noise::default();
    let mut later = second.walk.entries.iter().peekable();
    for entry in &first.walk.entries {
        while later
            .next_if(|later| later.subject < entry.subject)
            .is_some()
        {}
        let Some(same) = later.next_if(|later| later.subject == entry.subject) else {
            continue;
        };
        let (before, after) = (first.received(entry), second.received(same));
        add(&mut noise, source, before, after);
    }
    noise.at_once()
}

/// What differs from the snapshot.
fn since(source: &config::Source, known: &Peek, brought: &Brought) -> Pattern {
    let mut noise = Noise::default();
    let bodies = known.items.iter().zip(&known.bodies);
    let bodies = bodies.filter_map(|(item, body)| Some((&*item.subject, body.as_deref()?)));
    let bodies: HashMap<&str, &str> = bodies.collect();
    for entry in &brought.walk.entries {
        if let Some(before) = bodies.get(&*entry.subject) {
            add(&mut noise, source, before, brought.received(entry));
        }
    }
    noise.in_time()
}

fn add(noise: &mut Noise, source: &config::Source, before: &str, after: &str) {
    if let Some((before, after)) = detect::projections(before, after, &source.rules) {
        noise.add(&before, &after);
    }
}

/// Ids that are other ones a second later.
fn unstable_ids(source: &config::Source, first: &Brought, second: &Brought) -> Option<Hint> {
    let (before, after) = (&first.walk.entries, &second.walk.entries);
    let is_known = |subject| before.binary_search_by(|e| e.subject.cmp(subject)).is_ok();
    let met = after
        .iter()
        .filter(|entry| is_known(&entry.subject))
        .count();
    let least = before.len().min(after.len());
    if least < ITEMS_MIN || met * MET_AGAIN_MIN >= least {
        return None;
    }
    let id: Vec<&str> = source.rules.id.iter().map(detect::Path::as_str).collect();
    let text = format!(
        "`{}` identifies nothing: {met} of {} items were met again {} later. Every poll would \
         ring all of them: choose another `id`",
        id.join(" and "),
        before.len(),
        humantime::format_duration(APART),
    );
    Some(hint("id", text))
}

/// A list in a document that is watched whole.
fn list_within(source: &config::Source, brought: &Brought) -> Option<Hint> {
    let (None, [body]) = (&source.rules.items, &*brought.bodies) else {
        return None;
    };
    let body = serde_json::from_slice(body).ok()?;
    let list = list(&body)?;
    let count = list.of(&body)?.len();
    let name = &source.name;
    let text = format!(
        "the document holds a list of {count} at `{}`: with `items` and `id` each of them rings \
         by itself, `doorbell poll {name} --suggest` proposes both",
        list.path()
    );
    (count >= ITEMS_MIN).then(|| Hint {
        path: Some(list.items()),
        ..hint("items", text)
    })
}

/// Validators that the upstream sends and does not heed.
fn unheeded(first: &Brought, second: &Brought) -> Option<Hint> {
    let is_same = first.bodies == second.bodies;
    let (etag, later) = (&first.validators.etag, &second.validators.etag);
    let text = if !is_same || first.validators == crate::client::Validators::default() {
        return None;
    } else if etag != later {
        "the `ETag` is another one for the same answer, so every poll transfers all of it"
    } else {
        "the upstream does not heed its own validators, so every poll transfers the whole answer"
    };
    Some(hint("validators", text.to_owned()))
}

fn hint(key: &'static str, text: String) -> Hint {
    Hint {
        key,
        path: None,
        text,
    }
}
