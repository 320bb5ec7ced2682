//! Who is polled next. Pure: the present is an argument, and nothing here waits.
//!
//! Decides which source begins now: due ones in the order of their times, one poll of a source at
//! a time, and no upstream in the way of another: each has its own line, at most its
//! `connections_max` at work, and never more than are free for others, so however many dead
//! upstreams there are, some places stay open.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::watch;

use super::Polled;
use crate::time::Timestamp;

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
        let asked = place.bell.is_some();
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

    /// Lets a seat that is idle be due no later than this.
    pub(super) fn hasten(&mut self, index: usize, due: Timestamp) {
        let place = &self.places[index];
        let is_later = place.due.is_some_and(|planned| planned > due);
        if place.state == State::Idle && !place.leaves && is_later {
            self.plan(index, Some(due));
        }
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
            place.bell = None;
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
        let bell = place.bell.take();
        Ticket {
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
        match place.bell {
            // Somebody waits.
            Some(_) => line.push_front(queue, index),
            None => line.push_back(queue, index),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn started(agenda: &mut Agenda, now: i64) -> Vec<usize> {
        agenda.advance(at(now));
        std::iter::from_fn(|| agenda.start(at(now)))
            .map(|ticket| ticket.index)
            .collect()
    }

    #[test]
    fn who_is_hastened_is_due_sooner_and_nobody_later() {
        let mut agenda = Agenda::new([8]);
        let far = agenda.add(0, 0, Some(at(100)));
        let near = agenda.add(0, 1, Some(at(5)));
        let manual = agenda.add(0, 2, None);
        for index in [far, near, manual] {
            agenda.hasten(index, at(10));
        }
        assert_eq!(started(&mut agenda, 9), [near]);
        assert_eq!(started(&mut agenda, 10), [far]);
        assert_eq!(started(&mut agenda, 200), [0; 0]);
    }

    /// Adds so many to a line, all due at 1.
    fn add(agenda: &mut Agenda, count: usize, line: usize) {
        for _ in 0..count {
            agenda.add(line, 0, Some(at(1)));
        }
    }

    #[test]
    fn due_sources_begin_in_order_and_never_twice_at_once() {
        let mut agenda = Agenda::new([8]);
        for due in [30, 10, 20] {
            agenda.add(0, 0, Some(at(due)));
        }
        agenda.add(0, 0, None);
        assert_eq!(agenda.next_look(), Some(at(10)));
        assert_eq!(started(&mut agenda, 20), [1, 2]);
        assert_eq!(started(&mut agenda, 1_000), [0]);
        assert_eq!(started(&mut agenda, 2_000), [0; 0]);
        agenda.finish(1, Some(at(2_010)));
        assert_eq!(started(&mut agenda, 2_010), [1]);
    }

    #[test]
    fn a_poll_by_hand_never_joins_the_one_in_flight() {
        let mut agenda = Agenda::new([8]);
        agenda.add(0, 0, Some(at(10)));
        agenda.advance(at(10));
        let first = agenda.start(at(10)).expect("due");
        assert!(first.bell.is_none() && first.due == Some(at(10)));
        let _heard = agenda.ask(0).expect("open");
        assert!(agenda.start(at(11)).is_none());
        agenda.finish(0, Some(at(40)));
        let second = agenda.start(at(11)).expect("asked for");
        assert!(second.bell.is_some() && second.due.is_none());
        agenda.finish(0, Some(at(40)));
        assert_eq!(started(&mut agenda, 39), [0; 0]);
        assert_eq!(started(&mut agenda, 40), [0]);
    }

    #[test]
    fn a_manual_source_begins_only_when_asked() {
        let mut agenda = Agenda::new([8]);
        agenda.add(0, 0, None);
        assert_eq!(started(&mut agenda, 1_000_000), [0; 0]);
        let _heard = agenda.ask(0);
        assert_eq!(started(&mut agenda, 1_000_000), [0]);
    }

    #[test]
    fn dead_upstreams_leave_places_to_others() {
        const DEAD: usize = 5;
        let mut agenda = Agenda::new([1000; DEAD + 1]);
        for line in 0..DEAD {
            add(&mut agenda, 500, line);
        }
        assert!(started(&mut agenda, 1).len() < POLLS_MAX);
        agenda.add(DEAD, 0, Some(at(2)));
        assert_eq!(started(&mut agenda, 2), [DEAD * 500]);
    }

    #[test]
    fn an_upstream_has_at_most_its_connections_at_work() {
        let mut agenda = Agenda::new([3]);
        add(&mut agenda, 10, 0);
        assert_eq!(started(&mut agenda, 1), [0, 1, 2]);
        agenda.finish(1, None);
        assert_eq!(started(&mut agenda, 1), [3]);
    }

    #[test]
    fn neither_many_partitions_nor_their_first_polls_hold_up_others_of_their_upstream() {
        let mut agenda = Agenda::new([1]);
        add(&mut agenda, 100, 0);
        assert_eq!(started(&mut agenda, 1), [0]);
        agenda.add(0, 1, Some(at(2)));
        agenda.finish(0, Some(at(2)));
        // The first of many, which is due again, and another source are next in turn with those
        // that were never polled.
        let mut next = Vec::new();
        for _ in 0..6 {
            next.extend(started(&mut agenda, 2));
            agenda.finish(next[next.len() - 1], None);
        }
        assert_eq!(next, [1, 0, 100, 2, 3, 4]);
        // Who asks by hand goes first of all.
        let _heard = agenda.ask(100);
        let _heard = agenda.ask(0);
        assert_eq!(started(&mut agenda, 2), [0]);
        agenda.finish(0, None);
        assert_eq!(started(&mut agenda, 2), [100]);
    }

    #[test]
    fn a_full_disk_pauses_all_then_one_finds_out() {
        let mut agenda = Agenda::new([8, 8]);
        add(&mut agenda, 2, 0);
        add(&mut agenda, 2, 1);
        agenda.pause(at(1));
        assert_eq!(started(&mut agenda, 1), [0; 0]);
        assert_eq!(agenda.next_look(), Some(at(11)));
        agenda.advance(at(11));
        let probe = agenda.start(at(11)).expect("a probe");
        assert!(probe.doubtful && agenda.start(at(11)).is_none());
        assert!(agenda.trust());
        assert_eq!(started(&mut agenda, 11).len(), 3);
    }

    #[test]
    fn who_left_is_not_polled_and_its_place_is_taken_again() {
        let mut agenda = Agenda::new([1]);
        add(&mut agenda, 4, 0);
        assert_eq!(started(&mut agenda, 1), [0]);
        // One is at work, two are ready; the fourth goes on.
        (0..3).for_each(|index| agenda.remove(index));
        assert_eq!(agenda.vacated(), [0; 0]);
        assert!(agenda.ask(1).is_none());
        agenda.finish(0, Some(at(2)));
        assert_eq!(started(&mut agenda, 1), [3]);
        assert_eq!(agenda.vacated(), [0, 1, 2]);
        agenda.finish(3, Some(at(9)));
        assert_eq!(agenda.add(0, 0, Some(at(7))), 2);
        assert_eq!(started(&mut agenda, 6), [0; 0]);
        assert_eq!(started(&mut agenda, 7), [2]);
        agenda.remove(3);
        assert_eq!(agenda.vacated(), [3]);
        agenda.finish(2, None);
        assert_eq!(started(&mut agenda, 9), [0; 0]);
    }

    #[test]
    fn nothing_begins_after_the_close() {
        let mut agenda = Agenda::new([8]);
        agenda.add(0, 0, Some(at(1)));
        let heard = agenda.ask(0).expect("open");
        agenda.close();
        assert_eq!(started(&mut agenda, 1), [0; 0]);
        assert!(agenda.ask(0).is_none());
        assert!(heard.has_changed().is_err());
    }

    #[test]
    fn polls_by_hand_leave_no_heap_behind() {
        let mut agenda = Agenda::new([8]);
        agenda.add(0, 0, Some(at(1_000_000)));
        for n in 0..10_000 {
            let _heard = agenda.ask(0);
            assert_eq!(started(&mut agenda, 1), [0]);
            agenda.finish(0, Some(at(1_000_000 + n)));
        }
        assert!(agenda.heap.len() <= 66, "{}", agenda.heap.len());
    }

    #[test]
    fn a_clock_that_steps_back_takes_the_times_along() {
        let mut agenda = Agenda::new([8]);
        agenda.advance(at(10_000));
        agenda.add(0, 0, Some(at(10_030)));
        assert_eq!(started(&mut agenda, 6_400), [0; 0]);
        assert_eq!(agenda.next_look(), Some(at(6_430)));
        assert_eq!(started(&mut agenda, 6_430), [0]);
    }
}
