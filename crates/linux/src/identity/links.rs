//! The links among the folders of programs, by which a script may be started: `x-terminal-emulator` and
//! its like lead over `/etc/alternatives` to a script of root's.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const FOLDERS: [&str; 7] = [
    "/etc/alternatives",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/bin",
    "/usr/sbin",
    "/bin",
    "/sbin",
];
/// How many links may lead from one to the next: the kernel's own limit.
const LINKS_MAX: usize = 40;

/// When the folders had changed last, and each of their links with what it names.
type Seen = (Vec<u64>, Vec<(PathBuf, PathBuf)>);

/// Every link in those folders that leads to `file`, over others of them perhaps. Whose they are, the
/// caller asks.
pub(super) fn to(file: &Path) -> Vec<PathBuf> {
    // Many scripts are looked at one after the other, and the folders have thousands of names.
    static SEEN: Mutex<Option<Seen>> = Mutex::new(None);
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let times: Vec<u64> = FOLDERS.iter().map(|folder| changed(folder)).collect();
    if seen.as_ref().is_none_or(|(then, _)| *then != times) {
        *seen = Some((
            times,
            FOLDERS.iter().flat_map(|folder| links_in(folder)).collect(),
        ));
    }
    let links = seen.as_ref().map_or(&[][..], |(_, links)| links.as_slice());
    leading_to(file, links)
}

fn leading_to(file: &Path, links: &[(PathBuf, PathBuf)]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for _ in 0..LINKS_MAX {
        let leads = |target: &Path| target == file || found.iter().any(|link| link == target);
        let more: Vec<PathBuf> = links
            .iter()
            .filter(|(link, target)| leads(target) && !found.contains(link) && link != file)
            .map(|(link, _)| link.clone())
            .collect();
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    found
}

fn changed(folder: &str) -> u64 {
    fs::metadata(folder).map_or(0, |about| super::changed_ns(&about))
}

fn links_in(folder: &str) -> Vec<(PathBuf, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()))
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            Some((entry.path(), plain(&Path::new(folder).join(target))))
        })
        .collect()
}

/// The path without `..`, by its text: these folders are no links themselves, or lead to one another.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_from_one_to_the_next() {
        let link = |from: &str, to: &str| (PathBuf::from(from), plain(Path::new(to)));
        let links = [
            link(
                "/usr/bin/x-terminal-emulator",
                "/etc/alternatives/x-terminal-emulator",
            ),
            link(
                "/etc/alternatives/x-terminal-emulator",
                "/usr/bin/../bin/xterm.wrapper",
            ),
            link("/usr/bin/other", "/usr/bin/else"),
            link("/usr/bin/round", "/usr/bin/around"),
            link("/usr/bin/around", "/usr/bin/round"),
        ];
        assert_eq!(
            leading_to(Path::new("/usr/bin/xterm.wrapper"), &links),
            [
                "/etc/alternatives/x-terminal-emulator",
                "/usr/bin/x-terminal-emulator"
            ]
            .map(PathBuf::from)
        );
        assert_eq!(
            leading_to(Path::new("/usr/bin/round"), &links),
            [PathBuf::from("/usr/bin/around")]
        );
    }
}
