//! Samples: the first payload bytes of connections, DNS queries, and what else the packet
//! hooks notice of processes that may not send.

#[cfg(feature = "user")]
use bytemuck::{Pod, Zeroable};

use crate::EventHeader;

/// Room for payload in a [`Sample`]. A power of two.
pub const SAMPLE_BYTES: usize = 512;

/// How far the sampling of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SampleState {
    /// Its first packets are reported.
    First = 1,
    /// User space wants to see more of it.
    Followed = 2,
    /// User space knows enough.
    Enough = 3,
    /// As much as may be was reported, and user space has not said what it wants: it is looked
    /// at again when it has been quiet.
    Spent = 4,
    /// Nothing is told of it; it is only read for mail.
    Untold = 5,
}

/// What is known of whether a connection carries mail, though its port is no mail port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MailWatch {
    /// It does not, or nobody asks.
    Over = 0,
    /// The server has said nothing yet.
    Silent = 1,
    /// The server's first reply is a mail server's: 220.
    Suspected = 2,
    /// The client has spoken mail: no more payload leaves.
    Caught = 3,
}

/// What user space wants of a connection: codes of [`Interest::wish`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Wish {
    /// It knows enough.
    Enough = 1,
    /// What follows, within limits: it is IRC.
    Follow = 2,
}

/// What user space knows of a connection: value of the map `interests`, whose key is the
/// socket cookie. It is more than the kernel programs need, so that a daemon learns what the
/// one before it knew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Interest {
    /// Code of the [`Wish`].
    pub wish: u32,
    /// Process that connected.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Index of its program.
    pub program: u32,
    /// Index of the culprit in its lineage; 0 when there is none.
    pub culprit: u32,
    /// Process that the culprit was.
    pub culprit_pid: u32,
    /// Destination in network order; IPv4 in the first four bytes.
    pub address: [u8; 16],
    /// Destination port in host order.
    pub port: u16,
    /// 4 or 6.
    pub family: u8,
    /// Code of the program's role.
    pub role: u8,
    /// Code of the process's origin.
    pub origin: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// A sampled connection: value of the socket storage `samplings`, which dies with its socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Sampling {
    /// When payload came in last, to about a second, in nanoseconds since boot.
    pub received_ns: u64,
    /// When there are new samples to be used, in nanoseconds since boot.
    pub window_ns: u64,
    /// When a packet of the client was held back first since the server said 220, in nanoseconds
    /// since boot; 0 when none was.
    pub held_ns: u64,
    /// When the client told the server that the connection is up, in nanoseconds since boot; 0
    /// before. A server that greets cannot do so earlier.
    pub up_ns: u64,
    /// Process that connected.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Index of its program.
    pub program: u32,
    /// Index of the culprit in its lineage; 0 when there is none.
    pub culprit: u32,
    /// Process that the culprit was.
    pub culprit_pid: u32,
    /// The sequence numbers that come next, sent and received.
    pub next: [u32; 2],
    /// Destination in network order; IPv4 in the first four bytes.
    pub address: [u8; 16],
    /// Destination port in host order.
    pub port: u16,
    /// 4 or 6.
    pub family: u8,
    /// Code of the program's role.
    pub role: u8,
    /// Code of the process's origin.
    pub origin: u8,
    /// Code of the [`SampleState`].
    pub state: u8,
    /// What is left to be reported, sent and received: a packet takes one, and one more for
    /// each 64 bytes.
    pub left: [u8; 2],
    /// 1 where `next` is known, sent and received.
    pub begun: [u8; 2],
    /// 1 when something was reported of it, so that its end is reported too.
    pub told: u8,
    /// Code of the [`MailWatch`].
    pub mail: u8,
    /// The sequence number that the client's next byte has.
    pub line_next: u32,
    /// [`policy::ClientLine::word`].
    pub line_word: u32,
    /// [`policy::ClientLine::letters`].
    pub line_letters: u8,
    /// [`policy::ClientLine::others`].
    pub line_others: u8,
    /// 1 where `line_next` is known.
    pub line_begun: u8,
    /// [`policy::ClientLine::hides`].
    pub line_hides: u8,
    /// How many bytes the client has sent while the server was silent.
    pub line_bytes: u32,
    /// 1 when the client has said that it sends no more.
    pub half_closed: u8,
    /// [`policy::ClientLine::refused`].
    pub line_refused: u8,
    /// 1 when words of mail have left before the server had spoken.
    pub said_mail: u8,
    /// Zero.
    pub reserved: u8,
    /// How many bytes had come in when it said so, and at each packet since; the lower bits.
    pub half_closed_received: u32,
}

/// A server: key of the map `greeted`, whose value is when it said 220 last, in nanoseconds since
/// boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct ServerKey {
    /// Its address in network order; IPv4 in the first four bytes.
    pub address: [u8; 16],
    /// Its port in host order.
    pub port: u16,
    /// 4 or 6.
    pub family: u8,
    /// Zero.
    pub reserved: u8,
}

/// What a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Sampled {
    /// Payload that the process sent.
    Sent = 1,
    /// Payload that it received.
    Received = 2,
    /// A DNS query over UDP.
    Query = 3,
    /// Payload came in after [`SampleHead::quiet_ns`] without; a head alone.
    AfterQuiet = 4,
    /// As many connections in a short time as are sampled; a head alone.
    Burst = 5,
    /// The connection is over; a head alone.
    Closed = 6,
}

impl Sampled {
    /// Reads a code.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Sent),
            2 => Some(Self::Received),
            3 => Some(Self::Query),
            4 => Some(Self::AfterQuiet),
            5 => Some(Self::Burst),
            6 => Some(Self::Closed),
            _ => None,
        }
    }
}

/// How every sample begins.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct SampleHead {
    /// Tag [`crate::EventTag::Sample`]. The process is the one that connected.
    pub header: EventHeader,
    /// Socket cookie.
    pub cookie: u64,
    /// Of [`Sampled::Closed`], payload bytes that the other side acknowledged.
    pub bytes_sent: u64,
    /// Of [`Sampled::Closed`], payload bytes received.
    pub bytes_received: u64,
    /// Of [`Sampled::AfterQuiet`], for how many nanoseconds nothing had come in. Of
    /// [`Sampled::Burst`], within how many.
    pub quiet_ns: u64,
    /// Destination in network order; IPv4 in the first four bytes.
    pub address: [u8; 16],
    /// Index of the program that connected.
    pub program: u32,
    /// Index of the culprit in its lineage; 0 when there is none.
    pub culprit: u32,
    /// Process that the culprit was.
    pub culprit_pid: u32,
    /// Payload bytes of the packet, captured or not; of [`Sampled::Burst`], connections.
    pub wire_bytes: u32,
    /// Destination port in host order.
    pub port: u16,
    /// 4 or 6; 0 for [`Sampled::Burst`].
    pub family: u8,
    /// Code of the program's [`policy::Role`].
    pub role: u8,
    /// Code of the process's [`policy::Origin`].
    pub origin: u8,
    /// Code of the [`Sampled`].
    pub what: u8,
    /// 1 when payload before it is missing.
    pub gap: u8,
    /// Zero.
    pub reserved: u8,
    /// Payload bytes in the sample.
    pub length: u32,
    /// Zero.
    pub reserved2: u32,
}

/// A sample with payload.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Sample {
    /// What it is.
    pub head: SampleHead,
    /// The payload; undefined after [`SampleHead::length`] bytes.
    pub data: [u8; SAMPLE_BYTES],
}
