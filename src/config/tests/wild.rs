//! No file whatever breaks the reader.

use std::path::Path;

use proptest::prelude::*;

use super::KEY;
use crate::config::{explain, parse};
use crate::time::Timestamp;

const ANNOTATED: &str = include_str!("../../../config/doorbell.toml");

/// Pieces that TOML or Unicode treat apart.
const SIGNS: [&str; 9] = [
    "\"\"\"", "'''", "\\", "\r\n", "[[", "]]", "\u{feff}", "9e9", "ä",
];

/// Secrets wherever they may stand.
const SECRETS: &str = r#"[store]
url = "postgres://u:hunter2hunter2@h/d"
[admin]
listen = "127.0.0.1:9090"
token = "hunter2 hunter2"
hosts = []
[upstreams.a]
url = "https://a.example/?hunter2hunter2"
auth = { bearer = "hunter2 hunter2" }
timeout = "10s"
[upstreams.b]
url = "https://b.example"
auth = { basic = { user = "u", password = "hunter2hunter2" } }
headers = { x-key = "hunter2hunter2" }
[endpoints.e]
url = "http://localhost/hunter2hunter2"
secrets = [
  "hunter2hunter2",
  'whsec_hunter2hunter2',
]
order = "subject"
[routes.r]
path = "/"
upstream = "a"
auth = { keys = ["hunter2hunter2"] }
"#;

/// Reads and shows; what matters is that it ends.
fn survive(text: &str) {
    let environment = |name: &str| name.len().is_multiple_of(2).then(|| KEY.to_owned());
    match parse(text, Path::new("wild/doorbell.toml"), &environment) {
        Ok(config) => drop(explain(&config, Timestamp::default())),
        Err(faults) => {
            assert!(!faults.to_string().is_empty());
            let lines = text.split('\n').count();
            for fault in &faults {
                assert!((1..=lines).contains(&fault.line), "{faults}");
            }
        }
    }
}

/// Pieces that mean something, so that their disorder does too.
fn piece() -> impl Strategy<Value = String> {
    let words: Vec<&str> = ANNOTATED
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .flat_map(|line| line.split_inclusive([' ', '=', '[', ']', '{', '}', '"', ',']))
        .collect();
    prop_oneof![
        6 => proptest::sample::select(words).prop_map(str::to_owned),
        1 => Just("\n".to_owned()),
        1 => "\\PC{0,4}",
        1 => proptest::sample::select(SIGNS.to_vec()).prop_map(str::to_owned),
    ]
}

/// Where, how many bytes go, and what comes.
fn damage() -> impl Strategy<Value = (prop::sample::Index, usize, String)> {
    (any::<prop::sample::Index>(), 0..30usize, piece())
}

/// One slip of the finger: a sign missing, or one too many, anywhere.
#[test]
fn no_slip_of_the_finger_shows_a_secret() {
    let signs = [
        "", "\"", "'", "#", "[", "]", "{", "}", "=", ",", "\n", "x", "\\", " ", "0",
    ];
    for at in 0..SECRETS.len() {
        for sign in signs {
            let mut text = SECRETS.to_owned();
            let gone = usize::from(sign.is_empty());
            text.replace_range(at..at + gone, sign);
            let read = parse(&text, Path::new("wild/doorbell.toml"), &|_| None);
            let shown = read.map_or_else(
                |faults| faults.to_string(),
                |config| explain(&config, Timestamp::default()),
            );
            assert!(!shown.contains("hunter2"), "{text}\n{shown}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_read_to_its_end(text in "(?s).{0,200}") {
        survive(&text);
    }

    #[test]
    fn any_disorder_of_right_words_is_read_to_its_end(
        pieces in proptest::collection::vec(piece(), 0..60),
    ) {
        survive(&pieces.concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn any_damage_to_a_right_file_is_read_to_its_end(
        damage in proptest::collection::vec(damage(), 1..6),
    ) {
        let mut text = ANNOTATED.to_owned();
        for (at, length, piece) in damage {
            let start = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.ceil_char_boundary((start + length).min(text.len()));
            text.replace_range(start..end, &piece);
        }
        survive(&text);
    }
}
