//! Bytes from the ring buffer → events for the engine.
//!
//! The bytes come from our own kernel programs, but a damaged or older record must not do
//! harm: lengths are checked, unknown tags and codes are errors.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use abi::{EventHeader, EventTag, FlowEvent, ProcessRecord, ProgramEvent, TamperEvent, VerdictEvent, VerdictOrigin};
use engine::{Actor, Culprit, Event, FlowInfo, FlowKind, Judged, Lineage, LineageLink, Party};
use policy::{Kind, Origin, Reason, Role, Tamper};

use crate::gate::Gate;
use crate::programs::Programs;
use crate::procfs;

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

/// Where names of programs come from.
pub trait Names {
    /// The name under an index; `None` when it is not known (any more).
    fn name(&mut self, index: u32) -> Option<Arc<str>>;
    /// A program was seen for the first time.
    fn seen(&mut self, event: &ProgramEvent);
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
        EventTag::Verdict => Some(verdict(&read(bytes)?, names)?),
        EventTag::FlowOpened => Some(Event::FlowOpened(flow(&read(bytes)?, names)?)),
        EventTag::FlowClosed => {
            let event: FlowEvent = read(bytes)?;
            let (bytes_sent, bytes_received) = (event.bytes_sent, event.bytes_received);
            Some(Event::FlowClosed { flow: flow(&event, names)?, bytes_sent, bytes_received })
        }
        EventTag::Program => {
            names.seen(&read(bytes)?);
            None
        }
        EventTag::Tamper => {
            let event: TamperEvent = read(bytes)?;
            Some(Event::Tampered {
                by: Party { program: known(names, event.program), pid: event.header.pid },
                uid: event.header.uid,
                target: Party { program: known(names, event.target_program), pid: event.target_pid },
                signs: Tamper(event.signs),
            })
        }
    };
    Ok(event.map(|event| (header.boot_ns, event)))
}

fn read<T: bytemuck::AnyBitPattern>(bytes: &[u8]) -> Result<T, Error> {
    bytes.get(..size_of::<T>()).map(bytemuck::pod_read_unaligned).ok_or(Error::Short(bytes.len()))
}

fn known(names: &mut impl Names, index: u32) -> Arc<str> {
    names.name(index).unwrap_or_else(|| "".into())
}

fn verdict(event: &VerdictEvent, names: &mut impl Names) -> Result<Event, Error> {
    let cookie = event.cookie;
    let judged = match VerdictOrigin::from_code(event.judged).ok_or(Error::Code("judged"))? {
        VerdictOrigin::Connect => Judged::Connect { destination: address(event.address, event.port, event.family)?, cookie },
        VerdictOrigin::Packet => Judged::Packet { destination: address(event.address, event.port, event.family)?, cookie },
        VerdictOrigin::Submit => Judged::Submit,
    };
    let record = &event.record;
    let mut actor = Actor {
        pid: event.header.pid,
        uid: event.header.uid,
        comm: text(&event.comm),
        program: known(names, record.program),
        role: Role::from_code(record.role),
        kind: Kind::from_code(record.kind),
        origin: Origin::from_code(record.origin),
        tampered: Tamper(record.tampered),
        lineage: lineage(record, names),
    };
    if event.known == 0 && actor.pid != 0 {
        // The gate has no record; /proc may still know the name, if nothing more.
        if let Some(path) = procfs::program_path(actor.pid) {
            actor.program = path.to_string_lossy().into();
        }
    }
    Ok(Event::Verdict { actor, judged, reason: Reason::from_code(event.reason), observed: event.observed != 0 })
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
        culprit: (record.culprit != 0)
            .then(|| Culprit { program: known(names, record.culprit), pid: record.culprit_pid }),
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
        culprit: if event.culprit == 0 { None } else { names.name(event.culprit) },
        role: Role::from_code(event.role),
        origin: Origin::from_code(event.origin),
        destination: address(event.address, event.port, event.family)?,
    })
}

fn address(bytes: [u8; 16], port: u16, family: u8) -> Result<SocketAddr, Error> {
    let ip = match family {
        4 => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
        6 => IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical(),
        _ => return Err(Error::Code("address family")),
    };
    Ok(SocketAddr::new(ip, port))
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
