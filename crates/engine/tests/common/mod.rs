//! Processes and connections that the tests speak about.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::net::SocketAddr;
use std::sync::Arc;

use engine::*;
use policy::{Kind, Origin, Reason, Role, Tamper};

pub const SECOND: u64 = 1_000_000_000;
pub const START: Timestamp = Timestamp(1_767_225_600 * SECOND);

pub fn at(seconds: u64) -> Timestamp {
    START.plus_ns(seconds * SECOND)
}

pub fn server(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], port))
}

pub fn link(program: &str, pid: u32, role: Role, origin: Origin) -> LineageLink {
    LineageLink {
        program: program.into(),
        pid,
        role,
        origin,
        kind: Kind::Batch,
        seeded: false,
    }
}

/// A bot with its own SMTP engine, started from the desktop (the paper's figure 3).
pub fn bot(path: &str, pid: u32) -> Actor {
    Actor {
        pid,
        uid: 1000,
        comm: "bot".to_owned(),
        program: path.into(),
        role: Role::Unknown,
        kind: Kind::Batch,
        origin: Origin::Foreign,
        tampered: Tamper::NONE,
        cause: None,
        lineage: Lineage {
            links: vec![
                link("/usr/lib/systemd/systemd", 1, Role::System, Origin::System),
                link("/usr/bin/gnome-shell", 1200, Role::Session, Origin::User),
                link(path, pid, Role::Unknown, Origin::Foreign),
            ],
            lost: 0,
            culprit: Some(Culprit {
                program: path.into(),
                pid,
            }),
        },
    }
}

/// A mailer that a bot drives (figure 4).
pub fn driven_mailer() -> Actor {
    let mut actor = bot("/opt/bot", 4242);
    actor.pid = 4243;
    actor.program = "/usr/bin/msmtp".into();
    actor.role = Role::Mailer;
    actor
        .lineage
        .links
        .push(link("/usr/bin/msmtp", 4243, Role::Mailer, Origin::Foreign));
    actor
}

pub fn connect(actor: Actor, host: u8, reason: Reason) -> Event {
    Event::Verdict {
        actor,
        judged: Judged::Connect {
            destination: server(host, 25),
            cookie: 7,
        },
        reason,
        observed: false,
    }
}

pub fn irc(cookie: u64, pid: u32, program: &str) -> FlowInfo {
    FlowInfo {
        cookie,
        kind: FlowKind::Irc,
        pid,
        uid: 1000,
        program: program.into(),
        culprit: Some(Culprit {
            program: program.into(),
            pid,
        }),
        role: Role::Unknown,
        origin: Origin::Foreign,
        destination: server(66, 6667),
    }
}

pub fn findings(actions: &[Action]) -> Vec<&FindingEntry> {
    let found = actions.iter().filter_map(|action| match action {
        Action::Append(Entry::Finding(finding)) => Some(finding),
        _ => None,
    });
    found.collect()
}

pub fn warnings(actions: &[Action]) -> Vec<&Warning> {
    let warned = actions.iter().filter_map(|action| match action {
        Action::Warn(warning) => Some(warning),
        Action::Append(_) | Action::Sample { .. } => None,
    });
    warned.collect()
}

pub fn signs(finding: &FindingEntry) -> Vec<Sign> {
    finding
        .evidence
        .iter()
        .map(|evidence| evidence.what)
        .collect()
}

pub fn path(text: &str) -> Arc<str> {
    text.into()
}
