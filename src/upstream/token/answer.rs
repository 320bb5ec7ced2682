//! What a token endpoint answers: a token and how long it lasts, or why there is none.
//!
//! Decides which answers are believed, and which of the endpoint's words are shown: its code and
//! its description (RFC 6749 section 5.2), short, plain, and without what it was told in secret.

use std::time::Duration;

use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::credential::bearer;
use super::super::{Credential, Failure, Pacing, pacing};
use super::failure;
use crate::time::Timestamp;

/// Largest answer of a token endpoint; tokens that hold claims have some kilobytes.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Shortest life that is believed: who says 0 would be asked for each request.
const LIFE_MIN: Duration = Duration::from_secs(1);

/// Longest life that is believed, and that of a token whose answer tells none: it is replaced when
/// it is refused.
pub(super) const LIFE_MAX: Duration = Duration::from_hours(30 * 24);

/// Characters of a code that are shown; the longest of the standard has 22.
const CODE_MAX: usize = 64;

/// Characters of a description that are shown: two lines of a terminal.
const DESCRIPTION_MAX: usize = 160;

/// What a token endpoint gave.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) credential: Credential,
    pub(super) life: Duration,
}

#[derive(Deserialize)]
struct Answered<'a> {
    access_token: String,
    /// Required by the standard, and left out by some; clients in use take that for `bearer`.
    token_type: Option<String>,
    /// As it is written: the numbers of some do not fit any number of ours.
    #[serde(borrow)]
    expires_in: Option<&'a RawValue>,
}

/// A successful answer (RFC 6749 section 5.1).
pub(super) fn read(body: &[u8]) -> Result<Given, Failure> {
    let answered = Some(body).filter(|body| body.trim_ascii_start().starts_with(b"{"));
    let answered = answered.and_then(|body| serde_json::from_slice::<Answered<'_>>(body).ok());
    let answered = answered.ok_or_else(|| failure("answered without an `access_token`"))?;
    let kind = answered.token_type.as_deref().unwrap_or("bearer");
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err(failure("gave a token that is no bearer token"));
    }
    let token = &answered.access_token;
    let is_plain = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let credential = bearer(token).ok().filter(|_| is_plain);
    Ok(Given {
        credential: credential.ok_or_else(|| failure("gave a token that fits no header"))?,
        life: life(answered.expires_in),
    })
}

/// Seconds, as a number or, as some write it, as a string.
fn life(expires_in: Option<&RawValue>) -> Duration {
    let written = expires_in.map_or("", RawValue::get);
    let seconds: f64 = match written.trim_matches('"').trim().parse() {
        Ok(seconds) => seconds,
        Err(_) => return LIFE_MAX,
    };
    if seconds.is_nan() {
        return LIFE_MIN;
    }
    Duration::from_secs_f64(seconds.clamp(LIFE_MIN.as_secs_f64(), LIFE_MAX.as_secs_f64()))
}

/// An answer that gives no token (RFC 6749 section 5.2), without `secrets`.
pub(super) fn refusal(
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    secrets: &[&str],
    now: Timestamp,
) -> Failure {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let told = |name: &str, most: usize| {
        let told = said[name].as_str().map(|text| shown(text, secrets, most));
        told.filter(|text| !text.is_empty())
    };
    let code = told("error", CODE_MAX).map_or_else(String::new, |code| format!(": {code}"));
    let why = told("error_description", DESCRIPTION_MAX);
    let why = why.map_or_else(String::new, |why| format!(" ({why})"));
    let wait = pacing::retry_after(headers, now);
    Failure {
        pacing: Pacing {
            not_before: wait.map(|wait| wait.min(pacing::NOT_BEFORE_MAX)),
            fresh_for: None,
        },
        ..failure(&format!("answered {status}{code}{why}"))
    }
}

