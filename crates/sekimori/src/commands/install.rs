//! `install` and `uninstall`.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use clap_complete::Shell;
use linux::pins::Pins;

use super::documents;
use crate::control::client;
use crate::control::protocol::Request;
use crate::failure::{Failure, need_root};
use crate::install::{self, Pieces, Systemd};
use crate::paths::Paths;

/// `install`.
pub fn install() -> Result<ExitCode, Failure> {
    need_root("install")?;
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
    Ok(ExitCode::SUCCESS)
}

/// The daemon that answers on the control socket.
fn running_daemon(paths: &Paths) -> Option<u64> {
    let mut pid = None;
    let _ = client::ask(&paths.socket, &Request::Status, |status| {
        pid = status["daemon"]["pid"].as_u64();
    });
    pid
}

/// `uninstall`.
pub fn uninstall(purge: bool, paths: &Paths) -> Result<ExitCode, Failure> {
    need_root("uninstall")?;
    let pins = Pins::new(&paths.pins, linux::load::OBJECT);
    let mut open_gate = || {
        // It would hold the gate, and pin it no more.
        if let Some(pid) = running_daemon(paths) {
            bail!(
                "the gate stays closed: a daemon that was not started by the unit runs (pid {pid}); end it and run uninstall again"
            );
        }
        let there = pins.base().exists() && pins.any_gate();
        pins.remove_all()?;
        Ok(there)
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
