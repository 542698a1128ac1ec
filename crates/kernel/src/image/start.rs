//! How an image was started: interactively or with a script, and with which signs of
//! tampering.
//!
//! Arguments and environment are read from the new image's own memory, right after exec has
//! put them there and before the program's first instruction, so the program cannot have
//! changed them.

use abi::SCRIPT_PATH_BYTES;
use aya_ebpf::helpers::generated::bpf_probe_read_user_str;
use policy::{
    ArgumentRules, Asked, Look, Readers, Sign, Stage, Tamper, VARIABLE_MAX, argument_sign,
    begins_at_roots, is_command, is_dot_after_slash, is_login_name, is_plain, is_terminal,
    keeps_shell_interactive, keeps_to_command, may_tamper, names_start_file,
};

use super::identity::path_is_elsewheres;
use crate::kernel_memory::Address;
use crate::maps::{PROCESSES, SCRATCH, SETTINGS, Scratch, TEXT_BYTES, offset};
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

/// A look at a text, byte after byte. Words, because the verifier keeps track of words.
struct TextLook {
    /// Code of a [`TextKind`].
    kind: u64,
    /// 1 until the text's end was seen.
    inside: u64,
    /// 1 when a byte was seen that the kind forbids.
    bad: u64,
    /// The byte before.
    before: u64,
}

/// 1 when the whole text in the scratch space is of a kind, and short enough to have been read to its end.
///
/// External linkage: the verifier checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn text_is(kind: u32) -> u32 {
    let mut look = TextLook {
        kind: kind.into(),
        inside: 1,
        bad: 0,
        before: 0,
    };
    each(TEXT_BYTES as u32 - 1, look_at_text, &mut look);
    // What fills the text may go on.
    u32::from((look.inside | look.bad) == 0)
}

/// One step: 0 to go on, 1 behind the text's end.
unsafe extern "C" fn look_at_text(index: u32, look: *mut TextLook) -> u64 {
    // SAFETY: see `each`.
    let look = unsafe { &mut *look };
    let Some(scratch) = scratch() else { return 1 };
    let text = scratch.text.as_ptr().cast::<u8>();
    // SAFETY: the text is so long, which is a power of two.
    let byte = u64::from(unsafe { *text.add(index as usize & (TEXT_BYTES - 1)) });
    if byte == 0 {
        look.inside = 0;
        return 1;
    }
    let words = look.kind;
    let hidden = is_dot_after_slash(look.before, byte);
    look.bad |= (words & (1 ^ is_plain(byte))) | ((1 ^ words) & hidden);
    look.before = byte;
    0
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
                    COMMAND_READ if keeps_to_command(scratch.name) && hands_on_vouching() => WORDS,
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
fn scratch<'a>() -> Option<&'a mut Scratch> {
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
