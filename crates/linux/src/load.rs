//! Loads the gate into the kernel and pins it. Done once, in a short-lived process: reading
//! the kernel's type information takes memory that the daemon must not keep.
//!
//! The order matters. Settings and registrations come first, then the connect hooks: from
//! that moment mail ports are closed for everybody. Then the lineage hooks, then seeding,
//! which makes known who was there before. A gate of another version is removed last, so
//! that at every moment one of the two guards.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use abi::Settings;
use aya::maps::{Array, Map, MapData};
use aya::programs::links::FdLink;
use aya::programs::{CgroupAttachMode, Program, ProgramError};
use aya::{Btf, BtfError, Ebpf, EbpfLoader, VerifierLogLevel};
use serde::{Deserialize, Serialize};

use crate::carry::{Found, Older};
use crate::cgroup::Cgroup;
use crate::folders::code_folders;
use crate::gate::{Gate, Registered};
use crate::identity;
use crate::parts::{Hook, PARTS, Part, When};
use crate::pins::{MAPS, Pins};
use crate::seed;
use crate::{Error, btf, calls, functions, roots};

/// The compiled kernel programs.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("../../kernel/object/gate.o");

/// Which ways of reaching into other processes are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallsWatched {
    /// None.
    None,
    /// Writing into their memory; taking descriptors only where that costs nothing more.
    Cheap,
    /// Taking descriptors too, which makes every system call of the machine a little slower.
    Every,
}

/// What is to be loaded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Folder of the pins.
    pub pins: PathBuf,
    /// Folder of the guarded cgroup.
    pub cgroup: PathBuf,
    /// Mail ports.
    pub mail_ports: Vec<u16>,
    /// Ports where IRC servers listen, first and last.
    pub irc_ports: (u16, u16),
    /// Refuse nothing.
    pub observe: bool,
    /// End submitters that may not run.
    pub guard_submitters: bool,
    /// Whether packets are watched.
    pub watch_packets: bool,
    /// Whether connections and DNS queries of what may not send are sampled; only where
    /// packets are watched.
    pub sample: bool,
    /// Which ways of reaching into other processes are watched.
    pub watch_calls: CallsWatched,
    /// Without the hooks that older kernels lack, as there.
    pub older_hooks: bool,
    /// Without these programs, as if they never ran. Tests alone ask for that.
    pub without_hooks: Vec<String>,
    /// Connections a minute for one mailer; 0 is no limit.
    pub rate_per_minute: u32,
    /// Programs that are registered.
    pub registered: Vec<Registered>,
}

/// What loading did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Loaded {
    /// A whole gate was there already, and it was kept.
    pub adopted: bool,
    /// Processes that were recorded from /proc.
    pub seeded: u32,
    /// Of these, foreign.
    pub foreign: u32,
    /// Of these, carried over from an older gate whose maps are laid out otherwise.
    pub carried: u32,
    /// An older gate was there, and nothing could be carried over from it.
    pub nothing_carried: bool,
    /// Why the gate could not be loaded at first.
    pub first_error: Option<String>,
    /// Of these, without a record, because the process table has no room.
    pub without_room: u32,
    /// Sentences about processes that show signs of tampering.
    pub doubtful: Vec<String>,
    /// How many such processes there are.
    pub doubtful_count: u32,
    /// Milliseconds from the call until mail ports were closed for everybody; the lineage
    /// hooks, which open them for mailers, come after that.
    pub closed_after_ms: u64,
    /// Why calls that reach into other processes are not watched, though they should be.
    pub unwatched_calls: Option<String>,
    /// Which of the registered programs the gate has no room for.
    pub left_out: Vec<usize>,
}

impl Request {
    /// The pins that the request is about.
    pub fn pins(&self) -> Pins {
        Pins::new(&self.pins, OBJECT).with_programs(self.parts())
    }

