//! The state folder, which keeper and watcher share: root's, with the sticky bit, so that the
//! watcher can make files there and cannot touch root's.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use linux::confine::Account;
use rustix::fs::{Gid, Mode, OFlags, Uid, fchmod, fchown, openat};

use super::account::FALLBACK;
use crate::paths::JOURNAL;

/// The sticky bit, and all that the group needs to make files.
const SHARED: u32 = 0o1070;

/// Lets the watcher make files in the folder.
///
/// # Errors
///
/// When the folder cannot be changed and is not shared already.
pub fn share(folder: &File, account: Account) -> io::Result<()> {
    let about = folder.metadata()?;
    if about.gid() != account.group {
        fchown(folder, None, Some(Gid::from_raw(account.group)))?;
    }
    let mode = about.mode() & 0o7777;
    let wanted = (mode | SHARED) & !0o002;
    if mode != wanted {
        fchmod(folder, Mode::from_raw_mode(wanted))?;
    }
    Ok(())
}

/// Makes a journal of before the watcher's. Only root's own files are given away, and those of
/// the account that stood in for it; nothing through links, and nothing with a second name.
///
/// # Errors
///
/// When a file cannot be given away.
pub fn hand_over_journal(folder: &File, account: Account) -> io::Result<()> {
    for log in ["", "-wal", "-shm"] {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(folder, format!("{JOURNAL}{log}"), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            // Whoever put a link there knows whose the file behind it is to be.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP) => continue,
            Err(error) => return Err(error.into()),
        };
        let about = file.metadata()?;
        let ours = [0, FALLBACK.user].contains(&about.uid()) && about.uid() != account.user;
        if ours && about.is_file() && about.nlink() == 1 {
            let (user, group) = (Uid::from_raw(account.user), Gid::from_raw(account.group));
            fchown(&file, Some(user), Some(group))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    const WATCHER: Account = Account {
        user: 4321,
        group: 4322,
    };

    #[test]
    fn the_journal_is_handed_over_and_nothing_else() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let folder = File::open(place.path()).unwrap();
        let at = |name: &str| place.path().join(name);
        let owner = |name: &str| fs::metadata(at(name)).unwrap().uid();
        for name in ["journal.db", "programs.json", "secret"] {
            fs::write(at(name), name).unwrap();
        }
        // What a watcher could prepare to be given more.
        symlink(at("secret"), at("journal.db-wal")).unwrap();
        fs::hard_link(at("programs.json"), at("journal.db-shm")).unwrap();

        share(&folder, WATCHER).unwrap();
        hand_over_journal(&folder, WATCHER).unwrap();
        let about = folder.metadata().unwrap();
        assert_eq!((about.uid(), about.gid()), (0, WATCHER.group));
        assert_eq!(about.mode() & 0o7777, 0o1775);
        assert_eq!(owner("journal.db"), WATCHER.user);
        assert_eq!((owner("programs.json"), owner("secret")), (0, 0));
        // Again, and for another account: what the watcher has it keeps.
        hand_over_journal(&folder, FALLBACK).unwrap();
        assert_eq!(owner("journal.db"), WATCHER.user);
    }
}
