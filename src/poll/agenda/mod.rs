//! Who is polled next. Pure: the present is an argument, and nothing here waits.
//!
//! Decides which source begins now: due ones in the order of their times, one poll of a source at
//! a time, and no upstream in the way of another: each has its own line, at most its
//! `connections_max` at work, and never more than are free for others, so however many dead
//! upstreams there are, some places stay open.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Polled;
use crate::time::Timestamp;
use crate::upstream::Observed;

/// Most polls at work. A poll that waits for its upstream costs some kilobytes; one that has its
/// body costs that body.
pub(super) const POLLS_MAX: usize = 128;

/// How long nothing begins after the store said that the disk is full.
pub(super) const PAUSE: Duration = Duration::from_secs(10);

/// Where those who asked for a poll hear of it.
pub(super) type Bell = watch::Sender<Option<Polled>>;

/// All seats, by index, and when each is due.
#[derive(Debug)]
pub(super) struct Agenda {
    heap: BinaryHeap<Reverse<(Timestamp, u32, u32)>>,
    places: Vec<Place>,
    /// Places that somebody left, to be taken again.
    vacant: Vec<u32>,
    /// Those of them that nobody was told of yet.
    vacated: Vec<u32>,
    lines: Vec<Line>,
    /// Lines where somebody is ready, in the order of their turns.
    turns: VecDeque<u32>,
    running: usize,
    /// Nothing begins before this.
    paused_until: Option<Timestamp>,
    /// Whether the last commit met a full disk: then one poll at a time finds out.
    doubtful: bool,
    closed: bool,
    /// The latest present that was told, to notice when the clock goes back.
    now: Timestamp,
}

/// One seat's place.
#[derive(Debug)]
struct Place {
    line: u32,
    queue: Queue,
    /// Entries of the heap with another number are void.
    generation: u32,
    state: State,
    /// Whether it becomes vacant as soon as it is idle.
    leaves: bool,
    due: Option<Timestamp>,
    bell: Option<Bell>,
    urge: Option<Urge>,
}

/// What callers did that brings a poll about.
#[derive(Debug)]
pub(super) enum Urge {
    /// The request with this id wrote where the source looks.
    Written(Arc<str>),
    /// They were answered what a poll would be.
    Read(Box<Observed>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Ready,
    Running,
}

/// Who waits together: the seats of one source, but apart from each other those that were polled
/// before and those that never were. So neither a source of many partitions nor their first polls
/// hold up others of their upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Queue {
    source: u32,
    is_new: bool,
}

/// The seats of one upstream that are ready.
#[derive(Debug, Default)]
struct Line {
    /// None of them empty.
    queues: HashMap<Queue, VecDeque<u32>>,
    /// The queues, in the order of their turns.
    turns: VecDeque<Queue>,
    running: usize,
    running_max: usize,
    has_turn: bool,
}

/// Leave to poll now.
#[derive(Debug)]
pub(super) struct Ticket {
    /// The seat.
    pub(super) index: usize,
    /// When it was due, for a scheduled poll.
    pub(super) due: Option<Timestamp>,
    /// Who asked, for a poll by hand.
    pub(super) bell: Option<Bell>,
    /// What callers did.
    pub(super) urge: Option<Urge>,
    /// Whether the poll must find out if the disk is still full.
    pub(super) doubtful: bool,
}

impl Agenda {
    /// An agenda for lines of so many polls at once, without seats.
    pub(super) fn new(lines: impl IntoIterator<Item = usize>) -> Self {
        let line = |running_max| Line {
            running_max,
            ..Line::default()
        };
        Self {
            heap: BinaryHeap::new(),
            places: Vec::new(),
            vacant: Vec::new(),
            vacated: Vec::new(),
            lines: lines.into_iter().map(line).collect(),
            turns: VecDeque::new(),
            running: 0,
            paused_until: None,
            doubtful: false,
            closed: false,
            now: Timestamp::default(),
        }
    }

    /// Gives somebody of this source a place on this line; its index.
    pub(super) fn add(&mut self, line: usize, source: usize, due: Option<Timestamp>) -> usize {
        let index = match self.vacant.pop() {
            Some(index) => index as usize,
            None => self.places.len(),
        };
        let place = Place {
            line: number(line),
            queue: Queue {
                source: number(source),
                is_new: true,
            },
            // Entries of who had the place before are void.
            generation: self.places.get(index).map_or(0, |old| old.generation),
            state: State::Idle,
            leaves: false,
            due: None,
            bell: None,
            urge: None,
        };
        if index == self.places.len() {
            self.places.push(place);
        } else {
            self.places[index] = place;
        }
        self.plan(index, due);
        index
    }

