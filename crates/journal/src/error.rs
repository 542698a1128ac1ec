//! What can go wrong with the journal. Each message is one line and names the file.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// An operation on the journal failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder of the journal does not exist and cannot be made.
    #[error("cannot make the folder {} for the journal: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be opened or made.
    #[error("cannot open the journal {}: {source}", path.display())]
    Open {
        /// The journal.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file, its folder or its file system does not permit writing.
    #[error("the journal {} cannot be written: its file or folder is read-only", path.display())]
    ReadOnly {
        /// The journal.
        path: PathBuf,
    },
    /// No space is left on its file system. What was to be written was not, nor any part.
    #[error("no space is left for the journal {}", path.display())]
    Full {
        /// The journal.
        path: PathBuf,
    },
    /// A later version of this program wrote it. It is left untouched.
    #[error("the journal {} has format {found}, which is newer than this program's format {known}", path.display())]
    Newer {
        /// The journal.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that this program knows.
        known: i64,
    },
    /// A database of some other program. It is left untouched.
    #[error("{} is not a journal but a database of another program", path.display())]
    Stranger {
        /// The file.
        path: PathBuf,
    },
    /// The content is not what was written.
    #[error("the journal {} is damaged: {detail}", path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The file or its log was removed or replaced while it was open.
    #[error("the journal {} is gone: its file or its log was removed or replaced", path.display())]
    Gone {
        /// The journal.
        path: PathBuf,
    },
    /// A damaged file cannot be moved out of the way.
    #[error("the damaged journal {} cannot be renamed to {}: {source}", path.display(), to.display())]
    SetAside {
        /// The journal.
        path: PathBuf,
        /// Where it should have gone.
        to: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process holds it for longer than the two seconds that are waited.
    #[error("the journal {} is in use by another process", path.display())]
    Busy {
        /// The journal.
        path: PathBuf,
    },
    /// An entry that is no JSON object was to be appended. None of its batch was.
    #[error("cannot append to the journal {}: entry {index} of the batch is no JSON object", path.display())]
    NotAnObject {
        /// The journal.
        path: PathBuf,
        /// Place in the batch, counted from 0.
        index: usize,
    },
    /// Anything else that SQLite reports.
    #[error("the journal {} failed: {source}", path.display())]
    Sqlite {
        /// The journal.
        path: PathBuf,
        /// What it said.
        source: rusqlite::Error,
    },
}

impl Error {
    /// Sorts SQLite's errors (<https://www.sqlite.org/rescode.html>) by what can be done.
    pub(crate) fn from_sqlite(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error().map(|error| error.extended_code) {
            Some(rusqlite::ffi::SQLITE_READONLY_DBMOVED) => return Self::Gone { path },
            // A log that was cut short.
            Some(rusqlite::ffi::SQLITE_IOERR_SHORT_READ) => {
                return Self::Damaged {
                    path,
                    detail: source.to_string(),
                };
            }
            _ => {}
        }
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged {
                path,
                detail: source.to_string(),
            },
            _ => Self::Sqlite { path, source },
        }
    }

    /// Whether the file is to blame, so that [`Journal::renew`](crate::Journal::renew) helps.
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Gone { .. })
    }
}
