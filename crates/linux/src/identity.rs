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

pub use guard::identity::{Error, Program, Stamp, Unfit};
pub use moving::moves_with_updates;

use guard::identity::shown;

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

#[cfg(test)]
mod tests;