    /// The settings as the kernel programs read them.
    ///
    /// # Errors
    ///
    /// When the cgroup is none, or /proc does not tell the own namespaces.
    pub fn settings(&self) -> Result<Settings, Error> {
        let cgroup = Cgroup::at(&self.cgroup)?;
        // A service manager may have given us a mount namespace of our own; the paths of the
        // machine are those of PID 1. Of a single cgroup, they are those of whoever guards it.
        let owner = if cgroup.level == 0 { "1" } else { "self" };
        let root = format!("/proc/{owner}/root/");
        let root = identity::folder(Path::new(&root)).map_err(Error::file(&root))?;
        let mut settings = Settings {
            irc_first: self.irc_ports.0,
            irc_last: self.irc_ports.1,
            observe: self.observe.into(),
            guard_submitters: self.guard_submitters.into(),
            sample: self.samples().into(),
            rate_limit: self.rate_per_minute,
            cgroup_level: cgroup.level,
            cgroup_id: cgroup.id,
            mount_namespace: namespace(owner, "mnt")?,
            user_namespace: namespace(owner, "user")?,
            root_inode: root.inode,
            root_device: root.device,
            process_namespace: namespace(owner, "pid")?,
            roots_folders: roots::folders(),
            code_folders: code_folders(),
            ..Settings::default()
        };
        if self.mail_ports.len() > settings.mail_ports.len() {
            return Err(Error::Full("the table of mail ports"));
        }
        settings.mail_ports[..self.mail_ports.len()].copy_from_slice(&self.mail_ports);
        Ok(settings.with_watched())
    }

    const fn samples(&self) -> bool {
        self.watch_packets && self.sample
    }

    fn parts(&self) -> impl Iterator<Item = &'static Part> {
        let wanted = |when: When| match when {
            When::Always => true,
            When::Packets => self.watch_packets,
            When::NoPackets => !self.watch_packets,
            When::Samples => self.samples(),
            When::Calls => self.watch_calls != CallsWatched::None,
            When::CheapCalls => self.watch_calls == CallsWatched::Cheap,
            When::EveryCall => self.watch_calls == CallsWatched::Every,
        };
        let is_left_out = |part: &Part| {
            let is_named = self.without_hooks.iter().any(|name| name == part.name);
            is_named || (self.older_hooks && part.hook.is_new())
        };
        PARTS
            .iter()
            .filter(move |part| wanted(part.when) && !is_left_out(part))
    }
}

/// Makes sure that a gate as requested stands, and says what it took.
///
/// # Errors
///
/// [`Error::Unsupported`] when this kernel or user cannot have it; then nothing is left
/// behind.
pub fn load(request: &Request) -> Result<Loaded, Error> {
    let begun = Instant::now();
    let pins = request.pins();
    pins.prepare()?;
    let settings = request.settings()?;
    let indispensable = request.parts().filter(|part| !part.hook.may_be_missing());
    if pins.is_whole(indispensable) {
        let mut gate = Gate::open(&pins)?;
        if gate.settings()?.cgroup_id == settings.cgroup_id {
            gate.apply_settings(&settings)?;
            let left_out = gate.replace_registrations(&request.registered);
            pins.remove_strangers()?;
            let unwatched = request
                .parts()
                .any(|part| matches!(part.hook, Hook::Syscall(_)) && !pins.has(part));
            return Ok(Loaded {
                adopted: true,
                unwatched_calls: unwatched.then(|| "they were not when the gate was loaded".into()),
                left_out,
                ..Loaded::default()
            });
        }
    }
    // Maps of this layout beside an older gate's are from an attempt that was cut off. Their records
    // would pass for new ones.
    if !matches!(Older::find(&pins), Found::Nothing) {
        pins.remove_maps()?;
    }
    let had_maps = pins.has_maps();
    let attempt = |log| {
        load_new(request, &pins, &settings, begun, log).inspect_err(|_| {
            // Half a gate would be taken for a whole one by nobody, but it would stay.
            let _ = pins.remove_unfinished_links();
            if !had_maps {
                let _ = pins.remove_maps();
            }
            if !pins.any_gate() {
                let _ = pins.remove_all();
            }
        })
    };
    // What the kernel has to say takes long to write down, and is only read when it refuses.
    attempt(VerifierLogLevel::DISABLE).or_else(|first| {
        pins.prepare()
            .map_err(|second| Error::both(&first, second))?;
        match attempt(VerifierLogLevel::DEBUG) {
            Ok(loaded) => Ok(Loaded {
                first_error: Some(first.to_string()),
                ..loaded
            }),
            Err(second) => Err(Error::both(&first, second)),
        }
    })
}

