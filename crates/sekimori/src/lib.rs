//! The command line, and what wires the parts together. A library, so that what reads
//! configurations and questions of others can be fuzzed; the program is `main.rs`.

#![forbid(unsafe_code)]
// They end the process where what they write to is full or gone: `output` is used instead.
#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

mod catalog;
pub mod channel;
mod cli;
mod clock;
mod commands;
pub mod config;
pub mod control;
mod demo;
mod doctor;
mod failure;
mod fallback;
mod forward;
mod install;
mod keeper;
mod learn;
mod mode;
mod notify;
mod output;
mod paths;
mod polkit;
mod proposal;
mod registry;
mod render;
mod setup;
mod status;
mod store;
mod syslog;
mod unsuitable;
mod watcher;

use std::process::ExitCode;

/// The program: reads the command line and does what it asks for.
pub fn main() -> ExitCode {
    // The watcher is started often enough, and small: it does without the command line.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == watcher::COMMAND)
    {
        return watcher::main();
    }
    commands::dispatch(cli::parse())
}
