//! The TOML file, checked: a value of these types that exists is right, and nothing downstream
//! checks again.
//!
//! Decides what may be written and what it means. A file is read once, and everything that is
//! wrong with it is told at once, each fault with its place and what to write instead. What the
//! rest of doorbell sees are the types of `model`, [`load`], [`parse`] and [`explain`].
//!
//! | module | what it decides |
//! | --- | --- |
//! | `model` `asking` | the checked types |
//! | `service` `upstream` `source` `endpoint` `route` | the sections: keys, defaults, bounds |
//! | `tls` | whom an upstream is believed by, and who doorbell is to it |
//! | `beside` | endpoints that did not come with the file |
//! | `rendering` | how an endpoint's webhooks are written |
//! | `each` | what divides a source |
//! | `joint` | what it shares with callers |
//! | `request` `template` | what a source asks for; texts with values of the moment |
//! | `declared` | the names of a file, for those who refer to them |
//! | `given` `words` | strings: URLs, secrets and headers; durations, sizes, paths |
//! | `reader` `value` | how tables and values are read, and faults worded |
//! | `syntax` `fault` | what does not parse; where a fault is and how it is shown |
//! | `explain` `demand` | what a file means, for people; what it asks of upstreams |

mod asking;
mod beside;
mod declared;
mod demand;
mod each;
mod endpoint;
mod explain;
mod fault;
mod given;
mod joint;
mod model;
mod reader;
mod rendering;
mod request;
mod route;
mod service;
mod source;
mod syntax;
mod template;
#[cfg(test)]
mod tests;
mod tls;
mod upstream;
mod value;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use toml::de::DeTable;

pub use asking::*;
pub use beside::{Beside, MemberFault};
pub use each::{Each, PARTITION_VALUE_BYTES_MAX, PARTITIONS_MAX, fit as fit_partition};
pub use endpoint::{NO_NETWORK, SECRETS_MAX};
pub use explain::explain;
pub use fault::{FAULTS_MAX, Fault, Faults};
pub use joint::{Joint, OnWrite, Serve};
pub use model::*;
pub use reader::Author;
pub use template::{Template, TemplateError, Values, Variable};
pub use tls::{Identity, Tls};
pub use words::duration;

use crate::name::Name;

use declared::Declared;
use fault::{Note, Sheet, Span};
use reader::{Context, Keys, Table};
use value::Value;

/// Most bytes of a configuration: 100,000 sources with a dozen keys each fit.
pub const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

const ROOT: Keys = Keys {
    now: &[
        "log",
        "store",
        "admin",
        "metrics",
        "proxy",
        "upstreams",
        "sources",
        "endpoints",
        "routes",
    ],
    later: &[],
};

/// Reads and checks the file at `path`, with this process's environment.
///
/// # Errors
/// [`Faults`]: everything that is wrong with it, or the one reason why it cannot be read.
pub fn load(path: &Path) -> Result<Config, Faults> {
    let unreadable = |error: std::io::Error| {
        let message = format!("cannot be read: {error}");
        Faults::of_file(path, message)
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let message = format!("holds more than {FILE_BYTES_MAX} bytes");
        return Err(Faults::of_file(path, message));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let right = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = right.split(|&byte| byte == b'\n').count();
        Faults::of_file(path, format!("line {line} is no UTF-8 text"))
    })?;
    parse(&text, path, &|name| std::env::var(name).ok())
}

