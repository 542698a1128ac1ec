//! Answers to the requests that need the daemon's state.

use serde_json::{Value, json};

use super::Daemon;
use crate::clock;
use crate::control::protocol::{Asker, Line, Request, role_and_kind};
use crate::control::server::failed;
use crate::status;

impl Daemon {
    /// Answers one request.
    pub(super) fn answer(&mut self, request: Request, asker: Asker) -> Vec<Line> {
        let root_only = matches!(
            request,
            Request::Register { .. } | Request::Unregister { .. } | Request::Tree
        );
        if root_only && !asker.is_root() {
            return vec![failed(3, "only root may do this (try sudo)".to_owned())];
        }
        match self.answer_permitted(request, asker) {
            Ok(values) => values.into_iter().map(Line::Item).collect(),
            Err(error) => vec![failed(1, format!("{error:#}"))],
        }
    }

    fn answer_permitted(&mut self, request: Request, asker: Asker) -> anyhow::Result<Vec<Value>> {
        match request {
            Request::Status => Ok(vec![self.status(asker)]),
            Request::Programs => Ok(self
                .registry
                .entries()
                .iter()
                .map(status::program)
                .collect()),
            Request::Tree => Ok(status::tree(&self.gate, &mut self.programs)),
            Request::Register { path, role, kind } => {
                let (role, kind) = role_and_kind(&role, &kind).map_err(anyhow::Error::msg)?;
                let (journal, gate) = (&mut self.journal, &mut self.gate);
                let done = self.registry.register(
                    &path,
                    role,
                    kind,
                    clock::now().0,
                    journal,
                    Some(gate),
                )?;
                self.notice(format!(
                    "registered {} as {} ({}), SHA-256 {}",
                    done.path, done.role, done.kind, done.sha256
                ));
                let registered = self
                    .registry
                    .entries()
                    .iter()
                    .find(|entry| entry.stored.path == done.path);
                Ok(registered.map(status::program).into_iter().collect())
            }
            Request::Unregister { path } => {
                let path =
                    self.registry
                        .unregister(&path, &mut self.journal, Some(&mut self.gate))?;
                self.notice(format!("{path} is not registered any more"));
                Ok(vec![json!({ "path": path })])
            }
            // Answered by the connection's own thread.
            Request::Entries { .. } | Request::Entry { .. } => Ok(Vec::new()),
        }
    }

    fn status(&self, asker: Asker) -> Value {
        let mut status = status::of_gate(&self.gate);
        status["daemon"] = json!({
            "running": true,
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "adopted": self.loaded.adopted,
            "seeded": self.loaded.seeded,
            "seeded_foreign": self.loaded.foreign,
            "entries_not_written": self.outbox.unwritten(),
            "connections_forgotten": self.engine.forgotten(),
            "lineages_forgotten": self.engine.lineages_forgotten(),
        });
        status["cgroup"] = self.cgroup.path.display().to_string().into();
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
        status["programs"] = json!({
            "registered": self.registry.entries().len(),
            "mailers": self.registry.entries().iter().filter(|entry| entry.stored.role == "mailer").count(),
            "suspended": self.registry.entries().iter().filter(|entry| entry.suspended).count(),
        });
        status
    }
}
