//! One poll up to the point where something can be committed: request, walk, raw gate, detection,
//! guard, content.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::bench::INLINE_BYTES_MAX;
use super::conclude::{Found, Learnt, Trouble, What};
use super::forget;
use super::identity::{Identity, asked, same_request};
use super::judge::{self, Case, Judgement, Open};
use super::plan::{self, Basis, Draw};
use super::question::Question;
use super::seat::Seat;
use super::walk::{self, Leaves, Pages, Trace, Walked, Walker};
use super::{Outcome, Room, redigest};
use crate::client::Validators;
use crate::config::{self, Deletes, Keep};
use crate::detect::{self, Format, Progress, Unreadable, Walk};
use crate::digest::Digest;
use crate::store::Memory;
use crate::time::Timestamp;
use crate::upstream::{By, Observed, Request, Upstream};
use bytes::Bytes;
use parking_lot::Mutex;

/// Snapshots above this count as large bodies do.
const INLINE_ITEMS_MAX: usize = 1_000;

/// Most walks of one poll. Who moves between two pages is missed by one walk in some ten, on a list
/// that changes all the time.
const WALKS_MAX: u32 = 4;

/// One poll in the making.
pub(super) struct Attempt<'a> {
    pub(super) room: &'a Room,
    pub(super) seat: &'a Seat,
    pub(super) source: Arc<config::Source>,
    pub(super) upstream: &'a Upstream,
    /// What is remembered.
    pub(super) memory: &'a Memory,
    /// Whether there is a snapshot.
    pub(super) has_snapshot: bool,
    /// When it began.
    pub(super) began: Timestamp,
    /// For whose sake.
    pub(super) by: By,
    /// What a caller was answered, if that is looked at in place of an answer of our own.
    pub(super) given: Mutex<Option<Observed>>,
    /// When what came was sent for and whole, and what is kept of it.
    pub(super) trace: Mutex<Trace>,
    /// What is asked for, under which rules.
    pub(super) identity: Identity,
    /// The request, where it is always the same.
    pub(super) request: Option<&'a Request>,
}

/// A walk, and the bodies into which it points.
struct Seen {
    walk: Walk,
    /// As JSON.
    bodies: Vec<Bytes>,
}

impl Seen {
    /// What either saw.
    fn and(self, later: Self) -> Self {
        let pages = u32::try_from(self.bodies.len()).unwrap_or(u32::MAX);
        Self {
            walk: detect::unite(self.walk, later.walk, pages),
            bodies: [self.bodies, later.bodies].concat(),
        }
    }
}

