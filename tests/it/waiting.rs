//! What an upstream says about when to ask again, in every dialect there is.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::harness::{Doorbell, Piece, Wild, client, wait_until, well};

/// How long each dialect asks to be left alone, in seconds.
const WAIT: u64 = 5_000;

/// What a source's schedule would be without it, and what a test forgives.
const SLACK: i64 = 20;

/// A way to ask for it: its name, the answer's status, header lines, and keys of the source.
type Dialect = (
    &'static str,
    &'static str,
    Vec<(&'static str, String)>,
    &'static str,
);

#[expect(clippy::too_many_lines, reason = "a table")]
fn dialects() -> Vec<Dialect> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs();
    let wait = WAIT.to_string();
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(WAIT));
    let epoch = (now + WAIT).to_string();
    let millis = ((now + WAIT) * 1000).to_string();
    let of = |pairs: &[(&'static str, &str)]| {
        let owned = |(name, value): &(&'static str, &str)| (*name, (*value).to_owned());
        pairs.iter().map(owned).collect::<Vec<_>>()
    };
    let (ok, slow) = ("200 OK", "429 Too Many Requests");
    vec![
        ("seconds", slow, of(&[("Retry-After", &wait)]), ""),
        ("date", slow, of(&[("Retry-After", &date)]), ""),
        (
            "away",
            "503 Service Unavailable",
            of(&[("Retry-After", &wait)]),
            "",
        ),
        ("kinto_again", ok, of(&[("Retry-After", &wait)]), ""),
        ("github_events", ok, of(&[("X-Poll-Interval", &wait)]), ""),
        ("kinto", ok, of(&[("Backoff", &wait)]), ""),
        (
            "structured",
            ok,
            of(&[
                (
                    "RateLimit-Policy",
                    r#""burst";q=100;w=60,"day";q=1000;w=86400"#,
                ),
                (
                    "RateLimit",
                    &format!(r#""burst";r=5;t=9, "day";r=0;t={wait}"#),
                ),
            ]),
            "",
        ),
        (
            "dictionary",
            ok,
            of(&[(
                "RateLimit",
                &format!("limit=100, remaining=0, reset={wait}"),
            )]),
            "",
        ),
        (
            "three_headers",
            ok,
            of(&[("RateLimit-Remaining", "0"), ("RateLimit-Reset", &wait)]),
            "",
        ),
        (
            "gitlab",
            slow,
            of(&[("RateLimit-Remaining", "0"), ("RateLimit-Reset", &epoch)]),
            "",
        ),
        (
            "github",
            "403 Forbidden",
            of(&[
                ("X-RateLimit-Remaining", "0"),
                ("X-RateLimit-Reset", &epoch),
            ]),
            "",
        ),
        (
            "millis",
            ok,
            of(&[
                ("X-RateLimit-Remaining", "0"),
                ("X-RateLimit-Reset", &millis),
            ]),
            "",
        ),
        (
            "x",
            slow,
            of(&[
                ("X-Rate-Limit-Remaining", "0"),
                ("X-Rate-Limit-Reset", &epoch),
            ]),
            "",
        ),
        (
            "discord",
            slow,
            of(&[
                ("X-RateLimit-Remaining", "0"),
                ("X-RateLimit-Reset", "1"),
                ("X-RateLimit-Reset-After", &format!("{wait}.25")),
            ]),
            "",
        ),
        (
            "reddit",
            ok,
            of(&[
                ("X-RateLimit-Remaining", "0.0"),
                ("X-RateLimit-Reset", &wait),
            ]),
            "",
        ),
        (
            "cached",
            ok,
            of(&[
                (
                    "Cache-Control",
                    &format!("public, s-maxage=1, max-age={}", WAIT + 100),
                ),
                ("Age", "100"),
            ]),
            "respect_cache = true",
        ),
    ]
}

/// Those that say something, and nothing that a source need heed.
fn harmless() -> Vec<Dialect> {
    let of = |name: &'static str, value: &str| vec![(name, value.to_owned())];
    let ok = "200 OK";
    vec![
        ("left", ok, of("RateLimit", r#""day";r=1;t=5000"#), ""),
        ("not_asked", ok, of("Cache-Control", "max-age=5000"), ""),
        (
            "no_cache",
            ok,
            of("Cache-Control", "no-cache, max-age=5000"),
            "respect_cache = true",
        ),
        (
            "shared",
            ok,
            of("Cache-Control", "s-maxage=5000"),
            "respect_cache = true",
        ),
    ]
}

fn serve(upstream: &Wild, dialects: &[Dialect]) -> String {
    let mut sources = String::new();
    for (name, status, lines, keys) in dialects.iter().cloned() {
        let path = format!("/{name}");
        upstream.serve(&path, Vec::new());
        let script = move |_: &crate::harness::Asked| {
            let mut headers = vec![("content-type", "application/json")];
            headers.extend(lines.iter().map(|(name, value)| (*name, value.as_str())));
            vec![Piece::Send(well(status, &headers, json!({}).to_string()))]
        };
        upstream.answer(&path, Arc::new(script));
        // Each on an upstream of its own: those of one share what its budget learns.
        let _ = write!(
            sources,
            "[upstreams.{name}]\nurl = \"{upstream}\"\n[sources.{name}]\nupstream = \"{name}\"\n\
             path = \"{path}\"\nevery = \"1s\"\n{keys}\n"
        );
    }
    sources
}

async fn status(doorbell: &Doorbell, source: &str) -> Option<Value> {
    let url = format!("{}/api/v1/sources/{source}", doorbell.admin_url());
    let answer = client().get(url).send().await.ok()?;
    serde_json::from_slice(&answer.bytes().await.ok()?).ok()
}

/// Seconds from the last poll to the next.
fn pause(status: &Value) -> Option<i64> {
    let time = |key: &str| {
        let text = status[key].as_str()?;
        chrono::DateTime::parse_from_rfc3339(text).ok()
    };
    Some((time("next_due")? - time("last_poll")?).num_seconds())
}

#[tokio::test]
async fn every_dialect_that_asks_to_be_left_alone_is_understood() {
    let upstream = Wild::listening().await;
    let heeded = dialects();
    let config = serve(&upstream, &heeded) + &serve(&upstream, &harmless());
    let doorbell = Doorbell::start(&config).await;
    for (name, ..) in &heeded {
        let pause = wait_until("it was polled once", async || {
            pause(&status(&doorbell, name).await?)
        })
        .await;
        let wait = i64::try_from(WAIT).expect("a small number");
        assert!(
            (wait - SLACK..=wait + SLACK).contains(&pause),
            "{name}: {pause} s"
        );
    }
    for (name, ..) in harmless() {
        wait_until("it is polled again", async || {
            (upstream.heads(&format!("/{name}")).len() >= 3).then_some(())
        })
        .await;
    }
    for (name, ..) in &heeded {
        let heads = upstream.heads(&format!("/{name}"));
        let own = heads
            .iter()
            .filter(|head| head.starts_with(&format!("GET /{name} ")));
        assert_eq!(own.count(), 1, "{name} was asked again");
    }
}
