//! The registered programs on disk: one file, `programs.json`, that root alone writes.
//!
//! It lies in the state folder, where the watcher may make files of its own, so it is taken
//! only when it is root's, a plain file and nobody else's by another name. What is not taken
//! is said, and counts as no registration at all: nobody may send then. It is never written
//! over either, so that nothing is lost by it.

mod older;

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, fsync, openat, renameat, unlinkat};
use serde::{Deserialize, Serialize};

use crate::paths::Paths;

pub use older::carry_over_main;

/// Its name in the state folder.
pub const FILE: &str = "programs.json";
/// Until it is whole, it has this name.
const UNFINISHED: &str = "programs.json.new";
/// More than any table of registrations needs.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The format that this program writes.
const FORMAT: u32 = 1;
/// How often it is tried to get the lock, and how long in between.
const LOCK_TRIES: u32 = 40;
const LOCK_EVERY: Duration = Duration::from_millis(50);

/// A registered program, as it was identified when it was registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// Absolute path.
    pub path: String,
    /// The word of its role.
    pub role: String,
    /// The word of its kind.
    pub kind: String,
    /// It is a `#!` script.
    pub script: bool,
    /// Device, in the kernel's own encoding (major << 20 | minor).
    pub device: u32,
    /// Inode number.
    pub inode: u64,
    /// Change time of the inode, nanoseconds since 1970.
    pub changed_ns: u64,
    /// SHA-256 of its content, in hexadecimal digits.
    pub sha256: String,
    /// It and every folder above it belong to root and only root may write there.
    pub root_owned: bool,
    /// When it was registered, nanoseconds since 1970.
    pub registered_ns: u64,
    /// It runs or sends whatever it is told, and `--force` registered it all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    format: u32,
    programs: Vec<Stored>,
}

/// What was found on disk.
#[derive(Debug)]
pub struct Found {
    /// The programs.
    pub programs: Vec<Stored>,
    /// What people have to know of it.
    pub said: Vec<String>,
}

/// The file, and the folder that it lies in.
#[derive(Debug)]
pub struct Store {
    folder: File,
    path: PathBuf,
    /// Why the file that is there was not taken.
    refused: Option<String>,
    /// The disk did not take what was to be written last.
    unsaved: bool,
}

impl Store {
    /// Opens the folder, which is made when it is missing, and reads what is registered.
    /// Registrations of a version that kept them in the journal are carried over, once.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made, or is not root's. What is wrong with the file is no
    /// error: see [`Found::said`].
    pub fn open(paths: &Paths) -> Result<(Self, Found)> {
        let mut store = Self {
            folder: folder(&paths.state)?,
            path: paths.state.join(FILE),
            refused: None,
            unsaved: false,
        };
        lock(&store.folder);
        let mut found = Found {
            programs: Vec::new(),
            said: Vec::new(),
        };
        match store.read() {
            Ok(Some(programs)) => found.programs = programs,
            Ok(None) => store.take_older(paths, &mut found),
            Err(error) => {
                let said = format!("{}: {error:#}", store.path.display());
                found.said.push(format!(
                    "the registered programs are not taken, nobody may send: {said}"
                ));
                store.refused = Some(said);
            }
        }
        Ok((store, found))
    }

    /// Lets other commands register, while this process goes on. From now on they ask it.
    pub fn share(&self) {
        let _ = flock(&self.folder, FlockOperation::Unlock);
    }

    /// Writes all registrations, in one step: there is always a whole file.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or a file lies there that was not taken.
    pub fn save(&mut self, programs: &[Stored]) -> Result<()> {
        if let Some(refused) = &self.refused {
            bail!("{refused}; move it away, restart the daemon and try again");
        }
        let content = Content {
            format: FORMAT,
            programs: programs.to_vec(),
        };
        let written = self.write(&serde_json::to_vec(&content)?);
        self.unsaved = written.is_err();
        written.with_context(|| format!("{}: cannot be written", self.path.display()))
    }

