//! What the keeper answers to each of the watcher's requests. The table, with the worst that
//! each can do, is in [`crate::channel::request`].

use std::fs;
use std::time::Instant;

use abi::{Counter, VerdictEvent};
use linux::decode::Owner;
use linux::procfs;
use linux::programs::display_here;
use serde_json::{Value, json};

use super::Keeper;
use crate::channel::news::{LIST_BYTES_MAX, Packet};
use crate::channel::request::{OF_A_SERVER, Request};
use crate::notify::{Message, cut};
use crate::{clock, status};

/// A longer unit or script is cut.
const PLACE_BYTES_MAX: usize = 4096;

impl Keeper {
    /// Answers one request of the watcher with this process id.
    pub(super) fn answer(&mut self, request: Request, watcher: u32) -> Packet {
        match request {
            Request::Process { pid } => self.gate.process(pid).map_or(Packet::None, |record| {
                Packet::Answer(bytemuck::bytes_of(&record).to_vec())
            }),
            Request::Program { key } => self.gate.program(&key).map_or(Packet::None, |entry| {
                let mut out = Vec::new();
                put_name(&mut out, entry.index, &display_here(&key, entry.path));
                Packet::Answer(out)
            }),
            Request::Programs { skip } => {
                let mut out = Vec::new();
                for (key, entry) in self.gate.programs_from(skip as usize) {
                    put_name(&mut out, entry.index, &display_here(&key, entry.path));
                    if out.len() > LIST_BYTES_MAX {
                        break;
                    }
                }
                Packet::Answer(out)
            }
            Request::Owner { own_port, remote } => {
                let pid = match self.search.owner(own_port, remote) {
                    Owner::Process(pid) => pid,
                    Owner::Server => OF_A_SERVER,
                    Owner::Unknown => return Packet::None,
                };
                Packet::Answer(pid.to_le_bytes().into())
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
            Request::Folded => {
                let limit = LIST_BYTES_MAX / size_of::<VerdictEvent>();
                let (events, left) = self.gate.take_folds(clock::boot_ns(), limit);
                let mut out = vec![u8::from(left)];
                for event in &events {
                    out.extend_from_slice(bytemuck::bytes_of(event));
                }
                Packet::Answer(out)
            }
            Request::OlderIrc => {
                Packet::Answer(self.search.older_irc(self.config.irc_ports.clone()))
            }
            Request::Open { inodes } => Packet::Answer(self.search.open(&inodes)),
            Request::Warn {
                uid,
                urgent,
                title,
                body,
            } => Packet::Answer(self.warn(uid, &Message::new(&title, &body, urgent))),
            Request::Unit { pids, interpreter } => {
                let unit = pids.iter().find_map(|pid| linux::unit::of(*pid));
                let script = (interpreter != 0).then(|| linux::unit::script(interpreter));
                let (unit, script) = (
                    unit.unwrap_or_default(),
                    script.flatten().unwrap_or_default(),
                );
                let [unit, script] = [unit, script].map(|text| cut(&text, PLACE_BYTES_MAX));
                Packet::Answer(format!("{unit}\0{script}").into_bytes())
            }
            Request::Syslog {
                uid,
                left_out,
                line,
            } => {
                let to = &self.config.syslog;
                self.syslog.send(to, uid, &line, left_out, Instant::now());
                Packet::None
            }
            Request::Pong => Packet::None,
        }
    }

    /// How many people could not be told, in four bytes.
    fn warn(&mut self, uid: u32, message: &Message) -> Vec<u8> {
        let missed = if !self.config.notify {
            0
        } else if self.warnings.take(uid, Instant::now()) {
            self.notifier.deliver(uid, message) as u32
        } else {
            1
        };
        missed.to_le_bytes().into()
    }

    fn status(&self, watcher: u32) -> Value {
        let mut status = status::of_gate(&self.gate);
        let entries = self.registry.entries();
        status["programs"] = json!({
            "registered": entries.len(),
            "mailers": entries.iter().filter(|entry| entry.stored.role == "mailer").count(),
            "suspended": entries.iter().filter(|entry| entry.suspended).count(),
        });
        status["configuration"] = self.config.shown().into();
        status["forwarded"] = self.forward.shown();
        status["restart_needed"] = self.restart_needed.clone().into();
        status["not_closed"] = self.not_closed.clone().into();
        status["unwatched_calls"] = self.loaded.unwatched_calls.clone().into();
        status["keeper"] = process(std::process::id());
        status["keeper"]["owners_not_looked_for"] = self.search.put_off().into();
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
    fn the_kernel_tells_of_a_process() {
        let own = process(std::process::id());
        assert_eq!(
            own["uid"].as_u64(),
            Some(rustix::process::getuid().as_raw().into())
        );
        assert_eq!(process(0)["uid"], Value::Null);
    }
}
