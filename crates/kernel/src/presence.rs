//! Was something typed into the terminal of a shell since it began? Has anybody used the seat lately?
//!
//! The terminal's line discipline keeps what was typed in a buffer that goes round, and counts it. A
//! program of the gate looks whether Enter is among what was typed since the shell began, and
//! keeps nothing of it. What the policy makes of that is in `policy::presence`.

use abi::{AbsentEvent, EventTag, PresenceOffsets, RegistrationKey, Seat, Seated, Typing};
use aya_ebpf::bindings::{BPF_ANY, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{Array, HashMap};
use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::btf_map;
use policy::{
    Begun, Invocation, Kind, Piece, Role, Standing, TERMINAL_BUFFER, arrived_since, awaits_typing,
    depends_on_typing, is_enter, typed_since,
};

use crate::image::stdin_file;
use crate::kernel_memory::Address;
use crate::maps::{PROCESSES, REGISTRATIONS, SCRATCH, SETTINGS, offset};
use crate::repeat::each;
use crate::report::{current_process, current_user, header, reserve, submit};

/// Processes that depend on what is typed. There are no more than processes with records.
#[btf_map(name = "typing")]
pub static TYPING: HashMap<u32, Typing, 32768, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// When the seat was used last.
#[btf_map(name = "seat")]
pub static SEAT: Array<Seat, 1> = Array::new();

/// Who sits where; the daemon keeps it.
#[btf_map(name = "seated")]
pub static SEATED: HashMap<u32, Seated, 1024, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Where fields lie in this kernel; the loader fills it in.
#[unsafe(no_mangle)]
pub static PRESENCE_OFFSETS: core::mem::MaybeUninit<PresenceOffsets> =
    core::mem::MaybeUninit::new(NO_OFFSETS);

// SAFETY: it is made of integers only, for which all bits zero is a value.
const NO_OFFSETS: PresenceOffsets = unsafe { core::mem::zeroed() };

/// Reads a part of [`PRESENCE_OFFSETS`], as [`offset`] does.
macro_rules! place {
    ($field:ident) => {{
        // SAFETY: the static is initialised, aligned and never written while programs run.
        unsafe {
            core::ptr::read_volatile(
                &raw const (*$crate::presence::PRESENCE_OFFSETS.as_ptr()).$field,
            ) as usize
        }
    }};
}

/// How many of the newest bytes are looked at. A shell starts what its user has it start as soon as
/// Enter comes, so Enter is among the last.
const LOOKED_AT: u32 = 512;
/// The line discipline of terminals.
const N_TTY: i32 = 0;
const NOTHING: u64 = 0;
const SECOND_NS: u64 = 1_000_000_000;

/// Keeps in the scratch space what an exec begins from, before its record is written: for
/// [`typing_after_exec`]. `how` is the code of an [`Invocation`].
///
/// External linkage: the verifier checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn note_before(pid: u32, how: u32) -> u32 {
    let (Some(scratch), Some(record)) = (SCRATCH.get_ptr_mut(0), PROCESSES.get_ptr(pid)) else {
        return 0;
    };
    // SAFETY: this CPU's own slot, see `Scratch`; and the record of the process that is here.
    unsafe {
        let before = u64::from((*record).role) | u64::from((*record).kind) << 8;
        (*scratch).start = before | u64::from(how as u8) << 16;
    }
    0
}

/// Notes what an exec of the current process, whose record is written, means for what has to be typed: a
/// shell that begins on a terminal waits for it, what depends on it keeps the state of the shell that
/// started it, and all else is free of it. `typed` is the answer of [`has_typed`]. The scratch space holds the
/// role before the exec, its kind in the second byte, and the code of an [`Invocation`] in the third.
///
/// External linkage: the verifier checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn typing_after_exec(typed: u32) -> u32 {
    let pid = current_process();
    let Some(scratch) = SCRATCH.get_ptr(0) else {
        return 0;
    };
    // SAFETY: this CPU's own slot; see `Scratch`.
    let start = unsafe { (*scratch).start };
    let Some(record) = PROCESSES.get_ptr(pid) else {
        return 0;
    };
    // SAFETY: only this process's own exec and fork touch its record, and it is here.
    let after = unsafe { &*record }.standing();
    let before = Standing {
        role: Role::from_code(start as u8),
        kind: Kind::from_code((start >> 8) as u8),
        ..Standing::STRANGER
    };
    let invocation = if start >> 16 == Invocation::Terminal as u64 {
        Invocation::Terminal
    } else {
        Invocation::Plain
    };
    if awaits_typing(&after, invocation) {
        begin(pid, typed != 0);
    } else if typed != 0 {
        // Nothing to keep.
    } else if depends_on_typing(&before, &after) {
        let _ = TYPING.insert(pid, &NEVER, u64::from(BPF_ANY));
    } else {
        let _ = TYPING.remove(pid);
    }
    0
}

