//! `doorbell` puts a doorbell on APIs that only have a phone.
//!
//! One process, configured by one TOML file, **polls** upstream APIs, **detects** what changed by
//! hash, and **rings** signed webhooks; ordinary calls to the same APIs pass through its **proxy**.
//! Poller and proxy share credentials, rate budget, health and what was learnt.
//!
//! # Map
//!
//! A module names only modules on lower floors; `tests/it/tidy.rs` enforces it.
//!
//! | floor | rooms | what they decide |
//! | --- | --- | --- |
//! | 6 | [`app`] | builds every part from a config; start, drain |
//! | 5 | [`admin`] [`cli`] | the HTTP API and `/metrics`; the commands of a person at a terminal |
//! | 4 | [`poll`] [`deliver`] [`proxy`] | the three engines; they meet in the store and the upstream, never each other |
//! | 3 | [`store`] [`upstream`] | durable verbs over a database; the shared client of an upstream |
//! | 2 | [`config`] [`client`] [`metrics`] [`clock`] [`shutdown`] [`threads`] | files and environment; HTTP clients; series; heavy work |
//! | 1 | [`budget`] [`coverage`] [`detect`] [`event`] [`schedule`] [`signature`] | pure: who is granted; what callers repeat; digest and diff; what rings; when next; sign and verify |
//! | 0 | [`name`] [`digest`] [`time`] [`backoff`] [`secret`] [`jsonpath`] | pure words |
//!
//! Floors 0 and 1 do no I/O, are never `async`, and take clock and randomness as arguments. Only
//! [`store`] knows a database, only [`proxy`] and [`app`] name pingora, only [`config`] reads files
//! and the environment.
//!
//! # Deliberately absent
//!
//! Statics and other process-wide state (two doorbells fit in one test process), a plugin system,
//! and clustering of the embedded store: several replicas need a database server.

pub mod admin;
pub mod app;
pub mod backoff;
pub mod budget;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod coverage;
pub mod deliver;
pub mod detect;
pub mod digest;
pub mod event;
pub mod jsonpath;
pub mod metrics;
pub mod name;
pub mod poll;
pub mod proxy;
pub mod schedule;
pub mod secret;
pub mod shutdown;
pub mod signature;
pub mod store;
pub mod threads;
pub mod time;
pub mod upstream;
