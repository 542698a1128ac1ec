//! Runs other programs. A failure is one line that names the program.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// Runs a program that shows its own progress.
pub fn run(command: &mut Command) -> Result<()> {
    let name = name(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("{name} cannot be started"))?;
    if !status.success() {
        bail!("{name} failed: {status}");
    }
    Ok(())
}

/// What a program prints. Its messages go to the terminal.
pub fn output(command: &mut Command) -> Result<String> {
    let name = name(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{name} cannot be started"))?;
    if !output.status.success() {
        bail!("{name} failed: {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Fetches the sources of dependencies by `cargo fetch --locked`. That it cannot is the inner error, with
/// the first line that cargo says; a lock file that does not match is a mistake of ours, and never skipped:
/// `stale` says so.
pub fn fetch(fetch: &mut Command, stale: impl FnOnce(&str) -> String) -> Result<Result<()>> {
    let output = fetch
        .arg("--quiet")
        .output()
        .context("cargo cannot be started")?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("--locked was passed") {
        bail!("{}", stale(said.trim()));
    }
    let first = said.lines().next().unwrap_or_default();
    let first = first.trim_start_matches("error: ");
    Ok(Err(anyhow!("dependencies cannot be fetched: {first}")))
}

/// Runs a program with both outputs in a file, and ends it as [`run_within`] does.
///
/// A file and no pipe: what a program leaves running would keep a pipe open.
pub fn run_into(command: &mut Command, file: &File, limit: Duration) -> Result<Option<ExitStatus>> {
    let copy = || file.try_clone().context("the file of the output");
    run_within(command.stdout(copy()?).stderr(copy()?), limit)
}

/// Runs a program, and ends it with all that it started in its process group when it takes
/// longer than `limit`: then there is no status.
pub fn run_within(command: &mut Command, limit: Duration) -> Result<Option<ExitStatus>> {
    let name = name(command);
    let mut child = command
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("{name} cannot be started"))?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().with_context(|| name.clone())? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            kill_process_group(Pid::from_child(&child), Signal::KILL)
                .with_context(|| name.clone())?;
            child.wait().with_context(|| name.clone())?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn name(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let first = command
        .get_args()
        .next()
        .map(|argument| argument.to_string_lossy());
    let short = program.rsplit('/').next().unwrap_or_default();
    match first {
        // "cargo build" says more than "cargo".
        Some(first) if !first.starts_with('-') => format!("{short} {first}"),
        _ => short.to_owned(),
    }
}
