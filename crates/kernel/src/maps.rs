//! The maps and globals that the programs share. Sizes are bounds: what happens when one is
//! full stands beside it.

use abi::{
    Calls, CodeLook, Flow, Fold, Interest, Offsets, ProcessRecord, ProgramEntry, ProgramKey,
    RateWindow, Registration, RegistrationKey, Sampling, ScriptKey, ServerKey, Settings,
};
use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf, SkStorage};
use aya_ebpf::cty::c_void;
use aya_ebpf::macros::btf_map;
use policy::{Look, VARIABLE_MAX};

/// Bytes read of one environment string at a time.
pub const TEXT_BYTES: usize = 256;

/// Work space of the exec hook. One for each CPU is enough, because a tracepoint's programs
/// run with preemption off and exec never happens in an interrupt.
#[repr(C)]
pub struct Scratch {
    /// A program that is seen for the first time.
    pub entry: ProgramEntry,
    /// A script's path.
    pub script: ScriptKey,
    /// A piece of the arguments or the environment.
    pub text: [u64; TEXT_BYTES / 8],
    /// The beginning of the program's name, as it is registered. Kept here and not handed on, so that
    /// the verifier need not tell programs apart by it.
    pub name: u64,
    /// A variable that may be a sign of tampering.
    pub variable: [u8; VARIABLE_MAX],
    /// The look at it. Kept here and not on the stack, so that the verifier does not follow each of its states.
    pub look: Look,
}

/// What user space sets.
#[btf_map(name = "settings")]
pub static SETTINGS: Array<Settings, 1> = Array::new();

/// Processes by id. When it is full, a new process has no record and may not send; that is
/// counted.
#[btf_map(name = "processes")]
pub static PROCESSES: HashMap<u32, ProcessRecord, 32768> = HashMap::new();

/// Threads other than the first, of processes that have something to lose, with their
/// process: process_vm_writev takes either.
#[btf_map(name = "threads")]
pub static THREADS: HashMap<u32, u32, 32768> = HashMap::new();

/// Registered files.
#[btf_map(name = "registrations")]
pub static REGISTRATIONS: HashMap<RegistrationKey, Registration, 4096> = HashMap::new();

/// Registered scripts.
#[btf_map(name = "scripts")]
pub static SCRIPTS: HashMap<ScriptKey, Registration, 1024> = HashMap::new();

/// Scripts that root runs, with what the keeper has found of who can write them: see `image/roots.rs`. One
/// that was forgotten is looked at once more.
#[btf_map(name = "roots_scripts")]
pub static ROOTS_SCRIPTS: LruHashMap<ScriptKey, u32, 1024> = LruHashMap::new();

/// Programs seen, with their names, for the journal only. The oldest leave first.
#[btf_map(name = "programs")]
pub static PROGRAMS: LruHashMap<ProgramKey, ProgramEntry, 4096> = LruHashMap::new();

/// How many programs each CPU has given an index to.
#[btf_map(name = "programs_seen")]
pub static PROGRAMS_SEEN: PerCpuArray<u32, 1> = PerCpuArray::new();

/// Watched connections, grants among them. Each lives in its socket and dies with it, so
/// there is nothing to clean up and nothing to leak. Since 5.2.
#[btf_map(name = "flows")]
pub static FLOWS: SkStorage<Flow> = SkStorage::new();

/// The map `flows` as helpers take it, for sockets that no `SockAddrContext` wraps.
#[inline(always)]
pub fn flows() -> *mut c_void {
    (&raw const FLOWS).cast_mut().cast()
}

/// How often each mailer connected in this minute, for each user.
#[btf_map(name = "rates")]
pub static RATES: LruHashMap<u64, RateWindow, 1024> = LruHashMap::new();

/// Processes that somebody reached into, with the time, in nanoseconds since boot. Grants
/// from before that time are worth nothing any more, whoever holds the socket now; so this
/// outlives the process.
#[btf_map(name = "spoiled")]
pub static SPOILED: LruHashMap<u32, u64, 1024> = LruHashMap::new();

