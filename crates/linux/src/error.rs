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

    /// The error of a second attempt, with that of the first: the second may fail only because
    /// the first has left something behind.
    pub(crate) fn both(first: &Self, second: Self) -> Self {
        let (before, after) = (first.to_string(), second.to_string());
        if before == after {
            return second;
        }
        let text = format!("{after} (the first attempt failed: {before})");
        match (first, second) {
            (_, Self::Unsupported(_)) | (Self::Unsupported(_), _) => Self::Unsupported(text),
            _ => Self::Failed(text),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_the_first_attempt_is_kept() {
        let first = || Error::Failed("the pins are gone".to_owned());
        let both = Error::both(&first(), Error::Full("the process table"));
        let text = both.to_string();
        assert_eq!(
            text,
            "the process table is full (the first attempt failed: the pins are gone)"
        );
        assert_eq!(
            Error::both(&first(), first()).to_string(),
            "the pins are gone"
        );
        let refused = Error::Unsupported("no BPF here".to_owned());
        assert!(matches!(
            Error::both(&refused, first()),
            Error::Unsupported(_)
        ));
    }
}
