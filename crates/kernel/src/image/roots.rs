//! Whether root alone can have written what root starts: its file and, of an interpreter, the script.
//!
//! Programs of root's are not asked for by name or registration, because nobody knows what a machine runs
//! as root. The file's owner and mode say it. Of a script the kernel knows the path only; see
//! `policy::ROOTS_FOLDERS`. The keeper looks at each such path once and leaves in a map what it has found.

use abi::{Counter, EventTag, SCRIPT_PATH_BYTES, ScriptEvent};
use aya_ebpf::bindings::BPF_RB_FORCE_WAKEUP;
use aya_ebpf::helpers::generated::bpf_probe_read_user_str;
use policy::{Interpreter, Word, is_below_roots, word_of};

use super::identity::path_is_elsewheres;
use super::start::{S_IFMT, stdin_file};
use crate::kernel_memory::Address;
use crate::maps::{CODE, ROOTS_SCRIPTS, SCRATCH, SETTINGS, offset};
use crate::repeat::each;
use crate::report::{count, current_process, current_user, header_for};

/// Arguments that are looked at before the script. One that has more is nobody's.
const WORDS_MAX: u32 = 24;
/// What others than the owner may write, and what the group may.
const OTHERS_WRITE: u16 = 0o002;
const GROUP_WRITES: u16 = 0o020;
const S_IFREG: u16 = 0o100_000;
/// FUSE, in the file system's own number.
const FUSE: u64 = 0x6573_5546;
/// `MNT_NOSUID`: so is each FUSE file system that a user has mounted, and whose files are whose that user
/// says.
const NO_SETUID: u32 = 1;

/// Whether what the current task runs is root's own. `is_script` when the kernel was told to run a
/// script, whose path the scratch space holds then; it holds another one afterwards.
#[inline(always)]
pub fn is_roots(file: Address, is_script: bool) -> bool {
    roots_own(file.0, u32::from(is_script)) != 0
}

/// External linkage: the verifier checks it once, for any argument.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn roots_own(file: u64, is_script: u32) -> u32 {
    if !acts_as_root() || !is_roots_file(Address(file)) {
        return 0;
    }
    if is_script != 0 {
        return script_is_roots();
    }
    let name = Address(file).follow(offset!(file_dentry));
    let name: u64 = name.follow(offset!(dentry_name)).read(0);
    match Interpreter::named(name.to_ne_bytes()) {
        Interpreter::None => 1,
        family => handed_roots(family as u32),
    }
}

/// Whether the current task is root in the machine's own user namespace, and in no container: a container
/// has its own processes.
#[inline(always)]
fn acts_as_root() -> bool {
    let Some(settings) = SETTINGS.get(0) else {
        return false;
    };
    let task = Address::current_task();
    let cred = task.follow(offset!(task_cred));
    let users = cred.read::<u32>(offset!(cred_uid))
        | cred.read::<u32>(offset!(cred_euid))
        | cred.read::<u32>(offset!(cred_fsuid));
    let namespace = cred.follow(offset!(cred_user_ns));
    let processes = task
        .follow(offset!(task_nsproxy))
        .follow(offset!(nsproxy_processes));
    users == 0
        && namespace.read::<u32>(offset!(user_ns_inum)) == settings.user_namespace
        && processes.read::<u32>(offset!(process_ns_inum)) == settings.process_namespace
}

/// Whether root alone can write a file. Access that a list gives to others shows in the group's bits.
#[inline(always)]
fn is_roots_file(file: Address) -> bool {
    let inode = file.follow(offset!(file_inode));
    let mode: u16 = inode.read(offset!(inode_mode));
    let group: u32 = inode.read(offset!(inode_gid));
    let magic: u64 = inode.follow(offset!(inode_sb)).read(offset!(sb_magic));
    let flags: u32 = file.follow(offset!(file_mnt)).read(offset!(vfsmount_flags));
    mode & S_IFMT == S_IFREG
        && inode.read::<u32>(offset!(inode_uid)) == 0
        && mode & OTHERS_WRITE == 0
        && (mode & GROUP_WRITES == 0 || group == 0)
        && !(magic == FUSE && flags & NO_SETUID != 0)
}

/// Where a look at arguments is. Words, because the verifier keeps track of words.
struct Look {
    at: u64,
    end: u64,
    /// Code of the [`Interpreter`].
    family: u64,
    /// What the next argument is.
    next: u64,
    /// What was found.
    found: u64,
}

/// An argument like any other.
const ANY: u64 = 0;
/// The rest of a long one.
const REST: u64 = 1;
/// The value of an option.
const VALUE: u64 = 2;
/// The script.
const SCRIPT: u64 = 3;

/// Too many arguments, or they could not be read.
const UNKNOWN: u64 = 0;
/// Code that the caller gave, or standard input.
const CODE_OF_CALLER: u64 = 1;
const STANDARD_INPUT: u64 = 2;
/// A script, whose path the scratch space holds.
const NAMED: u64 = 3;

/// Whether what an interpreter is handed is root's.
///
/// External linkage: as above.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn handed_roots(family: u32) -> u32 {
    let memory = Address::current_task().follow(offset!(task_mm));
    let mut look = Look {
        at: memory.read(offset!(mm_arg_start)),
        end: memory.read(offset!(mm_arg_end)),
        family: u64::from(family),
        // Its own name.
        next: VALUE,
        found: UNKNOWN,
    };
    each(WORDS_MAX, look_at_word, &mut look);
    match look.found {
        CODE_OF_CALLER => 1,
        STANDARD_INPUT => u32::from(input_is_roots()),
        NAMED => script_is_roots(),
        _ => 0,
    }
}

