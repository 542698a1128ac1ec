//! What can go wrong between the program and Linux.

use std::path::PathBuf;

/// An error of this crate. Its text is one line that names the thing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This machine or this user cannot have the gate: exit status 3.
    #[error("{0}")]
    Unsupported(String),
    /// The kernel has no such tracepoint: exit status 3.
    #[error("this kernel has no {0}")]
    NoSuchHook(String),
    /// The operation failed.
    #[error("{0}")]
    Failed(String),
    /// A file could not be used.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The gate has no room for one more.
    #[error("{0} is full")]
    Full(&'static str),
}

impl Error {
    /// Names the file that an I/O error is about.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// A failure of `what`, with its whole chain of causes in one line.
    pub(crate) fn failed(what: impl std::fmt::Display, error: &dyn std::error::Error) -> Self {
        Self::Failed(format!("{what}: {}", chain(error)))
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = next.source();
    }
    text.replace('\n', " ")
}
