//! Exit statuses, and the one line that says what went wrong.

use std::process::ExitCode;

use crate::output::trouble;

/// How a command ends when it does not end well.
#[derive(Debug)]
pub struct Failure {
    /// Exit status: 1 failed, 2 usage, 3 not permitted or not supported here.
    pub status: u8,
    /// One line.
    pub message: String,
}

impl Failure {
    /// The operation failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self {
            status: 1,
            message: message.into(),
        }
    }

    /// The words of the command do not go together.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            status: 2,
            message: message.into(),
        }
    }

    /// It is not permitted or not supported here; the message says what is missing.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self {
            status: 3,
            message: message.into(),
        }
    }

    /// Says it on standard error and gives the exit status.
    pub fn report(&self) -> ExitCode {
        self.say();
        ExitCode::from(self.status)
    }

    /// Says it on standard error.
    pub fn say(&self) {
        trouble(&self.message);
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::failed(format!("{error:#}"))
    }
}

impl From<linux::Error> for Failure {
    fn from(error: linux::Error) -> Self {
        match error {
            linux::Error::Unsupported(message) => Self::unsupported(message),
            linux::Error::NoSuchHook(_) => Self::unsupported(error.to_string()),
            other => Self::failed(other.to_string()),
        }
    }
}

impl From<journal::Error> for Failure {
    fn from(error: journal::Error) -> Self {
        Self::failed(error.to_string())
    }
}

/// Refuses unless root runs it.
///
/// # Errors
///
/// Status 3, naming what needs root.
pub fn need_root(what: &str) -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::unsupported(format!(
        "{what} needs root (try: sudo sekimori {what})"
    )))
}
