//! What outcomes of attempts do to a lane: what goes on, what is parked, what must be asked.

use std::collections::VecDeque;

use super::{Asking, Lane, Line, Stage, Waiting};
use crate::config::Order;
use crate::deliver::queue::Draft;
use crate::detect::Subject;
use crate::event::{EventKey, Kind};
use crate::store::{Attempt, Parked, Settled, Then};
use crate::time::Timestamp;

impl Lane {
    /// An attempt was made. It goes into the draft, unless the store must be asked first.
    pub(in crate::deliver) fn finished(
        &mut self,
        key: EventKey,
        attempt: Attempt,
        then: Then,
        draft: &mut Draft,
    ) -> Option<Asking> {
        let (kind, subject, committed_at) = self.words(key)?;
        let delivery = self.delivery(key);
        let row = Settled {
            delivery,
            subject,
            kind,
            committed_at,
            attempt,
            then,
        };
        if self.window.contains_key(&key) {
            self.finished_first(row, draft);
            return None;
        }
        self.finished_again(row, draft)
    }

    /// The first attempt of an event in the window.
    fn finished_first(&mut self, row: Settled, draft: &mut Draft) {
        let key = row.delivery.event;
        if let Then::Retry(_) = row.then {
            self.window.remove(&key);
            let waiting = Waiting {
                kind: row.kind,
                subject: row.subject.clone(),
                at: row.committed_at,
                attempts: row.attempt.number,
                earlier: 0,
                stage: Stage::Held,
            };
            self.waiting.insert(key, waiting);
            self.parked += 1;
            if self.order == Order::Subject {
                self.stick(&row.subject, key, draft);
            }
        } else if let Some(slot) = self.window.get_mut(&key) {
            slot.stage = Stage::Settling;
        }
        draft.settling.attempts.push(row);
    }

    /// A further attempt of a parked event.
    fn finished_again(&mut self, row: Settled, draft: &mut Draft) -> Option<Asking> {
        let key = row.delivery.event;
        let waiting = self.waiting.get_mut(&key)?;
        if let Then::Retry(_) = row.then {
            waiting.attempts = row.attempt.number;
            waiting.stage = Stage::Held;
            draft.settling.attempts.push(row);
            return None;
        }
        waiting.stage = Stage::Settling;
        if let Some(line) = self.lines.get_mut(&row.subject)
            && let Line::Stuck {
                head,
                behind,
                draft: after,
            } = *line
            && head == key
        {
            let followers = VecDeque::new();
            if behind {
                *line = Line::Leaving { followers };
                return Some(Asking { row, after });
            }
            *line = Line::Moving { followers };
        }
        draft.settling.attempts.push(row);
        None
    }

    /// The store told what is blocked behind a parked head that is done: both are settled
    /// together, so that no crash leaves blocked rows without a head.
    pub(in crate::deliver) fn answered(
        &mut self,
        row: Settled,
        next: Option<Parked>,
        now: Timestamp,
        draft: &mut Draft,
    ) {
        if let Some(next) = next {
            let head = next.event;
            let promoted = Parked {
                due: Some(now),
                ..next
            };
            draft.settling.parked.push((self.id, promoted.clone()));
            let promoted = Waiting::of(promoted, Stage::Promoted);
            self.waiting.insert(head, promoted);
            self.stick(&row.subject, head, draft);
            if let Some(Line::Stuck { behind, .. }) = self.lines.get_mut(&row.subject) {
                *behind = true;
            }
        } else if let Some(line) = self.lines.get_mut(&row.subject)
            && let Line::Leaving { followers } = line
        {
            let followers = std::mem::take(followers);
            *line = Line::Moving { followers };
        }
        draft.settling.attempts.push(row);
    }

    /// Makes `head` the parked head of its subject and parks what waits for it in the window.
    fn stick(&mut self, subject: &Subject, head: EventKey, draft: &mut Draft) {
        let Some(line) = self.lines.get_mut(subject) else {
            return;
        };
        let followers = match line {
            Line::Moving { followers } | Line::Leaving { followers } => std::mem::take(followers),
            Line::Stuck { .. } => VecDeque::new(),
        };
        let behind = !followers.is_empty();
        *line = Line::Stuck {
            head,
            behind,
            draft: draft.number,
        };
        for key in followers {
            if let Some(slot) = self.window.remove(&key) {
                self.parked += 1;
                draft.settling.parked.push((self.id, slot.parked(key)));
            }
        }
    }

    /// What was done is on disk: the subject may go on.
    pub(in crate::deliver) fn settled(&mut self, key: EventKey) {
        let subject = if let Some(slot) = self.window.remove(&key) {
            slot.subject
        } else if let Some(waiting) = self.waiting.remove(&key) {
            self.parked = self.parked.saturating_sub(1);
            waiting.subject
        } else {
            return;
        };
        match self.lines.get_mut(&subject) {
            Some(Line::Moving { followers }) => match followers.pop_front() {
                Some(next) => {
                    if let Some(slot) = self.window.get_mut(&next) {
                        slot.stage = Stage::Ready;
                        self.ready.push_back(next);
                    }
                }
                None => {
                    self.lines.remove(&subject);
                }
            },
            Some(Line::Stuck { head, .. }) => {
                if let Some(next) = self.waiting.get_mut(head)
                    && next.stage == Stage::Promoted
                {
                    next.stage = Stage::Ready;
                    self.ready.push_back(*head);
                }
            }
            Some(Line::Leaving { .. }) | None => {}
        }
    }

    fn words(&self, key: EventKey) -> Option<(Kind, Subject, Timestamp)> {
        if let Some(slot) = self.window.get(&key) {
            return Some((slot.kind, slot.subject.clone(), slot.at));
        }
        let waiting = self.waiting.get(&key)?;
        Some((waiting.kind, waiting.subject.clone(), waiting.at))
    }
}
