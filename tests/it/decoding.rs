//! Sources whose upstreams do not speak JSON.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::harness::{
    Corpse, Doorbell, Piece, Receiver, Ring, SECRET, Upstream, Wild, tickets_of, well,
};
use crate::hostile::written::Written;

const PATH: &str = "/tickets";

/// One source of `upstream` with these lines, heard.
fn watching(upstream: &str, receiver: &Receiver, lines: &str) -> String {
    format!(
        r#"
[upstreams.tracker]
url = "{upstream}"
[endpoints.ops]
url = "{receiver}/ops"
secrets = ["{SECRET}"]
allow_private = true
[sources.tickets]
upstream = "tracker"
path = "{PATH}"
every = "manual"
{lines}
"#
    )
}

async fn serving(content_type: &str, body: &str) -> Upstream {
    let upstream = Upstream::serving(PATH, vec![]).await;
    upstream.send_raw(PATH, content_type, body);
    upstream
}

fn ticket(id: u64, state: &str) -> Value {
    json!({"id": id, "title": "é", "state": state})
}

fn told(ring: &Ring) -> (&str, &str, &Value) {
    let current = &ring.event["data"]["current"];
    (ring.event_type(), ring.subject(), current)
}

/// Ticket 2, closed, as each format has it.
fn closed(written: Written) -> Value {
    match written {
        Written::Json | Written::Ndjson => ticket(2, "closed"),
        Written::Csv => json!({"id": "2", "state": "closed", "title": "é"}),
        Written::Xml => json!({"@id": "2", "state": ["closed"], "title": ["é"]}),
        Written::Feed => json!({"id": "2", "title": "closed", "summary": "é"}),
        Written::Html => json!({
            "tag": "tr", "text": "closed é", "links": [], "attributes": {"id": "2"},
            "html": "<td>closed</td><td>é</td>",
        }),
    }
}

/// Method: the same life of a list in each format; what it rings is the same but for the items.
#[tokio::test]
async fn items_of_each_format_ring_as_those_of_json_do() {
    for written in [&[Written::Json], &Written::OTHERS[..]].concat() {
        let write = |list: &[Value]| written.write(&Value::from(list).to_string());
        let open = [ticket(1, "open"), ticket(2, "open")];
        let upstream = serving(written.content_type(), &write(&open)).await;
        let receiver = Receiver::accepting().await;
        let lines = format!("deletes = \"full\"\n{}", written.lines());
        let config = watching(&upstream.to_string(), &receiver, &lines);
        let doorbell = Doorbell::start(&config).await;
        let poll = async || doorbell.poll("tickets").await;
        assert_eq!(poll().await["events"], 0, "{written:?}");
        assert_eq!(poll().await["outcome"], "unchanged", "{written:?}");

        let after = [ticket(2, "closed"), ticket(3, "open")];
        upstream.send_raw(PATH, written.content_type(), &write(&after));
        let polled = poll().await;
        assert_eq!(polled["events"], 3, "{written:?}: {polled}");
        let login = "<!doctype html><html><form>Sign in</form></html>";
        upstream.send_raw(PATH, "text/html", login);
        let polled = poll().await;
        assert_eq!(polled["outcome"], "error", "{written:?}: {polled}");
        upstream.send_raw(PATH, written.content_type(), &write(&after));
        assert_eq!(poll().await["outcome"], "unchanged", "{written:?}");

        let rings = receiver.until_accepted(3).await;
        let mut rings: Vec<&Ring> = rings.iter().collect();
        rings.sort_by_key(|ring| ring.sequence());
        let all: Vec<_> = rings.iter().map(|ring| told(ring)).collect();
        assert_eq!(
            all[0],
            ("tickets.deleted", "1", &Value::Null),
            "{written:?}"
        );
        assert_eq!(all[1], ("tickets.updated", "2", &closed(written)));
        assert_eq!(
            (all[2].0, all[2].1),
            ("tickets.created", "3"),
            "{written:?}"
        );
        assert!(rings[1].event["data"]["patch"].is_array(), "{written:?}");
    }
}

