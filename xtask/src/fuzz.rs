//! `fuzz`: runs the targets in `fuzz/`, each from its seeds and from what earlier runs found.
//!
//! Neither nightly nor cargo-fuzz is needed: what they add to a build are flags that stable
//! Rust has too, except for the address sanitizer. Nearly all that is fuzzed forbids unsafe
//! code; for zlib and zstd, `--address` asks for it, and for nightly.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::packages::Packages;
use crate::terminal::{self, Colour, paint};
use crate::workspace::{Workspace, forget_compiler};
use crate::{process, workspace};

const FOLDER: &str = "fuzz";
/// What `cargo fuzz` gives the compiler: coverage that libFuzzer reads.
const FLAGS: [&str; 8] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Cforce-frame-pointers=yes",
];
/// A target may take this much, libFuzzer included. Replay takes 64 MiB at most.
const RESIDENT_MAX_MIB: u32 = 256;
/// The sanitizer keeps what was freed.
const RESIDENT_MAX_MIB_SANITIZED: u32 = 2048;
/// For one input.
const INPUT_LIMIT_S: u32 = 10;
/// For what a target does beside: to read its seeds, to end.
const GRACE: Duration = Duration::from_secs(120);

const PACKAGES: Packages = Packages {
    purpose: "for libFuzzer, which is C++",
    names: &["g++"],
    answers: "",
    services: &[],
};

/// How to fuzz.
#[derive(Args)]
pub struct Options {
    /// How long each target runs; 0 tries the seeds alone
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Succeed when what is needed to build the targets cannot be had
    #[arg(long)]
    may_skip: bool,
    /// With the address sanitizer, which needs a nightly toolchain of rustup's
    #[arg(long)]
    address: bool,
    /// The targets: all of them when none is named
    targets: Vec<String>,
}

/// Runs the targets, as many at a time as there are processors.
///
/// # Errors
///
/// When a target finds something or cannot be built, or when what is needed is missing and
/// that is not permitted.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let known = targets(workspace)?;
    if let Some(unknown) = options.targets.iter().find(|name| !known.contains(name)) {
        bail!("no fuzz target {unknown}: there are {}", known.join(", "));
    }
    let chosen = match options.targets.is_empty() {
        true => known,
        false => options.targets.clone(),
    };
    let build = match Build::find(options.address) {
        Ok(build) => build.fetch(workspace)?.map(|()| build),
        Err(missing) => Err(missing),
    };
    let build = match build {
        Ok(build) => build,
        Err(reason) if options.may_skip => {
            println!("{} fuzz: {reason:#}", paint(Colour::Yellow, "skipped:"));
            return Ok(());
        }
        Err(reason) => return Err(reason.context("skipped")),
    };
    terminal::step("building the fuzz targets");
    let programs = build.build(workspace, &chosen)?;
    terminal::step(&format!("fuzzing, {} s a target", options.seconds));
    let failed = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers.min(chosen.len()) {
            scope.spawn(|| {
                while let Some(target) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let program = programs.join(target);
                    if let Err(error) = play(workspace, target, &program, options) {
                        println!("{target:<16} {} {error:#}", paint(Colour::Red, "FAILED"));
                        failed
                            .lock()
                            .unwrap_or_else(|broken| broken.into_inner())
                            .push(target.clone());
                    }
                }
            });
        }
    });
    let failed = failed
        .into_inner()
        .unwrap_or_else(|broken| broken.into_inner());
    if !failed.is_empty() {
        bail!("fuzz targets failed: {}", failed.join(", "));
    }
    Ok(())
}

/// The names of the targets: those of their files.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = workspace.path(FOLDER).join("targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "rs") {
            names.extend(
                path.file_stem()
                    .map(|name| name.to_string_lossy().into_owned()),
            );
        }
    }
    names.sort();
    Ok(names)
}

/// What the targets are built with.
struct Build {
    cargo: PathBuf,
    rustc: PathBuf,
    host: String,
    address: bool,
}

impl Build {
    /// Finds a compiler.
    fn find(address: bool) -> Result<Self> {
        PACKAGES.ensure()?;
        let program = |name: &str| match address {
            true => nightly(name),
            false => Ok(PathBuf::from(name)),
        };
        let (cargo, rustc) = (program("cargo")?, program("rustc")?);
        let about = process::output(Command::new(&rustc).arg("-vV"))?;
        let host = about.lines().find_map(|line| line.strip_prefix("host: "));
        Ok(Self {
            cargo,
            host: host.context("rustc -vV names no host")?.to_owned(),
            rustc,
            address,
        })
    }

    /// Fetches the sources of what the targets depend on; see [`crate::process::fetch`].
    fn fetch(&self, workspace: &Workspace) -> Result<Result<()>> {
        let mut fetch = self.cargo(workspace, "fetch");
        crate::process::fetch(fetch.args(["--target", &self.host]), |_| {
            format!(
                "{FOLDER}/Cargo.lock is not up to date: run `cargo tree` in {FOLDER}, and commit it"
            )
        })
    }

    fn cargo(&self, workspace: &Workspace, job: &str) -> Command {
        let mut command = Command::new(&self.cargo);
        forget_compiler(&mut command);
        command
            .env("RUSTC", &self.rustc)
            .env("CARGO_TARGET_DIR", workspace.target(self.folder()))
            .current_dir(workspace.path(FOLDER))
            .args([job, "--locked"]);
        command
    }

