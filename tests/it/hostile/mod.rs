//! What upstreams do to those who poll them, as a table: none of it is ever a change, each has its
//! reason in the metrics, and a real change that follows rings exactly once.
//!
//! Each row is polled five times running: on a list of many items, on a list of one, and as the
//! second page of a list; then, after a whole answer, again while the list has really changed.

mod bodies;
mod bombs;
mod formats;
mod framing;
mod heads;
mod lists;
mod records;
pub(crate) mod written;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use self::written::Written;
use crate::harness::{Asked, Doorbell, Piece, Receiver, SECRET, Script, Story, Wild, well};

/// Polls of one behaviour running.
const RUN: usize = 5;

/// Rows at work at once; each waits for one poll at a time.
const AT_ONCE: usize = 24;

/// Items of a long list: some 12 KiB, and enough that the guard doubts losing most of them.
const MANY: u64 = 40;

/// By how much the process may have grown at the worst moment of the table: [`AT_ONCE`] bodies of
/// at most 2 MiB, what reading them takes, and what the allocator keeps.
const GROWTH_BYTES_MAX: u64 = 128 << 20;

/// One behaviour.
struct Row {
    what: String,
    then: Then,
    script: Script,
    on: &'static str,
    /// What the source watches.
    of: Written,
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The poll fails for this reason.
    Fails(&'static str),
    /// The answer is as good as any.
    Passes,
    /// The guard holds the poll, if the list is long enough for it to doubt.
    IsHeld,
}

/// An upstream's configuration, by name.
const WELL: &str = "well";
/// The same server, with little patience.
const HASTY: &str = "hasty";

impl Row {
    fn new(
        what: impl Into<String>,
        then: Then,
        script: impl Fn(&Asked) -> Vec<Piece> + Send + Sync + 'static,
    ) -> Self {
        Self {
            what: what.into(),
            then,
            script: Arc::new(script),
            on: WELL,
            of: Written::Json,
        }
    }

    /// Sends these bytes, whatever is asked for.
    fn bytes(what: &str, then: Then, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes::Bytes::from(bytes.into());
        Self::new(what, then, move |_| vec![Piece::Send(bytes.clone())])
    }

    /// 200 with this as JSON.
    fn json(what: &str, then: Then, body: impl AsRef<[u8]>) -> Self {
        Self::bytes(what, then, well("200 OK", &[JSON], body))
    }

    /// 200 with what is made of the list, as JSON.
    fn list(what: &str, then: Then, make: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::new(what, then, move |asked| {
            vec![Piece::Send(well("200 OK", &[JSON], make(&asked.list)))]
        })
    }

    fn of(self, of: Written) -> Self {
        Self { of, ..self }
    }

    fn hasty(self) -> Self {
        Self { on: HASTY, ..self }
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");

fn table() -> Vec<Row> {
    let rows = [
        heads::rows(),
        framing::rows(),
        bodies::rows(),
        records::rows(),
        bombs::rows(),
        formats::rows(),
    ];
    rows.into_iter().flatten().collect()
}

/// A row on one kind of list.
struct Case<'a> {
    row: &'a Row,
    name: String,
    /// Where the row is the answer.
    path: String,
    list: List,
}

/// What is answered badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    /// A list of [`MANY`].
    Many,
    /// A list of one.
    One,
    /// The second page, with [`MANY`] items, of a list whose first page has as many.
    Page,
}

impl List {
    fn ids(self) -> RangeInclusive<u64> {
        match self {
            Self::Many => 1..=MANY,
            Self::One => 1..=1,
            Self::Page => MANY + 1..=2 * MANY,
        }
    }
}

#[tokio::test]
async fn nothing_that_an_upstream_does_wrong_is_a_change() {
    let table = table();
    assert!(table.len() >= 60, "{}", table.len());
    let wild = Wild::listening().await;
    let receiver = Receiver::accepting().await;
    let cases: Vec<Case<'_>> = cases(&table).collect();
    for case in &cases {
        wild.serve(&case.path, case.list.ids().map(item).collect());
        wild.answer(&case.path, whole(case.row.of));
        if case.list == List::Page {
            let first = case.watched();
            wild.serve(&first, (1..=MANY).map(item).collect());
            wild.answer(&first, first_page(case.row.of, &case.path));
        }
    }
    let doorbell = Doorbell::start(&config(&wild, &receiver, &cases)).await;
    let before = memory_peak(&doorbell);
    let lives = stream::iter(&cases).map(|case| live(case, &doorbell, &wild));
    let lives: Vec<Result<(), String>> = lives.buffer_unordered(AT_ONCE).collect().await;
    let wrong: Vec<String> = lives.into_iter().filter_map(Result::err).collect();
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );

