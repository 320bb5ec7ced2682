//! The words in which deliveries are named, listed, and remembered as told.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::str::FromStr;

use super::{LaneId, SourceId};
use crate::detect::Subject;
use crate::digest::Digest;
use crate::event::{EventId, EventKey, Kind, Partition};
use crate::name::Name;
use crate::time::Timestamp;

/// A delivery's identity: one event on one lane. Shown as `dlv_<lane>_<event key>`, in hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeliveryId {
    /// Endpoint and source.
    pub lane: LaneId,
    /// The event.
    pub event: EventKey,
}

impl DeliveryId {
    /// By what lists are in order.
    #[must_use]
    pub fn newest_first(&self) -> Reverse<(EventKey, LaneId)> {
        Reverse((self.event, self.lane))
    }
}

impl std::fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "dlv_{:x}_{:x}", self.lane.0, self.event.number())
    }
}

/// The text is no delivery id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a delivery id looks like dlv_1_2a000000")]
pub struct NoDeliveryId;

impl FromStr for DeliveryId {
    type Err = NoDeliveryId;

    fn from_str(text: &str) -> Result<Self, NoDeliveryId> {
        let parts = text
            .strip_prefix("dlv_")
            .and_then(|rest| rest.split_once('_'));
        let (lane, event) = parts.ok_or(NoDeliveryId)?;
        let number = |digits: &str| {
            // `from_str_radix` takes a sign, too.
            let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
            let digits = Some(digits).filter(|_| is_hex).ok_or(NoDeliveryId)?;
            i64::from_str_radix(digits, 16).map_err(|_| NoDeliveryId)
        };
        let event = EventKey::from_number(number(event)?);
        Ok(Self {
            lane: LaneId(number(lane)?),
            event,
        })
    }
}

/// A delivery as it is listed.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Its identity.
    pub id: DeliveryId,
    /// The endpoint.
    pub endpoint: Name,
    /// The event's id, while the event is retained.
    pub event: Option<EventId>,
    /// The event's type.
    pub event_type: String,
    /// The event's partition.
    pub partition: Partition,
    /// The event's subject.
    pub subject: Subject,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts made.
    pub attempts: u32,
    /// When the next attempt is due, for pending ones that failed.
    pub due: Option<Timestamp>,
    /// When the event was committed.
    pub committed_at: Timestamp,
    /// When it was settled.
    pub settled_at: Option<Timestamp>,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// Not accepted yet.
    Pending,
    /// Accepted.
    Delivered,
    /// Used up its attempts.
    Dead,
}

/// Which deliveries to list.
#[derive(Debug, Clone)]
pub struct DeliveryQuery {
    /// In this state.
    pub state: DeliveryState,
    /// Of these endpoints with what they hear: pending deliveries are those that an endpoint's
    /// globs match, so the caller, who knows the configuration, tells.
    pub endpoint: Name,
    /// Kinds by source that the endpoint hears.
    pub hears: Vec<(SourceId, Vec<Kind>)>,
    /// Those that stand behind this one in [`DeliveryId::newest_first`]; `None`: from the newest.
    pub after: Option<DeliveryId>,
    /// At most so many.
    pub limit: usize,
}

/// What somebody does to a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It is due now; one that is settled goes out once more, its schedule of retries anew.
    Retry,
    /// It is given up, and its subject goes on.
    Skip,
}

/// What came of a [`Deed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steered {
    /// It is done, or was so before.
    Done,
    /// Not done: this one of its subject goes first.
    Blocked(DeliveryId),
    /// Not done: it has come to this end already.
    Settled(DeliveryState),
    /// Not done: retention took the event.
    Gone,
    /// There is no such delivery.
    Unknown,
}

/// What came of sending an endpoint a source's events from some sequence on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewound {
    /// They are pending, but for those that it has had.
    Done,
    /// Not done: the endpoint does not hear the source.
    Unheard,
    /// Not done: there is no such event yet, this is the newest; 0: there is none at all.
    Ahead(u64),
    /// Not done: it is no longer retained, this is the oldest that is.
    Gone(u64),
    /// Not done: this delivery waits for its retry, and would overtake earlier ones of its subject.
    Waiting(DeliveryId),
    /// Not done: the endpoint has had so many of them, more than can be told from the others.
    TooMany(u64),
}

/// Which settled deliveries to replay.
#[derive(Debug, Clone)]
pub struct ReplayQuery {
    /// Of this endpoint.
    pub endpoint: Name,
    /// In one of these states, [`DeliveryState::Dead`] or [`DeliveryState::Delivered`].
    pub states: Vec<DeliveryState>,
    /// Kinds by source.
    pub kinds: HashMap<SourceId, Vec<Kind>>,
    /// Whose events were committed then or later.
    pub since: Timestamp,
    /// Whose events were committed then or before.
    pub until: Timestamp,
    /// After this one, in the order of their ids.
    pub after: Option<DeliveryId>,
    /// At most so many.
    pub limit: usize,
}

/// How an event was first told to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The digest of the settings; `None`: the usual way.
    pub digest: Option<Digest>,
    /// The settings, if they are still there.
    pub settings: Option<Box<str>>,
}
