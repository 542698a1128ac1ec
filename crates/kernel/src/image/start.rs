//! How an image was started: interactively or with a script, and with which signs of
//! tampering.
//!
//! Arguments and environment are read from the new image's own memory, right after exec has
//! put them there and before the program's first instruction, so the program cannot have
//! changed them.

use abi::SCRIPT_PATH_BYTES;
use aya_ebpf::helpers::generated::bpf_probe_read_user_str;
use policy::{
    ArgumentRules, Asked, Tamper, argument_sign, begins_at_roots, is_command, is_dot_after_slash,
    is_login_name, is_not_zero, is_plain, is_terminal, keeps_shell_interactive, names_start_file,
    variable_tampers,
};

use super::identity::path_is_elsewheres;
use crate::kernel_memory::Address;
use crate::maps::{PROCESSES, SCRATCH, Scratch, TEXT_BYTES, offset};
use crate::repeat::{Step, each};
use crate::report::current_process;

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
enum Piece {
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
struct Strings {
    at: u64,
    end: u64,
}

impl Strings {
    #[inline(always)]
    fn next(&mut self, text: &mut [u64; TEXT_BYTES / 8]) -> Piece {
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

/// How a shell was started.
pub enum ShellStart {
    /// Interactively.
    Terminal,
    /// With a command, or fed from a pipe or file.
    Script,
    /// With a command of plain words, by a helper that somebody vouched for, which could have started the
    /// program itself as well.
    Words,
    /// With a script by name; the name is left in the scratch space.
    NamedScript {
        /// Nothing has the shell read anything else before: neither an option, nor the name that it
        /// was started under.
        only_script: bool,
    },
}

/// How the shell that the current task runs was started.
#[inline(always)]
pub fn shell_start() -> ShellStart {
    match look_at_shell() {
        TERMINAL => ShellStart::Terminal,
        WORDS => ShellStart::Words,
        NAMED_SCRIPT => ShellStart::NamedScript { only_script: true },
        SCRIPT_AFTER_OPTIONS => ShellStart::NamedScript { only_script: false },
        _ => ShellStart::Script,
    }
}

const TERMINAL: u32 = 0;
const SCRIPT: u32 = 1;
const NAMED_SCRIPT: u32 = 2;
const SCRIPT_AFTER_OPTIONS: u32 = 3;
const WORDS: u32 = 4;

/// Arguments behind the shell's name that are looked at.
const ARGUMENTS_MAX: u32 = 5;

/// What the look at a shell's arguments waits for.
const FRESH: u32 = 0;
const AFTER_OPTIONS: u32 = 1;
/// The file that a start-up option names.
const START_FILE: u32 = 2;
/// The command behind `-c`.
const COMMAND: u32 = 3;
/// Nothing: the command was plain, and has to be the last argument.
const COMMAND_READ: u32 = 4;
/// From here on it is decided.
const DECIDED: u32 = 5;
const IS_SCRIPT: u32 = 5;
const IS_NAMED: u32 = 6;
const IS_NAMED_AFTER_OPTIONS: u32 = 7;

/// Whether the current process, before its exec, is a helper that somebody vouched for.
#[inline(always)]
fn hands_on_vouching() -> bool {
    PROCESSES.get_ptr(current_process()).is_some_and(|record| {
        // SAFETY: only this process's own exec and fork touch its record, and it is here.
        unsafe { (*record).hands_on_vouching() }
    })
}

/// What the look waits for behind the argument in the scratch space.
///
/// External linkage: the verifier checks it once, and need not follow each argument into the next.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn look_at_shells_argument(waits_for: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr(0) else {
        return IS_SCRIPT;
    };
    // SAFETY: this CPU's own slot; see `Scratch`. The caller does not use its reference meanwhile.
    let [first, second] = unsafe { [(*scratch).text[0], (*scratch).text[1]] }.map(u64::to_ne_bytes);
    match waits_for {
        START_FILE => {
            let is_roots = begins_at_roots(first)
                && path_is_elsewheres() == 0
                && text_is(TextKind::PlainPath as u32) != 0;
            if is_roots { AFTER_OPTIONS } else { IS_SCRIPT }
        }
        COMMAND if text_is(TextKind::PlainWords as u32) != 0 => COMMAND_READ,
        // Nothing may come before `-c`: an option could have the shell read a file first.
        FRESH if is_command(first) => COMMAND,
        FRESH | AFTER_OPTIONS if second == [0; 8] && keeps_shell_interactive(first) => {
            AFTER_OPTIONS
        }
        FRESH | AFTER_OPTIONS if names_start_file(first, second) => START_FILE,
        FRESH if first[0] != b'-' => IS_NAMED,
        AFTER_OPTIONS if first[0] != b'-' => IS_NAMED_AFTER_OPTIONS,
        _ => IS_SCRIPT,
    }
}

/// What [`text_is`] asks.
#[derive(Clone, Copy)]
enum TextKind {
    /// A path without a component that begins with a dot.
    PlainPath = 0,
    /// Bytes that stand for themselves in a shell's command.
    PlainWords = 1,
}

/// 1 when the whole text in the scratch space is of a kind, and short enough to have been read to its end.
///
/// No byte leads to a branch, so that the verifier has one way to follow. External linkage: it checks
/// it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn text_is(kind: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr(0) else {
        return 0;
    };
    // SAFETY: this CPU's own slot; see `Scratch`. The caller does not use its reference meanwhile.
    let text = unsafe { &(*scratch).text }.as_ptr().cast::<u8>();
    let (mut inside, mut bad, mut before) = (1_u64, 0_u64, 0_u64);
    for index in 0..TEXT_BYTES - 1 {
        // SAFETY: the text is so long.
        let byte = u64::from(unsafe { core::ptr::read_volatile(text.add(index)) });
        inside &= is_not_zero(byte);
        let hidden = is_dot_after_slash(before, byte);
        let special = 1 ^ is_plain(byte);
        let words = u64::from(kind);
        bad |= inside & ((words & special) | ((1 ^ words) & hidden));
        before = byte;
    }
    // What fills the text may go on.
    u32::from((inside | bad) == 0)
}

