//! Which file systems are mounted where: the cgroup hierarchy and bpffs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

const MOUNTINFO: &str = "/proc/self/mountinfo";
/// `BPF_FS_MAGIC` in `linux/magic.h`.
const BPFFS_MAGIC: u64 = 0xcafe_4a11;

/// One line of /proc/self/mountinfo (`man 5 proc_pid_mountinfo`), as far as it is used.
struct Mount {
    point: PathBuf,
    kind: String,
}

fn mounts() -> Result<Vec<Mount>, Error> {
    let text = fs::read_to_string(MOUNTINFO).map_err(Error::file(MOUNTINFO))?;
    Ok(text.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Mount> {
    let (front, back) = line.split_once(" - ")?;
    let mut fields = front.split(' ');
    let point = PathBuf::from(unescape(fields.nth(4)?));
    Some(Mount {
        point,
        kind: back.split(' ').next()?.to_owned(),
    })
}

/// Blanks and backslashes in paths are written as three octal digits.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let octal = (bytes[at] == b'\\')
            .then(|| bytes.get(at + 1..at + 4))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the cgroup v2 hierarchy is mounted: not always at /sys/fs/cgroup.
///
/// # Errors
///
/// [`Error::Unsupported`] when there is none, as on a machine with cgroup v1 only.
pub fn cgroup_root() -> Result<PathBuf, Error> {
    mounts()?.into_iter().find(|mount| mount.kind == "cgroup2").map(|mount| mount.point).ok_or_else(|| {
        Error::Unsupported(
            "no cgroup v2 hierarchy is mounted (the gate attaches to one; cgroup v1 alone is not enough)".to_owned(),
        )
    })
}

/// Whether `path` lies on a bpffs.
pub fn is_bpffs(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type as u64 == BPFFS_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_mount_table_are_read() {
        let mount = parse("36 35 98:1 / /mnt/a\\040b rw,noatime master:1 - ext4 /dev/root rw");
        let mount = mount.expect("a mount");
        assert_eq!(mount.point, Path::new("/mnt/a b"));
        assert_eq!(mount.kind, "ext4");
        assert!(parse("36 35 98:1").is_none());
    }
}
