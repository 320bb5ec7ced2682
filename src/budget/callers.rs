//! Who of the waiting callers is next: each identity has a line, and the lines take turns.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::Ticket;

/// Callers that wait.
#[derive(Debug, Default)]
pub(super) struct Callers {
    /// None of them empty.
    lines: HashMap<u64, VecDeque<Ticket>>,
    /// The lines, in the order of their turns.
    turns: VecDeque<u64>,
    identities: BTreeMap<Ticket, u64>,
}

impl Callers {
    pub(super) fn len(&self) -> usize {
        self.identities.len()
    }

    pub(super) fn push(&mut self, identity: u64, ticket: Ticket) {
        let line = self.lines.entry(identity).or_default();
        if line.is_empty() {
            self.turns.push_back(identity);
        }
        line.push_back(ticket);
        self.identities.insert(ticket, identity);
    }

    /// The next one. Its line has the next turn after all others.
    pub(super) fn pop(&mut self) -> Option<(Ticket, u64)> {
        let identity = self.turns.pop_front()?;
        let line = self.lines.get_mut(&identity)?;
        let ticket = line.pop_front()?;
        if line.is_empty() {
            self.lines.remove(&identity);
        } else {
            self.turns.push_back(identity);
        }
        self.identities.remove(&ticket);
        Some((ticket, identity))
    }

    /// Whether it waited; it does no more.
    pub(super) fn remove(&mut self, ticket: Ticket) -> bool {
        let Some(identity) = self.identities.remove(&ticket) else {
            return false;
        };
        let Some(line) = self.lines.get_mut(&identity) else {
            return false;
        };
        if let Ok(at) = line.binary_search(&ticket) {
            line.remove(at);
        }
        if line.is_empty() {
            self.lines.remove(&identity);
            self.turns.retain(|turn| *turn != identity);
        }
        true
    }

    /// How many would go before one more of this identity, if nobody else came.
    pub(super) fn ahead_of(&self, identity: u64) -> usize {
        let own = self.lines.get(&identity).map_or(0, VecDeque::len);
        let others = self.lines.iter().filter(|(other, _)| **other != identity);
        // In each round each line goes once; who is new comes last in its round.
        own + others
            .map(|(_, line)| line.len().min(own + 1))
            .sum::<usize>()
    }
}
