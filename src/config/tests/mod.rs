//! What a right file means. What is wrong with others stands in `refusals`, where and how it is
//! told in `places`, and that no file whatever breaks the reader in `wild`.

#[cfg(test)]
mod adaptive;
mod each;
mod places;
#[cfg(test)]
mod refusals;
mod semantics;
mod shared;
#[cfg(test)]
mod wild;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::event::{self, Cause, Event, EventId, EventKey, Kind, Partition};
use crate::time::Timestamp;

/// A right secret, and one that no message may show.
const KEY: &str = "whsec_c2hvd24gbm93aGVyZSBzaG93biBub3doZXJl";

/// An upstream and a document source on it.
const WATCH: &str = "[upstreams.u]\nurl = \"https://u.example\"\n[sources.doc]\nupstream = \"u\"\n\
                     path = \"/doc\"\nevery = \"30s\"\n";

fn read(text: &str) -> Result<Config, Faults> {
    let environment = |name: &str| match name {
        "KEY" => Some(KEY.to_owned()),
        "EMPTY" => Some(String::new()),
        "URL" => Some("https://elsewhere.example/api/".to_owned()),
        _ => None,
    };
    parse(text, Path::new("doorbell.toml"), &environment)
}

/// What a shipped file finds in the environment, whatever it asks for.
#[expect(
    clippy::unnecessary_wraps,
    reason = "an environment may lack a variable"
)]
fn any_value(name: &str) -> Option<String> {
    let url = name
        .ends_with("_URL")
        .then_some("https://elsewhere.example/api/");
    Some(url.unwrap_or(KEY).to_owned())
}

