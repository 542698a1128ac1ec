//! What `status`, `programs` and `tree` show, as JSON: put together by the keeper, or by the
//! command itself: `tree` always, the others when no daemon runs.

use abi::Counter;
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
    let (mut processes, mut foreign, mut seeded_foreign) = (0_u64, 0_u64, 0_u64);
    for (_, record) in gate.processes() {
        processes += 1;
        if record.standing().origin == policy::Origin::Foreign {
            foreign += 1;
            seeded_foreign += u64::from(record.seeded != 0);
        }
    }
    let opened = gate.counter(Counter::GrantsOpened);
    json!({
        "gate": if settings.observe == 0 { "closed" } else { "observing" },
        "mail_ports": ports,
        "irc_ports": [settings.irc_first, settings.irc_last],
        "rate_per_minute": settings.rate_limit,
        "open_grants": opened.saturating_sub(gate.counter(Counter::GrantsClosed)),
        "processes": { "known": processes, "foreign": foreign, "foreign_until_started_anew": seeded_foreign },
        "counters": counters,
        "daemon": { "running": false },
    })
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
                "is_culprit": record.culprit != 0 && record.culprit == record.program,
                "tampered": standing.tampered.words().collect::<Vec<_>>(),
                "seeded": record.seeded != 0,
            }))
        })
        .collect()
}
