//! A source's life without store and upstream: bodies go in, what rings comes out.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::poll::identity::Identity;
use crate::poll::judge::{self, Judgement};
use crate::store::{Mark, Unseen};

/// A source, and all that is remembered of it.
pub(super) struct Life {
    pub(super) source: config::Source,
    pub(super) memory: Memory,
    pub(super) snapshot: Option<BTreeMap<detect::Subject, Kept>>,
    pub(super) marks: BTreeMap<detect::Subject, Timestamp>,
    /// The present, in seconds.
    pub(super) now: i64,
}

/// An item of the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    digest: Digest,
    pub(super) body: Box<str>,
}

/// What came of a poll.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) outcome: Outcome,
    pub(super) reason: Option<&'static str>,
    /// `-1 ~2 +3`: what was deleted, updated, created, in the order of the events.
    pub(super) rung: String,
    /// The same as it is told: kind, subject, and the members of `data` that tell of the item.
    pub(super) events: Vec<(Kind, String, Value)>,
    /// What operators heard.
    pub(super) announced: Vec<Kind>,
    /// In how many seconds the next poll is due.
    pub(super) next: Option<i64>,
    /// Rows that are written of items and marks.
    pub(super) writes: usize,
}

impl Life {
    /// Of a source of items by `$.id`, polled by hand, that deletes what is missing.
    pub(super) fn new() -> Self {
        let mut source = source();
        source.every = Every::Manual;
        source.items_max = 100_000;
        Self {
            source,
            memory: Memory::default(),
            snapshot: None,
            marks: BTreeMap::new(),
            now: 1_000,
        }
    }

    /// A poll that gets this body.
    pub(super) fn poll(&mut self, body: &str) -> Step {
        match self.find(body) {
            Ok(what) => {
                let conclusion = conclude::success(self.terms(), found(what));
                self.end(conclusion)
            }
            Err(trouble) => self.fail(&trouble),
        }
    }

    /// A poll that gets none.
    pub(super) fn fail(&mut self, trouble: &Trouble) -> Step {
        let conclusion = conclude::failure(self.terms(), trouble);
        self.end(conclusion)
    }

    /// The process ends, and another begins.
    pub(super) fn restart(&mut self) {
        let json = serde_json::to_string(&self.memory).expect("serializable");
        self.memory = serde_json::from_str(&json).expect("what was written");
    }

    /// Subjects of the snapshot.
    pub(super) fn subjects(&self) -> Vec<&str> {
        let snapshot = self.snapshot.as_ref().expect("a snapshot");
        snapshot.keys().map(AsRef::as_ref).collect()
    }

