//! Requests against a server that we did not write: httpbin says what it was asked, and answers in
//! every way that HTTP has.

use std::fmt::Write as _;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Doorbell, Egress, Outsider, Receiver, SECRET, Says, installed, wait_until};

/// httpbin, on a free port.
struct Httpbin {
    url: String,
    _program: Outsider,
}

impl Httpbin {
    async fn serving() -> Self {
        let mut command = Command::new(installed("venv/bin/python"));
        command.args([
            "-c",
            "from httpbin import app; app.run(port=0, threaded=True)",
        ]);
        let program = Outsider::running(command, Says::Err);
        let port = program.until("httpbin listens", |lines| {
            let line = lines
                .iter()
                .find_map(|line| line.split_once("127.0.0.1:"))?;
            let digits = line.1.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse::<u16>().ok()
        });
        Self {
            url: format!("http://127.0.0.1:{}", port.await),
            _program: program,
        }
    }
}

/// A source: its upstream's lines, its own, and what two polls running come to: outcomes, or the
/// reason of an error.
type Case<'a> = (&'a str, &'a str, [&'a str; 2]);

const PLAIN: &str = "";

/// Paths that need nothing of the upstream's.
const PLAIN_CASES: [Case<'_>; 24] = [
    (PLAIN, r#"path = "/get""#, ["unchanged"; 2]),
    (PLAIN, r#"path = "/gzip""#, ["unchanged"; 2]),
    (PLAIN, r#"path = "/deflate""#, ["unchanged"; 2]),
    (PLAIN, r#"path = "/brotli""#, ["unchanged"; 2]),
    // Its ETag has no quotes.
    (
        PLAIN,
        r#"path = "/etag/abc""#,
        ["unchanged", "not_modified"],
    ),
    (PLAIN, r#"path = "/cache""#, ["unchanged", "not_modified"]),
    (PLAIN, r#"path = "/redirect/3""#, ["unchanged"; 2]),
    (PLAIN, r#"path = "/relative-redirect/2""#, ["unchanged"; 2]),
    (PLAIN, r#"path = "/absolute-redirect/2""#, ["unchanged"; 2]),
    (PLAIN, r#"path = "/redirect/4""#, ["redirect"; 2]),
    (PLAIN, r#"path = "/status/204""#, ["status"; 2]),
    (PLAIN, r#"path = "/status/304""#, ["status"; 2]),
    (PLAIN, r#"path = "/status/404""#, ["refused"; 2]),
    (PLAIN, r#"path = "/status/418""#, ["status"; 2]),
    (PLAIN, r#"path = "/status/429""#, ["rate_limited"; 2]),
    (PLAIN, r#"path = "/status/503""#, ["status"; 2]),
    (PLAIN, "path = \"/html\"\nformat = \"json\"", ["parse"; 2]),
    (
        PLAIN,
        "path = \"/bytes/2000\"\nbody_bytes_max = \"1KiB\"",
        ["too_large"; 2],
    ),
    (
        PLAIN,
        "method = \"POST\"\npath = \"/post\"\nbody = { list = [1] }",
        ["unchanged"; 2],
    ),
    (
        PLAIN,
        "method = \"POST\"\npath = \"/get\"\nbody = {}",
        ["status"; 2],
    ),
    (
        PLAIN,
        "method = \"POST\"\npath = \"/redirect-to\"\nbody = {}\n\
         query = { url = \"/get\", status_code = 303 }",
        ["unchanged"; 2],
    ),
    // The method stays, and there is no such thing.
    (
        PLAIN,
        "method = \"POST\"\npath = \"/redirect-to\"\nbody = {}\n\
         query = { url = \"/get\", status_code = 307 }",
        ["status"; 2],
    ),
    (
        PLAIN,
        "method = \"POST\"\npath = \"/redirect-to\"\nbody = {}\n\
         query = { url = \"/post\", status_code = 307 }",
        ["unchanged"; 2],
    ),
    (
        "timeout = \"300ms\"",
        r#"path = "/delay/5""#,
        ["timeout"; 2],
    ),
];

const CREDENTIAL_CASES: [Case<'_>; 6] = [
    (
        "auth = { basic = { user = \"me\", password = \"p w\" } }",
        r#"path = "/basic-auth/me/p%20w""#,
        ["unchanged"; 2],
    ),
    (
        "auth = { basic = { user = \"me\", password = \"wrong\" } }",
        r#"path = "/basic-auth/me/right""#,
        ["refused"; 2],
    ),
    (
        "auth = { basic = { user = \"me\", password = \"wrong\" } }",
        r#"path = "/hidden-basic-auth/me/right""#,
        ["refused"; 2],
    ),
    (
        "auth = { bearer = \"t\" }",
        r#"path = "/bearer""#,
        ["unchanged"; 2],
    ),
    (PLAIN, r#"path = "/bearer""#, ["refused"; 2]),
    // Kept over a redirect within the origin.
    (
        "auth = { bearer = \"t\" }",
        "path = \"/redirect-to\"\nquery = { url = \"/bearer\" }",
        ["unchanged"; 2],
    ),
];

fn endpoint(receiver: &Receiver) -> String {
    format!(
        "[endpoints.ops]\nurl = \"{receiver}/ops\"\nsecrets = [\"{SECRET}\"]\n\
         allow_private = true\n"
    )
}

#[tokio::test]
async fn every_answer_of_httpbin_is_taken_for_what_it_is() {
    let httpbin = Httpbin::serving().await;
    let receiver = Receiver::accepting().await;
    let mut config = endpoint(&receiver);
    let cases: Vec<&Case<'_>> = PLAIN_CASES.iter().chain(&CREDENTIAL_CASES).collect();
    for (number, (of_upstream, of_source, _)) in cases.iter().enumerate() {
        let url = &httpbin.url;
        let _ = write!(
            config,
            "[upstreams.u{number}]\nurl = \"{url}\"\n{of_upstream}\n\
             [sources.s{number}]\nupstream = \"u{number}\"\nevery = \"manual\"\n{of_source}\n"
        );
    }
    let doorbell = Doorbell::start(&config).await;
    for (number, (of_upstream, of_source, expected)) in cases.iter().enumerate() {
        for expected in expected {
            let polled = doorbell.poll(&format!("s{number}")).await;
            let came_to = match polled["outcome"].as_str() {
                Some("error") => &polled["reason"],
                _ => &polled["outcome"],
            };
            assert_eq!(came_to, expected, "{of_upstream} {of_source}: {polled}");
        }
    }
    assert!(receiver.rings().is_empty(), "nothing changed");
}

/// Polls until httpbin says that it was asked something else than before; what it says.
async fn asked(doorbell: &Doorbell, receiver: &Receiver, source: &str) -> Value {
    wait_until("what is asked for has changed", async || {
        let polled = doorbell.poll(source).await;
        assert_ne!(polled["outcome"], "error", "{polled}");
        (polled["outcome"] == "changed").then_some(())
    })
    .await;
    let changed = format!("{source}.changed");
    let ring = wait_until("it has rung", async || {
        let rings = receiver.rings();
        rings.into_iter().find(|ring| ring.event_type() == changed)
    });
    ring.await.event["data"]["current"].clone()
}

#[tokio::test]
async fn httpbin_sees_what_the_configuration_says() {
    let httpbin = Httpbin::serving().await;
    let elsewhere = Httpbin::serving().await;
    let receiver = Receiver::accepting().await;
    let url = &httpbin.url;
    let egress = Egress::knowing(&[("own.example", url), ("other.example", &elsewhere.url)]);
    let config = endpoint(&receiver)
        + &format!(
            r#"
[upstreams.bin]
url = "{url}/anything"
auth = {{ header = {{ name = "x-api-key", value = "hunter2" }} }}
headers = {{ x-team = "blue" }}

[sources.search]
upstream = "bin"
method = "POST"
path = "/a%20b/{{{{now_unix}}}}"
query = {{ q = "x y&z", since = "{{{{last_success}}}}" }}
headers = {{ x-now = "{{{{now}}}}" }}
body = {{ text = "say \"{{{{now}}}}\"", n = 9007199254740993 }}
every = "manual"

[upstreams.keyed]
url = "http://own.example"
egress_proxy = "{egress}"
auth = {{ query = {{ name = "api_key", value = "hunter2" }} }}

[sources.away]
upstream = "keyed"
path = "/redirect-to"
query = {{ url = "http://other.example/anything?n={{{{now_unix}}}}" }}
every = "manual"
"#
        );
    let doorbell = Doorbell::start(&config).await;

    let search = asked(&doorbell, &receiver, "search").await;
    assert_eq!(search["method"], "POST");
    assert_eq!(search["args"]["q"], "x y&z");
    let since = search["args"]["since"].as_str().expect("after a success");
    assert!(since.ends_with('Z') && since.len() == 20, "{since}");
    let path = search["url"].as_str().expect("a URL");
    let path = path.replace("%20", " ");
    let now = path.split_once("/anything/a b/").map(|(_, now)| &now[..10]);
    let is_time = now.is_some_and(|now| now.bytes().all(|byte| byte.is_ascii_digit()));
    assert!(is_time, "{path}");
    let headers = &search["headers"];
    assert_eq!(headers["X-Api-Key"], "hunter2");
    assert_eq!(headers["X-Team"], "blue");
    assert_eq!(headers["Content-Type"], "application/json");
    let now = headers["X-Now"].as_str().expect("a header");
    assert_eq!(search["json"]["text"], format!("say \"{now}\""));
    assert_eq!(search["json"]["n"], 9_007_199_254_740_993_u64);

    let away = asked(&doorbell, &receiver, "away").await;
    let seen = away.to_string();
    assert!(
        !seen.contains("hunter2"),
        "no credential leaves its origin: {seen}"
    );
}
