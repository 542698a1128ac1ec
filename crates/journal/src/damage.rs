//! Telling a damaged file from a sound one, and putting it aside.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OpenFlags};

use crate::{Error, Journal, Opened, connect, files};

/// Up to this size every page is checked when the journal is opened (about 20 ms). Beyond
/// it only what is read anyway: a check of all would hold up the start.
const CHECKED_WHOLE_BYTES: u64 = 16 * 1024 * 1024;

/// A database is at least one page of 512 bytes long (SQLite's file format, section 1.3.2).
const SHORTEST_BYTES: u64 = 512;

/// So many damaged files are kept, the latest ones.
const KEPT_ASIDE: usize = 4;

/// How long another process may take between making the file and making its tables.
const MAKING: Duration = Duration::from_millis(200);

/// Checks the length, with which SQLite is generous: it takes an empty file for a new
/// database, and fills up a last page that was cut with zeros.
pub(crate) fn check_length(path: &Path) -> Result<(), Error> {
    let open = |source| Error::Open {
        path: path.to_owned(),
        source,
    };
    let bytes = || fs::metadata(path).map(|about| about.len()).map_err(open);
    let damaged = |detail: &str| {
        Err(Error::Damaged {
            path: path.to_owned(),
            detail: detail.to_owned(),
        })
    };
    if bytes()? < SHORTEST_BYTES {
        thread::sleep(MAKING);
        if bytes()? < SHORTEST_BYTES {
            return damaged("it is empty or cut short");
        }
    }
    // While there is a log, pages may be on their way from it.
    if fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0) {
        return Ok(());
    }
    let mut head = [0; 18];
    fs::File::open(path)
        .and_then(|mut file| file.read_exact(&mut head))
        .map_err(open)?;
    // 1 stands for 65,536 (file format, section 1.3.2).
    let page_bytes = match u64::from(u16::from_be_bytes([head[16], head[17]])) {
        1 => 65_536,
        bytes => bytes,
    };
    if !head.starts_with(b"SQLite format 3\0") || page_bytes == 0 {
        return damaged("it is no database");
    }
    if !bytes()?.is_multiple_of(page_bytes) {
        return damaged("its last page is cut short");
    }
    Ok(())
}

/// Checks the content as far as time permits. A file that was cut short is found at any
/// size, because its first page says how long it should be.
pub(crate) fn check_content(connection: &Connection, path: &Path) -> Result<(), Error> {
    let bytes = fs::metadata(path).map_or(0, |about| about.len());
    if bytes <= CHECKED_WHOLE_BYTES {
        check_every_page(connection, path)?;
    }
    check_tables(connection, path)
}

pub(crate) fn check_every_page(connection: &Connection, path: &Path) -> Result<(), Error> {
    let said: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|source| Error::from_sqlite(path, source))?;
    if said == "ok" {
        return Ok(());
    }
    Err(Error::Damaged {
        path: path.to_owned(),
        detail: said.replace('\n', " "),
    })
}

/// Checks that the tables are there, and reads the newest entries.
pub(crate) fn check_tables(connection: &Connection, path: &Path) -> Result<(), Error> {
    let sqlite = |source| Error::from_sqlite(path, source);
    for query in [
        "SELECT length(body) FROM entries WHERE id IN (SELECT id FROM entries ORDER BY id DESC LIMIT 64)",
        "SELECT length(sha256) FROM programs",
        "SELECT seq FROM sqlite_sequence",
    ] {
        let mut statement = connection
            .prepare(query)
            .map_err(|source| missing_table(path, source))?;
        let mut rows = statement.query([]).map_err(sqlite)?;
        while rows.next().map_err(sqlite)?.is_some() {}
    }
    Ok(())
}

/// The format says that the tables are there; when one is not, the file is damaged.
fn missing_table(path: &Path, source: rusqlite::Error) -> Error {
    match Error::from_sqlite(path, source) {
        Error::Sqlite { path, source } => Error::Damaged {
            path,
            detail: source.to_string(),
        },
        other => other,
    }
}

/// Renames the damaged file, with its log, and begins a new journal. The registered
/// programs are carried over if they can still be read, and so is the last id, so that ids
/// are not used again.
pub(crate) fn begin_anew(path: &Path) -> Result<Opened, Error> {
    let aside = free_name(path);
    rename(path, &aside)?;
    for log in ["-wal", "-shm"] {
        let (from, to) = (beside(path, log), beside(&aside, log));
        // Left in place it would be taken for the new file's log.
        if from.exists() {
            rename(&from, &to)?;
        }
    }
    remove_older(path);
    let mut journal = Journal::try_open(path)?;
    let programs_saved = save_from(&aside, &mut journal)?;
    Ok(Opened {
        journal,
        set_aside: Some(aside),
        programs_saved,
    })
}

/// Whatever cannot be read from the damaged file is left behind; only a failure of the new
/// journal is an error.
fn save_from(aside: &Path, journal: &mut Journal) -> Result<u64, Error> {
    let Ok(connection) = connect(aside, OpenFlags::SQLITE_OPEN_READ_ONLY) else {
        return Ok(0);
    };
    let old = Journal::of(connection, aside);
    if let Ok(last) = old.last_id_given()
        && last > 0
    {
        journal.continue_after(last)?;
    }
    let programs = old.registrations().unwrap_or_default();
    for program in &programs {
        journal.register(program)?;
    }
    Ok(programs.len() as u64)
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|source| Error::SetAside {
        path: from.to_owned(),
        to: to.to_owned(),
        source,
    })
}

/// `journal.db.damaged-1767225600`, or with `-2` and so on when that is taken.
fn free_name(path: &Path) -> PathBuf {
    let now_s = files::since_1970(SystemTime::now()).as_secs();
    let first = beside(path, &format!(".damaged-{now_s}"));
    let mut name = first.clone();
    let mut number = 2;
    while name.exists() {
        name = beside(&first, &format!("-{number}"));
        number += 1;
    }
    name
}

/// A disk that spoils one journal after the other must not fill up with them.
fn remove_older(path: &Path) {
    let Some((folder, name)) = path.parent().zip(path.file_name()) else {
        return;
    };
    let begin = format!("{}.damaged-", name.to_string_lossy());
    let logs = ["-wal", "-shm"];
    let mut aside: Vec<(Duration, PathBuf)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|file| {
            let name = file.file_name();
            let name = name.to_string_lossy();
            name.starts_with(&begin) && !logs.iter().any(|log| name.ends_with(log))
        })
        // A renamed file keeps its time of writing; its change time is that of the renaming.
        .filter_map(|file| {
            let since = files::changed(&file.metadata().ok()?)?;
            Some((since, file.path()))
        })
        .collect();
    aside.sort();
    for (_, file) in aside.iter().rev().skip(KEPT_ASIDE) {
        for part in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(beside(file, part));
        }
    }
}

pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