/// `text` in the characters that the standard allows it, cut, and without `secrets`: those are
/// looked for first, for half of one is a secret, too.
fn shown(text: &str, secrets: &[&str], most: usize) -> String {
    let without = |text: String| {
        let secrets = secrets.iter().filter(|secret| !secret.is_empty());
        secrets.fold(text, |text, secret| text.replace(secret, "…"))
    };
    let is_plain = |c: &char| c.is_ascii_graphic() || *c == ' ' || *c == '…';
    let plain = without(text.to_owned()).chars().filter(is_plain).collect();
    let plain = without(plain);
    let mut shown: String = plain.trim().chars().take(most).collect();
    if shown.len() < plain.trim().len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_the_standard_has_them_and_as_some_write_them() {
        let month = Some(2_592_000);
        let with_life = |life: &str| format!(r#"{{"access_token":"t","expires_in":{life}}}"#);
        for (life, expected) in [
            ("60", Some(60)),
            ("\"60\"", Some(60)),
            ("\" 60 \"", Some(60)),
            ("60.9", Some(60)),
            ("0", Some(1)),
            ("-5", Some(1)),
            ("\"-5\"", Some(1)),
            ("\"nan\"", Some(1)),
            ("1e300", month),
            ("1e400", month),
            ("18446744073709551616", month),
            ("\"inf\"", month),
            ("null", month),
            ("true", month),
            ("\"soon\"", month),
            ("[60]", month),
        ] {
            let given = read(with_life(life).as_bytes()).expect(life);
            assert_eq!(Some(given.life.as_secs()), expected, "{life}");
        }
        for (body, is_good) in [
            (r#"{"access_token":"t","token_type":"Bearer"}"#, true),
            (r#" {"access_token":"t","token_type":"bEARER"}"#, true),
            (r#"{"access_token":"t","token_type":null}"#, true),
            (r#"{"access_token":"t"}"#, true),
            (r#"{"access_token":"t","token_type":"mac"}"#, false),
            (r#"{"access_token":"t","token_type":""}"#, false),
            (r#"{"access_token":"t","token_type":["bearer"]}"#, false),
            (r#"{"access_token":"t","access_token":"u"}"#, false),
            (r#"{"access_token":""}"#, false),
            (r#"{"access_token":"a b"}"#, false),
            (r#"{"access_token":"a\nb"}"#, false),
            (r#"{"access_token":7}"#, false),
            (r#"{"access_token":null}"#, false),
            (r#"["t","bearer",60]"#, false),
            (r#"{"access_token":"t""#, false),
            ("access_token=t&token_type=bearer", false),
            ("<html>", false),
            ("", false),
        ] {
            let given = read(body.as_bytes());
            assert_eq!(given.is_ok(), is_good, "{body}");
            let told = given.map(|given| format!("{given:?}"));
            let told = told.unwrap_or_else(|failure| failure.to_string());
            assert!(
                !told.contains("Bearer t") && !told.contains("a b"),
                "{told}"
            );
        }
    }

    fn told(body: &str) -> String {
        let secrets = ["hunter2&", "hunter2%26", "bWU6aHVudGVyMg=="];
        let now = Timestamp::from_millis(0);
        let refusal = refusal(401, &HeaderMap::new(), body.as_bytes(), &secrets, now);
        refusal.to_string()
    }

    #[test]
    fn a_refusal_shows_the_words_of_the_standard_short_and_plain() {
        for (body, shown) in [
            (r#"{"error":"invalid_client"}"#, ": invalid_client"),
            (
                r#"{"error":"invalid_scope","error_description":" No scope \"x\". "}"#,
                ": invalid_scope (No scope \"x\".)",
            ),
            (r#"{"error_description":"why"}"#, " (why)"),
            (
                r#"{"error":"a\u001b[31m\nb\u0000","error_description":"x\r\ny\u202ez\u007f"}"#,
                ": a[31mb (xyz)",
            ),
            (r#"{"error":7,"error_description":{}}"#, ""),
            (r#"{"error":"","error_description":"\n"}"#, ""),
            (r#"["invalid_client"]"#, ""),
            ("<html>hunter2&</html>", ""),
            ("", ""),
        ] {
            let expected = format!("the token endpoint: answered 401{shown}");
            assert_eq!(told(body), expected, "{body}");
        }
        let long = "w".repeat(50_000);
        let long = told(&format!(
            r#"{{"error":"{long}","error_description":"{long}"}}"#
        ));
        assert!(long.len() < 300 && long.ends_with("w…)"), "{long}");
    }

    #[test]
    fn a_refusal_never_shows_what_the_endpoint_was_told_in_secret() {
        let before = "w".repeat(DESCRIPTION_MAX - 4);
        for words in [
            "unknown hunter2&!",
            "unknown hunter2%26!",
            "Authorization: Basic bWU6aHVudGVyMg==",
            "hun\\u0000ter2&",
            &format!("{before}hunter2&"),
        ] {
            let body = format!(r#"{{"error":"{words}","error_description":"{words}"}}"#);
            let told = told(&body);
            assert!(!told.contains("hun") && !told.contains("bWU6"), "{told}");
        }
    }
}
