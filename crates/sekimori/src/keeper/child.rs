//! The watcher as the keeper sees it: a process that may end at any time, and is started again.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use guard::keeper::pulse::Pulse;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::channel::served::Served;

/// Before it is started again for the first time; twice as long each time after that.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// One that ran for so long is taken for sound, and one that ends later for a new case.
const SOUND_AFTER: Duration = Duration::from_secs(60);

/// A watcher that runs.
#[derive(Debug)]
pub struct Watcher {
    child: Child,
    /// Becomes readable when it has ended.
    ended: OwnedFd,
    /// The channel to it.
    pub served: Served,
    /// Nothing more comes over the channel.
    pub gone: bool,
    /// Whether it still works.
    pub pulse: Pulse,
    /// It did not say so.
    hangs: bool,
    started: Instant,
}

impl Watcher {
    /// Starts one. It does nothing until it is greeted.
    ///
    /// # Errors
    ///
    /// When the system has no room for it.
    pub fn start() -> io::Result<Self> {
        let (served, theirs) = Served::pair()?;
        // The link, not what it leads to now: after an upgrade of the file it still works.
        let mut child = Command::new("/proc/self/exe")
            .arg(crate::watcher::COMMAND)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()?;
        let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
        let ended = ended.inspect_err(|_| {
            let _ = child.kill();
            let _ = child.wait();
        })?;
        let started = Instant::now();
        Ok(Self {
            child,
            ended,
            served,
            gone: false,
            pulse: Pulse::new(started),
            hangs: false,
            started,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Becomes readable when it has ended.
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    /// Its exit status, when it has ended.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends one that does not answer.
    pub fn give_up(&mut self) {
        self.hangs = true;
        self.gone = true;
        self.kill();
    }

    /// How it ended, in words.
    pub fn end_words(&self, status: ExitStatus) -> String {
        if self.hangs {
            format!("no answer for a minute; {status}")
        } else {
            status.to_string()
        }
    }

    /// For how long it worked.
    fn ran(&self) -> Duration {
        if self.hangs {
            self.pulse.heard().saturating_duration_since(self.started)
        } else {
            self.started.elapsed()
        }
    }

    /// Ends it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.kill();
        // At most a moment: nothing holds up a process that was killed.
        let _ = self.child.wait();
    }
}

/// So many that break in a row break on what they read.
const ASTRAY_AFTER: u32 = 4;

/// When to start the next one, and what to say.
#[derive(Debug, Default)]
pub struct Restarts {
    /// In a row.
    failures: u32,
    /// Since it was last said.
    untold: u32,
    told: Option<Instant>,
}

impl Restarts {
    /// A watcher has ended: how long to wait before the next one.
    pub fn pause_after(&mut self, watcher: &Watcher) -> Duration {
        self.pause(watcher.ran())
    }

    fn pause(&mut self, ran: Duration) -> Duration {
        if ran >= SOUND_AFTER {
            self.failures = 0;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.untold += 1;
        pause.min(LONGEST_PAUSE)
    }

    /// Whether one after the other breaks, so that the next one is to read on elsewhere.
    pub fn is_astray(&self) -> bool {
        self.failures >= ASTRAY_AFTER
    }

    /// The sentence for the journal. None while it has been said lately.
    pub fn words(&mut self, how: &str) -> Option<String> {
        if self.told.is_some_and(|told| told.elapsed() < LONGEST_PAUSE) {
            return None;
        }
        self.told = Some(Instant::now());
        let count = match std::mem::take(&mut self.untold) {
            0 | 1 => String::new(),
            count => format!(", {count} times since it was last said"),
        };
        Some(format!(
            "the watcher ended ({how}) and is started again{count}; the gate goes on"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_minute_and_shrink_again() {
        let mut restarts = Restarts::default();
        let moment = Duration::from_secs(1);
        let pauses: Vec<u128> = (0..12)
            .map(|_| restarts.pause(moment).as_millis())
            .collect();
        assert_eq!(pauses[..4], [100, 200, 400, 800]);
        assert!(restarts.is_astray());
        assert_eq!(pauses[10..], [60_000, 60_000]);
        assert_eq!(restarts.pause(SOUND_AFTER), FIRST_PAUSE);
        assert!(!restarts.is_astray());
    }

    #[test]
    fn it_is_said_once_and_not_each_time() {
        let mut restarts = Restarts::default();
        restarts.pause(Duration::ZERO);
        assert!(restarts.words("signal 9").is_some());
        restarts.pause(Duration::ZERO);
        assert_eq!(restarts.words("signal 9"), None);
    }
}
