//! Records for the processes that are older than the gate, made from /proc.
//!
//! A process's chain of parents is followed up to PID 1, or, when only one cgroup is
//! guarded, to the process that is its topmost there. Each program on the way counts like
//! an exec. Where the chain has a gap, the process is foreign until it is started anew.

use std::collections::HashMap;

use abi::{ProcessRecord, ProgramEntry, ProgramKey};
use policy::{Invocation, Origin, Program, Role, Standing, Tamper};

use crate::cgroup::Cgroup;
use crate::gate::Gate;
use crate::identity::{self, Stamp};
use crate::procfs::{self, Process};
use crate::{Error, programs};

/// Chains longer than this count as broken; /proc can change while it is read.
const CHAIN_MAX: usize = 256;
/// Processes can fork while /proc is read; two rounds without anything new are enough.
const ROUNDS_MAX: usize = 5;
/// The lower bits of an index say who gave it; no CPU has this number.
const INDEX_BITS: u32 = 10;
const INDEX_MARK: u32 = (1 << INDEX_BITS) - 1;

/// What seeding found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seeded {
    /// Processes recorded.
    pub processes: u32,
    /// Of these, foreign.
    pub foreign: u32,
}

/// Records every process that has no record yet.
///
/// # Errors
///
/// When the process table is full.
pub fn seed(gate: &mut Gate, cgroup: &Cgroup) -> Result<Seeded, Error> {
    let mut seeded = Seeded::default();
    let mut names = Names::default();
    for _ in 0..ROUNDS_MAX {
        let mut fresh = 0;
        let processes: HashMap<u32, Process> = procfs::all()
            .into_iter()
            .filter_map(|pid| Some((pid, procfs::process(pid)?)))
            .collect();
        let mut records = HashMap::new();
        for &pid in processes.keys() {
            let record = record(pid, &processes, &mut records, gate, cgroup, &mut names);
            if gate.process(pid).is_some() || !gate.record_process(pid, &record)? {
                continue;
            }
            // It may have ended before its record was there for the exit hook to remove.
            if procfs::process(pid).is_none() {
                gate.forget_process(pid);
                continue;
            }
            fresh += 1;
            seeded.processes += 1;
            seeded.foreign += u32::from(record.standing().origin == Origin::Foreign);
        }
        if fresh == 0 {
            break;
        }
    }
    Ok(seeded)
}

fn record(
    pid: u32,
    processes: &HashMap<u32, Process>,
    records: &mut HashMap<u32, ProcessRecord>,
    gate: &mut Gate,
    cgroup: &Cgroup,
    names: &mut Names,
) -> ProcessRecord {
    // From the process upwards until something is known, then down again.
    let mut path = Vec::new();
    let mut at = pid;
    let mut record = loop {
        if let Some(known) = records.get(&at) {
            break *known;
        }
        let Some(process) = processes.get(&at).filter(|_| path.len() < CHAIN_MAX) else {
            break stranger();
        };
        path.push(at);
        let is_top = cgroup.holds(at) && (process.parent == 0 || !cgroup.holds(process.parent));
        if is_top || at == 1 {
            break root();
        }
        if process.parent == 0 || (cgroup.level > 0 && !cgroup.holds(at)) {
            break if process.is_kernel {
                root()
            } else {
                stranger()
            };
        }
        at = process.parent;
    };
    for pid in path.into_iter().rev() {
        record = grown(record, pid, processes, records, gate, cgroup, names);
        records.insert(pid, record);
    }
    record
}

fn root() -> ProcessRecord {
    let mut record = ProcessRecord::of(&Standing::ROOT);
    record.seeded = 1;
    record
}

fn stranger() -> ProcessRecord {
    let mut record = ProcessRecord::of(&Standing::STRANGER);
    record.seeded = 1;
    record
}

