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
        if *asked.request() == RootRequest::JudgeAgain {
            return self.judge_again_for(asked);
        }
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
            RootRequest::Register {
                path,
                role,
                kind,
                force,
            } => {
                let found = found.unwrap_or_else(|| identity::identify_still(&path));
                self.register(&path, found, (&role, &kind), force)
            }
            RootRequest::Unregister { path } => self.unregister(&path),
            RootRequest::Mode { observe } => self.change_mode(observe),
            // Answered when the look has been taken.
            RootRequest::JudgeAgain => Ok(Value::Null),
        }
    }

    fn unregister(&mut self, path: &Path) -> anyhow::Result<Value> {
        let done = self.registry.unregister(path, Some(&mut self.gate))?;
        let next = format!(
            "it comes back if the daemon restarts before the file can be written; make room for {} \
             (the daemon tries again every 10 s, and so does this command)",
            self.registry.store().path().display()
        );
        let complaint = done.complaint(&next);
        self.notice(match &done.unsaved {
            Some(why) => format!(
                "{}; {why:#}: the daemon tries again every 10 s",
                done.words()
            ),
            None => done.words(),
        });
        match complaint {
            Some(complaint) => Err(complaint),
            None => Ok(json!({ "path": done.path, "text": done.words() })),
        }
    }

    fn register(
        &mut self,
        path: &Path,
        found: Result<Program, identity::Error>,
        (role, kind): (&str, &str),
        force: bool,
    ) -> anyhow::Result<Value> {
        let as_what = role_and_kind(role, kind).map_err(anyhow::Error::msg)?;
        let now_ns = clock::now().0;
        let gate = Some(&mut self.gate);
        let done = self
            .registry
            .register_found(path, found, as_what, force, now_ns, gate)?;
        self.notice(format!(
            "registered {} as {} ({}){}, SHA-256 {}",
            done.path,
            done.role,
            done.kind,
            if done.forced {
                " by --force, although it does whatever it is told"
            } else {
                ""
            },
            done.sha256
        ));
        self.judge_again();
        let entries = self.registry.entries();
        let registered = entries.iter().find(|entry| entry.stored.path == done.path);
        Ok(registered.map(status::program).unwrap_or_default())
    }
}
