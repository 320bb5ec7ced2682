//! Partitions that are the items of another source: they come and go with its snapshot.
//!
//! Decides when that is looked at again, and who is seated and who leaves then. Leaves which
//! partitions there are to [`super::divide`].

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;
use serde_json_path::JsonPath;
use tokio::sync::Notify;

use super::Room;
use super::conclude::first_poll;
use super::divide::{self, Found, Partitions};
use super::hall::Standing;
use super::pools::Joining;
use super::seat::{Seat, Watched};
use crate::config::{self, Each};
use crate::detect::Path;
use crate::event::Partition;
use crate::shutdown::Phase;
use crate::store::{SnapshotId, Store, StoreError};

/// Items whose bodies are in memory at once.
const CHUNK_ITEMS: usize = 4_096;

/// Partitions that are seated at once.
const CHUNK_SEATS: usize = 1_024;

/// Shortest pause between two looks, and how many times the time that the last one took: a list of
/// a million items that changes every second is not read all the time.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_FACTOR: u32 = 4;

/// Sources whose snapshots have changed since somebody looked.
#[derive(Debug, Default)]
pub(super) struct Follow {
    moved: Mutex<BTreeSet<usize>>,
    notify: Notify,
}

impl Follow {
    /// A source's snapshot has changed.
    pub(super) fn moved(&self, source: usize) {
        self.moved.lock().insert(source);
        self.notify.notify_one();
    }
}

