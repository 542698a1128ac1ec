//! Entries: append and query.

use std::ops::ControlFlow;
use std::sync::RwLockReadGuard;

use rusqlite::types::Value as Sql;
use rusqlite::{OptionalExtension, Row, params, params_from_iter};
use serde_json::{Map, Value};

use crate::{Error, Journal, readers, users};

/// An entry to be appended.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry<'a> {
    /// When it happened, nanoseconds since 1970.
    pub time_ns: u64,
    /// The word in the body's `type`.
    pub kind: &'a str,
    /// The user that it is about; none for what concerns the machine.
    pub uid: Option<u32>,
    /// A JSON object.
    pub body: &'a str,
}

/// An entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its number: ascending, never used twice.
    pub id: u64,
    /// When it happened, nanoseconds since 1970.
    pub time_ns: u64,
    /// The word in the body's `type`.
    pub kind: String,
    /// The user that it is about.
    pub uid: Option<u32>,
    /// A JSON object.
    pub body: String,
}

impl StoredEntry {
    /// What `log --json` prints: `id` and `time` (RFC 3339, UTC), then the body. A body that
    /// is no JSON object stands in `body` as text.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("id".to_owned(), self.id.into());
        object.insert("time".to_owned(), model::rfc3339(self.time_ns).into());
        match serde_json::from_str(&self.body) {
            Ok(Value::Object(body)) => {
                object.extend(
                    body.into_iter()
                        .filter(|(name, _)| name != "id" && name != "time"),
                );
            }
            _ => {
                object.insert("type".to_owned(), self.kind.as_str().into());
                object.insert("body".to_owned(), self.body.as_str().into());
            }
        }
        Value::Object(object)
    }
}

/// Which entries a query wants. The default is all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// At or after this moment, nanoseconds since 1970.
    pub since: Option<u64>,
    /// With an id greater than this.
    pub after_id: Option<u64>,
    /// About this user.
    pub uid: Option<u32>,
    /// Of this kind.
    pub kind: Option<&'a str>,
    /// Only the newest so many of those that fit; they still come oldest first.
    pub newest_limit: Option<u32>,
}

/// How many entries are read at once. Between two pages no read transaction is open, so a
/// reader that is slow (a pager, a pipe) keeps nobody from cutting the log.
const PAGE: usize = 64;
/// How many entries are looked through at once for those that fit, where no index leads to them.
const LOOKED_THROUGH: usize = 256;

/// A page of entries that fit.
struct Page {
    entries: Vec<StoredEntry>,
    /// The next page begins after this id.
    end: i64,
}

