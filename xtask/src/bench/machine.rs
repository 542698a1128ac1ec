//! The machine that was measured, in words.

use std::fs;
use std::process::Command;

use crate::workspace::Workspace;

/// CPU, memory and kernel.
pub fn description() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let model =
        line_of("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let kib = line_of("/proc/meminfo", "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0);
    let system = rustix::system::uname();
    format!(
        "{cpus} × {model}, {} GiB, {} {} ({})",
        kib.div_ceil(1024 * 1024),
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy(),
        system.machine().to_string_lossy()
    )
}

/// The three load averages.
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The first load average.
pub fn load_now() -> f64 {
    let load = load();
    load.split(' ')
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0.0)
}

/// Today, in UTC.
pub fn date() -> String {
    said(Command::new("date").args(["-u", "+%Y-%m-%d"]))
}

/// The commit, and whether anything was changed since.
pub fn commit(workspace: &Workspace) -> String {
    let git = |words: &[&str]| {
        said(
            Command::new("git")
                .arg("-C")
                .arg(workspace.path(""))
                .args(words),
        )
    };
    let commit = git(&["rev-parse", "--short", "HEAD"]);
    if commit.is_empty() {
        return "unknown commit".to_owned();
    }
    let changed = git(&["status", "--porcelain", "--", "crates"]);
    if changed.is_empty() {
        commit
    } else {
        format!("{commit} with changes")
    }
}

fn said(command: &mut Command) -> String {
    match command.output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => String::new(),
    }
}

fn line_of(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
