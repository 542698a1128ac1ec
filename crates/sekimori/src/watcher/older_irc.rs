//! IRC connections that are older than this watcher: the gate reports only those that are
//! established while somebody listens. On the usual ports the keeper finds them in /proc; of
//! those on other ports the gate knows what an earlier watcher found out.

use std::net::SocketAddr;
use std::sync::Arc;

use abi::ProcessRecord;
use engine::{Event, FlowInfo, FlowKind};
use linux::decode::{Names as _, culprit};
use linux::sample;
use policy::Standing;

use super::Watcher;
use super::names::Asked;
use crate::channel::request::{OPEN_MAX, Request, decode_address};
use crate::clock;
use crate::output::trouble;

/// Their sockets' inode numbers take the place of cookies, with this bit so that the two are
/// never mixed up.
const BY_INODE: u64 = 1 << 63;

/// What was going on when the watcher started and has not ended yet.
#[derive(Default)]
pub struct OlderIrc(Vec<FlowInfo>);

/// One of them, as the keeper found it.
struct Found {
    inode: u64,
    pid: u32,
    uid: u32,
    remote: SocketAddr,
}

impl Found {
    const BYTES: usize = 35;

    fn read(bytes: &[u8]) -> Option<Self> {
        let (inode, rest) = bytes.split_first_chunk()?;
        let (pid, rest) = rest.split_first_chunk()?;
        let (uid, rest) = rest.split_first_chunk()?;
        Some(Self {
            inode: u64::from_le_bytes(*inode),
            pid: u32::from_le_bytes(*pid),
            uid: u32::from_le_bytes(*uid),
            remote: decode_address(rest.try_into().ok()?).ok()?,
        })
    }
}

impl Watcher {
    /// Tells the engine of the IRC connections that are there already.
    pub(super) fn find_older_irc(&mut self) {
        self.take_over_irc();
        let list = self.link.ask(&Request::OlderIrc);
        let list = list.ok().flatten().unwrap_or_default();
        for found in list.chunks_exact(Found::BYTES).filter_map(Found::read) {
            let mut names = Asked {
                link: &mut self.link,
                known: &mut self.known,
            };
            let record = names.process(found.pid);
            let record = record.unwrap_or(ProcessRecord::of(&Standing::STRANGER));
            let program = names
                .name(record.program)
                .or_else(|| names.path(found.pid))
                .unwrap_or_else(|| Arc::from(""));
            let standing = record.standing();
            let flow = FlowInfo {
                cookie: found.inode | BY_INODE,
                kind: FlowKind::Irc,
                pid: found.pid,
                uid: found.uid,
                program,
                culprit: culprit(&mut names, record.culprit, record.culprit_pid),
                role: standing.role,
                origin: standing.origin,
                destination: found.remote,
            };
            self.older_irc.0.push(flow.clone());
            let now = clock::now();
            let actions = self.engine.handle(Event::FlowOpened(flow), now);
            self.perform(actions, now);
        }
    }

    /// Tells the engine of those that the gate goes on following. Their end is reported.
    fn take_over_irc(&mut self) {
        for (cookie, interest) in self.interests() {
            let mut names = Asked {
                link: &mut self.link,
                known: &mut self.known,
            };
            match sample::followed(cookie, &interest, &mut names) {
                Ok(Some(flow)) => {
                    let now = clock::now();
                    let actions = self.engine.handle(Event::Followed(flow), now);
                    self.perform(actions, now);
                }
                Ok(None) => {}
                Err(error) => trouble(&error.to_string()),
            }
        }
    }

    /// Tells the engine which of them have ended. Called before reports are taken, and free
    /// once there are none left.
    pub(super) fn end_older_irc(&mut self) {
        if self.older_irc.0.is_empty() {
            return;
        }
        let now = clock::now();
        let all = std::mem::take(&mut self.older_irc.0);
        for some in all.chunks(OPEN_MAX) {
            let inodes = some.iter().map(|flow| flow.cookie & !BY_INODE).collect();
            let open = self.link.ask(&Request::Open { inodes });
            let open = open.ok().flatten().unwrap_or_default();
            for (at, flow) in some.iter().enumerate() {
                if open.get(at) == Some(&1) {
                    self.older_irc.0.push(flow.clone());
                    continue;
                }
                let closed = Event::FlowClosed {
                    flow: flow.clone(),
                    bytes_sent: 0,
                    bytes_received: 0,
                };
                let actions = self.engine.handle(closed, now);
                self.perform(actions, now);
            }
        }
    }
}
