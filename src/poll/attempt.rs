//! One poll up to the point where something can be committed: permit, request, raw gate,
//! detection, guard, content.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::conclude::{Found, Learnt, Trouble, What};
use super::forget;
use super::identity::{identity, policy, same_request};
use super::judge::{self, Case, Judgement, Open};
use super::plan::{self, Basis, Draw};
use super::seat::Seat;
use super::{Outcome, Room, redigest};
use crate::client::Validators;
use crate::config::{self, Format, Keep};
use crate::detect::{self, Walk};
use crate::digest::{Digest, RawDigest};
use crate::store::Memory;
use crate::upstream::{Answer, By, Fetch, Upstream};

/// Bodies above this are worked on beside the runtime's threads, which callers need: at some
/// 300 MB/s this many bytes take 0.2 ms.
pub(super) const INLINE_BYTES_MAX: usize = 64 * 1024;

/// Snapshots above this count as large bodies do.
const INLINE_ITEMS_MAX: usize = 1_000;

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
}

/// What came back.
struct Received {
    bytes: Bytes,
    learnt: Learnt,
}

/// What a body turned out to be.
enum Read {
    /// The bytes that were committed last.
    SameBytes,
    Walk(Walk),
}

impl Attempt<'_> {
    /// Asks the upstream and finds out what differs.
    pub(super) async fn find(&self) -> Result<Found, Trouble> {
        let identity = identity(self.upstream.config(), &self.source);
        let is_undecided = self.memory.held.is_some() || self.memory.pending.is_some();
        let comparable = self.has_snapshot
            && self.memory.rules == Some(identity)
            && self.memory.policy == Some(policy(&self.source));
        // What is undecided was not committed, so nothing that says "the same" would say of what;
        // and the answer that decides it must bring the bodies.
        let validators = if comparable && !is_undecided {
            self.memory.validators.clone()
        } else {
            Validators::default()
        };
        let permit = self.upstream.permit(By::Poll).await;
        let fetch = Fetch {
            source: &self.source,
            validators: &validators,
        };
        match self.upstream.fetch(fetch, permit).await? {
            Answer::NotModified {
                validators: fresh,
                pacing,
            } => {
                let learnt = Learnt {
                    identity,
                    raw: self.memory.raw,
                    walk: self.memory.walk,
                    validators: Validators {
                        etag: fresh.etag.or(validators.etag),
                        last_modified: fresh.last_modified.or(validators.last_modified),
                    },
                };
                let what = What::Same(Outcome::NotModified, learnt);
                Ok(Found { what, pacing })
            }
            Answer::Body {
                bytes,
                content_type,
                validators,
                pacing,
            } => {
                self.seat.source.series.received(bytes.len());
                if !is_readable(self.source.format, content_type.as_deref()) {
                    let shown = content_type.unwrap_or_default();
                    return Err(Trouble::content_type(&shown).paced(pacing));
                }
                let learnt = Learnt {
                    identity,
                    raw: None,
                    walk: self.memory.walk,
                    validators,
                };
                let received = Received { bytes, learnt };
                let found = self.compare(received, comparable).await;
                found
                    .map(|what| Found { what, pacing })
                    .map_err(|trouble| trouble.paced(pacing))
            }
        }
    }

    /// The raw gate, the walk, and what it is compared with.
    async fn compare(&self, received: Received, comparable: bool) -> Result<What, Trouble> {
        let Received { bytes, mut learnt } = received;
        let last_raw = self.memory.raw.filter(|_| comparable);
        let (body, source) = (bytes.clone(), Arc::clone(&self.source));
        let heavy = bytes.len() > INLINE_BYTES_MAX;
        let (raw, read) = self
            .beside(heavy, move || {
                let raw = RawDigest::of(&body);
                if Some(raw) == last_raw {
                    return (raw, Ok(Read::SameBytes));
                }
                let walk = detect::read(&body, &source.rules, source.items_max);
                (raw, walk.map(Read::Walk))
            })
            .await?;
        learnt.raw = Some(raw);
        let walk = match read? {
            Read::SameBytes => return Ok(What::Same(Outcome::Unchanged, learnt)),
            Read::Walk(walk) => walk,
        };
        let is_known = comparable && self.memory.walk == Some(walk.digest);
        learnt.walk = Some(walk.digest);
        // Whoever forgets must know what the walk lacks.
        if is_known && self.source.forget.is_none() {
            return Ok(What::Same(Outcome::Unchanged, learnt));
        }
        let basis = self.basis(learnt.identity).await?;
        self.draw(bytes, walk, basis, learnt).await
    }

    /// Judges the walk, and draws up what is committed of it.
    async fn draw(
        &self,
        bytes: Bytes,
        walk: Walk,
        mut basis: Basis,
        learnt: Learnt,
    ) -> Result<What, Trouble> {
        let heavy = bytes.len() > INLINE_BYTES_MAX || basis.known().len() > INLINE_ITEMS_MAX;
        let source = Arc::clone(&self.source);
        let (rules, now) = (learnt.identity, self.room.clock.now());
        let open = self.open(rules).await?;
        let (walk, basis, judgement, wanted) = self
            .beside(heavy, move || {
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
        let heavy =
            heavy || stored.values().map(|body| body.len()).sum::<usize>() > INLINE_BYTES_MAX;
        let source = Arc::clone(&self.source);
        let changes = self.beside(heavy, move || {
            plan::changes(Draw {
                source: &source,
                basis: &basis,
                walk: &walk,
                body: &bytes,
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
        if self.memory.policy != Some(policy(&self.source)) {
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
    ) -> Result<HashMap<detect::Subject, Box<str>>, Trouble> {
        if subjects.is_empty() {
            return Ok(HashMap::new());
        }
        let snapshot = self.seat.snapshot;
        let bodies = self.room.store.bodies(snapshot, subjects.clone()).await?;
        let pairs = subjects.into_iter().zip(bodies);
        Ok(pairs
            .filter_map(|(subject, body)| Some((subject, body?)))
            .collect())
    }

    /// Runs `work` here, or if it is heavy beside, a bounded number at a time, and after everybody
    /// else: a thread of lower priority leaves the processors to callers and deliveries.
    pub(super) async fn beside<T: Send + 'static>(
        &self,
        heavy: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Trouble> {
        if !heavy {
            return Ok(work());
        }
        let permit = Arc::clone(&self.room.detections).acquire_owned().await;
        let (sender, done) = oneshot::channel();
        let thread = std::thread::Builder::new().name("detect".to_owned());
        let spawned = thread.spawn(move || {
            // Held to the end of the work, even if nobody waits for it any more.
            let _permit = permit;
            yield_to_others();
            let _ = sender.send(work());
        });
        spawned.map_err(|_| Trouble::internal("no thread for the detection"))?;
        done.await
            .map_err(|_| Trouble::internal("detection panicked"))
    }
}

/// Makes this thread, and on Linux only this one, run after those of normal priority.
fn yield_to_others() {
    const NICE: i32 = 10;
    if cfg!(target_os = "linux") {
        // Refused at worst, and then it runs as all others do.
        let _ = rustix::process::setpriority_process(None, NICE);
    }
}

/// Whether a body of this type may be read as JSON. Servers that know no better say that it is
/// text, or say nothing.
pub(super) fn is_readable(format: Format, content_type: Option<&str>) -> bool {
    const LIKELY: [&str; 7] = [
        "",
        "application/json",
        "text/json",
        "text/plain",
        "application/octet-stream",
        "application/javascript",
        "text/javascript",
    ];
    if format == Format::Json {
        return true;
    }
    let essence = content_type.unwrap_or_default().split(';').next();
    let essence = essence.unwrap_or_default().trim().to_ascii_lowercase();
    LIKELY.contains(&essence.as_str()) || essence.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_clearly_not_json_is_not_read() {
        for (content_type, expected) in [
            (None, true),
            (Some("application/json; charset=utf-8"), true),
            (Some("Application/JSON"), true),
            (Some("application/vnd.github+json"), true),
            (Some("text/plain"), true),
            (Some("text/html; charset=utf-8"), false),
            (Some("application/xml"), false),
            (Some("application/x-ndjson"), false),
        ] {
            assert_eq!(
                is_readable(Format::Auto, content_type),
                expected,
                "{content_type:?}"
            );
            assert!(is_readable(Format::Json, content_type));
        }
    }
}
