//! Records for the processes that are older than the gate, made from /proc.
//!
//! A process's chain of parents is followed up to PID 1, or, when only one cgroup is
//! guarded, to the process that is its topmost there. Each program on the way counts like
//! an exec. Where the chain has a gap, the process is foreign until it is started anew. So is one
//! that cannot be shown to run its own program only: see `seed/look.rs`.

mod again;
pub(crate) mod look;

use std::collections::{HashMap, HashSet};

use abi::{ProcessRecord, ProgramEntry, ProgramKey, Settings};
use policy::{Invocation, Origin, Program, Role, Standing, Tamper};

use crate::cgroup::Cgroup;
use crate::gate::Gate;
use crate::identity::{self, Stamp};
use crate::patience::Patience;
use crate::procfs::{self, Process};
use crate::{Error, programs, roots};
pub use again::{Judged, Looked, apply, look_again};
pub use look::environment_signs;
use look::{Signs, Wanted, look};

/// Chains longer than this count as broken; /proc can change while it is read.
const CHAIN_MAX: usize = 256;
/// Processes can fork while /proc is read; two rounds without anything new are enough.
const ROUNDS_MAX: usize = 5;
/// The lower bits of an index say who gave it; no CPU has this number.
const INDEX_BITS: u32 = 10;
const INDEX_MARK: u32 = (1 << INDEX_BITS) - 1;

/// How much of the process table foreign processes may fill. They may not send without a record
/// either, and whoever starts after the gate needs room.
const FOREIGN_MAX: usize = 24_576;
/// How many sentences about processes are kept.
const WORDS_MAX: usize = 20;

/// What seeding found.
#[derive(Clone, Debug, Default)]
pub struct Seeded {
    /// Processes that are older than the gate.
    pub processes: u32,
    /// Of these, foreign.
    pub foreign: u32,
    /// Of these, carried over from an older gate.
    pub carried: u32,
    /// Of these, without a record, because the process table has no room.
    pub without_room: u32,
    /// Processes that would be the user's or the machine's, and show signs of tampering: a sentence
    /// about each of the first ones.
    pub doubtful: Vec<String>,
    /// How many there are.
    pub doubtful_count: u32,
}

/// Records every process that has no record yet.
///
/// # Errors
///
/// When the process table cannot be written.
pub fn seed(gate: &mut Gate, cgroup: &Cgroup) -> Result<Seeded, Error> {
    Seeding::new(gate, cgroup, false).run()
}

/// The same where an older gate guarded, and nothing is known of who was the user's then: nobody
/// counts as the user's.
///
/// # Errors
///
/// As above.
pub fn seed_without_users(gate: &mut Gate, cgroup: &Cgroup) -> Result<Seeded, Error> {
    Seeding::new(gate, cgroup, true).run()
}

/// Looks in /proc which of these processes, foreign to an older gate that knew no origin
/// [`Origin::Service`], are what root's own files do, and puts that into their records. Returns how many.
/// Nobody becomes the user's by it.
///
/// # Errors
///
/// As above.
pub(crate) fn judge_services(
    gate: &mut Gate,
    cgroup: &Cgroup,
    foreign: &[u32],
) -> Result<u32, Error> {
    let mut seeding = Seeding::new(gate, cgroup, true);
    seeding.processes = procfs::all()
        .into_iter()
        .filter_map(|pid| Some((pid, procfs::process(pid)?)))
        .collect();
    let mut count = 0;
    for pid in foreign {
        let Some(older) = seeding.gate.process(*pid) else {
            continue;
        };
        let record = seeding.record(*pid);
        let is_service = record.standing().origin == Origin::Service;
        if is_service && older.uid == 0 && !older.standing().tampered.any() {
            seeding.gate.change_process(*pid, &record)?;
            count += 1;
        }
    }
    Ok(count)
}

/// The work of seeding, and what it has found so far.
struct Seeding<'a> {
    gate: &'a mut Gate,
    cgroup: &'a Cgroup,
    /// Nobody counts as the user's.
    without_users: bool,
    names: Names,
    settings: Settings,
    patience: Patience,
    /// All processes, as they were found in this round.
    processes: HashMap<u32, Process>,
    records: HashMap<u32, ProcessRecord>,
    seeded: Seeded,
}

impl<'a> Seeding<'a> {
    fn new(gate: &'a mut Gate, cgroup: &'a Cgroup, without_users: bool) -> Self {
        let names = Names::after(gate);
        let settings = gate.settings().unwrap_or_default();
        Self {
            gate,
            cgroup,
            without_users,
            names,
            settings,
            patience: Patience::default(),
            processes: HashMap::new(),
            records: HashMap::new(),
            seeded: Seeded::default(),
        }
    }

