//! The table of requests: everything that the watcher can ask of the keeper.
//!
//! Beside each stands the worst that a watcher can do with it whose program a stranger runs.
//! None of them can permit anything: no program can be registered, no setting changed, no
//! grant given, no file named.
//!
//! A packet is the number of the request and its fields, little-endian, of fixed size. Only
//! [`Request::Open`], [`Request::Warn`], [`Request::Unit`] and [`Request::Syslog`] have parts whose length varies; they come last.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use abi::{Interest, ProgramKey, Wish};

/// A longer packet is no request.
pub const REQUEST_BYTES_MAX: usize = 12 * 1024;
/// Sockets that can be asked about at once.
pub const OPEN_MAX: usize = 512;
/// Answers [`Request::Owner`] where the connection is a server's. No process has this number.
pub const OF_A_SERVER: u32 = 0;
/// Of a warning's heading.
pub const TITLE_BYTES_MAX: usize = 1024;
/// Of a warning's text.
pub const BODY_BYTES_MAX: usize = 8 * 1024;
/// Of a line for the system log, without what the keeper adds.
pub const LINE_BYTES_MAX: usize = 4 * 1024;
/// Processes that one question about a unit names.
pub const UNIT_PIDS_MAX: usize = 8;

/// A question of the watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The record that the gate has of a process.
    ///
    /// Worst: learns the lineage of any process, which the reports tell it anyway.
    Process {
        /// Process id.
        pid: u32,
    },
    /// The name of a program that was seen.
    ///
    /// Worst: learns where programs lie.
    Program {
        /// Its identity, as a report has it.
        key: ProgramKey,
    },
    /// The names of all programs that were seen, from one on.
    ///
    /// Worst: the same, and keeps the keeper busy for some milliseconds at a time; between two
    /// requests it looks after everything else.
    Programs {
        /// So many are passed over.
        skip: u32,
    },
    /// Which process holds a TCP connection, or that somebody listens at the socket's own port.
    ///
    /// Worst: learns it of every connection of the machine; time, a bounded amount, and then
    /// the owners that it does not look for itself are unknown.
    Owner {
        /// The socket's own port.
        own_port: u16,
        /// The other side.
        remote: SocketAddr,
    },
    /// Which program a process runs, by /proc.
    ///
    /// Worst: learns it of every process.
    Path {
        /// Process id.
        pid: u32,
    },
    /// The kernel's counters.
    ///
    /// Worst: nothing; anybody may ask for them.
    Counters,
    /// The gate's state, for `status`.
    ///
    /// Worst: nothing beyond what anybody may ask for; time, as above.
    Gate,
    /// The registered programs, from one on.
    ///
    /// Worst: nothing; anybody may ask for them.
    Registered {
        /// So many are passed over.
        skip: u32,
    },
    /// The connections that an earlier watcher wanted to see, from one on.
    ///
    /// Worst: learns who speaks IRC.
    Followed {
        /// So many are passed over.
        skip: u32,
    },
    /// What is wanted of a sampled connection from now on.
    ///
    /// Worst: no bot's traffic is looked at any more, or the next watcher believes in IRC that
    /// is none: findings are missing or wrong. Verdicts don't depend on it; a finding by an
    /// illegal send comes all the same. The table has a bound, and what is in it goes with its
    /// sockets.
    SetInterest {
        /// Cookie of the socket.
        cookie: u64,
        /// What is wanted, and what the next watcher is to know.
        interest: Interest,
    },
    /// Connections to ports of IRC, by /proc.
    ///
    /// Worst: learns of them; time, a bounded amount.
    OlderIrc,
    /// Which of these sockets are still connected, by /proc.
    ///
    /// Worst: learns it; time, as above.
    Open {
        /// Their inode numbers, at most [`OPEN_MAX`].
        inodes: Vec<u64>,
    },
    /// Show a warning on a user's desktop.
    ///
    /// Worst: people read warnings that a stranger wrote, so many a minute as the keeper lets
    /// through. They are plain text: no link, no picture, no control characters.
    Warn {
        /// User id.
        uid: u32,
        /// Whether it is about a bot.
        urgent: bool,
        /// Heading, at most [`TITLE_BYTES_MAX`].
        title: String,
        /// Text, at most [`BODY_BYTES_MAX`].
        body: String,
    },
    /// The unit of the service manager that a process belongs to, and the script that an interpreter
    /// runs, by /proc.
    ///
    /// Worst: learns both of every process.
    Unit {
        /// Processes, at most [`UNIT_PIDS_MAX`]: the first that still lives counts.
        pids: Vec<u32>,
        /// The interpreter; 0 for none.
        interpreter: u32,
    },
    /// Report refused mail to the machine's system log.
    ///
    /// Worst: administrators read lines that a stranger wrote, so many a minute as the keeper lets
    /// through. Each begins as those of this program do, and has no control characters.
    Syslog {
        /// User id.
        uid: u32,
        /// So many more were left out.
        left_out: u32,
        /// The line, at most [`LINE_BYTES_MAX`].
        line: String,
    },
    /// Refusals that were counted together and have come to rest.
    ///
    /// Worst: takes them and writes nothing down, as with every report. What the kernel counted
    /// stays counted in `status`.
    Folded,
    /// It works: the answer to [`News::Ping`](super::news::News::Ping).
    ///
    /// Worst: it says so and does nothing else.
    Pong,
}

