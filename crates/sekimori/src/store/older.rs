//! Registrations of an older version, which kept them in the journal.
//!
//! That file belongs to the watcher from now on, so it is believed only as long as it is still
//! root's, and only where no file of registrations exists. It is read by a process of its
//! own: the keeper stays small, and never has a database in it.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use journal::Journal;
use rustix::fs::{Mode, OFlags, openat};
use serde::{Deserialize, Serialize};

use super::Stored;
use crate::failure::{Failure, need_root};

/// What an older journal held.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Carried {
    /// Its registrations.
    pub programs: Vec<Stored>,
    /// It was damaged, and has this name now.
    pub set_aside: Option<PathBuf>,
}

/// What a journal in this folder holds that is still root's. None when there is none.
pub(super) fn carry_over(folder: &File, journal: &Path) -> Result<Option<Carried>> {
    let name = |suffix: &str| {
        let mut name = journal.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        name
    };
    if !is_roots(folder, &name(""))? {
        return Ok(None);
    }
    for log in ["-wal", "-shm"] {
        // A root's journal with somebody else's log would not be root's any more.
        let log = name(log);
        match rustix::fs::statat(folder, &log, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => {}
            _ if is_roots(folder, &log)? => {}
            _ => return Ok(None),
        }
    }
    let child = Command::new("/proc/self/exe")
        .arg("--state-dir")
        .arg(journal.parent().unwrap_or(journal))
        .arg("carry-over")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("carry-over")?;
    let output = child.wait_with_output().context("carry-over")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().last().unwrap_or("ended without a word");
        bail!("{}", said.trim_start_matches("sekimori: "));
    }
    serde_json::from_slice(&output.stdout)
        .context("carry-over")
        .map(Some)
}

/// Whether it is a plain file of root's with this one name.
fn is_roots(folder: &File, name: &std::ffi::OsStr) -> Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(folder, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP) => return Ok(false),
        Err(error) => return Err(error).context(name.to_string_lossy().into_owned()),
    };
    let about = file.metadata()?;
    Ok(about.is_file() && about.uid() == 0 && about.nlink() == 1)
}

/// The hidden command `carry-over`: prints what a journal holds of registrations.
///
/// # Errors
///
/// When it cannot be read.
pub fn carry_over_main(path: &Path) -> Result<ExitCode, Failure> {
    need_root("run")?;
    // As ever: what is damaged is set aside, and what is registered saved from it.
    let (journal, set_aside) = match Journal::open(path) {
        Ok(opened) => (opened.journal, opened.set_aside),
        Err(error) => match Journal::open_read_only(path) {
            Ok(journal) => (journal, None),
            Err(_) => return Err(error.into()),
        },
    };
    let programs = journal.registrations()?.into_iter().map(|old| Stored {
        path: old.path,
        role: old.role,
        kind: old.kind,
        script: old.script,
        device: old.device,
        inode: old.inode,
        changed_ns: old.changed_ns,
        sha256: old.sha256,
        root_owned: old.root_owned,
        registered_ns: old.registered_ns,
        forced: false,
    });
    let carried = Carried {
        programs: programs.collect(),
        set_aside,
    };
    let text = serde_json::to_vec(&carried).map_err(|error| Failure::failed(error.to_string()))?;
    std::io::stdout()
        .write_all(&text)
        .map_err(|error| Failure::failed(format!("standard output: {error}")))?;
    Ok(ExitCode::SUCCESS)
}
