//! `install` and `uninstall`.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap_complete::Shell;
use linux::pins::Pins;

use super::documents;
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

/// `uninstall`.
pub fn uninstall(purge: bool, paths: &Paths) -> Result<ExitCode, Failure> {
    need_root("uninstall")?;
    let pins = Pins::new(&paths.pins, linux::load::OBJECT);
    let mut open_gate = || {
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