impl Attempt<'_> {
    /// Asks the upstream and finds out what differs.
    pub(super) async fn find(&self) -> Result<Found, Trouble> {
        let partition = self.seat.partition.values();
        let question = self.question(&partition);
        let comparable = question.is_comparable();
        let progress = question.progress();
        let (request, asked) = if let Some(request) = self.request {
            (Cow::Borrowed(request), None)
        } else {
            let request = question.request(progress.as_ref())?;
            let asked = asked(&self.source, &request);
            (Cow::Owned(request), asked)
        };
        let is_served = self.source.joint.serve.is_some();
        // Callers are served a body, so there must be one.
        let validators = if is_served && !self.seat.source.shelf.is_filled() {
            Validators::default()
        } else {
            question.validators(&request, asked)
        };
        let format = question.format();
        let mut learnt = Learnt {
            identity: self.identity.of_format(format.unwrap_or_default()),
            asked,
            began: self.began,
            progress,
            raw: None,
            walk: self.memory.walk,
            validators: Validators::default(),
        };
        match self.walk(&request, &validators, format).await? {
            Walked::NotModified {
                validators: fresh,
                pacing,
            } => {
                learnt.raw = self.memory.raw;
                learnt.validators = Validators {
                    etag: fresh.etag.or(validators.etag),
                    last_modified: fresh.last_modified.or(validators.last_modified),
                };
                let what = What::Same(Outcome::NotModified, learnt);
                Ok(Found { what, pacing })
            }
            Walked::Whole(pages) => {
                let pacing = pages.pacing;
                learnt.identity = self.identity.of_format(pages.format);
                learnt.validators.clone_from(&pages.validators);
                learnt.raw = Some(pages.raw());
                if comparable && learnt.raw == self.memory.raw {
                    let what = What::Same(Outcome::Unchanged, learnt);
                    return Ok(Found { what, pacing });
                }
                let last_walk = self.memory.walk.filter(|_| comparable);
                let found = self.compare((&request, pages), last_walk, learnt).await;
                found
                    .map(|what| Found { what, pacing })
                    .map_err(|trouble| trouble.paced(pacing))
            }
        }
    }

    fn question<'q>(&'q self, partition: &'q BTreeMap<String, String>) -> Question<'q> {
        Question {
            source: &self.source,
            upstream: self.upstream,
            memory: self.memory,
            has_snapshot: self.has_snapshot,
            began: self.began,
            identity: self.identity,
            partition,
        }
    }

    async fn walk(
        &self,
        first: &Request,
        validators: &Validators,
        learnt: Option<Format>,
    ) -> Result<Walked, Trouble> {
        let walker = Walker {
            learnt,
            source: &self.source,
            upstream: self.upstream,
            bench: &self.room.bench,
            by: self.by,
            trace: &self.trace,
            received: &|bytes| self.seat.source.series.received(bytes),
        };
        if let Some(observed) = self.given.lock().take() {
            let mut trace = self.trace.lock();
            trace.sent_at = Some(observed.sent_at);
            trace.ended_at = Some(observed.ended_at);
            drop(trace);
            return walker.taken(*observed.body);
        }
        walker.walk(first, validators).await
    }

    /// Reads the pages and compares them with the snapshot.
    async fn compare(
        &self,
        (request, pages): (&Request, Pages),
        last_walk: Option<Digest>,
        mut learnt: Learnt,
    ) -> Result<What, Trouble> {
        let (several, format) = (pages.sheets.len() > 1, pages.format);
        let may_be_cut = pages.may_be_cut();
        let (mut seen, progress) = self.read(pages, learnt.progress.take()).await?;
        learnt.progress = progress;
        learnt.walk = Some(seen.walk.digest);
        // Whoever forgets must know what the walk lacks.
        if last_walk == learnt.walk && self.source.forget.is_none() {
            return Ok(What::Same(Outcome::Unchanged, learnt));
        }
        if may_be_cut {
            self.ask_again((request, format), &seen).await?;
        }
        let basis = self.basis(learnt.identity.rules).await?;
        let may_delete =
            several && self.source.deletes == Deletes::Full && lacks_any(&basis, &seen.walk);
        // What an incremental listing skips is behind it for good.
        let is_last_chance = self.source.cursor.is_some();
        if several && (may_delete || is_last_chance) {
            seen = self
                .walk_again((request, format), (seen, may_delete), &mut learnt)
                .await?;
            learnt.walk = Some(seen.walk.digest);
        }
        self.draw(seen, basis, learnt).await
    }

    /// Walks once more, because what was seen may be cut where nothing tells it: it must come again.
    async fn ask_again(
        &self,
        (request, format): (&Request, Format),
        first: &Seen,
    ) -> Result<(), Trouble> {
        let none = Validators::default();
        let again = self.walk(request, &none, Some(format));
        let Walked::Whole(again) = again.await? else {
            return Err(Trouble::internal("an unconditional walk was not modified"));
        };
        let (second, _) = self.read(again, None).await?;
        if first.walk.digest == second.walk.digest {
            return Ok(());
        }
        Err(walk::cut())
    }

    /// Walks once more, because pages shift: an item that moves from one page to the one before
    /// while the walk is between them is on neither. What any walk saw is there; what only the
    /// first one saw may have gone between them, which the next poll will see. While items come and
    /// go, one may be missed twice: before any is deleted, walks follow until two saw the same, at
    /// most [`WALKS_MAX`] in all.
    async fn walk_again(
        &self,
        (request, format): (&Request, Format),
        (first, may_delete): (Seen, bool),
        learnt: &mut Learnt,
    ) -> Result<Seen, Trouble> {
        let (mut seen, mut raw) = (first, learnt.raw);
        for _ in 1..if may_delete { WALKS_MAX } else { 2 } {
            let source = self.seat.source.name.as_str();
            tracing::debug!(source, "all pages are read once more");
            let none = Validators::default();
            let again = self.walk(request, &none, Some(format)).await?;
            let Walked::Whole(again) = again else {
                return Err(Trouble::internal("an unconditional walk was not modified"));
            };
            let before = raw.replace(again.raw());
            if before == raw {
                break;
            }
            // Of no walk alone.
            learnt.raw = None;
            let (next, progress) = self.read(again, learnt.progress.take()).await?;
            learnt.progress = progress;
            let counts = [&seen, &next].map(|seen| seen.walk.entries.len());
            let heavy = counts[0] > INLINE_ITEMS_MAX;
            seen = self.room.bench.run(heavy, move || seen.and(next)).await?;
            if counts == [seen.walk.entries.len(); 2] {
                break;
            }
        }
        Ok(seen)
    }

    /// Reads the pages, and how far an incremental listing has come with them.
    async fn read(
        &self,
        pages: Pages,
        progress: Option<Progress>,
    ) -> Result<(Seen, Option<Progress>), Trouble> {
        let heavy = pages.is_heavy();
        let (source, now) = (Arc::clone(&self.source), self.began);
        let read = move || {
            let Leaves { pages, bodies } = walk::read(pages.sheets, &source)?;
            let progress = match &source.cursor {
                None => None,
                Some(cursor) => {
                    let pages = bodies.iter().map(AsRef::as_ref).zip(&pages);
                    Progress::furthest(progress.as_ref(), pages, &cursor.from, now)?
                }
            };
            let walk = detect::join(pages)?;
            Ok::<_, Unreadable>((Seen { walk, bodies }, progress))
        };
        Ok(self.room.bench.run(heavy, read).await??)
    }

    /// Judges the walk, and draws up what is committed of it.
    async fn draw(&self, seen: Seen, mut basis: Basis, learnt: Learnt) -> Result<What, Trouble> {
        let Seen { walk, bodies } = seen;
        let bytes: usize = bodies.iter().map(Bytes::len).sum();
        let heavy = bytes > INLINE_BYTES_MAX || basis.known().len() > INLINE_ITEMS_MAX;
        let source = Arc::clone(&self.source);
        let (rules, now) = (learnt.identity.rules, self.room.clock.now());
        let open = self.open(rules).await?;
        let (walk, basis, judgement, wanted) = self
            .room
            .bench
            .run(heavy, move || {
                let forgotten = match source.forget {
                    Some(after) => forget::forget(&mut basis, &open.unseen, after, now),
                    None => Vec::new(),
                };
                let judgement = judge::judge(Case {
                    source: &source,
                    basis: &basis,
                    walk: &walk,
                    rules,
                    open: &open,
                    forgotten: &forgotten,
                    now,
                });
                let wanted = match &judgement {
                    Judgement::Differs(believed, _) => plan::wanted(&source, &basis, believed),
                    _ => Vec::new(),
                };
                (walk, basis, judgement, wanted)
            })
            .await?;
        let (believed, pending) = match judgement {
            Judgement::Same => return Ok(What::Same(Outcome::Unchanged, learnt)),
            Judgement::Held(held) => return Ok(What::Held(held)),
            Judgement::Pending(pending) => return Ok(What::Pending(pending)),
            Judgement::Differs(believed, pending) => (believed, pending),
        };
        if believed.unsettled > 0 {
            tracing::warn!(
                source = self.seat.source.name.as_str(),
                items = believed.unsettled,
                "items that no two fetches saw alike ring as they are: what differs may be noise \
                 to `ignore`"
            );
        }
        let stored = self.stored(wanted).await?;
        let bodies_of = || stored.iter().filter_map(|(_, body)| body.as_ref());
        let heavy = heavy || bodies_of().map(|body| body.len()).sum::<usize>() > INLINE_BYTES_MAX;
        let source = Arc::clone(&self.source);
        let changes = self.room.bench.run(heavy, move || {
            let stored = stored.into_iter();
            let stored = stored.filter_map(|(subject, body)| Some((subject, body?)));
            let stored: HashMap<detect::Subject, Box<str>> = stored.collect();
            plan::changes(Draw {
                source: &source,
                basis: &basis,
                walk: &walk,
                bodies: &bodies,
                believed: &believed,
                stored: &stored,
            })
        });
        Ok(What::Changes(changes.await??, learnt, pending))
    }

    /// What earlier polls left undecided, as far as it is of the request and rules in force.
    async fn open(&self, identity: Digest) -> Result<Open, Trouble> {
        let pending = self.memory.pending.clone();
        let mut unseen = match self.source.forget {
            Some(_) => self.room.store.unseen(self.seat.snapshot).await?,
            None => Vec::new(),
        };
        if self.memory.policy != Some(self.identity.policy) {
            // Marks were not kept up meanwhile.
            for unseen in &mut unseen {
                unseen.since = None;
            }
        }
        Ok(Open {
            held: self.memory.held,
            pending: pending.filter(|pending| pending.rules == identity),
            unseen,
        })
    }

    /// What the walk is compared with.
    async fn basis(&self, identity: Digest) -> Result<Basis, Trouble> {
        if !self.has_snapshot {
            return Ok(Basis::First);
        }
        let known = self.room.store.known(self.seat.snapshot).await?;
        let rules = self.memory.rules;
        if rules == Some(identity) {
            return Ok(Basis::Snapshot(known));
        }
        let source = self.seat.source.name.as_str();
        let rules_alone = rules.is_some_and(|rules| same_request(rules, identity));
        if rules_alone
            && self.source.keep == Keep::Bodies
            && let Some(digested) = redigest::known(self, &known).await?
        {
            tracing::info!(source, "the rules changed: stored items were digested anew");
            let stored = known.iter().map(|item| item.digest).collect();
            return Ok(Basis::Redigested {
                known: digested,
                stored,
            });
        }
        tracing::warn!(
            source,
            "the request or the rules changed: a new baseline begins, and rings nobody"
        );
        Ok(Basis::Replaced(known))
    }

    async fn stored(
        &self,
        subjects: Vec<detect::Subject>,
    ) -> Result<Vec<(detect::Subject, Option<Box<str>>)>, Trouble> {
        if subjects.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.room.store.bodies(self.seat.snapshot, subjects).await?)
    }
}

/// Whether the snapshot holds items that `walk` does not.
fn lacks_any(basis: &Basis, walk: &Walk) -> bool {
    let is_compared = matches!(basis, Basis::Snapshot(_) | Basis::Redigested { .. });
    is_compared
        && !detect::diff(basis.known(), &walk.entries)
            .missing
            .is_empty()
}
