//! Where log lines go and how they look: standard error, text for people, JSON for machines.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::ChronoUtc;

use crate::config::{Log, LogFormat};

/// Makes this process log as `settings` say. Once, from `main`: the log is the process's.
pub fn install(settings: &Log) {
    // pingora tells of every caller that went away as an error; what matters is logged by us.
    let filter = EnvFilter::new(format!(
        "{},pingora=off,pingora_core=off,pingora_proxy=off,h2=warn,hyper=warn,hyper_util=warn,\
         reqwest=warn,rustls=warn",
        settings.level
    ));
    let terminal = std::io::stderr().is_terminal();
    let format = settings.format.unwrap_or(if terminal {
        LogFormat::Text
    } else {
        LogFormat::Json
    });
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_timer(ChronoUtc::rfc_3339())
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(super::paint::to_terminal(&std::io::stderr()));
    // A second installation, in a test process, leaves the first in place.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
