//! Bytes from the ring buffer → events for the engine. Names come from the gate's table;
//! what the kernel could not attribute is looked up in /proc.
//!
//! The bytes come from our own kernel programs, but a damaged or older record must not do
//! harm: lengths are checked, unknown tags and codes are errors.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use abi::{
    EventHeader, EventTag, FlowEvent, ProcessRecord, ProgramEvent, TamperEvent, VerdictEvent,
    VerdictOrigin,
};
use engine::{Actor, Culprit, Event, FlowInfo, FlowKind, Judged, Lineage, LineageLink, Party};
use policy::{Kind, Origin, Reason, Role, Tamper};

use crate::gate::Gate;
use crate::procfs;
use crate::programs::Programs;

/// Why bytes are no event.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Fewer bytes than the tag asks for.
    #[error("kernel event of {0} bytes is too short")]
    Short(usize),
    /// A tag that nobody assigned.
    #[error("kernel event with unknown tag {0}")]
    Tag(u32),
    /// A field with a code that nobody assigned.
    #[error("kernel event with unknown {0}")]
    Code(&'static str),
}

/// Whose a packet is that no process was named for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The process that holds the connection.
    Process(u32),
    /// A server's: somebody listens at the socket's own port.
    Server,
    /// It cannot be found out.
    Unknown,
}

/// Where names of programs come from.
pub trait Names {
    /// The name under an index; `None` when it is not known (any more).
    fn name(&mut self, index: u32) -> Option<Arc<str>>;
    /// A program was seen for the first time.
    fn seen(&mut self, event: &ProgramEvent);
    /// The record of a process as it is now.
    fn process(&mut self, pid: u32) -> Option<ProcessRecord>;
    /// Whose a TCP connection is, by its own port and the other side.
    fn owner(&mut self, own_port: u16, remote: SocketAddr) -> Owner;
    /// Where the program of a process lay when it was started.
    fn path(&mut self, pid: u32) -> Option<Arc<str>>;
}

/// Names from the pinned gate.
pub struct GateNames<'a> {
    /// The gate.
    pub gate: &'a Gate,
    /// What is known so far.
    pub programs: &'a mut Programs,
}

impl Names for GateNames<'_> {
    fn name(&mut self, index: u32) -> Option<Arc<str>> {
        if index == 0 {
            return None;
        }
        if let Some(name) = self.programs.name(index) {
            return Some(name);
        }
        // Its event was lost, or it is from before a restart: look through all, once.
        for entry in self.gate.programs() {
            self.programs.learn(entry.index, &entry.path);
        }
        self.programs.name(index)
    }

    fn seen(&mut self, event: &ProgramEvent) {
        if let Some(entry) = self.gate.program(&event.key) {
            self.programs.learn(entry.index, &entry.path);
        }
    }

    fn process(&mut self, pid: u32) -> Option<ProcessRecord> {
        self.gate.process(pid)
    }

    fn owner(&mut self, own_port: u16, remote: SocketAddr) -> Owner {
        if procfs::listening_ports().contains(&own_port) {
            Owner::Server
        } else {
            procfs::tcp_owner(own_port, remote).map_or(Owner::Unknown, Owner::Process)
        }
    }

    fn path(&mut self, pid: u32) -> Option<Arc<str>> {
        Some(procfs::program_path(pid)?.to_string_lossy().into())
    }
}

/// Decodes one record: when it happened, in nanoseconds since boot, and what. `None` for what
/// the engine need not know.
///
/// # Errors
///
/// See [`Error`].
pub fn decode(bytes: &[u8], names: &mut impl Names) -> Result<Option<(u64, Event)>, Error> {
    let header: EventHeader = read(bytes)?;
    let tag = EventTag::from_code(header.tag).ok_or(Error::Tag(header.tag))?;
    let event = match tag {
        EventTag::Verdict => {
            let event: VerdictEvent = read(bytes)?;
            let one = verdict(&event, names)?;
            Some(match event.count {
                0 | 1 => one,
                count => Event::Repeated {
                    event: one.into(),
                    count: count.into(),
                },
            })
        }
        EventTag::FlowOpened => Some(Event::FlowOpened(flow(&read(bytes)?, names)?)),
        EventTag::FlowClosed => {
            let event: FlowEvent = read(bytes)?;
            let (bytes_sent, bytes_received) = (event.bytes_sent, event.bytes_received);
            Some(Event::FlowClosed {
                flow: flow(&event, names)?,
                bytes_sent,
                bytes_received,
            })
        }
        // These have ring buffers of their own.
        EventTag::Sample | EventTag::Code | EventTag::Script => return Err(Error::Tag(header.tag)),
        EventTag::Program => {
            names.seen(&read(bytes)?);
            None
        }
        EventTag::Tamper => {
            let event: TamperEvent = read(bytes)?;
            Some(Event::Tampered {
                by: Party {
                    program: known(names, event.program),
                    pid: event.header.pid,
                },
                uid: event.header.uid,
                target: Party {
                    program: known(names, event.target_program),
                    pid: event.target_pid,
                },
                signs: Tamper(event.signs),
            })
        }
    };
    Ok(event.map(|event| (header.boot_ns, event)))
}

