//! Paths folded into one tree of steps, to be followed while a response is read.
//!
//! Decides which steps lead where and what holds at their ends. Leaves doing it to
//! [`super::form`].

use std::collections::BTreeMap;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The member with this name, given in its canonical spelling (without quotes).
    Member(Box<[u8]>),
    /// The element at this index.
    Index(usize),
    /// Every element, or every member's value.
    Each,
}

/// Steps from an item's root.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    nodes: Vec<Node>,
    /// What happens to nodes that are listed.
    pub(super) listed_are: Listed,
    /// How many values identify an item.
    pub(super) ids: usize,
}

/// What the listed paths are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    /// Left out.
    Ignored,
    /// All that counts.
    Only,
}

/// What ends at a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The value is listed.
    Listed,
    /// The value, if it is an array, has no order.
    Unordered,
    /// The value is this part of the id.
    Id(usize),
}

/// Where steps meet; its number is its place in [`Plan::nodes`].
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    members: BTreeMap<Box<[u8]>, u32>,
    elements: BTreeMap<usize, u32>,
    each: Option<u32>,
    /// An [`End::Listed`].
    pub(super) is_listed: bool,
    /// An [`End::Unordered`].
    pub(super) is_unordered: bool,
    /// Every [`End::Id`] here.
    pub(super) ids: Vec<usize>,
    /// Every [`End::Id`] here and below; few, as an id has few parts.
    pub(super) ids_below: Vec<usize>,
}

impl Plan {
    /// The root.
    pub(super) const ROOT: u32 = 0;

    /// A plan without paths.
    pub(super) fn new(listed_are: Listed, ids: usize) -> Self {
        Self {
            nodes: vec![Node::default()],
            listed_are,
            ids,
        }
    }

    /// Adds a path.
    pub(super) fn add(&mut self, steps: &[Step], end: End) {
        let mut at = Self::ROOT;
        for step in steps {
            self.note(at, end);
            at = self.child(at, step);
        }
        self.note(at, end);
        let node = &mut self.nodes[at as usize];
        match end {
            End::Listed => node.is_listed = true,
            End::Unordered => node.is_unordered = true,
            End::Id(part) => node.ids.push(part),
        }
    }

    /// The node with this number.
    #[inline]
    pub(super) fn node(&self, number: u32) -> &Node {
        &self.nodes[number as usize]
    }

    fn note(&mut self, at: u32, end: End) {
        if let End::Id(part) = end {
            self.nodes[at as usize].ids_below.push(part);
        }
    }

    fn child(&mut self, at: u32, step: &Step) -> u32 {
        let next = u32::try_from(self.nodes.len()).expect("a response has fewer nodes than 2^32");
        let node = &mut self.nodes[at as usize];
        let child = match step {
            Step::Member(name) => *node.members.entry(name.clone()).or_insert(next),
            Step::Index(index) => *node.elements.entry(*index).or_insert(next),
            Step::Each => *node.each.get_or_insert(next),
        };
        if child == next {
            self.nodes.push(Node::default());
        }
        child
    }
}

impl Node {
    /// Where the member with this canonically spelled name leads.
    #[inline]
    pub(super) fn member(&self, name: &[u8]) -> Option<u32> {
        self.members.get(name).copied()
    }

    /// Where the element at `index` leads.
    #[inline]
    pub(super) fn element(&self, index: usize) -> Option<u32> {
        self.elements.get(&index).copied()
    }

    /// Where every element and member leads.
    #[inline]
    pub(super) fn each(&self) -> Option<u32> {
        self.each
    }

    /// Whether anything ends here or below.
    pub(super) fn is_used(&self) -> bool {
        let ends = self.is_listed || self.is_unordered || !self.ids.is_empty();
        ends || self.has_children()
    }

    /// Whether it leads on.
    pub(super) fn has_children(&self) -> bool {
        self.each.is_some() || !self.members.is_empty() || !self.elements.is_empty()
    }
}