/// See [`environment_signs`] for why it stands alone.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn look_at_shell() -> u32 {
    let task = Address::current_task();
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return SCRIPT;
    };
    // SAFETY: this CPU's own slot; see `Scratch`.
    let scratch = unsafe { &mut *scratch };
    let memory = task.follow(offset!(task_mm));
    let mut arguments = Strings {
        at: memory.read(offset!(mm_arg_start)),
        end: memory.read(offset!(mm_arg_end)),
    };
    // The shell's own name, then a few harmless options. A name that fills a piece may go on,
    // and what it goes on with would pass for the first argument. A longer option is not harmless.
    let name = arguments.at;
    let mut waits_for = match arguments.next(&mut scratch.text) {
        Piece::Text(first, _) if arguments.at - name < TEXT_BYTES as u64 - 1 => {
            if is_login_name(first) {
                AFTER_OPTIONS
            } else {
                FRESH
            }
        }
        _ => return SCRIPT,
    };
    for _ in 0..ARGUMENTS_MAX {
        let argument = arguments.at;
        match arguments.next(&mut scratch.text) {
            Piece::Text(..) => waits_for = look_at_shells_argument(waits_for),
            Piece::End => {
                return match waits_for {
                    FRESH | AFTER_OPTIONS if stdin_is_terminal(task) => TERMINAL,
                    COMMAND_READ if hands_on_vouching() => WORDS,
                    _ => SCRIPT,
                };
            }
            Piece::Unreadable => return SCRIPT,
        }
        if waits_for >= DECIDED {
            return match waits_for {
                IS_NAMED => keep_script(argument, scratch, NAMED_SCRIPT),
                IS_NAMED_AFTER_OPTIONS => keep_script(argument, scratch, SCRIPT_AFTER_OPTIONS),
                _ => SCRIPT,
            };
        }
    }
    SCRIPT
}

