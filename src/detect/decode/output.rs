//! JSON text in the making, with a bound on its length.

use crate::detect::Unreadable;

/// JSON text.
#[derive(Debug)]
pub(super) struct Output {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Output {
    /// None yet; at most so many bytes.
    pub(super) fn of(bytes_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            bytes_max,
        }
    }

    /// Adds what is JSON already.
    pub(super) fn raw(&mut self, json: impl AsRef<[u8]>) -> Result<(), Unreadable> {
        self.bytes.extend_from_slice(json.as_ref());
        self.check()
    }

    /// Adds a string.
    pub(super) fn string(&mut self, text: &str) -> Result<(), Unreadable> {
        serde_json::to_writer(&mut self.bytes, text).expect("a string can be written to memory");
        self.check()
    }

    /// Begins a member: a comma, unless it is the `first` of its object, and its name.
    pub(super) fn member(&mut self, first: &mut bool, name: &str) -> Result<(), Unreadable> {
        self.separate(first)?;
        self.string(name)?;
        self.raw(":")
    }

    /// A comma, unless what follows is the `first`.
    pub(super) fn separate(&mut self, first: &mut bool) -> Result<(), Unreadable> {
        if std::mem::take(first) {
            return Ok(());
        }
        self.raw(",")
    }

    /// The text.
    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn check(&self) -> Result<(), Unreadable> {
        if self.bytes.len() <= self.bytes_max {
            return Ok(());
        }
        Err(Unreadable::TooLarge(self.bytes_max))
    }
}