fn load_new(
    request: &Request,
    pins: &Pins,
    settings: &Settings,
    begun: Instant,
    log: VerifierLogLevel,
) -> Result<Loaded, Error> {
    // The type information is large, and three readers want it. No mail port is closed until two of
    // them are done, so these go side by side; what the third makes is for the hooks behind connect().
    let kernel = thread::spawn(btf::kernel);
    let mut loader = EbpfLoader::new();
    let kernel = joined(kernel)?;
    let types = thread::spawn(Btf::from_sys_fs);
    let links = pins.unfinished_links();
    for folder in [&pins.maps(), &links] {
        fs::create_dir_all(folder).map_err(Error::file(folder))?;
    }

    loader.verifier_log_level(log);
    loader.override_global("OFFSETS", bytemuck::bytes_of(&kernel.offsets), true);
    let calls = calls::writing();
    loader.override_global("CALLS", bytemuck::bytes_of(&calls), true);
    for name in MAPS {
        loader.map_pin_path(name, pins.map(name));
    }
    let resolved = kernel
        .packet_reader
        .map(|number| functions::resolve(OBJECT, number));
    let mut gate = loader
        .load(resolved.as_deref().unwrap_or(OBJECT))
        .map_err(|error| refused("the gate cannot be loaded", &error))?;
    write_settings(&mut gate, settings)?;
    let mut pinned = Gate::open(pins)?;
    let left_out = pinned.replace_registrations(&request.registered);
    let older = Older::find(pins);
    if let Found::Readable(older) = &older {
        older.carry_counts(&mut pinned)?;
    }
    drop(pinned);

    let cgroup = Cgroup::at(&request.cgroup)?;
    let keep = |name: &str, link: FdLink| {
        link.pin(links.join(name)).map(drop).map_err(|error| {
            Error::failed(format_args!("{name}: the link cannot be pinned"), &error)
        })
    };
    for Part { name, .. } in request.parts().filter(|part| is_first(part)) {
        keep(name, attach_first(&mut gate, name, &cgroup)?)?;
    }
    let closed_after_ms = begun.elapsed().as_millis() as u64;

    let types = joined(types).map_err(|error| Error::failed(btf::PATH, &error))?;
    let unwatched_calls = attach_rest(&mut gate, request, &kernel, &types, &cgroup, keep)?;
    let mut gate = Gate::open(pins)?;
    let mut nothing_carried = false;
    let seeded = match &older {
        Found::Nothing => seed::seed(&mut gate, &cgroup)?,
        Found::Readable(older) => older.carry(&mut gate, &cgroup)?,
        Found::Unreadable => {
            nothing_carried = true;
            seed::seed_without_users(&mut gate, &cgroup)?
        }
    };
    pins.finish_links()?;
    pins.remove_strangers()?;
    Ok(Loaded {
        adopted: false,
        seeded: seeded.processes,
        foreign: seeded.foreign,
        carried: seeded.carried,
        nothing_carried,
        first_error: None,
        without_room: seeded.without_room,
        doubtful: seeded.doubtful,
        doubtful_count: seeded.doubtful_count,
        closed_after_ms,
        unwatched_calls,
        left_out,
    })
}

/// Attaches all parts but the first. Says why the calls of others are not watched, when they are not.
fn attach_rest(
    gate: &mut Ebpf,
    request: &Request,
    kernel: &btf::Kernel,
    types: &Btf,
    cgroup: &Cgroup,
    keep: impl Fn(&str, FdLink) -> Result<(), Error>,
) -> Result<Option<String>, Error> {
    let tracefs = Tracefs::prepare();
    let mut attached = Vec::new();
    let mut unwatched_calls = None;
    for Part {
        name, hook, unless, ..
    } in request.parts().filter(|part| !is_first(part))
    {
        let is_needless = unless.is_some_and(|better| attached.contains(&better));
        let is_fit = match hook {
            Hook::MemoryLock(_) => calls::are_seen_at_the_lock(kernel),
            Hook::PacketTracepoint(_) => kernel.packet_reader.is_some(),
            _ => true,
        };
        if is_needless || !is_fit {
            continue;
        }
        let link = match attach(gate, name, hook, types, cgroup, &tracefs) {
            Err(Error::NoSuchHook(_)) if hook.may_be_missing() => continue,
            // Only the verifier knows whether a tracepoint may read packets; else `ingress` does.
            Err(_) if matches!(hook, Hook::PacketTracepoint(_)) => continue,
            // A gate without this wall is better than none.
            Err(Error::Unsupported(why)) if hook.is_call() => {
                unwatched_calls = Some(why);
                continue;
            }
            link => link?,
        };
        attached.push(*name);
        keep(name, link)?;
    }
    Ok(unwatched_calls)
}

fn is_first(part: &Part) -> bool {
    matches!(part.hook, Hook::Connect)
}

