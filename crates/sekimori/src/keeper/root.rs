//! What root asks for at the keeper's own socket: registrations.

use std::path::Path;

use serde_json::{Value, json};

use super::Keeper;
use crate::clock;
use crate::control::protocol::{Line, RootRequest, role_and_kind};
use crate::control::server::failed;
use crate::status;

impl Keeper {
    /// Answers root, if root waits.
    pub(super) fn answer_root(&mut self) {
        let Some(caller) = self.sockets.next_root() else {
            return;
        };
        caller.answer(|request| match self.perform(request) {
            Ok(value) => vec![Line::Item(value)],
            Err(error) => vec![failed(1, format!("{error:#}"))],
        });
    }

    fn perform(&mut self, request: RootRequest) -> anyhow::Result<Value> {
        match request {
            RootRequest::Register { path, role, kind } => self.register(&path, &role, &kind),
            RootRequest::Unregister { path } => {
                let path = self.registry.unregister(&path, Some(&mut self.gate))?;
                self.notice(format!("{path} is not registered any more"));
                Ok(json!({ "path": path }))
            }
        }
    }

    fn register(&mut self, path: &Path, role: &str, kind: &str) -> anyhow::Result<Value> {
        let (role, kind) = role_and_kind(role, kind).map_err(anyhow::Error::msg)?;
        let now_ns = clock::now().0;
        let done = self
            .registry
            .register(path, role, kind, now_ns, Some(&mut self.gate))?;
        self.notice(format!(
            "registered {} as {} ({}), SHA-256 {}",
            done.path, done.role, done.kind, done.sha256
        ));
        let entries = self.registry.entries();
        let registered = entries.iter().find(|entry| entry.stored.path == done.path);
        Ok(registered.map(status::program).unwrap_or_default())
    }
}