#[tokio::test]
async fn whole_documents_of_each_format_ring_as_changed() {
    let digest = |text: &str| blake3::hash(text.as_bytes()).to_string();
    for (format, content_type, before, after, current) in [
        (
            "text",
            "text/plain",
            "one\n",
            "two\n",
            json!({"text": "two"}),
        ),
        (
            "bytes",
            "image/png",
            "one",
            "four",
            json!({"bytes": 4, "blake3": digest("four")}),
        ),
        (
            "xml",
            "text/xml",
            "<a x='1'/>",
            "<a x='2'><b/></a>",
            json!({"a": {"@x": "2", "b": [""]}}),
        ),
        (
            "auto",
            "text/csv; charset=utf-8",
            "a,b\n1,2\n",
            "a,b\n1,3\n",
            json!([{"a": "1", "b": "3"}]),
        ),
        (
            "html",
            "text/html",
            "<title>t</title><p>one",
            "<title>t</title><p>two",
            json!({"title": "t", "text": "two"}),
        ),
    ] {
        let upstream = serving(content_type, before).await;
        let receiver = Receiver::accepting().await;
        let lines = format!("format = \"{format}\"");
        let config = watching(&upstream.to_string(), &receiver, &lines);
        let doorbell = Doorbell::start(&config).await;
        assert_eq!(doorbell.poll("tickets").await["events"], 0, "{format}");
        upstream.send_raw(PATH, content_type, after);
        let polled = doorbell.poll("tickets").await;
        assert_eq!(polled["outcome"], "changed", "{format}: {polled}");
        let rings = receiver.until_accepted(1).await;
        assert_eq!(told(&rings[0]), ("tickets.changed", "", &current));
    }
}

/// The charset comes from the type, and what it says wrong is no change.
#[tokio::test]
async fn a_charset_is_heeded_and_never_guessed() {
    let upstream = serving("text/csv; charset=windows-1251", "id,a\n1,x\n").await;
    let receiver = Receiver::accepting().await;
    let config = watching(&upstream.to_string(), &receiver, Written::Csv.lines());
    let doorbell = Doorbell::start(&config).await;
    doorbell.poll("tickets").await;
    // As windows-1251, two letters; as UTF-8, one.
    upstream.send_raw(PATH, "text/csv; charset=windows-1251", "id,a\n1,й\n");
    assert_eq!(doorbell.poll("tickets").await["events"], 1);
    upstream.send_raw(PATH, "text/csv; charset=utf-16", "id,a\n1,й!\n");
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["reason"], "charset", "{polled}");
    let rings = receiver.until_accepted(1).await;
    assert_eq!(rings[0].event["data"]["current"]["a"], "Р№");
}

/// Method: what was JSON becomes XML, first by itself, then with the configuration's leave.
#[tokio::test]
async fn a_format_is_not_forgotten_until_it_is_told_and_then_rings_nobody() {
    let list = Value::from(vec![ticket(1, "open")]).to_string();
    let upstream = serving("application/json", &list).await;
    let receiver = Receiver::accepting().await;
    let config = watching(&upstream.to_string(), &receiver, "format = \"auto\"");
    let doorbell = Doorbell::start(&config).await;
    doorbell.poll("tickets").await;
    upstream.send_raw(PATH, "text/xml", "<error/>");
    for _ in 0..3 {
        let polled = doorbell.poll("tickets").await;
        assert_eq!(polled["reason"], "content_type", "{polled}");
    }
    let corpse = doorbell.kill().await;
    let said = corpse.ask(&["poll", "tickets"]).await;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("it was json before"), "{said}");

    let corpse = corpse.reconfigured("\"auto\"", "\"xml\"");
    let doorbell = corpse.restart().await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(
        (&polled["outcome"], &polled["events"]),
        (&json!("unchanged"), &json!(0))
    );
    upstream.send_raw(PATH, "text/xml", "<error>2</error>");
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["events"], 1);
    let mut ids = ids_of(&polled);

    // What the type says is what was learnt by now, so nothing begins anew.
    upstream.send_raw(PATH, "text/xml", "<error>3</error>");
    let corpse = doorbell.kill().await.reconfigured("\"xml\"", "\"auto\"");
    let doorbell = corpse.restart().await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["events"], 1);
    ids.extend(ids_of(&polled));
    // JSON was never told to be right again.
    upstream.send_raw(PATH, "application/json", &list);
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["reason"], "content_type", "{polled}");
    // Over a kill, the first may have rung twice.
    let mut rings = receiver.until_all_accepted(&ids).await;
    let mut seen = BTreeSet::new();
    rings.retain(|ring| seen.insert(ring.id.clone()));
    assert_eq!(seen, ids);
    let types: Vec<_> = rings.iter().map(|ring| told(ring).2.clone()).collect();
    assert_eq!(types, [json!({"error": "2"}), json!({"error": "3"})]);
}

