//! The code that a mailer with a grant has loaded: the keeper looks at it when the kernel asks.

use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use abi::{CodeEvent, EventTag};

use crate::patience::Patience;
use crate::roots::{self, Writer};
use crate::seed::look;

/// A request of the kernel's, to look at a process that sends mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The process.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Where its mail goes.
    pub destination: SocketAddr,
    /// When the kernel asked, in nanoseconds since boot: it tells one look from the next.
    pub asked_ns: u64,
}

impl Asked {
    /// Reads a report. None when it is another one.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let event: CodeEvent = bytemuck::pod_read_unaligned(bytes.get(..size_of::<CodeEvent>())?);
        if event.header.tag != EventTag::Code as u32 {
            return None;
        }
        let [a, b, c, d, ..] = event.address;
        let address = match event.family {
            4 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            6 => IpAddr::V6(Ipv6Addr::from(event.address)),
            _ => return None,
        };
        Some(Self {
            pid: event.header.pid,
            uid: event.header.uid,
            destination: SocketAddr::new(address, event.port),
            asked_ns: event.header.boot_ns,
        })
    }
}

/// What a look has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// Code of root's files only, or the process is gone.
    Roots,
    /// Code of this file, which others than root can write.
    Others(String),
    /// It could not be seen in time.
    Unknown,
}

/// Looks at processes. One that keeps the look waiting is left.
#[derive(Default)]
pub struct Looks(Patience);

impl Looks {
    /// Looks who can write a script that root runs. One that cannot be looked at in time is others'.
    pub fn writer(&mut self, asked: &roots::Asked) -> Writer {
        let path = asked.path.clone();
        let found = self.0.ask(0, move || roots::writer(&path));
        found.unwrap_or(Writer::Others)
    }

    /// Looks at the process.
    pub fn look(&mut self, asked: Asked) -> Loaded {
        let pid = asked.pid;
        match self.0.ask(asked.uid, move || look::loaded_code(pid)) {
            Some(Ok(None)) => Loaded::Roots,
            Some(Ok(Some(path))) => Loaded::Others(path.to_string_lossy().into_owned()),
            Some(Err(_)) if !std::path::Path::new(&format!("/proc/{pid}/exe")).exists() => {
                Loaded::Roots
            }
            Some(Err(_)) | None => Loaded::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_loaded_nothing_of_others() {
        let asked = Asked {
            pid: std::process::id(),
            uid: 0,
            destination: ([127, 0, 0, 1], 25).into(),
            asked_ns: 0,
        };
        // Whoever builds this need not be root: then its own program is a user's, and what lies
        // beside that is its own.
        assert_eq!(Looks::default().look(asked), Loaded::Roots);
    }

    #[test]
    fn other_reports_are_passed_over() {
        assert_eq!(Asked::read(&[0; 48]), None);
        assert_eq!(Asked::read(&[7]), None);
    }
}
