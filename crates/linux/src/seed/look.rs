//! A look at a process that is older than the gate: does it run only its own program?
//!
//! The exec hook looks at arguments and environment before a program's first instruction. Here both
//! may have been rewritten since, by code that was loaded in between. What such code cannot rewrite is the
//! kernel's own list of mapped files. So all three are read, and what cannot be read counts against
//! the process.
//!
//! Memory that belongs to no file tells nothing about most programs: a compiler that works while the
//! program runs (JavaScript, closures of libffi) makes such memory too. It counts against programs that
//! have no use for it: shells, and mailers and submitters that have loaded no such compiler.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use policy::{
    ArgumentRules, Cause, Flaw, Kind, Readers, Role, Sign, Tamper, argument_sign, may_tamper,
    variable_sign,
};

use crate::folders::code_folders;
use crate::identity::{belongs_to_root, stamp};

/// Bytes that are read of the arguments and of the environment: what Linux lets a program have, as a
/// rule. The exec hook reads as much.
const TEXT_MAX: u64 = 2 << 20;
/// Bytes that are read of the list of mappings. A mail client with everything open has 1 MiB of them.
const MAPPINGS_MAX: u64 = 32 << 20;
/// Threads whose tracer is looked for.
const THREADS_MAX: usize = 4096;
const FUSE_MAGIC: u64 = 0x6573_5546;

/// Parts of the names of libraries that make code while they run.
const COMPILERS: [&str; 18] = [
    "libffi",
    "libpcre",
    "libmozjs",
    "libxul",
    "javascriptcore",
    "libLLVM",
    "liborc",
    "libQt",
    "libgallium",
    "libglapi",
    "libGL",
    "libluajit",
    "libv8",
    "libnode",
    "libjvm",
    "libmono",
    "libcoreclr",
    "libruby",
];

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The environment, as the exec hook does for this process, with what the program reads of it.
    pub environment: Option<Readers>,
    /// A bit for each of [`policy::CODE_FOLDERS`] that is root's.
    pub code_folders: u64,
    /// The arguments, as the exec hook does.
    pub arguments: ArgumentRules,
    /// The beginning of the program's name, as it is registered.
    pub name: [u8; 8],
    /// Memory that belongs to no file counts too.
    pub loose_code: bool,
}

impl Wanted {
    /// What of a process with this program, when it is a part of the machine or the user's own.
    pub fn of(role: Role, kind: Kind, name: [u8; 8], environment: bool, code_folders: u64) -> Self {
        let interactive = kind.is_interactive();
        // A script that sends is never known by what /proc says of it.
        let readers = Readers::of(role, kind, false);
        Self {
            environment: environment.then_some(readers),
            code_folders,
            arguments: ArgumentRules::of(role, kind),
            name,
            loose_code: match role {
                Role::Shell | Role::Submitter => true,
                Role::Mailer => !interactive,
                _ => false,
            },
        }
    }
}

/// Signs that a process does not run its own program only, and the first of them in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// The signs.
    pub tamper: Tamper,
    /// The variable or argument that was the first of them.
    pub cause: Sign,
    /// What people are told.
    pub why: Option<String>,
}

impl Signs {
    /// Of a process that could not be looked at.
    pub fn unreadable(what: &str) -> Self {
        let mut signs = Self::default();
        signs.add(Tamper::UNREADABLE, || format!("{what} could not be read"));
        signs
    }

    fn add_named(&mut self, sign: Sign, why: impl FnOnce(Option<Cause>) -> String) {
        self.cause = self.cause.with(sign);
        self.add(sign.tamper(), || why(sign.cause()));
    }

    fn add(&mut self, sign: Tamper, why: impl FnOnce() -> String) {
        self.tamper = self.tamper.with(sign);
        self.why.get_or_insert_with(why);
    }
}