    fn run(mut self) -> Result<Seeded, Error> {
        let mut recorded_foreign = 0;
        let mut unrecorded = HashSet::new();
        for _ in 0..ROUNDS_MAX {
            self.processes = procfs::all()
                .into_iter()
                .filter_map(|pid| Some((pid, procfs::process(pid)?)))
                .collect();
            self.records.clear();
            let mut fresh = Vec::new();
            for pid in self.processes.keys().copied().collect::<Vec<_>>() {
                if self.gate.process(pid).is_none() && !unrecorded.contains(&pid) {
                    fresh.push((pid, self.record(pid)));
                }
            }
            if fresh.is_empty() {
                break;
            }
            // A full table must not leave out whoever may do something.
            fresh.sort_by_key(|(pid, record)| (record.standing().origin == Origin::Foreign, *pid));
            for (pid, record) in fresh {
                let foreign = record.standing().origin == Origin::Foreign;
                let is_left_out = foreign && recorded_foreign >= FOREIGN_MAX;
                let kept = if is_left_out {
                    None
                } else {
                    keep(self.gate, pid, &record)?
                };
                match kept {
                    Some(true) => recorded_foreign += usize::from(foreign),
                    Some(false) => continue,
                    None => {
                        unrecorded.insert(pid);
                        self.seeded.without_room += 1;
                    }
                }
                self.seeded.processes += 1;
                self.seeded.foreign += u32::from(foreign || kept.is_none());
            }
        }
        Ok(self.seeded)
    }

    /// The record of a process: from the process upwards until something is known, then down again.
    fn record(&mut self, pid: u32) -> ProcessRecord {
        let mut path = Vec::new();
        let mut at = pid;
        let mut record = loop {
            if let Some(known) = self.records.get(&at) {
                break *known;
            }
            let Some(process) = self.processes.get(&at).filter(|_| path.len() < CHAIN_MAX) else {
                break stranger();
            };
            path.push(at);
            let holds = |pid| self.cgroup.holds(pid);
            let is_top = holds(at) && (process.parent == 0 || !holds(process.parent));
            if is_top || at == 1 {
                break root();
            }
            if process.parent == 0 || (self.cgroup.level > 0 && !holds(at)) {
                break if process.is_kernel {
                    root()
                } else {
                    stranger()
                };
            }
            at = process.parent;
        };
        for pid in path.into_iter().rev() {
            record = self.grown(record, pid);
            self.records.insert(pid, record);
        }
        record
    }

    /// The parent's record, and the program that the process runs now.
    fn grown(&mut self, mut record: ProcessRecord, pid: u32) -> ProcessRecord {
        if self
            .processes
            .get(&pid)
            .is_none_or(|process| process.is_kernel)
        {
            return record;
        }
        let user = procfs::user(pid).unwrap_or(u32::MAX);
        let path = procfs::program_path(pid);
        let exe = format!("/proc/{pid}/exe");
        let stamp = self
            .patience
            .ask(user, move || identity::stamp(exe.as_ref()).ok());
        let stamp = stamp.flatten();
        let path = path.as_ref().and_then(|path| path.to_str());
        let index = self.names.index(self.gate, stamp.as_ref(), path);
        let before = record.standing();
        let (mut after, is_forked) = if index != 0 && index == record.program {
            // A child that runs its parent's program was forked and never called exec.
            (before, true)
        } else {
            let (program, how) = self.program(pid, user, stamp);
            (before.after_exec(program, how, Tamper::NONE), false)
        };
        if self.without_users && after.origin == Origin::User {
            after.origin = Origin::Foreign;
        }
        let signs = self.signs(pid, user, path, &after);
        if signs.tamper.any() {
            after.tampered = after.tampered.with(signs.tamper);
            record.keep_cause(signs.cause);
            after.origin = Origin::Foreign;
            self.doubt(pid, path, &signs);
        }
        if !is_forked || after != before {
            record.uid = user;
            record.record_exec(&after, index, pid, 1);
        }
        record
    }

    /// What the process runs, and how it was started.
    fn program(&mut self, pid: u32, user: u32, stamp: Option<Stamp>) -> (Program, Invocation) {
        let (mut program, mut how) = (Program::UNKNOWN, Invocation::Plain);
        if let Some(stamp) = stamp {
            if let Some(registration) = self.gate.registration(stamp.device, stamp.inode) {
                program = registration.program(stamp.changed_ns);
            }
            let script = self.patience.ask(user, move || {
                procfs::script(pid)
                    .filter(|script| identity::is_interpreter(&stamp, script.as_ref()))
            });
            let script = script.flatten();
            if let Some(registration) = script.and_then(|script| self.gate.script(&script)) {
                let found = registration.program(0);
                // Which script it runs, a process says itself. That is enough for what brings a desktop
                // up, and would be too little for what sends.
                program = match found.role {
                    Role::Mailer | Role::Submitter => Program::UNKNOWN,
                    _ => found,
                };
            } else if program.role == Role::Shell {
                let started = self.patience.ask(user, move || procfs::invocation(pid));
                how = started.unwrap_or(Invocation::Script);
            }
        }
        program = program.started_by(user == 0);
        if user == 0 {
            let settings = self.settings;
            let is_roots = self
                .patience
                .ask(user, move || roots::runs_roots(pid, &settings));
            program.is_roots = is_roots.unwrap_or(false);
        }
        if how == Invocation::Terminal && self.logs_in_from_here(pid) {
            how = Invocation::LoginFromHere;
        }
        // PID 1 is the machine itself, whatever it is called. Of one guarded cgroup, the topmost
        // process has to be registered.
        if pid == 1 && self.cgroup.level == 0 && program.role == Role::Unknown {
            program = Program::registered(Role::System, policy::Kind::Service);
        }
        (program, how)
    }