/// The parent's record, and the program that the process runs now.
fn grown(
    mut record: ProcessRecord,
    pid: u32,
    processes: &HashMap<u32, Process>,
    records: &HashMap<u32, ProcessRecord>,
    gate: &mut Gate,
    cgroup: &Cgroup,
    names: &mut Names,
) -> ProcessRecord {
    let process = &processes[&pid];
    if process.is_kernel {
        return record;
    }
    let path = procfs::program_path(pid);
    let stamp = identity::stamp(format!("/proc/{pid}/exe").as_ref()).ok();
    let index = names.index(
        gate,
        stamp.as_ref(),
        path.as_ref().and_then(|path| path.to_str()),
    );
    // A child that runs its parent's program was forked and never called exec.
    if index != 0 && index == record.program {
        return record;
    }
    let (mut program, mut how) = (Program::UNKNOWN, Invocation::Plain);
    if let Some(stamp) = stamp {
        if let Some(registration) = gate.registration(stamp.device, stamp.inode) {
            program = registration.program(stamp.changed_ns);
        }
        let script =
            procfs::script(pid).filter(|script| identity::is_interpreter(&stamp, script.as_ref()));
        if let Some(registration) = script.and_then(|script| gate.script(&script)) {
            let found = registration.program(0);
            // Which script it runs, a process says itself. That is enough for what brings a desktop
            // up, and would be too little for what sends.
            program = match found.role {
                Role::Mailer | Role::Submitter => Program::UNKNOWN,
                _ => found,
            };
        } else if program.role == Role::Shell {
            how = procfs::invocation(pid);
        }
    }
    let user = procfs::user(pid).unwrap_or(u32::MAX);
    let before = record.standing();
    program = program.started_by(user == 0);
    if how == Invocation::Terminal
        && before.origin == Origin::System
        && logs_in_from_here(process, processes, records)
    {
        how = Invocation::LoginFromHere;
    }
    // PID 1 is the machine itself, whatever it is called. Of one guarded cgroup, the topmost
    // process has to be registered.
    if pid == 1 && cgroup.level == 0 && program.role == Role::Unknown {
        program = Program::registered(Role::System, policy::Kind::Service);
    }
    let after = before.after_exec(program, how, Tamper::NONE);
    record.uid = user;
    record.record_exec(&after, index, pid, 1);
    record
}

/// Whether a shell was started for a connection that comes from this machine: see
/// `crates/kernel/src/image/login.rs`.
fn logs_in_from_here(
    shell: &Process,
    processes: &HashMap<u32, Process>,
    records: &HashMap<u32, ProcessRecord>,
) -> bool {
    /// As many as the kernel's side looks at.
    const PARENTS: usize = 3;
    let mut parent = shell.parent;
    for _ in 0..PARENTS {
        let record = records.get(&parent);
        if !record.is_some_and(|record| record.standing().logs_people_in()) {
            return false;
        }
        if let Some(answer) = procfs::is_connected_from_here(parent) {
            return answer;
        }
        parent = processes.get(&parent).map_or(0, |process| process.parent);
    }
    false
}

/// Gives programs an index that no CPU gives.
#[derive(Default)]
struct Names {
    count: u32,
}

impl Names {
    fn index(&mut self, gate: &mut Gate, stamp: Option<&Stamp>, path: Option<&str>) -> u32 {
        let (Some(stamp), Some(path)) = (stamp, path) else {
            return 0;
        };
        let key = ProgramKey {
            inode: stamp.inode,
            changed_ns: stamp.changed_ns,
            script: 0,
            device: stamp.device,
            reserved: 0,
        };
        if let Some(known) = gate.program(&key) {
            return known.index;
        }
        self.count += 1;
        let index = self.count << INDEX_BITS | INDEX_MARK;
        let entry = ProgramEntry {
            index,
            reserved: 0,
            path: programs::parts(path),
        };
        if gate.remember_program(&key, &entry).is_err() {
            0
        } else {
            index
        }
    }
}
