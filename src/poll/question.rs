//! What one poll asks, given what is remembered. Pure.
//!
//! Decides where an incremental listing goes on, and when an answer may be asked for by validators.

use std::collections::BTreeMap;

use http::Method;

use super::conclude::Trouble;
use super::identity::Identity;
use super::request;
use crate::client::Validators;
use crate::config::{self, Values};
use crate::detect::{Format, Progress};
use crate::digest::Digest;
use crate::store::Memory;
use crate::time::Timestamp;
use crate::upstream::{Request, Upstream};

/// All that a poll's request follows from.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) source: &'a config::Source,
    pub(super) upstream: &'a Upstream,
    /// What is remembered.
    pub(super) memory: &'a Memory,
    /// Whether there is a snapshot.
    pub(super) has_snapshot: bool,
    /// When the poll begins.
    pub(super) began: Timestamp,
    /// What is asked for, under which rules, of bodies of JSON.
    pub(super) identity: Identity,
    /// The partition's values by name.
    pub(super) partition: &'a BTreeMap<String, String>,
}

impl Question<'_> {
    /// The format that bodies must have: as it is configured, else as the snapshot was made of.
    /// What once was JSON and is a page of XML now has not changed, it has failed. `None`: as they
    /// come.
    pub(super) fn format(&self) -> Option<Format> {
        let learnt = || {
            let rules = self.memory.rules.filter(|_| self.has_snapshot)?;
            self.identity.format_of(rules)
        };
        self.source.format.or_else(learnt)
    }

    /// What is asked for, under which rules, of bodies of this format.
    fn expected(&self) -> Identity {
        let format = self.format().unwrap_or_default();
        self.identity.of_format(format)
    }

    /// Whether what is remembered was made under the request, rules and policy in force.
    pub(super) fn is_comparable(&self) -> bool {
        let expected = self.expected();
        self.has_snapshot
            && self.memory.rules == Some(expected.rules)
            && self.memory.policy == Some(expected.policy)
    }

    /// How far an incremental listing has come. Under another request or other rules it begins
    /// anew: what is compared must be listed whole.
    pub(super) fn progress(&self) -> Option<Progress> {
        let cursor = self.source.cursor.as_ref()?;
        let goes_on = self.has_snapshot && self.memory.rules == Some(self.expected().rules);
        let progress = self.memory.progress.clone().filter(|_| goes_on);
        progress.or_else(|| request::initial(cursor, &self.values(None)))
    }

    /// What is asked for now.
    pub(super) fn request(&self, progress: Option<&Progress>) -> Result<Request, Trouble> {
        let cursor = self.source.cursor.as_ref();
        let lookback = cursor.and_then(|cursor| cursor.lookback);
        let cursor = progress
            .map(|progress| progress.asked(lookback))
            .transpose()?;
        let request = request::render(self.upstream, self.source, &self.values(cursor.as_deref()));
        Ok(request?)
    }

    /// What `request`, which is `asked`, may be made conditional with.
    pub(super) fn validators(&self, request: &Request, asked: Option<Digest>) -> Validators {
        // What is undecided was not committed, so nothing that says "the same" would say of what;
        // and the answer that decides it must bring the bodies. What another request brought says
        // nothing of this one.
        let is_undecided = self.memory.held.is_some() || self.memory.pending.is_some();
        let is_of_this = self.memory.asked == asked && request.method == Method::GET;
        if self.is_comparable() && !is_undecided && is_of_this {
            self.memory.validators.clone()
        } else {
            Validators::default()
        }
    }

    fn values<'v>(&'v self, cursor: Option<&'v str>) -> Values<'v> {
        Values {
            cursor,
            now: self.began,
            last_success: self.memory.asked_at,
            partition: self.partition,
        }
    }
}
