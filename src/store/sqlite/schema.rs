//! Tables, their migrations, and how a connection is opened.
//!
//! Rows that grow with traffic (events, bodies, commits, attempts) have ascending integer keys, so
//! that inserts touch the right edge of their tree: random keys double the cost of an event.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::store::StoreError;

/// Each entry brings the schema from its index to the next version. Never edited, only appended.
const MIGRATIONS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
    include_str!("schema_8.sql"),
    include_str!("schema_9.sql"),
    include_str!("schema_10.sql"),
    include_str!("schema_11.sql"),
];

/// `door` in ASCII, so that `file` and a second program can tell whose database it is.
const APPLICATION_ID: i64 = 0x646f_6f72;

/// Pages in the journal at which the writer checkpoints itself: 128 MiB, which only a checkpointer
/// that does not get on lets it become.
const CHECKPOINT_PAGES: i64 = 32_000;

/// The journal is cut to this size after a checkpoint emptied it.
const JOURNAL_BYTES_MAX: i64 = 64 * 1024 * 1024;

/// Page cache of the writer and of each reader, in KiB (negative, as `SQLite` wants it).
const WRITER_CACHE: i64 = -8 * 1024;
const READER_CACHE: i64 = -4 * 1024;

/// How long to wait for a person's `sqlite3` shell that holds the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// More than there are statements in this room, so none is compiled twice.
const STATEMENTS_MAX: usize = 128;

/// Opens the one connection that writes; creates and migrates the database.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    create_private(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Both are fixed by the first table.
    connection.pragma_update(None, "page_size", 4096)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    refuse_others(&connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", JOURNAL_BYTES_MAX)?;
    connection.pragma_update(None, "cache_size", WRITER_CACHE)?;
    // Savepoints copy the pages they may have to restore; without this, into a file.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    migrate(&mut connection)?;
    Ok(connection)
}

/// Lets a connection flush what it commits, or leave that to whoever commits next; `flushes` says
/// what it does now. Whatever it leaves is in order: a crash undoes the newest of it, and no more.
///
/// Source: <https://www.sqlite.org/pragma.html#pragma_synchronous>.
pub(super) fn flush(
    connection: &Connection,
    flushes: &mut bool,
    wanted: bool,
) -> Result<(), StoreError> {
    if *flushes != wanted {
        let level = if wanted { "FULL" } else { "NORMAL" };
        connection.pragma_update(None, "synchronous", level)?;
        *flushes = wanted;
    }
    Ok(())
}

/// Opens the connection that checkpoints.
pub(super) fn open_checkpointer(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", JOURNAL_BYTES_MAX)?;
    Ok(connection)
}

/// Opens the database's file, to flush it. Must stay open until all connections are closed:
/// closing any descriptor of a file gives up all locks that this process has on it.
///
/// Source: <https://www.sqlite.org/howtocorrupt.html>, section 2.2.
pub(super) fn open_file(path: &Path) -> Result<Arc<File>, StoreError> {
    let file = File::options().read(true).write(true).open(path);
    let file = file.map_err(|error| StoreError::Database(error.to_string()))?;
    Ok(Arc::new(file))
}

/// Opens a connection that only reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "cache_size", READER_CACHE)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

/// Creates the file readable by its owner alone: it holds what the upstreams answered. The journal
/// takes its rights from it.
fn create_private(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    options
        .open(path)
        .map(drop)
        .map_err(|error| StoreError::Database(format!("{}: {error}", path.display())))
}

/// Refuses a database that a newer doorbell, or another program, wrote. Nothing is changed before.
pub(super) fn refuse_others(connection: &Connection) -> Result<(), StoreError> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application = number("application_id")?;
    let tables: i64 =
        connection.query_one("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION_ID && (application != 0 || tables != 0) {
        let why = "the store's file is a database of another program";
        return Err(StoreError::Database(why.to_owned()));
    }
    let (found, known) = (number("user_version")?, newest());
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    Ok(())
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let applied = usize::try_from(version).unwrap_or(0);
    for (migration, to) in MIGRATIONS.iter().zip(1_i64..).skip(applied) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", to)?;
        transaction.commit()?;
    }
    Ok(())
}

/// The version that this doorbell writes.
fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).expect("there are few migrations")
}
