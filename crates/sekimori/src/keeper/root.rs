//! What root asks for at the keeper's own socket: registrations.

use std::path::Path;

use linux::identity::{self, Program};
use serde_json::{Value, json};

use super::Keeper;
use super::looker::{Found, Lane};
use super::sockets::Asked;
use crate::clock;
use crate::control::protocol::{Line, RootRequest, role_and_kind};
use crate::control::server::failed;
use crate::status;

impl Keeper {
    /// Has what root wants read beside the loop, if root waits: the request, and the file that is to be
    /// registered.
    pub(super) fn listen_to_root(&mut self) {
        if let Some(caller) = self.sockets.next_root() {
            let read = || caller.read().map(Found::Command);
            self.looker.begin(Lane::Commands, Box::new(read));
        }
    }

    /// Answers root.
    pub(super) fn answer_root(&mut self, asked: Asked) {
        asked.answer(|request, found| match self.perform(request, found) {
            Ok(value) => vec![Line::Item(value)],
            Err(error) => vec![failed(1, format!("{error:#}"))],
        });
    }

    fn perform(
        &mut self,
        request: RootRequest,
        found: Option<Result<Program, identity::Error>>,
    ) -> anyhow::Result<Value> {
        match request {
            RootRequest::Register { path, role, kind } => {
                let found = found.unwrap_or_else(|| identity::identify_still(&path));
                self.register(&path, found, &role, &kind)
            }
            RootRequest::Unregister { path } => {
                let path = self.registry.unregister(&path, Some(&mut self.gate))?;
                self.notice(format!("{path} is not registered any more"));
                Ok(json!({ "path": path }))
            }
        }
    }

    fn register(
        &mut self,
        path: &Path,
        found: Result<Program, identity::Error>,
        role: &str,
        kind: &str,
    ) -> anyhow::Result<Value> {
        let (role, kind) = role_and_kind(role, kind).map_err(anyhow::Error::msg)?;
        let now_ns = clock::now().0;
        let done =
            self.registry
                .register_found(path, found, role, kind, now_ns, Some(&mut self.gate))?;
        self.notice(format!(
            "registered {} as {} ({}), SHA-256 {}",
            done.path, done.role, done.kind, done.sha256
        ));
        let entries = self.registry.entries();
        let registered = entries.iter().find(|entry| entry.stored.path == done.path);
        Ok(registered.map(status::program).unwrap_or_default())
    }
}
