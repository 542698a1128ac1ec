//! The guard of a sandbox: a process that waits until its owner is gone, whatever the reason,
//! then ends everything in the sandbox's cgroup and removes the cgroup and the folder.
//!
//! Its standard input is a pipe whose other end only the owner holds. It reads no byte
//! from it that matters: the end of the pipe is the message.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::{Error, cgroup};

/// Names of a sandbox's folder begin with this; the guard removes nothing else.
pub(crate) const FOLDER_PREFIX: &str = "sekimori-stage-";

/// What it writes once it stands.
pub(crate) const READY: &[u8; 9] = b"guarding\n";

const LIMIT: Duration = Duration::from_secs(5);

/// Waits for the end of the owner, then cleans up. Arguments: the cgroup and the folder.
pub(crate) fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let (Some(group), Some(folder)) = (
        args.next().map(PathBuf::from),
        args.next().map(PathBuf::from),
    ) else {
        return ExitCode::from(2);
    };
    if !is_named(&group, cgroup::PREFIX) || !is_named(&folder, FOLDER_PREFIX) {
        return ExitCode::from(2);
    }
    let _ = rustix::thread::set_name(c"stage-guard");
    if io::stdout().write_all(READY).is_err() {
        return ExitCode::FAILURE;
    }
    wait_for_end(&mut io::stdin());
    match clean_up(&group, &folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Ends and removes what a sandbox consists of. What is gone already is fine.
pub(crate) fn clean_up(group: &Path, folder: &Path) -> Result<(), Error> {
    cgroup::end_all(group, LIMIT)?;
    let removed = cgroup::remove(group, LIMIT);
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(Error::at("remove", folder, e));
        }
        _ => {}
    }
    removed
}

fn wait_for_end(pipe: &mut impl Read) {
    let mut buffer = [0; 64];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return,
            _ => {}
        }
    }
}

fn is_named(path: &Path, prefix: &str) -> bool {
    path.is_absolute()
        && path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
}