/// Looks at a process.
pub fn look(pid: u32, wanted: Wanted) -> Signs {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let mut signs = Signs::default();
    let before = stamp(&folder.join("exe")).ok();
    if is_traced(&folder) {
        signs.add(Tamper::TRACED, || "another process traces it".to_owned());
    }
    if let Some(readers) = wanted.environment {
        match strings(&folder.join("environ")) {
            Some(environment) => {
                let sign = |variable: &[u8]| {
                    if may_tamper(halves(variable).0) {
                        variable_sign(variable, wanted.code_folders, readers.0)
                    } else {
                        Sign::NONE
                    }
                };
                if let Some((variable, sign)) = first_of(&environment, sign) {
                    signs.add_named(sign, |cause| in_environment(variable, cause));
                }
            }
            None => signs.add(Tamper::UNREADABLE, || {
                "its environment could not be read".to_owned()
            }),
        }
    }
    if wanted.arguments != ArgumentRules::None {
        let sign = |argument: &[u8]| {
            let (first, second) = halves(argument);
            argument_sign(wanted.arguments, wanted.name, first, second)
        };
        match strings(&folder.join("cmdline")) {
            Some(arguments) => {
                if let Some((argument, sign)) = first_of(&arguments, sign) {
                    signs.add_named(sign, |_| {
                        format!("it was started with {}", String::from_utf8_lossy(argument))
                    });
                }
            }
            None => signs.add(Tamper::UNREADABLE, || {
                "its arguments could not be read".to_owned()
            }),
        }
    }
    look_at_code(&folder, wanted, &mut signs);
    if before.is_none() || stamp(&folder.join("exe")).ok() != before {
        signs.add(Tamper::UNREADABLE, || {
            "it changed while it was looked at".to_owned()
        });
    }
    signs
}

/// The variables in a process's environment that would count as tampering with a desktop's program, as
/// `NAME=VALUE`. None when it cannot be read.
pub fn environment_signs(pid: u32) -> Vec<String> {
    let environment = strings(&PathBuf::from(format!("/proc/{pid}/environ")));
    let environment = environment.unwrap_or_default();
    let folders = code_folders().into();
    let readers = Readers::of(Role::Launcher, Kind::Interactive, false);
    let mut found: Vec<String> = Vec::new();
    for variable in environment.split(|byte| *byte == 0) {
        if variable_sign(variable, folders, readers.0) != Sign::NONE {
            found.push(String::from_utf8_lossy(variable).into_owned());
        }
    }
    found
}

/// Whether a process traces any of its threads.
fn is_traced(folder: &Path) -> bool {
    let Ok(threads) = fs::read_dir(folder.join("task")) else {
        return true;
    };
    threads.flatten().take(THREADS_MAX).any(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let tracer = status
            .lines()
            .find_map(|line| line.strip_prefix("TracerPid:"));
        tracer.is_some_and(|tracer| tracer.trim() != "0")
    })
}

/// What a file of strings in /proc holds; none when it cannot be read to its end.
fn strings(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(TEXT_MAX + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= TEXT_MAX).then_some(bytes)
}

/// The first of the strings that is a sign, and which.
fn first_of(strings: &[u8], sign: impl Fn(&[u8]) -> Sign) -> Option<(&[u8], Sign)> {
    strings
        .split(|byte| *byte == 0)
        .map(|string| (string, sign(string)))
        .find(|(_, sign)| *sign != Sign::NONE)
}

/// What people are told of a variable.
fn in_environment(variable: &[u8], cause: Option<Cause>) -> String {
    let name = variable.split(|byte| *byte == b'=').next();
    let name = String::from_utf8_lossy(name.unwrap_or_default());
    let what = match cause.map(|cause| cause.flaw) {
        Some(Flaw::UsersPath) => "to a path that a user can write",
        Some(Flaw::CurrentFolder) => "to a path that depends on the current folder",
        Some(Flaw::PathForName) => "to a path instead of a name",
        Some(Flaw::Option) => "to an option that runs other code",
        _ => return format!("{name} is set in its environment"),
    };
    format!("{name} is set {what} in its environment")
}

/// The first and the second eight bytes of a string, filled up with zero bytes.
fn halves(string: &[u8]) -> ([u8; 8], [u8; 8]) {
    let (mut first, mut second) = ([0; 8], [0; 8]);
    for (slot, byte) in first.iter_mut().chain(&mut second).zip(string) {
        *slot = *byte;
    }
    (first, second)
}

/// One executable mapping, as /proc/PID/maps has it.
#[derive(Debug, PartialEq, Eq)]
struct Mapping<'a> {
    range: &'a OsStr,
    device: &'a [u8],
    inode: u64,
    path: &'a OsStr,
}

