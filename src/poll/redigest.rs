//! Brings a snapshot under changed rules: its stored bodies are read again, so that the next walk
//! is compared with what was known and no change between the two is missed.

use super::attempt::Attempt;
use super::conclude::Trouble;
use crate::detect::{self, Known, Path, Rules, Subject};

/// Items whose bodies are in memory at once.
const CHUNK_ITEMS: usize = 4_096;

/// The known items with digests under the rules in force; `None` when a body is not kept, or when
/// the rules now tell other items apart, so that nothing can be compared.
pub(super) async fn known(
    attempt: &Attempt<'_>,
    known: &[Known],
) -> Result<Option<Vec<Known>>, Trouble> {
    let Some(rules) = rules_of_stored(&attempt.source.rules) else {
        return Ok(None);
    };
    let mut digested = Vec::with_capacity(known.len());
    for chunk in known.chunks(CHUNK_ITEMS) {
        let subjects = chunk.iter().map(|item| item.subject.clone()).collect();
        let (store, snapshot) = (&attempt.room.store, attempt.seat.snapshot);
        let items = store.bodies(snapshot, subjects).await?;
        let items = items
            .into_iter()
            .map(|(subject, body)| Some((subject, body?)));
        let Some((subjects, bodies)) = items.collect::<Option<(Vec<_>, Vec<_>)>>() else {
            return Ok(None);
        };
        let rules = rules.clone();
        let again = attempt
            .room
            .bench
            .run(true, move || read_again(&subjects, &bodies, &rules));
        let Some(again) = again.await? else {
            return Ok(None);
        };
        digested.extend(again);
    }
    Ok(Some(digested))
}

/// The rules as they apply to stored bodies: an array of them where the source has items.
pub(super) fn rules_of_stored(rules: &Rules) -> Option<Rules> {
    let items = match rules.items {
        Some(_) => Some(Path::parse("$[*]").ok()?),
        None => None,
    };
    Some(Rules {
        items,
        ..rules.clone()
    })
}

/// `None` when the bodies are not the items `subjects` under `rules`.
pub(super) fn read_again(
    subjects: &[Subject],
    bodies: &[Box<str>],
    rules: &Rules,
) -> Option<Vec<Known>> {
    let text = match rules.items {
        Some(_) => format!("[{}]", bodies.join(",")),
        None => match bodies {
            [document] => document.to_string(),
            _ => return None,
        },
    };
    let walk = detect::read(text.as_bytes(), rules, bodies.len()).ok()?;
    let again = walk.entries.iter().map(|entry| &entry.subject);
    if !again.eq(subjects) {
        return None;
    }
    let known = walk.entries.into_iter().map(|entry| Known {
        subject: entry.subject,
        digest: entry.digest,
    });
    Some(known.collect())
}
