//! How far an incremental listing has come: the greatest value of its items.
//!
//! Decides how the greatest is found and what is asked for from it. One listing has values of one
//! kind: what mixes them is refused, because no order would be right. Leaves what a value is to
//! [`value`], and sending it to [`crate::poll`].

#[cfg(test)]
mod tests;
mod value;

use std::time::Duration;

use self::value::Value;
use super::cursor::Cursor;
use super::{Page, Path, Unreadable, locate};
use crate::time::Timestamp;

/// How far an incremental listing has come.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// The value, as it was spelled.
    pub text: Box<str>,
    /// Whether no item had it: it is where the configuration began.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_initial: bool,
}

impl Progress {
    /// The further of this progress and the values at `from` of all items of `pages`, which are the
    /// bodies and their items. An item whose clock is ahead of `now` is left out, because all that
    /// follow it would be hidden; it is listed again until its time has come.
    ///
    /// A time without zone is ahead when it is so in every zone. A number is an epoch that is
    /// ahead only where the others, or this progress, lie in the last ten years as epochs of the
    /// same unit: a counter may be as large, and goes on. An item without the value, or with
    /// null, says nothing.
    ///
    /// # Errors
    /// [`Unreadable::Shape`] for values of different kinds, or that are neither string nor number.
    pub fn furthest<'a>(
        before: Option<&Self>,
        pages: impl IntoIterator<Item = (&'a [u8], &'a Page)>,
        from: &Path,
        now: Timestamp,
    ) -> Result<Option<Self>, Unreadable> {
        let further = |known: Value, value| known.max(value).ok_or_else(|| mixed(from));
        let (mut come, mut ahead): (Option<Value>, Option<Value>) = (None, None);
        for (body, page) in pages {
            for range in page.ranges() {
                let item = body.get(range).unwrap_or_default();
                let Some(spelled) = locate::pick_in(&mut Cursor::over(item), from)? else {
                    continue;
                };
                let Some(value) = Value::spelled(spelled, from)? else {
                    continue;
                };
                let furthest = if value.is_ahead(now) {
                    &mut ahead
                } else {
                    &mut come
                };
                *furthest = Some(match furthest.take() {
                    Some(known) => further(known, value)?,
                    None => value,
                });
            }
        }
        let known = before.map(|progress| Value::of(&progress.text));
        let is_clock = |value: &Value| {
            let mut others = [&come, &known].into_iter().flatten();
            matches!(value, Value::Time(_))
                || others.any(|other| other.tells_of_a_clock(value, now))
        };
        let hides = |value: &Value| value.is_ahead(now) && is_clock(value);
        let furthest = match (&come, ahead) {
            (Some(come), Some(ahead)) => {
                let hides = hides(&ahead);
                let furthest = further(come.clone(), ahead)?;
                Some(if hides { come.clone() } else { furthest })
            }
            (None, Some(ahead)) => (!hides(&ahead)).then_some(ahead),
            (come, None) => (*come).clone(),
        };
        let Some(furthest) = furthest else {
            return Ok(before.cloned());
        };
        let is_initial = before.is_some_and(|progress| progress.is_initial);
        let furthest = match &known {
            None => furthest,
            // What the configuration began with may be of another kind: "0" for times.
            Some(initial) if is_initial => {
                initial.clone().max(furthest.clone()).unwrap_or(furthest)
            }
            Some(known) => {
                let furthest_of_all = further(known.clone(), furthest.clone())?;
                if hides(known) {
                    furthest
                } else {
                    furthest_of_all
                }
            }
        };
        let is_initial =
            is_initial && before.is_some_and(|progress| *progress.text == *furthest.text());
        Ok(Some(Self {
            text: furthest.text().into(),
            is_initial,
        }))
    }

    /// What the upstream is asked for: the progress less `lookback`.
    ///
    /// Without `lookback`, one step of what may be the clock's precision: a value at a full minute
    /// may come from a clock of minutes. So what came at the same tick is listed again, also where
    /// the upstream takes its parameter to be exclusive. Where the configuration began is asked
    /// for as it is, and so are texts, which have no distances.
    ///
    /// # Errors
    /// [`Unreadable::Shape`] for a `lookback` from what is neither time nor number.
    pub fn asked(&self, lookback: Option<Duration>) -> Result<String, Unreadable> {
        if self.is_initial {
            return Ok(self.text.to_string());
        }
        Value::of(&self.text).back(lookback).ok_or_else(|| {
            Unreadable::Shape("`lookback` needs times or numbers where `from` points".to_owned())
        })
    }
}

fn mixed(from: &Path) -> Unreadable {
    Unreadable::Shape(format!(
        "`{from}` is a time in one place, a number or another text in the other"
    ))
}
