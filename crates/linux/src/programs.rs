//! Names of programs by the index that events call them by.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use abi::{PATH_END_PARTS, PATH_PARTS, ProgramKey, ProgramPath};
use engine::NAMED_ELSEWHERE;

use crate::identity::{self, Stamp};

/// How many names are kept. Past that all are dropped and asked for again as needed.
const NAMES_MAX: usize = 16_384;

/// The names known so far.
#[derive(Default)]
pub struct Programs {
    names: HashMap<u32, Arc<str>>,
}

impl Programs {
    /// The name under an index.
    pub fn name(&self, index: u32) -> Option<Arc<str>> {
        self.names.get(&index).cloned()
    }

    /// Keeps the name in a path.
    pub fn learn(&mut self, index: u32, path: &ProgramPath) {
        self.keep(index, display(path).into());
    }

    /// Keeps a name.
    pub fn keep(&mut self, index: u32, name: Arc<str>) {
        if self.names.len() >= NAMES_MAX {
            self.names.clear();
        }
        self.names.insert(index, name);
    }
}

/// Stands before the name of a file that lies in no folder.
const NO_FOLDER: &str = "(in no folder)";

/// A path as people write it. Of a script, the script's own, as it was called: a relative one
/// stays so.
pub fn display(path: &ProgramPath) -> String {
    let script = text(&path.script);
    let mut out = if script.is_empty() {
        walked(path)
    } else {
        script
    };
    if path.elsewhere != 0 && !out.starts_with(NO_FOLDER) {
        out.push_str(NAMED_ELSEWHERE);
    }
    out
}

/// The same of a program that is known by its key. A service with a mount namespace of its own mostly
/// calls a file as the machine does: where root alone can have put it there, the machine is asked.
pub fn display_here(key: &ProgramKey, mut path: ProgramPath) -> String {
    if path.elsewhere != 0 && key.script == 0 && path.complete != 0 {
        let name = walked(&path);
        let here = Path::new(&name);
        let is_it = |stamp: Stamp| {
            (stamp.device, stamp.inode, stamp.changed_ns) == (key.device, key.inode, key.changed_ns)
        };
        if identity::roots_all_the_way(here) && identity::stamp(here).is_ok_and(is_it) {
            path.elsewhere = 0;
        }
    }
    display(&path)
}

/// Stands for the folders in the middle of a deep path.
const FOLDERS_LEFT_OUT: &str = "/…";
/// The same when the name of one of them begins with a dot.
const HIDDEN_LEFT_OUT: &str = "/.…";

fn walked(path: &ProgramPath) -> String {
    let count = path.filled as usize;
    let mut out = String::new();
    if path.complete == 0 {
        // A file in no folder, or one too deep down to be walked up to the root.
        out.push_str(if count < abi::PATH_DEPTH_MAX {
            NO_FOLDER
        } else {
            "…"
        });
    }
    if path.complete == abi::BEGINNING_LOST {
        out.push('…');
    }
    let from = count.min(PATH_END_PARTS);
    let kept = from.max(count.saturating_sub(PATH_PARTS - PATH_END_PARTS));
    for number in (kept..count).rev() {
        push_name(&mut out, path, number);
    }
    if kept > from {
        out.push_str(if path.hidden == 0 {
            FOLDERS_LEFT_OUT
        } else {
            HIDDEN_LEFT_OUT
        });
    }
    for number in (0..from).rev() {
        push_name(&mut out, path, number);
    }
    out
}

/// One component, with a mark when it was cut.
fn push_name(out: &mut String, path: &ProgramPath, number: usize) {
    let part = &path.parts[ProgramPath::slot(number)];
    out.push('/');
    out.push_str(&text(part));
    if part[part.len() - 2] != 0 {
        out.push('…');
    }
}

/// Brings a path of the file system into the shape that the kernel side uses.
pub fn parts(path: &str) -> ProgramPath {
    let mut out: ProgramPath = bytemuck::Zeroable::zeroed();
    let mut names = path.split('/').filter(|name| !name.is_empty()).rev();
    for (number, name) in names.by_ref().take(abi::PATH_DEPTH_MAX).enumerate() {
        let part = &mut out.parts[ProgramPath::slot(number)];
        if number >= PATH_PARTS && part[0] == b'.' {
            out.hidden = 1;
        }
        let length = name.len().min(part.len() - 1);
        *part = [0; abi::PATH_PART_BYTES];
        part[..length].copy_from_slice(&name.as_bytes()[..length]);
        out.filled += 1;
    }
    out.complete = names.next().is_none().into();
    out
}

fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_the_way_there_and_back() {
        for path in ["/usr/bin/msmtp", "/a", "/home/a b/ü/x"] {
            assert_eq!(display(&parts(path)), path);
        }
    }

    #[test]
    fn what_was_cut_is_shown_as_cut() {
        let long = format!("/tmp/{}", "x".repeat(100));
        assert_eq!(display(&parts(&long)), format!("/tmp/{}…", "x".repeat(63)));
    }

    #[test]
    fn a_deep_path_keeps_its_beginning_and_its_end() {
        let twelve = format!("/tmp{}/bot", "/d".repeat(10));
        assert_eq!(display(&parts(&twelve)), twelve);
        for folders in [11, 12, 40, 2000] {
            let deep = format!("/tmp/a{}/z/bot", "/d".repeat(folders));
            let shown = format!("/tmp/a{}/…/d/d/z/bot", "/d".repeat(6));
            assert_eq!(display(&parts(&deep)), shown, "{folders}");
        }
        let hidden = format!("/home/u{}/.h{}/bot", "/d".repeat(9), "/d".repeat(9));
        assert_eq!(
            display(&parts(&hidden)),
            format!("/home/u{}/.…/d/d/d/bot", "/d".repeat(6))
        );
        let endless = "/d".repeat(abi::PATH_DEPTH_MAX + 1);
        assert!(display(&parts(&endless)).starts_with("…/d/d"));
    }

    #[test]
    fn a_script_is_called_by_its_own_name() {
        let mut path = parts("/usr/bin/perl");
        path.script[..14].copy_from_slice(b"/usr/bin/swaks");
        assert_eq!(display(&path), "/usr/bin/swaks");
        path.script = [0; abi::SCRIPT_PATH_BYTES];
        path.script[..13].copy_from_slice(b"usr/bin/swaks");
        assert_eq!(display(&path), "usr/bin/swaks");
    }

    #[test]
    fn what_another_namespace_says_is_shown_as_such() {
        let mut path = parts("/usr/bin/ssh");
        path.elsewhere = 1;
        let said = "/usr/bin/ssh (as another mount namespace calls it)";
        assert_eq!(display(&path), said);
        path.script[..6].copy_from_slice(b"/bin/x");
        assert_eq!(display(&path), format!("/bin/x{NAMED_ELSEWHERE}"));
        let mut memfd = parts("/memfd:x");
        (memfd.complete, memfd.elsewhere) = (0, 1);
        assert_eq!(display(&memfd), "(in no folder)/memfd:x");
    }
}