/// Follows until the drain.
pub(super) async fn keep(room: Arc<Room>) {
    loop {
        tokio::select! {
            () = room.shutdown.reached(Phase::Draining) => return,
            () = room.follow.notify.notified() => {}
        }
        let began = Instant::now();
        let moved = std::mem::take(&mut *room.follow.moved.lock());
        if let Err(error) = follow(&room, &moved).await {
            tracing::error!("partitions could not be brought up to date: {error}");
            room.follow.moved.lock().extend(moved);
            room.follow.notify.notify_one();
        }
        let pause = PAUSE.max(began.elapsed() * PAUSE_FACTOR);
        tokio::select! {
            () = room.shutdown.reached(Phase::Draining) => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Seats everybody at the start, each source after those that it follows.
pub(super) async fn begin(room: &Room) -> Result<(), StoreError> {
    let config = room.live.load_full();
    let mut seated = vec![false; room.sources.len()];
    let mut snapshots = HashSet::new();
    // A checked configuration has no circles, so each round seats somebody.
    while let Some(first) = seated.iter().position(|seated| !seated) {
        for (index, watched) in room.sources.iter().enumerate().skip(first) {
            let source = &config.sources[&watched.name];
            let each = source.each.as_ref();
            let mut followed = each.iter().flat_map(|each| each.followed.keys());
            let is_next = followed.all(|name| seated[room.by_name[name]]);
            if seated[index] || !is_next {
                continue;
            }
            seated[index] = true;
            let found = match each {
                Some(each) => found(room, each).await?,
                None => Found::new(),
            };
            let partitions = divide::partitions(each, &found);
            tell_if_cut(watched.name.as_str(), partitions.is_cut);
            snapshots.extend(seat(room, watched, source, partitions.list).await?);
        }
    }
    room.store.leave_others(snapshots).await
}

/// Brings every source up to date that one of `moved` divides.
async fn follow(room: &Room, moved: &BTreeSet<usize>) -> Result<(), StoreError> {
    let config = room.live.load_full();
    let names: BTreeSet<_> = moved
        .iter()
        .map(|index| &room.sources[*index].name)
        .collect();
    for watched in &room.sources {
        let Some(source) = config.sources.get(&watched.name) else {
            continue;
        };
        let Some(each) = &source.each else { continue };
        if each
            .followed
            .keys()
            .any(|followed| names.contains(followed))
        {
            let found = found(room, each).await?;
            let partitions = divide::partitions(Some(each), &found);
            if !settle(room, watched, source, partitions).await? {
                // Who came back too early is seated the next time.
                let followed = each
                    .followed
                    .keys()
                    .filter_map(|name| room.by_name.get(name));
                followed.for_each(|index| room.follow.moved(*index));
            }
        }
    }
    Ok(())
}

/// Seats and unseats until the source has these partitions; whether it has all of them.
async fn settle(
    room: &Room,
    watched: &Arc<Watched>,
    source: &config::Source,
    partitions: Partitions,
) -> Result<bool, StoreError> {
    let standing = room.hall.lock().standing(watched);
    let mut gone: BTreeMap<&Partition, SnapshotId> = standing
        .iter()
        .map(|standing| (&standing.seat.partition, standing.seat.snapshot))
        .collect();
    let wanted = partitions.list.into_iter();
    let fresh: Vec<Partition> = wanted
        .filter(|partition| gone.remove(partition).is_none())
        .collect();
    if fresh.is_empty() && gone.is_empty() {
        return Ok(true);
    }
    let (name, came, left) = (watched.name.as_str(), fresh.len(), gone.len());
    tracing::info!(source = name, came, left, "partitions come and go");
    tell_if_cut(name, partitions.is_cut);
    let gone: HashSet<SnapshotId> = gone.into_values().collect();
    room.hall.lock().unseat(watched, &gone);
    room.store.leave(gone.into_iter().collect()).await?;
    let seated = seat(room, watched, source, fresh).await?;
    room.wake.notify_one();
    Ok(seated.len() == came)
}

/// Seats partitions that nobody has a seat for; the snapshots of those who are seated.
async fn seat(
    room: &Room,
    watched: &Arc<Watched>,
    source: &config::Source,
    partitions: Vec<Partition>,
) -> Result<Vec<SnapshotId>, StoreError> {
    let mut snapshots = Vec::with_capacity(partitions.len());
    // What the store remembers of all at once would take as much memory again as their seats.
    for chunk in partitions.chunks(CHUNK_SEATS) {
        let wanted = chunk
            .iter()
            .map(|partition| (watched.id, partition.clone()));
        let states = room.store.partitions(wanted.collect()).await?;
        let now = room.clock.now();
        for (partition, state) in chunk.iter().zip(states) {
            let snapshot = state.snapshot;
            let has_snapshot = state.items.is_some();
            let due = first_poll(source, partition, &state.memory, has_snapshot, now);
            let joining = Joining::of(&source.every, &state.memory);
            let seat = Arc::new(Seat::new(watched, partition.clone(), state));
            let adaptive = joining.map(|joining| (joining, now));
            if room.hall.lock().seat(seat, due, adaptive) {
                snapshots.push(snapshot);
            }
        }
    }
    Ok(snapshots)
}

/// What the items of the sources that `each` follows give, as their snapshots stand.
async fn found(room: &Room, each: &Each) -> Result<Found, StoreError> {
    let mut found = Found::new();
    for (name, paths) in &each.followed {
        let values = found.entry(name.clone()).or_default();
        let Some(index) = room.by_name.get(name) else {
            continue;
        };
        let standing = room.hall.lock().standing(&room.sources[*index]);
        let mut without = 0;
        for Standing { seat, .. } in standing {
            if seat.mind.lock().items.is_some() {
                without += read(&room.store, seat.snapshot, paths, values).await?;
            }
        }
        if without > 0 {
            let source = name.as_str();
            tracing::warn!(source, without, "items that give a partition no value");
        }
    }
    Ok(found)
}

/// Adds what the items of one snapshot give; how many give nothing.
async fn read(
    store: &Store,
    snapshot: SnapshotId,
    paths: &BTreeMap<String, Path>,
    values: &mut BTreeSet<BTreeMap<String, String>>,
) -> Result<usize, StoreError> {
    let places = paths.iter().filter_map(|(name, path)| {
        let path = JsonPath::parse(path.as_str()).ok()?;
        Some((name.clone(), path))
    });
    let places: Places = places.collect();
    let known = store.known(snapshot).await?;
    let mut without = 0;
    for chunk in known.chunks(CHUNK_ITEMS) {
        let subjects = chunk.iter().map(|item| item.subject.clone()).collect();
        let bodies = store.bodies(snapshot, subjects).await?;
        let places = places.clone();
        let read = move || {
            let bodies = bodies.iter();
            let given = bodies.map(|(_, body)| given(body.as_deref()?, &places));
            given.collect::<Vec<_>>()
        };
        let given = tokio::task::spawn_blocking(read).await;
        for item in given.map_err(|_| StoreError::Closed)? {
            match item {
                Some(item) => drop(values.insert(item)),
                None => without += 1,
            }
        }
    }
    Ok(without)
}

/// Where an item gives a value, by the name that gets it.
type Places = Vec<(String, JsonPath)>;

/// What an item gives to the names; `None` if it lacks a value, or has one that cannot be asked
/// for.
fn given(body: &str, places: &Places) -> Option<BTreeMap<String, String>> {
    let item: Value = serde_json::from_str(body).ok()?;
    let value = |(name, path): &(String, JsonPath)| {
        let value = match path.query(&item).exactly_one().ok()? {
            Value::String(text) => text.clone(),
            Value::Number(number) if !number.is_f64() => number.to_string(),
            _ => return None,
        };
        config::fit_partition(&value).ok()?;
        Some((name.clone(), value))
    };
    places.iter().map(value).collect()
}

/// Says that a source has more partitions than are polled.
fn tell_if_cut(source: &str, is_cut: bool) {
    if is_cut {
        let most = config::PARTITIONS_MAX;
        tracing::error!(
            source,
            "more than {most} partitions: the rest is not polled"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_gives_strings_and_whole_numbers_and_nothing_else() {
        let place = |name: &str, path: &str| {
            let path = JsonPath::parse(path).expect("a path");
            (name.to_owned(), path)
        };
        let places = vec![place("repo", "$.name"), place("id", "$.id")];
        let whole = given(r#"{"name":"a/b","id":9007199254740993,"x":1}"#, &places);
        let whole = whole.expect("both are there");
        assert_eq!(
            (&*whole["repo"], &*whole["id"]),
            ("a/b", "9007199254740993")
        );
        for lacking in [
            r#"{"name":"a/b"}"#,
            r#"{"name":"a/b","id":null}"#,
            r#"{"name":"a/b","id":1.5}"#,
            r#"{"name":"a/b","id":[1]}"#,
            r#"{"name":"","id":1}"#,
            r#"{"name":"a/../b","id":1}"#,
            "{\"name\":\"a\\u0000b\",\"id\":1}",
        ] {
            assert_eq!(given(lacking, &places), None, "{lacking}");
        }
    }
}
