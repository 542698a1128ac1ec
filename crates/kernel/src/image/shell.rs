//! How a shell was started: a person may type into it, or it runs a script or a command.

use abi::SCRIPT_PATH_BYTES;
use aya_ebpf::helpers::generated::bpf_probe_read_user_str;
use policy::{
    begins_at_roots, is_command, is_dot_after_slash, is_login_name, is_plain,
    keeps_shell_interactive, keeps_to_command, names_start_file,
};

use super::identity::path_is_elsewheres;
use super::start::{Piece, Strings, scratch, stdin_is_terminal};
use crate::kernel_memory::Address;
use crate::maps::{PROCESSES, SCRATCH, Scratch, TEXT_BYTES, offset};
use crate::repeat::each;
use crate::report::current_process;

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

/// External linkage: the verifier checks it once.
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
