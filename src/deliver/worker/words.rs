//! In which words an event is told: those of its first attempt, whatever the settings are now.
//!
//! Decides which rendering an attempt has and what of it the store must remember. A receiver drops
//! an id that it knows, so the body under an id must not change while it is tried. An attempt that
//! was cut off has left no outcome: for its sake the store knows an endpoint's words before any
//! attempt has them, and they change only while none is in flight.

use std::sync::Arc;

use crate::digest::Digest;
use crate::event::{EventKey, Rendering, Written};
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
    /// Its settings, as the store keeps them.
    written: Option<Written>,
    /// Whether the store knows that attempts have these words.
    is_noted: bool,
    /// Whether it knows that attempts have these or earlier words.
    is_spoken: bool,
    /// Whether it is being told.
    is_noting: bool,
    former: Former,
}

/// Words in which events up to some may have been told before a doorbell ended without a word, in the
/// order in which they may have been tried.
pub(super) type Former = Arc<[(EventKey, Words)]>;

impl Words {
    /// The words in which an event was told; `now` when they are not known any more.
    pub(in crate::deliver) fn of(told: Told, now: &Self) -> Self {
        let (rendering, digest) = match told {
            Told { digest, .. } if digest == now.digest => return now.clone(),
            Told { digest: None, .. } => (Some(Rendering::default()), None),
            Told { digest, settings } => (settings.and_then(|text| Rendering::read(&text)), digest),
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
            is_noted: false,
            is_spoken: false,
            is_noting: false,
            former: Arc::default(),
        }
    }

    /// Follows the settings in force: where they are others, once they are noted.
    pub(super) fn follow(&mut self, rendering: &Arc<Rendering>) {
        if Arc::ptr_eq(&self.now.rendering, rendering) {
            return;
        }
        let Self { now, written, .. } = Self::new(rendering);
        self.is_noted &= now.digest == self.now.digest;
        (self.now, self.written) = (now, written);
    }

    /// The words of an event that was not told yet.
    pub(super) fn now(&self) -> &Words {
        &self.now
    }

    /// The words that an event may have been told in although nothing of it is known.
    pub(super) fn former(&self) -> Former {
        Arc::clone(&self.former)
    }

    /// Whether some of them may be those of `event`.
    pub(super) fn is_former(&self, event: EventKey) -> bool {
        self.former.iter().any(|(until, _)| event <= *until)
    }

    /// Whether attempts may begin.
    pub(super) fn is_noted(&self) -> bool {
        self.is_noted
    }

    /// Whether the store must be told that no attempt is in flight any more.
    pub(super) fn is_spoken(&self) -> bool {
        self.is_spoken
    }

    /// Whether the store is being told.
    pub(super) fn is_noting(&self) -> bool {
        self.is_noting
    }

    /// What the store is told before attempts begin.
    pub(super) fn note(&mut self) -> Option<Written> {
        self.is_noting = true;
        self.written.clone()
    }

    /// The store was told in vain.
    pub(super) fn not_noted(&mut self) {
        self.is_noting = false;
    }

    /// The store has noted `written`.
    pub(super) fn noted(&mut self, written: Option<&Written>, former: Vec<(EventKey, Told)>) {
        (self.is_noting, self.is_spoken) = (false, true);
        self.is_noted = written == self.written.as_ref();
        let words = |(until, told)| (until, Words::of(told, &self.now));
        self.former = former.into_iter().map(words).collect();
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
    fn other_settings_hold_once_they_are_noted() {
        let (usual, thin) = (Arc::new(Rendering::default()), thin());
        let mut speech = Speech::new(&usual);
        assert!(!speech.is_noted() && !speech.is_spoken());
        speech.noted(None, Vec::new());
        assert!(speech.is_noted() && speech.is_spoken());
        speech.follow(&Arc::new(Rendering::default()));
        assert!(speech.is_noted(), "they are the same");
        speech.follow(&thin);
        assert!(!speech.is_noted() && speech.is_spoken());
        speech.noted(None, Vec::new());
        assert!(!speech.is_noted(), "they have changed meanwhile");
        let written = thin.written();
        assert_eq!(speech.note(), written);
        assert!(speech.is_noting());
        speech.not_noted();
        assert!(!speech.is_noting() && !speech.is_noted());
        speech.noted(written.as_ref(), Vec::new());
        assert!(speech.is_noted());
    }

    #[test]
    fn events_of_before_may_have_been_told_in_former_words() {
        let thin = thin();
        let Written { digest, text } = thin.written().expect("it is not the default");
        let mut speech = Speech::new(&Arc::new(Rendering::default()));
        let told = Told {
            digest: Some(digest),
            settings: Some(text),
        };
        speech.noted(None, vec![(EventKey::new(7, 3), told)]);
        assert_eq!(speech.former()[0].1.rendering.payload, Payload::Thin);
        assert!(speech.is_former(EventKey::new(7, 3)));
        assert!(!speech.is_former(EventKey::new(7, 4)));
    }

    #[test]
    fn an_event_keeps_the_words_it_was_told_in() {
        let thin = thin();
        let written = thin.written().expect("it is not the default");
        let told = |digest, settings| Told { digest, settings };
        let was_thin = told(Some(written.digest), Some(written.text));
        let usual = Speech::new(&Arc::new(Rendering::default()));
        let words = |told| Words::of(told, usual.now()).rendering.payload;
        assert_eq!(words(was_thin.clone()), Payload::Thin);
        assert_eq!(words(told(Some(written.digest), None)), Payload::Full);
        let now_thin = Speech::new(&thin);
        let words = |told| Words::of(told, now_thin.now()).rendering.payload;
        assert_eq!(words(told(None, None)), Payload::Full);
        assert_eq!(words(was_thin), Payload::Thin);
    }
}