/// Why a packet is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRequest(pub &'static str);

impl Request {
    /// As a packet.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            Self::Process { pid } => {
                out.push(1);
                out.extend(pid.to_le_bytes());
            }
            Self::Program { key } => {
                out.push(2);
                out.extend_from_slice(bytemuck::bytes_of(key));
            }
            Self::Programs { skip } => {
                out.push(3);
                out.extend(skip.to_le_bytes());
            }
            Self::Owner { own_port, remote } => {
                out.push(4);
                out.extend(own_port.to_le_bytes());
                out.extend(encode_address(*remote));
            }
            Self::Path { pid } => {
                out.push(5);
                out.extend(pid.to_le_bytes());
            }
            Self::Counters => out.push(6),
            Self::Gate => out.push(7),
            Self::Registered { skip } => {
                out.push(8);
                out.extend(skip.to_le_bytes());
            }
            Self::Followed { skip } => {
                out.push(9);
                out.extend(skip.to_le_bytes());
            }
            Self::SetInterest { cookie, interest } => {
                out.push(10);
                out.extend(cookie.to_le_bytes());
                out.extend_from_slice(bytemuck::bytes_of(interest));
            }
            Self::OlderIrc => out.push(11),
            Self::Open { inodes } => {
                out.push(12);
                for inode in inodes {
                    out.extend(inode.to_le_bytes());
                }
            }
            Self::Warn {
                uid,
                urgent,
                title,
                body,
            } => {
                out.push(13);
                out.extend(uid.to_le_bytes());
                out.push((*urgent).into());
                out.extend((title.len() as u16).to_le_bytes());
                out.extend_from_slice(title.as_bytes());
                out.extend_from_slice(body.as_bytes());
            }
            Self::Unit { pids, interpreter } => {
                out.push(32);
                out.extend(interpreter.to_le_bytes());
                for pid in pids {
                    out.extend(pid.to_le_bytes());
                }
            }
            Self::Syslog {
                uid,
                left_out,
                line,
            } => {
                out.push(33);
                out.extend(uid.to_le_bytes());
                out.extend(left_out.to_le_bytes());
                out.extend_from_slice(line.as_bytes());
            }
            Self::Pong => out.push(14),
            Self::Folded => out.push(15),
        }
        out
    }

    /// Reads a packet.
    ///
    /// # Errors
    ///
    /// When a byte is missing, left over, or not as it must be.
    pub fn decode(packet: &[u8]) -> Result<Self, NoRequest> {
        if packet.len() > REQUEST_BYTES_MAX {
            return Err(NoRequest("it is too long"));
        }
        let mut rest = Rest(packet);
        let request = match rest.number::<1>()? {
            [1] => Self::Process { pid: rest.u32()? },
            [2] => Self::Program {
                key: bytemuck::pod_read_unaligned(&rest.number::<{ size_of::<ProgramKey>() }>()?),
            },
            [3] => Self::Programs { skip: rest.u32()? },
            [4] => Self::Owner {
                own_port: u16::from_le_bytes(rest.number()?),
                remote: rest.address()?,
            },
            [5] => Self::Path { pid: rest.u32()? },
            [6] => Self::Counters,
            [7] => Self::Gate,
            [8] => Self::Registered { skip: rest.u32()? },
            [9] => Self::Followed { skip: rest.u32()? },
            [10] => Self::SetInterest {
                cookie: u64::from_le_bytes(rest.number()?),
                interest: rest.interest()?,
            },
            [11] => Self::OlderIrc,
            [12] => Self::Open {
                inodes: rest.inodes()?,
            },
            [13] => rest.warning()?,
            [32] => Self::Unit {
                interpreter: rest.u32()?,
                pids: rest.pids()?,
            },
            [33] => Self::Syslog {
                uid: rest.u32()?,
                left_out: rest.u32()?,
                line: rest.line()?,
            },
            [14] => Self::Pong,
            [15] => Self::Folded,
            _ => return Err(NoRequest("it has an unknown number")),
        };
        if rest.0.is_empty() {
            Ok(request)
        } else {
            Err(NoRequest("it has bytes left over"))
        }
    }
}

