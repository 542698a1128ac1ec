//! Where things lie on this machine, and where they lie when `--state-dir` names a place.

use std::path::{Path, PathBuf};

/// Names the state folder for commands that were not told by `--state-dir`.
pub const STATE_DIR_VARIABLE: &str = "SEKIMORI_STATE_DIR";

/// The folders and files of one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Holds the journal.
    pub state: PathBuf,
    /// The journal.
    pub journal: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// The pins.
    pub pins: PathBuf,
}

impl Paths {
    /// The installed places, or everything below one folder.
    pub fn new(state: Option<&Path>) -> Self {
        match state {
            None => Self {
                state: "/var/lib/sekimori".into(),
                journal: "/var/lib/sekimori/journal.db".into(),
                socket: "/run/sekimori/control.sock".into(),
                pins: "/sys/fs/bpf/sekimori".into(),
            },
            Some(state) => Self {
                state: state.into(),
                journal: state.join("journal.db"),
                socket: state.join("control.sock"),
                pins: state.join("bpf"),
            },
        }
    }
}
