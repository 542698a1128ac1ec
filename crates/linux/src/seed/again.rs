//! Processes that are older than the gate are judged again, because registrations changed.
//!
//! When the gate came up, a process may have counted as foreign only because nobody had registered the
//! panel or the terminal that started it. When that program is registered, the process becomes the
//! user's, without being started again.
//!
//! What is judged is the chain that was recorded when the gate came up, and not the parents that the
//! process has now: a parent that has ended meanwhile is replaced by PID 1, which would hide it. So
//! nothing is forgiven but a missing registration:
//!
//! - Only processes whose every exec is older than the gate. What the gate saw start stays as it was.
//! - The first foreign program of the chain had no registration then, and has one now.
//! - No sign of tampering. Whoever becomes the user's is looked at now as all others were when the gate
//!   came up, and a program of the chain that has ended cannot be looked at any more.
//!
//! A process may call exec at the very moment in which its record is exchanged. So the record is taken
//! out first. Hooks that have begun are waited for. The new record is put in only where no hook has made
//! one meanwhile, and only when the process still has the memory that was looked at.

use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use abi::{CHAIN_LENGTH, Link, ProcessRecord, ProgramKey};
use policy::{Invocation, Kind, Origin, Program, Role, Tamper};

use super::{Seeding, keep, root, stranger};
use crate::Error;
use crate::cgroup::Cgroup;
use crate::gate::Gate;
use crate::identity;
use crate::procfs;

/// How long hooks are given to end on kernels that cannot say when they have.
const HOOKS_END: Duration = Duration::from_millis(200);
const MEMBARRIER_GLOBAL: libc::c_int = 1;

/// A process whose record is another one when it is judged again.
#[derive(Debug)]
pub struct Judged {
    /// The process.
    pub pid: u32,
    before: ProcessRecord,
    /// What its record becomes.
    pub after: ProcessRecord,
    /// Its list of mappings. It reads as empty when the process has called exec since it was opened.
    memory: File,
}

/// What a look at the processes has found.
#[derive(Debug, Default)]
pub struct Looked {
    /// Their records are to change.
    pub judged: Vec<Judged>,
    /// Processes of registered programs that the gate saw start. They are foreign because of a program
    /// that is registered now, and stay so until they are started again.
    pub start_again: Vec<u32>,
}

/// Judges the processes that are older than the gate once more. Changes nothing; may take seconds
/// when a process does not let itself be read.
pub fn look_again(gate: &mut Gate, cgroup: &Cgroup) -> Looked {
    let records: Vec<(u32, ProcessRecord)> = gate
        .processes()
        .filter(|(_, record)| is_worth_a_look(record))
        .collect();
    let mut looked = Looked::default();
    let mut seeding = Seeding::new(gate, cgroup, false);
    for (pid, record) in records {
        // Opened first: what is read afterwards is of this memory, or the list reads as empty.
        let Ok(memory) = File::open(format!("/proc/{pid}/maps")) else {
            continue;
        };
        if !is_older(&record) {
            if seeding.is_registered_now(&record) {
                looked.start_again.push(pid);
            }
        } else if let Some(after) = seeding.judged_again(pid, &record) {
            looked.judged.push(Judged {
                pid,
                before: record,
                after,
                memory,
            });
        }
    }
    looked.start_again.sort_unstable();
    looked
}

/// Puts the records in force. Returns the processes that are not foreign any more, with their
/// records; one that has changed since the look stays as it is.
///
/// # Errors
///
/// When the process table cannot be written.
pub fn apply(gate: &mut Gate, judged: Vec<Judged>) -> Result<Vec<(u32, ProcessRecord)>, Error> {
    let mut taken = Vec::new();
    for one in judged {
        if gate
            .process(one.pid)
            .is_some_and(|now| is_same(&now, &one.before))
        {
            gate.forget_process(one.pid);
            taken.push(one);
        }
    }
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    wait_for_hooks();
    let mut clean = Vec::new();
    for mut one in taken {
        let mut byte = [0];
        let runs_on = one
            .memory
            .read(&mut byte)
            .is_ok_and(|count| count == byte.len());
        // One that has called exec meanwhile is somebody of whom nothing is known.
        let record = if runs_on { one.after } else { stranger() };
        let is_clean = record.standing().origin != Origin::Foreign;
        if keep(gate, one.pid, &record)? == Some(true) && is_clean {
            clean.push((one.pid, record));
        }
    }
    Ok(clean)
}

