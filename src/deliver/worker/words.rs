//! In which words an event is told: those of its first attempt, whatever the settings are now.
//!
//! Decides which rendering an attempt has and what of it the store must remember. A receiver drops
//! an id that it knows, so the body under an id must not change while it is tried.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::digest::Digest;
use crate::event::{Rendering, Written};
use crate::store::Told;

/// A rendering and its identity; `None` is the default's.
#[derive(Debug, Clone)]
pub(in crate::deliver) struct Words {
    pub(in crate::deliver) rendering: Arc<Rendering>,
    pub(in crate::deliver) digest: Option<Digest>,
}

/// The renderings of one endpoint.
#[derive(Debug)]
pub(super) struct Speech {
    now: Words,
    /// Its settings, until they are handed over to be kept.
    written: Option<Written>,
    /// What was handed over.
    kept: BTreeSet<Digest>,
}

impl Words {
    /// The words in which an event was told; `now` when it was in none yet, or in some that are
    /// not known any more.
    pub(in crate::deliver) fn of(told: Option<Told>, now: &Self) -> Self {
        let (rendering, digest) = match told {
            Some(Told { digest, .. }) if digest == now.digest => return now.clone(),
            Some(Told { digest: None, .. }) => (Some(Rendering::default()), None),
            Some(Told { digest, settings }) => {
                (settings.and_then(|text| Rendering::read(&text)), digest)
            }
            None => (None, None),
        };
        rendering.map_or_else(
            || now.clone(),
            |rendering| Self {
                rendering: Arc::new(rendering),
                digest,
            },
        )
    }
}

impl Speech {
    pub(super) fn new(rendering: &Arc<Rendering>) -> Self {
        let written = rendering.written();
        Self {
            now: Words {
                rendering: Arc::clone(rendering),
                digest: written.as_ref().map(|written| written.digest),
            },
            written,
            kept: BTreeSet::new(),
        }
    }

    /// Follows the settings in force.
    pub(super) fn follow(&mut self, rendering: &Arc<Rendering>) {
        if Arc::ptr_eq(&self.now.rendering, rendering) {
            return;
        }
        let kept = std::mem::take(&mut self.kept);
        *self = Self::new(rendering);
        self.kept = kept;
    }

    /// The words of an event that was not told yet.
    pub(super) fn now(&self) -> &Words {
        &self.now
    }

    /// The settings in force, the first time that an event is told in them: to be kept no later
    /// than the outcome.
    pub(super) fn unkept(&mut self) -> Option<Written> {
        let written = self.written.take()?;
        self.kept.insert(written.digest).then_some(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Payload;

    fn thin() -> Arc<Rendering> {
        Arc::new(Rendering {
            payload: Payload::Thin,
            ..Rendering::default()
        })
    }

    #[test]
    fn settings_are_handed_over_once_and_the_usual_ones_never() {
        let (usual, thin) = (Arc::new(Rendering::default()), thin());
        let mut speech = Speech::new(&usual);
        assert_eq!(speech.unkept(), None);
        speech.follow(&thin);
        let written = speech.unkept().expect("they are new");
        assert_eq!(speech.now().digest, Some(written.digest));
        assert_eq!(speech.unkept(), None);
        speech.follow(&usual);
        speech.follow(&thin);
        assert_eq!(speech.unkept(), None, "they are kept already");
    }

    #[test]
    fn an_event_keeps_the_words_it_was_told_in() {
        let thin = thin();
        let written = thin.written().expect("it is not the default");
        let told = |digest, settings| Some(Told { digest, settings });
        let was_thin = told(Some(written.digest), Some(written.text));
        let usual = Speech::new(&Arc::new(Rendering::default()));
        let words = |told| Words::of(told, usual.now()).rendering.payload;
        assert_eq!(words(None), Payload::Full);
        assert_eq!(words(was_thin.clone()), Payload::Thin);
        assert_eq!(words(told(Some(written.digest), None)), Payload::Full);
        let now_thin = Speech::new(&thin);
        let words = |told| Words::of(told, now_thin.now()).rendering.payload;
        assert_eq!(words(told(None, None)), Payload::Full);
        assert_eq!(words(was_thin), Payload::Thin);
    }
}
