//! Replay: how fast it reads a large capture of small connections, and what it holds in
//! memory meanwhile; beside it ndpiReader on the same file, and tcpdump, which only copies.

use std::fs::File;
use std::io::{BufWriter, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::figures::Figure;
use super::table::{Row, Target};
use super::traffic::{self, Written};
use crate::packages::Packages;
use crate::workspace::Workspace;

const CAPTURE_BYTES: u64 = 600_000_000;
const MB: f64 = 1e6;
const MIB: f64 = 1024.0 * 1024.0;

/// What was found.
pub struct Findings {
    capture: Written,
    ours: Vec<Run>,
    ours_doubled: Run,
    ndpi: Result<Vec<Run>, String>,
    tcpdump: Result<Vec<Run>, String>,
}

/// One run of a program over the whole capture.
#[derive(Clone, Copy, Debug)]
struct Run {
    seconds: f64,
    /// Of all its threads.
    cpu_seconds: f64,
    /// Most that was resident.
    peak_bytes: u64,
}

/// Measures.
pub fn play(workspace: &Workspace, sekimori: &Path, rounds: u32) -> Result<Findings> {
    eprintln!(
        "replay: making a capture of {} MB",
        CAPTURE_BYTES / 1_000_000
    );
    let (file, capture) = capture(workspace)?;
    // It has no other name, so that it is gone with us, however we end.
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let replay = |source: &str| {
        let mut command = Command::new(sekimori);
        command.args(["replay", "--json", source]);
        command
    };
    // The first one is for the caches.
    run(&mut replay(&path))?;
    let mut ours = Vec::new();
    let mut ndpi = ready(&package(&["libndpi-bin"]));
    let mut tcpdump = ready(&package(&["tcpdump"]));
    for round in 0..rounds {
        eprint!("\rreplay: round {} of {rounds} ", round + 1);
        ours.push(run(&mut replay(&path))?);
        also(
            &mut ndpi,
            Command::new("ndpiReader").args(["-q", "-i", &path]),
        );
        let mut copy = Command::new("tcpdump");
        copy.args(["-n", "-r", &path, "-w", "/dev/null"]);
        if rustix::process::geteuid().is_root() {
            // It would become somebody who may not open the file.
            copy.args(["-Z", "root"]);
        }
        also(&mut tcpdump, &mut copy);
    }
    eprintln!();
    let mut doubled = replay("-");
    let child = start(doubled.stdin(Stdio::piped()))?;
    Ok(Findings {
        capture,
        ours,
        ours_doubled: feed(child, 2 * CAPTURE_BYTES)?,
        ndpi,
        tcpdump,
    })
}

fn capture(workspace: &Workspace) -> Result<(File, Written)> {
    let folder = workspace.target("");
    let file = tempfile::tempfile_in(&folder).with_context(|| folder.display().to_string())?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let written = traffic::write(&mut out, CAPTURE_BYTES).context("writing a capture")?;
    let mut file = out.into_inner().map_err(|error| error.into_error())?;
    file.rewind()?;
    Ok((file, written))
}

/// Sends a capture through standard input as it is made.
fn feed(mut child: Child, bytes: u64) -> Result<Run> {
    let pipe = child.stdin.take().context("no pipe to the program")?;
    let mut out = BufWriter::with_capacity(1 << 16, pipe);
    let written = traffic::write(&mut out, bytes).and_then(|_| out.flush());
    drop(out);
    let ended = end(child, Instant::now());
    written.context("the program reads no more")?;
    ended
}

const fn package(names: &'static [&'static str]) -> Packages {
    Packages {
        purpose: "for the comparison of replay",
        names,
        answers: "",
        services: &[],
    }
}

fn ready(packages: &Packages) -> Result<Vec<Run>, String> {
    match packages.ensure() {
        Ok(()) => Ok(Vec::new()),
        Err(error) => Err(format!("not measured: {error:#}")),
    }
}

/// One more run, unless it cannot be had.
fn also(runs: &mut Result<Vec<Run>, String>, command: &mut Command) {
    if let Ok(list) = runs {
        match run(command) {
            Ok(run) => list.push(run),
            Err(error) => *runs = Err(format!("not measured: {error:#}")),
        }
    }
}

