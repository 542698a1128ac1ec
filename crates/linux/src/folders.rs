//! Which of the folders that are root's by convention are root's on this machine.
//!
//! At exec the gate cannot look at the files that variables name. It looks at the path: see
//! [`policy::CODE_FOLDERS`].

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::identity::belongs_to_root;

/// Folders that are looked into, and how deep. What lies in the last two is often not a package's, and
/// people give it away.
const LOOKED_INTO: [(&str, u32); 3] = [("/usr", 1), ("/opt", 2), ("/usr/local", 2)];
/// Any user has a daemon put files into these. They count where the machine itself consists of such
/// files.
const STORES: [&str; 2] = ["/nix/store", "/gnu/store"];
/// Where that is so.
const SYSTEM_OF_STORE: &str = "/run/current-system";
/// So many files are looked at there. A folder with more does not count as root's.
const FILES_MAX: u32 = 4096;

/// A bit for each of [`policy::CODE_FOLDERS`] in which only root can write.
pub fn code_folders() -> u32 {
    let mut found = 0;
    for (number, folder) in policy::CODE_FOLDERS.into_iter().enumerate() {
        let mut left = FILES_MAX;
        let depth = LOOKED_INTO.iter().find(|(into, _)| *into == folder);
        let depth = depth.map_or(0, |(_, depth)| *depth);
        let is_users_store = STORES.contains(&folder)
            && Path::new(folder).exists()
            && !Path::new(SYSTEM_OF_STORE).exists();
        if !is_users_store && is_roots(Path::new(folder), depth, &mut left) {
            found |= 1 << number;
        }
    }
    found
}

/// Whether only root can change what lies at this path, and so deep below it. Of a folder that is not
/// there, whether only root can make it.
fn is_roots(folder: &Path, depth: u32, left: &mut u32) -> bool {
    if folder.as_os_str().is_empty() {
        return false;
    }
    let Ok(metadata) = fs::metadata(folder) else {
        // A link to nowhere may lead anywhere.
        let is_missing = fs::symlink_metadata(folder).is_err();
        return is_missing
            && folder
                .parent()
                .is_some_and(|parent| is_roots(parent, 0, left));
    };
    let parent_is_roots = folder
        .parent()
        .is_none_or(|parent| is_roots(parent, 0, left));
    let is_link = fs::symlink_metadata(folder).is_ok_and(|link| link.is_symlink());
    if !parent_is_roots
        || !is_written_by_root(&metadata)
        || is_link && !leads_to_roots(folder, left)
    {
        return false;
    }
    depth == 0 || !metadata.is_dir() || all_are_roots(folder, depth - 1, left)
}

/// Whether a link is root's, and what it leads to.
fn leads_to_roots(link: &Path, left: &mut u32) -> bool {
    *left = left.saturating_sub(1);
    let is_roots_link = fs::symlink_metadata(link).is_ok_and(|link| link.uid() == 0);
    let (Ok(target), Some(parent)) = (fs::read_link(link), link.parent()) else {
        return false;
    };
    *left > 0 && is_roots_link && is_roots(&parent.join(target), 0, left)
}

/// Whether what lies in a folder of root's is root's too.
fn all_are_roots(folder: &Path, depth: u32, left: &mut u32) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return false;
    };
    entries.into_iter().all(|entry| {
        *left = left.saturating_sub(1);
        let Ok(entry) = entry else { return false };
        let path = entry.path();
        // It is judged by itself.
        if policy::CODE_FOLDERS
            .iter()
            .any(|one| path == Path::new(one))
        {
            return true;
        }
        let Ok(metadata) = entry.metadata() else {
            return false;
        };
        let is_good = if metadata.is_symlink() {
            // A link to nowhere loads nothing, and who can make its end is not asked.
            fs::metadata(&path).is_err() || is_roots(&path, 0, left)
        } else {
            is_written_by_root(&metadata)
                && (depth == 0 || !metadata.is_dir() || all_are_roots(&path, depth - 1, left))
        };
        *left > 0 && is_good
    })
}

/// Whether root owns it and nobody else writes to it: a group may, when nobody who can log in is in it, as
/// Debian's `staff` in /usr/local, or the users that build Nix's packages.
fn is_written_by_root(metadata: &Metadata) -> bool {
    const GROUP_WRITES: u32 = 0o020;
    const OTHERS_WRITE: u32 = 0o002;
    if belongs_to_root(metadata) {
        return true;
    }
    metadata.uid() == 0
        && metadata.mode() & OTHERS_WRITE == 0
        && metadata.mode() & GROUP_WRITES != 0
        && is_nobodys(metadata.gid())
}

