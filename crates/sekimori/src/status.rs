//! What `status`, `programs` and `tree` show, as JSON: put together by the keeper, or by the
//! command itself: `tree` always, the others when no daemon runs.

use abi::{Counter, Link, ProcessRecord};
use linux::decode::{GateNames, Names as _};
use linux::gate::Gate;
use linux::procfs;
use linux::programs::Programs;
use serde_json::{Map, Value, json};

use crate::registry::Entry;

/// The gate's own part of the status.
pub fn of_gate(gate: &Gate) -> Value {
    let settings = gate.settings().unwrap_or_default();
    let ports: Vec<u16> = settings
        .mail_ports
        .iter()
        .copied()
        .filter(|port| *port != 0)
        .collect();
    let mut counters = Map::new();
    for (counter, name) in Counter::ALL {
        counters.insert(name.to_owned(), gate.counter(counter).into());
    }
    let (mut processes, mut foreign) = (0_u64, 0_u64);
    let (mut older, mut through_older) = (0_u64, 0_u64);
    for (_, record) in gate.processes() {
        processes += 1;
        if record.standing().origin == policy::Origin::Foreign {
            foreign += 1;
            let is_older = is_older(&record);
            older += u64::from(is_older);
            through_older += u64::from(!is_older && has_older_culprit(&record));
        }
    }
    let opened = gate.counter(Counter::GrantsOpened);
    json!({
        "gate": if settings.observe == 0 { "closed" } else { "observing" },
        "mail_ports": ports,
        "irc_ports": [settings.irc_first, settings.irc_last],
        "rate_per_minute": settings.rate_limit,
        "open_grants": opened.saturating_sub(gate.counter(Counter::GrantsClosed)),
        "processes": { "known": processes, "foreign": foreign, "foreign_until_started_anew": older,
            "foreign_through_older": through_older },
        "counters": counters,
        "daemon": { "running": false },
    })
}

/// Whether a process runs a program that was started before the gate. A record says only that it, or
/// the one that it was copied from at a fork, came from /proc; the last link is the process's own exec.
fn is_older(record: &ProcessRecord) -> bool {
    last_link(record).is_some_and(|link| link.seeded != 0)
}

fn last_link(record: &ProcessRecord) -> Option<&Link> {
    let last = (record.depth as usize).min(record.chain.len());
    record.chain[..last].last()
}

/// Whether a process is foreign only because of a program above it that was started before the gate.
fn has_older_culprit(record: &ProcessRecord) -> bool {
    let is_culprit = |link: &&Link| {
        link.program == record.culprit && link.pid == record.culprit_pid && link.seeded != 0
    };
    record.culprit != 0 && record.chain.iter().any(|link| is_culprit(&link))
}

/// One registered program.
pub fn program(entry: &Entry) -> Value {
    let stored = &entry.stored;
    json!({
        "path": stored.path,
        "role": stored.role,
        "kind": stored.kind,
        "script": stored.script,
        "sha256": stored.sha256,
        "root_owned": stored.root_owned,
        "forced": stored.forced,
        "registered": journal::rfc3339(stored.registered_ns),
        "state": if entry.suspended { "changed" } else { "good" },
    })
}

/// The live process tree, one object for each process.
pub fn tree(gate: &Gate, programs: &mut Programs) -> Vec<Value> {
    let mut names = GateNames { gate, programs };
    let mut all: Vec<_> = gate.processes().collect();
    all.sort_unstable_by_key(|(pid, _)| *pid);
    all.into_iter()
        .filter_map(|(pid, record)| {
            let process = procfs::process(pid)?;
            let standing = record.standing();
            let program = if process.is_kernel {
                format!("[{}]", process.comm)
            } else {
                names.name(record.program).map_or_else(
                    || {
                        procfs::program_path(pid)
                            .map(|path| path.display().to_string())
                            .unwrap_or_default()
                    },
                    |name| name.to_string(),
                )
            };
            Some(json!({
                "pid": pid,
                "parent": process.parent,
                "program": program,
                "role": standing.role.word(),
                "origin": standing.origin.word(),
                "culprit": names.name(record.culprit).map(|name| name.to_string()),
                "culprit_pid": (record.culprit != 0).then_some(record.culprit_pid),
                "is_culprit": record.culprit != 0
                    && record.culprit == record.program
                    && last_link(&record).is_none_or(|link| link.pid == record.culprit_pid),
                "tampered": standing.tampered.words().collect::<Vec<_>>(),
                "tampered_by": record.cause().map(|cause| cause.name),
                "tampered_flaw": record.cause().map(|cause| cause.flaw.word()),
                "seeded": record.seeded != 0,
                "older_than_gate": is_older(&record),
                // A fork of an older process need not be older itself.
                "forked": last_link(&record).is_some_and(|link| link.pid != pid),
            }))
        })
        .collect()
}
