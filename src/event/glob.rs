//! Which event types an endpoint asks for.

use std::fmt;

use super::OPERATIONAL_SOURCE;

/// A pattern over event types in which `*` spans anything, dots included.
///
/// Only a pattern that begins with `doorbell.` matches operational events, so that `*` keeps
/// meaning "all changes".
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Glob(String);

impl Glob {
    /// The pattern with this text; every text is one.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether an event of `event_type` is asked for.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        let operational = |text: &str| {
            text.strip_prefix(OPERATIONAL_SOURCE)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        if operational(event_type) && !operational(&self.0) {
            return false;
        }
        spans(self.0.as_bytes(), event_type.as_bytes())
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Greedy matching with one point to come back to: linear in practice, `O(pattern * text)` at
/// worst, never exponential.
fn spans(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            (p, t) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_spans_anything_but_operational_events_must_be_named() {
        for (glob, event_type, expected) in [
            ("issues.*", "issues.created", true),
            ("issues.*", "issues_2.created", false),
            ("*", "issues.created", true),
            ("*", "doorbell.source.failing", false),
            ("*.failing", "doorbell.source.failing", false),
            ("doorbell.*", "doorbell.source.failing", true),
            ("doorbell.*.failing", "doorbell.source.failing", true),
            ("*.created", "issues.created", true),
            ("*ea*ed", "issues.created", true),
            ("issues.created", "issues.created", true),
            ("issues.create", "issues.created", false),
            ("", "issues.created", false),
        ] {
            assert_eq!(
                Glob::new(glob).matches(event_type),
                expected,
                "{glob} on {event_type}"
            );
        }
    }
}