    fn terms(&self) -> Terms<'_> {
        Terms {
            began: at(self.now),
            now: at(self.now),
            ..terms(&self.source, &self.memory)
        }
    }

    /// What [`crate::poll::attempt`] does between body and conclusion.
    fn find(&self, body: &str) -> Result<What, Trouble> {
        let identity = Identity::of(&upstream(), &self.source);
        let rules = identity.rules;
        let (memory, source) = (&self.memory, &self.source);
        let is_of_now = memory.rules == Some(rules) && memory.policy == Some(identity.policy);
        let comparable = self.snapshot.is_some() && is_of_now;
        let raw = RawDigest::of(body.as_bytes());
        let mut learnt = Learnt {
            identity,
            asked: None,
            began: at(0),
            progress: None,
            raw: Some(raw),
            walk: memory.walk,
            validators: Validators::default(),
        };
        if comparable && memory.raw == Some(raw) {
            return Ok(What::Same(Outcome::Unchanged, learnt));
        }
        let walk = detect::read(body.as_bytes(), &source.rules, source.items_max)?;
        let is_known = comparable && memory.walk == Some(walk.digest);
        if is_known && source.forget.is_none() {
            return Ok(What::Same(Outcome::Unchanged, learnt));
        }
        learnt.walk = Some(walk.digest);
        let mut basis = self.basis(rules);
        let (open, now) = (self.open(rules), at(self.now));
        let forgotten = match source.forget {
            Some(after) => forget::forget(&mut basis, &open.unseen, after, now),
            None => Vec::new(),
        };
        let (believed, pending) = match judge::judge(Case {
            source,
            basis: &basis,
            walk: &walk,
            rules,
            open: &open,
            forgotten: &forgotten,
            now,
        }) {
            Judgement::Same => return Ok(What::Same(Outcome::Unchanged, learnt)),
            Judgement::Held(held) => return Ok(What::Held(held)),
            Judgement::Pending(pending) => return Ok(What::Pending(pending)),
            Judgement::Differs(believed, pending) => (believed, pending),
        };
        let changes = plan::changes(Draw {
            source,
            basis: &basis,
            walk: &walk,
            bodies: &[bytes::Bytes::copy_from_slice(body.as_bytes())],
            believed: &believed,
            stored: &self.stored(plan::wanted(source, &basis, &believed)),
        })?;
        Ok(What::Changes(changes, learnt, pending))
    }

    fn basis(&self, rules: Digest) -> Basis {
        let Some(snapshot) = &self.snapshot else {
            return Basis::First;
        };
        let known = snapshot.iter().map(|(subject, kept)| Known {
            subject: subject.clone(),
            digest: kept.digest,
        });
        if self.memory.rules == Some(rules) {
            Basis::Snapshot(known.collect())
        } else {
            Basis::Replaced(known.collect())
        }
    }

    fn open(&self, rules: Digest) -> Open {
        let is_kept_up = self.memory.policy == Some(Identity::of(&upstream(), &self.source).policy);
        let marks = self.marks.iter().filter(|_| self.source.forget.is_some());
        let unseen = marks.map(|(subject, since)| Unseen {
            subject: subject.clone(),
            since: is_kept_up.then_some(*since),
        });
        let pending = self.memory.pending.clone();
        Open {
            held: self.memory.held,
            pending: pending.filter(|pending| pending.rules == rules),
            unseen: unseen.collect(),
        }
    }

    fn stored(&self, wanted: Vec<detect::Subject>) -> HashMap<detect::Subject, Box<str>> {
        let snapshot = self.snapshot.as_ref();
        let body = |subject: &detect::Subject| Some(snapshot?.get(subject)?.body.clone());
        let pairs = wanted.into_iter();
        pairs
            .filter_map(|subject| Some((subject.clone(), body(&subject)?)))
            .collect()
    }

    /// Commits it, as the store does.
    fn end(&mut self, conclusion: Conclusion) -> Step {
        let settles = !matches!(conclusion.outcome, Outcome::Error | Outcome::Held);
        let changes = conclusion.changes.unwrap_or_default();
        let writes = changes.items.len() + changes.marks.len();
        if settles {
            let snapshot = self.snapshot.get_or_insert_default();
            for item in &changes.items {
                match &item.now {
                    Some(form) => {
                        let body = form.body.clone().unwrap_or_default();
                        let digest = form.digest;
                        snapshot.insert(item.subject.clone(), Kept { digest, body });
                    }
                    None => drop(snapshot.remove(&item.subject)),
                }
            }
            if writes > 0 {
                assert_eq!(snapshot.len() as u64, changes.items_after);
            }
        }
        for Mark { subject, since } in changes.marks {
            match since {
                Some(since) => drop(self.marks.insert(subject, since)),
                None => drop(self.marks.remove(&subject)),
            }
        }
        let rung = changes.items.iter().filter_map(|item| {
            let sign = match item.event.as_ref()?.kind {
                Kind::Created => '+',
                Kind::Updated => '~',
                Kind::Deleted => '-',
                _ => '!',
            };
            Some(format!("{sign}{}", item.subject))
        });
        let rung: Vec<String> = rung.collect();
        let events = changes.items.iter().filter_map(|item| {
            let event = item.event.as_ref()?;
            let content = serde_json::from_str(&format!("{{{}}}", event.content));
            let content = content.expect("members of an object");
            Some((event.kind, item.subject.to_string(), content))
        });
        let events = events.collect();
        let announced = conclusion.announcements.iter();
        let next = conclusion.next.map(|next| next.since(at(self.now)));
        self.memory = conclusion.memory;
        Step {
            outcome: conclusion.outcome,
            reason: conclusion.reason,
            rung: rung.join(" "),
            events,
            announced: announced.map(|announcement| announcement.kind).collect(),
            next: next.map(|next| i64::try_from(next.as_secs()).expect("soon")),
            writes,
        }
    }
}

impl Step {
    /// Whether it is held for this reason, and told nobody.
    pub(super) fn is_held(&self, reason: &str) -> bool {
        self.outcome == Outcome::Held && self.reason == Some(reason) && self.rung.is_empty()
    }

    /// Whether it found nothing new.
    pub(super) fn is_unchanged(&self) -> bool {
        self.outcome == Outcome::Unchanged && self.rung.is_empty()
    }
}
