//! The storm: many short-lived processes of several programs, each connecting once. Every
//! one has to be in the journal, under its own program's name and with the right verdict.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::io::Errno;

use super::figures::Figure;
use super::ground::{Ground, State};
use super::task::Task;

/// The programs: the first is a registered mailer.
const CALLERS: usize = 4;
const MAIL_PORT: u16 = 465;
/// How long connections may take to be gone.
const QUIET_LIMIT: Duration = Duration::from_secs(3);

/// What was found.
pub struct Findings {
    /// Processes that ran under the gate.
    pub processes: u64,
    /// Of these, in the journal with their program and the right verdict.
    pub right: u64,
    /// In the journal, but wrong.
    pub wrong: u64,
    /// Whose connect() did not end as it must.
    pub ended_wrong: u64,
    /// Reports that the gate counted as lost.
    pub lost: u64,
    /// By how many percent the storm takes longer under the gate.
    pub slower_percent: Figure,
    /// Processes a second under the gate.
    pub processes_a_second: f64,
}

/// Plays `rounds` storms of `count` processes with the gate, and as many without.
pub fn play(ground: &mut Ground, rounds: u32, count: u32) -> Result<Findings> {
    let own = std::env::current_exe()?;
    let callers = (0..CALLERS).map(|number| {
        ground
            .sandbox()
            .program(&own, &format!("caller-{number}"))
            .map_err(Into::into)
    });
    let callers: Vec<PathBuf> = callers.collect::<Result<_>>()?;
    ground.register(&callers[0], "mailer")?;
    let address = SocketAddr::from(([127, 0, 0, 1], MAIL_PORT));
    for listener in ground.sandbox().listen(&[address])? {
        // It ends with the bench.
        thread::spawn(move || listener.incoming().for_each(drop));
    }

    let (mut with, mut without) = (Vec::new(), Vec::new());
    let mut started: HashMap<(u32, usize), (u64, bool)> = HashMap::new();
    let (mut ended_wrong, mut lost) = (0, 0);
    for round in 0..rounds {
        eprint!("\rstorm {} of {rounds} ", round + 1);
        let mut states = [State::Off, State::Gate];
        states.rotate_left(round as usize % 2);
        for state in states {
            // What comes late of a connection from before the gate is refused, and rightly so.
            wait_for_quiet(ground)?;
            ground.enter(state)?;
            let storm = Task::Storm {
                callers: callers.clone(),
                port: MAIL_PORT,
                count,
            };
            let answer = ground.launcher.ask(&storm)?;
            if state == State::Off {
                without.push(answer.number as f64);
                continue;
            }
            with.push(answer.number as f64);
            for (pid, caller, status) in answer.processes {
                let is_mailer = caller == 0;
                let expected = if is_mailer {
                    0
                } else {
                    Errno::PERM.raw_os_error()
                };
                ended_wrong += u64::from(status != expected);
                started.entry((pid, caller)).or_insert((0, is_mailer)).0 += 1;
            }
            lost += ground.counter("events_lost")?;
        }
    }
    eprintln!();
    ground.enter(State::Off)?;

    let processes: u64 = started.values().map(|(times, _)| times).sum();
    let (mut right, mut wrong) = (0, 0);
    for verdict in ground.verdicts()? {
        let port = verdict["destination"].as_str().unwrap_or_default();
        if !port.ends_with(&format!(":{MAIL_PORT}")) {
            continue;
        }
        let pid = verdict["pid"].as_u64().unwrap_or(0) as u32;
        let program = verdict["program"].as_str().unwrap_or_default();
        let allowed = verdict["verdict"] == "allow";
        let caller = callers
            .iter()
            .position(|caller| caller.as_os_str() == program);
        match caller.and_then(|caller| started.get_mut(&(pid, caller))) {
            Some((times, is_mailer)) if *times > 0 && *is_mailer == allowed => {
                *times -= 1;
                right += 1;
            }
            _ => {
                wrong += 1;
                eprintln!("a verdict that belongs to no process of the storm: {verdict}");
            }
        }
    }
    let seconds = with.iter().sum::<f64>() / 1e9;
    Ok(Findings {
        processes,
        right,
        wrong,
        ended_wrong,
        lost,
        slower_percent: Figure::percent(&with, &without).unwrap_or(Figure {
            median: f64::NAN,
            low: f64::NAN,
            high: f64::NAN,
        }),
        processes_a_second: processes as f64 / seconds,
    })
}

/// Until no connection of the storm is open or being closed any more.
fn wait_for_quiet(ground: &Ground) -> Result<()> {
    let deadline = Instant::now() + QUIET_LIMIT;
    while Instant::now() < deadline {
        let table = ground
            .sandbox()
            .run_inside(|| fs::read_to_string("/proc/thread-self/net/tcp"))??;
        if !table.lines().skip(1).any(is_under_way) {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Whether a line of the kernel's table is a connection to or from the mail port that somebody
/// still has to answer for: none that only listens or only waits for its number to be free.
fn is_under_way(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace().skip(1);
    let port = format!(":{MAIL_PORT:04X}");
    let (own, other) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let state = words.next().unwrap_or("");
    (own.ends_with(&port) || other.ends_with(&port)) && !matches!(state, "06" | "0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_is_being_closed_is_under_way() {
        let line = |own: &str, other: &str, state: &str| {
            format!("   0: 0100007F:{own} 0100007F:{other} {state} 00000000:00000000 00:0 0 0 0 1")
        };
        assert!(is_under_way(&line("8001", "01D1", "05")));
        assert!(is_under_way(&line("01D1", "8001", "01")));
        assert!(!is_under_way(&line("01D1", "0000", "0A")));
        assert!(!is_under_way(&line("8001", "01D1", "06")));
        assert!(!is_under_way(&line("8001", "0019", "01")));
    }
}
