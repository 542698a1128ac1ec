//! What a path leads to: one executable file, by identity instead of by name.
//!
//! A binary is known to the gate by (device, inode, change time). A `#!` script is known by
//! its absolute path, because the file that the kernel runs then is the interpreter; so a
//! script is accepted only where nobody but root can put another file under that path.
//!
//! This module reads files and asks the kernel about them. It registers nothing and keeps
//! no state.

mod links;
mod moving;
mod script;
mod still;

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, openat2};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

pub use moving::moves_with_updates;

/// An executable file, as the registry keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Where it lies: absolute, symbolic links resolved.
    pub path: PathBuf,
    /// Device of its file system, in the kernel's own encoding (major << 20 | minor).
    pub device: u32,
    /// Inode number.
    pub inode: u64,
    /// Change time of the inode, in nanoseconds since 1970.
    pub changed_ns: u64,
    /// SHA-256 of its contents, in hexadecimal.
    pub sha256: String,
    /// The interpreter, when it is a `#!` script.
    pub script: Option<PathBuf>,
    /// The beginning of the name of that interpreter's file, when it is a shell that reads nothing but
    /// the script which it is handed; else zero.
    pub shell: [u8; 8],
    /// It, each folder up to the root, and its interpreter belong to root and nobody else
    /// may write to them.
    pub root_owned: bool,
    /// For a script: the other paths that callers may write for it, such as `/bin/x` for
    /// `/usr/bin/x` where `/bin` is a link. Empty for a binary.
    pub aliases: Vec<PathBuf>,
}

impl Program {
    /// Every path under which the kernel may be asked to run it, `path` first.
    pub fn spellings(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.path.as_path()).chain(self.aliases.iter().map(PathBuf::as_path))
    }

    /// The part that changes with every write, rename, link and change of owner.
    pub fn stamp(&self) -> Stamp {
        Stamp {
            device: self.device,
            inode: self.inode,
            changed_ns: self.changed_ns,
        }
    }
}

/// Which file it is, without its contents. Cheap to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Device of its file system, in the kernel's own encoding (major << 20 | minor).
    pub device: u32,
    /// Inode number.
    pub inode: u64,
    /// Change time of the inode, in nanoseconds since 1970.
    pub changed_ns: u64,
}

/// Why a path is no program that could be registered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing lies there.
    #[error("{path}: no such file")]
    Missing {
        /// The path.
        path: String,
    },
    /// It cannot be opened.
    #[error("{path}: not readable: {source}")]
    Unreadable {
        /// The path.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is there, but cannot be registered.
    #[error("{path}: {why}")]
    Unfit {
        /// The path.
        path: String,
        /// Why not.
        why: Unfit,
    },
}

/// What keeps a file from being registered.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A folder.
    #[error("is a folder, expected an executable file")]
    Folder,
    /// A device, a pipe, a socket.
    #[error("is not a regular file, expected an executable file")]
    Special,
    /// No execute bit.
    #[error("is not executable")]
    NotExecutable,
    /// Nothing in it.
    #[error("is empty, expected a program")]
    Empty,
    /// The kernel could not run it by itself.
    #[error("is neither a binary program (ELF) nor a script that begins with #!")]
    NoProgram,
    /// A script in a place where others could replace it.
    #[error(
        "is a script; a script can be registered only when it and all its folders belong to root \
         and nobody else can write to them: the kernel knows scripts by their path"
    )]
    ScriptNotRoots,
    /// A script whose interpreter could be replaced.
    #[error(
        "is a script whose interpreter {0} does not belong to root: whoever can replace that runs as the script"
    )]
    InterpreterNotRoots(String),
    /// A script whose interpreter is not there, or not a program.
    #[error("is a script whose interpreter {0} is missing or no binary program")]
    InterpreterUnfit(String),
    /// `#!/usr/bin/env`.
    #[error(
        "is a script that starts its interpreter through env, which takes it from PATH, and PATH is anybody's to set; \
         write the interpreter's own path in its first line"
    )]
    EnvScript,
    /// Its first line has a shell read files of the user first.
    #[error(
        "is a script whose first line has {0} read files of the user before the script, and what those say would \
         count as the script; let the line name sh or bash without -l and -i, or zsh and tcsh with -f"
    )]
    ReadsUsersFiles(String),
    /// Longer than the kernel's table takes.
    #[error("is a script with a path of {bytes} bytes; the gate keeps at most {most}")]
    PathTooLong {
        /// Its length.
        bytes: usize,
        /// The most that fits.
        most: usize,
    },
    /// Not UTF-8.
    #[error("has a path that is not valid UTF-8")]
    PathNotText,
    /// Written to while it was read.
    #[error("changed while it was being read; try again")]
    Changing,
    /// A program that users can write to, and some process can at this moment.
    #[error("is open for writing in some process; try again when that is done")]
    Written,
    /// A program that users can write to, and nobody can be kept from it.
    #[error("can be written to by users, and cannot be held still while it is read: {0}")]
    NotStill(String),
    /// A program that users can write to, where a change of it need not show.
    #[error(
        "can be written to by users, and lies on a file system ({0}) where not every change shows; \
         put it where only root can write to it, or on ext4, XFS, Btrfs or F2FS"
    )]
    Unseen(&'static str),
    /// A program that users can write to, and so long that reading it would hold others up.
    #[error("can be written to by users, and is longer than {most} MiB")]
    TooLong {
        /// The most that is read.
        most: u64,
    },
    /// A symbolic link that is not root's leads to it.
    #[error("is reached by a symbolic link that users can change")]
    Elsewhere,
    /// Removed while it was read, or out of reach of this root folder.
    #[error("has no path from here any more")]
    Unreachable,
}

