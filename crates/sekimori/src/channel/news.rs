//! What the keeper sends: first of all what the watcher has to know, then answers and news.
//! The watcher trusts it.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// No packet is longer.
pub const PACKET_BYTES_MAX: usize = 64 * 1024;
/// A list is cut to this, and the rest asked for again.
pub const LIST_BYTES_MAX: usize = 32 * 1024;
/// The first packet comes with so many descriptors: events, samples, control socket, folder.
pub const DESCRIPTORS: usize = 4;

/// The first packet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The state folder as people call it.
    pub state: PathBuf,
    /// Whom to become: user and group.
    pub account: (u32, u32),
    /// The keeper's process id.
    pub keeper: u32,
    /// For how long it has been running.
    pub keeper_seconds: u64,
    /// The guarded cgroup.
    pub cgroup: PathBuf,
    /// The gate was there already.
    pub adopted: bool,
    /// Processes that were recorded from /proc.
    pub seeded: u32,
    /// Of these, foreign.
    pub foreign: u32,
    /// Whether log lines have colours.
    pub colour: bool,
    /// The first watcher of this keeper.
    pub first: bool,
    /// How long entries are kept.
    pub retention: Retention,
    /// Ports that mail goes to.
    pub mail_ports: Vec<u16>,
}

/// How long entries of the journal are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Days.
    pub days: u32,
    /// Entries.
    pub entries: u64,
}

/// What the keeper says unasked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    /// Something for the journal.
    Notice(String),
    /// A mailer with a grant runs code of others, and its grants have ended.
    Loaded {
        /// The mailer.
        pid: u32,
        /// Its user.
        uid: u32,
        /// Where its mail was to go.
        destination: SocketAddr,
        /// The file; none where it could not be seen in time what the mailer runs.
        file: Option<String>,
        /// The gate only observes.
        observed: bool,
    },
    /// The configuration was read again.
    Reloaded {
        /// How long entries are kept.
        retention: Retention,
        /// Ports that mail goes to.
        mail_ports: Vec<u16>,
    },
    /// Say [`Request::Pong`](super::request::Request::Pong).
    Ping,
    /// Read what is left, and end.
    End,
}

/// A packet of the keeper's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// There is none of what was asked for.
    None,
    /// An answer.
    Answer(Vec<u8>),
    /// What was asked for failed.
    Failed(String),
    /// No answer.
    News(News),
}

impl Packet {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (tag, rest) = match self {
            Self::None => (0, Vec::new()),
            Self::Answer(bytes) => (1, bytes.clone()),
            Self::Failed(text) => (2, text.clone().into_bytes()),
            Self::News(news) => (3, serde_json::to_vec(news).unwrap_or_default()),
        };
        let mut out = Vec::with_capacity(1 + rest.len());
        out.push(tag);
        out.extend(rest);
        out
    }

    /// Reads one; `None` when it is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        match tag {
            0 => Some(Self::None),
            1 => Some(Self::Answer(rest.to_vec())),
            2 => Some(Self::Failed(String::from_utf8_lossy(rest).into_owned())),
            3 => serde_json::from_slice(rest).ok().map(Self::News),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_arrive_as_they_were() {
        for packet in [
            Packet::None,
            Packet::Answer(vec![1, 2, 3]),
            Packet::Failed("no".to_owned()),
            Packet::News(News::Notice("x\ny".to_owned())),
            Packet::News(News::Ping),
            Packet::News(News::End),
        ] {
            assert_eq!(Packet::decode(&packet.encode()), Some(packet));
        }
        assert_eq!(Packet::decode(&[]), None);
        assert_eq!(Packet::decode(&[9]), None);
    }
}