impl Journal {
    /// Appends all entries or none, in one transaction. Their ids ascend and are never used
    /// again, not even after the newest entries were deleted.
    pub fn append(&mut self, entries: &[NewEntry<'_>]) -> Result<Vec<u64>, Error> {
        if let Some(index) = entries.iter().position(|entry| !is_object(entry.body)) {
            return Err(Error::NotAnObject {
                path: self.path.clone(),
                index,
            });
        }
        let ids = self.write(|connection| append(connection, entries))?;
        self.last_given = ids.last().copied().unwrap_or(self.last_given);
        Ok(ids)
    }

    /// Hands the entries that fit to `each`, ids ascending, until it breaks. Memory stays the
    /// same however many there are. What is appended meanwhile is included.
    pub fn query(
        &self,
        filter: &Filter<'_>,
        mut each: impl FnMut(StoredEntry) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let sqlite = |source| self.sqlite(source);
        let mut after = self.first_after(filter).map_err(sqlite)?;
        while let Some(page) = self.page(filter, after).map_err(sqlite)? {
            for entry in page.entries {
                if each(entry).is_break() {
                    return Ok(());
                }
            }
            after = page.end;
        }
        Ok(())
    }

    /// One entry; none when there is none with this id, or not any more.
    pub fn get(&self, id: u64) -> Result<Option<StoredEntry>, Error> {
        let Ok(id) = i64::try_from(id) else {
            return Ok(None);
        };
        let _reading = self.reading();
        self.connection
            .query_row(
                "SELECT id, time_ns, kind, uid, body FROM entries WHERE id = ?1",
                [id],
                read,
            )
            .optional()
            .map_err(|source| self.sqlite(source))
    }

    /// The id of the newest entry; 0 when there is none.
    pub fn last_id(&self) -> Result<u64, Error> {
        let _reading = self.reading();
        self.connection
            .query_row("SELECT coalesce(max(id), 0) FROM entries", [], |row| {
                row.get::<_, i64>(0)
            })
            .map(|id| id as u64)
            .map_err(|source| self.sqlite(source))
    }

    /// The last id that was ever given, deleted ones included.
    pub(crate) fn last_id_given(&self) -> Result<u64, Error> {
        self.connection
            .query_row(
                "SELECT seq FROM sqlite_sequence WHERE name = 'entries'",
                [],
                |row| row.get::<_, i64>(0),
            )
            .optional()
            .map(|id| id.unwrap_or(0) as u64)
            .map_err(|source| self.sqlite(source))
    }

    /// Lets the next entry have a greater id than `id`.
    pub(crate) fn continue_after(&mut self, id: u64) -> Result<(), Error> {
        if self.last_id_given()? >= id {
            return Ok(());
        }
        // The table has no unique key.
        self.write(|connection| {
            let transaction = connection.transaction()?;
            transaction.execute("DELETE FROM sqlite_sequence WHERE name = 'entries'", [])?;
            transaction.execute(
                "INSERT INTO sqlite_sequence (name, seq) VALUES ('entries', ?1)",
                [id as i64],
            )?;
            transaction.commit()
        })
    }

    /// The id that the first wanted entry comes after.
    fn first_after(&self, filter: &Filter<'_>) -> rusqlite::Result<i64> {
        let _reading = self.reading();
        let mut after = filter
            .after_id
            .map_or(0, |id| i64::try_from(id).unwrap_or(i64::MAX));
        // Whoever asks for more knows where to go on.
        if let Some(since) = filter.since
            && filter.after_id.is_none()
        {
            let first: Option<i64> = self.connection.query_row(
                "SELECT min(id) FROM entries INDEXED BY entries_by_time WHERE time_ns >= ?1",
                [as_time(since)],
                |row| row.get(0),
            )?;
            after = after.max(first.map_or(i64::MAX, |id| id - 1));
        }
        let Some(limit) = filter.newest_limit else {
            return Ok(after);
        };
        if limit == 0 {
            return Ok(i64::MAX);
        }
        let (conditions, mut values) = conditions(filter, "");
        values[0] = Sql::Integer(after);
        let text = format!(
            "SELECT id FROM entries WHERE {conditions} ORDER BY id DESC LIMIT 1 OFFSET {}",
            limit - 1
        );
        let first = self
            .connection
            .query_row(&text, params_from_iter(&values), |row| row.get::<_, i64>(0))
            .optional()?;
        Ok(first.map_or(after, |id| id - 1))
    }

    /// The entries that fit among the next few after an id; none at the end of the journal.
    fn page(&self, filter: &Filter<'_>, after: i64) -> rusqlite::Result<Option<Page>> {
        let _reading = self.reading();
        let Some(uid) = filter.uid else {
            return self.page_of_all(filter, after, i64::MAX);
        };
        let missing = if self.has_users {
            users::missing_up_to(&self.connection)?
        } else {
            i64::MAX
        };
        if after < missing {
            let page = self.page_of_all(filter, after, missing)?;
            if page.is_some() || missing == i64::MAX {
                return Ok(page);
            }
        }
        self.page_of_user(filter, uid, after.max(missing))
    }

    /// Looks through all entries, up to the id `last`.
    fn page_of_all(
        &self,
        filter: &Filter<'_>,
        after: i64,
        last: i64,
    ) -> rusqlite::Result<Option<Page>> {
        let picks = filter.uid.is_some() || filter.kind.is_some();
        let limit = if picks { LOOKED_THROUGH } else { PAGE };
        let end: Option<i64> = self
            .connection
            .prepare_cached(&format!(
                "SELECT max(id) FROM (SELECT id FROM entries WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT {limit})"
            ))?
            .query_row([after, last], |row| row.get(0))?;
        let Some(end) = end else { return Ok(None) };
        let (conditions, mut values) = conditions(filter, "+");
        (values[0], values[1]) = (Sql::Integer(after), Sql::Integer(end));
        let text = format!(
            "SELECT id, time_ns, kind, uid, body FROM entries WHERE {conditions} ORDER BY id LIMIT {PAGE}"
        );
        self.entries(&text, &values, end).map(Some)
    }

    /// Looks through a user's own entries.
    fn page_of_user(
        &self,
        filter: &Filter<'_>,
        uid: u32,
        after: i64,
    ) -> rusqlite::Result<Option<Page>> {
        let end: Option<i64> = self
            .connection
            .prepare_cached(&format!(
                "SELECT max(id) FROM (SELECT id FROM entries_of_user WHERE uid = ?1 AND id > ?2 ORDER BY id LIMIT {PAGE})"
            ))?
            .query_row([i64::from(uid), after], |row| row.get(0))?;
        let Some(end) = end else { return Ok(None) };
        let (conditions, mut values) = conditions(filter, "+");
        (values[0], values[1]) = (Sql::Integer(after), Sql::Integer(end));
        values.push(Sql::Integer(uid.into()));
        let of_user = values.len();
        let text = text_of_user(&conditions, of_user);
        self.entries(&text, &values, end).map(Some)
    }

    fn entries(&self, text: &str, values: &[Sql], end: i64) -> rusqlite::Result<Page> {
        let mut statement = self.connection.prepare_cached(text)?;
        let entries: Vec<StoredEntry> = statement
            .query_map(params_from_iter(values), read)?
            .collect::<rusqlite::Result<_>>()?;
        let last = entries.last().filter(|_| entries.len() == PAGE);
        let end = last.map_or(end, |last| last.id as i64);
        Ok(Page { entries, end })
    }

    /// A reader's statements run between cuts of the log. The writer cuts it itself.
    fn reading(&self) -> Option<RwLockReadGuard<'static, ()>> {
        self.programs.is_none().then(readers::reading)
    }
}

