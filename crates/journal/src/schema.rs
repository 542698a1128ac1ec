//! The tables, their version, and how a connection is set up.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::{Error, readers, users};

/// The format that this program writes, in SQLite's `user_version`.
pub(crate) const FORMAT: i64 = 1;
/// "SKMR" in SQLite's `application_id`: tells a journal from other databases.
pub(crate) const APPLICATION: i64 = 0x534b_4d52;
/// How long a reader waits for the tables of a journal that is just being begun. Under a fuzzer
/// nobody is beginning one.
const BEGIN_WAIT: Duration = Duration::from_secs(if cfg!(fuzzing) { 0 } else { 1 });
const BEGIN_PAUSE: Duration = Duration::from_millis(20);

/// `AUTOINCREMENT` is what keeps ids from being used again after the newest rows were
/// deleted (<https://www.sqlite.org/autoinc.html>).
const TABLES: &str = "
CREATE TABLE entries (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ns INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    uid     INTEGER,
    body    TEXT    NOT NULL
) STRICT;
CREATE INDEX entries_by_time ON entries (time_ns);
CREATE INDEX entries_by_kind ON entries (kind);
CREATE TABLE programs (
    path          TEXT    PRIMARY KEY,
    role          TEXT    NOT NULL,
    kind          TEXT    NOT NULL,
    script        INTEGER NOT NULL,
    device        INTEGER NOT NULL,
    inode         INTEGER NOT NULL,
    changed_ns    INTEGER NOT NULL,
    sha256        TEXT    NOT NULL,
    root_owned    INTEGER NOT NULL,
    registered_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Small caches: the whole daemon stays below 15 MiB. The write-ahead log is carried over
/// every 256 pages (1 MiB); one that grows to 4 MiB is cut (`readers.rs`). `NORMAL` syncs at
/// each carrying-over; a power cut may cost the last seconds but never the consistency.
const WRITER: &str = "
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA wal_autocheckpoint = 256;
PRAGMA journal_size_limit = 4194304;
PRAGMA trusted_schema = OFF;
PRAGMA mmap_size = 0;
PRAGMA cache_size = -512;
";

const READER: &str = "
PRAGMA trusted_schema = OFF;
PRAGMA mmap_size = 0;
PRAGMA cache_size = -256;
PRAGMA query_only = ON;
";

/// How long another process's write is waited for.
pub(crate) const BUSY_WAIT: Duration = Duration::from_secs(2);

/// Sets up a connection that writes, and makes the tables in an empty database.
pub(crate) fn prepare_writer(connection: &mut Connection, path: &Path) -> Result<(), Error> {
    let sqlite = |source| Error::from_sqlite(path, source);
    connection.busy_timeout(BUSY_WAIT).map_err(sqlite)?;
    connection.set_prepared_statement_cache_capacity(8);
    let fresh = check_format(connection, path)?;
    connection.execute_batch(WRITER).map_err(sqlite)?;
    if fresh {
        let transaction = connection.transaction().map_err(sqlite)?;
        transaction.execute_batch(TABLES).map_err(sqlite)?;
        transaction.execute_batch(users::TABLE).map_err(sqlite)?;
        transaction
            .pragma_update(None, "application_id", APPLICATION)
            .map_err(sqlite)?;
        transaction
            .pragma_update(None, "user_version", FORMAT)
            .map_err(sqlite)?;
        transaction.commit().map_err(sqlite)?;
        return Ok(());
    }
    match users::prepare(connection).map_err(sqlite) {
        // Without the index a user's log takes longer, and that is all.
        Err(Error::Full { .. } | Error::ReadOnly { .. } | Error::Busy { .. }) => Ok(()),
        prepared => prepared,
    }
}

/// Sets up a connection that only reads.
pub(crate) fn prepare_reader(connection: &Connection, path: &Path) -> Result<(), Error> {
    let sqlite = |source| Error::from_sqlite(path, source);
    connection.busy_timeout(BUSY_WAIT).map_err(sqlite)?;
    connection.set_prepared_statement_cache_capacity(4);
    let begun = || {
        let _reading = readers::reading();
        check_format(connection, path).map(|fresh| !fresh)
    };
    connection.execute_batch(READER).map_err(sqlite)?;
    let since = Instant::now();
    while !begun()? {
        if since.elapsed() >= BEGIN_WAIT {
            return Err(Error::Damaged {
                path: path.to_owned(),
                detail: "it holds no tables".to_owned(),
            });
        }
        thread::sleep(BEGIN_PAUSE);
    }
    Ok(())
}

/// Whether the database is still empty; an error when it is not a journal or a newer one.
fn check_format(connection: &Connection, path: &Path) -> Result<bool, Error> {
    let sqlite = |source| Error::from_sqlite(path, source);
    let number = |pragma: &str| {
        connection
            .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
            .map_err(sqlite)
    };
    let (application, format) = (number("application_id")?, number("user_version")?);
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(sqlite)?;
    if tables == 0 && application == 0 {
        return Ok(true);
    }
    if application != APPLICATION {
        return Err(Error::Stranger {
            path: path.to_owned(),
        });
    }
    if format > FORMAT {
        return Err(Error::Newer {
            path: path.to_owned(),
            found: format,
            known: FORMAT,
        });
    }
    Ok(false)
}
