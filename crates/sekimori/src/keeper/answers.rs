//! What the keeper answers to each of the watcher's requests. The table, with the worst that
//! each can do, is in [`crate::channel::request`].

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use abi::Counter;
use linux::procfs;
use linux::programs::display;
use serde_json::{Value, json};

use super::Keeper;
use crate::channel::news::{LIST_BYTES_MAX, Packet};
use crate::channel::request::{OPEN_MAX, Request, encode_address};
use crate::notify::Message;
use crate::status;

/// Warnings that may be shown at once, and how long until there is one more.
const WARNINGS_AT_ONCE: u32 = 20;
const WARNING_EVERY: Duration = Duration::from_secs(3);

/// How many warnings may be shown now.
#[derive(Debug)]
pub struct Allowance {
    left: u32,
    since: Instant,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            left: WARNINGS_AT_ONCE,
            since: Instant::now(),
        }
    }
}

impl Allowance {
    /// Whether one more may be shown.
    fn take(&mut self, now: Instant) -> bool {
        let passed =
            now.saturating_duration_since(self.since).as_millis() / WARNING_EVERY.as_millis();
        if passed > 0 {
            let more = u32::try_from(passed).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(more).min(WARNINGS_AT_ONCE);
            self.since = now;
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

impl Keeper {
    /// Answers one request of the watcher with this process id.
    pub(super) fn answer(&mut self, request: Request, watcher: u32) -> Packet {
        match request {
            Request::Process { pid } => self.gate.process(pid).map_or(Packet::None, |record| {
                Packet::Answer(bytemuck::bytes_of(&record).to_vec())
            }),
            Request::Program { key } => self.gate.program(&key).map_or(Packet::None, |entry| {
                let mut out = Vec::new();
                put_name(&mut out, entry.index, &display(&entry.path));
                Packet::Answer(out)
            }),
            Request::Programs { skip } => {
                let mut out = Vec::new();
                for entry in self.gate.programs_from(skip as usize) {
                    put_name(&mut out, entry.index, &display(&entry.path));
                    if out.len() > LIST_BYTES_MAX {
                        break;
                    }
                }
                Packet::Answer(out)
            }
            Request::Owner { own_port, remote } => {
                let owner = procfs::tcp_owner(own_port, remote);
                owner.map_or(Packet::None, |pid| Packet::Answer(pid.to_le_bytes().into()))
            }
            Request::Path { pid } => procfs::program_path(pid).map_or(Packet::None, |path| {
                Packet::Answer(path.to_string_lossy().into_owned().into_bytes())
            }),
            Request::Counters => {
                let counters = Counter::ALL.map(|(counter, _)| self.gate.counter(counter));
                Packet::Answer(counters.iter().flat_map(|n| n.to_le_bytes()).collect())
            }
            Request::Gate => Packet::Answer(self.status(watcher).to_string().into_bytes()),
            Request::Registered { skip } => {
                let mut out = Vec::new();
                for entry in self.registry.entries().iter().skip(skip as usize) {
                    out.extend(status::program(entry).to_string().into_bytes());
                    out.push(b'\n');
                    if out.len() > LIST_BYTES_MAX {
                        break;
                    }
                }
                Packet::Answer(out)
            }
            Request::Followed { skip } => {
                let each = 8 + size_of::<abi::Interest>();
                let mut out = Vec::new();
                for (cookie, interest) in self
                    .gate
                    .interests()
                    .skip(skip as usize)
                    .take(LIST_BYTES_MAX / each)
                {
                    out.extend(cookie.to_le_bytes());
                    out.extend_from_slice(bytemuck::bytes_of(&interest));
                }
                Packet::Answer(out)
            }
            Request::SetInterest { cookie, interest } => {
                match self.gate.set_interest(cookie, &interest) {
                    Ok(()) => Packet::Answer(Vec::new()),
                    Err(error) => Packet::Failed(error.to_string()),
                }
            }
            Request::OlderIrc => Packet::Answer(self.older_irc()),
            Request::Open { inodes } => {
                let open: Vec<u64> = procfs::connections()
                    .into_iter()
                    .filter(|one| one.established)
                    .map(|one| one.inode)
                    .collect();
                let is_open = |inode: &u64| u8::from(open.contains(inode));
                Packet::Answer(inodes.iter().map(is_open).collect())
            }
            Request::Warn {
                uid,
                urgent,
                title,
                body,
            } => Packet::Answer(self.warn(uid, &Message::new(&title, &body, urgent))),
        }
    }

    /// How many people could not be told, in four bytes.
    fn warn(&mut self, uid: u32, message: &Message) -> Vec<u8> {
        let missed = if !self.config.notify {
            0
        } else if self.allowance.take(Instant::now()) {
            self.notifier.deliver(uid, message) as u32
        } else {
            1
        };
        missed.to_le_bytes().into()
    }

    /// Of each: inode, process, user, address.
    fn older_irc(&self) -> Vec<u8> {
        let connections: HashMap<u64, _> = procfs::connections()
            .into_iter()
            .filter(|one| {
                one.established
                    && one.inode != 0
                    && self.config.irc_ports.contains(&one.remote.port())
            })
            .take(OPEN_MAX)
            .map(|one| (one.inode, one.remote))
            .collect();
        let mut out = Vec::new();
        for (inode, remote) in connections {
            let Some(pid) = procfs::socket_owner(inode) else {
                continue;
            };
            let Some(uid) = procfs::user(pid) else {
                continue;
            };
            out.extend(inode.to_le_bytes());
            out.extend(pid.to_le_bytes());
            out.extend(uid.to_le_bytes());
            out.extend(encode_address(remote));
        }
        out
    }

    fn status(&self, watcher: u32) -> Value {
        let mut status = status::of_gate(&self.gate);
        let entries = self.registry.entries();
        status["programs"] = json!({
            "registered": entries.len(),
            "mailers": entries.iter().filter(|entry| entry.stored.role == "mailer").count(),
            "suspended": entries.iter().filter(|entry| entry.suspended).count(),
        });
        status["keeper"] = process(std::process::id());
        status["watcher"] = process(watcher);
        status
    }
}

/// One name of a list: index, length, text.
fn put_name(out: &mut Vec<u8>, index: u32, name: &str) {
    out.extend(index.to_le_bytes());
    out.extend((name.len() as u16).to_le_bytes());
    out.extend_from_slice(name.as_bytes());
}

/// What the kernel says of a process of ours.
fn process(pid: u32) -> Value {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|rest| rest.split_whitespace().next())
    };
    let number = |name: &str| field(name).and_then(|text| text.parse::<u64>().ok());
    json!({
        "pid": pid,
        "uid": number("Uid"),
        "capabilities": field("CapEff"),
        "no_new_privs": number("NoNewPrivs") == Some(1),
        "seccomp": number("Seccomp") == Some(2),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_have_a_bound() {
        let begun = Instant::now();
        let mut allowance = Allowance {
            left: WARNINGS_AT_ONCE,
            since: begun,
        };
        let shown = (0..1000).filter(|_| allowance.take(begun)).count();
        assert_eq!(shown, WARNINGS_AT_ONCE as usize);
        let later = begun + WARNING_EVERY * 2;
        let shown = (0..1000).filter(|_| allowance.take(later)).count();
        assert_eq!(shown, 2);
        let much_later = later + WARNING_EVERY * 1000;
        let shown = (0..1000).filter(|_| allowance.take(much_later)).count();
        assert_eq!(shown, WARNINGS_AT_ONCE as usize);
    }

    #[test]
    fn the_kernel_tells_of_a_process() {
        let own = process(std::process::id());
        assert_eq!(
            own["uid"].as_u64(),
            Some(rustix::process::getuid().as_raw().into())
        );
        assert_eq!(process(0)["uid"], Value::Null);
    }
}