/// When a record was written, in nanoseconds since boot.
pub fn boot_ns(bytes: &[u8]) -> Option<u64> {
    let header: EventHeader = read(bytes).ok()?;
    Some(header.boot_ns)
}

pub(crate) fn read<T: bytemuck::AnyBitPattern>(bytes: &[u8]) -> Result<T, Error> {
    bytes
        .get(..size_of::<T>())
        .map(bytemuck::pod_read_unaligned)
        .ok_or(Error::Short(bytes.len()))
}

/// The culprit under an index; index 0 means that there is none.
pub fn culprit(names: &mut impl Names, index: u32, pid: u32) -> Option<Culprit> {
    (index != 0).then(|| Culprit {
        program: known(names, index),
        pid,
    })
}

pub(crate) fn known(names: &mut impl Names, index: u32) -> Arc<str> {
    names.name(index).unwrap_or_else(|| "".into())
}

fn verdict(event: &VerdictEvent, names: &mut impl Names) -> Result<Event, Error> {
    let cookie = event.cookie;
    let judged = match VerdictOrigin::from_code(event.judged).ok_or(Error::Code("judged"))? {
        VerdictOrigin::Connect => Judged::Connect {
            destination: address(event.address, event.port, event.family)?,
            cookie,
        },
        VerdictOrigin::Packet => Judged::Packet {
            destination: address(event.address, event.port, event.family)?,
            cookie,
        },
        VerdictOrigin::Submit => Judged::Submit,
    };
    let (mut pid, mut record) = (event.header.pid, event.record);
    if pid == 0
        && let Some(destination) = judged.destination()
    {
        match names.owner(event.own_port, destination) {
            Owner::Process(owner) => {
                pid = owner;
                record = names.process(owner).unwrap_or(record);
            }
            // Whoever is out there chose this mail port, by connecting from it. That says
            // nothing about the server, which only answers: strangers could have anybody
            // accused. A bot gains no packet by listening where it sends from, only silence:
            // a connection of its own to a mail port would have been judged, and told, when it
            // was made, unless it is older than the gate.
            Owner::Server => {
                return Ok(Event::Answered {
                    own_port: event.own_port,
                    destination,
                    observed: event.observed != 0,
                });
            }
            Owner::Unknown => {}
        }
    }
    let mut actor = Actor {
        comm: text(&event.comm),
        ..actor(pid, event.header.uid, &record, names)
    };
    if actor.program.is_empty() && actor.pid != 0 {
        // The gate has no name; /proc may still have one.
        if let Some(path) = names.path(actor.pid) {
            actor.program = path;
        }
    }
    Ok(Event::Verdict {
        actor,
        judged,
        reason: Reason::from_code(event.reason),
        observed: event.observed != 0,
    })
}

/// A process by its record.
pub fn actor(pid: u32, uid: u32, record: &ProcessRecord, names: &mut impl Names) -> Actor {
    Actor {
        pid,
        uid,
        comm: String::new(),
        program: known(names, record.program),
        role: Role::from_code(record.role),
        kind: Kind::from_code(record.kind),
        origin: Origin::from_code(record.origin),
        tampered: Tamper(record.tampered),
        cause: record.cause(),
        lineage: lineage(record, names),
    }
}

/// The lineage in a record.
pub fn lineage(record: &ProcessRecord, names: &mut impl Names) -> Lineage {
    let kept = (record.depth as usize).min(record.chain.len());
    let links = record.chain[..kept]
        .iter()
        .map(|link| LineageLink {
            program: known(names, link.program),
            pid: link.pid,
            role: Role::from_code(link.role),
            origin: Origin::from_code(link.origin),
            kind: Kind::from_code(link.kind),
            seeded: link.seeded != 0,
        })
        .collect();
    Lineage {
        links,
        lost: record.depth - kept as u32,
        culprit: culprit(names, record.culprit, record.culprit_pid),
    }
}

fn flow(event: &FlowEvent, names: &mut impl Names) -> Result<FlowInfo, Error> {
    let kind = match abi::FlowKind::from_code(event.kind).ok_or(Error::Code("flow kind"))? {
        abi::FlowKind::Grant => FlowKind::Grant,
        abi::FlowKind::Irc => FlowKind::Irc,
    };
    Ok(FlowInfo {
        cookie: event.cookie,
        kind,
        pid: event.header.pid,
        uid: event.header.uid,
        program: known(names, event.program),
        culprit: culprit(names, event.culprit, event.culprit_pid),
        role: Role::from_code(event.role),
        origin: Origin::from_code(event.origin),
        destination: address(event.address, event.port, event.family)?,
    })
}

pub(crate) fn address(bytes: [u8; 16], port: u16, family: u8) -> Result<SocketAddr, Error> {
    let ip = match family {
        4 => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
        6 => IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical(),
        _ => return Err(Error::Code("address family")),
    };
    Ok(SocketAddr::new(ip, port))
}

fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Names for tests: of the index alone.
#[cfg(test)]
pub(crate) struct NoNames;

#[cfg(test)]
impl Names for NoNames {
    fn name(&mut self, index: u32) -> Option<Arc<str>> {
        (index != 0).then(|| format!("/program/{index}").into())
    }
    fn seen(&mut self, _: &ProgramEvent) {}
    fn process(&mut self, _: u32) -> Option<ProcessRecord> {
        None
    }
    fn owner(&mut self, own_port: u16, _: SocketAddr) -> Owner {
        if own_port == 7777 {
            Owner::Server
        } else {
            Owner::Unknown
        }
    }
    fn path(&mut self, _: u32) -> Option<Arc<str>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict_bytes() -> VerdictEvent {
        let mut event: VerdictEvent = bytemuck::Zeroable::zeroed();
        event.header.tag = EventTag::Verdict as u32;
        event.header.pid = 4_000_000_000;
        event.header.boot_ns = 77;
        event.judged = VerdictOrigin::Connect as u8;
        event.family = 4;
        event.address[..4].copy_from_slice(&[198, 51, 100, 25]);
        event.port = 25;
        event.reason = Reason::ForeignOrigin as u8;
        event.record.program = 5;
        event.record.culprit = 3;
        event.record.depth = 2;
        event.record.chain[0].program = 3;
        event.record.chain[1].program = 5;
        event
    }

    #[test]
    fn a_verdict_is_read_whole() {
        let event = verdict_bytes();
        let (boot_ns, event) = decode(bytemuck::bytes_of(&event), &mut NoNames)
            .expect("good")
            .expect("an event");
        assert_eq!(boot_ns, 77);
        let Event::Verdict {
            actor,
            judged,
            reason,
            ..
        } = event
        else {
            panic!("{event:?}")
        };
        assert_eq!(reason, Reason::ForeignOrigin);
        assert_eq!(judged.destination(), "198.51.100.25:25".parse().ok());
        assert_eq!(&*actor.program, "/program/5");
        assert_eq!(actor.lineage.links.len(), 2);
        assert_eq!(
            actor
                .lineage
                .culprit
                .map(|culprit| culprit.program.to_string()),
            Some("/program/3".to_owned())
        );
    }

    /// A packet of a socket whose own port is `own_port`, in a task that is not named.
    fn packet(own_port: u16) -> Event {
        let mut event = verdict_bytes();
        event.header.pid = 0;
        event.judged = VerdictOrigin::Packet as u8;
        event.reason = Reason::NoGrant as u8;
        event.own_port = own_port;
        let (_, event) = decode(bytemuck::bytes_of(&event), &mut NoNames)
            .expect("good")
            .expect("an event");
        event
    }

    #[test]
    fn an_event_that_stands_for_many_says_so() {
        let mut event = verdict_bytes();
        for (count, wanted) in [(0, None), (1, None), (1234, Some(1234))] {
            event.count = count;
            let read = decode(bytemuck::bytes_of(&event), &mut NoNames);
            let (_, read) = read.expect("good").expect("an event");
            let count = match read {
                Event::Repeated { event, count } => {
                    assert!(matches!(*event, Event::Verdict { .. }));
                    Some(count)
                }
                _ => None,
            };
            assert_eq!(count, wanted);
        }
    }

    #[test]
    fn a_servers_answer_is_not_a_verdict_about_it() {
        let answer = Event::Answered {
            own_port: 7777,
            destination: SocketAddr::from(([198, 51, 100, 25], 25)),
            observed: false,
        };
        assert_eq!(packet(7777), answer);
        assert!(matches!(packet(40_000), Event::Verdict { .. }));
    }

    #[test]
    fn every_cut_of_a_record_is_an_error_and_no_panic() {
        let event = verdict_bytes();
        let bytes = bytemuck::bytes_of(&event);
        for length in 0..bytes.len() {
            assert!(
                matches!(decode(&bytes[..length], &mut NoNames), Err(Error::Short(_))),
                "{length}"
            );
        }
    }

    #[test]
    fn unknown_codes_are_errors() {
        let mut event = verdict_bytes();
        event.judged = 99;
        assert_eq!(
            decode(bytemuck::bytes_of(&event), &mut NoNames),
            Err(Error::Code("judged"))
        );
        event = verdict_bytes();
        event.family = 7;
        assert_eq!(
            decode(bytemuck::bytes_of(&event), &mut NoNames),
            Err(Error::Code("address family"))
        );
        event.header.tag = 1000;
        assert_eq!(
            decode(bytemuck::bytes_of(&event), &mut NoNames),
            Err(Error::Tag(1000))
        );
    }

    #[test]
    fn a_longer_lineage_says_what_was_lost() {
        let mut record = ProcessRecord::of(&policy::Standing::ROOT);
        record.depth = 40;
        let lineage = lineage(&record, &mut NoNames);
        assert_eq!(lineage.links.len(), abi::CHAIN_LENGTH);
        assert_eq!(lineage.lost, 24);
    }
}
