//! `demo`.

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

/// Becomes sudo with the same arguments. Returns only when that fails.
fn again_as_root() -> Failure {
    tell(
        "sekimori: demo needs root for its own network namespace and cgroup; starting it through sudo",
    );
    let own = std::env::current_exe().unwrap_or_else(|_| "sekimori".into());
    let error = Command::new("sudo")
        .arg("--")
        .arg(own)
        .args(std::env::args_os().skip(1))
        .exec();
    Failure::unsupported(format!(
        "demo needs root, and sudo cannot be started: {error}; `sekimori demo --simulate` plays the scenes without a kernel"
    ))
}
