//! The index of entries by user, so that one user's log does not read everybody's.
//!
//! It is a table that triggers fill, and not an index of SQLite's: an index over a million entries
//! has to be made at once, and no report would be written down meanwhile. Here older entries are
//! added a few at a time. The triggers are part of the file, so an older version of this program keeps
//! the table complete too.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use crate::{Error, Journal};

/// The user number of the row that says up to which id entries are missing. Users' own numbers
/// are not negative.
const MISSING: i64 = -1;
/// So many ids are looked through at once.
const STEP: i64 = 2000;

pub(crate) const TABLE: &str = "
CREATE TABLE entries_of_user (
    uid INTEGER NOT NULL,
    id  INTEGER NOT NULL,
    PRIMARY KEY (uid, id)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER entries_of_user_added AFTER INSERT ON entries WHEN NEW.uid >= 0 BEGIN
    INSERT OR IGNORE INTO entries_of_user (uid, id) VALUES (NEW.uid, NEW.id);
END;
CREATE TRIGGER entries_of_user_removed AFTER DELETE ON entries WHEN OLD.uid >= 0 BEGIN
    DELETE FROM entries_of_user WHERE uid = OLD.uid AND id = OLD.id;
END;
";

/// Adds the table to a journal of a version that had none.
pub(crate) fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    if exists(connection)? {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLE)?;
    transaction.execute(
        "INSERT INTO entries_of_user (uid, id) SELECT ?1, max(id) FROM entries HAVING max(id) IS NOT NULL",
        [MISSING],
    )?;
    transaction.commit()
}

pub(crate) fn exists(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'entries_of_user'",
        [],
        |row| row.get::<_, i64>(0).map(|count| count > 0),
    )
}

/// The id up to which entries may be missing from the table; 0 when it is complete.
pub(crate) fn missing_up_to(connection: &Connection) -> rusqlite::Result<i64> {
    let id = connection
        .prepare_cached("SELECT max(id) FROM entries_of_user WHERE uid = ?1")?
        .query_row([MISSING], |row| row.get::<_, Option<i64>>(0))?;
    Ok(id.unwrap_or(0))
}

impl Journal {
    /// Adds a few older entries to the index by user. Whether some are still missing; call it
    /// again then, with pauses.
    ///
    /// # Errors
    ///
    /// As for every write.
    pub fn index_some(&mut self) -> Result<bool, Error> {
        self.write(|connection| {
            if !exists(connection)? || missing_up_to(connection)? == 0 {
                return Ok(false);
            }
            let transaction = connection.transaction()?;
            let left = add_some(&transaction)?;
            transaction.commit()?;
            Ok(left)
        })
    }
}

fn add_some(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    let until = missing_up_to(transaction)?;
    let after = until.saturating_sub(STEP);
    transaction.execute(
        "INSERT OR IGNORE INTO entries_of_user (uid, id)
         SELECT uid, id FROM entries WHERE id > ?1 AND id <= ?2 AND uid >= 0",
        [after, until],
    )?;
    transaction.execute("DELETE FROM entries_of_user WHERE uid = ?1", [MISSING])?;
    // Ids that nothing has any more are passed over.
    let next: Option<i64> = transaction
        .query_row(
            "SELECT id FROM entries WHERE id <= ?1 ORDER BY id DESC LIMIT 1",
            [after],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(next) = next {
        transaction.execute(
            "INSERT INTO entries_of_user (uid, id) VALUES (?1, ?2)",
            params![MISSING, next],
        )?;
    }
    Ok(next.is_some())
}
