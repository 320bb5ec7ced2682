//! From a request to what a poll would conclude of its answer: as `attempt` does
//! it, with all that is known in memory.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::{Against, Brought, Looker, Waiting};
use crate::client::Validators;
use crate::config::{self, Deletes, Keep};
use crate::detect::{self, Format, Known, Progress, Subject};
use crate::poll::bench::Bench;
use crate::poll::conclude::{Found, Learnt, Trouble, What};
use crate::poll::identity::{Identity, asked, same_request};
use crate::poll::judge::{self, Believed, Case, Judgement, Open};
use crate::poll::plan::{self, Basis, Draw};
use crate::poll::question::Question;
use crate::poll::walk::{self, Leaves, Pages, Walked, Walker};
use crate::poll::{Outcome, forget, redigest};
use crate::store::Peek;
use crate::upstream::{By, Request};
use parking_lot::Mutex;

/// What a glance at the upstream gave, before it is concluded.
pub(super) struct Glance {
    pub(super) sent: Validators,
    pub(super) took: Duration,
    pub(super) seen: Result<Seen, Trouble>,
}

/// A believable answer.
pub(super) struct Seen {
    pub(super) brought: Option<Brought>,
    pub(super) against: Against,
    pub(super) waiting: Waiting,
    pub(super) found: Found,
}

