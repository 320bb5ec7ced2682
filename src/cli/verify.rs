//! `doorbell verify`: whether a webhook is to be believed, and if not, exactly why.
//!
//! Decides what to say to a person whose receiver refuses webhooks. What is believed is
//! [`crate::signature`]'s question.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::paint::Paint;
use super::receiver::shortened;
use super::{BAD_CONFIG, VerifyArguments};
use crate::clock::Clock;
use crate::secret::Secret;
use crate::signature::{GITHUB_HEADER, GithubKey, KeyError, Refused, Signed, VerifyingKey, verify};
use crate::time::Timestamp;

/// Headers of Standard Webhooks.
const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";

/// Largest body that is read, as `listen` has it.
const BODY_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Verifies what the arguments name and says what came of it.
///
/// # Errors
/// A file that cannot be read.
pub fn verify_body(arguments: &VerifyArguments) -> anyhow::Result<ExitCode> {
    let refuse = |why: String| {
        eprintln!("doorbell: {why}");
        Ok(ExitCode::from(BAD_CONFIG))
    };
    let given = arguments.secrets.iter().filter(|secret| !secret.is_empty());
    let secrets: Vec<Secret> = given.cloned().map(Secret::new).collect();
    if secrets.is_empty() {
        return refuse("give the endpoint's secret: --secret, or DOORBELL_SECRET".to_owned());
    }
    let headers = match headers(&arguments.headers)? {
        Ok(headers) => headers,
        Err(why) => return refuse(why),
    };
    let webhook = Webhook {
        headers,
        body: read(&arguments.body)?,
    };
    let trust = match Trust::in_secrets(secrets) {
        Ok(trust) => trust,
        Err(error) => return refuse(format!("--secret: {error}")),
    };
    let now = Clock::system().now();
    let now = (!arguments.any_time).then_some(now);
    let verdict = judge(&webhook, &trust, now);
    if arguments.json {
        say!("{}", verdict.as_json());
    } else {
        verdict.print(Paint::stdout());
    }
    let is_believed = verdict.doubts.is_empty();
    Ok(if is_believed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// `NAME: VALUE` each, or `@FILE` with such lines; what else stands in the file, a request line
/// for example, is passed over.
fn headers(given: &[String]) -> anyhow::Result<Result<Vec<(String, String)>, String>> {
    let pair = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let name = name.trim().to_ascii_lowercase();
        let is_name = !name.is_empty() && !name.contains(' ');
        is_name.then(|| (name, value.trim().to_owned()))
    };
    let mut headers = Vec::new();
    for text in given {
        if let Some(file) = text.strip_prefix('@') {
            let text = std::fs::read_to_string(file).with_context(|| format!("{file}: "))?;
            headers.extend(text.lines().filter_map(pair));
        } else if let Some(header) = pair(text) {
            headers.push(header);
        } else {
            return Ok(Err(format!("no header, write \"{ID}: evt_…\": {text:?}")));
        }
    }
    Ok(Ok(headers))
}

/// The bytes of a file, or of standard input where it is `-`.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    if path == Path::new("-") {
        std::io::stdin()
            .take(BODY_BYTES_MAX)
            .read_to_end(&mut body)
            .context("standard input")?;
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(BODY_BYTES_MAX).read_to_end(&mut body))
            .with_context(|| path.display().to_string())?;
    }
    Ok(body)
}

/// A webhook as somebody received it; names in lower case.
struct Webhook {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Webhook {
    fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

/// Whom to believe.
struct Trust {
    secrets: Vec<Secret>,
    keys: Vec<VerifyingKey>,
}

impl Trust {
    fn in_secrets(secrets: Vec<Secret>) -> Result<Self, KeyError> {
        let keys: Result<_, _> = secrets.iter().map(VerifyingKey::parse).collect();
        keys.map(|keys| Self { secrets, keys })
    }
}

/// What came of it: believed if there is no doubt.
#[derive(Debug, Default, PartialEq, Eq)]
struct Verdict {
    /// What speaks for the webhook.
    grounds: Vec<String>,
    /// What speaks against it.
    doubts: Vec<String>,
    /// What may be wrong.
    hints: Vec<String>,
}

impl Verdict {
    fn print(&self, paint: Paint) {
        if self.doubts.is_empty() {
            say!("{}", paint.good("believed"));
        } else {
            say!("{}", paint.bad("not believed"));
        }
        for doubt in &self.doubts {
            say!("  {doubt}");
        }
        for hint in &self.hints {
            say!("  {} {hint}", paint.fresh("hint:"));
        }
        for ground in &self.grounds {
            say!("  {}", paint.faint(ground));
        }
    }

