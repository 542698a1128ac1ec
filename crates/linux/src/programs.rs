//! Names of programs by the index that events call them by.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use abi::{ProgramKey, ProgramPath};

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

/// Stands behind a path that need not be the machine's own.
const ELSEWHERE: &str = " (as another mount namespace calls it)";

/// Whether a name is that of a file as another mount namespace calls it.
pub fn is_named_elsewhere(name: &str) -> bool {
    name.ends_with(ELSEWHERE)
}

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
        out.push_str(ELSEWHERE);
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

fn walked(path: &ProgramPath) -> String {
    let filled = (path.filled as usize).min(path.parts.len());
    let mut out = String::new();
    if path.complete == 0 {
        // A file in no folder, or one too deep down to be walked up to the root.
        out.push_str(if filled < path.parts.len() {
            NO_FOLDER
        } else {
            "…"
        });
    }
    for part in path.parts[..filled].iter().rev() {
        out.push('/');
        out.push_str(&text(part));
        if part[part.len() - 2] != 0 {
            out.push('…');
        }
    }
    out
}

/// Cuts a path of the file system into the shape that the kernel side uses.
pub fn parts(path: &str) -> ProgramPath {
    let mut out: ProgramPath = bytemuck::Zeroable::zeroed();
    let mut names = path.split('/').filter(|name| !name.is_empty()).rev();
    for part in &mut out.parts {
        let Some(name) = names.next() else { break };
        let length = name.len().min(part.len() - 1);
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
        let deep = "/d".repeat(20);
        assert_eq!(display(&parts(&deep)), format!("…{}", "/d".repeat(12)));
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
        assert_eq!(display(&path), format!("/bin/x{ELSEWHERE}"));
        let mut memfd = parts("/memfd:x");
        (memfd.complete, memfd.elsewhere) = (0, 1);
        assert_eq!(display(&memfd), "(in no folder)/memfd:x");
    }
}
