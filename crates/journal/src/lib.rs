//! The journal: the stored record of verdicts, grants, findings and notices, and the
//! registered programs. One SQLite file with a write-ahead log.
//!
//! It stores bodies as JSON text and does not look into them. Times are nanoseconds since
//! 1970, UTC.

#![forbid(unsafe_code)]

mod damage;
mod entries;
mod error;
mod files;
mod programs;
mod readers;
mod renew;
mod retention;
mod schema;
mod users;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

pub use entries::{Filter, NewEntry, StoredEntry};
pub use error::Error;
pub use programs::Registered;
pub use renew::Renewed;

/// The journal, open.
#[derive(Debug)]
pub struct Journal {
    connection: Connection,
    path: PathBuf,
    /// The files as this process left them.
    place: renew::Place,
    /// What a call found damaged.
    damage: OnceCell<String>,
    /// Known without the file, for the case that it breaks. None when opened for reading.
    programs: Option<BTreeMap<String, Registered>>,
    last_given: u64,
    /// A log that is longer is to be cut.
    cut_above: u64,
    /// Whether the index by user was there when a reader opened the file.
    has_users: bool,
}

/// A journal that was opened for writing, and what had to be done for it.
#[derive(Debug)]
pub struct Opened {
    /// The journal.
    pub journal: Journal,
    /// The file that was there was damaged; it now has this name, and a new one was begun.
    pub set_aside: Option<PathBuf>,
    /// How many registered programs could be carried over from the damaged file.
    pub programs_saved: u64,
}

impl Journal {
    /// Opens the journal for reading and writing; makes folder (0700) and file (0600) when
    /// they are missing. A damaged file is set aside and a new one begun; a file of a newer
    /// format or of another program is an error and left as it is.
    pub fn open(path: &Path) -> Result<Opened, Error> {
        match Self::try_open(path) {
            Err(Error::Damaged { .. }) => damage::begin_anew(path),
            other => Ok(Opened {
                journal: other?,
                set_aside: None,
                programs_saved: 0,
            }),
        }
    }

    /// Opens the journal for reading, and where nothing can be written too. A missing or
    /// damaged file is an error.
    pub fn open_read_only(path: &Path) -> Result<Self, Error> {
        // Asked first, because SQLite says no more than "unable to open".
        OpenOptions::new()
            .read(true)
            .open(path)
            .map_err(|source| Error::Open {
                path: path.to_owned(),
                source,
            })?;
        damage::check_length(path)?;
        let open = |name: &Path, more| {
            let connection = connect(name, OpenFlags::SQLITE_OPEN_READ_ONLY | more)?;
            schema::prepare_reader(&connection, path)?;
            let _reading = readers::reading();
            let has_users = users::exists(&connection);
            let mut journal = Self::of(connection, path);
            journal.has_users = has_users.map_err(|source| journal.sqlite(source))?;
            Ok(journal)
        };
        match open(path, OpenFlags::empty()) {
            // Even a reader makes a file beside the journal, unless it is told that nobody
            // writes. Where that file cannot be made, nobody does.
            Err(Error::ReadOnly { .. } | Error::Full { .. } | Error::Sqlite { .. }) => {
                open(&as_immutable(path), OpenFlags::SQLITE_OPEN_URI)
            }
            other => other,
        }
    }

    /// Whether nothing can be written because it was opened for reading.
    pub fn is_read_only(&self) -> bool {
        self.connection.is_readonly("main").unwrap_or(false)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn try_open(path: &Path) -> Result<Self, Error> {
        let existed = make_file(path)?;
        if existed {
            damage::check_length(path)?;
        }
        let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        schema::prepare_writer(&mut connection, path)?;
        if existed {
            damage::check_content(&connection, path)?;
        }
        let mut journal = Self::of(connection, path);
        let programs = journal.registrations()?;
        let named = |program: Registered| (program.path.clone(), program);
        journal.programs = Some(programs.into_iter().map(named).collect());
        journal.last_given = journal.last_id_given()?;
        journal.has_users =
            users::exists(&journal.connection).map_err(|source| journal.sqlite(source))?;
        journal.place = renew::Place::of(path);
        Ok(journal)
    }

    fn of(connection: Connection, path: &Path) -> Self {
        Self {
            connection,
            path: path.to_owned(),
            place: renew::Place::default(),
            damage: OnceCell::new(),
            programs: None,
            last_given: 0,
            cut_above: readers::LOG_BYTES_MAX,
            has_users: false,
        }
    }

    fn sqlite(&self, source: rusqlite::Error) -> Error {
        let error = Error::from_sqlite(&self.path, source);
        if let Error::Damaged { detail, .. } = &error {
            let _ = self.damage.set(detail.clone());
        }
        error
    }
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, Error> {
    Connection::open_with_flags(
        path,
        access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE,
    )
    .map_err(|source| Error::from_sqlite(path, source))
}

/// The file as a URI by which SQLite needs nothing but the file
/// (<https://www.sqlite.org/uri.html>).
fn as_immutable(path: &Path) -> PathBuf {
    use std::fmt::Write as _;
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri.push_str("?immutable=1");
    uri.into()
}

/// Makes the file with narrow permissions, which the log beside it inherits. Whether it was
/// there before.
fn make_file(path: &Path) -> Result<bool, Error> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        files::narrow_folder()
            .create(folder)
            .map_err(|source| Error::Folder {
                path: folder.to_owned(),
                source,
            })?;
    }
    let made = files::narrow_file().open(path);
    let there = match made {
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().read(true).write(true).open(path)
        }
        Err(error) => Err(error),
    };
    match there {
        Ok(_) => Ok(true),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => Error::ReadOnly {
                path: path.to_owned(),
            },
            io::ErrorKind::StorageFull => Error::Full {
                path: path.to_owned(),
            },
            _ => Error::Open {
                path: path.to_owned(),
                source: error,
            },
        }),
    }
}
