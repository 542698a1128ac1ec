//! The journal as a command of root's reads it. The file is the watcher's, and who had taken
//! the watcher over could make a trap of it and of what lies beside it: so root is given up
//! first, for the file's owner, with the state folder as the root of all.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use journal::Journal;
use linux::confine::{self, Account};

use crate::failure::Failure;
use crate::paths::{JOURNAL, Paths};

/// Opens the journal for reading, and gives up root where the file is not root's own. Also
/// returns by which name the control socket is found from now on.
///
/// # Errors
///
/// One line that names the journal.
pub fn open(paths: &Paths) -> Result<(Journal, PathBuf), Failure> {
    let shown = paths.journal.display();
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::failed(format!("{shown}: no journal yet")),
        _ => Failure::failed(format!("{shown}: {error}")),
    };
    let mut about = fs::symlink_metadata(&paths.journal).map_err(failed)?;
    // Root's own link leads where root wants it to; anybody else's is not followed.
    if about.is_symlink() && about.uid() == 0 {
        about = fs::metadata(&paths.journal).map_err(failed)?;
    }
    // Of a version that had but one process.
    if about.uid() == 0 {
        let journal = Journal::open_read_only(&paths.journal)?;
        return Ok((journal, paths.socket.clone()));
    }
    let account = Account {
        user: about.uid(),
        group: if about.gid() == 0 {
            about.uid()
        } else {
            about.gid()
        },
    };
    // From here the socket can be named, as long as this is the current folder.
    let here = paths.socket.parent().filter(|folder| folder.is_dir());
    let moved = rustix::process::chdir(here.unwrap_or(&paths.state));
    moved.map_err(|error| Failure::failed(format!("{}: {error}", paths.state.display())))?;
    confine::live_in(&paths.state, account)?;
    let inside = Path::new("/").join(JOURNAL);
    let journal = Journal::open_read_only(&inside).map_err(|error| {
        let said = error.to_string();
        Failure::failed(said.replace(&*inside.to_string_lossy(), &shown.to_string()))
    })?;
    let socket = paths.socket.file_name().unwrap_or_default().into();
    Ok((journal, socket))
}