/// The statement for a user's entries. SQLite keeps the order of a cross join: it never walks other
/// users' entries.
fn text_of_user(conditions: &str, of_user: usize) -> String {
    format!(
        "SELECT id, time_ns, kind, uid, body FROM
         (SELECT id AS own FROM entries_of_user WHERE uid = ?{of_user} AND id > ?1 AND id <= ?2)
         CROSS JOIN entries ON id = own WHERE {conditions} ORDER BY id LIMIT {PAGE}"
    )
}

/// The conditions of a filter. Entries must come after the id that is the first value, and not after
/// the second. `plain` keeps SQLite from walking the index of a column, or is empty.
fn conditions(filter: &Filter<'_>, plain: &str) -> (String, Vec<Sql>) {
    let mut text = "id > ?1 AND id <= ?2".to_owned();
    let mut values = vec![Sql::Integer(0), Sql::Integer(i64::MAX)];
    let mut and = |column: &str, value: Sql| {
        values.push(value);
        text += &format!(" AND {column} ?{}", values.len());
    };
    if let Some(since) = filter.since {
        // Walked by time, entries would have to be sorted by id again.
        and("+time_ns >=", Sql::Integer(as_time(since)));
    }
    if let Some(uid) = filter.uid {
        and("uid =", Sql::Integer(uid.into()));
    }
    if let Some(kind) = filter.kind {
        and(&format!("{plain}kind ="), Sql::Text(kind.to_owned()));
    }
    (text, values)
}

/// A moment as SQLite keeps it; those after 2262 are as good as 2262.
pub(crate) fn as_time(time_ns: u64) -> i64 {
    i64::try_from(time_ns).unwrap_or(i64::MAX)
}

/// Cheap: bodies come from this program's own serializer; this only catches a mix-up.
fn is_object(body: &str) -> bool {
    let body = body.trim_ascii();
    body.starts_with('{') && body.ends_with('}')
}

fn append(
    connection: &mut rusqlite::Connection,
    entries: &[NewEntry<'_>],
) -> rusqlite::Result<Vec<u64>> {
    let transaction = connection.transaction()?;
    let mut ids = Vec::with_capacity(entries.len());
    {
        let mut insert = transaction.prepare_cached(
            "INSERT INTO entries (time_ns, kind, uid, body) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for entry in entries {
            let id = insert.insert(params![
                as_time(entry.time_ns),
                entry.kind,
                entry.uid,
                entry.body
            ])?;
            ids.push(id as u64);
        }
    }
    transaction.commit()?;
    Ok(ids)
}

fn read(row: &Row<'_>) -> rusqlite::Result<StoredEntry> {
    Ok(StoredEntry {
        id: row.get::<_, i64>(0)? as u64,
        time_ns: row.get::<_, i64>(1)? as u64,
        kind: row.get(2)?,
        uid: row.get(3)?,
        body: row.get(4)?,
    })
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use crate::{Filter, Journal, NewEntry};

    fn entry(uid: u32) -> NewEntry<'static> {
        let (time_ns, kind, body) = (1, "verdict", "{}");
        let uid = Some(uid);
        NewEntry {
            time_ns,
            kind,
            uid,
            body,
        }
    }

    /// A user's log costs as much beside many entries of others as beside few.
    #[test]
    fn other_users_entries_are_not_looked_through() {
        let steps = |others: usize| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("journal.db");
            let mut journal = Journal::open(&path).unwrap().journal;
            for _ in 0..5 {
                journal.append(&[entry(1000)]).unwrap();
                journal.append(&vec![entry(1001); others]).unwrap();
            }
            let filter = Filter {
                uid: Some(1000),
                kind: Some("verdict"),
                since: Some(1),
                after_id: Some(0),
                ..Filter::default()
            };
            let count = std::cell::Cell::new(0_u32);
            journal
                .query(&filter, |_| {
                    count.set(count.get() + 1);
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert_eq!(count.get(), 5);
            let page = journal.page(&filter, 0).unwrap().unwrap();
            assert_eq!(page.entries.len(), 5);
            let (conditions, _) = super::conditions(&filter, "+");
            let mut statement = journal
                .connection
                .prepare(&super::text_of_user(&conditions, 6))
                .unwrap();
            let values = (0, i64::MAX, 1, 1000, "verdict", 1000);
            let mut rows = statement.query(values).unwrap();
            while rows.next().unwrap().is_some() {}
            drop(rows);
            statement.get_status(rusqlite::StatementStatus::VmStep)
        };
        assert_eq!(steps(10), steps(2000));
    }
}
