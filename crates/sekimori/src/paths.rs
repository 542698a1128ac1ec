//! Where things lie on this machine, and where they lie when `--state-dir` names a place.

use std::path::{Path, PathBuf};

/// Names the state folder for commands that were not told by `--state-dir`.
pub const STATE_DIR_VARIABLE: &str = "SEKIMORI_STATE_DIR";

/// The folders and files of one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Holds the journal and the registered programs.
    pub state: PathBuf,
    /// The journal.
    pub journal: PathBuf,
    /// The control socket, for everybody: the watcher answers.
    pub socket: PathBuf,
    /// The socket for root, at which the keeper answers.
    pub keeper: PathBuf,
    /// The pins.
    pub pins: PathBuf,
    /// Whether these are the installed places.
    pub installed: bool,
}

impl Paths {
    /// The installed places, or everything below one folder.
    pub fn new(state: Option<&Path>) -> Self {
        let (run, pins) = match state {
            None => ("/run/sekimori".into(), "/sys/fs/bpf/sekimori".into()),
            Some(state) => (state.to_owned(), state.join("bpf")),
        };
        let installed = state.is_none();
        let state = state.map_or_else(|| "/var/lib/sekimori".into(), Path::to_owned);
        Self {
            journal: state.join(JOURNAL),
            socket: run.join("control.sock"),
            keeper: run.join("keeper.sock"),
            state,
            pins,
            installed,
        }
    }
}

/// The journal's name in the state folder.
pub const JOURNAL: &str = "journal.db";
