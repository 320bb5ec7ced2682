//! How contents and bodies lie on disk: compressed where that helps, with a digest over the plain
//! bytes that is verified on reading. `SQLite` itself does not notice a flipped bit.

use std::io;

use crate::digest::{Context, Digest};
use crate::store::StoreError;

/// Shorter ones gain less from compression than it costs.
const PLAIN_BYTES_MAX: usize = 1_024;

/// zstd's fastest ordinary level: 4 to 8 times smaller JSON at some 400 MB/s.
const LEVEL: i32 = 1;

/// What a form may claim: beyond any body, so that damage cannot ask for all memory.
const UNPACKED_BYTES_MAX: usize = 1 << 30;

/// A text as it lies on disk.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    /// 0: `bytes` are the text; else they are zstd of so many bytes.
    pub(super) form: i64,
    /// Of the text.
    pub(super) digest: Digest,
    /// What lies there.
    pub(super) bytes: Vec<u8>,
}

/// Packs texts; keeps the compressor's memory between them.
pub(super) struct Packer {
    context: Context,
    compressor: Option<zstd::bulk::Compressor<'static>>,
}

impl Packer {
    pub(super) fn new() -> Self {
        Self {
            context: context(),
            compressor: None,
        }
    }

    pub(super) fn pack(&mut self, text: Box<str>) -> Packed {
        let digest = self.context.digest(text.as_bytes());
        let shorter = if text.len() > PLAIN_BYTES_MAX {
            // Without memory for it, a text is kept as it is.
            self.compress(text.as_bytes()).ok()
        } else {
            None
        };
        let shorter = shorter.filter(|bytes| bytes.len() < text.len());
        let (form, bytes) = match shorter {
            Some(bytes) => (i64::try_from(text.len()).unwrap_or(i64::MAX), bytes),
            None => (0, text.into_string().into_bytes()),
        };
        Packed {
            form,
            digest,
            bytes,
        }
    }

    fn compress(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            empty => empty.insert(zstd::bulk::Compressor::new(LEVEL)?),
        };
        compressor.compress(bytes)
    }
}

/// Unpacks texts; keeps the decompressor's memory between them.
pub(super) struct Unpacker {
    context: Context,
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
}

impl Unpacker {
    pub(super) fn new() -> Self {
        Self {
            context: context(),
            decompressor: None,
        }
    }

    /// The text, or [`StoreError::Corrupt`] when it is not what was packed.
    pub(super) fn unpack(
        &mut self,
        form: i64,
        digest: &[u8],
        bytes: Vec<u8>,
    ) -> Result<Box<str>, StoreError> {
        let damaged = || StoreError::Corrupt("a kept text does not match its digest".to_owned());
        let plain = match form {
            0 => bytes,
            length => self.decompress(length, &bytes).map_err(|_| damaged())?,
        };
        if self.context.digest(&plain).as_bytes() != digest {
            return Err(damaged());
        }
        let text = String::from_utf8(plain).map_err(|_| damaged())?;
        Ok(text.into_boxed_str())
    }

    fn decompress(&mut self, length: i64, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= UNPACKED_BYTES_MAX)
            .ok_or(io::ErrorKind::InvalidData)?;
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            empty => empty.insert(zstd::bulk::Decompressor::new()?),
        };
        decompressor.decompress(bytes, length)
    }
}

fn context() -> Context {
    Context::new("doorbell 2026-11 stored text form 1")
}
