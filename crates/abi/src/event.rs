//! Events: what the kernel programs report through the ring buffer.
//!
//! Each begins with an [`EventHeader`]; its tag tells which struct it is.

#[cfg(feature = "user")]
use bytemuck::{Pod, Zeroable};

use crate::{ProcessRecord, ProgramKey, SCRIPT_PATH_BYTES};

/// Which struct an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EventTag {
    /// A [`VerdictEvent`].
    Verdict = 1,
    /// A [`FlowEvent`]: a watched connection was established.
    FlowOpened = 2,
    /// A [`FlowEvent`]: it is closed, and its grant with it.
    FlowClosed = 3,
    /// A [`ProgramEvent`].
    Program = 4,
    /// A [`TamperEvent`].
    Tamper = 5,
    /// A [`crate::SampleHead`], or a whole [`crate::Sample`]; in a ring buffer of their own.
    Sample = 6,
    /// A [`CodeEvent`]; in a ring buffer of its own, which the keeper reads.
    Code = 7,
    /// A [`ScriptEvent`]; in the keeper's ring buffer too.
    Script = 8,
}

impl EventTag {
    /// Reads a code.
    pub const fn from_code(code: u32) -> Option<Self> {
        match code {
            1 => Some(Self::Verdict),
            2 => Some(Self::FlowOpened),
            3 => Some(Self::FlowClosed),
            4 => Some(Self::Program),
            5 => Some(Self::Tamper),
            6 => Some(Self::Sample),
            7 => Some(Self::Code),
            8 => Some(Self::Script),
            _ => None,
        }
    }
}

/// How every event begins.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct EventHeader {
    /// Code of the [`EventTag`].
    pub tag: u32,
    /// Process, in the initial pid namespace. 0 where no process is to blame for sure.
    pub pid: u32,
    /// Nanoseconds since boot, suspended time included.
    pub boot_ns: u64,
    /// User, in the initial user namespace.
    pub uid: u32,
    /// Zero.
    pub reserved: u32,
}

/// What was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum VerdictOrigin {
    /// A connect() to a mail port.
    Connect = 1,
    /// The exec of a submitter.
    Submit = 2,
    /// A packet to a mail port.
    Packet = 3,
}

impl VerdictOrigin {
    /// Reads a code.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Connect),
            2 => Some(Self::Submit),
            3 => Some(Self::Packet),
            _ => None,
        }
    }
}

/// A verdict was given.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct VerdictEvent {
    /// Tag [`EventTag::Verdict`].
    pub header: EventHeader,
    /// Socket cookie; 0 for a submitter.
    pub cookie: u64,
    /// Destination in network order; IPv4 in the first four bytes.
    pub address: [u8; 16],
    /// Destination port in host order; 0 for a submitter.
    pub port: u16,
    /// 4, 6, or 0 for a submitter.
    pub family: u8,
    /// Code of the [`VerdictOrigin`].
    pub judged: u8,
    /// Code of the [`policy::Reason`]; [`policy::Reason::Permitted`] means allow.
    pub reason: u8,
    /// 1 when the refusal was only noted, because the gate observes.
    pub observed: u8,
    /// Of a packet, the socket's own port in host order; else 0.
    pub own_port: u16,
    /// Name of the thread as the kernel keeps it. A process may choose it freely.
    pub comm: [u8; 16],
    /// 1 when `record` is the process's; 0 when the gate had none.
    pub known: u32,
    /// How many verdicts this event stands for, itself among them.
    pub count: u32,
    /// The process as it was at that moment.
    pub record: ProcessRecord,
}

/// Refusals that are counted together: value of the map `folds`.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Fold {
    /// How many were not told yet.
    pub count: u64,
    /// When the last one was, in nanoseconds since boot.
    pub last_ns: u64,
    /// Since when those are counted that were told at once, in nanoseconds since boot.
    pub since_ns: u64,
    /// How many were told at once since then.
    pub told: u64,
    /// The first of them. Its tag is 0 until it has been written.
    pub first: VerdictEvent,
}

/// So many refusals that are alike are told at once, in each [`FOLD_NS`]. The rest are counted.
pub const FOLD_AFTER: u64 = 4;
/// See [`FOLD_AFTER`]: a second, as a power of two.
pub const FOLD_NS: u64 = 1 << 30;

/// Why a connection is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FlowKind {
    /// It holds a grant for a mail port.
    Grant = 1,
    /// It goes to a port where IRC servers listen.
    Irc = 2,
}

impl FlowKind {
    /// Reads a code.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Grant),
            2 => Some(Self::Irc),
            _ => None,
        }
    }
}

/// A watched connection was established or closed.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct FlowEvent {
    /// Tag [`EventTag::FlowOpened`] or [`EventTag::FlowClosed`]. The process is the one that
    /// connected.
    pub header: EventHeader,
    /// Socket cookie.
    pub cookie: u64,
    /// When connect() was called, in nanoseconds since boot.
    pub connected_ns: u64,
    /// Payload bytes that the other side acknowledged; 0 while open.
    pub bytes_sent: u64,
    /// Payload bytes received; 0 while open.
    pub bytes_received: u64,
    /// Destination in network order; IPv4 in the first four bytes.
    pub address: [u8; 16],
    /// Index of the program that connected.
    pub program: u32,
    /// Index of the culprit in its lineage; 0 when there is none.
    pub culprit: u32,
    /// Process that the culprit was.
    pub culprit_pid: u32,
    /// Destination port in host order.
    pub port: u16,
    /// 4 or 6.
    pub family: u8,
    /// Code of the [`FlowKind`].
    pub kind: u8,
    /// Code of the program's [`policy::Role`].
    pub role: u8,
    /// Code of the process's [`policy::Origin`].
    pub origin: u8,
    /// Zero.
    pub reserved: [u8; 6],
}

/// A program was seen for the first time since the maps were made. Its path stands in the
/// map `programs`.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct ProgramEvent {
    /// Tag [`EventTag::Program`].
    pub header: EventHeader,
    /// Its identity.
    pub key: ProgramKey,
    /// The number by which other events call it.
    pub index: u32,
    /// Zero.
    pub reserved: u32,
}

/// A process lost its trust while it ran.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct TamperEvent {
    /// Tag [`EventTag::Tamper`]. The process is the one that tampered.
    pub header: EventHeader,
    /// The process that was tampered with.
    pub target_pid: u32,
    /// Its program.
    pub target_program: u32,
    /// The program that tampered.
    pub program: u32,
    /// The new signs of [`policy::Tamper`].
    pub signs: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// A look at a mailer's code: value of the map `code_seen`, key the process id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct CodeLook {
    /// How many pages it had to run when it was asked for.
    pub pages: u64,
    /// When it was asked for, in nanoseconds since boot.
    pub asked_ns: u64,
    /// 1 when it has been taken.
    pub taken: u64,
}

/// A mailer that holds a grant has more code than when its code was looked at last, or was never looked
/// at.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct CodeEvent {
    /// Tag [`EventTag::Code`]. The process is the mailer.
    pub header: EventHeader,
    /// Destination of its connection in network order; IPv4 in the first four bytes.
    pub address: [u8; 16],
    /// Destination port in host order.
    pub port: u16,
    /// 4 or 6.
    pub family: u8,
    /// Zero.
    pub reserved: [u8; 5],
}

/// Root has an interpreter run a script of which nobody has looked yet who can write it.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct ScriptEvent {
    /// Tag [`EventTag::Script`]. The process is the one that runs it.
    pub header: EventHeader,
    /// The script's path as the caller wrote it, closed by a zero byte.
    pub path: [u8; SCRIPT_PATH_BYTES],
}
