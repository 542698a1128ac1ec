//! Whether the gate is closed or only observes: one word in the file `mode` of the state folder.
//!
//! Commands change it, and each start of the daemon reads it. Like `programs.json` it counts only when
//! it is a plain file of root's, because the watcher may make files in that folder too. Without it the
//! gate closes.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Mode as Permissions, OFlags, fsync, openat, renameat, unlinkat};
use rustix::io::Errno;

/// Its name in the state folder.
pub const FILE: &str = "mode";
const UNFINISHED: &str = "mode.new";
const BYTES_MAX: u64 = 64;

/// What the gate does with what may not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It refuses.
    Enforce,
    /// It notes that it would have refused.
    Observe,
}

impl Mode {
    const fn word(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }
}

/// The mode that was chosen. None when nobody has chosen. A file that is not root's own, or holds
/// anything else, counts as `enforce`: a gate is not opened by a damaged file.
pub fn read(state: &Path) -> Option<Mode> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let folder = File::open(state).ok()?;
    let file = match openat(&folder, FILE, flags, Permissions::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return None,
        Err(_) => return Some(Mode::Enforce),
    };
    let is_roots = file.metadata().is_ok_and(|about| {
        about.is_file() && about.uid() == 0 && about.nlink() == 1 && about.mode() & 0o022 == 0
    });
    let mut text = String::new();
    let is_read = file.take(BYTES_MAX).read_to_string(&mut text).is_ok();
    let observes = is_roots && is_read && text.trim() == Mode::Observe.word();
    Some(if observes {
        Mode::Observe
    } else {
        Mode::Enforce
    })
}

/// Writes the mode into the state folder, in one step.
///
/// # Errors
///
/// When it cannot be written. The older file is whole then.
pub fn write(folder: &File, mode: Mode) -> io::Result<()> {
    match unlinkat(folder, UNFINISHED, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let access = Permissions::RUSR | Permissions::WUSR;
    let mut file = File::from(openat(folder, UNFINISHED, flags, access)?);
    let written = file
        .write_all(format!("{}\n", mode.word()).as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| Ok(renameat(folder, UNFINISHED, folder, FILE)?));
    if written.is_err() {
        let _ = unlinkat(folder, UNFINISHED, AtFlags::empty());
    }
    let _ = fsync(folder);
    written
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root, whose file it has to be");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let open = File::open(folder.path()).unwrap();
        assert_eq!(read(folder.path()), None);
        for mode in [Mode::Observe, Mode::Enforce, Mode::Observe] {
            write(&open, mode).unwrap();
            assert_eq!(read(folder.path()), Some(mode));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn nobody_but_root_opens_the_gate_by_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        for text in ["", "Observe", "observe me", "\u{0}"] {
            fs::write(&path, text).unwrap();
            assert_eq!(read(folder.path()), Some(Mode::Enforce), "{text:?}");
        }
        fs::write(&path, "observe\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(read(folder.path()), Some(Mode::Enforce), "writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let other = folder.path().join("other");
        fs::hard_link(&path, &other).unwrap();
        assert_eq!(read(folder.path()), Some(Mode::Enforce), "another name");
        fs::remove_file(&path).unwrap();
        symlink(&other, &path).unwrap();
        assert_eq!(read(folder.path()), Some(Mode::Enforce), "a link");
        if rustix::process::geteuid().is_root() {
            fs::remove_file(&path).unwrap();
            fs::rename(&other, &path).unwrap();
            assert_eq!(read(folder.path()), Some(Mode::Observe));
            std::os::unix::fs::chown(&path, Some(65525), None).unwrap();
            assert_eq!(read(folder.path()), Some(Mode::Enforce), "the watcher's");
        }
    }
}
