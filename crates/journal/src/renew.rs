//! A journal that breaks while it is open: noticing it, and going on with a new one.
//!
//! SQLite holds on to what it has opened. A file that was removed takes entries which nobody
//! will read, one that was overwritten looks sound as long as the pages in memory do, and
//! neither is an error. So the files are looked at from outside, too.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::damage::{self, beside};
use crate::{Error, Journal, connect, files, readers, schema};

/// A file as it was when this process last wrote to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    identity: (u64, u64),
    bytes: u64,
    changed: Option<Duration>,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|about| Self {
            identity: files::identity(&about),
            bytes: about.len(),
            changed: files::changed(&about),
        })
    }

    fn is_same_file(self, other: Self) -> bool {
        self.identity == other.identity
    }
}

/// The journal and its log, seen from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    file: Option<Stamp>,
    log: Option<Stamp>,
}

impl Place {
    pub(crate) fn of(path: &Path) -> Self {
        Self {
            file: Stamp::of(path),
            log: Stamp::of(&beside(path, "-wal")),
        }
    }
}

/// What came of [`Journal::renew`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// The damaged file has this name now.
    pub set_aside: Option<PathBuf>,
    /// A new journal was begun. Otherwise the one that lies there is sound.
    pub begun: bool,
    /// How many programs are registered in it.
    pub programs: u64,
}

impl Journal {
    /// Looks whether the files are still what this process wrote. Two system calls when they
    /// are; when somebody else wrote to them, every page is checked.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`] and [`Error::Damaged`], after which [`Journal::renew`] helps.
    pub fn check(&mut self) -> Result<(), Error> {
        if self.is_read_only() {
            return Ok(());
        }
        let now = Place::of(&self.path);
        let (Some(file), Some(found)) = (self.place.file, now.file) else {
            return Err(self.gone());
        };
        let log_kept = self
            .place
            .log
            .is_none_or(|log| now.log.is_some_and(|found| found.is_same_file(log)));
        if !file.is_same_file(found) || !log_kept {
            return Err(self.gone());
        }
        if let Some(detail) = self.damage.get() {
            return Err(self.damaged(detail));
        }
        if found.bytes < file.bytes {
            return Err(self.damaged("it was cut short"));
        }
        if now != self.place {
            // With a connection that has no page in memory.
            let fresh = connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            schema::prepare_reader(&fresh, &self.path)?;
            damage::check_every_page(&fresh, &self.path)?;
            damage::check_tables(&fresh, &self.path)?;
            self.place = now;
        }
        Ok(())
    }

    /// Opens the journal again, after an error or where it could not be written. When its
    /// content was the error, it is set aside and a new one begun, and so is what lies in its
    /// place if that is no sound journal. The programs that this process knows stay registered,
    /// no others, and ids go on.
    ///
    /// # Errors
    ///
    /// When no journal can be had there. Until one can, every other call fails with
    /// [`Error::Gone`].
    pub fn renew(&mut self, because: &Error) -> Result<Renewed, Error> {
        let (old, now) = (self.place, Place::of(&self.path));
        if !self.is_read_only() {
            // The old one is closed first: SQLite removes the log by its name.
            self.place = Place::default();
            self.connection = Connection::open_in_memory().map_err(|source| self.sqlite(source))?;
        }
        let existed = now.file.is_some();
        let same = |old: Option<Stamp>, now: Option<Stamp>| {
            old.zip(now).is_some_and(|(old, now)| old.is_same_file(now))
        };
        if !existed || (same(old.log, now.log) && !same(old.file, now.file)) {
            // The log of a file that is not there any more would be taken for another's.
            for log in ["-wal", "-shm"] {
                let _ = fs::remove_file(beside(&self.path, log));
            }
        }
        let opened = if existed && matches!(because, Error::Damaged { .. }) {
            damage::begin_anew(&self.path)?
        } else {
            Self::open(&self.path)?
        };
        let mut new = opened.journal;
        new.continue_after(self.last_given)?;
        if let Some(programs) = self.programs.clone() {
            new.register_only(programs)?;
        }
        let renewed = Renewed {
            begun: opened.set_aside.is_some() || !existed,
            set_aside: opened.set_aside,
            programs: new.programs.as_ref().map_or(0, BTreeMap::len) as u64,
        };
        *self = new;
        Ok(renewed)
    }

    /// Every write goes through here: it is made only to the file that lies there, and leaves
    /// a stamp.
    pub(crate) fn write<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.check()?;
        let done = work(&mut self.connection);
        self.place = Place::of(&self.path);
        self.cut_long_log();
        done.map_err(|source| self.sqlite(source))
    }

    /// Cuts a log that has become long. Where that fails, what was written is in the log all the
    /// same, and the next write tries again.
    fn cut_long_log(&mut self) {
        let log_bytes = self.place.log.map_or(0, |log| log.bytes);
        if log_bytes <= self.cut_above {
            return;
        }
        let cut = readers::cut_log(&self.connection, schema::BUSY_WAIT);
        self.place = Place::of(&self.path);
        self.cut_above = match cut {
            Ok(true) => readers::LOG_BYTES_MAX,
            _ => log_bytes + readers::GROWTH_BYTES,
        };
    }

    fn gone(&self) -> Error {
        Error::Gone {
            path: self.path.clone(),
        }
    }

    fn damaged(&self, detail: &str) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            detail: detail.to_owned(),
        }
    }
}
