//! One file for each command.

mod load_gate;
pub mod log;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::failure::Failure;
use crate::paths::Paths;

/// Runs the command and gives its exit status.
pub fn dispatch(cli: Cli) -> ExitCode {
    let paths = Paths::new(cli.state_dir.as_deref());
    let done: Result<ExitCode, Failure> = match cli.command {
        Command::LoadGate => load_gate::run(),
        _ => todo!(),
    };
    let _ = paths;
    done.unwrap_or_else(|failure| failure.report())
}
