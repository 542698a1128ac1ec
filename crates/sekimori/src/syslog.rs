//! Reports of refused mail to the machine's system log, in the facility of mail, where administrators look
//! for it.
//!
//! The watcher writes the line, because it has read the kernel's report. It can make no socket, so
//! the keeper sends the line, as one datagram in the form of syslog(3) (RFC 3164), without the time, which the log
//! itself adds. Nothing waits for the log: what it does not take at once is counted, and the next
//! line that it takes says how many are missing.

use std::fmt::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use engine::{Answer, JudgedWord, VerdictEntry, is_without_person, printable};
use policy::Role;

use crate::config::Syslog as Where;
use crate::keeper::allowance::Allowances;
use crate::notify::{cut, user_name};

/// LOG_MAIL | LOG_WARNING.
const PRIORITY: u32 = (2 << 3) | 4;
/// Where the machine's log listens: by its usual name, and by the name of journald's socket, where a
/// service has a /dev of its own.
const SOCKETS: [&str; 2] = ["/dev/log", "/run/systemd/journal/dev-log"];
/// RFC 3164 permits no longer line.
pub const LINE_BYTES_MAX: usize = 1024;
/// A longer value is cut, so that those behind it have room.
const VALUE_LETTERS_MAX: usize = 160;
/// Lines about one user at once, how long until there is one more, and users who have a share each.
const AT_ONCE: u32 = 20;
const EVERY: Duration = Duration::from_secs(3);
const USERS: usize = 24;
/// How long missing lines wait for one that goes out and names their number.
const COUNT_WITHIN: Duration = Duration::from_secs(60);

/// Whether administrators are told of a refusal: a program was to take mail, a mailer was refused, or
/// no person stands behind it. A bot that a person started is for that person.
pub fn is_reported(entry: &VerdictEntry) -> bool {
    entry.verdict == Answer::Refuse
        && (entry.judged == JudgedWord::Submit
            || matches!(entry.role, Role::Mailer | Role::Submitter)
            || is_without_person(&entry.lineage))
}

/// The line for a refusal, without its user, its number and what the system log puts before it.
pub fn line(entry: &VerdictEntry) -> String {
    let mut text = if entry.observed {
        "would refuse ".to_owned()
    } else {
        "refused ".to_owned()
    };
    text += if entry.judged == JudgedWord::Submit {
        "submission:"
    } else {
        "connection:"
    };
    let mut put = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = write!(text, " {name}={}", quoted(value));
        }
    };
    put("reason", entry.reason.word());
    put("unit", entry.unit.as_deref().unwrap_or("unknown"));
    put("program", &entry.program);
    put("script", entry.script.as_deref().unwrap_or_default());
    let culprit = entry.culprit.as_deref().unwrap_or_default();
    if culprit != &*entry.program {
        put("culprit", culprit);
    }
    match entry.destination {
        Some(server) => put("to", &server.to_string()),
        None => put("recipient", "unknown"),
    }
    put("pid", &entry.pid.to_string());
    if entry.count > 1 {
        put("times", &entry.count.to_string());
    }
    text
}

/// The line with the number of the entry.
pub fn numbered(line: &str, entry: u64) -> String {
    match entry {
        // The journal did not take it.
        0 => line.to_owned(),
        _ => format!("{line} entry={entry}"),
    }
}

/// A value that cannot be taken for something else: without control characters, in quotes where it has
/// spaces, quotes or equals signs.
fn quoted(value: &str) -> String {
    let mut value = printable(value).into_owned();
    if value.chars().count() > VALUE_LETTERS_MAX {
        value = value.chars().take(VALUE_LETTERS_MAX - 1).collect();
        value.push('…');
    }
    let is_odd = |letter: char| letter.is_whitespace() || "\"'=\\".contains(letter);
    if value.contains(is_odd) {
        return format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
    }
    value
}

/// The keeper's end.
#[derive(Debug)]
pub struct Syslog {
    socket: Option<UnixDatagram>,
    allowances: Allowances,
    left_out: u64,
    /// Since when some are missing and nothing said so.
    since: Option<Instant>,
}

impl Default for Syslog {
    fn default() -> Self {
        Self {
            socket: None,
            allowances: Allowances::new(AT_ONCE, EVERY, USERS),
            left_out: 0,
            since: None,
        }
    }
}

impl Syslog {
    /// Sends a line about a user's process, and counts `left_out` more that were not even
    /// written.
    pub fn send(&mut self, to: &Where, uid: u32, line: &str, left_out: u32, now: Instant) {
        if *to == Where::Off {
            return;
        }
        self.leave_out(u64::from(left_out), now);
        if line.is_empty() {
            return;
        }
        if !self.allowances.take(uid, now) {
            return self.leave_out(1, now);
        }
        // The watcher writes the line, and the keeper does not believe that it is one.
        let line = printable(line);
        let (what, rest) = line.split_once(": ").unwrap_or(("refused", &line));
        let user =
            user_name(uid).map_or_else(String::new, |name| format!("user={} ", quoted(&name)));
        self.put(to, &format!("{what}: {user}uid={uid} {rest}"), now);
    }

    /// Says how many lines are missing, when nothing else was sent for a while.
    pub fn tick(&mut self, to: &Where, now: Instant) {
        if self.due().is_some_and(|due| due <= now) {
            // Whatever becomes of it, the next try is a while away.
            self.since = Some(now);
            self.put(to, "reports of refused mail are missing here", now);
        }
    }

    /// When [`Syslog::tick`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + COUNT_WITHIN)
    }

    fn leave_out(&mut self, count: u64, now: Instant) {
        if count > 0 {
            self.left_out += count;
            self.since.get_or_insert(now);
        }
    }

    fn put(&mut self, to: &Where, text: &str, now: Instant) {
        let missing = match self.left_out {
            0 => String::new(),
            1 => " (1 report before this one was left out)".to_owned(),
            more => format!(" ({more} reports before this one were left out)"),
        };
        let head = format!("<{PRIORITY}>sekimori[{}]: ", std::process::id());
        let room = LINE_BYTES_MAX - head.len() - missing.len();
        let whole = head + &cut(text, room) + &missing;
        if self.deliver(to, whole.as_bytes()) {
            (self.left_out, self.since) = (0, None);
        } else if *to != Where::Off {
            self.leave_out(1, now);
        }
    }

    /// Each datagram looks for the socket by its name, so a log that was started again is found.
    fn deliver(&mut self, to: &Where, line: &[u8]) -> bool {
        if self.socket.is_none() {
            let socket = UnixDatagram::unbound();
            self.socket = socket
                .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
                .ok();
        }
        let Some(socket) = &self.socket else {
            return false;
        };
        let send = |path: &Path| socket.send_to(line, path).is_ok();
        match to {
            Where::Off => false,
            Where::On => SOCKETS.iter().any(|path| send(Path::new(path))),
            Where::At(path) => send(path),
        }
    }
}

#[cfg(test)]
mod tests;
