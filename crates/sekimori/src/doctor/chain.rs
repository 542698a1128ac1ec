//! Programs between the desktop and the person's programs that nobody has registered: whatever they start
//! is foreign.

use std::collections::BTreeMap;

use abi::{CHAIN_LENGTH, ProcessRecord};
use linux::decode::{GateNames, Names as _};
use linux::programs::Programs;
use policy::{Kind, Origin, Role};

use super::{Finding, Machine, is_person, some_of};
use crate::proposal::{Offer, Proposal, short_name};

/// What runs below a program that is not registered.
#[derive(Default)]
struct Below {
    /// Registered programs, which cannot do their work.
    kept: Vec<String>,
    /// Other programs.
    others: Vec<String>,
}

/// Findings about ancestors that are not registered, and about parts of mail servers that are foreign.
pub fn check(machine: &Machine<'_>) -> Vec<Finding> {
    let Some(gate) = &machine.gate else {
        return Vec::new();
    };
    let mut programs = Programs::default();
    let mut names = GateNames {
        gate,
        programs: &mut programs,
    };
    let mut ancestors: BTreeMap<String, Below> = BTreeMap::new();
    let mut servers: BTreeMap<String, (usize, Option<String>)> = BTreeMap::new();
    for (pid, record) in gate.processes() {
        if record.origin != Origin::Foreign as u8 || record.depth as usize > CHAIN_LENGTH {
            continue;
        }
        let Some(own) = names.name(record.program) else {
            continue;
        };
        if is_server(&record) {
            let culprit = names.name(record.culprit).map(|name| name.to_string());
            servers.entry(own.to_string()).or_insert((0, culprit)).0 += 1;
        } else if is_person(record.uid) {
            for index in unregistered(&record) {
                let Some(name) = names.name(index).map(|name| name.to_string()) else {
                    continue;
                };
                if machine.registered.contains(&name) {
                    continue;
                }
                let below = ancestors.entry(name).or_default();
                let list = if machine.registered.contains(&*own) {
                    &mut below.kept
                } else {
                    &mut below.others
                };
                let label = format!("{} (process {pid})", short_name(&own));
                list.push(label);
            }
        }
    }
    let mut findings: Vec<Finding> = ancestors
        .into_iter()
        .filter_map(|(path, below)| of_ancestor(machine, &path, &below))
        .collect();
    findings.extend(
        servers
            .into_iter()
            .map(|(path, (count, culprit))| of_server(&path, count, culprit.as_deref())),
    );
    findings
}

/// The programs of a foreign chain, from the first foreign one on, that had no role, and have started
/// another program. The process's own program is not among them: that it may not send is no fault of
/// the machine's.
fn unregistered(record: &ProcessRecord) -> Vec<u32> {
    let links = &record.chain[..(record.depth as usize).min(CHAIN_LENGTH)];
    let Some(first) = links
        .iter()
        .position(|link| link.origin == Origin::Foreign as u8)
    else {
        return Vec::new();
    };
    // One that was registered has become foreign by how it was started, and no registration changes that.
    if links[first].role != Role::Unknown as u8 {
        return Vec::new();
    }
    let mut indexes: Vec<u32> = links[first..]
        .iter()
        .filter(|link| link.role == Role::Unknown as u8 && link.program != record.program)
        .map(|link| link.program)
        .filter(|index| *index != 0)
        .collect();
    indexes.dedup();
    indexes
}

/// A part of a mail server that should be the system's.
fn is_server(record: &ProcessRecord) -> bool {
    record.role == Role::Mailer as u8 && record.kind == Kind::Service as u8
}

fn of_ancestor(machine: &Machine<'_>, path: &str, below: &Below) -> Option<Finding> {
    let name = short_name(path);
    let proposal = machine.proposer.starter(path);
    let is_needed = !below.kept.is_empty();
    // Programs that start parts of their own are many, and no registration of theirs is missed.
    let is_safe = matches!(&proposal, Proposal::Offer(Offer { safe: true, .. }));
    if !is_needed && !is_safe {
        return None;
    }
    let (started, what) = if is_needed {
        (&below.kept, "cannot send or start a mailer")
    } else {
        (&below.others, "count as foreign, and so would a mailer")
    };
    let text = format!(
        "{name} ({path}) is not registered. What it has started {what}: {}.",
        some_of(started)
    );
    Some(match proposal {
        Proposal::Offer(offer) => Finding::problem("starter", text).offering(vec![offer]),
        Proposal::Not(why) => Finding::problem("starter", text).next(format!("Not offered: {why}")),
    })
}

fn of_server(path: &str, count: usize, culprit: Option<&str>) -> Finding {
    let name = short_name(path);
    let processes = match count {
        1 => "1 process".to_owned(),
        count => format!("{count} processes"),
    };
    let because = match culprit {
        Some(culprit) if culprit != path => format!(", because {culprit} started it"),
        _ => String::new(),
    };
    Finding::problem(
        "mail-server",
        format!("{name} ({path}) belongs to a mail server and counts as foreign in {processes}{because}. Its mail is blocked."),
    )
    .next("Restart its unit (systemctl restart UNIT), so that the system starts it.")
}

#[cfg(test)]
mod tests {
    use policy::Standing;

    use super::*;

    fn record(links: &[(Origin, Role)]) -> ProcessRecord {
        let mut record = ProcessRecord::of(&Standing::ROOT);
        for (number, (origin, role)) in (1_u32..).zip(links) {
            let standing = Standing {
                origin: *origin,
                role: *role,
                ..Standing::STRANGER
            };
            record.record_exec(&standing, number, 100 + number, 0);
        }
        record
    }

    #[test]
    fn every_program_that_stands_in_the_way_is_named() {
        let chain = record(&[
            (Origin::System, Role::System),
            (Origin::Foreign, Role::Unknown),
            (Origin::Foreign, Role::Launcher),
            (Origin::Foreign, Role::Unknown),
            (Origin::Foreign, Role::Mailer),
        ]);
        assert_eq!(unregistered(&chain), [2, 4]);
    }

    #[test]
    fn a_program_is_not_in_its_own_way() {
        let own = record(&[
            (Origin::User, Role::Session),
            (Origin::Foreign, Role::Unknown),
        ]);
        assert!(unregistered(&own).is_empty());
        let script = record(&[
            (Origin::User, Role::Launcher),
            (Origin::Foreign, Role::Shell),
            (Origin::Foreign, Role::Unknown),
            (Origin::Foreign, Role::Mailer),
        ]);
        assert!(unregistered(&script).is_empty(), "a script made it foreign");
        let clean = record(&[(Origin::User, Role::Session)]);
        assert!(unregistered(&clean).is_empty());
    }
}