/// Whether nobody but root and users that cannot log in are in a group, by the machine's own lists.
fn is_nobodys(group: u32) -> bool {
    if group == 0 {
        return true;
    }
    let (Ok(groups), Ok(users)) = (
        fs::read_to_string("/etc/group"),
        fs::read_to_string("/etc/passwd"),
    ) else {
        return false;
    };
    has_nobody(group, &groups, &users)
}

fn has_nobody(group: u32, groups: &str, users: &str) -> bool {
    let number = group.to_string();
    let Some(line) = groups
        .lines()
        .find(|line| line.split(':').nth(2) == Some(&number))
    else {
        return false;
    };
    let members = line.split(':').nth(3).unwrap_or_default().split(',');
    let users: Vec<Vec<&str>> = users
        .lines()
        .map(|user| user.split(':').collect())
        .collect();
    let logs_in = |user: &[&str]| {
        let shell = user.get(6).copied().unwrap_or_default();
        user.get(2) != Some(&"0") && !shell.ends_with("/nologin") && !shell.ends_with("/false")
    };
    let members_are_good = members
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .all(|name| {
            let user = users.iter().find(|user| user.first() == Some(&name));
            user.is_some_and(|user| !logs_in(user))
        });
    let is_main = |user: &&Vec<&str>| user.get(3) == Some(&number.as_str());
    members_are_good && !users.iter().filter(is_main).any(|user| logs_in(user))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    #[test]
    fn a_group_without_members_writes_nothing() {
        let groups = "root:x:0:\nstaff:x:50:\nadm:x:4:anna\nusers:x:100:\nnixbld:x:30000:build1,build2\n\
                      far:x:60:elsewhere\n";
        let users = "root:x:0:0:root:/root:/bin/bash\nanna:x:1000:100::/home/anna:/bin/bash\n\
                     build1:x:30001:30000::/var/empty:/sbin/nologin\nbuild2:x:30002:30000::/:/bin/false\n";
        assert!(has_nobody(50, groups, users));
        assert!(!has_nobody(4, groups, users));
        assert!(!has_nobody(100, groups, users), "it is a user's main group");
        assert!(has_nobody(30_000, groups, users), "they cannot log in");
        assert!(
            !has_nobody(60, groups, users),
            "who is in it is not known here"
        );
        assert!(!has_nobody(77, groups, users), "nobody knows it");
    }

    #[test]
    fn folders_of_this_machine_are_roots_and_homes_are_not() {
        let found = code_folders();
        let number = |path| policy::CODE_FOLDERS.iter().position(|one| *one == path);
        let is_there = |path| found >> number(path).unwrap() & 1 != 0;
        if fs::metadata("/").is_ok_and(|root| belongs_to_root(&root)) {
            assert!(
                is_there("/usr") && is_there("/etc") && is_there("/lib"),
                "{found:b}"
            );
            // There is none, and only root can make it.
            assert!(is_there("/gnu/store") || Path::new("/gnu").exists());
        }
    }

    #[test]
    fn what_was_given_away_below_a_folder_makes_it_a_users() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root, to make files of other users");
            return;
        }
        // Its parents have to be root's alone.
        let Ok(folder) = tempfile::tempdir_in("/root") else {
            println!("skipped: /root cannot be written");
            return;
        };
        let top = folder.path().join("opt");
        let inner = top.join("vendor");
        fs::create_dir_all(&inner).unwrap();
        let is_good = || is_roots(&top, 2, &mut FILES_MAX.clone());
        if !is_good() {
            println!("skipped: /root is not root's alone");
            return;
        }
        let library = inner.join("library.so");
        fs::write(&library, b"").unwrap();
        assert!(is_good());
        chown(&library, Some(1000), Some(1000)).unwrap();
        assert!(!is_good(), "a user's file");
        fs::remove_file(&library).unwrap();
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(!is_good(), "a folder that everybody writes to");
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o755)).unwrap();
        symlink("/tmp", inner.join("link")).unwrap();
        assert!(!is_good(), "a link to a folder that everybody writes to");
    }
}
