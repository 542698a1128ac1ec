//! `completions` and `manpage`.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap_complete::Shell;

use crate::cli;
use crate::failure::Failure;
use crate::output::not_said;

/// Prints a completion script.
pub fn completions(shell: Shell) -> Result<ExitCode, Failure> {
    print(&completion_text(shell))
}

/// Prints the manual page in roff.
pub fn manpage() -> Result<ExitCode, Failure> {
    print(&manpage_text()?)
}

/// A completion script.
pub fn completion_text(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), "sekimori", &mut text);
    text
}

/// The manual page in roff.
///
/// # Errors
///
/// Never in practice: it is written to memory.
pub fn manpage_text() -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    clap_mangen::Man::new(cli::command())
        .render(&mut text)
        .map_err(|error| Failure::failed(format!("manual page: {error}")))?;
    Ok(text)
}

fn print(text: &[u8]) -> Result<ExitCode, Failure> {
    let mut out = io::stdout();
    if let Err(error) = out.write_all(text).and_then(|()| out.flush()) {
        not_said(&error);
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_completion_offers_a_state_folder_to_install() {
        let bash = String::from_utf8(completion_text(Shell::Bash)).unwrap();
        let offered = |command: &str| {
            let (_, rest) = bash
                .split_once(&format!("        sekimori__{command})"))
                .or_else(|| bash.split_once(&format!("        sekimori__subcmd__{command})")))
                .unwrap();
            let (block, _) = rest.split_once(";;").unwrap();
            block.contains("--state-dir")
        };
        assert!(!offered("install"));
        assert!(offered("uninstall") && offered("status"));
    }
}