/// Looks at one argument: 0 to go on, 1 when it is decided.
unsafe extern "C" fn look_at_word(_: u32, look: *mut Look) -> u64 {
    // SAFETY: see `each`.
    let look = unsafe { &mut *look };
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 1;
    };
    // SAFETY: this CPU's own slot; see `Scratch`.
    let path = unsafe { &mut (*scratch).script.path };
    if look.at >= look.end {
        look.found = STANDARD_INPUT;
        return 1;
    }
    let words = path.as_mut_ptr().cast::<u64>();
    // SAFETY: the path is longer, and aligned to eight bytes. Shorter strings must not show what lay there
    // before.
    unsafe {
        words.write(0);
        words.add(1).write(0);
    }
    // SAFETY: the destination is as long as said; the helper checks the source.
    let length = unsafe {
        bpf_probe_read_user_str(
            path.as_mut_ptr().cast(),
            SCRIPT_PATH_BYTES as u32,
            look.at as *const _,
        )
    };
    if length <= 0 {
        return 1;
    }
    // A full piece ends with a zero byte that the helper put there, and may go on.
    let length = length as u64;
    let is_full = length == SCRIPT_PATH_BYTES as u64;
    look.at += length - u64::from(is_full);
    let next = look.next;
    look.next = if is_full { REST } else { ANY };
    if next == REST || next == VALUE {
        return 0;
    }
    // SAFETY: as above.
    let first = unsafe { words.read() };
    let family = Interpreter::from_code(look.family as u8);
    let word = if next == SCRIPT {
        Word::Script
    } else {
        word_of(family, first.to_ne_bytes())
    };
    match word {
        Word::Option => return 0,
        Word::Value => look.next = VALUE,
        Word::ScriptIsNext => look.next = SCRIPT,
        Word::Code => {
            look.found = CODE_OF_CALLER;
            return 1;
        }
        Word::Script => {
            if !is_full {
                look.found = NAMED;
            }
            return 1;
        }
    }
    0
}

/// Whether what the current task reads on standard input is code of root's: a file only where it is root's
/// own. What comes by a pipe is its writer's, who started this.
#[inline(always)]
fn input_is_roots() -> bool {
    let file = stdin_file(Address::current_task());
    if file.is_null() {
        return true;
    }
    let mode: u16 = file.follow(offset!(file_inode)).read(offset!(inode_mode));
    mode & S_IFMT != S_IFREG || is_roots_file(file)
}

/// Whether the script in the scratch space is root's.
///
/// External linkage: as above.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn script_is_roots() -> u32 {
    let (Some(scratch), Some(settings)) = (SCRATCH.get_ptr_mut(0), SETTINGS.get(0)) else {
        return 0;
    };
    // SAFETY: this CPU's own slot; see `Scratch`.
    let script = unsafe { &mut (*scratch).script };
    if script.path[0] != b'/' || leads_up() || path_is_elsewheres() != 0 {
        return 0;
    }
    // SAFETY: the value is copied out at once.
    if let Some(known) = unsafe { ROOTS_SCRIPTS.get(&*script) } {
        return u32::from(*known == abi::ROOTS_SCRIPT);
    }
    if let Some(mut event) = CODE.reserve_untyped::<ScriptEvent>(0) {
        let room = event.as_mut_ptr();
        // SAFETY: a whole event in the ring buffer; both paths are as long, and aligned.
        unsafe {
            (*room).header = header_for(EventTag::Script, current_process(), current_user());
            let from = script.path.as_ptr().cast::<u64>();
            let to = (&raw mut (*room).path).cast::<u64>();
            for index in 0..SCRIPT_PATH_BYTES / 8 {
                to.add(index)
                    .write_volatile(from.add(index).read_volatile());
            }
        }
        event.submit(u64::from(BPF_RB_FORCE_WAKEUP));
    } else {
        count(Counter::EventsLost);
    }
    let words = script.path.as_ptr().cast::<u64>();
    // SAFETY: the path is longer, and aligned to eight bytes.
    let begin = unsafe { [words.read(), words.add(1).read()] };
    u32::from(is_below_roots(begin, settings.roots_folders))
}

/// Clears what lies behind the end of the path in the scratch space, because a map compares all of it,
/// and says whether the path leads upwards somewhere.
#[inline(always)]
fn leads_up() -> bool {
    let mut tidy = Tidy { last: 0, state: 0 };
    each(SCRIPT_PATH_BYTES as u32, tidy_byte, &mut tidy);
    tidy.state & LEADS_UP != 0
}

/// Where tidying a path is.
struct Tidy {
    /// The last four bytes, newest in the lowest.
    last: u64,
    state: u64,
}

const ENDED: u64 = 1;
const LEADS_UP: u64 = 2;

/// Tidies one byte: 0 to go on.
unsafe extern "C" fn tidy_byte(number: u32, tidy: *mut Tidy) -> u64 {
    // SAFETY: see `each`.
    let tidy = unsafe { &mut *tidy };
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 1;
    };
    // The length is a power of two. A mask is the bound that the verifier sees.
    let number = number as usize & (SCRIPT_PATH_BYTES - 1);
    // SAFETY: this CPU's own slot; see `Scratch`.
    let byte = unsafe { &mut (*scratch).script.path[number] };
    if tidy.state & ENDED != 0 {
        *byte = 0;
        return 0;
    }
    tidy.last = (tidy.last << 8 | u64::from(*byte)) & 0xffff_ffff;
    let is_end = *byte == 0;
    let part = if is_end {
        tidy.last | u64::from(b'/')
    } else {
        tidy.last
    };
    if part == u64::from(u32::from_be_bytes(*b"/../")) {
        tidy.state |= LEADS_UP;
    }
    if is_end {
        tidy.state |= ENDED;
    }
    0
}
