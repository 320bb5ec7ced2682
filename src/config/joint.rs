//! What a source learns from callers and gives to them: `on_write`, `observe`, `serve`.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::event::Glob;

use super::reader::{Keys, Table};
use super::value::Value;
use super::{Request, Variable};

/// How a source shares with those who call its upstream through the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Joint {
    /// Which of their writes poll it.
    pub on_write: Option<OnWrite>,
    /// Whether their GETs of the same request count as polls.
    pub observe: bool,
    /// Whether and how long its last answer serves them.
    pub serve: Option<Serve>,
}

/// Callers' writes that poll a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnWrite {
    /// Paths at the upstream, below its URL; never empty.
    pub paths: Vec<Glob>,
    /// How long after the first of several writes they are looked for together.
    pub settle: Duration,
}

/// How long an answer serves callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serve {
    /// So long it is fresh.
    pub max_age: Duration,
    /// So much longer it is better than an error (RFC 5861 section 4).
    pub stale_if_error: Duration,
}

impl OnWrite {
    /// Whether a write to this path, below the upstream's URL, is one that polls.
    #[must_use]
    pub fn hears(&self, path: &str) -> bool {
        self.paths.iter().any(|glob| glob.matches(path))
    }

    /// How long after the last write a second look follows: what an upstream takes in slowly is
    /// there by then.
    #[must_use]
    pub fn second_look(&self) -> Duration {
        (self.settle * 4).max(Duration::from_secs(1))
    }
}

const ON_WRITE: Keys = Keys {
    now: &["paths", "settle"],
    later: &[],
};
const SERVE: Keys = Keys {
    now: &["max_age", "stale_if_error"],
    later: &[],
};

/// Most paths of one source's `on_write`.
const PATHS_MAX: usize = 64;
/// Longest of them.
const PATH_BYTES_MAX: usize = 1_024;
const SETTLE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_mins(1);
const SETTLE_DEFAULT: Duration = Duration::from_millis(200);
const MAX_AGE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(24);
const STALE_IF_ERROR: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24 * 30);

/// Reads all of it from a source's table, whose request is `request`.
pub(super) fn joint(table: &Table<'_>, request: Option<&Request>) -> Joint {
    for key in ["on_write", "observe", "serve"] {
        if table.has("each") && table.has(key) {
            let message = format!(
                "`{key}` and `each` do not go together: a caller's request does not tell which \
                 partition it is about; write a source of its own"
            );
            table.context.fault(table.place(key), message);
        }
    }
    let observe = table.or("observe", false, Value::boolean);
    let serve = table.optional("serve", serve);
    if observe {
        same_request(table, "observe", request);
    }
    if table.has("serve") {
        same_request(table, "serve", request);
    }
    Joint {
        on_write: table.optional("on_write", on_write),
        observe,
        serve,
    }
}

/// Callers' GETs are of the same request only where that is one GET, and always the same.
fn same_request(table: &Table<'_>, key: &'static str, request: Option<&Request>) {
    for other in ["paginate", "cursor", "body"] {
        if table.has(other) {
            let message =
                format!("`{key}` is about one GET, always the same, and `{other}` makes it others");
            table.context.fault(table.place(key), message);
        }
    }
    let Some(request) = request else { return };
    if request.method != http::Method::GET {
        let message = format!("`{key}` is about GET, not {}", request.method);
        table.context.fault(table.place(key), message);
    }
    let mut variables = request.variables();
    if variables.any(|variable| !matches!(variable, Variable::Partition(_))) {
        let message = format!("`{key}` is about one GET, always the same: leave `{{{{…}}}}` out");
        table.context.fault(table.place(key), message);
    }
}

fn on_write(value: Value<'_>) -> Option<OnWrite> {
    let table = value.table(&ON_WRITE)?;
    let paths = table.required("paths", "[\"/issues\", \"/issues/*\"]", |v| {
        let paths = v.each("a list of paths", PATHS_MAX, path)?;
        if paths.is_empty() {
            v.fault("`paths` is empty, write which writes poll: \"/issues/*\", or \"*\"");
            return None;
        }
        Some(paths)
    });
    let settle = table.or("settle", SETTLE_DEFAULT, |v| v.duration(&SETTLE));
    Some(OnWrite {
        paths: paths?,
        settle,
    })
}

fn path(value: Value<'_>) -> Option<Glob> {
    value.parsed("a path like \"/issues/*\"", |text| {
        if !text.starts_with(['/', '*']) {
            return Err(format!(
                "{text:?} begins with `/`: it is a path below the upstream's url"
            ));
        }
        if text.contains('?') {
            return Err(format!("{text:?}: a path, without `?`; `*` spans the rest"));
        }
        if text.len() > PATH_BYTES_MAX {
            return Err(format!("a path of over {PATH_BYTES_MAX} bytes"));
        }
        Ok(Glob::new(text))
    })
}

fn serve(value: Value<'_>) -> Option<Serve> {
    let table = value.table(&SERVE)?;
    let max_age = table.required("max_age", "\"30s\"", |v| v.duration(&MAX_AGE));
    let stale_if_error = table.or("stale_if_error", Duration::ZERO, |v| {
        v.duration(&STALE_IF_ERROR)
    });
    Some(Serve {
        max_age: max_age?,
        stale_if_error,
    })
}
