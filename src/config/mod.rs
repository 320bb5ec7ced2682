//! The TOML file, checked: a value of these types that exists is right, and nothing downstream
//! checks again.
//!
//! Decides what may be written and what it means. Reading and reporting of faults stand in the
//! private modules; what the rest of doorbell sees are the types of [`model`] and [`load`].

mod model;

pub use model::*;
