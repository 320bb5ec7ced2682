//! x
mod harness;
mod tidy;