fn run(command: &mut Command) -> Result<Run> {
    let began = Instant::now();
    end(start(command.stdin(Stdio::null()))?, began)
}

fn start(command: &mut Command) -> Result<Child> {
    let name = command.get_program().to_string_lossy().into_owned();
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("{name} cannot be started"))
}

fn end(child: Child, began: Instant) -> Result<Run> {
    let mut status = 0;
    // SAFETY: all zeroes are a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the child is ours and nobody waited for it; both places are valid for writing.
    let waited = unsafe {
        libc::wait4(
            child.id() as libc::pid_t,
            &raw mut status,
            0,
            &raw mut usage,
        )
    };
    let seconds = began.elapsed().as_secs_f64();
    if waited < 0 {
        bail!("wait4: {}", std::io::Error::last_os_error());
    }
    if status != 0 {
        bail!("ended with status {status:#x}");
    }
    let cpu =
        [usage.ru_utime, usage.ru_stime].map(|time| time.tv_sec as f64 + time.tv_usec as f64 / 1e6);
    Ok(Run {
        seconds,
        cpu_seconds: cpu.iter().sum(),
        // In KiB. It counts what we were at the fork too; this is measured before we grow.
        peak_bytes: usage.ru_maxrss as u64 * 1024,
    })
}

impl Findings {
    /// Lines of the table.
    pub fn rows(&self) -> Vec<Row> {
        let speed = |runs: &[Run]| {
            let bytes = self.capture.bytes as f64;
            Figure::of(runs.iter().map(|run| bytes / MB / run.seconds))
        };
        let cpu = |runs: &[Run]| Figure::of(runs.iter().map(|run| run.cpu_seconds * 1000.0));
        let peak = |runs: &[Run]| {
            let most = runs.iter().map(|run| run.peak_bytes).max().unwrap_or(0);
            most as f64 / MIB
        };
        let mut rows = vec![
            Row::number(
                "replay: a capture of mixed small connections",
                self.capture.bytes as f64 / MB,
                "MB",
                Target::None,
            ),
            Row::number(
                "… connections in it",
                self.capture.connections as f64,
                "",
                Target::None,
            ),
            Row::new(
                "… sekimori replay --json",
                speed(&self.ours),
                "MB/s",
                Target::AtLeast(1000.0),
            ),
            Row::new(
                "… CPU time, all threads",
                cpu(&self.ours),
                "ms",
                Target::None,
            ),
        ];
        let times = "… times as fast as ndpiReader";
        match &self.ndpi {
            Ok(ndpi) => {
                let pairs = self.ours.iter().zip(ndpi);
                let ratio = Figure::of(pairs.map(|(ours, ndpi)| ndpi.seconds / ours.seconds));
                rows.push(Row::new(times, ratio, "", Target::AtLeast(2.0)));
                rows.push(Row::new("… ndpiReader", speed(ndpi), "MB/s", Target::None));
                let what = "… ndpiReader, CPU time";
                rows.push(Row::new(what, cpu(ndpi), "ms", Target::None));
            }
            Err(reason) => rows.push(Row::missing(times, reason, Target::AtLeast(2.0))),
        }
        let copying = "… tcpdump, copying it";
        rows.push(match &self.tcpdump {
            Ok(tcpdump) => Row::new(copying, speed(tcpdump), "MB/s", Target::None),
            Err(reason) => Row::missing(copying, reason, Target::None),
        });
        let most = Target::AtMost(64.0);
        rows.push(Row::number(
            "… resident at most",
            peak(&self.ours),
            "MiB",
            most,
        ));
        let doubled = peak(&[self.ours_doubled]);
        let twice = "… resident at most, a capture of twice the size through a pipe";
        rows.push(Row::number(twice, doubled, "MiB", most));
        if let Ok(ndpi) = &self.ndpi {
            let what = "… ndpiReader resident at most";
            rows.push(Row::number(what, peak(ndpi), "MiB", Target::None));
        }
        rows
    }
}
