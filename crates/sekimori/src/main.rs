//! Sekimori's one binary: the command line, and what wires the parts together.

mod cli;
mod commands;
mod config;
mod failure;
mod paths;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::dispatch(cli::parse())
}
