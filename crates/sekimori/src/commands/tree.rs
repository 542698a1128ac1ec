//! `tree`: the live process tree.

use std::collections::{HashMap, HashSet};
use std::process::ExitCode;

use engine::TamperedBy;
use linux::gate::Gate;
use linux::pins::Pins;
use linux::programs::Programs;
use policy::{Flaw, Origin, Role};
use serde_json::Value;

use crate::failure::{Failure, need_root};
use crate::output::{say, style};
use crate::paths::Paths;
use crate::render::{self, Age, Process};
use crate::status;

/// `tree [PID]`.
pub fn run(pid: Option<u32>, json: bool, paths: &Paths) -> Result<ExitCode, Failure> {
    need_root("tree")?;
    // From the gate itself: the daemon's part that talks to others may not see every process.
    let pins = Pins::new(&paths.pins, linux::load::OBJECT);
    if !pins.has_maps() {
        return Err(Failure::failed(
            "no pinned gate guards this machine (sudo sekimori run, or sudo sekimori install)",
        ));
    }
    let mut found = status::tree(&Gate::open(&pins)?, &mut Programs::default());
    if let Some(pid) = pid {
        let kept = relatives(&found, pid);
        if !kept.contains(&pid) {
            return Err(Failure::failed(format!("no process {pid}")));
        }
        found.retain(|process| kept.contains(&number(process, "pid")));
    }
    if json {
        found.iter().all(|process| say(&process.to_string()));
        return Ok(ExitCode::SUCCESS);
    }
    let processes: Vec<Process> = found
        .iter()
        .map(|process| Process {
            pid: number(process, "pid"),
            parent: number(process, "parent"),
            program: process["program"].as_str().unwrap_or("").to_owned(),
            role: process["role"]
                .as_str()
                .and_then(Role::from_word)
                .unwrap_or(Role::Unknown),
            origin: origin(process["origin"].as_str().unwrap_or("")),
            is_culprit: process["is_culprit"] == Value::Bool(true),
            culprit: process["culprit"]
                .as_str()
                .map(|path| (path.to_owned(), number(process, "culprit_pid"))),
            age: match process["older_than_gate"] == Value::Bool(true) {
                false => Age::Newer,
                true if process["forked"] == Value::Bool(true) => Age::OlderProgram,
                true => Age::Older,
            },
            tampered: process["tampered"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(|sign| named(process, sign))
                .collect(),
        })
        .collect();
    say(render::tree(&processes, None, style()).trim_end());
    Ok(ExitCode::SUCCESS)
}

/// A sign of tampering, with the variable or argument that was it.
fn named(process: &Value, sign: &str) -> String {
    let flaw = process["tampered_flaw"].as_str();
    let flaw = flaw.and_then(|word| Flaw::ALL.into_iter().find(|flaw| flaw.word() == word));
    TamperedBy::of(process["tampered_by"].as_str(), flaw)
        .and_then(|by| by.in_place_of(sign))
        .unwrap_or_else(|| sign.to_owned())
}

/// The process, its ancestors and its descendants.
fn relatives(processes: &[Value], pid: u32) -> HashSet<u32> {
    let parents: HashMap<u32, u32> = processes
        .iter()
        .map(|process| (number(process, "pid"), number(process, "parent")))
        .collect();
    let ancestors = |from: u32| {
        let mut chain = Vec::new();
        let mut at = from;
        while let Some(&parent) = parents.get(&at) {
            chain.push(at);
            // A loop can only come from a tree that changed while it was read.
            if chain.len() > parents.len() {
                break;
            }
            at = parent;
        }
        chain
    };
    let mut kept: HashSet<u32> = ancestors(pid).into_iter().collect();
    kept.extend(
        parents
            .keys()
            .copied()
            .filter(|&other| ancestors(other).contains(&pid)),
    );
    kept
}

fn origin(word: &str) -> Origin {
    Origin::ALL
        .into_iter()
        .find(|origin| origin.word() == word)
        .unwrap_or(Origin::Foreign)
}

fn number(process: &Value, key: &str) -> u32 {
    process[key]
        .as_u64()
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(0)
}