    fn as_json(&self) -> serde_json::Value {
        json!({
            "believed": self.doubts.is_empty(),
            "grounds": self.grounds,
            "doubts": self.doubts,
            "hints": self.hints,
        })
    }
}

/// Judges a webhook at `now`; `None`: whenever it was sent.
fn judge(webhook: &Webhook, trust: &Trust, now: Option<Timestamp>) -> Verdict {
    let mut verdict = Verdict::default();
    let of_github = webhook.header(GITHUB_HEADER);
    let has_any = [ID, TIMESTAMP, SIGNATURE]
        .iter()
        .any(|name| webhook.header(name).is_some());
    if has_any || of_github.is_none() {
        judge_standard(webhook, trust, now, &mut verdict);
    }
    if let Some(value) = of_github {
        let keys = trust.secrets.iter().map(GithubKey::new);
        let verified: Vec<_> = keys.map(|key| key.verify(value, &webhook.body)).collect();
        if verified.iter().any(Result::is_ok) {
            verdict.grounds.push(format!("{GITHUB_HEADER} matches"));
        } else if verified.contains(&Err(Refused::Scheme)) {
            let doubt = format!("{GITHUB_HEADER} does not begin with `sha256=`");
            verdict.doubts.push(doubt);
        } else {
            verdict
                .doubts
                .push(format!("{GITHUB_HEADER} does not match"));
            let hint = "its key is the text of the secret, `whsec_` and all";
            verdict.hints.push(hint.to_owned());
        }
    }
    verdict
}

fn judge_standard(webhook: &Webhook, trust: &Trust, now: Option<Timestamp>, verdict: &mut Verdict) {
    let mut header = |name: &str| {
        let value = webhook.header(name);
        if value.is_none() {
            verdict.doubts.push(format!("there is no header {name}"));
        }
        value
    };
    let (id, timestamp, signature) = (header(ID), header(TIMESTAMP), header(SIGNATURE));
    let (Some(id), Some(timestamp), Some(signature)) = (id, timestamp, signature) else {
        if webhook
            .headers
            .iter()
            .any(|(name, _)| name.starts_with("svix-"))
        {
            let hint = "the headers are named `svix-…`: the sender speaks Svix's dialect, doorbell \
                        never does";
            verdict.hints.push(hint.to_owned());
        }
        return;
    };
    let signed = Signed {
        id,
        timestamp,
        signature,
    };
    let Ok(at) = timestamp.parse::<i64>() else {
        verdict.doubts.push(Refused::Timestamp.to_string());
        return;
    };
    // The age is looked at apart, so that a stale webhook is told about its signature, too.
    match verify(&trust.keys, signed, &webhook.body, at) {
        Ok(()) => {
            let of = format!(
                "a signature of {id} over {} bytes matches",
                webhook.body.len()
            );
            verdict.grounds.push(of);
        }
        Err(Refused::Scheme) => {
            verdict.doubts.push(Refused::Scheme.to_string());
            let tags = signature
                .split(' ')
                .filter_map(|claim| claim.split_once(','));
            let tags: Vec<String> = tags.map(|(tag, _)| shortened(tag)).collect();
            verdict
                .hints
                .push(format!("signed by scheme: {}", list(&tags)));
        }
        Err(refused) => {
            verdict.doubts.push(refused.to_string());
            verdict.hints.extend(suspicion(webhook, signed, trust));
        }
    }
    if let Some(now) = now {
        judge_age(signed, at, now, verdict);
    }
}

fn judge_age(signed: Signed<'_>, at: i64, now: Timestamp, verdict: &mut Verdict) {
    let away = now.as_seconds().abs_diff(at);
    let text = humantime::format_duration(Duration::from_secs(away));
    // Without keys only the time can be doubted.
    let side = match verify(&[], signed, &[], now.as_seconds()) {
        Err(Refused::Stale) => "ago",
        Err(Refused::Early) => "ahead of this clock",
        _ => {
            verdict
                .grounds
                .push(format!("{TIMESTAMP} is {text} away from now"));
            return;
        }
    };
    let doubt = format!("{TIMESTAMP} is {text} {side}, receivers believe 5 minutes");
    verdict.doubts.push(doubt);
    let hint = "kept from then? --any-time leaves it out. Fresh? then one of the clocks is wrong";
    verdict.hints.push(hint.to_owned());
}

/// What would make the signature match: mistakes that are made over and over.
fn suspicion(webhook: &Webhook, signed: Signed<'_>, trust: &Trust) -> Option<String> {
    let at = signed.timestamp.parse().ok()?;
    let matches = |keys: &[VerifyingKey], body: &[u8]| verify(keys, signed, body, at).is_ok();
    let body = &webhook.body[..];
    let bare = body.strip_suffix(b"\n").unwrap_or(body);
    let bare = bare.strip_suffix(b"\r").unwrap_or(bare);
    let altered: [(&str, Vec<u8>); 3] = [
        ("without the line end at its end", bare.to_vec()),
        ("with a line end at its end", [body, b"\n"].concat()),
        ("without the white space between its tokens", compact(body)),
    ];
    for (how, body) in altered {
        if matches(&trust.keys, &body) {
            return Some(format!(
                "the body matches {how}: verify the bytes as they came"
            ));
        }
    }
    for secret in &trust.secrets {
        let text = secret.expose();
        let bare = text.strip_prefix("whsec_").unwrap_or(text);
        for text in [text, bare] {
            let taken = Secret::new(format!("whsec_{}", STANDARD.encode(text)));
            if VerifyingKey::parse(&taken).is_ok_and(|key| matches(&[key], body)) {
                let hint = "the sender took the secret's text for the key: it is the bytes that \
                            the base64 after `whsec_` encodes";
                return Some(hint.to_owned());
            }
        }
    }
    None
}

/// JSON without the white space outside its strings.
fn compact(json: &[u8]) -> Vec<u8> {
    let (mut is_inside, mut is_escaped) = (false, false);
    let mut is_told = |byte: &u8| {
        let is_space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let was_inside = is_inside;
        if *byte == b'"' && !is_escaped {
            is_inside = !is_inside;
        }
        is_escaped = *byte == b'\\' && !is_escaped;
        was_inside || !is_space
    };
    json.iter().filter(|byte| is_told(byte)).copied().collect()
}

fn list(words: &[String]) -> String {
    if words.is_empty() {
        return "none".to_owned();
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::{SigningKey, sign};

    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const NOW: Timestamp = Timestamp::from_millis(1_649_367_553_000);

    fn trust(secret: &str) -> Trust {
        Trust::in_secrets(vec![Secret::new(secret.to_owned())]).expect("a key")
    }

    /// A webhook signed at `NOW` with `secret`, arrived with `body`.
    fn webhook(secret: &str, signed: &str, body: &str) -> Webhook {
        let key = SigningKey::parse(&Secret::new(secret.to_owned())).expect("a key");
        let at = NOW.as_seconds();
        let signature = sign(&[key], "evt_1", at, signed.as_bytes());
        let header = |name: &str, value: String| (name.to_owned(), value);
        Webhook {
            headers: vec![
                header(ID, "evt_1".to_owned()),
                header(TIMESTAMP, at.to_string()),
                header(SIGNATURE, signature),
            ],
            body: body.as_bytes().to_vec(),
        }
    }

    fn later(seconds: i64) -> Timestamp {
        Timestamp::from_millis(NOW.as_millis() + seconds * 1_000)
    }

    #[test]
    fn what_is_believed_has_no_doubts_and_says_why() {
        let verdict = judge(
            &webhook(SECRET, "{}", "{}"),
            &trust(SECRET),
            Some(later(60)),
        );
        assert_eq!(verdict.doubts, Vec::<String>::new());
        assert_eq!(verdict.grounds.len(), 2, "{verdict:?}");
    }

    #[test]
    fn usual_mistakes_are_named() {
        let text = format!("whsec_{}", STANDARD.encode(SECRET));
        for (signer, signed, body, hint) in [
            (SECRET, "{\"a\":1}", "{\"a\":1}\n", "without the line end"),
            (SECRET, "{\"a\":1}", "{\"a\":1}\r\n", "without the line end"),
            (SECRET, "{\"a\":1}\n", "{\"a\":1}", "with a line end"),
            (
                SECRET,
                r#"{"a":"b \" c"}"#,
                "{\n  \"a\": \"b \\\" c\"\n}",
                "white space",
            ),
            (&text, "{}", "{}", "the secret's text for the key"),
        ] {
            let verdict = judge(
                &webhook(signer, signed, body),
                &trust(SECRET),
                Some(later(0)),
            );
            assert_eq!(verdict.doubts.len(), 1, "{verdict:?}");
            assert!(verdict.hints[0].contains(hint), "{verdict:?}");
        }
        let altered = judge(&webhook(SECRET, "{}", "[]"), &trust(SECRET), Some(later(0)));
        assert_eq!((altered.doubts.len(), altered.hints.len()), (1, 0));
    }

    #[test]
    fn a_stale_webhook_is_told_about_its_signature_too() {
        let (good, bad) = (webhook(SECRET, "{}", "{}"), webhook(SECRET, "{}", "[]"));
        let judged = |webhook, now| judge(webhook, &trust(SECRET), now).doubts;
        assert!(judged(&good, Some(later(301)))[0].contains("5m 1s ago"));
        assert!(judged(&good, Some(later(-301)))[0].contains("5m 1s ahead"));
        assert_eq!(judged(&bad, Some(later(301))).len(), 2);
        assert!(judged(&good, None).is_empty());
    }

    #[test]
    fn missing_headers_and_foreign_schemes_are_named() {
        let mut webhook = webhook(SECRET, "{}", "{}");
        let public = format!("whpk_{}", STANDARD.encode([1; 32]));
        let verdict = judge(&webhook, &trust(&public), Some(later(0)));
        assert_eq!(verdict.hints, ["signed by scheme: v1"]);
        webhook.headers.remove(1);
        webhook.headers.push(("svix-id".to_owned(), "x".to_owned()));
        let verdict = judge(&webhook, &trust(SECRET), Some(later(0)));
        assert_eq!(verdict.doubts, ["there is no header webhook-timestamp"]);
        assert!(verdict.hints[0].contains("svix-"));
    }

    #[test]
    fn a_github_signature_is_enough_alone_and_must_match_beside_others() {
        let github = GithubKey::new(&Secret::new(SECRET.to_owned()));
        let header = |value: String| (GITHUB_HEADER.to_owned(), value);
        let mut webhook = Webhook {
            headers: vec![header(github.sign(b"{}"))],
            body: b"{}".to_vec(),
        };
        assert!(
            judge(&webhook, &trust(SECRET), Some(later(0)))
                .doubts
                .is_empty()
        );
        webhook.body.push(b' ');
        assert_eq!(
            judge(&webhook, &trust(SECRET), Some(later(0))).doubts.len(),
            1
        );
        let mut both = super::tests::webhook(SECRET, "{}", "{}");
        both.headers.push(header(github.sign(b"[]")));
        assert_eq!(judge(&both, &trust(SECRET), Some(later(0))).doubts.len(), 1);
    }

    #[test]
    fn header_lines_are_read_past_what_is_none() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let lines = "POST /hooks HTTP/1.1\r\nWebhook-Id: a\r\nHost: x:1\r\n\r\n{}";
        std::fs::write(file.path(), lines).expect("it can be written");
        let given = [format!("@{}", file.path().display()), "A:b".to_owned()];
        let read = headers(&given).expect("it can be read").expect("headers");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [pair("webhook-id", "a"), pair("host", "x:1"), pair("a", "b")];
        assert_eq!(read, expected);
        assert!(headers(&["nonsense".to_owned()]).expect("no file").is_err());
    }
}