/// An address in 19 bytes: family, address (IPv4 in the first four bytes), port.
pub fn encode_address(address: SocketAddr) -> [u8; 19] {
    let mut out = [0; 19];
    match address.ip() {
        IpAddr::V4(ip) => {
            out[0] = 4;
            out[1..5].copy_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out[0] = 6;
            out[1..17].copy_from_slice(&ip.octets());
        }
    }
    out[17..].copy_from_slice(&address.port().to_le_bytes());
    out
}

/// The same, read.
///
/// # Errors
///
/// When the family is unknown, or bytes that mean nothing are not zero.
pub fn decode_address(bytes: [u8; 19]) -> Result<SocketAddr, NoRequest> {
    let [family, ip @ .., low, high] = bytes;
    let ip: IpAddr = match family {
        4 if ip[4..].iter().all(|byte| *byte == 0) => {
            Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3]).into()
        }
        6 => Ipv6Addr::from(ip).into(),
        _ => return Err(NoRequest("it has no address")),
    };
    Ok(SocketAddr::new(ip, u16::from_le_bytes([low, high])))
}

/// What of a packet was not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], NoRequest> {
        let (piece, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(NoRequest("it is too short"))?;
        self.0 = rest;
        Ok(piece)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], NoRequest> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, NoRequest> {
        self.number().map(u32::from_le_bytes)
    }

    fn address(&mut self) -> Result<SocketAddr, NoRequest> {
        self.number().and_then(decode_address)
    }

    fn interest(&mut self) -> Result<Interest, NoRequest> {
        let bytes = self.number::<{ size_of::<Interest>() }>()?;
        let interest: Interest = bytemuck::pod_read_unaligned(&bytes);
        let wishes = [Wish::Enough as u32, Wish::Follow as u32];
        if !wishes.contains(&interest.wish)
            || ![4, 6].contains(&interest.family)
            || interest.reserved != [0; 3]
        {
            return Err(NoRequest("it has no interest"));
        }
        Ok(interest)
    }

    fn inodes(&mut self) -> Result<Vec<u64>, NoRequest> {
        if self.0.len() > OPEN_MAX * size_of::<u64>() {
            return Err(NoRequest("it asks about too many sockets"));
        }
        let mut inodes = Vec::with_capacity(self.0.len() / size_of::<u64>());
        while !self.0.is_empty() {
            inodes.push(u64::from_le_bytes(self.number()?));
        }
        Ok(inodes)
    }

    fn pids(&mut self) -> Result<Vec<u32>, NoRequest> {
        if self.0.len() > UNIT_PIDS_MAX * size_of::<u32>() {
            return Err(NoRequest("it asks about too many processes"));
        }
        let mut pids = Vec::with_capacity(UNIT_PIDS_MAX);
        while !self.0.is_empty() {
            pids.push(self.u32()?);
        }
        Ok(pids)
    }

    fn line(&mut self) -> Result<String, NoRequest> {
        if self.0.len() > LINE_BYTES_MAX {
            return Err(NoRequest("it has too long a text"));
        }
        text(self.take(self.0.len())?)
    }

    fn warning(&mut self) -> Result<Request, NoRequest> {
        let uid = self.u32()?;
        let urgent = match self.number()? {
            [0] => false,
            [1] => true,
            _ => return Err(NoRequest("it has neither yes nor no")),
        };
        let title_bytes = usize::from(u16::from_le_bytes(self.number()?));
        if title_bytes > TITLE_BYTES_MAX || self.0.len() > title_bytes + BODY_BYTES_MAX {
            return Err(NoRequest("it has too long a text"));
        }
        let title = text(self.take(title_bytes)?)?;
        let body = text(self.take(self.0.len())?)?;
        Ok(Request::Warn {
            uid,
            urgent,
            title,
            body,
        })
    }
}

fn text(bytes: &[u8]) -> Result<String, NoRequest> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| NoRequest("it has a text that is none"))
}

#[cfg(test)]
mod tests;
