//! The daemon itself: how soon it guards, what it holds in memory, what it does when idle. Its
//! two processes are added up.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::figures::Figure;
use super::ground::{Ground, State};
use super::task::Task;

/// Verdicts before its memory is looked at for the second time.
pub const VERDICTS: u32 = 10_000;
/// Where the poller knocks. Nobody listens there.
const MAIL_PORT: u16 = 587;
/// Between two refusals: faster would be a flood, which is measured elsewhere.
const REFUSAL_EVERY_US: u64 = 100;

/// What was found.
pub struct Findings {
    /// Milliseconds from the start of the process to the first refusal.
    pub refuses_after_ms: Figure,
    /// Milliseconds from the start to readiness.
    pub ready_after_ms: Figure,
    /// The same when the gate is there already.
    pub adopted_after_ms: Figure,
    /// Resident bytes of both processes when it has started.
    pub resident_bytes: u64,
    /// After [`VERDICTS`], with what both share counted once, and in parts where others share it
    /// too.
    pub proportional_bytes: u64,
    /// Resident bytes of the keeper alone.
    pub keeper_bytes: u64,
    /// Resident bytes after [`VERDICTS`].
    pub resident_later_bytes: u64,
    /// Of these, its own memory and not pages of its file.
    pub own_later_bytes: u64,
    /// The most it ever held resident.
    pub peak_bytes: u64,
    /// Nanoseconds on a CPU while idle.
    pub idle_ns: u64,
    /// Processes that the whole machine started meanwhile: a program never seen before wakes
    /// the daemon.
    pub started_meanwhile: u64,
    /// How long that was watched.
    pub watched: Duration,
    /// Attempts that the gate let through, of [`VERDICTS`].
    pub let_through: u64,
    /// Reports that the gate counted as lost.
    pub lost: u64,
}

/// Finds out. `starts`: how many starts of each kind.
pub fn examine(ground: &mut Ground, starts: u32, watched: Duration) -> Result<Findings> {
    let ms = |from_ns: u64, to_ns: u64| to_ns.saturating_sub(from_ns) as f64 / 1e6;
    let (mut refuses, mut ready, mut adopted) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..starts {
        ground.enter(State::Off)?;
        ground
            .stranger
            .send(&Task::AwaitRefusal { port: MAIL_PORT })?;
        ground.enter(State::Gate)?;
        let refused_ns = ground.stranger.answer()?.number;
        let daemon = ground.daemon()?;
        refuses.push(ms(daemon.started_ns, refused_ns));
        ready.push(ms(daemon.started_ns, daemon.ready_ns));
        ground.stop_daemon()?;
        ground.start_daemon("")?;
        let daemon = ground.daemon()?;
        adopted.push(ms(daemon.started_ns, daemon.ready_ns));
    }

    ground.enter(State::Gate)?;
    let keeper = ground.daemon()?.pid();
    let both = [keeper, watcher_of(keeper)?];
    let memory = |name: &str| -> Result<u64> {
        let all = both.iter().map(|pid| memory_bytes(*pid, name));
        all.sum()
    };
    let on_cpu = || -> Result<u64> { both.iter().map(|pid| on_cpu_ns(*pid)).sum() };
    // Whatever the start left to do is done by then.
    sleep(Duration::from_secs(1));
    let resident_bytes = memory("VmRSS")?;
    let keeper_bytes = memory_bytes(keeper, "VmRSS")?;
    let (before_ns, started_before) = (on_cpu()?, processes_started()?);
    sleep(watched);
    let idle_ns = on_cpu()? - before_ns;
    let started_meanwhile = processes_started()? - started_before;
    let let_through = ground
        .stranger
        .ask(&Task::Refused {
            port: MAIL_PORT,
            count: VERDICTS,
            every_us: REFUSAL_EVERY_US,
        })?
        .number;
    sleep(Duration::from_secs(1));
    let resident_later_bytes = memory("VmRSS")?;
    let own_later_bytes = memory("RssAnon")?;
    let peak_bytes = memory("VmHWM")?;
    let shares: Result<Vec<u64>> = both.iter().map(|pid| proportional(*pid)).collect();
    let proportional_bytes = shares?.iter().sum();
    let lost = ground.counter("events_lost")?;
    ground.enter(State::Off)?;
    let figure = |values: Vec<f64>| Figure::of(values).context("no start was measured");
    Ok(Findings {
        refuses_after_ms: figure(refuses)?,
        ready_after_ms: figure(ready)?,
        adopted_after_ms: figure(adopted)?,
        resident_bytes,
        proportional_bytes,
        keeper_bytes,
        resident_later_bytes,
        own_later_bytes,
        peak_bytes,
        idle_ns,
        started_meanwhile,
        watched,
        let_through,
        lost,
    })
}

/// The watcher that a keeper has started.
pub fn watcher_of(keeper: u32) -> Result<u32> {
    let path = format!("/proc/{keeper}/task/{keeper}/children");
    let children = fs::read_to_string(&path).with_context(|| path.clone())?;
    let first = children.split_whitespace().next();
    first
        .and_then(|pid| pid.parse().ok())
        .with_context(|| format!("{path}: the daemon has no watcher"))
}

/// Its share of memory: pages that several processes have count in parts.
fn proportional(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok());
    Ok(kib.with_context(|| format!("{path} has no Pss"))? * 1024)
}

fn memory_bytes(pid: u32, name: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.with_context(|| format!("/proc/{pid}/status has no {name}"))? * 1024)
}

/// All threads together. Finer than the ticks of /proc/PID/stat.
pub fn on_cpu_ns(pid: u32) -> Result<u64> {
    let mut sum = 0;
    let mut threads = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let first = text.split_whitespace().next();
        sum += first
            .context("schedstat is empty")?
            .parse::<u64>()
            .context("schedstat")?;
        threads += 1;
    }
    ensure!(threads > 0, "process {pid} is gone");
    Ok(sum)
}

/// Processes that the machine has started since it was booted.
fn processes_started() -> Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let count = text
        .lines()
        .find_map(|line| line.strip_prefix("processes "));
    count
        .context("/proc/stat has no processes")?
        .parse()
        .context("/proc/stat")
}