impl Unfit {
    fn at(self, path: &Path) -> Error {
        Error::Unfit {
            path: shown(path),
            why: self,
        }
    }
}

/// Reads what `path` leads to. Symbolic links are followed: the file counts, not the link.
///
/// The file is opened once, and everything is asked of that one open file, so no exchange
/// of the file in between can mix two files into one identity.
pub fn identify(path: &Path) -> Result<Program, Error> {
    let (file, metadata) = open(path)?;
    read(path, &file, metadata)
}

/// The same of a file that is to be trusted from now on. If users can write to it, it is read while
/// nobody has it open for writing; every later change then shows in its change time.
pub fn identify_still(path: &Path) -> Result<Program, Error> {
    read_still(path, open(path)?)
}

/// The same of the file at a path that was registered. What lies there now counts, and no link
/// to a file elsewhere that somebody else than root has put there.
pub fn identify_again(path: &Path) -> Result<Program, Error> {
    read_still(path, open_again(path)?)
}

/// Which file `path` leads to, without reading its contents.
pub fn stamp(path: &Path) -> Result<Stamp, Error> {
    let (file, _) = open(path)?;
    stamp_of(&file).map_err(|source| unreadable(path, source))
}

/// Which file lies at a path that was registered; see [`identify_again`].
pub fn stamp_again(path: &Path) -> Result<Stamp, Error> {
    let (file, _) = open_again(path)?;
    stamp_of(&file).map_err(|source| unreadable(path, source))
}

/// Which folder `path` leads to.
pub(crate) fn folder(path: &Path) -> io::Result<Stamp> {
    stamp_of(&File::open(path)?)
}

/// Whether this file is the interpreter in the first line of the script at `path`.
pub fn is_interpreter(interpreter: &Stamp, path: &Path) -> bool {
    let file = |stamp: &Stamp| (stamp.device, stamp.inode);
    let mut head = Vec::new();
    let named = open(path).is_ok_and(|(opened, _)| {
        let read = opened.take(HEAD_BYTES as u64).read_to_end(&mut head);
        read.is_ok()
    });
    named
        && script::interpreter(&head)
            .and_then(|written| stamp(Path::new(OsStr::from_bytes(written))).ok())
            .is_some_and(|stamp| file(&stamp) == file(interpreter))
}

fn read_still(path: &Path, (file, metadata): (File, fs::Metadata)) -> Result<Program, Error> {
    if belongs_to_root(&metadata) {
        return read(path, &file, metadata);
    }
    let held = still::Held::hold(&file).map_err(|why| why.at(path))?;
    // What was written before it was held still counts.
    let metadata = file.metadata().map_err(|source| unreadable(path, source))?;
    let program = read(path, &file, metadata)?;
    held.let_clock_pass(program.changed_ns);
    Ok(program)
}

