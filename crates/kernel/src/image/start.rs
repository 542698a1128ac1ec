//! With which arguments and variables an image was started: signs of tampering, and questions.
//!
//! Arguments and environment are read from the new image's own memory, right after exec has
//! put them there and before the program's first instruction, so the program cannot have
//! changed them.

use aya_ebpf::helpers::generated::bpf_probe_read_user_str;
use policy::{
    ArgumentRules, Asked, Look, Readers, Sign, Stage, Tamper, VARIABLE_MAX, argument_sign,
    is_terminal, may_tamper,
};

use crate::kernel_memory::Address;
use crate::maps::{SCRATCH, SETTINGS, Scratch, TEXT_BYTES, offset};
use crate::repeat::{Step, each};

/// Pieces that are looked at, of the arguments and of the environment: what Linux lets a program
/// have as a rule (2 MiB), unless most strings are short. More counts as unreadable.
const PIECES_MAX: u32 = 8192;

/// The bits of a mode that say what kind of file it is.
pub const S_IFMT: u16 = 0o170_000;
/// A character device.
pub const S_IFCHR: u16 = 0o020_000;
/// The kernel's own device numbers have the minor in the lower 20 bits.
pub const MINOR_BITS: u32 = 20;

/// What [`Strings::next`] found.
pub(super) enum Piece {
    /// The first and the second eight bytes of a piece.
    Text([u8; 8], [u8; 8]),
    /// No more strings.
    End,
    /// Memory that could not be read.
    Unreadable,
}

/// Strings that lie one after the other in user memory, read in pieces.
///
/// A string that is longer than a piece comes as several, and each is looked at as if a
/// string began there. Keeping them apart would double the verifier's work; that the middle
/// of a harmless string begins with one of eight certain bytes is not to be expected. Where it counts
/// which string it is, the caller has to see that it fitted into one piece.
pub(super) struct Strings {
    pub(super) at: u64,
    pub(super) end: u64,
}

impl Strings {
    #[inline(always)]
    pub(super) fn next(&mut self, text: &mut [u64; TEXT_BYTES / 8]) -> Piece {
        if self.at >= self.end {
            return Piece::End;
        }
        // Shorter strings than sixteen bytes must not show what lay there before.
        text[0] = 0;
        text[1] = 0;
        // SAFETY: the destination is as long as said; the helper checks the source.
        let length = unsafe {
            bpf_probe_read_user_str(
                text.as_mut_ptr().cast(),
                TEXT_BYTES as u32,
                self.at as *const _,
            )
        };
        if length <= 0 {
            return Piece::Unreadable;
        }
        // A full piece ends with a zero byte that the helper put there: one byte less.
        let length = length as u64;
        self.at += length - length / TEXT_BYTES as u64;
        Piece::Text(text[0].to_ne_bytes(), text[1].to_ne_bytes())
    }
}

/// Signs of tampering that the new image starts with. The scratch space has the beginning of its program's
/// name.
#[inline(always)]
pub fn signs(task: Address, rules: ArgumentRules, readers: Readers) -> Sign {
    let mut signs = Sign::NONE;
    if task.read::<u32>(offset!(task_ptrace)) != 0 {
        signs = Sign::of(Tamper::TRACED);
    }
    let memory = task.follow(offset!(task_mm));
    signs = signs.with(Sign(environment_signs(memory.0, readers.0.into())));
    if rules != ArgumentRules::None {
        signs = signs.with(Sign(argument_signs(memory.0, rules as u32)));
    }
    signs
}

/// Signs in the environment of the `mm_struct` at `memory`.
///
/// A function of its own for the verifier: with external linkage it is checked once, for any
/// argument, instead of again for each way that leads to its call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn environment_signs(memory: u64, readers: u32) -> u32 {
    let memory = Address(memory);
    let variables = Strings {
        at: memory.read(offset!(mm_env_start)),
        end: memory.read(offset!(mm_env_end)),
    };
    look_through(variables, readers, look_at_variable)
}

/// The same for arguments.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn argument_signs(memory: u64, rules: u32) -> u32 {
    let memory = Address(memory);
    let arguments = Strings {
        at: memory.read(offset!(mm_arg_start)),
        end: memory.read(offset!(mm_arg_end)),
    };
    look_through(arguments, rules, look_at_argument)
}