fn right(text: &str) -> Config {
    read(text).unwrap_or_else(|faults| panic!("{text}\n{faults}"))
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

#[test]
fn an_empty_file_means_the_documented_defaults() {
    let config = right("");
    assert_eq!(
        (config.log.level, config.log.format),
        (tracing::Level::INFO, None)
    );
    assert_eq!(config.store.path, PathBuf::from("doorbell.db"));
    assert_eq!(config.store.retain, Duration::from_hours(7 * 24));
    assert_eq!(config.store.retain_dead, Duration::from_hours(30 * 24));
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9090");
    assert!(config.admin.token.is_none() && config.admin.metrics_token);
    assert!(config.admin.hosts.is_empty() && config.proxy.is_none());
    assert!(config.warnings.is_empty());
}

#[test]
fn absent_keys_mean_the_documented_defaults() {
    let config = right(&format!(
        "{WATCH}[proxy]\nlisten = [\"127.0.0.1:0\"]\n[endpoints.e]\nurl = \"https://e.example\"\n\
         secrets = [\"{KEY}\"]\n[routes.r]\npath = \"/r/\"\nupstream = \"u\"\n"
    ));
    let seconds = Duration::from_secs;
    let proxy = config.proxy.expect("a proxy");
    assert_eq!(
        (proxy.connections_max, proxy.drain_delay),
        (10_000, seconds(2))
    );
    assert_eq!((proxy.grace, proxy.trusted_proxies.len()), (seconds(20), 0));
    let upstream = &config.upstreams["u"];
    assert_eq!(
        (upstream.timeout, upstream.connect_timeout),
        (seconds(10), seconds(3))
    );
    assert_eq!((upstream.connections_max, upstream.redirects), (64, 3));
    let source = &config.sources["doc"];
    assert_eq!(
        (source.deletes, source.baseline),
        (Deletes::Never, Baseline::Silent)
    );
    assert_eq!((source.keep, source.failing_after), (Keep::Bodies, 3));
    assert_eq!(
        (source.items_max, source.body_bytes_max),
        (1_000_000, 16 << 20)
    );
    assert!((source.deletes_max_ratio - 0.5).abs() < f64::EPSILON);
    assert!(source.rules.items.is_none() && source.rules.id.is_empty());
    let endpoint = &config.endpoints["e"];
    assert_eq!((endpoint.timeout, endpoint.concurrency), (seconds(15), 8));
    assert_eq!(
        (endpoint.order, endpoint.allow_private),
        (Order::Subject, false)
    );
    let hours = [
        5 * 60,
        30 * 60,
        2 * 3_600,
        5 * 3_600,
        10 * 3_600,
        14 * 3_600,
        20 * 3_600,
    ];
    let retry: Vec<_> = [5]
        .into_iter()
        .chain(hours)
        .chain([86_400])
        .map(seconds)
        .collect();
    assert_eq!(endpoint.retry, retry);
    assert!(endpoint.hears("doc.changed") && !endpoint.hears("doorbell.source.failing"));
    let route = &config.routes["r"];
    assert_eq!((route.body_bytes_max, route.concurrency), (10 << 20, 1_000));
    assert!(!route.strip_prefix && !route.shadow && route.limits.is_empty());
    assert!(route.host.is_none() && route.methods.is_none());
    assert!(matches!(route.auth, RouteAuth::Open));
}

#[test]
fn every_shipped_file_is_right_and_the_annotated_one_shows_every_key() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).expect("config/ is there") {
        let path = entry.expect("config/ can be read").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("files are text");
        let config = parse(&text, &path, &any_value);
        let config = config.unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(config.warnings, Vec::<String>::new(), "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 2, "doorbell.toml and minimal.toml are shipped");
    let annotated = std::fs::read_to_string(folder.join("doorbell.toml")).expect("it is text");
    let tables = [
        &upstream::UPSTREAM,
        &source::SOURCE,
        &endpoint::ENDPOINT,
        &route::ROUTE,
    ];
    for key in tables.into_iter().flat_map(|keys| keys.now) {
        // What names files that nobody ships stands behind a `#`.
        let mark = if *key == "tls" { "# " } else { "" };
        let written = format!("\n{mark}{key} =");
        assert!(
            annotated.contains(&written),
            "doorbell.toml does not show {key}"
        );
    }
}

#[test]
fn every_recipe_is_right_and_its_templates_write_every_event_that_they_hear() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/recipes");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).expect("config/recipes/ is there") {
        let path = entry.expect("it can be read").path();
        let text = std::fs::read_to_string(&path).expect("files are text");
        let config = parse(&text, &path, &any_value).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(config.warnings, Vec::<String>::new(), "{}", path.display());
        let item = |title: &str| format!(r#"{{"id":1,"title":"{title}"}}"#);
        let title = r#"<!channel> \"@everyone\" \\"#;
        let (title, older) = (item(title), item("older"));
        let operations = r#"[{"op":"replace","path":"/title","value":"x"}]"#;
        for (kind, content) in [
            (Kind::Created, format!(r#""current":{title}"#)),
            (
                Kind::Updated,
                format!(r#""current":{title},"previous":{older},"patch":{operations}"#),
            ),
            (Kind::Deleted, format!(r#""previous":{title}"#)),
            (
                Kind::SourceFailing,
                r#""source":"tickets","reason":"status""#.to_owned(),
            ),
        ] {
            let event = told(kind, &content);
            let templated = |endpoint: &&Arc<Endpoint>| {
                matches!(endpoint.rendering.format, event::Format::Template(_))
            };
            for endpoint in config.endpoints.values().filter(templated) {
                assert!(endpoint.hears(&event.event_type()));
                let rendered = endpoint.rendering.render(&event);
                let body = rendered
                    .unwrap_or_else(|why| panic!("{} {why}", path.display()))
                    .body;
                serde_json::from_str::<serde_json::Value>(&body).expect("JSON");
                let word = if kind == Kind::SourceFailing {
                    "status"
                } else {
                    "@everyone"
                };
                assert!(body.contains(word), "{body}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 12, "Slack, Teams and Discord are shown");
}

/// An event of the source `tickets`, or doorbell's own.
fn told(kind: Kind, content: &str) -> Event {
    let is_own = !Kind::OF_SOURCES.contains(&kind);
    Event {
        id: EventId::new(EventKey::new(1, 0), 7),
        source: if is_own { "doorbell" } else { "tickets" }.into(),
        kind,
        partition: Partition::default(),
        subject: "1 & <2>".into(),
        sequence: 1,
        at: Timestamp::from_millis(0),
        cause: Cause::Poll,
        content: content.into(),
    }
}

#[test]
fn the_annotated_file_says_what_its_comments_say_is_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/doorbell.toml");
    let text = std::fs::read_to_string(&path).expect("it is text");
    let bare: String = text
        .split_inclusive('\n')
        .filter(|line| !line.contains("# = default"))
        .collect();
    let read = |text: &str| parse(text, &path, &any_value);
    let (shown, bare) = (read(&text), read(&bare));
    assert_eq!(
        format!("{:?}", shown.expect("it is right")),
        format!("{:?}", bare.expect("it is right"))
    );
}

#[test]
fn values_come_out_as_they_are_meant() {
    let config = right(&format!(
        "[log]\nlevel = \"debug\"\nformat = \"text\"\n[store]\nurl = \"sqlite:/var/lib/d.db\"\n\
         [admin]\nlisten = \"0.0.0.0:9\"\ntoken = {{ env = \"KEY\" }}\nhosts = [\"A.Example\"]\n\
         [proxy]\nlisten = [\"[::1]:0\"]\ntrusted_proxies = [\"10.0.0.0/8\"]\n\
         [upstreams.u]\nurl = {{ env = \"URL\" }}\n\
         auth = {{ basic = {{ user = \"me\", password = \"p w\" }} }}\n\
         headers = {{ Accept = \"text/x\" }}\n\
         [sources.s]\nupstream = \"u\"\npath = \"\"\nevery = \"manual\"\n\
         query = {{ z = 1, a = [true, \"x y\"] }}\nitems = \"$[*]\"\nid = [\"$.a\", \"$.b\"]\n\
         only = [\"$.c\"]\ndeletes = \"full\"\nbaseline = \"emit\"\nkeep = \"digests\"\n\
         guard = {{ deletes_max_ratio = 1 }}\nbody_bytes_max = \"1MB\"\n\
         [endpoints.e]\nurl = \"http://127.0.0.1:1/\"\nallow_private = true\norder = \"none\"\n\
         secrets = [\"{KEY}\", {{ env = \"KEY\" }}]\nevents = [\"s.deleted\"]\nretry = []\n\
         [routes.r]\npath = \"/r\"\nhost = \"API.example\"\nmethods = [\"GET\", \"HEAD\"]\n\
         upstream = \"u\"\nauth = {{ keys = [\"k\"] }}\nlimits = [\n\
         {{ by = \"header:X-Key\", requests = 5, per = \"1m\" }},\n\
         {{ by = \"route\", requests = 5, per = \"1m\", burst = 9 }},\n]\n"
    ));
    assert_eq!(config.log.level, tracing::Level::DEBUG);
    assert_eq!(config.log.format, Some(LogFormat::Text));
    assert_eq!(config.store.path, PathBuf::from("/var/lib/d.db"));
    assert!(
        config
            .admin
            .token
            .is_some_and(|token| token.expose() == KEY)
    );
    assert_eq!(config.admin.hosts, ["a.example"]);
    let proxy = config.proxy.expect("a proxy");
    assert!(proxy.trusts("10.1.2.3".parse().expect("an address")));
    assert!(!proxy.trusts("11.1.2.3".parse().expect("an address")));
    let upstream = &config.upstreams["u"];
    assert_eq!(upstream.url.as_str(), "https://elsewhere.example/api");
    assert_eq!(upstream.headers["accept"], "text/x");
    let basic = matches!(&upstream.auth, Some(Auth::Basic { user, password })
        if user == "me" && password.expose() == "p w");
    assert!(basic);
    let source = &config.sources["s"];
    assert_eq!(
        (source.every.clone(), source.deletes),
        (Every::Manual, Deletes::Full)
    );
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let request = &source.request;
    let query = request.query.iter();
    let query: Vec<_> = query
        .map(|(name, value)| pair(name, value.as_str()))
        .collect();
    assert_eq!(query, [pair("z", "1"), pair("a", "true"), pair("a", "x y")]);
    assert_eq!((request.path.as_str(), source.rules.id.len()), ("", 2));
    assert!(matches!(&source.rules.fields, crate::detect::Fields::Only(only) if only.len() == 1));
    assert!((source.deletes_max_ratio - 1.0).abs() < f64::EPSILON);
    assert_eq!(source.body_bytes_max, 1_000_000);
    let endpoint = &config.endpoints["e"];
    assert_eq!((endpoint.secrets.len(), endpoint.retry.len()), (2, 0));
    let route = &config.routes["r"];
    assert_eq!(route.host.as_deref(), Some("api.example"));
    assert_eq!(route.methods.as_ref().map(Vec::len), Some(2));
    let labels: Vec<_> = route.limits.iter().map(|limit| limit.by.label()).collect();
    assert_eq!(labels, ["header:x-key", "route"]);
    let bursts: Vec<_> = route.limits.iter().map(|limit| limit.burst.get()).collect();
    assert_eq!(bursts, [5, 9]);
    assert!(matches!(&route.auth, RouteAuth::Keys(keys) if keys[0].equals(b"k")));
}

/// A source with these lines, of an upstream that sends nothing of its own.
fn asking(lines: &str) -> Source {
    let config = right(&format!(
        "[upstreams.u]\nurl = \"https://u.example\"\n[sources.s]\nupstream = \"u\"\n\
         every = \"1s\"\nitems = \"$[*]\"\nid = \"$.id\"\n{lines}"
    ));
    Source::clone(&config.sources["s"])
}

#[test]
fn requests_come_out_as_they_are_meant() {
    let source = asking(
        r#"
method = "POST"
path = "/search/{{ now_unix }}"
query = { since = "{{last_success}}", all = true }
headers = { x-since = "{{now}}", x-own = "1" }
body = { query = { since = "{{now}}", n = 1, big = 9007199254740993 }, tags = ["a", 1.5] }
"#,
    );
    let request = &source.request;
    assert_eq!(request.method, "POST");
    assert!(request.is_of_the_moment());
    assert!(request.headers.contains_key("x-own") && request.headers.len() == 1);
    assert_eq!(request.templated_headers[0].0, "x-since");
    let Some(RequestBody::Json(body)) = &request.body else {
        panic!("{:?}", request.body);
    };
    let expected = r#"{"query":{"big":9007199254740993,"n":1,"since":"{{now}}"},"tags":["a",1.5]}"#;
    assert_eq!(body.as_str(), expected);

    for (lines, is_json) in [
        ("body = '{\"since\": {{now_unix}}}'", true),
        (
            "body = '{ a }'\nheaders = { content-type = \"application/graphql\" }",
            false,
        ),
        (
            "body = 'a=b'\nheaders = { content-type = \"text/x\" }",
            false,
        ),
        (
            "body = '[1]'\nheaders = { content-type = \"application/x+json; a=b\" }",
            true,
        ),
    ] {
        let source = asking(&format!("path = \"\"\nmethod = \"QUERY\"\n{lines}"));
        let body = source.request.body.expect("a body");
        assert_eq!(matches!(body, RequestBody::Json(_)), is_json, "{lines}");
    }
}

#[test]
fn ways_of_paging_come_out_as_they_are_meant() {
    for (written, expected) in [
        ("by = \"link\"", "Link"),
        (
            "by = \"next\", header = \"Next-Page\"",
            "Next(Header(\"next-page\"))",
        ),
        (
            "by = \"page\", param = \"p\"",
            "Page { parameter: Query(\"p\"), start: 1, end_status: None }",
        ),
        (
            "by = \"page\", param = \"p\", start = 0, end_status = 400",
            "Page { parameter: Query(\"p\"), start: 0, end_status: Some(400) }",
        ),
        (
            "by = \"offset\", param = \"o\", limit = 50",
            "Offset { parameter: Query(\"o\"), limit: 50 }",
        ),
    ] {
        let source = asking(&format!("path = \"\"\npaginate = {{ {written} }}"));
        let paginate = source.paginate.expect("pages");
        assert_eq!(format!("{:?}", paginate.by), expected);
        assert_eq!((paginate.pages_max, paginate.more), (100, None));
    }
    let source = asking(
        r#"
path = "/graphql"
method = "POST"
body = { query = "{ a }" }
paginate = { by = "cursor", at = "$.end", param = "variables.after", into = "body", more = "$.m", pages_max = 9 }
"#,
    );
    let paginate = source.paginate.expect("pages");
    assert_eq!((paginate.pages_max, paginate.more.is_some()), (9, true));
    let names = ["variables".to_owned(), "after".to_owned()];
    assert_eq!(
        paginate.by.parameter(),
        Some(&Parameter::Body(names.to_vec()))
    );
}

#[test]
fn a_secret_may_stand_in_a_file_beside_the_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("doorbell.toml");
    let write = |name: &str, text: &[u8]| {
        std::fs::write(folder.path().join(name), text).expect("files can be written");
    };
    write("doorbell.toml", b"[admin]\ntoken = { file = \"token\" }\n");
    write("token", b"t0ken\r\n");
    let token = |text: &[u8]| {
        write("token", text);
        let config = load(&config)?;
        Ok::<_, Faults>(config.admin.token.expect("a token").expose().to_owned())
    };
    assert_eq!(token(b"t0ken\r\n").expect("right"), "t0ken");
    assert_eq!(token(b"t0ken").expect("right"), "t0ken");
    for (wrong, why) in [
        (b"".to_vec(), "is empty"),
        (b"a\n\n".to_vec(), "holds spaces"),
        (vec![0xff], "is no UTF-8 text"),
        (vec![b'x'; 70_000], "holds more than 65536 bytes"),
    ] {
        let faults = token(&wrong).expect_err("wrong");
        let fault = faults.iter().next().expect("one fault");
        assert!(fault.message.contains(why), "{faults}");
        assert_eq!(fault.line, 2);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_one_fault_without_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("none.toml");
    let faults = load(&path).expect_err("there is none");
    let head = format!("{}: cannot be read", path.display());
    assert!(faults.to_string().starts_with(&head), "{faults}");
    std::fs::write(&path, b"[log]\n# \xff\n").expect("files can be written");
    let faults = load(&path).expect_err("no UTF-8");
    assert!(
        faults.to_string().ends_with(": line 2 is no UTF-8 text"),
        "{faults}"
    );
}

#[test]
fn what_is_legal_but_odd_is_warned_about_in_the_order_of_the_file() {
    let config = right(&format!(
        "[upstreams.idle]\nurl = \"https://u.example\"\n\
         [upstreams.u]\nurl = \"https://u.example\"\n\
         [endpoints.e]\nurl = \"http://e.example\"\nsecrets = [\"{KEY}\"]\n\
         [routes.r]\npath = \"/\"\nupstream = \"u\"\nshadow = true\n"
    ));
    assert_eq!(
        config.warnings,
        [
            "doorbell.toml:1:12: no source or route uses upstream `idle`",
            "doorbell.toml:5:12: nothing rings endpoint `e`: there is no source",
            "doorbell.toml:6:7: webhooks go over http://, where everyone on the way can read them",
            "doorbell.toml:8:9: routes do nothing without `[proxy]`, add `listen` there",
            "doorbell.toml:11:1: `shadow = true` without `limits` does nothing",
        ]
    );
    let config = right(&format!(
        "{WATCH}items = \"$[*]\"\nid = \"$.id\"\n[endpoints.e]\nurl = \"https://e.example\"\n\
         secrets = [\"{KEY}\"]\nevents = [\"doc.deleted\"]\n"
    ));
    let expected = "\"doc.deleted\" never rings: source `doc` has `deletes = \"never\"`";
    assert_eq!(
        config.warnings,
        [format!("doorbell.toml:12:11: {expected}")]
    );
}

#[test]
fn explains_who_asks_whom_and_who_hears_what() {
    let config = right(&format!(
        "{WATCH}[sources.things]\nupstream = \"u\"\npath = \"/things\"\nevery = \"15m\"\n\
         items = \"$.a[*]\"\nid = [\"$.b\", \"$.c\"]\ndeletes = \"full\"\n\
         [sources.hand]\nupstream = \"u\"\npath = \"\"\nevery = \"manual\"\n\
         [endpoints.all]\nurl = \"https://e.example/private/path\"\nsecrets = [\"{KEY}\"]\n\
         [endpoints.some]\nurl = \"http://some.example:81\"\nsecrets = [\"{KEY}\"]\n\
         events = [\"things.*ted\", \"doorbell.*.failing\"]\n\
         [proxy]\nlisten = [\"127.0.0.1:8080\"]\n\
         [routes.r]\npath = \"/r/\"\nupstream = \"u\"\nhost = \"r.example\"\nstrip_prefix = true\n\
         methods = [\"GET\", \"PUT\"]\nauth = {{ keys = [\"hunter2\"] }}\n\
         limits = [{{ by = \"ip\", requests = 50, per = \"1s\", burst = 100 }}]\n"
    ));
    assert_eq!(
        explain(&config, Timestamp::default()),
        "\
upstreams:
  u: https://u.example, polled 124 requests an hour
sources:
  doc: u/doc, every 30s, 120 requests an hour, the whole document
  hand: u, only by hand, the whole document
  things: u/things, every 15m, 4 requests an hour, items $.a[*] by $.b + $.c, deleted when missing
endpoints:
  all: https://e.example, hears doc.changed, hand.changed, things.created|updated|deleted
  some: http://some.example:81, hears things.created|updated|deleted, doorbell.source.failing
routes:
  r: GET|PUT /r/ of r.example on 127.0.0.1:8080 to u (https://u.example), prefix cut, for \
         bearers of its 1 keys, limits: ip 50 per 1s (burst 100)
warnings:
  doorbell.toml:22:7: webhooks go over http://, where everyone on the way can read them
"
    );
    assert_eq!(
        explain(&right(""), Timestamp::default()),
        "upstreams:\n  none\nsources:\n  none\nendpoints:\n  none\nroutes:\n  none\n"
    );
}

#[test]
fn explains_what_sources_and_callers_share() {
    let config = right(
        "[upstreams.u]\nurl = \"https://u.example\"\n\
         budget = { requests = 600, per = \"1h\", burst = 5 }\n\
         [sources.s]\nupstream = \"u\"\npath = \"/s\"\nevery = \"30s\"\nobserve = true\n\
         on_write = { paths = [\"/s\", \"/s/*\"] }\n\
         serve = { max_age = \"30s\", stale_if_error = \"1h\" }\n",
    );
    let explained = explain(&config, Timestamp::default());
    for expected in [
        "u: https://u.example, polled 120 requests an hour, 20% of its budget of 600 per 1h \
         (burst 5), of which polls keep 10% and callers wait 1s",
        "polled 200ms after a caller's write to /s or /s/* and 1s after the last one, callers' \
         GETs of it count as polls, answers callers for 30s and in place of errors for 1h more",
    ] {
        assert!(explained.contains(expected), "{explained}");
    }
}

#[test]
fn a_long_list_of_heard_sources_is_counted() {
    let sources = (0..30)
        .map(|n| format!("[sources.s{n:02}]\nupstream = \"u\"\npath = \"/{n}\"\nevery = \"1h\"\n"));
    let text = format!(
        "{WATCH}{}[endpoints.e]\nurl = \"https://e.example\"\nsecrets = [\"{KEY}\"]\n\
         events = [\"s*\"]\n",
        sources.collect::<Vec<_>>().concat()
    );
    let explained = explain(&right(&text), Timestamp::default());
    assert!(
        explained.contains("s19.changed, and those of 10 more sources\n"),
        "{explained}"
    );
    assert!(!explained.contains("doc.changed"), "{explained}");
}

#[test]
fn hundred_thousand_sources_are_read_at_one_pass() {
    use std::fmt::Write as _;
    let mut text = "[upstreams.u]\nurl = \"https://u.example\"\n".to_owned();
    for n in 0..100_000 {
        let _ = write!(
            text,
            "[sources.s{n}]\nupstream = \"u\"\npath = \"/{n}\"\nevery = \"1h\"\n"
        );
    }
    let _ = write!(
        text,
        "[endpoints.e]\nurl = \"https://e.example\"\nsecrets = [\"{KEY}\"]\n\
         events = [\"s99999.*\"]\n"
    );
    let config = right(&text);
    assert_eq!(config.sources.len(), 100_000);
    assert!(config.sources.contains_key(&name("s77777")));
    assert!(explain(&config, Timestamp::default()).contains("hears s99999.changed"));
}
