//! The worker: a process inside the sandbox that does what it is told and times it. What a
//! copy of it is registered as is up to the bench.

use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::thread::{ClockId, CpuSet, sched_setaffinity};

use super::task::{Answer, Link, Task};
use super::veth::Veth;
use super::work;

/// How many processes of a storm live at a time.
const STORM_AT_A_TIME: usize = 8;
/// How often the poller looks whether the gate is closed.
const POLL_EVERY: Duration = Duration::from_micros(500);

/// Serves the bench at the socket `path` until it hangs up.
pub fn serve(path: &Path) -> Result<()> {
    let stream = UnixStream::connect(path).with_context(|| path.display().to_string())?;
    let mut link = Link::new(stream);
    let mut veth = None;
    while let Some(task) = link.receive()? {
        let answer = perform(task, &mut veth).unwrap_or_else(|error| Answer {
            failure: Some(format!("{error:#}")),
            ..Answer::default()
        });
        link.send(&answer)?;
    }
    Ok(())
}

/// Connects once to `port`. The exit status is the errno, or 0.
pub fn call(port: u16) -> u8 {
    match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => 0,
        Err(error) => error
            .raw_os_error()
            .and_then(|errno| errno.try_into().ok())
            .unwrap_or(u8::MAX),
    }
}

fn perform(task: Task, veth: &mut Option<Veth>) -> Result<Answer> {
    match task {
        Task::Launch { program, arguments } => {
            let child = Command::new(program).args(arguments).spawn()?;
            Ok(Answer {
                number: child.id().into(),
                ..Answer::default()
            })
        }
        Task::Connect {
            port,
            count,
            every_us,
        } => on_one_cpu(|| work::connect(port, count, Duration::from_micros(every_us))),
        Task::Refused {
            port,
            count,
            every_us,
        } => refused(port, count, Duration::from_micros(every_us)),
        Task::AwaitRefusal { port } => Ok(await_refusal(port)),
        Task::SystemCalls { count } => on_one_cpu(|| Ok(work::system_calls(count))),
        Task::Maps { count } => on_one_cpu(|| work::maps(count)),
        Task::Spawn { program, count } => on_one_cpu(|| work::spawn(&program, count)),
        Task::PingPong { count } => on_one_cpu(|| work::ping_pong(count)),
        Task::Bulk {
            veth: over_veth,
            far_speaks,
            count,
        } => on_one_cpu(|| {
            let (pair, interface) = if over_veth {
                let veth = veth.as_ref().context("there is no veth pair")?;
                (veth.connected_pair()?, Veth::INTERFACE)
            } else {
                (work::loopback_pair()?, "lo")
            };
            if far_speaks {
                work::far_speaks(&pair)?;
            }
            work::bulk(&pair, interface, count)
        }),
        Task::MakeVeth { guarded, unguarded } => {
            *veth = Some(Veth::make(guarded, unguarded)?);
            Ok(Answer::default())
        }
        Task::Storm {
            callers,
            port,
            count,
        } => storm(&callers, port, count),
    }
}

/// Stays on the last CPU for the time of `work`: moving between CPUs is noise.
fn on_one_cpu(work: impl FnOnce() -> Result<Answer>) -> Result<Answer> {
    let everywhere = rustix::thread::sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU)
        .rev()
        .find(|cpu| everywhere.is_set(*cpu));
    let mut one = CpuSet::new();
    one.set(last.unwrap_or(0));
    sched_setaffinity(None, &one)?;
    let answer = work();
    sched_setaffinity(None, &everywhere)?;
    answer
}

fn is_refused(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .is_err_and(|error| error.raw_os_error() == Some(Errno::PERM.raw_os_error()))
}

fn refused(port: u16, count: u32, every: Duration) -> Result<Answer> {
    let mut let_through = 0;
    for _ in 0..count {
        let begun = Instant::now();
        let_through += u64::from(!is_refused(port));
        work::spin_until(begun + every);
    }
    Ok(Answer {
        number: let_through,
        ..Answer::default()
    })
}

fn await_refusal(port: u16) -> Answer {
    while !is_refused(port) {
        std::thread::sleep(POLL_EVERY);
    }
    Answer {
        number: now_ns(),
        ..Answer::default()
    }
}

/// The monotonic clock, which all processes share.
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn storm(callers: &[PathBuf], port: u16, count: u32) -> Result<Answer> {
    let port = port.to_string();
    let begun = Instant::now();
    let mut alive = Vec::new();
    let mut processes = Vec::new();
    for number in 0..count as usize {
        if alive.len() == STORM_AT_A_TIME {
            processes.push(ended(alive.remove(0))?);
        }
        let caller = number % callers.len();
        let child = Command::new(&callers[caller])
            .args(["bench-part", "call", &port])
            .stdin(Stdio::null())
            .spawn()?;
        alive.push((child, caller));
    }
    for child in alive {
        processes.push(ended(child)?);
    }
    Ok(Answer {
        number: begun.elapsed().as_nanos() as u64,
        processes,
        ..Answer::default()
    })
}

fn ended((mut child, caller): (std::process::Child, usize)) -> Result<(u32, usize, i32)> {
    let pid = child.id();
    Ok((pid, caller, child.wait()?.code().unwrap_or(-1)))
}
