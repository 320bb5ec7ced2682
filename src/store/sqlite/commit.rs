//! One poll becomes rows: items and bodies in place, events behind one visible commit.
//!
//! Leaves polls of more than one chunk to [`super::large`], which shares the last step.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::fresh::{self, Unnumbered};
use super::numbering::{self, Rung, Seal, Sealed, Tally};
use super::packed::{Packed, Packer};
use super::{Sqlite, items, sources, unknown, unseen};
use crate::detect::Subject;
use crate::digest::Digest;
use crate::event::{Cause, Kind, Partition};
use crate::store::{
    Committed, ItemChange, LARGE_CHANGES, Mark, PollCommit, SnapshotId, SourceId, StoreError,
};
use crate::threads;
use crate::time::Timestamp;

/// Bytes of a chunk: a few large items hold the writer as long as many small ones.
pub(super) const CHUNK_BYTES: usize = 2 * 1024 * 1024;

/// Bytes that are packed on the runtime's thread, in less than 0.2 ms; more behind it.
const PACK_BYTES_MAX: usize = 64 * 1024;

/// Bytes that weigh as much as a row, in the writer's measure of a job.
const ROW_BYTES: usize = 4 * 1024;

/// What a poll leaves besides its changes.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) source: SourceId,
    pub(super) snapshot: SnapshotId,
    pub(super) partition: Partition,
    pub(super) at: Timestamp,
    pub(super) cause: Cause,
    memory: String,
    settles: bool,
    /// Of a large poll, those that are not written yet.
    pub(super) marks: Vec<Mark>,
    announcements: Vec<Rung>,
}

/// An item's part in a poll, packed.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) subject: Subject,
    pub(super) now: Option<(Digest, Option<Packed>)>,
    pub(super) event: Option<(Kind, Packed)>,
}

impl Sqlite {
    pub(in crate::store) async fn commit(
        self: &Arc<Self>,
        mut poll: PollCommit,
    ) -> Result<Committed, StoreError> {
        let changes = std::mem::take(&mut poll.changes);
        let bytes = changes.iter().map(bytes_of).sum::<usize>();
        let rows = changes.len() + poll.marks.len();
        let is_large = rows > LARGE_CHANGES || (changes.len() > 1 && bytes > CHUNK_BYTES);
        let head = Head::of(poll)?;
        if is_large {
            // A task of its own, so that a caller who goes away does not leave it half done.
            let large = tokio::spawn(Arc::clone(self).commit_large(head, changes));
            return large.await.unwrap_or(Err(StoreError::Closed));
        }
        let events = Unnumbered::of(&changes);
        let changes = pack(changes, bytes).await?;
        let poll = Arc::new((head, changes, events));
        if let Some(committed) = self.commit_small(&poll, bytes).await? {
            return Ok(committed);
        }
        // A large poll of this source is under way, or was left unfinished.
        let _turn = self.turns.take(poll.0.source).await;
        self.clean(poll.0.source).await?;
        let committed = self.commit_small(&poll, bytes).await?;
        committed.ok_or_else(|| StoreError::Database("the source is busy".to_owned()))
    }

    /// `None`: an unfinished poll of the source stands in the way.
    async fn commit_small(
        &self,
        poll: &Arc<(Head, Vec<Change>, Option<Unnumbered>)>,
        bytes: usize,
    ) -> Result<Option<Committed>, StoreError> {
        let rows = weight(poll.1.len() + poll.0.marks.len(), bytes);
        let poll = Arc::clone(poll);
        self.write_and_tell(rows, move |connection, told| {
            let (head, changes, events) = &*poll;
            let sql = "SELECT 1 FROM unfinished WHERE source = ?1";
            if connection.prepare_cached(sql)?.exists([head.source.0])? {
                return Ok(None);
            }
            let mut tally = Tally::default();
            if changes.is_empty() {
                let sealed = head.finish(connection, None, &tally)?;
                return Ok(Some(sealed.committed));
            }
            let before = match events {
                Some(_) => Some(fresh::newest(connection, head.source)?),
                None => None,
            };
            let generation = numbering::next_generation(connection)?;
            for change in changes {
                tally.grown += items::replace(connection, head.snapshot, generation, change)?;
                tally.ring(connection, (generation, &head.partition), change)?;
            }
            let sealed = head.finish(connection, Some(generation), &tally)?;
            if let (Some(events), Some(before)) = (events, before) {
                *told = Some(events.numbered(connection, (head, before), &sealed)?);
            }
            Ok(Some(sealed.committed))
        })
        .await
    }
}

/// Packs a chunk, whose texts have so many bytes.
pub(super) async fn pack(
    changes: Vec<ItemChange>,
    bytes: usize,
) -> Result<Vec<Change>, StoreError> {
    let pack = move || {
        let mut packer = Packer::new();
        let chunk = changes.into_iter().map(|change| {
            let mut pack = |text| packer.pack(text);
            Change {
                subject: change.subject,
                now: change
                    .now
                    .map(|form| (form.digest, form.body.map(&mut pack))),
                event: change.event.map(|draft| (draft.kind, pack(draft.content))),
            }
        });
        chunk.collect()
    };
    if bytes <= PACK_BYTES_MAX {
        return Ok(pack());
    }
    let packed = threads::behind("pack", pack).await;
    packed.ok_or_else(|| StoreError::Database("no thread to compress with".to_owned()))
}

/// Bytes of a change's texts.
pub(super) fn bytes_of(change: &ItemChange) -> usize {
    let body = change.now.as_ref().and_then(|form| form.body.as_ref());
    let event = change.event.as_ref().map_or(0, |draft| draft.content.len());
    change.subject.len() + body.map_or(0, |body| body.len()) + event
}

impl Head {
    pub(super) fn of(poll: PollCommit) -> Result<Self, StoreError> {
        let memory = sources::written(&poll.memory)?;
        Ok(Self {
            source: poll.source,
            snapshot: poll.snapshot,
            partition: poll.partition,
            at: poll.at,
            cause: poll.cause,
            memory,
            settles: poll.settles_snapshot,
            marks: poll.marks,
            announcements: numbering::pack(poll.announcements),
        })
    }

    /// The step that makes a poll visible: it numbers the events and moves the snapshot on.
    pub(super) fn finish(
        &self,
        connection: &Connection,
        generation: Option<i64>,
        tally: &Tally,
    ) -> Result<Sealed, StoreError> {
        let sql = "UPDATE snapshots SET memory = ?3, settled = max(settled, ?4),
                generation = coalesce(?5, generation), items = items + ?6
            WHERE id = ?1 AND source = ?2";
        let moved = connection.prepare_cached(sql)?.execute(params![
            self.snapshot.0,
            self.source.0,
            self.memory,
            self.settles,
            generation,
            tally.grown
        ])?;
        if moved == 0 {
            return Err(unknown("snapshot"));
        }
        unseen::mark(connection, self.snapshot, &self.marks)?;
        let mut sealed = Sealed::default();
        if let Some(generation) = generation.filter(|_| tally.events() > 0) {
            let seal = Seal {
                source: self.source,
                generation,
                at: self.at,
                cause: self.cause.clone(),
                lane: None,
            };
            sealed = seal.set(connection, tally)?;
        }
        numbering::announce(connection, self.at, &self.announcements)?;
        Ok(sealed)
    }
}

/// About how many rows a chunk of so many changes and bytes is worth.
pub(super) fn weight(changes: usize, bytes: usize) -> usize {
    1 + changes + bytes / ROW_BYTES
}