#[inline(always)]
fn keep_script(name: u64, scratch: &mut Scratch, named: u32) -> u32 {
    scratch.script.path = [0; SCRIPT_PATH_BYTES];
    // SAFETY: the destination is as long as said; the helper checks the source.
    let length = unsafe {
        bpf_probe_read_user_str(
            scratch.script.path.as_mut_ptr().cast(),
            SCRIPT_PATH_BYTES as u32,
            name as *const _,
        )
    };
    if length <= 0 || length == SCRIPT_PATH_BYTES as i64 {
        scratch.script.path[0] = 0;
        return SCRIPT;
    }
    named
}

/// Signs of tampering that the new image starts with. The scratch space has the beginning of its program's
/// name.
#[inline(always)]
pub fn signs(task: Address, rules: ArgumentRules) -> Tamper {
    let mut signs = Tamper::NONE;
    if task.read::<u32>(offset!(task_ptrace)) != 0 {
        signs = signs.with(Tamper::TRACED);
    }
    let memory = task.follow(offset!(task_mm));
    signs = signs.with(Tamper(environment_signs(memory.0) as u8));
    if rules != ArgumentRules::None {
        let found = argument_signs(memory.0, rules as u32);
        signs = signs.with(Tamper(found as u8));
    }
    signs
}

/// Signs in the environment of the `mm_struct` at `memory`.
///
/// A function of its own for the verifier: with external linkage it is checked once, for any
/// argument, instead of again for each way that leads to its call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn environment_signs(memory: u64) -> u32 {
    let memory = Address(memory);
    let variables = Strings {
        at: memory.read(offset!(mm_env_start)),
        end: memory.read(offset!(mm_env_end)),
    };
    look_through(variables, ArgumentRules::None, look_at_variable)
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
    let rules = ArgumentRules::from_code(rules as u8);
    look_through(arguments, rules, look_at_argument)
}

/// A look at strings, one after the other, until one of them is a sign of tampering.
struct Look {
    strings: Strings,
    /// The bits of a [`Tamper`]. A word, because the verifier keeps track of words.
    signs: u64,
    /// Of arguments, the code of their [`ArgumentRules`].
    rules: u64,
}

/// Signs in the strings; when there are too many, nobody knows.
#[inline(always)]
fn look_through(strings: Strings, rules: ArgumentRules, step: Step<Look>) -> u32 {
    let mut look = Look {
        strings,
        signs: u64::from(Tamper::UNREADABLE.0),
        rules: rules as u64,
    };
    each(PIECES_MAX, step, &mut look);
    look.signs as u32
}

unsafe extern "C" fn look_at_variable(_: u32, look: *mut Look) -> u64 {
    // SAFETY: see `each`.
    let look = unsafe { &mut *look };
    look.goes_on(|_, first, second| {
        if variable_tampers(first, second) {
            Tamper::ENVIRONMENT
        } else {
            Tamper::NONE
        }
    })
}

unsafe extern "C" fn look_at_argument(_: u32, look: *mut Look) -> u64 {
    // SAFETY: see `each`.
    let look = unsafe { &mut *look };
    let rules = look.rules as u8;
    look.goes_on(|name, first, second| {
        argument_sign(ArgumentRules::from_code(rules), name, first, second)
    })
}

impl Look {
    /// Looks at one more: 0 to go on, 1 when it is decided.
    #[inline(always)]
    fn goes_on(&mut self, sign: impl Fn([u8; 8], [u8; 8], [u8; 8]) -> Tamper) -> u64 {
        let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
            return 1;
        };
        // SAFETY: this CPU's own slot; see `Scratch`.
        let scratch = unsafe { &mut *scratch };
        let found = match self.strings.next(&mut scratch.text) {
            Piece::Text(first, second) => match sign(scratch.name.to_ne_bytes(), first, second) {
                Tamper::NONE => return 0,
                found => found,
            },
            Piece::End => Tamper::NONE,
            Piece::Unreadable => return 1,
        };
        self.signs = u64::from(found.0);
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
fn stdin_is_terminal(task: Address) -> bool {
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