    let rings = receiver.until_accepted(cases.len()).await;
    for case in &cases {
        let story = Story::of(&case.name, &rings);
        let told: Vec<_> = story
            .events()
            .map(|ring| (ring.event_type(), ring.subject()))
            .collect();
        let event_type = format!("{}.updated", case.name);
        let subject = case.list.ids().start().to_string();
        let expected = [(&*event_type, &*subject)];
        assert_eq!(told, expected, "{}", case.row.what);
    }
    assert_eq!(rings.len(), cases.len(), "nothing rang twice");
    let metrics = doorbell.metrics().await;
    for case in &cases {
        let errors = metrics.value("doorbell_poll_errors_total", &[("source", &case.name)]);
        let (expected, reason) = match case.row.then {
            Then::Fails(reason) => (2 * RUN, reason),
            Then::Passes | Then::IsHeld => (0, "status"),
        };
        assert_eq!(errors, expected as f64, "{}", case.row.what);
        let labels = [("source", &*case.name), ("reason", reason)];
        let errors = metrics.value("doorbell_poll_errors_total", &labels);
        assert_eq!(errors, expected as f64, "{}", case.row.what);
    }
    let grown = memory_peak(&doorbell) - before;
    assert!(grown < GROWTH_BYTES_MAX, "grew by {} MiB", grown >> 20);
}

fn cases(table: &[Row]) -> impl Iterator<Item = Case<'_>> {
    table.iter().enumerate().flat_map(|(number, row)| {
        // To lose the one item of a list, or half of them, is no mass deletion.
        let lists = match row.then {
            Then::IsHeld => &[List::Many][..],
            _ => &[List::Many, List::One, List::Page],
        };
        lists.iter().map(move |&list| {
            let name = format!("row{number}_{list:?}").to_lowercase();
            let path = format!("/{name}");
            Case {
                row,
                name,
                path,
                list,
            }
        })
    })
}

impl Case<'_> {
    /// What the source asks for.
    fn watched(&self) -> String {
        match self.list {
            List::Page => format!("{}/first", self.path),
            List::Many | List::One => self.path.clone(),
        }
    }
}

/// A page that is well, and leads to the one at `next`.
fn first_page(written: Written, next: &str) -> Script {
    let link = format!("<{next}>; rel=\"next\"");
    Arc::new(move |asked| {
        let headers = [("content-type", written.content_type()), ("link", &link)];
        vec![Piece::Send(well(
            "200 OK",
            &headers,
            written.write(&asked.list),
        ))]
    })
}

/// A page that is well.
fn whole(written: Written) -> Script {
    Arc::new(move |asked| {
        let headers = [("content-type", written.content_type())];
        vec![Piece::Send(well(
            "200 OK",
            &headers,
            written.write(&asked.list),
        ))]
    })
}

