//! `install` and `uninstall`.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap_complete::Shell;
use linux::pins::Pins;

use super::documents;
use crate::control::client;
use crate::failure::{Failure, need_root};

use crate::fallback;
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
    let pins = Pins::new(&paths.pins, linux::load::OBJECT);
    let mut open_gate = || {
        is_alone(paths)?;
        let there = pins.base().exists() && pins.any_gate();
        pins.remove_all()?;
        let rules = fallback::open(paths).map_err(|failure| anyhow!(failure.message))?;
        Ok(there || rules)
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
