//! The messages between a sandbox's owner and its init: one JSON object in each packet of a
//! sequenced-packet socket, with the standard descriptors of a new process beside it.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The longest message. A packet socket takes about 200 KiB by default.
const LONGEST_BYTES: usize = 128 * 1024;

/// What the owner asks of the init.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Make the namespaces and mounts. The first message, once.
    SetUp(SetUp),
    /// Start a process; three descriptors come with it.
    Start { ticket: u64, order: Order },
    /// Send a signal to a process that was started, or to its process group.
    Signal {
        ticket: u64,
        target: u64,
        signal: i32,
        group: bool,
    },
    /// Copy an executable. The init has no threads, so no descriptor open for writing can leak
    /// into another process and make the copy "busy".
    Copy {
        ticket: u64,
        from: PathBuf,
        to: PathBuf,
    },
}

/// What the init makes before anything else.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SetUp {
    pub cgroup_procs: PathBuf,
    pub addresses: Vec<IpAddr>,
    pub bpffs: PathBuf,
    pub tracefs: Option<PathBuf>,
}

/// A process to start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub argv: Vec<OsString>,
    /// The name the program sees as `argv[0]`, when it is not its path.
    pub arg0: Option<OsString>,
    pub environment: Vec<(OsString, OsString)>,
    pub directory: PathBuf,
    pub user: Option<(u32, u32)>,
    /// Lead a session of its own.
    pub session: bool,
    /// Take standard input as the controlling terminal of that session.
    pub terminal: bool,
    /// The `cgroup.procs` file of the group to join before the exec.
    pub cgroup_procs: Option<PathBuf>,
}

/// What the init answers or reports.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    /// The namespaces stand.
    Ready,
    /// The process runs.
    Started { ticket: u64, pid: u32 },
    /// The request is done.
    Done { ticket: u64 },
    /// The request was not possible.
    Failed {
        ticket: u64,
        what: String,
        errno: i32,
    },
    /// A process that was started has ended.
    Exited { ticket: u64, exit: Exit },
}

/// How a process ended: exactly one of the two is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit status.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl Exit {
    /// Whether it ended by itself with status 0.
    pub const fn success(self) -> bool {
        matches!(self.code, Some(0))
    }
}

/// Sends one message, with descriptors when there are some.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > LONGEST_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "message too long",
        ));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many descriptors",
        ));
    }
    sendmsg(
        socket,
        &[IoSlice::new(&bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Receives one message; `None` when the other side has closed.
pub(crate) fn receive<M: DeserializeOwned>(
    socket: impl AsFd,
) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; LONGEST_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    let descriptors = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    let message = serde_json::from_slice(&buffer[..received.bytes])?;
    Ok(Some((message, descriptors)))
}
