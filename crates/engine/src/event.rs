//! What the engine is told. Plain data: the decoder of kernel events, the replay of
//! captures and the tests all build these.

use std::net::SocketAddr;
use std::sync::Arc;

use policy::{Cause, Kind, Origin, Reason, Role, Tamper};
use serde::{Deserialize, Serialize};

use crate::words;

/// Nanoseconds since 1970, UTC. Always passed in, never read from a clock.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The moment `nanoseconds` later; the end of time when that is past it.
    #[must_use]
    pub const fn plus_ns(self, nanoseconds: u64) -> Self {
        Self(self.0.saturating_add(nanoseconds))
    }

    /// Nanoseconds from `earlier` to this moment; 0 when `earlier` is later.
    pub const fn since_ns(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// One exec in a lineage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineageLink {
    /// Path of the program; empty when it could not be recorded.
    pub program: Arc<str>,
    /// Process that called exec, in the initial pid namespace.
    pub pid: u32,
    /// What the program was registered as.
    #[serde(with = "words::role")]
    pub role: Role,
    /// Whose will the process carried after the exec.
    #[serde(with = "words::origin")]
    pub origin: Origin,
    /// How the program comes to act.
    #[serde(with = "words::kind")]
    pub kind: Kind,
    /// Read from /proc instead of being recorded as it happened: older than the gate.
    pub seeded: bool,
}

/// The first program in a lineage that made its origin foreign.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Culprit {
    /// Its path.
    pub program: Arc<str>,
    /// The process that it was when it became the culprit.
    pub pid: u32,
}

/// The chain of execs that led to a process, as recorded when they happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// Oldest first.
    pub links: Vec<LineageLink>,
    /// How many links were lost between the last one and the one before it.
    pub lost: u32,
    /// Who made the origin foreign, if anybody did.
    pub culprit: Option<Culprit>,
}

/// The process that a verdict is about, as it was at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Process; 0 where none is to blame for sure.
    pub pid: u32,
    /// User that it runs as.
    pub uid: u32,
    /// Its name for itself. A process may choose it freely, so it proves nothing.
    pub comm: String,
    /// Path of its program; empty when unknown.
    pub program: Arc<str>,
    /// What the program is registered as.
    pub role: Role,
    /// How the program comes to act.
    pub kind: Kind,
    /// Whose will it carries.
    pub origin: Origin,
    /// Signs of tampering.
    pub tampered: Tamper,
    /// The variable or argument that was the first of them.
    pub cause: Option<Cause>,
    /// How it came to be.
    pub lineage: Lineage,
}

impl Actor {
    /// Path of the culprit, or of the program itself when the lineage has none: whom
    /// findings and warnings are counted for.
    pub fn answerable(&self) -> &Arc<str> {
        self.lineage
            .culprit
            .as_ref()
            .map_or(&self.program, |culprit| &culprit.program)
    }
}

/// What was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// A connect() to a mail port.
    Connect {
        /// Where to.
        destination: SocketAddr,
        /// The socket.
        cookie: u64,
    },
    /// The exec of a submitter.
    Submit,
    /// A packet to a mail port from a socket without a grant.
    Packet {
        /// Where to.
        destination: SocketAddr,
        /// The socket.
        cookie: u64,
    },
}

impl Judged {
    /// Where the mail would have gone; none for a submitter.
    pub const fn destination(&self) -> Option<SocketAddr> {
        match self {
            Self::Connect { destination, .. } | Self::Packet { destination, .. } => {
                Some(*destination)
            }
            Self::Submit => None,
        }
    }
}

/// Why a connection is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowKind {
    /// It holds a grant for a mail port.
    Grant,
    /// It is IRC, or goes to a port where IRC servers listen.
    Irc,
    /// Its process may not send, so that what it says is looked at.
    Sampled,
}

/// A watched connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowInfo {
    /// The socket.
    pub cookie: u64,
    /// Why it is watched.
    pub kind: FlowKind,
    /// Process that connected.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its program.
    pub program: Arc<str>,
    /// The culprit in its lineage.
    pub culprit: Option<Culprit>,
    /// What the program is registered as.
    pub role: Role,
    /// Whose will the process carries.
    pub origin: Origin,
    /// The server.
    pub destination: SocketAddr,
}

impl FlowInfo {
    /// A person chatting with a registered chat program: this IRC does not count.
    pub fn is_users_own_chat(&self) -> bool {
        self.role == Role::Chat && self.origin == Origin::User
    }
}

/// Payload of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// As much as was captured.
    pub bytes: Vec<u8>,
    /// Bytes before it are missing.
    pub gap_before: bool,
    /// Bytes after it are missing.
    pub gap_after: bool,
}

/// What was noticed of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SampleKind {
    /// The process sent this.
    Sent(Payload),
    /// It received this.
    Received(Payload),
    /// It sent this datagram to a DNS server.
    Query(Vec<u8>),
    /// Payload came in after none had for a while.
    AfterQuiet {
        /// For how many nanoseconds.
        quiet_ns: u64,
    },
    /// The process opened many connections at once.
    Burst {
        /// How many.
        connections: u32,
        /// Within how many nanoseconds.
        over_ns: u64,
    },
    /// The connection is over.
    Closed {
        /// Payload bytes that the other side acknowledged.
        bytes_sent: u64,
        /// Payload bytes received.
        bytes_received: u64,
    },
}

/// Something that the gate noticed of a process that may not send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The connection, and whose it is.
    pub flow: FlowInfo,
    /// What was noticed.
    pub kind: SampleKind,
}

/// A process and its program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Path of the program; empty when unknown.
    pub program: Arc<str>,
    /// The process.
    pub pid: u32,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The gate decided.
    Verdict {
        /// About whom.
        actor: Actor,
        /// About what.
        judged: Judged,
        /// [`Reason::Permitted`] means allow.
        reason: Reason,
        /// The refusal was only noted, because the gate observes.
        observed: bool,
    },
    /// A verdict or an answer, several times: only the first of them is known in full.
    Repeated {
        /// The first of them.
        event: Box<Event>,
        /// How often.
        count: u64,
    },
    /// A server of this machine answered somebody whose connection came from a mail port, and
    /// the packet was dropped like any other without a grant.
    Answered {
        /// The server's port.
        own_port: u16,
        /// Who was to have the answer.
        destination: SocketAddr,
        /// It was only noted, because the gate observes.
        observed: bool,
    },
    /// A watched connection was established, or is still open from before a restart.
    FlowOpened(FlowInfo),
    /// A watched connection was closed, and its grant with it.
    FlowClosed {
        /// The connection.
        flow: FlowInfo,
        /// Payload bytes that the other side acknowledged.
        bytes_sent: u64,
        /// Payload bytes received.
        bytes_received: u64,
    },
    /// What a process that may not send does on the network.
    Sampled(Sample),
    /// A sampled connection was found to be IRC before a restart, and may still be open.
    Followed(FlowInfo),
    /// A process lost its trust while it ran.
    Tampered {
        /// Who did it.
        by: Party,
        /// As which user.
        uid: u32,
        /// To whom.
        target: Party,
        /// What was done.
        signs: Tamper,
    },
    /// Something that the kernel programs could not report, since the last such event.
    Lost {
        /// What, in words: "verdicts and connections".
        what: &'static str,
        /// How many.
        count: u64,
    },
    /// The daemon's own: started, adopted, configuration read again, program verified again.
    Notice {
        /// One sentence.
        text: String,
    },
}
