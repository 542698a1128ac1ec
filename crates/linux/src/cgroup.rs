//! The cgroup that the gate guards.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::{Error, mounts};

/// A cgroup v2 folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// The folder.
    pub path: PathBuf,
    /// Its id: the inode number of the folder.
    pub id: u64,
    /// How deep it lies in the hierarchy; the root is 0.
    pub level: u32,
}

impl Cgroup {
    /// The root of the hierarchy: everything on the machine.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] without cgroup v2.
    pub fn root() -> Result<Self, Error> {
        let root = mounts::cgroup_root()?;
        Self::at(&root)
    }

    /// The cgroup at a folder.
    ///
    /// # Errors
    ///
    /// When the folder is none of the cgroup v2 hierarchy.
    pub fn at(path: &Path) -> Result<Self, Error> {
        let root = mounts::cgroup_root()?;
        let path = path.canonicalize().map_err(Error::file(path))?;
        let below = path.strip_prefix(&root).map_err(|_| {
            Error::Failed(format!(
                "{}: not a cgroup v2 folder (expected one below {})",
                path.display(),
                root.display()
            ))
        })?;
        let found = path.metadata().map_err(Error::file(&path))?;
        if !found.is_dir() {
            return Err(Error::Failed(format!(
                "{}: not a cgroup folder",
                path.display()
            )));
        }
        Ok(Self {
            id: found.ino(),
            level: below.components().count() as u32,
            path,
        })
    }

    /// Opens the folder, for attaching.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn open(&self) -> Result<File, Error> {
        File::open(&self.path).map_err(Error::file(&self.path))
    }

    /// Whether the process is in this cgroup or below.
    pub fn holds(&self, pid: u32) -> bool {
        if self.level == 0 {
            return true;
        }
        let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/cgroup")) else {
            return false;
        };
        let Ok(root) = mounts::cgroup_root() else {
            return false;
        };
        // "0::/path" is the line of the v2 hierarchy.
        text.lines()
            .find_map(|line| line.strip_prefix("0::/"))
            .is_some_and(|below| root.join(below).starts_with(&self.path))
    }
}