    /// Takes a place away, at the latest when the poll at work there ends.
    pub(super) fn remove(&mut self, index: usize) {
        self.plan(index, None);
        let place = &mut self.places[index];
        place.bell = None;
        place.urge = None;
        place.leaves = true;
        if place.state == State::Idle {
            self.vacate(number(index));
        }
    }

    /// Places that became vacant since the last call.
    pub(super) fn vacated(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.vacated)
    }

    /// Makes ready whoever is due at `now`.
    pub(super) fn advance(&mut self, now: Timestamp) {
        self.notice_step_back(now);
        while let Some(&Reverse((due, index, generation))) = self.heap.peek() {
            if due > now {
                break;
            }
            self.heap.pop();
            let place = &self.places[index as usize];
            if place.generation == generation && place.state == State::Idle {
                self.enqueue(index);
            }
        }
    }

    /// The next poll to begin, if one may.
    pub(super) fn start(&mut self, now: Timestamp) -> Option<Ticket> {
        if self.closed || self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        let room = if self.doubtful { 1 } else { POLLS_MAX };
        let free = room.saturating_sub(self.running);
        for _ in 0..self.turns.len() {
            let number = self.turns.pop_front()?;
            let line = &mut self.lines[number as usize];
            if line.running >= line.running_max.min(free) {
                self.turns.push_back(number);
                continue;
            }
            let (places, mut left) = (&self.places, Vec::new());
            let index = std::iter::from_fn(|| line.next()).find(|&index| {
                let leaves = places[index as usize].leaves;
                left.extend(leaves.then_some(index));
                !leaves
            });
            line.has_turn = !line.turns.is_empty();
            if line.has_turn {
                self.turns.push_back(number);
            }
            for index in left {
                self.vacate(index);
            }
            let Some(index) = index else { continue };
            let line = &mut self.lines[number as usize];
            line.running += 1;
            self.running += 1;
            return Some(self.ticket(index));
        }
        None
    }

    /// A poll ended; the next one is due then.
    pub(super) fn finish(&mut self, index: usize, next: Option<Timestamp>) {
        let place = &mut self.places[index];
        place.state = State::Idle;
        place.queue.is_new = false;
        let asked = place.bell.is_some() || place.urge.is_some();
        let line = &mut self.lines[place.line as usize];
        line.running -= 1;
        self.running -= 1;
        if place.leaves {
            self.vacate(number(index));
            return;
        }
        self.plan(index, next);
        if asked {
            self.enqueue(number(index));
        }
    }

    /// Somebody wants a poll that begins after now; `None` when no poll begins any more.
    pub(super) fn ask(&mut self, index: usize) -> Option<watch::Receiver<Option<Polled>>> {
        let place = &mut self.places[index];
        if self.closed || place.leaves {
            return None;
        }
        let bell = place.bell.get_or_insert_with(|| watch::channel(None).0);
        let heard = bell.subscribe();
        if place.state == State::Idle {
            self.enqueue(number(index));
        }
        Some(heard)
    }

    /// Callers did something: a poll begins ahead of scheduled ones, after the one at work. That
    /// they wrote outweighs what they read, which may be older.
    pub(super) fn urge(&mut self, index: usize, urge: Urge) {
        let place = &mut self.places[index];
        let is_outweighed = matches!(
            (&place.urge, &urge),
            (Some(Urge::Written(_)), Urge::Read(_))
        );
        if self.closed || place.leaves || is_outweighed {
            return;
        }
        place.urge = Some(urge);
        match place.state {
            State::Idle => self.enqueue(number(index)),
            State::Ready => {
                let (line, queue) = (place.line as usize, place.queue);
                self.lines[line].bring_forward(queue, number(index));
            }
            State::Running => {}
        }
    }

    /// Lets a seat that is idle be due no later than this; whether it would have been.
    pub(super) fn hasten(&mut self, index: usize, due: Timestamp) -> bool {
        let place = &self.places[index];
        let is_later = place.due.is_some_and(|planned| planned > due);
        let is_hastened = place.state == State::Idle && !place.leaves && is_later;
        if is_hastened {
            self.plan(index, Some(due));
        }
        is_hastened
    }

    /// The disk is full: nothing begins for a while, then one poll at a time.
    pub(super) fn pause(&mut self, now: Timestamp) {
        self.paused_until = Some(now.plus(PAUSE));
        self.doubtful = true;
    }

    /// Something was committed; whether others may begin because of that.
    pub(super) fn trust(&mut self) -> bool {
        self.paused_until = None;
        std::mem::replace(&mut self.doubtful, false)
    }

    /// Begins nothing any more; who asked is not answered.
    pub(super) fn close(&mut self) {
        self.closed = true;
        for place in &mut self.places {
            (place.bell, place.urge) = (None, None);
        }
    }

    /// When to look again, if nobody comes before.
    pub(super) fn next_look(&self) -> Option<Timestamp> {
        let due = self.heap.peek().map(|Reverse((due, ..))| *due);
        let resumes = self.paused_until.filter(|_| !self.turns.is_empty());
        due.into_iter().chain(resumes).min()
    }

    /// When a seat is due, and whether its poll is at work.
    pub(super) fn stands(&self, index: usize) -> (Option<Timestamp>, bool) {
        let place = &self.places[index];
        (place.due, place.state == State::Running)
    }

    fn vacate(&mut self, index: u32) {
        let place = &mut self.places[index as usize];
        place.state = State::Idle;
        self.vacant.push(index);
        self.vacated.push(index);
    }

    fn ticket(&mut self, index: u32) -> Ticket {
        let place = &mut self.places[index as usize];
        place.state = State::Running;
        let (bell, urge) = (place.bell.take(), place.urge.take());
        Ticket {
            urge,
            index: index as usize,
            due: place.due.filter(|due| *due <= self.now),
            bell,
            doubtful: self.doubtful,
        }
    }

    fn plan(&mut self, index: usize, due: Option<Timestamp>) {
        let place = &mut self.places[index];
        // Its entry was taken off the heap unless the poll was by hand and came before it.
        let entry_stands = place.due == due && due.is_some_and(|due| due > self.now);
        if entry_stands {
            return;
        }
        place.generation = place.generation.wrapping_add(1);
        place.due = due;
        if let Some(due) = due {
            let entry = (due, number(index), place.generation);
            self.heap.push(Reverse(entry));
        }
        // Polls by hand leave void entries behind; they may not outgrow the sources.
        if self.heap.len() > 2 * self.places.len() + 64 {
            let places = &self.places;
            self.heap.retain(|Reverse((_, index, generation))| {
                places[*index as usize].generation == *generation
            });
        }
    }

    fn enqueue(&mut self, index: u32) {
        let place = &mut self.places[index as usize];
        place.state = State::Ready;
        let (number, queue) = (place.line, place.queue);
        let line = &mut self.lines[number as usize];
        if place.bell.is_some() || place.urge.is_some() {
            // Somebody waits.
            line.push_front(queue, index);
        } else {
            line.push_back(queue, index);
        }
        if !line.has_turn {
            line.has_turn = true;
            self.turns.push_back(number);
        }
    }

    /// Moves all times back with the clock: a source every 30 s is not silent for an hour because
    /// the machine's clock was an hour fast.
    fn notice_step_back(&mut self, now: Timestamp) {
        let back = self.now.since(now);
        self.now = now;
        if back < Duration::from_secs(1) {
            return;
        }
        let entries = std::mem::take(&mut self.heap).into_iter();
        self.heap = entries
            .map(|Reverse((due, index, generation))| Reverse((due.minus(back), index, generation)))
            .collect();
        for place in &mut self.places {
            place.due = place.due.map(|due| due.minus(back));
        }
        self.paused_until = self.paused_until.map(|until| until.minus(back));
    }
}

