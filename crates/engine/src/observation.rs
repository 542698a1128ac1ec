//! What the sensors saw, tied to whoever did it. The live gate and the replay of captures
//! build the same observations, so the same rules weigh them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use protocols::{App, Facts, dns, irc};

use crate::event::{Culprit, FlowInfo};

/// Whose conduct is weighed: everything that one culprit led to, or, in a capture, a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A host of a capture, which stands for a lineage.
    Host(IpAddr),
    /// A culprit, or a program that has none, with all that descends from it.
    Lineage {
        /// User that the process runs as. What one user does is no evidence about another.
        uid: u32,
        /// Path of its program; empty when unknown.
        program: Arc<str>,
        /// The process that it was when it began.
        pid: u32,
    },
}

impl Subject {
    /// The lineage of a process: its culprit's, or its own where there is none.
    pub(crate) fn lineage(
        uid: u32,
        culprit: Option<&Culprit>,
        program: &Arc<str>,
        pid: u32,
    ) -> Self {
        let (program, pid) = culprit.map_or((program, pid), |by| (&by.program, by.pid));
        Self::Lineage {
            uid,
            program: program.clone(),
            pid,
        }
    }

    /// The lineage that a connection belongs to.
    pub(crate) fn of(flow: &FlowInfo) -> Self {
        Self::lineage(flow.uid, flow.culprit.as_ref(), &flow.program, flow.pid)
    }

    /// The user whose share of the room it takes. A capture knows no users.
    pub(crate) const fn uid(&self) -> u32 {
        match self {
            Self::Host(_) => 0,
            Self::Lineage { uid, .. } => *uid,
        }
    }
}

/// The transport protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A connection that the subject opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// A number that no other open connection has: the socket's cookie, or the place in the
    /// table of flows with a count.
    pub id: u64,
    /// Its transport protocol.
    pub transport: Transport,
    /// The server.
    pub destination: SocketAddr,
}

/// One fact from a sensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation<'a> {
    /// The subject opened a connection.
    Opened(Connection),
    /// A connection came to nothing: no answer, or it was reset before any payload. Captures
    /// tell this; the live gate tells [`Observation::Burst`].
    Failed(Connection),
    /// The gate refused to let mail out. `destination` is none for a submitter.
    Refused {
        /// The mail server.
        destination: Option<SocketAddr>,
    },
    /// Many connections in a short time, as a scan makes them.
    Burst {
        /// How many.
        connections: u32,
        /// Within how many nanoseconds.
        over_ns: u64,
    },
    /// Payload came in on a connection on which none had come in for a while.
    Inbound {
        /// The connection.
        connection: Connection,
        /// For how many nanoseconds it had been quiet.
        quiet_ns: u64,
    },
    /// It is known what a connection is. Told again when an IRC connection has joined
    /// another channel or changed its nickname.
    Recognised {
        /// The connection.
        connection: Connection,
        /// Its protocol.
        app: App,
        /// What was learned of it so far.
        facts: &'a Facts,
        /// A person chats with a registered chat program: what is said here is no evidence.
        own_chat: bool,
    },
    /// An IRC connection that was recognised before said more.
    Irc {
        /// The connection.
        connection: Connection,
        /// What was said.
        text: &'a irc::Text,
    },
    /// Another host had a conversation with a server of the subject. Captures tell this.
    Served {
        /// In which protocol.
        app: App,
    },
    /// A name was looked up.
    Query(&'a dns::Question),
    /// A connection ended.
    Closed {
        /// The connection.
        connection: Connection,
        /// Payload bytes that the subject sent.
        bytes_up: u64,
        /// Payload bytes that it received.
        bytes_down: u64,
    },
}