static NEVER: Typing = Typing {
    terminal: NOTHING,
    head: 0,
    tail: 0,
    piece: 0,
    handed: 0,
    room: 0,
};

/// A shell begins on a terminal. What was typed ahead and waits to be read counts, but not below a shell where
/// nobody has typed: a line of that shell's start-up file may have put it there.
#[inline(always)]
fn begin(pid: u32, counts_ahead: bool) {
    if place!(has_terminals) == 0 {
        return;
    }
    let task = Address::current_task();
    let terminal = task
        .follow(offset!(task_signal))
        .follow(offset!(signal_tty));
    // Another terminal may be a program's own, which types there.
    let stdin = stdin_file(task)
        .follow(offset!(file_private))
        .follow(place!(tty_file_tty));
    let Some(buffer) = buffer_of(terminal).filter(|_| stdin == terminal) else {
        let _ = TYPING.insert(pid, &NEVER, u64::from(BPF_ANY));
        return;
    };
    let piece = piece_of(terminal);
    let handed: u32 = piece.read(place!(buffer_read));
    let size: u32 = piece.read(place!(buffer_size));
    let head: u64 = buffer.read(place!(n_tty_head));
    let tail: u64 = buffer.read(place!(n_tty_tail));
    let begun = Piece {
        address: piece.0,
        count: handed,
        room: size.saturating_sub(handed),
    };
    let (head, begun) = if counts_ahead {
        (tail, begun.before(head.wrapping_sub(tail)))
    } else {
        (head, begun)
    };
    let begun = Typing {
        terminal: terminal.0,
        head,
        tail,
        piece: begun.address,
        handed: begun.count,
        room: begun.room,
    };
    let _ = TYPING.insert(pid, &begun, u64::from(BPF_ANY));
}

/// The memory through which bytes come to a terminal now: see [`Piece`].
#[inline(always)]
fn piece_of(terminal: Address) -> Address {
    terminal
        .follow(place!(tty_port))
        .follow(place!(port_buffer))
}

/// How many bytes came to a terminal since.
///
/// What was committed counts, and not what was handed over: the shell may run before that is counted.
#[inline(always)]
fn arrived(begun: &Typing, terminal: Address) -> u64 {
    let piece = piece_of(terminal);
    let begun = Piece {
        address: begun.piece,
        count: begun.handed,
        room: begun.room,
    };
    let now = Piece {
        address: piece.0,
        count: piece.read(place!(buffer_commit)),
        room: 0,
    };
    arrived_since(begun, now)
}

/// The `n_tty_data` of a terminal; none when another line discipline is in charge.
#[inline(always)]
fn buffer_of(terminal: Address) -> Option<Address> {
    let discipline = terminal.follow(place!(tty_ldisc));
    let operations = discipline.follow(place!(ldisc_ops));
    let number: i32 = operations.read(place!(ldisc_number));
    let data = terminal.follow(place!(tty_disc_data));
    (!operations.is_null() && number == N_TTY && !data.is_null()).then_some(data)
}

/// Whether the current process, which has this number, may start a batch mailer as far as typing goes:
/// it does not depend on it, or somebody has typed. A shell where somebody has is free of it from
/// then on.
///
/// External linkage: the verifier checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn has_typed(pid: u32) -> u32 {
    let Some(typing) = TYPING.get_ptr(pid) else {
        return 1;
    };
    // SAFETY: only this process's own exec and fork change it, and it is here.
    let typing = unsafe { *typing };
    let terminal = Address::current_task()
        .follow(offset!(task_signal))
        .follow(offset!(signal_tty));
    if typing.terminal == NOTHING || typing.terminal != terminal.0 {
        return 0;
    }
    let Some(buffer) = buffer_of(terminal) else {
        return 0;
    };
    let begun = Begun {
        head: typing.head,
        tail: typing.tail,
    };
    let arrived = arrived(&typing, terminal);
    let (start, head) = typed_since(begun, arrived, buffer.read(place!(n_tty_head)));
    let mut look = Look {
        bytes: buffer.field(place!(n_tty_buffer)),
        start,
        at: head,
        found: 0,
    };
    each(LOOKED_AT, look_at, &mut look);
    if look.found != 0 {
        let _ = TYPING.remove(pid);
    }
    look.found as u32
}

