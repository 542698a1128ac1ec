//! `demo`.

use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use crate::cli::DemoArgs;
use crate::demo::{self, Stage};
use crate::failure::Failure;
use crate::output::{style, tell};

/// `demo`. Without root it starts itself again through sudo, where there is one.
pub fn run(options: &DemoArgs) -> Result<ExitCode, Failure> {
    if options.simulate {
        return demo::tell(&mut demo::simulated(), options.json, style());
    }
    if !rustix::process::geteuid().is_root() {
        return Err(again_as_root());
    }
    let hint = |mut failure: Failure| {
        if failure.status == 3 {
            failure.message += "; `sekimori demo --simulate` plays the scenes without a kernel";
        }
        failure
    };
    let mut stage = Stage::set().map_err(hint)?;
    demo::tell(&mut stage, options.json, style())
}

/// Says that it is about to become root, lets a person at a terminal say no, and becomes sudo with
/// the same arguments. Returns only when that fails.
fn again_as_root() -> Failure {
    let simulate = "`sekimori demo --simulate` plays the scenes without root and without a kernel";
    tell(&format!(
        "sekimori: demo needs root for a network namespace and a cgroup of its own, and starts itself again by sudo; {simulate}"
    ));
    if std::io::stdin().is_terminal() && !is_agreed() {
        return Failure::unsupported(format!("demo was not started; {simulate}"));
    }
    let own = std::env::current_exe().unwrap_or_else(|_| "sekimori".into());
    let error = Command::new("sudo")
        .arg("--")
        .arg(own)
        .args(std::env::args_os().skip(1))
        .exec();
    Failure::unsupported(format!(
        "demo needs root, and sudo cannot be started: {error}; {simulate}"
    ))
}

/// Whether the person at the terminal wants sudo to be started. Enter is enough.
fn is_agreed() -> bool {
    tell("Start it by sudo now? [Y/n]");
    let mut answer = String::new();
    let read = std::io::stdin().lock().take(64).read_line(&mut answer);
    read.is_ok_and(|count| count > 0)
        && matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes")
}