impl Looker<'_> {
    pub(super) fn question<'q>(
        &'q self,
        known: &'q Peek,
        partition: &'q BTreeMap<String, String>,
    ) -> Question<'q> {
        Question {
            source: self.source,
            upstream: self.upstream,
            memory: &known.memory,
            has_snapshot: known.has_snapshot,
            began: self.now,
            identity: Identity::of(self.upstream.config(), self.source),
            partition,
        }
    }

    pub(super) async fn walk(
        &self,
        request: &Request,
        validators: &Validators,
        learnt: Option<Format>,
    ) -> Result<Walked, Trouble> {
        let walker = Walker {
            learnt,
            source: self.source,
            upstream: self.upstream,
            by: By::Hand,
            trace: &Mutex::default(),
            bench: &Bench::with_room_for(1),
            received: &|_| (),
        };
        walker.walk(request, validators).await
    }

    pub(super) async fn glance(
        &self,
        question: &Question<'_>,
        request: &Request,
        progress: Option<Progress>,
        known: &Peek,
    ) -> Glance {
        let asked = asked(self.source, request);
        let sent = question.validators(request, asked);
        let began = Instant::now();
        let format = question.format();
        let walked = self.walk(request, &sent, format).await;
        let took = began.elapsed();
        let learnt = Learnt {
            identity: question.identity.of_format(format.unwrap_or_default()),
            asked,
            began: self.now,
            progress,
            raw: None,
            walk: known.memory.walk,
            validators: sent.clone(),
        };
        let seen = match walked {
            Err(trouble) => Err(trouble),
            Ok(Walked::NotModified { pacing, .. }) => Ok(Seen {
                brought: None,
                against: against_snapshot(known),
                waiting: Waiting::default(),
                found: Found {
                    what: What::Same(Outcome::NotModified, learnt),
                    pacing,
                },
            }),
            Ok(Walked::Whole(pages)) => {
                let pacing = pages.pacing;
                let seen = self
                    .compare((question, request), pages, known, learnt)
                    .await;
                seen.map_err(|trouble| trouble.paced(pacing))
            }
        };
        Glance { sent, took, seen }
    }

    /// Compares the pages with what is known, as a poll does.
    async fn compare(
        &self,
        (question, request): (&Question<'_>, &Request),
        pages: Pages,
        known: &Peek,
        mut learnt: Learnt,
    ) -> Result<Seen, Trouble> {
        let (pacing, several) = (pages.pacing, pages.sheets.len() > 1);
        let may_be_cut = pages.may_be_cut();
        learnt.identity = question.identity.of_format(pages.format);
        learnt.raw = Some(pages.raw());
        learnt.validators.clone_from(&pages.validators);
        let (mut brought, progress) = self.read(pages, learnt.progress.as_ref())?;
        learnt.progress = progress;
        learnt.walk = Some(brought.walk.digest);
        let memory = &known.memory;
        let comparable = question.is_comparable();
        let is_same_walk = memory.walk == learnt.walk && self.source.forget.is_none();
        let mut basis = self.basis(known, learnt.identity);
        let against = against(&basis);
        if comparable && (memory.raw == learnt.raw || is_same_walk) {
            let what = What::Same(Outcome::Unchanged, learnt);
            return Ok(Seen {
                brought: Some(brought),
                against,
                waiting: Waiting::default(),
                found: Found { what, pacing },
            });
        }
        if may_be_cut {
            let again = self.asked_again(request, &brought).await?;
            if again.walk.digest != brought.walk.digest {
                return Err(walk::cut());
            }
        }
        let may_delete = self.source.deletes == Deletes::Full;
        if several && (may_delete || self.source.cursor.is_some()) {
            brought = self.read_twice(request, brought).await?;
        }
        let (what, waiting) = self.judge(&mut basis, &brought, known, learnt)?;
        Ok(Seen {
            brought: Some(brought),
            against,
            waiting,
            found: Found { what, pacing },
        })
    }

    /// Walks once more, as a poll does whose pages lack items: they shift while they are read.
    async fn read_twice(&self, request: &Request, first: Brought) -> Result<Brought, Trouble> {
        let second = self.asked_again(request, &first).await?;
        let pages = u32::try_from(first.bodies.len()).unwrap_or(u32::MAX);
        Ok(Brought {
            walk: detect::unite(first.walk, second.walk, pages),
            bodies: [first.bodies, second.bodies].concat(),
            ..second
        })
    }

    async fn asked_again(&self, request: &Request, first: &Brought) -> Result<Brought, Trouble> {
        let none = Validators::default();
        let again = self.walk(request, &none, Some(first.format)).await?;
        let Walked::Whole(again) = again else {
            return Err(Trouble::internal("an unconditional walk was not modified"));
        };
        Ok(self.read(again, None)?.0)
    }

    pub(super) fn read(
        &self,
        pages: Pages,
        progress: Option<&Progress>,
    ) -> Result<(Brought, Option<Progress>), Trouble> {
        let (format, received) = (pages.format, pages.bytes());
        let leaves = walk::read(pages.sheets, self.source)?;
        let Leaves {
            pages: sheets,
            bodies,
        } = leaves;
        let progress = match &self.source.cursor {
            None => None,
            Some(cursor) => {
                let texts = bodies.iter().map(AsRef::as_ref).zip(&sheets);
                Progress::furthest(progress, texts, &cursor.from, self.now)?
            }
        };
        let brought = Brought {
            status: pages.status,
            format,
            bytes: received,
            content_type: pages.content_type,
            validators: pages.validators,
            walk: detect::join(sheets)?,
            bodies,
        };
        Ok((brought, progress))
    }

    fn basis(&self, known: &Peek, identity: Identity) -> Basis {
        if !known.has_snapshot {
            return Basis::First;
        }
        let rules = known.memory.rules;
        if rules == Some(identity.rules) {
            return Basis::Snapshot(known.items.clone());
        }
        let rules_alone = rules.is_some_and(|rules| same_request(rules, identity.rules));
        let anew = (rules_alone && self.source.keep == Keep::Bodies)
            .then(|| digested_anew(known, self.source))
            .flatten();
        match anew {
            Some(anew) => Basis::Redigested {
                known: anew,
                stored: known.items.iter().map(|item| item.digest).collect(),
            },
            None => Basis::Replaced(known.items.clone()),
        }
    }

    fn judge(
        &self,
        basis: &mut Basis,
        brought: &Brought,
        known: &Peek,
        learnt: Learnt,
    ) -> Result<(What, Waiting), Trouble> {
        let (source, rules, now) = (self.source, learnt.identity.rules, self.now);
        let open = open(known, learnt.identity);
        let forgotten = match source.forget {
            Some(after) => forget::forget(basis, &open.unseen, after, now),
            None => Vec::new(),
        };
        let case = Case {
            source,
            basis,
            walk: &brought.walk,
            rules,
            open: &open,
            forgotten: &forgotten,
            now,
        };
        let all = Believed::all(case, &detect::diff(basis.known(), &brought.walk.entries));
        let (believed, pending) = match judge::judge(case) {
            Judgement::Same => {
                let what = What::Same(Outcome::Unchanged, learnt);
                return Ok((what, Waiting::default()));
            }
            Judgement::Held(held) => return Ok((What::Held(held), Waiting::of(&all))),
            Judgement::Pending(pending) => {
                return Ok((What::Pending(pending), Waiting::of(&all)));
            }
            Judgement::Differs(believed, pending) => (believed, pending),
        };
        let waiting = Waiting::of(&all).less(Waiting::of(&believed));
        let wanted = plan::wanted(source, basis, &believed);
        let changes = plan::changes(Draw {
            source,
            basis,
            walk: &brought.walk,
            bodies: &brought.bodies,
            believed: &believed,
            stored: &stored(known, &wanted),
        })?;
        Ok((What::Changes(changes, learnt, pending), waiting))
    }
}

