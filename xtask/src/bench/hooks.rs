//! What each hook costs by itself: the gate's hooks are taken away one after the other, and
//! what becomes faster then is what the last one cost.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::thread::sleep;

use anyhow::{Context, Result};

use super::bpf;
use super::figures::{Figure, low_percentile};
use super::ground::{Ground, SETTLE, State};
use super::rounds::{OPEN_PORT, tiny_program};
use super::table::{Row, Target};
use super::task::Task;
use super::work;

/// The pins of links that are removed together, in this order, and what they are for.
const STEPS: [(&str, &[&str]); 7] = [
    (
        "tampering (system call tracepoints)",
        &["ptrace_enter", "ptrace_exit", "vm_write", "take_descriptor"],
    ),
    ("socket states", &["socket_state"]),
    ("packets out", &["egress"]),
    ("connect", &["connect4", "connect6"]),
    ("exit", &["exit"]),
    ("exec", &["exec"]),
    ("fork", &["fork"]),
];

/// What is timed, with the divisor that gives one operation.
const OPERATIONS: [(&str, f64); 5] = [
    ("a system call", work::GROUP as f64),
    ("connect(), open port", 1.0),
    ("one byte there and back, a packet", 2.0),
    ("start and end of a static program", 1.0),
    ("start and end of /bin/true", 1.0),
];

/// Measures, and returns the rows.
pub fn play(ground: &mut Ground, rounds: u32) -> Result<Vec<Row>> {
    let tiny = tiny_program(ground.sandbox().folder())?;
    let tiny = tiny.unwrap_or_else(|| "/bin/true".into());
    // [operation][steps taken] of each round
    let mut times = vec![vec![Vec::new(); STEPS.len() + 1]; OPERATIONS.len()];
    let mut disturbed = 0;
    for round in 0..rounds {
        eprint!("\rround {} of {rounds} ", round + 1);
        ground.enter(State::Off)?;
        if bpf::machine_wide_programs()? > 0 {
            disturbed += 1;
        }
        ground.enter(State::Gate)?;
        for step in 0..=STEPS.len() {
            for (operation, times) in times.iter_mut().enumerate() {
                let answer = ground.mailer.ask(&task(operation, &tiny))?;
                times[step].push(low_percentile(&answer.each_ns) / OPERATIONS[operation].1);
            }
            if let Some((_, pins)) = STEPS.get(step) {
                let folder = ground.state().join("bpf");
                ground
                    .sandbox()
                    .run_inside(|| unpin(&folder, pins))?
                    .context("a hook's pin")?;
                sleep(SETTLE);
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
        for (step, (hook, _)) in STEPS.iter().enumerate() {
            let cost = Figure::difference(&times[step], &times[step + 1]);
            rows.push(row(format!("… {hook}"), cost));
        }
    }
    Ok(rows)
}

fn task(operation: usize, tiny: &Path) -> Task {
    match operation {
        0 => Task::SystemCalls { count: 2000 },
        1 => Task::Connect {
            port: OPEN_PORT,
            count: 1500,
            every_us: 0,
        },
        2 => Task::PingPong { count: 3000 },
        3 => Task::Spawn {
            program: tiny.to_owned(),
            count: 150,
        },
        _ => Task::Spawn {
            program: "/bin/true".into(),
            count: 100,
        },
    }
}

fn unpin(folder: &Path, pins: &[&str]) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("links-") {
            for pin in pins {
                match fs::remove_file(entry.path().join(pin)) {
                    // Not every configuration has every hook.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    done => done?,
                }
            }
        }
    }
    Ok(())
}
