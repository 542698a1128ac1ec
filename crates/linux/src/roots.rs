//! What is root's own, as far as user space has to say it: folders of scripts, and the scripts that the
//! kernel asks for. See `crates/kernel/src/image/roots.rs`.

use std::fs;
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use abi::{CHAIN_LENGTH, EventTag, ProcessRecord, ScriptEvent, ScriptKey, Settings};
use policy::{Interpreter, Origin, ROOTS_FOLDERS, Word, word_of};

use crate::Error;
use crate::gate::Gate;
use crate::identity::{belongs_to_root, roots_all_the_way};
use crate::load::namespace;
use crate::procfs;
use crate::seed::look;

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

impl Gate {
    /// Tells the kernel who can write a script that it has asked for. Where others can, what runs it and
    /// what came of that is foreign from now on. Returns how many processes that are.
    ///
    /// # Errors
    ///
    /// When a map cannot be written.
    pub fn judge_script(&mut self, asked: &Asked, writer: Writer) -> Result<usize, Error> {
        let value = match writer {
            Writer::Root => abi::ROOTS_SCRIPT,
            Writer::Others => abi::SCRIPT_OF_OTHERS,
            Writer::Nobody => return Ok(0),
        };
        self.roots_scripts
            .insert(asked.key, value, 0)
            .map_err(|error| Error::failed("map roots_scripts", &error))?;
        if writer == Writer::Root {
            return Ok(0);
        }
        let running: Vec<(u32, ProcessRecord)> = self
            .processes()
            .filter_map(|(pid, record)| Some((pid, without_origin(&record, asked.pid)?)))
            .collect();
        for (pid, record) in &running {
            self.change_process(*pid, record)?;
        }
        Ok(running.len())
    }
}

/// The record of a process that is no service any more, because this process, from which it comes, runs a
/// script of others. None where nothing changes.
fn without_origin(record: &ProcessRecord, from: u32) -> Option<ProcessRecord> {
    if record.standing().origin != Origin::Service {
        return None;
    }
    let kept = &record.chain[..CHAIN_LENGTH.min(record.depth as usize)];
    let link = kept.iter().rev().find(|link| link.pid == from)?;
    Some(ProcessRecord {
        origin: Origin::Foreign as u8,
        rights: 0,
        culprit: link.program,
        culprit_pid: from,
        culprit_assumed: 0,
        ..*record
    })
}

/// Whether what a process runs is root's own, as the kernel sees it at an exec: see
/// `crates/kernel/src/image/roots.rs`. For processes that are older than the gate.
pub(crate) fn runs_roots(pid: u32, settings: &Settings) -> bool {
    acts_as_root(pid, settings)
        && is_roots_file(pid, "exe")
        && procfs::program_path(pid).is_some_and(|program| {
            let arguments = procfs::arguments(pid, ARGUMENTS_MAX);
            let words = arguments.iter().map(Vec::as_slice);
            let name = program.file_name().unwrap_or_default().as_bytes();
            match handed(name, words) {
                None | Some(Handed::Code) => true,
                Some(Handed::Input) => {
                    let input = fs::metadata(format!("/proc/{pid}/fd/0"));
                    input.is_ok_and(|input| !input.is_file()) || is_roots_file(pid, "fd/0")
                }
                Some(Handed::Script(path)) => writer(path) == Writer::Root,
                Some(Handed::Unknown) => false,
            }
        })
}

/// How much of a process's arguments is read.
const ARGUMENTS_MAX: u64 = 4096;

fn acts_as_root(pid: u32, settings: &Settings) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
        return false;
    };
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let is_root = users.is_some_and(|users| users.split_whitespace().all(|user| user == "0"));
    let process = pid.to_string();
    let is_in = |kind, number| namespace(&process, kind).is_ok_and(|found| found == number);
    is_root
        && is_in("user", settings.user_namespace)
        && is_in("pid_for_children", settings.process_namespace)
}

/// Whether root alone can write the file behind one of a process's links.
fn is_roots_file(pid: u32, link: &str) -> bool {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let path = folder.join(link);
    fs::metadata(&path).is_ok_and(|file| {
        let by_group = file.mode() & 0o020 != 0 && file.gid() != 0;
        file.is_file()
            && file.uid() == 0
            && file.mode() & 0o002 == 0
            && !by_group
            && look::is_users_mount(&folder, &path, &file) == Some(false)
    })
}

/// What an interpreter was handed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Handed<'a> {
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
fn handed<'a>(name: &[u8], mut words: impl Iterator<Item = &'a [u8]>) -> Option<Handed<'a>> {
    let family = Interpreter::named(policy::name_of(name));
    if family == Interpreter::None {
        return None;
    }
    // Its own name.
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
        let of = |name: &str, arguments: &'static str| {
            let words = arguments.as_bytes().split(|byte| *byte == 0);
            handed(name.as_bytes(), words)
        };
        let script = |path: &'static str| Some(Handed::Script(Path::new(path)));
        assert_eq!(of("cron", "cron\0-f"), None);
        assert_eq!(of("dash", "/bin/sh\0-c\0true"), Some(Handed::Code));
        assert_eq!(of("bash", "-bash"), Some(Handed::Input));
        assert_eq!(
            of(
                "python3.11",
                "/usr/bin/python3\0/usr/bin/fail2ban-server\0-xf\0start"
            ),
            script("/usr/bin/fail2ban-server")
        );
        assert_eq!(of("perl", "perl\0-w\0./x"), script("./x"));
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
