//! `bench`: what the gate costs, and what the same costs with others, in one run on one
//! machine. The targets stand beside the figures.

mod bpf;
mod daemon;
mod empty;
mod figures;
mod ground;
mod hooks;
mod machine;
mod older_irc;
mod peer;
mod replay;
mod report;
mod rounds;
mod storm;
mod table;
mod task;
mod traffic;
mod veth;
mod work;
mod worker;

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::process;
use crate::workspace::{Workspace, forget_own_package};
use ground::Ground;

/// Above this the machine is busy with something else.
const QUIET_LOAD: f64 = 0.7;

/// How to measure.
#[derive(Args)]
pub struct Options {
    /// A short run, to see that it works: the file is not written
    #[arg(long)]
    quick: bool,
    /// One JSON object for each line of the table
    #[arg(long)]
    json: bool,
    /// Measure what each hook costs by itself, and nothing else: the file is not written
    #[arg(long)]
    by_hook: bool,
    /// Measure this part and nothing else: the file is not written
    #[arg(long, value_name = "PART", conflicts_with = "by_hook")]
    only: Option<Part>,
    /// Measure this program in place of a fresh build
    #[arg(long, value_name = "FILE")]
    sekimori: Option<PathBuf>,
    /// How many rounds
    #[arg(long)]
    rounds: Option<u32>,
}

/// A part that can be measured alone.
#[derive(Clone, Copy, ValueEnum)]
enum Part {
    /// The speed of replay. Needs no root
    Replay,
    /// Refusals beside an IRC connection that is older than the daemon
    OlderIrc,
}

/// The job.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if let Some(Part::Replay) = options.only {
        return only_replay(workspace, options);
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: the bench needs root, for namespaces and BPF");
        return Ok(());
    }
    let only_ours = matches!(options.only, Some(Part::OlderIrc));
    if !only_ours && let Err(error) = peer::PACKAGES.ensure() {
        // The table says what could not be measured.
        eprintln!("{error:#}");
    }
    let sekimori = match &options.sekimori {
        Some(sekimori) => sekimori.clone(),
        None => built(workspace)?,
    };
    let load_before = machine::load();
    if machine::load_now() > QUIET_LOAD {
        eprintln!("the machine is not quiet (load {load_before}): the figures will be noisy");
    }
    let mut ground = Ground::prepare(&sekimori)?;
    if let Err(error) = ground.enter_the_gate() {
        println!("skipped: {error:#}");
        return Ok(());
    }
    if let Some(Part::OlderIrc) = options.only {
        show(&older_irc::play(&mut ground)?.rows(), options.json);
        return Ok(());
    }
    let replays = options.replays();
    let (size, starts, watched, storms) = if options.quick {
        (
            rounds::Size {
                rounds: 3,
                divisor: 4,
            },
            3,
            Duration::from_secs(2),
            (2, 200),
        )
    } else {
        (
            rounds::Size {
                rounds: 100,
                divisor: 1,
            },
            11,
            Duration::from_secs(10),
            (10, 1000),
        )
    };
    let rounds = options.rounds.unwrap_or(size.rounds);
    if options.by_hook {
        let rows = hooks::play(&mut ground, rounds)?;
        show(&rows, options.json);
        return Ok(());
    }
    // First, while this program is small: what a child held at most counts its parent too.
    ground.enter(ground::State::Off)?;
    let replay = replay::play(workspace, &sekimori, replays)?;
    let samples = rounds::play(&mut ground, rounds::Size { rounds, ..size })?;
    eprintln!("the daemon");
    let daemon = daemon::examine(&mut ground, starts, watched)?;
    let storm = storm::play(&mut ground, storms.0, storms.1)?;
    let mail_verdicts = report::mail_verdicts(&ground)?;
    let older_irc = older_irc::play(&mut ground)?;
    drop(ground);

    let measured = report::Measured {
        samples,
        mail_verdicts,
        daemon,
        storm,
        older_irc,
        replay,
        load_before,
    };
    let rows = measured.rows();
    show(&rows, options.json);
    for note in measured.notes() {
        eprintln!("{note}");
    }
    if !options.quick {
        let path = workspace.path("BENCHMARKS.md");
        fs::write(&path, measured.document(workspace, &rows))
            .with_context(|| path.display().to_string())?;
        eprintln!("wrote {}", workspace.shown(&path));
    }
    Ok(())
}

/// Replay alone.
fn only_replay(workspace: &Workspace, options: &Options) -> Result<()> {
    let built = built(workspace)?;
    let sekimori = options.sekimori.clone().unwrap_or(built);
    eprintln!("load averages: {}", machine::load());
    let rounds = options.rounds.unwrap_or(options.replays());
    let found = replay::play(workspace, &sekimori, rounds)?;
    show(&found.rows(), options.json);
    Ok(())
}

impl Options {
    /// Rounds of replay: each takes seconds.
    const fn replays(&self) -> u32 {
        if self.quick { 2 } else { 11 }
    }
}

fn show(rows: &[table::Row], json: bool) {
    match json {
        true => print!("{}", table::json_lines(rows)),
        false => print!("{}", table::markdown(rows)),
    }
}

/// A process of the bench's own inside the sandbox.
pub fn part(arguments: Vec<OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let part = arguments.next().unwrap_or_default();
    let rest = arguments.next();
    let text = || {
        rest.clone()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    match part.to_str() {
        Some("init") => stage::init_main(rest.into_iter().chain(arguments)),
        Some("call") => ExitCode::from(worker::call(text().parse().unwrap_or(0))),
        Some("worker") => match worker::serve(text().as_ref()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("worker: {error:#}");
                ExitCode::FAILURE
            }
        },
        _ => ExitCode::from(2),
    }
}

/// Builds what is measured as it is released, and goes on as a release build itself. Returns
/// the path of `sekimori`.
fn built(workspace: &Workspace) -> Result<PathBuf> {
    let mut build = workspace.cargo();
    build.args(["build", "--quiet", "--release", "--package", "sekimori"]);
    if cfg!(debug_assertions) {
        // Not while we are that file ourselves: it would be replaced under our feet.
        build.args(["--package", "xtask"]);
    }
    process::run(&mut build)?;
    if cfg!(debug_assertions) {
        let mut command = Command::new(workspace.target("release/xtask"));
        forget_own_package(&mut command);
        let error = command.args(std::env::args_os().skip(1)).exec();
        return Err(error).context("xtask as a release build");
    }
    Ok(workspace.target("release/sekimori"))
}