impl Line {
    fn push_back(&mut self, queue: Queue, index: u32) {
        let ready = self.queues.entry(queue).or_default();
        ready.push_back(index);
        if ready.len() == 1 {
            self.turns.push_back(queue);
        }
    }

    /// Goes before everybody, of other queues too.
    fn push_front(&mut self, queue: Queue, index: u32) {
        let ready = self.queues.entry(queue).or_default();
        ready.push_front(index);
        if ready.len() > 1 {
            self.turns.retain(|other| *other != queue);
        }
        self.turns.push_front(queue);
    }

    /// Lets somebody who is ready go before everybody.
    fn bring_forward(&mut self, queue: Queue, index: u32) {
        if let Some(ready) = self.queues.get_mut(&queue) {
            ready.retain(|other| *other != index);
            ready.push_front(index);
            self.turns.retain(|other| *other != queue);
            self.turns.push_front(queue);
        }
    }

    fn next(&mut self) -> Option<u32> {
        let queue = self.turns.pop_front()?;
        let ready = self.queues.get_mut(&queue)?;
        let index = ready.pop_front();
        if ready.is_empty() {
            self.queues.remove(&queue);
        } else {
            self.turns.push_back(queue);
        }
        index
    }
}

/// Indices fit 32 bits: so many seats fit no memory.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
