//! The command line, and what wires the parts together. A library, so that what reads
//! configurations and questions of others can be fuzzed; the program is `main.rs`.

#![forbid(unsafe_code)]

mod catalog;
mod cli;
mod clock;
mod commands;
pub mod config;
pub mod control;
mod daemon;
mod demo;
mod failure;
mod install;
mod notify;
mod output;
mod paths;
mod registry;
mod render;
mod setup;
mod status;

use std::process::ExitCode;

/// The program: reads the command line and does what it asks for.
pub fn main() -> ExitCode {
    commands::dispatch(cli::parse())
}
