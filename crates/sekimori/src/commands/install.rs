//! `install` and `uninstall`.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap_complete::Shell;
use engine::printable;
use linux::pins::Pins;

use super::documents;
use crate::control::client;
use crate::failure::{Failure, need_root};

use crate::install::{self, Pieces, Systemd};
use crate::mode::{self, Mode};
use crate::output::say;
use crate::paths::{Paths, STATE_DIR_VARIABLE};
use crate::{fallback, forward};

/// `install`.
pub fn install(observe: bool, paths: &Paths) -> Result<ExitCode, Failure> {
    if !paths.installed {
        return Err(Failure::usage(format!(
            "install is about this machine and takes no --state-dir (or {STATE_DIR_VARIABLE}); nothing was installed. \
             To guard from {} without installing: sekimori run --state-dir {0}",
            paths.state.display()
        )));
    }
    need_root("install")?;
    if observe {
        // Before the daemon starts.
        super::mode::write_down(Mode::Observe, paths)?;
    }
    let executable = Path::new("/proc/self/exe");
    let texts = vec![
        (install::MANPAGE, documents::manpage_text()?),
        (
            install::BASH_COMPLETION,
            documents::completion_text(Shell::Bash),
        ),
        (
            install::ZSH_COMPLETION,
            documents::completion_text(Shell::Zsh),
        ),
        (
            install::FISH_COMPLETION,
            documents::completion_text(Shell::Fish),
        ),
    ];
    install::install(
        &Pieces { executable, texts },
        Path::new("/"),
        &mut Systemd,
        &mut io::stdout(),
    )?;
    if mode::read(&paths.state) == Some(Mode::Observe) {
        say(
            "the gate observes and blocks nothing (sudo sekimori learn says what to register, sudo sekimori enforce \
             closes the gate)",
        );
    }
    say("next: sudo sekimori setup");
    Ok(ExitCode::SUCCESS)
}

/// Refuses beside a keeper, which would hold the gate and pin it no more. It need not answer:
/// one that is stopped holds it too.
fn is_alone(paths: &Paths) -> anyhow::Result<()> {
    let found = client::listener(&paths.keeper).map_err(|failure| anyhow!(failure.message))?;
    if let Some(pid) = found {
        bail!(
            "the gate stays closed: a daemon that was not started by the unit runs (pid {pid}); end it and run uninstall again"
        );
    }
    Ok(())
}

/// `uninstall`.
pub fn uninstall(purge: bool, paths: &Paths) -> Result<ExitCode, Failure> {
    need_root("uninstall")?;
    if !paths.installed {
        return uninstall_folder(purge, paths);
    }
    let pins = Pins::new(&paths.pins, linux::load::OBJECT);
    let mut open_gate = || {
        is_alone(paths)?;
        let there = pins.base().exists() && pins.any_gate();
        pins.remove_all()?;
        let rules = fallback::open(paths).map_err(|failure| anyhow!(failure.message))?;
        let forwarded = forward::clear(paths).map_err(|failure| anyhow!(failure.message))?;
        Ok(there || rules || forwarded)
    };
    install::uninstall(
        Path::new("/"),
        purge,
        &mut Systemd,
        &mut open_gate,
        &mut io::stdout(),
    )?;
    Ok(ExitCode::SUCCESS)
}

/// `uninstall --state-dir DIR`: the gate that `run --state-dir DIR` left, and nothing of the
/// machine's.
fn uninstall_folder(purge: bool, paths: &Paths) -> Result<ExitCode, Failure> {
    let pins = Pins::new(&paths.pins, linux::load::OBJECT);
    let folder = printable(&paths.state.display().to_string()).into_owned();
    let files = install::files_in(&paths.state);
    let is_gate = pins.base().exists() && (pins.any_gate() || pins.is_mounted());
    if !is_gate && (files.is_empty() || !purge) {
        return Err(Failure::usage(format!(
            "{folder}: no gate of `run --state-dir` is there; nothing was removed. \
             uninstall without --state-dir removes Sekimori from this machine"
        )));
    }
    is_alone(paths)?;
    if is_gate {
        forward::clear(paths)?;
        pins.remove_all()?;
        if pins.is_mounted() {
            return Err(Failure::failed(format!(
                "{}: the gate is open, but its bpffs cannot be unmounted: something uses it, or has pinned other things there",
                printable(&paths.pins.display().to_string())
            )));
        }
        say(&format!("opened the gate of {folder}"));
    }
    if purge {
        for file in &files {
            std::fs::remove_file(file).map_err(|error| {
                Failure::failed(format!("{}: cannot be removed: {error}", file.display()))
            })?;
            say(&format!(
                "removed {}",
                printable(&file.display().to_string())
            ));
        }
        // Others may have put files there.
        let _ = std::fs::remove_dir(&paths.state);
    } else if !files.is_empty() {
        say(&format!(
            "kept journal and registered programs in {folder} (remove them with: sekimori uninstall --purge --state-dir {folder})"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_daemon_that_does_not_answer_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(Some(folder.path()));
        is_alone(&paths).unwrap();
        let silent = UnixListener::bind(&paths.keeper).unwrap();
        let said = is_alone(&paths).unwrap_err().to_string();
        let pid = format!("(pid {})", std::process::id());
        assert!(said.contains(&pid), "{said}");
        // What a daemon that was killed leaves behind.
        drop(silent);
        is_alone(&paths).unwrap();
    }
}
