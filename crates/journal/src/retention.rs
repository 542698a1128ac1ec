//! What is kept for how long. The wall clock is not trusted with it: it may be wrong since the
//! machine was started, and be set right later, in either direction.

use rusqlite::OptionalExtension as _;

use crate::entries::as_time;
use crate::{Error, Journal};

/// No more than this goes at once because it is old, beginning with the oldest entry. With
/// one call an hour, a clock that is far ahead has to stay so for hours before it costs more
/// than a few of the oldest days, and a machine that is on for an hour a day keeps up.
const AT_ONCE_NS: u64 = 86_400_000_000_000;

impl Journal {
    /// Deletes what is older than `keep_ns` at `now_ns`, at most the oldest day of it, and
    /// then, while there are more than `max_rows`, the oldest of the rest: verdicts and grants
    /// before findings and notices, so that a program that makes the gate refuse all day cannot
    /// push the finding about itself out. Returns how many were deleted.
    ///
    /// What was appended after an entry that is young is young too, whatever date it has.
    pub fn prune(&mut self, now_ns: u64, keep_ns: u64, max_rows: u64) -> Result<u64, Error> {
        self.write(|connection| {
            let transaction = connection.transaction()?;
            let deleted =
                remove_old(&transaction, now_ns, keep_ns)? + remove_excess(&transaction, max_rows)?;
            transaction.commit()?;
            Ok(deleted as u64)
        })
    }
}

fn remove_old(
    connection: &rusqlite::Connection,
    now_ns: u64,
    keep_ns: u64,
) -> rusqlite::Result<usize> {
    let since = now_ns.saturating_sub(keep_ns);
    let young: Option<i64> = connection.query_row(
        "SELECT min(id) FROM entries INDEXED BY entries_by_time WHERE time_ns BETWEEN ?1 AND ?2",
        [as_time(since), as_time(now_ns)],
        |row| row.get(0),
    )?;
    let young = young.unwrap_or(i64::MAX);
    let oldest: Option<i64> = connection
        .query_row(
            "SELECT time_ns FROM entries WHERE id < ?1 ORDER BY time_ns LIMIT 1",
            [young],
            |row| row.get(0),
        )
        .optional()?;
    let Some(oldest) = oldest else { return Ok(0) };
    let before = as_time(since).min(oldest.saturating_add(as_time(AT_ONCE_NS)));
    connection.execute(
        "DELETE FROM entries WHERE time_ns < ?1 AND id < ?2",
        [before, young],
    )
}

fn remove_excess(connection: &rusqlite::Connection, max_rows: u64) -> rusqlite::Result<usize> {
    let mut deleted = 0;
    for which in ["kind IN ('verdict', 'grant')", "true"] {
        let rows: i64 =
            connection.query_row("SELECT count(*) FROM entries", [], |row| row.get(0))?;
        let excess = rows.saturating_sub(i64::try_from(max_rows).unwrap_or(i64::MAX));
        if excess > 0 {
            let text = format!(
                "DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE {which} ORDER BY id LIMIT ?1)"
            );
            deleted += connection.execute(&text, [excess])?;
        }
    }
    Ok(deleted)
}
