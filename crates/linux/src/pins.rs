//! Where the gate is pinned, so that it outlives every process of ours.
//!
//! ```text
//! BASE/maps-1/settings …          maps of layout 1
//! BASE/links-3f2a9c01d4e5/…       links of the object with that hash
//! ```
//!
//! A gate is adopted only when it is whole: all maps of our layout and all links of our
//! object. Anything else is replaced, and removed only after the new one is attached.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::parts::Part;
use crate::{Error, mounts};

/// Maps that live on. The others are work space of one object.
pub const MAPS: [&str; 21] = [
    "settings",
    "processes",
    "threads",
    "registrations",
    "scripts",
    "roots_scripts",
    "programs",
    "programs_seen",
    "flows",
    "rates",
    "spoiled",
    "code",
    "code_seen",
    "last_spoiled",
    "counters",
    "events",
    "folds",
    "samplings",
    "greeted",
    "interests",
    "samples",
];

/// The pins of one gate.
#[derive(Clone, Debug)]
pub struct Pins {
    base: PathBuf,
    object: String,
}

impl Pins {
    /// The pins below `base` for the object with these bytes.
    pub fn new(base: impl Into<PathBuf>, object: &[u8]) -> Self {
        let hash = Sha256::digest(object);
        let object = hash
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            base: base.into(),
            object,
        }
    }

    /// The same for a gate of these programs of the object only. Another choice is another
    /// gate, so that one replaces the other without a gap.
    #[must_use]
    pub fn with_programs<'a>(mut self, programs: impl Iterator<Item = &'a Part>) -> Self {
        let mut hash = Sha256::new_with_prefix(&self.object);
        for part in programs {
            hash.update(part.name);
            hash.update(part.unless.unwrap_or_default());
        }
        self.object = hash
            .finalize()
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self
    }

    /// The folder that everything is below.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The folder of maps.
    pub fn maps(&self) -> PathBuf {
        self.base.join(format!("maps-{}", abi::LAYOUT))
    }

    /// The pin of one map.
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// The folder of links.
    pub fn links(&self) -> PathBuf {
        self.base.join(format!("links-{}", self.object))
    }

    /// The folders of links that are there. While one gate takes another's place, there are two.
    pub fn link_folders(&self) -> Vec<PathBuf> {
        let found = fs::read_dir(&self.base).into_iter().flatten().flatten();
        let is_links =
            |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("links-");
        found.filter(is_links).map(|entry| entry.path()).collect()
    }

    /// Where links are pinned until all of them are. A gate that was cut off while it was
    /// attached may still guard, so nothing is taken away before the new one is complete.
    /// (bpffs takes no dots in names.)
    pub fn unfinished_links(&self) -> PathBuf {
        self.base
            .join(format!("links-{}-{}", self.object, std::process::id()))
    }

    /// Makes the unfinished links the gate's.
    ///
    /// # Errors
    ///
    /// When the folder cannot be renamed.
    pub fn finish_links(&self) -> Result<(), Error> {
        remove(&self.links())?;
        fs::rename(self.unfinished_links(), self.links()).map_err(Error::file(self.links()))
    }

    /// Whether all maps are there.
    pub fn has_maps(&self) -> bool {
        MAPS.iter().all(|name| self.map(name).exists())
    }

    /// Whether a whole gate of this object is there, with the links of these parts or of better ones.
    pub fn is_whole<'a>(&self, mut parts: impl Iterator<Item = &'a Part>) -> bool {
        self.has_maps() && parts.all(|part| self.has(part))
    }

    /// Whether this part of the gate is attached, or one that does the same better.
    pub fn has(&self, part: &Part) -> bool {
        let is_there = |name: &str| self.links().join(name).exists();
        is_there(part.name) || part.unless.is_some_and(is_there)
    }

    /// Whether any gate is there, of whatever version.
    pub fn any_gate(&self) -> bool {
        self.strangers("").is_ok_and(|found| !found.is_empty())
    }

    /// Makes sure that the base is a folder on a bpffs; mounts one there when it is not.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made or the mount is refused.
    pub fn prepare(&self) -> Result<(), Error> {
        let base = &self.base;
        if base
            .parent()
            .is_some_and(|parent| parent.is_dir() && mounts::is_bpffs(parent))
        {
            fs::create_dir_all(base).map_err(Error::file(base))?;
            return private(base);
        }
        fs::create_dir_all(base)
            .map_err(Error::file(base))
            .or_else(|error| {
                // /sys/fs/bpf is an empty folder of sysfs until somebody mounts a bpffs on it.
                let parent = base
                    .parent()
                    .filter(|parent| *parent == Path::new("/sys/fs/bpf"))
                    .ok_or(error)?;
                mount_bpffs(parent)?;
                fs::create_dir_all(base).map_err(Error::file(base))
            })?;
        if !mounts::is_bpffs(base) {
            mount_bpffs(base)?;
        }
        private(base)
    }

    /// Removes maps and links that are not this gate's.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read or something cannot be removed.
    pub fn remove_strangers(&self) -> Result<(), Error> {
        for path in self.strangers(&self.object)? {
            remove(&path)?;
        }
        Ok(())
    }

    /// Removes what an attempt that failed has pinned.
    ///
    /// # Errors
    ///
    /// When something cannot be removed.
    pub fn remove_unfinished_links(&self) -> Result<(), Error> {
        remove(&self.unfinished_links())
    }

    /// Removes this gate's maps.
    ///
    /// # Errors
    ///
    /// When something cannot be removed.
    pub fn remove_maps(&self) -> Result<(), Error> {
        remove(&self.maps())
    }

    /// Removes every gate, of any version, and the folder. Mail ports are open afterwards.
    ///
    /// # Errors
    ///
    /// When something cannot be removed.
    pub fn remove_all(&self) -> Result<(), Error> {
        if !self.base.exists() {
            return Ok(());
        }
        for path in self.strangers("")? {
            remove(&path)?;
        }
        // A mount point of our own can stay busy; what matters is that it is empty.
        if self.is_mounted() && self.holds_nothing_else() {
            let _ = rustix::mount::unmount(&self.base, rustix::mount::UnmountFlags::NOFOLLOW);
        }
        let _ = fs::remove_dir(&self.base);
        Ok(())
    }

    /// Whether a bpffs is mounted on the base itself, as [`Pins::prepare`] does where its parent
    /// is on none.
    pub fn is_mounted(&self) -> bool {
        let device = |path: &Path| fs::metadata(path).map(|about| about.dev()).ok();
        mounts::is_bpffs(&self.base)
            && self
                .base
                .parent()
                .is_some_and(|parent| device(parent) != device(&self.base))
    }

    /// Nobody has pinned anything else there. The kernel keeps files of its own in a bpffs.
    fn holds_nothing_else(&self) -> bool {
        const KERNELS: [&str; 2] = ["maps.debug", "progs.debug"];
        fs::read_dir(&self.base).is_ok_and(|mut entries| {
            entries.all(|entry| {
                entry.is_ok_and(|entry| KERNELS.iter().any(|own| entry.file_name() == *own))
            })
        })
    }

    fn strangers(&self, object: &str) -> Result<Vec<PathBuf>, Error> {
        let own_links = format!("links-{object}");
        let own_maps = format!("maps-{}", abi::LAYOUT);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.base).map_err(Error::file(&self.base))? {
            let entry = entry.map_err(Error::file(&self.base))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = name.starts_with("links-") || name.starts_with("maps-");
            let keep = !object.is_empty() && (name == own_links || name == own_maps);
            if ours && !keep {
                found.push(entry.path());
            }
        }
        // Links first: a map must not go before the programs that guard with it.
        found.sort();
        Ok(found)
    }
}

fn private(base: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(base, fs::Permissions::from_mode(0o700)).map_err(Error::file(base))
}

fn mount_bpffs(at: &Path) -> Result<(), Error> {
    use rustix::mount::{MountFlags, mount};
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("bpf", at, "bpf", flags, c"mode=0700").map_err(|error| {
        Error::Unsupported(format!(
            "{}: a bpffs cannot be mounted there: {error}",
            at.display()
        ))
    })
}

fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::file(folder)(error)),
    }
}
