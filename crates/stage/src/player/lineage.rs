//! Stub.
use super::args::Args;
use super::mailer::Report;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
pub(super) fn attempt(_n: &str, _a: &Args) -> Result<Option<Report>, String> {
    Err("not yet".into())
}
/// Starts the program and waits for it; the exit status is the program's.
pub(super) fn launch(args: &Args) -> Result<ExitCode, String> {
    let (program, arguments) = args.words.split_first().ok_or("launcher wants a program")?;
    let status = Command::new(program)
        .args(arguments)
        .status()
        .map_err(|e| format!("cannot start {program}: {e}"))?;
    Ok(ExitCode::from(status.code().map_or(1, |code| code as u8)))
}

/// Becomes the program.
pub(super) fn become_program(args: &Args) -> Result<ExitCode, String> {
    let (program, arguments) = args.words.split_first().ok_or("exec wants a program")?;
    Err(format!(
        "cannot become {program}: {}",
        Command::new(program).args(arguments).exec()
    ))
}