impl<'a> Mapping<'a> {
    /// Reads a line: range, access, offset, device, inode, path. None when it is not executable.
    fn read(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.splitn(6, |byte| *byte == b' ');
        let range = OsStr::from_bytes(fields.next()?);
        let access = fields.next()?;
        let device = fields.nth(1)?;
        let inode = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let path = fields.next().unwrap_or_default();
        let path = OsStr::from_bytes(path.trim_ascii_start());
        (access.get(2) == Some(&b'x')).then_some(Self {
            range,
            device,
            inode,
            path,
        })
    }

    /// Memory of no file. The kernel names its own parts (`[vdso]`), and a stack that old programs
    /// have executable.
    fn is_loose(&self) -> bool {
        self.inode == 0
            && !self.path.as_bytes().starts_with(b"[v")
            && self.path != "[stack]"
            && self.path != "[uprobes]"
    }
}

/// The first file of others than root that a process runs code of. An error where that cannot be read.
pub fn loaded_code(pid: u32) -> Result<Option<PathBuf>, &'static str> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let text = mappings(&folder).ok_or("the list of its files could not be read")?;
    let own = users_folder(&folder);
    let exe = fs::metadata(folder.join("exe")).map(|exe| exe.ino());
    let mut seen = HashSet::new();
    for mapping in text.split(|byte| *byte == b'\n').filter_map(Mapping::read) {
        let path = Path::new(mapping.path);
        let is_new = mapping.inode != 0 && seen.insert((mapping.device, mapping.inode));
        // Its own program has been looked at when it was started.
        let is_own = own.as_ref().is_some_and(|own| path.starts_with(own))
            || exe.as_ref().is_ok_and(|exe| *exe == mapping.inode)
                && fs::read_link(folder.join("exe")).is_ok_and(|exe| exe == path);
        if is_new && !is_own && matches!(whose(&folder, &mapping), Whose::Others) {
            return Ok(Some(path.to_owned()));
        }
    }
    Ok(None)
}

/// The list of mappings as /proc has it. None when it cannot be read to its end; a process with a
/// program has at least that program's own code.
fn mappings(folder: &Path) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let file = File::open(folder.join("maps")).ok()?;
    file.take(MAPPINGS_MAX).read_to_end(&mut text).ok()?;
    (!text.is_empty() && (text.len() as u64) < MAPPINGS_MAX).then_some(text)
}

fn look_at_code(folder: &Path, wanted: Wanted, signs: &mut Signs) {
    let text = mappings(folder).unwrap_or_default();
    let mappings: Vec<_> = text
        .split(|byte| *byte == b'\n')
        .filter_map(Mapping::read)
        .collect();
    if mappings.is_empty() {
        return signs.add(Tamper::UNREADABLE, || {
            "the list of its files could not be read".to_owned()
        });
    }
    let own = users_folder(folder);
    let mut is_loose = false;
    // A program may have many pieces of one file.
    let mut seen = HashSet::new();
    for mapping in &mappings {
        if mapping.inode == 0 {
            is_loose |= mapping.is_loose();
            continue;
        }
        if !seen.insert((mapping.device, mapping.inode, mapping.path)) {
            continue;
        }
        match whose(folder, mapping) {
            Whose::Roots => {}
            Whose::Memory => is_loose = true,
            Whose::Others
                if own
                    .as_ref()
                    .is_some_and(|own| Path::new(mapping.path).starts_with(own)) => {}
            Whose::Others => signs.add(Tamper::LOADED_CODE, || {
                let path = mapping.path.to_string_lossy();
                format!("it has loaded {path}, which others than root can write")
            }),
            Whose::Unknown => signs.add(Tamper::UNREADABLE, || {
                format!(
                    "{}, which it has loaded, could not be read",
                    mapping.path.to_string_lossy()
                )
            }),
        }
    }
    let compiles = |mapping: &Mapping<'_>| {
        let path = mapping.path.to_string_lossy();
        COMPILERS.iter().any(|part| path.contains(part))
    };
    if is_loose && wanted.loose_code && !mappings.iter().any(compiles) {
        signs.add(Tamper::LOADED_CODE, || {
            "it runs code that belongs to no file".to_owned()
        });
    }
}