fn ids_of(polled: &Value) -> BTreeSet<String> {
    let ids = polled["event_ids"].as_array().expect("ids");
    let texts = ids.iter().filter_map(Value::as_str);
    texts.map(ToOwned::to_owned).collect()
}

/// Method: tables in pages by number; the last page has names alone.
#[tokio::test]
async fn pages_of_tables_are_one_list() {
    let wild = Wild::listening().await;
    wild.serve(PATH, (1..=5).map(|id| ticket(id, "open")).collect());
    wild.answer(
        PATH,
        Arc::new(|asked| {
            let list: Vec<Value> = serde_json::from_str(&asked.list).expect("a list");
            let page: usize = asked
                .query
                .trim_start_matches("p=")
                .parse()
                .expect("a number");
            let page: Vec<Value> = list.chunks(2).nth(page - 1).unwrap_or_default().to_vec();
            let body = Written::Csv.write(&Value::from(page).to_string());
            vec![Piece::Send(well(
                "200 OK",
                &[("content-type", "text/csv")],
                body,
            ))]
        }),
    );
    let receiver = Receiver::accepting().await;
    let more = "paginate = { by = \"page\", param = \"p\" }\nformat = \"csv\"";
    let doorbell = Doorbell::start(&tickets_of(&wild.to_string(), &receiver, more)).await;
    doorbell.poll("tickets").await;
    wild.change(PATH, |list| {
        list[4]["state"] = json!("closed");
        list.remove(0);
    });
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["events"], 2, "{polled}");
    let mut rings = receiver.until_accepted(2).await;
    rings.sort_by_key(Ring::sequence);
    let all: Vec<_> = rings
        .iter()
        .map(|ring| (ring.event_type(), ring.subject()))
        .collect();
    assert_eq!(all, [("tickets.deleted", "1"), ("tickets.updated", "5")]);
}

/// Method: a table of more bytes than are read on the runtime's threads.
#[tokio::test]
async fn a_large_table_is_read_beside_and_what_changed_of_it_is_found() {
    let rows = |last: &str| {
        let rows: Vec<String> = (0..20_000)
            .map(|id| format!("{id},\"a, b\",x{id}\r\n"))
            .collect();
        let rows = rows.concat();
        format!("id,name,state\r\n{rows}20000,\"c\",{last}\r\n")
    };
    let upstream = serving("text/csv", &rows("open")).await;
    let receiver = Receiver::accepting().await;
    let config = watching(&upstream.to_string(), &receiver, Written::Csv.lines());
    let doorbell = Doorbell::start(&config).await;
    doorbell.poll("tickets").await;
    upstream.send_raw(PATH, "text/csv", &rows("closed"));
    assert_eq!(doorbell.poll("tickets").await["events"], 1);
    let rings = receiver.until_accepted(1).await;
    let current = json!({"id": "20000", "name": "c", "state": "closed"});
    assert_eq!(told(&rings[0]), ("tickets.updated", "20000", &current));
}

#[tokio::test]
async fn the_dry_run_shows_items_as_they_will_ring() {
    let upstream = serving("text/csv", "id,a\n7,x\n").await;
    let receiver = Receiver::accepting().await;
    let lines = format!("baseline = \"emit\"\n{}", Written::Csv.lines());
    let corpse = Corpse::new(&watching(&upstream.to_string(), &receiver, &lines));
    let output = corpse.ask(&["poll", "tickets", "--json"]).await;
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(said["answer"]["bytes"], 9, "{said}");
    assert_eq!(
        said["events"][0]["current"],
        json!({"id": "7", "a": "x"}),
        "{said}"
    );
}
