//! What is root's own, as far as user space has to say it: folders of scripts, and the scripts that the
//! kernel asks for. See `crates/kernel/src/image/roots.rs`.

use std::fs;
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use abi::{EventTag, ScriptEvent, ScriptKey};
use policy::{Interpreter, ROOTS_FOLDERS, Word, word_of};

use crate::identity::{belongs_to_root, roots_all_the_way};

/// The beginning of the paths under which RPM runs the scripts of packages, in a folder where everybody may
/// make files. Root's own cannot be replaced there.
const OF_RPM: &str = "/var/tmp/rpm-tmp";
/// As many arguments as the kernel looks at.
const WORDS_MAX: usize = 24;

/// Bit `n` is set where root alone can write to the folder with that number, and everywhere above it.
pub(crate) fn folders() -> u32 {
    let is_roots = |folder: &[u8]| {
        let folder = Path::new(std::ffi::OsStr::from_bytes(folder));
        if folder == Path::new(OF_RPM) {
            return is_shared(Path::new("/var/tmp"));
        }
        roots_all_the_way(folder)
    };
    ROOTS_FOLDERS
        .iter()
        .enumerate()
        .filter(|(_, folder)| is_roots(folder))
        .fold(0, |bits, (number, _)| bits | 1 << number)
}

/// Whether it is a folder of root's in which nobody removes what is another's.
fn is_shared(folder: &Path) -> bool {
    const STICKY: u32 = 0o1000;
    let parent = folder.parent().unwrap_or(folder);
    roots_all_the_way(parent)
        && fs::symlink_metadata(folder)
            .is_ok_and(|found| found.is_dir() && found.uid() == 0 && found.mode() & STICKY != 0)
}

/// Who can write a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// Root alone: the file, and each folder and link on the way to it.
    Root,
    /// Others too.
    Others,
    /// It is not there any more.
    Nobody,
}

/// Looks who can write the script at this path.
pub fn writer(path: &Path) -> Writer {
    if fs::metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Writer::Nobody;
    }
    let is_roots = if path.as_os_str().as_bytes().starts_with(OF_RPM.as_bytes()) {
        path.parent().is_some_and(is_shared)
            && fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && belongs_to_root(&file))
    } else {
        roots_all_the_way(path)
    };
    if is_roots {
        Writer::Root
    } else {
        Writer::Others
    }
}

/// A request of the kernel's, to look at a script that root runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The process that runs it.
    pub pid: u32,
    /// Its path, as the caller wrote it.
    pub path: PathBuf,
    /// The same, as the kernel's map has it.
    pub(crate) key: [u8; size_of::<ScriptKey>()],
}

impl Asked {
    /// Reads a report. None when it is another one.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let event: ScriptEvent =
            bytemuck::pod_read_unaligned(bytes.get(..size_of::<ScriptEvent>())?);
        if event.header.tag != EventTag::Script as u32 {
            return None;
        }
        let end = event.path.iter().position(|byte| *byte == 0)?;
        Some(Self {
            pid: event.header.pid,
            path: PathBuf::from(std::ffi::OsStr::from_bytes(&event.path[..end])),
            key: event.path,
        })
    }
}

/// What an interpreter was handed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Handed<'a> {
    /// Code in an argument.
    Code,
    /// Nothing, so it reads standard input.
    Input,
    /// A script.
    Script(&'a Path),
    /// It cannot be told.
    Unknown,
}

/// What a program with this name was handed, by its arguments. None where it is no interpreter.
pub(crate) fn handed<'a>(name: &[u8], arguments: &'a [u8]) -> Option<Handed<'a>> {
    let family = Interpreter::named(policy::name_of(name));
    if family == Interpreter::None {
        return None;
    }
    let arguments = arguments.strip_suffix(b"\0").unwrap_or(arguments);
    let mut words = arguments.split(|byte| *byte == 0);
    words.next();
    let script = |word: &'a [u8]| Handed::Script(Path::new(std::ffi::OsStr::from_bytes(word)));
    for _ in 0..WORDS_MAX {
        let Some(word) = words.next() else {
            return Some(Handed::Input);
        };
        match word_of(family, policy::name_of(word)) {
            Word::Option => {}
            Word::Value => {
                words.next();
            }
            Word::Code => return Some(Handed::Code),
            Word::ScriptIsNext => return words.next().map(script),
            Word::Script => return Some(script(word)),
        }
    }
    Some(Handed::Unknown)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    #[test]
    fn who_can_write_a_script_is_seen_in_each_folder() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root, to make files of other users");
            return;
        }
        let folder = tempfile::Builder::new()
            .prefix("roots")
            .tempdir_in("/root")
            .unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(folder.path(), 0o755);
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        mode(&inner, 0o755);
        let script = inner.join("script");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        mode(&script, 0o755);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&script, &link).unwrap();
        assert_eq!(writer(&script), Writer::Root);
        assert_eq!(writer(&link), Writer::Root);
        mode(&script, 0o775);
        assert_eq!(writer(&script), Writer::Others);
        mode(&script, 0o755);
        mode(&inner, 0o777);
        assert_eq!(writer(&script), Writer::Others);
        mode(&inner, 0o755);
        chown(&script, Some(65534), None).unwrap();
        assert_eq!(writer(&link), Writer::Others);
        fs::remove_file(&script).unwrap();
        assert_eq!(writer(&script), Writer::Nobody);
        assert_eq!(writer(Path::new("script")), Writer::Nobody);
    }

    #[test]
    fn arguments_say_what_an_interpreter_is_handed() {
        let of =
            |name: &str, arguments: &'static str| handed(name.as_bytes(), arguments.as_bytes());
        let script = |path: &'static str| Some(Handed::Script(Path::new(path)));
        assert_eq!(of("cron", "cron\0-f\0"), None);
        assert_eq!(of("dash", "/bin/sh\0-c\0true\0"), Some(Handed::Code));
        assert_eq!(of("bash", "-bash\0"), Some(Handed::Input));
        assert_eq!(
            of(
                "python3.11",
                "/usr/bin/python3\0/usr/bin/fail2ban-server\0-xf\0start\0"
            ),
            script("/usr/bin/fail2ban-server")
        );
        assert_eq!(of("perl", "perl\0-w\0./x\0"), script("./x"));
    }

    #[test]
    fn the_machines_folders_are_roots() {
        let usr = ROOTS_FOLDERS.iter().position(|folder| *folder == b"/usr/");
        if roots_all_the_way(Path::new("/usr")) {
            assert_ne!(folders() >> usr.unwrap() & 1, 0);
        }
    }

    #[test]
    fn other_reports_are_passed_over() {
        assert_eq!(Asked::read(&[0; 200]), None);
        assert_eq!(Asked::read(&[8]), None);
    }
}