    /// Builds the targets; gives the folder that they are in.
    fn build(&self, workspace: &Workspace, targets: &[String]) -> Result<PathBuf> {
        let mut flags = FLAGS.to_vec();
        if self.address {
            flags.push("-Zsanitizer=address");
        }
        let mut build = self.cargo(workspace, "build");
        build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
        // With a target named, programs that run while it builds do not get the flags.
        build.args(["--quiet", "--release", "--target", &self.host]);
        for target in targets {
            build.args(["--bin", target]);
        }
        process::run(&mut build).context("the fuzz targets cannot be built")?;
        let folder = workspace.target(self.folder());
        Ok(folder.join(&self.host).join("release"))
    }

    const fn folder(&self) -> &'static str {
        match self.address {
            true => "fuzz/build-address",
            false => "fuzz/build",
        }
    }
}

/// A program of the nightly toolchain.
fn nightly(name: &str) -> Result<PathBuf> {
    let mut which = Command::new("rustup");
    workspace::forget_own_package(&mut which);
    which.args(["which", "--toolchain", "nightly", name]);
    let path = process::output(&mut which)
        .context("the address sanitizer needs nightly: rustup toolchain install nightly")?;
    Ok(PathBuf::from(path.trim()))
}

/// Runs one target for its time.
fn play(workspace: &Workspace, target: &str, program: &Path, options: &Options) -> Result<()> {
    let place = workspace.target("fuzz");
    let (corpus, found) = (
        place.join("corpus").join(target),
        place.join("found").join(target),
    );
    for folder in [&corpus, &found] {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let log_path = place.join(format!("{target}.log"));
    let log = File::create(&log_path).with_context(|| log_path.display().to_string())?;
    let seeds = workspace.path(FOLDER).join("seeds").join(target);
    let resident = match options.address {
        true => RESIDENT_MAX_MIB_SANITIZED,
        false => RESIDENT_MAX_MIB,
    };
    let mut command = Command::new(program);
    workspace::forget_own_package(&mut command);
    // New inputs go into the first folder.
    command.args([&corpus, &seeds]);
    command.args([
        format!("-artifact_prefix={}/", found.display()),
        format!("-rss_limit_mb={resident}"),
        format!("-timeout={INPUT_LIMIT_S}"),
        "-print_final_stats=1".to_owned(),
        match options.seconds {
            // libFuzzer takes 0 for "without end".
            0 => "-runs=0".to_owned(),
            seconds => format!("-max_total_time={seconds}"),
        },
    ]);
    let limit = Duration::from_secs(options.seconds) + GRACE;
    let status = process::run_into(&mut command, &log, limit)?;
    let output = fs::read(&log_path).with_context(|| log_path.display().to_string())?;
    let output = String::from_utf8_lossy(&output);
    match status {
        Some(status) if status.success() => {
            println!(
                "{target:<16} {} {}",
                paint(Colour::Green, "ok"),
                summary(&output)
            );
            Ok(())
        }
        Some(status) => {
            println!("{}", finding(&output));
            bail!(
                "({status}); the input is in {}, all that was said in {}; once it is mended, \
                 keep the input as {FOLDER}/seeds/{target}/found-WHAT",
                found.display(),
                log_path.display()
            )
        }
        None => bail!("no end after {} s", limit.as_secs()),
    }
}

/// How much was tried, in a few words.
fn summary(output: &str) -> String {
    let stat = |name: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(name));
        line.map_or("?", |value| value.trim_start_matches(':').trim())
    };
    format!(
        "{} inputs, {} a second, {} MiB",
        stat("stat::number_of_executed_units"),
        stat("stat::average_exec_per_sec"),
        stat("stat::peak_rss_mb")
    )
}

/// The lines that say what was found, without the many that libFuzzer prints as it goes.
fn finding(output: &str) -> String {
    const LINES_MAX: usize = 40;
    let starts = |line: &&str| line.contains("panicked at") || line.contains("ERROR:");
    let from = output.lines().position(|line| starts(&line)).unwrap_or(0);
    let lines: Vec<_> = output.lines().skip(from).take(LINES_MAX).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_its_entry_and_its_seeds() {
        let workspace = Workspace::find();
        let manifest = fs::read_to_string(workspace.path("fuzz/Cargo.toml")).unwrap();
        let targets = targets(&workspace).unwrap();
        assert!(!targets.is_empty());
        for target in targets {
            assert!(
                manifest.contains(&format!("name = \"{target}\"")),
                "{target}"
            );
            let seeds = workspace.path(FOLDER).join("seeds").join(&target);
            assert!(fs::read_dir(seeds).unwrap().count() > 0, "{target}");
        }
    }

    #[test]
    fn what_the_fuzzer_says_is_read() {
        let output = "#1 INITED\nthread '<unnamed>' panicked at a.rs:1:2:\nno\n\
                      stat::number_of_executed_units: 12\nstat::average_exec_per_sec:     6\nstat::peak_rss_mb:              40\n";
        assert_eq!(summary(output), "12 inputs, 6 a second, 40 MiB");
        assert!(finding(output).starts_with("thread"));
    }
}
