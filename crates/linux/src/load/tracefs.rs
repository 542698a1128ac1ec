//! The folder in which the kernel numbers its tracepoints of system calls.

use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::Error;

/// The numbers of syscall tracepoints stand in tracefs, which is not mounted everywhere.
pub(super) struct Tracefs {
    problem: Option<String>,
}

impl Tracefs {
    const PLACE: &str = "/sys/kernel/tracing";

    /// Mounts tracefs in a mount namespace of this process when nobody else has: the
    /// machine's own mounts stay as they are.
    pub(super) fn prepare() -> Self {
        if Path::new(Self::PLACE).join("events").is_dir() {
            return Self { problem: None };
        }
        let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
        // SAFETY: leaving the mount namespace does not touch memory or file descriptors; no other
        // thread runs any more.
        let done = unsafe { unshare_unsafe(UnshareFlags::NEWNS) }
            .and_then(|()| mount_change("/", private))
            .and_then(|()| mount("tracefs", Self::PLACE, "tracefs", MountFlags::empty(), None));
        Self {
            problem: done.err().map(|error| error.to_string()),
        }
    }

    /// Whether the kernel has this call, as far as can be told.
    pub(super) fn has_syscall(&self, point: &str) -> bool {
        let calls = Path::new(Self::PLACE).join("events/syscalls");
        !calls.is_dir() || calls.join(point).is_dir()
    }

    pub(super) fn explain(&self, error: Error) -> Error {
        match &self.problem {
            Some(problem) => Error::Unsupported(format!(
                "{}: tracefs cannot be mounted: {problem}",
                Self::PLACE
            )),
            None => error,
        }
    }
}