impl Waiting {
    fn of(believed: &Believed) -> Self {
        Self {
            created: believed.created.len(),
            updated: believed.updated.len(),
            deleted: believed.removed.len(),
        }
    }

    fn less(self, other: Self) -> Self {
        Self {
            created: self.created.saturating_sub(other.created),
            updated: self.updated.saturating_sub(other.updated),
            deleted: self.deleted.saturating_sub(other.deleted),
        }
    }
}

impl Glance {
    pub(super) fn failed(trouble: Trouble) -> Self {
        Self {
            sent: Validators::default(),
            took: Duration::ZERO,
            seen: Err(trouble),
        }
    }
}

pub(super) fn against_snapshot(known: &Peek) -> Against {
    if known.has_snapshot {
        Against::Snapshot(known.items.len())
    } else {
        Against::Nothing
    }
}

fn against(basis: &Basis) -> Against {
    let items = basis.known().len();
    match basis {
        Basis::First => Against::Nothing,
        Basis::Snapshot(_) => Against::Snapshot(items),
        Basis::Redigested { .. } => Against::OtherRules(items),
        Basis::Replaced(_) => Against::Replaced(items),
    }
}

fn open(known: &Peek, identity: Identity) -> Open {
    let memory = &known.memory;
    let pending = memory.pending.clone();
    let mut unseen = known.unseen.clone();
    if memory.policy != Some(identity.policy) {
        // Marks were not kept up meanwhile.
        for unseen in &mut unseen {
            unseen.since = None;
        }
    }
    Open {
        held: memory.held,
        pending: pending.filter(|pending| pending.rules == identity.rules),
        unseen,
    }
}

/// The snapshot's items under the rules in force; `None` where they cannot be read again.
fn digested_anew(known: &Peek, source: &config::Source) -> Option<Vec<Known>> {
    let rules = redigest::rules_of_stored(&source.rules)?;
    let subjects: Vec<Subject> = known.items.iter().map(|i| i.subject.clone()).collect();
    let bodies = known.bodies.iter().cloned().collect::<Option<Vec<_>>>()?;
    redigest::read_again(&subjects, &bodies, &rules)
}

/// Kept bodies of these items.
fn stored(known: &Peek, wanted: &[Subject]) -> HashMap<Subject, Box<str>> {
    let body = |subject: &Subject| {
        let at = known
            .items
            .binary_search_by(|i| i.subject.cmp(subject))
            .ok()?;
        known.bodies.get(at)?.clone()
    };
    let pairs = wanted.iter().map(|s| Some((s.clone(), body(s)?)));
    pairs.flatten().collect()
}