fn read(path: &Path, file: &File, before: fs::Metadata) -> Result<Program, Error> {
    let reached = path_of(file, &before).ok_or_else(|| Unfit::Unreachable.at(path))?;
    if reached.to_str().is_none() {
        return Err(Unfit::PathNotText.at(path));
    }

    let (head, sha256) = hash(file).map_err(|source| unreadable(path, source))?;
    let stamp = stamp_of(file).map_err(|source| unreadable(path, source))?;
    let after = file.metadata().map_err(|source| unreadable(path, source))?;
    let seen =
        |metadata: &fs::Metadata| (changed_ns(metadata), metadata.mtime_nsec(), metadata.len());
    if seen(&before) != seen(&after) || stamp.changed_ns != changed_ns(&before) {
        return Err(Unfit::Changing.at(path));
    }

    let script = script::interpreter(&head)
        .map(|written| PathBuf::from(OsString::from_vec(written.to_vec())));
    if script.is_none() && !head.starts_with(b"\x7fELF") {
        return Err(Unfit::NoProgram.at(path));
    }
    let mut root_owned = belongs_to_root(&after) && roots_all_the_way(&reached);
    let mut aliases = Vec::new();
    let mut shell = [0; 8];
    if let Some(interpreter) = &script {
        script::check(path, &reached, interpreter, root_owned)?;
        shell = script::check_shell(path, interpreter, script::options(&head))?;
        root_owned = true;
        aliases = script::aliases_of(&reached, path);
        aliases.extend(moving::name_inside(&reached));
    }
    Ok(Program {
        path: reached,
        device: stamp.device,
        inode: stamp.inode,
        changed_ns: stamp.changed_ns,
        sha256,
        script,
        shell,
        root_owned,
        aliases,
    })
}

/// Whether nobody but root can change which file `path` leads to: each folder on the way,
/// and each folder that a symbolic link on the way leads through, belongs to root and is
/// writable for nobody else. A world-writable folder with the sticky bit does not count:
/// anybody can create what is not there yet.
pub fn roots_all_the_way(path: &Path) -> bool {
    const LINKS_MAX: usize = 40; // The kernel's own limit.
    let mut links = 0;
    let mut done = PathBuf::from("/");
    let mut left: Vec<OsString> = components(path);
    left.reverse();
    if !path.is_absolute() || !fs::symlink_metadata(&done).is_ok_and(|root| belongs_to_root(&root))
    {
        return false;
    }
    while let Some(part) = left.pop() {
        if part == ".." {
            done.pop();
            continue;
        }
        done.push(&part);
        let Ok(metadata) = fs::symlink_metadata(&done) else {
            return false;
        };
        if metadata.is_symlink() {
            links += 1;
            let Ok(target) = fs::read_link(&done) else {
                return false;
            };
            if metadata.uid() != 0 || links > LINKS_MAX {
                return false;
            }
            done.pop();
            if target.is_absolute() {
                done = PathBuf::from("/");
            }
            left.extend(components(&target).into_iter().rev());
        } else if !belongs_to_root(&metadata) {
            return false;
        }
    }
    true
}

fn open(path: &Path) -> Result<(File, fs::Metadata), Error> {
    let opened = rustix::fs::open(path, OPEN_FLAGS, Mode::empty());
    check(path, opened.map_err(io::Error::from))
}

/// Opens the file at a registered path. A link in the way is followed only where root alone can
/// have put it there: anybody else could have a program of root's accepted under his own path.
fn open_again(path: &Path) -> Result<(File, fs::Metadata), Error> {
    if roots_all_the_way(path) {
        return open(path);
    }
    let no_links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let opened = openat2(CWD, path, OPEN_FLAGS, Mode::empty(), no_links);
    if matches!(opened, Err(Errno::LOOP)) {
        return Err(Unfit::Elsewhere.at(path));
    }
    check(path, opened.map_err(io::Error::from))
}