/// Hooks run in sections of RCU, which this waits for: afterwards nobody writes into a record that
/// was taken out.
fn wait_for_hooks() {
    // SAFETY: the call has no pointers; it only waits.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_GLOBAL, 0, 0) };
    if result != 0 {
        std::thread::sleep(HOOKS_END);
    }
}

/// Foreign, untouched, with a whole chain that began before the gate.
fn is_worth_a_look(record: &ProcessRecord) -> bool {
    record.origin == Origin::Foreign as u8
        && record.tampered == 0
        && record.seeded != 0
        && (1..=CHAIN_LENGTH).contains(&(record.depth as usize))
}

/// Whether no exec of it was seen by the gate.
fn is_older(record: &ProcessRecord) -> bool {
    let links = &record.chain[..record.depth as usize];
    links.iter().all(|link| link.seeded != 0)
        && links
            .last()
            .is_some_and(|link| link.program == record.program)
}

/// Whether nothing has happened to a process. That it was sampled is nothing.
fn is_same(one: &ProcessRecord, other: &ProcessRecord) -> bool {
    let without = |record: &ProcessRecord| ProcessRecord {
        sampled: 0,
        ..*record
    };
    without(one) == without(other)
}

fn first_foreign(record: &ProcessRecord) -> Option<(usize, Link)> {
    let links = record.chain[..record.depth as usize].iter().copied();
    links
        .enumerate()
        .find(|(_, link)| link.origin == Origin::Foreign as u8)
}

impl Seeding<'_> {
    /// The record that a process that is older than the gate gets now. None when it stays as it is.
    fn judged_again(&mut self, pid: u32, before: &ProcessRecord) -> Option<ProcessRecord> {
        let links = &before.chain[..before.depth as usize];
        let (first, _) = first_foreign(before)?;
        self.read_parents(links.iter().map(|link| link.pid).chain([pid]));
        if !self.is_top(links[0].pid) {
            return None;
        }
        let mut record = root();
        for (place, link) in links.iter().enumerate() {
            let standing = record.standing();
            if place < first {
                let (program, how) = as_recorded(link);
                let after = standing.after_exec(program, how, Tamper::NONE);
                if (after.origin as u8, after.role as u8) != (link.origin, link.role) {
                    return None;
                }
                record.record_exec(&after, link.program, link.pid, 1);
                continue;
            }
            let is_there = self.is_still(link, place);
            let user = procfs::user(link.pid).unwrap_or(u32::MAX);
            let (program, how) = if is_there {
                let stamp = identity::stamp(format!("/proc/{}/exe", link.pid).as_ref()).ok();
                let index = stamp.and_then(|stamp| self.index_of(&stamp));
                if index != Some(link.program) {
                    return None;
                }
                self.program(link.pid, user, stamp)
            } else {
                (self.program_by_index(link.program), Invocation::Script)
            };
            // Something else than a missing registration has made it foreign.
            if place == first && (program.changed || program.role as u8 == link.role) {
                return None;
            }
            let after = standing.after_exec(program, how, Tamper::NONE);
            if after.origin != Origin::Foreign
                && !(is_there && self.shows_no_signs(link.pid, user, &after))
            {
                return None;
            }
            record.record_exec(&after, link.program, link.pid, 1);
            self.records.insert(link.pid, record);
        }
        let after = record.standing();
        let is_forked = links.last().is_some_and(|link| link.pid != pid);
        if is_forked
            && after.origin != Origin::Foreign
            && !self.shows_no_signs(pid, before.uid, &after)
        {
            return None;
        }
        record.uid = before.uid;
        record.sampled = before.sampled;
        (!is_same(&record, before)).then_some(record)
    }

    fn shows_no_signs(&mut self, pid: u32, user: u32, standing: &policy::Standing) -> bool {
        let path = procfs::program_path(pid);
        let path = path.as_ref().and_then(|path| path.to_str());
        !self.signs(pid, user, path, standing).tamper.any()
    }

    /// Whether a link's process still runs the program that it ran when the gate came up.
    fn is_still(&self, link: &Link, place: usize) -> bool {
        self.gate.process(link.pid).is_some_and(|now| {
            let last = now.depth.checked_sub(1).map(|last| last as usize);
            now.tampered == 0
                && now.program == link.program
                && last == Some(place)
                && now
                    .chain
                    .get(place)
                    .is_some_and(|own| own.seeded != 0 && own.pid == link.pid)
        })
    }

    /// The first process of a chain that has no gap.
    fn is_top(&self, pid: u32) -> bool {
        if self.cgroup.level == 0 {
            return pid == 1;
        }
        let holds = |pid| self.cgroup.holds(pid);
        let parent = self.processes.get(&pid).map(|process| process.parent);
        parent.is_some_and(|parent| holds(pid) && (parent == 0 || !holds(parent)))
    }

    fn read_parents(&mut self, pids: impl Iterator<Item = u32>) {
        for pid in pids {
            if let Some(process) = procfs::process(pid) {
                self.processes.insert(pid, process);
            }
            if let Some(record) = self.gate.process(pid) {
                self.records.entry(pid).or_insert(record);
            }
        }
    }

    fn index_of(&self, stamp: &identity::Stamp) -> Option<u32> {
        let key = ProgramKey {
            inode: stamp.inode,
            changed_ns: stamp.changed_ns,
            script: 0,
            device: stamp.device,
            reserved: 0,
        };
        self.gate.program(&key).map(|entry| entry.index)
    }

    /// What a program is registered as, of which no process may be left. Scripts are known by a
    /// running process only.
    fn program_by_index(&self, index: u32) -> Program {
        let found = self
            .gate
            .programs_from(0)
            .find(|(key, entry)| entry.index == index && key.script == 0);
        let registration =
            found.and_then(|(key, _)| Some((key, self.gate.registration(key.device, key.inode)?)));
        registration.map_or(Program::UNKNOWN, |(key, registration)| {
            registration.program(key.changed_ns)
        })
    }

    /// Whether the program that made a process foreign had no registration then, and has one now.
    fn is_registered_now(&self, record: &ProcessRecord) -> bool {
        let is_known = |role: u8| Role::from_code(role) != Role::Unknown;
        first_foreign(record).is_some_and(|(_, link)| {
            is_known(record.role)
                && !is_known(link.role)
                && self.program_by_index(link.program).role != Role::Unknown
        })
    }
}

