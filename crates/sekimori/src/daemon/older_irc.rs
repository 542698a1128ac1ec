//! IRC connections that are older than this daemon: the gate reports only those that are
//! established while somebody listens. On the usual ports they are found in /proc; of those
//! on other ports the gate knows what an earlier daemon found out.

use abi::ProcessRecord;
use engine::{Event, FlowInfo, FlowKind};
use linux::decode::{GateNames, Names as _};
use linux::{procfs, sample};
use policy::Standing;

use super::Daemon;
use crate::clock;

/// Their sockets' inode numbers take the place of cookies, with this bit so that the two are
/// never mixed up.
const BY_INODE: u64 = 1 << 63;

/// What was going on when the daemon started and has not ended yet.
#[derive(Default)]
pub struct OlderIrc(Vec<FlowInfo>);

impl Daemon {
    /// Tells the engine of the IRC connections that are there already.
    pub(super) fn find_older_irc(&mut self) {
        self.take_over_irc();
        let found: Vec<_> = procfs::connections()
            .into_iter()
            .filter(|one| {
                one.established
                    && one.inode != 0
                    && self.config.irc_ports.contains(&one.remote.port())
            })
            .filter_map(|one| Some((one, procfs::socket_owner(one.inode)?)))
            .collect();
        for (connection, pid) in found {
            let record = self
                .gate
                .process(pid)
                .unwrap_or(ProcessRecord::of(&Standing::STRANGER));
            let mut names = GateNames {
                gate: &self.gate,
                programs: &mut self.programs,
            };
            let program = names.name(record.program).unwrap_or_else(|| {
                procfs::program_path(pid)
                    .map(|path| path.to_string_lossy().into())
                    .unwrap_or_else(|| "".into())
            });
            let standing = record.standing();
            let flow = FlowInfo {
                cookie: connection.inode | BY_INODE,
                kind: FlowKind::Irc,
                pid,
                uid: procfs::user(pid).unwrap_or(record.uid),
                program,
                culprit: names.name(record.culprit),
                role: standing.role,
                origin: standing.origin,
                destination: connection.remote,
            };
            self.older_irc.0.push(flow.clone());
            let now = clock::now();
            let actions = self.engine.handle(Event::FlowOpened(flow), now);
            self.outbox.perform(&mut self.journal, actions, now);
        }
    }

    /// Tells the engine of those that the gate goes on following. Their end is reported.
    fn take_over_irc(&mut self) {
        let known: Vec<_> = self.gate.interests().collect();
        for (cookie, interest) in known {
            let mut names = GateNames {
                gate: &self.gate,
                programs: &mut self.programs,
            };
            match sample::followed(cookie, &interest, &mut names) {
                Ok(Some(flow)) => {
                    let now = clock::now();
                    let actions = self.engine.handle(Event::Followed(flow), now);
                    self.outbox.perform(&mut self.journal, actions, now);
                }
                Ok(None) => {}
                Err(error) => self.outbox.trouble(&error.to_string()),
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
        let open: Vec<u64> = procfs::connections()
            .into_iter()
            .filter(|one| one.established)
            .map(|one| one.inode | BY_INODE)
            .collect();
        let (kept, ended): (Vec<_>, Vec<_>) = std::mem::take(&mut self.older_irc.0)
            .into_iter()
            .partition(|flow| open.contains(&flow.cookie));
        self.older_irc.0 = kept;
        for flow in ended {
            let actions = self.engine.handle(
                Event::FlowClosed {
                    flow,
                    bytes_sent: 0,
                    bytes_received: 0,
                },
                now,
            );
            self.outbox.perform(&mut self.journal, actions, now);
        }
    }
}