fn joined<T>(thread: thread::JoinHandle<T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn write_settings(gate: &mut Ebpf, settings: &Settings) -> Result<(), Error> {
    let map: &mut Map = gate
        .map_mut("settings")
        .ok_or_else(|| Error::Failed("the object has no map settings".to_owned()))?;
    let mut map: Array<&mut MapData, [u8; size_of::<Settings>()]> =
        Array::try_from(map).map_err(|error| Error::failed("map settings", &error))?;
    let bytes: [u8; size_of::<Settings>()] = bytemuck::cast(*settings);
    map.set(0, bytes, 0)
        .map_err(|error| Error::failed("map settings", &error))
}

const MODE: CgroupAttachMode = CgroupAttachMode::Single;

fn program_of<'a>(gate: &'a mut Ebpf, name: &str) -> Result<&'a mut Program, Error> {
    gate.program_mut(name)
        .ok_or_else(|| Error::Failed(format!("the object has no program {name}")))
}

fn wrong_type(name: &str) -> Error {
    Error::Failed(format!("the object has a program {name} of another type"))
}

fn cannot_be_attached(name: &str) -> String {
    format!("{name} cannot be attached")
}

/// Why a program was not taken.
fn failed(name: &str, error: ProgramError) -> Error {
    let what = cannot_be_attached(name);
    match error {
        ProgramError::Btf(BtfError::UnknownBtfTypeName { type_name }) => {
            Error::NoSuchHook(type_name)
        }
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => match last_words(&verifier_log.to_string()) {
            Some(words) => Error::Unsupported(format!(
                "this kernel does not accept the program {name}: {words} ({io_error})"
            )),
            None => refused(&what, &io_error),
        },
        error => refused(&what, &error),
    }
}

/// Attaches a connect hook.
fn attach_first(gate: &mut Ebpf, name: &str, cgroup: &Cgroup) -> Result<FdLink, Error> {
    let Program::CgroupSockAddr(program) = program_of(gate, name)? else {
        return Err(wrong_type(name));
    };
    let fail = |error| failed(name, error);
    program.load().map_err(fail)?;
    let link = program.attach(cgroup.open()?, MODE).map_err(fail)?;
    let link = program.take_link(link).map_err(fail)?;
    link.try_into()
        .map_err(|error| Error::failed(cannot_be_attached(name), &error))
}

/// Attaches any other.
fn attach(
    gate: &mut Ebpf,
    name: &str,
    hook: &Hook,
    types: &Btf,
    cgroup: &Cgroup,
    tracefs: &Tracefs,
) -> Result<FdLink, Error> {
    let fail = |error| failed(name, error);
    let what = cannot_be_attached(name);
    match (hook, program_of(gate, name)?) {
        (Hook::Egress | Hook::Ingress, Program::CgroupSkb(program)) => {
            use aya::programs::CgroupSkbAttachType::{Egress, Ingress};
            program.load().map_err(fail)?;
            let direction = if matches!(hook, Hook::Egress) {
                Egress
            } else {
                Ingress
            };
            let link = program
                .attach(cgroup.open()?, direction, MODE)
                .map_err(fail)?;
            program
                .take_link(link)
                .map_err(fail)?
                .try_into()
                .map_err(|error| Error::failed(&what, &error))
        }
        (Hook::Release, Program::CgroupSock(program)) => {
            program.load().map_err(fail)?;
            let link = program.attach(cgroup.open()?, MODE).map_err(fail)?;
            program
                .take_link(link)
                .map_err(fail)?
                .try_into()
                .map_err(|error| Error::failed(&what, &error))
        }
        (
            Hook::Tracepoint(point)
            | Hook::NewTracepoint(point)
            | Hook::PacketTracepoint(point)
            | Hook::MemoryLock(point),
            Program::BtfTracePoint(program),
        ) => {
            program.load(point, types).map_err(fail)?;
            let link = program.attach().map_err(fail)?;
            Ok(program.take_link(link).map_err(fail)?.into())
        }
        (Hook::OldSyscall(point), _) if !tracefs.has_syscall(point) => {
            Err(Error::NoSuchHook((*point).to_owned()))
        }
        (Hook::Syscall(point) | Hook::OldSyscall(point), Program::TracePoint(program)) => {
            program.load().map_err(fail)?;
            let link = program
                .attach("syscalls", point)
                .map_err(|error| tracefs.explain(fail(error)))?;
            program
                .take_link(link)
                .map_err(fail)?
                .try_into()
                .map_err(|error| Error::failed(&what, &error))
        }
        _ => Err(wrong_type(name)),
    }
}

