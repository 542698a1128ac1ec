//! `portable`: type-checks the crates without a platform for Windows.
//!
//! Debian has no standard library for Windows that is new enough, so cargo checks that from its sources
//! too, with the compiler of the kernel programs. Nothing is linked. SQLite and zstd are C, and their
//! build scripts want a C compiler for the target.

use anyhow::Result;
use clap::Args;

use crate::packages::Packages;
use crate::process;
use crate::terminal::{self, Colour, paint};
use crate::toolchain::RUSTC;
use crate::workspace::{Workspace, forget_compiler};

/// Without the calls that Windows 10 brought: what it builds runs under Wine too.
const TARGET: &str = "x86_64-win7-windows-gnu";
const C_COMPILER: [(&str, &str); 2] = [
    ("CC_x86_64_win7_windows_gnu", "x86_64-w64-mingw32-gcc"),
    ("AR_x86_64_win7_windows_gnu", "x86_64-w64-mingw32-ar"),
];
/// Crates that know no platform.
const CRATES: [&str; 8] = [
    "policy",
    "model",
    "protocols",
    "engine",
    "replay",
    "journal",
    "guard",
    "present",
];

const PACKAGES: Packages = Packages {
    purpose: "for checking the crates for Windows",
    names: &["gcc-mingw-w64-x86-64-posix", "rust-web-src", "rustc-web"],
    answers: "",
    services: &[],
};

/// How to check.
#[derive(Args)]
pub struct Options {
    /// Succeed when what is needed cannot be had
    #[arg(long)]
    may_skip: bool,
}

/// Checks all of them.
///
/// # Errors
///
/// When a crate does not compile for Windows, or when what is needed is missing and that is not
/// permitted.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let ready = match PACKAGES.ensure() {
        Ok(()) => process::fetch(&mut cargo(workspace, "fetch"), str::to_owned)?,
        Err(missing) => Err(missing),
    };
    match ready {
        Ok(()) => {}
        Err(reason) if options.may_skip => {
            println!("{} portable: {reason:#}", paint(Colour::Yellow, "skipped:"));
            return Ok(());
        }
        Err(reason) => return Err(reason.context("skipped")),
    }
    terminal::step(&format!("checking {} for {TARGET}", CRATES.join(", ")));
    let mut check = cargo(workspace, "check");
    for name in CRATES {
        check.arg("--package").arg(format!("sekimori-{name}"));
    }
    // Code that only other platforms use would be one.
    check.args(["-Zwarnings", "--config", "build.warnings=\"deny\""]);
    process::run(check.arg("--quiet"))
}

/// Cargo for the target, with the standard library from its sources: that is an unstable feature, so
/// cargo and compiler are told to permit those.
fn cargo(workspace: &Workspace, job: &str) -> std::process::Command {
    let mut command = workspace.cargo();
    forget_compiler(&mut command);
    command
        .args([job, "--locked", "-Zbuild-std=std,panic_unwind"])
        .args(["--target", TARGET])
        .env("CARGO_TARGET_DIR", workspace.target("portable"))
        .env("RUSTC", RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .envs(C_COMPILER);
    command
}