/// The latest time in [`SPOILED`]: most grants are younger than any, and need not look there.
#[btf_map(name = "last_spoiled")]
pub static LAST_SPOILED: Array<u64, 1> = Array::new();

/// The last look at each mailer's code; see `hooks/code.rs`. One that was forgotten is looked at once
/// more.
#[btf_map(name = "code_seen")]
pub static CODE_SEEN: LruHashMap<u32, CodeLook, 1024> = LruHashMap::new();

/// Reports to the keeper, room for some 70. What does not fit is asked for again with the next write,
/// and counted.
#[btf_map(name = "code")]
pub static CODE: RingBuf<u8, { 4 * 1024 }> = RingBuf::new();

/// What is counted: slots of [`abi::Counter`].
#[btf_map(name = "counters")]
pub static COUNTERS: PerCpuArray<u64, 14> = PerCpuArray::new();

/// Reports to user space, room for some 3,000 verdicts. When it is full, the loss is counted;
/// verdicts do not depend on it. The daemon's resident memory counts it twice, because the
/// kernel maps it twice.
#[btf_map(name = "events")]
pub static EVENTS: RingBuf<u8, { 1024 * 1024 }> = RingBuf::new();

/// Refusals that are counted and not told one by one, by a number over all that they have in common. User space takes out what has come to rest. When
/// it is full, refusals of other kinds are told one by one. It takes memory as it fills.
#[btf_map(name = "folds")]
pub static FOLDS: HashMap<u64, Fold, 16384, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Sampled connections. See [`FLOWS`].
#[btf_map(name = "samplings")]
pub static SAMPLINGS: SkStorage<Sampling> = SkStorage::new();

/// The map `samplings` as helpers take it.
#[inline(always)]
pub fn samplings() -> *mut c_void {
    (&raw const SAMPLINGS).cast_mut().cast()
}

/// Servers that have said 220, with the time. The one that said so longest ago leaves first.
#[btf_map(name = "greeted")]
pub static GREETED: LruHashMap<ServerKey, u64, 1024> = LruHashMap::new();

/// What user space wants to see of connections. The oldest leave first; their sampling ends
/// by itself.
#[btf_map(name = "interests")]
pub static INTERESTS: LruHashMap<u64, Interest, 4096> = LruHashMap::new();

/// Samples for user space, room for some 800. When it is full, the loss is counted.
#[btf_map(name = "samples")]
pub static SAMPLES: RingBuf<u8, { 512 * 1024 }> = RingBuf::new();

/// The map `samples` as helpers take it.
#[inline(always)]
pub fn samples() -> *mut c_void {
    (&raw const SAMPLES).cast_mut().cast()
}

/// See [`Scratch`].
#[btf_map(name = "scratch")]
pub static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// Where fields lie in this kernel; the loader fills it in.
#[unsafe(no_mangle)]
pub static OFFSETS: core::mem::MaybeUninit<Offsets> = core::mem::MaybeUninit::new(NO_OFFSETS);

// SAFETY: `Offsets` is made of integers only, for which all bits zero is a value.
const NO_OFFSETS: Offsets = unsafe { core::mem::zeroed() };

/// Reads one offset. Volatile, because the loader changes the constant after compilation.
macro_rules! offset {
    ($field:ident) => {{
        // SAFETY: the static is initialised, aligned and never written while programs run.
        unsafe {
            core::ptr::read_volatile(&raw const (*$crate::maps::OFFSETS.as_ptr()).$field) as usize
        }
    }};
}
pub(crate) use offset;

/// The numbers of calls in this kernel; the loader fills it in.
#[unsafe(no_mangle)]
pub static CALLS: core::mem::MaybeUninit<Calls> = core::mem::MaybeUninit::new(NO_CALLS);

// SAFETY: as above.
const NO_CALLS: Calls = unsafe { core::mem::zeroed() };

/// Reads a part of [`CALLS`], as [`offset`] does.
macro_rules! call {
    ($field:ident $([$index:ident])?) => {{
        // SAFETY: the static is initialised, aligned and never written while programs run.
        unsafe {
            core::ptr::read_volatile(&raw const (*$crate::maps::CALLS.as_ptr()).$field $([$index])?)
        }
    }};
}
pub(crate) use call;
