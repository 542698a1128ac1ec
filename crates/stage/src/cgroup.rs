//! Control groups of version 2: find the hierarchy, make a group, end all that is in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Error;

/// Names of a sandbox's groups begin with this; the guard removes nothing else.
pub(crate) const PREFIX: &str = "sekimori-stage-";

/// Where the root of the cgroup v2 hierarchy is mounted, hybrid layouts included.
///
/// # Errors
/// When there is no such mount.
pub fn cgroup2_root() -> Result<PathBuf, Error> {
    let path = Path::new("/proc/self/mountinfo");
    let table = fs::read_to_string(path).map_err(|e| Error::at("read", path, e))?;
    table.lines().find_map(cgroup2_mount).ok_or(Error::NoCgroup)
}

/// The mount point in one line of mountinfo when it is the root of a cgroup2 hierarchy.
fn cgroup2_mount(line: &str) -> Option<PathBuf> {
    let (mount, filesystem) = line.split_once(" - ")?;
    if filesystem.split(' ').next() != Some("cgroup2") {
        return None;
    }
    let point = mount.split(' ').nth(4)?;
    Some(PathBuf::from(point.replace("\\040", " ")))
}

/// Ends every process in the group and in all groups below it, and waits until it is empty.
///
/// # Errors
/// When processes are left after `limit`.
pub(crate) fn end_all(group: &Path, limit: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + limit;
    loop {
        let pids = processes_below(group);
        if pids.is_empty() {
            return Ok(());
        }
        // Kernels before 5.14 have no cgroup.kill. New processes may appear between reading
        // and killing, hence the loop.
        if fs::write(group.join("cgroup.kill"), "1").is_err() {
            for pid in pids {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if Instant::now() > deadline {
            return Err(Error::Timeout {
                what: format!("processes in {} did not end", group.display()),
                limit,
            });
        }
        sleep(Duration::from_millis(5));
    }
}

/// Removes the group and all groups below it. A group that is gone already is fine.
///
/// # Errors
/// When a group stays busy longer than `limit`.
pub(crate) fn remove(group: &Path, limit: Duration) -> Result<(), Error> {
    for child in children(group) {
        remove(&child, limit)?;
    }
    let deadline = Instant::now() + limit;
    loop {
        match fs::remove_dir(group) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            // Processes that are just ending keep it busy for a moment.
            Err(_) if Instant::now() < deadline => sleep(Duration::from_millis(5)),
            Err(e) => return Err(Error::at("remove cgroup", group, e)),
        }
    }
}

fn children(group: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(group) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// All processes in the group and below it.
pub(crate) fn processes_below(group: &Path) -> Vec<Pid> {
    let mut pids: Vec<Pid> = fs::read_to_string(group.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| Pid::from_raw(line.parse().ok()?))
        .collect();
    for child in children(group) {
        pids.extend(processes_below(&child));
    }
    pids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_mount_in_both_layouts() {
        let hybrid = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        let unified =
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(
            cgroup2_mount(hybrid),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
        assert_eq!(
            cgroup2_mount(unified),
            Some(PathBuf::from("/sys/fs/cgroup"))
        );
    }

    #[test]
    fn passes_over_other_mounts() {
        assert_eq!(
            cgroup2_mount("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"),
            None
        );
        assert_eq!(cgroup2_mount("damaged"), None);
    }
}