/// What happens to one source: see the module.
async fn live(case: &Case<'_>, doorbell: &Doorbell, wild: &Wild) -> Result<(), String> {
    let script = || Arc::clone(&case.row.script);
    let expect = |events: u64, expected: u64, when: &str| {
        let what = format!("{} ({:?})", case.row.what, case.list);
        let wrong = || format!("{what}: {events} events {when}");
        (events == expected).then_some(()).ok_or_else(wrong)
    };
    expect(poll_well(case, doorbell).await?, 0, "of the baseline")?;

    wild.answer(&case.path, script());
    expect(poll_badly(case, doorbell).await?, 0, "of it")?;
    wild.answer(&case.path, whole(case.row.of));
    expect(poll_well(case, doorbell).await?, 0, "after it")?;

    wild.answer(&case.path, script());
    wild.change(&case.path, |list| list[0]["state"] = json!("closed"));
    let early = poll_badly(case, doorbell).await?;
    let is_good = case.row.then == Then::Passes;
    expect(early, u64::from(is_good), "of it and a real change")?;
    wild.answer(&case.path, whole(case.row.of));
    let events = early + poll_well(case, doorbell).await?;
    expect(events, 1, "of a real change after it")?;
    expect(poll_well(case, doorbell).await?, 0, "in the end")
}

async fn poll_well(case: &Case<'_>, doorbell: &Doorbell) -> Result<u64, String> {
    let polled = doorbell.poll(&case.name).await;
    let is_good = polled["outcome"] == "changed" || polled["outcome"] == "unchanged";
    if !is_good {
        return Err(format!(
            "{} ({:?}), then well: {polled}",
            case.row.what, case.list
        ));
    }
    Ok(polled["events"].as_u64().expect("a count"))
}

/// Polls a behaviour [`RUN`] times; the events that came of it.
async fn poll_badly(case: &Case<'_>, doorbell: &Doorbell) -> Result<u64, String> {
    // The guard believes what it sees a third time.
    let run = if case.row.then == Then::IsHeld {
        2
    } else {
        RUN
    };
    let mut events = 0;
    for _ in 0..run {
        let polled = doorbell.poll(&case.name).await;
        let (outcome, reason) = (&polled["outcome"], &polled["reason"]);
        let is_expected = match case.row.then {
            Then::Fails(expected) => outcome == "error" && reason == expected,
            Then::IsHeld => outcome == "held" && reason == "guard",
            Then::Passes => outcome == "changed" || outcome == "unchanged",
        };
        if !is_expected {
            return Err(format!("{} ({:?}): {polled}", case.row.what, case.list));
        }
        events += polled["events"].as_u64().expect("a count");
    }
    Ok(events)
}

fn item(id: u64) -> Value {
    let words = format!("é and much besides, of ticket {id}; ").repeat(7);
    json!({"id": id, "title": words, "state": "open", "labels": ["a", "b"]})
}

fn config(wild: &Wild, receiver: &Receiver, cases: &[Case<'_>]) -> String {
    let mut config = format!(
        r#"
[metrics]
per_source = "on"
[upstreams.{WELL}]
url = "{wild}"
auth = {{ bearer = "secret" }}
timeout = "30s"
connections_max = {AT_ONCE}
[upstreams.{HASTY}]
url = "{wild}"
timeout = "500ms"
connections_max = {AT_ONCE}
[endpoints.ops]
url = "{receiver}/ops"
secrets = ["{SECRET}"]
allow_private = true
"#
    );
    let by_name: BTreeMap<&str, &Case<'_>> = cases.iter().map(|case| (&*case.name, case)).collect();
    for (name, case) in by_name {
        let (on, path) = (case.row.on, case.watched());
        let paginate = match case.list {
            List::Page => "paginate = { by = \"link\" }",
            List::Many | List::One => "",
        };
        let lines = case.row.of.lines();
        let _ = write!(
            config,
            r#"
[sources.{name}]
upstream = "{on}"
path = "{path}"
every = "manual"
{lines}
deletes = "full"
items_max = 1000
body_bytes_max = "2MiB"
{paginate}
"#
        );
    }
    config
}

/// The most memory that the process ever had.
fn memory_peak(doorbell: &Doorbell) -> u64 {
    let status = format!("/proc/{}/status", doorbell.process_id());
    let status = std::fs::read_to_string(status).expect("a live process");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes =
        peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kibibytes.expect("Linux tells") << 10
}
