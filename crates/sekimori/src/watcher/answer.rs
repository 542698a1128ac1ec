//! Answers to the requests that need the watcher's state.

use abi::Interest;
use serde_json::{Value, json};

use super::Watcher;
use crate::channel::request::Request as Ask;
use crate::control::protocol::{Asker, Line, Request};
use crate::control::server::failed;

impl Watcher {
    /// Answers one request.
    pub(super) fn answer(&mut self, request: Request, asker: Asker) -> Vec<Line> {
        let answered = match request {
            Request::Status => self.status(asker).map(|status| vec![status]),
            Request::Programs => self.programs(),
            // Reports are read and written down before any question is answered.
            Request::Flush => Ok(Vec::new()),
            // Answered by the connection's own thread.
            Request::Entries { .. } | Request::Entry { .. } | Request::Wait { .. } => {
                Ok(Vec::new())
            }
        };
        match answered {
            Ok(values) => values.into_iter().map(Line::Item).collect(),
            Err(error) => vec![failed(1, error)],
        }
    }

    fn programs(&mut self) -> Result<Vec<Value>, String> {
        let mut all = Vec::new();
        while let Ok(skip) = u32::try_from(all.len()) {
            let list = self.link.ask(&Ask::Registered { skip })?;
            let list = list.unwrap_or_default();
            let lines = list.split(|byte| *byte == b'\n');
            let programs: Vec<Value> = lines
                .filter_map(|line| serde_json::from_slice(line).ok())
                .collect();
            if programs.is_empty() {
                break;
            }
            all.extend(programs);
        }
        Ok(all)
    }

    fn status(&mut self, asker: Asker) -> Result<Value, String> {
        let gate = self.link.ask(&Ask::Gate)?.unwrap_or_default();
        let mut status: Value =
            serde_json::from_slice(&gate).map_err(|error| format!("the keeper: {error}"))?;
        let seconds = self.hello.keeper_seconds + self.begun.elapsed().as_secs();
        status["daemon"] = json!({
            "running": true,
            "pid": self.hello.keeper,
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": seconds,
            "adopted": self.hello.adopted,
            "seeded": self.hello.seeded,
            "seeded_foreign": self.hello.foreign,
            "entries_not_written": self.outbox.unwritten(),
            "connections_forgotten": self.engine.forgotten(),
            "lineages_forgotten": self.engine.lineages_forgotten(),
        });
        status["watcher"]["landlock"] = self.landlock.word().into();
        status["cgroup"] = self.hello.cgroup.display().to_string().into();
        let sees = |uid: u32| asker.sees().is_none_or(|own| own == uid);
        let flow = |flow: &engine::FlowInfo| {
            json!({
                "pid": flow.pid, "uid": flow.uid, "program": &*flow.program,
                "destination": flow.destination.to_string(),
            })
        };
        status["grants"] = self
            .engine
            .open_grants()
            .filter(|grant| sees(grant.uid))
            .map(flow)
            .collect();
        status["irc"] = self
            .engine
            .open_irc()
            .filter(|irc| sees(irc.uid))
            .map(flow)
            .collect();
        Ok(status)
    }

    /// What an earlier watcher wanted to see, by socket cookie.
    pub(super) fn interests(&mut self) -> Vec<(u64, Interest)> {
        const EACH: usize = 8 + size_of::<Interest>();
        let mut all = Vec::new();
        while let Ok(skip) = u32::try_from(all.len()) {
            let list = self.link.ask(&Ask::Followed { skip });
            let list = list.ok().flatten().unwrap_or_default();
            let before = all.len();
            all.extend(list.chunks_exact(EACH).filter_map(|piece| {
                let (cookie, interest) = piece.split_first_chunk()?;
                let interest = bytemuck::try_pod_read_unaligned(interest).ok()?;
                Some((u64::from_le_bytes(*cookie), interest))
            }));
            if all.len() == before {
                break;
            }
        }
        all
    }
}
