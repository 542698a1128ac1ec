//! Whose desktop shows a warning. A warning names programs, servers and nicknames, so it goes to
//! the user whom it is about. Where that user has no session, administrators see it, and nobody
//! else: root and administrators may read the journal anyway.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use super::RUN_USER;

/// Members of these groups are administrators: the defaults of sudo and polkit on Debian, Fedora,
/// Arch and SUSE, and on older Ubuntu.
const GROUPS: [&str; 3] = ["sudo", "wheel", "admin"];
/// A longer file of accounts is read no further.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The users who see a warning about what a process of `uid` did.
pub(super) fn of(uid: u32) -> Vec<u32> {
    Accounts::of_this_machine().audience(Path::new(RUN_USER), uid)
}

/// The name of a user, where the machine's own file of accounts has one.
pub fn user_name(uid: u32) -> Option<String> {
    let passwd = text("/etc/passwd");
    let user = fields(&passwd).find(|user| number(user, 2) == Some(uid))?;
    Some((*user.first()?).to_owned())
}

/// The machine's files of accounts. They are read without the system's library, which would
/// load code of directory services into the keeper. So an administrator whom only a directory
/// service knows sees no warnings about others.
struct Accounts {
    passwd: String,
    group: String,
    subuid: String,
}

impl Accounts {
    fn of_this_machine() -> Self {
        Self {
            passwd: text("/etc/passwd"),
            group: text("/etc/group"),
            subuid: text("/etc/subuid"),
        }
    }

    fn audience(&self, run_user: &Path, uid: u32) -> Vec<u32> {
        let user = self.user_behind(uid);
        if has_bus(run_user, user) {
            return vec![user];
        }
        let administrators = self.administrators();
        let Ok(sessions) = fs::read_dir(run_user) else {
            return Vec::new();
        };
        let mut all: Vec<u32> = sessions
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            // No process of ours connects to a bus as root; root reads the journal.
            .filter(|uid| *uid != 0 && administrators.contains(uid) && has_bus(run_user, *uid))
            .collect();
        all.sort_unstable();
        all
    }

    /// The user who owns this subordinate user id, which processes in that user's containers
    /// have; else the id itself.
    fn user_behind(&self, uid: u32) -> u32 {
        if fields(&self.passwd).any(|user| number(&user, 2) == Some(uid)) {
            return uid;
        }
        let holds = |range: &Vec<&str>| {
            let (first, count) = (number(range, 1)?, number(range, 2)?);
            Some(uid.checked_sub(first)? < count)
        };
        let range = fields(&self.subuid).find(|range| holds(range) == Some(true));
        let owner = range.and_then(|range| {
            let name = *range.first()?;
            self.uid_of(name).or_else(|| name.parse().ok())
        });
        owner.unwrap_or(uid)
    }

    fn administrators(&self) -> Vec<u32> {
        let groups: Vec<Vec<&str>> = fields(&self.group)
            .filter(|group| group.first().is_some_and(|name| GROUPS.contains(name)))
            .collect();
        let ids: Vec<u32> = groups.iter().filter_map(|group| number(group, 2)).collect();
        let members = groups
            .iter()
            .filter_map(|group| group.get(3))
            .flat_map(|members| members.split(','))
            .filter_map(|name| self.uid_of(name.trim()));
        let by_main_group = fields(&self.passwd)
            .filter(|user| number(user, 3).is_some_and(|group| ids.contains(&group)))
            .filter_map(|user| number(&user, 2));
        members.chain(by_main_group).collect()
    }

    fn uid_of(&self, name: &str) -> Option<u32> {
        let user = fields(&self.passwd).find(|user| user.first() == Some(&name))?;
        number(&user, 2)
    }
}

fn text(path: &str) -> String {
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    read.map_or_else(|_| String::new(), |_| text)
}

fn fields(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

fn number(fields: &[&str], at: usize) -> Option<u32> {
    fields.get(at)?.parse().ok()
}

fn has_bus(run_user: &Path, uid: u32) -> bool {
    let bus = fs::symlink_metadata(run_user.join(uid.to_string()).join("bus"));
    bus.is_ok_and(|bus| bus.file_type().is_socket() && bus.uid() == uid)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn accounts(own: u32, administrators: &str) -> Accounts {
        Accounts {
            passwd: format!(
                "root:x:0:0::/root:/bin/sh\nme:x:{own}:100::/:\nother:x:4242:100::/:\nboss:x:4243:27::/:\n"
            ),
            group: format!("sudo:x:27:{administrators}\nusers:x:100:me,other\n"),
            subuid: "other:100000:65536\n4243:300000:10\n".to_owned(),
        }
    }

    /// A folder like /run/user in which one user has a session, and another a file that is none.
    fn sessions() -> (tempfile::TempDir, u32) {
        let folder = tempfile::tempdir().unwrap();
        let own = match rustix::process::getuid().as_raw() {
            0 => 1000,
            own => own,
        };
        let home = folder.path().join(own.to_string());
        fs::create_dir(&home).unwrap();
        let bus = home.join("bus");
        drop(UnixListener::bind(&bus).unwrap());
        chown(&bus, Some(own), None).unwrap();
        fs::create_dir(folder.path().join("4242")).unwrap();
        fs::write(folder.path().join("4242/bus"), "no socket").unwrap();
        (folder, own)
    }

    #[test]
    fn a_warning_about_a_user_without_a_session_reaches_administrators_only() {
        let (folder, own) = sessions();
        let audience = |administrators: &str, about: u32| {
            accounts(own, administrators).audience(folder.path(), about)
        };
        assert_eq!(audience("", own), [own]);
        for about in [0, 33, 4242, 100_007, u32::MAX] {
            assert_eq!(audience("", about), [] as [u32; 0], "about {about}");
            assert_eq!(audience("other,me", about), [own], "about {about}");
        }
        let nowhere = folder.path().join("none");
        assert!(accounts(own, "me").audience(&nowhere, 1).is_empty());
    }

    #[test]
    fn administrators_are_members_of_a_group_or_have_it_as_their_main_one() {
        let mut all = accounts(1000, "me,nobody-of-that-name").administrators();
        all.sort_unstable();
        assert_eq!(all, [1000, 4243]);
        assert_eq!(accounts(1000, "").administrators(), [4243]);
    }

    #[test]
    fn what_a_container_did_is_shown_to_its_owner() {
        let accounts = accounts(1000, "");
        assert_eq!(accounts.user_behind(100_000), 4242);
        assert_eq!(accounts.user_behind(165_535), 4242);
        assert_eq!(accounts.user_behind(300_009), 4243);
        for own in [99_999, 165_536, 1000, 0] {
            assert_eq!(accounts.user_behind(own), own);
        }
    }
}