/// NONBLOCK: a pipe under this name must not hold the daemon up.
const OPEN_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// An open file that could be a program.
fn check(path: &Path, opened: io::Result<OwnedFd>) -> Result<(File, fs::Metadata), Error> {
    let file = opened
        .map(File::from)
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                Error::Missing { path: shown(path) }
            }
            _ => unreadable(path, source),
        })?;
    let metadata = file.metadata().map_err(|source| unreadable(path, source))?;
    if metadata.is_dir() {
        Err(Unfit::Folder.at(path))
    } else if !metadata.is_file() {
        Err(Unfit::Special.at(path))
    } else if metadata.mode() & 0o111 == 0 {
        Err(Unfit::NotExecutable.at(path))
    } else if metadata.len() == 0 {
        Err(Unfit::Empty.at(path))
    } else {
        Ok((file, metadata))
    }
}

/// The path of an open file as the kernel knows it, if the file is still there.
fn path_of(file: &File, metadata: &fs::Metadata) -> Option<PathBuf> {
    let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let there = fs::symlink_metadata(&path).ok()?;
    (path.is_absolute() && there.ino() == metadata.ino() && there.dev() == metadata.dev())
        .then_some(path)
}

/// The first bytes, where a `#!` line stands, and the SHA-256 of everything. It reads on from
/// where the file stands, so nothing may have been read from it before.
fn hash(mut file: &File) -> io::Result<(Vec<u8>, String)> {
    let mut hasher = Sha256::new();
    let mut head = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if head.len() < HEAD_BYTES {
            head.extend_from_slice(&buffer[..count.min(HEAD_BYTES - head.len())]);
        }
        hasher.update(&buffer[..count]);
    }
    let mut hex = String::with_capacity(64);
    for byte in hasher.finalize() {
        let _ = write!(hex, "{byte:02x}");
    }
    Ok((head, hex))
}

/// As much of a file as the kernel looks at to find a `#!` line.
const HEAD_BYTES: usize = 256;

fn stamp_of(file: &File) -> io::Result<Stamp> {
    let metadata = file.metadata()?;
    Ok(Stamp {
        device: device_of(file, &metadata),
        inode: metadata.ino(),
        changed_ns: changed_ns(&metadata),
    })
}

/// The device that the kernel programs see in `super_block.s_dev`.
///
/// `st_dev` is another number on file systems that invent a device for each subvolume or
/// layer (btrfs, some overlays). /proc/self/mountinfo shows the real one for each mount,
/// and statx says which mount the file was reached through.
fn device_of(file: &File, metadata: &fs::Metadata) -> u32 {
    let mount = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
        .ok()
        .filter(|answer| answer.stx_mask & StatxFlags::MNT_ID.bits() != 0)
        .map(|answer| answer.stx_mnt_id);
    mount
        .and_then(|mount| device_of_mount(&fs::read_to_string("/proc/self/mountinfo").ok()?, mount))
        .unwrap_or_else(|| {
            kernel_device(
                rustix::fs::major(metadata.dev()),
                rustix::fs::minor(metadata.dev()),
            )
        })
}

/// Finds `major:minor` of a mount: the third field of its line, which begins with its id.
fn device_of_mount(mountinfo: &str, mount: u64) -> Option<u32> {
    mountinfo.lines().find_map(|line| {
        let mut fields = line.split(' ');
        if fields.next()?.parse() != Ok(mount) {
            return None;
        }
        let (major, minor) = fields.nth(1)?.split_once(':')?;
        Some(kernel_device(major.parse().ok()?, minor.parse().ok()?))
    })
}

fn kernel_device(major: u32, minor: u32) -> u32 {
    (major << 20) | (minor & 0xf_ffff)
}

fn changed_ns(metadata: &fs::Metadata) -> u64 {
    let ns = i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
    u64::try_from(ns).unwrap_or(0)
}

/// Whether root owns a file or folder, and nobody else may write to it.
pub(crate) fn belongs_to_root(metadata: &fs::Metadata) -> bool {
    metadata.uid() == 0 && metadata.mode() & 0o022 == 0
}

fn components(path: &Path) -> Vec<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

fn unreadable(path: &Path, source: io::Error) -> Error {
    Error::Unreadable {
        path: shown(path),
        source,
    }
}

/// A path for a message: always one line.
fn shown(path: &Path) -> String {
    let text = String::from_utf8_lossy(path.as_os_str().as_bytes());
    text.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect()
            } else {
                vec![c]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
