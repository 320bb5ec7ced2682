//! The integration tests: the real binary between a scripted upstream and a receiver.
//!
//! One binary, so that the harness is compiled once. The names are sentences; read them as the
//! list of what holds.

#![expect(
    clippy::float_cmp,
    reason = "counts are whole numbers, also where Prometheus has floats"
)]

mod adapting;
mod adaptive;
mod admin;
mod agreeing;
mod backfill;
mod backlog;
mod bearing;
mod budget;
mod choosing;
mod covering;
mod cursors;
mod decoding;
mod demo;
mod end;
mod flood;
mod formats;
mod harness;
mod hostile;
mod httpbin;
mod joint;
mod judges;
mod kill;
mod listing;
mod looking;
mod made;
mod many;
mod metrics;
mod pages;
mod partitions;
mod proxy_limits;
mod real_input;
mod semantics;
mod signing;
mod spine;
mod ssrf;
mod steering;
mod storm;
mod suggesting;
mod tidy;
mod trying;
mod upstreams;
mod waiting;
