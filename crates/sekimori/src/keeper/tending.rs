//! The life of a watcher, as the keeper leads it: greeted, answered, asked whether it still
//! works, and followed by the next one when it ends.

use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Instant;

use guard::keeper::pulse::Step;
use linux::gate::Ring;

use super::child::Watcher;
use super::{Keeper, ROUND};
use crate::channel::news::{Hello, News};
use crate::channel::request::Request;
use crate::channel::served::Broken;
use crate::output::trouble;

/// Where subuid(5) keeps the ids that users may take beside their own.
const SUBORDINATE_IDS: &str = "/etc/subuid";
/// A longer file is cut.
const SUBORDINATE_BYTES_MAX: u64 = 256 * 1024;

/// The subordinate user ids of this machine; none where the file is missing.
fn subordinate_ids() -> engine::Subordinate {
    let mut text = Vec::new();
    let read = std::fs::File::open(SUBORDINATE_IDS)
        .and_then(|file| file.take(SUBORDINATE_BYTES_MAX).read_to_end(&mut text));
    match read {
        Ok(_) => engine::Subordinate::read(&String::from_utf8_lossy(&text)),
        Err(_) => engine::Subordinate::default(),
    }
}

impl Keeper {
    /// Gives a new watcher all that it needs, or tries again a little later.
    pub(super) fn greet(&mut self, watcher: std::io::Result<Watcher>, first: bool) {
        let hello = Hello {
            state: self.paths.state.clone(),
            account: (self.account.user, self.account.group),
            keeper: std::process::id(),
            keeper_seconds: self.started.elapsed().as_secs(),
            cgroup: self.cgroup.path.clone(),
            adopted: self.loaded.adopted,
            seeded: self.loaded.seeded,
            foreign: self.loaded.foreign,
            colour: crate::output::stderr_style().colour,
            first,
            retention: self.retention(),
            mail_ports: self.config.mail_ports.clone(),
            subordinate: subordinate_ids(),
        };
        let descriptors: [BorrowedFd<'_>; 4] = [
            self.rings[0].as_fd(),
            self.rings[1].as_fd(),
            self.sockets.control.as_fd(),
            self.registry.store().folder().as_fd(),
        ];
        match watcher {
            Ok(watcher) => {
                // One that is gone already is noticed as such.
                if let Err(error) = watcher.served.greet(&hello, descriptors) {
                    trouble(&format!("the watcher: {error}"));
                }
                self.watcher = Some(watcher);
            }
            Err(error) => {
                trouble(&format!("the watcher cannot be started: {error}"));
                self.restart_at = Some(Instant::now() + ROUND);
            }
        }
    }

    /// Answers one request of the watcher's.
    pub(super) fn turn(&mut self) {
        let Some(mut watcher) = self.watcher.take() else {
            return;
        };
        let pid = watcher.pid();
        let mut waiting = std::mem::take(&mut self.waiting);
        let mut answered = false;
        let turned = watcher.served.turn(&mut waiting, |request| {
            answered = request == Request::Pong;
            self.answer(request, pid)
        });
        if answered {
            watcher.pulse.answered(Instant::now());
        }
        waiting.append(std::mem::take(&mut self.waiting));
        self.waiting = waiting;
        if let Err(broken) = turned {
            if broken != Broken::Ended {
                trouble(&format!("the watcher is ended: {broken}"));
            }
            // Its end is noticed like any other. One that was told to end may take its time.
            if broken != Broken::Ended || self.ending.is_none() {
                watcher.kill();
            }
            watcher.gone = true;
        }
        self.watcher = Some(watcher);
    }

    /// Asks the watcher whether it still works, and ends one that does not say so.
    pub(super) fn feel_pulse(&mut self) {
        let Some(watcher) = self.watcher.as_mut().filter(|watcher| !watcher.gone) else {
            return;
        };
        match watcher.pulse.step(Instant::now()) {
            Step::Wait => {}
            Step::Ping => self.waiting.push(News::Ping),
            Step::GiveUp => watcher.give_up(),
        }
    }

    /// The watcher has ended: says so, and has the next one started.
    pub(super) fn watcher_ended(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let Some(status) = watcher.status() else {
            return;
        };
        if self.ending.is_none() {
            let how = watcher.end_words(status);
            let pause = self.restarts.pause_after(watcher);
            trouble(&format!("the watcher ended ({how}); the gate goes on"));
            self.restart_at = Some(Instant::now() + pause);
            if let Some(words) = self.restarts.words(&how) {
                self.notice(words);
            }
        }
        self.watcher = None;
    }

    /// Starts the next watcher when its time has come.
    pub(super) fn restart_watcher(&mut self) {
        if self.restart_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.restart_at = None;
        if let Err(failure) = self.sockets.mend() {
            trouble(&failure.message);
        }
        if self.restarts.is_astray() {
            self.skip_reports();
        }
        self.greet(Watcher::start(), false);
    }

    /// Watchers break on what waits in the ring buffers, or on where the first of them left off.
    fn skip_reports(&mut self) {
        let skipped: Result<Vec<()>, _> = self.rings.iter().map(Ring::skip).collect();
        match skipped {
            Ok(_) => self.notice(
                "one watcher after the other ended: reports that were waiting are passed over"
                    .to_owned(),
            ),
            Err(error) => trouble(&error.to_string()),
        }
    }
}
