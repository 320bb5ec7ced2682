//! The words in which an endpoint is told what there is.

use super::{LaneId, SourceId};
use crate::time::Timestamp;

/// A lane that is being told the items of its source's snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backfill {
    /// The lane.
    pub lane: LaneId,
    /// Its endpoint.
    pub endpoint: String,
    /// Its source.
    pub source: SourceId,
    /// The source's name.
    pub source_name: String,
    /// Items told so far.
    pub told: u64,
    /// Items that there were when it began.
    pub items: u64,
    /// When it began.
    pub since: Timestamp,
}

/// Whether an endpoint can be told what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backfillable {
    /// It is, of all the sources asked for.
    Begun,
    /// Not done, of none: it does not hear this source.
    Unheard(SourceId),
    /// Not done, of none: it is being told of this source already.
    Running(SourceId),
}

/// What one step of telling a lane what there is has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackfillStep {
    /// So many items more were told; there may be others.
    Told(u64),
    /// Nothing now: enough waits to be delivered, or a large poll is under way.
    Waits,
    /// All were told, so many.
    Ended(u64),
    /// Somebody has ended it.
    Stopped,
}
