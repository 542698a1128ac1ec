//! Sekimori's one binary: the command line, and what wires the parts together.

#![forbid(unsafe_code)]

mod catalog;
mod cli;
mod clock;
mod commands;
mod config;
mod control;
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

fn main() -> ExitCode {
    commands::dispatch(cli::parse())
}
