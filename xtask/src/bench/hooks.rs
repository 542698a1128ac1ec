//! What each hook costs by itself: the gate's hooks are taken away one after the other, and
//! what becomes faster then is what the last one cost.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;

use anyhow::{Context, Result};

use super::bpf;
use super::figures::{Figure, low_percentile};
use super::ground::{Ground, SETTLE, State, links};
use super::rounds::{OPEN_PORT, tiny_program};
use super::table::{Row, Target};
use super::task::Task;
use super::work;

/// Links that only make sense together. Every other one is a step of its own.
const TOGETHER: [&[&str]; 3] = [
    &["connect4", "connect6"],
    // What costs is that calls are watched at all, whichever: when they begin, when they end.
    &["take_descriptor", "vm_write"],
    &["created", "opened_at", "opened_at2", "opened_old"],
];

/// A single link of a tracepoint takes longer to go than a whole gate.
const STEP_SETTLES: u32 = 5;

/// What is timed, with the divisor that gives one operation.
const OPERATIONS: [(&str, f64); 7] = [
    ("a system call", work::GROUP as f64),
    ("a page mapped, touched and unmapped", work::GROUP as f64),
    ("connect(), open port", 1.0),
    ("one byte there and back, a packet", 2.0),
    ("256 KiB over the loopback interface", 1.0),
    ("start and end of a static program", 1.0),
    ("start and end of /bin/true", 1.0),
];

/// Measures, and returns the rows.
pub fn play(ground: &mut Ground, rounds: u32) -> Result<Vec<Row>> {
    let tiny = tiny_program(ground.sandbox().folder())?;
    let tiny = tiny.unwrap_or_else(|| "/bin/true".into());
    ground.enter(State::GateWithEveryCall)?;
    let folder = ground.state().join("bpf");
    let steps = ground.sandbox().run_inside(|| steps(&folder))??;
    // [operation][steps taken] of each round
    let mut times = vec![vec![Vec::new(); steps.len() + 1]; OPERATIONS.len()];
    let mut disturbed = 0;
    for round in 0..rounds {
        eprint!("\rround {} of {rounds} ", round + 1);
        ground.enter(State::Off)?;
        if !bpf::is_quiet()? {
            disturbed += 1;
        }
        ground.enter(State::GateWithEveryCall)?;
        // It would hold the links that go.
        ground.stop_daemon()?;
        for step in 0..=steps.len() {
            for (operation, times) in times.iter_mut().enumerate() {
                let answer = ground.mailer.ask(&task(operation, &tiny))?;
                times[step].push(low_percentile(&answer.each_ns) / OPERATIONS[operation].1);
            }
            if let Some(pins) = steps.get(step) {
                ground
                    .sandbox()
                    .run_inside(|| unpin(pins))?
                    .context("a hook's pin")?;
                sleep(SETTLE * STEP_SETTLES);
            }
        }
    }
    eprintln!();
    if disturbed > 0 {
        eprintln!("{disturbed} rounds disturbed by other programs that run for the whole machine");
    }
    ground.enter(State::Off)?;

    let mut rows = Vec::new();
    for ((name, _), times) in OPERATIONS.iter().zip(&times) {
        let us = |figure: Option<Figure>| figure.map(|figure| figure.divided_by(1000.0));
        let bare = times.last().map(Vec::as_slice).unwrap_or_default();
        let row = |what: String, figure| Row::new(what, us(figure), "µs", Target::None);
        rows.push(row(
            format!("{name}: no hook"),
            Figure::of(bare.iter().copied()),
        ));
        rows.push(row(
            "… all hooks add".to_owned(),
            Figure::difference(&times[0], bare),
        ));
        for (step, pins) in steps.iter().enumerate() {
            let cost = Figure::difference(&times[step], &times[step + 1]);
            rows.push(row(format!("… {}", names(pins)), cost));
        }
    }
    Ok(rows)
}

fn task(operation: usize, tiny: &Path) -> Task {
    match operation {
        0 => Task::SystemCalls { count: 2000 },
        1 => Task::Maps { count: 1000 },
        2 => Task::Connect {
            port: OPEN_PORT,
            count: 1500,
            every_us: 0,
        },
        3 => Task::PingPong { count: 3000 },
        4 => Task::Bulk {
            veth: false,
            far_speaks: false,
            count: 300,
        },
        5 => Task::Spawn {
            program: tiny.to_owned(),
            count: 150,
        },
        _ => Task::Spawn {
            program: "/bin/true".into(),
            count: 100,
        },
    }
}

/// The links of the gate, those together that belong together.
fn steps(pins: &Path) -> Result<Vec<Vec<PathBuf>>> {
    let mut steps: Vec<Vec<PathBuf>> = Vec::new();
    for link in links(pins)? {
        let partner = |other: &Vec<PathBuf>| {
            TOGETHER.iter().any(|group| {
                group.contains(&name(&other[0]).as_str()) && group.contains(&name(&link).as_str())
            })
        };
        match steps.iter().position(partner) {
            Some(step) => steps[step].push(link),
            None => steps.push(vec![link]),
        }
    }
    Ok(steps)
}

fn unpin(links: &[PathBuf]) -> std::io::Result<()> {
    links.iter().try_for_each(fs::remove_file)
}

fn name(link: &Path) -> String {
    let name = link.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn names(links: &[PathBuf]) -> String {
    let names: Vec<_> = links.iter().map(|link| name(link)).collect();
    names.join(" and ")
}
