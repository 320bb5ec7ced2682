//! The side file that keeps a second doorbell out.
//!
//! `SQLite`'s own locks let two writers take turns; doorbell's memory of what is in flight would
//! then be wrong in both. The lock is the kernel's (`flock`), so it ends with the process.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::store::StoreError;

/// Most bytes read of another's lock file: a process id has ten digits at most.
const HOLDER_BYTES_MAX: u64 = 20;

/// The lock; it lives as long as this.
#[derive(Debug)]
pub(super) struct Lock {
    /// Held open, because closing it unlocks.
    _file: File,
}

impl Lock {
    /// Takes the lock beside the store at `path` and writes this process's id into it.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        // By its own name, so that a link to the store leads to the same lock.
        let beside = beside(&std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()));
        let failed =
            |error: std::io::Error| StoreError::Database(format!("{}: {error}", beside.display()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        // A link could have been put there by others, to have what it leads to emptied.
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let mut file = options.open(&beside).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked {
                    path: path.to_owned(),
                    holder: holder(&file),
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).map_err(failed)?;
        write!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// Where the lock of the store at `path` is.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".lock");
    name.into()
}

fn holder(file: &File) -> String {
    let mut text = String::new();
    let read = file.take(HOLDER_BYTES_MAX).read_to_string(&mut text);
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match read {
        Ok(_) if is_number => text,
        _ => "unknown".to_owned(),
    }
}