/// The program of a link that was not foreign, and how it was started, as the record tells.
fn as_recorded(link: &Link) -> (Program, Invocation) {
    let (role, kind) = (Role::from_code(link.role), Kind::from_code(link.kind));
    let program = Program {
        by_user: role == Role::System && kind == Kind::Batch,
        ..Program::registered(role, kind)
    };
    // Only an interactive shell keeps or gets the user's origin.
    let how = match role {
        Role::Shell => Invocation::Terminal,
        _ => Invocation::Plain,
    };
    (program, how)
}

#[cfg(test)]
mod tests {
    use policy::Standing;

    use super::*;

    fn chain(links: &[(u8, Origin, Role)]) -> ProcessRecord {
        let mut record = root();
        for (number, (seeded, origin, role)) in (1_u32..).zip(links) {
            let standing = Standing {
                origin: *origin,
                role: *role,
                ..Standing::STRANGER
            };
            record.record_exec(&standing, number, 100 + number, *seeded);
        }
        record
    }

    #[test]
    fn only_what_is_wholly_older_than_the_gate_is_judged_again() {
        let old = [
            (1, Origin::System, Role::System),
            (1, Origin::Foreign, Role::Unknown),
        ];
        let record = chain(&old);
        assert!(is_worth_a_look(&record) && is_older(&record));
        let seen = chain(&[old[0], old[1], (0, Origin::Foreign, Role::Mailer)]);
        assert!(is_worth_a_look(&seen) && !is_older(&seen));
        assert_eq!(
            first_foreign(&record).map(|(place, link)| (place, link.program)),
            Some((1, 2))
        );
        let spoiled = ProcessRecord {
            tampered: Tamper::TRACED.0,
            ..record
        };
        assert!(!is_worth_a_look(&spoiled));
        assert!(!is_worth_a_look(&stranger()));
        assert!(!is_worth_a_look(&chain(&[(
            1,
            Origin::User,
            Role::Session
        )])));
    }

    #[test]
    fn a_chain_with_lost_links_stays_as_it_is() {
        let long = vec![(1, Origin::Foreign, Role::Unknown); CHAIN_LENGTH + 1];
        assert!(!is_worth_a_look(&chain(&long)));
    }

    #[test]
    fn links_that_were_good_are_judged_as_they_were() {
        let record = chain(&[
            (1, Origin::System, Role::System),
            (1, Origin::User, Role::Session),
        ]);
        let mut again = root();
        for link in &record.chain[..2] {
            let (program, how) = as_recorded(link);
            let after = again.standing().after_exec(program, how, Tamper::NONE);
            assert_eq!(
                (after.origin as u8, after.role as u8),
                (link.origin, link.role)
            );
            again.record_exec(&after, link.program, link.pid, 1);
        }
    }
}