    /// Signs of tampering, of a process that may do something without them. The others are thousands,
    /// and nothing that is found would make them worse.
    fn signs(&mut self, pid: u32, user: u32, path: Option<&str>, standing: &Standing) -> Signs {
        let is_users_manager = standing.role == Role::System && user != 0;
        let (is_looked_at, environment) = match standing.origin {
            Origin::User | Origin::Service => (true, true),
            // As at exec. Beside that, a user can reach into what runs as that user, and desktops
            // come from a user's own service manager.
            Origin::System => {
                let is_mailer = standing.role == Role::Mailer;
                (is_mailer || is_users_manager, is_mailer)
            }
            Origin::Foreign => (false, false),
        };
        if !is_looked_at {
            return Signs::default();
        }
        let name = path.and_then(|path| path.rsplit('/').next());
        let name = policy::name_of(name.unwrap_or_default().as_bytes());
        let folders = self
            .gate
            .settings()
            .map_or(0, |settings| settings.code_folders.into());
        let wanted = Wanted::of(standing.role, standing.kind, name, environment, folders);
        let signs = self.patience.ask(user, move || look(pid, wanted));
        signs.unwrap_or_else(|| Signs::unreadable("what it shows of itself"))
    }

    fn doubt(&mut self, pid: u32, path: Option<&str>, signs: &Signs) {
        self.seeded.doubtful_count += 1;
        if self.seeded.doubtful.len() < WORDS_MAX {
            let path = path.unwrap_or("a program without a path");
            let why = signs
                .why
                .as_deref()
                .unwrap_or("it shows signs of tampering");
            self.seeded.doubtful.push(format!(
                "{path} (process {pid}) was started before the gate and counts as foreign: {why}. \
                 It may not send mail, nor may what it starts; close it and start it again"
            ));
        }
    }

    /// Whether a shell was started for a connection that comes from this machine, or for a
    /// pseudo-terminal that another program holds: see `crates/kernel/src/image/login.rs`.
    fn logs_in_from_here(&self, shell: u32) -> bool {
        /// As many as the kernel's side looks at.
        const PARENTS: usize = 3;
        let parent_of = |pid: u32| self.processes.get(&pid).map_or(0, |process| process.parent);
        let mut parent = parent_of(shell);
        for _ in 0..PARENTS {
            let record = self.records.get(&parent);
            if !record.is_some_and(|record| record.standing().logs_people_in()) {
                break;
            }
            if let Some(answer) = procfs::is_connected_from_here(parent) {
                return answer;
            }
            parent = parent_of(parent);
        }
        procfs::stdin_is_pseudo_terminal(shell)
    }
}

/// Puts a record into the process table. `Some(true)` when it is there now, `Some(false)` when the
/// hooks were quicker or the process is gone, `None` when there is no room.
pub(crate) fn keep(
    gate: &mut Gate,
    pid: u32,
    record: &ProcessRecord,
) -> Result<Option<bool>, Error> {
    match gate.record_process(pid, record) {
        Ok(true) => {}
        Ok(false) => return Ok(Some(false)),
        Err(Error::Full(_)) => return Ok(None),
        Err(error) => return Err(error),
    }
    // It may have ended before its record was there for the exit hook to remove.
    if procfs::process(pid).is_none() {
        gate.forget_process(pid);
        return Ok(Some(false));
    }
    Ok(Some(true))
}

fn root() -> ProcessRecord {
    let mut record = ProcessRecord::of(&Standing::ROOT);
    record.seeded = 1;
    record
}

/// The record of a process that is older than the gate, and of which nothing else is known.
pub(crate) fn stranger() -> ProcessRecord {
    let mut record = ProcessRecord::of(&Standing::STRANGER);
    record.seeded = 1;
    record
}

/// Gives programs an index that no CPU gives.
struct Names {
    count: u32,
}

impl Names {
    /// Goes on behind the indexes that an earlier seeding of the same maps gave.
    fn after(gate: &Gate) -> Self {
        let given = gate.programs().map(|entry| entry.index);
        let given = given.filter(|index| index & INDEX_MARK == INDEX_MARK);
        Self {
            count: given.map(|index| index >> INDEX_BITS).max().unwrap_or(0),
        }
    }

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