/// A look at strings, one after the other, until one of them is a sign of tampering.
struct Search {
    strings: Strings,
    /// A [`Sign`]. A word, because the verifier keeps track of words.
    sign: u64,
    /// Of arguments, the code of their [`ArgumentRules`]; of variables, their [`Readers`].
    rules: u64,
    /// How many more variables are looked at closely.
    left: u64,
}

/// So many variables are looked at byte by byte: each may have [`VARIABLE_MAX`] of them, and honest
/// environments have a few.
const CLOSELY_MAX: u64 = 64;

/// Signs in the strings; when there are too many, nobody knows.
#[inline(always)]
fn look_through(strings: Strings, rules: u32, step: Step<Search>) -> u32 {
    let mut search = Search {
        strings,
        sign: u64::from(Tamper::UNREADABLE.0),
        rules: rules.into(),
        left: CLOSELY_MAX,
    };
    each(PIECES_MAX, step, &mut search);
    search.sign as u32
}

unsafe extern "C" fn look_at_variable(_: u32, search: *mut Search) -> u64 {
    // SAFETY: see `each`.
    let search = unsafe { &mut *search };
    let at = search.strings.at;
    let readers = search.rules as u32;
    let left = search.left;
    let mut closely = 0;
    let answer = search.goes_on(|_, first, _| {
        if !may_tamper(first) {
            return Sign::NONE;
        }
        if left == 0 {
            return Sign::of(Tamper::UNREADABLE);
        }
        closely = 1;
        Sign(variable_signs(at, readers))
    });
    search.left = left - closely;
    answer
}

unsafe extern "C" fn look_at_argument(_: u32, search: *mut Search) -> u64 {
    // SAFETY: see `each`.
    let search = unsafe { &mut *search };
    let rules = search.rules as u8;
    search.goes_on(|name, first, second| {
        argument_sign(ArgumentRules::from_code(rules), name, first, second)
    })
}

/// Signs in the one variable at `at` in user memory. See [`environment_signs`] for why it stands alone.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn variable_signs(at: u64, readers: u32) -> u32 {
    let unreadable = u32::from(Tamper::UNREADABLE.0);
    let (Some(own), Some(settings)) = (scratch(), SETTINGS.get(0)) else {
        return unreadable;
    };
    own.look = Look::begin(settings.code_folders.into(), readers as u8);
    // SAFETY: the destination is as long as said; the helper checks the source.
    let length = unsafe {
        bpf_probe_read_user_str(
            own.variable.as_mut_ptr().cast(),
            VARIABLE_MAX as u32,
            at as *const _,
        )
    };
    if length <= 0 {
        return unreadable;
    }
    // The zero byte at the end, which the helper counts, ends the look.
    each(length as u32, look_at_byte, &mut 0_u64);
    look_at_part();
    let Some(own) = scratch() else {
        return unreadable;
    };
    own.look.end(length == VARIABLE_MAX as i64).0
}

