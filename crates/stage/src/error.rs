//! What can go wrong on the stage. Each message names the object it is about.

use std::io;
use std::path::Path;
use std::time::Duration;

/// Why something on the stage did not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("cannot {what}: {source}")]
    System {
        /// What was attempted, with the object's name.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// No cgroup v2 hierarchy is mounted.
    #[error("no cgroup2 hierarchy in /proc/self/mountinfo")]
    NoCgroup,
    /// The init process of the sandbox refused a request.
    #[error("sandbox init cannot {what}: {}", io::Error::from_raw_os_error(*errno))]
    Init {
        /// What was asked for.
        what: String,
        /// The errno that it met.
        errno: i32,
    },
    /// The init process of the sandbox has ended.
    #[error("sandbox init is gone")]
    InitGone,
    /// Something did not happen in time.
    #[error("{what} within {limit:?}")]
    Timeout {
        /// What was waited for, as a sentence that `within` continues.
        what: String,
        /// How long.
        limit: Duration,
    },
    /// A message between a sandbox and its init could not be read or is too long.
    #[error("message to or from sandbox init is damaged: {0}")]
    Message(String),
}

impl Error {
    /// An [`Error::System`] for something done to a path.
    pub(crate) fn at(what: &str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::System {
            what: format!("{what} {}", path.display()),
            source: source.into(),
        }
    }

    /// An [`Error::System`] for anything else.
    pub(crate) fn system(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System {
            what: what.into(),
            source: source.into(),
        }
    }

    /// The errno behind the error, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::System { source, .. } => source.raw_os_error(),
            Self::Init { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}