/// What the verifier said last before it gave up, behind the instruction that it was about.
fn last_words(log: &str) -> Option<String> {
    const SUMMARY: [&str; 3] = ["processed ", "verification time", "stack depth"];
    let mut lines = log.lines().map(str::trim).rev().filter(|line| {
        !line.is_empty() && !SUMMARY.iter().any(|summary| line.starts_with(summary))
    });
    let last = lines.next()?;
    let about = lines.next().unwrap_or_default();
    let mut words = format!("{about}: {last}");
    words.retain(|letter| !letter.is_control());
    Some(
        words
            .trim_start_matches([':', ' '])
            .chars()
            .take(300)
            .collect(),
    )
}

/// Tells a kernel that refuses BPF from any other failure.
fn refused(what: &str, error: &(dyn std::error::Error + 'static)) -> Error {
    let mut cause = Some(error);
    while let Some(current) = cause {
        let system = current
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::raw_os_error);
        let system = system.map(rustix::io::Errno::from_raw_os_error);
        if matches!(
            system,
            Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS | rustix::io::Errno::NOSYS)
        ) {
            return Error::Unsupported(format!(
                "{what}: the kernel refuses BPF here: {} (it takes root with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, \
                 as on a host or in a privileged container)",
                crate::error::chain(error)
            ));
        }
        cause = current.source();
    }
    Error::failed(what, error)
}

/// The number of one of a process's namespaces.
pub(crate) fn namespace(process: &str, kind: &str) -> Result<u32, Error> {
    let path = format!("/proc/{process}/ns/{kind}");
    let target = fs::read_link(&path).map_err(Error::file(&path))?;
    // "mnt:[4026531841]"
    let text = target.to_string_lossy();
    let number = text
        .split(['[', ']'])
        .nth(1)
        .and_then(|number| number.parse().ok());
    number.ok_or_else(|| Error::Failed(format!("{path}: unexpected target {text}")))
}

/// The numbers of syscall tracepoints stand in tracefs, which is not mounted everywhere.
struct Tracefs {
    problem: Option<String>,
}

impl Tracefs {
    const PLACE: &str = "/sys/kernel/tracing";

    /// Mounts tracefs in a mount namespace of this process when nobody else has: the
    /// machine's own mounts stay as they are.
    fn prepare() -> Self {
        if Path::new(Self::PLACE).join("events").is_dir() {
            return Self { problem: None };
        }
        use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
        use rustix::thread::{UnshareFlags, unshare_unsafe};
        let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
        // SAFETY: leaving the mount namespace does not touch memory or file descriptors; no other
        // thread runs any more.
        let done = unsafe { unshare_unsafe(UnshareFlags::NEWNS) }
            .and_then(|()| mount_change("/", private))
            .and_then(|()| mount("tracefs", Self::PLACE, "tracefs", MountFlags::empty(), None));
        Self {
            problem: done.err().map(|error| error.to_string()),
        }
    }

    /// Whether the kernel has this call, as far as can be told.
    fn has_syscall(&self, point: &str) -> bool {
        let calls = Path::new(Self::PLACE).join("events/syscalls");
        !calls.is_dir() || calls.join(point).is_dir()
    }

    fn explain(&self, error: Error) -> Error {
        match &self.problem {
            Some(problem) => Error::Unsupported(format!(
                "{}: tracefs cannot be mounted: {problem}",
                Self::PLACE
            )),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_last_words_are_found() {
        let log = "func#0 @0\n0: R1=ctx() R10=fp0\n1908: (61) r1 = *(u32 *)(r7 +0)\n\
                   dereference of modified ctx ptr R7 off=4 disallowed\n\
                   verification time 71 usec\nstack depth 104\n\
                   processed 145 insns (limit 1000000) max_states_per_insn 0\n\n";
        assert_eq!(
            last_words(log).as_deref(),
            Some(
                "1908: (61) r1 = *(u32 *)(r7 +0): dereference of modified ctx ptr R7 off=4 disallowed"
            )
        );
        assert_eq!(last_words("unknown func").as_deref(), Some("unknown func"));
        assert_eq!(last_words(" \n\nprocessed 0 insns\n"), None);
        let long = format!("a\x1b[2J{}", "x".repeat(5000));
        let words = last_words(&long).unwrap();
        assert!(words.len() == 300 && words.starts_with("a[2Jxx"));
    }
}
