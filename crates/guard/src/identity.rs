//! What a program is known by, and why a file cannot be registered. How a file is looked at is the
//! platform's: `linux::identity` does it on Linux.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

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

/// How the platform looks at a file.
pub type Look<'a> = &'a dyn Fn(&Path) -> Result<Program, Error>;

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
    /// Of the file at this path.
    pub fn at(self, path: &Path) -> Error {
        Error::Unfit {
            path: shown(path),
            why: self,
        }
    }
}

/// A path for a message: always one line.
pub fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
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

/// Whether two names lead to one file. Where the platform does not tell, what has the same contents
/// still counts as the same.
#[cfg(unix)]
pub(crate) fn is_one_file(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// As above.
#[cfg(not(unix))]
pub(crate) const fn is_one_file(_: &Metadata, _: &Metadata) -> bool {
    false
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A look that takes a file for what it is called, and its contents for their own sum.
    pub(crate) fn as_it_lies_there(path: &Path) -> Result<Program, Error> {
        let contents = std::fs::read(path).map_err(|source| Error::Unreadable {
            path: shown(path),
            source,
        })?;
        Ok(Program {
            path: path.to_owned(),
            device: 0,
            inode: 0,
            changed_ns: 0,
            sha256: format!("{contents:x?}"),
            script: None,
            shell: [0; 8],
            root_owned: true,
            aliases: Vec::new(),
        })
    }
}