/// One step of a look. Its parts are functions of their own for the verifier: it follows each of them
/// once, and not all ways through all of them.
unsafe extern "C" fn look_at_byte(index: u32, answer: *mut u64) -> u64 {
    let Some(scratch) = scratch() else { return 1 };
    let byte = scratch.variable[index as usize & (VARIABLE_MAX - 1)];
    let decided = match scratch.look.stage(byte) {
        Stage::Other => look_at_other(byte.into()),
        Stage::Path => look_at_path(byte.into()),
        Stage::PathPart => {
            look_at_part();
            look_at_path(byte.into())
        }
    };
    // A step must answer 0 or 1, and the verifier takes what a function gives for any number. The compiler knows
    // better and would leave the comparison out, but for the volatile read.
    // SAFETY: see `each`.
    let decided = unsafe {
        answer.write_volatile(decided.into());
        answer.read_volatile()
    };
    u64::from(decided != 0)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn look_at_other(byte: u32) -> u32 {
    scratch().is_none_or(|scratch| scratch.look.other_byte(byte as u8)) as u32
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn look_at_path(byte: u32) -> u32 {
    scratch().is_none_or(|scratch| scratch.look.path_byte(byte as u8)) as u32
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn look_at_part() -> u32 {
    if let Some(scratch) = scratch() {
        scratch.look.end_part();
    }
    0
}

#[inline(always)]
pub(super) fn scratch<'a>() -> Option<&'a mut Scratch> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: this CPU's own slot; see `Scratch`. Nobody holds another reference while he calls what takes
    // one of its own: what was read before is read again.
    Some(unsafe { &mut *scratch })
}

impl Search {
    /// Looks at one more: 0 to go on, 1 when it is decided.
    #[inline(always)]
    fn goes_on(&mut self, sign: impl FnOnce([u8; 8], [u8; 8], [u8; 8]) -> Sign) -> u64 {
        let Some(scratch) = scratch() else {
            return 1;
        };
        let found = match self.strings.next(&mut scratch.text) {
            Piece::Text(first, second) => match sign(scratch.name.to_ne_bytes(), first, second) {
                Sign::NONE => return 0,
                found => found,
            },
            Piece::End => Sign::NONE,
            Piece::Unreadable => return 1,
        };
        self.sign = found.0.into();
        1
    }
}

/// More arguments than a question has.
const ASKED_MAX: u32 = 64;

/// How far the arguments of a possible question were read.
struct Question {
    strings: Strings,
    /// Code of an [`Asked`]. A word, because the verifier keeps track of words.
    asked: u64,
    /// 1 when there are no more arguments.
    ended: u64,
}

/// 1 when the current task runs what takes mail only to ask it something. The scratch space has the
/// beginning of its program's name.
///
/// External linkage: the verifier checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn only_asks() -> u32 {
    let memory = Address::current_task().follow(offset!(task_mm));
    let mut question = Question {
        strings: Strings {
            at: memory.read(offset!(mm_arg_start)),
            end: memory.read(offset!(mm_arg_end)),
        },
        asked: Asked::Start as u64,
        ended: 0,
    };
    each(ASKED_MAX, look_at_question, &mut question);
    let is_question = Asked::from_code(question.asked as u8).is_question();
    u32::from(is_question && question.ended != 0)
}

/// Looks at one more: 0 to go on, 1 when it is decided.
unsafe extern "C" fn look_at_question(_: u32, question: *mut Question) -> u64 {
    // SAFETY: see `each`.
    let question = unsafe { &mut *question };
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 1;
    };
    // SAFETY: this CPU's own slot; see `Scratch`.
    let scratch = unsafe { &mut *scratch };
    scratch.text[2] = 0;
    let began = question.strings.at;
    let text = match question.strings.next(&mut scratch.text) {
        Piece::Text(first, second) => [
            u64::from_ne_bytes(first),
            u64::from_ne_bytes(second),
            scratch.text[2],
        ],
        Piece::End => {
            question.ended = 1;
            return 1;
        }
        Piece::Unreadable => return 1,
    };
    // What fills a piece may go on, and would pass for the next argument there.
    if question.strings.at - began >= TEXT_BYTES as u64 - 1 {
        return 1;
    }
    let name = scratch.name.to_ne_bytes();
    question.asked = Asked::from_code(question.asked as u8).next(name, text) as u64;
    u64::from(question.asked == Asked::No as u64)
}

/// Whether file descriptor 0 is a terminal and the process has a controlling terminal.
#[inline(always)]
pub(super) fn stdin_is_terminal(task: Address) -> bool {
    let has_terminal = !task
        .follow(offset!(task_signal))
        .follow(offset!(signal_tty))
        .is_null();
    has_terminal && is_terminal(stdin_device(task) >> MINOR_BITS)
}

/// What file descriptor 0 is open on; null when it is closed.
#[inline(always)]
pub fn stdin_file(task: Address) -> Address {
    let table = task
        .follow(offset!(task_files))
        .follow(offset!(files_fdt))
        .follow(offset!(fdt_fd));
    if table.is_null() {
        return table;
    }
    table.follow(0)
}

/// The number of the character device that file descriptor 0 is; 0 when it is none.
#[inline(always)]
pub fn stdin_device(task: Address) -> u32 {
    let file = stdin_file(task);
    if file.is_null() {
        return 0;
    }
    let inode = file.follow(offset!(file_inode));
    let mode: u16 = inode.read(offset!(inode_mode));
    if mode & S_IFMT != S_IFCHR {
        return 0;
    }
    inode.read(offset!(inode_rdev))
}
