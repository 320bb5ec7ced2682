//! What rules the answers of an upstream suggest. Pure.
//!
//! Decides what a person is told to write: nothing here is applied by itself. Several answers to
//! one request, asked for within seconds, say more than one: what differs then is more likely
//! noise than news.
//!
//! | module | what it decides |
//! | --- | --- |
//! | `noise` | which fields differ by themselves, and which lists only change their order |

mod noise;

pub use noise::{Noise, Noisy, Pattern};

/// A member's name as a step of a JSONPath (RFC 9535): `.name`, or `['it\'s']` where it must be
/// quoted.
fn step(name: &str) -> String {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_plain =
        name.starts_with(is_first) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_plain {
        return format!(".{name}");
    }
    // JSON's escapes are those of a JSONPath, but for which quote needs one.
    let quoted = serde_json::Value::from(name).to_string();
    let inner = quoted[1..quoted.len() - 1].replace("\\\"", "\"");
    format!("['{}']", inner.replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{self, Path};

    #[test]
    fn names_become_steps_that_lead_to_them() {
        for (name, expected) in [
            ("updated_at", ".updated_at"),
            ("@odata.nextLink", "['@odata.nextLink']"),
            ("it's", r"['it\'s']"),
            ("say \"hi\"", "['say \"hi\"']"),
            ("back\\slash", r"['back\\slash']"),
            ("line\nend", r"['line\nend']"),
            ("1st", "['1st']"),
            ("", "['']"),
            ("é", "['é']"),
        ] {
            assert_eq!(step(name), expected);
            let path = Path::parse(&format!("${}", step(name))).expect("a path");
            let body = serde_json::json!({ name: 7, "other": 8 }).to_string();
            let picked = detect::pick(body.as_bytes(), &path);
            assert_eq!(picked, Ok(Some("7".to_owned())), "{name}");
        }
    }
}
