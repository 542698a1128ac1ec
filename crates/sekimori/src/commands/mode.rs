//! `enforce` and `observe`: the gate is closed, or only notes what it would refuse.

use std::path::Path;
use std::process::ExitCode;

use linux::gate::Gate;
use linux::pins::Pins;
use serde_json::Value;

use crate::catalog::{Catalog, EXTRA_FOLDER};
use crate::control::client::ask;
use crate::control::protocol::{Request, RootRequest};
use crate::failure::{Failure, need_root};
use crate::mode::{self, Mode};
use crate::output::say;
use crate::paths::Paths;
use crate::setup::servers::{Blocked, blocked, listening};
use crate::setup::{Surroundings, find};
use crate::{registry, store};

/// `enforce`.
pub fn enforce(anyway: bool, paths: &Paths) -> Result<ExitCode, Failure> {
    need_root("enforce")?;
    if !anyway {
        let servers = servers_in_the_way(paths)?;
        if !servers.is_empty() {
            return Err(Failure::failed(refusal(&servers)));
        }
    }
    change(Mode::Enforce, paths)?;
    let mailers = registry::peek(paths)?
        .iter()
        .filter(|entry| entry.stored.role == "mailer")
        .count();
    say(&format!(
        "The gate is closed: only the {mailers} registered mailers may send, when the person or the system started them."
    ));
    Ok(ExitCode::SUCCESS)
}

/// `observe`.
pub fn observe(paths: &Paths) -> Result<ExitCode, Failure> {
    need_root("observe")?;
    change(Mode::Observe, paths)?;
    say(
        "The gate observes: every program may send, and the journal notes what would be blocked (sudo sekimori learn).",
    );
    Ok(ExitCode::SUCCESS)
}

/// Mail servers that the gate would block when it is closed. Only a gate of the whole machine can.
///
/// # Errors
///
/// When the catalog or the registered programs cannot be read.
pub fn servers_in_the_way(paths: &Paths) -> Result<Vec<Blocked>, Failure> {
    if !paths.installed {
        return Ok(Vec::new());
    }
    let catalog = Catalog::load(Some(Path::new(EXTRA_FOLDER)))?;
    let around = Surroundings::of_this_computer();
    let registered = registry::peek(paths)?;
    let is_registered = |path: &str| registered.iter().any(|entry| entry.stored.path == path);
    let found = find(&catalog, &around);
    Ok(blocked(&found, &listening(&around), &is_registered))
}

/// Why the gate is not closed, and what to do.
pub fn refusal(servers: &[Blocked]) -> String {
    let labels: Vec<String> = servers.iter().map(Blocked::label).collect();
    let next = if servers.iter().all(Blocked::is_registrable) {
        "register it with: sudo sekimori setup"
    } else {
        "sudo sekimori doctor says what can be registered"
    };
    format!(
        "the gate is not closed: it would block the mail server {}; {next}; to close it all the same: sudo sekimori \
         enforce --anyway",
        labels.join(" and ")
    )
}

/// Whether the running gate observes, and which mail servers keep it from being closed. None without a
/// daemon.
///
/// # Errors
///
/// When the daemon does not answer.
pub fn current(paths: &Paths) -> Result<Option<(bool, bool)>, Failure> {
    let mut status = Value::Null;
    if !ask(&paths.socket, &Request::Status, |value| status = value)? {
        return Ok(None);
    }
    let observes = status["gate"] == "observing";
    let waits = status["not_closed"]
        .as_array()
        .is_some_and(|servers| !servers.is_empty());
    Ok(Some((observes, waits)))
}

/// Changes the mode: through the daemon, else in the state folder and in the pinned gate.
///
/// # Errors
///
/// When it cannot be written.
pub fn change(mode: Mode, paths: &Paths) -> Result<(), Failure> {
    let observe = mode == Mode::Observe;
    if ask(&paths.keeper, &RootRequest::Mode { observe }, |_| {})? {
        return Ok(());
    }
    let pins = Pins::new(&paths.pins, linux::load::OBJECT);
    if pins.has_maps() {
        let mut gate = Gate::open(&pins)?;
        let mut settings = gate.settings()?;
        settings.observe = observe.into();
        gate.apply_settings(&settings)?;
    } else if !paths.state.is_dir() {
        return Err(Failure::failed(
            "no gate guards this machine (sudo sekimori install)",
        ));
    }
    write_down(mode, paths)
}

/// Has the next start of the daemon know the mode.
///
/// # Errors
///
/// When it cannot be written.
pub fn write_down(mode: Mode, paths: &Paths) -> Result<(), Failure> {
    let folder = store::folder(&paths.state)?;
    mode::write(&folder, mode)
        .map_err(|error| Failure::failed(format!("{}: {error}", paths.state.display())))
}