/// The folder of a program that users can write to, which has been registered all the same. What
/// lies beside such a program is as trustworthy as the program.
fn users_folder(folder: &Path) -> Option<PathBuf> {
    let exe = folder.join("exe");
    let is_roots = belongs_to_root(&fs::metadata(&exe).ok()?);
    let path = fs::read_link(&exe).ok()?;
    let parent = path
        .parent()
        .filter(|parent| parent.components().count() > 2);
    parent.filter(|_| !is_roots).map(Path::to_owned)
}

/// Who can have written the code in a mapping.
enum Whose {
    /// Root alone.
    Roots,
    /// The process itself, while it ran.
    Memory,
    /// Users.
    Others,
    /// It cannot be told.
    Unknown,
}

fn whose(folder: &Path, mapping: &Mapping<'_>) -> Whose {
    let link = folder.join("map_files").join(trimmed(mapping.range));
    // This reaches the very file that is mapped, also when an upgrade has put another one in its place.
    let (path, metadata) = match fs::metadata(&link) {
        Ok(metadata) => (link, metadata),
        Err(_) => match beside(folder, mapping) {
            Some(found) => found,
            None => return Whose::Unknown,
        },
    };
    // A device's memory holds no code of a program's.
    if !metadata.is_file() {
        return Whose::Memory;
    }
    if belongs_to_root(&metadata) {
        match is_users_mount(folder, &path, &metadata) {
            Some(false) => return Whose::Roots,
            Some(true) => {}
            None => return Whose::Unknown,
        }
    }
    // What a compiler makes while a program runs lies in files without a name: memfd, shared memory,
    // or files in /tmp that are removed at once. It does not begin as a library does.
    if metadata.nlink() == 0 && !begins_as_a_program(&path) {
        return Whose::Memory;
    }
    Whose::Others
}

/// Whether a file lies on a FUSE file system that a user has mounted: that user says whose its files
/// are. Those that root has mounted, the file system of a virtual machine among them, are root's.
/// None when the process has ended meanwhile: a mailer that has sent its mail ends soon.
pub(crate) fn is_users_mount(folder: &Path, path: &Path, metadata: &Metadata) -> Option<bool> {
    let is_fuse = rustix::fs::statfs(path)
        .map_or(true, |system| u64::from(system.f_type as u32) == FUSE_MAGIC);
    if !is_fuse {
        return Some(false);
    }
    let device = metadata.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let mounts = fs::read_to_string(folder.join("mountinfo")).ok()?;
    Some(!is_roots_fuse(&mounts, &format!("{major}:{minor}")))
}

/// Whether root has mounted the FUSE file system with this device, by the process's list of mounts.
fn is_roots_fuse(mounts: &str, device: &str) -> bool {
    let line = mounts
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(device));
    // The options of the file system are the last field.
    let options = line.and_then(|line| line.split(" - ").nth(1)?.split(' ').nth(2));
    options.is_some_and(|options| {
        options.split(',').all(|option| {
            option
                .strip_prefix("user_id=")
                .is_none_or(|user| user == "0")
        })
    })
}

/// The file where the process sees it, for machines that do not let root use `map_files`. Only when
/// it is still the same one.
fn beside(folder: &Path, mapping: &Mapping<'_>) -> Option<(PathBuf, Metadata)> {
    let below = Path::new(mapping.path).strip_prefix("/").ok()?;
    let path = folder.join("root").join(below);
    let metadata = fs::metadata(&path).ok()?;
    (metadata.ino() == mapping.inode).then_some((path, metadata))
}

/// Whether a file begins as ELF does. One that cannot be read may.
fn begins_as_a_program(path: &Path) -> bool {
    let mut magic = [0; 4];
    match File::open(path).and_then(|mut file| file.read_exact(&mut magic)) {
        Ok(()) => &magic == b"\x7fELF",
        Err(error) => error.kind() != std::io::ErrorKind::UnexpectedEof,
    }
}

/// A range as `map_files` names it: without zeros at the front, which `maps` writes.
fn trimmed(range: &OsStr) -> PathBuf {
    let text = range.to_string_lossy();
    let number = |text: &str| {
        let short = text.trim_start_matches('0');
        if short.is_empty() {
            "0".to_owned()
        } else {
            short.to_owned()
        }
    };
    match text.split_once('-') {
        Some((begin, end)) => format!("{}-{}", number(begin), number(end)).into(),
        None => text.into_owned().into(),
    }
}

#[cfg(test)]
mod tests;
