//! Who sits at this machine, and when its keyboard or mouse was used last: the keeper tells the gate.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use guard::config::Config;
use linux::gate::Gate;
use linux::input::{Input, forget_changes};
use linux::presence::{SESSIONS, seated};
use policy::PresenceRule;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::Keeper;
use crate::clock;
use crate::output::trouble;

/// After a device was seen in use, none is looked at for so long, which is a part of the time after
/// which nobody is there.
const REST_PART: u32 = 10;
const REST_SECONDS_MAX: u32 = 10;

/// Follows logind's sessions and the devices.
pub struct Seats {
    changes: Option<OwnedFd>,
    /// None while nothing is asked of anybody.
    input: Option<Input>,
    /// See [`Input::watch`].
    played: Option<PathBuf>,
    /// Of the configuration: what is in force here.
    followed: (PresenceRule, u32),
}

impl Seats {
    /// Tells the gate who is there now, and follows who comes and goes.
    pub fn follow(gate: &mut Gate, config: &Config, played: Option<&Path>) -> Self {
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        let mut seats = Self {
            changes: inotify::init(flags).ok(),
            input: None,
            played: played.map(Path::to_owned),
            followed: (PresenceRule::Off, 0),
        };
        seats.change(gate, config);
        seats
    }

    /// Takes a new configuration.
    fn change(&mut self, gate: &mut Gate, config: &Config) {
        let asked = (config.presence, config.presence_seconds);
        if self.followed == asked {
            return;
        }
        self.followed = asked;
        let rest = (config.presence_seconds / REST_PART).clamp(1, REST_SECONDS_MAX);
        let watched = (config.presence != PresenceRule::Off)
            .then(|| Input::watch(self.played.as_deref(), Duration::from_secs(rest.into())))
            .transpose();
        self.input = watched.unwrap_or_else(|error| {
            trouble(&format!("keyboard and mouse cannot be watched: {error}"));
            None
        });
        // Whoever was there before this began was not seen.
        self.used(gate);
        self.tell(gate);
    }

    /// Becomes readable when a session came, went or changed; none where that cannot be followed.
    pub fn sessions(&self) -> Option<BorrowedFd<'_>> {
        self.changes.as_ref().map(OwnedFd::as_fd)
    }

    /// Becomes readable when a device was used, came or went.
    pub fn devices(&self) -> Option<BorrowedFd<'_>> {
        self.input.as_ref().map(Input::as_fd)
    }

    /// Takes note of changes.
    fn sessions_changed(&self, gate: &mut Gate) {
        if let Some(changes) = &self.changes {
            forget_changes(changes);
        }
        self.tell(gate);
    }

    fn devices_changed(&mut self, gate: &mut Gate) {
        let Some(input) = &mut self.input else { return };
        let had_devices = input.has_devices();
        let used = input.was_used();
        let changed = had_devices != input.has_devices();
        // Whoever has just plugged something in is there.
        if used || changed {
            self.used(gate);
        }
        if changed {
            self.tell(gate);
        }
    }

    fn used(&self, gate: &mut Gate) {
        if let Err(error) = gate.set_used(clock::boot_ns()) {
            trouble(&format!("when this machine was used is not kept: {error}"));
        }
    }

    fn tell(&self, gate: &mut Gate) {
        let Some(changes) = &self.changes else { return };
        // The daemon starts before logind, whose folder comes later.
        let sessions = Path::new(SESSIONS);
        let folders = [sessions.parent().and_then(Path::parent), sessions.parent()];
        for folder in folders.into_iter().flatten() {
            let _ = inotify::add_watch(changes, folder, WatchFlags::CREATE | WatchFlags::ONLYDIR);
        }
        let of_sessions = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::DELETE;
        let is_watched =
            inotify::add_watch(changes, sessions, of_sessions | WatchFlags::ONLYDIR).is_ok();
        let sees_input = self.input.as_ref().is_some_and(Input::has_devices);
        let who = seated(sessions).filter(|_| is_watched && sees_input);
        if let Err(error) = gate.set_seated(who.as_ref(), sees_input, clock::boot_ns()) {
            trouble(&format!("who uses this machine is not known: {error}"));
        }
    }
}

impl Keeper {
    /// A session came, went or changed.
    pub(super) fn sessions_changed(&mut self) {
        self.seats.sessions_changed(&mut self.gate);
    }

    /// A device was used, came or went.
    pub(super) fn devices_changed(&mut self) {
        self.seats.devices_changed(&mut self.gate);
    }

    /// The configuration was read again.
    pub(super) fn follow_presence(&mut self) {
        self.seats.change(&mut self.gate, &self.config);
    }
}