/// Whether the environment asks for texts without colour (`NO_COLOR`, no-color.org).
#[must_use]
pub fn wants_no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Checks `text` as if it stood in `file`, whose directory is where `{ file = "…" }` looks, with
/// `environment` as the variables.
///
/// # Errors
/// [`Faults`]: everything that is wrong with it.
pub fn parse(
    text: &str,
    file: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Faults> {
    let (errors, rest) = syntax::check(text);
    let tree = syntax::tree(&rest);
    let directory = file.parent().unwrap_or(Path::new(""));
    let context = Context::new(text, directory, environment, &errors.broken);
    let config = sections(&context, tree.get_ref());
    let found = context.into_found();
    let mut sheet = Sheet {
        text,
        secrets: found.secrets,
    };
    if !errors.broken.is_empty() {
        let noted = errors.notes.iter().chain(&found.faults);
        let masks: Vec<Span> = noted
            .filter_map(|note| syntax::secret_part(text, &sheet.line(note.span.start)))
            .collect();
        sheet.secrets.extend(masks);
    }
    let mut notes = errors.notes;
    notes.extend(found.faults);
    if !notes.is_empty() {
        return Err(Faults::of_notes(file, &sheet, notes, found.more));
    }
    Ok(Config {
        warnings: warnings(file, &sheet, found.warnings),
        ..config
    })
}

/// Reads every section. Of a faulty one there may be less than the file has; the faults tell.
fn sections<'a>(context: &'a Context<'a>, tree: &'a DeTable<'a>) -> Config {
    let root = context.root(tree, &ROOT);
    let declared = Declared::collect(tree);
    let admin = service::admin(&root);
    let proxy = service::proxy(&root, &admin);
    let exposed = proxy.iter().flat_map(|proxy| &proxy.listen);
    let exposed = exposed.copied().find(|at| !at.ip().is_loopback());

    let upstreams = named(&root, "upstreams", &upstream::UPSTREAM, |name, table| {
        upstream::upstream(name, table)
    });
    let sources = named(&root, "sources", &source::SOURCE, |name, table| {
        source::source(name, table, &declared)
    });
    let endpoints = named(&root, "endpoints", &endpoint::ENDPOINT, |name, table| {
        endpoint::endpoint(name, table, &declared, &admin)
    });
    let routes = named(&root, "routes", &route::ROUTE, |name, table| {
        route::route(name, table, &declared, exposed)
    });
    route::check_apart(context, &routes);
    for (span, route) in &routes {
        let is_its = |(_, upstream): &&(Span, Upstream)| upstream.name == route.upstream;
        let upstream = upstreams.iter().find(is_its);
        if upstream.is_some_and(|(_, upstream)| upstream.egress_proxy.is_some()) {
            let message = format!(
                "calls do not go through `egress_proxy`, which upstream `{}` has: lead the route \
                 to an upstream without it",
                route.upstream
            );
            context.fault(span.clone(), message);
        }
    }
    if let Some((span, _)) = routes.first().filter(|_| !root.has("proxy")) {
        let message = "routes do nothing without `[proxy]`, add `listen` there";
        context.warn(span.clone(), message);
    }
    demand::warn(context, &upstreams, &sources);
    let polled = sources.iter().map(|(_, source)| &source.upstream);
    let called = routes.iter().map(|(_, route)| &route.upstream);
    let used: BTreeSet<&Name> = polled.chain(called).collect();
    for (span, upstream) in &upstreams {
        if !used.contains(&upstream.name) {
            let message = format!("no source or route uses upstream `{}`", upstream.name);
            context.warn(span.clone(), message);
        }
    }
    Config {
        log: service::log(&root),
        store: service::store(&root),
        metrics: service::metrics(&root),
        admin,
        proxy,
        upstreams: by_name(upstreams, |upstream| &upstream.name),
        sources: by_name(sources, |source| &source.name),
        endpoints: by_name(endpoints, |endpoint| &endpoint.name),
        routes: by_name(routes, |route| &route.name),
        warnings: Vec::new(),
    }
}

/// The tables of a section, in the order of the file, each with the place of its name.
fn named<'a, T>(
    root: &Table<'a>,
    section: &'static str,
    keys: &'static Keys,
    read: impl Fn(&Name, &Table<'a>) -> Option<T>,
) -> Vec<(Span, T)> {
    let entries = root.value(section).and_then(Value::entries);
    let mut tables = Vec::new();
    for entry in entries.into_iter().flatten() {
        let name = match Name::parse(entry.name) {
            Ok(name) => name,
            Err(error) => {
                let message = format!("\"{}\": {error}", words::shown(entry.name));
                root.context.fault(entry.span, message);
                entry.value.hide();
                continue;
            }
        };
        let table = entry.value.section(entry.span.clone(), keys);
        if let Some(value) = table.and_then(|table| read(&name, &table)) {
            tables.push((entry.span, value));
        }
    }
    tables
}

fn by_name<T>(list: Vec<(Span, T)>, name: impl Fn(&T) -> &Name) -> BTreeMap<Name, Arc<T>> {
    list.into_iter()
        .map(|(_, value)| (name(&value).clone(), Arc::new(value)))
        .collect()
}

/// `FILE:LINE:COL: text`, in the order of the file.
fn warnings(file: &Path, sheet: &Sheet<'_>, mut notes: Vec<Note>) -> Vec<String> {
    notes.sort_by_key(|note| note.span.start);
    let line = |note: Note| {
        let (line, column) = sheet.place(note.span.start);
        format!("{}:{line}:{column}: {}", file.display(), note.message)
    };
    notes.into_iter().map(line).collect()
}