/// The search for Enter, from the newest byte backwards. Words, because the verifier keeps track of words.
struct Look {
    bytes: Address,
    start: u64,
    at: u64,
    found: u64,
}

unsafe extern "C" fn look_at(_: u32, look: *mut Look) -> u64 {
    // SAFETY: see `each`.
    let look = unsafe { &mut *look };
    if look.at <= look.start {
        return 1;
    }
    look.at -= 1;
    let back = |by: u64| -> u8 {
        let at = look.at.wrapping_sub(by);
        look.bytes.read((at & (TERMINAL_BUFFER - 1)) as usize)
    };
    let byte = back(0);
    let before = if byte == b'M' && look.at >= look.start + 2 {
        [back(1), back(2)]
    } else {
        [0; 2]
    };
    look.found = u64::from(is_enter(byte, before));
    look.found
}

/// A child of a shell that waits for somebody to type. What it starts was started before that, however
/// long it takes.
///
/// External linkage: as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn typing_at_fork(parent: u32, child: u32) -> u32 {
    if has_typed(parent) == 0 {
        let _ = TYPING.insert(child, &NEVER, u64::from(BPF_ANY));
    }
    0
}

/// How long nobody has used the seat of the current user, when that is longer than the settings allow;
/// else 0, also when nobody knows.
///
/// External linkage: as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn absent_for() -> u64 {
    let (Some(settings), Some(seat)) = (SETTINGS.get(0), SEAT.get(0)) else {
        return 0;
    };
    if settings.presence == 0 || seat.is_followed == 0 {
        return 0;
    }
    // Who has no session at all is nowhere.
    // SAFETY: the value is copied out at once.
    let seated = unsafe { SEATED.get(current_user()) }
        .copied()
        .unwrap_or_default();
    if seated.elsewhere != 0 || is_scheduled() {
        return 0;
    }
    let used_ns = if seated.at_seat != 0 && seat.used_ns > seated.seen_ns {
        seat.used_ns
    } else {
        seated.seen_ns
    };
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    if now > used_ns && now - used_ns > u64::from(settings.absent_after_seconds) * SECOND_NS {
        now - used_ns
    } else {
        0
    }
}

/// Whether the current process runs a mailer that is registered as one that sends at set times. Of a
/// script, the interpreter is not registered so.
#[inline(always)]
fn is_scheduled() -> bool {
    let inode = Address::current_task()
        .follow(offset!(task_mm))
        .follow(offset!(mm_exe_file))
        .follow(offset!(file_inode));
    let key = RegistrationKey {
        inode: inode.read(offset!(inode_ino)),
        device: inode.follow(offset!(inode_sb)).read(offset!(sb_dev)),
        reserved: 0,
    };
    // SAFETY: the value is copied out at once.
    unsafe { REGISTRATIONS.get(key) }.is_some_and(|registration| registration.scheduled != 0)
}

/// Where a connection goes, and what became of it.
#[repr(C)]
pub struct Connection {
    /// See [`AbsentEvent::address`].
    pub address: [u8; 16],
    /// Destination port in host order.
    pub port: u16,
    /// 4 or 6.
    pub family: u8,
    /// 1 when it was refused.
    pub refused: u8,
    /// Index of the mailer.
    pub program: u32,
}

/// Reports that an interactive mailer connected while nobody was there.
///
/// External linkage: as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn tell_absence(connection: *const Connection) -> u32 {
    // SAFETY: null or whole, as the verifier sees to.
    let Some(connection) = (unsafe { connection.as_ref() }) else {
        return 0;
    };
    let idle_ns = absent_for();
    if idle_ns == 0 {
        return 0;
    }
    let Some(mut event) = reserve::<AbsentEvent>(abi::Counter::EventsLost) else {
        return 0;
    };
    event.write(AbsentEvent {
        header: header(EventTag::Absent),
        idle_ns,
        address: connection.address,
        program: connection.program,
        port: connection.port,
        family: connection.family,
        refused: connection.refused,
    });
    submit(event);
    0
}
