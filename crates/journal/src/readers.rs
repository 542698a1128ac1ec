//! Readers and the writer's log.
//!
//! SQLite begins its log anew only when no reader needs what is in it. Readers that follow each
//! other closely would keep it from ever doing so, and the log would grow without bound. So the
//! readers of this process pause while the writer cuts a log that has become long.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use rusqlite::Connection;

/// A log that is longer is cut. SQLite's own carrying-over keeps it at a quarter of this as long as
/// nobody reads.
pub(crate) const LOG_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// When a log could not be cut, because another process reads, it may grow by so much before the
/// next attempt.
pub(crate) const GROWTH_BYTES: u64 = 1024 * 1024;
/// How long the writer waits for readers of other processes. A statement of theirs takes less.
const CUT_WAIT: Duration = Duration::from_millis(100);

/// Held for reading around each statement of a reader, and for writing while the log is cut. A
/// waiting writer goes before new readers.
static STATEMENTS: RwLock<()> = RwLock::new(());

/// Held by a reader for as long as a few short statements take, never while it hands over what it
/// has read.
pub(crate) fn reading() -> RwLockReadGuard<'static, ()> {
    STATEMENTS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Carries the whole log over and cuts it. Whether that was possible.
pub(crate) fn cut_log(connection: &Connection, usual_wait: Duration) -> rusqlite::Result<bool> {
    let _alone = STATEMENTS.write().unwrap_or_else(PoisonError::into_inner);
    connection.busy_timeout(CUT_WAIT)?;
    let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
        row.get::<_, i64>(0)
    });
    connection.busy_timeout(usual_wait)?;
    Ok(busy? == 0)
}
