//! Closed or observing: at the start, and by root's command while the daemon runs.
//!
//! The first start on a machine does not close the gate while a mail server that the system starts would
//! be blocked: mail would stop without anybody having asked for that. A gate that has been closed once
//! stays closed, whatever is installed later.

use anyhow::Context as _;
use linux::gate::Gate;
use linux::pins::Pins;
use serde_json::{Value, json};

use super::{Keeper, Options, request};
use crate::mode::{self, Mode};
use crate::output::trouble;
use crate::paths::Paths;
use crate::registry::Registry;
use crate::setup::servers;

/// Decides in which mode the daemon starts. Returns which mail servers keep the gate from being closed.
pub fn at_start(options: &mut Options, paths: &Paths, registry: &Registry) -> Vec<String> {
    match mode::read(&paths.state) {
        Some(Mode::Observe) => options.observe = true,
        Some(Mode::Enforce) => {}
        None if options.observe || options.cgroup.is_some() || !paths.installed => {}
        None => {
            let blocked = if was_closed(paths) {
                Vec::new()
            } else {
                let is_registered = |path: &str| registry.position(path).is_some();
                servers::blocked_here(&is_registered)
            };
            if blocked.is_empty() {
                let written = mode::write(registry.store().folder(), Mode::Enforce);
                if let Err(error) = written {
                    trouble(&format!("{}: {error}", paths.state.display()));
                }
            } else {
                options.observe = true;
            }
            return blocked;
        }
    }
    Vec::new()
}

/// Whether a gate that refuses is pinned. One of another version does, as far as anybody can tell.
fn was_closed(paths: &Paths) -> bool {
    let pins = Pins::new(&paths.pins, linux::load::OBJECT);
    if !pins.base().exists() || !pins.any_gate() {
        return false;
    }
    let settings = pins
        .has_maps()
        .then(|| Gate::open(&pins).and_then(|gate| gate.settings()));
    !matches!(settings, Some(Ok(settings)) if settings.observe != 0)
}

impl Keeper {
    /// Says why the gate is not closed.
    pub(super) fn note_mode(&mut self) {
        if !self.not_closed.is_empty() {
            self.notice(not_closed_words(&self.not_closed));
        }
    }

    /// Closes the gate, or has it observe: at once, and at every start.
    pub(super) fn change_mode(&mut self, observe: bool) -> anyhow::Result<Value> {
        let mut options = self.options.clone();
        options.observe = observe;
        let request = request(
            &self.config,
            &options,
            &self.paths,
            &self.cgroup,
            &self.registry,
        );
        self.gate.apply_settings(&request.settings()?)?;
        let before = std::mem::replace(&mut self.options, options).observe;
        self.forward.change(&self.config, &self.options);
        self.not_closed.clear();
        if before != observe {
            self.notice(
                if observe {
                    "the gate observes from now on, and refuses nothing"
                } else {
                    "the gate is closed from now on"
                }
                .to_owned(),
            );
        }
        let mode = if observe {
            Mode::Observe
        } else {
            Mode::Enforce
        };
        mode::write(self.registry.store().folder(), mode).with_context(|| {
            format!(
                "{}: the mode is in force, but could not be written down: the next start does not know it",
                self.paths.state.display()
            )
        })?;
        Ok(json!({ "observe": observe }))
    }
}

/// For the journal and `status`.
pub fn not_closed_words(servers: &[String]) -> String {
    format!(
        "the gate is not closed: it would block mail servers that this machine starts ({}); register them and \
         close it (sudo sekimori setup), or close it anyway (sudo sekimori enforce --anyway)",
        servers.join(", ")
    )
}