    /// Whether what was to be written last has not been, because the disk was full or
    /// read-only.
    pub fn is_unsaved(&self) -> bool {
        self.unsaved
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a file is there that was not taken, so that nothing counts as registered.
    pub const fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// The state folder.
    pub fn folder(&self) -> &File {
        &self.folder
    }

    fn take_older(&mut self, paths: &Paths, found: &mut Found) {
        match older::carry_over(&self.folder, &paths.journal) {
            // From now on there is a file of root's, and nobody else can put one there.
            Ok(None) => drop(self.save(&[])),
            Ok(Some(carried)) => {
                if let Some(aside) = &carried.set_aside {
                    found.said.push(format!(
                        "the journal was damaged: it was set aside as {} and a new one begun",
                        aside.display()
                    ));
                }
                found.programs = carried.programs;
                let count = found.programs.len();
                found.said.push(match self.save(&found.programs) {
                    Ok(()) => format!(
                        "{count} registered programs were carried over from the journal to {}",
                        self.path.display()
                    ),
                    Err(error) => format!(
                        "{count} registered programs of the journal could not be carried over yet: {error:#}"
                    ),
                });
            }
            Err(error) => found.said.push(format!(
                "what the journal has of registered programs could not be carried over: {error:#}"
            )),
        }
    }

    /// None when there is no file.
    fn read(&self) -> Result<Option<Vec<Stored>>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.folder, FILE, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(rustix::io::Errno::LOOP) => bail!("is a link, expected a file of root's"),
            Err(error) => return Err(error).context("cannot be opened"),
        };
        let about = file.metadata().context("cannot be read")?;
        if !about.is_file() || about.uid() != 0 || about.nlink() != 1 || about.mode() & 0o022 != 0 {
            bail!("expected a plain file of root's that nobody else may write");
        }
        if about.len() > FILE_BYTES_MAX {
            bail!("is longer than {FILE_BYTES_MAX} bytes");
        }
        let mut text = Vec::new();
        file.take(FILE_BYTES_MAX)
            .read_to_end(&mut text)
            .context("cannot be read")?;
        let content: Content = serde_json::from_slice(&text).context("is damaged or newer")?;
        if content.format != FORMAT {
            bail!(
                "has format {}, and this program knows {FORMAT}",
                content.format
            );
        }
        Ok(Some(content.programs))
    }

    fn write(&self, text: &[u8]) -> std::io::Result<()> {
        // What lies there is from an attempt that was cut off, or it is somebody's trap.
        match unlinkat(&self.folder, UNFINISHED, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let written = openat(&self.folder, UNFINISHED, flags, Mode::RUSR | Mode::WUSR)
            .map_err(std::io::Error::from)
            .and_then(|file| {
                let mut file = File::from(file);
                file.write_all(text)?;
                file.sync_all()?;
                renameat(&self.folder, UNFINISHED, &self.folder, FILE)?;
                Ok(())
            });
        if written.is_err() {
            let _ = unlinkat(&self.folder, UNFINISHED, AtFlags::empty());
        }
        written?;
        // After a power cut the old file may be back, and never half of one.
        let _ = fsync(&self.folder);
        Ok(())
    }
}

/// Commands that register wait for each other, and not for ever: whoever holds the lock may be
/// stuck, and where the file system has none it is done without.
fn lock(folder: &File) {
    for _ in 0..LOCK_TRIES {
        match flock(folder, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(LOCK_EVERY),
            _ => return,
        }
    }
}

/// Reads what is registered and changes nothing: for commands that only show it.
///
/// # Errors
///
/// What is wrong with the file.
pub fn peek(paths: &Paths) -> Result<Vec<Stored>> {
    let folder = match File::open(&paths.state) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| paths.state.display().to_string())?,
    };
    let store = Store {
        folder,
        path: paths.state.join(FILE),
        refused: None,
        unsaved: false,
    };
    let programs = store
        .read()
        .with_context(|| store.path.display().to_string())?;
    Ok(programs.unwrap_or_default())
}

/// Opens the state folder, and makes it when it is missing.
///
/// # Errors
///
/// When it cannot be made, or is not root's.
pub fn folder(path: &Path) -> Result<File> {
    use std::os::unix::fs::DirBuilderExt as _;
    let shown = path.display();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("{shown}: cannot be made"))?;
    let folder = File::open(path).with_context(|| format!("{shown}: cannot be opened"))?;
    let about = folder
        .metadata()
        .with_context(|| format!("{shown}: cannot be read"))?;
    // With the sticky bit, those who may write there cannot touch root's files.
    if about.uid() != 0 || (about.mode() & 0o022 != 0 && about.mode() & 0o1000 == 0) {
        bail!("{shown}: expected a folder of root's that others may not write");
    }
    Ok(folder)
}

#[cfg(test)]
mod tests;
