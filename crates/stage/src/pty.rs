//! A program on a pseudo-terminal, and somebody who types.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::fs::{Gid, Mode, Uid, fchmod, fchown};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::Error;
use crate::process::{Process, Streams};
use crate::transcript::Transcript;
use crate::wire::Exit;

/// A process that leads a session with a pseudo-terminal as its controlling terminal, and
/// the keyboard and screen of that terminal. Dropping it hangs the terminal up.
#[derive(Debug)]
pub struct Pty {
    process: Process,
    keyboard: Mutex<File>,
    screen: Transcript,
    seen: AtomicUsize,
}

/// Both ends of a new pseudo-terminal.
pub(crate) struct Terminal {
    pub master: File,
    pub user_end: OwnedFd,
    pub screen: Transcript,
}

impl Terminal {
    /// Opens one that belongs to `owner`.
    pub(crate) fn open(owner: Option<(u32, u32)>) -> Result<Self, Error> {
        let failed = |e: rustix::io::Errno| Error::system("open a pseudo-terminal", e);
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).map_err(failed)?;
        unlockpt(&master).map_err(failed)?;
        // By descriptor, not by name: the name may lead to another instance of devpts.
        let user_end = ioctl_tiocgptpeer(&master, flags).map_err(failed)?;
        tcsetwinsize(
            &user_end,
            Winsize {
                ws_row: 24,
                ws_col: 80,
                ws_xpixel: 0,
                ws_ypixel: 0,
            },
        )
        .map_err(failed)?;
        if let Some((uid, gid)) = owner {
            fchown(
                &user_end,
                Some(Uid::from_raw(uid)),
                Some(Gid::from_raw(gid)),
            )
            .map_err(failed)?;
        }
        fchmod(&user_end, Mode::RUSR | Mode::WUSR | Mode::WGRP).map_err(failed)?;
        let master = File::from(master);
        let screen = Transcript::of(
            master
                .try_clone()
                .map_err(|e| Error::system("open a pseudo-terminal", e))?,
        );
        Ok(Self {
            master,
            user_end,
            screen,
        })
    }

    pub(crate) fn streams(&self) -> Streams {
        Streams {
            writer: None,
            stdout: self.screen.clone(),
            stderr: Transcript::default(),
        }
    }
}

impl Pty {
    pub(crate) fn new(process: Process, master: File, screen: Transcript) -> Self {
        Self {
            process,
            keyboard: Mutex::new(master),
            screen,
            seen: AtomicUsize::new(0),
        }
    }

    /// The process on the terminal.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Types `line` and presses return.
    ///
    /// # Errors
    /// When the terminal is closed.
    pub fn type_line(&self, line: &str) -> Result<(), Error> {
        self.type_keys(format!("{line}\n").as_bytes())
    }

    /// Types keys as they are; `\x03` is Ctrl-C, `\x04` ends the input.
    ///
    /// # Errors
    /// When the terminal is closed.
    pub fn type_keys(&self, keys: &[u8]) -> Result<(), Error> {
        let mut keyboard = self
            .keyboard
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        keyboard
            .write_all(keys)
            .map_err(|e| Error::system("type on a pseudo-terminal", e))
    }

    /// Waits until `pattern` appears after what was read before, and returns all that is
    /// new up to its end. The terminal's echo of what was typed is part of it.
    ///
    /// # Errors
    /// When it does not appear within `limit`; the message holds what did.
    pub fn read_until(&self, pattern: &str, limit: Duration) -> Result<String, Error> {
        let from = self.seen.load(Ordering::SeqCst);
        let end = self.screen.wait_for(pattern, from, limit)?;
        self.seen.store(end, Ordering::SeqCst);
        Ok(self.screen.between(from, end))
    }

    /// All that ever appeared on the terminal.
    pub fn screen(&self) -> String {
        self.screen.text()
    }

    /// Waits until the process has ended.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn wait(&self, limit: Duration) -> Result<Exit, Error> {
        self.process.wait(limit)
    }
}
