//! `doorbell check`: what a file means, or every fault of it.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::{BAD_CONFIG, read_config};
use crate::clock::Clock;
use crate::config;

/// Prints what the file means, then its warnings; or its faults, with exit status 64.
#[must_use]
pub fn check(path: &Path, json: bool) -> ExitCode {
    if json {
        return check_as_json(path);
    }
    match read_config(path) {
        Ok(config) => {
            say!(
                "{}",
                config::explain(&config, Clock::system().now()).trim_end()
            );
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

fn check_as_json(path: &Path) -> ExitCode {
    match config::load(path) {
        Ok(config) => {
            let names = |names: Vec<String>| json!(names);
            say!(
                "{}",
                json!({
                    "valid": true,
                    "upstreams": names(config.upstreams.keys().map(ToString::to_string).collect()),
                    "sources": names(config.sources.keys().map(ToString::to_string).collect()),
                    "endpoints": names(config.endpoints.keys().map(ToString::to_string).collect()),
                    "routes": names(config.routes.keys().map(ToString::to_string).collect()),
                    "warnings": config.warnings,
                })
            );
            ExitCode::SUCCESS
        }
        Err(faults) => {
            let listed: Vec<_> = faults
                .iter()
                .map(|fault| {
                    json!({ "line": fault.line, "column": fault.column, "message": fault.message })
                })
                .collect();
            say!(
                "{}",
                json!({ "valid": false, "faults": listed, "more": faults.more() })
            );
            ExitCode::from(BAD_CONFIG)
        }
    }
}
